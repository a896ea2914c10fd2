"""Any kind of source to bytes, held to the policy."""

from __future__ import annotations

import base64
import binascii
import os
import re
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import url2pathname

from PIL import Image

from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsafeSourceError
from langchain_mmrag.media.describe import describe_source, is_url
from langchain_mmrag.media.local import read_local
from langchain_mmrag.media.policy import DEFAULT_POLICY, MediaPolicy, check_size, read_bounded
from langchain_mmrag.types import ImageInput

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n\f"


def read_media(source: ImageInput, policy: MediaPolicy = DEFAULT_POLICY) -> bytes:
    """The raw bytes of `source`.

    A string is a data-URI if it starts with `data:`, an address if with `http://` or `https://`, a local file
    if with `file://`, else a path. A file object is read from where it stands and left open.

    Raises:
        SourceNotFoundError: If there is no such file or address.
        UnsafeSourceError: If the policy forbids it.
        LoadError: If it cannot be read.
        TypeError: If `source` is of no such kind, or already a `PIL.Image`.
    """
    if isinstance(source, str):
        return _read_text(source, policy)
    if isinstance(source, bytes | bytearray | memoryview):
        check_size(memoryview(source).nbytes, describe_source(source), policy)
        return bytes(source)
    if isinstance(source, os.PathLike):
        return read_local(os.fsdecode(source), policy)
    if isinstance(source, Image.Image) or not callable(getattr(source, "read", None)):
        msg = f"expected a path, URL, data-URI, bytes or binary file, not {type(source).__name__}"
        raise TypeError(msg)
    return _read_file(source, policy)


def _read_text(text: str, policy: MediaPolicy) -> bytes:
    if text[:5].lower() == "data:":
        return _read_data_uri(text, policy)
    if is_url(text):
        from langchain_mmrag.media.remote import fetch

        return fetch(text, policy)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return read_local(text, policy)
    if scheme[1].lower() == "file":
        return read_local(path_of_file_url(text), policy)
    msg = f"{describe_source(text)}: addresses are read over http and https only, not {scheme[1].lower()}"
    raise UnsafeSourceError(msg)


def path_of_file_url(url: str) -> str:
    """The path that a `file://` address names.

    Raises:
        UnsafeSourceError: If it names another computer.
        LoadError: If it is no address.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        msg = f"{describe_source(url)} is not a valid URL: {error}"
        raise LoadError(msg) from error
    if parts.netloc.lower() not in {"", "localhost"}:
        msg = f"{describe_source(url)} names another computer: use file:///path for a local file"
        raise UnsafeSourceError(msg)
    return url2pathname(parts.path)


def _read_data_uri(uri: str, policy: MediaPolicy) -> bytes:
    name = describe_source(uri)
    header, comma, payload = uri.partition(",")
    if not comma:
        msg = f"{name} has no comma: the form is data:image/png;base64,<data>"
        raise CorruptMediaError(msg)
    # Percent-encoding triples a byte and base64 adds a third: more than 4 times the cap is over it anyway.
    check_size(len(payload) // 4, name, policy)
    data = unquote_to_bytes(payload)
    if header.lower().endswith(";base64"):
        data = _from_base64(data, name)
    check_size(len(data), name, policy)
    return data


def _from_base64(data: bytes, name: str) -> bytes:
    data = data.translate(_STANDARD_ALPHABET, _BLANKS).rstrip(b"=")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        msg = f"{name} is not valid base64 ({error})"
        raise CorruptMediaError(msg) from error


def _read_file(file: Any, policy: MediaPolicy) -> bytes:
    name = describe_source(file)
    try:
        return read_bounded(file.read, name, policy)
    except LoadError:  # some of ours are `OSError`s too, and say more
        raise
    except OSError as error:
        msg = f"cannot read {name}: {error}"
        raise LoadError(msg) from error
