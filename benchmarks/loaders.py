"""How fast each loader is, and whether long files cost more memory than short ones.

    python benchmarks/loaders.py [pdf|table|video|audio|ocr|office ...]

Every row is a real file made on the spot. Peak memory is that of a process of its own, which does nothing
but load one file; so are the seconds, after everything is imported. A rival is what people write without
this package: it does less, and says how much of the time is decoding.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from PIL import Image

BENCHMARKS: dict[str, Callable[[Path], None]] = {}
"""By name, what `python benchmarks/loaders.py NAME` does with an empty folder."""


def benchmark(function: Callable[[Path], None]) -> Callable[[Path], None]:
    """Register a benchmark under its function's name."""
    BENCHMARKS[function.__name__] = function
    return function


def measured(code: str, *arguments: object) -> dict[str, float]:
    """Run `code` in a process of its own.

    Args:
        code: Python that leaves in `count` how many documents, pages or frames it made; `arguments` are
            `sys.argv[1:]`. What stands above a line `# start` is not timed.

    Returns:
        `count`, `seconds`, `peak_mb` of the process, `base_mb`, its peak at `# start`, and `child_mb`, which
        the code sets to the peak of a process it started, if it did.
    """
    before, _, timed = code.partition("# start\n")
    whole = (
        "import json, resource, sys, time\n"
        f"{before}\n"
        "base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "start = time.perf_counter()\n"
        f"{timed}\n"
        "seconds = time.perf_counter() - start\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "row = {'count': count, 'seconds': seconds, 'peak_mb': peak / 1024, 'base_mb': base / 1024}\n"
        "row['child_mb'] = globals().get('child_mb', 0)\n"
        "print(json.dumps(row))"
    )
    command = [sys.executable, "-c", whole, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(name: str, result: dict[str, float], unit: str) -> None:
    """Print a row: how many `unit` per second, and the peak of memory."""
    rate = result["count"] / result["seconds"]
    child = f" + {result['child_mb']:.0f} MB in a process of its own" if result["child_mb"] else ""
    print(f"{name:44} {rate:10.1f} {unit}/s   peak {result['peak_mb']:6.0f} MB{child}")


PDF_FILE = """
import io, sys
import numpy as np
from PIL import Image
from reportlab.lib import colors
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas
from reportlab.platypus import Table
paper = canvas.Canvas(sys.argv[1])
for n in range(int(sys.argv[2])):
    for row in range(40):
        paper.drawString(50, 780 - 12 * row, f"Row {row} of page {n} tells of gulls and {n * row % 97} boats")
    if n % 5 == 0:
        spots = np.random.default_rng(n).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        photo = io.BytesIO()
        Image.fromarray(spots).resize((800, 600), Image.Resampling.BICUBIC).save(photo, "JPEG")
        paper.drawImage(ImageReader(photo), 60, 60, 200, 150)
        paper.drawString(60, 45, f"Figure {n + 1}: the bay")
    if n % 5 == 1:
        cells = Table([["a", "b", "c"], *([f"x{n}", str(k), str(k * n)] for k in range(6))])
        cells.setStyle([("GRID", (0, 0), (-1, -1), 1, colors.black)])
        cells.wrapOn(paper, 300, 300)
        cells.drawOn(paper, 60, 60)
    paper.showPage()
paper.save()
"""

PDF_LOADER = """
from langchain_mmrag._pdf import reader
from langchain_mmrag.document_loaders.pdf import PDFLoader
extras = sys.argv[3] == "True"
loader = PDFLoader(sys.argv[1], figures=extras, tables=extras, media_directory=sys.argv[2])
# start
count = sum("modality" not in document.metadata for document in loader.lazy_load())
with open(f"/proc/{reader._IDLE._children[0]._process.pid}/status") as status:
    child_mb = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
"""

PDF_RIVALS = {
    "pypdfium2, text": """
import pypdfium2
# start
document = pypdfium2.PdfDocument(sys.argv[1])
count = sum(bool(page.get_textpage().get_text_range()) for page in document)
""",
    "pdfplumber, text": """
import pdfplumber
# start
count = 0
with pdfplumber.open(sys.argv[1]) as document:
    for page in document.pages:
        count += bool(page.extract_text())
        page.close()
""",
    "pdfplumber, text and tables": """
import pdfplumber
# start
count = 0
with pdfplumber.open(sys.argv[1]) as document:
    for page in document.pages:
        count += bool(page.extract_text())
        page.extract_tables()
        page.close()
""",
}


@benchmark
def pdf(folder: Path) -> None:
    """Pages per second with figures and tables and without, of a short file and of a long one."""
    for pages in (100, 1_000):
        path = folder / f"{pages}.pdf"
        subprocess.run([sys.executable, "-c", PDF_FILE, str(path), str(pages)], check=True)  # noqa: S603
        for extras in (True, False):
            kinds = "text, figures, tables" if extras else "text"
            result = measured(PDF_LOADER, path, folder / "media", extras)
            report(f"PDFLoader, {kinds}, {pages} pages", result, "pages")
        for name, code in PDF_RIVALS.items():
            if pages == 100 or name.startswith("pypdfium2"):
                report(f"{name}, {pages} pages", measured(code, path), "pages")


TABLE_FILE = """
import csv, json, sys
path, suffix, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
records = ({"id": n, "name": f"thing {n % 977}", "price": n % 1000 + 0.5, "day": f"2024-01-{n % 28 + 1:02}",
            "sold": n % 2 == 0, "note": "some words that were noted"} for n in range(rows))
if suffix == "csv":
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "name", "price", "day", "sold", "note"])
        writer.writeheader()
        writer.writerows(records)
elif suffix == "jsonl":
    with open(path, "w") as file:
        file.writelines(json.dumps(record) + chr(10) for record in records)
elif suffix == "xlsx":
    import xlsxwriter
    book = xlsxwriter.Workbook(path, {"constant_memory": True})
    sheet = book.add_worksheet("things")
    for n, record in enumerate(records):
        if n == 0:
            sheet.write_row(0, 0, list(record))
        sheet.write_row(n + 1, 0, list(record.values()))
    book.close()
elif suffix == "parquet":
    import pyarrow, pyarrow.parquet
    table = pyarrow.Table.from_pylist(list(records))
    pyarrow.parquet.write_table(table, path, row_group_size=10_000)
else:
    import sqlite3
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE things (id INT, name TEXT, price REAL, day TEXT, sold INT, note TEXT)")
        values = (tuple(record.values()) for record in records)
        base.executemany("INSERT INTO things VALUES (?, ?, ?, ?, ?, ?)", values)
"""

TABLE_LOADER = """
from importlib import import_module
module = import_module("langchain_mmrag.document_loaders." + sys.argv[2])
loader = getattr(module, sys.argv[3])(sys.argv[1])
for name in {"excel": ["openpyxl"], "parquet": ["pyarrow.parquet"]}.get(sys.argv[2], []):
    import_module(name)
# start
count = sum(1 for _ in loader.lazy_load()) - 1  # less the summary
"""

TABLE_RIVAL = """
import csv
from langchain_core.documents import Document
# start
count = 0
with open(sys.argv[1], newline="") as file:
    for number, row in enumerate(csv.DictReader(file)):
        text = chr(10).join(f"{name}: {value}" for name, value in row.items())
        Document(page_content=text, metadata={"source": sys.argv[1], "row": number})
        count += 1
"""

TABLE_LOADERS = {
    "csv": ("csv", "CSVLoader"),
    "jsonl": ("json", "JSONLoader"),
    "xlsx": ("excel", "ExcelLoader"),
    "parquet": ("parquet", "ParquetLoader"),
    "db": ("sql", "SQLLoader"),
}


@benchmark
def table(folder: Path) -> None:
    """Rows per second of each format, with a tenth of the rows and with all of them."""
    for suffix, (module, name) in TABLE_LOADERS.items():
        for rows in (10_000, 100_000):
            path = folder / f"{rows}.{suffix}"
            command = [sys.executable, "-c", TABLE_FILE, str(path), suffix, str(rows)]
            subprocess.run(command, check=True)  # noqa: S603
            report(f"{name}, {rows} rows", measured(TABLE_LOADER, path, module, name), "rows")
            if suffix == "csv":  # text alone: no types, no ids, no digest, no encoding or dialect found out
                report(f"csv.DictReader, {rows} rows", measured(TABLE_RIVAL, path), "rows")
            path.unlink()


def make_film(path: Path, *, seconds: int, fps: int, size: tuple[int, int], key_s: float) -> None:
    """A film in H.264 whose picture drifts and changes altogether every six seconds, with a tone."""
    width, height = size
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as film:
        video = film.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "sc_threshold": "0"})
        video.width, video.height, video.pix_fmt, video.gop_size = (
            width,
            height,
            "yuv420p",
            round(key_s * fps),
        )
        sound = film.add_stream("aac", rate=16000, layout="mono")
        tone = (np.sin(np.arange(16000) / 6) * 6000).astype(np.int16)[None]
        for second in range(seconds):
            if second % 6 == 0:
                coarse = rng.integers(0, 256, (9, 16, 3)).astype(np.uint8)
                picture = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
            for number in range(fps):
                pixels = np.roll(picture, (second % 6) * fps + number, axis=1)
                film.mux(
                    video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"))
                )
            frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, second * 16000
            film.mux(sound.encode(frame))
        film.mux([*video.encode(), *sound.encode()])


