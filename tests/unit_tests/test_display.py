"""Hits as a page: self-contained, escaped, with pictures only as far as the policy goes."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from langchain_core.documents import Document
from PIL import Image

from langchain_mmrag.display import Section, hits_html, page_html
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.queries import Query


class Page(HTMLParser):
    """What a page holds: tags with their attributes, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self._hidden = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag in ("style", "title")

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden:
            self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def image_document(path: Path | str, caption: str = "") -> Document:
    return Document(page_content=caption, metadata={"modality": "image", "source": str(path)})


def picture_of(attributes: dict) -> Image.Image:
    header, payload = attributes["src"].split(",", 1)
    assert re.fullmatch(r"data:image/(png|jpeg);base64", header)
    return Image.open(io.BytesIO(base64.b64decode(payload)))


@pytest.fixture
def wide(tmp_path) -> Path:
    path = tmp_path / "wide & blue.png"
    Image.new("RGB", (1000, 500), "blue").save(path)
    return path


def test_a_picture_is_shown_small_with_its_aspect_and_linked(wide):
    page = Page(hits_html("blue", [(image_document(wide, "A blue field"), 0.912)]))
    (image,) = page.all("img")
    shown = picture_of(image)
    assert shown.size == (320, 160)
    assert shown.convert("RGB").getpixel((5, 5))[2] > 240
    assert image["alt"] == "A blue field"
    assert page.all("a")[0]["href"] == wide.as_uri()
    assert "wide & blue.png" in page.text
    assert "0.91" in page.text
    assert "picture" in page.text


def test_a_passage_is_shown_with_its_heading_and_place():
    document = Document(
        page_content="Boats\n\nThe ferry leaves at noon.",
        metadata={"source": "/notes/boats.md", "heading": "Boats", "chunk": 0, "chunks": 1},
    )
    html = hits_html("ferry", [(document, None)])
    assert "<strong>Boats</strong>The ferry leaves at noon." in html
    page = Page(html)
    assert page.all("a")[0]["href"] == "file:///notes/boats.md"
    assert not page.all("img")


def test_everything_from_documents_and_queries_is_escaped():
    evil = "<script>alert(1)</script>\"'&"
    document = Document(page_content=evil, metadata={"source": f"https://x.test/{evil}", "heading": evil})
    page = Page(hits_html(evil, [(document, 1.0)], answer=f"{evil} [1]"))
    assert not page.all("script")
    assert page.text.count("<script>alert(1)</script>") >= 3
    assert page.all("a")[-1]["href"].startswith("https://x.test/<script>")
    assert {name for name, attributes in page.tags for key in attributes if key.startswith("on")} == set()


@pytest.mark.parametrize("source", ["javascript:alert(1)", "data:text/html,x", "relative/a.md", "vbscript:x"])
def test_only_web_pages_and_local_files_are_links(source):
    page = Page(hits_html("q", [(Document(page_content="x", metadata={"source": source}), 1.0)]))
    assert page.all("a") == []


def test_the_page_asks_for_nothing_from_outside(wide):
    html = hits_html("q", [(image_document(wide), 1.0)])
    page = Page(html)
    assert page.all("link") == page.all("script") == page.all("iframe") == []
    assert "default-src 'none'" in page.all("meta")[2]["content"]
    assert "url(" not in html


def test_a_picture_the_policy_refuses_is_named_and_not_shown(wide, tmp_path):
    policy = MediaPolicy(roots=(tmp_path / "elsewhere",))
    page = Page(hits_html("q", [(image_document(wide), 1.0)], media_policy=policy))
    assert page.all("img") == []
    assert "wide & blue.png" in page.text


def test_a_missing_picture_leaves_a_note_in_its_place(tmp_path):
    page = Page(hits_html("q", [(image_document(tmp_path / "gone.png"), 1.0)]))
    assert page.all("img") == []
    assert page.text.count("gone.png") >= 2


def test_the_picture_asked_with_is_shown(wide):
    page = Page(hits_html(Query(text="like this", image=wide), []))
    assert picture_of(page.all("img")[0]).size == (320, 160)
    assert "like this" in page.text
    assert "Nothing was found." in page.text


def test_a_query_of_a_picture_alone_is_named_by_its_source(wide):
    assert "wide & blue.png" in Page(hits_html(Query(image=wide), [])).text


def test_what_is_not_wanted_is_said(wide):
    page = Page(hits_html(Query(text="sea", not_text="<fog>", not_image=wide), []))
    assert "Not like: <fog>, " in page.text
    assert "wide & blue.png" in page.text
    assert "Not like" not in hits_html(Query(text="sea"), [])


def test_citations_in_the_answer_lead_to_the_hits():
    hits = [(Document(page_content=word), None) for word in ("one", "two")]
    page = Page(hits_html("q", hits, answer="First [1], then [2]."))
    anchors = [attributes["id"] for attributes in page.all("li")]
    assert [link["href"] for link in page.all("a")] == [f"#{anchor}" for anchor in anchors]


def test_a_page_of_several_queries_keeps_their_anchors_apart():
    hits = [(Document(page_content="one"), None)]
    sections = [Section(heading=word, hits=hits, note="why", answer="[1]") for word in ("first", "second")]
    page = Page(page_html("Harbour & town", sections, intro="What this is."))
    assert [attributes["id"] for attributes in page.all("li")] == ["s1-1", "s2-1"]
    assert [link["href"] for link in page.all("a")] == ["#s1-1", "#s2-1"]
    assert "Harbour & town" in page.text
    assert "What this is." in page.text


def test_a_long_passage_is_shortened_at_a_word():
    text = "word " * 400
    page = Page(hits_html("q", [(Document(page_content=text), 1.0)]))
    assert "word …" in page.text
    assert len(page.text) < 1000
