"""What can be told about a chat model without calling it: whose it is, and where it takes pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from langchain_core.language_models import BaseChatModel

ModelFamily: TypeAlias = Literal["openai", "anthropic", "google", "other"]
"""Families whose rules for counting the tokens of pictures differ."""

_PARTS: Final = ("bound", "runnable", "first", "default")
"""Where LangChain's wrappers (bindings, retries, fallbacks, sequences, alternatives) keep what they wrap."""


def chat_model_of(llm: object) -> BaseChatModel | None:
    """The chat model inside of `.bind()`, `.with_retry()`, `.with_fallbacks()`, a sequence and the like."""
    return next((part for part in _wrapped(llm) if isinstance(part, BaseChatModel)), None)


def family_of(llm: object) -> ModelFamily:
    """Whose rules for pictures a model goes by."""
    model = chat_model_of(llm)
    params: Mapping[str, Any] = {} if model is None else model._get_ls_params()  # noqa: SLF001 - LangChain has no other name for it
    told = f"{params.get('ls_provider', '')} {model_name_of(llm)}".lower()
    for family, names in _NAMES.items():
        if any(name in told for name in names):
            return family
    return "other"


def model_name_of(llm: object) -> str:
    """The provider's name of the model, such as `gpt-5-mini`; empty if it does not say."""
    model = chat_model_of(llm)
    params: Mapping[str, Any] = {} if model is None else model._get_ls_params()  # noqa: SLF001
    return str(params.get("ls_model_name") or "")


def takes_images(llm: object) -> bool | None:
    """Whether the model reads pictures in human messages, by its profile; `None` if that does not say."""
    return _profiled(llm, "image_inputs")


def takes_tool_images(llm: object) -> bool | None:
    """Whether the model reads pictures in tool messages, by its profile; `None` if that does not say."""
    return _profiled(llm, "image_tool_message")


_NAMES: Final[dict[ModelFamily, tuple[str, ...]]] = {
    "anthropic": ("anthropic", "claude"),
    "google": ("google", "gemini"),
    "openai": ("openai", "gpt-"),
}


def _profiled(llm: object, key: str) -> bool | None:
    profile = getattr(chat_model_of(llm), "profile", None)
    value = profile.get(key) if isinstance(profile, Mapping) else None
    return value if isinstance(value, bool) else None


def _wrapped(llm: object) -> Iterator[object]:
    seen: set[int] = set()
    waiting = [llm]
    while waiting:
        part = waiting.pop(0)
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        waiting += [getattr(part, name, None) for name in _PARTS]
