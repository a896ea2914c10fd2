"""Fetch over http(s) from public addresses only, within one time limit and one byte limit.

The check sits where the connection is made: a name is looked up once, every address it has is checked, and
the socket is connected to a checked address. A second look-up, which an attacker's name server could answer
with another address, never happens. TLS and the `Host` header still go by the name. Proxies set in the
environment are not used: a proxy would do its own look-up.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from threading import Thread
from typing import Any

import httpcore
import httpx

from langchain_mmrag.errors import LoadError, SourceNotFoundError, UnsafeSourceError
from langchain_mmrag.media.addresses import is_public
from langchain_mmrag.media.describe import describe_source
from langchain_mmrag.media.policy import MediaPolicy, check_size

_HEADERS: list[tuple[bytes | str, bytes | str]] = [
    ("Accept", "image/*,*/*;q=0.5"),
    ("Accept-Encoding", "identity"),
    ("User-Agent", "langchain-mmrag"),
]
_REDIRECTS = {301, 302, 303, 307, 308}
_GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_MOST_ADDRESSES = 8


def fetch(url: str, policy: MediaPolicy) -> bytes:
    """The body found at `url`.

    Raises:
        SourceNotFoundError: If the server says there is nothing there.
        UnsafeSourceError: If the address, a redirect or the size breaks the policy.
        LoadError: If the download fails or takes too long.
    """
    name = describe_source(url)
    if not policy.allow_urls:
        msg = f"{name}: downloads are turned off by the media policy (MediaPolicy.allow_urls)"
        raise UnsafeSourceError(msg)
    backend = _CheckedBackend(name, policy)
    with _translated(name, policy), _pool(backend) as pool:
        target = _parse(url, name)
        for _ in range(policy.max_redirects + 1):
            with pool.stream("GET", _core_url(target), headers=_HEADERS) as response:
                if response.status not in _REDIRECTS:
                    return _body(response, name, policy)
                target = _parse(_location(response, name), name, target)
    msg = f"{name} redirects more than {policy.max_redirects} times (MediaPolicy.max_redirects)"
    raise UnsafeSourceError(msg)


def _pool(backend: httpcore.NetworkBackend) -> httpcore.ConnectionPool:
    return httpcore.ConnectionPool(
        ssl_context=_tls_context(), network_backend=backend, max_keepalive_connections=0
    )


@cache
def _tls_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()  # reading the certificates takes longer than many a download


def _parse(text: str, name: str, base: httpx.URL | None = None) -> httpx.URL:
    """The URL `text` spells, as a redirect from `base` if there is one; `name` is what was asked for."""
    subject = name if base is None else f"{name}: its redirect to {describe_source(text)}"
    try:
        url = httpx.URL(text) if base is None else base.join(text)
    except (httpx.InvalidURL, ValueError) as error:
        msg = f"{subject} is not a valid URL: {error}"
        raise LoadError(msg) from error
    if url.scheme not in {"http", "https"}:
        msg = f"{subject} is not followed: only http and https are"
        raise UnsafeSourceError(msg)
    if url.userinfo:
        msg = f"{subject} carries a user name or password: download it yourself and pass the bytes"
        raise UnsafeSourceError(msg)
    if not url.raw_host:
        msg = f"{subject} names no host: write http://host/path"
        raise LoadError(msg)
    return url


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _header(response: httpcore.Response, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), None)


def _location(response: httpcore.Response, name: str) -> str:
    location = _header(response, b"location")
    if location is None:
        msg = f"{name}: HTTP {response.status} without a Location to go to"
        raise LoadError(msg)
    return location


def _body(response: httpcore.Response, name: str, policy: MediaPolicy) -> bytes:
    if response.status in _GONE:
        msg = f"nothing at {name}: HTTP {response.status}"
        raise SourceNotFoundError(msg)
    if response.status != HTTPStatus.OK:
        msg = f"cannot download {name}: HTTP {response.status}"
        raise LoadError(msg)
    encoding = _header(response, b"content-encoding")
    if encoding and encoding.strip().lower() != "identity":
        # Unpacking is where a few kilobytes become gigabytes, and pictures are compressed already.
        msg = f"{name} was sent {encoding}-encoded, though asked for as it is"
        raise LoadError(msg)
    announced = _header(response, b"content-length") or ""
    check_size(int(announced) if announced.isdecimal() else 0, name, policy)
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        check_size(len(body), name, policy)
    return bytes(body)


@contextmanager
def _translated(name: str, policy: MediaPolicy) -> Iterator[None]:
    try:
        yield
    except LoadError:  # one of its kinds is an OSError too
        raise
    except httpcore.TimeoutException as error:
        msg = f"{name} was not there within {policy.timeout_s:g} s (MediaPolicy.timeout_s)"
        raise LoadError(msg) from error
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
        msg = f"cannot download {name}: {error or type(error).__name__}"
        raise LoadError(msg) from error


class _CheckedBackend(httpcore.NetworkBackend):
    """Makes connections to checked addresses, all under one deadline."""

    def __init__(self, name: str, policy: MediaPolicy) -> None:
        self._name = name
        self._policy = policy
        self._deadline = _Deadline(policy.timeout_s)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002  the deadline of the whole download rules
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._addresses(host, port)
        failure: Exception | None = None
        for tried, address in enumerate(addresses):
            # A dead first address must leave time for the others.
            share = self._deadline.left() / (len(addresses) - tried)
            try:
                stream = httpcore.SyncBackend().connect_tcp(
                    address, port, share, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._deadline)
        raise failure or httpcore.ConnectError(f"{host} has no address")

    def _addresses(self, host: str, port: int) -> list[str]:
        addresses = _look_up(host, port, self._deadline)
        if not (self._policy.allow_private_addresses or all(map(is_public, addresses))):
            # Where a name leads to inside is not told: the message may reach whoever made the link.
            msg = (
                f"{self._name}: {host} is not a public address; "
                "if you trust it, set MediaPolicy.allow_private_addresses"
            )
            raise UnsafeSourceError(msg)
        return addresses[:_MOST_ADDRESSES]


def _look_up(host: str, port: int, deadline: _Deadline) -> list[str]:
    found: list[list[str] | Exception] = []

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.append(list(dict.fromkeys(str(answer[4][0]) for answer in answers)))
        except (OSError, UnicodeError) as error:
            found.append(error)

    # The system's look-up takes no time limit; a thread that is not waited for does.
    thread = Thread(target=ask, daemon=True, name="langchain-mmrag-dns")
    thread.start()
    thread.join(deadline.left())
    if not found:
        msg = f"looking up {host} took too long"
        raise httpcore.ConnectTimeout(msg)
    if isinstance(found[0], Exception):
        msg = f"cannot look up {host} ({found[0]})"
        raise httpcore.ConnectError(msg)
    return found[0]


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            msg = "the time for the whole download is over"
            raise httpcore.ReadTimeout(msg)
        return left


class _TimedStream(httpcore.NetworkStream):
    """A stream whose every wait is cut at the deadline, so that a byte a second cannot keep it open."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left())
        return _TimedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
