"""How a ledger gets at its database: opened when needed, made anew if broken, in memory if it must be."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from langchain_mmrag._store.ledger_file import LedgerFile, is_broken, is_busy, remove
from langchain_mmrag.errors import StoreError

if TYPE_CHECKING:
    from chromadb import Collection

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_P = ParamSpec("_P")


class LedgerAccess:
    """The database of one collection's ledger, for one thread at a time.

    Args:
        collection: Gives the collection.
        folder: Where to keep the file; `None` keeps it in memory.
    """

    def __init__(self, collection: Callable[[], Collection], folder: Path | None) -> None:
        self._collection = collection
        self._folder = folder
        self._lock = RLock()
        self._file: LedgerFile | None = None
        self._file_of = ""
        self._in_memory_only = False

    def _run(
        self, action: Callable[Concatenate[LedgerFile, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Do something with the database; one that is broken is made anew, one that cannot be is in memory.

        Raises:
            StoreError: If another writer does not let go of it.
        """
        with self._lock:
            for attempt in range(3):
                try:
                    return action(self._opened(), *args, **kwargs)
                except sqlite3.DatabaseError as error:
                    self._recover(error, attempt)
            msg = "a ledger in memory cannot be opened"  # pragma: no cover - the third attempt raised
            raise StoreError(msg)

    def _opened(self) -> LedgerFile:
        collection_id = str(self._collection().id)
        if self._file is not None and (self._file_of != collection_id or not self._file.is_in_place):
            self._close()
        if self._file is None:
            if self._file_of != collection_id:
                self._in_memory_only = self._folder is None
            self._file_of = collection_id
            path = self._path(collection_id)
            try:
                self._file = LedgerFile(path)
            except OSError as error:
                self._use_memory(error)
                self._file = LedgerFile(None)
        return self._file

    def _path(self, collection_id: str) -> Path | None:
        if self._in_memory_only or self._folder is None:
            return None
        return self._folder / f"{collection_id}.sqlite3"

    def _recover(self, error: sqlite3.DatabaseError, attempt: int) -> None:
        path = self._path(self._file_of)
        if is_busy(error):
            msg = f"another process is writing to {path} for a long time ({error}): try again when it is done"
            raise StoreError(msg) from error
        if attempt == 2:  # noqa: PLR2004 - neither a new file nor memory has helped
            raise error
        self._close()
        if attempt == 0 and path is not None and is_broken(error):
            logger.warning("%s is made anew from the collection, as it cannot be read: %s", path, error)
            remove(path)
        elif attempt == 1:
            self._use_memory(error)

    def _use_memory(self, error: Exception) -> None:
        logger.warning("%s cannot be used (%s): the index is kept in memory", self._folder, error)
        self._in_memory_only = True

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
