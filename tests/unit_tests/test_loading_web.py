"""Web pages and Markdown: passages under their headings, tables, and pictures in place."""

from __future__ import annotations

import base64
import io
import logging

import pytest
from PIL import Image

from langchain_mmrag.document_loaders._ids import file_document_id
from langchain_mmrag.document_loaders.html import HTMLLoader
from langchain_mmrag.document_loaders.markdown import MarkdownLoader
from langchain_mmrag.document_loaders.text import TextLoader
from langchain_mmrag.errors import CorruptMediaError, UnsafeSourceError, UnsupportedFormatError
from langchain_mmrag.media import MediaPolicy, image_facts

COLOURS = {"red": (220, 20, 20), "blue": (20, 20, 220), "green": (20, 160, 20)}


def png(colour="red", size=(80, 60)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).save(data, "PNG")
    return data.getvalue()


def data_uri(colour="green", size=(80, 60)) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(colour, size)).decode()}"


@pytest.fixture
def folder(tmp_path):
    """A folder `site` with pictures, beside one that no page in it may show."""
    site = tmp_path / "site"
    (site / "page_files").mkdir(parents=True)
    (site / "red.png").write_bytes(png("red"))
    (site / "page_files" / "blue sky.png").write_bytes(png("blue"))
    (site / "dot.gif").write_bytes(png("red", (8, 8)))
    (site / "broken.png").write_bytes(png("red")[:70])
    (tmp_path / "private.png").write_bytes(png("green"))
    return site


@pytest.fixture
def load(folder):
    """Documents and problems of a page with the text given, by name of its file."""

    def loaded(text, name="page.html", **options):
        path = folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        loader_class = MarkdownLoader if name.endswith(".md") else HTMLLoader
        loader = loader_class(path, media_directory=folder.parent / "kept", **options)
        return loader.load(), [str(problem) for problem in loader.problems]

    return loaded


def of(documents, modality):
    return [one for one in documents if one.metadata.get("modality", "text") == modality]


def texts(documents):
    return "\n".join(one.page_content for one in of(documents, "text"))


SEEN = [
    ("<p>Seen <b>bold</b> words", "Seen bold words"),
    ("<p>one<br>two", "one\ntwo"),
    ("<ul><li>one<ul><li>deep</ul><li>two</ul>", "- one\n  - deep\n- two"),
    ("<ol start=3><li>three<li>four</ol>", "3. three\n4. four"),
    ("<dl><dt>term<dd>meaning</dl>", "term\n\nmeaning"),
    ("<pre>def f():\n    return 1</pre>", "```\ndef f():\n    return 1\n```"),
    ("<p>a &amp; b &eacute; &#8211; c", "a & b é – c"),
    ('<a href="https://example.org/very/long">link</a>', "link"),
    ("<table><tr><td><h3>Menu</h3><p>layout</td><td>side</td></tr></table>", "Menu\n\nlayout\n\nside"),
    ("<table role=presentation><tr><td>a<td>b<tr><td>c<td>d</table>", "a\n\nb\n\nc\n\nd"),
    ("<h2>Empty section</h2><h2>Next</h2><p>words", "Empty section\nNext\n\nwords"),
    ("<h1>Outer</h1><h2>Inner</h2><p>words", "Inner\n\nwords"),
]


@pytest.mark.parametrize(("html", "text"), SEEN)
def test_what_a_reader_of_a_page_sees_is_its_text(load, html, text):
    documents, problems = load(html)
    assert (texts(documents), problems) == (text, [])


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>secret()</script>",
        "<style>.secret {}</style>",
        "<nav>secret</nav>",
        "<div role=navigation>secret</div>",
        "<template><p>secret</template>",
        "<noscript>secret</noscript>",
        "<div hidden><p>secret</p></div>",
        '<div style="color: red; display : none">secret<div>secret</div></div>',
        "<span aria-hidden=true>secret</span>",
        "<!-- secret -->",
        "<svg><text>secret</text></svg>",
        "<button>secret</button>",
        "<head><title>t</title><meta content=secret></head>",
    ],
)
def test_what_a_reader_of_a_page_does_not_see_is_left_out(load, hidden):
    documents, _ = load(f"{hidden}<p>plain words</p>")
    assert texts(documents) == "plain words"


