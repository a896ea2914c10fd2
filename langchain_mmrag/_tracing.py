"""What callbacks and traces hear of a chain: everything but the bytes of pictures.

Tracers keep and send what runs are given and give back. A prompt with eight pictures is ten megabytes of
base64, which tracing services refuse or cut, and a picture of a user's is nobody else's business. So each
callback handler is told of a picture as `<image/jpeg, 48 kB>`. What runnables pass to each other is not
touched.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import re
import traceback
from base64 import b64decode
from binascii import Error as NotBase64
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial, singledispatch
from typing import Any, Final, cast

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import ensure_config, get_callback_manager_for_config
from langchain_core.runnables.schema import StreamEvent
from langchain_core.tracers.log_stream import RunLog, RunLogPatch
from PIL.Image import Image
from pydantic import BaseModel

from langchain_mmrag.media import describe_source

_SHORTEST = 64  # a shorter string cannot hold a picture worth hiding
_DEEPEST = 40
_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*,([\w+/=%-]{32,})", re.ASCII)
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/_-])"
    r"(?:[A-Za-z0-9+/_-]{256,}={0,2}|(?:[A-Za-z0-9+/]{60,76}\r?\n){4,}[A-Za-z0-9+/]*={0,2})"
)
_MAGIC: Final = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG": "image/png",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
    b"BM": "image/bmp",
}
_EVENT = re.compile(
    r"on_(?!llm_new_token|stream_event)\w+"
)  # tokens pass as they are: they are text, and many


def redact(value: Any) -> Any:
    """A value without the bytes of pictures; the value itself if it has none.

    Bytes, pictures, files, data-URIs and long runs of base64 are told by kind and size, wherever they stand
    in messages, documents, mappings, sequences, dataclasses and pydantic models. Nothing is changed in place.
    """
    return _redacted(value, 0)


class Redacting(RunnableBindingBase[Any, Any]):
    """A runnable of which callback handlers, tracers and event streams hear without the bytes of pictures.

    Runs around it are not its own: a chain it is part of tells its handlers of what that chain is given.
    """

    def _merge_configs(self, *configs: RunnableConfig | None) -> RunnableConfig:
        # With those of the surrounding run, and the tracers that are switched on by the environment.
        config = ensure_config(super()._merge_configs(*configs))
        manager = get_callback_manager_for_config(config)
        return {**config, "callbacks": _discreet_manager(manager)}

    def astream_events(
        self,
        input: Any,  # noqa: A002 - LangChain's name, here and below
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Events of the run, for people and programs that watch it: they too hear of no bytes."""
        if kwargs.get("version") == "v3":
            return super().astream_events(input, config, **kwargs)
        # LangChain puts the input into the first event, and the root's chunks into others, past any handler.
        return _redacted_events(Runnable.astream_events(self, input, config, **kwargs))

    async def astream_log(  # type: ignore[override]
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[RunLogPatch | RunLog]:
        """The log of the run, likewise."""
        async for patch in super().astream_log(input, config, **kwargs):
            ops = redact(patch.ops)
            if isinstance(patch, RunLog):
                yield RunLog(*ops, state=redact(patch.state))
            else:
                yield RunLogPatch(*ops)


def discreet(model: Any) -> Any:
    """A chat model whose own callbacks, those it was constructed with, hear of no bytes either.

    Sees through `.bind()`, `.with_retry()` and the like; a model without callbacks is given back as it is.
    """
    if isinstance(model, RunnableBindingBase):
        bound = discreet(model.bound)
        return model if bound is model.bound else model.model_copy(update={"bound": bound})
    if not isinstance(model, BaseChatModel) or not model.callbacks:
        return model
    if isinstance(model.callbacks, BaseCallbackManager):
        callbacks: Any = _discreet_manager(model.callbacks.copy())
    else:
        callbacks = [_discreet(handler) for handler in model.callbacks]
    return model.model_copy(update={"callbacks": callbacks})


async def _redacted_events(events: AsyncIterator[StreamEvent]) -> AsyncIterator[StreamEvent]:
    async for event in events:
        yield redact(event)


# --- handlers --------------------------------------------------------------------------------------------


def _discreet_manager(manager: BaseCallbackManager) -> BaseCallbackManager:
    manager.handlers = [_discreet(handler) for handler in manager.handlers]
    manager.inheritable_handlers = [_discreet(handler) for handler in manager.inheritable_handlers]
    return manager


def _discreet(handler: Any) -> BaseCallbackHandler:
    kind: type = type(handler)
    return cast("BaseCallbackHandler", handler if kind is _Discreet else _Discreet(handler))


class _Discreet:
    """Stands for a callback handler: takes its calls, and passes them on without the bytes of pictures.

    LangChain asks handlers for their class (tracers are told of metadata, streams are tapped), so this one
    answers with that of the handler it stands for, and has what that has.
    """

    __slots__ = ("_handler",)

    def __init__(self, handler: BaseCallbackHandler) -> None:
        object.__setattr__(self, "_handler", handler)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._handler)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._handler, name)
        if name in _STANDING_IN:
            return partial(_STANDING_IN[name], value)
        if _EVENT.fullmatch(name) and callable(value):
            return _redacting_call(value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._handler, name, value)

    def __eq__(self, other: object) -> bool:
        kind: type = type(other)
        return bool(self._handler == (getattr(other, "_handler", None) if kind is _Discreet else other))

    def __hash__(self) -> int:
        return hash(self._handler)

    def __repr__(self) -> str:
        return repr(self._handler)


def _copied(copy_tracer: Callable[..., BaseCallbackHandler], **defaults: Any) -> BaseCallbackHandler:
    return _discreet(copy_tracer(**defaults))


