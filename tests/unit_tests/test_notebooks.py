"""Every notebook runs from nothing but the package, and its committed outputs are what a run gives."""

import math
import re

import nbformat
import pytest

from tests.executed_notebooks import NOTEBOOKS, executed

KILOBYTES = 1200
MACHINE = re.compile(r"/(work|tmp|home|root|Users|usr|var)/|[A-Z]:\\\\|site-packages|file://")
STALE = "this cell gives something else than is committed: look at it, then run make notebooks"
NUMBER = re.compile(r"\d+\.\d+|\d+(?= ?%)")
PAYLOAD = re.compile(r"data:image/\w+;base64,[\w+/=]+")
SHADES = re.compile(
    r"mmrag-[0-9a-f]{10}|\d+ kB"
)  # of the bytes of pictures, which each version of Pillow encodes anew

names = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all, as a reader has it: what the first notebook indexes, the others find."""
    return tmp_path_factory.mktemp("notebooks")


def outputs_of(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def told(output):
    """The text of an output, without what depends on versions of other packages."""
    text = output.get("text", "")
    if "image/png" in output.get("data", {}):
        return text  # a figure names its size, which is that of the letters of a font
    for kind in ("text/plain", "text/markdown", "text/html"):
        text += output.get("data", {}).get(kind, "")
    return SHADES.sub("…", PAYLOAD.sub("…", text))


def alike(old, new):
    return math.isclose(float(old), float(new), abs_tol=0.025 if "." in old else 3)


def test_there_are_five_notebooks_in_order():
    assert [path.name[:3] for path in NOTEBOOKS] == ["01_", "02_", "03_", "04_", "05_"]


@names
def test_committed_outputs_are_complete_clean_and_small(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum(bool(cell.outputs) for cell in code) >= len(code) * 0.75
    assert {output.get("name") for output in outputs_of(notebook)} <= {None, "stdout"}
    assert not MACHINE.search(PAYLOAD.sub("", path.read_text(encoding="utf-8")))
    assert path.stat().st_size < KILOBYTES * 1024


@names
@pytest.mark.timeout(240)
def test_a_notebook_runs_and_gives_what_is_committed(path, folder):
    committed = nbformat.read(path, as_version=4)
    fresh = executed(path, folder)
    assert [cell.source for cell in fresh.cells] == [cell.source for cell in committed.cells]
    for then, now in zip(committed.cells, fresh.cells, strict=True):
        if then.cell_type != "code":
            continue
        kinds = [[sorted(output.get("data", {})) for output in cell.outputs] for cell in (then, now)]
        assert kinds[0] == kinds[1], f"{STALE}\n{then.source}"
        before, after = ("\n".join(map(told, cell.outputs)) for cell in (then, now))
        assert NUMBER.sub("#", before) == NUMBER.sub("#", after), f"{STALE}\n{then.source}"
        # Other processors round vectors a little differently.
        pairs = zip(NUMBER.findall(before), NUMBER.findall(after), strict=True)
        assert all(alike(old, new) for old, new in pairs), f"{STALE}\n{then.source}"