def test_a_page_says_its_title_and_address(load):
    head = '<title> Sea\n marks </title><link rel="canonical" href="https://me:pw@example.org/sea">'
    documents, _ = load(f"<html><head>{head}</head><body><h1>Top</h1><p>words</body>")
    assert documents[0].metadata["title"] == "Sea marks"
    assert documents[0].metadata["url"] == "https://example.org/sea"
    assert documents[0].metadata["heading"] == "Top"
    saved, _ = load("<!-- saved from url=(0019)https://example.org/x --><html><p>words")
    assert saved[0].metadata["url"] == "https://example.org/x"
    assert "url" not in load('<link rel=canonical href="javascript:alert(1)"><p>words')[0][0].metadata


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("<meta charset=latin-1><p>Küste".encode("latin-1"), "Küste"),
        ("<meta charset=latin-1><p>Küste".encode(), "Küste"),  # saved anew, and the line forgotten
        (
            '<meta http-equiv=Content-Type content="text/html; charset=windows-1251"><p>Маяк'.encode(
                "cp1251"
            ),
            "Маяк",
        ),
        ("<meta charset=shift_jis><p>灯台".encode("shift_jis"), "灯台"),
        ('<?xml version="1.0" encoding="iso-8859-2"?><html><p>Łódź</p></html>'.encode("iso-8859-2"), "Łódź"),
        ("<p>Küste".encode("utf-16"), "Küste"),
        ("<meta charset=utf-8><p>Küste".encode("utf-8-sig"), "Küste"),
        ("<p>“Küste”".encode("cp1252"), "“Küste”"),
        ("<meta charset=nonsense><p>Küste".encode("cp1252"), "Küste"),
        ("<meta charset=base64><p>Küste".encode("cp1252"), "Küste"),
    ],
)
def test_pages_are_read_in_the_encoding_they_are_in(load, data, text):
    assert texts(load(data)[0]) == text


def test_a_table_is_a_document_that_repeats_what_spans_several_cells(load):
    html = """<h2>Fees</h2><p>What it costs.</p><table><caption>Fees of 2024</caption><thead><tr><th>Who<th>Day
        <th>Fee</thead><tr><td rowspan=2>Child<td>Mon<td>4<tr><td>Sun<td>5 | 6<tr><td colspan=2>Dog<td></table>"""
    documents, problems = load(html)
    (table,) = of(documents, "table")
    assert table.page_content == (
        "Fees of 2024\n\n| Who | Day | Fee |\n|---|---|---|\n| Child | Mon | 4 |\n| Child | Sun | 5 \\| 6 |\n| Dog | Dog |  |"
    )
    assert table.metadata["caption"] == "Fees of 2024"
    assert table.metadata["heading"] == "Fees"
    assert table.metadata["near_id"] == documents[0].id
    assert texts(documents) == "Fees\n\nWhat it costs."
    assert problems == []


PICTURES = [
    ('<img src="red.png" alt="a red field">', "a red field"),
    ('<img src="./red.png?v=3#top" title="from the title">', "from the title"),
    ('<img src="page_files/blue%20sky.png" alt="sky">', "sky"),
    ('<img src="/red.png" alt="from the root of the site">', "from the root of the site"),
    (
        f'<figure><img src="{data_uri()}" alt="x"><figcaption>A <i>green</i> field</figcaption></figure>',
        "A green field",
    ),
    ('<img src="data:image/gif;base64,R0lGODlh" data-src="red.png" alt="late">', "late"),
    ('<img srcset="red.png 2x, other.png 3x" alt="from a set">', "from a set"),
    ('<table><tr><th>a<th>b<tr><td><img src="red.png" alt="in a cell"><td>1</table>', "in a cell"),
]


