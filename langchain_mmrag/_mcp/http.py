"""Clients over streamable HTTP."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from langchain_mmrag._mcp.signals import cancelled_by_signals
from langchain_mmrag.errors import MMRAGError

PATH = "/mcp"

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_GRACE_S = 2  # for answers under way when told to stop


def application(server: Server[Any, Any], *, token: str | None, any_host: bool) -> ASGIApp:
    """The server at `/mcp`, as an ASGI application.

    Raises:
        TypeError: If the token is no text.
        ValueError: If the token is empty, which everybody knows.
    """
    given: Any = token
    if given is not None and not isinstance(given, str):
        msg = f"token is a {type(given).__name__}: give a str, or None for no token"
        raise TypeError(msg)
    if token is not None and not token.strip():
        msg = "token is empty: give one that nobody guesses, or None for no token"
        raise ValueError(msg)
    names = [*_LOOPBACK_NAMES, *(f"{name}:*" for name in _LOOPBACK_NAMES)]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=not any_host,
        allowed_hosts=names,
        allowed_origins=[f"http://{name}" for name in names],
    )
    manager = StreamableHTTPSessionManager(server, security_settings=security)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield

    app = Starlette(routes=[Route(PATH, endpoint=_Endpoint(manager))], lifespan=lifespan)
    return app if token is None else _WithToken(app, token)


async def serve(
    server: Server[Any, Any],
    *,
    host: str,
    port: int,
    token: str | None,
    on_listening: Callable[[str], None] | None,
) -> None:
    """Serve until a signal comes, or the task is cancelled."""
    local = is_loopback(host)
    if not local and not token:
        msg = f"other machines can reach {host}: set a token that clients must know, or listen on 127.0.0.1"
        raise MMRAGError(msg)
    listener = _listen(host, port)
    app = application(server, token=token, any_host=not local)
    # log_config None: the log goes where that of the process goes, never to standard output
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_S)
    running = _Uvicorn(config)
    with listener:
        if on_listening is not None:
            name = f"[{host}]" if ":" in host else host
            on_listening(f"http://{name}:{listener.getsockname()[1]}{PATH}")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.stop_at_signal)
            with anyio.CancelScope(shield=True):  # it stops when told to, not in the middle of an answer
                await running.serve(sockets=[listener])
            tasks.cancel_scope.cancel()


class _Uvicorn(uvicorn.Server):
    """Stops as this package's servers do, and hands no signal on when it has."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def stop_at_signal(self) -> None:
        """Let answers under way end, then stop, once a signal comes or the task around is cancelled."""
        try:
            with anyio.CancelScope() as scope:
                await cancelled_by_signals(scope)
                await anyio.sleep_forever()
        finally:
            self.should_exit = True


class _Endpoint:
    """A manager as an endpoint of a route, for all methods."""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manager.handle_request(scope, receive, send)


class _WithToken:
    """Lets through who knows the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._wanted = b"Bearer " + token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._wanted):
                headers = {"WWW-Authenticate": "Bearer"}
                refused = PlainTextResponse("A token is needed.", status_code=401, headers=headers)
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        msg = f"cannot listen on {host}, port {port}: {getattr(error, 'strerror', None) or error}"
        raise MMRAGError(msg) from error
