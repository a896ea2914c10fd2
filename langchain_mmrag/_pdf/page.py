"""One page of a PDF by pdfium: its rows of text, the things drawn on it, and pictures of parts of it.

Runs in the process of `child`, which alone imports it.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from math import isfinite
from typing import Any, Final, TypeAlias

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from langchain_mmrag._pdf.layout import Box, Line, Row

MAX_OBJECTS: Final = 20_000
"""Things drawn on a page above which nobody looks for figures and tables among them."""

_MAX_ROWS: Final = 3_000
_MAX_RUNS: Final = 200  # of a row
_MAX_DEPTH: Final = 8
_MAX_RAW: Final = 64 * 2**20
_DEVICE: Final = 1_000_000  # pdfium gives places as whole numbers: on a device this large they are exact
_BREAK = re.compile("[\r\n\ufffe]+")
_IDENTITY: Final = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
Matrix: TypeAlias = tuple[float, float, float, float, float, float]


class TooManyObjectsError(Exception):
    """More is drawn on the page than is looked through."""


@dataclass(frozen=True)
class Shape:
    """Something drawn: a path or a picture.

    Attributes:
        handle: Of pdfium, as long as the page is open.
        is_image: Whether it is a picture, not a path.
        box: Around it, no further than the page.
        matrix: From its own places to those of the page as it is shown.
        pixels: Width and height of a picture.
    """

    handle: Any
    is_image: bool
    box: Box
    matrix: Matrix
    pixels: tuple[int, int] = (0, 0)


class Page:
    """A page that is open; close it before the document.

    Attributes:
        width: In points, as it is shown.
        height: In points, as it is shown.
    """

    def __init__(self, document: pypdfium2.PdfDocument, number: int) -> None:
        self.raw = document[number]
        width, height = self.raw.get_size()
        self.width = width if isfinite(width) and width > 0 else 1.0
        self.height = height if isfinite(height) and height > 0 else 1.0
        self._rows: list[Row] | None = None
        self._shapes: list[Shape] | None = None
        self._text: Any = None
        self._to_page = self._page_matrix()

    def close(self) -> None:
        """Give back what pdfium keeps of it."""
        if self._text is not None:
            self._text.close()
        self.raw.close()

    # Text

    @property
    def rows(self) -> list[Row]:
        """Its text, row by row in the order of the file."""
        if self._rows is None:
            self._rows = list(self._read_rows(self._textpage))
        return self._rows

    @property
    def _textpage(self) -> Any:
        if self._text is None:
            self._text = self.raw.get_textpage()
        return self._text

    def text_in(self, box: Box) -> str:
        """What is written in a part of it."""
        x0, y0, x1, y1 = _moved(box, _inverse(self._to_page))
        text: str = self._textpage.get_text_bounded(x0, y0, x1, y1)
        return text

    def _read_rows(self, text: Any) -> Iterator[Row]:
        count = text.count_chars()
        if count < 1:
            return
        units = (ctypes.c_ushort * (2 * count + 2))()
        written = pdfium.FPDFText_GetText(text, 0, count, units)
        # One character for each unit of UTF-16, so that places in it are those pdfium counts by.
        characters = "".join(map(chr, units[: max(0, written - 1)]))
        start = 0
        for number, match in enumerate([*_BREAK.finditer(characters), None]):
            end = match.start() if match else len(characters)
            if characters[start:end].strip():
                measured = number < _MAX_ROWS
                lines = self._lines(text, characters, start, end) if measured else ()
                lines = lines or (Line(_joined(characters[start:end]), (0, 0, 0, 0)),)
                yield Row(lines, is_hyphenated=match is not None and match[0] == "\ufffe")
            start = match.end() if match else end

    def _lines(self, text: Any, characters: str, start: int, end: int) -> tuple[Line, ...]:
        """The row's lines: cut where a gap is wider than letters of this size would leave between words."""
        first = pdfium.FPDFText_GetCharIndexFromTextIndex(text, start)
        last = pdfium.FPDFText_GetCharIndexFromTextIndex(text, end - 1)
        if first < 0 or last < first:
            return ()
        boxes = self._runs(text, first, last - first + 1)
        groups: list[Box] = []
        for box in boxes:
            wide = 1.2 * max(box[3] - box[1], 4)
            if groups and box[0] - groups[-1][2] < wide and groups[-1][0] - box[2] < wide:
                groups[-1] = union(groups[-1], box)
            else:
                groups.append(box)
        cuts = [start, *(self._cut(text, first, last, box) - first + start for box in groups[1:]), end]
        if cuts != sorted(cuts):
            return (Line(_joined(characters[start:end]), union(*groups)),)
        pieces = [_joined(characters[a:b]) for a, b in pairwise(cuts)]
        return tuple(Line(piece, box) for piece, box in zip(pieces, groups, strict=True) if piece)

    def _runs(self, text: Any, first: int, count: int) -> list[Box]:
        left, top, right, bottom = (ctypes.c_double() for _ in range(4))
        return [
            self._shown((left.value, bottom.value, right.value, top.value))
            for number in range(min(pdfium.FPDFText_CountRects(text, first, count), _MAX_RUNS))
            if pdfium.FPDFText_GetRect(text, number, left, top, right, bottom)
        ]

    def _cut(self, text: Any, first: int, last: int, box: Box) -> int:
        """The first character of a row that stands in `box`."""
        left, right, bottom, top = (ctypes.c_double() for _ in range(4))
        for index in range(first, last + 1):
            if pdfium.FPDFText_IsGenerated(text, index) == 1:
                continue
            pdfium.FPDFText_GetCharBox(text, index, left, right, bottom, top)
            place = self._shown((left.value, bottom.value, right.value, top.value))
            if place[0] >= box[0] - 0.5 and place[2] <= box[2] + 0.5:
                return index
        return last + 1

    # Things drawn

    @property
    def shapes(self) -> list[Shape]:
        """The paths and pictures drawn on it, those in forms too.

        Raises:
            TooManyObjectsError: If there are more than `MAX_OBJECTS`.
        """
        if self._shapes is None:
            if pdfium.FPDFPage_CountObjects(self.raw) > MAX_OBJECTS:
                raise TooManyObjectsError
            self._shapes = []
            self._walk(None, _IDENTITY, 0, [MAX_OBJECTS])
        return self._shapes

    def _walk(self, form: Any, matrix: Matrix, depth: int, left: list[int]) -> None:
        inside = form is not None
        parent = form if inside else self.raw
        count = (pdfium.FPDFFormObj_CountObjects if inside else pdfium.FPDFPage_CountObjects)(parent)
        get = pdfium.FPDFFormObj_GetObject if inside else pdfium.FPDFPage_GetObject
        left[0] -= max(count, 0)
        if left[0] < 0:
            raise TooManyObjectsError
        for number in range(count):
            handle = get(parent, number)
            kind = pdfium.FPDFPageObj_GetType(handle)
            if kind == pdfium.FPDF_PAGEOBJ_FORM:
                if depth < _MAX_DEPTH:
                    self._walk(handle, _times(_matrix_of(handle), matrix), depth + 1, left)
            elif kind in {pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_IMAGE}:
                self._add(handle, kind == pdfium.FPDF_PAGEOBJ_IMAGE, matrix)

    def _add(self, handle: Any, is_image: bool, matrix: Matrix) -> None:
        sides = [ctypes.c_float() for _ in range(4)]
        if not pdfium.FPDFPageObj_GetBounds(handle, *sides):
            return
        x0, y0, x1, y1 = self._shown(
            _moved((sides[0].value, sides[1].value, sides[2].value, sides[3].value), matrix)
        )
        box = max(x0, 0.0), max(y0, 0.0), min(x1, self.width), min(y1, self.height)
        if not all(map(isfinite, box)) or box[0] > box[2] or box[1] > box[3]:
            return
        pixels = (0, 0)
        if is_image:
            width, height = ctypes.c_uint(), ctypes.c_uint()
            pdfium.FPDFImageObj_GetImagePixelSize(handle, width, height)
            pixels = width.value, height.value
        whole = _times(_times(_matrix_of(handle), matrix), self._to_page)
        self.shapes.append(Shape(handle, is_image, box, whole, pixels))

    # Pictures

    def picture(self, box: Box, scale: float, max_side: int) -> Image.Image:
        """Draw a part of the page as it is seen.

        Args:
            box: The part.
            scale: Pixels for a point, less if a side would have more than `max_side` pixels.
            max_side: Of the picture, in pixels.
        """
        x0, y0, x1, y1 = box
        scale = min(scale, max_side / max(x1 - x0, y1 - y0, 1e-6), 2**24 / max(self.width, self.height))
        width = min(max_side, max(1, round((x1 - x0) * scale)))
        height = min(max_side, max(1, round((y1 - y0) * scale)))
        bitmap = pypdfium2.PdfBitmap.new_native(width, height, pdfium.FPDFBitmap_BGRx)
        try:
            bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
            whole = max(1, round(self.width * scale)), max(1, round(self.height * scale))
            place = -round(x0 * scale), -round(y0 * scale), *whole
            pdfium.FPDF_RenderPageBitmap(bitmap, self.raw, *place, 0, pdfium.FPDF_ANNOT)
            picture: Image.Image = bitmap.to_pil().convert("RGB")
        finally:
            bitmap.close()
        return picture

    # Places

    def fractions(self, box: Box) -> list[float]:
        """`bbox` of a part: fractions of the page from the top left."""
        sizes = self.width, self.height, self.width, self.height
        return [round(min(max(side / size, 0.0), 1.0), 4) for side, size in zip(box, sizes, strict=True)]

    def _page_matrix(self) -> Matrix:
        """From the file's places to those of the page as it is shown, which may be cropped and turned."""
        x0, y0, x1, y1 = self.raw.get_bbox()
        corners = []
        for x, y in ((x0, y0), (x1, y0), (x0, y1)):
            at_x, at_y = ctypes.c_int(), ctypes.c_int()
            pdfium.FPDF_PageToDevice(self.raw, 0, 0, _DEVICE, _DEVICE, 0, x, y, at_x, at_y)
            corners.append((at_x.value / _DEVICE * self.width, at_y.value / _DEVICE * self.height))
        (ox, oy), (rx, ry), (ux, uy) = corners
        wide, tall = (x1 - x0) or 1.0, (y1 - y0) or 1.0
        a, b, c, d = (rx - ox) / wide, (ry - oy) / wide, (ux - ox) / tall, (uy - oy) / tall
        return a, b, c, d, ox - a * x0 - c * y0, oy - b * x0 - d * y0

    def _shown(self, box: Box) -> Box:
        return _moved(box, self._to_page)


