"""How a chain searches: by what its pattern compares, and with a threshold if there is one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.base import RunnableBindingBase, coerce_to_runnable
from langchain_core.runnables.config import run_in_executor
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.vectorstores import VectorStoreRetriever

from langchain_mmrag._chain.question import SEARCH_OPTIONS, searched_of
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
        TypeError: If the threshold is no number.
    """
    options: dict[str, Any] = {}
    if score_threshold is not None:
        _check_threshold(retriever, score_threshold)
        options["score_threshold"] = score_threshold
    by_text = pattern != "clip" and takes_option(retriever, "search")
    runnable, is_async = coerce_to_runnable(retriever), _hands_on_options(retriever)

    def plan(state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        asked = {**options, **_options_beside(state, retriever)}
        if by_text and _has_words(state):
            return _asked_in_words(state), {**asked, "search": "text"}
        return _asked(state), asked

    def search(state: Mapping[str, Any], config: RunnableConfig) -> list[Document]:
        asked, settings = plan(state)
        return _documents(runnable.invoke(asked, config, **settings))

    async def asearch(state: Mapping[str, Any], config: RunnableConfig) -> list[Document]:
        asked, settings = plan(state)
        if settings and not is_async:
            return await run_in_executor(config, search, state, config)
        return _documents(await runnable.ainvoke(asked, config, **settings))

    return RunnableLambda(search, asearch)


def takes_option(retriever: object, name: str) -> bool:
    """Whether a retriever's search takes a setting for a single call."""
    base = _base(retriever)
    return base is not None and _takes(base._get_relevant_documents, name)  # noqa: SLF001


def _base(retriever: object) -> BaseRetriever | None:
    """The retriever inside of `.bind()`, `.with_config()`, `.configurable_fields()` and the like."""
    while isinstance(retriever, RunnableBindingBase | DynamicRunnable):
        retriever = retriever.bound if isinstance(retriever, RunnableBindingBase) else retriever.default
    return retriever if isinstance(retriever, BaseRetriever) else None


def _takes(search: Callable[..., Any], name: str) -> bool:
    return name in inspect.signature(search).parameters


def _hands_on_options(retriever: object) -> bool:
    """Whether its asynchronous search is its own: LangChain's calls the other, but hands no settings on."""
    base = _base(retriever)
    asearch = BaseRetriever._aget_relevant_documents  # noqa: SLF001
    return base is None or type(base)._aget_relevant_documents is not asearch  # noqa: SLF001


def _options_beside(state: Mapping[str, Any], retriever: object) -> dict[str, Any]:
    """Settings of the search that stand beside a question; an error if the retriever would not heed them."""
    given = {name: state[name] for name in SEARCH_OPTIONS if state.get(name) is not None}
    for name in given:
        # that of LangChain hands to its store whatever it is given
        if not takes_option(retriever, name) and not isinstance(_base(retriever), VectorStoreRetriever):
            msg = (
                f'"{name}" beside "input": {type(retriever).__name__} takes no {name}: leave it out, or use a'
                " retriever whose search does, such as MultimodalRetriever(store=store)"
            )
            raise ValueError(msg)
    return given


def _documents(found: Any) -> list[Document]:
    """What a retriever gave, as a list; an error if that is no documents."""
    documents = [*found] if isinstance(found, Iterable) and not isinstance(found, str | Mapping) else None
    if documents is None or not all(isinstance(document, Document) for document in documents):
        other = next((one for one in documents or () if not isinstance(one, Document)), found)
        what = f"a {type(other).__name__}" if documents is None else f"a list with a {type(other).__name__}"
        msg = f"the retriever gave {what}: it must give a list of Documents"
        raise TypeError(msg)
    return documents


def _check_threshold(retriever: object, threshold: float) -> None:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        msg = f"score_threshold is {threshold!r}: give a number from 0 to 1"
        raise TypeError(msg)
    if not 0 <= threshold <= 1:
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
