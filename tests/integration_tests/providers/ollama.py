"""Ollama's chat on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ollama._types import ChatRequest
from pydantic import ValidationError

from tests.integration_tests.providers.loopback import TOKENS, Answer, ProviderServer, Turn
from tests.integration_tests.providers.rules import Refused, demand, picture_of

OLLAMA_PICTURES = frozenset({"image/jpeg", "image/png", "image/webp"})
_ROLES = {"system", "user", "assistant", "tool"}


class OllamaServer(ProviderServer):
    """`POST /api/chat`."""

    stream_type = "application/x-ndjson"

    def check(self, path: str, body: Any) -> None:
        demand(path == "/api/chat", f"no such path: {path}")
        try:
            ChatRequest.model_validate(body)
        except ValidationError as error:
            raise Refused(str(error)) from error
        unknown = set(body) - {*ChatRequest.model_fields}
        demand(not unknown, f"unknown fields: {sorted(unknown)}")
        for message in body["messages"]:
            demand(message["role"] in _ROLES, f"invalid role: {message['role']}")
            demand(isinstance(message.get("content", ""), str), "content is of type string")
        self.read(body)

    def wants_stream(self, path: str, body: Any) -> bool:
        return body.get("stream") is not False

    def read(self, body: Any) -> list[Turn]:
        return [
            Turn(
                message["role"],
                message.get("content") or "",
                [picture_of(data, None, OLLAMA_PICTURES) for data in message.get("images") or ()],
            )
            for message in body["messages"]
        ]

    def whole(self, answer: Answer) -> dict[str, Any]:
        return _line({"content": answer.text, **_calls(answer)}, last=True)

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        messages: list[dict[str, Any]] = [{"content": word} for word in answer.words]
        if answer.calls:
            messages.append({"content": "", **_calls(answer)})
        for message in messages:
            yield _json_line(_line(message))
        yield _json_line(_line({"content": ""}, last=True))

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"error": message}

    def failure(self, message: str) -> bytes:
        return _json_line(self.error(500, message))


def _json_line(data: dict[str, Any]) -> bytes:
    return json.dumps(data).encode() + b"\n"


def _calls(answer: Answer) -> dict[str, Any]:
    calls = [{"function": {"name": call.name, "arguments": call.arguments}} for call in answer.calls]
    return {"tool_calls": calls} if calls else {}


def _line(message: dict[str, Any], *, last: bool = False) -> dict[str, Any]:
    line = {
        "model": "scripted",
        "created_at": "2026-01-01T00:00:00Z",
        "message": {"role": "assistant", **message},
        "done": last,
    }
    if not last:
        return line
    durations = {"total_duration": 5, "load_duration": 1, "prompt_eval_duration": 2, "eval_duration": 2}
    counts = {"prompt_eval_count": TOKENS["prompt"], "eval_count": TOKENS["completion"]}
    return {**line, "done_reason": "stop", **durations, **counts}