def _tapped(tap: Callable[..., Iterator[Any]], run_id: Any, output: Iterator[Any]) -> Iterator[Any]:
    """A stream that a handler listens to: it hears chunks without bytes, the run goes on with all of them."""
    waiting: deque[Any] = deque()

    def heard() -> Iterator[Any]:
        for chunk in output:
            waiting.append(chunk)
            yield redact(chunk)

    for _ in tap(run_id, heard()):
        yield waiting.popleft()


async def _atapped(
    tap: Callable[..., AsyncIterator[Any]], run_id: Any, output: AsyncIterator[Any]
) -> AsyncIterator[Any]:
    waiting: deque[Any] = deque()

    async def heard() -> AsyncIterator[Any]:
        async for chunk in output:
            waiting.append(chunk)
            yield redact(chunk)

    async for _ in tap(run_id, heard()):
        yield waiting.popleft()


_STANDING_IN: Final[dict[str, Callable[..., Any]]] = {
    "copy_with_metadata_defaults": _copied,
    "tap_output_iter": _tapped,
    "tap_output_aiter": _atapped,
}


def _redacting_call(event: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(event):

        async def atell(*args: Any, **kwargs: Any) -> Any:
            return await event(*redact(args), **redact(kwargs))

        return atell

    def tell(*args: Any, **kwargs: Any) -> Any:
        return event(*redact(args), **redact(kwargs))

    return tell


# --- values ----------------------------------------------------------------------------------------------


@singledispatch
def _redacted(value: Any, depth: int) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        changed = _changed(parts, depth)
        told = {name: part for name, part in {**parts, **changed}.items() if part is not None}
        return told if changed else value
    return f"<{describe_source(value)}>" if callable(getattr(value, "read", None)) else value


@_redacted.register
def _redacted_text(value: str, _depth: int) -> str:
    if len(value) < _SHORTEST:
        return value
    told = _DATA_URI.sub(lambda found: _told(found[1] or "data", len(found[2]) * 3 // 4), value)
    told = _BASE64.sub(lambda found: _told(_kind_of_base64(found[0]), len(found[0]) * 3 // 4), told)
    return value if told == value else told


@_redacted.register(bytes)
@_redacted.register(bytearray)
@_redacted.register(memoryview)
def _redacted_bytes(value: bytes | bytearray | memoryview, _depth: int) -> str:
    return _told(_kind_of(bytes(value[:8])), memoryview(value).nbytes)


@_redacted.register
def _redacted_picture(value: Image, _depth: int) -> str:
    return f"<picture, {value.width}x{value.height}>"


@_redacted.register
def _redacted_model(value: BaseModel, depth: int) -> BaseModel:
    changed = _changed(value.__dict__, depth)
    return value.model_copy(update=changed) if changed else value


def _changed(parts: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
    """Those parts that must not be told as they are."""
    if depth > _DEEPEST:
        return {}
    told = {name: _redacted(part, depth + 1) for name, part in parts.items()}
    return {name: part for name, part in told.items() if part is not parts[name]}


@_redacted.register(Mapping)
def _redacted_mapping(value: Mapping[Any, Any], depth: int) -> Any:
    changed = _changed(value, depth)
    key = _payload_key(value)
    if key is not None:
        kind = value.get("mime_type") or value.get("media_type") or _kind_of_base64(value[key])
        changed[key] = _told(str(kind), len(value[key]) * 3 // 4)
    if not changed:
        return value
    if isinstance(value, dict):
        told = copy.copy(value)  # chunks of a stream are dicts that can be added
        told.update(changed)
        return told
    return {**value, **changed}


def _payload_key(block: Mapping[Any, Any]) -> str | None:
    """Where a content block keeps its bytes, which may be too few to be told from text by their look."""
    if isinstance(block.get("base64"), str):
        return "base64"
    is_payload = block.get("type") == "base64" or "mime_type" in block or "media_type" in block
    return "data" if is_payload and isinstance(block.get("data"), str) else None


@_redacted.register(list)
@_redacted.register(tuple)
@_redacted.register(set)
@_redacted.register(frozenset)
def _redacted_items(value: Any, depth: int) -> Any:
    items = list(value)
    changed = _changed(dict(enumerate(items)), depth)
    if not changed:
        return value
    told = [changed.get(place, item) for place, item in enumerate(items)]
    return value._make(told) if hasattr(value, "_make") else type(value)(told)


@_redacted.register
def _redacted_error(error: BaseException, _depth: int) -> BaseException:
    """An error that reads and prints without the bytes that a provider may have quoted."""
    printed = "".join(traceback.format_exception(error))
    if redact(printed) is printed and redact(str(error)) == str(error):
        return error
    text, kind = redact(str(error)), type(error)
    words = {"__str__": lambda _: text, "__repr__": lambda _: f"{kind.__name__}({text!r})"}
    told = cast("type[BaseException]", type(kind.__name__, (kind,), {**words, "__module__": kind.__module__}))
    try:
        made = told.__new__(told)
    except TypeError:  # it cannot be made without its arguments
        return Exception(f"{kind.__name__}: {text}")
    return made


def _told(kind: str, size: int) -> str:
    return f"<{kind}, {size / 1000:.0f} kB>" if size >= 1000 else f"<{kind}, {size} bytes>"  # noqa: PLR2004


def _kind_of(start: bytes) -> str:
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "bytes")


def _kind_of_base64(text: str) -> str:
    try:
        kind = _kind_of(b64decode(text[:12]))
    except (NotBase64, ValueError):
        return "base64"
    return kind if kind != "bytes" else "base64"
