"""The rows of a ledger: what is read from the collection, entered for it, and asked of it."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count as counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from langchain_mmrag._store.chroma import reading
from langchain_mmrag._store.ledger_file import LedgerFile
from langchain_mmrag.errors import StoreError
from langchain_mmrag.keyword import KeywordIndex, KeywordMatch, KeywordMatches, Scored, words_of
from langchain_mmrag.ranking import SAMPLE_SIZE, SIDES, Side, unit
from langchain_mmrag.types import CAPTION, PARENT_ID, PICTURED, SUMMARY, WINDOW, Modality, modality_of

if TYPE_CHECKING:
    from chromadb import Collection

_T = TypeVar("_T")

PAGE: Final = 300  # rows that Chroma Cloud gives at once
_LISTED_PAGE: Final = 10_000  # ids from a collection on this machine
_LARGEST_DRAW: Final = 2**63 - 1
_STORED: Final = "<f4"


@dataclass(frozen=True)
class Sample:
    """Some of one side's rows, each as likely to be among them as any other.

    Attributes:
        count: Number of rows the side has.
        ids: Of the rows in the sample.
        vectors: Unit vectors [n, d].
    """

    count: int
    ids: list[str]
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class State:
    """What a ledger says of itself, both sides in the order of `SIDES`.

    Attributes:
        counts: Numbers of rows.
        worded: Numbers of rows that have words.
        texts: Numbers of rows that have a text for a text embedding; see `text_of_row`.
        changes: How often the samples have changed.
        is_pending: Whether any row is marked as being written.
    """

    counts: tuple[int, int]
    worded: tuple[int, int]
    texts: tuple[int, int]
    changes: tuple[int, int]
    is_pending: bool


def side_of_row(metadata: Mapping[str, Any] | None) -> Side:
    """Which encoder made a row's vector: that of pictures, also of films that go by their thumbnails."""
    is_pictured = (metadata or {}).get(PICTURED) is True
    return "image" if is_pictured or modality_of_row(metadata) == "image" else "text"


def modality_of_row(metadata: Mapping[str, Any] | None) -> Modality:
    """Of a row; whatever other programs wrote into its metadata is no error."""
    try:
        return modality_of(metadata)
    except ValueError:
        return "text"


def draw_of(id_: str) -> int:
    """A number from 0 to 2^63 - 1 that is as good as random, and always the same for an id."""
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest()) >> 1


def text_of_row(text: str, metadata: Mapping[str, Any]) -> str:
    """What a text embedding reads of a row, blank if there is nothing to read.

    That is the caption of a picture, or the summary of a table or passage, if there is one; else the text.
    What is spoken in a film is not in the caption of its picture: of such both are read. The windows of a
    long text go by their own: many rows with one vector would keep others from being found.
    """
    if metadata.get(WINDOW) is True:
        return text
    told = metadata.get(CAPTION if side_of_row(metadata) == "image" else SUMMARY)
    if not isinstance(told, str) or is_blank(told):
        return text
    has_words_of_its_own = metadata.get(PICTURED) is True and not is_blank(text) and told not in text
    return f"{told}\n{text}" if has_words_of_its_own else told


def is_blank(text: str) -> bool:
    """Whether there is nothing in a text that could be embedded."""
    return not text.strip()


def _parent_of(metadata: Mapping[str, Any] | None) -> str | None:
    """The row that a window is part of; documents may have a `parent_id` for reasons of their own."""
    metadata = metadata or {}
    parent = metadata.get(PARENT_ID)
    return str(parent) if parent is not None and metadata.get(WINDOW) is True else None


