"""What a file is: its bytes first, its name second."""

import gzip
import io
import os
import sqlite3
import sys
import tarfile
import tomllib
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from PIL import Image

from langchain_mmrag import MultimodalChroma, errors
from langchain_mmrag.document_loaders import DirectoryLoader
from langchain_mmrag.document_loaders._reading import loader_for
from langchain_mmrag.document_loaders.base import FileLoader, Part
from langchain_mmrag.document_loaders.kinds import KINDS, LoaderOptions, kind_of, supported_suffixes
from langchain_mmrag.indexing import index_paths
from langchain_mmrag.media import MediaPolicy


def picture(image_format: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(data, image_format)
    return data.getvalue()


def pdf() -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    data = io.BytesIO()
    canvas = Canvas(data)
    canvas.drawString(72, 720, "A page.")
    canvas.save()
    return data.getvalue()


def office(kind: str) -> bytes:
    import docx
    import openpyxl
    import pptx

    made = {"docx": docx.Document, "pptx": pptx.Presentation, "xlsx": openpyxl.Workbook}[kind]()
    data = io.BytesIO()
    made.save(data)
    return data.getvalue()


def parquet() -> bytes:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    data = io.BytesIO()
    write_table(pa.table({"a": [1]}), data)
    return data.getvalue()


def sqlite(tmp_path) -> bytes:
    path = tmp_path / "made.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    return path.read_bytes()


def film(container: str, codec: str) -> bytes:
    import av

    data = io.BytesIO()
    with av.open(data, "w", format=container) as file:
        stream = file.add_stream(codec, rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number * 50, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return data.getvalue()


def sound(container: str, codec: str) -> bytes:
    import av

    data = io.BytesIO()
    with av.open(data, "w", format=container) as file:
        stream = file.add_stream(codec, rate=48000)
        stream.layout = "mono"
        tone = (np.sin(np.arange(9600) / 20) * 0.3).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        resampler = av.AudioResampler(stream.format, "mono", 48000, frame_size=stream.frame_size or None)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return data.getvalue()


def archive(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return data.getvalue()


def tarball() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz"):
        pass
    return data.getvalue()


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'

BYTES = [
    # name, bytes, kind
    ("a.png", lambda _: picture("PNG"), "picture"),
    ("a.txt", lambda _: picture("JPEG"), "picture"),
    ("a.mp4", lambda _: picture("WEBP"), "picture"),
    ("a", lambda _: picture("GIF"), "picture"),
    ("a.bin", lambda _: picture("TIFF"), "picture"),
    ("a.mov", lambda _: picture("AVIF"), "picture"),
    ("a.dat", lambda _: HEIC, "picture"),
    ("a.xml", lambda _: b'<?xml version="1.0"?>\n<!-- drawn -->\n' + SVG, "picture"),
    ("a.html", lambda _: SVG, "picture"),
    ("a.pdf", lambda _: pdf(), "PDF"),
    ("a.txt", lambda _: pdf(), "PDF"),
    ("a.dat", lambda _: b"\0junk from a mail server\r\n" + pdf(), "PDF"),
    ("about.txt", lambda _: b"A PDF begins with %PDF-1.7 and so on.", "text"),
    ("a.docx", lambda _: office("docx"), "Word document"),
    ("a.zip", lambda _: office("docx"), "Word document"),
    ("a.docx", lambda _: office("xlsx"), "Excel workbook"),
    ("a.csv", lambda _: office("xlsx"), "Excel workbook"),
    ("a.pdf", lambda _: office("pptx"), "PowerPoint slides"),
    ("half.docx", lambda _: office("docx")[:3000], "Word document"),
    ("a.zip", lambda _: archive("photo.jpg", "word.txt"), None),
    ("empty.zip", lambda _: archive(), None),
    ("a.doc", lambda _: OLE, "old office document"),
    ("secret.xlsx", lambda _: OLE, "old office document"),
    ("Thumbs.db", lambda _: OLE, None),
    ("a.doc", lambda _: b"{\\rtf1\\ansi hello}", "old office document"),
    ("a.xls", lambda _: b"<html><table><tr><td>1</td></tr></table></html>", "web page"),
    ("a.parquet", lambda _: parquet(), "Parquet table"),
    ("a.csv", lambda _: parquet(), "Parquet table"),
    ("a.db", sqlite, "SQLite database"),
    ("a.txt", sqlite, "SQLite database"),
    ("a.db", lambda _: b"some other database", None),
    ("a.php", lambda _: b"\xef\xbb\xbf\n <!-- x --> <!DOCTYPE html><title>x</title>", "web page"),
    ("a.txt", lambda _: b"  <HTML lang=en><body>hi", "web page"),
    ("a.md", lambda _: b"<html>\n\n# A heading all the same", "Markdown"),
    ("a.txt", lambda _: b"htmlish <html> in a text", "text"),
    ("feed.xml", lambda _: b'<?xml version="1.0"?><rss/>', None),
    ("a.mp4", lambda _: film("mp4", "mpeg4"), "film"),
    ("a.txt", lambda _: film("matroska", "mpeg4"), "film"),
    ("a.webm", lambda _: film("webm", "libvpx-vp9"), "film"),
    ("a.wav", lambda _: film("avi", "mpeg4"), "film"),
    ("a.ts", lambda _: film("mpegts", "mpeg2video"), "film"),
    ("a.ts", lambda _: b"export const a: number = 1;", None),
    ("a.vob", lambda _: film("mpeg", "mpeg2video"), "film"),
    ("a.wav", lambda _: sound("wav", "pcm_s16le"), "recording"),
    ("a.mp4", lambda _: sound("wav", "pcm_s16le"), "recording"),
    ("a.txt", lambda _: sound("flac", "flac"), "recording"),
    ("a.mp3", lambda _: sound("mp3", "libmp3lame"), "recording"),
    ("a.ogg", lambda _: sound("ogg", "libopus"), "recording"),
    ("a.webm", lambda _: sound("webm", "libopus"), "recording"),
    ("a.mov", lambda _: sound("ipod", "aac"), "recording"),
    ("a.aac", lambda _: sound("adts", "aac"), "recording"),
    ("a.csv", lambda _: b"a,b\n1,2\n", "comma-separated table"),
    ("a.TSV", lambda _: b"a\tb\n1\t2\n", "comma-separated table"),
    ("a.json", lambda _: b'[{"a": 1}]', "JSON"),
    ("a.ndjson", lambda _: b'{"a": 1}\n', "JSON"),
    ("a.rst", lambda _: b"Title\n=====\n", "text"),
    ("build.log", lambda _: b"ok", "text"),
    ("a.gz", lambda _: gzip.compress(b"a,b", mtime=0), None),
    ("a.tar.gz", lambda _: tarball(), None),
    ("a.html", lambda _: b"<!doctype svg>" + b"<!---->" * 500, "web page"),
    ("empty.pdf", lambda _: b"", "PDF"),
    ("empty", lambda _: b"", None),
    ("a.py", lambda _: b"print()", None),
]


@pytest.mark.parametrize(
    ("name", "make", "kind"), BYTES, ids=[f"{name}-{kind}-{at}" for at, (name, _, kind) in enumerate(BYTES)]
)
def test_a_file_is_what_its_bytes_say_and_only_then_what_its_name_says(tmp_path, name, make, kind):
    path = tmp_path / "files" / name
    path.parent.mkdir()
    path.write_bytes(make(tmp_path))
    found = kind_of(path)
    assert (found.name if found else None) == kind


def test_every_kind_has_a_name_of_its_own_and_no_suffix_is_of_two():
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    suffixes = [suffix for kind in KINDS for suffix in kind.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert supported_suffixes().split() == sorted(suffixes)


def test_every_extra_of_a_kind_can_be_installed():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert {kind.extra for kind in KINDS} - {""} <= project["optional-dependencies"].keys()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=kind.name) for kind in KINDS if kind.format != "old office"]
)
def test_every_kind_has_a_loader_that_says_what_it_makes(kind, tmp_path):
    options = LoaderOptions(media_directory=tmp_path / "media")
    path = tmp_path / f"a{min(kind.suffixes)}"
    loader = kind.loader(path, options, tmp_path)
    assert isinstance(loader, FileLoader)
    assert loader.source == str(path)
    assert isinstance(loader.fingerprint, str)
    assert loader.media_directory == tmp_path / "media" or kind.name == "text"


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("a.rtf", b"{\\rtf1\\ansi hello}", "save it as docx, xlsx, pptx or PDF"),
        ("a.xls", OLE + "Workbook".encode("utf-16-le"), "is an Excel file of before 2007: save it as .xlsx"),
        ("a.xlsx", OLE + "EncryptedPackage".encode("utf-16-le"), "protected by a password: save it without"),
    ],
)
def test_old_and_encrypted_office_documents_are_refused_with_what_to_do(tmp_path, name, content, remedy):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.UnsupportedFormatError, match=remedy) as refused:
        loader_for(tmp_path / name, LoaderOptions())
    assert name in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.docx", archive("photo.jpg"), "a ZIP archive"),
        ("a.csv", gzip.compress(b"a,b", mtime=0), "gzip-compressed"),
        ("a.txt", b"\x7fELF\2\1\1", "a program"),
    ],
)
def test_a_file_whose_name_says_something_else_is_an_error_and_not_passed_over(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.UnsupportedFormatError, match=rf"{name} is not what its name says.*{told}"):
        kind_of(tmp_path / name)


