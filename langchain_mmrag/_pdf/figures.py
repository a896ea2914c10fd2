"""Which parts of a page are figures: pictures, and drawings made of paths.

Runs in the process of `child`, which alone imports it. Figures are drawn as they are seen on the page, so
that turned, masked, sliced and labelled ones come out as a reader knows them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Final

import pypdfium2.raw as pdfium

from langchain_mmrag._pdf.layout import Box, Line, Row, captions, is_caption, words_beside
from langchain_mmrag._pdf.page import Page, Shape, digest_of, is_photograph, union

MAX_SIDE: Final = 1_600
"""Of a figure, in pixels."""

_MAX_FIGURES: Final = 40  # of a page, the largest
_LEAST_SIDE: Final = 36.0  # points: half an inch
_LEAST_PIXELS: Final = 32
_LEAST_SHARE: Final = 0.008  # of the page
_LONGEST_SHAPE: Final = 12.0  # times as long as it is wide
_BACKGROUND: Final = 0.8  # of the page
_MAX_PICTURES: Final = 400  # of a page; beyond it they are a pattern

_CELL: Final = 6.0  # points: paths with no more than this between them belong together
_LEAST_DRAWING: Final = 0.02  # of the page
_LEAST_PATHS: Final = 3
_MOST_TEXT: Final = 0.25  # of a drawing's area; tables and boxes of text have more
_MAX_CLUSTERS: Final = 500  # of a page, the largest
_SAMPLE: Final = 300  # paths of a drawing that are looked at closely
_LABEL: Final = 40  # letters in a label beside a drawing
_LABEL_GAP: Final = 14.0  # points


@dataclass(frozen=True)
class Figure:
    """A figure, drawn.

    Attributes:
        box: On the page.
        digest: The same for the same picture on another page.
        caption: Its caption, or `""`.
        words: The text nearest to it, or `""`.
        data: The picture: JPEG if it is a photograph, else PNG.
    """

    box: Box
    digest: str
    caption: str
    words: str
    data: bytes


@dataclass(frozen=True)
class _Region:
    box: Box
    pictures: tuple[Shape, ...] = ()


def figures(page: Page, taken: Sequence[Box], known: set[str]) -> Iterator[Figure]:
    """Draw the figures of a page from top to bottom.

    Args:
        page: The page.
        taken: Boxes of the tables on it: what lies in one is no figure.
        known: Digests of pictures that are not drawn again; those drawn are added.

    Raises:
        TooManyObjectsError: If there is too much on the page to look through.
    """
    regions = [region for region in _regions(page) if not any(_share(region.box, box) > 0.5 for box in taken)]  # noqa: PLR2004
    largest = sorted(regions, key=lambda region: -_area(region.box))[:_MAX_FIGURES]
    largest.sort(key=lambda region: (region.box[1], region.box[0]))
    said = captions([region.box for region in largest], page.rows, "figure")
    for region, caption in zip(largest, said, strict=True):
        digest = _picture_digest(region)
        if digest in known:
            continue
        figure = _drawn(page, region, caption, digest)
        if figure.digest not in known:
            known.add(figure.digest)
            yield figure


def picture_digests(page: Page) -> set[str]:
    """Digests of the pictures on a page, by which those that come on every page are told.

    Raises:
        TooManyObjectsError: If there is too much on the page to look through.
    """
    pictures = [shape for shape in page.shapes if shape.is_image and _is_large(page, shape.box)]
    return {digest_of(shape) for shape in pictures[:_MAX_FIGURES]} - {""}


def has_picture(page: Page, share: float) -> bool:
    """Whether pictures cover more than `share` of the page, as on a scan."""
    boxes = [shape.box for shape in page.shapes if shape.is_image][:_MAX_PICTURES]
    return sum(map(_area, boxes)) > share * page.width * page.height


def has_ground(page: Page, decorations: Collection[str]) -> bool:
    """Whether a picture lies under the whole page, which is no figure; that of most pages does not count."""
    grounds = [shape for shape in page.shapes if shape.is_image and _is_background(page, shape.box)]
    return any(digest_of(shape) not in decorations for shape in grounds[:_MAX_FIGURES])


def _regions(page: Page) -> list[_Region]:
    """Where the figures are."""
    pictures = [shape for shape in page.shapes if shape.is_image and not _is_line(shape.box)]
    background = [shape for shape in pictures if _is_background(page, shape.box)]
    pictures = [shape for shape in pictures if shape not in background][:_MAX_PICTURES]
    regions = _touching(pictures)
    drawings = []
    lines = [line for row in page.rows for line in row.lines]
    for cluster in _drawings(page, lines):
        box = union(*(shape.box for shape in cluster))
        inside = [region for region in regions if _share(region.box, box) > 0.5]  # noqa: PLR2004
        held = sum(_area(region.box) for region in inside)
        looks_drawn = _looks_drawn(page, cluster, box, lines)
        if inside and (looks_drawn or held > 0.5 * _area(box)):  # a frame, arrows or axes
            whole = _with_labels(page, union(box, *(region.box for region in inside)))
            regions = [region for region in regions if region not in inside]
            regions.append(_Region(whole, tuple(shape for region in inside for shape in region.pictures)))
        elif looks_drawn and not any(_share(box, region.box) > 0.5 for region in regions):  # noqa: PLR2004
            drawings.append(_Region(_with_labels(page, box)))
    kept = [
        region
        for region in regions
        if _is_large(page, region.box)
        and (len(region.pictures) > 1 or min(region.pictures[0].pixels) >= _LEAST_PIXELS)
    ]
    return [*kept, *drawings]


def _drawn(page: Page, region: _Region, caption: str, digest: str) -> Figure:
    width = max(region.box[2] - region.box[0], 1.0)
    if region.pictures:
        natural = max(max(shape.pixels) / max(_size(shape.box)) for shape in region.pictures)
        scale = max(natural, 1.0)
    else:
        scale = min(3.0, max(1.5, 900 / width))
    picture = page.picture(region.box, scale, MAX_SIDE)
    if not digest:
        digest = sha256(picture.resize((64, 64)).tobytes()).hexdigest()[:24]
    encoded = BytesIO()
    if any(is_photograph(shape) for shape in region.pictures):
        picture.save(encoded, "JPEG", quality=90)
    else:
        picture.save(encoded, "PNG", compress_level=6)
    words = "" if caption else words_beside(region.box, _outside(page.rows, region.box))
    return Figure(region.box, digest, caption, words, encoded.getvalue())


def _picture_digest(region: _Region) -> str:
    return digest_of(region.pictures[0]) if len(region.pictures) == 1 else ""


# Pictures


def _touching(pictures: list[Shape]) -> list[_Region]:
    """Pictures as regions; slices of one picture, which touch, are one."""
    groups: list[tuple[Box, list[Shape]]] = []
    for shape in pictures:
        box, members = shape.box, [shape]
        apart = []
        for group in groups:
            if _meet(group[0], box, 2.0):
                box, members = union(group[0], box), group[1] + members
            else:
                apart.append(group)
        groups = [*apart, (box, members)]
    return [_Region(box, tuple(members)) for box, members in groups]


def _is_background(page: Page, box: Box) -> bool:
    return _area(box) > _BACKGROUND * page.width * page.height


def _is_large(page: Page, box: Box) -> bool:
    width, height = _size(box)
    return (
        min(width, height) >= _LEAST_SIDE
        and max(width, height) <= _LONGEST_SHAPE * min(width, height)
        and _area(box) >= _LEAST_SHARE * page.width * page.height
    )


def _is_line(box: Box) -> bool:
    return min(_size(box)) < 2.0  # noqa: PLR2004


# Drawings


def _drawings(page: Page, lines: list[Line]) -> list[list[Shape]]:
    """Clusters of paths; what lies in the frame of another is one with it."""
    paths = [shape for shape in page.shapes if not shape.is_image and not _is_background(page, shape.box)]
    clusters = _clusters([shape for shape in paths if not _is_panel(page, shape.box, lines)])
    boxed = [(union(*(shape.box for shape in cluster)), cluster) for cluster in clusters]
    boxed.sort(key=lambda pair: -_area(pair[0]))
    whole: list[tuple[Box, list[Shape]]] = []
    for box, cluster in boxed[:_MAX_CLUSTERS]:
        frame = next((held for outer, held in whole if _share(box, outer) > 0.5), None)  # noqa: PLR2004
        if frame is None:
            whole.append((box, cluster))
        else:
            frame += cluster
    return [cluster for _, cluster in whole]


def _clusters(paths: list[Shape]) -> list[list[Shape]]:
    """Paths that lie side by side, found by the cells of a grid that their boxes touch."""
    parent: dict[tuple[int, int], tuple[int, int]] = {}

    def root(cell: tuple[int, int]) -> tuple[int, int]:
        while parent[cell] != cell:
            parent[cell] = parent[parent[cell]]
            cell = parent[cell]
        return cell

    homes = []
    for shape in paths:
        cells = _cells(shape.box)
        for cell in cells:
            parent.setdefault(cell, cell)
        for cell in cells[1:]:
            parent[root(cell)] = root(cells[0])
        homes.append(cells[0])
    for cell in list(parent):
        for step in ((1, 0), (0, 1), (1, 1), (1, -1)):
            beside = cell[0] + step[0], cell[1] + step[1]
            if beside in parent:
                parent[root(cell)] = root(beside)
    clusters: dict[tuple[int, int], list[Shape]] = {}
    for shape, home in zip(paths, homes, strict=True):
        clusters.setdefault(root(home), []).append(shape)
    return list(clusters.values())


def _cells(box: Box) -> list[tuple[int, int]]:
    """Cells along the edge of a box: enough to join it to what touches or lies within a cell of it."""
    x0, y0, x1, y1 = (int(side / _CELL) for side in box)
    step_x, step_y = max(1, (x1 - x0) // 400), max(1, (y1 - y0) // 400)
    xs, ys = range(x0, x1 + 1, step_x), range(y0, y1 + 1, step_y)
    if x1 - x0 <= 40 and y1 - y0 <= 40:  # noqa: PLR2004  what lies inside a box of moderate size is its own
        return [(x, y) for x in xs for y in ys]
    return [*((x, y) for x in xs for y in (y0, y1)), *((x, y) for x in (x0, x1) for y in ys)]


def _is_panel(page: Page, box: Box, lines: list[Line]) -> bool:
    """Whether a path is the ground under running text."""
    if _area(box) < _LEAST_DRAWING * page.width * page.height:
        return False
    width = box[2] - box[0]
    wide = [line for line in lines if _share(line.box, box) > 0.9 and _size(line.box)[0] > 0.6 * width]  # noqa: PLR2004
    return len(wide) >= 3  # noqa: PLR2004


def _looks_drawn(page: Page, cluster: list[Shape], box: Box, lines: list[Line]) -> bool:
    captioned = any(captions([box], page.rows, "figure"))
    if len(cluster) < _LEAST_PATHS and not (captioned and cluster):
        return False
    if not _is_large(page, box) or _area(box) < _LEAST_DRAWING * page.width * page.height:
        return False
    text = sum(_area(line.box) for line in lines if _share(line.box, box) > 0.9)  # noqa: PLR2004
    if text > _MOST_TEXT * _area(box):
        return False
    return captioned or _has_form(cluster)


def _has_form(cluster: list[Shape]) -> bool:
    """Whether there is more than the lines and boxes of a layout: slants, curves, coloured bars."""
    bars = set()
    slants = 0
    for shape in cluster[:: max(1, len(cluster) // _SAMPLE)]:
        slants += _is_slanted(shape)
        if not _is_line(shape.box) and _is_coloured(shape):
            bars.add(tuple(map(round, _size(shape.box))))
    return slants >= 2 or len(bars) >= 3  # noqa: PLR2004


def _is_slanted(shape: Shape) -> bool:
    count = pdfium.FPDFPath_CountSegments(shape.handle)
    x, y = ctypes.c_float(), ctypes.c_float()
    last: tuple[float, float] | None = None
    for number in range(min(count, 40)):
        segment = pdfium.FPDFPath_GetPathSegment(shape.handle, number)
        kind = pdfium.FPDFPathSegment_GetType(segment)
        if kind == pdfium.FPDF_SEGMENT_BEZIERTO:
            return True
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        place = x.value, y.value
        if kind == pdfium.FPDF_SEGMENT_LINETO and last is not None:
            across, up = abs(place[0] - last[0]), abs(place[1] - last[1])
            if min(across, up) > 0.02 * max(across, up) and max(across, up) > 0:
                return True
        last = place
    return False


def _is_coloured(shape: Shape) -> bool:
    """Whether a path is filled, and not with a gray."""
    mode, stroked = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDFPath_GetDrawMode(shape.handle, mode, stroked)
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    if not mode.value or not pdfium.FPDFPageObj_GetFillColor(shape.handle, red, green, blue, alpha):
        return False
    colour = red.value, green.value, blue.value
    return max(colour) - min(colour) > 24  # noqa: PLR2004


def _with_labels(page: Page, box: Box) -> Box:
    """A drawing with the short texts at its edge: numbers at axes, titles, legends."""
    labels = [
        line.box
        for row in page.rows
        for line in row.lines
        if len(line.text) <= _LABEL and not is_caption(line.text) and _share(line.box, box) < 1
    ]
    for _ in range(2):  # numbers first, then the name of the axis beyond them
        beside = [label for label in labels if _meet(box, label, _LABEL_GAP) and _is_beside(label, box)]
        if not beside:
            break
        box = union(box, *beside)
        labels = [label for label in labels if label not in beside]
    return (
        max(box[0] - 2, 0.0),
        max(box[1] - 2, 0.0),
        min(box[2] + 2, page.width),
        min(box[3] + 2, page.height),
    )


def _is_beside(label: Box, box: Box) -> bool:
    middle_x, middle_y = (label[0] + label[2]) / 2, (label[1] + label[3]) / 2
    return box[0] - 2 <= middle_x <= box[2] + 2 or box[1] - 2 <= middle_y <= box[3] + 2


def _outside(rows: Sequence[Row], box: Box) -> list[Row]:
    return [row for row in rows if not all(_share(line.box, box) > 0.5 for line in row.lines)]  # noqa: PLR2004


# Boxes


def _size(box: Box) -> tuple[float, float]:
    return max(box[2] - box[0], 1e-3), max(box[3] - box[1], 1e-3)


def _area(box: Box) -> float:
    width, height = _size(box)
    return width * height


def _share(inner: Box, outer: Box) -> float:
    """How much of `inner` lies in `outer`."""
    width = min(inner[2], outer[2]) - max(inner[0], outer[0])
    height = min(inner[3], outer[3]) - max(inner[1], outer[1])
    return width * height / _area(inner) if width > 0 and height > 0 else 0.0


def _meet(one: Box, two: Box, gap: float) -> bool:
    return (
        one[0] - gap <= two[2]
        and two[0] - gap <= one[2]
        and one[1] - gap <= two[3]
        and two[1] - gap <= one[3]
    )
