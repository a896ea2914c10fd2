"""The known patterns of multimodal RAG on the same questions: what is found, sent and answered.

| pattern | retrieval | what the model gets |
|---|---|---|
| `clip` | vectors of pictures and passages in one space | the pictures, and the passages |
| `caption` | texts alone: captions, summaries, passages | the texts, captions in place of pictures |
| `multi-vector` | the same texts | the picture or the whole table behind each |
| `fused` | vectors of pictures and passages, and the texts, as one ranking | the pictures, and the passages |

What is sent is taken from the very messages that `create_rag_chain` sends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from langchain_core.documents import Document
from langchain_core.language_models import SimpleChatModel
from langchain_core.runnables import Runnable
from pydantic import Field

from langchain_mmrag._chain.retrieving import RagPattern
from langchain_mmrag.budget import PromptBudget, budget_for
from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.evaluation.answered import Answered, AnswerScores, answer_scores
from langchain_mmrag.evaluation.dataset import EvalQuery, RetrievalDataset, with_words
from langchain_mmrag.evaluation.metrics import default_measures
from langchain_mmrag.evaluation.report import Report, scored, table
from langchain_mmrag.evaluation.runner import IdOf, OnProgress, evaluate
from langchain_mmrag.evaluation.sent import Scales, Sent
from langchain_mmrag.evaluation.statistics import RESAMPLES
from langchain_mmrag.ranking import SearchMode
from langchain_mmrag.retrievers import MultimodalRetriever

Pattern: TypeAlias = RagPattern | Literal["fused"]
"""One of a chain's, or `clip` with a retriever that searches by captions and words as well."""

PATTERNS: Final[tuple[Pattern, ...]] = (*get_args(RagPattern), "fused")
_SEARCHES: Final[Mapping[Pattern, SearchMode]] = {
    "clip": "vector",
    "caption": "text",
    "multi-vector": "text",
    "fused": "hybrid",
}


@dataclass(frozen=True)
class PatternReport:
    """What the patterns came to.

    Attributes:
        retrieval: What they found. `caption` and `multi-vector` search alike: where both are compared, they
            are one run, `caption, multi-vector`.
        sent: By pattern, what a model was sent for a question, in the mean over all questions.
        answers: By pattern, how good the answers were; empty without a model.
    """

    retrieval: Report
    sent: Mapping[str, Sent]
    answers: Mapping[str, AnswerScores]

    def to_dict(self) -> dict[str, Any]:
        """The report in plain types, ready for JSON."""
        return asdict(self)

    def beside_retrieval(self) -> dict[str, Any]:
        """What was sent and answered, in plain types."""
        return {name: value for name, value in self.to_dict().items() if name != "retrieval"}

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_markdown(self) -> str:
        """What was found, sent and answered, a table each."""
        return "\n\n".join([self.retrieval.to_markdown(), *self.further_tables()])

    def further_tables(self) -> list[str]:
        """The tables beside that of what was found."""
        header = ["sent for a question", "pictures", "tokens, about", "kB"]
        rows = [
            [name, f"{each.pictures:.1f}", f"{each.tokens:,.0f}", f"{each.bytes / 1000:,.1f}"]
            for name, each in self.sent.items()
        ]
        tables = [table(header, rows)]
        if self.answers:
            names = list(next(iter(self.answers.values())).scores)
            header = ["answers", *(f"{name.replace('_', ' ')} [95 %]" for name in names)]
            rows = [
                [name, *(_told(each.scores[column], each.counts[column]) for column in names)]
                for name, each in self.answers.items()
            ]
            tables.append(table(header, rows))
        return tables


