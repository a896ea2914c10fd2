"""`mmrag eval`: from the name of some data to a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langchain_core.documents import Document

from langchain_mmrag.errors import DatasetError, SourceNotFoundError
from langchain_mmrag.evaluation.builders import answers, captions, folder, protocols, vectors
from langchain_mmrag.evaluation.builders.protocols import Protocol
from langchain_mmrag.evaluation.dataset import RetrievalDataset, with_words
from langchain_mmrag.evaluation.jsonl import has_documents, load_dataset
from langchain_mmrag.evaluation.metrics import check_extra, default_measures
from langchain_mmrag.evaluation.patterns import Pattern, PatternReport, compare_patterns
from langchain_mmrag.evaluation.published import published_figures, published_measures
from langchain_mmrag.evaluation.report import Published, Report
from langchain_mmrag.evaluation.runner import IdOf, OnProgress, evaluate
from langchain_mmrag.evaluation.stores import collection_of, documents_of, retrievers_of, ways
from langchain_mmrag.evaluation.thresholds import ThresholdTable, held_out, measure_thresholds
from langchain_mmrag.ranking import Rank, SearchMode
from langchain_mmrag.types import SOURCE


@dataclass(frozen=True)
class Settings:
    """What the command is told.

    Attributes:
        ranks: Ways of ranking; the first is what the others are compared with.
        searches: Ways of searching; `None` is the store's own. With one that goes by words, queries that
            are a picture alone are left out.
        protocol: For captioned pictures and vectors.
        share: Of pictures in a mixed collection.
        k: How many documents count.
        limit: At most so many captioned pictures, or queries of other data.
        seed: Of everything that is drawn.
        split: Of a Karpathy file.
        images: Folder of the pictures of a file of captions.
        template: Question in words for a label.
        thresholds: Whether to measure relevance thresholds as well.
        patterns: Patterns of RAG to compare, in place of ways of ranking and searching.
        llm: A chat model to answer in each pattern.
    """

    ranks: Sequence[Rank] = ("raw", "calibrated")
    searches: Sequence[SearchMode | None] = (None,)
    protocol: Protocol = "mixed"
    share: float = 0.5
    k: int = 10
    limit: int | None = None
    seed: int = 0
    split: str = "test"
    images: Path | None = None
    template: str = folder.DEFAULT_TEMPLATE
    thresholds: bool = False
    patterns: Sequence[Pattern] = ()
    llm: Any | None = None


@dataclass(frozen=True)
class Sources:
    """Where the command gets what it does not make itself.

    Attributes:
        embedding: Loads the model that was named, or the one fit for all data.
        store: Opens the collection that exists, for data without documents of its own.
        drawn: By name what is drawn into a folder; each returns the data and the model that knows them.
    """

    embedding: Callable[[], Any]
    store: Callable[[], Any]
    drawn: Mapping[str, Callable[[Path], tuple[RetrievalDataset, Any]]]


@dataclass(frozen=True)
class Outcome:
    """What the command found.

    Attributes:
        report: Of the ranking.
        thresholds: By way of ranking, if they were asked for.
        patterns: What was sent and answered, if patterns were compared; the report is of what they found.
    """

    report: Report
    thresholds: dict[str, ThresholdTable] = field(default_factory=dict)
    patterns: PatternReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain types."""
        return {
            **self.report.to_dict(),
            "thresholds": {name: table.to_dict() for name, table in self.thresholds.items()},
            **({} if self.patterns is None else self.patterns.beside_retrieval()),
        }

    def to_markdown(self) -> str:
        """Everything as tables."""
        tables = [f"{name}. {table.to_markdown()}" for name, table in self.thresholds.items()]
        further = [] if self.patterns is None else self.patterns.further_tables()
        return "\n\n".join([self.report.to_markdown(), *further, *tables])


