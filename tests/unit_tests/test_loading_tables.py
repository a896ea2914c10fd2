"""Tables of every kind of file become rows with typed metadata, a summary, and the pictures of their rows."""

import json
import sqlite3
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy
import xlsxwriter
from PIL import Image

from langchain_mmrag import OpenCLIPEmbeddings, errors
from langchain_mmrag.demo.corpus import draw_thing
from langchain_mmrag.document_loaders import _columns, _sqlite, excel
from langchain_mmrag.document_loaders._columns import columns_of, metadata_keys, typed_metadata
from langchain_mmrag.document_loaders._headers import header_of
from langchain_mmrag.document_loaders._table_loader import MAX_SUMMARIES, MAX_WIDTH
from langchain_mmrag.document_loaders._tables import Table, markdown_table, table_parts
from langchain_mmrag.document_loaders.csv import CSVLoader
from langchain_mmrag.document_loaders.excel import ExcelLoader
from langchain_mmrag.document_loaders.image import ImageLoader
from langchain_mmrag.document_loaders.json import JSONLoader
from langchain_mmrag.document_loaders.parquet import ParquetLoader
from langchain_mmrag.document_loaders.sql import SQLLoader
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.text_splitters import CLIPTextSplitter
from tests.unit_tests.media_server import FLAG_PNG, OPEN, reply, serving

serve = pytest.fixture(serving)

COMMON = {"source", "file_sha256", "loader", "part", "parts", "modality"}
PNG = BytesIO()
Image.new("RGB", (8, 6), "red").save(PNG, "PNG")


def rows(documents: list) -> list[dict]:
    """What the documents of rows have in their metadata, apart from what all of them have."""
    metadatas = [document.metadata for document in documents if "summary" not in document.metadata]
    return [{key: value for key, value in one.items() if key not in COMMON} for one in metadatas]


def text_file(text: str, encoding: str = "utf-8") -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text.encode(encoding))


def sales_workbook(path: Path) -> None:
    book = xlsxwriter.Workbook(path)
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    sheet = book.add_worksheet("Q3")
    sheet.merge_range("A1:D1", "Sales of the third quarter")
    sheet.write_row("A3", ["region", "product", "price", "sold on", "twice"])
    sheet.merge_range("A4:A5", "North")
    sheet.write_row("B4", ["chair", 12.5])
    sheet.write_datetime("D4", date(2024, 7, 2), day)
    sheet.write_formula("E4", "=C4*2", None, 25)
    sheet.write_row("B5", ["table", 50])
    sheet.write_datetime("D5", date(2024, 7, 3), day)
    sheet.write_row("A7", ["South", "lamp", 7])  # row 6 is empty
    years = book.add_worksheet("by year")
    years.merge_range("B2:C2", "2023")
    years.merge_range("D2:E2", "2024")
    years.write_row("A3", ["region", "units", "price", "units", "price"])
    years.write_row("A4", ["N", 1, 2.5, 3, 4.5])
    years.write_row("A5", ["S", 5, 6.5, 7, 8.5])
    far = book.add_worksheet("far")
    far.write_row("C5", ["code", "count"])
    far.write_row("C6", ["007", 3])
    book.add_worksheet("empty")
    secret = book.add_worksheet("secret")
    secret.write_row("A1", ["salary"])
    secret.write_row("A2", [1000])
    secret.hide()
    book.close()


