"""A chat provider on loopback: it refuses what the provider refuses and answers what a test has scripted."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

TOKENS = {"prompt": 120, "completion": 7}
"""What every answer reports as its usage."""


@dataclass(frozen=True)
class Call:
    """A tool call as a model writes it; `arguments` may be no JSON at all."""

    name: str
    arguments: dict[str, Any] | str
    id: str = "call_1"

    @property
    def written(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@dataclass(frozen=True)
class Answer:
    """What a provider says to one request, and how that goes wrong.

    Attributes:
        text: The words; a stream gives them word by word.
        calls: Tools it wants called.
        status: Not 200: an error with `text` as its message.
        hangs_up_after: Pieces of a stream after which the connection is closed.
        fails_after: Pieces of a stream after which it reports an error of its own, `text` cut short.
        pause_s: Seconds before an answer, and between the pieces of a stream.
    """

    text: str = ""
    calls: tuple[Call, ...] = ()
    status: int = 200
    hangs_up_after: int | None = None
    fails_after: int | None = None
    pause_s: float = 0.0

    @property
    def words(self) -> list[str]:
        return [word + " " for word in self.text.split(" ")][:-1] + self.text.split(" ")[-1:]


@dataclass(frozen=True)
class Turn:
    """A message as any provider sees it: its role, its text as one string, its pictures in order."""

    role: str
    text: str
    pictures: list[bytes] = field(default_factory=list)


class ProviderServer:
    """What all providers have in common. Use as a context manager.

    Attributes:
        script: Answers still to be given, the last one again and again.
        requests: Bodies of all requests that were in order.
        refusals: Why the others were not.
        hung_up: Set once a client has left in the middle of an answer.
    """

    stream_type: ClassVar[str] = "text/event-stream"

    def __init__(self) -> None:
        self.script: deque[Answer] = deque([Answer("Nothing was scripted.")])
        self.requests: list[dict[str, Any]] = []
        self.refusals: list[str] = []
        self.hung_up = threading.Event()
        self._stopping = threading.Event()

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"provider": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def says(self, *answers: Answer | str) -> None:
        """Script the answers to come."""
        self.script = deque(Answer(a) if isinstance(a, str) else a for a in answers)

    def next_answer(self) -> Answer:
        return self.script.popleft() if len(self.script) > 1 else self.script[0]

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than the server lives."""
        self._stopping.wait(seconds)

    @property
    def turns(self) -> list[Turn]:
        """The last request, message by message."""
        return self.read(self.requests[-1])

    @property
    def pictures(self) -> list[bytes]:
        """The pictures of the last request, in order."""
        return [picture for turn in self.turns for picture in turn.pictures]

    @property
    def text(self) -> str:
        """All text of the last request."""
        return "\n".join(turn.text for turn in self.turns)

    # What providers differ in.

    def check(self, path: str, body: Any) -> None:
        """Raise `Refused` for a request that the provider would not take."""
        raise NotImplementedError

    def wants_stream(self, path: str, body: Any) -> bool:
        return bool(body.get("stream"))

    def read(self, body: Any) -> list[Turn]:
        """A request message by message."""
        raise NotImplementedError

    def whole(self, answer: Answer) -> dict[str, Any]:
        """An answer in one piece."""
        raise NotImplementedError

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        """An answer as a stream: one piece for each word or call, what belongs to no word beside them."""
        raise NotImplementedError

    def error(self, status: int, message: str) -> dict[str, Any]:
        """The body of an error."""
        raise NotImplementedError

    def failure(self, message: str) -> bytes:
        """An error in the middle of a stream."""
        return sse(self.error(500, message))


def sse(data: Any, event: str | None = None) -> bytes:
    """A server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {event}\n" if event else "").encode() + f"data: {text}\n\n".encode()


class _Handler(BaseHTTPRequestHandler):
    provider: ProviderServer
    protocol_version = "HTTP/1.1"  # a stream that ends early can be told from one that is complete

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.close_connection = True
        with suppress(ConnectionError):
            self._answer(body)
            return
        self.provider.hung_up.set()

    def _answer(self, body: Any) -> None:
        try:
            self.provider.check(self.path, body)
        except Exception as refused:  # noqa: BLE001 - also what a check did not think of is no request
            self.provider.refusals.append(f"{type(refused).__name__}: {refused}")
            self._send(400, self.provider.error(400, str(refused)))
            return
        self.provider.requests.append(body)
        answer = self.provider.next_answer()
        if answer.status != 200:
            self._send(answer.status, self.provider.error(answer.status, answer.text))
        elif self.provider.wants_stream(self.path, body):
            self._stream(answer)
        else:
            self.provider.wait(answer.pause_s)
            self._send(200, self.provider.whole(answer))

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, answer: Answer) -> None:
        self.send_response(200)
        self.send_header("Content-Type", self.provider.stream_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        for number, piece in enumerate(self.provider.pieces(answer)):
            if number == answer.hangs_up_after:
                return
            if number == answer.fails_after:
                self._chunk(self.provider.failure("the model fell over"))
                break
            self._chunk(piece)
            self.provider.wait(answer.pause_s)
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
