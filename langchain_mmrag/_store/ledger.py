"""What is kept beside a collection: which rows it has, a sample of each side's vectors, and the words."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count as counter
from pathlib import Path
from random import getrandbits
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import httpx
import numpy as np
from chromadb.errors import ChromaError
from numpy.typing import NDArray

from langchain_mmrag._store.chroma import reading
from langchain_mmrag._store.ledger_access import LedgerAccess
from langchain_mmrag._store.ledger_content import LISTED_PAGE, contents_of, listed_ids, windows_in
from langchain_mmrag._store.ledger_file import LedgerFile, remove
from langchain_mmrag._store.ledger_rows import (
    PAGE,
    Content,
    Entry,
    Sample,
    State,
    ids_from,
    known_in,
    matches_of,
    modalities_of,
    numbered_after,
    pages,
    replace_rows,
    sampled_texts,
    sources_in,
    state_of,
    texts_after,
    those_of,
    windows_of,
)
from langchain_mmrag._store.ledger_vectors import drawn, entries_of, keep_vectors, rare_rows
from langchain_mmrag._store.writers import remove_locks
from langchain_mmrag.errors import StoreError
from langchain_mmrag.keyword import KeywordIndex, KeywordMatches
from langchain_mmrag.ranking import SIDES, Side
from langchain_mmrag.types import Modality

if TYPE_CHECKING:
    from chromadb import Collection

logger = logging.getLogger(__name__)

Told: TypeAlias = dict[str, Content | None]
"""What rows hold after a write, by id; `None` for those that it has deleted."""

_TOLD_EVERY: Final = 25  # pages
_TROUBLE: Final = (ChromaError, StoreError, sqlite3.Error, httpx.HTTPError, OSError)


class Ledger(LedgerAccess):
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
        super().__init__(collection, folder)
        self._sync_lock = Lock()
        self._operations = counter()
        self._running: set[int] = set()
        self._never_equal: tuple[int, int] | None = None
        self._samples: dict[Side, tuple[LedgerFile, int, Sample]] = {}

    def _close(self) -> None:
        super()._close()
        self._samples.clear()
        self._never_equal = None

    # --- writing --------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, ids: Sequence[str]) -> Iterator[Told]:
        """Around every change to the collection: what becomes of `ids` in it is entered, error or not.

        If it cannot be read back afterwards, the write stands: the marks stay, and the next use looks again.

        Args:
            ids: Of all rows that are about to be written or deleted.

        Yields:
            Filled by the caller with what each of these rows holds now, `None` for one that was deleted. What
            it says nothing of is read back; so is all after an error, if another writer has begun since, or
            if this ledger is in memory, where the turns of others are not known.
        """
        told: Told = {}
        if not ids:
            yield told
            return
        operation = next(self._operations)
        self._running.add(operation)
        try:
            turn = self._run(self._mark, operation, ids)
            try:
                yield told
            except BaseException:
                told.clear()
                raise
            finally:
                try:
                    self._enter_marked(operation, ids, told, turn)
                except _TROUBLE as error:
                    logger.warning("the index beside the collection catches up at its next use: %s", error)
        finally:
            self._running.discard(operation)

    def _mark(self, file: LedgerFile, operation: int, ids: Sequence[str]) -> int | None:
        """Mark rows as being written; returns the turn of the write, `None` if others may be at work."""
        writer, turn = file.writer().token, getrandbits(62)
        with file.transaction() as run:
            is_alone = run.execute("SELECT 1 FROM pending LIMIT 1").fetchone() is None
            run.executemany(
                "INSERT OR IGNORE INTO pending VALUES (?, ?, ?)", [(writer, operation, id_) for id_ in ids]
            )
            run.execute("UPDATE turn SET last = ?", (turn,))
        # One file is common to all who write on this machine; in memory nobody else's writes are seen.
        return turn if is_alone and file.path is not None else None

    def _enter_marked(self, operation: int, ids: Sequence[str], told: Told, turn: int | None) -> None:
        is_entered = turn is not None and bool(told) and self._run(self._enter_told, told, turn)
        for page in pages([id_ for id_ in ids if not (is_entered and id_ in told)], PAGE):
            self._enter(page)

        def unmark(file: LedgerFile) -> None:
            query = "DELETE FROM pending WHERE writer = ? AND operation = ?"
            with file.transaction() as run:
                run.execute(query, (file.writer().token, operation))

        self._run(unmark)

    def _enter_told(self, file: LedgerFile, told: Told, turn: int) -> bool:
        """Enter what a write says it has done; not if another has begun since, which may have undone it."""
        with file.transaction() as run:
            if run.execute("SELECT last FROM turn").fetchone() != (turn,):
                return False
            found = {id_: content for id_, content in told.items() if content is not None}
            self._replace(file, run, list(told), found)
        return True

    def _enter(self, ids: Sequence[str], *, with_vectors: bool = True) -> None:
        """Enter what the collection holds for a page of ids."""
        self._run(self._enter_found, ids, {"ids": list(ids)}, with_vectors=with_vectors)

    def _enter_found(
        self, file: LedgerFile, touched: Sequence[str], which: Mapping[str, Any], *, with_vectors: bool
    ) -> None:
        """Enter what the collection holds of some rows; see `contents_of`. Others `touched` are gone."""
        collection = self._collection()
        with_vectors = with_vectors and file.path is not None
        # Read within the transaction: of two writers, the later one to enter sees what both have done.
        with file.transaction() as run:
            found = contents_of(collection, with_vectors=with_vectors, **which)
            self._replace(file, run, list({*touched, *found}), found)

    @staticmethod
    def _replace(
        file: LedgerFile, run: sqlite3.Connection, ids: Sequence[str], found: Mapping[str, Content]
    ) -> None:
        numbers = replace_rows(run, ids, found)
        if file.path is not None:  # in memory vectors are only kept as they are asked for
            vectors = {numbers[id_]: each.vector for id_, each in found.items() if each.vector is not None}
            keep_vectors(run, vectors)

    # --- keeping up -----------------------------------------------------------------------------------------

    def current(self, count: int | None = None) -> None:
        """Catch up with the collection, as far as anything was left undone or another program wrote to it.

        Args:
            count: The collection's number of rows, if it was just asked for.
        """
        state = self._run(state_of)
        if state.is_pending:
            self._repair()
            state = self._run(state_of)
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
                (writer, operation, PAGE),
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

    def _sync(self, *, with_vectors: bool = False) -> None:
        """Enter what is missing and take out what is gone, a page at a time.

        A page that was entered stays, whatever stops this in the middle; the next run goes on from there.

        Args:
            with_vectors: Whether the vectors are copied too, which takes as much time as all else. Those that
                are not are fetched as searches need them, and kept from then on.
        """
        with self._sync_lock:  # of several threads that notice, one does it
            counts = self._settled_counts()
            if counts is None or counts[0] == counts[1] or counts == self._never_equal:
                return
            collection = self._collection()
            logger.info("catching up with %r: %d rows known, %d in it", collection.name, *counts)
            for number, (start, page) in enumerate(listed_ids(collection, self.listed_page), 1):
                self._enter_unknown(start, page, with_vectors=with_vectors)
                if number % _TOLD_EVERY == 0:
                    logger.info(
                        "catching up with %r: %d of %d rows", collection.name, start + len(page), counts[1]
                    )
            if sum(self._run(state_of).counts) > collection.count():
                self._take_out_gone(collection)
            counts = self._settled_counts()
            # Should the two never agree, every search would list the collection.
            self._never_equal = counts if counts and counts[0] != counts[1] else None

    def _enter_unknown(self, start: int, page: Sequence[str], *, with_vectors: bool) -> None:
        """Enter those rows of a listed page that are not known."""
        known = self._run(known_in, page)
        if not known:  # Chroma tells neighbours in half the time that it takes for rows it has to look up
            which = {"limit": len(page), "offset": start}
            self._run(self._enter_found, (), which, with_vectors=with_vectors)
            return
        for part in pages([id_ for id_ in page if id_ not in known], PAGE):
            self._enter(part, with_vectors=with_vectors)

    def _settled_counts(self) -> tuple[int, int] | None:
        """Rows here and in the collection; `None` while a writer is between the two."""
        collection = self._collection()

        def counts(file: LedgerFile) -> tuple[int, int] | None:
            with file.transaction():
                state = state_of(file)
                return None if state.is_pending else (sum(state.counts), collection.count())

        return self._run(counts)

    def _take_out_gone(self, collection: Collection) -> None:
        last = -1
        while True:
            page = self._run(numbered_after, last)
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
                for table in ("rows", "vectors", "sources"):
                    run.execute(f"DELETE FROM {table}")  # noqa: S608
                KeywordIndex(run).clear()
                run.execute("UPDATE sides SET changes = changes + 1")

        self._run(clear)
        self._never_equal = None
        self._sync(with_vectors=True)

    def forget(self) -> None:
        """Remove the file: the collection is about to be deleted."""
        with self._lock:
            path = self._path(str(self._collection().id))
            self._close()
            if path is not None:
                remove(path)
                remove_locks(path)

    # --- asking ---------------------------------------------------------------------------------------------

    @property
    def is_kept(self) -> bool:
        """Whether it lies on disk, so that it need not be made anew in each process."""
        return self._folder is not None

    @property
    def listed_page(self) -> int:
        """How many rows to list at a time: more of a collection on this machine than of one elsewhere."""
        return LISTED_PAGE if self.is_kept else PAGE

    @property
    def is_there(self) -> bool:
        """Whether its file is open and in its place: to ask for anything else would make it anew."""
        with self._lock:
            return self._file is not None and self._file.is_in_place

    def count(self) -> int:
        """Rows entered, of both sides."""
        return sum(self._run(state_of).counts)

    def statistics(self, count: int | None = None) -> dict[Side, Sample]:
        """A sample of each side that has rows.

        Args:
            count: The collection's number of rows, if it was just asked for.
        """
        self.current(count)

        def samples(file: LedgerFile) -> dict[Side, Sample]:
            state = state_of(file)
            sides = [side for side in SIDES if state.counts[SIDES.index(side)]]
            found = {side: self._sample(file, side, state) for side in sides}
            return {side: sample for side, sample in found.items() if sample.ids}

        return self._run(samples)

    def _sample(self, file: LedgerFile, side: Side, state: State) -> Sample:
        number = SIDES.index(side)
        count, changes = state.counts[number], state.changes[number]
        kept = self._samples.get(side)
        if kept is None or kept[0] is not file or kept[1] != changes:
            ids, vectors = drawn(file, self._collection(), number)
            kept = (file, changes, Sample(count, ids, vectors))
        elif kept[2].count != count:
            kept = (file, changes, Sample(count, kept[2].ids, kept[2].vectors))
        self._samples[side] = kept
        return kept[2]

    def entries(self, ids: Sequence[str]) -> dict[str, Entry]:
        """What is known of those of the ids that are entered, in the order they were added."""
        return self._run(entries_of, self._collection(), ids)

    def matches(
        self, query: str, limit: int | None, *, side: Side | None = None, count: int | None = None
    ) -> KeywordMatches:
        """The rows that have words of the query, and what the scores of all rows are like.

        Args:
            query: What a user typed; see `keyword.terms_of`.
            limit: How many rows; `None` for all of them.
            side: Only rows of this side are wanted.
            count: The collection's number of rows, if it was just asked for.
        """
        self.current(count)

        def search(file: LedgerFile) -> KeywordMatches:
            with file.snapshot() as run:
                worded = state_of(file).worded
                scored = KeywordIndex(run).search(query, sum(worded))
                return matches_of(run, scored, worded, limit, side)

        return self._run(search)

    def those_of(self, ids: Sequence[str], modality: Modality) -> list[str]:
        """Those of the ids whose rows are of a modality, in their order."""
        return self._run(those_of, ids, modality)

    def rare_rows(self, side: Side, modality: Modality) -> tuple[list[str], NDArray[np.float32]]:
        """The rows of a side that are of a modality, neither text nor image: ids and unit vectors [n, d]."""
        return self._run(rare_rows, self._collection(), SIDES.index(side), modality)

    def modalities(self, count: int | None = None) -> dict[Side, dict[str, int]]:
        """How many rows of each side are of each modality.

        Args:
            count: The collection's number of rows, if it was just asked for.
        """
        self.current(count)
        return self._run(modalities_of)

    def texts(self) -> int:
        """How many rows have a text for a text embedding, as of the last look."""
        return sum(self._run(state_of).texts)

    def text_ids(self) -> Iterator[list[str]]:
        """The ids of these rows, a page at a time."""
        last = -1
        while page := self._run(texts_after, last):
            last = page[-1][0]
            yield [id_ for _, id_ in page]

    def sampled_texts(self, side: Side) -> tuple[object, list[str]]:
        """Something that differs once they have changed, and the ids of those in a side's sample."""
        number = SIDES.index(side)

        def sampled(file: LedgerFile) -> tuple[object, list[str]]:
            return (file, state_of(file).changes[number]), sampled_texts(file, number)

        return self._run(sampled)

    def sourced(self, folders: Sequence[str], sources: Iterable[str]) -> Iterator[list[str]]:
        """The ids of documents from files, a page at a time.

        Args:
            folders: Those whose files are wanted, each ending with a separator.
            sources: Files that are wanted besides.
        """
        self.current()
        named = sorted(source for source in sources if not source.startswith(tuple(folders)))
        for page in pages(named, PAGE):
            yield self._run(ids_from, page)
        for folder in folders:
            last = ""
            while found := self._run(sources_in, folder, last):
                last = found[-1]
                yield self._run(ids_from, found)

    def children(self, parents: Sequence[str]) -> dict[str, list[str]]:
        """The ids of the windows of each of these rows, of those that have any.

        As long as the collection has not been gone through, which takes its time if it is large, it is asked
        itself: a single write shall not pay for that.
        """
        collection = self._collection()
        state = self._run(state_of)
        if state.is_pending:
            self._repair()
            state = self._run(state_of)
        is_current = sum(state.counts) == collection.count()
        found: dict[str, list[str]] = {}
        for page in pages(list(dict.fromkeys(parents)), PAGE):
            pairs = self._run(windows_of, page) if is_current else windows_in(collection, page)
            for parent, id_ in pairs:
                found.setdefault(parent, []).append(id_)
        return found
