"""Tables on a page: those with ruled cells by pdfplumber, others by text that stands in columns.

Runs in the process of `child`, which alone imports it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import pairwise
from typing import Any, Final

import pypdfium2

from langchain_mmrag._extras import require
from langchain_mmrag._pdf.layout import Box, Row, captions, clean
from langchain_mmrag._pdf.page import Page, union

MAX_RULED: Final = 6_000
"""Lines and boxes on a page above which its ruled tables are not looked for."""

_MAX_PAGE: Final = 32 * 2**20  # bytes of a page on its own
_MAX_TEXT: Final = 60_000
_LEAST_LINES: Final = 2  # each way
_LEAST_FILLED: Final = 0.5  # of the cells
_LEAST_ROWS: Final = 3
_LEAST_COLUMNS: Final = 3


@dataclass(frozen=True)
class Table:
    """A table, its header first.

    Attributes:
        box: On the page.
        rows: Of equal length; the first is the header.
        caption: Its caption, or `""`.
    """

    box: Box
    rows: list[list[str]]
    caption: str = ""


class TableTooLargeError(Exception):
    """The page has more lines or bytes than are looked through for tables."""


def tables(document: pypdfium2.PdfDocument, number: int, page: Page) -> list[Table]:
    """The tables of a page from top to bottom.

    Raises:
        TooManyObjectsError: If there is too much on the page to look through.
        TableTooLargeError: If its lines or bytes are too many.
    """
    found = list(_ruled(document, number, page)) if _has_rules(page) else []
    found += [table for table in _aligned(page) if not any(_overlap(table.box, other.box) for other in found)]
    found.sort(key=lambda table: (table.box[1], table.box[0]))
    said = captions([table.box for table in found], page.rows, "table")
    return [replace(table, caption=caption) for table, caption in zip(found, said, strict=True)]


def _has_rules(page: Page) -> bool:
    """Whether upright and level lines cross, as those of a grid do; edges of boxes are lines too."""
    level = upright = 0
    for shape in page.shapes:
        if shape.is_image:
            continue
        width, height = shape.box[2] - shape.box[0], shape.box[3] - shape.box[1]
        level += width > 20 and (height < 3 or height > 6)  # noqa: PLR2004
        upright += height > 6 and (width < 3 or width > 20)  # noqa: PLR2004
    return level >= _LEAST_LINES and upright >= _LEAST_LINES and bool(page.rows)


def _ruled(document: pypdfium2.PdfDocument, number: int, page: Page) -> Iterator[Table]:
    paths = sum(not shape.is_image for shape in page.shapes)
    if paths > MAX_RULED or sum(len(line.text) for row in page.rows for line in row.lines) > _MAX_TEXT:
        raise TableTooLargeError
    with require("pdfplumber", extra="pdf").open(BytesIO(_alone(document, number))) as file:
        sheet = file.pages[0]
        shown = sheet.bbox
        for table in sheet.find_tables():
            rows = _filled([[_cell(cell) for cell in row] for row in table.extract()])
            if rows:
                x0, y0, x1, y1 = table.bbox
                box = x0 - shown[0], y0 - shown[1], x1 - shown[0], y1 - shown[1]
                yield Table(box, rows)


def _alone(document: pypdfium2.PdfDocument, number: int) -> bytes:
    """The page as a file of its own, which pdfium has mended and decrypted: no other page is read with it."""
    alone = pypdfium2.PdfDocument.new()
    try:
        alone.import_pages(document, [number])
        data = BytesIO()
        alone.save(data)
    finally:
        alone.close()
    if data.tell() > _MAX_PAGE:
        raise TableTooLargeError
    return data.getvalue()


def _cell(text: Any) -> str:
    return re.sub(r"\s+", " ", clean(text or ""))


def _filled(rows: list[list[str]]) -> list[list[str]]:
    """A table without empty rows and columns, or nothing if it is hardly filled or has only one line."""
    rows = [row for row in rows if any(row)]
    columns = [place for place in range(len(rows[0])) if any(row[place] for row in rows)] if rows else []
    rows = [[row[place] for place in columns] for row in rows]
    cells = sum(map(len, rows))
    if (
        min(len(rows), len(columns)) < _LEAST_LINES
        or sum(bool(cell) for row in rows for cell in row) < _LEAST_FILLED * cells
    ):
        return []
    return rows


# Tables without rules


def _aligned(page: Page) -> Iterator[Table]:
    """Rows of three cells or more, one below the other, whose cells stand in the same columns."""
    run: list[Row] = []
    for row in [*page.rows, Row(())]:
        if len(row.lines) >= _LEAST_COLUMNS and (not run or _follows(run[-1], row)):
            run.append(row)
            continue
        table = _table_of(run)
        if table:
            yield table
        run = [row] if len(row.lines) >= _LEAST_COLUMNS else []


def _follows(above: Row, row: Row) -> bool:
    top, here = union(*(line.box for line in above.lines)), union(*(line.box for line in row.lines))
    height = min(top[3] - top[1], here[3] - here[1])
    return -0.5 * height < here[1] - top[3] < 2.5 * height


def _table_of(run: Sequence[Row]) -> Table | None:
    if len(run) < _LEAST_ROWS:
        return None
    columns = _columns(run)
    if len(columns) < _LEAST_COLUMNS:
        return None
    rows = []
    for row in run:
        cells = [""] * len(columns)
        for line in row.lines:
            place = max(range(len(columns)), key=lambda at: _common(line.box, columns[at]))
            cells[place] = f"{cells[place]} {_cell(line.text)}".strip()
        rows.append(cells)
    box = union(*(line.box for row in run for line in row.lines))
    filled = _filled(rows)
    return Table(box, filled) if len(filled) == len(rows) else None


def _columns(run: Sequence[Row]) -> list[tuple[float, float]]:
    """The stretches of the run's width that its cells share, none if they run into each other."""
    spans = sorted((line.box[0], line.box[2]) for row in run for line in row.lines)
    columns: list[tuple[float, float]] = []
    for left, right in spans:
        if columns and left < columns[-1][1]:
            columns[-1] = columns[-1][0], max(columns[-1][1], right)
        else:
            columns.append((left, right))
    apart = all(right[0] - left[1] > 2 for left, right in pairwise(columns))  # noqa: PLR2004
    return columns if apart else []


def _common(box: Box, column: tuple[float, float]) -> float:
    return min(box[2], column[1]) - max(box[0], column[0])


def _overlap(one: Box, two: Box) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]
