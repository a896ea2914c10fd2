"""Rows on their way into a collection: embedded by the caller, inserted by the thousand beside it."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from types import TracebackType
from typing import Final, Self

from chromadb.errors import InvalidArgumentError
from PIL.Image import Image

from langchain_mmrag._store.ingest import Row
from langchain_mmrag._store.second_vectors import Vector
from langchain_mmrag.errors import StoreError
from langchain_mmrag.types import WINDOW

logger = logging.getLogger(__name__)

_ROWS: Final = 2048
"""Rows that are inserted at once: a row of thousands costs half of one of dozens."""
_CHARS: Final = 2**22
_AGE_S: Final = 10.0
"""How long a row waits at most for others while more are embedded: what a crash costs."""

_REFUSALS: Final = (ValueError, InvalidArgumentError)
"""What Chroma raises of rows that it cannot hold."""


@dataclass
class Embedded:
    """Rows with all their vectors.

    Attributes:
        rows: Windows before the documents they are of; no id twice.
        second: For each kind of second vectors, digest and vector [d] by id.
    """

    rows: list[Row] = field(default_factory=list)
    second: list[dict[str, tuple[str, Vector]]] = field(default_factory=list)

    def join(self, other: Embedded) -> None:
        """Take in the rows of another, which has none of these."""
        self.rows += other.rows
        for mine, more in zip(self.second, other.second, strict=True):
            mine.update(more)

    def halves(self) -> list[Embedded]:
        """The same in two parts, each document with its windows; nothing if it is but one document."""
        ends = [place for place, row in enumerate(self.rows, 1) if row.metadata.get(WINDOW) is not True]
        if len(ends) < 2:  # noqa: PLR2004
            return []
        middle = ends[len(ends) // 2 - 1]
        parts = (self.rows[:middle], self.rows[middle:])
        return [Embedded(part, [_of_rows(each, part) for each in self.second]) for part in parts]


def _of_rows(vectors: Mapping[str, tuple[str, Vector]], rows: Sequence[Row]) -> dict[str, tuple[str, Vector]]:
    return {str(row.id): vectors[str(row.id)] for row in rows if str(row.id) in vectors}


class Inserter:
    """Inserts what is embedded in a thread of its own, one piece at a time, while the caller embeds more.

    At most one piece is being inserted and one waits: who is ahead of the disk by that much waits in
    `advance`. What is embedded is inserted however the block ends, by Ctrl-C or an error, unless the
    inserting itself has failed. The caller's thread alone uses it.

    Args:
        insert: Inserts rows; whole ones stay if it fails half way.
        leaves_out: Whether documents that the collection refuses are left out, and all others inserted.

    Attributes:
        taken: Pieces that were given.
        inserted: Of these, in their order, those that are in the collection.
        refused: Of the documents that were left out, by their ids, what the collection said of them.
        seconds: How long the caller embedded and the thread inserted.
        decoded: Pictures that the caller has read under the store's policy, as small as the embedding needs
            them, by the ids of their documents.
    """

    def __init__(self, insert: Callable[[Embedded], None], *, leaves_out: bool = False) -> None:
        self.taken = 0
        self.inserted = 0
        self.refused: dict[str, str] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.decoded: Mapping[str, Image] = {}
        self._insert = self._insert_what_can if leaves_out else insert
        self._insert_all = insert
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mmrag-insert")
        self._running: Future[None] | None = None
        self._rows = 0  # of what is running
        self._has_failed = False
        self._ends_at = 0  # what `inserted` is, once what is running is done
        self._waiting: Embedded | None = None
        self._ids: set[str] = set()
        self._chars = 0
        self._since = 0.0

    @contextmanager
    def embedding(self) -> Iterator[None]:
        """Around the making of vectors, to know how long it takes."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds["embedding"] += perf_counter() - start

    def add(self, piece: Embedded) -> None:
        """Take a piece, which waits for more of its like; `advance` begins to insert it.

        Raises:
            StoreError: As `advance`.
        """
        if piece.rows:
            ids = {str(row.id) for row in piece.rows}
            if self._waiting is not None and not ids.isdisjoint(self._ids):
                self._begin()  # of several rows with one id the last wins
            if self._waiting is None:
                self._waiting, self._since = piece, monotonic()
            else:
                self._waiting.join(piece)
            self._ids |= ids
            self._chars += sum(len(row.text) for row in piece.rows)
        self.taken += 1

    def advance(self) -> None:
        """Insert what waits if it is enough; the piece before has to be in by then.

        Raises:
            StoreError: If a piece before could not be inserted, saying why and how many rows are lost. It is
                raised once; what waited is lost too.
        """
        if self._running is not None and self._running.done():
            self._wait()
        if self._waiting is None:
            return
        is_old = monotonic() - self._since >= _AGE_S
        if len(self._ids) >= _ROWS or self._chars >= _CHARS or (is_old and self._running is None):
            self._begin()

    def finish(self) -> None:
        """Insert all that waits, and wait until it is in.

        Raises:
            StoreError: As `advance`.
        """
        if self._waiting is not None:
            self._begin()
        self._wait()

    def _begin(self) -> None:
        self._wait()
        if self._waiting is not None:
            self._rows, self._ends_at = len(self._waiting.rows), self.taken
            # Ctrl-C may come between any two steps: inserted twice is better than not at all.
            self._running = self._pool.submit(self._insert_timed, self._waiting)
            self._forget_waiting()

    def _forget_waiting(self) -> None:
        self._waiting, self._ids, self._chars = None, set(), 0

    def _insert_timed(self, piece: Embedded) -> None:
        start = perf_counter()
        try:
            self._insert(piece)
        finally:
            self.seconds["inserting"] += perf_counter() - start

    def _insert_what_can(self, piece: Embedded) -> None:
        """Insert a piece; if the collection refuses it, by halves, until bad documents alone are left out."""
        try:
            self._insert_all(piece)
        except _REFUSALS as error:
            halves = piece.halves()
            if not halves:
                self.refused[str(piece.rows[-1].id)] = str(error)
            for half in halves:
                self._insert_what_can(half)

    def _wait(self) -> None:
        if self._running is not None:
            try:
                self._running.result()
            except Exception as error:
                lost = self._rows + (len(self._waiting.rows) if self._waiting else 0)
                self._running, self._has_failed = None, True
                self._forget_waiting()
                msg = f"{lost} embedded rows could not be inserted: {error}"
                raise StoreError(msg) from error
            self.inserted = self._ends_at
            self._running = None
        if self._waiting is None and not self._has_failed:
            self.inserted = self.taken

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            self.finish()
        except StoreError as failure:
            if error is None:
                raise
            logger.warning("%s", failure)
        finally:
            # A second Ctrl-C does not wait: the thread ends what it is at, and the program after it.
            self._pool.shutdown(wait=False)


def pieces_of(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows in parts that are embedded and inserted as one: thousands, or the texts of a few books."""
    piece: list[Row] = []
    chars = 0
    for row in rows:
        if piece and (len(piece) >= 2 * _ROWS or chars + len(row.text) > 2 * _CHARS):
            yield piece
            piece, chars = [], 0
        piece.append(row)
        chars += len(row.text)
    if piece:
        yield piece
