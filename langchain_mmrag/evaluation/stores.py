"""From a dataset to a collection, and from a collection to the retrievers that are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain_mmrag.evaluation.dataset import EvalDocument, RetrievalDataset
from langchain_mmrag.ranking import Rank, SearchMode
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.types import SOURCE, modality_of

if TYPE_CHECKING:
    from langchain_mmrag.evaluation.builders.answers import By
    from langchain_mmrag.vectorstores import MultimodalChroma

_AT_ONCE = 256


@contextmanager
def collection_of(
    dataset: RetrievalDataset,
    embedding: Any,
    on_progress: Callable[[int, int, str], None] = lambda *_: None,
    *,
    text_embedding: Any | None = None,
) -> Iterator[MultimodalChroma]:
    """A collection in memory of a dataset's documents, gone afterwards.

    Args:
        dataset: What to store.
        embedding: Any embedding a store takes.
        on_progress: Told how many documents of how many are stored.
        text_embedding: One for text alone, as a store takes it.

    Raises:
        LoadError: If a picture cannot be read.
    """
    from langchain_mmrag.vectorstores import MultimodalChroma

    store = MultimodalChroma(f"evaluation-{uuid4()}", embedding, text_embedding=text_embedding)
    try:
        total = len(dataset.documents)
        for start in range(0, total, _AT_ONCE):
            batch = dataset.documents[start : start + _AT_ONCE]
            store.add_documents([each.to_document() for each in batch], ids=[each.id for each in batch])
            on_progress(min(start + _AT_ONCE, total), total, dataset.name)
        yield store
    finally:
        store.delete_collection()


def retrievers_of(
    store: Any,
    dataset: RetrievalDataset,
    *,
    k: int,
    ranks: Sequence[Rank],
    searches: Sequence[SearchMode | None] = (None,),
) -> dict[str, MultimodalRetriever]:
    """A retriever for each way of ranking and searching, by its name.

    Args:
        store: The collection.
        dataset: What it will be asked; where a query excludes documents, that many more are found.
        k: How many documents count.
        ranks: Ways of ranking.
        searches: Ways of searching; `None` is the store's own.
    """
    more = max((len(query.exclude) for query in dataset.queries), default=0)
    return {
        name: MultimodalRetriever(store=store, k=k + more, rank=rank, search=search)
        for name, (rank, search) in ways(ranks, searches).items()
    }


def ways(
    ranks: Sequence[Rank], searches: Sequence[SearchMode | None]
) -> dict[str, tuple[Rank, SearchMode | None]]:
    """Every way of ranking with every way of searching, by a name for both."""
    pairs = product(ranks, searches)
    return {rank if len(searches) == 1 else f"{rank}, {search}": (rank, search) for rank, search in pairs}


def documents_of(store: Any) -> Mapping[By, list[EvalDocument]]:
    """What a collection holds: its documents, and its sources.

    Args:
        store: The collection; its `get` is asked.
    """
    rows = store.get(include=["metadatas"])
    by_id: list[EvalDocument] = []
    by_source: dict[str, EvalDocument] = {}
    for id_, metadata in zip(rows["ids"], rows["metadatas"], strict=True):
        kind = {"modality": modality_of(metadata)}
        by_id.append(EvalDocument(id=id_, text=id_, metadata=kind))
        source = str((metadata or {}).get(SOURCE) or "")
        if source:
            by_source.setdefault(source, EvalDocument(id=source, text=source, metadata=kind))
    return {"ids": by_id, "sources": list(by_source.values())}
