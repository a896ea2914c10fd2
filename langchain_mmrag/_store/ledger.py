"""What is kept beside a collection: which rows it has, a sample of each side's vectors, and the words."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count as counter
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import httpx
import numpy as np
from chromadb.errors import ChromaError
from numpy.typing import NDArray

from langchain_mmrag._store.chroma import reading, side_of
from langchain_mmrag._store.ledger_file import LedgerFile, is_broken, is_busy, remove
from langchain_mmrag.errors import StoreError
from langchain_mmrag.ranking import SAMPLE_SIZE, SIDES, Side
from langchain_mmrag.types import PARENT_ID, WINDOW, modality_of

if TYPE_CHECKING:
    from chromadb import Collection

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_P = ParamSpec("_P")

_PAGE: Final = 1000
_LISTED_PAGE: Final = 10_000
_TROUBLE: Final = (ChromaError, StoreError, sqlite3.Error, httpx.HTTPError, OSError)


@dataclass(frozen=True)
class Sample:
    """Some of one side's rows, each as likely to be among them as any other.

    Attributes:
        count: Number of rows the side has.
        ids: Of the rows in the sample.
        vectors: Theirs, as they are stored [n, d].
    """

    count: int
    ids: list[str]
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class _State:
    counts: tuple[int, int]
    worded: tuple[int, int]
    changes: tuple[int, int]
    is_pending: bool


class Ledger:
    """Keeps account of one collection in a SQLite file beside it, or in memory.

    Everything in it is read from the collection and can be made anew from it. What a write is about to touch
    is marked first, in a transaction of its own; afterwards what the collection really holds is entered and
    the marks go. So a process that dies in between leaves marks, by which the next one knows what to look up
    again. What other programs write is noticed by the number of rows.

    The sample of a side is its rows with the smallest draws, a draw being a number made of the id. So it is a
    random choice, the same for every writer, and follows additions and deletions exactly.

    Args:
        collection: Gives the collection.
        folder: Where to keep the file, which is named after the collection's id; `None` keeps it in memory,
            as does a folder that cannot be written to.
    """

    def __init__(self, collection: Callable[[], Collection], folder: Path | None) -> None:
        self._collection = collection
        self._folder = folder
        self._lock = RLock()
        self._sync_lock = Lock()
        self._file: LedgerFile | None = None
        self._file_of = ""
        self._in_memory_only = False
        self._operations = counter()
        self._running: set[int] = set()
        self._never_equal: tuple[int, int] | None = None
        self._samples: dict[Side, tuple[LedgerFile, int, Sample]] = {}

    # --- writing --------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, ids: Sequence[str]) -> Iterator[None]:
        """Around every change to the collection: what becomes of `ids` in it is entered, error or not.

        If it cannot be read back afterwards, the write stands: the marks stay, and the next use looks again.
        """
        if not ids:
            yield
            return
        operation = next(self._operations)
        self._running.add(operation)
        try:
            self._mark(operation, ids)
            try:
                yield
            finally:
                try:
                    self._enter_marked(operation, ids)
                except _TROUBLE as error:
                    logger.warning("the index beside the collection catches up at its next use: %s", error)
        finally:
            self._running.discard(operation)

    def _mark(self, operation: int, ids: Sequence[str]) -> None:
        def mark(file: LedgerFile) -> None:
            marks = [(file.writer().token, operation, id_) for id_ in ids]
            with file.transaction() as run:
                run.executemany("INSERT OR IGNORE INTO pending VALUES (?, ?, ?)", marks)

        self._run(mark)

    def _enter_marked(self, operation: int, ids: Sequence[str]) -> None:
        for page in _pages(ids, _PAGE):
            self._enter(page)

        def unmark(file: LedgerFile) -> None:
            query = "DELETE FROM pending WHERE writer = ? AND operation = ?"
            with file.transaction() as run:
                run.execute(query, (file.writer().token, operation))

        self._run(unmark)

    def _enter(self, ids: Sequence[str]) -> None:
        """Enter what the collection holds for a page of ids."""
        collection = self._collection()

        def enter(file: LedgerFile) -> None:
            # Read within the transaction: of two writers, the later one to enter sees what both have done.
            with file.transaction() as run:
                found = _rows(collection, list(ids))
                _replace(run, ids, found)

        self._run(enter)

    # --- keeping up -----------------------------------------------------------------------------------------

    def current(self, count: int | None = None) -> None:
        """Catch up with the collection, as far as anything was left undone or another program wrote to it.

        Args:
            count: The collection's number of rows, if it was just asked for.
        """
        state = self._run(_state)
        if state.is_pending:
            self._repair()
            state = self._run(_state)
        count = self._collection().count() if count is None else count
        if sum(state.counts) != count:
            self._sync()

    def _repair(self) -> None:
        """Look up again what writers that died had marked, and what this one failed to enter."""
        while page := self._run(self._left_behind):
            self._enter(page)
            self._run(self._forget_marks, page)

    def _dead(self, file: LedgerFile) -> list[tuple[str, int]]:
        writers = file.connection.execute("SELECT DISTINCT writer, operation FROM pending").fetchall()
        me = file.writer()
        return [
            (writer, operation)
            for writer, operation in writers
            if (operation not in self._running if writer == me.token else me.is_dead(writer))
        ]

    def _left_behind(self, file: LedgerFile) -> list[str]:
        for writer, operation in self._dead(file):
            found = file.connection.execute(
                "SELECT id FROM pending WHERE writer = ? AND operation = ? LIMIT ?",
                (writer, operation, _PAGE),
            ).fetchall()
            if found:
                return [id_ for (id_,) in found]
        return []

    def _forget_marks(self, file: LedgerFile, ids: Sequence[str]) -> None:
        dead = self._dead(file)
        with file.transaction() as run:
            run.executemany(
                "DELETE FROM pending WHERE writer = ? AND operation = ? AND id = ?",
                [(writer, operation, id_) for writer, operation in dead for id_ in ids],
            )

    def _sync(self) -> None:
        """Enter what is missing and take out what is gone, a page at a time."""
        with self._sync_lock:  # of several threads that notice, one does it
            counts = self._settled_counts()
            if counts is None or counts[0] == counts[1] or counts == self._never_equal:
                return
            collection = self._collection()
            for page in _listed(collection):
                known = self._run(_known_in, page)
                for part in _pages([id_ for id_ in page if id_ not in known], _PAGE):
                    self._enter(part)
            if sum(self._run(_state).counts) > collection.count():
                self._take_out_gone(collection)
            counts = self._settled_counts()
            # Should the two never agree, every search would list the collection.
            self._never_equal = counts if counts and counts[0] != counts[1] else None

    def _settled_counts(self) -> tuple[int, int] | None:
        """Rows here and in the collection; `None` while a writer is between the two."""
        collection = self._collection()

        def counts(file: LedgerFile) -> tuple[int, int] | None:
            with file.transaction():
                state = _state(file)
                return None if state.is_pending else (sum(state.counts), collection.count())

        return self._run(counts)

    def _take_out_gone(self, collection: Collection) -> None:
        last = -1
        while True:
            page = self._run(_numbered_after, last)
            if not page:
                return
            last, ids = page[-1][0], [id_ for _, id_ in page]
            with reading(collection.name):
                there = set(collection.get(ids=ids, include=[])["ids"])
            if gone := [id_ for id_ in ids if id_ not in there]:
                self._enter(gone)

    def rebuild(self) -> None:
        """Make everything anew from the collection; nothing is embedded."""

        def clear(file: LedgerFile) -> None:
            with file.transaction() as run:
                run.execute("DELETE FROM rows")
                run.execute("DELETE FROM vectors")
                run.execute("UPDATE sides SET changes = changes + 1")

        self._run(clear)
        self._never_equal = None
        self.current()

    def forget(self) -> None:
        """Remove the file: the collection is about to be deleted."""
        with self._lock:
            path = self._path(str(self._collection().id))
            self._close()
            if path is not None:
                remove(path)

    # --- asking ---------------------------------------------------------------------------------------------

    def statistics(self, count: int | None = None) -> dict[Side, Sample]:
        """A sample of each side that has rows.

        Args:
            count: The collection's number of rows, if it was just asked for.
        """
        self.current(count)

        def samples(file: LedgerFile) -> dict[Side, Sample]:
            state = _state(file)
            sides = [side for side in SIDES if state.counts[SIDES.index(side)]]
            found = {side: self._sample(file, side, state) for side in sides}
            return {side: sample for side, sample in found.items() if sample.ids}

        return self._run(samples)

    def _sample(self, file: LedgerFile, side: Side, state: _State) -> Sample:
        number = SIDES.index(side)
        count, changes = state.counts[number], state.changes[number]
        kept = self._samples.get(side)
        if kept is None or kept[0] is not file or kept[1] != changes:
            ids, vectors = self._drawn(file, number)
            kept = (file, changes, Sample(count, ids, vectors))
        elif kept[2].count != count:
            kept = (file, changes, Sample(count, kept[2].ids, kept[2].vectors))
        self._samples[side] = kept
        return kept[2]

    def _drawn(self, file: LedgerFile, side: int) -> tuple[list[str], NDArray[np.float32]]:
        found = _smallest_draws(file.connection, side)
        if any(vector is None for _, _, vector in found):
            collection = self._collection()
            with file.transaction() as run:
                _fetch_vectors(run, collection, _smallest_draws(run, side))
                found = _smallest_draws(run, side)
                _drop_vectors_but(run, side, found)
        there = [(id_, vector) for _, id_, vector in found if vector is not None]
        if not there:
            return [], np.empty((0, 0), dtype=np.float32)
        vectors = np.frombuffer(b"".join(vector for _, vector in there), dtype="<f4")
        return [id_ for id_, _ in there], vectors.reshape(len(there), -1)

    def children(self, parents: Sequence[str]) -> dict[str, list[str]]:
        """The ids of the windows of each of these rows, of those that have any.

        As long as the collection has not been gone through, which takes its time if it is large, it is asked
        itself: a single write shall not pay for that.
        """
        collection = self._collection()
        state = self._run(_state)
        if state.is_pending:
            self._repair()
            state = self._run(_state)
        is_current = sum(state.counts) == collection.count()
        found: dict[str, list[str]] = {}
        for page in _pages(list(dict.fromkeys(parents)), _PAGE):
            pairs = self._run(_windows, page) if is_current else _windows_in(collection, page)
            for parent, id_ in pairs:
                found.setdefault(parent, []).append(id_)
        return found

    # --- the file -------------------------------------------------------------------------------------------

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
        self._samples.clear()
        self._never_equal = None


# --- rows ---------------------------------------------------------------------------------------------------


def side_of_row(metadata: Mapping[str, Any] | None) -> Side:
    """Which encoder made a row's vector; whatever other programs wrote into its metadata is no error."""
    try:
        return side_of(modality_of(metadata))
    except ValueError:
        return "text"


