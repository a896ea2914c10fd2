"""Words, and a second vector for each text, beside the vectors that all documents have.

Pictures mostly have no words, and without a caption no vector of an embedding for text: what a document
cannot have counts for nothing, rather than against. So these lists only put the documents of one side in a
better order, and the scores of the side are given out anew in that order: passages gain nothing on pictures.
Only words that hardly any document has, such as a name or a number, are an answer in themselves: the first
few documents that have them come before everything.

How much words say follows from how many documents they would fit as well. Of all N documents with words, a
share of at most

    p = 1 / (1 + z²)        z = (score - mean of all scores) / their standard deviation

can score so high, whatever the scores are like (Cantelli 1928). So a word match counts as Φ⁻¹(1 - p) standard
deviations beside those of the vectors, and is an answer to the degree 1 - ln(p N) / ln N: 1 for the only one
that fits, ½ for one of √N, 0 for one of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log, log1p, sqrt
from statistics import NormalDist
from typing import Protocol

import numpy as np

from langchain_mmrag.ranking import FloatArray, Side, levelled, reordered

# Chosen on even seeds of `mmrag eval words`, checked on odd ones, each flat around: docs/decisions/0008.
_ANSWER = 0.5
_FEW = 3
_ABOVE = 1e-3
_CAPTION = 0.5


class WordMatch(Protocol):
    """What the words of a document say to a query; `keyword.KeywordMatch` is one."""

    @property
    def score(self) -> float:
        """Higher is better."""

    @property
    def coverage(self) -> float:
        """Which share of the query's words the document has, from 0 to 1."""


class WordMatches(Protocol):
    """What the words of a collection say to a query; `keyword.KeywordMatches` is one."""

    @property
    def matches(self) -> Sequence[WordMatch]:
        """The best first."""

    @property
    def mean(self) -> Mapping[Side, float]:
        """Of the score, over all documents of a side that have words."""

    @property
    def std(self) -> Mapping[Side, float]:
        """Its standard deviation over the same documents."""

    @property
    def worded(self) -> Mapping[Side, int]:
        """How many documents of a side have words."""


@dataclass(frozen=True)
class Chance:
    """What the words of a query score among all documents that have words, of both sides.

    Attributes:
        count: Number of these documents, N.
        mean: Of the score.
        std: Its standard deviation.
        fullest: The greatest share of the query's words that a document has.
    """

    count: int
    mean: float
    std: float
    fullest: float

    @classmethod
    def of(cls, found: WordMatches) -> Chance:
        """What it is for one query. One document more, without these words, keeps it finite for a few."""
        sides = [(found.worded[side], found.mean[side], found.std[side]) for side in found.worded]
        count = 1 + sum(number for number, _, _ in sides)
        mean = sum(number * each for number, each, _ in sides) / count
        squares = sum(number * (each**2 + std**2) for number, each, std in sides) / count
        fullest = max((match.coverage for match in found.matches), default=0.0)
        return cls(count, mean, sqrt(max(squares - mean**2, 0.0)), fullest)

    def standing(self, match: WordMatch | None) -> float:
        """By how many standard deviations of a normal distribution a match stands out, at least."""
        beyond = self._beyond(match)
        return NormalDist().inv_cdf(1 - 1 / (1 + beyond)) if beyond > 1 else 0.0

    def relevance(self, match: WordMatch | None) -> float:
        """How sure one can be that a match is an answer, from 0 to 1.

        To the degree that few documents fit as well, by the share of the words that it has of those that can
        be found. Words that no document has count for nothing: a number answers whatever stands around it.
        """
        if match is None or not self.fullest:
            return 0.0
        rarity = min(log1p(self._beyond(match)) / log(max(self.count, 2)), 1.0)
        return rarity * match.coverage / self.fullest

    def _beyond(self, match: WordMatch | None) -> float:
        """z² of a match, 0 below the mean."""
        if match is None or not self.std:
            return 0.0
        return max((match.score - self.mean) / self.std, 0.0) ** 2


