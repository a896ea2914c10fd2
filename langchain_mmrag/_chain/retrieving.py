"""How a chain searches: by what its pattern compares, and with a threshold if there is one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableBranch, RunnableConfig, RunnableLambda
from langchain_core.runnables.base import RunnableBindingBase, coerce_to_runnable

from langchain_mmrag._chain.question import searched_of
from langchain_mmrag.queries import Query

RagPattern: TypeAlias = Literal["clip", "caption", "multi-vector"]
"""What is compared to find evidence, and what of it the model gets; see `create_rag_chain`."""

_WORDS = ("text", "not_text")


def check_pattern(pattern: str, *, images: bool | None) -> None:
    """Refuse a pattern nobody knows, and one that contradicts `images`.

    Raises:
        ValueError: If it is neither of these.
    """
    if pattern not in get_args(RagPattern):
        msg = f"unknown pattern {pattern!r}: use one of {', '.join(get_args(RagPattern))}"
        raise ValueError(msg)
    if pattern == "caption" and images:
        msg = (
            'pattern="caption" gives the model text alone, so images=True contradicts it: leave images out,'
            ' or use pattern="multi-vector", which finds by text and shows the pictures'
        )
        raise ValueError(msg)


def retrieval(
    retriever: Runnable[Any, list[Document]], pattern: RagPattern, score_threshold: float | None
) -> Runnable[Any, list[Document]]:
    """From a chain's running dict to the documents found.

    Raises:
        ValueError: If there is a threshold that is none, or that the retriever does not take.
    """
    options: dict[str, Any] = {}
    if score_threshold is not None:
        _check_threshold(retriever, score_threshold)
        options["score_threshold"] = score_threshold
    own_way = RunnableLambda(_asked).pipe(_bound(retriever, options))
    if pattern == "clip" or not takes_option(retriever, "search"):
        return own_way
    by_text = RunnableLambda(_asked_in_words).pipe(_bound(retriever, {**options, "search": "text"}))
    return RunnableBranch((_has_words, by_text), own_way)


def takes_option(retriever: object, name: str) -> bool:
    """Whether a retriever's search takes a setting for a single call."""
    base = _base(retriever)
    return base is not None and _takes(base._get_relevant_documents, name)  # noqa: SLF001


def _base(retriever: object) -> BaseRetriever | None:
    """The retriever inside of `.bind()`, `.with_config()` and the like."""
    while isinstance(retriever, RunnableBindingBase):
        retriever = retriever.bound
    return retriever if isinstance(retriever, BaseRetriever) else None


def _takes(search: Callable[..., Any], name: str) -> bool:
    return name in inspect.signature(search).parameters


def _bound(retriever: Runnable[Any, list[Document]], options: Mapping[str, Any]) -> Runnable[Any, Any]:
    runnable = coerce_to_runnable(retriever)
    base = _base(runnable)
    if not options or base is None:
        return runnable
    if type(base)._aget_relevant_documents is not BaseRetriever._aget_relevant_documents:  # noqa: SLF001
        return runnable.bind(**options)

    # LangChain's own asynchronous search calls the synchronous one, but hands no settings on.
    def search(asked: Any, config: RunnableConfig) -> list[Document]:
        return runnable.invoke(asked, config, **options)

    return RunnableLambda(search)


def _check_threshold(retriever: object, threshold: float) -> None:
    if isinstance(threshold, bool) or not 0 <= threshold <= 1:
        msg = f"score_threshold is {threshold!r}: give a relevance from 0 to 1"
        raise ValueError(msg)
    if not takes_option(retriever, "score_threshold"):
        msg = (
            f"{type(retriever).__name__} takes no score_threshold: use a retriever whose search does, such as"
            " MultimodalRetriever(store=store)"
        )
        raise ValueError(msg)


def _asked(state: Mapping[str, Any]) -> Any:
    query = searched_of(state)
    return query.text if query.text and query == Query(text=query.text) else query


def _has_words(state: Mapping[str, Any]) -> bool:
    return bool((searched_of(state).text or "").strip())


def _asked_in_words(state: Mapping[str, Any]) -> Any:
    """The question without its pictures, for a search by text alone."""
    query = searched_of(state)
    weights = {name: weight for name, weight in (query.weights or {}).items() if name in _WORDS}
    words = replace(query, image=None, not_image=None, weights=weights or None)
    return words.text if words == Query(text=words.text) else words
