"""`Ranker`: the scores of a collection's documents for one query, whichever way they are ranked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np

from langchain_mmrag.ranking.backgrounds import Background, Candidates
from langchain_mmrag.ranking.scores import (
    TIE_BREAK,
    calibrated_scores,
    feedback,
    levelled,
    places_in_order,
    plain_scores,
    rank_scores,
    relevance,
    reordered,
)
from langchain_mmrag.ranking.vectors import TINY, FloatArray, Rank, Side, cosines, unit

# Chosen on several geometries, checked on seeds kept apart, each flat around its value: docs/decisions/0007.
_FEEDBACK = 0.4
_FEEDBACK_TRUST = 200  # documents at which feedback has half its weight: few have few that are relevant

_FEW = 5
_SMALL = 20
_RRF = 60  # Cormack et al. 2009
_SAME = 0.999  # cosine


@dataclass(frozen=True)
class Part:
    """One part of a query.

    Attributes:
        side: Which encoder read it.
        vector: Its vector [d].
        weight: Its share in the sum; negative for what is not wanted.
    """

    side: Side
    vector: FloatArray
    weight: float = 1.0


@dataclass(frozen=True)
class Ranker:
    """Scores the documents of a collection for one query, on one scale for all sides.

    A single side is ranked by plain cosine: there is nothing to be fair about, and centring documents costs
    accuracy within a side.

    Attributes:
        parts: Of the query, at least one of them wanted.
        backgrounds: Of each side that has documents or a prior.
        searched: The sides documents are wanted of, each with a background.
        rank: How to merge the sides.
    """

    parts: Sequence[Part]
    backgrounds: Mapping[Side, Background]
    searched: Sequence[Side]
    rank: Rank = "calibrated"

    def search_vector(self, side: Side) -> FloatArray:
        """The unit vector [d] by whose cosines with a side's stored vectors its candidates are found."""
        if self.is_plain:
            return self.plain
        if self.rank == "centered":
            return self.centred
        kept: dict[Side, FloatArray] = self.__dict__.setdefault("_search_vectors", {})
        if side not in kept:
            kept[side] = unit(self.backgrounds[side].stretch(self.placed))
        return kept[side]

    @cached_property
    def plain(self) -> FloatArray:
        """The query as it was embedded [d]; several parts only add up once they are centred."""
        return unit(self.parts[0].vector) if len(self.parts) == 1 else self.centred

    @cached_property
    def centred(self) -> FloatArray:
        """The query with the means of its sides taken off [d]: what it says, not how it says it."""
        return self._sum(lambda background, vector: unit(unit(vector) - background.mean))

    @cached_property
    def placed(self) -> FloatArray:
        """The query in the space documents are compared in [d]."""
        return self._sum(lambda background, vector: background.place(vector))

    @cached_property
    def by_rank(self) -> bool:
        """Whether the collection is too small for its statistics to mean anything, and there is no prior."""
        chosen = [self.backgrounds[side] for side in self.searched]
        if any(background.prior is not None for background in chosen):
            return False
        counts = [background.count for background in chosen]
        return min(counts) < _FEW or sum(counts) <= _SMALL

    def vectors(self, side: Side, found: Candidates) -> FloatArray:
        """The candidates as they lie in the space they are ranked in, where sides can be compared [n, d]."""
        if self.is_plain and len(self.searched) == 1:
            return found.units
        return found.placed_by(self.backgrounds[side])

    def scores(self, found: Mapping[Side, Candidates]) -> dict[Side, FloatArray]:
        """Score the candidates [n] of each side: higher is better, comparable across sides."""
        if len(self.searched) == 1:
            return self.standing(found)
        if self.rank == "raw":
            return {side: levelled(cosines(each.units, self.plain)) for side, each in found.items()}
        if self.rank == "centered":
            return {
                side: levelled(unit(each.units - self.backgrounds[side].mean) @ self.centred)
                for side, each in found.items()
            }
        if self.rank == "rrf":
            return {side: self._reciprocal_ranks(side, each) for side, each in found.items()}
        if self.by_rank:
            longest = max(self.backgrounds[side].count for side in self.searched)
            return {
                side: rank_scores(self.plain, self.centred, each, longest) for side, each in found.items()
            }
        own = self.standing(found)
        return reordered(own, self._with_feedback(own, found))

    def standing(self, found: Mapping[Side, Candidates]) -> dict[Side, FloatArray]:
        """How far each candidate stands out from its side's background, however they are ranked: z [n]."""
        return {side: levelled(self._standing(side, each)) for side, each in found.items()}

    def _standing(self, side: Side, found: Candidates) -> FloatArray:
        if len(self.searched) == 1:
            return plain_scores(self.plain, found, self.backgrounds[side])
        return self._calibrated(self.placed, side, found)

    def relevances(self, found: Mapping[Side, Candidates]) -> dict[Side, FloatArray]:
        """How sure one can be of each candidate, from 0 to 1 [n]; see `relevance`.

        A document that is the very thing asked with is certain. Where there are too few to know what chance
        is, it is the cosine.
        """
        if self.by_rank:
            return {side: np.clip(cosines(each.units, self.plain), 0.0, 1.0) for side, each in found.items()}
        count = sum(self.backgrounds[side].count for side in self.searched)
        return {side: self._relevances(side, each, count) for side, each in found.items()}

    def _relevances(self, side: Side, found: Candidates, count: int) -> FloatArray:
        background, documents = self.backgrounds[side], found.units
        # One side is put in order by the plain cosine, but how sure one can be is the same question.
        scores = found.scored(self.placed, background, self._bank)
        if self._main_side in self.backgrounds:
            mean, std = background.chance_of(self.backgrounds[self._main_side])
        else:
            mean, variance = background.chance(self.placed, self._bank)
            std = sqrt(variance)
        sure = relevance((scores - mean) / max(std, TINY), count)
        for part in self.parts:
            if part.side == side and part.weight > 0:
                sure[cosines(documents, unit(part.vector)) >= _SAME] = 1.0
        return sure

    @property
    def is_plain(self) -> bool:
        """Whether documents are ranked within their side by the cosine with the query as it was embedded."""
        return len(self.searched) == 1 or self.rank in {"raw", "rrf"} or self.by_rank

    @cached_property
    def _main_side(self) -> Side:
        """The side most of the query is of."""
        return max(self.parts, key=lambda part: part.weight).side

    @property
    def _bank(self) -> FloatArray:
        """Vectors of the side the query is of: what a document may be a hub to [b, d]."""
        side = self._main_side if self._main_side in self.backgrounds else self.searched[0]
        return self.backgrounds[side].bank

    def _calibrated(self, query: FloatArray, side: Side, found: Candidates) -> FloatArray:
        return calibrated_scores(query, found, self.backgrounds[side], self._bank)

    def _with_feedback(
        self, scores: Mapping[Side, FloatArray], found: Mapping[Side, Candidates]
    ) -> dict[Side, FloatArray]:
        """Scores for the query moved towards its best documents."""
        all_scores = np.concatenate([scores[side] for side in found])
        all_vectors = np.concatenate([self.vectors(side, each) for side, each in found.items()])
        if not len(all_scores):
            return dict(scores)
        count = sum(self.backgrounds[side].count for side in self.searched)
        weight = _FEEDBACK * count / (count + _FEEDBACK_TRUST)
        moved = feedback(self.placed, all_scores, all_vectors, weight)
        return {side: levelled(self._calibrated(moved, side, each)) for side, each in found.items()}

    def _reciprocal_ranks(self, side: Side, found: Candidates) -> FloatArray:
        standing = plain_scores(self.plain, found, self.backgrounds[side])
        ranks: FloatArray = 1.0 / (_RRF + places_in_order(standing))
        return ranks + TIE_BREAK * TIE_BREAK * standing

    def _sum(self, placed: Callable[[Background, FloatArray], FloatArray]) -> FloatArray:
        total: FloatArray = sum(
            (part.weight * self._moved(part, placed) for part in self.parts),
            np.zeros_like(self.parts[0].vector),
        )
        norm = np.linalg.norm(total)
        if norm > TINY:
            return total / norm
        msg = (
            "the query takes away all that it asks for: what is wanted and what is not are the same to the"
            " model; give other words or pictures, or other weights"
        )
        raise ValueError(msg)

    def _moved(self, part: Part, placed: Callable[[Background, FloatArray], FloatArray]) -> FloatArray:
        background = self.backgrounds.get(part.side)
        moved = unit(part.vector) if background is None else placed(background, part.vector)
        # A query like the only document of its side would have nothing left.
        return moved if np.linalg.norm(moved) > TINY else unit(part.vector)
