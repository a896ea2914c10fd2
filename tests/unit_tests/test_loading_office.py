"""Word documents and presentations, made by python-docx and python-pptx, whole and spoilt."""

from __future__ import annotations

import io
import zipfile

import pytest
from PIL import Image

from langchain_mmrag.document_loaders import _zip
from langchain_mmrag.document_loaders.docx import DocxLoader
from langchain_mmrag.document_loaders.pptx import PptxLoader
from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsafeSourceError, UnsupportedFormatError
from langchain_mmrag.media import MediaPolicy, open_image

COLOURS = {"red": (220, 20, 20), "blue": (20, 20, 220), "green": (20, 160, 20), "grey": (120, 120, 120)}
EMF = b"\x01\0\0\0" + b"\0" * 36 + b" EMF" + b"\0" * 100
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600


def picture(colour="red", size=(80, 60)):
    data = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).save(data, "PNG")
    data.seek(0)
    return data


def fill(table, rows):
    for row, texts in enumerate(rows):
        for column, text in enumerate(texts):
            table.cell(row, column).text = text


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A Word document of sections, lists, a table, pictures with and without caption, and a footnote."""
    import docx

    document = docx.Document()
    document.core_properties.title = "Annual report"
    document.add_heading("Report of the year", 0)
    document.add_paragraph("Opening words.")
    document.add_heading("Towers", 1)
    document.add_paragraph("The red tower stands by the sea.")
    document.add_picture(picture("red"))
    document.add_paragraph("Figure 1: A red tower", "Caption")
    document.add_paragraph("First of all", "List Bullet")
    document.add_paragraph("Then this", "List Bullet")
    document.add_heading("Costs", 2)
    document.add_paragraph("Table 1: What towers cost", "Caption")
    fill(document.add_table(3, 2), [("What", "Cost"), ("Paint", "40"), ("Lamp", "900")])
    document.add_picture(picture("blue"))
    document.inline_shapes[1]._inline.docPr.set("descr", "a blue tower by night")
    document.add_picture(picture("grey", (16, 16)))
    path = tmp_path_factory.mktemp("docx") / "report.docx"
    document.save(path)
    return path


@pytest.fixture(scope="module")
def deck(tmp_path_factory):
    """Three slides: words, notes and a grouped picture; table, chart and cropped picture; a placeholder's picture."""
    from pptx import Presentation
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches

    deck = Presentation()
    deck.core_properties.title = "Sea marks"
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Red towers"
    lower = slide.shapes.add_textbox(Inches(1), Inches(7), Inches(2), Inches(0.3))
    lower.text_frame.text = "Last words"
    slide.placeholders[1].text = "First point"
    nested = slide.placeholders[1].text_frame.add_paragraph()
    nested.text, nested.level = "nested point", 1
    group = slide.shapes.add_group_shape()
    group.shapes.add_picture(picture("red"), Inches(1), Inches(4), Inches(2), Inches(1.5))
    group.shapes.add_textbox(
        Inches(1), Inches(5.6), Inches(2), Inches(0.3)
    ).text_frame.text = "A tower at dawn"
    group.left, group.width = Inches(2), group.width * 2
    slide.notes_slide.notes_text_frame.text = "Mention the lamp"
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Costs"
    fill(
        slide.shapes.add_table(3, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table,
        [("What", "Cost"), ("Paint", "40"), ("Lamp", "900")],
    )
    data = CategoryChartData()
    data.categories = ["spring", "summer"]
    data.add_series("Visitors", (10, 20.5))
    data.add_series("Ships", (1, None))
    frame = slide.shapes.add_chart(XL_CHART_TYPE.LINE, Inches(1), Inches(4), Inches(4), Inches(3), data)
    frame.chart.has_title = True
    frame.chart.chart_title.text_frame.text = "Traffic"
    halves = Image.new("RGB", (100, 60), COLOURS["blue"])
    halves.paste(COLOURS["green"], (50, 0, 100, 60))
    stored = io.BytesIO()
    halves.save(stored, "PNG")
    shown = slide.shapes.add_picture(stored, Inches(6), Inches(1))
    shown.crop_left = 0.5
    shown._element.nvPicPr.cNvPr.set("descr", "the green half")
    slide.shapes.add_picture(picture("red"), Inches(8), Inches(6))  # again
    slide = deck.slides.add_slide(deck.slide_layouts[8])
    slide.placeholders[1].insert_picture(picture("grey", (200, 100)))
    path = tmp_path_factory.mktemp("pptx") / "deck.pptx"
    deck.save(path)
    return path


@pytest.fixture
def load(tmp_path):
    """Documents and problems of a file."""

    def loaded(path, **options):
        loader_class = DocxLoader if ".docx" in path.name else PptxLoader
        loader = loader_class(path, media_directory=tmp_path / "kept", **options)
        return loader.load(), [str(problem) for problem in loader.problems]

    return loaded


def rewritten(path, target, change):
    """A copy of an archive whose entries are what `change` makes of name and bytes; `None` leaves one out."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if (data := change(name, old.read(name))) is not None:
                new.writestr(name, data)
    return target


@pytest.fixture
def changed(report, deck, tmp_path):
    """Path of a copy of `report` or `deck`, by suffix, with other entries."""
    return lambda suffix, change: rewritten(
        report if suffix == "docx" else deck, tmp_path / f"changed.{suffix}", change
    )


def rows(documents):
    """Modality, text, heading and page of each document."""
    return [
        (
            one.metadata.get("modality", "text"),
            one.page_content,
            one.metadata.get("heading"),
            one.metadata.get("page"),
        )
        for one in documents
    ]


def colour(document):
    return open_image(document.metadata["path"]).getpixel((5, 5))


def test_a_word_document_gives_its_sections_lists_tables_and_pictures(report, load):
    documents, problems = load(report)
    table = "Table 1: What towers cost\n\n| What | Cost |\n|---|---|\n| Paint | 40 |\n| Lamp | 900 |"
    towers = "Towers\n\nThe red tower stands by the sea.\n- First of all\n- Then this"
    assert rows(documents) == [
        ("text", "Report of the year\n\nOpening words.", "Report of the year", None),
        ("text", towers, "Towers", None),
        ("image", "Figure 1: A red tower", "Towers", None),
        ("table", table, "Costs", None),
        ("image", "a blue tower by night", "Costs", None),
    ]
    assert problems == []
    assert {one.metadata["title"] for one in documents} == {"Annual report"}
    assert [colour(one) for one in (documents[2], documents[4])] == [COLOURS["red"], COLOURS["blue"]]
    assert documents[2].metadata["near_id"] == documents[1].id
    assert documents[4].metadata["near_id"] == documents[3].id


def test_footnotes_stand_at_the_end_in_no_section(report, load, tmp_path):
    note = (
        '<w:footnotes xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
        '<w:footnote w:id="2"><w:p><w:r><w:t>The lamp was lit in 1901.</w:t></w:r></w:p></w:footnote></w:footnotes>'
    )
    called = b'by the sea.</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r>'

    def change(name, data):
        return data.replace(b"by the sea.</w:t></w:r>", called) if name == "word/document.xml" else data

    path = rewritten(report, tmp_path / "notes.docx", change)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("word/footnotes.xml", note)
    documents, _ = load(path)
    assert "stands by the sea.[1]" in documents[1].page_content
    assert documents[-1].page_content == "1. The lamp was lit in 1901."
    assert "heading" not in documents[-1].metadata


def test_a_slide_is_a_passage_and_what_lies_on_it_is_near(deck, load):
    documents, problems = load(deck)
    first = "Red towers\n\nFirst point\n  - nested point\n\nA tower at dawn\n\nLast words\n\nNotes: Mention the lamp"
    costs = "Costs\n\n| What | Cost |\n|---|---|\n| Paint | 40 |\n| Lamp | 900 |"
    chart = "Traffic\n\n|  | Visitors | Ships |\n|---|---|---|\n| spring | 10 | 1 |\n| summer | 20.5 |  |"
    assert rows(documents) == [
        ("text", first, "Red towers", 1),
        ("image", "A tower at dawn", "Red towers", 1),
        ("text", costs, "Costs", 2),
        ("table", chart, "Costs", 2),
        ("image", "the green half", "Costs", 2),
        ("image", "", None, 3),
    ]
    assert problems == []
    assert {one.metadata["title"] for one in documents} == {"Sea marks"}
    for near, number in ((0, 1), (2, 3), (2, 4)):
        assert documents[number].metadata["near_id"] == documents[near].id
    assert "near_id" not in documents[5].metadata


def test_pictures_of_slides_are_as_shown_and_where_shown(deck, load):
    pictures = [one for one in load(deck)[0] if one.metadata.get("modality") == "image"]
    assert [colour(one) for one in pictures] == [COLOURS["red"], COLOURS["green"], COLOURS["grey"]]
    assert (pictures[1].metadata["width"], pictures[1].metadata["height"]) == (50, 60)
    x0, y0, x1, y1 = pictures[0].metadata["bbox"]  # the group was moved to two inches, and made twice as wide
    assert (x0, x1) == (0.2, 0.6)
    assert (y0, y1) == (pytest.approx(4 / 7.5, abs=1e-4), pytest.approx(5.5 / 7.5, abs=1e-4))


def test_the_title_of_a_slide_is_no_caption_of_its_pictures(load, tmp_path):
    from pptx import Presentation
    from pptx.util import Inches

    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Towers"
    slide.shapes.add_picture(picture("red"), Inches(4), Inches(5))
    deck.save(tmp_path / "titled.pptx")
    shown = load(tmp_path / "titled.pptx")[0][1]
    assert shown.page_content == "Towers"
    assert "caption" not in shown.metadata


def test_notes_are_left_out_when_asked(deck, load):
    assert "lamp" not in load(deck, notes=False)[0][0].page_content
    assert (PptxLoader(deck).fingerprint, PptxLoader(deck, notes=False).fingerprint) == (
        "pptx",
        "pptx:no_notes",
    )
    assert (DocxLoader(deck).fingerprint, DocxLoader(deck, max_tokens=30).fingerprint) == (
        "docx",
        "docx:max_tokens=30",
    )


def test_a_long_table_of_a_slide_is_a_document_of_its_own(load, tmp_path):
    from pptx import Presentation
    from pptx.util import Inches

    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Costs"
    table = slide.shapes.add_table(15, 2, Inches(1), Inches(2), Inches(4), Inches(4)).table
    fill(table, [("What", "Cost"), *((f"item {n}", str(n)) for n in range(14))])
    deck.save(tmp_path / "long.pptx")
    passage, rest = load(tmp_path / "long.pptx")[0]
    assert passage.page_content == "Costs"
    assert rest.page_content.startswith("Costs\n\n| What | Cost |\n|---|---|\n| item 0 | 0 |")
    assert (rest.metadata["row"], rest.metadata["last_row"]) == (2, 15)


def test_slide_shows_are_read_like_presentations(deck, load, tmp_path):
    kinds = (b"presentationml.presentation.main", b"presentationml.slideshow.main")
    show = rewritten(deck, tmp_path / "show.pptx", lambda _name, data: data.replace(*kinds))
    assert rows(load(show)[0]) == rows(load(deck)[0])


SPOILT = [
    (
        "docx",
        lambda n, d: None if n == "word/document.xml" else d,
        CorruptMediaError,
        "cannot be read as a Word",
    ),
    (
        "docx",
        lambda n, d: d[:-50] if n == "word/document.xml" else d,
        CorruptMediaError,
        "cannot be read as a Word",
    ),
    (
        "docx",
        lambda n, d: d.replace(
            b"<w:body>", b"<w:body>" + b"<w:sdt><w:sdtContent>" * 3000 + b"</w:sdtContent></w:sdt>" * 3000, 1
        ),
        CorruptMediaError,
        "nested too deeply",
    ),
    (
        "docx",
        lambda n, d: d.replace(b"<w:document", b'<!DOCTYPE a [<!ENTITY b "b">]><w:document', 1),
        UnsafeSourceError,
        "document type",
    ),
    (
        "docx",
        lambda n, d: d.replace(b"<w:body>", b"<w:body>" + b"<w:p/>" * 500_001, 1),
        UnsafeSourceError,
        "more than 500,000 tags, which takes too long",
    ),
    (
        "pptx",
        lambda n, d: d.replace(b"presentationml.presentation.main", b"spreadsheetml.sheet.main"),
        CorruptMediaError,
        "presentation: it is not a PowerPoint file",
    ),
    ("docx", lambda n, d: bytes(20_000_000) if n.endswith(".png") else d, UnsafeSourceError, "grows"),
    (
        "pptx",
        lambda n, d: None if n == "ppt/presentation.xml" else d,
        CorruptMediaError,
        "cannot be read as a pres",
    ),
    (
        "pptx",
        lambda n, d: d[:-40] if n == "ppt/slides/slide2.xml" else d,
        CorruptMediaError,
        "cannot be read as a pres",
    ),
    (
        "pptx",
        lambda n, d: d.replace(b"<p:sld ", b'<!DOCTYPE a [<!ENTITY b "b">]><p:sld ', 1),
        UnsafeSourceError,
        "document type",
    ),
    (
        "pptx",
        lambda n, d: (
            d.decode()
            .replace("UTF-8", "UTF-16")
            .replace("<p:sld ", "<!DOCTYPE a><p:sld ", 1)
            .encode("utf-16")
            if n.endswith("slide1.xml")
            else d
        ),
        UnsafeSourceError,
        "document type",
    ),
]


@pytest.mark.parametrize("case", SPOILT)
def test_a_file_spoilt_as_a_whole_is_a_clear_error(load, changed, case):
    suffix, change, error, message = case
    path = changed(suffix, change)
    with pytest.raises(error, match=message) as raised:
        load(path)
    assert str(path) in str(raised.value)


DAMAGED = [
    ("docx", lambda n, d: d[:60] if n.endswith("image1.png") else d, 4, "broken: 1 (image/png)"),
    ("docx", lambda n, d: EMF if n.endswith("image1.png") else d, 4, "formats that are not read"),
    ("docx", lambda n, d: None if n.endswith("image1.png") else d, 4, "cannot be found: 1"),
    (
        "docx",
        lambda n, d: d.replace(
            b'Target="media/image1.png"', b'Target="http://127.0.0.1/x" TargetMode="External"'
        ),
        4,
        "cannot be found: 1",
    ),
    ("docx", lambda n, d: d.replace(b"r:embed=", b"r:link="), 3, ""),
    (
        "pptx",
        lambda n, d: EMF + n.encode() if n.endswith(".png") else d,
        3,
        "formats that are not read (such as EMF and WMF): 3 (slide 1, slide 2, slide 3)",
    ),
    ("pptx", lambda n, d: d[:60] if n.endswith("image2.png") else d, 5, "broken: 1 (slide 2)"),
    ("pptx", lambda n, d: None if n == "ppt/slides/slide2.xml" else d, 3, "slide 2 cannot be read"),
    (
        "pptx",
        lambda n, d: d.replace(
            b'Target="../media/image1.png"', b'Target="http://127.0.0.1/x" TargetMode="External"'
        ),
        5,
        "",
    ),
    ("pptx", lambda n, d: d.replace(b'ptCount val="2"', b'ptCount val="4000000000"'), 6, ""),
    (
        "pptx",
        lambda n, d: d.replace(b'<a:off x="', b'<a:off x="q') if n == "ppt/slides/slide2.xml" else d,
        6,
        "",
    ),
]


@pytest.mark.parametrize("case", DAMAGED)
def test_a_part_that_is_damaged_costs_no_other(load, changed, case):
    suffix, change, left, problem = case
    documents, problems = load(changed(suffix, change))
    assert len(documents) == left
    assert [problem in one for one in problems] == ([True] if problem else [])


def archive(entries, *, flags=0):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as target:
        for name, text in entries:
            target.writestr(name, text)
    whole = bytearray(data.getvalue())
    whole[whole.find(b"PK\x01\x02") + 8] |= flags
    return bytes(whole)


NO_ARCHIVES = [
    (b"", CorruptMediaError, "empty"),
    (b"plain words", CorruptMediaError, "broken or cut-off"),
    (archive([("a.xml", "x" * 1000)])[:-30], CorruptMediaError, "broken or cut-off"),
    (archive([("a.xml", "x" * 1000)]).replace(b"a.xml", b"b.xml", 1), CorruptMediaError, "broken or cut-off"),
    (
        archive([("a.xml", "x" * 1000)], flags=1),
        UnsupportedFormatError,
        "is encrypted: save it without a password",
    ),
    (archive((str(n), "") for n in range(10_001)), UnsafeSourceError, "holds 10001 files"),
    (archive((str(n) * 40, "") for n in range(20_000)), UnsafeSourceError, "more than 10000 files"),
    (OLE + "WordDocument".encode("utf-16-le"), UnsupportedFormatError, "save it as .docx"),
    (OLE + "PowerPoint Document".encode("utf-16-le"), UnsupportedFormatError, "save it as .pptx"),
    (OLE + "Workbook".encode("utf-16-le"), UnsupportedFormatError, "save it as .xlsx"),
    (OLE + "EncryptedPackage".encode("utf-16-le"), UnsupportedFormatError, "protected by a password"),
    (OLE, UnsupportedFormatError, "is an OLE file"),
]


@pytest.mark.parametrize("case", NO_ARCHIVES)
@pytest.mark.parametrize("name", ["a.docx", "a.pptx"])
def test_what_is_no_office_file_says_what_it_is_and_what_to_do(load, tmp_path, name, case):
    data, error, message = case
    (tmp_path / name).write_bytes(data)
    with pytest.raises(error, match=message):
        load(tmp_path / name)


def test_an_archive_is_bounded_as_a_whole(report, load, monkeypatch):
    monkeypatch.setattr(_zip, "MAX_INFLATED", 10_000)
    with pytest.raises(UnsafeSourceError, match="unpacks to"):
        load(report)
    with pytest.raises(UnsafeSourceError, match="max_bytes"):
        load(report, media_policy=MediaPolicy(max_bytes=5_000))


def test_names_that_lead_out_of_an_archive_do_no_harm(report, load, tmp_path):
    path = rewritten(report, tmp_path / "out.docx", lambda _name, data: data)
    with zipfile.ZipFile(path, "a") as target:
        target.writestr("../../escaped.xml", "<a/>")
    assert len(load(path)[0]) == 5
    assert not list(tmp_path.parent.glob("escaped*"))


def test_a_file_of_another_office_program_is_told_with_its_loader(report, deck, load, tmp_path):
    from openpyxl import Workbook

    Workbook().save(tmp_path / "sales.xlsx")
    cases = [
        (PptxLoader, tmp_path / "sales.xlsx", "is an Excel workbook: load it with ExcelLoader"),
        (DocxLoader, tmp_path / "sales.xlsx", "is an Excel workbook: load it with ExcelLoader"),
        (DocxLoader, deck, "is a presentation: load it with PptxLoader"),
        (PptxLoader, report, "is a Word document: load it with DocxLoader"),
    ]
    for loader, path, message in cases:
        with pytest.raises(UnsupportedFormatError, match=f"{path.name} {message}"):
            loader(path).load()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<w:body>" + b"<w:p/>" * 500_001, "tags"),
        (b'<!DOCTYPE a [<!ENTITY b "b">]><w:body>', "document type"),
        (b'<!DOCTYPE a [<!ATTLIST b c CDATA "d">]><w:body>', "document type"),
    ],
)
def test_a_part_that_goes_by_the_name_of_a_drawing_is_looked_through(report, load, tmp_path, body, message):
    path = tmp_path / "named.docx"
    with zipfile.ZipFile(report) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name).replace(b"word/document.xml", b"word/document.svg")
            is_main = name == "word/document.xml"
            new.writestr("word/document.svg" if is_main else name, data.replace(b"<w:body>", body, is_main))
    with pytest.raises(UnsafeSourceError, match=message):
        load(path)


def test_a_drawing_may_name_its_document_type(report, load, tmp_path):
    path = rewritten(report, tmp_path / "drawing.docx", lambda _name, data: data)
    with zipfile.ZipFile(path, "a") as target:
        target.writestr(
            "word/media/a.svg", '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd"><svg/>'
        )
    assert len(load(path)[0]) == 5


@pytest.mark.parametrize("suffix", ["docx", "pptx"])
def test_files_cut_off_or_changed_anywhere_raise_nothing_but_own_errors(report, deck, load, tmp_path, suffix):
    whole = (report if suffix == "docx" else deck).read_bytes()
    path = tmp_path / f"x.{suffix}"
    outcomes = set()
    for step in range(1, 12):
        place = len(whole) * step // 12
        for data in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            path.write_bytes(data)
            try:
                outcomes.add(bool(load(path)[0]))
            except LoadError as error:
                outcomes.add(type(error))
    assert CorruptMediaError in outcomes
