"""What a relevance threshold costs and saves: false alarms of questions nothing answers, and misses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from langchain_core.documents import Document

from langchain_mmrag.errors import DatasetError
from langchain_mmrag.evaluation.dataset import EvalQuery, RetrievalDataset
from langchain_mmrag.evaluation.report import table
from langchain_mmrag.evaluation.runner import IdOf
from langchain_mmrag.queries import Query

DEFAULT_THRESHOLDS: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)

Scored = Callable[[str | Query], Sequence[tuple[Document, float]]]
"""From a query to documents with their relevance, 0 to 1, best first."""


@dataclass(frozen=True)
class ThresholdRow:
    """What one threshold does.

    Attributes:
        threshold: Only documents of at least this relevance are returned.
        false_positive_rate: Share of the unrelated queries that still get a document.
        miss_rate: Share of the related queries that get no document that answers them.
        documents: Mean number of documents a related query gets.
        precision: Share of those that answer it; `None` where there are none.
    """

    threshold: float
    false_positive_rate: float
    miss_rate: float
    documents: float
    precision: float | None


@dataclass(frozen=True)
class ThresholdTable:
    """Thresholds of one retriever, side by side.

    Attributes:
        related: Number of queries that something answers.
        unrelated: Number of queries that nothing answers.
        rows: In the order of the thresholds.
    """

    related: int
    unrelated: int
    rows: Sequence[ThresholdRow]

    def to_dict(self) -> dict[str, Any]:
        """The table in plain types."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The table as Markdown."""
        header = ["threshold", "false positives", "misses", "documents a query", "of them relevant"]
        rows = [
            [
                f"{row.threshold:g}",
                f"{row.false_positive_rate:.3f}",
                f"{row.miss_rate:.3f}",
                f"{row.documents:.1f}",
                "" if row.precision is None else f"{row.precision:.3f}",
            ]
            for row in self.rows
        ]
        heading = f"Thresholds: {self.related} related queries, {self.unrelated} that nothing answers"
        return f"{heading}\n\n{table(header, rows)}"


def measure_thresholds(
    dataset: RetrievalDataset,
    scored: Scored,
    thresholds: Iterable[float] = DEFAULT_THRESHOLDS,
    *,
    id_of: IdOf = lambda document: document.id,
) -> ThresholdTable:
    """False-positive rate and miss rate at each threshold.

    ```python
    measure_thresholds(dataset, lambda q: store.similarity_search_with_relevance_scores(q, k=10))
    ```

    Args:
        dataset: With related and with unrelated queries; `held_out` makes the latter.
        scored: Whom to ask.
        thresholds: From 0 to 1.
        id_of: The id of a document found, as relevance names it.

    Raises:
        DatasetError: If there are no related or no unrelated queries.
        ValueError: If a threshold is not from 0 to 1.
    """
    thresholds = sorted(set(thresholds))
    if wrong := [value for value in thresholds if not 0 <= value <= 1]:
        msg = f"a threshold is a relevance from 0 to 1, not {wrong[0]}"
        raise ValueError(msg)
    if not dataset.related or not dataset.unrelated:
        which = "unrelated" if dataset.related else "related"
        msg = f"{dataset.name}: there are no {which} queries: mark some, or make them with held_out"
        raise DatasetError(msg)
    answers = [
        _judged(query, scored, dataset.relevance.get(query.id, {}), id_of) for query in dataset.related
    ]
    alarms = np.array(
        [
            max((score for score, _ in _judged(query, scored, {}, id_of)), default=-1.0)
            for query in dataset.unrelated
        ]
    )
    rows = [_row(threshold, answers, float((alarms >= threshold).mean())) for threshold in thresholds]
    return ThresholdTable(len(answers), len(alarms), rows)


def held_out(dataset: RetrievalDataset, share: float = 0.5, seed: int = 0) -> RetrievalDataset:
    """The dataset with unrelated queries, made by taking out the documents that answer some of its own.

    Such queries are hard: they ask for what the collection might well hold. Of related queries, a document
    that also answers one of the others is lost; those that lose all become unrelated.

    Args:
        dataset: Any.
        share: Of the related queries that become unrelated.
        seed: Of the choice.

    Raises:
        DatasetError: If nothing is left on either side.
    """
    related = dataset.related
    order = np.random.default_rng(seed).permutation(len(related))
    chosen = [related[place] for place in order[: max(1, round(share * len(related)))].tolist()]
    gone = {id_ for query in chosen for id_, grade in dataset.relevance[query.id].items() if grade > 0}
    kept = {
        query.id: {
            id_: grade for id_, grade in dataset.relevance.get(query.id, {}).items() if id_ not in gone
        }
        for query in dataset.queries
    }
    queries = [replace(query, unrelated=not any(kept[query.id].values())) for query in dataset.queries]
    documents = [document for document in dataset.documents if document.id not in gone]
    if not documents or not any(not query.unrelated for query in queries):
        msg = (
            f"{dataset.name}: taking out what answers {len(chosen)} queries leaves nothing to ask for: "
            "add queries marked unrelated instead"
        )
        raise DatasetError(msg)
    return RetrievalDataset(f"{dataset.name}, answers held out", queries, documents, kept)


def _judged(
    query: EvalQuery, scored: Scored, grades: Mapping[str, int], id_of: IdOf
) -> list[tuple[float, bool]]:
    """Relevance of each document found, and whether it answers the query."""
    judged = []
    for document, score in scored(query.ask()):
        id_ = id_of(document) or ""
        if id_ not in query.exclude:
            judged.append((score, grades.get(id_, 0) > 0))
    return judged


def _row(threshold: float, answers: Sequence[Sequence[tuple[float, bool]]], alarms: float) -> ThresholdRow:
    kept = [[right for score, right in found if score >= threshold] for found in answers]
    count = sum(map(len, kept))
    return ThresholdRow(
        threshold=threshold,
        false_positive_rate=alarms,
        miss_rate=sum(not any(found) for found in kept) / len(kept),
        documents=count / len(kept),
        precision=sum(map(sum, kept)) / count if count else None,
    )
