"""Ask every query of every retriever, and hold what comes back against the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, TypeAlias

import numpy as np
from langchain_core.documents import Document

from langchain_mmrag.errors import DatasetError
from langchain_mmrag.evaluation.dataset import EvalQuery, RetrievalDataset
from langchain_mmrag.evaluation.metrics import check_extra, cutoff, default_measures, per_query
from langchain_mmrag.evaluation.report import ALL, Cell, Comparison, Latency, Report, Run
from langchain_mmrag.evaluation.statistics import RESAMPLES, difference, score
from langchain_mmrag.queries import Query
from langchain_mmrag.ranking import FloatArray
from langchain_mmrag.types import modality_of

Found: TypeAlias = Sequence[Document | tuple[Document, float] | str]
"""What a retriever returns, best first: documents, documents with scores, or ids."""


class Invokable(Protocol):
    """Anything with LangChain's `invoke`, such as a retriever."""

    def invoke(self, input: Any) -> Any:  # noqa: A002 - LangChain's name
        """The documents for a query."""


Retriever: TypeAlias = "Invokable | Callable[[str | Query], Found]"
IdOf: TypeAlias = Callable[[Document], str | None]
OnProgress: TypeAlias = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Rankings:
    """What one retriever found.

    Attributes:
        ids: For each query the documents found, best first, each once.
        modalities: Of the same documents.
        seconds: How long each query took [n].
    """

    ids: list[list[str]]
    modalities: list[list[str]]
    seconds: FloatArray


def evaluate(
    dataset: RetrievalDataset,
    retrievers: Retriever | Mapping[str, Retriever],
    *,
    k: int = 10,
    measures: Sequence[str] | None = None,
    id_of: IdOf = lambda document: document.id,
    seed: int = 0,
    resamples: int = RESAMPLES,
    on_progress: OnProgress | None = None,
) -> Report:
    """Measure retrievers on a dataset.

    ```python
    report = evaluate(dataset, {"raw": store.as_retriever(), "fair": MultimodalRetriever(store=store, k=10)})
    print(report.to_markdown())
    ```

    Args:
        dataset: Questions, documents and answers.
        retrievers: A LangChain retriever or a callable, or several by name; the first is what the others
            are compared with. Each should return `k` documents, and as many more as a query excludes. They
            are called with a `str`, or a `Query` where there is a picture.
        k: How many of the documents found count.
        measures: Names as in `metrics`, the most important first.
        id_of: The id of a document found, as relevance names it; `document.metadata["source"]` for
            relevance by source, say.
        seed: Of the intervals and tests.
        resamples: How many samples they are made of.
        on_progress: Told what was done, of how much, and by which retriever.

    Raises:
        DatasetError: If no query is related, `k` is larger than the collection, or a
            document found has no id.
        MissingDependencyError: If the extra `eval` is not installed.
        ValueError: If there is no such measure, or no retriever.
    """
    named = dict(retrievers) if isinstance(retrievers, Mapping) else {"retriever": retrievers}
    check_extra()
    measures = list(measures or default_measures(k))
    _check(dataset, named, k, measures)
    queries = dataset.related
    runs: dict[str, Run] = {}
    values: dict[str, dict[tuple[str, str], dict[str, FloatArray]]] = {}
    for place, (name, retriever) in enumerate(named.items()):

        def step(done: int, name: str = name, place: int = place) -> None:
            if on_progress is not None:
                on_progress(place * len(queries) + done, len(named) * len(queries), name)

        found = collect(queries, retriever, k, id_of=id_of, modalities=dataset.modalities, on_query=step)
        values[name] = _values(dataset, queries, found, measures)
        runs[name] = _run(dataset, found, values[name], (seed, resamples))
    comparisons = _comparisons(values, (seed, resamples))
    settings = {
        "k": k,
        "seed": seed,
        "resamples": resamples,
        "documents": _counts(dataset.modalities.values()),
    }
    return Report(dataset.name, len(queries), measures, runs, comparisons, settings)


def collect(
    queries: Sequence[EvalQuery],
    retriever: Retriever,
    k: int,
    *,
    id_of: IdOf = lambda document: document.id,
    modalities: Mapping[str, str] | None = None,
    on_query: Callable[[int], None] = lambda _: None,
) -> Rankings:
    """Ask every query, and keep the first `k` documents that it does not exclude.

    Args:
        queries: What to ask. The first is asked twice, once unmeasured: it may load a model.
        retriever: Whom to ask.
        k: How many documents to keep.
        id_of: As for `evaluate`.
        modalities: Of documents, by id; of others their metadata is asked.
        on_query: Told how many queries are done.

    Raises:
        DatasetError: If a document found has no id.
    """
    ask: Callable[[Any], Any] = getattr(retriever, "invoke", None) or retriever  # type: ignore[assignment]
    ids: list[list[str]] = []
    kinds: list[list[str]] = []
    seconds: list[float] = []
    for done, query in enumerate(queries, start=1):
        if done == 1:
            ask(query.ask())
        start = perf_counter()
        found = ask(query.ask())
        seconds.append(perf_counter() - start)
        known = {id_: kind for id_, kind in _identified(found, id_of) if id_ not in query.exclude}
        ids.append(list(known)[:k])
        kinds.append([(modalities or {}).get(id_, known[id_]) for id_ in ids[-1]])
        on_query(done)
    return Rankings(ids, kinds, np.array(seconds))