@pytest.mark.parametrize(("html", "caption"), PICTURES)
def test_a_picture_is_a_document_with_its_caption_near_its_passage(load, html, caption):
    documents, problems = load(f"<h1>Top</h1><p>words before</p>{html}<h1>Other</h1><p>words after</p>")
    (picture,) = of(documents, "image")
    assert picture.page_content == picture.metadata["caption"] == caption
    assert picture.metadata["heading"] == "Top"
    near = next(one for one in documents if one.id == picture.metadata["near_id"])
    assert near.metadata["heading"] == "Top"
    assert image_facts(picture.metadata["path"]).sha256 == picture.metadata["sha256"]
    assert problems == []


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<img src="dot.gif" alt="a spacer">', ""),
        ('<img src="red.png" width=1 height=1>', ""),
        (
            '<img src="https://127.0.0.1/a.png" alt="remote"><img src="https://127.0.0.1/a.png">',
            "addresses that are not fetched (see fetch_images): 1 (https://127.0.0.1/a.png)",
        ),
        ('<img src="//127.0.0.1/track.png">', "not fetched"),
        ('<base href="https://127.0.0.1/"><img src="red.png">', "not fetched"),
        ('<img src="blob:1234">', ""),
        ('<img src="../private.png">', "outside the folder of the page"),
        ('<img src="%2e%2e/private.png">', "outside the folder of the page"),
        ('<img src="link.png">', "outside the folder of the page"),
        ('<img src="/etc/passwd">', "outside the folder of the page"),
        ('<img src="file:///etc/passwd">', "outside the folder of the page"),
        ('<img src="gone.png"><img src="lost.png">', "cannot be found: 2 (gone.png, lost.png)"),
        ('<img src="broken.png">', "broken: 1 (broken.png)"),
        ('<img src="page.html">', "formats that are not read"),
        (f'<img src="{"a" * 5000}.png">', "broken: 1"),
    ],
)
def test_what_is_no_picture_of_the_page_is_left_alone(load, folder, html, problem):
    (folder / "link.png").symlink_to(folder.parent / "private.png")
    documents, problems = load(f"<p>words</p>{html}<p>more words</p>")
    assert of(documents, "image") == []
    assert "more words" in texts(documents)
    assert [problem in one for one in problems] == ([True] if problem else [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.html", '<p>words</p><p><img src="gone.png" alt="missing"></p>'),
        ("page.md", 'words\n\n<img src="gone.png" alt="missing">'),
        ("page.md", "words\n\n- ![missing](gone.png)"),
    ],
)
def test_what_stands_in_place_of_a_lost_picture_is_no_passage(load, name, text):
    documents, problems = load(text, name)
    assert "missing" not in texts(documents)
    assert len(problems) == 1


def test_the_caption_of_a_lost_picture_stays(load):
    page = '<p>words</p><figure><img src="gone.png" alt="x"><figcaption>A gull</figcaption></figure>'
    assert texts(load(page)[0]) == "words\n\nA gull"


def test_pictures_beside_the_folder_are_read_where_the_root_is_wider_and_the_policy_agrees(load, folder):
    page = '<p>words <img src="../private.png" alt="kept back">'
    wide = {"picture_root": folder.parent}
    assert len(of(load(page, **wide)[0], "image")) == 1
    assert len(of(load(page, **wide, media_policy=MediaPolicy(roots=(folder.parent,)))[0], "image")) == 1
    documents, problems = load(page, **wide, media_policy=MediaPolicy(roots=(folder,)))
    assert of(documents, "image") == []
    assert "outside" in problems[0]


