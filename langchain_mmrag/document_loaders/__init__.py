"""Files become `Document`s: pictures by reference, text as passages."""

from langchain_mmrag.document_loaders.base import FileLoader, Part, SourceFile
from langchain_mmrag.document_loaders.directory import DirectoryLoader, LoadFailure
from langchain_mmrag.document_loaders.image import ImageLoader
from langchain_mmrag.document_loaders.text import TextLoader

__all__ = [
    "DirectoryLoader",
    "FileLoader",
    "ImageLoader",
    "LoadFailure",
    "Part",
    "SourceFile",
    "TextLoader",
]