@dataclass(frozen=True)
class _Subject:
    """Data that is ready to be measured on."""

    dataset: RetrievalDataset
    embedding: Any = None
    text_embedding: Any = None
    store: Any = None
    id_of: IdOf = lambda document: document.id
    measures: Sequence[str] = ()
    published: Sequence[Published] = ()

    def opened(self, on_progress: OnProgress) -> AbstractContextManager[Any]:
        """Its collection."""
        if self.store is not None:
            return nullcontext(self.store)
        return collection_of(self.dataset, self.embedding, on_progress, text_embedding=self.text_embedding)


def run_evaluation(
    source: str,
    settings: Settings,
    sources: Sources,
    on_progress: Callable[[str], AbstractContextManager[OnProgress]] = lambda _: nullcontext(lambda *_: None),
) -> Outcome:
    """Measure the ways of ranking named in `settings` on some data.

    Args:
        source: One of the names in `sources.drawn`, or the path of a dataset (`.jsonl`), a log of answered
            questions (`.jsonl`), an array of vectors (`.npy`), a file of captions, or a folder of captioned
            or labelled pictures.
        settings: How.
        sources: Models and collections.
        on_progress: Opens a bar of a title.

    Raises:
        DatasetError: If the data contradict themselves or do not fit the settings.
        MissingDependencyError: If the extra `eval` is not installed.
        SourceNotFoundError: If there is no such file or folder.
    """
    check_extra()
    if settings.patterns:
        return _patterns(source, settings, sources, on_progress)
    with TemporaryDirectory(prefix="mmrag_eval_") as work:
        subject = _subject(source, settings, sources, Path(work))
        if any(search not in {None, "vector"} for search in settings.searches):
            subject = replace(subject, dataset=with_words(subject.dataset))
        _check_depth(subject.dataset, settings.k)
        with on_progress("Embedding") as step, subject.opened(step) as store:
            report = _report(subject, store, settings, on_progress)
            tables = {}
            if settings.thresholds and subject.dataset.unrelated:
                tables = _thresholds(subject, store, settings)
        if settings.thresholds and not tables:
            if subject.store is not None:
                msg = f"{source}: thresholds need questions that nothing answers: mark some unrelated"
                raise DatasetError(msg)
            apart = replace(subject, dataset=held_out(subject.dataset, seed=settings.seed))
            with on_progress("Embedding") as step, apart.opened(step) as store:
                tables = _thresholds(apart, store, settings)
        return Outcome(report, tables)


def _patterns(
    source: str,
    settings: Settings,
    sources: Sources,
    on_progress: Callable[[str], AbstractContextManager[OnProgress]],
) -> Outcome:
    with TemporaryDirectory(prefix="mmrag_eval_") as work:
        if Path(source).suffix == ".npy":
            msg = f"{source}: ready vectors have no texts, and patterns compare what texts find"
            raise DatasetError(msg)
        subject = _subject(source, settings, sources, Path(work))
        # The model's own side for text serves as the embedding of texts: it is there, and needs no network.
        subject = replace(subject, dataset=with_words(subject.dataset), text_embedding=subject.embedding)
        _check_depth(subject.dataset, settings.k)
        with on_progress("Embedding") as step, subject.opened(step) as store, on_progress("Asking") as asking:
            found = compare_patterns(
                subject.dataset,
                store,
                settings.patterns,
                llm=settings.llm,
                k=settings.k,
                id_of=subject.id_of,
                seed=settings.seed,
                on_progress=asking,
            )
    return Outcome(found.retrieval, patterns=found)


def _subject(source: str, settings: Settings, sources: Sources, work: Path) -> _Subject:
    """The data of whatever kind `source` is."""
    path = Path(source)
    if source in sources.drawn:
        dataset, embedding = sources.drawn[source](work)
        return _Subject(dataset.limited(settings.limit, settings.seed), embedding)
    if not path.exists():
        names = " or ".join(sources.drawn)
        msg = f"there is no file or folder {source}: give a dataset, a folder, vectors as .npy, or {names}"
        raise SourceNotFoundError(msg)
    if path.suffix == ".npy":
        return _ready(path, settings, work)
    if path.suffix == ".jsonl":
        return _lines(path, settings, sources)
    if path.is_dir() and captions.captions_file(path) is None:
        labelled = folder.read_labelled(path, template=settings.template)
        return _Subject(labelled.limited(settings.limit, settings.seed), sources.embedding())
    return _captioned(path, settings, sources)


