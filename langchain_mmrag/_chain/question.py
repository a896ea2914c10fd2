"""A chain's input: a question in whichever of its spellings, and the running dict that is made of it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from threading import Lock
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from langchain_mmrag.history import CHAT_HISTORY, STANDALONE_QUESTION, history_of
from langchain_mmrag.media import MediaPolicy, read_media
from langchain_mmrag.queries import Query
from langchain_mmrag.types import Modality

INPUT: Final = "input"
CONTEXT: Final = "context"
ANSWER: Final = "answer"
CITATIONS: Final = "citations"
REMOVED_CITATIONS: Final = "removed_citations"

_RESULTS: Final = (CONTEXT, ANSWER, CITATIONS, REMOVED_CITATIONS, STANDALONE_QUESTION)
_BESIDE: Final = ("image", "not_text", "not_image", "weights", "modality")
SEARCH_OPTIONS: Final = ("filter", "k")
_MISTAKEN: Final = {
    "images": 'one picture as "image", or more of them in questions of their own',
    "text": 'the words of the question as "input", or "input": {"text": ..., "image": ...}',
}
_READING = Lock()  # a batch may ask with one file in several threads
_INPUT_HELP: Final = (
    'a question is a str, a Query, or a dict whose "input" is a str, a Query or {"text": ..., "image": ...},'
    ' with "image" beside it for a picture'
)


class ToolInput(BaseModel):
    """A question in words."""

    # Pictures and filters are the caller's: a model that calls a tool made of the chain would name files.
    # What else it gives is dropped.
    model_config = ConfigDict(title="Question", extra="ignore")

    input: str = Field(description="The question, in words.")
    not_text: str | None = Field(default=None, description="Words for what is not wanted.")
    modality: Modality | None = Field(default=None, description="Search only in evidence of this kind.")


def question_of(state: Mapping[str, Any]) -> Query:
    """The question in a chain's input, whichever of its spellings was used.

    Raises:
        ValueError: If there is no question in it, parts of it stand in two places, or it is no good `Query`.
        TypeError: If `input` is of a kind that is no question.
    """
    value = state.get(INPUT)
    beside = {name: state[name] for name in _BESIDE if state.get(name) is not None}
    is_blank = isinstance(value, str) and not value.strip()
    if (value is None or is_blank) and "image" not in beside:
        keys = sorted(map(str, state))
        what = "the question is empty" if is_blank else f"no question in a dict with the keys {keys}"
        msg = f"{what}: {_INPUT_HELP}"
        raise ValueError(msg)
    if value is None or isinstance(value, str):
        return Query(text=None if is_blank else value, **beside)
    if not isinstance(value, Query | Mapping):
        msg = f'"input" is a {type(value).__name__}: {_INPUT_HELP}'
        raise TypeError(msg)
    if beside:
        names = ", ".join(f'"{name}"' for name in beside)
        msg = f'{names} may stand beside "input" only if that is a str: put all of it into the query itself'
        raise ValueError(msg)
    query = Query.of(value)
    if query.image is None and not (query.text or "").strip():
        msg = f"the question is empty: {_INPUT_HELP}"
        raise ValueError(msg)
    return query


def searched_of(state: Mapping[str, Any]) -> Query:
    """The question as it is searched with: of a follow-up what stands alone, its picture kept."""
    query = question_of(state)
    standalone = state.get(STANDALONE_QUESTION)
    if not standalone or standalone == query.text:
        return query
    try:
        return replace(query, text=standalone)
    except ValueError:  # what the model wrote is the very thing that is not wanted
        return query


def is_follow_up(state: Mapping[str, Any]) -> bool:
    """Whether there are words to say again, and a conversation they may rest on."""
    return bool((question_of(state).text or "").strip() and history_of(state))


def state_of(value: Any, media_policy: MediaPolicy, wanted: Container[str] = ()) -> dict[str, Any]:
    """The chain's running dict: what was put in, kept as it is; a bare question becomes its `input`.

    What an earlier run added is left out, so that its result can be put in again with another question.

    Args:
        value: What the chain was called with.
        media_policy: What may be read.
        wanted: Keys that the prompt has a place for.
    """
    given = {**value} if isinstance(value, Mapping) else {INPUT: value}
    state = {name: part for name, part in given.items() if name not in _RESULTS}
    for name, right in _MISTAKEN.items():
        if name in state and INPUT in state and name not in wanted:
            msg = f'"{name}" beside "input" would go unnoticed: give {right}'
            raise ValueError(msg)
    if isinstance(state.get(CHAT_HISTORY), Iterator):  # it can be gone through only once
        state[CHAT_HISTORY] = [*state[CHAT_HISTORY]]
    query = question_of(state)  # a wrong input fails here, before anything is searched
    history_of(state)
    # an open file reads once, but both the search and the prompt need the picture
    images = {name: getattr(query, name) for name in ("image", "not_image")}
    read: dict[str, Any] = {
        name: _read(image, media_policy) for name, image in images.items() if hasattr(image, "read")
    }
    asked = state.get(INPUT)
    for name, data in read.items():
        if state.get(name) is not None:
            state[name] = data
        elif isinstance(asked, Query):
            state[INPUT] = asked = replace(asked, **{name: data})
        elif isinstance(asked, Mapping):
            state[INPUT] = asked = {**asked, name: data}
    return state


def _read(file: Any, media_policy: MediaPolicy) -> bytes:
    """All of an open file, which is left where it stood, so that the question can be asked again."""
    with _READING:
        start = file.tell() if getattr(file, "seekable", bool)() else None
        data = read_media(file, media_policy)
        if start is not None:
            file.seek(start)
    return data
