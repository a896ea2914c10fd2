"""Tables become Markdown: a header and its rows, cut into parts that each repeat the header."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from typing import Any, Final, TypeAlias

from langchain_mmrag.document_loaders.base import Part
from langchain_mmrag.types import LAST_ROW, ROW, SHEET

Cell: TypeAlias = "str | int | float | bool | date | datetime | time | Decimal | bytes | None"
"""Any other value is written as `str` writes it."""

LONG_ROW_CHARS: Final = 200
"""About how much of a table CLIP reads at once, at two to four characters a token."""

PART_CHARS: Final = 2_000
"""About how long a part of several rows gets: what a reader takes in at once, and a prompt has room for."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that is read row by row.

    Attributes:
        header: Name of each column.
        rows: Cells of each row below the header; an empty row counts, and is left out.
        name: Of the sheet or database table; empty if the file has but one table without a name.
        first_row: Number of the first of `rows`, as a person counts: 2 if the header is row 1.
        title: What stands above the table.
        decimal_comma: Whether numbers are more likely written `1.234,5` than `1,234.5`.
    """

    header: Sequence[str]
    rows: Iterable[Sequence[Cell]]
    name: str = ""
    first_row: int = 2
    title: str = ""
    decimal_comma: bool = False


def markdown_table(header: Sequence[Cell], rows: Iterable[Sequence[Cell]]) -> str:
    """A table in Markdown. Rows may be shorter than the header, or longer.

    Args:
        header: Name of each column.
        rows: Cells of each row.
    """
    rows = [list(row) for row in rows]
    width = max([len(header), *map(len, rows)])
    lines = [markdown_row(header, width), "|" + "---|" * width, *(markdown_row(row, width) for row in rows)]
    return "\n".join(lines)


def markdown_record(header: Sequence[Cell], row: Sequence[Cell]) -> str:
    """One row as a table of two columns, a line for each name and its value; blank cells are left out.

    However it is cut, what a value means stands beside it.
    """
    names = [*header, *[None] * (len(row) - len(header))]
    texts = map(cell_text, row)
    lines = [markdown_row(pair, 2) for pair in zip(names, texts, strict=False) if pair[1]]
    return "\n".join([*lines[:1], "|---|---|", *lines[1:]])


def markdown_row(cells: Sequence[Cell], width: int) -> str:
    """One line of a table in Markdown, filled up to `width` cells."""
    texts = [cell_text(cell) for cell in cells]
    texts += [""] * (width - len(texts))
    line = "| " + " | ".join(texts) + " |"
    if line.count("|") == max(width, len(cells)) + 1:
        return line
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def cell_text(cell: Any) -> str:  # noqa: PLR0911  a line for each type
    """A cell as one line: no blanks around it, dates as ISO 8601, whole numbers without a point."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return " ".join(cell.split())
    if isinstance(cell, datetime):
        at_midnight = cell.time() == time() and cell.tzinfo is None
        return cell.date().isoformat() if at_midnight else cell.isoformat(" ")
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
    if isinstance(cell, bytes | bytearray | memoryview):
        return f"[{memoryview(cell).nbytes} bytes]"
    return " ".join(str(cell).split())


def is_blank_row(row: Sequence[Cell]) -> bool:
    """Whether nothing is written in a row."""
    return all(cell is None or (isinstance(cell, str) and not cell.strip()) for cell in row)


def table_parts(
    table: Table,
    *,
    key: str = "table",
    metadata: Mapping[str, Any] | None = None,
    near: str | None = None,
    rows_per_document: int | None = None,
) -> Iterator[Part]:
    """Yield a table as Markdown, header first in every part.

    Args:
        table: What to cut.
        key: Of the first part; the others' keys follow from it.
        metadata: Of every part, such as `{"page": 3}`.
        near: Key of the part of text that the table stands next to.
        rows_per_document: Rows of a part; by default as many as fit in `PART_CHARS` characters.
    """
    named = {SHEET: table.name} if table.name else {}
    number = 0
    for number, held in enumerate(_batches(table, rows_per_document)):
        where = {ROW: held[0][0], **({LAST_ROW: held[-1][0]} if len(held) > 1 else {})}
        yield Part(
            text=markdown_table(table.header, (row for _, row in held)),
            modality="table",
            metadata={**(metadata or {}), **named, **where},
            key=f"{key}-{number}" if number else key,
            near=near,
        )


def numbered_rows(table: Table) -> Iterator[tuple[int, Sequence[Cell]]]:
    """The rows in which something is written, each with its number."""
    return ((n, row) for n, row in enumerate(table.rows, table.first_row) if not is_blank_row(row))


def _batches(table: Table, size: int | None) -> Iterator[list[tuple[int, Sequence[Cell]]]]:
    rows = numbered_rows(table)
    if size is not None:
        while held := list(islice(rows, size)):
            yield held
        return
    held, room = [], PART_CHARS
    for number, row in rows:
        needed = sum(len(cell_text(cell)) + 3 for cell in row)
        if held and needed > room:
            yield held
            held, room = [], PART_CHARS
        held.append((number, row))
        room -= needed
    if held:
        yield held
