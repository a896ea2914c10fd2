"""Lines of text on a page: their order for a reader, their characters, and which of them are captions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, TypeAlias

Box: TypeAlias = tuple[float, float, float, float]
"""`(x0, y0, x1, y1)` in points of 1/72 inch from the top left of the page as it is shown."""

_LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
_BULLETS = {"\uf0b7": "•", "\uf0a7": "▪", "\uf0d8": "‣", "\uf0fc": "✓"}  # as symbol fonts name them
_TABLE = str.maketrans(
    {**_LIGATURES, **_BULLETS, "\u00ad": "", "\u00a0": " ", "\u2028": "\n", "\u2029": "\n"}
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff\ufeff\ue000-\uf8ff\ud800-\udfff]")
_HYPHENATED = re.compile(r"(?<=[^\W\d_]{2})[-\u2010]\n(?=[^\W\d_A-Z]{2})")
_NAMES = {
    "figure": "fig(?:ure|ura|\\.)?|abb(?:ildung|\\.)|chart|plate|diagram|exhibit|photo|scheme|map",
    "table": "table|tab\\.|tabelle|tableau|tabla",
}
_CAPTIONS = {  # `Figure 3: Gulls`, but not `Figure 3 shows that`
    kind: re.compile(
        rf"(?:{names})\s*[A-Z]?(?:\d++|[IVX]++\b)(?:[.-]\d++)*+(?!\s+(?-i:[a-z]))", re.IGNORECASE
    )
    for kind, names in _NAMES.items()
}
_LEAST_ROWS: Final = 4  # of two columns
_LEAST_LETTERS: Final = 15  # in a line of a column, on average: cells of tables are shorter
_LONGEST_CAPTION: Final = 400


@dataclass(frozen=True)
class Line:
    """A run of text without a wide gap in it."""

    text: str
    box: Box


@dataclass(frozen=True)
class Row:
    """What stands on one height, in the order of the file.

    Attributes:
        lines: From left to right.
        is_hyphenated: Its last word goes on in the next row.
    """

    lines: tuple[Line, ...]
    is_hyphenated: bool = False


def clean(text: str) -> str:
    """Text without ligatures, stray control characters and words cut by a hyphen at the end of a line."""
    text = _CONTROLS.sub("", text.translate(_TABLE))
    return _HYPHENATED.sub("", text).strip()


def page_text(rows: Sequence[Row]) -> str:
    """Text of a page in reading order."""
    parts = []
    for row in in_columns(rows):
        parts.append(" ".join(line.text for line in row.lines))
        parts.append("" if row.is_hyphenated else "\n")
    return clean("".join(parts))


def in_columns(rows: Sequence[Row]) -> list[Row]:
    """Put columns one after the other where the file goes from line to line across them."""
    gutter = _gutter(rows)
    if gutter is None:
        return list(rows)
    ordered: list[Row] = []
    band: list[Row] = []
    for row in rows:
        if any(line.box[0] < gutter - 2 and line.box[2] > gutter + 2 for line in row.lines):
            ordered += [*_columns(band, gutter), row]
            band = []
        else:
            band.append(row)
    return ordered + _columns(band, gutter)


def _gutter(rows: Sequence[Row]) -> float | None:
    """Where most rows of two lines are open, if there are enough of them."""
    gaps = [(row.lines[0].box[2], row.lines[1].box[0]) for row in rows if len(row.lines) == 2]  # noqa: PLR2004
    if len(gaps) < _LEAST_ROWS:
        return None
    middles = sorted((left + right) / 2 for left, right in gaps)[:: max(1, len(gaps) // 50)]
    best = max(middles, key=lambda x: sum(left < x < right for left, right in gaps))
    return best if sum(left < best < right for left, right in gaps) >= _LEAST_ROWS else None


def _columns(band: list[Row], gutter: float) -> list[Row]:
    pairs = [row.lines for row in band if len(row.lines) == 2]  # noqa: PLR2004
    if (
        len(pairs) < _LEAST_ROWS
        or sum(len(row.lines) > 2 for row in band) > len(pairs) // 4  # noqa: PLR2004
        or any(fmean(len(pair[side].text) for pair in pairs) < _LEAST_LETTERS for side in (0, 1))
    ):
        return band
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row in band:
        for right in (False, True):
            lines = tuple(line for line in row.lines if (line.box[0] >= gutter - 2) == right)
            if lines:
                goes_on = row.is_hyphenated and lines[-1] is row.lines[-1]
                sides[right].append(Row(lines, goes_on))
    return [*sides[0], *sides[1]]


def captions(boxes: Sequence[Box], rows: Iterable[Row], kind: str) -> list[str]:
    """The caption of each figure or table, `""` for those without one.

    A caption stands below its figure or above it, and belongs to the nearest one alone.

    Args:
        boxes: Of the figures or tables of a page.
        rows: Of the page.
        kind: `figure` or `table`.
    """
    lines = [line for row in rows for line in row.lines]
    heads = [number for number, line in enumerate(lines) if _CAPTIONS[kind].match(line.text)]
    pairs = sorted(
        (distance, place, number)
        for place, box in enumerate(boxes)
        for number in heads
        if (distance := _distance(box, lines[number].box)) is not None
    )
    found = [""] * len(boxes)
    taken: set[int] = set()
    for _, place, number in pairs:
        if not found[place] and number not in taken:
            found[place] = _block(lines, number)
            taken.add(number)
    return found


def is_caption(text: str) -> bool:
    """Whether a line begins the caption of a figure or table."""
    return any(pattern.match(text) for pattern in _CAPTIONS.values())


def words_beside(box: Box, rows: Iterable[Row]) -> str:
    """The text nearest to a figure without a caption: the block above or below it, or `""`."""
    lines = [line for row in rows for line in row.lines]
    near = [
        (distance, number)
        for number, line in enumerate(lines)
        if (distance := _distance(box, line.box)) is not None and len(line.text.strip()) > 2  # noqa: PLR2004
    ]
    return _block(lines, min(near)[1]) if near else ""


def _distance(box: Box, line: Box) -> float | None:
    """How far a line is from a figure, above or below it; None if beside it or more than an inch away."""
    overlap = min(box[2], line[2]) - max(box[0], line[0])
    height = line[3] - line[1]
    if overlap <= 0:
        return None
    if line[1] >= box[3] - height:
        distance = max(0.0, line[1] - box[3])
    elif line[3] <= box[1] + height:
        distance = max(0.0, box[1] - line[3]) + 1  # a caption stands below its figure more often
    else:
        return None
    return distance if distance <= 72 else None  # noqa: PLR2004


def _block(lines: list[Line], number: int) -> str:
    """A line with those that go on below it."""
    texts = [lines[number].text]
    last = lines[number].box
    widest = last[2]
    for line in lines[number + 1 :]:
        height = last[3] - last[1]
        goes_on = -0.5 * height < line.box[1] - last[3] < 0.7 * height and line.box[0] < last[2]
        # A sentence that ends before the edge ends its paragraph.
        widest = max(widest, line.box[2])
        ends = texts[-1].endswith((".", "!", "?")) and last[2] < widest - 0.08 * (widest - last[0])
        if ends or not goes_on or is_caption(line.text) or sum(map(len, texts)) > _LONGEST_CAPTION:
            break
        texts.append(line.text)
        last = line.box
    return re.sub(r"\s+", " ", clean("\n".join(texts)))[:_LONGEST_CAPTION]