def test_a_file_is_looked_at_under_the_policy(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "a.txt").write_text("secret")
    with pytest.raises(errors.UnsafeSourceError):
        kind_of(tmp_path / "a.txt", MediaPolicy(roots=(tmp_path / "in",)))


@pytest.mark.timeout(20)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(errors.UnsafeSourceError, match="pipe"):
        kind_of(tmp_path / "a.txt")


def test_a_table_of_contents_of_a_great_archive_is_not_read_whole(tmp_path, monkeypatch):
    path = tmp_path / "many.docx"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("word/document.xml", "x")
        for number in range(20_000):
            file.writestr(f"word/media/{number}", "")
    read = []
    sniff = "langchain_mmrag.document_loaders._sniff"
    from langchain_mmrag.document_loaders import _sniff

    def count(file, size, _read=_sniff._read):
        data = _read(file, size)
        read.append(len(data))
        return data

    monkeypatch.setattr(f"{sniff}._read", count)
    assert kind_of(path).name == "Word document"
    assert sum(read) < path.stat().st_size / 3


@pytest.mark.parametrize(
    "options", [{"ocr": "maybe"}, {"loaders": {"tex": None}}, {"loaders": {".TEX": None}}]
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match=r"ocr must be one of|in lower case with a dot"):
        LoaderOptions(**options)


