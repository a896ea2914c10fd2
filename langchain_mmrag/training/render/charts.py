"""Charts by kind, colour, number and course, drawn with Pillow."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

from langchain_mmrag.training.render.palette import (
    COLORS,
    NUMBERS,
    RGB,
    any_color,
    shade,
    shrink,
    with_article,
)

TRENDS = {
    "rising": "going up",
    "falling": "going down",
    "peak": "rising then falling",
    "valley": "falling then rising",
    "flat": "flat",
}
_INKS = tuple(name for name in COLORS if name != "white")
_AXIS: RGB = (60, 60, 60)
_SUPERSAMPLING = 3


@dataclass
class Canvas:
    """A chart under way: a picture drawn large, and the frame its data lie in."""

    rng: random.Random
    draw: ImageDraw.ImageDraw
    side: int
    color: str
    left: int
    right: int
    top: int
    bottom: int

    @property
    def ink(self) -> RGB:
        """A shade of the chart's colour."""
        return shade(self.rng, self.color, 12)

    def across(self, share: float) -> float:
        """Pixel column of a share of the frame's width."""
        return self.left + share * (self.right - self.left)

    def up(self, share: float) -> float:
        """Pixel row of a share of the frame's height, counted from the bottom."""
        return self.bottom - share * (self.bottom - self.top)


def series(rng: random.Random, count: int, trend: str) -> list[float]:
    """Values in 0.05..1 that follow a trend, with a little noise."""
    steps = [k / max(1, count - 1) for k in range(count)]
    level = rng.uniform(0.3, 0.8)
    course: dict[str, Callable[[float], float]] = {
        "rising": lambda t: 0.15 + 0.75 * t,
        "falling": lambda t: 0.9 - 0.75 * t,
        "peak": lambda t: 0.9 - 0.7 * abs(2 * t - 1),
        "valley": lambda t: 0.2 + 0.7 * abs(2 * t - 1),
        "flat": lambda t: level + 0 * t,
    }
    return [max(0.05, min(1.0, course[trend](t) + rng.uniform(-0.05, 0.05))) for t in steps]


def _axes(c: Canvas) -> None:
    """Axes, and by chance a grid, a frame, ticks, labels and a title (bars in place of letters)."""
    rng, width = c.rng, c.rng.randint(2, 4)
    if rng.random() < 0.45:
        for k in range(1, 5):
            c.draw.line((c.left, c.up(k / 5), c.right, c.up(k / 5)), fill=(205, 205, 205), width=2)
    c.draw.line((c.left, c.top, c.left, c.bottom), fill=_AXIS, width=width)
    c.draw.line((c.left, c.bottom, c.right, c.bottom), fill=_AXIS, width=width)
    if rng.random() < 0.4:
        c.draw.rectangle((c.left, c.top, c.right, c.bottom), outline=_AXIS, width=width)
    if rng.random() < 0.6:
        for k in range(5):
            x, y = c.across((k + 0.5) / 5), c.up(k / 5)
            c.draw.line((x, c.bottom, x, c.bottom + 5), fill=_AXIS, width=2)
            c.draw.line((c.left - 6, y, c.left, y), fill=_AXIS, width=2)
            if rng.random() < 0.5:
                c.draw.line((x - 7, c.bottom + 11, x + 7, c.bottom + 11), fill=_AXIS, width=5)
                c.draw.line((c.left - 16, y, c.left - 9, y), fill=_AXIS, width=5)
    if rng.random() < 0.5:
        c.draw.line((c.across(0.3), c.top / 2, c.across(0.7), c.top / 2), fill=_AXIS, width=5)


def _bars(c: Canvas, values: list[float]) -> None:
    _axes(c)
    step, gap, ink = 1 / len(values), c.rng.uniform(0.1, 0.4), c.ink
    for k, value in enumerate(values):
        x0, x1 = c.across(step * (k + gap / 2)), c.across(step * (k + 1 - gap / 2))
        c.draw.rectangle((x0, c.up(value), x1, c.bottom), fill=ink)


def _horizontal_bars(c: Canvas, values: list[float]) -> None:
    _axes(c)
    step, gap, ink = 1 / len(values), c.rng.uniform(0.1, 0.4), c.ink
    for k, value in enumerate(values):
        y0, y1 = c.up(step * (k + 1 - gap / 2)), c.up(step * (k + gap / 2))
        c.draw.rectangle((c.left, y0, c.across(value), y1), fill=ink)


