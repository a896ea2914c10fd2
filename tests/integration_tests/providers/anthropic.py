"""Anthropic's Messages on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from anthropic.types.message_create_params import MessageCreateParams

from tests.integration_tests.providers.loopback import TOKENS, Answer, ProviderServer, Turn, sse
from tests.integration_tests.providers.rules import ANTHROPIC_PICTURES, TypedRequest, demand, picture_of

_KINDS = {400: "invalid_request_error", 429: "rate_limit_error", 500: "api_error"}


class AnthropicServer(ProviderServer):
    """`POST /v1/messages`."""

    _request = TypedRequest(MessageCreateParams)

    def check(self, path: str, body: Any) -> None:
        demand(path == "/v1/messages", f"no such path: {path}")
        self._request.check(body)
        roles = [message["role"] for message in body["messages"]]
        demand(roles[0] == "user", "messages: first message must use the user role")
        alternate = all(a != b for a, b in pairwise(roles))
        demand(alternate, f"messages: roles must alternate between user and assistant, not {roles}")
        for asked, answered in pairwise(body["messages"]):
            wanted = {b["id"] for b in _blocks(asked) if b["type"] == "tool_use"}
            given = {b["tool_use_id"] for b in _blocks(answered) if b["type"] == "tool_result"}
            demand(wanted == given, "each tool_use must have a tool_result in the next message")
        texts = [block["text"] for m in body["messages"] for block in _blocks(m) if block["type"] == "text"]
        demand(all(text.strip() for text in texts), "text content blocks must be non-empty")
        self.read(body)

    def read(self, body: Any) -> list[Turn]:
        system = [Turn("system", _text(body["system"]))] if body.get("system") else []
        return [*system, *(turn for message in body["messages"] for turn in _turns(message))]

    def whole(self, answer: Answer) -> dict[str, Any]:
        said = [{"type": "text", "text": answer.text}] if answer.text else []
        calls = [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}
            for call in answer.calls
        ]
        return {**_message([*said, *calls]), "stop_reason": _stop_reason(answer)}

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        ahead = _event("message_start", message=_message([]))
        steps = [({"type": "text", "text": ""}, _text_deltas(answer))] if answer.text else []
        steps += [
            ({"type": "tool_use", "id": c.id, "name": c.name, "input": {}}, _call_deltas(c.written))
            for c in answer.calls
        ]
        for index, (block, deltas) in enumerate(steps):
            ahead += _event("content_block_start", index=index, content_block=block)
            for delta in deltas:
                yield ahead + _event("content_block_delta", index=index, delta=delta)
                ahead = b""
            ahead += _event("content_block_stop", index=index)
        stop = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
        used = {"output_tokens": TOKENS["completion"]}
        yield ahead + _event("message_delta", delta=stop, usage=used) + _event("message_stop")

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": _KINDS[status], "message": message}}

    def failure(self, message: str) -> bytes:
        return sse({"type": "error", "error": {"type": "overloaded_error", "message": message}}, "error")


def _event(kind: str, **fields: Any) -> bytes:
    return sse({"type": kind, **fields}, event=kind)


def _text_deltas(answer: Answer) -> list[dict[str, Any]]:
    return [{"type": "text_delta", "text": word} for word in answer.words]


def _call_deltas(written: str) -> list[dict[str, Any]]:
    return [{"type": "input_json_delta", "partial_json": part} for part in (written[:4], written[4:])]


def _message(content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": TOKENS["prompt"], "output_tokens": TOKENS["completion"]},
    }


def _stop_reason(answer: Answer) -> str:
    return "tool_use" if answer.calls else "end_turn"


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content") or []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text(content: Any) -> str:
    return "\n".join(b["text"] for b in _blocks({"content": content}) if b["type"] == "text")


def _turns(message: dict[str, Any]) -> Iterator[Turn]:
    """Tool results are turns of their own, as with other providers."""
    rest = []
    for block in _blocks(message):
        if block["type"] == "tool_result":
            yield Turn("tool", _text(block.get("content")), _pictures(_blocks(block)))
        else:
            rest.append(block)
    if rest:
        yield Turn(message["role"], _text(rest), _pictures(rest))


def _pictures(blocks: list[dict[str, Any]]) -> list[bytes]:
    sources = [block["source"] for block in blocks if block["type"] == "image"]
    return [picture_of(s["data"], s["media_type"], ANTHROPIC_PICTURES) for s in sources]
