"""OpenAI's Chat Completions and Responses on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from openai.types.chat.completion_create_params import CompletionCreateParams
from openai.types.responses.response_create_params import ResponseCreateParams

from tests.integration_tests.providers.loopback import TOKENS, Answer, ProviderServer, Turn, sse
from tests.integration_tests.providers.rules import TypedRequest, demand, picture_of_uri

_KINDS = {400: "invalid_request_error", 429: "rate_limit_error", 500: "server_error"}


class OpenAIServer(ProviderServer):
    """What both of OpenAI's interfaces have in common."""

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"error": {"message": message, "type": _KINDS[status], "param": None, "code": None}}


class ChatCompletionsServer(OpenAIServer):
    """`POST /v1/chat/completions`."""

    _request = TypedRequest(CompletionCreateParams)

    def check(self, path: str, body: Any) -> None:
        demand(path == "/v1/chat/completions", f"no such path: {path}")
        self._request.check(body)
        waiting: set[str] = set()
        for message in body["messages"]:
            if message["role"] == "tool":
                demand(message["tool_call_id"] in waiting, "a tool message answers no tool call before it")
                waiting.remove(message["tool_call_id"])
                continue
            demand(not waiting, "tool_calls must be followed by tool messages for each tool_call_id")
            waiting = {call["id"] for call in message.get("tool_calls") or ()}
        self.read(body)

    def read(self, body: Any) -> list[Turn]:
        return [_chat_turn(message) for message in body["messages"]]

    def whole(self, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
        if answer.calls:
            message["tool_calls"] = _chat_calls(answer)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
        return {**_chat_frame("chat.completion"), "choices": [choice], "usage": _chat_usage()}

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        deltas: list[dict[str, Any]] = [{"content": word} for word in answer.words]
        for index, call in enumerate(_chat_calls(answer)):
            head, tail = {**call, "index": index}, {"index": index}
            written = call["function"]["arguments"]
            head["function"] = {"name": call["function"]["name"], "arguments": written[:4]}
            tail["function"] = {"arguments": written[4:]}
            deltas += [{"tool_calls": [head]}, {"tool_calls": [tail]}]
        deltas[0]["role"] = "assistant"
        for delta in deltas:
            yield sse(_chat_chunk([{"index": 0, "delta": delta, "finish_reason": None}]))
        yield sse(_chat_chunk([{"index": 0, "delta": {}, "finish_reason": _finish(answer)}]))
        yield sse({**_chat_chunk([]), "usage": _chat_usage()}) + sse("[DONE]")


def _chat_turn(message: dict[str, Any]) -> Turn:
    parts = message.get("content") or []
    if isinstance(parts, str):
        return Turn(message["role"], parts)
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    uris = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return Turn(message["role"], text, [picture_of_uri(uri) for uri in uris])


def _chat_frame(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": "scripted"}


def _chat_chunk(choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {**_chat_frame("chat.completion.chunk"), "choices": choices}


def _chat_calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.written}}
        for c in answer.calls
    ]


