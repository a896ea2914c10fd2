"""Which rows may answer a query: nearest neighbours, without Chroma's filter where that would be slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langchain_mmrag._store.chroma import Where, of_side, reading
from langchain_mmrag._store.ledger_rows import Entry
from langchain_mmrag.ranking import SIDES, Background, FloatArray, Ranker, Side, cosines, levelled

if TYPE_CHECKING:
    from chromadb import Collection

FILTERED_BELOW = 2_000
"""Rows up to which Chroma's filter, exact and linear in their number, is as fast as two free queries."""

_TILT = 0.5  # by how much the query then scores the mean of the one side above that of the other
_PLAIN_TILT = 0.5
_RIDGE = 0.1  # of a side's covariance, in mean eigenvalues
_PLAIN_DEPTH = 200  # .99 of the ten with the greatest cosines
_APART = 6.0  # spreads between the means: CLIP models have 10 to 20


def near_ids(
    collection: Collection, vectors: Sequence[FloatArray], n: int, condition: Where | None, **options: Any
) -> list[list[str]]:
    """Ids of the `n` rows nearest to each vector [d]."""
    asked: Any = [np.asarray(vector, dtype=np.float32) for vector in vectors]
    with reading(collection.name):
        found: Any = collection.query(
            query_embeddings=asked, n_results=n, where=condition, include=[], **options
        )
    ids: list[list[str]] = found["ids"]
    return ids


def nearest_in(ids: Sequence[str], units: NDArray[Any], vector: FloatArray, n: int) -> list[str]:
    """Of rows with unit vectors [m, d], the ids of the `n` nearest to a vector [d], exactly."""
    near = units @ vector.astype(units.dtype, copy=False)
    return [ids[place] for place in np.argsort(-near, kind="stable")[:n].tolist()]


def of_one_side(collection: Collection, vector: FloatArray, side: Side, *, n: int, count: int) -> list[str]:
    """Ids of the `n` rows of a side nearest to a vector [d], or of all its `count` rows if these are no more.

    Slower than `tilted`, by Chroma's filter, but it reaches every row.
    """
    if n < count:
        return near_ids(collection, [vector], n, of_side(side))[0]
    with reading(collection.name):
        return list(collection.get(where=of_side(side), include=[])["ids"])


def tilted(collection: Collection, ranker: Ranker, sides: Sequence[Side], n: int) -> list[str]:
    """Ids of about `n` candidates of each of some sides, by unfiltered queries tilted towards the side.

    Vectors of images and of texts are offset by a nearly constant gap. A query that leans along it a little
    has neighbours of one side only, and the order among them hardly changes: the scores that count are
    computed afterwards. Chroma's filter would take time in proportion to the collection.

    A graph of many rows of one side and few of the other has hardly a way to some of the few: who asks counts
    what came.
    """
    by_depth: dict[int, list[FloatArray]] = {}
    for side in sides:
        vector, is_straight = _leaning(ranker, side)
        deep = n if is_straight or not ranker.is_plain else max(n, _PLAIN_DEPTH)
        by_depth.setdefault(deep, []).append(vector)
    # No more than there are, as Chroma's numbers have an end.
    count = sum(each.count for each in ranker.backgrounds.values())
    found = [
        ids
        for deep, vectors in by_depth.items()
        for ids in near_ids(collection, vectors, min(deep, max(count, n)), None)
    ]
    return list(dict.fromkeys(id_ for ids in found for id_ in ids))


def _leaning(ranker: Ranker, side: Side) -> tuple[FloatArray, bool]:
    """The query that leans towards a side [d], and whether it is the one asked with, which leans by itself.

    Of plain cosines the order depends on the part along the gap as well, and a query of the other side has to
    lean far: so it leans where the side's own documents differ least.
    """
    gap = _gap(ranker.backgrounds)
    straight = ranker.search_vector(side)
    towards = 1.0 if side == "image" else -1.0
    lean = towards * (_PLAIN_TILT if ranker.is_plain else _TILT)
    has = float(straight @ gap)
    if towards * has >= towards * lean:
        return straight, True
    along = _direction(ranker.backgrounds, side) if ranker.is_plain else gap / (gap @ gap)
    return straight + (lean - has) * along, False


def _direction(backgrounds: Mapping[Side, Background], side: Side) -> FloatArray:
    """Where the sides differ much and the documents of one little: (Σ_m + ε I)^-1 g, with g · it = 1 [d]."""
    own, other = backgrounds[side], backgrounds["text" if side == "image" else "image"]
    of, kept = own.__dict__.get("_leans_from", (None, None))
    if of is other:
        known: FloatArray = kept
        return known
    gap = _gap(backgrounds)
    n, d = own.sample.shape
    along = gap
    if n > d:  # of fewer the directions in which they do not differ are but those not seen
        spread = np.cov(own.sample.T)
        along = np.linalg.solve(spread + _RIDGE * np.trace(spread) / d * np.eye(d), gap)
    direction: FloatArray = along / (along @ gap)
    own.__dict__["_leans_from"] = other, direction
    return direction


def nearest_first(ranker: Ranker, side: Side, rows: Mapping[str, Entry]) -> list[tuple[str, Entry]]:
    """Those of the rows that are of a side, the nearest first; of equal ones the one added first."""
    listed = sorted(
        ((id_, entry) for id_, entry in rows.items() if entry.side == side), key=lambda row: row[1].number
    )
    if not listed:
        return []
    near = cosines(np.stack([entry.vector for _, entry in listed]), ranker.search_vector(side))
    return [listed[place] for place in np.argsort(-levelled(near), kind="stable").tolist()]


def lie_apart(backgrounds: Mapping[Side, Background]) -> bool:
    """Whether the sides lie far enough apart for `tilted` to tell them: many spreads along the gap."""
    if len(backgrounds) < len(SIDES) or any(len(each.sample) == 0 for each in backgrounds.values()):
        return False
    text, image = backgrounds["text"], backgrounds["image"]
    of, apart = text.__dict__.get("_lies_apart_from", (None, False))
    if of is not image:
        gap = _gap(backgrounds)
        spread = max(float((each.sample @ gap).std()) for each in (text, image))
        apart = bool(gap @ gap > _APART * spread)
        text.__dict__["_lies_apart_from"] = image, apart  # as both stay the same for many queries
    return bool(apart)


def _gap(backgrounds: Mapping[Side, Background]) -> FloatArray:
    gap: FloatArray = backgrounds["image"].mean - backgrounds["text"].mean
    return gap
