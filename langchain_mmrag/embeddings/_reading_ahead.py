"""Reads what comes next in threads, in order and within bounds, while the caller computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from threading import Condition, Thread
from time import monotonic
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_MOST_THREADS: Final = 4
_FEW: Final = 2
_GRACE_S: Final = 2.0  # who is stopped waits this long for a read under way, which may be of a slow address


def default_threads() -> int:
    """How many threads read: one for each core, but 2 to 4, as some wait for a disk or a server."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(2, min(_MOST_THREADS, cores))


@contextmanager
def reading_ahead(count: int, read: Callable[[int], T], *, threads: int, ahead: int) -> Iterator[Iterator[T]]:
    """What `read(0)`, `read(1)`, ... return, in this order, each read before it is asked for.

    Results that are being made or wait to be taken are never more than `ahead`. One or two are read without
    threads, when they are asked for. However the block ends, no further read begins, and its threads end with
    the reads they are at.

    Args:
        count: How many there are.
        read: Called in several threads at once. What it raises is raised where its result is taken.
        threads: How many of them; what a read needs in memory is needed as often at most.
        ahead: Bound on the results.
    """
    if count <= _FEW or threads < 1:
        yield map(read, range(count))
        return
    shelf = _Shelf(count, read, max(ahead, 1))
    # A context each, since one cannot be entered twice at once.
    workers = [
        Thread(target=copy_context().run, args=(shelf.fill,), name=f"mmrag-read-{i}", daemon=True)
        for i in range(min(threads, count, ahead))
    ]
    try:
        for worker in workers:
            worker.start()
        yield shelf.taken()
    finally:
        shelf.close()
        deadline = monotonic() + _GRACE_S  # for all of them
        for worker in workers:
            if worker.ident is not None:
                worker.join(max(0.0, deadline - monotonic()))


@dataclass(frozen=True)
class _Raised:
    error: BaseException


class _Shelf(Generic[T]):
    """Results between the threads that read and the one that takes them."""

    def __init__(self, count: int, read: Callable[[int], T], ahead: int) -> None:
        self._count = count
        self._read = read
        self._ahead = ahead
        self._changed = Condition()
        self._results: dict[int, T | _Raised] = {}
        self._begun = 0
        self._taken = 0
        self._is_closed = False

    def fill(self) -> None:
        """Read until there is nothing more to read, or nobody wants it."""
        while (index := self._next()) is not None:
            self._put(index, self._result(index))

    def _next(self) -> int | None:
        with self._changed:
            self._changed.wait_for(self._may_go_on)
            if self._is_closed or self._begun == self._count:
                return None
            self._begun += 1
            return self._begun - 1

    def _may_go_on(self) -> bool:
        return self._is_closed or self._begun == self._count or self._begun < self._taken + self._ahead

    def _result(self, index: int) -> T | _Raised:
        try:
            return self._read(index)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that takes it
            return _Raised(error)

    def _put(self, index: int, result: T | _Raised) -> None:
        with self._changed:
            if not self._is_closed:
                self._results[index] = result
                self._changed.notify_all()

    def taken(self) -> Iterator[T]:
        """The results in order, each as soon as it is there."""
        for index in range(self._count):
            yield self._take(index)

    def _take(self, index: int) -> T:
        with self._changed:
            self._changed.wait_for(lambda: index in self._results)
            result = self._results.pop(index)
            self._taken = index + 1
            self._changed.notify_all()
        if isinstance(result, _Raised):
            raise result.error
        return result

    def close(self) -> None:
        """Let no further read begin, and let go of what was read."""
        with self._changed:
            self._is_closed = True
            self._results.clear()
            self._changed.notify_all()
