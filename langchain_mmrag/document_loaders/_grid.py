"""The table of a page while its cells are read: rows and columns, or a layout that only looks like one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from langchain_mmrag.document_loaders._blocks import Block, Grid, Picture, Words

MAX_CELLS: Final = 500_000
"""Most cells of a table that is inside a page, which is held until it ends."""

_MAX_COLUMNS: Final = 500
_MAX_SPAN: Final = 50
_LONGEST_REPEATED: Final = 200
_LONGEST_CELL: Final = 2_000


@dataclass(frozen=True)
class Cell:
    """A cell, with what it holds and how many columns and rows it takes."""

    blocks: list[Block]
    is_head: bool = False
    columns: int = 1
    rows: int = 1

    @property
    def text(self) -> str:
        """Its words on one line."""
        return " ".join(block.text for block in self.blocks if not isinstance(block, Grid) and block.text)


@dataclass
class OpenTable:
    """A table whose end has not come.

    Attributes:
        is_layout: Whether it only places what it holds on the page.
        caption: What the page calls it.
        is_cut: Whether it has more cells than are kept.
    """

    is_layout: bool = False
    caption: str = ""
    is_cut: bool = False
    _rows: list[list[Cell]] = field(default_factory=list)
    _count: int = 0

    def begin_row(self) -> None:
        """The cells to come are of a new row."""
        self._rows.append([])

    def add(self, cell: Cell) -> None:
        """Add a cell to the row."""
        self._count += 1
        if self._count > MAX_CELLS:
            self.is_cut = True
            return
        if not self._rows:
            self.begin_row()
        self._rows[-1].append(cell)

    def blocks(self) -> Iterator[Block]:
        """The table, or what a layout places, in the order of the cells."""
        rows = [row for row in self._rows if any(cell.blocks for cell in row)]
        if self._is_data(rows):
            grid = _filled(rows)
            pictures = tuple(picture for row in rows for cell in row for picture in _pictures(cell))
            yield Grid(header=grid[0], rows=grid[1:], caption=self.caption, pictures=pictures)
            return
        if self.caption:
            yield Words(text=self.caption)
        yield from (block for row in rows for cell in row for block in cell.blocks)

    def _is_data(self, rows: list[list[Cell]]) -> bool:
        if self.is_layout or len(rows) < 2 or max(map(len, rows)) < 2:  # noqa: PLR2004
            return False
        return all(len(cell.text) <= _LONGEST_CELL for row in rows for cell in row)


def _filled(rows: list[list[Cell]]) -> list[list[str]]:
    """Texts by row and column; what spans several is said in each, so that a row can be read by itself."""
    grid = []
    below: dict[int, tuple[str, int]] = {}  # text and rows left, by column
    for row in rows:
        texts: list[str] = []
        for cell in row:
            _continue(texts, below)
            text = cell.text
            repeated = text if len(text) <= _LONGEST_REPEATED else ""
            for number in range(min(cell.columns, _MAX_SPAN)):
                if cell.rows > 1:
                    below[len(texts)] = (repeated, min(cell.rows, _MAX_SPAN) - 1)
                texts.append(repeated if number else text)
        _continue(texts, below)
        grid.append(texts[:_MAX_COLUMNS])
    return grid


def _continue(texts: list[str], below: dict[int, tuple[str, int]]) -> None:
    """Add the columns that a cell of a row above reaches down into."""
    while len(texts) in below:
        text, left = below.pop(len(texts))
        if left > 1:
            below[len(texts)] = (text, left - 1)
        texts.append(text)


def _pictures(cell: Cell) -> Iterator[Picture]:
    return (one for block in cell.blocks if isinstance(block, Words) for one in block.pictures)
