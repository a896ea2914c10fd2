"""Tells writers that are at work from those that died: a living one holds a lock on a file of its own."""

from __future__ import annotations

import os
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Writer:
    """One writer to a file, alive as long as its process is and nobody closed it.

    The operating system drops the lock with the process, however that ends; a process id would be given to
    another process one day.

    Args:
        file: What is written to, which the names of the lock files begin with; `None` for a place nobody else
            can write to, which needs no lock.

    Raises:
        OSError: If there can be no file beside it.
    """

    def __init__(self, file: Path | None) -> None:
        self.token = uuid4().hex
        self._file = file
        if file is not None:
            path = _lock_path(file, self.token)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            _lock(descriptor)
            self._release = weakref.finalize(self, _release, descriptor, path)

    def is_dead(self, token: str) -> bool:
        """Whether the writer that goes by `token` has ended; its lock file is removed if so."""
        if self._file is None or token == self.token:
            return False
        path = _lock_path(self._file, token)
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            _lock(descriptor)
        except OSError:
            os.close(descriptor)
            return False
        _release(descriptor, path)
        return True

    def close(self) -> None:
        """End: others see this writer as dead."""
        if self._file is not None:
            self._release()


def remove_locks(file: Path) -> None:
    """Remove the lock files of all writers to a file that is no more."""
    for path in file.parent.glob(_lock_path(file, "*").name):
        with suppress(OSError):
            path.unlink()


def _lock_path(file: Path, token: str) -> Path:
    return file.with_name(f"{file.stem}.{token}.lock")


def _release(descriptor: int, path: Path) -> None:
    # Windows does not remove what is open, others should not find it unlocked: each in its own order.
    if sys.platform == "win32":
        os.close(descriptor)
    with suppress(OSError):
        path.unlink()
    if sys.platform != "win32":
        os.close(descriptor)
