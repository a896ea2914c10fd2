"""What lies on a slide: shapes in reading order, and the words, tables and charts in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from langchain_mmrag._extras import require
from langchain_mmrag.document_loaders._tables import Table

MAX_SHAPES: Final = 10_000
"""Most shapes that are read of one slide."""

_A: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_C: Final = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_DECORATIVE: Final = ".//*[local-name()='decorative'][@val='1' or @val='true']"
_DIAGRAM: Final = "/diagramData"
_BANDS: Final = 20
_EPOCH: Final = date(1899, 12, 30)  # day 0 of spreadsheets
_LAST_DAY: Final = 2_958_465


@dataclass(frozen=True)
class Box:
    """Place on a slide, in fractions of its width and height from the top left."""

    x0: float
    y0: float
    x1: float
    y1: float

    def as_list(self) -> list[float]:
        """`bbox` of a document: what lies on the slide, rounded."""
        return [round(min(max(value, 0.0), 1.0), 4) for value in (self.x0, self.y0, self.x1, self.y1)]


@dataclass(frozen=True)
class Placed:
    """A shape of python-pptx that is no group, and where it lies; `box` is `None` if that is not said."""

    shape: Any
    box: Box | None


@dataclass(frozen=True)
class _Frame:
    """Maps the coordinates inside a group to those of the slide: `scale * value + offset`, for x and y."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    def box(self, shape: Any) -> Box | None:
        try:
            sides = (shape.left, shape.top, shape.width, shape.height)
        except ValueError:  # no number
            return None
        if any(side is None for side in sides):
            return None
        left, top, width, height = map(float, sides)
        x0, y0 = self.scale_x * left + self.offset_x, self.scale_y * top + self.offset_y
        return Box(x0, y0, x0 + self.scale_x * width, y0 + self.scale_y * height)

    def inside(self, group: Any) -> _Frame:
        """The frame of the shapes in a group, which have coordinates of their own."""
        places = group._element.xpath("./p:grpSpPr/a:xfrm")  # noqa: SLF001  the library does not tell these
        parts = {name: (places[0].find(f"{_A}{name}") if places else None) for name in ("chOff", "chExt")}
        box = self.box(group)
        if box is None or parts["chOff"] is None or parts["chExt"] is None:
            return self
        left, top = (float(parts["chOff"].get(name, 0)) for name in ("x", "y"))
        width, height = (float(parts["chExt"].get(name, 0)) for name in ("cx", "cy"))
        if not width or not height:
            return self
        scale_x, scale_y = (box.x1 - box.x0) / width, (box.y1 - box.y0) / height
        return _Frame(scale_x, scale_y, box.x0 - scale_x * left, box.y0 - scale_y * top)


def placed_shapes(slide: Any, size: tuple[float, float]) -> list[Placed]:
    """The shapes of a slide from top to bottom and left to right, those of groups too; at most `MAX_SHAPES`.

    Args:
        slide: Of python-pptx.
        size: Its width and height, in the library's units.
    """
    page = _Frame(1 / size[0], 1 / size[1], 0.0, 0.0)
    placed: list[Placed] = []
    pending: list[tuple[Iterator[Any], _Frame]] = [(iter(slide.shapes), page)]
    while pending and len(placed) < MAX_SHAPES:
        shapes, frame = pending[-1]
        shape = next(shapes, None)
        if shape is None:
            pending.pop()
        elif hasattr(type(shape), "shapes"):
            pending.append((iter(shape.shapes), frame.inside(shape)))
        else:
            placed.append(Placed(shape, frame.box(shape)))
    # sorting is stable: shapes whose place is not said keep the order they have, which is that of drawing
    return sorted(placed, key=lambda one: (round(one.box.y0 * _BANDS), one.box.x0) if one.box else (0, 0.0))


def is_furniture(shape: Any) -> bool:
    """Whether a shape is on every slide: number, date, footer."""
    kinds = require("pptx.enum.shapes", extra="office").PP_PLACEHOLDER
    furniture = {kinds.SLIDE_NUMBER, kinds.DATE, kinds.FOOTER, kinds.HEADER}
    return bool(shape.is_placeholder) and shape.placeholder_format.type in furniture