EVERY_FRAME = """
import sys, av
# start
with av.open(sys.argv[1]) as film:
    for frame in film.decode(video=0):
        frame.to_ndarray(format="rgb24")
    count = film.duration / 1e6
"""

FILM = """
import sys, av
from langchain_mmrag.document_loaders.video import VideoLoader
# start
loader = VideoLoader(sys.argv[1], sampling=sys.argv[2], media_directory=sys.argv[1] + "-media")
for document in loader.lazy_load():
    count = document.metadata["end_s"]
"""


@benchmark
def video(folder: Path) -> None:
    """Seconds of film a second for each sampling; memory of five minutes and of an hour."""
    for key_s, keys in ((10.0, "a key frame every 10 s"), (1.0, "a key frame a second")):
        path = folder / f"{key_s:g}.mp4"
        make_film(path, seconds=60, fps=25, size=(1280, 720), key_s=key_s)
        report(f"720p, {keys}: every frame", measured(EVERY_FRAME, path), "s of film")
        for sampling in ("scene", "uniform", "keyframe"):
            report(f"720p, {keys}: {sampling}", measured(FILM, path, sampling), "s of film")
    for minutes in (5, 60):
        path = folder / f"{minutes}min.mp4"
        make_film(path, seconds=minutes * 60, fps=5, size=(320, 180), key_s=10)
        report(f"180p, {minutes} min: scene", measured(FILM, path, "scene"), "s of film")


