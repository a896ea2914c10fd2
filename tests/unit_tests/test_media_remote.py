"""Downloads: only from public addresses, only from the address that was checked, within time and size.

The servers here are real ones on loopback, which a policy reaches only with `allow_private_addresses=True`; where a
test needs the address check itself, loopback's 127.0.0.1 is declared public and everything else stays as it is.
"""

from __future__ import annotations

import gzip
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from langchain_mmrag.errors import (
    CorruptMediaError,
    LoadError,
    SourceNotFoundError,
    UnsafeSourceError,
    UnsupportedFormatError,
)
from langchain_mmrag.media import MediaPolicy, image_facts, open_image, prompt_image, read_media, remote
from langchain_mmrag.media.addresses import is_public
from tests.unit_tests.media_cases import FLAG, flag, quarters, saved

FLAG_PNG = saved(flag(), "PNG")
OPEN = MediaPolicy(allow_private_addresses=True, timeout_s=5)
HASTY = MediaPolicy(allow_private_addresses=True, timeout_s=0.4)
CERTIFICATE = Path(__file__).with_name("tls_pictures_test.pem")


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


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
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


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """A name server of our own: {name: [addresses of the first look-up, of the second, ...]}."""
    book: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *arguments: object, **options: object) -> list:
        if host not in book:
            return real(host, port, *arguments, **options)
        return [real(address, port, *arguments, **options)[0] for address in book[host].pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return book


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "is_public", lambda address: address == "127.0.0.1" or is_public(address))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


# --- what is fetched ----------------------------------------------------------------------------------------------


def test_a_picture_is_fetched(serve: Callable[..., Server]) -> None:
    server = serve()
    assert quarters(open_image(server.url, OPEN)) == list(FLAG)
    assert image_facts(server.url, OPEN).mime_type == "image/png"
    assert prompt_image(server.url, OPEN) == (FLAG_PNG, "image/png")
    assert server.connections == 3


def test_the_request_is_plain_and_carries_the_query_but_no_fragment(serve: Callable[..., Server]) -> None:
    server = serve()
    read_media(f"http://127.0.0.1:{server.port}/a%20b.png?x=1&y=%26#part", OPEN)
    request = server.requests[0].decode().lower()
    assert request.startswith("get /a%20b.png?x=1&y=%26 http/1.1\r\n")
    assert f"host: 127.0.0.1:{server.port}\r\n" in request
    assert "accept-encoding: identity\r\n" in request
    assert "cookie" not in request
    assert "authorization" not in request


@pytest.mark.parametrize(
    "answer",
    [
        reply(headers=("Content-Type: text/plain",)),
        reply(length=False),
        b"HTTP/1.0 200 OK\r\n\r\n" + FLAG_PNG,
        reply(headers=("Content-Encoding: identity",)),
        reply(
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(FLAG_PNG), FLAG_PNG),
            headers=("Transfer-Encoding: chunked",),
            length=False,
        ),
        b"HTTP/1.1 100 Continue\r\n\r\n" + reply(),
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(),
    ],
    ids=["wrong type", "no length", "HTTP/1.0", "identity", "chunked", "100", "103"],
)
def test_every_way_of_sending_a_body_is_read(serve: Callable[..., Server], answer: bytes) -> None:
    assert read_media(serve(answer).url, OPEN) == FLAG_PNG


def test_proxies_of_the_environment_are_not_used(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(reply(b"from the proxy"))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert read_media(serve().url, OPEN) == FLAG_PNG
    assert proxy.connections == 0


def test_connections_are_closed_after_success_and_failure(serve: Callable[..., Server]) -> None:
    def endless(_: bytes) -> Iterator[bytes]:
        yield reply(b"", length=False)
        while True:
            yield bytes(65536)

    server, flood = serve(), serve(endless)
    for _ in range(20):
        read_media(server.url, OPEN)
        with pytest.raises(UnsafeSourceError):
            read_media(flood.url, MediaPolicy(allow_private_addresses=True, max_bytes=100_000))
    deadline = time.monotonic() + 5
    while (server.open_connections or flood.open_connections) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (server.open_connections, flood.open_connections) == (0, 0)


def test_many_threads_fetch_at_once(serve: Callable[..., Server]) -> None:
    server = serve()
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(read_media(server.url, OPEN))) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == [FLAG_PNG] * 16