def test_a_picture_that_is_a_file_of_its_own_counts_as_that_files_document(load, folder):
    for name, text in (("page.html", '<p>words <img src="red.png">'), ("page.md", "words ![](red.png)")):
        (picture,) = of(load(text, name)[0], "image")
        path = str(folder / "red.png")
        assert picture.metadata["path"] == path
        assert picture.metadata["parent_id"] == file_document_id(path, image_facts(path).sha256)


def test_a_picture_shown_twice_is_one_document(load):
    documents, _ = load('<p>a <img src="red.png" alt="first"></p><p>b <img src="./red.png" alt="second"></p>')
    assert [one.page_content for one in of(documents, "image")] == ["first"]


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 50_000 + "words",
        "<ul><li>" * 10_000 + "words",
        "<table><tr><td>" * 10_000 + "words",
        "<figure>" * 10_000 + "words",
        "<b>" * 20_000 + "words",
        f'<p>words<img src="data:image/png;base64,{"A" * 2_000_000}">',
        "<p>words" + "</div>" * 20_000,
    ],
)
def test_pages_made_to_exhaust_their_reader_do_not(load, html):
    assert "words" in texts(load(html)[0])


def test_a_page_without_anything_to_read_is_an_error(load):
    for page in ("<html></html>", "<script>x</script>", "   \n"):
        with pytest.raises(CorruptMediaError, match="holds nothing"):
            load(page)
    with pytest.raises(UnsupportedFormatError, match="zero bytes"):
        load(b"<p>\0\1\2")
    with pytest.raises(CorruptMediaError, match="empty"):
        load("")
    with pytest.raises(UnsafeSourceError, match="max_bytes"):
        load("<p>too long", media_policy=MediaPolicy(max_bytes=5))


def test_long_code_is_cut_between_lines_and_keeps_its_fences(load):
    code = "\n".join(f"value_{n} = compute(argument_{n}, {n})" for n in range(40))
    documents, _ = load(f"<h1>Code</h1><pre>{code}</pre>")
    assert len(documents) > 3
    lines = [line for one in documents for line in one.page_content.split("\n")[3:-1]]
    assert lines == code.split("\n")
    assert all(one.page_content.startswith("Code\n\n```\n") for one in documents)
    assert all(one.page_content.endswith("\n```") for one in documents)


def test_options_that_change_what_comes_out_are_in_the_fingerprint(load, folder):
    assert HTMLLoader("x.html").fingerprint == "html"
    assert (
        HTMLLoader("x.html", max_tokens=40, fetch_images=True).fingerprint
        == "html:max_tokens=40,fetch_images"
    )
    assert MarkdownLoader("x.md").fingerprint == ""
    assert MarkdownLoader("x.md", max_tokens=40).fingerprint == "markdown:max_tokens=40"


PLAIN = "# Title\n\nWords of one.\n\n- item\n- item\n\n```\n![code](red.png)\n| a | b |\n|---|---|\n```\n\n## Next\n\nMore | words."


def test_plain_markdown_is_what_a_text_file_is(folder):
    path = folder / "plain.md"
    path.write_text(PLAIN + " Many more words follow here." * 30)
    assert MarkdownLoader(path).load() == TextLoader(path).load()


MARKDOWN = """---
title: Sea marks
tags: [towers, sea]
date: 2024-05-01
---
# Towers

The tower ![in red](red.png) stands `![code](broken.png)` by the sea.

[![sky above](<page_files/blue sky.png>)](https://example.org/a)

| What | Cost |
|:-----|-----:|
| Paint ![green paint][g] | 40 \\| 41 |

After the table, ![a lost one](gone.png).

## Only a picture

<img src="broken.png" alt="cut off"> ![remote](https://127.0.0.1/x.png)

[g]: GREEN
"""


