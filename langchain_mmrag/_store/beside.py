"""What is known of rows beside the vectors all have: words, and second vectors of texts and sounds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import erfc, exp, sqrt
from statistics import NormalDist
from typing import cast

import numpy as np

from langchain_mmrag._store.ledger_rows import Entry
from langchain_mmrag._store.second_vectors import SecondVectors, StoredVectors, Vector
from langchain_mmrag.fusion import Chance, fused, joined
from langchain_mmrag.keyword import KeywordMatch
from langchain_mmrag.queries import Query
from langchain_mmrag.ranking import SIDES, FloatArray, Side, relevance, reordered, unit

STANDS_OUT = 2.5  # standard deviations: chance hardly does
_TINY = 1e-9
_FARTHEST = 30.0  # standard deviations: beyond it there is no number for chance
_PRIOR_ITEMS = 2.0  # that all texts count for beside the few of one side


@dataclass(frozen=True)
class Second:
    """The words of a query as the embedding of second vectors reads them.

    Attributes:
        companion: Has the vectors.
        stored: As they were when the search began.
        samples: What is scored by chance: unit vectors of each side [n, d].
        vector: The query's [d].
        count: Number of documents searched.
    """

    companion: SecondVectors
    stored: StoredVectors
    samples: Mapping[Side, Vector]
    vector: FloatArray
    count: int

    @classmethod
    def of(
        cls, companion: SecondVectors, query: Query, count: int, sides: Sequence[Side] = SIDES
    ) -> Second | None:
        """`None` without such an embedding, for a query without words, and if `sides` have no vectors of it.

        Args:
            companion: Knows the vectors, and is brought up to date here, once for a search.
            query: What is asked.
            count: Number of documents searched.
            sides: That are searched.
        """
        terms = [term for term in query.terms() if term.side == "text"]
        if not companion.is_used or not any(term.weight > 0 for term in terms):
            return None
        stored = companion.catch_up(count)
        samples = {side: companion.sample(side, stored) for side in SIDES}
        if not any(len(samples[side]) for side in sides):
            return None
        parts = [term.weight * companion.query(cast("str", term.content), stored) for term in terms]
        return cls(companion, stored, samples, unit(np.sum(parts, axis=0)), count)

    def asked(self, text: str) -> Second:
        """The same for another text."""
        return replace(self, vector=unit(self.companion.query(text, self.stored)))

    def near(self, n: int) -> list[str]:
        """Ids of the `n` nearest rows."""
        return [id_ for id_, _ in self.stored.near(self.vector.astype(np.float32), n)]

    def cosines(self, ids: Sequence[str]) -> FloatArray:
        """Of the second vectors of rows with the query; NaN without one [n]."""
        vectors = self.stored.of(ids)
        return np.array([float(vectors[id_] @ self.vector) if id_ in vectors else np.nan for id_ in ids])

    def standing(self, side: Side, cosines: FloatArray) -> FloatArray:
        """By how many deviations each row stands out among the texts of its side [n].

        Captions are short and passages long, so that a query scores differently with either by chance.
        """
        chance = {each: sample @ self.vector for each, sample in self.samples.items() if len(sample)}
        every = np.concatenate(list(chance.values()))
        own = chance.get(side, every)
        trust = len(own) / (len(own) + _PRIOR_ITEMS)
        mean = trust * own.mean() + (1 - trust) * every.mean()
        variance = trust * own.var() + (1 - trust) * every.var()
        result: FloatArray = (cosines - mean) / max(float(np.sqrt(variance)), _TINY)
        return result

    def relevances(self, side: Side, cosines: FloatArray) -> FloatArray:
        """How sure one can be of each row, from 0 to 1 [n]; see `ranking.relevance`.

        Args:
            side: Of the rows.
            cosines: Theirs with the query [n].
        """
        likeness = self.companion.background(side, self.samples).likeness
        if likeness is None:  # too few to know what chance is
            return np.clip(cosines, 0.0, 1.0)
        return relevance((cosines - likeness[0]) / max(likeness[1], _TINY), self.count)


@dataclass(frozen=True)
class Beside:
    """What else is known for a query.

    Attributes:
        matches: What the words of rows say, by id.
        chance: What words score by chance.
        second: The query for second vectors of texts.
        sound: The query for those of sounds.
    """

    matches: Mapping[str, KeywordMatch] = field(default_factory=dict)
    chance: Chance | None = None
    second: Second | None = None
    sound: Second | None = None

    def without(self, ids: Collection[str]) -> Beside:
        """The same, but what the words of these rows say does not count."""
        return replace(self, matches={id_: m for id_, m in self.matches.items() if id_ not in ids})

    def __bool__(self) -> bool:
        return bool(self.matches) or self.second is not None or self.sound is not None

    def ids(self, n: int) -> list[str]:
        """Rows that may answer the query for what is known here, `n` or fewer of each kind."""
        near = (id_ for each in (self.second, self.sound) if each is not None for id_ in each.near(n))
        return [*list(self.matches)[:n], *near]

    def applied(
        self,
        scores: Mapping[Side, FloatArray],
        relevance: Mapping[Side, FloatArray],
        rows: Mapping[Side, Sequence[tuple[str, Entry]]],
    ) -> tuple[Mapping[Side, FloatArray], Mapping[Side, FloatArray]]:
        """Scores and relevances with what is known here.

        Args:
            scores: z of the rows of each side [n].
            relevance: Theirs, from 0 to 1 [n].
            rows: Their ids and what the ledger knows of them.
        """
        if self.second is not None:
            cosines = {side: self.second.cosines([id_ for id_, _ in rows[side]]) for side in scores}
            second = {side: self.second.standing(side, each) for side, each in cosines.items()}
            scores, relevance = joined(scores, relevance, second)
        if self.sound is not None:
            scores, relevance = _with_sound(self.sound, scores, relevance, rows)
        if self.chance is not None and self.matches:
            words = {side: [match_of(self.matches, *row) for row in rows[side]] for side in scores}
            scores, relevance = fused(scores, relevance, words, self.chance)
        return scores, relevance


def _with_sound(
    sound: Second,
    scores: Mapping[Side, FloatArray],
    sure: Mapping[Side, FloatArray],
    rows: Mapping[Side, Sequence[tuple[str, Entry]]],
) -> tuple[Mapping[Side, FloatArray], Mapping[Side, FloatArray]]:
    """Scores and relevances with what rows sound like.

    The vector of a row without a text says nothing. Such a recording scores what its sound does, and if that
    is not known what chance does. Others score by what they say or show, or by their sound: a horn sounds
    like one whatever is said meanwhile, and words are no less said for what is heard with them.
    """
    found, certain = {}, {}
    for side, given in scores.items():
        stands = sound.standing(side, sound.cosines([id_ for id_, _ in rows[side]]))
        heard = ~np.isnan(stands)
        alone = np.nan_to_num(stands, nan=0.0)
        told = np.array([side == "image" or entry.has_text for _, entry in rows[side]], dtype=bool)
        found[side] = np.where(told, np.where(heard, _either(given, alone), given), alone)
        # Not by the likeness of sounds to each other: that to words is on a scale of its own.
        by_sound = np.where(heard, relevance(found[side], sound.count), 0.0)
        certain[side] = np.where(told, np.maximum(sure[side], by_sound * (alone > given)), by_sound)
    return found, reordered(certain, found)


def _either(first: FloatArray, second: FloatArray) -> FloatArray:
    """Two z together as one, where what speaks for a row counts and what does not is no matter [n].

    The distance of (max(z₁, 0), max(z₂, 0)) from zero, brought to what one z is by chance, so that rows that
    have both gain nothing on those that have one: by chance it is above r in ¼ exp(-r² / 2) + 1 - Φ(r) of
    cases (Kudô 1963), and both are below z in Φ(z)².
    """
    greater = np.clip(np.maximum(first, second), -_FARTHEST, _FARTHEST)
    far = np.minimum(np.hypot(np.maximum(first, 0.0), np.maximum(second, 0.0)), _FARTHEST)
    chances = [
        exp(-(r**2) / 2.0) / 4.0 + _beyond(r) if r > 0 else 1.0 - (1.0 - _beyond(z)) ** 2
        for r, z in zip(far.tolist(), greater.tolist(), strict=True)
    ]
    return np.array([-NormalDist().inv_cdf(min(each, 1.0 - _TINY)) for each in chances])


def _beyond(z: float) -> float:
    """1 - Φ(z), exact for great z too."""
    return erfc(z / sqrt(2.0)) / 2.0


def match_of(matches: Mapping[str, KeywordMatch], id_: str, entry: Entry) -> KeywordMatch | None:
    """What the words of a row say, or of the text it is a window of."""
    return matches.get(id_) or matches.get(entry.parent or id_)