def fused(
    scores: Mapping[Side, FloatArray],
    relevance: Mapping[Side, FloatArray],
    words: Mapping[Side, Sequence[WordMatch | None]],
    chance: Chance,
) -> tuple[dict[Side, FloatArray], dict[Side, FloatArray]]:
    """Scores and relevances of vectors and of words together.

    Args:
        scores: z of the documents of each side, those first whose vectors are nearest to the query's [n].
        relevance: Theirs, from 0 to 1 [n].
        words: For each document [n] what its words say, or `None` if it has none of the query's.
        chance: What words score by chance.
    """
    stands = {side: np.array([chance.standing(match) for match in each]) for side, each in words.items()}
    sure = {side: np.array([chance.relevance(match) for match in each]) for side, each in words.items()}
    better = {side: levelled(given + stands[side]) for side, given in scores.items()}
    # Several windows of one text have its match: the nearest of them comes first.
    answers = sorted(
        ((match.score, better[side][place], side, -place), side, place)
        for side, matches in words.items()
        for place, match in _answers(matches, sure[side])
    )
    top = _greatest(better)
    for number, (_, side, place) in enumerate(answers, start=1):
        better[side][place] = top + number
    given_out, certain = dealt(scores, better), dealt(relevance, better)
    top, surest = _greatest(scores), max(_greatest(certain), _greatest(sure))
    for number, (_, side, place) in enumerate(answers, start=1):
        given_out[side][place] = top + _ABOVE * number
        certain[side][place] = surest  # what comes first is not less relevant than what follows
    return given_out, reordered(certain, given_out)  # a threshold keeps the first of the list


def joined(
    scores: Mapping[Side, FloatArray],
    relevance: Mapping[Side, FloatArray],
    second: Mapping[Side, FloatArray],
) -> tuple[dict[Side, FloatArray], dict[Side, FloatArray]]:
    """Scores and relevances of two vectors of each passage, and of each picture with a caption, together.

    Those of a passage count alike: (z₁ + z₂) / √2, which by chance varies like either of them (Stouffer
    1949). A caption counts half, (z₁ + z₂ / 2) / √1.25: pictures without one are measured by less, and what
    a caption says by chance must not put them behind.

    Args:
        scores: z of the documents of each side [n].
        relevance: Theirs, from 0 to 1 [n].
        second: z of the documents by their other vectors; NaN where there is none [n].
    """
    better = {
        side: levelled(np.where(np.isnan(second[side]), first, both))
        for side, first in scores.items()
        for weight in [_CAPTION if side == "image" else 1.0]
        for both in [(first + weight * second[side]) / sqrt(1.0 + weight**2)]
    }
    return dealt(scores, better), dealt(relevance, better)


def dealt(values: Mapping[Side, FloatArray], better: Mapping[Side, FloatArray]) -> dict[Side, FloatArray]:
    """The values of each side [n], given out anew in the order of `better` [n]."""
    given_out = {}
    for side, each in values.items():
        given_out[side] = np.empty_like(each)
        given_out[side][np.argsort(-better[side], kind="stable")] = -np.sort(-each)
    return given_out


def _answers(matches: Sequence[WordMatch | None], sure: FloatArray) -> Iterable[tuple[int, WordMatch]]:
    """Documents that have one of the few best matches of a side, as far as these are answers; by place.

    Of equal matches the first ones are taken, whose documents are nearer.
    """
    telling = [
        (place, match) for place, match in enumerate(matches) if match is not None and sure[place] >= _ANSWER
    ]
    best = {id(match): match for _, match in sorted(telling, key=lambda each: -each[1].score)}
    few = set(list(best)[:_FEW])
    return [(place, match) for place, match in telling if id(match) in few]


def _greatest(values: Mapping[Side, FloatArray]) -> float:
    return max([0.0, *(float(each.max()) for each in values.values() if len(each))])
