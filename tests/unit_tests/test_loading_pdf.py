"""PDFs made by reportlab, and by hand where they are meant to be broken."""

import gc
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw
from reportlab.graphics import renderPDF
from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.charts.lineplots import LinePlot
from reportlab.graphics.shapes import Drawing
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas
from reportlab.platypus import Table

from langchain_mmrag._pdf import reader
from langchain_mmrag.document_loaders.ocr import OcrLine
from langchain_mmrag.document_loaders.pdf import PDFLoader
from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsafeSourceError, UnsupportedFormatError
from langchain_mmrag.media import MediaPolicy

WIDE, HIGH = A4
PROSE = "The harbour of the small town is quiet in winter and loud in summer."


def photo(seed=0, size=(200, 150)):
    """Soft spots of colour, no two seeds alike."""
    spots = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(spots).resize(size, Image.Resampling.BICUBIC)


def jpeg(picture):
    data = BytesIO()
    picture.save(data, "JPEG", quality=95)
    return data


@pytest.fixture
def make(tmp_path):
    """Writes a PDF with one page for each function that draws on a canvas; gives a loader of it."""

    def of(*pages, title=None, encrypt=None, labels=(), **options):
        path = tmp_path / f"file-{len(list(tmp_path.iterdir()))}.pdf"
        paper = canvas.Canvas(str(path), pagesize=A4, encrypt=encrypt)
        if title:
            paper.setTitle(title)
        for number, style in labels:
            paper.addPageLabel(number, style=style)
        for draw in pages:
            draw(paper)
            paper.showPage()
        paper.save()
        return PDFLoader(path, media_directory=tmp_path / "media", **options)

    return of


@pytest.fixture
def loader_of(tmp_path):
    """A loader of a file of given bytes."""

    def of(data, **options):
        path = tmp_path / f"file-{len(list(tmp_path.iterdir()))}.pdf"
        path.write_bytes(data)
        return PDFLoader(path, media_directory=tmp_path / "media", **options)

    return of


def says(*lines, x=60, top=760, size=11):
    def draw(paper):
        paper.setFont("Helvetica", size)
        for number, line in enumerate(lines):
            paper.drawString(x, top - 1.2 * size * number, line)

    return draw


def together(*draws):
    def draw(paper):
        for one in draws:
            one(paper)

    return draw


def shows(picture, x, y, width, height, **options):
    return lambda paper: paper.drawImage(ImageReader(picture), x, y, width, height, **options)


def of_modality(documents, modality):
    return [document for document in documents if document.metadata.get("modality", "text") == modality]


def raw_pdf(*contents, packed=None, media="0 0 600 800", resources=b"", objects=()):
    """A PDF by hand: one page for each stream of content, `packed` as one more that is compressed already."""
    streams = [b"<</Length %d>>stream\n%b\nendstream" % (len(one), one) for one in contents]
    if packed is not None:
        streams.append(b"<</Filter/FlateDecode/Length %d>>stream\n%b\nendstream" % (len(packed), packed))
    first = 4 + len(objects)
    kids = b" ".join(b"%d 0 R" % (first + 2 * n) for n in range(len(streams)))
    body = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, len(streams)),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *objects,
    ]
    for number, stream in enumerate(streams):
        page = b"<</Type/Page/Parent 2 0 R/MediaBox[%b]/Contents %d 0 R/Resources<</Font<</F1 3 0 R>>%b>>>>"
        body += [page % (media.encode(), first + 2 * number + 1, resources), stream]
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, one in enumerate(body, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, one)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(body) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(out + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(body) + 1, start))


HELLO = b"BT /F1 12 Tf 50 700 Td (The gulls are back on the cape.) Tj ET "


# Text


def test_each_page_with_text_is_a_document_with_its_number_and_title(make):
    loader = make(says("First page."), lambda paper: None, says("Third page."), title="Notes of the harbour")
    documents = loader.load()
    assert [(d.page_content, d.metadata["page"]) for d in documents] == [
        ("First page.", 1),
        ("Third page.", 3),
    ]
    assert {d.metadata["title"] for d in documents} == {"Notes of the harbour"}
    assert documents[1].metadata["parts"] == 2
    assert [d.id for d in loader.load()] == [d.id for d in documents]
    assert loader.problems == []


@pytest.mark.parametrize("title", ["untitled", "Microsoft Word - notes.docx", "notes.tex", "  ", "x" * 400])
def test_titles_that_programs_make_up_are_none(make, title):
    assert "title" not in make(says("Words."), title=title).load()[0].metadata


