"""Tables on a page: those with ruled cells by their rules, others by text that stands in columns.

Runs in the process of `child`, which alone imports it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any, Final

from langchain_mmrag._pdf.layout import Box, Row, captions, clean
from langchain_mmrag._pdf.page import Page, segments, union

MAX_POINTS: Final = 50_000
"""Points of the paths on a page above which its ruled tables are not looked for."""

_MAX_RULES: Final = 1_500  # each way
_MAX_CELLS: Final = 20_000
_NEAR: Final = 3.0  # points: rules no further apart are one
_SHORTEST: Final = 4.0  # points
_SMALLEST_CELL: Final = 8.0  # points
_LEAST_LINES: Final = 2  # each way
_LEAST_FILLED: Final = 0.4  # of the cells
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
    """More is drawn on the page than is looked through for tables."""


def tables(page: Page) -> list[Table]:
    """The tables of a page from top to bottom.

    Raises:
        TooManyObjectsError: If there is too much on the page to look through.
        TableTooLargeError: If its paths have too many points, or a grid too many cells.
    """
    if not page.rows:
        return []
    found = list(_ruled(page))
    found += [table for table in _aligned(page) if not any(_overlap(table.box, other.box) for other in found)]
    found.sort(key=lambda table: (table.box[1], table.box[0]))
    said = captions([table.box for table in found], page.rows, "table")
    return [replace(table, caption=caption) for table, caption in zip(found, said, strict=True)]


# Ruled tables


@dataclass
class _Rule:
    """A level or upright line: where it lies across, and from where to where it goes."""

    at: float
    start: float
    end: float


def _ruled(page: Page) -> Iterator[Table]:
    level, upright = (_merged(rules) for rules in _rules(page))
    if max(len(level), len(upright)) > _MAX_RULES:
        raise TableTooLargeError
    for rows, columns in _crossing(level, upright):
        grid = _Grid(rows, columns)
        cells = _filled(grid.texts(page)) if grid.is_table else []
        if cells:
            yield Table(grid.box, cells)


def _rules(page: Page) -> tuple[list[_Rule], list[_Rule]]:
    """Level and upright lines of the page; the edges of boxes are lines too."""
    level, upright = list[_Rule](), list[_Rule]()
    points = 0
    for shape in page.shapes:
        x0, y0, x1, y1 = shape.box
        if shape.is_image or max(x1 - x0, y1 - y0) <= _SMALLEST_CELL:  # marks of charts are many
            continue
        last = 0.0, 0.0
        for is_drawn, x, y in segments(shape):
            points += 1
            across, down = abs(x - last[0]), abs(y - last[1])
            if is_drawn and down < 1 and across > _SHORTEST:
                level.append(_Rule((y + last[1]) / 2, min(x, last[0]), max(x, last[0])))
            elif is_drawn and across < 1 and down > _SHORTEST:
                upright.append(_Rule((x + last[0]) / 2, min(y, last[1]), max(y, last[1])))
            last = x, y
            if points > MAX_POINTS:
                raise TableTooLargeError
    return level, upright


def _merged(rules: list[_Rule]) -> list[_Rule]:
    """Rules on one line that touch as one rule."""
    merged: list[_Rule] = []
    rules.sort(key=lambda rule: rule.at)
    group: list[_Rule] = []
    for rule in [*rules, _Rule(float("inf"), 0, 0)]:
        if group and rule.at - group[0].at > _NEAR:
            at = sum(held.at for held in group) / len(group)
            for held in sorted(group, key=lambda held: held.start):
                if merged and merged[-1].at == at and held.start <= merged[-1].end + _NEAR:
                    merged[-1].end = max(merged[-1].end, held.end)
                else:
                    merged.append(_Rule(at, held.start, held.end))
            group = []
        group.append(rule)
    return merged


def _crossing(level: list[_Rule], upright: list[_Rule]) -> Iterator[tuple[list[_Rule], list[_Rule]]]:
    """Rules that cross each other, directly or by way of others: the lines of one grid."""
    crosses = [[number for number, rule in enumerate(level) if _meets(rule, column)] for column in upright]
    crossed_by: list[list[int]] = [[] for _ in level]
    for column, numbers in enumerate(crosses):
        for number in numbers:
            crossed_by[number].append(column)
    left = set(range(len(upright)))
    while left:
        columns, rows, waiting = set[int](), set[int](), [min(left)]
        while waiting:
            column = waiting.pop()
            if column in columns:
                continue
            columns.add(column)
            for row in set(crosses[column]) - rows:
                rows.add(row)
                waiting += crossed_by[row]
        left -= columns
        if rows:
            yield [level[number] for number in sorted(rows)], [upright[number] for number in sorted(columns)]


def _meets(row: _Rule, column: _Rule) -> bool:
    return (
        column.start - _NEAR <= row.at <= column.end + _NEAR
        and row.start - _NEAR <= column.at <= row.end + _NEAR
    )


class _Grid:
    """Cells between rules that cross."""

    def __init__(self, rows: list[_Rule], columns: list[_Rule]) -> None:
        self._rows, self._columns = rows, columns
        self._ys = _places(rows, columns)
        self._xs = _places(columns, rows)

    @property
    def is_table(self) -> bool:
        """Whether it has two lines of cells each way.

        Raises:
            TableTooLargeError: If there are too many.
        """
        down, across = len(self._ys) - 1, len(self._xs) - 1
        if down * across > _MAX_CELLS:
            raise TableTooLargeError
        return min(down, across) >= _LEAST_LINES

    @property
    def box(self) -> Box:
        return self._xs[0], self._ys[0], self._xs[-1], self._ys[-1]

    def texts(self, page: Page) -> list[list[str]]:
        """What is in each cell; what is in one that spans several is in the first of them."""
        down, across = len(self._ys) - 1, len(self._xs) - 1
        texts = [[""] * across for _ in range(down)]
        taken: set[tuple[int, int]] = set()
        for row, column in product(range(down), range(across)):
            if (row, column) in taken:
                continue
            last_row, last_column = self._span(row, column)
            taken |= set(product(range(row, last_row + 1), range(column, last_column + 1)))
            box = self._xs[column], self._ys[row], self._xs[last_column + 1], self._ys[last_row + 1]
            texts[row][column] = _cell(page.text_in(box))
        return texts

    def _span(self, row: int, column: int) -> tuple[int, int]:
        """The last row and column of the cell that begins here."""
        x = (self._xs[column] + self._xs[column + 1]) / 2
        y = (self._ys[row] + self._ys[row + 1]) / 2
        last_row, last_column = row, column
        while last_column + 2 < len(self._xs) and not _is_drawn(self._columns, self._xs[last_column + 1], y):
            last_column += 1
        while last_row + 2 < len(self._ys) and not _is_drawn(self._rows, self._ys[last_row + 1], x):
            last_row += 1
        return last_row, last_column


def _places(rules: list[_Rule], others: list[_Rule]) -> list[float]:
    """Where the lines of a grid lie one way, and where those of the other way end: a grid may be open."""
    ends = [end for rule in others for end in (rule.start, rule.end)]
    places: list[float] = []
    for place in sorted([*(rule.at for rule in rules), min(ends), max(ends)]):
        if not places or place - places[-1] > _NEAR:
            places.append(place)
    return places


def _is_drawn(rules: list[_Rule], at: float, through: float) -> bool:
    return any(abs(rule.at - at) <= _NEAR and rule.start <= through <= rule.end for rule in rules)


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
