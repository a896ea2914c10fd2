"""What a collection has under ids that somebody else names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStoreRetriever

from langchain_mmrag._store.chroma import of_modality, where
from langchain_mmrag.errors import StoreError
from langchain_mmrag.retrievers import MultimodalRetriever

logger = logging.getLogger(__name__)

GONE: Final = "no longer in the collection"


def chroma_of(retriever: BaseRetriever) -> Any:
    """The collection a retriever searches, if it is one whose metadata can be looked at."""
    store = getattr(retriever, "store", None) or getattr(retriever, "vectorstore", None)
    if store is None:
        return None
    from langchain_chroma import Chroma

    return store if isinstance(store, Chroma) else None


def within(store: Any, ids: Sequence[str], condition: Mapping[str, Any] | None) -> list[Document]:
    """The documents with these ids that meet a condition.

    Args:
        store: A `langchain_chroma.Chroma`.
        ids: Of documents; those of none are left out.
        condition: In Chroma's form.
    """
    found: list[Document] = store.get_by_ids(list(ids)) if ids else []
    if condition is None or not found:
        return found
    inside = set(store.get([str(each.id) for each in found], condition, include=[])["ids"])
    return [each for each in found if each.id in inside]


class Stored:
    """The documents a retriever can find, by their ids.

    Args:
        store: A `langchain_chroma.Chroma`.
        condition: What a document must meet to be found, in Chroma's form.
    """

    def __init__(self, store: Any, condition: Mapping[str, Any] | None) -> None:
        self._store = store
        self._condition = condition

    @classmethod
    def of(cls, retriever: BaseRetriever, own_filter: Mapping[str, Any] | None) -> Stored | None:
        """Those of a retriever, if it gives documents of its collection as they are kept there."""
        store = chroma_of(retriever)
        if store is None or not isinstance(retriever, MultimodalRetriever | VectorStoreRetriever):
            return None
        return cls(store, where(own_filter, of_modality(getattr(retriever, "modality", None))))

    def anew(self, documents: Sequence[Document]) -> list[Document] | None:
        """Documents of an artifact as they are kept now; `None` if the collection cannot be read.

        Of an artifact's own only the text is taken, which is the part that was found: it opens nothing.
        """
        from chromadb.errors import ChromaError

        ids = list(dict.fromkeys(str(each.id) for each in documents))
        try:
            kept = {str(each.id): each for each in within(self._store, ids, self._condition)}
        except (ChromaError, StoreError) as error:
            logger.warning("pictures of a tool's message are not shown at full size: %s", error)
            return None
        return [_anew(each, kept.get(str(each.id))) for each in documents]


def _anew(document: Document, kept: Document | None) -> Document:
    if kept is None:
        return Document(id=document.id, page_content="", metadata={"title": GONE})
    return Document(id=kept.id, page_content=document.page_content, metadata=kept.metadata)