def is_decorative(shape: Any) -> bool:
    """Whether its author marked a picture as decoration."""
    return bool(shape._element.xpath(_DECORATIVE))  # noqa: SLF001


def alternative_text(shape: Any) -> str:
    """What is said in place of a shape to those who cannot see it."""
    said = shape._element.xpath("./*[1]/p:cNvPr/@descr")  # noqa: SLF001
    return " ".join(str(said[0]).split()) if said else ""


def frame_text(frame: Any) -> str:
    """The paragraphs of a text frame, indented by their level."""
    lines = []
    for paragraph in frame.paragraphs:
        text = paragraph.text.replace("\v", "\n").strip()
        if text:
            lines.append("  " * paragraph.level + ("- " if paragraph.level else "") + text)
    return "\n".join(lines)


def table_of(shape: Any) -> Table:
    """The table in a graphic frame; its first row is the header."""
    rows = [[" ".join(cell.text.split()) for cell in row.cells] for row in shape.table.rows]
    return Table(header=rows[0] if rows else [], rows=rows[1:])


def diagram_text(shape: Any) -> str:
    """The words in a diagram (SmartArt), in the order of its data; `""` if the shape is none."""
    ids = shape._element.xpath(".//*[local-name()='relIds']/@*[local-name()='dm']")  # noqa: SLF001
    if not ids:
        return ""
    relation = shape.part.rels[ids[0]]
    if relation.is_external or not relation.reltype.endswith(_DIAGRAM):
        return ""
    etree = require("lxml.etree", extra="office")
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    root = etree.fromstring(relation.target_part.blob, parser)
    paragraphs = ("".join(text.text or "" for text in one.iter(f"{_A}t")) for one in root.iter(f"{_A}p"))
    return "\n".join(f"- {text.strip()}" for text in paragraphs if text.strip())


def chart_table(chart: Any) -> Table:
    """What a chart is drawn from: a row for each category (or x), a column for each series.

    It is read from the points that the file holds; how many there ought to be is said by numbers beside
    them, which need not be true.
    """
    space = chart._chartSpace  # noqa: SLF001
    columns: list[tuple[str, dict[int, str]]] = []
    categories: dict[int, str] = {}
    for number, series in enumerate(space.iter(f"{_C}ser"), 1):
        name = "".join(value.text or "" for value in _found(series, "tx", "v")).strip()
        categories = categories or _points(series, "cat") or _points(series, "xVal")
        columns.append((name or f"series {number}", _points(series, "val") or _points(series, "yVal")))
    places = sorted({place for _, points in columns for place in points} | set(categories))
    rows = [
        [categories.get(place, str(place + 1)), *(points.get(place, "") for _, points in columns)]
        for place in places
    ]
    return Table(header=["", *(name for name, _ in columns)], rows=rows, title=_chart_title(space))


def _chart_title(space: Any) -> str:
    title = space.find(f"{_C}chart/{_C}title")
    return (
        "" if title is None else " ".join(" ".join(text.text or "" for text in title.iter(f"{_A}t")).split())
    )


def _points(series: Any, name: str) -> dict[int, str]:
    """Values of a series by their place in it; numbers that are shown as dates become dates."""
    points: dict[int, str] = {}
    held = series.find(f"{_C}{name}")
    if held is None:
        return points
    formats = [code.text or "" for code in held.iter(f"{_C}formatCode")]
    are_dates = any("yy" in code.lower() or "mmm" in code.lower() for code in formats)
    levels = list(held.iter(f"{_C}lvl"))
    for point in (levels[0] if levels else held).iter(f"{_C}pt"):  # the first level is the innermost
        place, value = point.get("idx", ""), (point.findtext(f"{_C}v") or "").strip()
        if place.isdecimal() and len(place) < 10:  # noqa: PLR2004
            points[int(place)] = _day(value) if are_dates else value
    return points


def _day(value: str) -> str:
    try:
        days = float(value)
    except ValueError:
        return value
    return (_EPOCH + timedelta(days=int(days))).isoformat() if 0 < days < _LAST_DAY else value


def _found(series: Any, outer: str, inner: str) -> Iterator[Any]:
    held = series.find(f"{_C}{outer}")
    return iter(()) if held is None else held.iter(f"{_C}{inner}")
