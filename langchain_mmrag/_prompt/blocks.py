"""Content blocks of messages, as LangChain's standard has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage


def text_block(text: str) -> dict[str, Any]:
    """Text as a block."""
    return {"type": "text", "text": text}


def blocks_of(message: BaseMessage) -> list[dict[str, Any]]:
    """The content of a message, whichever way it is given, as blocks."""
    parts = [message.content] if isinstance(message.content, str) else message.content
    return [text_block(part) if isinstance(part, str) else part for part in parts]


def text_if_no_pictures(blocks: Sequence[dict[str, Any]]) -> str | list[str | dict[str, Any]]:
    """A plain string where text is all there is: models without image input often take no lists."""
    if all(block.get("type") == "text" for block in blocks):
        return text_of(blocks)
    return [*blocks]


def text_of(blocks: Sequence[dict[str, Any]]) -> str:
    """The text of blocks, as one string."""
    return "\n\n".join(block["text"] for block in blocks if block.get("type") == "text")
