"""From vectors to scores, orders and relevances: one function each."""

from __future__ import annotations

from collections.abc import Mapping
from math import erfc, sqrt
from statistics import NormalDist
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from langchain_mmrag.ranking.backgrounds import PRIOR_STD, PRIOR_STD_ITEMS, Background, Candidates
from langchain_mmrag.ranking.vectors import TINY, FloatArray, Side, cosines, unit

TIE_BREAK = 1e-6

_ROUNDING = 1e-5  # that of vectors moves cosines by up to 1e-7, and z by some thirty times as much
_FEEDBACK_DOCUMENTS = 5
_FEEDBACK_SHARPNESS = 2.0
_LEAST_COUNT = 100


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
    scores = found.scored(query, background, bank)
    mean, variance = background.chance(query, bank)
    count = len(background.placed)
    standing = (scores - _trust(count) * mean) / _spread(variance, count)
    own = np.flatnonzero(found.places >= 0)
    if count > 1 and len(own):
        # Leaving it out of the mean of vectors as well would only move it farther along the same line.
        theirs = background.chance_at(found.places[own], query, bank)
        rest = count - 1
        means = (count * mean - theirs) / rest
        squares = (count * (variance + mean**2) - np.square(theirs)) / rest
        variances = np.maximum(squares - np.square(means), 0.0)
        standing[own] = (scores[own] - _trust(rest) * means) / _spread(variances, rest)
    return standing


def plain_scores(query: FloatArray, found: Candidates, background: Background) -> FloatArray:
    """The z of each candidate's plain cosine [n]: in the order of the cosines, on the scale of the others.

    Args:
        query: The plain query vector [d].
        found: The candidates.
        background: Of their side.
    """
    # Nobody is left out here: that would shift documents of the sample against the others.
    mean, variance = background.plain_chance(query)
    return (cosines(found.units, query) - mean) / _spread(variance, len(background.vectors))


def _trust(count: int) -> float:
    """What the background counts for beside the prior, from 0 to 1."""
    return count / (count + PRIOR_STD_ITEMS)


@overload
def _spread(variance: float, count: int) -> float: ...
@overload
def _spread(variance: FloatArray, count: int) -> FloatArray: ...
def _spread(variance: FloatArray | float, count: int) -> FloatArray | float:
    """The standard deviation, which leans on a weak prior."""
    trust = _trust(count)
    spread: FloatArray | float = (trust * variance + (1 - trust) * PRIOR_STD**2) ** 0.5
    return spread


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
    places = places_in_order(cosines(documents, query)).tolist()
    # Blom's approximation of expected normal order statistics.
    expected = np.array([quantile((longest - place + 0.625) / (longest + 0.25)) for place in places])
    scores: FloatArray = expected.reshape(len(places)) + TIE_BREAK * cosines(documents, centred_query)
    return scores


def levelled(scores: FloatArray) -> FloatArray:
    """The scores, those that differ by rounding alone made equal [n].

    The same picture embedded twice has vectors that differ in their last digits, by what was embedded beside
    it and by the processor. Levelled, such rows keep the order they are given in.
    """
    order = np.argsort(-scores, kind="stable")
    best_first = scores[order]
    is_less = ~(best_first[:-1] - best_first[1:] <= _ROUNDING)  # NaN is like nothing else
    if is_less.all():
        return scores
    is_first = np.concatenate([[True], is_less])
    level = np.empty_like(scores)
    level[order] = best_first[is_first][np.cumsum(is_first) - 1]
    return level


def places_in_order(scores: FloatArray) -> FloatArray:
    """Place of each score from the best, which is 1 [n]."""
    places = np.empty(len(scores))
    places[np.argsort(-levelled(scores), kind="stable")] = np.arange(1, len(scores) + 1)
    return places


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
    result: FloatArray = np.exp(max(count, _LEAST_COUNT) * np.log1p(-np.minimum(beyond, 1 - TINY)))
    return result.reshape(z.shape)