# --- which addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "93.184.215.14",
        "2606:4700:4700::1111",
        "64:ff9b::101:101",
        "2002:101:101::1",
        "::ffff:1.1.1.1",
        "172.32.0.1",
    ],
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
        "172.31.255.255", "192.0.0.8", "192.0.0.9", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1",
        "203.0.113.1", "224.0.0.1", "224.0.1.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::127.0.0.1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2002:7f00:1::1", "2002:a00:1::1", "2002:c0a8:101::1", "3fff::1", "5f00::1",
        "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fe80::1%1", "2606:4700:4700::1111%eth0", "fec0::1", "ff02::1",
        "ff0e::1", "4000::1",
    ],
)  # fmt: skip
def test_other_addresses_are_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "LOCALHOST", "localhost.", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "0",
        "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "127.0.0.1.",
    ],
)  # fmt: skip
def test_no_spelling_of_loopback_is_connected_to(serve: Callable[..., Server], host: str) -> None:
    server = serve()
    with pytest.raises(LoadError) as caught:
        open_image(f"http://{host}:{server.port}/flag.png", MediaPolicy(timeout_s=5))
    assert server.connections == 0
    assert any(
        words in str(caught.value) for words in ("not a public address", "cannot look up", "not a valid URL")
    )


def test_one_private_address_among_public_ones_refuses_the_name(
    serve: Callable[..., Server], names: dict
) -> None:
    server = serve()
    names["mixed.test"] = [["1.1.1.1", "127.0.0.1"]]
    with pytest.raises(UnsafeSourceError, match=r"mixed\.test is at 127\.0\.0\.1"):
        open_image(f"http://mixed.test:{server.port}/", MediaPolicy())
    assert server.connections == 0


@pytest.mark.usefixtures("loopback_is_public")
def test_a_name_is_looked_up_once_so_a_second_answer_has_no_effect(
    serve: Callable[..., Server], names: dict
) -> None:
    server = serve()
    names["rebinding.test"] = [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"]]
    assert read_media(f"http://rebinding.test:{server.port}/a", MediaPolicy(timeout_s=5)) == FLAG_PNG
    assert len(names["rebinding.test"]) == 2
    assert f"Host: rebinding.test:{server.port}\r\n".encode() in server.requests[0]


def test_a_dead_first_address_leaves_the_second(serve: Callable[..., Server], names: dict) -> None:
    server = serve()
    names["twice.test"] = [["::1", "127.0.0.1"]]
    assert read_media(f"http://twice.test:{server.port}/", OPEN) == FLAG_PNG


def test_an_unknown_name_is_a_load_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(LoadError, match=r"http://nowhere\.test/a\.png.*cannot look up nowhere\.test"):
        open_image("http://nowhere.test/a.png")


def test_nobody_listening_is_a_load_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(LoadError, match="cannot download"):
        open_image(f"http://127.0.0.1:{port}/", OPEN)


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///a.png",
        "http://[::1/a",
        "http://a:99999999/",
        "http://a b/",
        "http://..../",
        "https://xn--/",
        "http://" + "a" * 300 + "/",
    ],
)
def test_a_malformed_address_is_a_load_error(url: str) -> None:
    with pytest.raises(LoadError):
        open_image(url, MediaPolicy(timeout_s=5))


def test_a_user_name_in_the_address_is_refused_and_not_repeated(serve: Callable[..., Server]) -> None:
    server = serve()
    with pytest.raises(UnsafeSourceError, match="user name or password") as caught:
        open_image(f"http://me:hunter2@127.0.0.1:{server.port}/", OPEN)
    assert "hunter2" not in str(caught.value)
    assert server.connections == 0


