"""Runs the notebooks as a reader would, and keeps them tidy: `python -m tests.executed_notebooks`.

Each notebook runs in a kernel of this very interpreter, in a folder given to it, and comes back without what
differs from run to run or from machine to machine.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

_SECONDS = 240
_ADDRESS = re.compile(r"(?<= at )0x[0-9a-f]{6,}")
_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",  # quicker for models as small as this, the more so beside other tests
    "HF_HUB_OFFLINE": "1",
    # A reader would see warnings, so they are seen here; but for that of tqdm, which has no widgets to draw with.
    "PYTHONWARNINGS": "default,ignore:IProgress not found",
    "COLUMNS": "100",
}


def executed(path: Path, folder: Path) -> Any:
    """The notebook at `path`, run in `folder` and made tidy; what it writes stays there.

    Raises:
        CellExecutionError: If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    # The name of a socket may have 107 letters at most: pytest's own folders are too deep.
    with TemporaryDirectory(prefix="kernel_") as own:
        manager = AsyncKernelManager(
            kernel_name="python3",
            # No folders searched: the kernel is ipykernel's own, started with this interpreter.
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
            transport="ipc",
            connection_file=f"{own}/kernel.json",
        )
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=_SECONDS,
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
        )
        settings = dict.fromkeys(("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"), own)
        client.execute(cleanup_kc=True, env={**os.environ, **_ENVIRONMENT, **settings})
    return tidied(notebook, path.stem)


def tidied(notebook: Any, name: str) -> Any:
    """The same notebook without times, widgets and ids of chance, numbered from 1."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    count = 0
    for place, cell in enumerate(notebook.cells, start=1):
        cell.id = f"{name[:2]}-{place:02}"
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        cell.outputs = _joined(cell.outputs)
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            for kind, data in output.get("data", {}).items():
                if kind.startswith("text/"):
                    output.data[kind] = _ADDRESS.sub("0x…", data)
    return notebook


def _joined(outputs: list[Any]) -> list[Any]:
    """Printed text in one piece: where it is cut is chance."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output.output_type == "stream" == last.get("output_type") and output.name == last["name"]:
            last["text"] += output.text
        else:
            joined.append(output)
    return joined


def main() -> None:
    """Run every notebook, or those named, where it lies, and keep the outputs."""
    wanted = sys.argv[1:]
    with TemporaryDirectory(prefix="notebooks_") as folder:
        for path in NOTEBOOKS:
            if wanted and not any(name in path.name for name in wanted):
                continue
            notebook = executed(path, Path(folder))
            nbformat.validate(notebook)
            nbformat.write(notebook, path)
            sys.stdout.write(f"{path.name}: {path.stat().st_size // 1024} kB\n")


if __name__ == "__main__":
    main()
