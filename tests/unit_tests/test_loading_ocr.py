"""Writing in pictures: in which order it is read, what is made of it, and the two programs that read it."""

import logging
import os
import stat
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from langchain_mmrag.demo.corpus import draw_thing
from langchain_mmrag.document_loaders import ocr as ocr_module
from langchain_mmrag.document_loaders._reading_order import Piece, reading_order
from langchain_mmrag.document_loaders.image import ImageLoader
from langchain_mmrag.document_loaders.ocr import (
    OCR,
    OcrLine,
    RapidOCRReader,
    TesseractReader,
    ocr_metadata,
    ocr_passages,
    ocr_reader,
)
from langchain_mmrag.errors import CorruptMediaError, MissingDependencyError

LEFT = ["The ferry leaves the old", "harbour at a quarter past", "seven on every weekday."]
RIGHT = ["Dogs travel free of charge", "while bicycles need their", "own ticket from the kiosk."]
LINES = ["Pump station log for March", "Valve 17 was replaced on Friday", "Next inspection due 2031-05-04"]


def paper(size: tuple[int, int] = (700, 420), ground: object = "white") -> Image.Image:
    return Image.new("RGB", size, ground)


def write(
    image: Image.Image, place: tuple[int, int], lines: list[str], size: int = 22, ink: object = "black"
):
    font = ImageFont.load_default(size)
    for number, line in enumerate(lines):
        x, y = place
        ImageDraw.Draw(image).text((x, y + number * round(size * 1.4)), line, font=font, fill=ink)
    return image


def columns() -> Image.Image:
    page = write(paper((760, 330)), (200, 20), ["Rules of the ferry company"], 26)
    return write(write(page, (40, 110), LEFT), (420, 110), RIGHT)


def receipt() -> Image.Image:
    page = write(paper((420, 300)), (30, 20), ["CORNER BAKERY"], 24)
    write(page, (30, 90), ["Rye bread", "Plum cake", "Total"])
    return write(page, (310, 90), ["4.20", "12.75", "16.95"])


@pytest.fixture(scope="module")
def reader():
    return RapidOCRReader()


def texts(lines: list[OcrLine]) -> list[str]:
    return [line.text for line in lines]


# the order of reading


def piece(number: int, x0: float, y0: float, x1: float, chars: int = 20) -> Piece:
    return Piece(number, chars, x0, y0, x1, y0 + 10)


