"""Which row of a table is its header, and what stands above it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import zip_longest
from typing import Final

from langchain_mmrag.document_loaders._columns import columns_of, is_missing
from langchain_mmrag.document_loaders._tables import Cell, cell_text

LOOKED_AT: Final = 60
"""Rows that are looked at."""

_LONGEST_NAME: Final = 120
_MOST_ABOVE: Final = 20
_YEAR = re.compile(r"(?:19|20)\d\d")


@dataclass(frozen=True)
class Header:
    """Where a table begins.

    Attributes:
        names: Of the columns.
        above: Place of its first row among those looked at; titles stand above it.
        below: Place of the first row below it.
    """

    names: Sequence[str]
    above: int = 0
    below: int = 0


def header_of(
    rows: Sequence[Sequence[Cell]], *, given: bool | None = None, has_merged: bool = False
) -> Header:
    """The header of a table, by its first rows.

    A header is the first row about as wide as the rows below, of names: no numbers (years apart), dates or
    blanks among them, and none that is repeated below it, or beside it where nothing but names is below. Two
    rows can make one, if a name in the upper row spans several in the lower, and values are below those.
    Without one, columns are called by their numbers.

    Args:
        rows: The first rows, empty ones included.
        given: Whether the first row that is written in is the header, if that is known.
        has_merged: Whether what comes twice in a row may be one cell as wide as two.
    """
    widths = [_filled(_once(row) if has_merged else row) for row in rows]
    written = next((place for place, width in enumerate(widths) if width), 0)
    if given is None and rows:
        return _found(rows, widths) or _none(rows, written)
    return (
        Header([cell_text(cell) for cell in rows[written]], written, written + 1)
        if given and rows
        else _none(rows)
    )


def _found(rows: Sequence[Sequence[Cell]], widths: Sequence[int]) -> Header | None:
    usual = Counter(width for width in widths if width).most_common(1)
    if not usual:
        return None
    wide = max(2, usual[0][0] * 0.6) if usual[0][0] > 1 else 1
    place = next((place for place, width in enumerate(widths[:_MOST_ABOVE]) if width >= wide), 0)
    names = [cell_text(cell) for cell in rows[place]]
    if _is_header(rows[place], rows[place + 1 :]):
        return Header(names, place, place + 1)
    for upper in (place - 1, place):  # the row above may be narrow, as few names span many columns
        if 0 <= upper < len(rows) - 1 and len(_once(rows[upper])) > 1:
            pairs = zip_longest(*rows[upper : upper + 2])
            joined = [" ".join(filter(None, map(cell_text, pair))) for pair in pairs]
            below = rows[upper + 2 :]
            spanned = _spanned(rows[upper], rows[upper + 1])
            if (
                _is_header(joined, below)
                and _is_header(_names_once(rows[upper]), below)
                and _is_header(_names_apart(rows[upper + 1]), below)
                and _has_values(spanned, below)
            ):
                return Header(joined, upper, upper + 2)
    repeated = _is_header(_names_apart(rows[place]), rows[place + 1 :]) and _has_values(
        names, rows[place + 1 :]
    )
    return Header(names, place, place + 1) if repeated else None


def _has_values(names: Sequence[str], below: Sequence[Sequence[Cell]]) -> bool:
    """Whether there are values under names: then they are names although one of them comes twice."""
    return any(
        name and place < len(row) and _is_value(row[place])
        for row in below
        for place, name in enumerate(names)
    )


def _spanned(upper: Sequence[Cell], lower: Sequence[Cell]) -> list[str]:
    """The names in the lower row, of a column whose name in the upper row is beside itself."""
    names = [cell_text(cell) for cell in upper]
    beside = zip(names, ["", *names], [*names[1:], ""], strict=False)
    return [
        cell_text(cell) if name and name in (left, right) else ""
        for cell, (name, left, right) in zip(lower, beside, strict=False)
    ]


def _names_apart(row: Sequence[Cell]) -> list[Cell]:
    first = {cell: place for place, cell in reversed(list(enumerate(row)))}
    return [cell if first[cell] == place else None for place, cell in enumerate(row)]


def _none(rows: Sequence[Sequence[Cell]], start: int = 0) -> Header:
    return Header(
        [f"column {number}" for number in range(1, max(map(len, rows), default=0) + 1)], start, start
    )


def _once(row: Sequence[Cell]) -> list[Cell]:
    """A row with what merged cells repeat said once."""
    return [c for n, c in enumerate(row) if not (n and isinstance(c, str) and c == row[n - 1])]


def _names_once(row: Sequence[Cell]) -> list[Cell]:
    """As `_once`, at its places."""
    return [None if n and isinstance(c, str) and c == row[n - 1] else c for n, c in enumerate(row)]


def title_above(rows: Sequence[Sequence[Cell]]) -> str:
    """What the rows above a header say."""
    return " - ".join(text for row in rows if (text := " ".join(filter(None, map(cell_text, _once(row))))))[
        :500
    ]


def _filled(row: Sequence[Cell]) -> int:
    return sum(cell is not None and cell != "" for cell in row)


def _is_header(row: Sequence[Cell], below: Sequence[Sequence[Cell]]) -> bool:
    names = [cell_text(cell) for cell in row]
    said = [name for name in names if name]
    if len(set(said)) < len(said) or any(len(name) > _LONGEST_NAME for name in said):
        return False
    below = [other for other in below if _filled(other)]
    if any(_is_value(cell) and not _is_period(cell) for cell in row):
        return False
    for place, name in enumerate(names):
        column = [cell_text(other[place]) for other in below if place < len(other)]
        if name and name in column:
            return False
        if (
            _is_period(row[place])
            and column
            and all(map(_is_period, (o[place] for o in below if place < len(o))))
        ):
            return False
    return bool(said)


def _is_value(cell: Cell) -> bool:
    """Whether a cell is a number, date or truth value rather than a name."""
    return not is_missing(cell) and (
        not isinstance(cell, str) or columns_of(["x"], [[cell]])[0].kind != "text"
    )


def _is_period(cell: Cell) -> bool:
    """Whether a cell is a year or date, of which columns can be named."""
    return isinstance(cell, date) or _YEAR.fullmatch(cell_text(cell)) is not None
