"""Nested records become rows: fields of fields get names with dots, lists of plain values become text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from langchain_mmrag.document_loaders._tables import Cell, cell_text

MAX_FIELDS: Final = 1_000
"""Columns that records make; further fields stand in the text of their row."""

_DEEPEST: Final = 8
_PLAIN: Final = (str, int, float, bool, type(None))


def flattened(record: Mapping[str, Any]) -> dict[str, Cell]:
    """Fields of a record by their names; of a record within it by both names, with a dot between."""
    fields: dict[str, Cell] = {}
    _flatten(record, "", fields, 0)
    return fields


def field_names(records: Iterable[Mapping[str, Cell]]) -> list[str]:
    """Names of the fields of flat records, in the order in which they come."""
    names: dict[str, None] = {}
    for record in records:
        names.update(dict.fromkeys(record))
        if len(names) > MAX_FIELDS:
            break
    return list(names)[:MAX_FIELDS]


def rows_of(records: Iterable[Mapping[str, Cell] | None], names: Sequence[str]) -> Iterator[list[Cell]]:
    """Cells of flat records; fields that are none of the columns stand at the end with their names.

    Args:
        records: `None` for one that cannot be read: its row is empty.
        names: Of the columns.
    """
    known = frozenset(names)
    for record in records:
        if record is None:
            yield []
            continue
        others = [f"{name}: {cell_text(cell)}" for name, cell in record.items() if name not in known]
        yield [*(record.get(name) for name in names), *others]


def listed(values: Sequence[Any]) -> Cell:
    """A list as one cell."""
    if all(isinstance(value, _PLAIN) for value in values):
        return ", ".join(cell_text(value) for value in values if value is not None)
    return as_json(values)


def as_json(value: Any) -> str:
    """Anything as JSON on one line; values that JSON has no form for as `str` writes them."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_told)
    except (RecursionError, ValueError, TypeError):
        return f"[{type(value).__name__} that is nested too deep]"


def _flatten(record: Mapping[str, Any], prefix: str, fields: dict[str, Cell], depth: int) -> None:
    for name, value in record.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value and depth < _DEEPEST:
            _flatten(value, f"{key}.", fields, depth + 1)
        elif isinstance(value, Mapping):
            fields[key] = as_json(value) if value else None
        elif isinstance(value, list | tuple):
            fields[key] = listed(value)
        else:
            fields[key] = value


def _told(value: Any) -> str:
    return cell_text(value)
