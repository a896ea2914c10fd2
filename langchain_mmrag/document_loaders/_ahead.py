"""Work through jobs in parallel threads, with results in the order of the jobs and bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from functools import partial
from queue import SimpleQueue
from threading import Condition, Thread
from typing import Final, Generic, Self, TypeAlias, TypeVar

_K = TypeVar("_K")
_T = TypeVar("_T")

Results: TypeAlias = Generator[_T, None, None]
Job: TypeAlias = tuple[_K, Callable[[], Results[_T]]]

_HELD: Final = 32
"""Results of one job that wait to be taken; then the job waits. A long file is never held whole."""
_JOBS_A_WORKER: Final = 4
_MOST_WORKERS: Final = 4
_PATIENCE_S: Final = 5.0
"""How long a thread may take to notice that nobody wants the rest."""


def default_workers() -> int:
    """Threads that decode files, if nobody says how many: the processors, up to 4."""
    return min(_MOST_WORKERS, os.cpu_count() or 1)


def in_order(jobs: Iterable[Job[_K, _T]], *, workers: int) -> Results[tuple[_K, _T]]:
    """What the jobs yield, job by job in their order, each with the job's key.

    Jobs are taken from `jobs` in the caller's thread and run in others, no more of them than 4 for each
    worker beyond the one whose results are being taken. With one worker they run in the caller's thread,
    and nothing is done ahead.

    Args:
        jobs: Key, and what to call in the thread; an error it raises is raised here, in its place.
        workers: Number of threads.

    Raises:
        ValueError: If `workers` is below 1.
    """
    if workers < 1:
        msg = f"max_workers must be 1 or more, got {workers}"
        raise ValueError(msg)
    if workers == 1:
        for key, start in jobs:
            with closing(start()) as results:
                for result in results:
                    yield key, result
        return
    with _Threads[_K, _T](workers) as threads:
        upcoming = iter(jobs)
        while True:
            while threads.has_room and (job := next(upcoming, None)) is not None:
                threads.start(*job)
            if not threads.running:
                return
            key, channel = threads.running[0]
            for result in channel.drain():
                yield key, result
            threads.running.popleft()


class _Threads(Generic[_K, _T]):
    """A few threads, and the jobs that run in them or wait for one, oldest first."""

    def __init__(self, count: int) -> None:
        self.running: deque[tuple[_K, _Channel[_T]]] = deque()
        self._waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # daemons: a caller that never takes the rest must not keep the program from ending
        self._threads = [
            Thread(target=_work, args=(self._waiting,), name="mmrag-load", daemon=True) for _ in range(count)
        ]

    @property
    def has_room(self) -> bool:
        return len(self.running) < len(self._threads) * _JOBS_A_WORKER

    def start(self, key: _K, start: Callable[[], Results[_T]]) -> None:
        channel = _Channel[_T]()
        self.running.append((key, channel))
        self._waiting.put(partial(channel.fill, start))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        for _, channel in self.running:
            channel.abandon()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(_PATIENCE_S)


def _work(waiting: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := waiting.get()) is not None:
        job()


class _Channel(Generic[_T]):
    """Results on their way from the thread of a job to the one that takes them."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._results: deque[_T] = deque()
        self._error: BaseException | None = None
        self._is_over = False
        self._is_abandoned = False

    def fill(self, start: Callable[[], Results[_T]]) -> None:
        """Run the job, as far ahead as there is room; stop it once nobody wants its results."""
        error: BaseException | None = None
        try:
            if self._is_abandoned:
                return
            results = start()
            with closing(results):  # what it reads is closed in this thread
                for result in results:
                    if not self._put(result):
                        break
        except BaseException as raised:  # noqa: BLE001 - raised again where the results are taken
            error = raised
        with self._changed:
            self._error, self._is_over = error, True
            self._changed.notify_all()

    def drain(self) -> Results[_T]:
        """The results as they come."""
        while True:
            with self._changed:
                while not self._results and not self._is_over:
                    self._changed.wait()
                if not self._results:
                    break
                result = self._results.popleft()
                self._changed.notify_all()
            yield result
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Nobody takes the results any more."""
        with self._changed:
            self._is_abandoned = True
            self._changed.notify_all()

    def _put(self, result: _T) -> bool:
        with self._changed:
            while len(self._results) >= _HELD and not self._is_abandoned:
                self._changed.wait()
            self._results.append(result)
            self._changed.notify_all()
            return not self._is_abandoned
