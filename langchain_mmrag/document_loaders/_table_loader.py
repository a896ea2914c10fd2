"""What loaders of tables have in common: rows become documents with typed metadata, tables a summary."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, TypedDict

from langchain_mmrag.document_loaders._columns import columns_of, typed_metadata
from langchain_mmrag.document_loaders._table_charts import ColumnCharts
from langchain_mmrag.document_loaders._table_pictures import RowPictures
from langchain_mmrag.document_loaders._table_summary import TableSummary
from langchain_mmrag.document_loaders._tables import (
    LONG_ROW_CHARS,
    Cell,
    Table,
    cell_text,
    markdown_record,
    markdown_row,
    markdown_table,
    numbered_rows,
)
from langchain_mmrag.document_loaders.base import FileLoader, Part, SourceFile
from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import MediaPolicy, describe_source
from langchain_mmrag.types import LAST_ROW, PARENT_ID, ROW, SHEET

MAX_ROWS: Final = 1_000_000
MAX_WIDTH: Final = 16_384
"""Cells of a row, as many as a spreadsheet has."""
MAX_SUMMARIES: Final = 200
"""Tables of a file that get a summary."""

_SAMPLE_ROWS: Final = 1_000
_SAMPLE_CHARS: Final = 4_000_000
_LONGEST_GROUP: Final = 1_000
_HELD_ROWS: Final = 50_000
_TOTAL = re.compile(r"(?i)(?:(?:grand |sub)?total[se]?|sum|summe|gesamt|somme|suma):?")


class TableOptions(TypedDict, total=False):
    """What every loader of tables takes; see `TableLoader`."""

    rows_per_document: int
    group_by: str | None
    summary: bool
    image_columns: Sequence[str] | None
    picture_root: str | os.PathLike[str] | None
    max_rows: int
    charts: bool
    media_policy: MediaPolicy | None
    media_directory: str | os.PathLike[str] | None


@dataclass(frozen=True)
class _Row:
    number: int
    cells: Sequence[Cell]
    metadata: Mapping[str, Any]


class TableLoader(FileLoader):
    """Base of the loaders of tables.

    Each row becomes a document of modality "table": the header and the row as Markdown, or a line for each
    name and its value if that is more than a text tower reads at once; in its metadata
    `row` (and `last_row` if it holds several), `sheet` if the table has a name, and each column with a type
    of its own, so that `filter={"price": {"$lt": 50}}` works. Dates are ISO text and, as `<column>_ts`,
    seconds since 1970 in UTC. A column whose name means something else in metadata (`title`, `source`, ...)
    is `column_<name>`. The first 64 columns are kept so, and values of up to 200 characters. Of several rows
    in one document, the metadata has what is the same in all of them.

    A table of more than one row gets a document more that tells what is in it, by which it is found as a
    whole. Pictures that rows name or hold become documents of their own, near their row. One that is a file
    of its own counts as one with that file's own document, one that was taken out or fetched with its row.

    Args:
        path: The file.
        rows_per_document: Rows of a document.
        group_by: Name of a column: rows with the same value there make one document (of 1,000 rows at most).
        summary: Whether a table gets a document that sums it up.
        image_columns: Names of columns that hold paths or addresses of pictures. By default columns whose
            values are paths of pictures that open; addresses are fetched only if their column is named.
        picture_root: Folder that pictures which rows name must lie in; the file's own by default.
        max_rows: Rows read of a table.
        charts: Whether the first columns of numbers are drawn too, as pictures (by matplotlib, which the
            extra `eval` brings).
        media_policy: What may be opened.
        media_directory: Where pictures taken out of the file go; see `default_media_directory`.

    Raises:
        ValueError: If `rows_per_document` or `max_rows` is below 1.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        rows_per_document: int = 1,
        group_by: str | None = None,
        summary: bool = True,
        image_columns: Sequence[str] | None = None,
        picture_root: str | os.PathLike[str] | None = None,
        max_rows: int = MAX_ROWS,
        charts: bool = False,
        media_policy: MediaPolicy | None = None,
        media_directory: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(path, media_policy=media_policy, media_directory=media_directory)
        if rows_per_document < 1 or max_rows < 1:
            msg = f"rows_per_document and max_rows must be 1 or more, not {rows_per_document} and {max_rows}"
            raise ValueError(msg)
        if isinstance(image_columns, str):
            msg = f"image_columns must be a list of names: write [{image_columns!r}]"
            raise TypeError(msg)
        self.rows_per_document = rows_per_document
        self.group_by = group_by
        self.summary = summary
        self.image_columns = image_columns
        self.picture_root = None if picture_root is None else Path(picture_root)
        self.max_rows = max_rows
        self.charts = charts

    @cached_property
    def fingerprint(self) -> str:
        """Format and the options that change what comes out."""
        given = {
            "rows": self.rows_per_document if self.rows_per_document != 1 else None,
            "group_by": self.group_by,
            "summary": None if self.summary else False,
            "images": None if self.image_columns is None else sorted(self.image_columns),
            "max_rows": self.max_rows if self.max_rows != MAX_ROWS else None,
            "charts": self.charts or None,
            **self.reading(),
        }
        options = [f"{name}={value}" for name, value in given.items() if value is not None]
        return ":".join([self.name, *options])

    def reading(self) -> dict[str, Any]:
        """Options of the format that change what comes out; `None` for those that were not given."""
        return {}

    @abstractmethod
    def tables(self, file: SourceFile) -> Iterator[Table]:
        """Yield the tables of the file; the rows of one are read before the next is asked for.

        Raises:
            LoadError: If the file cannot be read.
        """

    def parts(self, file: SourceFile) -> Iterator[Part]:
        """Yield the rows, and after them the summary, of each table.

        Raises:
            LoadError: If the file cannot be read.
        """
        yield from self.parts_of(self.tables(file), file)

    def parts_of(self, tables: Iterable[Table], file: SourceFile) -> Iterator[Part]:
        """Yield the rows of each table and its summary; what is wrong with one of several is told.

        Raises:
            LoadError: If one cannot be read that is the only one.
        """
        for number, table in enumerate(tables):
            try:
                yield from _Reading(table, file, self).parts(summary=self.summary and number < MAX_SUMMARIES)
            except LoadError as error:
                if not table.name:
                    raise
                file.problem(f"{table.name}: the rest cannot be read: {error}")


