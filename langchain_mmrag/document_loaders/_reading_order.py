"""Pieces of writing found on a page, in the order in which a person reads them.

A recursive cut along the white of the page (XY-cut, Nagy and Seth 1984), with two exceptions: columns are
read one after the other only if they hold running text, for the cells of a table, a form or a receipt belong
to their row; and bands of white that cross several columns do not part them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Final

_GUTTER: Final = 0.8
"""White between columns, in heights of a line."""
_COLUMN_LINES: Final = 3
_COLUMN_CHARS: Final = 14
"""Letters a line of running text has on average, at least."""
_SAME_ROW: Final = 0.5
"""Two pieces stand in one row if they share this much of the lower one's height."""


@dataclass(frozen=True)
class Piece:
    """Writing in one place, upright, in pixels or any unit that is the same across and down.

    Attributes:
        number: What the caller knows it by.
        chars: How many letters.
        x0: Left.
        y0: Top.
        x1: Right.
        y1: Bottom.
    """

    number: int
    chars: int
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def height(self) -> float:
        """Of the line."""
        return self.y1 - self.y0


def reading_order(pieces: Sequence[Piece]) -> list[list[int]]:
    """Rows in reading order, each the numbers of its pieces from left to right."""
    return [[piece.number for piece in row] for row in _read(list(pieces))] if pieces else []


def _read(pieces: list[Piece]) -> Iterator[list[Piece]]:
    columns = _columns(pieces)
    if columns:
        for column in columns:
            yield from _read(column)
        return
    strips = _strips(pieces)
    if len(strips) == 1:
        yield from _rows(pieces)
        return
    for block in _joined(strips):
        if _columns(block):
            yield from _read(block)
        else:
            yield from _rows(block)


def _strips(pieces: list[Piece]) -> list[list[Piece]]:
    """Parts of a page between which there is a band of white from side to side."""
    strips: list[list[Piece]] = []
    bottom = float("-inf")
    for piece in sorted(pieces, key=lambda piece: piece.y0):
        if piece.y0 >= bottom:
            strips.append([])
        strips[-1].append(piece)
        bottom = max(bottom, piece.y1)
    return strips


def _joined(strips: list[list[Piece]]) -> Iterator[list[Piece]]:
    """Strips put together again as long as they have their columns in common."""
    at = 0
    while at < len(strips):
        block, end = strips[at], at + 1
        for last in range(at + 1, len(strips) + 1):
            wider = [piece for strip in strips[at:last] for piece in strip]
            gutters = _gutters(wider)
            if not gutters:
                break
            if _columns(wider):
                block, end = wider, last
        yield block
        at = end


def _gutters(pieces: list[Piece]) -> list[list[Piece]]:
    """Parts of a page between which there is white from top to bottom; none if there is but one part."""
    least = _GUTTER * median(piece.height for piece in pieces)
    parts: list[list[Piece]] = []
    right = float("-inf")
    for piece in sorted(pieces, key=lambda piece: piece.x0):
        if piece.x0 >= right + least:
            parts.append([])
        parts[-1].append(piece)
        right = max(right, piece.x1)
    return parts if len(parts) > 1 else []


def _columns(pieces: list[Piece]) -> list[list[Piece]]:
    """The columns of running text side by side; none if there are none."""
    parts = _gutters(pieces)
    return parts if parts and all(_is_running_text(part) for part in parts) else []


def _is_running_text(pieces: list[Piece]) -> bool:
    return len(pieces) >= _COLUMN_LINES and mean(piece.chars for piece in pieces) >= _COLUMN_CHARS


def _rows(pieces: list[Piece]) -> Iterator[list[Piece]]:
    """Pieces side by side as one row; rows from top to bottom."""
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.y0 + piece.y1):
        if rows and all(_same_row(piece, other) for other in rows[-1]):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    for row in rows:
        yield sorted(row, key=lambda piece: piece.x0)


def _same_row(one: Piece, other: Piece) -> bool:
    shared = min(one.y1, other.y1) - max(one.y0, other.y0)
    return shared > _SAME_ROW * min(one.height, other.height)
