"""Rank pictures and passages fairly against each other: pure functions over arrays.

CLIP keeps images and texts in two separate cones, so to a text query every text is nearer than any image.
Each modality m is therefore corrected by its own background: its mean μ_m and a random sample B_m of its
unit vectors. `rank="calibrated"` does this, in the space P_m(x) = unit(W_m (x - μ_m)):

    q    = P_(modality of q)(q)                        B'_m = P_m(B_m)
    h(x) = a · (mean of the 10 greatest x · b over b in B' of the query's modality)
    s(d) = q · P_m(d) - h(P_m(d))
    z(d) = (s(d) - mean over B'_m of s) / (its standard deviation)

- Removing the means is "GR-CLIP" (Li et al. 2025, arXiv 2507.19054). W_m = Σ_m^(-1/16), shrunk, evens out a
  little what a modality's vectors vary in: fully whitened ones tell single items better apart, topics worse.
- h holds back hubs, documents that are near to everything ("NNN", Chowdhury et al. 2024, arXiv 2410.24114).
- Standing the score against what the query scores by chance follows the standardisation of Yamashita et al.
  2025 (arXiv 2511.22141).
- Then the query moves a little towards the best few found and everything is scored once more:
  pseudo-relevance feedback (Rocchio 1971). It only changes the order; the scores stay the query's own.

A document that is itself in the sample is left out of B_m for its own score: of n items none can be
more than sqrt(n - 1) standard deviations from a mean it is part of, so otherwise the rarer modality of a
small collection never wins. Below some twenty documents there is no background to speak of; then it is padded
with a prior, or without one the modalities are merged by rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import erfc, sqrt
from statistics import NormalDist
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Places: TypeAlias = NDArray[np.int64]
Side: TypeAlias = Literal["text", "image"]
"""Which encoder made a vector: tables and transcripts are on the text side."""

Rank: TypeAlias = Literal["calibrated", "raw", "rrf", "centered"]
"""How documents of both sides are put in one order."""

SearchMode: TypeAlias = Literal["vector", "hybrid", "keyword"]
"""Whether documents are found by their vectors, by their words, or by both."""

Collapse: TypeAlias = Literal["parent", "near-duplicate", "none"]
"""Which documents count as one: parts of one parent, also copies of one picture or passage, or none."""

SIDES: tuple[Side, Side] = ("text", "image")

SAMPLE_SIZE = 1024
"""Vectors in a background: of smaller sides all, so that they are exact."""

PRIOR_BELOW = 50
"""Documents of a side below which a prior is mixed into its background, less and less towards there."""

# Chosen on several geometries, checked on seeds kept apart, each flat around its value: docs/decisions/0007.
_WHITENING = -1 / 16
_SHRINKAGE = 1.0  # of Σ towards the identity, in mean eigenvalues
_HUBNESS = 0.3
_NEIGHBOURS = 10
_BANK = 256  # of the sample: more neighbours to look among change little
_FEEDBACK = 0.4
_FEEDBACK_DOCUMENTS = 5
_FEEDBACK_SHARPNESS = 2.0
_FEEDBACK_TRUST = 200  # documents at which feedback has half its weight: few have few that are relevant

_FEW = 5
_SMALL = 20
_PRIOR_ITEMS = 1  # what a prior weighs in the mean, in documents: docs/decisions/0009
_PRIOR_STD = 0.1  # of centred cosines in CLIP models: .08 to .14
_PRIOR_STD_ITEMS = 2
_RRF = 60  # Cormack et al. 2009
_TIE_BREAK = 1e-6
_TINY = 1e-9


def unit(vectors: ArrayLike) -> FloatArray:
    """Rows of norm 1; a row of zeros stays one."""
    rows = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    result: FloatArray = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > _TINY)
    return result


@dataclass(frozen=True)
class Background:
    """What is known of one side of a collection.

    Attributes:
        count: Its number of documents.
        sample: Unit vectors [n, d] of a random choice of them, n <= count.
        prior: Unit vectors [p, d] of this side from elsewhere, which stand in for documents not there yet.
    """

    count: int
    sample: FloatArray
    prior: FloatArray | None = None

    @cached_property
    def vectors(self) -> FloatArray:
        """The sample, padded with the prior as far as it is small [m, d]."""
        if self.prior is None:
            return self.sample
        return np.concatenate([self.sample, self.prior[: round(self._prior_share * len(self.prior))]])

    @property
    def _prior_share(self) -> float:
        """How much of the prior counts: all of it where there is no document, nothing from 50 on."""
        return max(0.0, 1 - len(self.sample) / PRIOR_BELOW)

    @cached_property
    def mean(self) -> FloatArray:
        """μ_m [d], shrunk towards the prior's."""
        if self.prior is None:
            mean: FloatArray = self.sample.mean(axis=0)
            return mean
        n = len(self.sample)
        items = _PRIOR_ITEMS * self._prior_share
        shrunk: FloatArray = (self.sample.sum(axis=0) + items * self.prior.mean(axis=0)) / (n + items)
        return shrunk

    @cached_property
    def whitening(self) -> FloatArray:
        """W_m = ((Σ_m + I) / 2)^(-1/16) [d, d], with Σ_m scaled to a mean eigenvalue of 1."""
        centred = unit(self.vectors - self.mean)
        n, d = centred.shape
        # Of fewer vectors than dimensions, only as many directions have a variance.
        values, directions = _spectrum(centred)
        values = values * d / n
        floor = (_SHRINKAGE / (1 + _SHRINKAGE)) ** _WHITENING
        gains = ((values + _SHRINKAGE) / (1 + _SHRINKAGE)) ** _WHITENING - floor
        matrix: FloatArray = floor * np.eye(d) + (directions.T * gains) @ directions
        return matrix

    @cached_property
    def placed(self) -> FloatArray:
        """P_m of `vectors` [m, d]."""
        return self.place(self.vectors)

    @cached_property
    def bank(self) -> FloatArray:
        """Those of `placed` among which neighbours are counted."""
        return self.placed[:_BANK]

    def place(self, vectors: ArrayLike) -> FloatArray:
        """P_m of vectors of this side: centred, evened out, of norm 1 [..., d]."""
        return self.place_units(unit(vectors))

    def place_units(self, vectors: FloatArray) -> FloatArray:
        """`place` for vectors of norm 1."""
        # In float32, as the vectors are stored: twice as fast.
        placed = (vectors - self.mean).astype(np.float32) @ self._whitening32
        norms = np.sqrt(np.einsum("...d,...d->...", placed, placed))[..., None]
        result: FloatArray = placed / np.maximum(norms, _TINY, dtype=np.float32)
        return result

    def stretch(self, placed: FloatArray) -> FloatArray:
        """W_m times a vector [d] in the space of `place`: what it looks for among stored vectors."""
        result: FloatArray = self._whitening32 @ placed.astype(np.float32)
        return result

    @cached_property
    def _whitening32(self) -> NDArray[np.float32]:
        return self.whitening.astype(np.float32)

    def chance(self, query: FloatArray, bank: FloatArray) -> FloatArray:
        """What a query [d] in the space of `place` scores by chance, hubs held back: the last is kept [m]."""
        kept: tuple[FloatArray, FloatArray] | None = self.__dict__.get("_chance")
        if kept is None or kept[0] is not query:
            kept = query, _cosines(self.placed, query) - self.hubness_in(bank)
            self.__dict__["_chance"] = kept  # in one go: other threads ask other queries
        return kept[1]

    def chance_of(self, asking: Background, *, placed: bool) -> tuple[float, float]:
        """Mean and standard deviation of what documents of one side score with those of this one by chance.

        Args:
            asking: Background of the side that is asked with.
            placed: As `calibrated_scores` scores them, or by plain cosine.
        """
        kept = self.__dict__.setdefault("_chances", {})
        if placed not in kept or kept[placed][0] is not asking:
            if placed:
                scores = asking.bank @ self.placed.T - self.hubness_in(asking.bank)
            else:
                scores = asking.vectors[:_BANK] @ self.vectors.T
            if asking is self:
                np.fill_diagonal(scores, np.nan)
            kept[placed] = asking, _moments(scores[np.isfinite(scores)])
        pair: tuple[float, float] = kept[placed][1]
        return pair

    def hubness_in(self, bank: FloatArray) -> FloatArray:
        """Hubness of `placed` among a bank [b, d] of one side; kept for the last bank asked with [m]."""
        kept: dict[int, tuple[FloatArray, FloatArray]] = self.__dict__.setdefault("_hubness", {})
        if id(bank) not in kept:
            own = np.arange(len(bank)) if bank is self.bank else None
            kept[id(bank)] = bank, hubness(self.placed, bank, own)
        return kept[id(bank)][1]


