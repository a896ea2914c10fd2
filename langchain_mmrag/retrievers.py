"""`MultimodalRetriever`: a store's ranked search as a LangChain retriever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field, field_validator

from langchain_mmrag.queries import Query
from langchain_mmrag.types import Modality

Rank: TypeAlias = Literal["calibrated", "raw"]


class MultimodalRetriever(BaseRetriever):
    """Finds pictures and passages for text, a picture, or both.

    ```python
    retriever = MultimodalRetriever(store=store, k=6)
    retriever.invoke("red lighthouse")
    retriever.invoke(Query(image="postcard.jpg", text="at night"), k=2)
    ```

    It is called with a `str`, a `Query`, or a mapping with the keys of one. `k`, `modality`, `filter` and
    `rank` can be set here and for a single call.
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
            input: Text, a `Query`, or a mapping with the keys `text`, `image` and `modality`.
            config: LangChain's settings of the run.
            **kwargs: `k`, `modality`, `filter` and `rank`, for this call.

        Raises:
            LoadError: If the picture asked with cannot be read.
            ValueError: If `k` is less than 1.
        """
        return super().invoke(_Told.of(input), config, **kwargs)

    async def ainvoke(
        self,
        input: str | Query | Mapping[str, Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """`invoke` without blocking the event loop."""
        return await super().ainvoke(_Told.of(input), config, **kwargs)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - LangChain asks for it
        k: int | None = None,
        modality: Modality | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002
        rank: Rank | None = None,
    ) -> list[Document]:
        asked = query.query if isinstance(query, _Told) else Query.of(query)
        found: list[tuple[Document, float]] = self.store.search_ranked(
            asked,
            self.k if k is None else k,
            filter or self.filter,
            modality=modality or asked.modality or self.modality,
            rank=rank or self.rank,
        )
        return [document for document, _ in found]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        # LangChain's own would not pass k and the other settings on.
        sync = run_manager.get_sync()
        return await run_in_executor(None, self._get_relevant_documents, query, run_manager=sync, **kwargs)

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        params = super()._get_ls_params(**kwargs)
        params["ls_vector_store_provider"] = type(self.store).__name__
        if embeddings := getattr(self.store, "embeddings", None):
            params["ls_embedding_provider"] = type(embeddings).__name__
        return params


class _Told(str):
    """A query as callbacks and traces are told of it; they take a `str`, and must not be sent a picture."""

    __slots__ = ("query",)

    query: Query

    @classmethod
    def of(cls, value: str | Query | Mapping[str, Any]) -> _Told:
        query = Query.of(value)
        told = cls(query.text if query.image is None else repr(query))
        told.query = query
        return told
