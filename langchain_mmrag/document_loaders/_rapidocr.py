"""The PP-OCR models that the `rapidocr` package carries, read with onnxruntime on this machine alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from math import atan2, cos, hypot, sin
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
_GLANCE_SHORT_SIDE: Final = 320
"""Shorter side of it at least, for the long screenshot and the till roll."""
_LARGEST_SCALE: Final = 2.0
_LINE_HEIGHT: Final = 16
"""Pixels a line should have where its place is measured; smaller ones are looked at again, closer."""
_LARGEST_SIDE: Final = 2000
_MOST_PIXELS: Final = 4_000_000
_UPRIGHT_RATIO: Final = 1.5
"""A box this much taller than wide holds a line turned by a quarter."""
_LEAST_CONFIDENCE: Final = 0.6
_LEAST_OF_A_SIGN: Final = 0.9
"""A texture is easily taken for a letter or two: those are believed only if the reader is sure."""
_MODELS: Final = {"Det": "*det*.onnx", "Cls": "*cls*.onnx", "Rec": "*rec*.onnx"}

Quad = Sequence[tuple[float, float]]
"""Corners of a line of writing as it is read: left top, right top, right bottom, left bottom; in pixels."""


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

    @property
    def fingerprint(self) -> str:
        """Version of the package, whose models these are, and the least confidence if it is another."""
        require("rapidocr", extra="ocr")
        given = "" if self.min_confidence == _LEAST_CONFIDENCE else f",{self.min_confidence:g}"
        return f"rapidocr-{version('rapidocr')}{given}"

    def read(self, image: Image.Image) -> list[OcrLine]:
        """Lines of an upright picture in reading order; none if there is no writing in it.

        Raises:
            MissingDependencyError: If the `ocr` extra is not installed.
            CorruptMediaError: If the models cannot make anything of the picture.
        """
        image = image.convert("RGB")
        with self._lock:
            if self._engine is None:
                self._engine = _engine(self.threads)
            try:
                quads = self._places(image)
                found = [(quad, *self._words(image, quad)) for quad in quads]
            except Exception as error:  # the package raises plain exceptions, with a stack in their text
                reason = str(error).strip().rpartition("\n")[2] or type(error).__name__
                msg = f"the writing in a picture of {image.width}x{image.height} cannot be read: {reason}"
                raise CorruptMediaError(msg) from error
        sure = [one for one in found if self._is_believed(one[1], one[2])]
        return list(_lines(sure, image.size))

    def _is_believed(self, text: str, confidence: float) -> bool:
        signs = sum(sign.isalnum() for sign in text)
        least = _LEAST_OF_A_SIGN if signs < 3 else 0.0  # noqa: PLR2004
        return signs > 0 and confidence >= max(self.min_confidence, least)

    def _places(self, image: Image.Image) -> list[Quad]:
        """Where there is writing: by a glance, and by a closer look if it is small."""
        width, height = image.size
        scale = max(_GLANCE_SIDE / max(image.size), _GLANCE_SHORT_SIDE / min(image.size))
        scale = min(scale, 1.0 if max(image.size) >= _GLANCE_SIDE else _LARGEST_SCALE)
        scale = min(scale, (_MOST_PIXELS / (width * height)) ** 0.5)
        quads = self._detected(image, scale)
        if not quads:
            return []
        line = median(_sides(quad)[1] for quad in quads) * scale
        closer = min(scale * _LINE_HEIGHT / line, 1.0, _LARGEST_SIDE / max(image.size))
        return self._detected(image, closer) or quads if closer > 1.2 * scale else quads

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

    def _words(self, image: Image.Image, quad: Quad) -> tuple[str, float]:
        found = self._engine(_bgr(_cut_out(image, quad)), use_det=False, use_cls=True, use_rec=True)
        if not found.txts:
            return "", 0.0
        return " ".join(found.txts[0].split()), float(found.scores[0])


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
    (ax, ay), (bx, by), (cx, cy), _ = quad
    across, down = hypot(bx - ax, by - ay), hypot(cx - bx, cy - by)
    return (down, across) if down > _UPRIGHT_RATIO * across else (across, down)


def _cut_out(image: Image.Image, quad: Quad) -> Image.Image:
    """The line alone, level, its letters upright or on their heads."""
    a, b, c, d = quad
    width, height = (
        max(1, round(hypot(b[0] - a[0], b[1] - a[1]))),
        max(1, round(hypot(c[0] - b[0], c[1] - b[1]))),
    )
    corners = (*a, *d, *c, *b)
    line = image.transform((width, height), Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    return line.transpose(Image.Transpose.ROTATE_90) if height > _UPRIGHT_RATIO * width else line


def _lines(found: Sequence[tuple[Quad, str, float]], size: tuple[int, int]) -> Iterator[OcrLine]:
    if not found:
        return
    for row in reading_order(_levelled(found)):
        cells = [found[number] for number in row]
        text = " ".join(text for _, text, _ in cells)
        chars = sum(len(text) for _, text, _ in cells)
        confidence = sum(confidence * len(text) for _, text, confidence in cells) / chars
        yield OcrLine(text, _box([point for quad, _, _ in cells for point in quad], size), confidence)


def _levelled(found: Sequence[tuple[Quad, str, float]]) -> list[Piece]:
    """Where the lines would stand if the page lay straight."""
    slope = median(_slope(quad) for quad, _, _ in found)
    over, up = cos(-slope), sin(-slope)
    pieces = []
    for number, (quad, text, _) in enumerate(found):
        xs = [x * over - y * up for x, y in quad]
        ys = [x * up + y * over for x, y in quad]
        pieces.append(Piece(number, len(text), min(xs), min(ys), max(xs), max(ys)))
    return pieces


def _slope(quad: Quad) -> float:
    (ax, ay), (bx, by), (cx, cy), _ = quad
    if hypot(cx - bx, cy - by) > _UPRIGHT_RATIO * hypot(bx - ax, by - ay):
        return 0.0  # too short to tell, or turned by a quarter
    return atan2(by - ay, bx - ax)


def _box(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> Box:
    def share(value: float, whole: int) -> float:
        return min(1.0, max(0.0, value / whole))

    xs, ys = [share(x, size[0]) for x, _ in points], [share(y, size[1]) for _, y in points]
    return min(xs), min(ys), max(xs), max(ys)
