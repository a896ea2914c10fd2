"""What Chroma asks of filters and metadata, and what comes back from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EDQUOT, EFBIG, ENOSPC
from os import PathLike, fspath
from typing import Any, TypeAlias, TypeVar

import numpy as np
from chromadb.base_types import SparseVector
from chromadb.errors import InternalError
from langchain_core.documents import Document

from langchain_mmrag._store.typed import typed
from langchain_mmrag.errors import StoreError
from langchain_mmrag.ranking import FloatArray, Side
from langchain_mmrag.types import MODALITY, PICTURED, PROBLEMS, SHOWS, WINDOW, Modality

Where: TypeAlias = dict[str, Any]
_T = TypeVar("_T")

_TYPE = "type"  # the older spelling of `modality`
_HIDDEN = (PICTURED, SHOWS, PROBLEMS)  # nobody's business outside
_SCALARS = (str, int, float, bool)
_DOCUMENT_KEY = "chroma:document"
_RESERVED_STARTS = ("#", "$")
_INT64 = range(-(2**63), 2**63)
_SIGNS_OF_A_FULL_DISK = ("Failed to apply logs", "disk is full", "disk I/O error", "No space left")
_IS_IMAGE: Where = {"$or": [{MODALITY: "image"}, {_TYPE: "image"}]}
_BY_PICTURE: Where = {"$or": [{MODALITY: "image"}, {_TYPE: "image"}, {PICTURED: True}]}
_BY_TEXT: Where = {
    "$and": [{MODALITY: {"$ne": "image"}}, {_TYPE: {"$ne": "image"}}, {PICTURED: {"$ne": True}}]
}
_IS_TEXT: Where = {
    "$and": [{MODALITY: {"$nin": ["image", "table", "video", "audio"]}}, {_TYPE: {"$ne": "image"}}]
}


def where(*conditions: Mapping[str, Any] | None) -> Where | None:
    """All of the conditions in the one form Chroma takes; `None` for no condition.

    Several keys in one mapping mean all of them, and so do several operators on one key.
    """
    parts = [part for condition in conditions for part in _single_conditions(condition or {})]
    return {"$and": parts} if len(parts) > 1 else next(iter(parts), None)


def of_documents(condition: Mapping[str, Any] | None) -> Where | None:
    """The condition of a caller, and that a row is a document: no window of one."""
    return where(typed(condition or {}), {WINDOW: {"$ne": True}})


def _single_conditions(condition: Mapping[str, Any]) -> Iterable[Where]:
    for key, value in condition.items():
        if key in {"$and", "$or"} and isinstance(value, Iterable):
            parts = [part for part in map(where, value) if part is not None]
            if len(parts) > 1:
                yield {key: parts}
            else:
                yield from parts
        elif isinstance(value, Mapping) and len(value) > 1:
            yield from ({key: {operator: operand}} for operator, operand in value.items())
        else:
            yield {key: value}


def of_modality(modality: Modality | None) -> Where | None:
    """The condition that a document is of a modality; no `modality` in its metadata means text."""
    if modality is None:
        return None
    if modality in {"image", "text"}:
        return _IS_IMAGE if modality == "image" else _IS_TEXT
    return {MODALITY: modality}


def of_side(side: Side) -> Where:
    """The condition that a document's vector is of one encoder."""
    return _BY_PICTURE if side == "image" else _BY_TEXT


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    Attributes:
        document: With its id.
        vector: As it is stored [d].
        distance: From the query, in the collection's space; lower is nearer.
    """

    document: Document
    vector: FloatArray
    distance: float

    @property
    def id(self) -> str:
        """Of the document."""
        return str(self.document.id)


def document(id_: str, text: str | None, metadata: Mapping[str, Any] | None) -> Document:
    """A row as a `Document`; Chroma says `None` for text or metadata that other programs left out."""
    shown = {key: value for key, value in (metadata or {}).items() if key not in _HIDDEN}
    return Document(id=id_, page_content=text or "", metadata=shown)


def hits(found: Mapping[str, Any]) -> list[Hit]:
    """The answer to a query of one vector, nearest first."""
    columns = ("ids", "documents", "metadatas", "embeddings", "distances")
    return [
        Hit(document(id_, text, metadata), np.asarray(vector, dtype=np.float64), float(distance))
        for id_, text, metadata, vector, distance in zip(*(found[name][0] for name in columns), strict=True)
    ]


def storable(metadata: Mapping[str, Any] | None, index: int) -> dict[str, Any]:
    """A copy of `metadata` in types Chroma takes: paths become `str`, NumPy scalars Python ones.

    Raises:
        TypeError: If it is no mapping.
        ValueError: If a key or value cannot be stored; the message names the document and the key.
    """
    given: Any = metadata
    if not isinstance(given, Mapping | None):
        msg = f"document {index}: its metadata is a {type(given).__name__}: give a dict, or None"
        raise TypeError(msg)
    return {key: _storable(value, key, index) for key, value in (metadata or {}).items()}


def _storable(value: Any, key: object, index: int) -> Any:
    if isinstance(key, str) and (key.startswith(_RESERVED_STARTS) or key == _DOCUMENT_KEY):
        msg = (
            f"document {index}: metadata[{key!r}] has a key that Chroma keeps for itself, as all that begin"
            f" with # or $, and {_DOCUMENT_KEY!r}: rename or drop it"
        )
        raise ValueError(msg)
    if isinstance(value, PathLike):
        value = fspath(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple | list | np.ndarray):
        value = [_storable(item, key, index) for item in value]
    if not isinstance(key, str) or not key or not _is_storable(value):
        kind = "an empty list" if isinstance(value, list) and not value else type(value).__name__
        msg = (
            f"document {index}: metadata[{key!r}] is {kind}, which Chroma does not store. Convert or drop it:"
            " keys are non-empty str, values str, int, float, bool, or a list of one of these types"
        )
        raise ValueError(msg)
    trouble = _changed_by_chroma(value) or _changed_by_chroma(key)
    if trouble:
        msg = f"document {index}: metadata[{key!r}] {trouble}"
        raise ValueError(msg)
    return value


def storable_id(id_: object, index: int) -> str | None:
    """The id a document was given, as a plain `str`; `None` for none.

    Raises:
        ValueError: If Chroma cannot store it; the message names the document.
    """
    if id_ is None:
        return None
    if trouble := _changed_by_chroma(id_):
        msg = f"document {index}: its id {trouble}"
        raise ValueError(msg)
    return str(id_)


def storable_text(text: str, index: int) -> str:
    """The text of a document, if Chroma can store it.

    Raises:
        ValueError: If it cannot; the message names the document.
    """
    if trouble := _changed_by_chroma(text):
        msg = f"document {index}: its text {trouble}"
        raise ValueError(msg)
    return text


def _changed_by_chroma(value: object) -> str | None:
    """What is wrong with a value that would not come back from Chroma as it was, and what to do about it."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, which Chroma loses: drop the key, or store it as a str"
    if isinstance(value, int) and value not in _INT64:
        return f"is {value}, but Chroma keeps ints of 64 bits: store it as a str"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return (
                f"has a lone surrogate, {value[error.start]!r} at {error.start}, which is no character: clean"
                ' it with text.encode(errors="replace").decode()'
            )
    return None