def _ready(path: Path, settings: Settings, work: Path) -> _Subject:
    if any(search not in {None, "vector"} for search in settings.searches):
        msg = f"{path}: the captions of ready vectors have no words: search by vector"
        raise DatasetError(msg)
    items, embedding = vectors.read_vectors(path, work)
    return _Subject(_by_protocol(path.stem, items, settings), embedding)


def _captioned(path: Path, settings: Settings, sources: Sources) -> _Subject:
    file = path if path.is_file() else captions.captions_file(path) or path
    items = captions.read_captions(file, split=settings.split, images=settings.images)
    dataset = _by_protocol(file.stem, items, settings)
    measures: list[str] = []
    if settings.protocol != "mixed":
        measures = [*published_measures(settings.k), f"ndcg@{settings.k}", f"mrr@{settings.k}"]
    published = published_figures(file.stem, settings.protocol) if settings.split == "test" else []
    return _Subject(dataset, sources.embedding(), measures=measures, published=published)


def _by_protocol(name: str, items: Sequence[captions.CaptionedImage], settings: Settings) -> RetrievalDataset:
    return protocols.build(
        name, items, settings.protocol, share=settings.share, limit=settings.limit, seed=settings.seed
    )


def _lines(path: Path, settings: Settings, sources: Sources) -> _Subject:
    if answers.is_log(path):
        store = sources.store()
        dataset, by = answers.read_answers(path, documents_of(store))
        subject = _Subject(dataset, store=store, id_of=_source_of if by == "sources" else lambda d: d.id)
    elif has_documents(path):
        subject = _Subject(load_dataset(path), sources.embedding())
    else:
        store = sources.store()
        subject = _Subject(load_dataset(path, documents_of(store)["ids"]), store=store)
    return replace(subject, dataset=subject.dataset.limited(settings.limit, settings.seed))


def _source_of(document: Document) -> str | None:
    found = document.metadata.get(SOURCE)
    return None if found is None else str(found)


def _check_depth(dataset: RetrievalDataset, k: int) -> None:
    """Before anything is embedded for nothing."""
    if k > len(dataset.documents):
        msg = f"k is {k}, but {dataset.name} has only {len(dataset.documents)} documents: lower k"
        raise DatasetError(msg)


def _report(
    subject: _Subject,
    store: Any,
    settings: Settings,
    on_progress: Callable[[str], AbstractContextManager[OnProgress]],
) -> Report:
    retrievers = retrievers_of(
        store, subject.dataset, k=settings.k, ranks=settings.ranks, searches=settings.searches
    )
    with on_progress("Asking") as step:
        report = evaluate(
            subject.dataset,
            retrievers,
            k=settings.k,
            measures=subject.measures or default_measures(settings.k),
            id_of=subject.id_of,
            seed=settings.seed,
            on_progress=step,
        )
    return replace(report, published=subject.published)


def _thresholds(subject: _Subject, store: Any, settings: Settings) -> dict[str, ThresholdTable]:
    more = max(len(query.exclude) for query in subject.dataset.queries)

    def scored(rank: Rank, search: SearchMode | None) -> Callable[[Any], Any]:
        how = {"rank": rank} if search is None else {"rank": rank, "search": search}
        return lambda query: store.similarity_search_with_relevance_scores(query, k=settings.k + more, **how)

    return {
        name: measure_thresholds(subject.dataset, scored(*way), id_of=subject.id_of)
        for name, way in ways(settings.ranks, settings.searches).items()
    }
