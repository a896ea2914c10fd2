"""Databases: the tables and views of a SQLite file, or what a query gives from any other."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, Unpack

from langchain_core.documents import Document

from langchain_mmrag._extras import require
from langchain_mmrag.document_loaders._sqlite import log_digest, sqlite_tables
from langchain_mmrag.document_loaders._table_loader import TableLoader, TableOptions
from langchain_mmrag.document_loaders._tables import Cell, Table
from langchain_mmrag.document_loaders.base import SourceFile, pictures_folder
from langchain_mmrag.errors import LoadError
from langchain_mmrag.types import FILE_SHA256

_URL = re.compile(r"([a-z][\w+]*)://", re.IGNORECASE)
_READS = re.compile(
    r"(?is)\s*\(*\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(select|with|values|table|show|explain)\b",
)
_ROWS_AT_ONCE: Final = 500
_READ_ONLY: Final = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET TRANSACTION READ ONLY",
    "oracle": "SET TRANSACTION READ ONLY",
}


class SQLLoader(TableLoader):
    """Load a SQLite file table by table, or what a query gives from any database that SQLAlchemy knows.

    Only reads: a SQLite file is opened read-only, elsewhere a query must be one that selects, and its
    transaction is rolled back. Rows are numbered from 1 in the order in which they are given; `sheet` is the
    table's name. Bytes are told by their size, unless they are a picture, which becomes a document.
    No password of an address gets into a document or an error.
    Of all views of a SQLite file 100,000 rows are read at most, within a minute, unless they are named.

    Args:
        database: A SQLite file, a URL as SQLAlchemy has them, or a `sqlalchemy.Engine`.
        query: What to select. By default all of every table and view.
        tables: Names of the tables and views to load; all by default.
        options: See `TableLoader`.

    Raises:
        ValueError: If both `query` and `tables` are given, or `query` does not select.
    """

    name = "sql"

    def __init__(
        self,
        database: Any,
        query: str | None = None,
        *,
        tables: Sequence[str] | None = None,
        **options: Unpack[TableOptions],
    ) -> None:
        if query is not None and tables is not None:
            msg = "give query= or tables=, not both"
            raise ValueError(msg)
        if query is not None and not _READS.match(query):
            msg = "the query must begin with SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN: nothing is written"
            raise ValueError(msg)
        self.query = query
        self.table_names = [tables] if isinstance(tables, str) else tables
        path, self._engine, self._url = _opened(database)
        super().__init__(path or "database", **options)
        self.address = self._url if self._engine is None else self._engine.url
        if path is None:
            self.source = _shown(self.address)

    def reading(self) -> dict[str, Any]:
        """What is selected, as far as it was given; and what is written, but not yet in the file itself."""
        digest = hashlib.sha256(self.query.encode()).hexdigest()[:16] if self.query else None
        log = log_digest(self.source, self.media_policy) if self.address is None else None
        return {"query": digest, "tables": self.table_names and list(self.table_names), "log": log}

    def tables(self, file: SourceFile) -> Iterator[Table]:
        """Yield the tables, or the one of the query.

        Raises:
            LoadError: If the database cannot be read.
        """
        if isinstance(file, _Database):
            yield from _remote_tables(
                self._url if self._engine is None else self._engine, self.query, self.table_names, file
            )
        else:
            yield from sqlite_tables(file, self.query, self.table_names)

    def open_source(self) -> SourceFile:
        """The SQLite file, or what stands for a database elsewhere.

        Raises:
            LoadError: If the file cannot be read.
        """
        if self.address is None:
            return super().open_source()
        return _Database(self)

    def lazy_load(self) -> Iterator[Document]:
        """Yield the rows.

        Raises:
            LoadError: If the database cannot be read.
        """
        for document in super().lazy_load():
            if self.address is not None:
                del document.metadata[FILE_SHA256]  # there is no file
            yield document


class _Database(SourceFile):
    """What stands for a file: rows keep their ids when what is written in them changes."""

    def __init__(self, loader: SQLLoader) -> None:
        self.source = loader.source
        self.policy = loader.media_policy
        self.problems: list[LoadError] = []
        self.sha256 = hashlib.sha256(f"{loader.source}\0{loader.query}".encode()).hexdigest()
        self.pictures = pictures_folder(loader.media_directory, self.source, self.sha256)
        self._password = str(loader.address.password or "")

    def without_password(self, text: str) -> str:
        """A message of a driver, which may repeat what it was given."""
        return text.replace(self._password, "***") if self._password else text


def _opened(database: Any) -> tuple[Any, Any, Any]:
    """Path of a SQLite file, or an engine, or a URL: one of the three."""
    if isinstance(database, os.PathLike) or (isinstance(database, str) and not _URL.match(database)):
        return database, None, None
    alchemy = require("sqlalchemy", extra="table")
    if isinstance(database, alchemy.Engine):
        return None, database, None
    try:
        url = alchemy.make_url(database)
    except alchemy.exc.ArgumentError as error:
        msg = "the database must be a path, a URL such as postgresql://host/name, or a sqlalchemy.Engine"
        raise ValueError(msg) from error
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:" and not url.query:
        return url.database, None, None
    return None, None, url


def _shown(url: Any) -> str:
    """An address without user, password and query, which may hold either."""
    return str(url._replace(username=None, password=None, query={}).render_as_string())


def _remote_tables(
    database: Any, query: str | None, names: Sequence[str] | None, file: _Database
) -> Iterator[Table]:
    alchemy = require("sqlalchemy", extra="table")
    own = not isinstance(database, alchemy.Engine)
    engine = None
    try:
        engine = alchemy.create_engine(database) if own else database
        with engine.connect() as opened:
            connection = opened.execution_options(stream_results=True, yield_per=_ROWS_AT_ONCE)
            if statement := _READ_ONLY.get(engine.dialect.name):
                connection.exec_driver_sql(statement)
            try:
                for name, selected in _selected(connection, query, names, alchemy, file):
                    yield _table(connection, name, selected, file)
            finally:
                connection.rollback()
                if engine.dialect.name == "sqlite":
                    connection.exec_driver_sql("PRAGMA query_only = OFF")  # it goes back to the engine's pool
    except (alchemy.exc.SQLAlchemyError, ImportError, OSError) as error:
        raise _told(error, file) from None  # the driver's own error may show the whole address
    finally:
        if own and engine is not None:
            engine.dispose()


def _selected(
    connection: Any, query: str | None, names: Sequence[str] | None, alchemy: Any, file: _Database
) -> Iterator[tuple[str, Any]]:
    if query is not None:
        yield "", alchemy.text(query)
        return
    inspector = alchemy.inspect(connection)
    found = [*inspector.get_table_names(), *inspector.get_view_names()]
    if missing := [name for name in names or () if name not in found]:
        msg = f"{file.source} has no table {', '.join(missing)}: it has {', '.join(found[:50]) or 'none'}"
        raise LoadError(msg)
    for name in found if names is None else names:
        yield name, alchemy.select(alchemy.text("*")).select_from(alchemy.table(name))


def _table(connection: Any, name: str, statement: Any, file: _Database) -> Table:
    result = connection.execute(statement)
    return Table(header=list(result.keys()), rows=_rows(result, file), name=name, first_row=1)


def _rows(result: Any, file: _Database) -> Iterator[Sequence[Cell]]:
    try:
        for row in result:
            yield tuple(bytes(cell) if isinstance(cell, memoryview) else cell for cell in row)
    except Exception as error:  # drivers have errors of their own, which SQLAlchemy wraps as a rule
        if isinstance(error, LoadError):
            raise
        raise _told(error, file) from None


def _told(error: BaseException, file: _Database) -> LoadError:
    original = getattr(error, "orig", None)
    said = str(original or error).splitlines()[0] if str(original or error) else type(error).__name__
    return LoadError(f"{file.source}: the database cannot be read: {file.without_password(said)}")