def test_pages_that_are_numbered_otherwise_have_a_label(make):
    pages = make(says("i"), says("one"), says("two"), labels=[(0, "ROMAN_LOWER"), (1, "ARABIC")]).load()
    assert [d.metadata.get("page_label") for d in pages] == ["i", "1", "2"]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        pytest.param(
            ("It is an exam-", "ple of it."), "It is an example of it.", id="a hyphen at a line's end"
        ),
        pytest.param(("A well-known sight",), "A well-known sight", id="a hyphen within a line"),
        pytest.param(("soft\u00adware",), "software", id="a soft hyphen"),
        pytest.param(("one", "two"), "one\ntwo", id="lines"),
    ],
)
def test_text_is_cleaned(make, lines, text):
    assert make(says(*lines)).load()[0].page_content.replace("soft-ware", "software") == text


def test_ligatures_become_letters_and_stray_characters_go():
    from langchain_mmrag._pdf.layout import clean

    assert clean("o\ufb03ce \uf0b7 \ue123x\ud800\x07") == "office • x"


def test_columns_are_read_one_after_the_other(make):
    def both(paper):
        says("A title that runs over the whole width of the page, across both of its columns")(paper)
        for row in range(12):
            paper.drawString(60, 720 - 14 * row, f"left row {row} of the first column")
            paper.drawString(320, 720 - 14 * row, f"right row {row} of the second column")
        paper.drawString(
            60, 500, "A last line that runs over the whole width of the page, as the first one does"
        )

    lines = make(both).load()[0].page_content.split("\n")
    left = [f"left row {row} of the first column" for row in range(12)]
    right = [f"right row {row} of the second column" for row in range(12)]
    assert lines[0].startswith("A title")
    assert lines[1:-1] == left + right
    assert lines[-1].startswith("A last line")


# Figures


def chart(kind, x, y):
    def draw(paper):
        plot = VerticalBarChart() if kind == "bars" else LinePlot()
        plot.x, plot.y, plot.width, plot.height = 40, 30, 240, 150
        plot.data = [[3, 5, 8], [4, 4, 1]] if kind == "bars" else [[(0, 3), (1, 5), (2, 2)], [(0, 1), (2, 7)]]
        drawing = Drawing(300, 200)
        drawing.add(plot)
        renderPDF.draw(drawing, paper, x, y)

    return draw


def turned(paper):
    paper.saveState()
    paper.translate(300, 400)
    paper.rotate(90)
    paper.drawImage(ImageReader(photo(3)), 0, 0, 200, 150)
    paper.restoreState()


def in_a_form(paper):
    paper.beginForm("form")
    paper.drawImage(ImageReader(photo(4)), 0, 0, 100, 75)
    paper.endForm()
    paper.saveState()
    paper.translate(100, 300)
    paper.scale(2, 2)
    paper.doForm("form")
    paper.restoreState()


def sliced(paper):
    whole = photo(5, (200, 150))
    for row in range(5):
        part = whole.crop((0, 30 * row, 200, 30 * row + 30))
        paper.drawImage(ImageReader(part), 100, 430 - 30 * row, 200, 30)


def boxed_text(paper):
    paper.setFillColorRGB(0.9, 0.8, 0.3)
    paper.roundRect(50, 600, 480, 120, 20, fill=1)
    paper.setFillColorRGB(0, 0, 0)
    says(*[PROSE] * 7, top=695)(paper)


def rules(paper):
    for y in (100, 300, 500):
        paper.line(40, y, 550, y)


CORNER = (100, 300, 300, 450)  # left, bottom, right and top in points
FIGURES = {
    "a picture": (shows(photo(), 100, 300, 200, 150), [CORNER]),
    "a photograph": (shows(jpeg(photo()), 100, 300, 200, 150), [CORNER]),
    "two pictures": (
        together(shows(photo(), 100, 300, 200, 150), shows(photo(1), 320, 300, 200, 150)),
        [CORNER, (320, 300, 520, 450)],
    ),
    "a picture twice": (
        together(shows(photo(), 100, 500, 200, 150), shows(photo(), 100, 300, 200, 150)),
        [(100, 500, 300, 650)],
    ),
    "a turned picture": (turned, [(150, 400, 300, 600)]),
    "a picture in a form": (in_a_form, [CORNER]),
    "a picture in slices": (sliced, [(100, 310, 300, 460)]),
    "bars": (chart("bars", 100, 300), [(135, 310, 380, 485)]),
    "lines": (chart("lines", 100, 300), [(135, 310, 380, 485)]),
    "an icon": (shows(photo(), 100, 300, 20, 20), []),
    "a band": (shows(photo(), 40, 300, 500, 38), []),
    "few pixels": (shows(photo(size=(8, 8)), 100, 300, 200, 200), []),
    "a ground under text": (together(shows(photo(), 0, 0, WIDE, HIGH), says(*[PROSE] * 6)), []),
    "text in a box": (boxed_text, []),
    "rules": (rules, []),
}