def compare_patterns(
    dataset: RetrievalDataset,
    store: Any,
    patterns: Sequence[Pattern] = PATTERNS,
    *,
    llm: Any | None = None,
    k: int = 5,
    budget: PromptBudget | None = None,
    measures: Sequence[str] | None = None,
    id_of: IdOf = lambda document: document.id,
    chain: Mapping[str, Any] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    on_progress: OnProgress | None = None,
) -> PatternReport:
    """Compare patterns of multimodal RAG on a collection.

    ```python
    report = compare_patterns(dataset, store, llm=init_chat_model("ollama:<model>"), k=5)
    print(report.to_markdown())
    ```

    Questions that are a picture alone are left out, as texts cannot be searched with them.

    Args:
        dataset: Questions, documents and what answers; `EvalQuery.answers` are what an answer should contain.
        store: A `MultimodalChroma` with the documents. Its `text_embedding`, if it has one, counts for
            all but `clip`.
        patterns: Which; the first is what the others are compared with.
        llm: A chat model, which is asked every question once for each pattern. Without one, what would have
            been sent is measured all the same.
        k: How many documents are found, and go to the model.
        budget: Of the prompts.
        measures: Of what is found; names as in `metrics`.
        id_of: The id of a document found, as relevance names it.
        chain: Further keywords of `create_rag_chain`, such as `prompt` or `score_threshold`.
        seed: Of the intervals and tests.
        resamples: How many samples they are made of.
        on_progress: Told what was done, of how much, and by which pattern.

    Raises:
        DatasetError: If no question has words, or `k` is larger than the collection.
        MissingDependencyError: If the extra `eval` is not installed.
        ValueError: If there is no pattern, or no such one.
    """
    if not patterns or (unknown := [name for name in patterns if name not in PATTERNS]):
        said = f"unknown pattern {unknown[0]!r}" if patterns else "there is no pattern to compare"
        msg = f"{said}: use some of {', '.join(PATTERNS)}"
        raise ValueError(msg)
    dataset = with_words(dataset)
    more = max((len(query.exclude) for query in dataset.queries), default=0)
    retrieval = evaluate(
        dataset,
        {name: _retriever(store, pattern, k + more) for name, pattern in _searches(patterns).items()},
        k=k,
        measures=measures or default_measures(k),
        id_of=id_of,
        seed=seed,
        resamples=resamples,
        on_progress=on_progress,
    )
    options = {"budget": budget_for(llm, budget), "media_policy": store.media_policy, **(chain or {})}
    sent: dict[str, Sent] = {}
    answers: dict[str, AnswerScores] = {}
    for place, pattern in enumerate(patterns):

        def step(done: int, pattern: str = pattern, place: int = place) -> None:
            if on_progress is not None:
                total = len(dataset.queries)
                on_progress(place * total + done, len(patterns) * total, f"answers, {pattern}")

        scales = Scales(bound=llm or _Mute(), family=options["budget"].family)
        shows: RagPattern = "clip" if pattern == "fused" else pattern
        rag = create_rag_chain(_retriever(store, pattern, k), scales, pattern=shows, **options)
        asked = _ask(dataset.queries, rag, scales, step)
        sent[pattern] = Sent.mean(asked.sent)
        if llm is not None:
            found = [
                _answered(query, row, dataset, id_of)
                for query, row in zip(dataset.queries, asked.rows, strict=True)
            ]
            answers[pattern] = answer_scores(found, seed=seed, resamples=resamples)
    return PatternReport(retrieval, sent, answers)


@dataclass(frozen=True)
class _Asked:
    rows: Sequence[Mapping[str, Any]]
    sent: Sequence[Sent]


class _Mute(SimpleChatModel):
    """Stands where a chat model would, and says nothing: so that what it is sent can be measured."""

    profile: Any = Field(default_factory=lambda: {"image_inputs": True})

    @property
    def _llm_type(self) -> str:
        return "mute"

    def _call(self, *_: Any, **__: Any) -> str:
        return ""


def _searches(patterns: Sequence[Pattern]) -> dict[str, Pattern]:
    """One pattern for each way of searching, by the names of all that search so."""
    alike: dict[str, list[Pattern]] = {}
    for pattern in patterns:
        alike.setdefault(_SEARCHES[pattern], []).append(pattern)
    return {", ".join(names): names[0] for names in alike.values()}


def _retriever(store: Any, pattern: Pattern, k: int) -> MultimodalRetriever:
    searched = store.without_text_embedding() if pattern == "clip" else store
    return MultimodalRetriever(store=searched, k=k, search=_SEARCHES[pattern])


def _ask(
    queries: Sequence[EvalQuery],
    chain: Runnable[Any, dict[str, Any]],
    scales: Scales,
    on_query: Callable[[int], None],
) -> _Asked:
    rows, sent = [], []
    for done, query in enumerate(queries, start=1):
        scales.weighed.clear()
        rows.append(chain.invoke({"input": query.ask()}))
        sent.append(Sent.total(scales.weighed))
        on_query(done)
    return _Asked(rows, sent)


def _answered(query: EvalQuery, row: Mapping[str, Any], dataset: RetrievalDataset, id_of: IdOf) -> Answered:
    """What an answer is held against."""
    context: Sequence[Document] = row["context"]
    grades = dataset.relevance.get(query.id, {})
    given = [id_of(document) for document in context]
    return Answered(
        answer=row["answer"],
        references=query.answers,
        cited=frozenset(str(given[each["number"] - 1]) for each in row["citations"]),
        relevant=frozenset(str(id_) for id_ in given if grades.get(str(id_), 0) > 0),
        is_answerable=not query.unrelated,
    )


def _told(value: Any, count: int) -> str:
    return "" if value is None or np.isnan(value.mean) else f"{scored(value)} ({count})"
