"""Rank pictures and passages fairly against each other: pure functions over arrays.

CLIP keeps images and texts in two separate cones, so to a text query every text is nearer than any image.
Each modality m is therefore corrected by its own background: its mean μ_m and a random sample B_m of its
unit vectors.

    q_c  = unit(q - μ_(modality of q))
    s(d) = q_c · unit(d - μ_m)
    b    = q_c · unit(B_m - μ_m)
    z(d) = (s(d) - mean(b)) / std(b)

Removing the means is "GR-CLIP" (Li et al. 2025, arXiv 2507.19054); standing the score against what the query
scores by chance follows the standardisation of Yamashita et al. 2025 (arXiv 2511.22141).

A document that is itself in the sample is left out of B_m for its own score: of n items none can be
more than sqrt(n - 1) standard deviations from a mean it is part of, so otherwise the rarer modality of a
small collection never wins. Below some twenty documents there is no background to speak of, and the
modalities are merged by rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray: TypeAlias = NDArray[np.float64]
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

SAMPLE_SIZE = 256
"""Vectors in a background; nDCG levels off between 128 and 256."""

_WEIGHTS = {"text": 0.7, "image": 0.3}
"""Shares in a query of both; the sum of centred units does best with the text at 0.7."""

_FEW = 5
_SMALL = 20
_PRIOR_STD = 0.1  # of centred cosines in CLIP models: .08 to .14
_PRIOR_ITEMS = 2
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
    """

    count: int
    sample: FloatArray

    @cached_property
    def mean(self) -> FloatArray:
        """μ_m [d]."""
        mean: FloatArray = self.sample.mean(axis=0)
        return mean

    @cached_property
    def centred(self) -> FloatArray:
        """unit(B_m - μ_m) [n, d]."""
        return unit(self.sample - self.mean)


@dataclass(frozen=True)
class Candidates:
    """Documents of one side that may answer a query.

    Attributes:
        vectors: Their vectors [n, d].
        places: Where each stands in the background's sample, -1 if it is not in it [n].
    """

    vectors: FloatArray
    places: Places


@dataclass(frozen=True)
class Ranker:
    """Scores the documents of a collection for one query, on one scale for all sides.

    A single side is ranked by plain cosine: there is nothing to be fair about, and centring documents costs
    accuracy within a side.

    Attributes:
        parts: The vector [d] of the query's text, image or both.
        backgrounds: Of each side that has documents.
        searched: The sides documents are wanted of, each with a background.
    """

    parts: Mapping[Side, FloatArray]
    backgrounds: Mapping[Side, Background]
    searched: Sequence[Side]

    @property
    def search_vector(self) -> FloatArray:
        """The unit vector [d] that finds each side's candidates among the vectors as they are stored."""
        return self.plain if len(self.searched) == 1 or self.by_rank else self.centred

    @cached_property
    def plain(self) -> FloatArray:
        """The query as it was embedded [d]; text and image only add up once they are centred."""
        if len(self.parts) > 1:
            return self.centred
        (part,) = self.parts.values()
        return unit(part)

    @cached_property
    def centred(self) -> FloatArray:
        """The query with the mean of its side taken off [d]: what it says, not how it says it."""
        return unit(np.sum([_WEIGHTS[side] * self._centred(side) for side in self.parts], axis=0))

    @cached_property
    def by_rank(self) -> bool:
        """Whether the collection is too small for its statistics to mean anything."""
        counts = [self.backgrounds[side].count for side in self.searched]
        return min(counts) < _FEW or sum(counts) <= _SMALL

    def scores(self, side: Side, found: Candidates) -> FloatArray:
        """Score the candidates [n] of one side: higher is better, comparable across sides."""
        if len(self.searched) == 1:
            return plain_scores(self.plain, found, self.backgrounds[side])
        if self.by_rank:
            longest = max(self.backgrounds[side].count for side in self.searched)
            return rank_scores(self.plain, self.centred, found, longest)
        return calibrated_scores(self.centred, found, self.backgrounds[side])

    def _centred(self, side: Side) -> FloatArray:
        plain = unit(self.parts[side])
        if side not in self.backgrounds:
            return plain
        moved = plain - self.backgrounds[side].mean
        # A query like the only document of its side would have nothing left.
        return unit(moved) if np.linalg.norm(moved) > _TINY else plain


def calibrated_scores(centred_query: FloatArray, found: Candidates, background: Background) -> FloatArray:
    """The z of each candidate [n]: how far above its side's background it scores, in standard deviations.

    Mean and deviation lean on a weak prior (0 and 0.1, worth two items), which keeps them finite for
    backgrounds of a few or of identical vectors.

    Args:
        centred_query: The query's vector [d], its own mean taken off.
        found: The candidates.
        background: Of their side.
    """
    inside = (found.places >= 0) & (len(background.sample) > 1)
    # Leaving a document out of the mean as well would only move it farther along the same line.
    scores = unit(unit(found.vectors) - background.mean) @ centred_query
    return _standardised(scores, background.centred @ centred_query, found.places, inside)


def plain_scores(query: FloatArray, found: Candidates, background: Background) -> FloatArray:
    """The z of each candidate's plain cosine [n]: in the order of the cosines, on the scale of the others.

    Args:
        query: The plain query vector [d].
        found: The candidates.
        background: Of their side.
    """
    # Nobody is left out here: that would shift documents of the sample against the others.
    anyone = np.zeros(len(found.places), dtype=bool)
    scores = unit(found.vectors) @ query
    return _standardised(scores, background.sample @ query, found.places, anyone, centred=False)


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
    trust = n / (n + _PRIOR_ITEMS)
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
    documents = unit(found.vectors)
    order = np.argsort(-(documents @ query), kind="stable")
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(1, len(order) + 1)
    quantile = NormalDist().inv_cdf
    # Blom's approximation of expected normal order statistics.
    expected = np.array([quantile((longest - rank + 0.625) / (longest + 0.25)) for rank in ranks.tolist()])
    return expected.reshape(len(order)) + _TIE_BREAK * (documents @ centred_query)


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
