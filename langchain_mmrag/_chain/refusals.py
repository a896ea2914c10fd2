"""What to do when a model refuses the pictures of a prompt is told with its own error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from langchain_core import exceptions
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import RunnableBindingBase

from langchain_mmrag._prompt.blocks import blocks_of

_NOTE: Final = (
    "There were pictures in the prompt. If it is these that the model refuses, give it text alone:"
    " create_rag_chain(..., images=False)."
)
_OTHER_CAUSES: Final = tuple(
    getattr(exceptions, name)
    for name in (
        "ModelAuthenticationError",
        "ModelConnectionError",
        "ModelNotFoundError",
        "ModelPermissionDeniedError",
        "ModelRateLimitError",
        "ModelTimeoutError",
    )
    if hasattr(exceptions, name)  # later than the oldest LangChain that will do
)
_NOT_ABOUT_PICTURES: Final = {401, 402, 403, 408, 409, 429}


class PicturesNoted(RunnableBindingBase[LanguageModelInput, BaseMessage]):
    """A chat model whose errors say what to do, if it may be pictures that it refused."""

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name, here and below
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> BaseMessage:
        """The model's answer."""
        with _noted([input]):
            return super().invoke(input, config, **kwargs)

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> BaseMessage:
        """The model's answer."""
        with _noted([input]):
            return await super().ainvoke(input, config, **kwargs)

    def transform(
        self,
        input: Iterator[LanguageModelInput],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[BaseMessage]:
        """The model's answer, token by token."""
        given = list(input)
        with _noted(given):
            for chunk in super().transform(iter(given), config, **kwargs):
                given.clear()  # it has begun to answer, so it has read the pictures
                yield chunk

    async def atransform(
        self,
        input: AsyncIterator[LanguageModelInput],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[BaseMessage]:
        """The model's answer, token by token."""
        given = [part async for part in input]

        async def again() -> AsyncIterator[LanguageModelInput]:
            for part in given:
                yield part

        with _noted(given):
            async for chunk in super().atransform(again(), config, **kwargs):
                given.clear()
                yield chunk

    # A binding would hand these on whole; taken apart, each question passes `invoke`.
    batch = Runnable.batch
    abatch = Runnable.abatch


@contextmanager
def _noted(given: Sequence[Any]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if _may_be_about_pictures(error) and any(map(_has_pictures, given)):
            error.add_note(_NOTE)
        raise


def _may_be_about_pictures(error: Exception) -> bool:
    """Not what has other causes for sure: no key, no permission, too many requests, no connection."""
    if isinstance(error, _OTHER_CAUSES):
        return False
    status = getattr(error, "status_code", getattr(getattr(error, "response", None), "status_code", None))
    return status not in _NOT_ABOUT_PICTURES and not isinstance(error, OSError)


def _has_pictures(messages: Any) -> bool:
    parts = messages if isinstance(messages, list) else []
    return any(
        block.get("type") in {"image", "image_url"}
        for message in parts
        if isinstance(message, BaseMessage)
        for block in blocks_of(message)
    )
