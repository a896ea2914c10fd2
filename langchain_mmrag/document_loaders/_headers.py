"""Which row of a table is its header, and what stands above it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from langchain_mmrag.document_loaders._columns import columns_of, is_missing
from langchain_mmrag.document_loaders._tables import Cell, cell_text

LOOKED_AT: Final = 60
"""Rows that are looked at."""

_LONGEST_NAME: Final = 120
_MOST_ABOVE: Final = 20
_YEAR = re.compile(r"(?:19|20)\d\d")


def find_header(rows: Sequence[Sequence[Cell]]) -> int | None:
    """Place of the header among the first rows of a table, `None` if it has none.

    A header is the first row about as wide as the rows below, of names: no numbers (years apart), dates or
    blanks among them, and none that is repeated, beside it or below it.

    Args:
        rows: The first rows, empty ones included.
    """
    widths = [_filled(row) for row in rows]
    usual = Counter(width for width in widths if width).most_common(1)
    if not usual:
        return None
    wide = max(2, usual[0][0] * 0.6) if usual[0][0] > 1 else 1
    start = next((place for place, width in enumerate(widths[:_MOST_ABOVE]) if width >= wide), 0)
    return start if _is_header(rows[start], rows[start + 1 :]) else None


def title_above(rows: Sequence[Sequence[Cell]]) -> str:
    """What the rows above a header say."""
    return " - ".join(text for row in rows if (text := " ".join(filter(None, map(cell_text, row)))))[:500]


def numbered_names(width: int) -> list[str]:
    """Names for the columns of a table without a header."""
    return [f"column {number}" for number in range(1, width + 1)]


def _filled(row: Sequence[Cell]) -> int:
    return sum(cell is not None and cell != "" for cell in row)


def _is_header(row: Sequence[Cell], below: Sequence[Sequence[Cell]]) -> bool:
    names = [cell_text(cell) for cell in row]
    said = [name for name in names if name]
    if len(set(said)) < len(said) or any(len(name) > _LONGEST_NAME for name in said):
        return False
    below = [other for other in below if _filled(other)]
    if any(
        isinstance(cell, str) and _YEAR.fullmatch(cell.strip()) is None and _is_value(cell) for cell in row
    ):
        return False
    if any(
        not isinstance(cell, str) and not is_missing(cell) and not _YEAR.fullmatch(cell_text(cell))
        for cell in row
    ):
        return False
    for place, name in enumerate(names):
        column = [cell_text(other[place]) for other in below if place < len(other)]
        if name and name in column:
            return False
        if _YEAR.fullmatch(name) and column and all(map(_YEAR.fullmatch, column)):
            return False
    return bool(said)


def _is_value(text: str) -> bool:
    """Whether a text is a number, date or truth value rather than a name."""
    return not is_missing(text) and columns_of(["x"], [[text]])[0].kind != "text"
