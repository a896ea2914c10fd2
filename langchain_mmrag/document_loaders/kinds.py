"""Which loader reads which file: one table. What a file's bytes say goes before what its name says."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from langchain_core.document_loaders import BaseLoader

from langchain_mmrag.document_loaders._ids import source_of
from langchain_mmrag.document_loaders._sniff import Format, Glimpse
from langchain_mmrag.document_loaders._suffixes import (
    FILM_SUFFIXES,
    PICTURE_SUFFIXES,
    SOUND_SUFFIXES,
    suffixes,
)
from langchain_mmrag.document_loaders.base import SourceFile
from langchain_mmrag.document_loaders.ocr import OCR, ocr_reader
from langchain_mmrag.document_loaders.text import TextLoader
from langchain_mmrag.errors import UnsupportedFormatError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy
from langchain_mmrag.media.formats import guess
from langchain_mmrag.types import Modality

if TYPE_CHECKING:
    from langchain_mmrag.document_loaders.transcription import Transcriber

MakeLoader: TypeAlias = Callable[[Path], BaseLoader]
KindLoader: TypeAlias = "Callable[[Path, LoaderOptions, Path | None], BaseLoader]"
OcrChoice: TypeAlias = Literal["auto", "on", "off", "tesseract"]

_OCR_CHOICES: Final = ("auto", "on", "off", "tesseract")


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """What every loader of a folder is told.

    Attributes:
        media_policy: What may be opened; `None` for what the store allows, where one is written to, else for
            `DEFAULT_POLICY`.
        media_directory: Where pictures taken out of files go; `None` for the user's cache folder.
        ocr: Who reads the writing in pictures and scanned pages: `"auto"` for RapidOCR if the extra `ocr` is
            installed, `"on"` for RapidOCR, `"tesseract"`, a reader of your own, or `"off"` (also `None`).
        transcriber: Who writes down what is spoken in recordings and films; `None` for nobody.
        sound_search: Whether the store embeds sound, so that recordings without words are of use.
        page_images: Whether each page of a PDF is kept as a picture too; `None` for pages without text alone.
        loaders: Loaders to take in place of the table's, by suffix, such as `{".tex": MyLoader}`: called with
            the path, and if they are `FileLoader` classes with `media_policy` and `media_directory` too. What
            others yield gets the ids and metadata of this package's loaders.

    Raises:
        ValueError: If `ocr` is none of the choices, or a suffix has no dot.
    """

    media_policy: MediaPolicy | None = None
    media_directory: Path | None = None
    ocr: OCR | OcrChoice | None = "auto"
    transcriber: Transcriber | None = None
    sound_search: bool = False
    page_images: bool | None = None
    loaders: Mapping[str, MakeLoader] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.ocr, str) and self.ocr not in _OCR_CHOICES:
            msg = f"ocr must be one of {', '.join(_OCR_CHOICES)} or a reader, not {self.ocr!r}"
            raise ValueError(msg)
        for suffix in self.loaders:
            if not suffix.startswith(".") or suffix != suffix.lower():
                msg = f"loaders are named by suffixes in lower case with a dot, such as .tex, not {suffix!r}"
                raise ValueError(msg)

    @property
    def policy(self) -> MediaPolicy:
        """What may be opened."""
        return self.media_policy or DEFAULT_POLICY

    @cached_property
    def reader(self) -> OCR | None:
        """The reader that `ocr` names: one for all loaders, as its models take memory.

        Raises:
            MissingDependencyError: If it is asked for and not installed.
        """
        return None if self.ocr == "off" else ocr_reader("rapidocr" if self.ocr == "on" else self.ocr)

    @property
    def common(self) -> dict[str, Any]:
        """What every loader of a file takes."""
        return {"media_policy": self.policy, "media_directory": self.media_directory}


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """A kind of file and what loads it.

    Attributes:
        name: For messages.
        modality: Of most of its documents.
        suffixes: Lower-case suffixes, with the dot: they count where the bytes say nothing.
        format: What the bytes of such a file say; `None` for kinds that may begin with anything.
        extra: What has to be installed to read it, as in `pip install "langchain-mmrag[pdf]"`; empty for
            what comes with the package.
        loader: Makes the loader of a file, of options, and of the folder that is being read, if one is.
    """

    name: str
    modality: Modality
    suffixes: frozenset[str]
    format: Format | None = None
    extra: str = ""
    loader: KindLoader


def _class(module: str, name: str) -> Any:
    """A loader's class, imported when the first file of its kind is met."""
    return getattr(import_module(f"langchain_mmrag.document_loaders.{module}"), name)


def _plain(module: str, name: str) -> KindLoader:
    """For a loader that takes no more than all of them."""

    def make(path: Path, options: LoaderOptions, _root: Path | None) -> BaseLoader:
        loader: BaseLoader = _class(module, name)(path, **options.common)
        return loader

    return make


def _page(module: str, name: str) -> KindLoader:
    """For a loader of pages or tables, which show pictures that lie beside them."""

    def make(path: Path, options: LoaderOptions, root: Path | None) -> BaseLoader:
        loader: BaseLoader = _class(module, name)(path, picture_root=root, **options.common)
        return loader

    return make


def _spoken(module: str, name: str) -> KindLoader:
    """For a loader of what may hold speech."""

    def make(path: Path, options: LoaderOptions, _root: Path | None) -> BaseLoader:
        told = {"transcriber": options.transcriber, "sound_search": options.sound_search}
        loader: BaseLoader = _class(module, name)(path, **told, **options.common)
        return loader

    return make


