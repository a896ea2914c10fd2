"""How good answers are: whether they say, cite and refuse what they should.

| score | of one answer | over which questions |
|---|---|---|
| `contains` | whether it contains one of the reference answers, both normalised | with reference answers |
| `f1` | harmonic mean of precision and recall of its words, for the best reference | the same |
| `citation_precision` | share of the documents it cites that are relevant | answerable, some cited |
| `citation_recall` | share of the relevant documents given to it that it cites | answerable, some given |
| `refused` | whether it refuses | that nothing answers |
| `wrongly_refused` | whether it refuses | answerable |

Normalised is lower case without punctuation and articles, and F1 counts words as often as they occur, as for
SQuAD (Rajpurkar et al. 2016). Long answers have a low F1 by their length. Citations are counted as in ALCE
(Gao et al. 2023), but against known relevance in place of a judge. An answer refuses if it cites nothing:
the prompt asks for a citation after every statement, and for none where the evidence does not answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from langchain_mmrag.citations import pieces_of
from langchain_mmrag.evaluation.statistics import RESAMPLES, Score, score

_ARTICLES: Final = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An answer, and what it is held against.

    Attributes:
        answer: What was said.
        references: Answers of which one would do; empty if none is known.
        cited: Ids of the documents that are cited.
        relevant: Ids of those documents given to the model that answer the question.
        is_answerable: Whether anything in the collection answers it.
    """

    answer: str
    references: tuple[str, ...] = ()
    cited: frozenset[str] = frozenset()
    relevant: frozenset[str] = frozenset()
    is_answerable: bool = True


@dataclass(frozen=True)
class AnswerScores:
    """How good answers were; see the module for what is counted.

    Attributes:
        scores: By name; `None` where no question counts.
        counts: How many questions each is made of.
    """

    scores: dict[str, Score | None]
    counts: dict[str, int]


def answer_scores(answered: Sequence[Answered], *, seed: int = 0, resamples: int = RESAMPLES) -> AnswerScores:
    """The mean of each score over the questions it counts for, with intervals."""
    values = {
        name: [value for each in answered if (value := of(each)) is not None] for name, of in SCORES.items()
    }
    scores = {
        name: score(np.array(each), seed=seed, resamples=resamples) if each else None
        for name, each in values.items()
    }
    return AnswerScores(scores, {name: len(each) for name, each in values.items()})


def normalised(text: str) -> str:
    """Text as answers are compared: lower case, without citations, punctuation, articles."""
    text = " ".join(piece.text for piece in pieces_of(text) if piece.numbers is None).lower()
    text = "".join(char for char in text if not unicodedata.category(char).startswith("P"))
    return " ".join(_ARTICLES.sub(" ", text).split())


def contains(each: Answered) -> float | None:
    """1 if the answer has all words of a reference in a row."""
    if not each.references:
        return None
    said = f" {normalised(each.answer)} "
    return float(any(f" {normalised(reference)} " in said for reference in each.references))


def f1(each: Answered) -> float | None:
    """Overlap of words with the best of the references, from 0 to 1."""
    if not each.references:
        return None
    return max(_f1(normalised(each.answer).split(), normalised(known).split()) for known in each.references)


def _f1(said: Sequence[str], known: Sequence[str]) -> float:
    common = sum((Counter(said) & Counter(known)).values())
    return 2 * common / (len(said) + len(known)) if common else 0.0


def citation_precision(each: Answered) -> float | None:
    """Share of what is cited that is relevant."""
    if not each.is_answerable or not each.cited:
        return None
    return len(each.cited & each.relevant) / len(each.cited)


def citation_recall(each: Answered) -> float | None:
    """Share of the relevant documents at hand that are cited."""
    if not each.is_answerable or not each.relevant:
        return None
    return len(each.cited & each.relevant) / len(each.relevant)


def refused(each: Answered) -> float | None:
    """1 if a question that nothing answers is refused."""
    return None if each.is_answerable else float(not each.cited)


def wrongly_refused(each: Answered) -> float | None:
    """1 if a question that something answers is refused."""
    return float(not each.cited) if each.is_answerable else None


SCORES: Final[dict[str, Callable[[Answered], float | None]]] = {
    "contains": contains,
    "f1": f1,
    "citation_precision": citation_precision,
    "citation_recall": citation_recall,
    "refused": refused,
    "wrongly_refused": wrongly_refused,
}
"""Each score of one answer, by name; `None` where the question does not count for it."""
