"""The demonstration: what it draws, and what it promises to find."""

import re
from pathlib import Path

import pytest
from PIL import Image

from langchain_mmrag.demo.corpus import (
    CARDS,
    CHARTS,
    GLYPHS,
    NOTES,
    SCENES,
    SIGNS,
    THINGS,
    draw_thing,
    render_corpus,
)
from langchain_mmrag.document_loaders import DirectoryLoader
from langchain_mmrag.document_loaders.text import TextLoader


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    render_corpus(folder)
    return folder


def headings() -> list[str]:
    return [
        line[3:] for path in NOTES.glob("*.md") for line in path.read_text().splitlines() if line[:3] == "## "
    ]


def test_every_file_is_written_and_the_same_every_time(drawn, tmp_path):
    pictures = len(THINGS) + len(SCENES) + len(CARDS) + len(CHARTS) + len(SIGNS)
    assert len(list(drawn.rglob("*.png"))) == pictures
    assert len(list(drawn.rglob("*.md"))) == len(list(NOTES.glob("*.md")))
    draw_thing("owl").save(tmp_path / "owl.png")
    assert (tmp_path / "owl.png").read_bytes() == (drawn / "things" / "owl.png").read_bytes()


def test_everything_drawn_can_be_loaded(drawn):
    loader = DirectoryLoader(drawn)
    modalities = [document.metadata.get("modality", "text") for document in loader.load()]
    assert loader.failures == []
    assert modalities.count("text") == len(headings())
    assert modalities.count("image") > 150


def test_every_thing_has_a_drawing_and_every_drawing_a_thing():
    assert {path.stem.replace("_", " ") for path in GLYPHS.glob("*.png")} == set(THINGS)
    for path in GLYPHS.glob("*.png"):
        with Image.open(path) as image:
            lowest, highest = image.convert("RGBA").getchannel("A").getextrema()
        assert lowest == 0, path
        assert highest > 250, path


def test_every_note_is_about_something_that_is_drawn():
    shown = {*THINGS, *(card.text for card in CARDS), *(kind for kind, _, _ in CHARTS)}
    assert {heading.lower() for heading in headings()} <= shown


def test_every_note_fits_the_embedded_model():
    for path in NOTES.glob("*.md"):
        for document in TextLoader(path).load():
            assert len(re.findall(r"[a-z]+|\d|[^\sa-z\d]+", document.page_content.lower())) <= 30, (
                document.page_content
            )


def test_a_thing_drawn_anew_is_another_picture():
    assert draw_thing("owl").tobytes() == draw_thing("owl").tobytes()
    assert draw_thing("owl").tobytes() != draw_thing("owl", seed="anew").tobytes()
    assert draw_thing("owl").tobytes() != draw_thing("owl", place="snow").tobytes()