@pytest.mark.parametrize(("draw", "boxes"), FIGURES.values(), ids=FIGURES)
def test_figures_are_what_a_reader_calls_so(make, draw, boxes):
    documents = make(together(says(PROSE), draw)).load()
    figures = of_modality(documents, "image")
    found = [np.array(figure.metadata["bbox"]) for figure in figures]
    wanted = [
        (left / WIDE, 1 - top / HIGH, right / WIDE, 1 - bottom / HIGH) for left, bottom, right, top in boxes
    ]
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert np.abs(one - other).max() < 0.03
    for figure in figures:
        assert figure.metadata["near_id"] == documents[0].id
        assert "parent_id" not in figure.metadata
        with Image.open(figure.metadata["path"]) as kept:
            assert kept.size == (figure.metadata["width"], figure.metadata["height"])


@pytest.mark.parametrize("how", ["plain", "CMYK", "mirrored", "masked"])
def test_figures_look_as_they_do_on_the_page(make, how):
    picture = photo(7)
    seen = picture
    options = {}
    drawn = picture
    if how == "CMYK":
        drawn = jpeg(picture.convert("CMYK"))
    elif how == "masked":
        hole = Image.new("L", picture.size, 255)
        ImageDraw.Draw(hole).rectangle((0, 0, 99, 149), fill=0)
        drawn = picture.copy()
        drawn.putalpha(hole)
        options["mask"] = "auto"
        seen = picture.copy()
        seen.paste("white", (0, 0, 100, 150))

    def draw(paper):
        if how == "mirrored":
            paper.translate(400, 0)
            paper.scale(-1, 1)
        shows(drawn, 100, 300, 200, 150, **options)(paper)

    if how == "mirrored":
        seen = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    figure = of_modality(make(together(says(PROSE), draw)).load(), "image")[0]
    with Image.open(figure.metadata["path"]) as kept:
        difference = np.asarray(
            ImageChops.difference(kept.convert("RGB").resize(seen.size), seen), dtype=float
        )
    assert difference.mean() < (30 if how == "CMYK" else 4)


@pytest.mark.parametrize(
    ("lines", "caption", "text"),
    [
        (("Figure 3: The cape at", "noon."), "Figure 3: The cape at noon.", "Figure 3: The cape at noon."),
        (
            ("Figure 3: The cape.", "It is where all of the ships go by."),
            "Figure 3: The cape.",
            "Figure 3: The cape.",
        ),
        (("Fig. 2 - Gulls",), "Fig. 2 - Gulls", "Fig. 2 - Gulls"),
        (("Abb. 4: Der Leuchtturm",), "Abb. 4: Der Leuchtturm", "Abb. 4: Der Leuchtturm"),
        (("Seen from the tower.",), None, "Seen from the tower."),
        (("Figure 3 shows what comes of it.",), None, "Figure 3 shows what comes of it."),
    ],
)
def test_a_figure_has_its_caption_or_the_words_beside_it(make, lines, caption, text):
    page = together(says(PROSE), shows(photo(), 100, 300, 200, 150), says(*lines, x=100, top=280))
    figure = of_modality(make(page).load(), "image")[0]
    assert figure.metadata.get("caption") == caption
    assert figure.page_content == text


def test_a_caption_belongs_to_the_nearest_figure_alone(make):
    page = together(
        shows(photo(), 100, 400, 200, 150),
        says("Figure 1: Upper", x=100, top=385),
        shows(photo(1), 100, 200, 200, 150),
    )
    figures = of_modality(make(page).load(), "image")
    assert [figure.metadata.get("caption") for figure in figures] == ["Figure 1: Upper", None]