def test_a_reader_of_pictures_is_made_once_and_only_where_it_is_wanted():
    options = LoaderOptions(ocr="on")
    assert options.reader is options.reader
    assert options.reader is not None
    assert LoaderOptions(ocr="off").reader is None
    assert LoaderOptions(ocr=None).reader is None


def test_without_what_it_needs_reading_of_pictures_is_off_unless_it_is_asked_for(monkeypatch):
    monkeypatch.setattr("langchain_mmrag.document_loaders.ocr._has_rapidocr", lambda: False)
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    assert LoaderOptions(ocr="auto").reader is None
    with pytest.raises(errors.MissingDependencyError, match=r"langchain-mmrag\[ocr\]"):
        _ = LoaderOptions(ocr="on").reader


def test_options_say_nothing_of_the_policy_unless_they_are_told(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    assert LoaderOptions().media_policy is None
    narrow = LoaderOptions(media_policy=MediaPolicy(roots=(tmp_path / "in",)))
    assert loader_for(tmp_path / "a.txt", LoaderOptions()).load()
    with pytest.raises(errors.UnsafeSourceError):
        loader_for(tmp_path / "a.txt", narrow)


# what one writes oneself


class Lines(FileLoader):
    """Each line a document; one that says so breaks the file."""

    name = "lines"

    def parts(self, file):
        for line in file.read().decode().splitlines():
            if line == "break":
                raise ValueError("what is this")
            key, _, text = line.rpartition(":")
            metadata = {"source": "elsewhere", "part": 7, "modality": "image", "page": 3}
            yield Part(text=text, key=key or None, near="a", metadata=metadata)


def lines(path: Path, *text: str) -> Lines:
    path.write_text("\n".join(text))
    return Lines(path)


def test_whatever_breaks_a_file_in_its_middle_costs_none_of_what_came_before(tmp_path):
    loader = lines(tmp_path / "a.lines", "one", "two", "break", "three")
    documents = loader.load()
    assert [document.page_content for document in documents] == ["one", "two"]
    assert documents[-1].metadata["parts"] == 2
    (problem,) = loader.problems
    assert str(problem).endswith("a.lines: the rest cannot be read: ValueError: what is this")
    with pytest.raises(ValueError, match="what is this"):
        lines(tmp_path / "b.lines", "break").load()


def test_what_breaks_a_brought_loader_in_its_middle_is_told_and_the_rest_is_kept(
    tmp_path, counting_embeddings
):
    class Half(BaseLoader):
        problems = ()

        def __init__(self, path):
            self.path = path

        def lazy_load(self):
            yield Document("first half")
            yield Document("second")
            raise RuntimeError("then broke")

    (tmp_path / "a.half").write_text("x")
    loader = DirectoryLoader(tmp_path, loaders={".half": Half})
    assert [document.page_content for document in loader.load()] == ["first half", "second"]
    (failure,) = loader.failures
    assert failure.partial
    assert "RuntimeError: then broke" in str(failure.error)
    report = index_paths(
        MultimodalChroma("half", counting_embeddings),
        tmp_path,
        options=LoaderOptions(loaders={".half": Half}),
    )
    assert (report.added, report.documents, len(report.partial)) == (1, 2, 1)


def test_what_is_still_to_be_installed_is_no_broken_file(tmp_path):
    class Late(FileLoader):
        name = "late"

        def parts(self, file):
            yield Part(text="one")
            raise errors.MissingDependencyError("pip install it")

    (tmp_path / "a.late").write_text("x")
    with pytest.raises(errors.MissingDependencyError):
        Late(tmp_path / "a.late").load()


def test_what_a_part_says_takes_the_place_of_nothing_that_every_document_has(tmp_path):
    path = tmp_path / "a.lines"
    first, second = lines(path, "one", "two").load()
    assert first.metadata["source"] == second.metadata["source"] == str(path)
    assert [first.metadata["part"], second.metadata["part"]] == [0, 1]
    assert "modality" not in first.metadata
    assert first.metadata["page"] == 3


def test_keys_that_come_again_are_told_apart_the_same_way_each_time(tmp_path):
    loader = lines(tmp_path / "a.lines", "a:1", "a:2", "a~2:3", "a:4", "5", "4:6")
    documents = loader.load()
    ids = [document.id for document in documents]
    assert len(set(ids)) == 6
    assert ids == [document.id for document in loader.load()]
    assert {document.metadata["near_id"] for document in documents} == {ids[0]}
    shorter = lines(tmp_path / "a.lines", "a:1", "b:2").load()
    assert len({document.id for document in shorter}) == 2


def test_the_fingerprint_is_read_once_for_a_file(tmp_path):
    asked = []

    class Counted(Lines):
        @property
        def fingerprint(self):
            asked.append(1)
            return "counted"

    (tmp_path / "a").write_text("\n".join(map(str, range(50))))
    assert {document.metadata["loader"] for document in Counted(tmp_path / "a").load()} == {"counted"}
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("a.pdf", [{"page": 0}, {"page": 1}], [{"page": 1}, {"page": 2}]),
        ("a.pdf", [{"page": 1}, {"page": 2}], [{"page": 1}, {"page": 2}]),
        ("a.pdf", [{"page": 0}, {"page": "ii"}, {}], [{"page": 1}, {"page": "ii"}, {}]),
        ("a.csv", [{"row": 0}, {"row": 1}], [{"row": 2}, {"row": 3}]),
        ("a.log", [{"row": 0}, {"row": 1}], [{"row": 1}, {"row": 2}]),
        ("a.log", [{"row": False}], [{"row": False}]),
    ],
)
def test_pages_and_rows_that_a_brought_loader_counts_from_0_are_counted_from_1(
    tmp_path, name, given, expected
):
    found = [document.metadata for document in brought(tmp_path / name, given)]
    assert [{key: one[key] for key in ("page", "row") if key in one} for one in found] == expected