@pytest.mark.parametrize(
    ("pieces", "order"),
    [
        pytest.param([piece(0, 0, 30, 90), piece(1, 0, 0, 90)], [[1], [0]], id="from top to bottom"),
        pytest.param(
            [piece(0, 60, 1, 90, 4), piece(1, 0, 0, 40, 9)], [[1, 0]], id="a row from left to right"
        ),
        pytest.param(
            [
                piece(number, 110 * (number % 2), 12 * (number // 2), 110 * (number % 2) + 90)
                for number in range(6)
            ],
            [[0], [2], [4], [1], [3], [5]],
            id="one column of running text after the other",
        ),
        pytest.param(
            [
                piece(number, 110 * (number % 2), 12 * (number // 2), 110 * (number % 2) + 90, 5)
                for number in range(6)
            ],
            [[0, 1], [2, 3], [4, 5]],
            id="cells of a table stay in their row",
        ),
        pytest.param(
            [
                piece(12, 0, -30, 200),
                *(
                    piece(n, 110 * (n % 2), 12 * (n // 2) + 25 * (n // 6), 110 * (n % 2) + 90)
                    for n in range(12)
                ),
            ],
            [[number] for number in (12, 0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11)],
            id="a heading over columns, and white across both of them",
        ),
        pytest.param([], [], id="nothing"),
    ],
)
def test_writing_is_read_in_the_order_of_a_person(pieces, order):
    assert reading_order(pieces) == order


# what is made of lines


def line(text: str, y: float, confidence: float = 0.9, x: float = 0.1, height: float = 0.02) -> OcrLine:
    return OcrLine(text, (x, y, x + 0.5, y + height), confidence)


def test_what_a_picture_says_goes_into_its_metadata_and_nothing_if_it_says_nothing():
    lines = [line("Harbour", 0.1, 1.0), line("map", 0.2, 0.5)]
    assert ocr_metadata(lines) == {"ocr_text": "Harbour\nmap", "ocr_confidence": 0.85}
    assert ocr_metadata([]) == {}
    assert list(ocr_passages([], parent="0")) == []


def test_passages_end_with_a_paragraph_and_say_where_they_stand():
    first = [line("word " * 20, 0.1 + 0.025 * number) for number in range(5)]
    second = [line("other words " * 4, 0.4 + 0.025 * number, 0.7) for number in range(2)]
    one, two = ocr_passages([*first, *second], parent="page-3", metadata={"page": 3})
    assert (one.key, one.parent, two.key, two.modality) == (
        "page-3-text-0",
        "page-3",
        "page-3-text-1",
        "text",
    )
    assert one.metadata == {"page": 3, "bbox": [0.1, 0.1, 0.6, 0.22], "ocr_confidence": 0.9}
    assert two.text.splitlines() == ["other words " * 4] * 2
    assert two.metadata["ocr_confidence"] == 0.7


def test_short_paragraphs_share_a_passage_and_a_long_one_is_cut():
    short = [line("A short notice.", 0.1 * number) for number in range(5)]
    assert len(list(ocr_passages(short, parent="0"))) == 1
    long = [line("x" * 100, 0.025 * number) for number in range(30)]
    passages = list(ocr_passages(long, parent="0"))
    assert [len(passage.text.splitlines()) for passage in passages] == [8, 8, 8, 6]


@pytest.mark.parametrize(
    ("words", "passages"),
    [
        pytest.param(["CORNER", "BAKERY"], 1, id="a sign of some length"),
        pytest.param(["BAKERY"], 0, id="a short sign"),
        pytest.param(["EXIT 24", "- - - - - -"], 0, id="dashes do not count"),
        pytest.param(["港口今天"], 1, id="a Chinese phrase"),
        pytest.param(["王"], 0, id="one Chinese sign"),
    ],
)
def test_a_word_or_two_are_no_passage_but_stay_in_the_metadata(words, passages):
    lines = [line(word, 0.1 * number) for number, word in enumerate(words)]
    assert len(list(ocr_passages(lines, parent="0"))) == passages
    assert ocr_metadata(lines)["ocr_text"] == "\n".join(words)


# RapidOCR, for real


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        pytest.param(lambda: write(paper(), (40, 60), LINES), LINES, id="print"),
        pytest.param(
            lambda: write(paper((1240, 1754)), (80, 80), LINES, 12), LINES, id="small print on a page"
        ),
        pytest.param(
            lambda: write(paper(ground="#20262e"), (40, 60), LINES, ink="white"), LINES, id="light on dark"
        ),
        pytest.param(
            lambda: write(paper(), (40, 60), LINES).rotate(
                4, Image.Resampling.BICUBIC, True, fillcolor="white"
            ),
            LINES,
            id="tilted",
        ),
        pytest.param(
            lambda: write(paper(), (40, 60), LINES).rotate(90, expand=True), LINES, id="on its side"
        ),
        pytest.param(
            lambda: write(paper(), (40, 60), LINES).rotate(-90, expand=True), LINES, id="other side"
        ),
        pytest.param(lambda: write(paper(), (40, 60), LINES).rotate(180), LINES, id="upside down"),
        pytest.param(
            lambda: write(paper(), (40, 60), LINES).filter(ImageFilter.GaussianBlur(1.2)),
            LINES,
            id="out of focus",
        ),
        pytest.param(columns, ["Rules of the ferry company", *LEFT, *RIGHT], id="two columns"),
        pytest.param(
            receipt, ["CORNER BAKERY", "Rye bread 4.20", "Plum cake 12.75", "Total 16.95"], id="receipt"
        ),
        pytest.param(lambda: write(paper((300, 40)), (10, 5), ["EXIT 24"], 24), ["EXIT 24"], id="a strip"),
    ],
)
def test_rapidocr_reads(reader, draw, expected):
    assert texts(reader.read(draw())) == expected


def test_a_line_says_where_it_stands_and_how_sure_the_reader_is(reader):
    (found,) = reader.read(write(paper((800, 400)), (400, 300), ["Quay seven"], 40))
    x0, y0, x1, y1 = found.box
    assert (0.45 < x0 < 0.52, 0.7 < y0 < 0.8, 0.7 < x1 < 0.85, 0.8 < y1 < 0.92) == (True,) * 4
    assert 0.9 < found.confidence <= 1


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(paper((640, 480)), id="blank"),
        pytest.param(Image.effect_noise((640, 480), 70), id="noise"),
        pytest.param(Image.linear_gradient("L").resize((900, 600)), id="sky"),
        pytest.param(paper((1, 1)), id="one pixel"),
        pytest.param(paper((3000, 2)), id="a hair"),
    ],
)
def test_a_picture_without_writing_has_no_lines_and_no_line_reader_is_asked(reader, picture, monkeypatch):
    monkeypatch.setattr(reader, "_line", lambda *_: pytest.fail("a line was read"))
    assert reader.read(picture) == []


@pytest.mark.parametrize(
    ("seen", "kept"),
    [
        pytest.param([("王", (30, 20, 60, 60))], [], id="one sign"),
        pytest.param([("Q3", (0, 0, 400, 300))], [], id="the picture itself"),
        pytest.param([("Q3", (30, 20, 90, 60))], ["Q3"], id="two signs"),
        pytest.param([("3", (30, 20, 45, 60)), ("boats", (60, 20, 200, 60))], ["3 boats"], id="a row"),
    ],
)
def test_what_a_texture_is_taken_for_is_dropped(reader, seen, kept, monkeypatch):
    boxes = {text: [(x0, y0), (x1, y0), (x1, y1), (x0, y1)] for text, (x0, y0, x1, y1) in seen}
    monkeypatch.setattr(reader, "_places", lambda _image: boxes.values())
    words = iter([(text, 0.99) for text in boxes])
    monkeypatch.setattr(reader, "_words", lambda _line: next(words))
    assert texts(reader.read(paper((400, 300)))) == kept


def test_the_reader_says_nothing_on_the_console_and_fetches_nothing(capfd, caplog):
    caplog.set_level(logging.DEBUG)
    RapidOCRReader(threads=1).read(
        write(paper((300, 40)), (10, 5), ["EXIT 24"], 24)
    )  # sockets are shut in tests
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if "rapid" in record.name.lower()]


def test_a_package_without_its_models_is_told_instead_of_fetching_them(monkeypatch, tmp_path):
    import rapidocr

    monkeypatch.setattr(rapidocr, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(MissingDependencyError, match="rapidocr carries no model"):
        RapidOCRReader().read(paper())


def test_several_threads_may_ask_one_reader(reader):
    pictures = [write(paper((300, 40)), (10, 5), [f"GATE {number}{number}"], 24) for number in range(1, 5)]
    found: dict[int, list[str]] = {}

    def ask(number: int) -> None:
        found[number] = texts(reader.read(pictures[number]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [f"GATE {number + 1}{number + 1}"] for number in range(4)}


def test_a_failing_model_is_an_error_of_the_picture(monkeypatch):
    reader = RapidOCRReader()

    def broken(*_args, **_options):
        raise RuntimeError("Traceback (most recent call last)\nONNXRuntimeError: no such node")

    monkeypatch.setattr(reader, "_engine", broken)
    with pytest.raises(CorruptMediaError, match=r"700x420 cannot be read: ONNXRuntimeError: no such node"):
        reader.read(paper())


# Tesseract: the program is not at hand, so a stand-in speaks its table

HEAD = [
    "level",
    "page_num",
    "block_num",
    "par_num",
    "line_num",
    "word_num",
    "left",
    "top",
    "width",
    "height",
    "conf",
    "text",
]
ROWS = [
    [1, 1, 0, 0, 0, 0, 0, 0, 200, 100, -1, ""],
    [4, 1, 1, 1, 1, 0, 20, 10, 100, 20, -1, ""],
    [5, 1, 1, 1, 1, 1, 20, 10, 40, 20, 96.5, "Quay"],
    [5, 1, 1, 1, 1, 2, 70, 10, 50, 20, 90.5, '"seven"'],
    [5, 1, 1, 1, 2, 1, 20, 50, 60, 20, 12, "smudge"],
    [5, 1, 2, 1, 1, 1, 100, 80, 60, 20, 80, "Ebbe"],
    [5, 1, 3, 1, 1, 1, 10, 90, 9, 9, 95, "Q"],
]
TABLE = "\n".join("\t".join(map(str, row)) for row in [HEAD, *ROWS]) + "\n"


def program(folder: Path, body: str) -> str:
    path = folder / "tesseract"
    path.write_text(
        f"#!{sys.executable}\nimport sys, time\nif '--version' in sys.argv:\n    print('tesseract v5.3.4')\n    sys.exit()\n{body}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_tesseract_is_asked_for_its_table_of_words(tmp_path):
    body = (
        "data = sys.stdin.buffer.read()\n"
        "assert data.startswith(b'\\x89PNG') and sys.argv[1:] == ['stdin', 'stdout', '-l', 'eng+deu', 'tsv']\n"
        f"sys.stdout.write({TABLE!r})"
    )
    reader = TesseractReader(program=program(tmp_path, body), languages="eng+deu")
    first, second = reader.read(paper((200, 100)))
    assert first.text == 'Quay "seven"'
    assert first.box == (0.1, 0.1, 0.6, 0.3)
    assert first.confidence == pytest.approx((0.965 * 4 + 0.905 * 7) / 11)
    assert second.text == "Ebbe"
    assert reader.fingerprint == "tesseract-5.3.4,eng+deu"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(
            "sys.stderr.write('Error opening data file xyz.traineddata'); sys.exit(1)", "xyz", id="fails"
        ),
        pytest.param(f"sys.stdout.write({TABLE.replace('96.5', 'high')!r})", "not its table", id="nonsense"),
        pytest.param("time.sleep(9)", "has not read the picture in 1 s", id="hangs"),
    ],
)
def test_a_tesseract_that_fails_is_an_error_of_the_picture(tmp_path, body, words):
    with pytest.raises(CorruptMediaError, match=words):
        TesseractReader(program=program(tmp_path, body), timeout_s=1).read(paper((200, 100)))


def test_a_missing_program_is_told_with_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"apt install tesseract-ocr.*langchain-mmrag\[ocr\]"):
        TesseractReader().read(paper())
    with pytest.raises(MissingDependencyError, match="tesseract is not installed"):
        ocr_reader("tesseract")


# readers by name


def test_readers_go_by_names_and_those_who_ask_by_name_share_one(reader, monkeypatch, tmp_path):
    assert ocr_reader(None) is None
    assert ocr_reader(reader) is reader
    assert isinstance(reader, OCR)
    assert ocr_reader("auto") is ocr_reader("rapidocr")
    assert reader.fingerprint.startswith("rapidocr-")
    assert RapidOCRReader(min_confidence=0.8).fingerprint == f"{reader.fingerprint},0.8"
    program(tmp_path, "")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert isinstance(ocr_reader("tesseract"), TesseractReader)
    with pytest.raises(ValueError, match="ocr must be 'auto', 'rapidocr', 'tesseract'"):
        ocr_reader("abbyy")


def test_without_the_extra_auto_is_none_and_the_name_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    monkeypatch.setattr(ocr_module, "find_spec", lambda module: None)
    assert ocr_reader("auto") is None
    with pytest.raises(MissingDependencyError, match=r'pip install "langchain-mmrag\[ocr\]"'):
        ocr_reader("rapidocr")


@pytest.mark.parametrize(
    "make",
    [
        lambda: RapidOCRReader(min_confidence=2),
        lambda: RapidOCRReader(threads=0),
        lambda: TesseractReader(min_confidence=-1),
        lambda: TesseractReader(languages="--help"),
    ],
)
def test_options_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()


# in the loader


def test_a_picture_has_its_words_and_passages_of_them_point_to_it(tmp_path, reader):
    path = tmp_path / "log.png"
    write(paper(), (40, 60), LINES).save(path)
    picture, passage = ImageLoader(path, ocr=reader).load()
    assert picture.metadata["ocr_text"].splitlines() == LINES
    assert picture.metadata["ocr_confidence"] > 0.9
    assert picture.metadata["loader"] == f"image+ocr={reader.fingerprint}"
    assert picture.id == ImageLoader(path).load()[0].id
    assert passage.page_content.splitlines() == LINES
    assert passage.metadata["parent_id"] == picture.id
    assert len(passage.metadata["bbox"]) == 4
    assert "modality" not in passage.metadata


def test_a_photograph_held_sideways_is_read_upright(tmp_path, reader):
    exif = Image.Exif()
    exif[0x0112] = 6
    write(paper(), (40, 60), LINES).rotate(90, expand=True).save(tmp_path / "a.jpg", exif=exif, quality=95)
    picture, passage = ImageLoader(tmp_path / "a.jpg", ocr=reader).load()
    assert (picture.metadata["width"], picture.metadata["height"]) == (700, 420)
    assert picture.metadata["ocr_text"].splitlines() == LINES
    assert passage.metadata["bbox"][2] > passage.metadata["bbox"][3]  # wider than high: as it stands upright


class Failing:
    fingerprint = "failing"

    def read(self, image):
        raise CorruptMediaError("the reader is ill")


def test_a_picture_whose_writing_cannot_be_read_is_kept_and_the_reason_told(tmp_path):
    paper().save(tmp_path / "a.png")
    loader = ImageLoader(tmp_path / "a.png", ocr=Failing())
    (picture,) = loader.load()
    assert "ocr_text" not in picture.metadata
    assert [str(problem) for problem in loader.problems] == [f"{tmp_path / 'a.png'}: the reader is ill"]


def test_slivers_that_look_like_writing_spoil_no_picture():
    picture = draw_thing("deciduous tree")  # in which a stretch of seven pixels is taken for a line
    assert RapidOCRReader().read(picture) == []
