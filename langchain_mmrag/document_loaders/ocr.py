"""Text that stands in a picture: who reads it, and how its lines become metadata and passages."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Literal

from langchain_mmrag._extras import require
from langchain_mmrag.document_loaders._ocr_lines import (
    OCR,
    Box,
    OcrLine,
    ocr_metadata,
    ocr_passages,
)
from langchain_mmrag.document_loaders._rapidocr import RapidOCRReader
from langchain_mmrag.document_loaders._tesseract import TesseractReader
from langchain_mmrag.types import OCR_CONFIDENCE

__all__ = [
    "OCR",
    "OCR_CONFIDENCE",
    "Box",
    "OcrLine",
    "RapidOCRReader",
    "TesseractReader",
    "ocr_metadata",
    "ocr_passages",
    "ocr_reader",
]


def ocr_reader(name: Literal["auto", "rapidocr", "tesseract"] | OCR | None) -> OCR | None:
    """The reader that goes by a name.

    Args:
        name: `"auto"` is RapidOCR where the `ocr` extra is installed, else none; a reader is handed back.

    Raises:
        MissingDependencyError: If the one that was asked for by name is not installed.
        ValueError: If there is none of this name.
    """
    if name is None or (name == "auto" and not _has_rapidocr()):
        return None
    if name in ("auto", "rapidocr"):
        if not _has_rapidocr():
            require("onnxruntime", extra="ocr")
            require("rapidocr", extra="ocr")
        return _shared_rapidocr()
    if name == "tesseract":
        return _tesseract()
    if isinstance(name, OCR):
        return name
    msg = f"ocr must be 'auto', 'rapidocr', 'tesseract', None or a reader, not {name!r}"
    raise ValueError(msg)


@cache
def _shared_rapidocr() -> RapidOCRReader:
    """The models take a second to load and some hundred megabytes: all that ask by name share them."""
    return RapidOCRReader()


def _tesseract() -> TesseractReader:
    reader = TesseractReader()
    _ = reader.fingerprint  # asks the program for its version: now is the time to miss it
    return reader


def _has_rapidocr() -> bool:
    return all(find_spec(module) is not None for module in ("rapidocr", "onnxruntime"))
