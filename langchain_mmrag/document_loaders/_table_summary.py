"""A table in a few words, by which it is found: its columns, how many rows, from what to what they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_mmrag.document_loaders._columns import Column
from langchain_mmrag.document_loaders._tables import Cell, Table, markdown_table
from langchain_mmrag.types import SHEET, SUMMARY, TITLE

SHOWN_ROWS: Final = 3
_MOST_VALUES: Final = 12
_LONGEST_VALUE: Final = 40
_MOST_COLUMNS_TOLD: Final = 40
_MOST_COLUMNS_KEPT: Final = 200


class TableSummary:
    """Takes note of the rows as they go by.

    Args:
        table: Whose rows they are.
        columns: Its columns, typed.
        file_name: Of the file, or what else the table is in.
    """

    def __init__(self, table: Table, columns: Sequence[Column], file_name: str) -> None:
        self.rows = 0
        self._table = table
        self._columns = columns
        self._file_name = file_name
        self._first: list[Sequence[Cell]] = []
        self._lowest: dict[str, Any] = {}
        self._highest: dict[str, Any] = {}
        self._values: dict[str, dict[str, None]] = {c.key: {} for c in columns if c.kind == "text"}

    def see(self, row: Sequence[Cell], metadata: Mapping[str, Any]) -> None:
        """Take note of a row, given with its typed metadata."""
        self.rows += 1
        if len(self._first) < SHOWN_ROWS:
            self._first.append(row)
        lowest, highest = self._lowest, self._highest
        for key, value in metadata.items():
            known = self._values.get(key)
            if known is not None:
                if len(known) <= _MOST_VALUES:
                    known[value] = None
            elif key not in lowest:
                lowest[key] = highest[key] = value
            elif value < lowest[key]:
                lowest[key] = value
            elif value > highest[key]:
                highest[key] = value

    def text(self) -> str:
        """The summary, and the first rows as Markdown."""
        header = [column.name for column in self._columns[:_MOST_COLUMNS_KEPT]]
        rows = [row[:_MOST_COLUMNS_KEPT] for row in self._first]
        return f"{self.sentence()}\n\n{markdown_table(header, rows)}"

    def sentence(self) -> str:
        """What the table is, in one line."""
        named = f", {self._table.name}" if self._table.name else ""
        titled = f" ({self._table.title})" if self._table.title else ""
        told = [self._told(column) for column in self._columns[:_MOST_COLUMNS_TOLD]]
        more = len(self._columns) - len(told)
        told += [f"and {more} more"] if more > 0 else []
        return f"{self._file_name}{named}{titled}: table of {self.rows} rows. Columns: {'; '.join(told)}."

    def metadata(self) -> dict[str, Any]:
        """Of the summary's document: `summary`, `rows` (their number), `columns`, `sheet` and `title`."""
        metadata: dict[str, Any] = {
            SUMMARY: self.sentence(),
            "rows": self.rows,
            "columns": [column.name for column in self._columns[:_MOST_COLUMNS_KEPT]],
        }
        if self._table.name:
            metadata[SHEET] = self._table.name
        if self._table.title:
            metadata[TITLE] = self._table.title
        return metadata

    def _told(self, column: Column) -> str:
        if column.key in self._lowest and column.kind != "bool":
            lowest, highest = self._lowest[column.key], self._highest[column.key]
            return (
                f"{column.name} ({lowest} to {highest})" if lowest != highest else f"{column.name} ({lowest})"
            )
        values = self._values.get(column.key, {})
        few = 0 < len(values) <= _MOST_VALUES and len(values) < max(2, self.rows)
        if few and all(len(value) <= _LONGEST_VALUE for value in values):
            return f"{column.name} ({', '.join(values)})"
        return column.name