SOUND = """
import sys, wave, av, numpy
from langchain_mmrag.document_loaders.audio import AudioLoader
from langchain_mmrag.document_loaders.transcription import transcriber_named
heard = transcriber_named(sys.argv[2]) if len(sys.argv) > 2 else None
if heard:
    list(heard.transcribe([numpy.random.default_rng(0).normal(0, 0.1, 16000).astype("float32")]))
# start
for document in AudioLoader(sys.argv[1], transcriber=heard, sound_search=True).lazy_load():
    count = document.metadata["duration_s"]
"""


@benchmark
def audio(folder: Path) -> None:
    """Seconds of sound a second, decoded and heard; memory of five minutes and of an hour."""
    for minutes in (5, 60):
        path = folder / f"{minutes}min.m4a"
        make_film(path.with_suffix(".mp4"), seconds=minutes * 60, fps=1, size=(64, 64), key_s=10)
        path.with_suffix(".mp4").rename(path)
        report(f"AAC, {minutes} min, decoded", measured(SOUND, path), "s of sound")
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.unit_tests.speech import speech_file

    speech_file(folder / "talk.wav", *("please send the report to the new office in london", 1.0) * 4)
    report("speech, PocketSphinx", measured(SOUND, folder / "talk.wav", "pocketsphinx"), "s of sound")


