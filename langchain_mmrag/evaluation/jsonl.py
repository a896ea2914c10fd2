"""Datasets as JSON lines.

One line is one document or one query, in any order:

    {"document": "d1", "text": "The lighthouse is red."}
    {"document": "d2", "image": "pictures/lighthouse.jpg", "text": "", "metadata": {"year": 1901}}
    {"query": "q1", "text": "red lighthouse", "relevant": {"d1": 1, "d2": 2}}
    {"query": "q2", "image": "pictures/postcard.jpg", "text": "at night", "relevant": ["d2"]}
    {"query": "q3", "text": "price of copper", "unrelated": true}
    {"query": "q4", "text": "who keeps the key?", "relevant": ["d1"], "answers": ["Ida Brand", "Mrs Brand"]}

`relevant` maps ids of documents to grades, or lists them (grade 1). `exclude` lists documents that do not
count for a query, `answers` what a right answer contains, and `modality` names the row of the breakdown it
belongs to. Pictures are web addresses or paths relative to the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_mmrag.errors import DatasetError
from langchain_mmrag.evaluation.dataset import EvalDocument, EvalQuery, Problem, RetrievalDataset, absolute

_DOCUMENT_KEYS = ("document", "text", "image", "metadata")
_QUERY_KEYS = ("query", "text", "image", "modality", "relevant", "exclude", "unrelated", "answers")


def load_dataset(path: str | Path, documents: Sequence[EvalDocument] = ()) -> RetrievalDataset:
    """Read a dataset from a file of JSON lines.

    Args:
        path: The file.
        documents: What there is beside the documents in it, such as those of a collection.

    Raises:
        DatasetError: If a line is not as it should be; the message has the file, the line and what to do.
        OSError: If the file cannot be read.
    """
    path = Path(path)
    read: list[EvalDocument] = [*documents]
    queries: list[EvalQuery] = []
    relevance: dict[str, Mapping[str, int]] = {}
    lines: dict[tuple[str, str], int] = {}
    for number, row in rows_of(path):
        where = f"{path}:{number}"
        if "document" in row:
            document = _document(row, path.parent, where)
            read.append(document)
            lines["document", document.id] = number
        elif "query" in row:
            query = _query(row, path.parent, where)
            queries.append(query)
            relevance[query.id] = _grades(row.get("relevant", {}), where)
            lines["query", query.id] = number
        else:
            raise DatasetError(f"{where}: a line has either 'document' or 'query' for a key")  # noqa: EM102, TRY003
    try:
        return RetrievalDataset(path.stem, queries, read, relevance)
    except DatasetError as error:
        raise _placed(error, path, lines) from error


def has_documents(path: Path) -> bool:
    """Whether there is a document in a file, rather than only queries to a collection that exists."""
    return any("document" in row for _, row in rows_of(path))


def save_dataset(dataset: RetrievalDataset, path: str | Path) -> None:
    """Write a dataset as JSON lines; pictures are named by path relative to the file.

    Raises:
        OSError: If the file cannot be written.
    """
    path = Path(path)
    lines = [json.dumps(row, ensure_ascii=False) for row in _rows(dataset, path.parent.absolute())]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and object of every line that is not blank.

    Raises:
        DatasetError: If a line is no JSON object.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        msg = f"{path}: this is no text ({error.reason} at byte {error.start}): give JSON lines in UTF-8"
        raise DatasetError(msg) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            msg = f"{path}:{number}: this is no JSON ({error.msg}): write one object a line"
            raise DatasetError(msg) from error
        if not isinstance(row, dict):
            msg = f"{path}:{number}: this is no JSON object: write {{...}}"
            raise DatasetError(msg)
        yield number, row


def text_of(row: Mapping[str, Any], key: str, where: str) -> str | None:
    """The text under a key, `None` where there is none.

    Raises:
        DatasetError: If it is no text.
    """
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        msg = f"{where}: {key} must be text, not {value!r}"
        raise DatasetError(msg)
    return value


def references_of(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """What a right answer contains, one wording or a list of them under `answers`.

    Raises:
        DatasetError: If it is neither.
    """
    given = row.get("answers") or []
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not all(isinstance(each, str) and each.strip() for each in given):
        msg = f'{where}: answers are texts, as in ["Ida Brand", "Mrs Brand"], not {given!r}'
        raise DatasetError(msg)
    return tuple(given)


def _document(row: Mapping[str, Any], folder: Path, where: str) -> EvalDocument:
    _known_keys(row, _DOCUMENT_KEYS, where)
    metadata = row.get("metadata") or {}
    if not isinstance(metadata, dict):
        msg = f"{where}: metadata must be an object, not {metadata!r}"
        raise DatasetError(msg)
    image = text_of(row, "image", where)
    return EvalDocument(
        id=_id(row["document"], where),
        text=text_of(row, "text", where) or "",
        image=None if image is None else absolute(image, folder),
        metadata=metadata,
    )


def _query(row: Mapping[str, Any], folder: Path, where: str) -> EvalQuery:
    _known_keys(row, _QUERY_KEYS, where)
    image = text_of(row, "image", where)
    return EvalQuery(
        id=_id(row["query"], where),
        text=text_of(row, "text", where),
        image=None if image is None else absolute(image, folder),
        modality=text_of(row, "modality", where),
        exclude=tuple(_grades(row.get("exclude", []), where)),
        unrelated=bool(row.get("unrelated", False)),
        answers=references_of(row, where),
    )


def _id(value: Any, where: str) -> str:
    if not isinstance(value, str | int) or value == "":
        msg = f"{where}: an id is text or a whole number, not {value!r}"
        raise DatasetError(msg)
    return str(value)


def _grades(given: Any, where: str) -> dict[str, int]:
    if isinstance(given, list):
        return {_id(value, where): 1 for value in given}
    if not isinstance(given, dict):
        msg = f'{where}: name documents as {{"id": grade}} or ["id", ...], not {given!r}'
        raise DatasetError(msg)
    return given


def _known_keys(row: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    if unknown := [key for key in row if key not in known]:
        msg = f"{where}: unknown key {unknown[0]!r}: use {', '.join(known)}"
        raise DatasetError(msg)


def _placed(error: DatasetError, path: Path, lines: Mapping[tuple[str, str], int]) -> DatasetError:
    """The error with the line it is about, the last one if there are two of an id."""
    problem: Problem = error.args[1]
    named = ("query", problem.query) if problem.query is not None else ("document", problem.document)
    number = lines.get((named[0], named[1] or ""))
    return DatasetError(f"{path}:{number}: {problem.message}" if number else f"{path}: {problem.message}")


def _rows(dataset: RetrievalDataset, folder: Path) -> Iterator[dict[str, Any]]:
    for document in dataset.documents:
        row = {"document": document.id, "text": document.text, "image": _relative(document.image, folder)}
        yield _told({**row, "metadata": dict(document.metadata)})
    for query in dataset.queries:
        yield _told(
            {
                "query": query.id,
                "text": query.text,
                "image": _relative(query.image, folder),
                "modality": query.modality,
                "relevant": dict(dataset.relevance.get(query.id, {})),
                "exclude": list(query.exclude),
                "unrelated": query.unrelated,
                "answers": list(query.answers),
            }
        )


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value not in (None, "", {}, [], False)}


def _relative(image: str | None, folder: Path) -> str | None:
    if image is None or "://" in image or image.startswith("data:"):
        return image
    try:
        return Path(os.path.relpath(image, folder)).as_posix()
    except ValueError:  # on another drive
        return image