def digest_of(shape: Shape) -> str:
    """Tells a picture from others by its bytes in the file, `""` if they cannot be had."""
    size = pdfium.FPDFImageObj_GetImageDataRaw(shape.handle, None, 0)
    if not 0 < size <= _MAX_RAW:
        return ""
    data = (ctypes.c_ubyte * size)()
    pdfium.FPDFImageObj_GetImageDataRaw(shape.handle, data, size)
    return sha256(b"%d %d " % shape.pixels + bytes(data)).hexdigest()[:24]


def is_photograph(shape: Shape) -> bool:
    """Whether a picture is stored as JPEG or JPEG 2000."""
    for number in range(pdfium.FPDFImageObj_GetImageFilterCount(shape.handle)):
        name = ctypes.create_string_buffer(32)
        pdfium.FPDFImageObj_GetImageFilter(shape.handle, number, name, len(name))
        if name.value in {b"DCTDecode", b"JPXDecode"}:
            return True
    return False


def union(*boxes: Box) -> Box:
    """The box around boxes."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _matrix_of(handle: Any) -> Matrix:
    matrix = pdfium.FS_MATRIX()
    if not pdfium.FPDFPageObj_GetMatrix(handle, matrix):
        return _IDENTITY
    return matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f


def segments(shape: Shape) -> Iterator[tuple[bool, float, float]]:
    """The points of a path in their order, on the page as it is shown: whether a line leads there, x, y."""
    x, y = ctypes.c_float(), ctypes.c_float()
    a, b, c, d, e, f = shape.matrix
    first = (0.0, 0.0)
    for number in range(pdfium.FPDFPath_CountSegments(shape.handle)):
        segment = pdfium.FPDFPath_GetPathSegment(shape.handle, number)
        kind = pdfium.FPDFPathSegment_GetType(segment)
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        place = a * x.value + c * y.value + e, b * x.value + d * y.value + f
        if kind == pdfium.FPDF_SEGMENT_MOVETO:
            first = place
        yield kind == pdfium.FPDF_SEGMENT_LINETO, *place
        if pdfium.FPDFPathSegment_GetClose(segment):
            yield True, *first


def _inverse(matrix: Matrix) -> Matrix:
    a, b, c, d, e, f = matrix
    area = (a * d - b * c) or 1.0
    p, q, r, s = d / area, -b / area, -c / area, a / area
    return p, q, r, s, -(e * p + f * r), -(e * q + f * s)


def _times(one: Matrix, two: Matrix) -> Matrix:
    a, b, c, d, e, f = one
    p, q, r, s, t, u = two
    return a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u


def _moved(box: Box, matrix: Matrix) -> Box:
    a, b, c, d, e, f = matrix
    places = [(a * x + c * y + e, b * x + d * y + f) for x in (box[0], box[2]) for y in (box[1], box[3])]
    xs, ys = zip(*places, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _joined(units: str) -> str:
    """Units of UTF-16 as text, two of them for a rare character; halves are dropped."""
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore").strip()
