"""A real web server on loopback for the tests of downloads, and a name server's answers to go with it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from langchain_mmrag.media import MediaPolicy
from tests.unit_tests.media_cases import flag, saved

FLAG_PNG = saved(flag(), "PNG")
OPEN = MediaPolicy(allow_private_addresses=True, timeout_s=5)


def reply(
    body: bytes = FLAG_PNG, status: str = "200 OK", headers: tuple[str, ...] = (), *, length: bool = True
) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else []), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def redirect(to: str, status: str = "302 Found") -> bytes:
    return reply(b"", status, (f"Location: {to}",))


@dataclass
class Server:
    """A server on loopback that answers every connection by the bytes `answer` makes of the request."""

    answer: Callable[[bytes], bytes | Iterator[bytes]] = lambda _: reply()
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0

    def start(self) -> None:
        self._listener = socket.create_server((self.host, 0))
        self.port = self._listener.getsockname()[1]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        self._stop.set()
        socket.create_connection((self.host, self.port)).close()  # wakes the one that waits for connections
        for thread in self._threads:
            thread.join(5)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/flag.png"

    def _accept(self) -> None:
        with self._listener:
            while True:
                connection, _ = self._listener.accept()
                if self._stop.is_set():
                    connection.close()
                    return
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        self.open_connections += 1
        try:
            connection.settimeout(5)
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            request = connection.recv(65536)
            self.requests.append(request)
            answer = self.answer(request)
            for part in [answer] if isinstance(answer, bytes) else answer:
                connection.sendall(part)
                if self._stop.is_set():
                    break
        except OSError:
            pass  # the client has had enough, which is what many of these tests are about
        finally:
            connection.close()
            self.open_connections -= 1


def serving() -> Iterator[Callable[..., Server]]:
    """Fixture: starts servers, stops them at the end."""
    servers: list[Server] = []

    def start(answer: bytes | Callable[[bytes], bytes | Iterator[bytes]] = b"", **options: object) -> Server:
        made = answer if callable(answer) else (lambda _: answer or reply())
        server = Server(made, **options)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def naming(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """A name server of our own: {name: [addresses of the first look-up, of the second, ...]}."""
    book: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *arguments: object, **options: object) -> list:
        if host not in book:
            return real(host, port, *arguments, **options)
        return [real(address, port, *arguments, **options)[0] for address in book[host].pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return book
