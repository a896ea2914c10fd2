"""Which picture of a document gets a caption, and what the document says about it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from langchain_core.documents import Document

from langchain_mmrag.media import is_url
from langchain_mmrag.types import (
    CAPTION,
    HEADING,
    NEAR_ID,
    OCR_TEXT,
    SHA256,
    SOURCE,
    TITLE,
    image_source,
    modality_of,
    thumbnails_of,
)

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SAID_CHARS: Final = 600


def picture_of(metadata: Mapping[str, Any]) -> str | None:
    """Where the picture of a document lies that a caption would describe, if it has one.

    A picture's own; of a film the frame of a moment. A whole clip shows several, of which each moment tells
    one, so it has none.
    """
    modality = modality_of(metadata)
    if modality == "image":
        return image_source(metadata)
    frames = thumbnails_of(metadata) if modality == "video" else []
    return frames[0] if len(frames) == 1 else None


def known_digest(metadata: Mapping[str, Any]) -> str | None:
    """The SHA-256 of that picture, if the document has it: that of a film's frame it has not."""
    digest = str(metadata.get(SHA256, ""))
    return digest if modality_of(metadata) == "image" and _DIGEST.fullmatch(digest) else None


def context_of(document: Document, near: Mapping[str, Document]) -> str:
    """What is said about a picture where it is from, as JSON; `""` if that is nothing.

    Args:
        document: Of the picture.
        near: By id, the documents whose text may stand near it.
    """
    metadata = document.metadata
    beside = near.get(str(metadata.get(NEAR_ID)))
    source = str(metadata.get(SOURCE) or "")
    told = {
        "file": "" if is_url(source) else PurePosixPath(source.replace("\\", "/")).name,
        **{key: metadata.get(key) for key in (TITLE, HEADING, CAPTION, OCR_TEXT)},
        "words": document.page_content if document.page_content != metadata.get(CAPTION) else "",
        "text near it": beside.page_content if beside is not None else "",
    }
    said = {name: str(value or "").strip()[:_SAID_CHARS] for name, value in told.items()}
    said = {name: text for name, text in said.items() if text}
    return json.dumps(said, ensure_ascii=False) if said else ""
