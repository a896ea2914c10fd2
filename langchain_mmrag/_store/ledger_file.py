"""The SQLite database of a ledger: its tables, and how it is opened, shared and replaced when broken."""

from __future__ import annotations

import logging
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from langchain_mmrag._store.writers import Writer
from langchain_mmrag.keyword import KeywordIndex

logger = logging.getLogger(__name__)

VERSION: Final = 9
_PATIENCE_S: Final = 60.0
_MAPPED: Final = 2**31  # SQLite takes just less
_PAGE_BYTES: Final = 16_384  # holds seven vectors of 512 numbers; 4096 would waste half
_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")

# Codes of SQLite, https://sqlite.org/rescode.html; the low byte is the kind.
_BUSY: Final = {5, 6}
_BROKEN: Final = {1, 11, 26}  # tables missing, malformed, no database

_TABLES: Final = """
CREATE TABLE rows (
    number INTEGER PRIMARY KEY,  -- its last bit is the side, so that a number alone tells it
    id TEXT NOT NULL UNIQUE,
    side INTEGER NOT NULL,
    draw INTEGER NOT NULL,
    parent TEXT,
    worded INTEGER NOT NULL,
    has_text INTEGER NOT NULL,  -- a passage, caption or summary that is not blank
    modality TEXT NOT NULL,
    source INTEGER  -- of which file: the number of its path
);
CREATE INDEX rows_by_draw ON rows (side, draw, id);
CREATE INDEX rows_by_parent ON rows (parent) WHERE parent IS NOT NULL;
CREATE INDEX rows_by_source ON rows (source) WHERE source IS NOT NULL;
CREATE TABLE sources (source TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE vectors (number INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE turn (last INTEGER);  -- changes with every write that begins
INSERT INTO turn VALUES (0);
CREATE TABLE sides (
    side INTEGER PRIMARY KEY, count INTEGER, worded INTEGER, texts INTEGER, changes INTEGER
);
INSERT INTO sides VALUES (0, 0, 0, 0, 0), (1, 0, 0, 0, 0);
CREATE TABLE modalities (side INTEGER, modality TEXT, count INTEGER, PRIMARY KEY (side, modality));
CREATE TABLE pending (
    writer TEXT NOT NULL,
    operation INTEGER NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (writer, operation, id)
) WITHOUT ROWID;
CREATE TRIGGER row_added AFTER INSERT ON rows BEGIN
    UPDATE sides SET
        count = count + 1, worded = worded + new.worded, texts = texts + new.has_text
    WHERE side = new.side;
    INSERT INTO modalities VALUES (new.side, new.modality, 1)
    ON CONFLICT (side, modality) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER row_removed AFTER DELETE ON rows BEGIN
    UPDATE sides SET
        count = count - 1, worded = worded - old.worded, texts = texts - old.has_text
    WHERE side = old.side;
    UPDATE modalities SET count = count - 1 WHERE side = old.side AND modality = old.modality;
    DELETE FROM vectors WHERE number = old.number;
END;
"""


# Few rows are of other modalities than these two; files made before have no such index yet.
_INDEX_OF_RARE = """
CREATE INDEX IF NOT EXISTS rows_of_rare_modality ON rows (modality, side)
WHERE modality NOT IN ('text', 'image')
"""


class LedgerFile:
    """An open database, for one thread at a time.

    Args:
        path: Of its file, made if there is none; `None` for memory.

    Raises:
        OSError: If its folder cannot be made or written to.
        sqlite3.DatabaseError: If the file is no database, or cannot be written to.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(
            path or ":memory:", timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
        )
        self._close = weakref.finalize(self, self.connection.close)
        self._writer: Writer | None = None
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise
        self._identity = self._identity_now()

    def _prepare(self) -> None:
        run = self.connection.execute
        run(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(f"PRAGMA mmap_size = {_MAPPED}")  # vectors are read from all over the file
        # Makes a file that cannot be written to known now.
        with self.transaction():
            (version,) = run("PRAGMA user_version").fetchone()
            if version != VERSION:
                self._make_tables()
            run(_INDEX_OF_RARE)

    def _make_tables(self) -> None:
        """In the place of those of another version."""
        run = self.connection.execute
        # Virtual tables first: they take their shadow tables along.
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"
        for (name,) in run(f"{tables} ORDER BY sql NOT LIKE 'CREATE VIRTUAL%'").fetchall():
            run(f'DROP TABLE IF EXISTS "{name}"')
        for statement in _statements(_TABLES):
            run(statement)
        KeywordIndex(self.connection).create()
        run(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, with no other writer in between."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
        except BaseException:
            # An error as bad as a full disk has rolled back already.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Several readings of one state, whatever others write meanwhile."""
        self.connection.execute("BEGIN")
        try:
            yield self.connection
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def writer(self) -> Writer:
        """Who writes here; from the first call on others can see that it lives."""
        if self._writer is None:
            self._writer = Writer(self.path)
        return self._writer

    @property
    def is_in_place(self) -> bool:
        """Whether the file that is open is still the one at its path."""
        return self.path is None or self._identity_now() == self._identity

    def _identity_now(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat() if self.path is not None else None
        except OSError:
            return None
        return found and (found.st_dev, found.st_ino)

    def close(self) -> None:
        """Let go of the file."""
        self._close()
        if self._writer is not None:
            self._writer.close()


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another writer held the database for too long."""
    return _kind(error) in _BUSY


def is_broken(error: sqlite3.Error) -> bool:
    """Whether what is in the file is of no use."""
    return _kind(error) in _BROKEN


def _kind(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def remove(path: Path) -> None:
    """Remove a database and what SQLite keeps beside it, as far as that is possible."""
    for suffix in _SUFFIXES:
        with suppress(OSError):
            path.with_name(path.name + suffix).unlink()


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