def test_markdown_gives_its_pictures_tables_and_header(load):
    documents, problems = load(MARKDOWN.replace("GREEN", data_uri()), "page.md")
    assert [(one.page_content, one.metadata["heading"]) for one in of(documents, "image")] == [
        ("in red", "Towers"),
        ("sky above", "Towers"),
        ("green paint", "Towers"),
    ]
    (table,) = of(documents, "table")
    assert table.page_content == "Towers\n\n| What | Cost |\n|---|---|\n| Paint green paint | 40 \\| 41 |"
    near = {one.page_content: one.metadata["near_id"] for one in of(documents, "image")}
    assert near == {"in red": documents[0].id, "sky above": documents[0].id, "green paint": table.id}
    passages = texts(documents)
    assert "The tower in red stands `![code](broken.png)` by the sea." in passages
    assert "sky above" not in passages
    assert "Paint" not in passages
    assert "After the table, a lost one." in passages
    assert "cut off" not in passages
    assert "remote" not in passages
    assert "title:" not in passages
    assert {one.metadata["title"] for one in documents} == {"Sea marks"}
    assert documents[0].metadata["tags"] == ["towers", "sea"]
    assert documents[0].metadata["date"] == "2024-05-01"
    assert sorted(one.partition(": ")[2] for one in problems) == [
        "pictures at addresses that are not fetched (see fetch_images): 1 (https://127.0.0.1/x.png)",
        "pictures that are broken: 1 (broken.png)",
        "pictures that cannot be found: 1 (gone.png)",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "---\nwords between\n---\nrules",
        "---\n" + "[" * 5_000 + "\n---\nrules",
        "---\na: &a [x, *a]\nb: *c\n---\nrules",
    ],
)
def test_what_is_no_header_stays_text(load, text):
    documents, _ = load(text, "page.md")
    assert documents[-1].page_content.endswith("rules")
    assert "title" not in documents[0].metadata


@pytest.mark.parametrize(
    "text",
    [
        "`" * 50_000,
        "![" * 20_000,
        "a|b\n---" + " " * 100_000 + "x",
        "|" * 10_000 + "\n" + "|-" * 10_000,
        "![](a " * 10_000,
        "![](red.png) ![a]( " + " " * 200_000,
        "![](red.png) x" + " " * 200_000 + "y",
        "![a\\]" * 20_000,
        f"<img {'a' * 200_000}>",
        f"---\ntags: 'a{' ' * 30_000}b'\n---\nwords",
        f"![words](data:image/png;base64,{'A' * 5_000_000})",
    ],
)
def test_markdown_made_to_exhaust_its_reader_does_not(load, text):
    assert load(f"words\n\n{text}", "page.md")[0]


def test_a_page_and_markdown_fetch_pictures_only_when_asked(load, folder, caplog):
    caplog.set_level(logging.CRITICAL)
    policy = MediaPolicy(allow_urls=False)
    for name, text in (
        ("p.html", '<p>w<img src="http://example.org/a.png">'),
        ("p.md", "w ![](http://example.org/a.png)"),
    ):
        (left_alone,) = load(text, name, media_policy=policy)[1]
        assert "not fetched (see fetch_images): 1" in left_alone
        (problem,) = load(text, name, media_policy=policy, fetch_images=True)[1]
        assert "refuses: 1 (http://example.org/a.png)" in problem


@pytest.mark.parametrize("name", ["page.html", "page.md"])
def test_a_picture_that_is_fetched_is_kept(load, folder, serve_folder, name):
    address = f"{serve_folder(folder).rstrip('/')}/red.png"
    text = (
        f"<p>words <img src='{address}' alt='from afar'>"
        if name == "page.html"
        else f"words ![from afar]({address})"
    )
    policy = MediaPolicy(allow_private_addresses=True)
    documents, problems = load(text, name, fetch_images=True, media_policy=policy)
    (picture,) = of(documents, "image")
    assert picture.page_content == "from afar"
    assert picture.metadata["path"].startswith(str(folder.parent / "kept"))
    assert picture.metadata["sha256"] == image_facts(folder / "red.png").sha256
    assert problems == []
