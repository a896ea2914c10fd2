"""Tools, resources and the prompt put behind the official SDK's server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint_if_cancelled
from anyio.to_thread import run_sync
from mcp import McpError, types
from mcp.server.lowlevel import Server

from langchain_mmrag._mcp import resources
from langchain_mmrag._mcp.collection import RequestError, expected
from langchain_mmrag._mcp.tools import Collections, Tool, refusal

logger = logging.getLogger(__name__)

_AT_ONCE = 4  # searches share the processor's cores: more of them only wait for each other
_NOT_FOUND = -32002  # the protocol's number for a resource nobody has
_BUG = "The server failed at this request. Its log says why."
_R = TypeVar("_R")


class Handlers:
    """Answers a client's requests: what blocks goes to a thread, what fails is told or logged."""

    def __init__(self, collections: Collections, tools: Mapping[str, Tool[Any]]) -> None:
        self._collections = collections
        self._tools = tools
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)

    def register(self, server: Server[Any, Any]) -> None:
        """Make the server answer by these."""
        server.request_handlers |= {
            types.ListToolsRequest: self.list_tools,
            types.CallToolRequest: self.call_tool,
            types.ListResourcesRequest: self.list_resources,
            types.ListResourceTemplatesRequest: self.list_templates,
            types.ReadResourceRequest: self.read_resource,
            types.ListPromptsRequest: self.list_prompts,
            types.GetPromptRequest: self.get_prompt,
        }

    async def list_tools(self, _request: types.ListToolsRequest) -> types.ServerResult:
        listed = [tool.description for tool in self._tools.values()]
        return types.ServerResult(types.ListToolsResult(tools=listed))

    async def call_tool(self, request: types.CallToolRequest) -> types.ServerResult:
        tool = self._tools.get(request.params.name)
        if tool is None:
            names = ", ".join(self._tools)
            return types.ServerResult(refusal(f"There is no such tool here: use {names}."))
        try:
            result = await self._in_thread(partial(tool.call, request.params.arguments or {}))
        except RequestError as error:
            result = refusal(str(error))
        except Exception:
            logger.exception("the tool %s failed", request.params.name[:100])
            result = refusal(_BUG)
        return types.ServerResult(result)

    async def list_resources(self, _request: types.ListResourcesRequest) -> types.ServerResult:
        return types.ServerResult(types.ListResourcesResult(resources=resources.listed()))

    async def list_templates(self, _request: types.ListResourceTemplatesRequest) -> types.ServerResult:
        listed = types.ListResourceTemplatesResult(resourceTemplates=resources.templates())
        return types.ServerResult(listed)

    async def read_resource(self, request: types.ReadResourceRequest) -> types.ServerResult:
        read = partial(resources.read, self._collections, request.params.uri)
        return types.ServerResult(await self._or_error(read, _NOT_FOUND))

    async def list_prompts(self, _request: types.ListPromptsRequest) -> types.ServerResult:
        return types.ServerResult(types.ListPromptsResult(prompts=[resources.ANSWER]))

    async def get_prompt(self, request: types.GetPromptRequest) -> types.ServerResult:
        name, arguments = request.params.name, request.params.arguments or {}
        fill_in = partial(resources.prompt, self._collections, name, arguments)
        return types.ServerResult(await self._or_error(fill_in, types.INVALID_PARAMS))

    async def _or_error(self, call: Callable[[], _R], code: int) -> _R:
        """What a call gives; its failure as an error of the protocol."""
        try:
            return await self._in_thread(call)
        except RequestError as error:
            raise McpError(types.ErrorData(code=code, message=str(error))) from error
        except Exception as error:
            logger.exception("a request failed")
            raise McpError(types.ErrorData(code=types.INTERNAL_ERROR, message=_BUG)) from error

    async def _in_thread(self, call: Callable[[], _R]) -> _R:
        # A request that is cancelled is answered at once; what it began ends in its thread, so that there are
        # never more of these than the limiter lets in.
        try:
            return await run_sync(call, limiter=self._limiter)
        except Exception as error:
            message = expected(error)
            if message is None:
                raise
            raise RequestError(message) from error
        finally:
            # The SDK takes a second answer to a request for a fault that ends the session.
            await checkpoint_if_cancelled()


def build(name: str, collections: Collections, tools: list[Tool[Any]], instructions: str) -> Server[Any, Any]:
    """The server over some collections with some tools."""
    server: Server[Any, Any] = Server(name, version("langchain-mmrag"), instructions)
    Handlers(collections, {tool.description.name: tool for tool in tools}).register(server)
    return server