def draw_of(id_: str) -> int:
    """A number from 0 to 2^63 - 1 that is as good as random, and always the same for an id."""
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest()) >> 1


def _parent_of(metadata: Mapping[str, Any] | None) -> str | None:
    """The row that a window is part of; documents may have a `parent_id` for reasons of their own."""
    metadata = metadata or {}
    parent = metadata.get(PARENT_ID)
    return str(parent) if parent is not None and metadata.get(WINDOW) is True else None


def _rows(collection: Collection, ids: list[str]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Text and metadata of those ids that the collection has."""
    with reading(collection.name):
        found: Any = collection.get(ids=ids, include=["documents", "metadatas"])
    columns = (found["ids"], found["documents"] or (), found["metadatas"] or ())
    return {id_: (text or "", metadata or {}) for id_, text, metadata in zip(*columns, strict=True)}


def _replace(
    run: sqlite3.Connection, ids: Sequence[str], found: Mapping[str, tuple[str, Mapping[str, Any]]]
) -> None:
    """Put `found` in the place of whatever was entered for `ids`."""
    known = _known(run, ids)
    before = _widest_draw(run)
    run.executemany("DELETE FROM rows WHERE number = ?", [(number,) for number in known.values()])
    (last,) = run.execute("SELECT max(number) FROM rows").fetchone()
    free = counter(max(((last or 0) >> 1) + 1, max(known.values(), default=0) + 2 >> 1))
    entered = []
    for id_, (_text, metadata) in found.items():
        side = SIDES.index(side_of_row(metadata))
        number = known.get(id_)
        if number is None or number & 1 != side:
            number = next(free) << 1 | side
        entered.append((number, id_, side, draw_of(id_), _parent_of(metadata), 0))
    run.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", entered)
    reach = max(before, _widest_draw(run))
    if any(draw_of(id_) <= reach for id_ in {*known, *found}):
        run.execute("UPDATE sides SET changes = changes + 1")


def _known(run: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """Numbers of those ids that are entered."""
    found: dict[str, int] = {}
    for page in _pages(ids, _PAGE):
        found.update(run.execute(f"SELECT id, number FROM rows WHERE id IN ({_places(page)})", page))  # noqa: S608
    return found


def _known_in(file: LedgerFile, ids: Sequence[str]) -> dict[str, int]:
    return _known(file.connection, ids)


def _numbered_after(file: LedgerFile, number: int) -> list[tuple[int, str]]:
    query = "SELECT number, id FROM rows WHERE number > ? ORDER BY number LIMIT ?"
    return file.connection.execute(query, (number, _PAGE)).fetchall()


def _widest_draw(run: sqlite3.Connection) -> int:
    """The draw up to which rows are in a sample."""
    query = "SELECT draw FROM rows WHERE side = ? ORDER BY draw, id LIMIT 1 OFFSET ?"
    last = [run.execute(query, (side, SAMPLE_SIZE - 1)).fetchone() for side in range(len(SIDES))]
    return max(draw[0] if draw else 2**63 - 1 for draw in last)


def _state(file: LedgerFile) -> _State:
    run = file.connection
    text, image = run.execute("SELECT count, worded, changes FROM sides ORDER BY side").fetchall()
    counts, worded, changes = zip(text, image, strict=True)
    return _State(
        counts, worded, changes, run.execute("SELECT 1 FROM pending LIMIT 1").fetchone() is not None
    )


def _windows(file: LedgerFile, parents: Sequence[str]) -> list[tuple[str, str]]:
    query = f"SELECT parent, id FROM rows WHERE parent IN ({_places(parents)}) ORDER BY number"  # noqa: S608
    return file.connection.execute(query, parents).fetchall()


def _windows_in(collection: Collection, parents: Sequence[str]) -> list[tuple[str, str]]:
    condition: Any = {"$and": [{WINDOW: True}, {PARENT_ID: {"$in": list(parents)}}]}
    with reading(collection.name):
        found: Any = collection.get(where=condition, include=["metadatas"])
    columns = (found["metadatas"] or (), found["ids"])
    return [(str(metadata[PARENT_ID]), id_) for metadata, id_ in zip(*columns, strict=True)]


def _listed(collection: Collection) -> Iterator[list[str]]:
    for start in counter(0, _LISTED_PAGE):
        with reading(collection.name):
            ids = collection.get(limit=_LISTED_PAGE, offset=start, include=[])["ids"]
        if ids:
            yield ids
        if len(ids) < _LISTED_PAGE:
            return


# --- samples ------------------------------------------------------------------------------------------------


def _smallest_draws(run: sqlite3.Connection, side: int) -> list[tuple[int, str, bytes | None]]:
    query = (
        "SELECT rows.number, id, vector FROM rows LEFT JOIN vectors USING (number)"
        " WHERE side = ? ORDER BY draw, id LIMIT ?"
    )
    return run.execute(query, (side, SAMPLE_SIZE)).fetchall()


def _fetch_vectors(
    run: sqlite3.Connection, collection: Collection, drawn: Sequence[tuple[int, str, bytes | None]]
) -> None:
    numbers = {id_: number for number, id_, vector in drawn if vector is None}
    for page in _pages(list(numbers), _PAGE):
        with reading(collection.name):
            found: Any = collection.get(ids=list(page), include=["embeddings"])
        vectors = zip(found["ids"], found["embeddings"], strict=True)
        run.executemany(
            "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
            [(numbers[id_], np.asarray(vector, dtype="<f4").tobytes()) for id_, vector in vectors],
        )


def _drop_vectors_but(
    run: sqlite3.Connection, side: int, drawn: Sequence[tuple[int, str, bytes | None]]
) -> None:
    """Drop vectors of rows that others have pushed out of the sample."""
    stored = run.execute("SELECT number FROM vectors WHERE number & 1 = ?", (side,))
    gone = {number for (number,) in stored} - {number for number, _, _ in drawn}
    run.executemany("DELETE FROM vectors WHERE number = ?", [(number,) for number in gone])


def _pages(items: Sequence[_T], size: int) -> Iterable[Sequence[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _places(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
