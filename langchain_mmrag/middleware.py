"""Pictures in the messages of tools, shown to every model the way it can see them: `ToolImagesMiddleware`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables.config import run_in_executor

from langchain_mmrag._chat_models import chat_model_of, family_of, provider_of, takes_images
from langchain_mmrag._extras import require
from langchain_mmrag._prompt.blocks import blocks_of, text_block, text_if_no_pictures
from langchain_mmrag.tools import SearchTool

if TYPE_CHECKING:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
else:
    AgentMiddleware = require("langchain.agents.middleware", extra="agents").AgentMiddleware

MAX_IMAGES: Final = 8

_Blocks: TypeAlias = list[dict[str, Any]]
_SEES_TOOL_PICTURES: Final = frozenset(
    {
        "amazon_bedrock",
        "anthropic",
        "google_anthropic_vertex",
        "google_genai",
        "google_vertexai",
        "ollama",
    }
)
"""LangChain's names of providers whose interface has a place for pictures in the result of a tool."""

_FROM_TOOLS: Final = "Pictures from the tool results above: found by tools, not supplied by the user."


class ToolImagesMiddleware(AgentMiddleware[Any, Any, Any]):
    """Lets the model of an agent see the pictures its tools have found, whatever the model's interface.

    Some interfaces refuse or ignore pictures in a tool's message: OpenAI's Chat Completions and what is
    compatible with it, Mistral, OpenRouter. For these the pictures of a run of tool messages move into one
    human message right after it, and a line in the tool's message points there. For all others (Anthropic,
    Google, Ollama, Bedrock, OpenAI's Responses) messages keep their form, as some of those insist that no
    human message follows a tool's. For a model that takes no pictures, captions or a line stand for them.

    Pictures of `create_search_tool` are shown at full size, read anew from where the collection says under
    the tool's media policy (see `SearchTool.with_pictures`); one that is gone becomes a line that says so.
    Those of other tools, MCP servers' among them, are sent as they are. Only the latest pictures are sent; of
    older ones a line remains.

    All of it happens on the way to the model: the agent's state and its checkpoints never change.

    ```python
    agent = create_agent("openai:<model>", tools=[search], middleware=[ToolImagesMiddleware()])
    ```

    Args:
        lift: Whether pictures move into a human message. `None`: as the model's class and provider need it,
            which is yes for one that is not known.
        images: Whether the model takes pictures. `None`: what its profile says, and yes without one.
        max_images: So many pictures of tools in one request at most; `None`: all.

    Raises:
        ValueError: If `max_images` is negative.
    """

    def __init__(
        self, *, lift: bool | None = None, images: bool | None = None, max_images: int | None = MAX_IMAGES
    ) -> None:
        super().__init__()
        if max_images is not None and max_images < 0:
            msg = f"max_images is {max_images}: use 0 or more, or None for all"
            raise ValueError(msg)
        self._lift = lift
        self._images = images
        self._max_images = max_images

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Call the model with messages it can see the pictures of."""
        return handler(self._prepared(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """`wrap_model_call` without blocking the event loop while pictures are opened."""
        return await handler(await run_in_executor(None, self._prepared, request))

    def _prepared(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        if not any(isinstance(message, ToolMessage) for message in request.messages):
            return request
        images = takes_images(request.model) is not False if self._images is None else self._images
        messages = self._bounded(request, images=images)
        if images and (needs_lift(request) if self._lift is None else self._lift):
            messages = lifted(messages)
        return request.override(messages=messages)

    def _bounded(self, request: ModelRequest[Any], *, images: bool) -> list[AnyMessage]:
        """The messages with the latest pictures of tools at full size, and lines in place of all others."""
        tools = {tool.name: tool for tool in request.tools if isinstance(tool, SearchTool)}
        left = self._max_images
        bounded: list[AnyMessage] = []
        for message in reversed(request.messages):
            if not isinstance(message, ToolMessage):
                bounded.append(message)
                continue
            tool = tools.get(message.name or "")
            if tool is not None and left != 0:
                message = tool.with_pictures(  # noqa: PLW2901
                    message, images=images, max_images=left, family=family_of(request.model)
                )
            message = _without(message, 0 if not images else left, images=images)  # noqa: PLW2901
            if left is not None:
                left -= _count(message)
            bounded.append(message)
        return bounded[::-1]


def needs_lift(request: ModelRequest[Any]) -> bool:
    """Whether the model's interface has no place for pictures in the message of a tool.

    A model's profile does not tell: it is about the model, not about the interface it is called by.
    """
    model: Any = chat_model_of(request.model)
    by_responses = getattr(model, "_use_responses_api", None)
    if callable(by_responses):  # every client built on LangChain's for OpenAI
        tools = [tool if isinstance(tool, dict) else {"type": "function"} for tool in request.tools]
        return not by_responses(
            {**request.model_settings, "tools": tools} if tools else request.model_settings
        )
    return provider_of(model) not in _SEES_TOOL_PICTURES


def lifted(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """The messages with the pictures of each run of tool messages in one human message after it."""
    result: list[AnyMessage] = []
    names = _letters()
    waiting: _Blocks = []
    for message in messages:
        if not isinstance(message, ToolMessage):
            result += _as_human(waiting)
            waiting = []
            result.append(message)
            continue
        blocks: _Blocks = []
        for block in blocks_of(message):
            picture = picture_of(block)
            if picture is None:
                blocks.append(block)
                continue
            name = next(names)
            blocks.append(text_block(f"(picture {name} follows in the next message)"))
            waiting += [text_block(f"Picture {name}:"), picture]
        result.append(_with(message, blocks) if _count(message) else message)
    return result + _as_human(waiting)


def picture_of(block: object) -> dict[str, Any] | None:  # noqa: PLR0911
    """A picture as LangChain's standard image block; `None` if a block is none.

    Read are the standard's present and former shape, OpenAI's, Anthropic's and MCP's.
    """
    if not isinstance(block, Mapping) or block.get("type") not in {"image", "image_url"}:
        return None
    if block["type"] == "image_url":
        address = block.get("image_url")
        return _of_address(address.get("url") if isinstance(address, Mapping) else address)
    source = block.get("source")
    if isinstance(source, Mapping):  # Anthropic's
        if source.get("type") == "url":
            return _of_address(source.get("url"))
        return _of_data(source.get("data"), source.get("media_type"))
    if "data" in block:  # MCP's, and the former standard's
        return _of_data(block["data"], block.get("mimeType") or block.get("mime_type"))
    if "base64" in block:
        return _of_data(block["base64"], block.get("mime_type"))
    if "file_id" in block:
        return {"type": "image", "file_id": block["file_id"]}
    return _of_address(block.get("url"))


def _of_data(data: object, mime_type: object) -> dict[str, Any] | None:
    if not isinstance(data, str) or not data:
        return None
    return {"type": "image", "base64": data, "mime_type": str(mime_type or "image/png")}


def _of_address(address: object) -> dict[str, Any] | None:
    if not isinstance(address, str) or not address:
        return None
    header, comma, data = address.partition(";base64,")
    if comma and header[:5].lower() == "data:":
        return _of_data(data, header[5:].partition(";")[0])
    return {"type": "image", "url": address}


def _without(message: ToolMessage, most: int | None, *, images: bool) -> ToolMessage:
    """The message with its first `most` pictures, and lines in the place of the others."""
    if most is None or _count(message) <= most:
        return message
    why = "search again to see it" if images else "this model takes none"
    blocks: _Blocks = []
    shown = 0
    for block in blocks_of(message):
        if picture_of(block) is None:
            blocks.append(block)
            continue
        shown += 1
        blocks.append(block if shown <= most else text_block(f"(a picture was here, and is not sent: {why})"))
    return _with(message, blocks)


def _count(message: ToolMessage) -> int:
    return sum(picture_of(block) is not None for block in blocks_of(message))


def _with(message: ToolMessage, blocks: _Blocks) -> ToolMessage:
    return message.model_copy(update={"content": text_if_no_pictures(blocks)})


def _as_human(blocks: _Blocks) -> list[AnyMessage]:
    return [HumanMessage(content=[text_block(_FROM_TOOLS), *blocks])] if blocks else []


def _letters() -> Iterator[str]:
    """A to Z, AA, AB and so on."""
    number = 0
    while True:
        number += 1
        name, rest = "", number
        while rest:
            rest, letter = divmod(rest - 1, 26)
            name = chr(ord("A") + letter) + name
        yield name
