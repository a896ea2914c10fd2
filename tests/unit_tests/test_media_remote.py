"""Downloads: what is fetched, within which time and size, what servers answer, and TLS.

The servers are real ones on loopback, which a policy reaches only with `allow_private_addresses=True`.
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
from pathlib import Path

import pytest

from langchain_mmrag.errors import (
    CorruptMediaError,
    LoadError,
    SourceNotFoundError,
    UnsafeSourceError,
    UnsupportedFormatError,
)
from langchain_mmrag.media import MediaPolicy, image_facts, open_image, prompt_picture, read_media, remote
from tests.unit_tests.media_cases import FLAG, quarters
from tests.unit_tests.media_server import FLAG_PNG, OPEN, Server, naming, redirect, reply, serving

serve = pytest.fixture(serving)
names = pytest.fixture(naming)

HASTY = MediaPolicy(allow_private_addresses=True, timeout_s=0.4)
CERTIFICATE = Path(__file__).with_name("tls_pictures_test.pem")


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
    assert prompt_picture(server.url, OPEN).data == FLAG_PNG
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
