"""What is measured on: questions, documents, and which of them answer which."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from langchain_mmrag.errors import DatasetError
from langchain_mmrag.queries import Query
from langchain_mmrag.types import MODALITY, SOURCE, modality_of


@dataclass(frozen=True, kw_only=True)
class EvalQuery:
    """One question of a dataset.

    Attributes:
        id: Its name, unique among the questions.
        text: Words.
        image: Path or URL of a picture.
        modality: The row of the breakdown it counts in; by default `text`, `image` or `text+image`.
        exclude: Documents that do not count for it, such as the picture it asks with.
        unrelated: Nothing in the collection answers it: for thresholds, and for answers that should refuse.
        answers: What a right answer contains, in one wording or another: for answers of a model.
    """

    id: str
    text: str | None = None
    image: str | None = None
    modality: str | None = None
    exclude: tuple[str, ...] = ()
    unrelated: bool = False
    answers: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What it is asked with."""
        parts = [name for name in ("text", "image") if getattr(self, name) is not None]
        return self.modality or "+".join(parts)

    def ask(self) -> str | Query:
        """What a retriever is called with: words as `str`, which every retriever takes, else a `Query`."""
        if self.image is None:
            return self.text or ""
        return Query(text=self.text, image=self.image)


@dataclass(frozen=True, kw_only=True)
class EvalDocument:
    """One document of the collection: a passage, or a picture with or without a caption.

    Attributes:
        id: Its name, unique among the documents.
        text: Passage or caption.
        image: Path or URL of the picture.
        metadata: What else is stored with it.
    """

    id: str
    text: str = ""
    image: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def modality(self) -> str:
        """`image` if there is one, else what the metadata says."""
        return "image" if self.image is not None else modality_of(self.metadata)

    def to_document(self) -> Document:
        """The document as a store takes it."""
        metadata = dict(self.metadata)
        if self.image is not None:
            metadata |= {MODALITY: "image", SOURCE: self.image}
        return Document(id=self.id, page_content=self.text, metadata=metadata)


@dataclass(frozen=True)
class Problem:
    """What is wrong with a dataset: with a query or a document, by its id, or with all of it."""

    message: str
    query: str | None = None
    document: str | None = None


@dataclass(frozen=True)
class RetrievalDataset:
    """Questions, documents and graded relevance.

    Attributes:
        name: What reports call it.
        queries: The questions.
        documents: All documents that can be found.
        relevance: For each question the documents that answer it, with a grade: 1 and more for those that
            do, more for those that do better, 0 for those known not to.

    Raises:
        DatasetError: If an id is there twice, relevance names what is not there, nothing answers a question
            that is not marked unrelated, or there are no questions or documents.
    """

    name: str
    queries: Sequence[EvalQuery]
    documents: Sequence[EvalDocument]
    relevance: Mapping[str, Mapping[str, int]]

    def __post_init__(self) -> None:
        problem = next(_problems(self), None)
        if problem is not None:
            msg = f"{self.name}: {problem.message}"
            raise DatasetError(msg, problem)

    @cached_property
    def modalities(self) -> dict[str, str]:
        """Of each document."""
        return {document.id: document.modality for document in self.documents}

    @property
    def related(self) -> list[EvalQuery]:
        """The questions that something answers: what ranking is measured on."""
        return [query for query in self.queries if not query.unrelated]

    @property
    def unrelated(self) -> list[EvalQuery]:
        """The questions that nothing answers."""
        return [query for query in self.queries if query.unrelated]

    def limited(self, count: int | None, seed: int = 0) -> RetrievalDataset:
        """This with at most `count` questions, drawn at random; the documents stay."""
        if count is None or count >= len(self.queries):
            return self
        import numpy as np

        drawn = np.random.default_rng(seed).choice(len(self.queries), count, replace=False)
        return replace(self, queries=[self.queries[place] for place in sorted(drawn.tolist())])


def with_words(dataset: RetrievalDataset) -> RetrievalDataset:
    """A dataset without the queries that are a picture alone: a search by words cannot take them.

    Raises:
        DatasetError: If there are no others.
    """
    queries = [query for query in dataset.queries if (query.text or "").strip()]
    left_out = len(dataset.queries) - len(queries)
    if not queries:
        msg = f"{dataset.name}: every query is a picture without words: search by vector"
        raise DatasetError(msg)
    note = f", without {left_out} queries that are pictures alone" if left_out else ""
    return replace(dataset, name=f"{dataset.name}{note}", queries=queries)


def missing_file(path: str | None) -> bool:
    """Whether a picture is named by a path that leads nowhere; addresses are not asked."""
    return (
        path is not None and "://" not in path and not path.startswith("data:") and not Path(path).is_file()
    )


def absolute(path: str, folder: Path) -> str:
    """A path as a file in `folder` means it; addresses as they are."""
    return path if "://" in path or path.startswith("data:") else os.path.normpath(folder.absolute() / path)


def _problems(dataset: RetrievalDataset) -> Iterator[Problem]:
    if not dataset.documents:
        yield Problem("there are no documents: add some, or name the collection that holds them")
    if not dataset.queries:
        yield Problem("there are no queries: add some, or raise the limit")
    seen: set[str] = set()
    for document in dataset.documents:
        if document.id in seen:
            yield Problem(f"document {document.id!r} is there twice: ids must differ", document=document.id)
        seen.add(document.id)
        yield from _document_problems(document)
    asked: set[str] = set()
    for query in dataset.queries:
        if query.id in asked:
            yield Problem(f"query {query.id!r} is there twice: ids must differ", query=query.id)
        asked.add(query.id)
        yield from _query_problems(query, dataset.relevance.get(query.id, {}), seen)


def _document_problems(document: EvalDocument) -> Iterator[Problem]:
    if document.image is None and not document.text.strip():
        yield Problem(f"document {document.id!r} is empty: give it text or an image", document=document.id)
    if missing_file(document.image):
        said = f"there is no picture {document.image}: mend the path, which is relative to the dataset's file"
        yield Problem(f"document {document.id!r}: {said}", document=document.id)


def _query_problems(query: EvalQuery, grades: Mapping[str, int], known: set[str]) -> Iterator[Problem]:
    def problem(message: str) -> Problem:
        return Problem(f"query {query.id!r}: {message}", query=query.id)

    if query.image is None and not (query.text or "").strip():
        yield problem("there is nothing to ask: give it text, an image, or both")
    if missing_file(query.image):
        yield problem(
            f"there is no picture {query.image}: mend the path, which is relative to the dataset's file"
        )
    if unknown := [id_ for id_ in grades if id_ not in known]:
        yield problem(f"relevant is {unknown[0]!r}, but no document has this id: add it, or mend the id")
    if wrong := [grade for grade in grades.values() if not isinstance(grade, int) or grade < 0]:
        yield problem(
            f"grade {wrong[0]!r}: use whole numbers, 1 and more for what answers it, 0 for what does not"
        )
    elif any(grades.values()) == query.unrelated:
        yield problem(
            "it is marked unrelated, but documents answer it: drop one of the two"
            if query.unrelated
            else "no document answers it: name some as relevant, or mark it unrelated"
        )