OFFICE_FILE = """
import io, sys
from PIL import Image
path, suffix, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
words = "The red tower of the harbour was painted anew, and its lamp burns through the night. "
def photo(n):
    data = io.BytesIO()
    Image.new("RGB", (320, 240), (n % 256, n * 7 % 256, n * 31 % 256)).save(data, "PNG")
    data.seek(0)
    return data
if suffix == "docx":
    import docx
    document = docx.Document()
    for n in range(size):
        document.add_heading(f"Section {n}", 1)
        for k in range(10):
            document.add_paragraph(f"{n}.{k} {words * 3}")
        document.add_picture(photo(n))
    document.save(path)
elif suffix == "pptx":
    import pptx
    deck = pptx.Presentation()
    for n in range(size):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = f"Slide {n}"
        slide.placeholders[1].text = words * 3
        slide.shapes.add_picture(photo(n), 914400, 4000000)
    deck.save(path)
else:
    for n in range(size):
        with open(f"{path}.{n}.png", "wb") as file:
            file.write(photo(n).getvalue())
    name = path.rpartition("/")[2]
    with open(path, "w") as file:
        for n in range(size):
            file.write(f"<h1>Section {n}</h1>" + "".join(f"<p>{n}.{k} {words * 3}</p>" for k in range(10)))
            file.write(f'<figure><img src="{name}.{n}.png"><figcaption>Photo {n}</figcaption></figure>')
"""

OFFICE_LOADER = """
from importlib import import_module
import mammoth, pptx, lxml.etree
import langchain_mmrag.document_loaders._passages
module = import_module("langchain_mmrag.document_loaders." + sys.argv[2])
loader = getattr(module, sys.argv[3])(sys.argv[1], media_directory=sys.argv[4])
# start
count = sum(1 for _ in loader.lazy_load())
"""

OFFICE_LOADERS = {"docx": "DocxLoader", "pptx": "PptxLoader", "html": "HTMLLoader"}

OFFICE_RIVALS = {
    "docx": """
import mammoth
# start
with open(sys.argv[1], "rb") as file:
    count = len(mammoth.extract_raw_text(file).value.split("\\n\\n"))
""",
    "pptx": """
import pptx
# start
count = 0
for slide in pptx.Presentation(sys.argv[1]).slides:
    text = chr(10).join(shape.text_frame.text for shape in slide.shapes if shape.has_text_frame)
    count += bool(text)
""",
    "html": """
from bs4 import BeautifulSoup
# start
with open(sys.argv[1]) as file:
    count = len(BeautifulSoup(file, "lxml").get_text("\\n").split("\\n"))
""",
}


@benchmark
def office(folder: Path) -> None:
    """Documents per second of sections or slides with a picture each; rivals read the words alone."""
    for suffix, name in OFFICE_LOADERS.items():
        for size in (20, 200):
            path = folder / f"{size}.{suffix}"
            command = [sys.executable, "-c", OFFICE_FILE, str(path), suffix, str(size)]
            subprocess.run(command, check=True)  # noqa: S603
            found = measured(OFFICE_LOADER, path, suffix, name, folder / "media")
            report(f"{name}, {size} pictures", found, "documents")
            rival = measured(OFFICE_RIVALS[suffix], path)
            rival["count"] = found["count"]  # what it takes for the same file, whatever it calls a document
            report(f"words alone of the same {suffix}", rival, "documents")


@benchmark
def images(folder: Path) -> None:
    """Pictures of a page, without and with a reader of the writing in them."""
    from PIL import Image, ImageDraw, ImageFont

    for number in range(4):
        image = Image.new("RGB", (900, 1200), "white")
        for line in range(12):
            text = f"Line {line} of sheet {number}: the valve was checked"
            ImageDraw.Draw(image).text((40, 40 + 30 * line), text, "black", ImageFont.load_default(18))
        image.save(folder / f"{number}.png")
    load = (
        "import sys\nfrom pathlib import Path\nfrom langchain_mmrag.document_loaders import ImageLoader\n"
        "from langchain_mmrag.document_loaders.ocr import ocr_reader\nfrom PIL import Image\n"
        "reader = ocr_reader(sys.argv[2] or None)\n"
        "reader and reader.read(Image.new('RGB', (64, 64)))\n"
        "# start\n"
        "paths = sorted(Path(sys.argv[1]).glob('*.png'))\n"
        "count = sum('parent_id' not in found.metadata\n"
        "            for path in paths for found in ImageLoader(path, ocr=reader).load())"
    )
    report("pages as pictures", measured(load, folder, ""), "pictures")
    report("pages as pictures, read by RapidOCR", measured(load, folder, "rapidocr"), "pictures")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all by default"
    )
    for name in parser.parse_args().names or BENCHMARKS:
        print(f"\n{name}")
        with TemporaryDirectory() as folder:
            BENCHMARKS[name](Path(folder))


if __name__ == "__main__":
    main()
