"""Parquet files: columns with types of their own, read a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from langchain_mmrag._extras import require
from langchain_mmrag.document_loaders._records import as_json, listed
from langchain_mmrag.document_loaders._table_loader import TableLoader
from langchain_mmrag.document_loaders._tables import Cell, Table
from langchain_mmrag.document_loaders.base import SourceFile
from langchain_mmrag.errors import CorruptMediaError

_ROWS_AT_ONCE: Final = 500
_DEEPEST: Final = 8


class ParquetLoader(TableLoader):
    """Load a Parquet file row by row; rows are numbered from 1.

    Fields of nested columns are columns with dots in their names. Bytes that are a picture become one.

    Args:
        path: The file.
        options: See `TableLoader`.
    """

    name = "parquet"

    def tables(self, file: SourceFile) -> Iterator[Table]:
        """Yield the one table.

        Raises:
            LoadError: If the file is no Parquet file, encrypted, or broken.
        """
        arrow = require("pyarrow", extra="table")
        parquet = require("pyarrow.parquet", extra="table")
        with file.open() as raw:
            try:
                opened = parquet.ParquetFile(arrow.PythonFile(raw, mode="r"), pre_buffer=False)
                empty = _flat(arrow.Table.from_batches([], opened.schema_arrow), arrow)
            except Exception as error:  # of arrow's own, of the system, of Python: they have no common base
                msg = f"{file.source} is no Parquet file that can be read: {error}"
                raise CorruptMediaError(msg) from error
            yield Table(header=empty.column_names, rows=_rows(opened, arrow), first_row=1)


def _rows(opened: Any, arrow: Any) -> Iterator[list[Cell]]:
    batches = opened.iter_batches(batch_size=_ROWS_AT_ONCE, use_threads=False)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            table = _flat(arrow.Table.from_batches([batch]), arrow)
            columns = [_readable(column, arrow).to_pylist() for column in table.columns]
        except Exception as error:  # as above
            msg = f"a row group is broken: {error}"
            raise CorruptMediaError(msg) from error
        for row in zip(*columns, strict=True):
            yield [_cell(value) for value in row]


def _flat(table: Any, arrow: Any) -> Any:
    for _ in range(_DEEPEST):
        if not any(arrow.types.is_struct(field.type) for field in table.schema):
            break
        table = table.flatten()
    return table


def _readable(column: Any, arrow: Any) -> Any:
    """Times in nanoseconds are cut to microseconds, which is what Python has."""
    if arrow.types.is_timestamp(column.type) and column.type.unit == "ns":
        return column.cast(arrow.timestamp("us", column.type.tz), safe=False)
    if arrow.types.is_time64(column.type) or arrow.types.is_duration(column.type):
        return column.cast(arrow.string())
    return column


def _cell(value: Any) -> Cell:
    if isinstance(value, list | tuple):
        return listed(value)
    if isinstance(value, dict):
        return as_json(value)
    return value  # type: ignore[no-any-return]
