"""How many rows a collection has, without waiting for Chroma to count a large one at every search."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING

from langchain_mmrag._store.ledger import Ledger

if TYPE_CHECKING:
    from chromadb import Collection

_LARGE = 10_000
_HOLDS_FOR_S = 1.0
_ROWS_A_SECOND = 50_000  # counting then takes Chroma less than a hundredth of the time
_PATIENCE_S = 0.25  # a million rows are counted in less, where their file is in memory
_MOST = 0.99


class RowCount:
    """The number of rows, asked of a large collection once a second, and of larger ones less often.

    Chroma takes its time to count, in proportion to the rows, and seconds where their file is no longer in
    memory. So but for the first time it is done beside, and a search waits a quarter of a second at most:
    if that is not enough, it is the next search that finds what other programs have written. A process that
    ends meanwhile waits for the count. What this package writes the ledger knows at once.

    Args:
        collection: Gives the collection.
        ledger: Is brought up to date with it.
    """

    def __init__(self, collection: Callable[[], Collection], ledger: Ledger) -> None:
        self._collection = collection
        self._ledger = ledger
        self._of: object = None  # the large collection that was counted
        self._count = 0
        self._until = 0.0
        self._lock = Lock()
        self._counter: Thread | None = None

    def now(self) -> int:
        """The number of rows, as far as is known."""
        collection = self._collection()
        if self._of != collection.id:
            return self._look(collection)
        known = self._ledger.count()
        if known < _MOST * self._count:  # a ledger that is being made anew has few rows as yet
            return self._look(collection)
        if monotonic() < self._until:
            return known
        if counter := self._beside(collection, known):
            counter.join(_PATIENCE_S)
        return self._ledger.count()

    def holds_for_s(self, collection: Collection) -> float:
        """How long what is known of a collection will do; 0 for a small one."""
        return max(_HOLDS_FOR_S, self._count / _ROWS_A_SECOND) if self._of == collection.id else 0.0

    def _look(self, collection: Collection) -> int:
        count = collection.count()
        self._of = None
        if count >= _LARGE:
            self._ledger.current(count)
            self._keep(collection, count)
        return count

    def _beside(self, collection: Collection, known: int) -> Thread | None:
        """A thread that has begun to look, if none is looking already."""
        with self._lock:
            if self._counter is not None and self._counter.is_alive():
                return None
            # No daemon: a process that ends within Chroma's code would be aborted.
            counter = Thread(target=self._look_again, args=[collection, known], name="count rows")
            try:
                counter.start()
            except RuntimeError:  # there are too many threads, or the process is ending
                self._of = None
                return None
            self._counter = counter
            return counter

    def _look_again(self, collection: Collection, known: int) -> None:
        try:
            count = collection.count()
            if count < _LARGE or not self._ledger.is_there:  # it may just have been deleted
                self._of = None
                return
            if self._ledger.count() == known:  # else this program is writing: its own count is right
                self._ledger.current(count)
            self._keep(collection, count)
        except BaseException:  # noqa: BLE001 - whatever it is, the next search meets it where someone can be told
            self._of = None

    def _keep(self, collection: Collection, count: int) -> None:
        self._count, self._of = count, collection.id
        self._until = monotonic() + self.holds_for_s(collection)
