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
from langchain_mmrag.demo.show import YOUR_OWN, run_demo
from langchain_mmrag.display import Section
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
    loader = DirectoryLoader(drawn, ocr=None)
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


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> tuple[Path, list[Section]]:
    """The demo as `make demo` runs it."""
    folder = tmp_path_factory.mktemp("demo") / "mmrag_demo"
    return folder, run_demo(folder)


def found(section: Section) -> list[str]:
    """Hits by name: a picture's file, a passage's heading."""
    metadatas = (document.metadata for document, _ in section.hits)
    return [metadata.get("heading") or Path(metadata["source"]).stem for metadata in metadatas]


def test_words_find_the_right_picture_and_the_right_passage(shown):
    _, sections = shown
    by_query = {section.heading: found(section) for section in sections}
    for words, passage, picture in (
        ("violin", "Violin", "violin"),
        ("a lucky plant", "Four leaf clover", "four_leaf_clover"),
        ("three red stars", "Three red stars", "three_red_stars"),
    ):
        assert {passage, picture} <= set(by_query[words])
    charts = [name for name in by_query["a pie chart"] if name.endswith("_pie_chart")]
    assert charts
    assert "Pie chart" in by_query["a pie chart"]


def test_a_picture_finds_its_passage_and_its_look_alike(shown):
    _, sections = shown
    asked = [section for section in sections if section.query_image is not None]
    assert [found(section)[:2] for section in asked] == [["tram", "Tram"], ["doughnut", "Doughnut"]]


def test_the_answer_cites_the_passage_it_quotes(shown):
    _, sections = shown
    (answered,) = [section for section in sections if section.answer]
    number = found(answered).index("Anchor") + 1
    assert re.search(rf"lies on the square.*\[{number}\]", answered.answer)


def test_charts_are_named_without_training(shown):
    _, sections = shown
    right, total = map(int, re.search(r"(\d+) of (\d+) charts", sections[-1].note).groups())
    assert total == len(CHARTS)
    assert right >= 0.9 * total


def test_a_second_run_does_nothing_twice_and_the_page_is_written(shown, capsys):
    folder, sections = shown
    run_demo(folder)
    printed = capsys.readouterr().out
    assert printed.startswith("This is a small model that only knows these pictures")
    assert "0 files added, 0 updated, " in printed
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("<section>") == len(sections)
    assert page.count("<img ") > 20


def test_the_lines_for_your_own_folder_run(shown, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_folder").mkdir()
    draw_thing("dog").save(tmp_path / "my_folder" / "dog.png")
    exec(YOUR_OWN.replace("ViT-B-32", "mmrag-tiny"), {})
    assert "dog.png" in capsys.readouterr().out
