"""What a chain's prompt is filled with: question, conversation, examples and evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.documents import Document
from langchain_core.example_selectors import BaseExampleSelector
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables.config import run_in_executor

from langchain_mmrag._chain.question import CONTEXT, INPUT, question_of, searched_of
from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.few_shot import Examples, example_messages, selection_input
from langchain_mmrag.history import CHAT_HISTORY, STANDALONE_QUESTION, history_of, text_alone
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.prompts import FormatDocuments, documents_to_text, evidence_message, text_if_no_pictures

CONTEXT_MESSAGES: Final = "context_messages"
EXAMPLES: Final = "examples"

_PICTURE_ALONE = "The question is the picture supplied by the user: say what the evidence tells about it."


@dataclass(frozen=True, kw_only=True)
class PromptRules:
    """How a question, its evidence and examples enter a prompt.

    Attributes:
        wanted: The variables the prompt has a place for.
        images: Whether pictures are shown.
        budget: What the evidence may take.
        media_policy: What may be opened; asked at each run, as a store's own may change while it fills.
        format_documents: The caller's own layout of the evidence.
        examples: To be shown before the question.
    """

    wanted: frozenset[str]
    images: bool
    budget: PromptBudget
    media_policy: Callable[[], MediaPolicy]
    format_documents: FormatDocuments | None
    examples: Examples

    def variables(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """What a prompt is filled with."""
        return self._variables(state, self._chosen(state))

    async def avariables(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """`variables`, opening pictures in a worker thread."""
        chosen: Sequence[Any] = ()
        if not isinstance(self.examples, BaseExampleSelector):
            chosen = self.examples
        elif EXAMPLES in self.wanted:
            chosen = await self.examples.aselect_examples(selection_input(searched_of(state)))
        return await run_in_executor(None, self._variables, state, chosen)

    def _chosen(self, state: Mapping[str, Any]) -> Sequence[Any]:
        if not isinstance(self.examples, BaseExampleSelector):
            return self.examples
        if EXAMPLES not in self.wanted:
            return ()
        return self.examples.select_examples(selection_input(searched_of(state)))

    def _variables(self, state: Mapping[str, Any], examples: Sequence[Any]) -> dict[str, Any]:
        query, documents = question_of(state), state[CONTEXT]
        variables = {
            **state,
            INPUT: query.text or _PICTURE_ALONE,
            STANDALONE_QUESTION: searched_of(state).text or _PICTURE_ALONE,
        }
        history = history_of(state)
        variables[CHAT_HISTORY] = history if self.images else text_alone(history)
        if CONTEXT in self.wanted:
            variables[CONTEXT] = self._as_text(documents)
        shown: dict[str, Any] = {
            "images": self.images,
            "budget": self.budget,
            "media_policy": self.media_policy(),
        }
        if EXAMPLES in self.wanted:
            variables[EXAMPLES] = example_messages(examples, **shown)
        if CONTEXT_MESSAGES in self.wanted:  # opening pictures is dear: only for a prompt that shows them
            variables[CONTEXT_MESSAGES] = [
                evidence_message(query, documents, format_documents=self.format_documents, **shown)
            ]
        return variables

    def _as_text(self, documents: Sequence[Document]) -> str:
        if self.format_documents is None:
            return documents_to_text(documents, budget=self.budget)
        given = self.format_documents(documents)
        blocks = [{"type": "text", "text": given}] if isinstance(given, str) else given
        return "\n\n".join(block["text"] for block in blocks if block.get("type") == "text")


def join_human_messages(prompt: PromptValue) -> list[BaseMessage]:
    """Make one message of human messages that touch: many models insist that roles alternate."""
    joined: list[BaseMessage] = []
    for message in prompt.to_messages():
        if joined and isinstance(message, HumanMessage) and isinstance(joined[-1], HumanMessage):
            content = text_if_no_pictures([*_blocks(joined[-1]), *_blocks(message)])
            joined[-1] = joined[-1].model_copy(update={"content": content})
        else:
            joined.append(message)
    return joined


def _blocks(message: BaseMessage) -> list[dict[str, Any]]:
    parts = [message.content] if isinstance(message.content, str) else message.content
    return [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
