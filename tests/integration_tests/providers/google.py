"""Google's generateContent and streamGenerateContent on loopback."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from google.genai import types
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from tests.integration_tests.providers.loopback import TOKENS, Answer, ProviderServer, Turn, sse
from tests.integration_tests.providers.rules import GOOGLE_PICTURES, Refused, checked_picture, demand

_KINDS = {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
_PATH = re.compile(r"/v1(?:beta)?/models/[^/:]+:(generateContent|streamGenerateContent\?alt=sse)")


class _Request(BaseModel):
    """The body, of the SDK's own types: over HTTP the configuration lies beside the contents."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

    contents: list[types.Content]
    system_instruction: types.Content | None = None
    tools: list[types.Tool] | None = None
    tool_config: types.ToolConfig | None = None
    safety_settings: list[types.SafetySetting] | None = None
    generation_config: types.GenerationConfig | None = None


class GoogleServer(ProviderServer):
    """`POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`."""

    def check(self, path: str, body: Any) -> None:
        demand(_PATH.fullmatch(path), f"no such path: {path}")
        for content in _request(body).contents:
            demand(content.role in {"user", "model"}, f"use a valid role: {content.role}")
            demand(content.parts, "contents.parts must not be empty")
        self.read(body)

    def wants_stream(self, path: str, body: Any) -> bool:
        return "stream" in path

    def read(self, body: Any) -> list[Turn]:
        request = _request(body)
        system = request.system_instruction
        before = [Turn("system", _text(system.parts))] if system else []
        return [*before, *(_turn(content) for content in request.contents)]

    def whole(self, answer: Answer) -> dict[str, Any]:
        said = [{"text": answer.text}] if answer.text else []
        return _response([*said, *_calls(answer)], last=True)

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        parts = [{"text": word} for word in answer.words if answer.text] + _calls(answer)
        for part in parts:
            yield sse(_response([part], last=part is parts[-1]))

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"error": {"code": status, "message": message, "status": _KINDS[status]}}


def _request(body: Any) -> _Request:
    try:
        return _Request.model_validate_json(json.dumps(body))  # in JSON, bytes are base64
    except ValidationError as error:
        raise Refused(str(error)) from error


def _turn(content: types.Content) -> Turn:
    """Results of functions are what other providers call the tool's turn, with the pictures beside them."""
    results = [part.function_response for part in content.parts if part.function_response]
    role = "tool" if results else {"model": "assistant"}.get(content.role, content.role)
    text = "\n".join([*(str(result.response) for result in results), _text(content.parts)])
    data = [part.inline_data for part in content.parts if part.inline_data]
    return Turn(role, text, [checked_picture(d.data, d.mime_type, GOOGLE_PICTURES) for d in data])


def _text(parts: list[types.Part]) -> str:
    return "\n".join(part.text for part in parts if part.text)


def _calls(answer: Answer) -> list[dict[str, Any]]:
    return [{"functionCall": {"name": call.name, "args": call.arguments}} for call in answer.calls]


def _response(parts: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
    prompt, completion = TOKENS["prompt"], TOKENS["completion"]
    used = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": completion,
        "totalTokenCount": prompt + completion,
    }
    return {"candidates": [candidate], "usageMetadata": used, "modelVersion": "scripted"}