def _identified(found: Found, id_of: IdOf) -> Iterable[tuple[str, str]]:
    """Id and modality of each document found; of one found twice, the first place counts."""
    seen: set[str] = set()
    for each in found:
        document = each[0] if isinstance(each, tuple) else each
        if isinstance(document, str):
            id_, kind = document, "text"
        else:
            given, kind = id_of(document), modality_of(document.metadata)
            if given is None:
                said = repr(document.page_content[:40])
                msg = f"a document found has no id ({said}): say with id_of what tells documents apart"
                raise DatasetError(msg)
            id_ = given
        if id_ not in seen:
            seen.add(id_)
            yield id_, kind


def _check(
    dataset: RetrievalDataset, named: Mapping[str, Retriever], k: int, measures: Sequence[str]
) -> None:
    if not named:
        msg = "there is no retriever to evaluate"
        raise ValueError(msg)
    if k < 1:
        msg = f"k must be at least 1, not {k}"
        raise ValueError(msg)
    if deeper := [name for name in measures if cutoff(name) > k]:
        msg = f"{deeper[0]} looks beyond the k of {k} documents that are kept: raise k"
        raise ValueError(msg)
    if k > len(dataset.documents):
        msg = f"k is {k}, but {dataset.name} has only {len(dataset.documents)} documents: lower k"
        raise DatasetError(msg)
    if not dataset.related:
        msg = f"{dataset.name}: every query is unrelated, there is no ranking to measure: add related ones"
        raise DatasetError(msg)


def _values(
    dataset: RetrievalDataset, queries: Sequence[EvalQuery], found: Rankings, measures: Sequence[str]
) -> dict[tuple[str, str], dict[str, FloatArray]]:
    """Each measure of each query, for all and for every pair of query modality and target modality.

    For a pair, documents that answer the query in another modality neither count nor stand in the way.
    """
    grades = [dataset.relevance[query.id] for query in queries]
    values = {ALL: per_query(found.ids, grades, measures)}
    for kind in sorted({query.kind for query in queries}):
        for target in sorted(set(dataset.modalities.values())):
            rows, aims = [], []
            for query, ids, known in zip(queries, found.ids, grades, strict=True):
                aim = {i: g for i, g in known.items() if g > 0 and dataset.modalities[i] == target}
                if query.kind == kind and aim:
                    rows.append([id_ for id_ in ids if id_ in aim or known.get(id_, 0) <= 0])
                    aims.append(aim)
            if rows:
                values[kind, target] = per_query(rows, aims, measures)
    return values


def _run(
    dataset: RetrievalDataset,
    found: Rankings,
    values: Mapping[tuple[str, str], Mapping[str, FloatArray]],
    chance: tuple[int, int],
) -> Run:
    seed, resamples = chance
    cells = [
        Cell(
            query,
            target,
            len(next(iter(each.values()))),
            {name: score(column, seed=seed, resamples=resamples) for name, column in each.items()},
        )
        for (query, target), each in values.items()
    ]
    p50, p90 = (float(1000 * seconds) for seconds in np.quantile(found.seconds, [0.5, 0.9]))
    return Run(cells, _mix(dataset.related, found.modalities), Latency(p50, p90))


def _mix(queries: Sequence[EvalQuery], shown: Sequence[Sequence[str]]) -> dict[str, dict[str, float]]:
    """Share of each modality in what was found, for all queries and for those of each modality."""
    mix = {}
    for kind in (ALL[0], *sorted({query.kind for query in queries})):
        pairs = zip(queries, shown, strict=True)
        counts = _counts(each for query, found in pairs if kind in {ALL[0], query.kind} for each in found)
        total = max(1, sum(counts.values()))
        mix[kind] = {modality: count / total for modality, count in sorted(counts.items())}
    return mix


def _comparisons(
    values: Mapping[str, Mapping[tuple[str, str], Mapping[str, FloatArray]]], chance: tuple[int, int]
) -> list[Comparison]:
    seed, resamples = chance
    baseline, *others = values
    return [
        Comparison(name, baseline, query, target, measure, difference(a, b, seed=seed, resamples=resamples))
        for name in others
        for (query, target), columns in values[baseline].items()
        for measure, a in columns.items()
        for b in [values[name][query, target][measure]]
    ]


def _counts(kinds: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return counts
