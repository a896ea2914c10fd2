"""Hits as a page and as the output of a notebook: self-contained, escaped, with pictures only as far as the policy goes."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document
from PIL import Image

from langchain_mmrag.display import Section, hits_html, page_html, show
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
    assert page.all("a")[-1]["href"].startswith("https://x.test/%3Cscript%3E")
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
    assert "picture not shown: the media policy forbids opening it" in page.text
    assert str(tmp_path) not in page.text


def test_a_password_in_an_address_is_on_no_page():
    document = Document(page_content="x", metadata={"source": "https://ida:secret@x.test/a.md?v=2"})
    for html in (hits_html("q", [document]), html_of([document])):
        assert "secret" not in html
        assert Page(html).all("a")[0]["href"] == "https://x.test/a.md?v=2"


def test_a_missing_picture_leaves_a_note_in_its_place(tmp_path):
    page = Page(hits_html("q", [(image_document(tmp_path / "gone.png"), 1.0)]))
    assert page.all("img") == []
    assert "picture not shown: its file can no longer be opened" in page.text
    assert page.text.count("gone.png") == 1
    assert str(tmp_path) not in page.text


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


ANSWER = "All [1-3], two [1, 3], 【2】, none [9], some [3, 9]; `a[1]`."


def test_every_spelling_of_a_citation_leads_to_the_hits_and_none_to_nothing():
    hits = [Document(page_content=word) for word in ("one", "two", "three")]
    expected = [1, 3, 1, 3, 2, 3]
    for page in (Page(hits_html("q", hits, answer=ANSWER)), Page(html_of(hits, answer=ANSWER))):
        links = [link["href"].rpartition("-") for link in page.all("a")]
        assert [int(number) for _, _, number in links] == expected
        anchors = {each["id"] for tag in ("li", "td") for each in page.all(tag) if "id" in each}
        assert {f"{anchor}-{number}".lstrip("#") for anchor, _, number in links} <= anchors
        assert ANSWER in page.text
    assert show(hits, answer=ANSWER).cited == {1, 2, 3}
    assert show(hits[:1], answer="`[1]`").cited == set()


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


# --- an output of a notebook ---------------------------------------------------------------------------------


def html_of(*arguments, **options):
    return show(*arguments, **options)._repr_html_()


def test_an_output_shows_hits_as_cards_with_small_pictures(wide):
    passage = Document(
        page_content="Boats\n\nThe ferry.", metadata={"source": "boats.md", "heading": "Boats"}
    )
    page = Page(html_of([(image_document(wide, "A blue field"), 0.912), passage], query="blue"))
    (image,) = page.all("img")
    assert picture_of(image).size == (150, 75)
    assert (image["width"], image["height"]) == ("150", "75")
    assert "blue" in page.text
    assert "1 · picture · 0.91wide & blue.pngA blue field" in page.text
    assert "2 · passageboats.mdBoatsThe ferry." in page.text


def test_an_output_needs_no_styles_scripts_or_addresses(wide):
    html = html_of([image_document(wide)], answer="Blue [1].")
    page = Page(html)
    assert {name for name, _ in page.tags} <= {
        "table",
        "tr",
        "td",
        "div",
        "img",
        "br",
        "b",
        "small",
        "a",
        "blockquote",
    }
    assert not re.search(r"url\(|class=|https?:|file:", html)
    assert {attributes.get("align") for attributes in page.all("div")} == {"left"}


def test_an_output_tells_nothing_of_the_machine(wide, tmp_path):
    gone = image_document(tmp_path / "gone.png")
    forbidden = html_of([image_document(wide)], media_policy=MediaPolicy(roots=(tmp_path / "elsewhere",)))
    missing = show([gone, image_document(wide)])
    for text in (forbidden, missing._repr_html_(), repr(missing)):
        assert str(tmp_path) not in text
    assert "the media policy forbids opening it" in forbidden
    assert "picture not shown: its file can no longer be opened" in missing._repr_html_()


def test_outputs_escape_whatever_documents_answers_and_queries_hold(wide):
    evil = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
    result = {
        "input": evil,
        "context": [
            Document(page_content=evil, metadata={"source": f"https://x.test/{evil}", "heading": evil}),
            Document(
                page_content=f"| {evil} |\n|---|\n| {evil} |", metadata={"modality": "table", "source": evil}
            ),
            image_document(wide, evil),
        ],
        "answer": f"{evil} [1]",
        "removed_citations": [evil],
    }
    page = Page(html_of(result))
    assert not page.all("script")
    assert len(page.all("img")) == 1
    assert {key for _, attributes in page.tags for key in attributes if key.startswith("on")} == set()


def test_a_picture_in_an_output_is_bounded_in_bytes(tmp_path):
    path = tmp_path / "noise.png"
    pixels = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    assert len(html_of([image_document(path)] * 10)) < 10 * 21_000


def test_a_chain_s_result_links_its_citations_and_marks_what_is_cited():
    result = {
        "input": "Where?",
        "context": [Document(page_content="one"), Document(page_content="two")],
        "answer": "Here [2], not there [7].",
        "citations": [{"number": 2, "source": "two", "link": None, "id": None}],
        "removed_citations": ["[9]"],
    }
    page = Page(html_of(result))
    anchors = [attributes["id"] for attributes in page.all("td") if "id" in attributes]
    assert [link["href"] for link in page.all("a")] == [f"#{anchors[1]}"]
    assert "point at nothing: [9]" in page.text
    cited = [attributes for attributes in page.all("td") if "border-width:2px" in attributes["style"]]
    assert [attributes["id"] for attributes in cited] == [anchors[1]]


def test_a_chain_s_result_without_an_answer_or_hits_is_shown_as_far_as_it_goes(wide):
    assert "Nothing was found." in html_of({"input": "Where?", "context": [], "answer": "No."})
    bare = Page(html_of({"input": "like this", "image": wide, "context": [Document(page_content="one")]}))
    assert len(bare.all("img")) == 1
    assert "like this" in bare.text
    assert not bare.all("blockquote")


def test_outputs_of_one_notebook_do_not_share_anchors():
    ids = [
        attributes["id"]
        for word in ("one", "two")
        for attributes in Page(html_of([Document(page_content=word)])).all("td")
        if "id" in attributes
    ]
    assert len(set(ids)) == 2


def test_the_same_output_comes_out_the_same(wide):
    assert html_of([image_document(wide)]) == html_of([image_document(wide)])


def test_a_moment_of_a_video_shows_its_key_frame_and_links_to_its_second(wide):
    moment = {"modality": "video", "source": "https://x.test/a.mp4", "start_s": 12, "end_s": 15}
    page = Page(html_of([Document(page_content="A whale!", metadata={**moment, "thumbnail": str(wide)})]))
    assert len(page.all("img")) == 1
    assert page.all("a")[0]["href"] == "https://x.test/a.mp4#t=12,15"


def test_a_table_in_markdown_is_a_small_table():
    text = "| boat | seats |\n|---|---|\n" + "\n".join(f"| boat {n} | {n} |" for n in range(50))
    page = Page(html_of([Document(page_content=text, metadata={"modality": "table", "source": "boats.csv"})]))
    assert "boatseatsboat 00boat 11" in page.text
    assert "boat 6" not in page.text
    assert "…" in page.text


@pytest.mark.parametrize("made", [lambda hit: hits_html("lamp", [hit]), lambda hit: html_of([hit])])
def test_a_table_shows_the_rows_that_were_found_below_its_header(made):
    rows = [f"| boat {n} | a\\|b <i> {n} |" for n in range(50)]
    text = "\n".join(["Boats of the harbour", "", "| boat | seats |", "|---|---|", *rows])
    found = {"chunk": rows[30], "chunk_start": text.index(rows[30])}
    hit = Document(page_content=text, metadata={"modality": "table", "source": "boats.csv", **found})
    page = Page(made(hit))
    assert "Boats of the harbour" in page.text
    assert "boatseats…boat 30a|b <i> 30boat 31" in page.text.replace("\n", "")
    assert "---" not in page.text
    assert "boat 29" not in page.text
    assert len(page.all("tr")) < 20
    photo = Document(page_content=text, metadata={"modality": "image", "source": "gone.png", "row": 30})
    assert "---" not in Page(made(photo)).text  # a picture in a table has its row as its text
    several_lines = Document(page_content="| no | table", metadata={"modality": "table", "source": "a.csv"})
    assert "| no | table" in Page(made(several_lines)).text


def test_half_a_character_breaks_no_page():
    broken = Document(page_content="half \ud83d of it", metadata={"source": "a.txt"})
    for html in (hits_html("half \ud83d", [broken]), html_of([broken])):
        assert "half ? of it" in html.encode().decode()


def test_a_figure_links_to_the_page_of_its_file_and_not_to_the_kept_picture(wide):
    kept = {
        "modality": "image",
        "source": "/papers/report.pdf",
        "path": str(wide),
        "page": 7,
        "bbox": [0, 0, 1, 1],
    }
    page = Page(hits_html("chart", [Document(page_content="A chart", metadata=kept)]))
    assert [link["href"] for link in page.all("a")] == ["file:///papers/report.pdf#page=7"]
    assert len(page.all("img")) == 1


def test_a_query_is_shown_by_itself_with_all_it_says(wide):
    query = Query(image=wide, text="at night", not_text="fog", weights={"image": 0.4}, modality="image")
    page = Page(html_of(query))
    assert len(page.all("img")) == 1
    for words in ("at night", "Not like: fog", "Weights: image 0.4", "Only of modality image"):
        assert words in page.text
    assert "Nothing was found" not in page.text
    assert "Like this picture" in Page(html_of(Query(image=wide))).text


def test_in_a_terminal_an_output_is_text(wide):
    shown = show([(image_document(wide, "A blue field"), 0.912)], query="blue", answer="Yes [1].")
    assert repr(shown) == "blue\n\nYes [1].\n\n  1    0.91  picture  wide & blue.png  A blue field"
    assert shown._repr_mimebundle_() == {"text/html": shown._repr_html_(), "text/plain": repr(shown)}
    assert repr(show([])) == "Nothing was found."


@pytest.mark.parametrize("found", ["violin", 3, [3], [("x", 1.0)], ["a document"]])
def test_what_cannot_be_shown_is_refused_with_its_kind(found):
    with pytest.raises(TypeError, match=r"show takes documents|hit 0 is a"):
        show(found)


def test_one_document_and_a_generator_are_hits_too():
    document = Document(page_content="x")
    assert show(document).hits == show(each for each in [document]).hits == ((document, None),)


def test_without_a_policy_the_default_one_rules(wide):
    for html in (html_of([image_document(wide)], media_policy=None), hits_html("q", [image_document(wide)])):
        assert len(Page(html).all("img")) == 1


def test_a_mapping_that_is_no_result_and_columns_below_one_are_refused():
    with pytest.raises(ValueError, match=r"'context'; this mapping has \['answer'\]"):
        show({"answer": "x"})
    with pytest.raises(ValueError, match="columns is 0"):
        show([], columns=0)


def test_a_notebook_that_loads_the_extension_shows_queries():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.extension_manager.load_extension("langchain_mmrag.display")
    data, _ = shell.display_formatter.format(Query(text="red lighthouse"))
    assert "red lighthouse" in data["text/html"]
    shell.extension_manager.unload_extension("langchain_mmrag.display")
    assert "text/html" not in shell.display_formatter.format(Query(text="red lighthouse"))[0]
