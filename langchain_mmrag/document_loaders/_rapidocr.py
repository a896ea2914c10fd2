"""The PP-OCR models that the `rapidocr` package carries, read with onnxruntime on this machine alone."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from math import atan2, cos, hypot, radians, sin
from pathlib import Path
from statistics import median
from threading import Lock
from typing import Any, Final

import numpy as np
from PIL import Image

from langchain_mmrag._extras import require
from langchain_mmrag.document_loaders._ocr_lines import Box, OcrLine
from langchain_mmrag.document_loaders._reading_order import Piece, reading_order
from langchain_mmrag.errors import CorruptMediaError, MissingDependencyError

_GLANCE_SIDE: Final = 640
"""Longer side of the reduced picture in which writing is looked for at first, in pixels."""
_PAGE_SIDE: Final = 1280
"""The same of what looks like a page or a screen: small print is lost in 640 pixels."""
_SHORT_SIDE: Final = 320
"""Shorter side of it at least, for the long screenshot and the till roll."""
_LARGEST_SCALE: Final = 2.0
_LINE_HEIGHT: Final = 22
"""Pixels a line should have where its place is measured; smaller ones are looked at again, closer."""
_MARGIN: Final = 0.2
"""Share of a place's height above and below the letters: the detector leaves them room."""
_IN_DOUBT: Final = 0.85
"""A line read with less confidence is read upside down as well."""
_DOUBT_OF_A_TURN: Final = 0.1
_CLOSER: Final = 1.2
"""A second look is worth its time if it is this much closer."""
_LARGEST_SIDE: Final = 2000
_MOST_PIXELS: Final = 4_000_000
_UPRIGHT_RATIO: Final = 1.5
"""A box this much taller than wide holds a line turned by a quarter."""
_LEAST_CONFIDENCE: Final = 0.6
_LEAST_SIDE: Final = 8
"""No letter is smaller, in pixels."""
_FEW_SIGNS: Final = 3
_LEAST_OF_A_SIGN: Final = 0.9
"""A texture is easily taken for a letter or two: those are believed only if the reader is sure."""
_LEAST_SIGNS: Final = 2
"""Of a line by itself: textures are taken for one with all confidence."""
_WHOLE: Final = 0.8
_LINE_RATIO: Final = 2.0
"""A line that fills the picture is wider than high by so much, else the picture was taken for one."""
_MODELS: Final = {"Det": "*det*.onnx", "Cls": "*cls*.onnx", "Rec": "*rec*.onnx"}
_TILE: Final = 32
_FLAT_STEP, _EDGE_STEP, _EDGES = 4, 12, 16
_FLAT_TILE, _FLAT_PAGE, _WRITTEN_TILES = 0.9, 0.6, 2

Quad = Sequence[tuple[float, float]]
"""Corners of a line of writing as it is read: left top, right top, right bottom, left bottom; in pixels."""


@dataclass(frozen=True)
class _Line:
    """A line that was read.

    Attributes:
        quad: Where it stands.
        text: What it says.
        confidence: 0 to 1.
        turned: Where its letters' tops point to: 0 up, 90 to the right, 180 down, 270 to the left.
    """

    quad: Quad
    text: str
    confidence: float
    turned: int