def test_a_logo_on_every_page_is_no_figure_and_a_repeated_picture_is_one(make):
    logo, map_ = photo(8), photo(9)

    def page(number):
        extra = [shows(map_, 100, 200, 200, 150)] if number in {2, 9} else []
        return together(says(f"Page {number}"), shows(logo, 450, 750, 100, 75), *extra)

    figures = of_modality(make(*map(page, range(1, 11))).load(), "image")
    assert [figure.metadata["page"] for figure in figures] == [2]


def test_boxes_are_those_of_the_page_as_it_is_turned(make):
    def draw(paper):
        paper.setPageRotation(90)
        together(says(PROSE), shows(photo(), 0, 300, 200, 150))(paper)

    loader = make(draw)
    figure = of_modality(loader.load(), "image")[0]
    # Its lower left corner is the upper left one now, and its height the width.
    assert figure.metadata["bbox"] == pytest.approx([300 / WIDE, 0, 450 / WIDE, 200 / HIGH], abs=0.01)
    assert figure.metadata["height"] > figure.metadata["width"]


def test_figures_and_tables_can_be_left_out(make):
    page = together(says(PROSE), shows(photo(), 100, 300, 200, 150), grid([["a", "b"], ["1", "2"]]))
    assert len(make(page).load()) == 3
    assert [d.page_content.split("\n")[0] for d in make(page, figures=False, tables=False).load()] == [PROSE]


# Tables


def grid(rows, x=60, y=500, style=("GRID",)):
    def draw(paper):
        table = Table(rows)
        ink = [("GRID", (0, 0), (-1, -1), 1, colors.black)] if "GRID" in style else []
        spans = [one for one in style if isinstance(one, tuple)]
        table.setStyle([*ink, *spans])
        table.wrapOn(paper, 500, 700)
        table.drawOn(paper, x, y)

    return draw


FISH = [["fish", "price", "caught"], ["cod", "4.50", "2024-01-05"], ["eel | smoked", "19", "2024-03-01"]]
FISH_MARKDOWN = "| fish | price | caught |\n|---|---|---|\n| cod | 4.50 | 2024-01-05 |\n| eel \\| smoked | 19 | 2024-03-01 |"
TABLES = {
    "ruled": (grid(FISH), [FISH_MARKDOWN]),
    "with a coloured head": (
        grid(FISH, style=("GRID", ("BACKGROUND", (0, 0), (-1, 0), colors.lightblue))),
        [FISH_MARKDOWN],
    ),
    "without rules": (grid(FISH, style=()), [FISH_MARKDOWN]),
    "a cell over two columns": (
        grid([["both", "", "c"], ["1", "2", "3"]], style=("GRID", ("SPAN", (0, 0), (1, 0)))),
        ["| both |  | c |\n|---|---|---|\n| 1 | 2 | 3 |"],
    ),
    "two tables": (
        together(grid([["a", "b"], ["1", "2"]]), grid([["c", "d"], ["3", "4"]], y=300)),
        ["| a | b |\n|---|---|\n| 1 | 2 |", "| c | d |\n|---|---|\n| 3 | 4 |"],
    ),
    "prose": (says(*[PROSE] * 8), []),
    "a frame": (together(says(PROSE), lambda paper: paper.rect(40, 40, 500, 740)), []),
    "an empty form": (together(says(PROSE), grid([["", "", ""], ["", "", ""], ["", "", ""]])), []),
    "a chart": (together(says(PROSE), chart("bars", 100, 300)), []),
}


@pytest.mark.parametrize(("draw", "tables"), TABLES.values(), ids=TABLES)
def test_tables_become_markdown(make, draw, tables):
    documents = make(draw).load()
    found = of_modality(documents, "table")
    assert [document.page_content for document in found] == tables
    for document in found:
        assert document.metadata["near_id"] == documents[0].id
        assert document.metadata["page"] == 1
        assert of_modality(documents, "image") == []


def test_a_long_table_repeats_its_head_and_keeps_its_caption(make):
    rows = [
        ["name", "remark"],
        *([f"gull {n}", "seen on the cape, alive and well, early in the day"] for n in range(50)),
    ]
    parts = of_modality(make(together(says("Table 7: Gulls", top=800), grid(rows, y=-130))).load(), "table")
    assert len(parts) > 1
    assert all(part.page_content.startswith("| name | remark |") for part in parts)
    assert parts[0].metadata["caption"] == "Table 7: Gulls"


# Pages without text


SCAN = photo(11, (600, 850))


