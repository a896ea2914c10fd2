"""A SQLite file, opened so that nothing is written and a hostile one does no harm."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from langchain_mmrag.document_loaders._tables import Cell, Table
from langchain_mmrag.document_loaders.base import SourceFile, file_sha256
from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsupportedFormatError
from langchain_mmrag.media import MediaPolicy, open_local

_MAGIC: Final = b"SQLite format 3\0"
_PATIENCE_S: Final = 60.0
"""Seconds a database may take for its next row: a view can loop for ever."""

_STEPS: Final = 100_000
_ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_LISTED: Final = (
    "SELECT name, sql FROM sqlite_master"
    " WHERE type IN ('table', 'view') AND name NOT GLOB 'sqlite_*' ORDER BY rowid"
)
_SHADOWS: Final = "SELECT name FROM pragma_table_list WHERE type = 'shadow'"


class _Patience:
    """Ends a query that gives no row for too long."""

    def __init__(self) -> None:
        self.since = time.monotonic()

    def over(self) -> int:
        return int(time.monotonic() - self.since > _PATIENCE_S)


def sqlite_tables(file: SourceFile, query: str | None, names: Sequence[str] | None) -> Iterator[Table]:
    """Yield what a query gives, or every table and view but those of SQLite itself.

    Args:
        file: The database.
        query: A query; it can only read.
        names: Of the tables and views wanted; all by default.

    Raises:
        LoadError: If the file is no database, is encrypted, or the query fails.
    """
    patience = _Patience()
    with _errors(file.source), closing(_connect(file)) as connection:
        wanted = (
            [("", query)] if query else [(name, _select(name)) for name in _chosen(connection, names, file)]
        )
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(patience.over, _STEPS)
        for name, statement in wanted:
            patience.since = time.monotonic()
            try:
                cursor = connection.execute(statement)
            except (sqlite3.Error, sqlite3.Warning) as error:
                if not name:
                    raise
                file.problem(f"{name} cannot be read: {_said(error)}")
                continue
            header = [column[0] for column in cursor.description or ()]
            yield Table(header=header, rows=_rows(cursor, patience, file), name=name, first_row=1)


def _rows(cursor: sqlite3.Cursor, patience: _Patience, file: SourceFile) -> Iterator[Sequence[Cell]]:
    with _errors(file.source), closing(cursor):
        while True:
            patience.since = time.monotonic()
            row = cursor.fetchone()
            if row is None:
                return
            yield row


def _connect(file: SourceFile) -> sqlite3.Connection:
    with file.open() as raw:
        head = raw.read(100)
    if not head.startswith(_MAGIC):
        msg = f"{file.source} is no SQLite database, or an encrypted one"
        raise UnsupportedFormatError(msg)
    real = Path(file.source).resolve()
    log = _log_of(real)
    if log:
        open_local(str(log), file.policy).close()  # SQLite reads it too
    # A database in WAL mode cannot be opened without files beside it being made, unless nothing can change.
    fixed = "&immutable=1" if head[18:20] == b"\2\2" and not log else ""
    connection = sqlite3.connect(f"file:{quote(str(real))}?mode=ro{fixed}", uri=True, timeout=5)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(file.policy.max_bytes, 2**30))
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def log_digest(source: str, policy: MediaPolicy) -> str | None:
    """Digest of what was written lately and stands beside the file; `None` if nothing does."""
    log = _log_of(Path(source).resolve())
    if log is None:
        return None
    try:
        with open_local(str(log), policy) as file:
            return file_sha256(file)[:16]
    except LoadError:
        return None  # which is told when the database is read


def _log_of(database: Path) -> Path | None:
    log = database.with_name(database.name + "-wal")
    return log if log.exists() and log.stat().st_size > 0 else None


def _chosen(connection: sqlite3.Connection, names: Sequence[str] | None, file: SourceFile) -> list[str]:
    try:
        shadows = {name for (name,) in connection.execute(_SHADOWS)}
    except sqlite3.Error:  # SQLite before 3.37 cannot tell them
        shadows = set()
    found = [name for name, sql in connection.execute(_LISTED) if name not in shadows and sql]
    if names is None:
        return found
    missing = [name for name in names if name not in found]
    if missing:
        msg = f"{file.source} has no table {', '.join(missing)}: it has {', '.join(found[:50]) or 'none'}"
        raise LoadError(msg)
    return list(names)


def _select(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'SELECT * FROM "{escaped}"'  # noqa: S608  a quoted name


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """SQLite's errors as this package's own."""
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
        if isinstance(error, LoadError):  # some of ours are `ValueError`s too
            raise
        msg = f"{name}: the database cannot be read: {_said(error)}"
        raise CorruptMediaError(msg) from error


def _said(error: Exception) -> str:
    said = str(error)
    return f"it gave no row for {_PATIENCE_S:.0f} seconds" if said == "interrupted" else said


def _authorize(action: int, name: str | None, *_: object) -> int:
    """Whether a statement may do something: read; full-text tables also ask whether the file has changed."""
    harmless = action in _ALLOWED or (action == sqlite3.SQLITE_PRAGMA and name == "data_version")
    return sqlite3.SQLITE_OK if harmless else sqlite3.SQLITE_DENY
