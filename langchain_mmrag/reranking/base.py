"""What rerankers share: the query as it was asked, pictures of documents, and the order made of scores."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from PIL import Image
from pydantic import ConfigDict, Field

from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy, open_image
from langchain_mmrag.prompts import kind_of
from langchain_mmrag.queries import Query
from langchain_mmrag.types import CAPTION, OCR_TEXT, image_source, thumbnails_of

logger = logging.getLogger(__name__)

RELEVANCE_SCORE = "relevance_score"
"""Metadata key of a reranker's score, as LangChain's own rerankers call it."""

Item = TypeVar("Item")


class MultimodalReranker(BaseDocumentCompressor):
    """Base of the rerankers: puts documents into a better order, and keeps the first `top_n`.

    Documents are never changed: one that got a score comes back as a copy with `relevance_score` in its
    metadata.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    top_n: int | None = Field(default=None, ge=1)
    """How many documents to keep; all by default."""

    media_policy: MediaPolicy = DEFAULT_POLICY
    """What may be opened; by default, inside of a `MultimodalRetriever`, what its store may open. A document
    whose picture cannot be opened keeps its rank."""

    def _policy(self, query: str) -> MediaPolicy:
        """The policy given to this reranker, else that of the store whose documents these are."""
        of_store = getattr(query, "media_policy", None)
        if "media_policy" in self.model_fields_set or not isinstance(of_store, MediaPolicy):
            return self.media_policy
        return of_store


class ScoringReranker(MultimodalReranker):
    """Base of the rerankers that score each document by itself."""

    batch_size: int = Field(default=16, ge=1)
    """How many documents the model reads at once, and how many pictures are open at once."""

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 - LangChain's signature; nothing runs that could be told of
    ) -> list[Document]:
        """`documents`, the most relevant first.

        A document without a score (no picture for a model that reads pictures, or one that cannot be
        opened) keeps its rank; the others are put into order among the ranks that are left.

        Args:
            documents: In the order of the first stage.
            query: What was asked. A `MultimodalRetriever` passes on the whole `Query`, with its picture.
            callbacks: Not used.

        Raises:
            ModelUnavailableError: If the model cannot be loaded.
            MissingDependencyError: If the library that runs it is not installed.
            LoadError: If the picture asked with cannot be opened.
        """
        if not documents:
            return []
        scores = self._scores(query_of(query), documents, self._policy(query))
        return by_score(documents, scores)[: self.top_n]

    def _scores(self, query: Query, documents: Sequence[Document], policy: MediaPolicy) -> list[float | None]:
        """A score for each document, higher is better; `None` where there is none."""
        raise NotImplementedError


def query_of(query: str) -> Query:
    """The whole query, where a retriever passed it on inside of the `str` that LangChain asks for."""
    told = getattr(query, "query", None)
    return told if isinstance(told, Query) else Query(text=str(query))


def by_score(documents: Sequence[Document], scores: Sequence[float | None]) -> list[Document]:
    """Documents with a score in falling order among the ranks they hold; the others keep their rank.

    A score that is missing, or no finite number, is no signal: counting it as zero would bury a passage
    only because the model reads pictures alone. Equal scores keep the order of the first stage.
    """
    known = {rank: score for rank, score in enumerate(scores) if score is not None and math.isfinite(score)}
    ordered = [*documents]
    for rank, (origin, score) in zip(known, sorted(known.items(), key=lambda item: -item[1]), strict=True):
        document = documents[origin]
        ordered[rank] = document.model_copy(
            update={"metadata": {**document.metadata, RELEVANCE_SCORE: float(score)}}
        )
    return ordered


def picture_of(document: Document, policy: MediaPolicy) -> Image.Image | None:
    """The picture of a document, or the first key frame of a video; `None` if there is none to be had."""
    source = _picture_source(document)
    if source is None:
        return None
    try:
        return open_image(source, policy)
    except LoadError as error:
        logger.warning("a picture keeps its rank, for it cannot be opened: %s", error)
        return None


def has_picture(document: Document) -> bool:
    """Whether a document names a picture, without opening it."""
    return _picture_source(document) is not None


def picture_text(document: Document) -> str:
    """What is written about a picture (its caption) and in it."""
    metadata = document.metadata
    parts = (document.page_content or metadata.get(CAPTION), metadata.get(OCR_TEXT))
    return "\n".join(str(part).strip() for part in parts if part and str(part).strip())


def batched(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """`items` in lists of `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _picture_source(document: Document) -> str | None:
    kind = kind_of(document)
    if kind == "image":
        return image_source(document.metadata)
    return next(iter(thumbnails_of(document.metadata)), None) if kind == "video" else None
