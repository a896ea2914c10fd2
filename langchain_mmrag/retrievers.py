"""`MultimodalRetriever`: a store's ranked search as a LangChain retriever."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field, field_validator, model_validator

from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy
from langchain_mmrag.queries import Query
from langchain_mmrag.ranking import Collapse, Rank, SearchMode
from langchain_mmrag.types import Modality

_NOT_OURS = ("search_type", "search_kwargs")
_OF_A_QUERY = ("image", "not_image", "weights")
_LEAST_FETCHED = 20


class MultimodalRetriever(BaseRetriever):
    """Finds pictures and passages for text, a picture, or both.

    ```python
    retriever = MultimodalRetriever(store=store, k=6)
    retriever.invoke("red lighthouse")
    retriever.invoke(Query(image="postcard.jpg", text="at night"), k=2)
    retriever.invoke("lighthouse", not_text="fog", search="hybrid")
    ```

    It is called with a `str`, a `Query`, or a mapping with the keys of one. Every setting but `store`,
    `reranker` and `fetch_k` can be given here and for a single call.
    """

    model_config = ConfigDict(extra="forbid")  # else a misspelt setting would go unnoticed

    store: Any
    """A `MultimodalChroma`, or another vector store with its `search_ranked`."""

    k: int = Field(default=4, ge=1)
    """How many documents."""

    modality: Modality | None = None
    """Only documents of this modality."""

    filter: dict[str, Any] | None = None
    """Condition on the metadata; several keys mean all of them."""

    rank: Rank | None = None
    """How to rank, in place of the store's own way."""

    search: SearchMode | None = None
    """Whether to find by vectors, by words, or by both, in place of the store's own way."""

    collapse: Collapse | None = None
    """Which documents count as one, in place of the store's own way."""

    score_threshold: float | None = Field(default=None, ge=0, le=1)
    """Only documents of at least this relevance, from 0 to 1. It is the store's, whatever a reranker says."""

    reranker: BaseDocumentCompressor | None = None
    """Puts what the store found into a better order; `k` of it are kept. See `reranking`."""

    fetch_k: int | None = Field(default=None, ge=1)
    """How many documents the reranker is given: `4 * k`, at least 20, by default. Never fewer than `k`."""

    @model_validator(mode="before")
    @classmethod
    def _has_settings_of_its_own(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            _check_names(values)
        return values

    @field_validator("store")
    @classmethod
    def _can_rank(cls, store: Any) -> Any:
        if not callable(getattr(store, "search_ranked", None)):
            name = type(store).__name__
            msg = f"{name} has no search_ranked: use a MultimodalChroma, or store.as_retriever()"
            raise ValueError(msg)  # noqa: TRY004 - pydantic reports only ValueErrors
        return store

    def invoke(
        self,
        input: str | Query | Mapping[str, Any],  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The best documents for a query.

        Args:
            input: Text, a `Query`, or a mapping whose keys are attributes of one.
            config: LangChain's settings of the run.
            **kwargs: Settings for this call, and `not_text`: words for what is not wanted.

        Raises:
            LoadError: If a picture asked with cannot be read.
            ValueError: If the query or a setting is not what it should be, such as a `k` less than 1.
        """
        _check_call(kwargs)
        return super().invoke(_Told.of(input), config, **kwargs)

    async def ainvoke(
        self,
        input: str | Query | Mapping[str, Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """`invoke` without blocking the event loop."""
        _check_call(kwargs)
        return await super().ainvoke(_Told.of(input), config, **kwargs)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        modality: Modality | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002
        rank: Rank | None = None,
        search: SearchMode | None = None,
        collapse: Collapse | None = None,
        score_threshold: float | None = None,
        not_text: str | None = None,
    ) -> list[Document]:
        asked, wanted = _Told.of(_query(query, not_text)), self.k if k is None else k
        found = self._found(
            asked.query,
            self._fetched(wanted),
            filter or self.filter,
            modality=modality or asked.query.modality or self.modality,
            rank=rank or self.rank,
            search=search or self.search,
            collapse=collapse or self.collapse,
            score_threshold=self.score_threshold if score_threshold is None else score_threshold,
        )
        if self.reranker is None or not found:
            return found
        asked.media_policy = getattr(self.store, "media_policy", None)
        return [*self.reranker.compress_documents(found, asked, run_manager.get_child())][:wanted]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        not_text: str | None = None,
        **settings: Any,
    ) -> list[Document]:
        # LangChain's own would not pass k and the other settings on.
        asked, wanted = _Told.of(_query(query, not_text)), self.k if k is None else k
        first = self if self.reranker is None else self.model_copy(update={"reranker": None})
        found = await run_in_executor(
            None,
            first._get_relevant_documents,  # noqa: SLF001 - a copy of this very object
            asked,
            run_manager=run_manager.get_sync(),
            k=self._fetched(wanted),
            **settings,
        )
        if self.reranker is None or not found:
            return found
        asked.media_policy = getattr(self.store, "media_policy", None)
        return [*await self.reranker.acompress_documents(found, asked, run_manager.get_child())][:wanted]

    def _fetched(self, k: int) -> int:
        """How many documents to ask the store for, to give back `k`."""
        if self.reranker is None or k < 1:  # the store says what is wrong with such a k
            return k
        return max(k, max(4 * k, _LEAST_FETCHED) if self.fetch_k is None else self.fetch_k)

    def _found(
        self, query: Query, k: int, conditions: dict[str, Any] | None, **settings: Any
    ) -> list[Document]:
        always = {name: settings.pop(name) for name in ("modality", "rank")}
        # not every store that can rank knows the others: one that does not can do without
        given = {name: value for name, value in settings.items() if value is not None}
        found: list[tuple[Document, float]] = self.store.search_ranked(
            query, k, conditions, **always, **given
        )
        return [document for document, _ in found]

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        params = super()._get_ls_params(**kwargs)
        params["ls_vector_store_provider"] = type(self.store).__name__
        if embeddings := getattr(self.store, "embeddings", None):
            params["ls_embedding_provider"] = type(embeddings).__name__
        return params


def media_policy_of(retriever: object) -> MediaPolicy:
    """The media policy of a retriever's store, whose root folders hold for prompts too; else the default."""
    store = getattr(retriever, "store", None) or getattr(retriever, "vectorstore", None)
    inner = getattr(
        retriever, "base_retriever", None
    )  # of one that LangChain wraps, to compress what it finds
    if store is None and inner is not None:
        return media_policy_of(inner)
    policy = getattr(store, "media_policy", None)
    return policy if isinstance(policy, MediaPolicy) else DEFAULT_POLICY


def not_a_retriever(given: object) -> TypeError:
    """The error that says what to give in place of a store."""
    return TypeError(
        f"retriever is a {type(given).__name__}, not a retriever: use store.as_retriever() or"
        " MultimodalRetriever(store=store)"
    )


class _Told(str):
    """A query as callbacks and traces are told of it; they take a `str`, and must not be sent a picture."""

    __slots__ = ("media_policy", "query")

    query: Query
    media_policy: MediaPolicy | None

    @classmethod
    def of(cls, value: str | Query | Mapping[str, Any]) -> _Told:
        query = Query.of(value)
        is_text_alone = query.text is not None and query == Query(text=query.text, modality=query.modality)
        told = cls(query.text if is_text_alone else repr(query))
        told.query, told.media_policy = query, None
        return told


def _query(query: str, not_text: str | None) -> Query:
    asked = query.query if isinstance(query, _Told) else Query.of(query)
    return asked if not_text is None else replace(asked, not_text=not_text)


def _check_names(settings: Mapping[str, Any]) -> None:
    """Say what to do with the settings of LangChain's own retriever."""
    if strange := [name for name in _NOT_OURS if name in settings]:
        msg = (
            f"a MultimodalRetriever takes no {' and no '.join(strange)}: give k, filter, rank, search or"
            " score_threshold themselves, or use store.as_retriever(), which takes both"
        )
        raise ValueError(msg)


def _check_call(settings: Mapping[str, Any]) -> None:
    _check_names(settings)
    parameters = inspect.signature(MultimodalRetriever._get_relevant_documents).parameters  # noqa: SLF001
    known = [name for name in parameters if name not in {"self", "query", "run_manager"}]
    if unknown := [name for name in settings if name not in known]:
        beside = (
            f"; {', '.join(_OF_A_QUERY)} belong into a Query or a mapping"
            if set(unknown) & set(_OF_A_QUERY)
            else ""
        )
        msg = (
            f"a MultimodalRetriever knows no {', '.join(unknown)} for a call: use {', '.join(known)}{beside}"
        )
        raise ValueError(msg)
