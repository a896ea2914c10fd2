"""What a chat model is sent: pictures, tokens, bytes, read off the messages themselves."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import RunnableBinding
from pydantic import Field

from langchain_mmrag._chat_models import ModelFamily
from langchain_mmrag.budget import image_tokens, text_tokens
from langchain_mmrag.media import image_facts


@dataclass(frozen=True)
class Sent:
    """What a model was sent.

    Attributes:
        pictures: How many.
        tokens: Of text and pictures, by estimate; see `budget.text_tokens` and `budget.image_tokens`.
        bytes: Of text, and of pictures as they are sent (base64).
    """

    pictures: float = 0.0
    tokens: float = 0.0
    bytes: float = 0.0

    @classmethod
    def total(cls, parts: Sequence[Sent]) -> Self:
        """All of it together."""
        return cls(*(sum(getattr(part, each.name) for part in parts) for each in fields(cls)))

    @classmethod
    def mean(cls, parts: Sequence[Sent]) -> Self:
        """For one of several questions."""
        whole, n = cls.total(parts), max(len(parts), 1)
        return cls(*(getattr(whole, each.name) / n for each in fields(cls)))


class Scales(RunnableBinding[Any, BaseMessage]):
    """A chat model that weighs what it is sent, and passes it on.

    It wraps as `.bind()` does, so that whose model it is can still be told.
    """

    family: ModelFamily | None = None
    weighed: list[Sent] = Field(default_factory=list)

    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> BaseMessage:  # noqa: A002 - LangChain's name
        """The model's answer."""
        self.weighed.append(weighed(input, self.family))
        return super().invoke(input, config, **kwargs)

    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[BaseMessage]:  # noqa: A002
        """The model's answer, in pieces."""
        self.weighed.append(weighed(input, self.family))
        yield from super().stream(input, config, **kwargs)


def weighed(given: PromptValue | Sequence[BaseMessage], family: ModelFamily | None = None) -> Sent:
    """What messages hold.

    Args:
        given: The messages. A picture given by a web address counts as one of no tokens.
        family: Whose rules count a picture's tokens.
    """
    messages = given.to_messages() if isinstance(given, PromptValue) else given
    return Sent.total([_block(block, family) for message in messages for block in message.content_blocks])


def _block(block: Mapping[str, Any], family: ModelFamily | None) -> Sent:
    if block.get("type") != "image":
        text = str(block.get("text", ""))
        return Sent(0, text_tokens(text), len(text.encode("utf-8", "surrogatepass")))
    data, address = str(block.get("base64") or ""), str(block.get("url") or "")
    if not data and not address.startswith("data:"):
        return Sent(1, 0, len(address))  # the provider fetches it: nobody here knows how large it is
    facts = image_facts(b64decode(data) if data else address)
    return Sent(1, image_tokens(facts.width, facts.height, family), len(data or address))