def rows_of(collection: Collection, ids: list[str]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Text and metadata of those ids that the collection has."""
    with reading(collection.name):
        found: Any = collection.get(ids=ids, include=["documents", "metadatas"])
    columns = (found["ids"], found["documents"] or (), found["metadatas"] or ())
    return {id_: (text or "", metadata or {}) for id_, text, metadata in zip(*columns, strict=True)}


def replace_rows(
    run: sqlite3.Connection, ids: Sequence[str], found: Mapping[str, tuple[str, Mapping[str, Any]]]
) -> None:
    """Put `found` in the place of whatever was entered for `ids`."""
    known = _known(run, ids)
    before = _reach(run)
    run.executemany("DELETE FROM rows WHERE number = ?", [(number,) for number in known.values()])
    index = KeywordIndex(run)
    index.remove(known.values())
    (last,) = run.execute("SELECT max(number) FROM rows").fetchone()
    free = counter(max(((last or 0) >> 1) + 1, max(known.values(), default=0) + 2 >> 1))
    entered, worded = [], []
    for id_, (text, metadata) in found.items():
        side = SIDES.index(side_of_row(metadata))
        number = known.get(id_)
        if number is None or number & 1 != side:
            number = next(free) << 1 | side
        parent = _parent_of(metadata)
        # A window's words are those of the row it is a part of.
        words = words_of(text, metadata) if parent is None else None
        if words is not None:
            worded.append((number, words))
        has_text = not is_blank(text_of_row(text, metadata))
        modality = modality_of_row(metadata)
        entered.append((number, id_, side, draw_of(id_), parent, words is not None, has_text, modality))
    run.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)", entered)
    index.put(worded)
    reach = tuple(map(max, before, _reach(run)))
    touched = [*((number & 1, id_) for id_, number in known.items()), *((row[2], row[1]) for row in entered)]
    changed = {side for side, id_ in touched if draw_of(id_) <= reach[side]}
    run.executemany("UPDATE sides SET changes = changes + 1 WHERE side = ?", [(side,) for side in changed])


def _known(run: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """Numbers of those ids that are entered."""
    found: dict[str, int] = {}
    for page in pages(ids, PAGE):
        found.update(run.execute(f"SELECT id, number FROM rows WHERE id IN ({_places(page)})", page))  # noqa: S608
    return found


def known_in(file: LedgerFile, ids: Sequence[str]) -> dict[str, int]:
    """Numbers of those ids that are entered."""
    return _known(file.connection, ids)


def numbered_after(file: LedgerFile, number: int) -> list[tuple[int, str]]:
    """The next page of rows, with their numbers."""
    query = "SELECT number, id FROM rows WHERE number > ? ORDER BY number LIMIT ?"
    return file.connection.execute(query, (number, PAGE)).fetchall()


def _reach(run: sqlite3.Connection) -> tuple[int, ...]:
    """The draw, of each side, up to which rows are in the sample."""
    query = "SELECT draw FROM rows WHERE side = ? ORDER BY draw, id LIMIT 1 OFFSET ?"
    last = [run.execute(query, (side, SAMPLE_SIZE - 1)).fetchone() for side in range(len(SIDES))]
    return tuple(draw[0] if draw else _LARGEST_DRAW for draw in last)


def state_of(file: LedgerFile) -> State:
    """What a ledger says of itself."""
    run = file.connection
    sides = run.execute("SELECT count, worded, texts, changes FROM sides ORDER BY side").fetchall()
    counts, worded, texts, changes = zip(*sides, strict=True)
    mark = run.execute("SELECT 1 FROM pending LIMIT 1").fetchone()
    return State(counts, worded, texts, changes, mark is not None)


def modalities_of(file: LedgerFile) -> dict[Side, set[str]]:
    """Of the rows of each side."""
    found = file.connection.execute("SELECT side, modality FROM modalities WHERE count > 0").fetchall()
    return {name: {each for side, each in found if side == place} for place, name in enumerate(SIDES)}


def windows_of(file: LedgerFile, parents: Sequence[str]) -> list[tuple[str, str]]:
    """Parent and id of the windows of a page of parents."""
    query = f"SELECT parent, id FROM rows WHERE parent IN ({_places(parents)}) ORDER BY number"  # noqa: S608
    return file.connection.execute(query, parents).fetchall()


def windows_in(collection: Collection, parents: Sequence[str]) -> list[tuple[str, str]]:
    """The same from the collection itself, which has to look at all of its metadata."""
    condition: Any = {"$and": [{WINDOW: True}, {PARENT_ID: {"$in": list(parents)}}]}
    with reading(collection.name):
        found: Any = collection.get(where=condition, include=["metadatas"])
    columns = (found["metadatas"] or (), found["ids"])
    return [(str(metadata[PARENT_ID]), id_) for metadata, id_ in zip(*columns, strict=True)]


def listed_ids(collection: Collection, *, is_local: bool) -> Iterator[list[str]]:
    """All ids of a collection, page by page."""
    size = _LISTED_PAGE if is_local else PAGE
    for start in counter(0, size):
        with reading(collection.name):
            ids = collection.get(limit=size, offset=start, include=[])["ids"]
        if ids:
            yield ids
        if len(ids) < size:
            return


# --- samples ------------------------------------------------------------------------------------------------


def drawn(file: LedgerFile, collection: Collection, side: int) -> tuple[list[str], NDArray[np.float32]]:
    """The rows in the sample of a side: ids and vectors [n, d], fetched if they are not kept yet."""
    found = _smallest_draws(file.connection, side)
    if any(vector is None for _, _, vector in found):
        # Fetched within the transaction, as rows are: an older vector never stands for a newer one.
        with file.transaction() as run:
            numbers = {id_: number for number, id_, vector in _smallest_draws(run, side) if vector is None}
            _fetch_vectors(run, collection, numbers)
            found = _smallest_draws(run, side)
    there = [(id_, vector) for _, id_, vector in found if vector is not None]
    if not there:
        return [], np.empty((0, 0), dtype=np.float32)
    vectors = np.frombuffer(b"".join(vector for _, vector in there), dtype=_STORED)
    return [id_ for id_, _ in there], vectors.astype(np.float32).reshape(len(there), -1)


def _smallest_draws(run: sqlite3.Connection, side: int) -> list[tuple[int, str, bytes | None]]:
    query = (
        "SELECT rows.number, id, vector FROM rows LEFT JOIN vectors USING (number)"
        " WHERE side = ? ORDER BY draw, id LIMIT ?"
    )
    return run.execute(query, (side, SAMPLE_SIZE)).fetchall()


def _fetch_vectors(run: sqlite3.Connection, collection: Collection, numbers: Mapping[str, int]) -> None:
    for page in pages(list(numbers), PAGE):
        with reading(collection.name):
            found: Any = collection.get(ids=list(page), include=["embeddings"])
        vectors = zip(found["ids"], found["embeddings"], strict=True)
        run.executemany(
            "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
            [(numbers[id_], unit(vector).astype(_STORED).tobytes()) for id_, vector in vectors],
        )


def keep_vectors(run: sqlite3.Connection, collection: Collection, ids: Sequence[str]) -> None:
    """Keep the vectors of rows that were just entered, so that no search has to ask Chroma for them.

    A client cannot read those that another process wrote after it was opened: they are left for later.
    """
    with suppress(StoreError):
        _fetch_vectors(run, collection, _known(run, ids))


# --- single rows --------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """What is known of a row: side, the row it is a window of, unit vector [d], and whether it has a text."""

    side: Side
    parent: str | None
    vector: NDArray[np.float32]
    has_text: bool


def entries_of(file: LedgerFile, collection: Collection, ids: Sequence[str]) -> dict[str, Entry]:
    """Those of the ids that are entered; vectors are kept from then on, as Chroma is slow to tell them."""
    found = _entries(file.connection, ids)
    if any(vector is None for *_, vector in found):
        with file.transaction() as run:
            numbers = {id_: number for number, id_, *_, vector in _entries(run, ids) if vector is None}
            _fetch_vectors(run, collection, numbers)
            found = _entries(run, ids)
    return {
        id_: Entry(SIDES[side], parent, _vector(vector), bool(has_text))
        for _, id_, side, parent, has_text, vector in found
        if vector is not None
    }


def _vector(stored: bytes) -> NDArray[np.float32]:
    return np.frombuffer(stored, dtype=_STORED).astype(np.float32)


def _entries(
    run: sqlite3.Connection, ids: Sequence[str]
) -> list[tuple[int, str, int, str | None, int, bytes | None]]:
    found = []
    for page in pages(ids, PAGE):
        query = f"SELECT rows.number, id, side, parent, has_text, vector FROM rows LEFT JOIN vectors USING (number) WHERE id IN ({_places(page)})"  # noqa: S608,E501
        found += run.execute(query, page).fetchall()
    return found


# --- rows with a text ---------------------------------------------------------------------------------------


def texts_after(file: LedgerFile, number: int) -> list[tuple[int, str]]:
    """The next page of rows that have a text, with their numbers."""
    query = "SELECT number, id FROM rows WHERE number > ? AND has_text ORDER BY number LIMIT ?"
    return file.connection.execute(query, (number, PAGE)).fetchall()


def sampled_texts(file: LedgerFile, side: int) -> list[str]:
    """The ids of those rows with a text that are in the sample of a side."""
    query = "SELECT id, has_text FROM rows WHERE side = ? ORDER BY draw, id LIMIT ?"
    return [id_ for id_, has_text in file.connection.execute(query, (side, SAMPLE_SIZE)) if has_text]


# --- matches ------------------------------------------------------------------------------------------------


def matches_of(
    run: sqlite3.Connection, scored: Scored, worded: tuple[int, int], limit: int | None, side: Side | None
) -> KeywordMatches:
    """The best of the rows that were found, and what the scores of all are like."""
    mean: dict[Side, float] = {}
    std: dict[Side, float] = {}
    sides = scored.numbers & 1
    for place, name in enumerate(SIDES):
        scores, population = scored.scores[sides == place], max(worded[place], 1)
        mean[name] = float(scores.sum()) * scored.each / population
        others = population - scored.each * len(scores)
        squares = scored.each * float(np.square(scores - mean[name]).sum()) + others * mean[name] ** 2
        std[name] = max(squares / population, 0.0) ** 0.5
    order = np.argsort(-scored.scores, kind="stable")
    if side is not None:
        order = order[sides[order] == SIDES.index(side)]
    order = order[:limit]
    numbers = scored.numbers[order].tolist()
    ids = _ids(run, numbers)
    columns = zip(numbers, scored.scores[order].tolist(), scored.coverage[order].tolist(), strict=True)
    matches = [KeywordMatch(ids[n], SIDES[n & 1], score, coverage) for n, score, coverage in columns]
    return KeywordMatches(matches, mean, std, dict(zip(SIDES, worded, strict=True)))


def _ids(run: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for page in pages(numbers, PAGE):
        found.update(run.execute(f"SELECT number, id FROM rows WHERE number IN ({_places(page)})", page))  # noqa: S608
    return found


def pages(items: Sequence[_T], size: int) -> Iterable[Sequence[_T]]:
    """Parts of a sequence."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _places(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
