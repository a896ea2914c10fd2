"""One client over standard input and output, which belong to the protocol alone while it is served."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import Any

import anyio
from anyio.from_thread import BlockingPortal
from anyio.streams.memory import MemoryObjectSendStream
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from langchain_mmrag._mcp.signals import cancelled_by_signals

_CHUNK = 2**16


async def serve(server: Server[Any, Any]) -> None:
    """Serve until the client closes our input, or a signal comes."""
    with _own_streams() as (source, sink):
        async with BlockingPortal() as portal:
            stdin: Any = _Lines(source, portal)
            stdout: Any = _Sink(sink, portal)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancelled_by_signals, tasks.cancel_scope)
                async with stdio_server(stdin, stdout) as (read, write):
                    await server.run(read, write, server.create_initialization_options())
                tasks.cancel_scope.cancel()
            await portal.stop(cancel_remaining=True)


@contextmanager
def _own_streams() -> Iterator[tuple[int, int]]:
    """Descriptors of our own for input and output; what others write to the usual ones goes to stderr."""
    sys.stdout.flush()
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    try:
        yield source, sink
    finally:
        sys.stdout.flush()
        os.dup2(sink, 1)
        os.dup2(source, 0)
        # Both stay open: the reader may still wait for the one, a writer for the other.


class _Lines:
    """Lines of a descriptor, read by a thread that nobody has to wait for at the end.

    A thread of the event loop could not be left alone while it waits for a client that says nothing.
    """

    def __init__(self, source: int, portal: BlockingPortal) -> None:
        self._source = source
        self._portal = portal

    async def __aiter__(self) -> AsyncIterator[str]:
        send, receive = anyio.create_memory_object_stream[bytes](1)
        Thread(target=self._read, args=(send,), daemon=True, name="mmrag stdin").start()
        rest = b""
        async with receive:
            async for chunk in receive:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield line.decode("utf-8", errors="replace")

    def _read(self, send: MemoryObjectSendStream[bytes]) -> None:
        try:
            while chunk := os.read(self._source, _CHUNK):
                self._portal.call(send.send, chunk)
            self._portal.call(send.aclose)
        except (OSError, RuntimeError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # the terminal is gone, or the server has ended before us


class _Sink:
    """Writes messages to a descriptor, in a thread that nobody waits for if the client reads no more."""

    def __init__(self, sink: int, portal: BlockingPortal) -> None:
        self._sink = sink
        self._portal = portal
        self._messages: SimpleQueue[tuple[bytes, anyio.Event]] = SimpleQueue()
        Thread(target=self._run, daemon=True, name="mmrag stdout").start()

    async def write(self, text: str) -> None:
        written = anyio.Event()
        self._messages.put((text.encode(), written))
        await written.wait()

    async def flush(self) -> None:
        """Nothing is held back."""

    def _run(self) -> None:
        try:
            while True:
                message, written = self._messages.get()
                self._write(message)
                self._portal.call(written.set)
        except RuntimeError:
            return  # the server has ended

    def _write(self, message: bytes) -> None:
        rest = memoryview(message)
        try:
            while rest:
                rest = rest[os.write(self._sink, rest) :]
        except OSError:
            return  # the client is gone: its end of our input closes too, which ends the session
