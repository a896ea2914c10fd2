"""Name a source in a message, and why it is not shown: never its payload, never a secret."""

from __future__ import annotations

import os
import re
from typing import Any

from PIL import Image

from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsafeSourceError, UnsupportedFormatError
from langchain_mmrag.types import ImageInput

_LONGEST_SHOWN = 200
_LONGEST_PATH = 4096  # PATH_MAX; anything longer is data that was taken for a path
_URL = re.compile(r"https?://", re.IGNORECASE)
_USER_INFO = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/?#]*@", re.IGNORECASE)
_SECRET = re.compile(
    r"([?&;][^=&;#]*(?:sig|token|key|secret|passw|auth|credential)[^=&;#]*=)[^&;#]*", re.IGNORECASE
)


def is_url(source: object) -> bool:
    """Whether `source` is a string with an `http://` or `https://` address."""
    return isinstance(source, str) and _URL.match(source) is not None


def describe_source(source: ImageInput) -> str:
    """A short name of `source` for messages and logs.

    Paths and URLs are shown (user names, passwords and query values that look like secrets are masked,
    control characters escaped, long ones shortened); everything else is told by its kind and size.
    """
    if isinstance(source, str):
        return _describe_text(source)
    if isinstance(source, bytes):
        return f"bytes ({len(source)})"
    if isinstance(source, Image.Image):
        return f"PIL image {source.width}x{source.height}"
    if isinstance(source, os.PathLike):
        return _describe_text(os.fsdecode(source))
    return _describe_other(source)


def without_user_info(address: str) -> str:
    """An address of any scheme without user name and password; other text as it is."""
    return _USER_INFO.sub(r"\1", address)


def holds_secret(address: str) -> bool:
    """Whether a value in the query or fragment of an address goes by a name such as `token`."""
    return any(_SECRET.search(f"?{part}") for part in re.split("[?&;#]", address)[1:])


def reason_of(error: LoadError) -> str:
    """Why a picture is not shown, for the reader of a prompt or a page.

    The error's own message names whole paths, which are no business of a model's host.
    """
    if isinstance(error, UnsafeSourceError):
        return "the media policy forbids opening it"
    if isinstance(error, CorruptMediaError):
        return "its file is damaged"
    if isinstance(error, UnsupportedFormatError):
        return "its file is of a format that cannot be shown"
    return "its file can no longer be opened"


def _describe_text(text: str) -> str:
    if text[:5].lower() == "data:":
        return f"data-URI ({len(text)} bytes)"
    kind = "URL" if is_url(text) else "path"
    if len(text) > _LONGEST_PATH:
        return f"{kind} ({len(text)} characters)"
    text = _SECRET.sub(r"\1***", _USER_INFO.sub(r"\1***@", text)) if "://" in text else text
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    if len(text) > _LONGEST_SHOWN:
        text = f"{text[:120]}…{text[-60:]}"
    return text or "'' (an empty path)"


def _describe_other(source: Any) -> str:
    if isinstance(source, bytearray | memoryview):
        return f"bytes ({memoryview(source).nbytes})"
    name = getattr(source, "name", None)
    if isinstance(name, str) and name:
        return f"file {_describe_text(name)}"
    return f"{type(source).__name__} object"
