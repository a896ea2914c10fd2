"""A picture becomes one `Document` that says where it lies; the bytes stay where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal, Protocol

from langchain_core.documents import Document
from PIL import Image

from langchain_mmrag.document_loaders._exif import (
    CAMERA,
    LATITUDE,
    LONGITUDE,
    TAKEN,
    TAKEN_TS,
    facts_of,
    words,
)
from langchain_mmrag.document_loaders._sidecars import is_sidecar, read_sidecars
from langchain_mmrag.document_loaders.base import FileLoader, Part, SourceFile, pictures_folder
from langchain_mmrag.document_loaders.ocr import OCR, ocr_metadata, ocr_passages, ocr_reader
from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import MediaPolicy, is_url, read_media
from langchain_mmrag.media.decode import Decoded, decode, to_rgb
from langchain_mmrag.media.formats import SVG
from langchain_mmrag.media.pages import further_pages
from langchain_mmrag.media.sources import path_of_file_url
from langchain_mmrag.media.svg import svg_words
from langchain_mmrag.types import (
    CAPTION,
    FILE_SHA256,
    HEIGHT,
    MIME_TYPE,
    PAGE,
    PART,
    PATH,
    SHA256,
    TITLE,
    WIDTH,
)

__all__ = ["ImageLoader", "is_sidecar"]

_MEASURED = (TAKEN, TAKEN_TS, LATITUDE, LONGITUDE, CAMERA)
_READ_AT_SIDE = 1600
"""Shorter side, in pixels, at which a large photograph is read: writing in it is seldom smaller."""


class Taker(Protocol):
    """Takes the picture that an `ImageLoader` has decoded, so that nobody decodes its file again."""

    def min_side(self) -> int | None:
        """The least shorter side, in pixels, that it may be decoded to; `None` for all there are."""

    def take(self, image: Image.Image) -> None:
        """The picture: upright, RGB."""


class ImageLoader(FileLoader):
    """Load one picture, by path or address.

    The document's text is the caption (empty if there is none); its metadata has `modality`, `source`,
    `mime_type`, `width` and `height` in pixels (upright) and the `sha256` of the file, by which a later run
    sees that the picture has changed. What the picture says of itself comes beside it: `taken` (ISO 8601,
    the camera's local time) and `taken_ts` (seconds since 1970, for filters), `latitude` and `longitude`
    (decimal degrees, south and west negative), `camera`, `title` and `keywords`.

    Words are taken from `caption`, else from files beside the picture (`photo.txt` or `photo.jpg.txt`, the
    same with `.json` and `.xmp`, in this order), else from XMP, IPTC and EXIF in it. Time and place are the
    picture's own, and those of the files beside it only where it has none.

    The pages of a TIFF file are a document each, with `page` from 1; those after the first are kept as
    pictures of their own at `path`. Of other files with several frames the first is taken.

    With a reader of writing the picture has `ocr_text` (line by line) and `ocr_confidence`, and passages of
    a few sentences follow it, each a text document with its `bbox` and the picture's id as `parent_id`.

    Args:
        source: Path, `file://` address of one (which becomes that path), `http(s)://` address or data-URI.
        caption: Text to keep beside the picture, if there is one.
        ocr: Who reads the writing in it; see `ocr_reader`.
        media_policy: What may be opened.
        media_directory: Where the further pages of a TIFF file go; see `default_media_directory`.
    """

    name: ClassVar[str] = "image"
    taker: Taker | None = None

    def __init__(
        self,
        source: str | os.PathLike[str],
        *,
        caption: str = "",
        ocr: OCR | Literal["auto", "rapidocr", "tesseract"] | None = None,
        media_policy: MediaPolicy | None = None,
        media_directory: str | os.PathLike[str] | None = None,
    ) -> None:
        if isinstance(source, str) and source[:7].lower() == "file://":
            source = path_of_file_url(source)
        super().__init__(source, media_policy=media_policy, media_directory=media_directory)
        self.caption = caption
        self.ocr = ocr_reader(ocr)
        self._beside: tuple[dict[str, Any], str] | None = None

    @property
    def fingerprint(self) -> str:
        """The reader of writing and a digest of the files beside the picture; empty without both."""
        _, digest = self._sidecars()
        parts = [f"ocr={self.ocr.fingerprint}"] if self.ocr else []
        parts += [f"caption={digest}"] if digest else []
        return "+".join([self.name, *parts]) if parts else ""

    def lazy_load(self) -> Iterator[Document]:
        """Yield the picture, then what is read in it, then the same of further pages.

        Raises:
            LoadError: If the picture cannot be read, is broken, or the policy refuses it.
        """
        self._beside = None  # those files may have changed since the last time
        for document in super().lazy_load():
            if PART not in document.metadata:
                del document.metadata[FILE_SHA256]  # its own digest is the file's
            yield document

    def parts(self, file: SourceFile) -> Iterator[Part]:
        """Yield the picture and what is read in it, page by page."""
        data = file.read()
        # Who reads writing decodes at a size of its own, and what is embedded is not to depend on that.
        taker = None if self.ocr else self.taker
        side = _READ_AT_SIDE if self.ocr else taker.min_side() if taker else 1  # for nobody few pixels
        decoded = decode(data, file.source, file.policy, min_side=side)
        if taker is not None:
            taker.take(to_rgb(decoded, file.source))
        own = facts_of(decoded.image)
        if decoded.image_format is SVG:
            said = svg_words(data)
            own = {**words(TITLE, said.get("title")), **words(CAPTION, said.get("description"))}
        facts = {**_stored(decoded, file), **self._told(own)}
        further = further_pages(data, file.source, file.policy)
        second = next(further, None)
        if second is not None:
            facts[PAGE] = 1
        lines = self._lines(to_rgb(decoded, file.source), file) if self.ocr else []
        del decoded
        caption = str(facts.get(CAPTION, ""))
        metadata = {**facts, **ocr_metadata(lines)}
        yield Part(text=caption, modality="image", metadata=metadata, key="0")
        place = {PAGE: 1, PATH: file.source} if second is not None else {}
        yield from ocr_passages(lines, parent="0", metadata=place)
        while second is not None:
            yield from self._page(*second, file)
            second = next(further, None)

    def _page(self, number: int, page: Image.Image | LoadError, file: SourceFile) -> Iterator[Part]:
        if isinstance(page, LoadError):
            file.problem(f"page {number} is left out: {page}")
            return
        key = f"page-{number}"
        lines = self._lines(page, file) if self.ocr else []
        facts = {**file.keep_picture(page, key), PAGE: number, **ocr_metadata(lines)}
        yield Part(modality="image", metadata=facts, key=key)
        yield from ocr_passages(lines, parent=key, metadata={PAGE: number, PATH: facts[PATH]})

    def _lines(self, image: Image.Image, file: SourceFile) -> list[Any]:
        """What is written in it; a picture whose writing cannot be read is still a picture."""
        if self.ocr is None:
            return []
        try:
            return self.ocr.read(image)
        except LoadError as error:
            file.problem(str(error))
            return []

    def _told(self, own: dict[str, Any]) -> dict[str, Any]:
        """Words: as given, else beside the picture, else in it. What is measured: in it, else beside it."""
        beside, _ = self._sidecars()
        measured = {key: own[key] for key in _MEASURED if key in own}
        if TAKEN in measured:
            beside = {key: value for key, value in beside.items() if key not in (TAKEN, TAKEN_TS)}
        return {**own, **beside, **measured, **words(CAPTION, self.caption)}

    def _sidecars(self) -> tuple[dict[str, Any], str]:
        if self._beside is None:
            path = Path(self.source)
            self._beside = ({}, "") if self._is_address else read_sidecars(path, self.media_policy)
        return self._beside

    @property
    def _is_address(self) -> bool:
        return is_url(self.source) or self.source.startswith("data:")

    def open_source(self) -> SourceFile:
        """The file, or what is at the address."""
        if self._is_address:
            return _Fetched(self.source, self.media_policy, self.media_directory)
        return super().open_source()


class _Fetched(SourceFile):
    """A picture that was read from an address, once."""

    def __init__(self, source: str, policy: MediaPolicy, pictures: Path) -> None:
        self._data = read_media(source, policy)
        self.source = source
        self.policy = policy
        self.problems = []
        self.sha256 = sha256(self._data).hexdigest()
        self.pictures = pictures_folder(pictures, source, self.sha256)

    def open(self) -> BinaryIO:
        return BytesIO(self._data)

    def read(self) -> bytes:
        return self._data


def _stored(decoded: Decoded, file: SourceFile) -> dict[str, Any]:
    width, height = decoded.upright_size
    return {
        MIME_TYPE: decoded.image_format.mime_type,
        WIDTH: width,
        HEIGHT: height,
        SHA256: file.sha256,
    }
