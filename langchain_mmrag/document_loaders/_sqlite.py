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
"""Seconds a query may take for its next row, and all views together for all of theirs."""
_VIEW_ROWS: Final = 100_000
"""Rows of all views together: one line of SQL can give rows for ever."""

_STEPS: Final = 100_000
_ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_LISTED: Final = (
    "SELECT name, type = 'view', sql FROM sqlite_master"
    " WHERE type IN ('table', 'view') AND name NOT GLOB 'sqlite_*' ORDER BY rowid"
)
_SHADOWS: Final = "SELECT name FROM pragma_table_list WHERE type = 'shadow'"


class _Patience:
    """Ends a query that takes too long.

    Args:
        rows: How many are read; then time is counted for all of them together, not for each.
    """

    def __init__(self, rows: int | None = None) -> None:
        self.rows = rows
        self._spent = 0.0
        self._since = 0.0

    def over(self) -> bool:
        """Whether time has run out; while none is waited for, no time passes."""
        waited = time.monotonic() - self._since if self._since else 0.0
        return self._spent + waited > _PATIENCE_S

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A query is at work."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._spent += time.monotonic() - self._since if self.rows is not None else 0.0
            self._since = 0.0


def sqlite_tables(file: SourceFile, query: str | None, names: Sequence[str] | None) -> Iterator[Table]:
    """Yield what a query gives, or every table and view but those of SQLite itself.

    Args:
        file: The database.
        query: A query; it can only read.
        names: Of the tables and views wanted; all by default.

    Raises:
        LoadError: If the file is no database, is encrypted, or the query fails.
    """
    views, left_out = _Patience(_VIEW_ROWS), 0
    with _errors(file.source), closing(_connect(file)) as connection:
        wanted = (
            [("", query, False)]
            if query
            else [(name, _select(name), is_view) for name, is_view in _chosen(connection, names, file)]
        )
        connection.set_authorizer(_authorize)
        for name, statement, is_view in wanted:
            patience = views if is_view else _Patience()
            if patience.rows == 0 or patience.over():
                left_out += 1
                continue
            connection.set_progress_handler(patience.over, _STEPS)
            try:
                with patience.waiting():
                    cursor = connection.execute(statement)
            except (sqlite3.Error, sqlite3.Warning) as error:
                if not name:
                    raise
                file.problem(f"{name} cannot be read: {_said(error)}")
                continue
            header = [column[0] for column in cursor.description or ()]
            yield Table(header=header, rows=_rows(cursor, patience, file), name=name, first_row=1)
    if left_out:
        file.problem(f"{left_out} more views are not read: name those you want in tables=")


def _rows(cursor: sqlite3.Cursor, patience: _Patience, file: SourceFile) -> Iterator[Sequence[Cell]]:
    with _errors(file.source):
        while True:
            with patience.waiting():
                row = cursor.fetchone()
            if row is None:
                return
            if patience.rows is not None:
                if not patience.rows:
                    file.problem(f"views are read up to {_VIEW_ROWS} rows: name them in tables= for more")
                    return
                patience.rows -= 1
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


def _chosen(
    connection: sqlite3.Connection, names: Sequence[str] | None, file: SourceFile
) -> list[tuple[str, bool]]:
    """Names of tables and views; of each whether it is a view that nobody asked for."""
    try:
        shadows = {name for (name,) in connection.execute(_SHADOWS)}
    except sqlite3.Error:  # SQLite before 3.37 cannot tell them
        shadows = set()
    found = {
        name: bool(is_view)
        for name, is_view, sql in connection.execute(_LISTED)
        if name not in shadows and sql
    }
    if names is None:
        return list(found.items())
    missing = [name for name in names if name not in found]
    if missing:
        msg = (
            f"{file.source} has no table {', '.join(missing)}: it has {', '.join(list(found)[:50]) or 'none'}"
        )
        raise LoadError(msg)
    return [(name, False) for name in names]


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
    return f"it takes more than {_PATIENCE_S:.0f} seconds" if said == "interrupted" else said


def _authorize(action: int, name: str | None, *_: object) -> int:
    """Whether a statement may do something: read; full-text tables also ask whether the file has changed."""
    harmless = action in _ALLOWED or (action == sqlite3.SQLITE_PRAGMA and name == "data_version")
    return sqlite3.SQLITE_OK if harmless else sqlite3.SQLITE_DENY