def _moments(scores: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation, which leans on a weak prior."""
    n = len(scores)
    if not n:
        return 0.0, _PRIOR_STD
    trust = n / (n + _PRIOR_STD_ITEMS)
    return float(scores.mean()), sqrt(trust * float(scores.var()) + (1 - trust) * _PRIOR_STD**2)


def _cosines(rows: FloatArray, vector: FloatArray) -> FloatArray:
    """Rows [n, d] times a vector [d], without widening the rows to the vector's precision."""
    result: FloatArray = (rows @ vector.astype(rows.dtype, copy=False)).astype(np.float64)
    return result


def _spectrum(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues [r] and eigenvectors [r, d] of rows^T rows, by way of the smaller Gram matrix."""
    n, d = rows.shape
    if n >= d:
        values, vectors = np.linalg.eigh(rows.T @ rows)
        return np.maximum(values, 0.0), vectors.T
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = values > _TINY
    directions: FloatArray = (vectors[:, kept].T @ rows) / np.sqrt(values[kept])[:, None]
    return values[kept], directions


def hubness(placed: FloatArray, bank: FloatArray, own: Places | None = None) -> FloatArray:
    """How near documents are to whatever there is: the mean of their 10 greatest cosines, times 0.3 [n].

    Args:
        placed: The documents [n, d].
        bank: Vectors of the side the query is of [b, d].
        own: Where in the bank the first of the documents stand themselves, -1 if nowhere.
    """
    cosines = placed @ bank.T
    if own is not None:
        inside = np.flatnonzero((own >= 0) & (own < len(bank)))
        cosines[inside, own[inside]] = -np.inf
    nearest = min(_NEIGHBOURS, len(bank) - 1)
    if nearest < 1:
        return np.zeros(len(placed))
    top = np.partition(cosines, -nearest, axis=1)[:, -nearest:]
    result: FloatArray = _HUBNESS * top.mean(axis=1)
    return result


@dataclass(frozen=True)
class Candidates:
    """Documents of one side that may answer a query.

    Attributes:
        vectors: Their vectors [n, d].
        places: Where each stands in the background's sample, -1 if it is not in it [n].
    """

    vectors: FloatArray
    places: Places

    @cached_property
    def units(self) -> FloatArray:
        """The vectors, of norm 1 [n, d]."""
        return unit(self.vectors)

    def placed_by(self, background: Background) -> FloatArray:
        """P_m of `vectors`, worked out once [n, d]."""
        kept: dict[int, tuple[Background, FloatArray]] = self.__dict__.setdefault("_placed", {})
        if id(background) not in kept:
            kept[id(background)] = background, background.place_units(self.units)
        return kept[id(background)][1]

    def hubness_in(self, bank: FloatArray, background: Background) -> FloatArray:
        """`hubness` of `placed_by(background)` in a bank, worked out once [n]."""
        kept: dict[int, tuple[FloatArray, FloatArray]] = self.__dict__.setdefault("_hubness", {})
        if id(bank) not in kept:
            own = self.places if bank is background.bank else None
            kept[id(bank)] = bank, hubness(self.placed_by(background), bank, own)
        return kept[id(bank)][1]


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
        if self._is_plain:
            return self.plain
        if self.rank == "centered":
            return self.centred
        return unit(self.backgrounds[side].stretch(self.placed))

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
        if self._is_plain and len(self.searched) == 1:
            return found.units
        return found.placed_by(self.backgrounds[side])

    def scores(self, found: Mapping[Side, Candidates]) -> dict[Side, FloatArray]:
        """Score the candidates [n] of each side: higher is better, comparable across sides."""
        if len(self.searched) == 1:
            return self.standing(found)
        if self.rank == "raw":
            return {side: each.units @ self.plain for side, each in found.items()}
        if self.rank == "centered":
            return {
                side: unit(each.units - self.backgrounds[side].mean) @ self.centred
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
        return {side: self._standing(side, each) for side, each in found.items()}

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
            return {side: np.clip(each.units @ self.plain, 0.0, 1.0) for side, each in found.items()}
        count = sum(self.backgrounds[side].count for side in self.searched)
        return {side: self._relevances(side, each, count) for side, each in found.items()}

    def _relevances(self, side: Side, found: Candidates, count: int) -> FloatArray:
        background, documents = self.backgrounds[side], found.units
        if len(self.searched) == 1:
            scores: FloatArray = documents @ self.plain
            chance: FloatArray = background.vectors @ self.plain
        else:
            hubs = found.hubness_in(self._bank, background)
            scores = _cosines(found.placed_by(background), self.placed) - hubs
            chance = background.chance(self.placed, self._bank)
        if self._main_side in self.backgrounds:
            asking = self.backgrounds[self._main_side]
            mean, std = background.chance_of(asking, placed=len(self.searched) > 1)
        else:
            mean, std = float(chance.mean()), float(chance.std())
        sure = relevance((scores - mean) / max(std, _TINY), count)
        for part in self.parts:
            if part.side == side and part.weight > 0:
                sure[documents @ unit(part.vector) >= _SAME] = 1.0
        return sure

    @property
    def _is_plain(self) -> bool:
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
        return {side: self._calibrated(moved, side, each) for side, each in found.items()}

    def _reciprocal_ranks(self, side: Side, found: Candidates) -> FloatArray:
        standing = plain_scores(self.plain, found, self.backgrounds[side])
        ranks: FloatArray = 1.0 / (_RRF + _places_in_order(standing))
        return ranks + _TIE_BREAK * _TIE_BREAK * standing

    def _sum(self, placed: Callable[[Background, FloatArray], FloatArray]) -> FloatArray:
        total: FloatArray = np.sum([part.weight * self._moved(part, placed) for part in self.parts], axis=0)
        if np.linalg.norm(total) > _TINY:
            return unit(total)
        msg = (
            "the query takes away all that it asks for: what is wanted and what is not are the same to the"
            " model; give other words or pictures, or other weights"
        )
        raise ValueError(msg)

    def _moved(self, part: Part, placed: Callable[[Background, FloatArray], FloatArray]) -> FloatArray:
        background = self.backgrounds.get(part.side)
        moved = unit(part.vector) if background is None else placed(background, part.vector)
        # A query like the only document of its side would have nothing left.
        return moved if np.linalg.norm(moved) > _TINY else unit(part.vector)


def _places_in_order(scores: FloatArray) -> FloatArray:
    """Place of each score from the best, which is 1 [n]."""
    places = np.empty(len(scores))
    places[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return places


def calibrated_scores(
    query: FloatArray, found: Candidates, background: Background, bank: FloatArray
) -> FloatArray:
    """The z of each candidate [n]: how far above its side's background it scores, in standard deviations.

    Mean and deviation lean on a weak prior (0 and 0.1, worth two items), which keeps them finite for
    backgrounds of a few or of identical vectors.

    Args:
        query: The query's vector [d] in the space of `Background.place`.
        found: The candidates.
        background: Of their side.
        bank: Vectors [b, d] of the query's side, among which hubs are known.
    """
    scores = _cosines(found.placed_by(background), query) - found.hubness_in(bank, background)
    chance = background.chance(query, bank)
    # Leaving a document out of the mean of vectors as well would only move it farther along the same line.
    left_out = (found.places >= 0) & (len(background.placed) > 1)
    return _standardised(scores, chance, found.places, left_out)


def plain_scores(query: FloatArray, found: Candidates, background: Background) -> FloatArray:
    """The z of each candidate's plain cosine [n]: in the order of the cosines, on the scale of the others.

    Args:
        query: The plain query vector [d].
        found: The candidates.
        background: Of their side.
    """
    # Nobody is left out here: that would shift documents of the sample against the others.
    anyone = np.zeros(len(found.places), dtype=bool)
    scores = found.units @ query
    return _standardised(scores, background.vectors @ query, found.places, anyone, centred=False)


def _standardised(
    scores: FloatArray,
    chance: FloatArray,
    places: Places,
    left_out: NDArray[np.bool_],
    *,
    centred: bool = True,
) -> FloatArray:
    own = np.where(left_out, chance[places], 0.0)
    n = len(chance) - left_out
    mean = (chance.sum() - own) / n
    variance = np.maximum((np.square(chance).sum() - np.square(own)) / n - np.square(mean), 0.0)
    trust = n / (n + _PRIOR_STD_ITEMS)
    spread = np.sqrt(trust * variance + (1 - trust) * _PRIOR_STD**2)
    result: FloatArray = (scores - (trust * mean if centred else mean)) / spread
    return result


def rank_scores(query: FloatArray, centred_query: FloatArray, found: Candidates, longest: int) -> FloatArray:
    """Scores [n] by place in the side's own list: the r-th gets the z expected of the r-th of `longest`.

    Lists of different sides are so interleaved. Two documents of one rank are told apart by the centred
    query, whose cosines are the fairer ones across sides but the noisier within a side.

    Args:
        query: The plain query vector [d], which ranks within the side.
        centred_query: The same with its own mean taken off.
        found: All candidates of the side.
        longest: Number of documents of the largest side.
    """
    longest = max(longest, len(found.vectors))
    documents = found.units
    quantile = NormalDist().inv_cdf
    places = _places_in_order(documents @ query).tolist()
    # Blom's approximation of expected normal order statistics.
    expected = np.array([quantile((longest - place + 0.625) / (longest + 0.25)) for place in places])
    return expected.reshape(len(places)) + _TIE_BREAK * (documents @ centred_query)


def feedback(query: FloatArray, scores: FloatArray, vectors: FloatArray, weight: float) -> FloatArray:
    """The query moved towards the best few documents found for it [d], the more the better they are.

    Pseudo-relevance feedback after Rocchio (1971).

    Args:
        query: Unit vector [d].
        scores: z of the documents [n].
        vectors: The documents, in the space of the query [n, d].
        weight: Of the documents, against 1 for the query.
    """
    best = np.argsort(-scores, kind="stable")[:_FEEDBACK_DOCUMENTS]
    shares = np.exp(_FEEDBACK_SHARPNESS * (scores[best] - scores[best[0]]))
    return unit(query + weight * (shares / shares.sum()) @ vectors[best])


def reordered(scores: Mapping[Side, FloatArray], better: Mapping[Side, FloatArray]) -> dict[Side, FloatArray]:
    """The values of `scores`, put in the order of `better` over all sides.

    So the best document by `better` gets the best score there is: ways to find a better order, which by
    their nature raise what they prefer, cannot make a query without an answer look as if it had one.
    """
    values = np.concatenate([scores[side] for side in better])
    order = np.argsort(-np.concatenate(list(better.values())), kind="stable")
    arranged = np.empty_like(values)
    arranged[order] = -np.sort(-values)
    ends = np.cumsum([len(each) for each in better.values()])[:-1]
    return dict(zip(better, np.split(arranged, ends), strict=True))


def mmr_order(relevance: FloatArray, vectors: FloatArray, k: int, lambda_mult: float) -> list[int]:
    """Places of the `k` documents that maximal marginal relevance picks, in the order it picks them.

    Each next one has the greatest `lambda_mult * relevance - (1 - lambda_mult) * likeness`, where likeness is
    its greatest cosine with one already picked (Carbonell and Goldstein 1998).

    Args:
        relevance: Of each document to the query [n].
        vectors: Of the documents [n, d].
        k: How many to pick; fewer if there are no more.
        lambda_mult: 1 for relevance alone, 0 for variety alone.
    """
    documents = unit(vectors)
    likeness = np.full(len(documents), -np.inf)
    open_places = np.ones(len(documents), dtype=bool)
    picked: list[int] = []
    while len(picked) < min(k, len(documents)):
        gain = lambda_mult * relevance - ((1 - lambda_mult) * likeness if picked else 0.0)
        best = int(np.argmax(np.where(open_places, gain, -np.inf))) if picked else int(np.argmax(relevance))
        picked.append(best)
        open_places[best] = False
        likeness = np.maximum(likeness, documents @ documents[best])
    return picked


# --- how sure one can be ------------------------------------------------------------------------------------

_LEAST_COUNT = 100
_SAME = 0.999  # cosine


def relevance(standing: ArrayLike, count: int) -> FloatArray:
    """How sure one can be that documents did not get their scores by chance [n], from 0 to 1.

    Φ(z)^N: the probability that the best of N documents which have nothing to do with the query would score
    less, N being the number of documents, and at least 100.

    Here z says how far a score lies above what the collection's own documents of the query's side score with
    those of the document's side, not above what this one query scores: a question that is about nothing in
    the collection scores low with all of it, which is just what should be seen.

    Args:
        standing: z of the documents [n].
        count: Number of documents searched.
    """
    z = np.asarray(standing, dtype=np.float64)
    beyond = np.array([erfc(each / sqrt(2.0)) / 2.0 for each in z.ravel()])
    result: FloatArray = np.exp(max(count, _LEAST_COUNT) * np.log1p(-np.minimum(beyond, 1 - _TINY)))
    return result.reshape(z.shape)
