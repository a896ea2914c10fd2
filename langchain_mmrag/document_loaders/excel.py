"""Excel workbooks: the rows of every sheet, with the numbers that they have there."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from typing import Any, BinaryIO, Final, Unpack

from langchain_mmrag._extras import require
from langchain_mmrag.document_loaders._headers import LOOKED_AT, header_of, title_above
from langchain_mmrag.document_loaders._table_loader import TableLoader, TableOptions
from langchain_mmrag.document_loaders._tables import Cell, Table
from langchain_mmrag.document_loaders._zip import check_zip
from langchain_mmrag.document_loaders.base import SourceFile
from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsafeSourceError
from langchain_mmrag.media.quiet import quiet_pillow

_PIECE: Final = 2**20
_MOST_ROWS: Final = 2**20
_STRINGS: Final = "sharedStrings.xml"
_LARGEST_STRINGS: Final = 2**28
_LARGEST_ROW: Final = 2**26
_MOST_EMPTY: Final = 10_000
"""Rows between two that are written in: one cell at the end of a sheet makes a million."""
_WIDEST_MERGED: Final = 500
_MOST_MERGED: Final = 10_000
_LARGEST_MERGED: Final = 100_000
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})"')
_UNCOMPUTED = re.compile(rb"</(?:\w+:)?f>\s*(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v>\s*</(?:\w+:)?v>|</(?:\w+:)?c>)")
_LONGEST_MATCH: Final = 256

Area = tuple[int, int, int, int]
"""First row, first column, last row, last column of cells that were made one; from 1."""


class ExcelLoader(TableLoader):
    """Load the sheets of an Excel workbook (.xlsx, .xlsm) row by row.

    Formulas give the values that were stored with them. What stands in merged cells stands in each of them.
    Rows are numbered as in the sheet, empty ones are left out, and after 10,000 of them the rest is, which
    is told; a header is found below titles. Hidden sheets
    are read only if they are named, which is told.

    Args:
        path: The file.
        sheets: Names of the sheets to read; all that are not hidden by default.
        header: Whether the first row that is written in names the columns; found out by default.
        options: See `TableLoader`.
    """

    name = "excel"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sheets: Sequence[str] | None = None,
        header: bool | None = None,
        **options: Unpack[TableOptions],
    ) -> None:
        super().__init__(path, **options)
        self.sheets = [sheets] if isinstance(sheets, str) else sheets
        self.header = header

    def reading(self) -> dict[str, Any]:
        """Which sheets are read, and whether they have headers, as far as it was given."""
        return {"sheets": self.sheets and list(self.sheets), "header": self.header}

    def tables(self, file: SourceFile) -> Iterator[Table]:
        """Yield a table for each sheet.

        Raises:
            LoadError: If the file is no workbook, is encrypted, or unpacks to more than is sane.
        """
        check_zip(file, folder="xl/")
        openpyxl = require("openpyxl", extra="table")
        with file.open() as raw:
            _check_strings(raw, file)
            try:
                with quiet_pillow():
                    book = openpyxl.load_workbook(raw, read_only=True, data_only=True, keep_links=False)
            except Exception as error:  # what its parser meets in a file that is none has no common base
                msg = f"{file.source} is no Excel workbook that can be read: {error or type(error).__name__}"
                raise CorruptMediaError(msg) from error
            with closing(book):
                for sheet in self._chosen(book, file):
                    yield self._table(sheet, book, file)

    def _chosen(self, book: Any, file: SourceFile) -> Iterator[Any]:
        names = [sheet.title for sheet in book.worksheets]
        missing = [name for name in self.sheets or () if name not in names]
        if missing:
            msg = f"{file.source} has no sheet {', '.join(missing)}: it has {', '.join(names[:50])}"
            raise LoadError(msg)
        for sheet in book.worksheets:
            if self.sheets is not None:
                if sheet.title in self.sheets:
                    yield sheet
            elif sheet.sheet_state == "visible":
                yield sheet
            else:
                file.problem(
                    f"the sheet {sheet.title!r} is hidden and was not read: name it in sheets= to read it"
                )

    def _table(self, sheet: Any, book: Any, file: SourceFile) -> Table:
        merged, uncomputed = _scan(sheet, book)
        if uncomputed:
            file.problem(
                f"{sheet.title}: the values of {uncomputed} formulas are not stored:"
                " open the file in a spreadsheet program and save it"
            )
        rows = _filled(_rows(sheet, file), merged)
        first = list(islice(rows, LOOKED_AT))
        header = header_of(first, given=self.header, has_merged=bool(merged))
        return Table(
            header=header.names,
            rows=chain(first[header.below :], rows),
            name=sheet.title,
            first_row=header.below + 1,
            title=title_above(first[: header.above]),
        )


def _check_strings(raw: BinaryIO, file: SourceFile) -> None:
    """Texts that cells share are kept in memory, all of them."""
    with zipfile.ZipFile(raw) as archive:
        size = sum(entry.file_size for entry in archive.infolist() if entry.filename.endswith(_STRINGS))
    if size > _LARGEST_STRINGS:
        msg = f"{file.source} holds {size} bytes of text, {_LARGEST_STRINGS} are allowed: save it as CSV"
        raise UnsafeSourceError(msg)


def _rows(sheet: Any, file: SourceFile) -> Iterator[Sequence[Cell]]:
    sheet.reset_dimensions()  # what is said about them is often wrong
    rows = sheet.iter_rows(values_only=True)
    empty = 0
    for number in range(1, _MOST_ROWS + 1):
        try:
            with quiet_pillow():
                row = next(rows, None)
        except Exception as error:  # as above
            msg = f"broken after what was read: {error or type(error).__name__}"
            raise CorruptMediaError(msg) from error
        if row is None:
            return
        row = _trimmed(row)
        empty = 0 if row else empty + 1
        if empty > _MOST_EMPTY:
            file.problem(f"{sheet.title}: {_MOST_EMPTY} rows before row {number} are empty: no more are read")
            return
        yield row


def _trimmed(row: Sequence[Cell]) -> Sequence[Cell]:
    width = len(row)
    while width and (row[width - 1] is None or row[width - 1] == ""):
        width -= 1
    return row[:width]


def _filled(rows: Iterator[Sequence[Cell]], merged: list[Area]) -> Iterator[Sequence[Cell]]:
    """The rows, with what stands in the first of merged cells in all of them."""
    if not merged:
        yield from rows
        return
    waiting = sorted(merged, reverse=True)
    open_areas: list[tuple[Area, Cell]] = []
    for number, row in enumerate(rows, 1):
        while waiting and waiting[-1][0] <= number:
            area = waiting.pop()
            if area[0] == number and area[1] <= len(row):
                open_areas.append((area, row[area[1] - 1]))
        open_areas = [(area, value) for area, value in open_areas if area[2] >= number and value is not None]
        cells = list(row)
        # a row below a table that is empty but for what is merged into it is none of the table's
        for (_, left, _, right), value in open_areas:
            cells += [None] * (right - len(cells))
            cells[left - 1 : right] = [value] * (right - left + 1)
        yield cells


def _scan(sheet: Any, book: Any) -> tuple[list[Area], int]:
    """Merged cells of a sheet, and how many formulas have no value: the streaming parser tells neither."""
    openpyxl = require("openpyxl", extra="table")
    letters = openpyxl.utils.column_index_from_string
    areas: list[Area] = []
    uncomputed = 0
    with book._archive.open(sheet._worksheet_path) as packed:  # noqa: SLF001  it has no public name
        tail, in_row = b"", 0
        while piece := packed.read(_PIECE):
            seen = tail + piece
            in_row = in_row + len(piece) if b"<row" not in piece and b":row" not in piece else 0
            if in_row > _LARGEST_ROW:  # the parser keeps a row as a tree
                msg = f"the sheet {sheet.title} has a row of more than {_LARGEST_ROW} bytes"
                raise UnsafeSourceError(msg)
            end = 0
            for found in _MERGED.finditer(seen):
                left, top, right, bottom = found.groups()
                area = (int(top), letters(left.decode()), int(bottom), letters(right.decode()))
                end = found.end()
                size = (area[2] - area[0] + 1) * (area[3] - area[1] + 1)
                width = area[3] - area[1] + 1
                if len(areas) < _MOST_MERGED and 0 < size <= _LARGEST_MERGED and 0 < width <= _WIDEST_MERGED:
                    areas.append(area)
            for found in _UNCOMPUTED.finditer(seen):
                uncomputed += 1
                end = max(end, found.end())
            tail = seen[max(end, len(seen) - _LONGEST_MATCH) :]
    return areas, uncomputed
