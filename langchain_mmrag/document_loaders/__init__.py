"""Files become `Document`s: pages, rows, passages, pictures, moments, each with where it is from."""

from langchain_mmrag.document_loaders.audio import AudioLoader
from langchain_mmrag.document_loaders.base import FileLoader, Part, SourceFile
from langchain_mmrag.document_loaders.csv import CSVLoader
from langchain_mmrag.document_loaders.directory import DirectoryLoader, LoadFailure
from langchain_mmrag.document_loaders.docx import DocxLoader
from langchain_mmrag.document_loaders.excel import ExcelLoader
from langchain_mmrag.document_loaders.html import HTMLLoader
from langchain_mmrag.document_loaders.image import ImageLoader
from langchain_mmrag.document_loaders.json import JSONLoader
from langchain_mmrag.document_loaders.kinds import LoaderOptions
from langchain_mmrag.document_loaders.markdown import MarkdownLoader
from langchain_mmrag.document_loaders.ocr import OCR, OcrLine, RapidOCRReader, TesseractReader
from langchain_mmrag.document_loaders.parquet import ParquetLoader
from langchain_mmrag.document_loaders.pdf import PDFLoader
from langchain_mmrag.document_loaders.pptx import PptxLoader
from langchain_mmrag.document_loaders.sql import SQLLoader
from langchain_mmrag.document_loaders.text import TextLoader
from langchain_mmrag.document_loaders.transcription import (
    FasterWhisperTranscriber,
    PocketSphinxTranscriber,
    Segment,
    Transcriber,
)
from langchain_mmrag.document_loaders.video import VideoLoader

__all__ = [
    "OCR",
    "AudioLoader",
    "CSVLoader",
    "DirectoryLoader",
    "DocxLoader",
    "ExcelLoader",
    "FasterWhisperTranscriber",
    "FileLoader",
    "HTMLLoader",
    "ImageLoader",
    "JSONLoader",
    "LoadFailure",
    "LoaderOptions",
    "MarkdownLoader",
    "OcrLine",
    "PDFLoader",
    "ParquetLoader",
    "Part",
    "PocketSphinxTranscriber",
    "PptxLoader",
    "RapidOCRReader",
    "SQLLoader",
    "Segment",
    "SourceFile",
    "TesseractReader",
    "TextLoader",
    "Transcriber",
    "VideoLoader",
]
