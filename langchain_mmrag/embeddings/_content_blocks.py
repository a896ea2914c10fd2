"""Which text or picture a LangChain content block holds."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping

from langchain_mmrag.errors import CorruptMediaError, UnsafeSourceError, UnsupportedModalityError

_URL_SCHEMES = ("http://", "https://", "data:")


def text_of(block: Mapping[str, object]) -> str | None:
    """The text of a `text` or `text-plain` block; None if it is no text block."""
    if block.get("type") not in {"text", "text-plain"}:
        return None
    text = block.get("text")
    return text if isinstance(text, str) else None


def picture_of(block: Mapping[str, object], index: int) -> str | bytes:
    """The picture of an image block, as a URL or as encoded bytes.

    Reads the standard `image` block (`url` or `base64`), its predecessor with `source_type`, and `image_url`.

    Raises:
        UnsupportedModalityError: If the block is no image block, or names a file kept by a provider.
        UnsafeSourceError: If its address is neither `http(s)` nor a data-URI. Blocks come with chat messages, from
            people who have no business naming files of this machine.
        CorruptMediaError: If its base64 cannot be decoded.
    """
    kind = block.get("type")
    if kind == "image_url":
        value = block.get("image_url")
        return _checked_url(value.get("url") if isinstance(value, Mapping) else value, index)
    if kind != "image":
        msg = f"content block {index} is of type {kind!r}: only text and image blocks can be embedded"
        raise UnsupportedModalityError(msg)
    encoded = block.get("base64", block.get("data"))
    if isinstance(encoded, str):
        return _decoded(encoded, index)
    if isinstance(block.get("url"), str):
        return _checked_url(block["url"], index)
    msg = (
        f"image block {index} has neither url nor base64 (a file_id names a file only its provider can read)"
    )
    raise UnsupportedModalityError(msg)


def _checked_url(url: object, index: int) -> str:
    if isinstance(url, str) and url.lower().startswith(_URL_SCHEMES):
        return url
    msg = (
        f"image block {index} has an address that is neither http(s) nor a data-URI; "
        "for a file of this machine call embed_image(path)"
    )
    raise UnsafeSourceError(msg)


def _decoded(encoded: str, index: int) -> bytes:
    try:
        return b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        msg = f"image block {index}: its base64 cannot be decoded ({error})"
        raise CorruptMediaError(msg) from error