def test_addresses_can_be_turned_off(serve: Callable[..., Server]) -> None:
    server = serve()
    with pytest.raises(UnsafeSourceError, match="turned off"):
        open_image(server.url, MediaPolicy(allow_private_addresses=True, allow_urls=False))
    assert server.connections == 0


# --- redirects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
def test_redirects_are_followed(serve: Callable[..., Server], status: str) -> None:
    server = serve(
        lambda request: reply() if b"/there.png" in request else redirect("../there.png?x#y", status)
    )
    assert read_media(server.url, OPEN) == FLAG_PNG
    assert server.requests[1].startswith(b"GET /there.png?x HTTP/1.1\r\n")


def test_redirects_are_counted(serve: Callable[..., Server]) -> None:
    server = serve(lambda request: redirect(f"/{int(request.split()[1].strip(b'/flag.pn') or 0) + 1}"))
    with pytest.raises(UnsafeSourceError, match="more than 3 times"):
        read_media(server.url, MediaPolicy(allow_private_addresses=True, max_redirects=3))
    assert server.connections == 4
    with pytest.raises(UnsafeSourceError, match="more than 0 times"):
        read_media(server.url, MediaPolicy(allow_private_addresses=True, max_redirects=0))
    assert server.connections == 5


@pytest.mark.usefixtures("loopback_is_public")
@pytest.mark.parametrize(
    "target",
    [
        "http://[::1]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "//[::ffff:127.0.0.1]:{port}/",
        "http://metadata.test:{port}/",
    ],
)
def test_a_redirect_to_a_private_address_is_refused(
    serve: Callable[..., Server], names: dict, target: str
) -> None:
    inner = serve()
    names["metadata.test"] = [["10.1.2.3"]]
    outer = serve(redirect(target.format(port=inner.port)))
    with pytest.raises(UnsafeSourceError, match="not a public address") as caught:
        open_image(outer.url, MediaPolicy(timeout_s=5))
    assert outer.url in str(caught.value)
    assert (outer.connections, inner.connections) == (1, 0)


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ("file:///etc/passwd", UnsafeSourceError, "only http and https"),
        ("ftp://host/a", UnsafeSourceError, "only http and https"),
        ("data:image/png;base64,AAAA", UnsafeSourceError, "only http and https"),
        ("gopher://127.0.0.1:25/", UnsafeSourceError, "only http and https"),
        ("http://me:hunter2@127.0.0.1/", UnsafeSourceError, "user name or password"),
        ("http://0177.0.0.1/", LoadError, "not a valid URL"),
    ],
)
def test_a_redirect_out_of_http_is_refused(
    serve: Callable[..., Server], target: str, error: type, words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        open_image(serve(redirect(target)).url, OPEN)
    assert "hunter2" not in str(caught.value)


def test_a_redirect_to_nowhere_is_a_load_error(serve: Callable[..., Server]) -> None:
    with pytest.raises(LoadError, match="without a Location"):
        open_image(serve(reply(b"", "302 Found")).url, OPEN)


# --- time and size ------------------------------------------------------------------------------------------------


def _drip(parts: bytes) -> Callable[[bytes], Iterator[bytes]]:
    def answer(_: bytes) -> Iterator[bytes]:
        for at in range(len(parts)):
            yield parts[at : at + 1]
            time.sleep(0.02)

    return answer


def _silence(_: bytes) -> Iterator[bytes]:
    for _ in range(500):
        time.sleep(0.02)
        yield b""


@pytest.mark.parametrize(
    "answer",
    [
        _silence,
        _drip(reply(bytes(500))),
        _drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 80),
        _drip(b"HTTP/1.1 100 \r\n\r\n" * 30),
    ],
    ids=["silence", "slow body", "slow headers", "endless preliminaries"],
)
def test_a_slow_server_is_left_in_time(
    serve: Callable[..., Server], answer: Callable[[bytes], Iterator[bytes]]
) -> None:
    server = serve(answer)
    with at_most(4), pytest.raises(LoadError, match=r"not there within 0\.4 s"):
        open_image(server.url, HASTY)


