"""Captions that were made already, by picture and captioner, in a SQLite file that processes share."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike, fspath
from pathlib import Path
from threading import Lock
from typing import Final

from langchain_mmrag._cache import user_cache
from langchain_mmrag.errors import MMRAGError

_PATIENCE_S: Final = 60.0
_MEMORY: Final = ":memory:"
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS captions (
    picture TEXT NOT NULL,
    captioner TEXT NOT NULL,
    caption TEXT NOT NULL,
    PRIMARY KEY (picture, captioner)
) WITHOUT ROWID"""


class CaptionCache:
    """Remembers captions; each is on the disk as soon as `put` returns.

    Threads and processes may use one file at a time: what one writes the others read.

    Args:
        path: Of the file, made at first use; `":memory:"` forgets with this object.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = fspath(path)
        self._connection: sqlite3.Connection | None = None
        self._lock = Lock()

    def get(self, pictures: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The captions that are known.

        Args:
            pictures: Digest of each picture, and what it was captioned by.

        Raises:
            MMRAGError: If the file cannot be read.
        """
        sql = "SELECT caption FROM captions WHERE picture = ? AND captioner = ?"
        with self._open() as connection:
            found = {key: connection.execute(sql, key).fetchone() for key in pictures}
        return {key: str(row[0]) for key, row in found.items() if row is not None}

    def put(self, picture: str, captioner: str, caption: str) -> None:
        """Remember a caption; `""` that there is none.

        Raises:
            MMRAGError: If the file cannot be written to.
        """
        with self._open() as connection:
            row = (picture, captioner, caption)
            connection.execute("INSERT OR REPLACE INTO captions VALUES (?, ?, ?)", row)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                msg = (
                    f"the captions in {self.path} cannot be used ({error}): if the file is broken, delete it;"
                    " or name another one with cache="
                )
                raise MMRAGError(msg) from error

    def _connect(self) -> sqlite3.Connection:
        if self.path != _MEMORY:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        # each statement is written by itself, so that nothing waits for an end that may never come
        connection = sqlite3.connect(
            self.path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
        )
        try:
            with suppress(sqlite3.OperationalError):  # some network folders cannot: slower, but as safe
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_TABLE)
        except BaseException:
            connection.close()
            raise
        weakref.finalize(self, connection.close)
        return connection


def default_cache() -> Path:
    """`captions.sqlite3` in the package's cache folder."""
    return user_cache() / "captions.sqlite3"
