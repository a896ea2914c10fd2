"""What is known of rows beside the vectors all of them have: words, and second vectors of their texts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from langchain_mmrag._store.companion import Companion, TextVectors, Vector
from langchain_mmrag._store.ledger_rows import Entry
from langchain_mmrag.fusion import Chance, fused, joined
from langchain_mmrag.keyword import KeywordMatch
from langchain_mmrag.queries import Query
from langchain_mmrag.ranking import SIDES, FloatArray, Side, relevance, unit

STANDS_OUT = 2.5  # standard deviations: chance hardly does
_TINY = 1e-9
_PRIOR_ITEMS = 2.0  # that all texts count for beside the few of one side


@dataclass(frozen=True)
class Second:
    """The words of a query as the text embedding reads them.

    Attributes:
        companion: Has the vectors of texts.
        texts: As they were when the search began.
        samples: What is scored by chance: unit vectors of each side [n, d].
        vector: The query's [d].
    """

    companion: Companion
    texts: TextVectors
    samples: Mapping[Side, Vector]
    vector: FloatArray

    @classmethod
    def of(
        cls, companion: Companion, query: Query, count: int, sides: Sequence[Side] = SIDES
    ) -> Second | None:
        """`None` without such an embedding, for a query without words, and where `sides` have no texts.

        Args:
            companion: Knows the vectors of texts, and is brought up to date here, once for a search.
            query: What is asked.
            count: Number of documents searched.
            sides: That are searched.
        """
        terms = [term for term in query.terms() if term.side == "text"]
        if not companion.is_used or not any(term.weight > 0 for term in terms):
            return None
        texts = companion.catch_up(count)
        samples = {side: companion.sample(side, texts) for side in SIDES}
        if not any(len(samples[side]) for side in sides):
            return None
        parts = [term.weight * companion.query(cast("str", term.content), texts) for term in terms]
        return cls(companion, texts, samples, unit(np.sum(parts, axis=0)))

    def asked(self, text: str) -> Second:
        """The same for another text."""
        return replace(self, vector=unit(self.companion.query(text, self.texts)))

    def near(self, n: int) -> list[str]:
        """Ids of the `n` nearest texts."""
        return [id_ for id_, _ in self.texts.near(self.vector.astype(np.float32), n)]

    def cosines(self, ids: Sequence[str]) -> FloatArray:
        """Of the texts of rows with the query; NaN without a vector [n]."""
        vectors = self.texts.of(ids)
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

    def relevances(self, side: Side, cosines: FloatArray, count: int) -> FloatArray:
        """How sure one can be of each row, from 0 to 1 [n]; see `ranking.relevance`.

        Args:
            side: Of the rows.
            cosines: Theirs with the query [n].
            count: Number of documents searched.
        """
        likeness = self.companion.background(side, self.samples).likeness
        if likeness is None:  # too few to know what chance is
            return np.clip(cosines, 0.0, 1.0)
        return relevance((cosines - likeness[0]) / max(likeness[1], _TINY), count)


@dataclass(frozen=True)
class Beside:
    """What else is known for a query.

    Attributes:
        matches: What the words of rows say, by id.
        chance: What words score by chance.
        second: The query for second vectors.
    """

    matches: Mapping[str, KeywordMatch] = field(default_factory=dict)
    chance: Chance | None = None
    second: Second | None = None

    def without(self, ids: Collection[str]) -> Beside:
        """The same, but what the words of these rows say does not count."""
        return replace(self, matches={id_: m for id_, m in self.matches.items() if id_ not in ids})

    def __bool__(self) -> bool:
        return bool(self.matches) or self.second is not None

    def ids(self, n: int) -> list[str]:
        """Rows that may answer the query for what is known here, `n` or fewer of each kind."""
        return [*list(self.matches)[:n], *(self.second.near(n) if self.second else ())]

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
        if self.chance is not None and self.matches:
            words = {side: [match_of(self.matches, *row) for row in rows[side]] for side in scores}
            scores, relevance = fused(scores, relevance, words, self.chance)
        return scores, relevance


def match_of(matches: Mapping[str, KeywordMatch], id_: str, entry: Entry) -> KeywordMatch | None:
    """What the words of a row say, or of the text it is a window of."""
    return matches.get(id_) or matches.get(entry.parent or id_)
