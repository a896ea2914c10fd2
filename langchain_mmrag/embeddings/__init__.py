"""Embeddings that take text and images, or text and sounds, into one space."""

from langchain_mmrag.embeddings.base import (
    ImageBatch,
    ImageFailure,
    MultimodalEmbeddings,
    TruncatedTextWarning,
)
from langchain_mmrag.embeddings.clap import ClapEmbeddings
from langchain_mmrag.embeddings.open_clip import OpenCLIPEmbeddings

__all__ = [
    "ClapEmbeddings",
    "ImageBatch",
    "ImageFailure",
    "MultimodalEmbeddings",
    "OpenCLIPEmbeddings",
    "TruncatedTextWarning",
]