def _image(path: Path, options: LoaderOptions, _root: Path | None) -> BaseLoader:
    loader: BaseLoader = _class("image", "ImageLoader")(path, ocr=options.reader, **options.common)
    return loader


def _pdf(path: Path, options: LoaderOptions, _root: Path | None) -> BaseLoader:
    make = _class("pdf", "PDFLoader")
    loader: BaseLoader = make(path, page_images=options.page_images, ocr=options.reader, **options.common)
    return loader


def _text(path: Path, options: LoaderOptions, _root: Path | None) -> BaseLoader:
    return TextLoader(path, media_policy=options.policy)


def _old_office(path: Path, options: LoaderOptions, _root: Path | None) -> BaseLoader:
    from langchain_mmrag.document_loaders._zip import refuse_ole

    # the file alone is looked at: nothing is taken out of it
    refuse_ole(SourceFile(source_of(path), options.policy, options.media_directory or Path()))
    msg = f"{path} is in an old format of office documents: save it as docx, xlsx, pptx or PDF"
    raise UnsupportedFormatError(msg)


KINDS: Final = (
    FileKind(
        name="picture",
        modality="image",
        suffixes=PICTURE_SUFFIXES,
        format="picture",
        loader=_image,
    ),
    FileKind(
        name="PDF",
        modality="text",
        suffixes=suffixes("pdf"),
        format="pdf",
        extra="pdf",
        loader=_pdf,
    ),
    FileKind(
        name="Word document",
        modality="text",
        suffixes=suffixes("docx docm"),
        format="docx",
        extra="office",
        loader=_plain("docx", "DocxLoader"),
    ),
    FileKind(
        name="PowerPoint slides",
        modality="text",
        suffixes=suffixes("pptx pptm ppsx"),
        format="pptx",
        extra="office",
        loader=_plain("pptx", "PptxLoader"),
    ),
    FileKind(
        name="Excel workbook",
        modality="table",
        suffixes=suffixes("xlsx xlsm"),
        format="excel",
        extra="table",
        loader=_page("excel", "ExcelLoader"),
    ),
    FileKind(
        name="old office document",
        modality="text",
        suffixes=suffixes("doc dot xls xlt ppt pps pot rtf"),
        format="old office",
        loader=_old_office,
    ),
    FileKind(
        name="Parquet table",
        modality="table",
        suffixes=suffixes("parquet"),
        format="parquet",
        extra="table",
        loader=_page("parquet", "ParquetLoader"),
    ),
    FileKind(
        name="SQLite database",
        modality="table",
        suffixes=suffixes("sqlite sqlite3 db3"),  # .db is anybody's: its bytes decide
        format="sqlite",
        loader=_page("sql", "SQLLoader"),
    ),
    FileKind(
        name="web page",
        modality="text",
        suffixes=suffixes("html htm xhtml"),
        format="html",
        extra="office",
        loader=_page("html", "HTMLLoader"),
    ),
    FileKind(
        name="film",
        modality="video",
        suffixes=FILM_SUFFIXES,
        format="video",
        extra="video",
        loader=_spoken("video", "VideoLoader"),
    ),
    FileKind(
        name="recording",
        modality="audio",
        suffixes=SOUND_SUFFIXES,
        format="audio",
        extra="audio",
        loader=_spoken("audio", "AudioLoader"),
    ),
    FileKind(
        name="comma-separated table",
        modality="table",
        suffixes=suffixes("csv tsv"),
        loader=_page("csv", "CSVLoader"),
    ),
    FileKind(
        name="JSON",
        modality="table",
        suffixes=suffixes("json jsonl ndjson"),
        loader=_page("json", "JSONLoader"),
    ),
    FileKind(
        name="Markdown",
        modality="text",
        suffixes=suffixes("md markdown"),
        loader=_page("markdown", "MarkdownLoader"),
    ),
    FileKind(
        name="text",
        modality="text",
        suffixes=suffixes("txt text rst log"),
        loader=_text,
    ),
)
"""The kinds of file this package reads. A file is what its bytes say; only then what its name says."""


def kind_of(path: str | os.PathLike[str], media_policy: MediaPolicy = DEFAULT_POLICY) -> FileKind | None:
    """Kind of a file by its bytes, else by its suffix; `None` if this package does not read it.

    Raises:
        LoadError: If the file cannot be opened.
        UnsupportedFormatError: If its name says a kind that this package reads, and its bytes another one.
    """
    glimpse = Glimpse(path, media_policy)
    named = next((kind for kind in KINDS if glimpse.suffix in kind.suffixes), None)
    if (said := glimpse.format) is None:
        return named
    if named is not None and said == "other":
        msg = f"{glimpse.path} is not what its name says: it seems to be {guess(glimpse.head)}"
        raise UnsupportedFormatError(msg)
    return next((kind for kind in KINDS if kind.format == said), None)


def supported_suffixes() -> str:
    """The suffixes this package reads, for a message."""
    return " ".join(sorted(suffix for kind in KINDS for suffix in kind.suffixes))


def unsupported(path: Path) -> UnsupportedFormatError:
    """The error for a file of a kind this package does not read."""
    return UnsupportedFormatError(f"{path} is not of a kind this package reads ({supported_suffixes()})")
