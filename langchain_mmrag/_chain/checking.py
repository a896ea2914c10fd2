"""The last step of a chain: the citations of its answer, checked while it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables.utils import AddableDict

from langchain_mmrag._chain.question import ANSWER, CITATIONS, CONTEXT, REMOVED_CITATIONS
from langchain_mmrag.citations import CitationChecker, citations_of, quoted_numbers


class AnswerCheck:
    """Checks the citations in a chain's running dict, whole or in chunks, and adds what it found.

    Args:
        quoted: Whether answers are quotes of the evidence, whose own brackets are left alone.
    """

    def __init__(self, *, quoted: bool) -> None:
        self._quoted = quoted

    def check(self, chunks: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Pass chunks on, the answer without citations that point at nothing; then what it cites."""
        answer = _CheckedAnswer(quoted=self._quoted)
        try:
            for chunk in chunks:
                yield from answer.take(chunk)
        except Exception:
            yield from answer.held_back()  # what came before the error is the user's all the same
            raise
        yield from answer.held_back()
        yield answer.citations()

    async def acheck(self, chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        """`check` without blocking the event loop."""
        answer = _CheckedAnswer(quoted=self._quoted)
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


class _CheckedAnswer:
    """One answer as it comes."""

    def __init__(self, *, quoted: bool) -> None:
        self._quoted = quoted
        self._documents: Sequence[Document] = ()
        self._checker = CitationChecker(0)
        self._text = ""
        self._has_begun = False

    def take(self, chunk: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if CONTEXT in chunk:
            self._documents = chunk[CONTEXT]
            self._checker = CitationChecker(len(self._documents))
        if ANSWER not in chunk:
            yield AddableDict(chunk)
            return
        text = chunk[ANSWER] if self._quoted else self._checker.feed(chunk[ANSWER])
        self._text += text
        if text or len(chunk) > 1:
            self._has_begun = True
            yield AddableDict({**chunk, ANSWER: text})

    def held_back(self) -> Iterator[dict[str, Any]]:
        rest = self._checker.finish()
        if rest or not self._has_begun:
            yield AddableDict({ANSWER: rest})

    def citations(self) -> dict[str, Any]:
        numbers = quoted_numbers(self._text) if self._quoted else self._checker.numbers
        return AddableDict(
            {
                CITATIONS: citations_of(numbers, self._documents),
                REMOVED_CITATIONS: self._checker.removed,
            }
        )