def test_one_time_limit_spans_all_redirects(serve: Callable[..., Server]) -> None:
    def answer(_: bytes) -> Iterator[bytes]:
        time.sleep(0.15)
        yield redirect("/again")

    with at_most(4), pytest.raises(LoadError, match=r"not there within 0\.4 s"):
        open_image(serve(answer).url, HASTY)


def test_a_server_that_never_greets_in_tls_is_left_in_time(serve: Callable[..., Server]) -> None:
    with at_most(4), pytest.raises(LoadError, match=r"not there within 0\.4 s"):
        open_image(serve(_silence).url.replace("http:", "https:"), HASTY)


def test_a_slow_name_server_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()

    def look_up(*_: object, **__: object) -> list:
        done.wait(5)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        with at_most(4), pytest.raises(LoadError, match=r"not there within 0\.4 s"):
            open_image("http://slow.test/a.png", HASTY)
    finally:
        done.set()


def test_an_announced_length_above_the_cap_is_refused_unread(serve: Callable[..., Server]) -> None:
    server = serve(lambda _: iter([b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", bytes(1000)]))
    with at_most(4), pytest.raises(UnsafeSourceError, match="more than the 100000 bytes"):
        read_media(server.url, MediaPolicy(allow_private_addresses=True, max_bytes=100_000))


def test_an_endless_body_is_cut_at_the_cap(serve: Callable[..., Server]) -> None:
    sent = 0

    def endless(_: bytes) -> Iterator[bytes]:
        nonlocal sent
        yield reply(b"", length=False)
        while True:
            yield bytes(65536)
            sent += 65536

    with pytest.raises(UnsafeSourceError, match="more than the 100000 bytes"):
        read_media(serve(endless).url, MediaPolicy(allow_private_addresses=True, max_bytes=100_000))
    assert sent < 30_000_000, "no more than what fits the sockets' buffers"


def test_an_endless_chunked_body_is_cut_at_the_cap(serve: Callable[..., Server]) -> None:
    def endless(_: bytes) -> Iterator[bytes]:
        yield reply(b"", headers=("Transfer-Encoding: chunked",), length=False)
        while True:
            yield b"10000\r\n" + bytes(65536) + b"\r\n"

    with pytest.raises(UnsafeSourceError, match="more than the 100000 bytes"):
        read_media(serve(endless).url, MediaPolicy(allow_private_addresses=True, max_bytes=100_000))


def test_the_cap_is_inclusive(serve: Callable[..., Server]) -> None:
    server = serve()
    exact = MediaPolicy(allow_private_addresses=True, max_bytes=len(FLAG_PNG))
    assert read_media(server.url, exact) == FLAG_PNG
    with pytest.raises(UnsafeSourceError):
        read_media(server.url, MediaPolicy(allow_private_addresses=True, max_bytes=len(FLAG_PNG) - 1))


def test_a_body_shorter_than_announced_is_a_load_error(serve: Callable[..., Server]) -> None:
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(FLAG_PNG) + 1}\r\n\r\n".encode() + FLAG_PNG
    with pytest.raises(LoadError, match="cannot download"):
        open_image(serve(answer).url, OPEN)


def test_a_cut_off_body_of_unknown_length_is_a_broken_picture(serve: Callable[..., Server]) -> None:
    with pytest.raises(CorruptMediaError, match="broken or cut-off PNG"):
        open_image(serve(reply(FLAG_PNG[:60], length=False)).url, OPEN)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
def test_a_compressed_body_is_refused(serve: Callable[..., Server], encoding: str) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    with pytest.raises(LoadError, match=f"{encoding}-encoded"):
        open_image(serve(reply(bomb, headers=(f"Content-Encoding: {encoding}",))).url, OPEN)


# --- what servers say ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
def test_nothing_there_is_source_not_found(serve: Callable[..., Server], status: str) -> None:
    server = serve(reply(b"<html>", status))
    with pytest.raises(SourceNotFoundError, match=f"{server.url}: HTTP {status[:3]}"):
        open_image(server.url, OPEN)


@pytest.mark.parametrize(
    "status",
    [
        "204 No Content",
        "206 Partial",
        "304 Not Modified",
        "401 Unauthorized",
        "403 Forbidden",
        "429 Slow",
        "500 Oops",
        "503 Busy",
    ],
)
def test_any_other_status_is_a_load_error(serve: Callable[..., Server], status: str) -> None:
    body = b"" if status[:3] in {"204", "304"} else FLAG_PNG
    with pytest.raises(LoadError, match=f"HTTP {status[:3]}") as caught:
        open_image(serve(reply(body, status)).url, OPEN)
    assert not isinstance(caught.value, SourceNotFoundError)


def test_a_page_instead_of_the_picture_is_told(serve: Callable[..., Server]) -> None:
    server = serve(reply(b"<!doctype html><html>", headers=("Content-Type: image/png",)))
    with pytest.raises(UnsupportedFormatError, match=f"{server.url} is not an image.*an HTML page"):
        open_image(server.url, OPEN)


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", b"220 mail ESMTP\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 99999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", redirect("\x00"), redirect("http://\xff\xfe/"), redirect("http://" + "a" * 70_000),
    ],
)  # fmt: skip
def test_a_server_that_talks_nonsense_is_a_load_error(serve: Callable[..., Server], answer: bytes) -> None:
    server = serve(lambda _: answer)
    with pytest.raises(LoadError) as caught:
        open_image(server.url, MediaPolicy(allow_private_addresses=True, timeout_s=2))
    assert server.url in str(caught.value)


