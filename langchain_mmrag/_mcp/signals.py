"""Stopping when told to."""

from __future__ import annotations

import os
import signal
import threading

import anyio

STOPPING = (signal.SIGINT, signal.SIGTERM)


async def cancelled_by_signals(scope: anyio.CancelScope) -> None:
    """Cancel `scope` at the first SIGINT or SIGTERM; the next one has its usual effect."""
    if threading.current_thread() is not threading.main_thread() or os.name == "nt":
        return  # signals come to the main thread; Windows ends a process without asking it
    with anyio.open_signal_receiver(*STOPPING) as signals:
        async for _ in signals:
            break
    scope.cancel()
