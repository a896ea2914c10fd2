"""Which rows may answer a query: nearest neighbours, without Chroma's filter where that would be slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from langchain_mmrag._store.chroma import Where, reading
from langchain_mmrag.ranking import SIDES, Background, FloatArray, Ranker, Side

if TYPE_CHECKING:
    from chromadb import Collection

FILTERED_BELOW = 2_000
"""Rows up to which Chroma's filter, exact and linear in their number, is as fast as two free queries."""

_TILT = 0.3  # by how much the query then scores the mean of the one side above that of the other
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


def tilted(collection: Collection, ranker: Ranker, n: int) -> list[str]:
    """Ids of about `n` candidates of each side, by unfiltered queries tilted towards the side.

    Vectors of images and of texts are offset by a nearly constant gap. A query that leans along it a little
    has neighbours of one side only, and the order among them hardly changes: the scores that count are
    computed afterwards. Chroma's filter would take time in proportion to the collection.
    """
    gap = _gap(ranker.backgrounds)
    along = gap / (gap @ gap)
    leaning = {"image": _TILT, "text": -_TILT}
    vectors = []
    for side in ranker.searched:
        straight = ranker.search_vector(side)
        vectors.append(straight + (leaning[side] - straight @ gap) * along)
    found = near_ids(collection, vectors, n, None)
    return list(dict.fromkeys(id_ for ids in found for id_ in ids))


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
