"""The last step of a chain: the citations of its answer, checked while it comes; or quotes for an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables.utils import AddableDict

from langchain_mmrag._chain.question import ANSWER, CITATIONS, CONTEXT, REMOVED_CITATIONS, searched_of
from langchain_mmrag.citations import CitationChecker, citations_of
from langchain_mmrag.prompts import quotes_of


def check(chunks: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pass chunks on, the answer without citations that point at nothing; then what it cites."""
    answer = _CheckedAnswer()
    try:
        for chunk in chunks:
            yield from answer.take(chunk)
    except Exception:
        yield from answer.held_back()  # what came before the error is the user's all the same
        raise
    yield from answer.held_back()
    yield answer.citations()


async def acheck(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """`check` without blocking the event loop."""
    answer = _CheckedAnswer()
    try:
        async for chunk in chunks:
            for part in answer.take(chunk):
                yield part
    except Exception:
        for part in answer.held_back():
            yield part
        raise
    for part in answer.held_back():
        yield part
    yield answer.citations()


def quote(chunks: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pass chunks on; then quotes of what was found, in place of an answer, and what they cite."""
    state: dict[str, Any] = {}
    for chunk in chunks:
        state |= chunk
        yield chunk
    yield from _quoted(state)


async def aquote(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """`quote` without blocking the event loop."""
    state: dict[str, Any] = {}
    async for chunk in chunks:
        state |= chunk
        yield chunk
    for part in _quoted(state):
        yield part


def _quoted(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    answer, numbers = quotes_of(searched_of(state).text or "", state[CONTEXT])
    # brackets within what is quoted are no citations, so there is nothing to check
    found = {CITATIONS: citations_of(numbers, state[CONTEXT]), REMOVED_CITATIONS: []}
    return [AddableDict({ANSWER: answer}), AddableDict(found)]


class _CheckedAnswer:
    """One answer as it comes."""

    def __init__(self) -> None:
        self._documents: Sequence[Document] = ()
        self._checker = CitationChecker(0)
        self._has_begun = False

    def take(self, chunk: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if CONTEXT in chunk:
            self._documents = chunk[CONTEXT]
            self._checker = CitationChecker(len(self._documents))
        if ANSWER not in chunk:
            yield AddableDict(chunk)
            return
        text = self._checker.feed(chunk[ANSWER])
        if text or len(chunk) > 1:
            self._has_begun = True
            yield AddableDict({**chunk, ANSWER: text})

    def held_back(self) -> Iterator[dict[str, Any]]:
        rest = self._checker.finish()
        if rest or not self._has_begun:
            yield AddableDict({ANSWER: rest})

    def citations(self) -> dict[str, Any]:
        return AddableDict(
            {
                CITATIONS: citations_of(self._checker.numbers, self._documents),
                REMOVED_CITATIONS: self._checker.removed,
            }
        )
