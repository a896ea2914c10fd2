"""Logs of questions and of the documents that answered them, for a collection that exists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from langchain_mmrag.errors import DatasetError
from langchain_mmrag.evaluation.dataset import EvalDocument, EvalQuery, RetrievalDataset, absolute
from langchain_mmrag.evaluation.jsonl import references_of, rows_of, text_of

By: TypeAlias = Literal["ids", "sources"]
_KEYS: Final[tuple[By, By]] = ("ids", "sources")


def read_answers(
    path: str | Path, documents: Mapping[By, Iterable[EvalDocument]]
) -> tuple[RetrievalDataset, By]:
    """A dataset of a log.

    A line is `{"question": "Who keeps the key?", "sources": ["notes/key.md"]}`. In place of `question` or
    beside it there may be an `image`, a path relative to the file; in place of `sources`, the files that
    answered, there may be `ids`, the documents. One file uses one of the two. `"unrelated": true` in place of
    both marks a question nothing answers. `answers` may list what a right answer contains.

    Args:
        path: The log, as JSON lines.
        documents: What the collection holds: by `ids`, and by `sources`, one for each source.

    Returns:
        The dataset, and which of the two its documents are told apart by.

    Raises:
        DatasetError: If a line is otherwise, or names what is not in the collection.
        OSError: If it cannot be read.
    """
    path = Path(path)
    queries: list[EvalQuery] = []
    relevance: dict[str, dict[str, int]] = {}
    by: By | None = None
    known: dict[str, EvalDocument] = {}
    for number, row in rows_of(path):
        where = f"{path}:{number}"
        queries.append(_query(row, path.parent, number, where))
        if queries[-1].unrelated:
            continue
        given = _kind(row, where)
        if by is None:
            by, known = given, {document.id: document for document in documents[given]}
        elif by != given:
            msg = f"{where}: the lines before have {by}, this one has {given}: use one of the two throughout"
            raise DatasetError(msg)
        relevance[queries[-1].id] = {_resolved(name, known, given, where): 1 for name in row[given]}
    if by is None:
        msg = f"{path}: there is no question in it that something answers"
        raise DatasetError(msg)
    return RetrievalDataset(path.stem, queries, list(known.values()), relevance), by


def is_log(path: Path) -> bool:
    """Whether a file of JSON lines is a log, by its first line."""
    first = next(rows_of(path), None)
    return first is not None and "question" in first[1]


def _kind(row: Mapping[str, Any], where: str) -> By:
    given = [key for key in _KEYS if row.get(key)]
    if len(given) != 1 or not isinstance(row[given[0]], list):
        msg = f"{where}: name what answered as a list, either of ids or of sources, or mark it unrelated"
        raise DatasetError(msg)
    return given[0]


def _query(row: Mapping[str, Any], folder: Path, number: int, where: str) -> EvalQuery:
    text, image = text_of(row, "question", where), text_of(row, "image", where)
    return EvalQuery(
        id=str(row.get("id", f"line {number}")),
        text=text,
        image=None if image is None else absolute(image, folder),
        unrelated=bool(row.get("unrelated", False)),
        answers=references_of(row, where),
    )


def _resolved(name: Any, known: Mapping[str, EvalDocument], by: By, where: str) -> str:
    """The name as the collection has it: sources may be given by the end of their path."""
    if not isinstance(name, str):
        msg = f"{where}: {by} are text, not {name!r}"
        raise DatasetError(msg)
    if name in known:
        return name
    ends = [id_ for id_ in known if by == "sources" and id_.replace("\\", "/").endswith(f"/{name}")]
    if len(ends) == 1:
        return ends[0]
    found = f"{len(ends)} documents end in it" if ends else "the collection has none such"
    msg = f"{where}: {name!r} among {by}: {found}: index it, or mend the name"
    raise DatasetError(msg)
