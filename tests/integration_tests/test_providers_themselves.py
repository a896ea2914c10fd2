"""The servers on loopback are worth testing against: they refuse what providers refuse and speak as they do."""

import base64
import io
import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from google.genai.types import GenerateContentResponse
from ollama import ChatResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from PIL import Image
from pydantic import TypeAdapter

from tests.integration_tests.providers.clients import PROVIDERS
from tests.integration_tests.providers.loopback import Answer, Call

SHAPES = {
    "openai chat": (ChatCompletion, ChatCompletionChunk),
    "openai responses": (Response, ResponseStreamEvent),
    "anthropic": (Message, RawMessageStreamEvent),
    "google": (GenerateContentResponse, GenerateContentResponse),
    "ollama": (ChatResponse, ChatResponse),
}
PATHS = {
    "openai chat": "/v1/chat/completions",
    "openai responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "google": "/v1beta/models/gemini-2.5-flash:generateContent",
    "ollama": "/api/chat",
}
ANSWERS = [
    Answer("A red square [1]."),
    Answer(
        "Let me look.", calls=(Call("search", {"query": "red"}), Call("search", {"query": "blue"}, "call_2"))
    ),
    Answer(calls=(Call("search", {"query": "red"}),)),
]


def encoded(pillow_format="PNG"):
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, pillow_format)
    return base64.b64encode(data.getvalue()).decode()


def openai_request(data, media_type, role="user", **more):
    part = {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}
    return {"model": "m", "messages": [{"role": role, "content": [part], **more}]}


def responses_request(data, media_type, **more):
    part = {"type": "input_image", "image_url": f"data:{media_type};base64,{data}", "detail": "auto"}
    return {"model": "m", "input": [{"role": "user", "content": [part]}], **more}


def anthropic_request(data, media_type, roles=("user",)):
    source = {"type": "base64", "media_type": media_type, "data": data}
    block = {"type": "image", "source": source}
    return {"model": "m", "max_tokens": 9, "messages": [{"role": role, "content": [block]} for role in roles]}


def google_request(data, media_type, role="user", **more):
    part = {"inlineData": {"mimeType": media_type, "data": data}}
    return {"contents": [{"role": role, "parts": [part]}], **more}


def ollama_request(data, media_type="", role="user", **more):
    message = {"role": role, "content": "What is it?", "images": [data]}
    return {"model": "m", "stream": False, "messages": [message], **more}


REQUESTS = {
    "openai chat": openai_request,
    "openai responses": responses_request,
    "anthropic": anthropic_request,
    "google": google_request,
    "ollama": ollama_request,
}
REFUSED = {
    "openai chat": [
        openai_request(encoded("JPEG"), "image/png"),
        openai_request(encoded(), "image/png", role="tool", tool_call_id="call_1"),
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "image", "base64": encoded()}]}]},
        {**openai_request(encoded(), "image/png"), "invented": 1},
        {"model": "m", "messages": [{"role": "tool", "tool_call_id": "x", "content": "no call before it"}]},
        {"messages": []},
    ],
    "openai responses": [
        responses_request(encoded("JPEG"), "image/png"),
        responses_request(encoded(), "image/png", messages=[]),
        {"model": "m", "input": [{"type": "function_call_output", "call_id": "x", "output": "no call"}]},
    ],
    "anthropic": [
        anthropic_request(encoded("JPEG"), "image/png"),
        anthropic_request(encoded(), "image/png", roles=("user", "user")),
        anthropic_request(encoded(), "image/png", roles=("assistant",)),
        {
            "model": "m",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}],
        },
        {"model": "m", "messages": [{"role": "user", "content": "no max_tokens"}]},
    ],
    "google": [
        google_request(encoded("JPEG"), "image/png"),
        google_request(encoded(), "image/png", role="assistant"),
        google_request(encoded(), "image/png", messages=[]),
        google_request(encoded("GIF"), "image/gif"),
    ],
    "ollama": [
        ollama_request(encoded(), role="human"),
        ollama_request(encoded(), invented=1),
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "a list"}]}]},
    ],
}


def post(server, path, body):
    request = Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.fixture(params=PROVIDERS)
def name(request):
    return request.param


@pytest.fixture
def server(name):
    with PROVIDERS[name][0]() as started:
        yield started


def test_a_request_in_order_is_answered_and_its_picture_is_read(name, server):
    server.says("A red square.")
    status, _ = post(server, PATHS[name], REQUESTS[name](encoded(), "image/png"))
    assert (status, server.refusals) == (200, [])
    assert server.pictures == [base64.b64decode(encoded())]


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (encoded("BMP"), "image/bmp"),
        (base64.b64encode(b"no picture at all").decode(), "image/png"),
        (encoded()[:40], "image/png"),
        ("no base64!", "image/png"),
    ],
    ids=["format", "no picture", "cut off", "no base64"],
)
def test_a_bad_picture_is_refused(name, server, data, media_type):
    status, error = post(server, PATHS[name], REQUESTS[name](data, media_type))
    assert status == 400
    assert len(server.refusals) == 1
    assert server.requests == []
    assert "error" in error


def test_a_request_against_the_providers_rules_is_refused(name, server):
    for body in REFUSED[name]:
        assert post(server, PATHS[name], body)[0] == 400, body
    assert len(server.refusals) == len(REFUSED[name])


@pytest.mark.parametrize("answer", ANSWERS, ids=["text", "text and calls", "call"])
def test_answers_have_the_shape_of_the_providers_own_types(name, server, answer):
    whole, piece = (TypeAdapter(kind) for kind in SHAPES[name])
    whole.validate_python(server.whole(answer), strict=False)
    lines = b"".join(server.pieces(answer)).decode().splitlines()
    events = [line.removeprefix("data: ") for line in lines if line.startswith(("data: {", "{"))]
    assert len(events) > 1 or (name == "google" and len(answer.calls) == 1)
    for event in events:
        piece.validate_json(event)