class Reader:
    """Finds one line in every picture, and counts them."""

    fingerprint = "one-line"

    def __init__(self, error=None):
        self.sizes = []
        self.error = error

    def read(self, image):
        self.sizes.append(image.size)
        if self.error is not None:
            raise self.error
        return [OcrLine("gone fishing for herring", (0.1, 0.2, 0.5, 0.25), 0.9)]


def test_a_page_without_text_is_a_picture_of_itself(make):
    documents = make(shows(SCAN, 0, 0, WIDE, HIGH), says("Words.")).load()
    assert [(d.metadata.get("modality"), d.metadata["page"]) for d in documents] == [("image", 1), (None, 2)]
    assert "parent_id" not in documents[0].metadata
    assert 1024 <= max(documents[0].metadata["width"], documents[0].metadata["height"]) <= 1600


def test_a_scan_with_a_stamp_keeps_both(make):
    page, picture = make(together(shows(SCAN, 0, 0, WIDE, HIGH), says("p. 7"))).load()
    assert page.page_content == "p. 7"
    assert picture.metadata["parent_id"] == page.id


@pytest.mark.parametrize("margin", [0, 25], ids=["the whole page", "all but its edge"])
def test_a_scan_with_a_printed_header_keeps_both(make, margin):
    header = says("Harbour Trust - Annual Report 2025", "Minutes of the meeting in spring")
    scan = shows(SCAN, margin, margin, WIDE - 2 * margin, HIGH - 2 * margin)
    page, picture, passage = make(together(scan, header), ocr=Reader()).load()
    assert "Annual Report 2025" in page.page_content
    assert picture.metadata["modality"] == "image"
    assert picture.metadata["ocr_text"] == passage.page_content == "gone fishing for herring"
    assert picture.metadata["parent_id"] == page.id


def test_what_lies_under_every_page_makes_no_scan_of_it(make):
    def slide(paper):
        together(shows(SCAN, 0, 0, WIDE, HIGH), says("The costs of the harbour in this year"))(paper)

    with_photo = together(slide, shows(photo(), 100, 300, 200, 150))
    documents = make(*[slide] * 4, with_photo).load()
    (figure,) = of_modality(documents, "image")
    assert "bbox" in figure.metadata
    assert len(documents) == 6
    alone = make(with_photo).load()  # no ground of a series: a picture of the page, and its figure too
    assert ["bbox" in d.metadata for d in of_modality(alone, "image")] == [False, True]


def test_page_images_can_be_had_of_all_pages_or_none(make):
    scan, text = shows(SCAN, 0, 0, WIDE, HIGH), says(PROSE)
    words, picture = make(text, page_images=True).load()
    assert picture.metadata["parent_id"] == words.id
    assert [d.page_content for d in make(scan, text, page_images=False, figures=False).load()] == [PROSE]


def test_writing_in_scans_and_figures_is_read(make):
    ocr = Reader()
    figure = together(says(PROSE), shows(photo(), 100, 300, 200, 150))
    documents = make(shows(SCAN, 0, 0, WIDE, HIGH), figure, ocr=ocr).load()
    scan, passage = documents[:2]
    assert (scan.metadata["ocr_text"], scan.metadata["ocr_confidence"]) == ("gone fishing for herring", 0.9)
    assert passage.page_content == "gone fishing for herring"
    assert passage.metadata["bbox"] == [0.1, 0.2, 0.5, 0.25]
    assert passage.metadata["parent_id"] == scan.id
    assert passage.metadata["path"] == scan.metadata["path"]
    assert of_modality(documents, "image")[1].metadata["ocr_text"] == "gone fishing for herring"
    assert len(ocr.sizes) == 2


def test_a_reader_that_fails_costs_no_page(make):
    loader = make(shows(SCAN, 0, 0, WIDE, HIGH), says(PROSE), ocr=Reader(LoadError("no model")))
    assert len(loader.load()) == 2
    assert "page 1 has a picture whose writing cannot be read: no model" in str(loader.problems[0])


# Bad input


BAD = {
    "no bytes": (b"", CorruptMediaError, "is empty"),
    "text": (b"These are my notes. " * 9, UnsupportedFormatError, "is not a PDF"),
    "garbage": (b"%PDF-1.7\n" + bytes(range(256)) * 9, CorruptMediaError, "cut off or damaged"),
    "its first half": (raw_pdf(HELLO)[:200], CorruptMediaError, "cut off or damaged"),
    "a loop of pages": (raw_pdf(HELLO).replace(b"Kids[4 0 R]", b"Kids[2 0 R]"), CorruptMediaError, "page 1"),
    "an empty page": (raw_pdf(b""), CorruptMediaError, "nothing that can be indexed"),
}


