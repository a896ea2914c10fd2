"""Where a document is from, and the id that follows from it."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from langchain_mmrag.errors import UnsupportedFormatError
from langchain_mmrag.media import is_url

FILE_ID_PREFIX: Final = "file:"
"""Starts the id of every document a loader made: indexing touches no document that was added otherwise."""


def source_of(path: str | os.PathLike[str]) -> str:
    """What goes into `metadata["source"]`: an address as it is, a path made absolute (links not resolved).

    Raises:
        UnsupportedFormatError: If the name of a file is not valid UTF-8, which a store cannot keep.
    """
    text = os.fspath(path)
    if printable(text) != text:
        msg = f"the name of {printable(text)} is not valid UTF-8: rename the file"
        raise UnsupportedFormatError(msg)
    return text if is_url(text) or text.startswith(("data:", "file:")) else os.path.abspath(text)  # noqa: PTH100


def printable(text: str) -> str:
    """A file's name with a mark in place of each byte that is not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def file_document_id(source: str, sha256: str, key: str = "0") -> str:
    """Id of part `key` of a file: the same file at the same place always gets the same ids.

    The place is part of it: two copies of a picture are two documents, and each goes when its file goes.
    """
    digest = hashlib.sha256(f"{source}\0{sha256}\0{key}".encode())
    return FILE_ID_PREFIX + digest.hexdigest()[:32]
