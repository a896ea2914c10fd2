"""What a chain's prompt is filled with: question, conversation, examples and evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.example_selectors import BaseExampleSelector
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.prompt_values import PromptValue

from langchain_mmrag._chain.question import CONTEXT, INPUT, question_of, searched_of
from langchain_mmrag._prompt.blocks import blocks_of, text_if_no_pictures
from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.few_shot import Examples, example_messages, selection_input
from langchain_mmrag.history import CHAT_HISTORY, STANDALONE_QUESTION, history_of, text_alone
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.prompts import FormatDocuments, evidence_message, evidence_text
from langchain_mmrag.queries import Query
from langchain_mmrag.retrievers import media_policy_of

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
        passage_chars: Texts up to this long are shown whole.
        media_policy: What may be opened; asked at each run, as a store's own may change while it fills.
        format_documents: The caller's own layout of the evidence.
        examples: To be shown before the question.
    """

    wanted: frozenset[str]
    images: bool
    budget: PromptBudget
    passage_chars: int
    media_policy: Callable[[], MediaPolicy]
    format_documents: FormatDocuments | None
    examples: Examples

    def variables(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """What a prompt is filled with; opens pictures."""
        query, documents = question_of(state), state[CONTEXT]
        variables = {
            **state,
            INPUT: query.text or _PICTURE_ALONE,
            STANDALONE_QUESTION: searched_of(state).text or _PICTURE_ALONE,
        }
        history = history_of(state)
        variables[CHAT_HISTORY] = history if self.images else text_alone(history)
        layout: dict[str, Any] = {
            "budget": self.budget,
            "passage_chars": self.passage_chars,
            "format_documents": self.format_documents,
        }
        if CONTEXT in self.wanted:
            # the picture of the question is told of once: beside the pictures of the evidence, if wanted
            asked = query if CONTEXT_MESSAGES not in self.wanted else Query(text=query.text or _PICTURE_ALONE)
            variables[CONTEXT] = evidence_text(asked, documents, **layout)
        policy = self.media_policy()
        if EXAMPLES in self.wanted:
            own = media_policy_of(self.examples) if hasattr(self.examples, "store") else policy
            variables[EXAMPLES] = example_messages(
                state[EXAMPLES], images=self.images, budget=self.budget, media_policy=own
            )
        if CONTEXT_MESSAGES in self.wanted:  # opening pictures is dear: only for a prompt that shows them
            variables[CONTEXT_MESSAGES] = [
                evidence_message(query, documents, images=self.images, media_policy=policy, **layout)
            ]
        return variables

    def choose(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Add the examples for this question."""
        if isinstance(self.examples, BaseExampleSelector):
            chosen = self.examples.select_examples(selection_input(searched_of(state)))
            return {**state, EXAMPLES: chosen}
        return {**state, EXAMPLES: self.examples}

    async def achoose(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """`choose` without blocking the event loop."""
        if isinstance(self.examples, BaseExampleSelector):
            chosen = await self.examples.aselect_examples(selection_input(searched_of(state)))
            return {**state, EXAMPLES: chosen}
        return {**state, EXAMPLES: self.examples}


def join_human_messages(prompt: PromptValue) -> list[BaseMessage]:
    """Make one message of human messages that touch: many models insist that roles alternate."""
    joined: list[BaseMessage] = []
    for message in prompt.to_messages():
        if joined and isinstance(message, HumanMessage) and isinstance(joined[-1], HumanMessage):
            content = text_if_no_pictures([*blocks_of(joined[-1]), *blocks_of(message)])
            joined[-1] = joined[-1].model_copy(update={"content": content})
        else:
            joined.append(message)
    return joined
