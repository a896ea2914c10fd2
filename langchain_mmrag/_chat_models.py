"""Open a chat model by name, and tell without calling it whose it is and where it takes pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableSequence

from langchain_mmrag._extras import require
from langchain_mmrag.errors import MMRAGError

_THOUGHT_STARTS = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_THOUGHT_ENDS = re.compile(r"</think(?:ing)?>", re.IGNORECASE)

ModelFamily: TypeAlias = Literal["openai", "openai-patches", "anthropic", "google", "google-fixed", "other"]
"""Families whose rules for counting the tokens of pictures differ (see `budget.image_tokens`)."""

_PARTS: Final = ("bound", "runnable", "default")
"""Where LangChain's wrappers (bindings, retries, fallbacks, alternatives) keep what they wrap."""


def open_chat_model(name: str, *, option: str = "--llm") -> BaseChatModel:
    """A chat model by its provider and name, such as `openai:MODEL`.

    Args:
        name: Of provider and model.
        option: What it was given for, as errors name it.

    Raises:
        MissingDependencyError: If the extra `agents` is not installed.
        MMRAGError: If there is no such provider, its package is missing, or there is no key.
    """
    provider, _, of_provider = name.partition(":")
    if not provider.strip() or not of_provider.strip():
        msg = f"cannot use {option} {name}: write PROVIDER:MODEL, such as openai:gpt-5-mini or ollama:llava"
        raise MMRAGError(msg)
    chat_models = require("langchain.chat_models", extra="agents")
    try:
        model: BaseChatModel = chat_models.init_chat_model(name)
    except Exception as error:
        # no such provider, no package, no key: every provider has its own errors, without a common base
        msg = f"cannot use {option} {name}: {error}"
        raise MMRAGError(msg) from error
    return model


def chat_model_of(llm: object) -> BaseChatModel | None:
    """The chat model inside of `.bind()`, `.with_retry()`, `.with_fallbacks()`, a sequence and the like."""
    return next((part for part in _wrapped(llm) if isinstance(part, BaseChatModel)), None)


def family_of(llm: object) -> ModelFamily:
    """Whose rules for pictures a model goes by, as its provider and its name tell."""
    params = _ls_params(llm)
    told = f"{params.get('ls_provider', '')} {params.get('ls_model_name', '')}".lower()
    return next((family for family, names in _NAMES if names.search(told)), "other")


def provider_of(llm: object) -> str:
    """LangChain's name of whose interface the model is called by, such as `openai`; empty if unknown."""
    return str(_ls_params(llm).get("ls_provider") or "")


def model_name_of(llm: object) -> str:
    """The name its provider knows the model by, such as `gpt-5-mini`; empty if unknown."""
    return str(_ls_params(llm).get("ls_model_name") or "")


def takes_images(llm: object) -> bool | None:
    """Whether the model reads pictures in human messages, by its profile; `None` if that does not say."""
    value = _profiled(llm, "image_inputs")
    return value if isinstance(value, bool) else None


def input_limit_of(llm: object) -> int | None:
    """Tokens the model reads at most, by its profile; `None` if that does not say."""
    value = _profiled(llm, "max_input_tokens")
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


_NAMES: Final[tuple[tuple[ModelFamily, re.Pattern[str]], ...]] = (
    ("anthropic", re.compile(r"anthropic|claude")),
    ("google-fixed", re.compile(r"gemini-(?:[3-9]|\d\d)")),
    ("google", re.compile(r"google|gemini")),
    (
        "openai-patches",
        re.compile(r"gpt-4\.1-(?:mini|nano)|gpt-5-(?:mini|nano)|gpt-5\.[2-9]|gpt-(?:[6-9]|\d\d)|\bo4-mini"),
    ),
    ("openai", re.compile(r"openai|gpt-|\bo[134]\b")),
)
"""The first that fits counts: a model of one maker is often served by another."""


def _ls_params(llm: object) -> Mapping[str, Any]:
    model = chat_model_of(llm)
    return {} if model is None else model._get_ls_params()  # noqa: SLF001 - LangChain has no other name for it


def without_thoughts(answer: str) -> str:
    """What a model says in the end: an answer without what it thought aloud between `<think>` tags."""
    said = _THOUGHT_ENDS.split(answer)[-1]
    return _THOUGHT_STARTS.split(said)[0]


def _profiled(llm: object, key: str) -> object:
    profile = getattr(chat_model_of(llm), "profile", None)
    return profile.get(key) if isinstance(profile, Mapping) else None


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
        waiting += part.steps if isinstance(part, RunnableSequence) else []
        if type(part).__name__ == "_ConfigurableModel" and getattr(part, "_default_config", None):
            waiting.append(part._model())  # type: ignore[attr-defined]  # noqa: SLF001 - of init_chat_model