class RapidOCRReader:
    """Read print in Latin and Chinese letters with the PP-OCR models inside the `rapidocr` package.

    Needs the `ocr` extra. Works offline: nothing is ever fetched. The models are loaded at the first picture
    and once for this reader; several threads may ask it, and are answered one after the other.

    A picture is first looked at reduced: a photograph without writing costs a glance and no more.

    Args:
        min_confidence: Lines of which the reader is less sure, 0 to 1, are dropped.
        threads: Processor cores it may use; by default half of them, four at most.
    """

    def __init__(self, *, min_confidence: float = _LEAST_CONFIDENCE, threads: int | None = None) -> None:
        if not 0 <= min_confidence <= 1:
            msg = f"min_confidence must be from 0 to 1, not {min_confidence!r}"
            raise ValueError(msg)
        if threads is not None and threads < 1:
            msg = f"threads must be 1 or more, not {threads!r}"
            raise ValueError(msg)
        self.min_confidence = min_confidence
        self.threads = threads or max(1, min(4, (os.cpu_count() or 2) // 2))
        self._lock = Lock()
        self._engine: Any = None

    @cached_property
    def fingerprint(self) -> str:
        """Version of the package, whose models these are, and the least confidence if it is another.

        Raises:
            MissingDependencyError: If the `ocr` extra is not installed.
        """
        if find_spec("rapidocr") is None:
            require("rapidocr", extra="ocr")
        given = "" if self.min_confidence == _LEAST_CONFIDENCE else f",{self.min_confidence:g}"
        return f"rapidocr-{version('rapidocr')}{given}"

    def read(self, image: Image.Image) -> list[OcrLine]:
        """Lines of an upright picture in reading order; none if there is no writing in it.

        Raises:
            MissingDependencyError: If the `ocr` extra is not installed.
            CorruptMediaError: If the models cannot make anything of the picture.
        """
        if min(image.size) < _LEAST_SIDE:
            return []
        image = image.convert("RGB")
        with self._lock:
            if self._engine is None:
                self._engine = _engine(self.threads)
            try:
                found = self._agreed(image, [self._line(image, quad) for quad in self._places(image)])
            except Exception as error:  # the package raises plain exceptions, with a stack in their text
                reason = str(error).strip().rpartition("\n")[2] or type(error).__name__
                msg = f"the writing in a picture of {image.width}x{image.height} cannot be read: {reason}"
                raise CorruptMediaError(msg) from error
        lines = _lines([line for line in found if self._is_believed(line)], image.size)
        return [line for line in lines if _is_writing(line, image.size)]

    def _is_believed(self, line: _Line) -> bool:
        signs = sum(sign.isalnum() for sign in line.text)
        least = _LEAST_OF_A_SIGN if signs < _FEW_SIGNS else 0.0
        return signs > 0 and line.confidence >= max(self.min_confidence, least)

    def _places(self, image: Image.Image) -> list[Quad]:
        """Where there is writing: by a glance, and by a closer look if it is small."""
        written = _written_area(image)
        left, top, _, _ = written or (0, 0, 0, 0)
        area = image.crop(written) if written else image
        scale = _glance_scale(area.size, _PAGE_SIDE if written else _GLANCE_SIDE)
        quads = self._detected(area, scale)
        if not quads:
            return []
        line = median(_sides(quad)[1] for quad in quads) * scale
        closer = min(scale * _LINE_HEIGHT / max(1.0, line), 1.0, _LARGEST_SIDE / max(area.size))
        if closer > _CLOSER * scale:
            quads = self._detected(area, closer) or quads
        return [[(x + left, y + top) for x, y in quad] for quad in quads]

    def _detected(self, image: Image.Image, scale: float) -> list[Quad]:
        size = [max(1, round(side * scale)) for side in image.size]
        reduced = (
            image
            if scale == 1
            else image.resize((size[0], size[1]), Image.Resampling.BILINEAR, reducing_gap=2)
        )
        found = self._engine(_bgr(reduced), use_det=True, use_cls=False, use_rec=False).boxes
        across, down = image.width / reduced.width, image.height / reduced.height
        return [
            [(float(x) * across, float(y) * down) for x, y in quad]
            for quad in ([] if found is None else found)
        ]

    def _line(self, image: Image.Image, quad: Quad) -> _Line:
        """What stands in one place, whichever way up."""
        cut, turned = _cut_out(image, quad)
        text, confidence = self._words(cut)
        if confidence < _IN_DOUBT:
            other, surer = self._words(cut.transpose(Image.Transpose.ROTATE_180))
            if surer > confidence:
                return _Line(quad, other, surer, turned + 180)
        return _Line(quad, text, confidence, turned)

    def _agreed(self, image: Image.Image, lines: list[_Line]) -> list[_Line]:
        """Lines that stand on their heads among others that do not are read the other way up again."""
        usual = _usual_turn(lines)
        agreed = []
        for line in lines:
            if (line.turned - usual) % 360 == 180:  # noqa: PLR2004
                cut, turned = _cut_out(image, line.quad)
                text, confidence = self._words(
                    cut if turned == usual else cut.transpose(Image.Transpose.ROTATE_180)
                )
                if confidence > line.confidence - _DOUBT_OF_A_TURN:
                    line = _Line(line.quad, text, confidence, usual)  # noqa: PLW2901
            agreed.append(line)
        return agreed

    def _words(self, line: Image.Image) -> tuple[str, float]:
        if min(line.size) < _LEAST_SIDE:  # a sliver, at which the package fails
            return "", 0.0
        found = self._engine(_bgr(line), use_det=False, use_cls=False, use_rec=True)
        if not found.txts:
            return "", 0.0
        return " ".join(found.txts[0].split()), float(found.scores[0])


def _glance_scale(size: tuple[int, int], side: int) -> float:
    """How much of its size a picture needs for writing in it to be seen."""
    longer, shorter = max(size), min(size)
    scale = max(side / longer, _SHORT_SIDE / shorter)
    scale = min(scale, 1.0 if longer >= _GLANCE_SIDE else _LARGEST_SCALE)
    return float(min(scale, (_MOST_PIXELS / (longer * shorter)) ** 0.5))


def _written_area(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Where on a page, slide or screen there may be writing, in pixels; `None` for other pictures.

    Most of a page is even, and something on it has many edges. Of photographs few are like that; it takes
    some hundredths of a second to know. A few lines on much paper are found far better without the paper.
    """
    scale = min(1.0, _PAGE_SIDE / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    gray = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2).convert("L"), np.int16)
    height, width = (side // _TILE for side in gray.shape)
    if not height or not width:
        return None
    steps = np.abs(np.diff(gray, axis=1, append=gray[:, -1:]))[: height * _TILE, : width * _TILE]
    tiles = steps.reshape(height, _TILE, width, _TILE)
    written = (tiles > _EDGE_STEP).sum(axis=(1, 3)) >= _EDGES
    even = (tiles <= _FLAT_STEP).mean(axis=(1, 3)) > _FLAT_TILE
    if written.sum() < _WRITTEN_TILES or even.mean() < _FLAT_PAGE:
        return None
    down, across = (np.flatnonzero(written.any(axis=axis)) for axis in (1, 0))
    edges = across[0] - 1, down[0] - 1, across[-1] + 2, down[-1] + 2  # a tile to spare on every side
    left, top, right, bottom = (round(int(edge) * _TILE / scale) for edge in edges)
    return max(0, left), max(0, top), min(image.width, right), min(image.height, bottom)


def _engine(threads: int) -> Any:
    """The package's own pipeline, with the models it carries and told to say nothing."""
    require("onnxruntime", extra="ocr")
    package = require("rapidocr", extra="ocr")
    # its logger writes to the console as soon as a model is loaded, before a level can be given
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    folder = Path(package.__file__).parent / "models"
    options: dict[str, Any] = {
        "Global.log_level": "critical",
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        "Det.limit_type": "max",  # it is handed pictures of the size it should look at
        "Det.limit_side_len": 2 * _LARGEST_SIDE,
        "Global.max_side_len": 2 * _LARGEST_SIDE,
        "Global.min_side_len": _LEAST_SIDE,  # what is narrower would be blown up, long sides and all
    }
    for part, pattern in _MODELS.items():
        path = next(iter(sorted(folder.glob(pattern))), None)
        if path is None:  # the package would fetch it
            msg = f"rapidocr carries no model {pattern}. Run: pip install --force-reinstall rapidocr"
            raise MissingDependencyError(msg, name="rapidocr")
        options[f"{part}.model_path"] = str(path)
    return package.RapidOCR(params=options)


def _bgr(image: Image.Image) -> Any:
    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])


def _sides(quad: Quad) -> tuple[float, float]:
    """Length and height of a line, in pixels; of one turned by a quarter too."""
    across, down = _length(quad[0], quad[1]), _length(quad[1], quad[2])
    return (down, across) if down > _UPRIGHT_RATIO * across else (across, down)


def _cut_out(image: Image.Image, quad: Quad) -> tuple[Image.Image, int]:
    """The line alone and level, and by how many degrees clockwise it was turned to stand upright."""
    a, b, c, d = quad
    width, height = _length(a, b), _length(b, c)
    corners = (*a, *d, *c, *b)
    size = max(1, round(width)), max(1, round(height))
    line = image.transform(size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    if height <= _UPRIGHT_RATIO * width:
        return line, 0
    return line.transpose(Image.Transpose.ROTATE_90), 90


def _length(one: tuple[float, float], other: tuple[float, float]) -> float:
    return hypot(other[0] - one[0], other[1] - one[1])


def _lines(found: Sequence[_Line], size: tuple[int, int]) -> Iterator[OcrLine]:
    if not found:
        return
    for row in reading_order(_levelled(found)):
        cells = [found[number] for number in row]
        chars = sum(len(cell.text) for cell in cells)
        yield OcrLine(
            " ".join(cell.text for cell in cells),
            _box([point for cell in cells for point in cell.quad], size),
            sum(cell.confidence * len(cell.text) for cell in cells) / chars,
        )


def _is_writing(line: OcrLine, size: tuple[int, int]) -> bool:
    x0, y0, x1, y1 = line.box
    width, height = (x1 - x0) * size[0], (y1 - y0) * size[1]
    fills = (x1 - x0) * (y1 - y0) > _WHOLE and max(width, height) < _LINE_RATIO * min(width, height)
    return not fills and sum(map(str.isalnum, line.text)) >= _LEAST_SIGNS


def _usual_turn(lines: Sequence[_Line]) -> int:
    turns = Counter({0: 0})
    for line in lines:
        turns[line.turned] += len(line.text)
    return turns.most_common(1)[0][0]


def _levelled(found: Sequence[_Line]) -> list[Piece]:
    """Where the lines would stand if the page lay straight and the right way up."""
    turned = _usual_turn(found)
    angle = radians(turned) + median([_slope(line.quad) for line in found if line.turned == turned] or [0.0])
    pieces = []
    for number, line in enumerate(found):
        xs = [x * cos(angle) + y * sin(angle) for x, y in line.quad]
        ys = [y * cos(angle) - x * sin(angle) for x, y in line.quad]
        spare = _MARGIN * (max(ys) - min(ys))
        piece = Piece(number, len(line.text), min(xs), min(ys) + spare, max(xs), max(ys) - spare)
        pieces.append(piece)
    return pieces


def _slope(quad: Quad) -> float:
    """By how much a line leans, in radians, measured along its longer side."""
    (ax, ay), (bx, by), (cx, cy), _ = quad
    if _length(quad[1], quad[2]) > _UPRIGHT_RATIO * _length(quad[0], quad[1]):
        return -atan2(cx - bx, cy - by)
    return atan2(by - ay, bx - ax)


def _box(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> Box:
    def share(value: float, whole: int) -> float:
        return min(1.0, max(0.0, value / whole))

    xs, ys = [share(x, size[0]) for x, _ in points], [share(y, size[1]) for _, y in points]
    return min(xs), min(ys), max(xs), max(ys)