def named_twice_workbook(path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "a"
    for row in (["name", "price", "price"], ["x", 1, 2], ["y", 3, 4]):
        book.active.append(row)
    book.save(path)


def uncomputed_workbook(path: Path) -> None:
    book = openpyxl.Workbook()  # which stores formulas without values
    book.active.title = "sums"
    for row in (["name", "a", "b"], ["x", 1, "=B2*2"], ["y", 2, "=B3*2"]):
        book.active.append(row)
    book.save(path)


def typed_parquet(path: Path) -> None:
    table = pa.table(
        {
            "name": ["a", "b"],
            "price": pa.array([Decimal("1.50"), Decimal("2.25")], pa.decimal128(6, 2)),
            "place": [{"lat": 1.5, "city": "Ulm"}, {"lat": None, "city": "Bonn"}],
            "tags": [["x", "y"], None],
            "seen": pa.array([0, 10**9 + 1], pa.timestamp("ns", "UTC")),
            "born": pa.array([0, 1], pa.date32()),
            "huge": pa.array([2**64 - 1, 1], pa.uint64()),
            "ok": [True, False],
            "share": [0.5, float("nan")],
        }
    )
    pq.write_table(table, path, row_group_size=1)


def shop_database(path: Path) -> None:
    with sqlite3.connect(path) as base:
        base.execute(
            "CREATE TABLE goods (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT, price REAL, data BLOB)"
        )
        base.execute(
            "INSERT INTO goods (title, price, data) VALUES ('chair', 12.5, x'00ff'), ('table', 50, NULL)"
        )
        base.execute("CREATE VIEW dear AS SELECT title FROM goods WHERE price > 20")
        base.execute("CREATE VIRTUAL TABLE words USING fts5(body)")
        base.execute("INSERT INTO words VALUES ('a full text')")
    base.close()


@dataclass(frozen=True)
class Case:
    """A file, and what must come out: all of the metadata of its rows, and no problem that is not named."""

    name: str
    make: Callable[[Path], object]
    loader: type
    rows: list[dict]
    options: dict = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


CASES = [
    Case(
        "plain.csv",
        text_file(
            'name,price,when,zip\nchair,"1,250.50",2024-01-02,01234\n"a\nb",3,2024-02-01 12:30,99999\n\nc|d,7,,1\n'
        ),
        CSVLoader,
        [
            {
                "name": "chair",
                "price": 1250.5,
                "when": "2024-01-02",
                "when_ts": 1704153600.0,
                "zip": "01234",
                "row": 2,
            },
            {
                "name": "a b",
                "price": 3.0,
                "when": "2024-02-01T12:30:00",
                "when_ts": 1706790600.0,
                "zip": "99999",
                "row": 3,
            },
            {"name": "c|d", "price": 7.0, "zip": "1", "row": 5},
        ],
        texts=["| name | price | when | zip |\n|---|---|---|---|\n| c\\|d | 7 |  | 1 |"],
    ),
    Case(
        "german.csv",
        text_file("Umsätze;;\r\nRegion;2023;2024\r\nSüd;1.250,5;2\r\nNord;3,25;7\r\n", "latin-1"),
        CSVLoader,
        [
            {"Region": "Süd", "2023": 1250.5, "2024": 2, "row": 3},
            {"Region": "Nord", "2023": 3.25, "2024": 7, "row": 4},
        ],
        texts=["| Süd | 1.250,5 | 2 |", "german.csv (Umsätze): table of 2 rows."],
    ),
    Case(
        "ragged.csv",
        text_file("a,b\n1,2,3\n4\n5,6,\n"),
        CSVLoader,
        [{"a": 1, "b": 2, "column 3": 3, "row": 2}, {"a": 4, "row": 3}, {"a": 5, "b": 6, "row": 4}],
        problems=["rows with more or fewer cells than the header's 2: 2, the first is row 2"],
    ),
    Case(
        "headless.csv",
        text_file("1,red\n2,blue\n"),
        CSVLoader,
        [{"column 1": 1, "column 2": "red", "row": 1}, {"column 1": 2, "column 2": "blue", "row": 2}],
    ),
    Case(
        "told.csv", text_file("1,2\n3,4\n"), CSVLoader, [{"1": 3, "2": 4, "row": 2}], options={"header": True}
    ),
    Case("wide16.csv", text_file("Ä,b\nü,2\n", "utf-16-le"), CSVLoader, [{"Ä": "ü", "b": 2, "row": 2}]),
    Case("marked16.csv", text_file("Ä,b\nü,2\n", "utf-16"), CSVLoader, [{"Ä": "ü", "b": 2, "row": 2}]),
    Case("marked8.csv", text_file("a,b\nü,2\n", "utf-8-sig"), CSVLoader, [{"a": "ü", "b": 2, "row": 2}]),
    Case(
        "halves16.csv",
        lambda path: path.write_bytes("a,b\nx\ud83dy,2\n".encode("utf-16", "surrogatepass")),
        CSVLoader,
        [{"a": "x\ufffdy", "b": 2, "row": 2}],
    ),
    Case(
        "total.csv",
        text_file("day,n\n2024-01-02,1\n2024-01-03,2\nTotal,3\n"),
        CSVLoader,
        [
            {"day": "2024-01-02", "day_ts": 1704153600.0, "n": 1, "row": 2},
            {"day": "2024-01-03", "day_ts": 1704240000.0, "n": 2, "row": 3},
            {"n": 3, "row": 4},
        ],
        problems=["cells of another type than"],
    ),
    Case("tabs.tsv", text_file("a\tb\n1, 2\tx\n"), CSVLoader, [{"a": "1, 2", "b": "x", "row": 2}]),
    Case("told.txt", text_file("sep=|\na|b\n1|x\n"), CSVLoader, [{"a": 1, "b": "x", "row": 2}]),
    Case(
        "names.csv",
        text_file("title,source,row,a,a,,$x\nT,S,R,1,2,3,4\n"),
        CSVLoader,
        [
            {"column_title": "T", "column_source": "S", "column_row": "R", "a": 1, "a_2": 2}
            | {"column 6": 3, "column_$x": 4, "row": 2}
        ],
    ),
    Case(
        "twice.csv",
        text_file("name,price,price\nx,1,2\ny,3,4\n"),
        CSVLoader,
        [
            {"name": "x", "price": 1, "price_2": 2, "row": 2},
            {"name": "y", "price": 3, "price_2": 4, "row": 3},
        ],
    ),
    Case(
        "years.csv",
        text_file("name,year,year\nx,2020,2021\ny,2022,2023\n"),
        CSVLoader,
        [
            {"name": "x", "year": 2020, "year_2": 2021, "row": 2},
            {"name": "y", "year": 2022, "year_2": 2023, "row": 3},
        ],
    ),
    Case(
        "beside.csv",
        text_file("a,a,,b\n1,2,3,4\n5,6,7,8\n"),
        CSVLoader,
        [
            {"a": 1, "a_2": 2, "column 3": 3, "b": 4, "row": 2},
            {"a": 5, "a_2": 6, "column 3": 7, "b": 8, "row": 3},
        ],
    ),
    Case(
        "spanned.csv",
        text_file(",2023,2023,2024,2024\n,units,price,units,price\nN,1,2,3,4\n"),
        CSVLoader,
        [{"column 1": "N", "2023 units": 1, "2023 price": 2, "2024 units": 3, "2024 price": 4, "row": 3}],
    ),
    Case(
        "twice.xlsx",
        named_twice_workbook,
        ExcelLoader,
        [
            {"name": "x", "price": 1, "price_2": 2, "sheet": "a", "row": 2},
            {"name": "y", "price": 3, "price_2": 4, "sheet": "a", "row": 3},
        ],
    ),
    Case(
        "thousands.csv",
        text_file("paid;asked;weight\n$1,500;1,500;1,500\n$2,000;2,500;0,750\n"),
        CSVLoader,
        [
            {"paid": 1500, "asked": "1,500", "weight": 1.5, "row": 2},
            {"paid": 2000, "asked": "2,500", "weight": 0.75, "row": 3},
        ],
        problems=["numbers such as 1,500 may have decimals or be a thousand times as much"],
    ),
    Case(
        "quotes.csv",
        text_file('a,b\n"never closed,1\nx,2\n'),
        CSVLoader,
        [{"a": '"never closed', "b": 1, "row": 2}, {"a": "x", "b": 2, "row": 3}],
        options={"quoting": False},
    ),
    Case(
        "grouped.csv",
        text_file("region,n\nN,1\nS,2\nN,3\n"),
        CSVLoader,
        [{"region": "N", "row": 2, "last_row": 4}, {"region": "S", "n": 2, "row": 3}],
        options={"group_by": "region"},
        texts=["| region | n |\n|---|---|\n| N | 1 |\n| N | 3 |"],
    ),
    Case(
        "threes.csv",
        text_file("region,n\n" + "".join(f"N,{n}\n" for n in range(5))),
        CSVLoader,
        [{"region": "N", "row": 2, "last_row": 4}, {"region": "N", "row": 5, "last_row": 6}],
        options={"rows_per_document": 3},
    ),
    Case(
        "cut.csv",
        text_file("n\n" + "".join(f"{n}\n" for n in range(9))),
        CSVLoader,
        [{"n": 0, "row": 2}, {"n": 1, "row": 3}],
        options={"max_rows": 2},
        problems=["only the first 2 rows are read: raise max_rows"],
    ),
    Case(
        "sales.xlsx",
        sales_workbook,
        ExcelLoader,
        [
            {"region": "North", "product": "chair", "price": 12.5, "sold on": "2024-07-02"}
            | {"sold on_ts": 1719878400.0, "twice": 25, "sheet": "Q3", "row": 4},
            {"region": "North", "product": "table", "price": 50.0, "sold on": "2024-07-03"}
            | {"sold on_ts": 1719964800.0, "sheet": "Q3", "row": 5},
            {"region": "South", "product": "lamp", "price": 7.0, "sheet": "Q3", "row": 7},
            {"region": "N", "2023 units": 1, "2023 price": 2.5, "2024 units": 3, "2024 price": 4.5}
            | {"sheet": "by year", "row": 4},
            {"region": "S", "2023 units": 5, "2023 price": 6.5, "2024 units": 7, "2024 price": 8.5}
            | {"sheet": "by year", "row": 5},
            {"code": "007", "count": 3, "sheet": "far", "row": 6},
        ],
        problems=["the sheet 'secret' is hidden and was not read"],
        texts=[
            "sales.xlsx, Q3 (Sales of the third quarter): table of 3 rows.",
            "| code | count |\n|---|---|\n| 007 | 3 |",
        ],
    ),
    Case(
        "named.xlsx",
        sales_workbook,
        ExcelLoader,
        [{"salary": 1000, "sheet": "secret", "row": 2}],
        options={"sheets": ["secret"]},
    ),
    Case(
        "formulas.xlsx",
        uncomputed_workbook,
        ExcelLoader,
        [{"name": "x", "a": 1, "sheet": "sums", "row": 2}, {"name": "y", "a": 2, "sheet": "sums", "row": 3}],
        problems=["sums: the values of 2 formulas are not stored"],
    ),
    Case(
        "typed.parquet",
        typed_parquet,
        ParquetLoader,
        [
            {"name": "a", "price": 1.5, "place.lat": 1.5, "place.city": "Ulm", "tags": "x, y"}
            | {"seen": "1970-01-01T00:00:00+00:00", "seen_ts": 0.0, "born": "1970-01-01", "born_ts": 0.0}
            | {"huge": str(2**64 - 1), "ok": True, "share": 0.5, "row": 1},
            {
                "name": "b",
                "price": 2.25,
                "place.city": "Bonn",
                "seen": "1970-01-01T00:00:01+00:00",
                "seen_ts": 1.0,
            }
            | {"born": "1970-01-02", "born_ts": 86400.0, "huge": "1", "ok": False, "row": 2},
        ],
    ),
    Case(
        "records.json",
        text_file(
            '{"version": 3, "items": [{"n": 1, "at": {"x": 2}, "l": ["p", "q"]}, {"n": 2}], "more": {"deep": [1]}}'
        ),
        JSONLoader,
        [
            {"n": 1, "at.x": 2, "l": "p, q", "sheet": "items", "row": 1},
            {"n": 2, "sheet": "items", "row": 2},
            {},
            {"heading": "more"},
        ],
        texts=["version: 3", "more:\n  deep:\n    - 1"],
    ),
    Case(
        "path.json",
        text_file('{"pages": [{"items": [{"n": 1}]}, {"items": [{"n": 2}]}]}'),
        JSONLoader,
        [{"n": 1, "row": 1}, {"n": 2, "row": 2}],
        options={"record_path": ".pages[].items[]"},
    ),
    Case(
        "alike.json",
        text_file('{"ann": {"age": 3, "kg": 9}, "bob": {"age": 4, "kg": 8}}'),
        JSONLoader,
        [{"key": "ann", "age": 3, "kg": 9, "row": 1}, {"key": "bob", "age": 4, "kg": 8, "row": 2}],
    ),
    Case(
        "keys.json",
        text_file('{"entry": [{"n": 1}, {"n": 2}], "row-1": {"x": [1]}, "table": {"y": [2]}}'),
        JSONLoader,
        [
            {"n": 1, "sheet": "entry", "row": 1},
            {"n": 2, "sheet": "entry", "row": 2},
            {"heading": "row-1"},
            {"heading": "table"},
        ],
    ),
    Case(
        "halves.json",
        text_file(r'[{"a": "x\ud83dy", "b\uDE00": "\ud83d\ude00 \\ud83d"}]'),
        JSONLoader,
        [{"a": "x\ufffdy", "b\ufffd": "\U0001f600 \\ud83d", "row": 1}],
    ),
    Case("rows.json", text_file('[["n", "v"], ["a", 1]]'), JSONLoader, [{"n": "a", "v": 1, "row": 2}]),
    Case(
        "lines.jsonl",
        text_file('{"n": 1}\n\n{broken\n{"n": 2, "new": "x"}\n[3, 4]\n'),
        JSONLoader,
        [{"n": 1, "row": 1}, {"n": 2, "new": "x", "row": 3}, {"value": "3, 4", "row": 4}],
        problems=["1 records cannot be read, the first: record 2 is no valid JSON"],
    ),
    Case(
        "shop.db",
        shop_database,
        SQLLoader,
        [
            {"column_id": 1, "column_title": "chair", "price": 12.5, "sheet": "goods", "row": 1},
            {"column_id": 2, "column_title": "table", "price": 50.0, "sheet": "goods", "row": 2},
            {"column_title": "table", "sheet": "dear", "row": 1},
            {"body": "a full text", "sheet": "words", "row": 1},
        ],
        texts=["| 1 | chair | 12.5 | [2 bytes] |"],
    ),
    Case(
        "asked.db",
        shop_database,
        SQLLoader,
        [{"name": "table", "twice": 100.0, "row": 1}],
        options={"query": "SELECT title AS name, price * 2 AS twice FROM goods WHERE price > 20"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rows_of_every_kind_of_file_have_typed_metadata(case, tmp_path):
    path = tmp_path / case.name
    case.make(path)
    before = path.read_bytes()
    loader = case.loader(path, media_directory=tmp_path / "media", **case.options)
    documents = loader.load()
    assert rows(documents) == case.rows
    texts = "\n\n".join(document.page_content for document in documents)
    assert [text for text in case.texts if text not in texts] == []
    told = [str(problem).removeprefix(f"{path}: ") for problem in loader.problems]
    assert len(told) == len(case.problems)
    assert all(one.startswith(expected) for one, expected in zip(told, case.problems, strict=True))
    assert len({document.id for document in documents}) == len(documents)
    assert documents[-1].metadata.get("parts", 1) == len(documents)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [case.name]


BROKEN = [
    ("empty.csv", CSVLoader, b"", "is empty"),
    ("blank.csv", CSVLoader, b"\n\n\n", "nothing that can be indexed"),
    ("header.csv", CSVLoader, b"name,price\n", "nothing that can be indexed"),
    ("picture.csv", CSVLoader, PNG.getvalue(), "is not text"),
    ("quote.csv", CSVLoader, b'a,b\n"never closed,1\n' + b"x,y\n" * 50_000, r"pass quoting=False"),
    ("line.csv", CSVLoader, b"x" * (2**24 + 1), "a line of more than"),
    ("deep.json", JSONLoader, b"[" * 200_000, "nested too deep"),
    ("cut.json", JSONLoader, b'{"a": [1, 2', "no valid JSON"),
    ("none.json", JSONLoader, b"[]", "nothing that can be indexed"),
    ("all.jsonl", JSONLoader, b"{a}\n{b}\n", r"all\.jsonl: record 1 is no valid JSON"),
    ("old.xlsx", ExcelLoader, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "OLE"),
    (
        "locked.xlsx",
        ExcelLoader,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
        "password",
    ),
    ("text.xlsx", ExcelLoader, b"name,price\n1,2\n", r"text\.xlsx"),
    ("text.parquet", ParquetLoader, b"PAR1" + bytes(50), "no Parquet file"),
    ("text.db", SQLLoader, b"SQLite in the name alone" * 9, "no SQLite database"),
]


@pytest.mark.parametrize(("name", "loader", "data", "reason"), BROKEN, ids=[case[0] for case in BROKEN])
def test_broken_files_are_refused_with_a_reason(name, loader, data, reason, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(errors.LoadError, match=reason):
        loader(tmp_path / name).load()


@pytest.mark.parametrize(("make", "loader", "name"), [
    (sales_workbook, ExcelLoader, "a.xlsx"), (typed_parquet, ParquetLoader, "a.parquet"), (shop_database, SQLLoader, "a.db"),
])  # fmt: skip
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_is_cut_off_gives_an_error_of_this_package_or_what_is_left(
    make, loader, name, share, tmp_path
):
    path = tmp_path / name
    make(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    read = loader(path)
    try:
        documents = read.load()
    except errors.LoadError as error:
        assert name in str(error)  # noqa: PT017  either is right
    else:
        assert documents
        assert read.problems


CELLS = [
    ("int", ["1,234", "5", "-7", "n/a"], [1234, 5, -7, None]),
    ("float", ["$1,000.50", "$ 12"], [1000.5, 12.0]),
    ("float", ["3,14", "2"], [3.14, 2.0]),
    ("float", ["1.234,50 €", "7 €"], [1234.5, 7.0]),
    ("float", ["12.5 %", "3%"], [12.5, 3.0]),
    ("float", [1, 2.5, Decimal("0.1")], [1.0, 2.5, 0.1]),
    ("int", ["(5)", "7"], [-5, 7]),
    ("bool", ["Yes", "no", ""], [True, False, None]),
    ("bool", [True, False], [True, False]),
    ("float", ["1 250,00 €", "900,00 €"], [1250.0, 900.0]),
    ("int", ["1 250 €", "3 €"], [1250, 3]),
    ("text", ["1 250", "2 300"], ["1 250", "2 300"]),
    ("float", ["0,500", "1,250"], [0.5, 1.25]),
    ("text", ["$5", "€6"], ["$5", "€6"]),
    ("text", ["007", "8"], ["007", "8"]),
    ("text", ["+491761234567", "+4930123456"], ["+491761234567", "+4930123456"]),
    ("text", ["12345678901234567890", "1"], ["12345678901234567890", "1"]),
    ("text", ["3/4/2024", "5/6/2024"], ["3/4/2024", "5/6/2024"]),
    ("text", [True, 1], ["True", "1"]),
    ("text", ["-", "NA"], ["-", "NA"]),
    ("date", ["3/4/2024", "13/4/2024"], ["2024-04-03", "2024-04-13"]),
    ("date", ["4/13/2024 5:30 pm"], ["2024-04-13T17:30:00"]),
    ("date", ["1. 3. 2024", "12.10.2024"], ["2024-03-01", "2024-10-12"]),
    ("date", ["March 1, 2024", "Dec 24, 2023"], ["2024-03-01", "2023-12-24"]),
    (
        "date",
        [date(2024, 1, 2), datetime(2024, 1, 2, 3, tzinfo=UTC)],
        ["2024-01-02", "2024-01-02T03:00:00+00:00"],
    ),
    ("text", ["2024-02-30"], ["2024-02-30"]),
]


@pytest.mark.parametrize(("kind", "cells", "values"), CELLS, ids=[str(case[1]) for case in CELLS])
def test_a_column_has_one_type_by_all_of_its_cells(kind, cells, values):
    (column,) = columns_of(["x"], [[cell] for cell in cells])
    assert column.kind == kind
    found = [typed_metadata([column], [cell]).get("x") for cell in cells]
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


IN_DOUBT = [
    ("int", ["$1,500", "$2"], 1500),
    ("int", ["1,500", "1,500,000"], 1500),
    ("float", ["1,500", "2.50"], 1500.0),
    ("float", ["1,500", "2,5"], 1.5),
    ("float", ["1,500", "1.234.567"], 1.5),
    ("text", ["€1,500", "€2"], "€1,500"),
    ("text", ["1,500", "-2,500"], "1,500"),
    ("int", ["5", "7"], None),
]


@pytest.mark.parametrize(("kind", "cells", "value"), IN_DOUBT, ids=[str(case[1]) for case in IN_DOUBT])
def test_a_comma_between_semicolons_stands_before_decimals_only_if_a_column_says_so(kind, cells, value):
    (column,) = columns_of(["x"], [[cell] for cell in cells], decimal_comma=True)
    found = column.value(cells[0] if "1,500" in cells[0] else "1,500")
    assert (column.kind, found, type(found)) == (kind, value, type(value))
    assert column.is_doubtful == (kind == "text")
    assert column.surprises == (value is None)


def test_cells_that_do_not_fit_a_type_found_before_stay_out_of_the_metadata_and_are_told(tmp_path):
    lines = [*(f"{n}" for n in range(1000)), "many", "12.5", "3"]
    (tmp_path / "a.csv").write_text("n\n" + "\n".join(lines) + "\n")
    loader = CSVLoader(tmp_path / "a.csv")
    documents = loader.load()
    assert rows(documents)[-3:] == [{"row": 1002}, {"n": 12.5, "row": 1003}, {"n": 3, "row": 1004}]
    assert "many" in documents[1000].page_content
    assert len(loader.problems) == 1
    assert str(loader.problems[0]).endswith(": 1 in n")


def test_long_values_and_far_columns_stay_in_the_text(tmp_path):
    header = [f"c{n}" for n in range(500)]
    (tmp_path / "wide.csv").write_text(f"{','.join(header)}\n{'x' * 300},{','.join(map(str, range(499)))}\n")
    (document,) = CSVLoader(tmp_path / "wide.csv").load()
    (row,) = rows([document])
    assert set(row) == {"row", *(f"c{n}" for n in range(1, 64))}
    assert "x" * 300 in document.page_content
    assert "| 498 |" in document.page_content


def test_names_of_columns_never_stand_in_the_place_of_other_metadata():
    names = [
        "Source",
        "mmrag_window",
        "#document",
        "chroma:document",
        "when",
        "when_ts",
        "x" * 99,
        "x" * 98,
        "a\nb",
    ]
    assert metadata_keys(names) == [
        "column_Source",
        "column_mmrag_window",
        "column_#document",
        "column_chroma:document",
        "when",
        "when_ts_2",
        "x" * 64,
        "x" * 64 + "_2",
        "a b",
    ]


@pytest.mark.parametrize("header", ["day,day_ts", "day_ts,day"])
def test_seconds_of_a_date_never_stand_in_the_place_of_another_column(header, tmp_path):
    cells = {"day": "2024-01-02", "day_ts": "7"}
    (tmp_path / "a.csv").write_text(f"{header}\n{','.join(cells[name] for name in header.split(','))}\n")
    (row,) = rows(CSVLoader(tmp_path / "a.csv").load())
    assert row == {"day": "2024-01-02", "day_ts": 1704153600.0, "day_ts_2": 7, "row": 2}


def test_parts_of_a_table_found_in_a_text_each_repeat_the_header():
    table = Table(header=["n", "words"], rows=[[n, "word " * 60] for n in range(20)])
    parts = list(table_parts(table, key="page-3-table", metadata={"page": 3}, near="page-3"))
    assert len(parts) > 1
    assert {part.text.split("\n")[0] for part in parts} == {"| n | words |"}
    assert parts[0].metadata["row"] == 2
    assert parts[-1].metadata["last_row"] == 21
    assert len({part.key for part in parts}) == len(parts)
    assert {(part.near, part.metadata["page"]) for part in parts} == {("page-3", 3)}


def test_markdown_keeps_cells_apart_whatever_is_in_them():
    assert markdown_table(["a|b", None], [["x\ny", 3.0, b"12"], []]) == (
        "| a\\|b |  |  |\n|---|---|---|\n| x y | 3 | [2 bytes] |\n|  |  |  |"
    )


# pictures of rows


def test_a_column_of_paths_makes_pictures_of_its_rows(tmp_path):
    (tmp_path / "img").mkdir()
    Image.new("RGB", (8, 6), "red").save(tmp_path / "img" / "a.png")
    Image.new("RGB", (9, 7), "blue").save(tmp_path / "img" / "b.png")
    names = ["img/a.png", "img/b.png", *(f"img/lost{n}.png" for n in range(9))]
    (tmp_path / "t.csv").write_text(
        "name,photo\n" + "".join(f"n{n},{name}\n" for n, name in enumerate(names))
    )
    loader = CSVLoader(tmp_path / "t.csv")
    documents = loader.load()
    pictures = [document for document in documents if document.metadata.get("modality") == "image"]
    assert [picture.metadata["path"] for picture in pictures] == [str(tmp_path / name) for name in names[:2]]
    row = documents[documents.index(pictures[1]) - 1]
    assert pictures[1].metadata["near_id"] == row.id
    assert pictures[1].metadata["parent_id"] == ImageLoader(tmp_path / "img" / "b.png").load()[0].id
    assert pictures[1].page_content == row.page_content
    expected = {
        "name": "n1",
        "photo": "img/b.png",
        "row": 3,
        "width": 9,
        "height": 7,
        "mime_type": "image/png",
    }
    assert expected.items() <= pictures[1].metadata.items()
    told = [str(problem) for problem in loader.problems]
    assert len(told) == 6
    assert "row 4" in told[0]
    assert "4 more pictures" in told[-1]


@pytest.mark.parametrize(
    ("values", "options", "policy", "found"),
    [
        (["in/a.png"], {}, {}, 1),
        (["../out.png"], {}, {}, 0),
        (["{root}/out.png"], {"image_columns": ["photo"]}, {}, 0),
        (["../out.png", "in/a.png"], {}, {}, 1),
        (["../out.png", "in/a.png"], {"picture_root": "{root}"}, {}, 2),
        (["../out.png"], {"picture_root": "{root}"}, {"roots": True}, 0),
        (["../out.png"], {"image_columns": ["photo"]}, {"roots": True}, 0),
        (["in/none.png"], {}, {}, 0),
        (["in/a.png", "words", "words"], {}, {}, 0),
        (["in/a.png", "words", "words"], {"image_columns": ["photo"]}, {}, 1),
        (["https://example.com/a.png"], {}, {}, 0),
        (["https://example.com/a.png"], {"image_columns": ["photo"]}, {"allow_urls": False}, 0),
        (["in/a.png"], {"image_columns": []}, {}, 0),
    ],
)
def test_only_pictures_that_may_be_opened_are_taken(values, options, policy, found, tmp_path):
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    for name in (folder / "in" / "a.png", tmp_path / "out.png"):
        Image.new("RGB", (8, 6)).save(name)
    lines = "".join(f"{n},{value}\n" for n, value in enumerate(values))
    (folder / "t.csv").write_text("n,photo\n" + lines.format(root=tmp_path))
    if "picture_root" in options:
        options = {"picture_root": options["picture_root"].format(root=tmp_path)}
    limits = {**policy, "roots": (folder,)} if policy.get("roots") else policy
    loader = CSVLoader(folder / "t.csv", media_policy=MediaPolicy(**limits), **options)
    assert sum(document.metadata.get("modality") == "image" for document in loader.load()) == found
    outside = [value for value in values if "out.png" in value]
    is_told = any("lies outside the allowed folders" in str(problem) for problem in loader.problems)
    assert is_told == bool(outside and found < len(values))


def test_addresses_in_a_named_column_are_fetched_once_each_and_dead_ones_given_up(tmp_path, serve):
    server = serve(lambda request: reply() if b"/good" in request else reply(b"", "404 Not Found"))
    base = server.url.rpartition("/")[0]
    names = ["good1.png", *(f"dead{n}.png" for n in range(8)), "good2.png"]
    (tmp_path / "t.csv").write_text(
        "n,photo\n" + "".join(f"{n},{base}/{name}\n" for n, name in enumerate(names))
    )
    options = {"media_policy": OPEN, "media_directory": tmp_path / "media", "image_columns": ["photo"]}
    loader = CSVLoader(tmp_path / "t.csv", **options)
    (picture,) = [one for one in loader.load() if one.metadata["modality"] == "image"]
    assert Path(picture.metadata["path"]).read_bytes() == FLAG_PNG
    assert (picture.metadata["row"], picture.metadata["photo"]) == (2, f"{base}/good1.png")
    assert server.connections == 6
    assert any("no more are tried" in str(problem) for problem in loader.problems)


def test_bytes_that_are_a_picture_are_kept_as_one(tmp_path):
    cell = {"bytes": PNG.getvalue(), "path": "red.png"}
    pq.write_table(pa.table({"image": [cell], "label": [1], "raw": [b"abc"]}), tmp_path / "a.parquet")
    row, picture = ParquetLoader(tmp_path / "a.parquet", media_directory=tmp_path / "media").load()
    assert Path(picture.metadata["path"]).read_bytes() == PNG.getvalue()
    assert picture.metadata["parent_id"] == row.id
    assert "[3 bytes]" in row.page_content
    assert "raw" not in row.metadata


def test_a_long_row_is_written_so_that_each_window_names_its_columns(tmp_path):
    names = [f"measure {n}" for n in range(30)]
    lines = [names, [f"{n}.5" for n in range(30)], ["short", *[""] * 29]]
    (tmp_path / "t.csv").write_text("\n".join(map(",".join, lines)))
    document, short, summary = CSVLoader(tmp_path / "t.csv").load()
    assert document.page_content.startswith("| measure 0 | 0.5 |\n|---|---|\n| measure 1 | 1.5 |")
    windows = CLIPTextSplitter(OpenCLIPEmbeddings("mmrag-tiny")).split_text(document.page_content)
    assert all("measure" in window and ".5" in window for window in windows)
    assert short.page_content == "| measure 0 | short |\n|---|---|"
    assert "| measure 0 | measure 1 |" in summary.page_content


def test_records_of_differing_fields_say_only_their_own(tmp_path):
    records = [{"id": n, f"name {n}": n} for n in range(600)]
    (tmp_path / "a.json").write_text(json.dumps(records))
    documents = JSONLoader(tmp_path / "a.json").load()
    assert sum(len(document.page_content) for document in documents) < 60_000
    assert documents[599].page_content == "| id | 599 |\n|---|---|\n| name 599 | 599 |"


def test_a_wide_row_is_written_once_and_only_the_first_columns_are_typed(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(_columns, "_typed", lambda cells, **options: calls.extend(cells) or ("text", str))
    (tmp_path / "a.csv").write_text(f"{','.join(['c'] * 20_000)}\n{','.join('x' * 20_000)}\n")
    loader = CSVLoader(tmp_path / "a.csv", header=True)
    (document,) = loader.load()
    assert document.page_content.count("\n") == MAX_WIDTH
    assert len(calls) == _columns.MAX_COLUMNS
    assert "1 rows have more than 16384 cells" in str(loader.problems[-1])


def test_names_that_all_columns_share_are_told_apart_in_a_pass():
    class Name(str):
        __slots__ = ()
        compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other):
            Name.compared += 1
            return str.__eq__(self, other)

    assert metadata_keys(["c"] * 30_000)[-1] == "c_30000"
    names = [Name("c") for _ in range(3_000)]
    assert header_of([names, ["1"] * 3_000]).below == 1
    assert Name.compared < 100_000


@pytest.mark.parametrize("given", [b"9" * 5_000, b"-" + b"9" * 5_000])
def test_a_number_too_long_for_one_is_text(given, tmp_path):
    (tmp_path / "a.json").write_bytes(b'[{"a": %s, "b": 1}, {"a": 2, "b": 3}]' % given)
    first, *_ = JSONLoader(tmp_path / "a.json").load()
    assert given.decode() in first.page_content
    assert first.metadata["b"] == 1


def test_of_many_small_tables_only_the_first_are_summed_up(tmp_path):
    tables = {f"t{n}": [{"a": 1, "b": 2}, {"a": 2, "b": 3}] for n in range(MAX_SUMMARIES + 5)}
    (tmp_path / "a.json").write_text(json.dumps(tables))
    documents = JSONLoader(tmp_path / "a.json").load()
    assert sum("summary" in document.metadata for document in documents) == MAX_SUMMARIES
    assert len(rows(documents)) == 2 * len(tables)


def test_a_quote_that_is_not_closed_is_told_with_its_line(tmp_path):
    (tmp_path / "a.csv").write_text('a,b\n1,2\n"x,2\n3,4\n5,6\n')
    loader = CSVLoader(tmp_path / "a.csv")
    last = loader.load()[1]
    assert last.page_content == "| a | b |\n|---|---|\n| x,2 3,4 5,6 |  |"
    assert "a quote near line 3 is not closed" in str(loader.problems[0])
    (tmp_path / "b.csv").write_text('a,b\n1,"x\ny"\n2,5" disk')
    closed = CSVLoader(tmp_path / "b.csv")
    assert [row["b"] for row in rows(closed.load())] == ["x y", '5" disk']
    assert closed.problems == []


@pytest.mark.parametrize("rows_before", [1, 30_000])
def test_zero_bytes_in_a_text_are_replaced_wherever_they_are(rows_before, tmp_path):
    (tmp_path / "a.csv").write_text("name,b\n" + "chair,2\n" * rows_before + "ta\0ble,2\n")
    loader = CSVLoader(tmp_path / "a.csv", rows_per_document=1_000, summary=False)
    assert "| ta\ufffdble | 2 |" in loader.load()[-1].page_content
    assert [str(problem).split(": ", 1)[1] for problem in loader.problems] == [
        "1 zero bytes are in the text: they are written as \ufffd"
    ]


def test_a_cell_far_below_costs_no_million_rows_and_a_merged_title_no_thousand_columns(tmp_path, monkeypatch):
    book = openpyxl.Workbook()
    book.active.append(["name", "price"])
    book.active.append(["chair", 2])
    book.active["XFD1048576"] = "far"
    book.create_sheet("next")["A1"] = "a title"
    book["next"].merge_cells("A1:XFD6")
    book["next"]["A9"] = 1
    book.save(tmp_path / "a.xlsx")
    trimmed = []
    trim = excel._trimmed
    monkeypatch.setattr(excel, "_trimmed", lambda row: trimmed.append(1) or trim(row))
    loader = ExcelLoader(tmp_path / "a.xlsx")
    documents = loader.load()
    assert rows(documents)[0] == {"name": "chair", "price": 2, "sheet": "Sheet", "row": 2}
    assert len(trimmed) < 2 * excel._MOST_EMPTY
    assert "rows before row 10003 are empty: no more are read" in str(loader.problems[0])
    assert sum(len(document.page_content) for document in documents) < 1_000


def test_columns_of_numbers_are_drawn_if_asked(tmp_path):
    lines = [f"2024-01-{n + 1:02},{n * n},$x$,{'' if n else 1}" for n in range(5)]
    (tmp_path / "t.csv").write_text("\n".join(["day,$price,note,once", *lines]))
    *others, chart = CSVLoader(tmp_path / "t.csv", charts=True, media_directory=tmp_path / "media").load()
    assert chart.metadata["modality"] == "image"
    assert chart.metadata["caption"] == chart.page_content == "Chart of $price by day, t.csv"
    assert chart.metadata["near_id"] == others[-1].id
    with Image.open(chart.metadata["path"]) as picture:
        assert picture.size == (640, 480)
        colors = picture.convert("RGB").getcolors(2**20)
    assert len(colors) > 2  # bars and words, not an empty sheet
    assert not any(document.metadata["modality"] == "image" for document in others)


# databases


def test_a_database_that_is_in_use_is_read_as_it_is_now(tmp_path):
    path = tmp_path / "live.db"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (n INT)")
    writer.execute("INSERT INTO t VALUES (1)")
    writer.commit()
    assert rows(SQLLoader(path).load()) == [{"n": 1, "sheet": "t", "row": 1}]
    writer.close()
    assert rows(SQLLoader(path).load()) == [{"n": 1, "sheet": "t", "row": 1}]
    assert [one.name for one in tmp_path.iterdir()] == ["live.db"]


def test_what_a_database_has_not_yet_in_its_file_makes_it_another_one(tmp_path):
    path = tmp_path / "live.db"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (n INT)")
    writer.execute("INSERT INTO t VALUES (1)")
    writer.commit()
    file, before = path.read_bytes(), SQLLoader(path).load()
    writer.execute("INSERT INTO t VALUES (2)")
    writer.commit()
    after = SQLLoader(path).load()
    assert path.read_bytes() == file
    assert len(rows(after)) == 2
    assert before[0].metadata["loader"] != after[0].metadata["loader"]
    assert after[0].metadata["loader"] == SQLLoader(path).load()[0].metadata["loader"]
    writer.close()
    assert SQLLoader(path).fingerprint == "sql"


def test_what_stands_beside_a_database_must_be_where_the_policy_allows(tmp_path):
    (tmp_path / "in").mkdir()
    path, log = tmp_path / "in" / "a.db", tmp_path / "in" / "a.db-wal"
    shop_database(path)
    (tmp_path / "out").write_bytes(b"another one's")
    log.symlink_to(tmp_path / "out")
    with pytest.raises(errors.UnsafeSourceError, match="lies outside the allowed folders"):
        SQLLoader(path, media_policy=MediaPolicy(roots=(tmp_path / "in",))).load()


def test_a_view_without_end_costs_its_time_and_not_the_other_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(_sqlite, "_PATIENCE_S", 0.2)
    with sqlite3.connect(tmp_path / "a.db") as base:
        base.execute(
            "CREATE VIEW loop AS WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT max(i) FROM r"
        )
        base.execute("CREATE TABLE t AS SELECT 5 AS n")
    base.close()
    loader = SQLLoader(tmp_path / "a.db")
    assert rows(loader.load()) == [{"n": 5, "sheet": "t", "row": 1}]
    assert "loop cannot be read: it takes more than" in str(loader.problems[0])


NATURALS = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT i FROM r"


def test_views_that_give_rows_for_ever_are_cut_off_all_together_unless_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(_sqlite, "_VIEW_ROWS", 30)
    with sqlite3.connect(tmp_path / "a.db") as base:
        base.execute("CREATE VIEW good AS SELECT 7 AS n")
        for name in ("first", "second", "third"):
            base.execute(f"CREATE VIEW {name} AS {NATURALS}")
        base.execute("CREATE TABLE t AS SELECT 5 AS n")
    base.close()
    loader = SQLLoader(tmp_path / "a.db", summary=False)
    sheets = [row["sheet"] for row in rows(loader.load())]
    assert sheets == ["good", *["first"] * 29, "t"]
    assert [str(problem).split(": ", 1)[1] for problem in loader.problems] == [
        "views are read up to 30 rows: name them in tables= for more",
        "2 more views are not read: name those you want in tables=",
    ]
    named = SQLLoader(tmp_path / "a.db", tables=["second"], max_rows=50, summary=False)
    assert len(named.load()) == 50


def test_time_of_views_is_counted_for_all_of_them_and_only_while_they_are_at_work(tmp_path, monkeypatch):
    clock = iter(range(10**9))  # each look at it is a second
    monkeypatch.setattr(_sqlite.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(_sqlite, "_PATIENCE_S", 20.0)
    with sqlite3.connect(tmp_path / "a.db") as base:
        base.execute("CREATE TABLE t AS SELECT 5 AS n")
        for number in range(20):
            base.execute(f"CREATE VIEW v{number} AS SELECT n FROM t")
    base.close()
    loader = SQLLoader(tmp_path / "a.db")
    sheets = [row["sheet"] for row in rows(loader.load())]
    assert sheets[:2] == ["t", "v0"]
    assert 3 < len(sheets) < 12
    assert f"{21 - len(sheets)} more views are not read" in str(loader.problems[-1])


@pytest.mark.parametrize(
    "query", ["WITH x AS (SELECT 1) DELETE FROM goods", "SELECT load_extension('x')", "SELECT * FROM nothing"]
)
def test_a_query_can_only_read(query, tmp_path):
    shop_database(tmp_path / "a.db")
    before = (tmp_path / "a.db").read_bytes()
    with pytest.raises(errors.LoadError):
        SQLLoader(tmp_path / "a.db", query).load()
    assert (tmp_path / "a.db").read_bytes() == before


@pytest.mark.parametrize("query", ["DELETE FROM goods", "drop table goods", "ATTACH 'x' AS y", ""])
def test_a_query_that_does_not_select_is_refused_at_once(query, tmp_path):
    with pytest.raises(ValueError, match="must begin with SELECT"):
        SQLLoader(tmp_path / "a.db", query)


def test_an_engine_gives_tables_or_a_query_and_is_left_as_it_was():
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (n INT, s TEXT)")
        connection.exec_driver_sql("INSERT INTO t VALUES (1, 'x'), (2, 'y')")
    documents = SQLLoader(engine, tables=["t"]).load()
    assert rows(documents) == [
        {"n": 1, "s": "x", "sheet": "t", "row": 1},
        {"n": 2, "s": "y", "sheet": "t", "row": 2},
    ]
    assert not any("file_sha256" in document.metadata for document in documents)
    assert rows(SQLLoader(engine, "SELECT n FROM t WHERE n > 1").load()) == [{"n": 2, "row": 1}]
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (3, 'z')")
    assert [document.id for document in SQLLoader(engine, tables=["t"]).load()][:2] == [
        d.id for d in documents
    ][:2]
    engine.dispose()


def test_a_password_in_an_address_is_never_told(tmp_path):
    address = f"sqlite:///{tmp_path}/a.db?password=hunter2"
    with pytest.raises(errors.LoadError) as caught:
        SQLLoader("mysql+none://zora:hunter2@host/base?password=hunter2", "SELECT 1").load()
    assert "hunter2" not in str(caught.value)
    assert "zora" not in str(caught.value)
    assert "hunter2" not in SQLLoader(address, "SELECT 1").source


# whole


def test_options_that_change_what_comes_out_change_the_fingerprint(tmp_path):
    made = [
        CSVLoader(tmp_path / "a"),
        CSVLoader(tmp_path / "a", rows_per_document=2),
        CSVLoader(tmp_path / "a", group_by="x"),
        CSVLoader(tmp_path / "a", summary=False),
        CSVLoader(tmp_path / "a", charts=True),
        CSVLoader(tmp_path / "a", image_columns=["x"]),
        CSVLoader(tmp_path / "a", delimiter=";"),
        CSVLoader(tmp_path / "a", header=False),
        SQLLoader(tmp_path / "a", "SELECT 1"),
        SQLLoader(tmp_path / "a", tables=["t"]),
        JSONLoader(tmp_path / "a", record_path="x"),
        ExcelLoader(tmp_path / "a", sheets=["x"]),
    ]
    assert len({loader.fingerprint for loader in made}) == len(made)
    assert made[0].fingerprint == "csv"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"delimiter": ";;"}, ValueError),
        ({"encoding": "klingon"}, ValueError),
        ({"rows_per_document": 0}, ValueError),
        ({"max_rows": 0}, ValueError),
        ({"image_columns": "photo"}, TypeError),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(options, error, tmp_path):
    with pytest.raises(error):
        CSVLoader(tmp_path / "a.csv", **options)


def test_a_column_to_group_by_must_be_there(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(errors.LoadError, match=r"no column 'c' to group by: it has a, b"):
        CSVLoader(tmp_path / "a.csv", group_by="c").load()


def test_a_column_of_pictures_must_be_there_in_a_table_that_is_the_only_one(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(errors.LoadError, match=r"no column photo of pictures: it has a, b"):
        CSVLoader(tmp_path / "a.csv", image_columns=["a", "photo"]).load()
    sales_workbook(tmp_path / "a.xlsx")
    loader = ExcelLoader(tmp_path / "a.xlsx", image_columns=["product"])
    assert len(rows(loader.load())) == len(rows(ExcelLoader(tmp_path / "a.xlsx").load()))
    assert "by year: no column product of pictures" in str(loader.problems)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_three_times_the_rows_take_no_more_memory(suffix, tmp_path):
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.{suffix}"
        if suffix == "csv":
            path.write_text("n,s\n" + "".join(f"{n},{'word ' * 20}\n" for n in range(count)))
        elif suffix == "jsonl":
            path.write_text("".join(json.dumps({"n": n, "s": "word " * 20}) + "\n" for n in range(count)))
        else:
            table = pa.table({"n": range(count), "s": ["word " * 20] * count})
            pq.write_table(table, path, row_group_size=500)
            del table
        loader = {"csv": CSVLoader, "jsonl": JSONLoader, "parquet": ParquetLoader}[suffix](path)
        tracemalloc.start()
        try:
            assert sum(1 for _ in loader.lazy_load()) == count + 1
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small = peak(1_200)
    assert peak(3_600) < small * 1.5


def test_rows_are_found_by_their_values_and_tables_by_what_is_in_them(tmp_path, open_store):
    things = {"tulip": 1.5, "sailboat": 250, "bicycle": 900, "balloon": 12.5}
    for thing in things:
        draw_thing(thing).save(tmp_path / f"{thing}.png")
    lines = [
        f"{thing},{price},2024-0{n + 1}-01,{thing}.png" for n, (thing, price) in enumerate(things.items())
    ]
    (tmp_path / "prices.csv").write_text("\n".join(["thing,price,since,photo", *lines]))
    store = open_store(OpenCLIPEmbeddings("mmrag-tiny"))
    store.add_documents(CSVLoader(tmp_path / "prices.csv").load())

    def found(query: str, **options) -> list:
        return [hit.metadata.get("thing") for hit in store.similarity_search(query, k=9, **options)]

    assert set(found("a thing", filter={"price": {"$lt": 50}})) == {"tulip", "balloon"}
    march = datetime(2024, 3, 1, tzinfo=UTC).timestamp()
    assert set(found("a thing", filter={"since_ts": {"$gte": march}})) == {"bicycle", "balloon"}
    (summary,) = store.similarity_search("prices of things", k=1, filter={"rows": {"$gt": 1}})
    assert summary.metadata["columns"] == ["thing", "price", "since", "photo"]
    (picture,) = store.similarity_search("a sailboat", k=1, filter={"modality": "image"})
    assert (picture.metadata["thing"], picture.metadata["row"]) == ("sailboat", 3)
