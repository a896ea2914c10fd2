"""Follow-up questions: a conversation and what it ends with, said as one question that stands alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, convert_to_messages
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough

from langchain_mmrag._chat_models import without_thoughts

CHAT_HISTORY = "chat_history"
STANDALONE_QUESTION = "standalone_question"

_REPHRASE = (
    "Read the conversation and the follow-up after it. Write the follow-up again as one question that can be"
    ' understood by someone who has not seen the conversation: put names in place of words such as "it" and'
    ' "there". Keep its language. Do not answer it. If it stands alone already, repeat it unchanged. Write'
    " the question only."
)

CONTEXTUALIZE_PROMPT = ChatPromptTemplate.from_messages(
    [
        (
            "system",
            _REPHRASE,
        ),
        MessagesPlaceholder(CHAT_HISTORY),
        ("human", "Follow-up: {input}"),
    ]
)

_LONGEST = 1000
_PREFIX = re.compile(
    r"^[*_]*(?:(?:stand-?\s?alone|rephrased|follow-?up) )?question[*_]*\s*:[*_]*\s*", re.IGNORECASE
)
_QUOTES = "\"'“”„«»`"


def history_of(state: Mapping[str, Any]) -> list[BaseMessage]:
    """The conversation in a chain's input, as messages; empty if there is none.

    Raises:
        ValueError: If it is none of what LangChain makes messages of.
    """
    given = state.get(CHAT_HISTORY)
    given = getattr(given, "messages", given)  # a history of LangChain's
    if given is None or (isinstance(given, Sequence) and not given):
        return []
    try:
        if isinstance(given, str | Mapping):
            raise TypeError  # noqa: TRY301 - LangChain would take its letters or keys for messages
        return list(convert_to_messages(given))
    except (NotImplementedError, TypeError, ValueError) as error:
        msg = (
            f'"{CHAT_HISTORY}" is a {type(given).__name__} that is no conversation: give LangChain messages'
            ' or pairs such as ("human", "Where is the lighthouse?"), ("ai", "At Cape Ann [1].")'
        )
        raise ValueError(msg) from error


def text_alone(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Messages of a conversation by their text: no pictures, and no calls of tools nor what these gave."""
    return [
        kind(content=text)
        for message in messages
        for kind in (HumanMessage, AIMessage, SystemMessage)
        if isinstance(message, kind) and (text := _text_of(message))
    ]


def rephraser(llm: Runnable[LanguageModelInput, BaseMessage]) -> Runnable[dict[str, Any], str]:
    """From `input` (text) and `chat_history` to a question that stands alone.

    The question itself, where the model gives nothing that could be one.
    """

    def conversation(state: Mapping[str, Any]) -> dict[str, Any]:
        return {"input": state["input"], CHAT_HISTORY: text_alone(history_of(state))}

    def as_question(state: Mapping[str, Any]) -> str:
        return standalone(state["written"], state["input"])

    written = RunnableLambda(conversation) | CONTEXTUALIZE_PROMPT | llm | StrOutputParser()
    return RunnablePassthrough.assign(written=written).pipe(RunnableLambda(as_question))


def standalone(written: str, question: str) -> str:
    """What a model wrote, as a question; `question` if that is none: empty, without words, or a treatise."""
    text = " ".join(without_thoughts(written).split())
    text = _PREFIX.sub("", text).strip().strip(_QUOTES).strip()
    usable = any(char.isalnum() for char in text) and len(text) <= max(_LONGEST, 2 * len(question))
    return text if usable else question


def _text_of(message: BaseMessage) -> str:
    text = str(message.text).strip()
    return text or ("(a picture)" if isinstance(message, HumanMessage) and message.content else "")
