"""Shared names: what an image input may be, the modalities, and the metadata keys of a `Document`."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL.Image import Image

Modality: TypeAlias = Literal["text", "image", "table", "video", "audio"]

ImageInput: TypeAlias = "str | PathLike[str] | bytes | BinaryIO | Image"
"""A path, `file://` or `http(s)://` URL, data-URI, encoded bytes, binary file or `PIL.Image`."""

MODALITY = "modality"
SOURCE = "source"
PATH = "path"  # of a picture that was taken out of its source
SHA256 = "sha256"
FILE_SHA256 = "file_sha256"
LOADER = "loader"
PART = "part"
PARTS = "parts"
MIME_TYPE = "mime_type"
WIDTH = "width"
HEIGHT = "height"
CAPTION = "caption"
OCR_TEXT = "ocr_text"
OCR_CONFIDENCE = "ocr_confidence"
SUMMARY = "summary"
THUMBNAIL = "thumbnail"
START_S = "start_s"
END_S = "end_s"
PAGE = "page"
ROW = "row"
LAST_ROW = "last_row"
SHEET = "sheet"
BBOX = "bbox"
TITLE = "title"
KEYWORDS = "keywords"
HEADING = "heading"
PARENT_ID = "parent_id"
NEAR_ID = "near_id"
CHUNK = "chunk"
CHUNK_START = "chunk_start"
CHUNK_END = "mmrag_chunk_end"  # these are marks of a store's own: no key of a caller's is taken for them
WINDOW = "mmrag_window"
PICTURED = "mmrag_pictured"  # embedded by its thumbnails, though it is no image
SHOWS = "mmrag_shows"  # on a file's last document: the digests of files it shows that are no documents of it
PROBLEMS = "mmrag_problems"  # there too: what could not be read of the file
TRUNCATED = "truncated"
COLLAPSED_IDS = "collapsed_ids"

_IMAGE_KEYS = (PATH, "uri", SOURCE)
_MODALITIES = ("text", "image", "table", "video", "audio")


def modality_of(metadata: Mapping[str, Any] | None) -> Modality:
    """Modality of a document by its metadata; absent means text.

    Reads `modality`, and the older spelling `{"type": "image"}` beside it.

    Raises:
        ValueError: If `modality` names none of the known modalities.
    """
    metadata = metadata or {}
    value = metadata.get(MODALITY)
    if value is None:
        return "image" if metadata.get("type") == "image" else "text"
    if value not in _MODALITIES:
        msg = f"unknown modality {value!r} in metadata: use one of {', '.join(_MODALITIES)}"
        raise ValueError(msg)
    known: Modality = value
    return known


def image_source(metadata: Mapping[str, Any] | None) -> str | None:
    """Where an image document's picture lies: its `path`, `uri` or `source`, the first that is set."""
    metadata = metadata or {}
    return next((str(metadata[key]) for key in _IMAGE_KEYS if metadata.get(key)), None)


def thumbnails_of(metadata: Mapping[str, Any] | None) -> list[str]:
    """Key frames of a video and the like: its `thumbnail`, a path or a list of them."""
    value = (metadata or {}).get(THUMBNAIL)
    values = value if isinstance(value, list | tuple) else [value]
    return [str(one) for one in values if isinstance(one, str | PathLike) and str(one).strip()]
