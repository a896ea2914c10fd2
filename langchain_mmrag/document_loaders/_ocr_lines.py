"""Text that stands in a picture: who reads it, and how its lines become metadata and passages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from PIL import Image

from langchain_mmrag.document_loaders.base import Part
from langchain_mmrag.types import BBOX, OCR_CONFIDENCE, OCR_TEXT

Box = tuple[float, float, float, float]
"""`x0, y0, x1, y1`: fractions 0 to 1 of the picture's width and height, from its top left."""

_PASSAGE_CHARS: Final = 400
"""A passage ends with the paragraph in which it gets so long: a few sentences."""
_SHORTEST: Final = 12
"""Bytes of letters; what says less, such as a sign over a shop, is no passage to search for by meaning."""
_PARAGRAPH_GAP: Final = 0.8
"""Lines further apart than this times their height are of two paragraphs."""


@dataclass(frozen=True)
class OcrLine:
    """A line of writing in a picture.

    Attributes:
        text: What it says.
        box: Where it stands, as fractions of the upright picture.
        confidence: The reader's own, 0 to 1.
    """

    text: str
    box: Box
    confidence: float


@runtime_checkable
class OCR(Protocol):
    """Reads the writing in pictures. One reader may be asked by several threads at once."""

    @property
    def fingerprint(self) -> str:
        """Program, model and options that its lines depend on: with another one, files are read anew."""

    def read(self, image: Image.Image) -> list[OcrLine]:
        """Lines of an upright RGB picture in reading order; none if there is no writing in it.

        Raises:
            MissingDependencyError: If what it reads with is not installed.
            LoadError: If the picture cannot be read.
        """


def ocr_metadata(lines: Sequence[OcrLine]) -> dict[str, Any]:
    """What a picture or page says: `ocr_text` line by line, `ocr_confidence` by character; empty for none."""
    if not lines:
        return {}
    return {OCR_TEXT: "\n".join(line.text for line in lines), OCR_CONFIDENCE: _confidence(lines)}


def ocr_passages(
    lines: Sequence[OcrLine],
    *,
    parent: str,
    metadata: Mapping[str, Any] | None = None,
) -> Iterator[Part]:
    """Text parts of a few sentences each, with the `bbox` and `ocr_confidence` of their lines.

    Writing of a word or two, fewer than 12 Latin letters or 4 Chinese ones, makes none: it is in `ocr_text`.

    Args:
        lines: In reading order.
        parent: Key of the picture's or page's own part; theirs are `<parent>-text-0` and so on.
        metadata: To go into each, such as `page`, and `path` of a picture that is no file of its own.
    """
    letters = "".join(sign for line in lines for sign in line.text if sign.isalnum())
    if len(letters.encode("utf-8", "replace")) < _SHORTEST:
        return
    for number, passage in enumerate(_passages(lines)):
        yield Part(
            text="\n".join(line.text for line in passage),
            metadata={**(metadata or {}), BBOX: _bbox(passage), OCR_CONFIDENCE: _confidence(passage)},
            key=f"{parent}-text-{number}",
            parent=parent,
        )


def _passages(lines: Sequence[OcrLine]) -> Iterator[list[OcrLine]]:
    """Cut between paragraphs once there is enough, and wherever one would grow to twice of that."""
    passage: list[OcrLine] = []
    chars = 0
    for line in lines:
        far = bool(passage) and _is_new_paragraph(passage[-1], line)
        if passage and (chars >= 2 * _PASSAGE_CHARS or (far and chars >= _PASSAGE_CHARS)):
            yield passage
            passage, chars = [], 0
        passage.append(line)
        chars += len(line.text)
    if passage:
        yield passage


def _is_new_paragraph(before: OcrLine, line: OcrLine) -> bool:
    """Whether there is a gap between two lines, or the second starts another column."""
    height = min(before.box[3] - before.box[1], line.box[3] - line.box[1])
    return line.box[1] < before.box[1] or line.box[1] - before.box[3] > _PARAGRAPH_GAP * height


def _bbox(lines: Sequence[OcrLine]) -> list[float]:
    x0, y0, x1, y1 = zip(*(line.box for line in lines), strict=True)
    return [round(min(1.0, max(0.0, side)), 4) for side in (min(x0), min(y0), max(x1), max(y1))]


def _confidence(lines: Sequence[OcrLine]) -> float:
    chars = sum(len(line.text) for line in lines)
    return round(sum(line.confidence * len(line.text) for line in lines) / max(1, chars), 4)
