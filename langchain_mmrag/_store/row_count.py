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


class RowCount:
    """The number of rows, asked of a large collection once a second, and of larger ones less often.

    Chroma takes its time to count, in proportion to the rows, and seconds where their file is no longer in
    memory: but for the first time it is done beside. Meanwhile the ledger knows what this package has
    written; what other programs write is noticed that much later, 20 seconds for a million rows.

    Args:
        collection: Gives the collection.
        ledger: Is brought up to date with it.
    """

    def __init__(self, collection: Callable[[], Collection], ledger: Ledger) -> None:
        self._collection = collection
        self._ledger = ledger
        self._of: object = None  # the large collection that was counted
        self._until = 0.0
        self._counting = Lock()
        self.holds_for_s = 0.0
        """How long what is known of the collection will do; 0 for a small one."""

    def now(self) -> int:
        """The number of rows, as far as is known."""
        collection = self._collection()
        if self._of != collection.id:
            count = collection.count()
            self.holds_for_s = 0.0
            if count >= _LARGE:
                self._ledger.current(count)
                self._keep(collection, count)
            return count
        if monotonic() >= self._until and self._counting.acquire(blocking=False):
            # No daemon: a process that ends within Chroma's code would be aborted.
            Thread(target=self._count_again, args=[collection], name="count rows").start()
        return self._ledger.count()

    def _count_again(self, collection: Collection) -> None:
        try:
            before = self._ledger.count()
            count = collection.count()
            if self._ledger.count() == before:  # else this program is writing: its own count is known
                self._ledger.current(count)
            self._keep(collection, count)
        except Exception:  # noqa: BLE001 - whatever it is, the next search meets it where someone can be told
            self._of = None
        finally:
            self._counting.release()

    def _keep(self, collection: Collection, count: int) -> None:
        self.holds_for_s = max(_HOLDS_FOR_S, count / _ROWS_A_SECOND)
        self._of, self._until = collection.id, monotonic() + self.holds_for_s
