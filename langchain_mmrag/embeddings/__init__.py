"""Embeddings that take text and images into one space."""

from langchain_mmrag.embeddings.base import (
    ImageBatch,
    ImageFailure,
    MultimodalEmbeddings,
    TruncatedTextWarning,
)
from langchain_mmrag.embeddings.open_clip import OpenCLIPEmbeddings

__all__ = [
    "ImageBatch",
    "ImageFailure",
    "MultimodalEmbeddings",
    "OpenCLIPEmbeddings",
    "TruncatedTextWarning",
]
