"""Loaders that a caller brings: their documents get what those of this package's loaders have."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import date, time
from math import isfinite
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final

from langchain_core.document_loaders import BaseLoader

from langchain_mmrag.document_loaders._ids import FILE_ID_PREFIX
from langchain_mmrag.document_loaders.base import FileLoader, Part, SourceFile
from langchain_mmrag.document_loaders.kinds import LoaderOptions
from langchain_mmrag.types import PAGE, ROW, modality_of

_LARGEST_INT: Final = 2**63
_WITH_HEADER: Final = frozenset({".csv", ".tsv"})


class OwnLoader(FileLoader):
    """A loader that a caller brought: its documents get ids, digest and links as those of this package have.

    Pages and rows that its first document counts from 0 are counted from 1, as a reader does; of a
    comma-separated table the header is row 1. Metadata that no collection holds becomes text: dates in ISO
    8601, what is nested in JSON; what is `None` or empty is left out.

    Args:
        path: The file.
        loader: The caller's.
        options: Those that all loaders take.
    """

    name = "own"

    def __init__(self, path: Path, loader: BaseLoader, options: LoaderOptions) -> None:
        super().__init__(path, media_policy=options.policy, media_directory=options.media_directory)
        self.loader = loader

    @property
    def fingerprint(self) -> str:
        """That of the caller's loader if it has one, else its class."""
        kind = type(self.loader)
        given: Any = getattr(self.loader, "fingerprint", f"{kind.__module__}.{kind.__qualname__}")
        return f"{self.name}:{given}"

    def parts(self, file: SourceFile) -> Iterator[Part]:
        """The caller's documents."""
        ahead: dict[str, int] | None = None
        try:
            for document in self.loader.lazy_load():
                if ahead is None:
                    ahead = _from_zero(document.metadata, Path(file.source).suffix.lower())
                is_ours = (document.id or "").startswith(FILE_ID_PREFIX)
                yield Part(
                    text=document.page_content,
                    modality=modality_of(document.metadata),
                    metadata=_storable(_counted(document.metadata, ahead)),
                    key=None if is_ours else document.id,
                )
        finally:  # also if it breaks off
            file.problems += getattr(self.loader, "problems", ())


def _from_zero(first: Mapping[str, Any], suffix: str) -> dict[str, int]:
    """What to add to pages and rows, by the first document's."""
    ahead = {PAGE: 1, ROW: 2 if suffix in _WITH_HEADER else 1}
    return {key: number for key, number in ahead.items() if _is_number(first.get(key)) and not first[key]}


def _counted(metadata: Mapping[str, Any], ahead: Mapping[str, int]) -> dict[str, Any]:
    counted = {key: metadata[key] + add for key, add in ahead.items() if _is_number(metadata.get(key))}
    return {**metadata, **counted}


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _storable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    values = {str(key): _value(value) for key, value in metadata.items()}
    return {key: value for key, value in values.items() if value is not None}


def _value(value: Any) -> Any:
    """What a collection holds of a value: a scalar, a list of one scalar type, text; `None` if nothing."""
    if isinstance(value, list | tuple | set | frozenset):
        members = [_scalar(member) for member in value]
        if not members:
            return None
        is_plain = None not in members and len({type(member) for member in members}) == 1
        return members if is_plain else _json(list(value))
    if isinstance(value, Mapping):
        return _json(value) if value else None
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return None
    scalar = _scalar(value)
    return _text(value) if scalar is None else scalar


def _scalar(value: Any) -> str | int | float | bool | None:
    """A value that is one, or that has a plain spelling; NumPy's numbers are numbers."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        number = int(value)
        return number if -_LARGEST_INT <= number < _LARGEST_INT else str(number)
    if isinstance(value, Real):
        return float(value) if isfinite(value) else None
    return _text(value) if isinstance(value, date | time | os.PathLike) else None


def _text(value: Any) -> str:
    if isinstance(value, date | time):
        return value.isoformat()
    return os.fsdecode(value) if isinstance(value, os.PathLike) else str(value)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=_text)
    except (TypeError, ValueError, RecursionError):  # keys that are no text; what holds itself
        return str(value)