def test_flipped_bytes_in_an_answer_open_or_raise_a_load_error(serve: Callable[..., Server]) -> None:
    generator = random.Random(20)
    whole = reply(headers=("Content-Type: image/png", "Connection: keep-alive", "Location: /a"))

    def answer(_: bytes) -> bytes:
        data = bytearray(whole)
        for _ in range(generator.choice((1, 3))):
            data[generator.randrange(140)] = generator.randrange(256)
        return bytes(data)

    server, opened = serve(answer), 0
    for _ in range(150):
        try:
            opened += open_image(server.url, OPEN).size == (32, 16)
        except LoadError:
            continue
    assert 0 < opened < 150


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tls_server(serve: Callable[..., Server]) -> Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    server = serve(tls=context)
    server.asked = asked
    return server


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    monkeypatch.setattr(remote, "_tls_context", lambda: context)


@pytest.mark.usefixtures("trusted")
def test_tls_goes_by_the_name_while_the_checked_address_is_connected_to(
    tls_server: Server, names: dict
) -> None:
    names["pictures.test"] = [["127.0.0.1"]]
    assert read_media(f"https://pictures.test:{tls_server.port}/flag.png", OPEN) == FLAG_PNG
    assert tls_server.asked == ["pictures.test"]
    assert f"Host: pictures.test:{tls_server.port}\r\n".encode() in tls_server.requests[0]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("host", ["other.test", "127.0.0.1"])
def test_a_certificate_for_another_name_is_refused(tls_server: Server, names: dict, host: str) -> None:
    names["other.test"] = [["127.0.0.1"]]
    with pytest.raises(LoadError, match=r"(?i)mismatch|not valid for"):
        read_media(f"https://{host}:{tls_server.port}/", OPEN)
    assert tls_server.requests == []


def test_an_unknown_certificate_is_refused(tls_server: Server, names: dict) -> None:
    names["pictures.test"] = [["127.0.0.1"]]
    with pytest.raises(LoadError, match="CERTIFICATE_VERIFY_FAILED"):
        read_media(f"https://pictures.test:{tls_server.port}/", OPEN)
    assert tls_server.requests == []


@pytest.mark.usefixtures("trusted")
def test_a_slow_body_over_tls_is_left_in_time(serve: Callable[..., Server], names: dict) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    names["pictures.test"] = [["127.0.0.1"]]
    server = serve(_drip(reply(bytes(500))), tls=context)
    with at_most(4), pytest.raises(LoadError, match=r"not there within 0\.4 s"):
        read_media(f"https://pictures.test:{server.port}/", HASTY)
