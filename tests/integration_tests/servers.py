"""Servers that tests start as programs of their own, and stop."""

import socket
import subprocess
import time
from contextlib import contextmanager

import pytest

HOST = "127.0.0.1"


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@contextmanager
def running(command, log, **options):
    """A server, stopped in the end; what it prints goes to `log`."""
    with log.open("wb") as printed:
        server = subprocess.Popen(command, stdout=printed, stderr=printed, **options)
        try:
            yield server
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for(server, log, answers, *, seconds=90):
    """Wait until `answers()` is true."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if server.poll() is not None:
            pytest.fail(f"the server stopped: {log.read_text()}")
        if answers():
            return
        time.sleep(0.1)
    pytest.fail(f"no answer in {seconds} s: {log.read_text()}")