def _chat_usage() -> dict[str, int]:
    prompt, completion = TOKENS["prompt"], TOKENS["completion"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _finish(answer: Answer) -> str:
    return "tool_calls" if answer.calls else "stop"


class ResponsesServer(OpenAIServer):
    """`POST /v1/responses`."""

    _request = TypedRequest(ResponseCreateParams)

    def check(self, path: str, body: Any) -> None:
        demand(path == "/v1/responses", f"no such path: {path}")
        told = {**body, "input": [_with_defaults(item) for item in body["input"]]}
        if "tools" in body:
            told["tools"] = [{"strict": None, **tool} for tool in body["tools"]]
        self._request.check(told)
        called: set[str] = set()
        for item in body["input"]:
            if item.get("type") == "function_call":
                called.add(item["call_id"])
            elif item.get("type") == "function_call_output":
                demand(item["call_id"] in called, "an output follows no call of its id")
        self.read(body)

    def read(self, body: Any) -> list[Turn]:
        return [_response_turn(item) for item in body["input"]]

    def whole(self, answer: Answer) -> dict[str, Any]:
        return {
            **_response("completed", _response_items(answer, self._number), usage=True),
            "id": f"resp_{self._number}",
        }

    @property
    def _number(self) -> int:
        """Of the answer: LangGraph takes messages of one id for one message."""
        return len(self.requests)

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        numbers = count()

        def event(kind: str, **fields: Any) -> bytes:
            return sse({"type": kind, "sequence_number": next(numbers), **fields}, event=kind)

        created = {**_response("in_progress", []), "id": f"resp_{self._number}"}
        ahead = event("response.created", response=created)
        items = _response_items(answer, self._number)
        for index, item in enumerate(items):
            begin = {**item, "status": "in_progress"} | ({"content": []} if "content" in item else {})
            if "arguments" in item:
                begin["arguments"] = ""
            ahead += event("response.output_item.added", output_index=index, item=begin)
            steps = _text_steps(item, answer) if "content" in item else _call_steps(item)
            for kind, fields in steps:
                piece = event(kind, output_index=index, item_id=item["id"], **fields)
                if not kind.endswith(".delta"):
                    ahead += piece
                    continue
                yield ahead + piece
                ahead = b""
            ahead += event("response.output_item.done", output_index=index, item=item)
        yield ahead + event("response.completed", response=self.whole(answer))

    def failure(self, message: str) -> bytes:
        failed = {"type": "error", "code": "server_error", "message": message, "param": None}
        return sse({**failed, "sequence_number": 99}, event="error")


def _with_defaults(item: dict[str, Any]) -> dict[str, Any]:
    """The typed request insists on some fields that the interface fills in where they are left out."""
    if item.get("role") == "assistant":
        return {"id": "msg_0", "status": "completed", **item}
    parts = item.get("content")
    if not isinstance(parts, list):
        return item
    told = [{"detail": "auto", **part} if part.get("type") == "input_image" else part for part in parts]
    return {**item, "content": told}


def _response_turn(item: dict[str, Any]) -> Turn:
    kind = item.get("type", "message")
    if kind == "function_call":
        return Turn("assistant", "")
    parts = item["output"] if kind == "function_call_output" else item["content"]
    role = "tool" if kind == "function_call_output" else item["role"]
    if isinstance(parts, str):
        return Turn(role, parts)
    text = "\n".join(part["text"] for part in parts if part["type"] in {"input_text", "output_text"})
    uris = [part["image_url"] for part in parts if part["type"] == "input_image"]
    return Turn(role, text, [picture_of_uri(uri) for uri in uris])


def _response_items(answer: Answer, turn: int) -> list[dict[str, Any]]:
    calls = [
        {
            "id": f"fc_{turn}_{number}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.written,
        }
        for number, call in enumerate(answer.calls)
    ]
    if not answer.text:
        return calls
    text = {"type": "output_text", "text": answer.text, "annotations": []}
    said = {
        "id": f"msg_{turn}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [text],
    }
    return [said, *calls]


def _text_steps(item: dict[str, Any], answer: Answer) -> Iterator[tuple[str, dict[str, Any]]]:
    part = item["content"][0]
    yield "response.content_part.added", {"content_index": 0, "part": {**part, "text": ""}}
    for word in answer.words:
        yield "response.output_text.delta", {"content_index": 0, "delta": word, "logprobs": []}
    yield "response.output_text.done", {"content_index": 0, "text": answer.text, "logprobs": []}
    yield "response.content_part.done", {"content_index": 0, "part": part}


def _call_steps(item: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    written = item["arguments"]
    for part in (written[:4], written[4:]):
        yield "response.function_call_arguments.delta", {"delta": part}
    yield "response.function_call_arguments.done", {"arguments": written, "name": item["name"]}


def _response(status: str, items: list[dict[str, Any]], *, usage: bool = False) -> dict[str, Any]:
    prompt, completion = TOKENS["prompt"], TOKENS["completion"]
    used = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }
    return {
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "scripted",
        "output": items,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": used if usage else None,
    }