def _line(c: Canvas, values: list[float]) -> None:
    _axes(c)
    points = [(c.across(k / (len(values) - 1)), c.up(v)) for k, v in enumerate(values)]
    ink = c.ink
    c.draw.line(points, fill=ink, width=c.rng.randint(3, 9), joint="curve")
    if c.rng.random() < 0.4:
        for x, y in points:
            c.draw.ellipse((x - 7, y - 7, x + 7, y + 7), fill=ink)


def _area(c: Canvas, values: list[float]) -> None:
    _axes(c)
    points = [(c.across(k / (len(values) - 1)), c.up(v)) for k, v in enumerate(values)]
    c.draw.polygon([(c.left, c.bottom), *points, (c.right, c.bottom)], fill=c.ink)


def _scatter(c: Canvas, trend: str) -> None:
    _axes(c)
    ink, radius = c.ink, c.rng.uniform(3, 6) * c.side / 192
    for _ in range(c.rng.randint(25, 60)):
        x = c.rng.uniform(0.05, 0.95)
        y = {"rising": x, "falling": 1 - x}.get(trend, c.rng.random()) + c.rng.gauss(0, 0.1)
        if 0 < y < 1:
            px, py = c.across(x), c.up(y)
            c.draw.ellipse((px - radius, py - radius, px + radius, py + radius), fill=ink)


def _pie(c: Canvas, slices: int) -> None:
    rng = c.rng
    others = rng.sample([name for name in _INKS if name != c.color], slices - 1)
    shares = [rng.uniform(1.6, 2.2)] + [rng.uniform(0.5, 1.1) for _ in others]
    angle, radius, middle = (
        rng.uniform(0, 360),
        c.side * rng.uniform(0.30, 0.45),
        c.side * rng.uniform(0.46, 0.54),
    )
    rim = (255, 255, 255) if rng.random() < 0.5 else None
    box = (middle - radius, middle - radius, middle + radius, middle + radius)
    for name, share in zip([c.color, *others], shares, strict=True):
        end = angle + 360 * share / sum(shares)
        c.draw.pieslice(box, angle, end, fill=shade(rng, name, 12), outline=rim)
        angle = end


def _table(c: Canvas) -> None:
    rng, rows, columns = c.rng, c.rng.randint(3, 6), c.rng.randint(3, 5)
    x0, x1, y0, y1 = c.side * 0.05, c.side * 0.95, c.side * 0.1, c.side * 0.9
    wide, high = (x1 - x0) / columns, (y1 - y0) / rows
    if rng.random() < 0.6:
        c.draw.rectangle((x0, y0, x1, y0 + high), fill=shade(rng, c.color, 30))
    for k in range(rows + 1):
        c.draw.line((x0, y0 + k * high, x1, y0 + k * high), fill=_AXIS, width=2)
    for k in range(columns + 1) if rng.random() < 0.7 else ():
        c.draw.line((x0 + k * wide, y0, x0 + k * wide, y1), fill=_AXIS, width=2)
    for row in range(rows):
        for column in range(columns):
            x, y = x0 + column * wide, y0 + (row + 0.5) * high
            c.draw.line((x + wide * 0.2, y, x + wide * rng.uniform(0.4, 0.85), y), fill=(90, 90, 90), width=6)


def _heatmap(c: Canvas) -> None:
    rng, cells, ink = c.rng, c.rng.randint(4, 8), c.ink
    low: RGB = (255, 255, 255) if rng.random() < 0.6 else any_color(rng)
    wide, edge = c.side * 0.86 / cells, c.side * 0.07
    for row in range(cells):
        for column in range(cells):
            t = rng.random()
            red, green, blue = (int(a * (1 - t) + b * t) for a, b in zip(low, ink, strict=True))
            x, y = edge + column * wide, edge + row * wide
            c.draw.rectangle((x, y, x + wide - 1, y + wide - 1), fill=(red, green, blue))


KINDS = (
    "bar chart",
    "horizontal bar chart",
    "line chart",
    "pie chart",
    "scatter plot",
    "area chart",
    "table",
    "heatmap",
)


