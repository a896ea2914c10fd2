"""What a collection holds of rows, as a ledger reads it: a page at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count as counter
from typing import TYPE_CHECKING, Any, Final

from langchain_mmrag._store.chroma import reading
from langchain_mmrag._store.ledger_rows import Content
from langchain_mmrag.errors import StoreError
from langchain_mmrag.types import PARENT_ID, WINDOW

if TYPE_CHECKING:
    from chromadb import Collection

LISTED_PAGE: Final = 10_000  # rows from a collection on this machine: each page touches much of the ledger


def rows_of(collection: Collection, ids: list[str]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Text and metadata of those ids that the collection has."""
    return {id_: (each.text, each.metadata) for id_, each in contents_of(collection, ids=ids).items()}


def contents_of(collection: Collection, *, with_vectors: bool = False, **which: Any) -> dict[str, Content]:
    """What the collection holds of some rows.

    A client cannot read vectors that another process wrote after it was opened: then there are none.

    Args:
        collection: Has the rows.
        with_vectors: Whether their vectors are wanted, which takes more time than all else.
        **which: `ids`, or `limit` and `offset`.
    """
    columns = ["documents", "metadatas"]
    if with_vectors:
        try:
            return _contents(collection, [*columns, "embeddings"], which)
        except StoreError:
            pass
    return _contents(collection, columns, which)


def _contents(collection: Collection, columns: list[Any], which: Mapping[str, Any]) -> dict[str, Content]:
    with reading(collection.name):
        found: Any = collection.get(include=columns, **which)
    ids = found["ids"]
    vectors = found["embeddings"] if "embeddings" in columns else [None] * len(ids)
    each = zip(ids, found["documents"] or (), found["metadatas"] or (), vectors, strict=True)
    return {id_: Content(text or "", metadata or {}, vector) for id_, text, metadata, vector in each}


def windows_in(collection: Collection, parents: Sequence[str]) -> list[tuple[str, str]]:
    """Parent and id of the windows of some parents, for which Chroma has to look at all of its metadata."""
    condition: Any = {"$and": [{WINDOW: True}, {PARENT_ID: {"$in": list(parents)}}]}
    with reading(collection.name):
        found: Any = collection.get(where=condition, include=["metadatas"])
    columns = (found["metadatas"] or (), found["ids"])
    return [(str(metadata[PARENT_ID]), id_) for metadata, id_ in zip(*columns, strict=True)]


def listed_ids(collection: Collection, size: int) -> Iterator[tuple[int, list[str]]]:
    """All ids of a collection, page by page, with the place of each page's first."""
    for start in counter(0, size):
        with reading(collection.name):
            ids = collection.get(limit=size, offset=start, include=[])["ids"]
        if ids:
            yield start, ids
        if len(ids) < size:
            return
