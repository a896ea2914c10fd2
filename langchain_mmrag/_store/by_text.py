"""Rows that are found by what is written of them: by words, and by the vectors of a text embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from langchain_mmrag._store.beside import STANDS_OUT, Second, match_of
from langchain_mmrag._store.chroma import reading
from langchain_mmrag._store.companion import Companion
from langchain_mmrag._store.gather import Found
from langchain_mmrag._store.ledger import Ledger
from langchain_mmrag._store.ledger_rows import PAGE, Entry, pages
from langchain_mmrag._store.wanted import Wanted
from langchain_mmrag.fusion import Chance, fused
from langchain_mmrag.keyword import KeywordMatch
from langchain_mmrag.queries import Query
from langchain_mmrag.ranking import SIDES, FloatArray, Side, levelled, unit
from langchain_mmrag.types import Modality

if TYPE_CHECKING:
    from chromadb import Collection

_FEW = 5000  # rows that meet a condition: their texts are compared one by one


class ByText:
    """Searches what is written of rows; the embedding of pictures is not asked.

    Args:
        collection: Gives the collection.
        ledger: Knows the words of each row.
        companion: Knows the second vectors of texts.
    """

    def __init__(self, collection: Callable[[], Collection], ledger: Ledger, companion: Companion) -> None:
        self._collection = collection
        self._ledger = ledger
        self._companion = companion

    def by_words(
        self, asked: Query, want: Wanted, modality: Modality | None, count: int, depth: int
    ) -> list[Found]:
        """By words alone."""
        _check_asked(asked, "words")
        side = self._only_side(modality, count)
        matches, chance = self.matches(asked, want, side, count, depth)
        unwanted = self.with_unwanted_words(asked, count)
        rows = self._ledger.entries([id_ for id_ in matches if id_ not in unwanted])
        return [
            Found(id_, entry.parent, entry.number, match.score, chance.relevance(match), stored, stored)
            for id_, entry in rows.items()
            for match, stored in [(matches[id_], unit(entry.vector))]
        ]

    def by_texts(
        self, asked: Query, want: Wanted, modality: Modality | None, count: int, depth: int
    ) -> list[Found]:
        """By words and the vectors of the text embedding; by words alone if there is none.

        Texts of pictures and of passages compare, so all rows are in one order. A row that has words of the
        query but no vector, as a picture without a caption, goes by its words.
        """
        _check_asked(asked, "text")
        side = self._only_side(modality, count)
        matches, chance = self.matches(asked, want, side, count, depth)
        second = Second.of(self._companion, asked, count)
        if second is None:
            return self.by_words(asked, want, modality, count, depth)
        ids = list(dict.fromkeys([*matches, *self._near(second, want, depth)]))
        entered = list(self._ledger.entries(ids).items())
        scores, sure = _scored(second, entered)
        order = np.argsort(-levelled(scores), kind="stable")
        rows, scores, sure = [entered[place] for place in order.tolist()], scores[order], sure[order]
        unwanted = self._unwanted(asked, second, rows, count)
        wordless = {id_: match for id_, match in matches.items() if id_ not in unwanted}
        words = {"text": [match_of(wordless, *row) for row in rows]}
        found, relevance = fused(
            {"text": scores}, {"text": sure}, cast("dict[Side, list[KeywordMatch | None]]", words), chance
        )
        return [
            Found(id_, entry.parent, entry.number, score, certain, stored, stored)
            for (id_, entry), score, certain in zip(
                rows, found["text"].tolist(), relevance["text"].tolist(), strict=True
            )
            for stored in [unit(entry.vector)]
        ]

    def _only_side(self, modality: Modality | None, count: int) -> Side | None:
        """The side that has all documents of a modality; `None` if both may."""
        if modality is None:
            return None
        sides = [side for side, there in self._ledger.modalities(count).items() if modality in there]
        return sides[0] if len(sides) == 1 else None

    def _near(self, second: Second, want: Wanted, depth: int) -> list[str]:
        """Ids of the `depth` rows that meet the conditions whose texts are nearest."""
        if want.is_free:
            return second.near(depth)
        collection = self._collection()
        with reading(collection.name):
            ids = collection.get(where=want.condition, include=[], **want.options)["ids"]
        if len(ids) <= _FEW:
            cosines = second.cosines(ids)
            order = np.argsort(-cosines, kind="stable")[: int((~np.isnan(cosines)).sum())]
            return [ids[place] for place in order[:depth]]
        allowed, fetched = set(ids), depth
        while True:
            near = second.near(fetched)
            found = [id_ for id_ in near if id_ in allowed]
            if len(found) >= depth or len(near) < fetched:
                return found[:depth]
            fetched *= 4

    def _unwanted(
        self, asked: Query, second: Second, rows: Sequence[tuple[str, Entry]], count: int
    ) -> set[str]:
        """Rows that stand out for what the query does not want, by vector or by words."""
        if asked.not_text is None:
            return set()
        standing, _ = _scored(second.asked(asked.not_text), rows)
        near = {id_ for (id_, _), each in zip(rows, standing.tolist(), strict=True) if each > STANDS_OUT}
        return near | self.with_unwanted_words(asked, count)

    # --- words ----------------------------------------------------------------------------------------------

    def matches(
        self, asked: Query, want: Wanted, side: Side | None, count: int, depth: int
    ) -> tuple[dict[str, KeywordMatch], Chance]:
        """The best rows that have words of the query, by id, and what words score by chance."""
        is_free = want.is_free
        found = self._ledger.matches(
            cast("str", asked.text), depth if is_free else None, side=side, count=count
        )
        matches = {match.id: match for match in found.matches}
        allowed = self.allowed(list(matches), want)[:depth]
        return {id_: matches[id_] for id_ in allowed}, Chance.of(found)

    def with_unwanted_words(self, asked: Query, count: int) -> set[str]:
        """Rows that have words the query does not want."""
        if asked.not_text is None:
            return set()
        return {match.id for match in self._ledger.matches(asked.not_text, None, count=count).matches}

    def allowed(self, ids: Sequence[str], want: Wanted) -> list[str]:
        """Those of the rows that meet the conditions."""
        if want.is_free:
            return list(ids)
        options = dict(want.options)
        only = options.pop("ids", None)
        among = None if only is None else set(only)
        ids = [id_ for id_ in ids if among is None or id_ in among]
        allowed: set[str] = set()
        collection = self._collection()
        for page in pages(ids, PAGE):
            with reading(collection.name):
                allowed |= set(
                    collection.get(ids=list(page), where=want.condition, include=[], **options)["ids"]
                )
        return [id_ for id_ in ids if id_ in allowed]


def _scored(second: Second, rows: Sequence[tuple[str, Entry]]) -> tuple[FloatArray, FloatArray]:
    """Z and relevance of rows by their texts [n]; what has no vector is as chance has it."""
    cosines = second.cosines([id_ for id_, _ in rows])
    sides = np.array([SIDES.index(entry.side) for _, entry in rows], dtype=np.int64)
    scores, sure = np.zeros(len(rows)), np.zeros(len(rows))
    for place, side in enumerate(SIDES):
        here = (sides == place) & ~np.isnan(cosines)
        if here.any():
            scores[here] = second.standing(side, cosines[here])
            sure[here] = second.relevances(side, cosines[here])
    return scores, sure


def _check_asked(asked: Query, by: str) -> None:
    """Refuse what words cannot say.

    Raises:
        ValueError: If the query has no words, or a picture of what is not wanted.
    """
    if asked.not_image is not None:
        msg = f"a search by {by} knows no not_image: use search='hybrid' or 'vector'"
        raise ValueError(msg)
    if not (asked.text or "").strip():
        msg = f"a search by {by} needs text in the query, and it has only a picture: use search='vector'"
        raise ValueError(msg)
