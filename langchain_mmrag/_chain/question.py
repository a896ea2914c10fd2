"""A chain's input: a question in whichever of its spellings, and the running dict that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from langchain_mmrag.history import STANDALONE_QUESTION, history_of
from langchain_mmrag.media import MediaPolicy, read_media
from langchain_mmrag.queries import Query

INPUT: Final = "input"
CONTEXT: Final = "context"
ANSWER: Final = "answer"
CITATIONS: Final = "citations"
REMOVED_CITATIONS: Final = "removed_citations"

_RESULTS: Final = (CONTEXT, ANSWER, CITATIONS, REMOVED_CITATIONS, STANDALONE_QUESTION)
_BESIDE: Final = ("image", "not_text", "not_image", "weights", "modality")
_INPUT_HELP: Final = (
    'a question is a str, a Query, or a dict whose "input" is a str, a Query or {"text": ..., "image": ...},'
    ' with "image" beside it for a picture'
)


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


def state_of(value: Any, media_policy: MediaPolicy) -> dict[str, Any]:
    """The chain's running dict: what was put in, kept as it is; a bare question becomes its `input`.

    What an earlier run added is left out, so that its result can be put in again with another question.
    """
    given = {**value} if isinstance(value, Mapping) else {INPUT: value}
    state = {name: part for name, part in given.items() if name not in _RESULTS}
    query = question_of(state)  # a wrong input fails here, before anything is searched
    history_of(state)
    images = {name: getattr(query, name) for name in ("image", "not_image")}
    # an open file reads once, but both the search and the prompt need the picture
    read: dict[str, Any] = {
        name: read_media(image, media_policy) for name, image in images.items() if hasattr(image, "read")
    }
    if read:
        state = {name: part for name, part in state.items() if name not in _BESIDE}
        state[INPUT] = replace(query, **read)
    return state
