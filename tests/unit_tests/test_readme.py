"""What the README says is done here, word for word; and the code that CLIP guides teach runs as it is.

Two substitutions make the README's Python run offline: `"ViT-B-32"` becomes `"mmrag-tiny"`, and
`init_chat_model` gives a model that answers from a list.
"""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import typer
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from PIL import Image
from typer.testing import CliRunner

from langchain_mmrag import MediaPolicy, MultimodalChroma, OpenCLIPEmbeddings
from langchain_mmrag.cli import app
from langchain_mmrag.demo.corpus import draw_thing

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = [
    command.split("  #")[0].strip()
    for text in (README, CONTRIBUTING)
    for block in re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    for command in line.split("&&")
]
"""Every command in a block of shell."""


@pytest.fixture(scope="module")
def holiday(tmp_path_factory) -> Path:
    """A folder with `photos/`: a few pictures and a note."""
    root = tmp_path_factory.mktemp("readme")
    photos = root / "photos"
    photos.mkdir()
    for name, thing in (("beach.jpg", "sailboat"), ("dog.png", "dog"), ("lighthouse.png", "candle")):
        draw_thing(thing).save(photos / name)
    (photos / "notes.md").write_text("# Red lighthouse\nWe saw the red lighthouse from the ferry.\n")
    vectors = np.random.default_rng(0).normal(size=(2, 30, 8)) + 1
    np.save(root / "features.npy", vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
    asked = {"question": "Where did we see the red lighthouse?", "sources": [str(photos / "notes.md")]}
    (root / "questions.jsonl").write_text(json.dumps(asked) + "\n")
    return root


@pytest.fixture
def offline(monkeypatch, holiday):
    """Work in the folder, with a chat model that needs no network."""
    monkeypatch.chdir(holiday)
    chat_models = pytest.importorskip("langchain.chat_models")

    class Answering(FakeListChatModel):
        def bind_tools(self, *_arguments, **_options):
            return self

    monkeypatch.setattr(
        chat_models, "init_chat_model", lambda _name: Answering(responses=["A sailboat [1] [9]."] * 9)
    )


def test_the_python_of_the_readme_runs(offline, capsys):
    namespace: dict = {}
    blocks = [code for language, code in BLOCKS if language == "python"]
    assert len(blocks) >= 8
    for code in blocks:
        exec(compile(code.replace('"ViT-B-32"', '"mmrag-tiny"'), "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "We saw the red lighthouse from the ferry." in printed
    assert "A sailboat [1]." in printed
    assert "'number': 1, 'source': " in printed
    assert "['[9]'] 4" in printed, "what is cited and not there is taken out and told"
    assert "0 0 4 0 ()" in printed, "the loader and index_paths should agree on what is indexed"
    assert Path("hits.html").read_text(encoding="utf-8").count("data:image/") == 3
    brightness = namespace["Brightness"]()
    assert (
        np.dot(brightness.embed_query("light"), brightness.embed_image(Image.new("RGB", (4, 4), "white")))
        > 0.9
    )


def test_the_commands_of_the_readme_run(offline):
    ran = []
    for command in COMMANDS:
        if command.startswith("mmrag "):
            words = re.findall(r'"[^"]*"|\S+', command)[1:]
            arguments = [word.strip('"') for word in words] + ["--store", "cli_store"]
            if arguments[0] == "index":
                arguments += ["--model", "mmrag-tiny"]
            if arguments[0] == "serve-mcp":  # serves until its input ends: test_mcp_transports.py asks it
                continue
            if arguments[1] == "demo":  # takes a minute: test_evaluation_command.py asks a part of it
                continue
            if arguments[1] == "features.npy":
                arguments = arguments[:-2]
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, (command, result.output, result.exception)
            ran.append(arguments[0])
    assert ran == ["index", "search", "search", "ask", "eval", "eval"]
    assert Path("report.png").stat().st_size > 10_000


def test_every_make_target_named_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {word for command in COMMANDS if command[:5] == "make " for word in command[5:].split()}
    named |= {target for text in (README, CONTRIBUTING) for target in re.findall(r"`make ([a-z-]+)`", text)}
    assert {"demo", "test", "check", "fix", "embedded-model"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_extra_named_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set(re.findall(r'pip install "\.\[(\w+)\]"', README))
    assert named == {
        *("agents", "documents", "eval", "mcp", "notebooks", "rerank", "training", "transformers", "whisper")
    }
    assert named <= set(project["optional-dependencies"])


def test_every_option_named_exists():
    group = typer.main.get_command(app)
    known = {
        option
        for command in group.commands.values()
        for parameter in command.params
        for option in parameter.opts
    }
    for option in set(re.findall(r"(?<![\w-])--[a-z]+", README)) - {"--help"}:
        assert option in known, option


def test_every_link_to_a_file_leads_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), (name, target)


# what CLIP guides teach


@pytest.fixture
def pictures(tmp_path) -> list[str]:
    paths = []
    for thing in ("cat", "sailboat"):
        path = tmp_path / f"{thing}.png"
        draw_thing(thing).save(path)
        paths.append(str(path))
    return paths


@pytest.fixture(scope="module")
def tiny() -> OpenCLIPEmbeddings:
    return OpenCLIPEmbeddings(model_name="mmrag-tiny")


def test_the_embedding_code_of_the_guides_runs(tiny, pictures):
    img_feat_1, img_feat_2 = tiny.embed_image(pictures)
    text_feat = tiny.embed_documents(["a cat", "a sailboat"])
    assert tiny.embed_image([pictures[0]])[0] == pytest.approx(img_feat_1, abs=1e-5)
    assert tiny.embed_image(uris=pictures)[1] == pytest.approx(img_feat_2, abs=1e-5)
    assert tiny.embed_image(pictures[0]) == pytest.approx(img_feat_1, abs=1e-5)
    similarity = np.array([img_feat_1, img_feat_2]) @ np.array(text_feat).T
    assert similarity.argmax(axis=1).tolist() == [0, 1]


def test_a_picture_at_an_address_is_embedded(serve_folder, pictures):
    address = f"{serve_folder(Path(pictures[0]).parent)}/cat.png"
    here = OpenCLIPEmbeddings(model_name="mmrag-tiny", media_policy=MediaPolicy(allow_private_addresses=True))
    assert here.embed_image(address) == pytest.approx(here.embed_image(pictures[0]), abs=1e-5)


def test_the_mixed_store_of_the_guides_runs(tiny, pictures, tmp_path):
    documents = [
        Document(page_content="a cat"),
        Document(page_content="a sailboat"),
        *(Document(page_content="", metadata={"path": path, "type": "image"}) for path in pictures),
    ]
    db = MultimodalChroma.from_documents(documents, tiny, persist_directory=str(tmp_path / "db"))
    (picture,) = db.similarity_search("a sailboat", k=1, filter={"type": "image"})
    assert picture.metadata["path"] == pictures[1]
    (text, *_) = db.similarity_search_by_image(pictures[1], k=1, modality="text")
    assert text.page_content == "a sailboat"
    both = db.as_retriever(search_kwargs={"k": 2}).invoke("a cat")
    assert {document.page_content or Path(document.metadata["path"]).name for document in both} == {
        "a cat",
        "cat.png",
    }