def test_metadata_of_a_brought_loader_is_made_such_that_a_collection_holds_it(tmp_path, counting_embeddings):
    loop: list = []
    loop.append(loop)
    given = {
        "none": None,
        "empty": [],
        "nothing": {},
        "nan": float("nan"),
        "nested": {"a": [1, "é"]},
        "mixed": [1, "a"],
        "loop": loop,
        "pair": (1, 2),
        "names": ["a", "b"],
        "day": date(2024, 1, 2),
        "moment": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
        "days": [date(2024, 1, 2)],
        "path": Path("/x/y"),
        "count": np.int64(3),
        "big": 2**70,
        "price": Decimal("1.50"),
        "ok": True,
        "source": "/elsewhere",
    }
    (document,) = brought(tmp_path / "a.log", [given])
    own = {key: value for key, value in document.metadata.items() if key in given}
    assert own == {
        "nested": '{"a": [1, "é"]}',
        "mixed": '[1, "a"]',
        "loop": "[[[...]]]",
        "pair": [1, 2],
        "names": ["a", "b"],
        "day": "2024-01-02",
        "moment": "2024-01-02T03:04:05+00:00",
        "days": ["2024-01-02"],
        "path": str(Path("/x/y")),
        "count": 3,
        "big": str(2**70),
        "price": "1.50",
        "ok": True,
        "source": str(tmp_path / "a.log"),
    }
    MultimodalChroma("brought", counting_embeddings).add_documents([document])


def brought(path: Path, metadata: list[dict]) -> list[Document]:
    """What becomes of documents with this metadata from a loader that is none of this package's."""

    class Brought(BaseLoader):
        def __init__(self, path):
            self.path = path

        def lazy_load(self):
            yield from (Document("words", metadata=each) for each in metadata)

    path.write_text("x")
    return loader_for(path, LoaderOptions(loaders={path.suffix: Brought})).load()