class _Reading:
    """One table on its way to parts."""

    def __init__(self, table: Table, file: SourceFile, loader: TableLoader) -> None:
        self._file = file
        self._loader = loader
        self._named = {SHEET: table.name} if table.name else {}
        self._key = f"{table.name}:" if table.name else ""
        self._rows = numbered_rows(table)
        self._sample = [(number, row[: MAX_WIDTH + 1]) for number, row in _sample(self._rows)]
        self._cut_rows = 0
        self._lay_out(table)
        fitted = [self._fit(row) for _, row in self._sample]
        typing = fitted[:-1] if len(fitted) < _SAMPLE_ROWS and _is_total(fitted) else fitted
        self._columns = columns_of(self._header, typing, decimal_comma=table.decimal_comma)
        self._check_image_columns(table.name)
        self._pictures = RowPictures(
            file, self._header, fitted, loader.image_columns, folder=loader.picture_root
        )
        self._summary = TableSummary(table, self._columns, describe_source(_name_of(file.source)))
        self._head = markdown_table(self._header, [])
        self._charts = (
            ColumnCharts(self._columns, table.name or _name_of(file.source)) if loader.charts else None
        )

    def parts(self, *, summary: bool) -> Iterator[Part]:
        """The rows, then the summary and the charts."""
        batches = self._by_group() if self._loader.group_by else self._by_number()
        for rows in batches:
            part = self._part(rows)
            yield part
            for row in rows:
                yield from self._pictures_of(row, part)
        self._tell()
        if summary and self._summary.rows > 1:
            metadata = self._summary.metadata()
            yield Part(
                text=self._summary.text(), modality="table", metadata=metadata, key=f"{self._key}table"
            )
        if self._charts is not None:
            near = f"{self._key}table" if summary else None
            yield from self._charts.parts(self._file, self._key, near, self._named)

    def _lay_out(self, table: Table) -> None:
        """Leave out columns without a name in which nothing is written, as far as the sample goes."""
        width = min(MAX_WIDTH, max([len(table.header), *(len(row) for _, row in self._sample)]))
        names = [cell_text(name) for name in table.header[:width]] + [""] * (width - len(table.header))
        used = {n for _, row in self._sample for n, cell in enumerate(row) if cell is not None and cell != ""}
        self._places = [n for n in range(width) if names[n] or n in used]
        self._whole = self._places == list(range(width))
        self._width = width
        self._header = [names[n] or f"column {n + 1}" for n in self._places]

    def _fit(self, row: Sequence[Cell]) -> Sequence[Cell]:
        """Cells of the columns that are kept, then those that stand beside them."""
        row = row[:MAX_WIDTH]
        if self._whole:
            return row
        kept = [row[n] if n < len(row) else None for n in self._places]
        places = set(self._places)
        return kept + [
            cell for n, cell in enumerate(row) if n not in places and cell is not None and cell != ""
        ]

    def _read(self) -> Iterator[_Row]:
        rows = chain(self._sample, self._rows)
        for number, row in islice(rows, self._loader.max_rows):
            if len(row) > MAX_WIDTH:
                self._cut_rows += 1
            cells = self._fit(row)
            metadata = typed_metadata(self._columns, cells)
            self._summary.see(cells, metadata)
            if self._charts is not None:
                self._charts.see(number, metadata)
            yield _Row(number, cells, metadata)
        if next(rows, None) is not None:
            self._file.problem(
                f"only the first {self._loader.max_rows} rows are read: raise max_rows for more"
            )

    def _by_number(self) -> Iterator[list[_Row]]:
        rows = self._read()
        while held := list(islice(rows, self._loader.rows_per_document)):
            yield held

    def _by_group(self) -> Iterator[list[_Row]]:
        """Rows by a column's value, in memory up to a number of rows; then the largest group goes first."""
        place = self._group_place()
        groups: dict[str, list[_Row]] = {}
        held = 0
        for row in self._read():
            value = cell_text(row.cells[place]) if place < len(row.cells) else ""
            group = groups.setdefault(value, [])
            group.append(row)
            held += 1
            if len(group) < _LONGEST_GROUP and held < _HELD_ROWS:
                continue
            largest = max(groups, key=lambda name: len(groups[name]))
            held -= len(groups[largest])
            yield groups.pop(largest)
        yield from groups.values()

    def _group_place(self) -> int:
        name = self._loader.group_by
        if name in self._header:
            return self._header.index(name)
        msg = f"{self._file.source} has no column {name!r} to group by: it has {', '.join(self._header[:20])}"
        raise LoadError(msg)

    def _part(self, rows: Sequence[_Row]) -> Part:
        first, last = rows[0], rows[-1]
        metadata = dict(first.metadata)
        for row in rows[1:]:
            metadata = {key: value for key, value in metadata.items() if row.metadata.get(key) == value}
        where = {ROW: first.number, **({LAST_ROW: last.number} if len(rows) > 1 else {})}
        return Part(
            text=self._markdown(rows),
            modality="table",
            metadata={**metadata, **self._named, **where},
            key=f"{self._key}row-{first.number}",
        )

    def _markdown(self, rows: Sequence[_Row]) -> str:
        if len(rows) == 1 and len(self._head) > LONG_ROW_CHARS:
            return markdown_record(self._header, rows[0].cells)
        if any(len(row.cells) > len(self._header) for row in rows):
            text = markdown_table(self._header, (row.cells for row in rows))
        else:
            width = len(self._header)
            text = "\n".join([self._head, *(markdown_row(row.cells, width) for row in rows)])
        is_long = len(rows) == 1 and len(text) > LONG_ROW_CHARS
        return markdown_record(self._header, rows[0].cells) if is_long else text

    def _pictures_of(self, row: _Row, part: Part) -> Iterator[Part]:
        key = f"{self._key}row-{row.number}"
        for number, picture in enumerate(self._pictures.of(row.number, row.cells, key)):
            yield Part(
                text=part.text
                if ROW in part.metadata and LAST_ROW not in part.metadata
                else self._markdown([row]),
                modality="image",
                metadata={**row.metadata, **self._named, ROW: row.number, **picture},
                key=f"{key}-picture-{number}",
                parent=None if PARENT_ID in picture else part.key,
                near=part.key,
            )

    def _check_image_columns(self, table_name: str) -> None:
        missing = [name for name in self._loader.image_columns or () if name not in self._header]
        if not missing:
            return
        has = f"it has {', '.join(self._header[:20])}"
        if table_name:  # another of the file's tables may have it
            self._file.problem(f"{table_name}: no column {', '.join(missing)} of pictures: {has}")
            return
        msg = f"{self._file.source} has no column {', '.join(missing)} of pictures: {has}"
        raise LoadError(msg)

    def _tell(self) -> None:
        self._pictures.tell_rest()
        if self._cut_rows:
            self._file.problem(
                f"{self._cut_rows} rows have more than {MAX_WIDTH} cells: the rest is left out"
            )
        doubtful = [column.name for column in self._columns if column.is_doubtful]
        if doubtful:
            self._file.problem(
                "numbers such as 1,500 may have decimals or be a thousand times as much: they are in the text"
                f" alone, not numbers in the metadata: {', '.join(doubtful[:5])}"
            )
        unfit = Counter({column.name: column.surprises for column in self._columns if column.surprises})
        if unfit:
            told = ", ".join(f"{count} in {name}" for name, count in unfit.most_common(5))
            self._file.problem(
                f"cells of another type than the first {_SAMPLE_ROWS} rows of their column are in the text"
                f" alone, not in the metadata: {told}"
            )


def _name_of(source: str) -> str:
    return source.rpartition("/")[2].rpartition(os.sep)[2] or source


def _is_total(rows: Sequence[Sequence[Cell]]) -> bool:
    """Whether the last of several rows is the sum of the others: its label tells no column's type."""
    said = next((text for cell in rows[-1] if (text := cell_text(cell))), "") if len(rows) > 1 else ""
    return _TOTAL.fullmatch(said) is not None


def _sample(rows: Iterator[tuple[int, Sequence[Cell]]]) -> Iterator[tuple[int, Sequence[Cell]]]:
    """The first rows, as many as tell the types and take no memory to speak of."""
    room = _SAMPLE_CHARS
    for number, row in islice(rows, _SAMPLE_ROWS):
        yield number, row
        room -= sum(len(cell) if isinstance(cell, str | bytes) else 8 for cell in row)
        if room < 0:
            return
