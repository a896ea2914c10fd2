"""The vectors a ledger keeps: unit vectors to the digit, for Chroma is slow to tell its own.

Half precision would take half of the disk and no less time to read, but show in the relevance that is given
to users (cosines are off by 1e-4 in short vectors).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langchain_mmrag._store.chroma import reading
from langchain_mmrag._store.ledger_file import LedgerFile
from langchain_mmrag._store.ledger_rows import PAGE, Entry, pages, rows_of_rare, smallest_draws
from langchain_mmrag.ranking import SIDES, unit

if TYPE_CHECKING:
    from chromadb import Collection

_STORED: Final = "<f4"
_AT_ONCE: Final = 500


def keep_vectors(run: sqlite3.Connection, vectors: Mapping[int, ArrayLike]) -> None:
    """Keep the vectors of rows, by the rows' numbers."""
    for numbers in pages(list(vectors), _AT_ONCE):
        stored = unit(np.asarray([vectors[number] for number in numbers], np.float32)).astype(_STORED)
        run.executemany(
            "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
            zip(numbers, map(np.ndarray.tobytes, stored), strict=True),
        )


def drawn(file: LedgerFile, collection: Collection, side: int) -> tuple[list[str], NDArray[np.float32]]:
    """The rows in the sample of a side: ids and vectors [n, d], fetched if they are not kept yet."""
    return _with_vectors(file, collection, lambda run: smallest_draws(run, side))


def rare_rows(
    file: LedgerFile, collection: Collection, side: int, modality: str
) -> tuple[list[str], NDArray[np.float32]]:
    """The rows of a modality that is neither text nor image: ids and vectors [n, d], as `drawn`."""
    return _with_vectors(file, collection, lambda run: rows_of_rare(run, side, modality))


def _with_vectors(
    file: LedgerFile,
    collection: Collection,
    select: Callable[[sqlite3.Connection], list[tuple[int, str, bytes | None]]],
) -> tuple[list[str], NDArray[np.float32]]:
    found = select(file.connection)
    if any(vector is None for _, _, vector in found):
        # Fetched within the transaction, as rows are: an older vector never stands for a newer one.
        with file.transaction() as run:
            numbers = {id_: number for number, id_, vector in select(run) if vector is None}
            _fetch_vectors(run, collection, numbers)
            found = select(run)
    there = [(id_, vector) for _, id_, vector in found if vector is not None]
    return [id_ for id_, _ in there], _told([vector for _, vector in there])


def _fetch_vectors(run: sqlite3.Connection, collection: Collection, numbers: Mapping[str, int]) -> None:
    for page in pages(list(numbers), PAGE):
        with reading(collection.name):
            found: Any = collection.get(ids=list(page), include=["embeddings"])
        columns = zip(found["ids"], found["embeddings"], strict=True)
        keep_vectors(run, {numbers[id_]: vector for id_, vector in columns})


def entries_of(file: LedgerFile, collection: Collection, ids: Sequence[str]) -> dict[str, Entry]:
    """Those of the ids that are entered, in the order they were added.

    Vectors that had to be fetched are kept from then on.
    """
    found = _entries(file.connection, ids)
    if any(vector is None for *_, vector in found):
        with file.transaction() as run:
            numbers = {id_: number for number, id_, *_, vector in _entries(run, ids) if vector is None}
            _fetch_vectors(run, collection, numbers)
            found = _entries(run, ids)
    there = sorted((row for row in found if row[-1] is not None), key=itemgetter(0))
    vectors = _told([vector for *_, vector in there])
    return {
        id_: Entry(number, SIDES[side], parent, vector, bool(has_text))
        for (number, id_, side, parent, has_text, _), vector in zip(there, vectors, strict=True)
    }


def _told(stored: Sequence[bytes | None]) -> NDArray[np.float32]:
    """Stored vectors as an array [n, d]."""
    if not stored:
        return np.empty((0, 0), dtype=np.float32)
    numbers = np.frombuffer(b"".join(filter(None, stored)), dtype=_STORED)
    return numbers.reshape(len(stored), -1).astype(np.float32)


def _entries(
    run: sqlite3.Connection, ids: Sequence[str]
) -> list[tuple[int, str, int, str | None, int, bytes | None]]:
    found = []
    for page in pages(ids, PAGE):
        places = ",".join("?" * len(page))
        query = f"SELECT rows.number, id, side, parent, has_text, vector FROM rows LEFT JOIN vectors USING (number) WHERE id IN ({places})"  # noqa: S608,E501
        found += run.execute(query, page).fetchall()
    return found
