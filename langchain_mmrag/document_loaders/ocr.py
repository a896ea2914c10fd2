"""Text that stands in a picture: who reads it, and how its lines become metadata and passages."""

from __future__ import annotations

from langchain_mmrag.document_loaders._ocr_lines import (
    OCR,
    OCR_CONFIDENCE,
    Box,
    OcrLine,
    ocr_metadata,
    ocr_passages,
)
from langchain_mmrag.document_loaders._rapidocr import RapidOCRReader

__all__ = [
    "OCR",
    "OCR_CONFIDENCE",
    "Box",
    "OcrLine",
    "RapidOCRReader",
    "ocr_metadata",
    "ocr_passages",
]
