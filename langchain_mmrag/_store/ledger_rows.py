"""The rows of a ledger: what is read from the collection, entered for it, and asked of it."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count as counter
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langchain_mmrag._store.ledger_file import LedgerFile
from langchain_mmrag.keyword import KeywordIndex, KeywordMatch, KeywordMatches, Scored, Words, words_of
from langchain_mmrag.ranking import SAMPLE_SIZE, SIDES, Side
from langchain_mmrag.types import CAPTION, PARENT_ID, PICTURED, SOURCE, SUMMARY, WINDOW, Modality, modality_of

_T = TypeVar("_T")

PAGE: Final = 300  # rows that Chroma Cloud gives at once
_LARGEST_DRAW: Final = 2**63 - 1
_LAST_CHARACTER: Final = "\U0010ffff"
_LONGEST_SOURCE: Final = 4096  # longer ones are no paths


class Content(NamedTuple):
    """What a row holds: text, metadata and vector [d]; no vector if it was not asked for."""

    text: str
    metadata: Mapping[str, Any]
    vector: ArrayLike | None = None


class Entry(NamedTuple):
    """What is known of a row.

    Attributes:
        number: Less than that of any row added later; a row whose side changes is added anew.
        side: Whose encoder made its vector.
        parent: The row it is a window of.
        vector: Unit vector [d].
        has_text: Whether it has any.
    """

    number: int
    side: Side
    parent: str | None
    vector: NDArray[np.float32]
    has_text: bool


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


def replace_rows(run: sqlite3.Connection, ids: Sequence[str], found: Mapping[str, Content]) -> dict[str, int]:
    """Put `found` in the place of whatever was entered for `ids`; returns the numbers of its rows."""
    known = _known(run, ids)
    before = _reach(run)
    index = KeywordIndex(run)
    if known:
        run.executemany("DELETE FROM rows WHERE number = ?", [(number,) for number in known.values()])
        index.remove(known.values())
    (last,) = run.execute("SELECT max(number) FROM rows").fetchone()
    free = counter(max(((last or 0) >> 1) + 1, max(known.values(), default=0) + 2 >> 1))
    rows = [_row_of(id_, content, known.get(id_), free) for id_, content in found.items()]
    sources = {row.source: draw_of(row.source) for row in rows if row.source is not None}
    run.executemany("INSERT OR IGNORE INTO sources VALUES (?, ?)", sources.items())
    run.executemany(
        "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (row.entered(sources) for row in rows)
    )
    index.put((row.number, row.words) for row in rows if row.words is not None)
    reach = tuple(map(max, before, _reach(run)))
    touched = [(number & 1, draw_of(id_)) for id_, number in known.items()]
    touched += [(row.number & 1, row.draw) for row in rows]
    changed = {side for side, draw in touched if draw <= reach[side]}
    run.executemany("UPDATE sides SET changes = changes + 1 WHERE side = ?", [(side,) for side in changed])
    return {row.id: row.number for row in rows}


class _Row(NamedTuple):
    """A row as it is entered; `words` are `None` if it has none."""

    number: int
    id: str
    draw: int
    parent: str | None
    words: Words | None
    has_text: bool
    modality: Modality
    source: str | None

    def entered(self, sources: Mapping[str, int]) -> tuple[object, ...]:
        """In the order of the table's columns."""
        side, source = self.number & 1, None if self.source is None else sources[self.source]
        facts = (self.parent, self.words is not None, self.has_text, self.modality, source)
        return (self.number, self.id, side, self.draw, *facts)


def _row_of(id_: str, content: Content, number: int | None, free: Iterator[int]) -> _Row:
    text, metadata = content.text, content.metadata
    modality = modality_of_row(metadata)
    side = SIDES.index("image" if modality == "image" else side_of_row(metadata))
    if number is None or number & 1 != side:
        number = next(free) << 1 | side
    parent = _parent_of(metadata)
    # A window's words are those of the row it is a part of, and so is its file.
    words, source = (words_of(text, metadata), _source_of(metadata)) if parent is None else (None, None)
    has_text = not (is_blank(text) and is_blank(text_of_row(text, metadata)))
    return _Row(number, id_, draw_of(id_), parent, words, has_text, modality, source)


def _source_of(metadata: Mapping[str, Any]) -> str | None:
    """The file or address a row says it is from; pictures may have all of theirs in it, as a data-URI."""
    source = metadata.get(SOURCE)
    return source if isinstance(source, str) and len(source) <= _LONGEST_SOURCE else None


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


def modalities_of(file: LedgerFile) -> dict[Side, dict[str, int]]:
    """How many rows of each side are of each modality."""
    found = file.connection.execute("SELECT side, modality, count FROM modalities WHERE count > 0").fetchall()
    return {
        name: {modality: count for side, modality, count in found if side == place}
        for place, name in enumerate(SIDES)
    }


def windows_of(file: LedgerFile, parents: Sequence[str]) -> list[tuple[str, str]]:
    """Parent and id of the windows of a page of parents."""
    query = f"SELECT parent, id FROM rows WHERE parent IN ({_places(parents)}) ORDER BY number"  # noqa: S608
    return file.connection.execute(query, parents).fetchall()


def sources_in(file: LedgerFile, folder: str, after: str) -> list[str]:
    """The next page of sources that begin with `folder` and go on, in their order."""
    query = "SELECT source FROM sources WHERE source > ? AND source < ? ORDER BY source LIMIT ?"
    found = file.connection.execute(query, (max(after, folder), folder + _LAST_CHARACTER, PAGE))
    return [source for (source,) in found]


def ids_from(file: LedgerFile, sources: Sequence[str]) -> list[str]:
    """The ids of the rows from a page of sources."""
    query = f"SELECT id FROM rows WHERE source IN ({_places(sources)}) ORDER BY number"  # noqa: S608
    return [id_ for (id_,) in file.connection.execute(query, [draw_of(source) for source in sources])]


def those_of(file: LedgerFile, ids: Sequence[str], modality: str) -> list[str]:
    """Those of the ids whose rows are of a modality, in their order."""
    found: set[str] = set()
    for page in pages(ids, PAGE):
        query = f"SELECT id FROM rows WHERE id IN ({_places(page)}) AND modality = ?"  # noqa: S608
        found.update(id_ for (id_,) in file.connection.execute(query, [*page, modality]))
    return [id_ for id_ in ids if id_ in found]


def rows_of_rare(run: sqlite3.Connection, side: int, modality: str) -> list[tuple[int, str, bytes | None]]:
    """The rows of a modality that is neither text nor image: numbers, ids and vectors, as far as kept."""
    query = (
        "SELECT rows.number, id, vector FROM rows LEFT JOIN vectors USING (number)"
        " WHERE modality = ? AND modality NOT IN ('text', 'image') AND side = ?"
    )
    return run.execute(query, (modality, side)).fetchall()


# --- samples ------------------------------------------------------------------------------------------------


def smallest_draws(run: sqlite3.Connection, side: int) -> list[tuple[int, str, bytes | None]]:
    """The rows in the sample of a side: numbers, ids and stored vectors, `None` where none is kept yet."""
    query = (
        "SELECT rows.number, id, vector FROM rows LEFT JOIN vectors USING (number)"
        " WHERE side = ? ORDER BY draw, id LIMIT ?"
    )
    return run.execute(query, (side, SAMPLE_SIZE)).fetchall()


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