@pytest.mark.parametrize(("data", "error", "reason"), BAD.values(), ids=BAD)
def test_files_that_cannot_be_read_say_why(loader_of, data, error, reason):
    loader = loader_of(data)
    with pytest.raises(error, match=reason) as raised:
        loader.load()
    assert loader.source in str(raised.value)


MENDED = {
    "an end that is missing": raw_pdf(HELLO)[:-20],
    "wrong places": raw_pdf(HELLO).replace(b"0000000", b"0000009"),
    "more pages than there are": raw_pdf(HELLO).replace(b"/Count 1", b"/Count 99999999"),
    "an immense page": raw_pdf(HELLO, media="0 0 1e9 1e9"),
    "a page of no size": raw_pdf(HELLO, media="0 0 0 0"),
    "a form in itself": raw_pdf(
        HELLO + b"/X Do",
        resources=b"/XObject<</X 4 0 R>>",
        objects=[
            b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 4 0 R>>>>/Length 5>>stream\n/X Do\nendstream"
        ],
    ),
    "a script": raw_pdf(HELLO).replace(
        b"/Pages 2 0 R", b"/Pages 2 0 R/OpenAction<</S/JavaScript/JS(while(1){})>>", 1
    ),
}


@pytest.mark.parametrize("data", MENDED.values(), ids=MENDED)
def test_what_can_be_mended_is_read(loader_of, data):
    documents = loader_of(data, timeout_s=20).load()
    assert documents[0].page_content == "The gulls are back on the cape."


def test_an_immense_page_without_text_is_drawn_small(loader_of):
    picture = loader_of(raw_pdf(b"0 0 m 500 500 l S", media="0 0 1e7 5e6")).load()[0]
    assert max(picture.metadata["width"], picture.metadata["height"]) <= 1600


def test_encrypted_files_want_their_password(make):
    def lock():
        return StandardEncryption("open sesame", strength=128)

    with pytest.raises(UnsafeSourceError, match=r"is encrypted: give its password"):
        make(says("Secret."), encrypt=lock()).load()
    with pytest.raises(UnsafeSourceError, match="does not open it"):
        make(says("Secret."), encrypt=lock(), password="sesame").load()
    assert make(says("Secret."), encrypt=lock(), password="open sesame").load()[0].page_content == "Secret."
    free = StandardEncryption("", ownerPassword="boss", strength=128)
    assert make(says("Not to be printed."), encrypt=free).load()[0].page_content == "Not to be printed."


def test_files_outside_the_roots_are_refused(make, tmp_path):
    with pytest.raises(UnsafeSourceError, match="outside the allowed folders"):
        make(says("Words."), media_policy=MediaPolicy(roots=(tmp_path / "elsewhere",))).load()


def endless():
    """Forms of ten forms of ten forms ...: a page that would take longer than anyone waits."""
    depth = 30
    forms = [b"/F%d Do " % (n + 1) * 10 if n < depth - 1 else b"0 0 m 9 9 l S" for n in range(depth)]
    objects = [
        b"<</Type/XObject/Subtype/Form/BBox[0 0 600 700]/Resources<</XObject<</F%d %d 0 R>>>>/Length %d>>"
        b"stream\n%b\nendstream" % (n + 1, min(5 + n, 3 + depth), len(body), body)
        for n, body in enumerate(forms)
    ]
    return b"/F0 Do", b"/XObject<</F0 4 0 R>>", objects


def test_a_page_that_takes_too_long_is_lost_alone(loader_of):
    content, resources, objects = endless()
    loader = loader_of(raw_pdf(HELLO, content, HELLO, resources=resources, objects=objects), timeout_s=1.5)
    assert [document.metadata["page"] for document in loader.load()] == [1, 3]
    assert "page 2 cannot be read: it takes more than 1.5 s" in str(loader.problems[0])