def _is_storable(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], _SCALARS) and len({type(item) for item in value}) == 1
    return value is None or isinstance(value, (*_SCALARS, SparseVector))


def listed(values: Iterable[_T] | None, what: str) -> list[_T]:
    """The values as a list.

    Raises:
        TypeError: If there is but one, outside of a list: a `str` would be taken for its letters.
    """
    if values is None:
        msg = f"expected a list of {what}, not None"
        raise TypeError(msg)
    if isinstance(values, str | bytes | PathLike | Mapping | Document) or not isinstance(values, Iterable):
        msg = f"expected a list of {what}, not one {type(values).__name__}: put it into a list"
        raise TypeError(msg)
    return list(values)


def listed_if_given(values: Iterable[_T] | None, what: str) -> list[_T] | None:
    """`listed`, but `None` stays `None`.

    Raises:
        TypeError: As `listed` does.
    """
    return None if values is None else listed(values, what)


@contextmanager
def reading(collection: str) -> Iterator[None]:
    """Say what is most likely the matter when Chroma cannot read a collection.

    Args:
        collection: Its name.

    Raises:
        StoreError: In place of Chroma's `InternalError`.
    """
    try:
        yield
    except InternalError as error:
        msg = (
            f"collection {collection!r} cannot be read ({error}): most likely another process has changed it"
            " on disk meanwhile. Open it again, or share it through a Chroma server (`chroma run`)"
        )
        raise StoreError(msg) from error


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Say what is most likely the matter when Chroma cannot write.

    Args:
        place: What it writes to, as a message should call it.

    Raises:
        StoreError: In place of errors that speak of the disk.
    """
    try:
        yield
    except (InternalError, OSError) as error:
        no_space = isinstance(error, OSError) and error.errno in {ENOSPC, EDQUOT, EFBIG}
        if not no_space and not any(sign in str(error) for sign in _SIGNS_OF_A_FULL_DISK):
            raise
        msg = (
            f"cannot write to {place} ({error}): most likely its disk is full. Make room, then do the same"
            " again: what was written stays, and is written again as it was"
        )
        raise StoreError(msg) from error


def same_length(texts: int, **others: list[Any] | None) -> None:
    """Refuse columns of different lengths.

    Raises:
        ValueError: Naming the first that does not have `texts` entries.
    """
    for name, values in others.items():
        if values is not None and len(values) != texts:
            msg = f"{len(values)} {name} for {texts} documents: give one for each, or none"
            raise ValueError(msg)
