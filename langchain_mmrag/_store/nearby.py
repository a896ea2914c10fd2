"""Which rows of a collection may answer a query: of each side those near to it, found in the cheapest way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from langchain_mmrag._store.backgrounds import Sampled
from langchain_mmrag._store.candidates import (
    FILTERED_BELOW,
    lie_apart,
    near_ids,
    nearest_in,
    of_one_side,
    tilted,
)
from langchain_mmrag._store.chroma import of_side, where
from langchain_mmrag._store.ledger import Ledger
from langchain_mmrag._store.ledger_rows import Entry
from langchain_mmrag._store.wanted import Wanted
from langchain_mmrag.ranking import Ranker, Side
from langchain_mmrag.types import Modality

if TYPE_CHECKING:
    from chromadb import Collection

_SCANNED = 5_000  # rows: to read their vectors from the ledger takes some ten milliseconds
_SCANNED_AT_MOST = 50_000  # rows, where the index would have to be asked for very many
_DEEPEST = 2_000  # rows the index is asked for
_SPARE = 1.5  # times as many as should be needed: there may be fewer of a modality near to a query


class OnlyModality(NamedTuple):
    """A modality that is all that is asked for, and how many rows of each side are of it."""

    modality: Modality
    counts: Mapping[Side, int]


class Nearby:
    """Finds the rows near to a query.

    Args:
        collection: Gives the collection.
        ledger: Knows side, modality and vector of each row.
    """

    def __init__(self, collection: Callable[[], Collection], ledger: Ledger) -> None:
        self._collection = collection
        self._ledger = ledger

    def rows(
        self,
        ranker: Ranker,
        want: Wanted,
        sampled: Mapping[Side, Sampled],
        depth: int,
        only: OnlyModality | None,
    ) -> dict[str, Entry]:
        """At least `depth` rows of each searched side that meet the conditions, or all there are.

        Chroma's filter takes time in proportion to the collection, so it is left for small ones and for
        conditions on what the ledger does not know.

        Args:
            ranker: Knows query and sides.
            want: What is asked for.
            sampled: Of each side.
            depth: How many.
            only: The modality asked for, where nothing else is.
        """
        whole = [side for side in ranker.searched if want.is_free and sampled[side].is_whole]
        rest = [side for side in ranker.searched if side not in whole]
        ids = [
            id_
            for side in whole  # all of it is in its sample, which is at hand: no index is asked
            for id_ in nearest_in(
                sampled[side].ids, sampled[side].background.sample, ranker.search_vector(side), depth
            )
        ]
        is_large = sum(each.count for each in ranker.backgrounds.values()) > FILTERED_BELOW
        if is_large and only is not None:
            ids += [id_ for side in rest for id_ in self._of_modality(ranker, want, side, depth, only)]
        elif rest and is_large and want.is_free and lie_apart(ranker.backgrounds):
            ids += tilted(self._collection(), ranker, rest, depth)
        elif rest:
            ids += self._filtered(ranker, want, rest, depth)
        rows = self._ledger.entries(list(dict.fromkeys(ids)))
        if want.is_free:
            for side in rest:
                rows |= self._lacking(ranker, side, rows, depth)
        return rows

    def _of_modality(
        self, ranker: Ranker, want: Wanted, side: Side, depth: int, only: OnlyModality
    ) -> list[str]:
        """Of a rare modality all rows are compared, of others those among the nearest of the side taken."""
        number = only.counts[side]
        deep = ceil(_SPARE * depth * ranker.backgrounds[side].count / number)
        few = _SCANNED if deep <= _DEEPEST else _SCANNED_AT_MOST
        if only.modality not in {"text", "image"} and number <= few:
            ids, vectors = self._ledger.rare_rows(side, only.modality)
            return nearest_in(ids, vectors, ranker.search_vector(side), depth)
        if deep <= _DEEPEST and lie_apart(ranker.backgrounds):
            near = tilted(self._collection(), ranker, [side], deep)
            found = self._ledger.those_of(near, only.modality)
            if len(found) >= min(depth, number):
                return found
        return self._filtered(ranker, want, [side], depth)

    def _lacking(self, ranker: Ranker, side: Side, rows: Mapping[str, Entry], depth: int) -> dict[str, Entry]:
        """Rows of a side of which too few were found: the index has no way to some of a few."""
        count = ranker.backgrounds[side].count
        if sum(entry.side == side for entry in rows.values()) >= min(depth, count):
            return {}
        vector = ranker.search_vector(side)
        found = of_one_side(self._collection(), vector, side, n=depth, count=count)
        return self._ledger.entries([id_ for id_ in found if id_ not in rows])

    def _filtered(self, ranker: Ranker, want: Wanted, sides: Sequence[Side], depth: int) -> list[str]:
        in_all = sum(each.count > 0 for each in ranker.backgrounds.values())
        is_only = len(ranker.searched) == 1 and (want.condition is not None or in_all == 1)
        conditions = (
            [want.condition]
            if is_only  # the only one there is, or asked for by a condition on the modality
            else [where(want.condition, of_side(side)) for side in sides]
        )
        found: list[str] = []
        for side, condition in zip(sides, conditions, strict=True):
            vector = ranker.search_vector(side)
            found += near_ids(self._collection(), [vector], depth, condition, **want.options)[0]
        return found