def test_nothing_more_is_asked_of_a_page_that_took_too_long(loader_of, monkeypatch):
    asked = []

    def ask(_self, do, page, **_arguments):
        asked.append((do, page))
        if do == "text":
            return {"text": "Gulls.", "label": "", "is_scan": False, "is_bare": False, "blank": False}, []
        raise reader.PageTimeoutError("it takes more than 20 s")

    monkeypatch.setattr(reader.PDFReader, "ask", ask)
    loader = loader_of(raw_pdf(*[HELLO] * 5), page_images=True)
    assert [document.page_content for document in loader.load()] == ["Gulls."] * 3
    assert asked == [("digests", 0), *((do, page) for page in range(3) for do in ("text", "picture"))]


def test_a_file_that_takes_too_long_to_open_is_tried_once(loader_of, monkeypatch):
    tried = []
    exchange = reader._Child.exchange

    def slow(self, request, timeout_s, *file):
        tried.append(request["do"])
        return exchange(self, request, 0.0, *file)

    monkeypatch.setattr(reader, "_IDLE", reader._Idle())
    monkeypatch.setattr(reader._Child, "exchange", slow)
    with pytest.raises(CorruptMediaError, match="cannot be opened as a PDF: it takes more than 0 s"):
        loader_of(raw_pdf(HELLO)).load()
    assert tried == ["open"]


def test_a_file_of_such_pages_is_given_up(loader_of):
    content, resources, objects = endless()
    loader = loader_of(raw_pdf(HELLO, *[content] * 9, resources=resources, objects=objects), timeout_s=0.7)
    assert len(loader.load()) == 1
    assert "from page" in " ".join(map(str, loader.problems))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no ceiling of memory")
def test_a_page_that_unpacks_to_more_than_memory_is_lost_alone(loader_of, monkeypatch):
    monkeypatch.setattr(reader, "MEMORY", 300 * 2**20)
    packer = zlib.compressobj(9)
    first, again = (packer.compress(b"q Q\n" * 2**18) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    packed = first + 400 * again
    loader = loader_of(raw_pdf(HELLO, packed=packed), timeout_s=30)
    assert [document.metadata["page"] for document in loader.load()] == [1]
    assert "page 2 cannot be read: it takes too much memory" in str(loader.problems[0])


def test_a_page_of_too_many_things_keeps_its_text(loader_of):
    lines = b"".join(b"%d %d m %d %d l S\n" % (n % 600, n % 700, n % 41, n % 43) for n in range(30_000))
    loader = loader_of(raw_pdf(HELLO + lines))
    assert [document.page_content for document in loader.load()] == ["The gulls are back on the cape."]
    assert sorted(str(problem).split(": ", 1)[1] for problem in loader.problems) == [
        "page 1 cannot be searched for figures: too much is drawn on it",
        "page 1 cannot be searched for tables: too much is drawn on it",
    ]


# The process


def test_processes_are_used_again_and_started_again_when_they_are_gone(make):
    loader = make(says("Words."))
    loader.load()
    child = reader._IDLE._children[-1]
    loader.load()
    assert reader._IDLE._children[-1] is child
    child._process.kill()
    assert len(loader.load()) == 1
    assert reader._IDLE._children[-1] is not child


def test_a_loader_that_is_left_halfway_leaves_nothing_behind(make):
    loader = make(*[says(f"Page {n}") for n in range(6)])
    documents = loader.lazy_load()
    assert next(documents).page_content == "Page 0"
    documents.close()
    gc.collect()
    assert [d.page_content for d in loader.load()] == [f"Page {n}" for n in range(6)]


def test_files_are_read_side_by_side(make):
    loaders = [make(*[says(f"File {n} page {page}") for page in range(5)]) for n in range(6)]
    with ThreadPoolExecutor(3) as pool:
        texts = list(pool.map(lambda loader: [d.page_content for d in loader.load()], loaders))
    assert texts == [[f"File {n} page {page}" for page in range(5)] for n in range(6)]


def test_importing_the_loader_imports_no_library_of_pdfs():
    code = "import sys, langchain_mmrag.document_loaders.pdf; print('pypdfium2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_options_that_change_what_comes_out_are_in_the_fingerprint():
    assert (
        PDFLoader("a.pdf").fingerprint == PDFLoader("a.pdf", password="x", timeout_s=5).fingerprint == "pdf"
    )
    given = {
        PDFLoader("a.pdf", **options).fingerprint
        for options in (
            {"page_images": True},
            {"page_images": False},
            {"figures": False},
            {"tables": False},
            {"ocr": Reader()},
        )
    }
    assert len(given | {"pdf"}) == 6
    with pytest.raises(ValueError, match="timeout_s"):
        PDFLoader("a.pdf", timeout_s=0)