def draw_chart(
    rng: random.Random, kind: str, side: int, *, color: str = "", trend: str = "", count: int = 0
) -> tuple[Image.Image, str]:
    """A chart of one kind as an RGB picture of `side` pixels, and a caption of it.

    Args:
        rng: Source of every choice left open.
        kind: One of `KINDS`.
        side: Side of the picture in pixels.
        color: Main colour; any but white when empty.
        trend: One of `TRENDS`; any when empty.
        count: Number of bars or slices; a few when 0.

    Returns:
        The picture and a caption naming the kind and, by chance, more of it.
    """
    color, trend = color or rng.choice(_INKS), trend or rng.choice(list(TRENDS))
    large = side * _SUPERSAMPLING
    paper = (255, 255, 255) if rng.random() < 0.7 else any_color(rng, 225)
    image = Image.new("RGB", (large, large), paper)
    left, right = int(large * rng.uniform(0.08, 0.20)), int(large * rng.uniform(0.86, 0.97))
    top, bottom = int(large * rng.uniform(0.05, 0.18)), int(large * rng.uniform(0.80, 0.93))
    c = Canvas(rng, ImageDraw.Draw(image), large, color, left, right, top, bottom)
    details = _PAINTERS[kind](c, trend, count)
    text = rng.choice(details)
    if rng.random() < 0.15:
        text = text.replace("line chart", "line graph").replace("bar chart", "bar graph")
    return shrink(image, side), text


def _bar_chart(c: Canvas, trend: str, count: int) -> list[str]:
    count = count or c.rng.randint(3, 7)
    _bars(c, series(c.rng, count, trend))
    course, number, a = TRENDS[trend], NUMBERS[count - 1], with_article(c.color)
    return [
        "a bar chart",
        f"{a} bar chart",
        f"a bar chart with {number} {c.color} bars",
        f"a bar chart {course}",
        f"{a} bar chart {course}",
    ]


def _horizontal_bar_chart(c: Canvas, trend: str, count: int) -> list[str]:
    count = count or c.rng.randint(3, 7)
    _horizontal_bars(c, series(c.rng, count, trend))
    number = NUMBERS[count - 1]
    return [
        "a horizontal bar chart",
        f"{with_article(c.color)} horizontal bar chart",
        f"a horizontal bar chart with {number} {c.color} bars",
    ]


def _line_chart(c: Canvas, trend: str, count: int) -> list[str]:
    _line(c, series(c.rng, count or c.rng.choice([5, 7, 9, 11]), trend))
    course, a = TRENDS[trend], with_article(c.color)
    return ["a line chart", f"{a} line chart", f"a line chart {course}", f"{a} line chart {course}"]


def _area_chart(c: Canvas, trend: str, count: int) -> list[str]:
    _area(c, series(c.rng, count or c.rng.choice([5, 7, 9, 11]), trend))
    course, a = TRENDS[trend], with_article(c.color)
    return ["an area chart", f"{a} area chart", f"an area chart {course}"]


def _scatter_plot(c: Canvas, trend: str, count: int) -> list[str]:  # noqa: ARG001  one signature for all painters
    _scatter(c, trend)
    course = {"rising": "with positive correlation", "falling": "with negative correlation"}.get(
        trend, "with no correlation"
    )
    return [
        "a scatter plot",
        f"a scatter plot {course}",
        f"{with_article(c.color)} scatter plot",
        f"a scatter plot of {c.color} points",
    ]


def _pie_chart(c: Canvas, trend: str, count: int) -> list[str]:  # noqa: ARG001
    count = count or c.rng.randint(2, 6)
    _pie(c, count)
    return [
        "a pie chart",
        f"a pie chart with {NUMBERS[count - 1]} slices",
        f"a pie chart where {c.color} is the biggest slice",
    ]


def _table_chart(c: Canvas, trend: str, count: int) -> list[str]:  # noqa: ARG001
    _table(c)
    return ["a table", "a table with rows and columns", "a data table"]


def _heatmap_chart(c: Canvas, trend: str, count: int) -> list[str]:  # noqa: ARG001
    _heatmap(c)
    return ["a heatmap", "a heatmap", f"{with_article(c.color)} heatmap"]


_PAINTERS: dict[str, Callable[[Canvas, str, int], list[str]]] = dict(
    zip(
        KINDS,
        (
            _bar_chart,
            _horizontal_bar_chart,
            _line_chart,
            _pie_chart,
            _scatter_plot,
            _area_chart,
            _table_chart,
            _heatmap_chart,
        ),
        strict=True,
    )
)


def sample(rng: random.Random, side: int) -> tuple[Image.Image, str]:
    """A training chart of any kind, and its caption."""
    return draw_chart(rng, rng.choice(KINDS), side)
