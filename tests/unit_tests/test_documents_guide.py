"""What docs/documents.md shows is run, on a folder of every kind of file."""

import re
import shutil
from pathlib import Path

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel

from langchain_mmrag import MultimodalChroma, OpenCLIPEmbeddings
from tests.unit_tests.mixed_folder import make_folder

GUIDE = (Path(__file__).parents[2] / "docs" / "documents.md").read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder that has `project/`, to work in."""
    (tmp_path / "project").mkdir()
    make_folder(tmp_path / "project")
    (tmp_path / "project" / "tide.log").write_text("gate opened\ngate closed\n")
    shutil.rmtree(tmp_path / "loop", ignore_errors=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGCHAIN_MMRAG_CACHE", str(tmp_path / "cache"))


def test_the_code_of_the_guide_runs(project, capsys):
    clip = OpenCLIPEmbeddings("mmrag-tiny", show_progress=False)
    store = MultimodalChroma("guide", clip, persist_directory="store")
    llm = FakeListChatModel(responses=["A drawing."])
    namespace = {"clip": clip, "store": store, "llm": llm, "MultimodalChroma": MultimodalChroma}
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 8
    for code in blocks:
        exec(compile(code, "documents.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "torn.pdf" in printed
    assert "2 text The mooring fee is twelve crowns a night" in printed
    lines = store.get(where={"loader": "log"})
    assert sorted(lines["documents"]) == ["gate closed", "gate opened"]
    captions = {metadata.get("caption") for metadata in store.get(where={"modality": "image"})["metadatas"]}
    assert {"A drawing.", "Figure 1: Raised in May", "Grandfather's last regatta"} <= captions
