"""JSON: arrays of records and JSON lines are tables, anything else becomes readable text."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, BinaryIO, Final, Unpack, cast

from langchain_mmrag.document_loaders._headers import LOOKED_AT, header_of
from langchain_mmrag.document_loaders._records import field_names, flattened, listed, rows_of
from langchain_mmrag.document_loaders._table_loader import TableLoader, TableOptions
from langchain_mmrag.document_loaders._tables import Cell, Table, cell_text
from langchain_mmrag.document_loaders.base import Part, SourceFile
from langchain_mmrag.document_loaders.text import decode_text
from langchain_mmrag.errors import CorruptMediaError, LoadError
from langchain_mmrag.media.policy import check_size
from langchain_mmrag.types import HEADING

_SAMPLE: Final = 1_000
_PIECE: Final = 2**20
_STEP: Final = re.compile(r"[^.\[\]]+")
_ESCAPED: Final = re.compile(
    r"\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|(?P<half>u[dD][89a-fA-F][\da-fA-F]{2})|.)"
)
_LINES: Final = frozenset({".jsonl", ".ndjson", ".jsonlines"})
_DEEPEST: Final = 20


class JSONLoader(TableLoader):
    """Load JSON or JSON lines.

    Records become rows, numbered from 1: objects in an array (by itself, or as a value of the outermost
    object), in an object whose values are all alike, or one a line. Objects within records give columns with
    dots in their names, arrays of plain values text. What else there is becomes readable text, a document for
    each of the outermost entries.

    JSON lines are read a line at a time; other files must fit into `MediaPolicy.max_bytes`.

    Args:
        path: The file.
        record_path: Where the records are, such as `data.items` or, as jq writes it, `.data.items[]`.
        options: See `TableLoader`.
    """

    name = "json"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        record_path: str | None = None,
        **options: Unpack[TableOptions],
    ) -> None:
        super().__init__(path, **options)
        self.record_path = record_path

    def reading(self) -> dict[str, Any]:
        """Where the records are, if it was given."""
        return {"record_path": self.record_path}

    def tables(self, file: SourceFile) -> Iterator[Table]:
        """Yield the arrays of records.

        Raises:
            LoadError: If the file is no JSON, or nested deeper than Python reads.
        """
        if _is_lines(file):
            yield from _table_of_lines(file, self.record_path)
        else:
            yield from _tables_in(self._read(file))

    def parts(self, file: SourceFile) -> Iterator[Part]:
        """Yield the rows of each table and its summary, then what is no table.

        Raises:
            LoadError: If the file is no JSON, or nested deeper than Python reads.
        """
        if _is_lines(file):
            yield from super().parts(file)
            return
        value = self._read(file)
        tables = list(_tables_in(value))
        yield from self.parts_of(tables, file)
        yield from _texts(value, [table.name for table in tables] if tables else None)

    def _read(self, file: SourceFile) -> Any:
        value = _parsed(decode_text(file.read(), file.source), file.source)
        return value if self.record_path is None else _at(value, self.record_path, file.source)


def _parsed(text: str, name: str) -> Any:
    if "\\ud" in text or "\\uD" in text:  # half a character, which no store can keep
        text = _ESCAPED.sub(lambda found: "\\ufffd" if found["half"] else found[0], text)
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError as error:
        msg = f"{name} is nested too deep to be read"
        raise CorruptMediaError(msg) from error
    except ValueError as error:
        msg = f"{name} is no valid JSON: {error}"
        raise CorruptMediaError(msg) from error


def _whole(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:  # more digits than Python turns into a number
        return digits


def _at(value: Any, path: str, name: str) -> Any:
    """What stands at a path; of each record of an array on the way, all together."""
    for step in _STEP.findall(path):
        if isinstance(value, list) and not step.isdecimal():
            found = [item[step] for item in value if isinstance(item, dict) and step in item]
            value = list(chain.from_iterable(one if isinstance(one, list) else [one] for one in found))
        elif isinstance(value, list) and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            value = None
        if value is None or value == []:
            msg = f"{name} has nothing at record_path {path!r}: there is no {step!r}"
            raise LoadError(msg)
    return value


def _tables_in(value: Any) -> Iterator[Table]:
    if table := _table_of(value):
        yield table
    elif isinstance(value, dict):
        found = [(name, table) for name, entry in value.items() if (table := _table_of(entry, name))]
        yield from (table for _, table in found)


def _table_of(value: Any, name: str = "") -> Table | None:
    """Records in an array or, if they are alike, in an object; rows in an array of arrays."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return _of_records([flattened(record) for record in value], name)
    if isinstance(value, list) and len(value) > 1 and all(_is_row(item) for item in value):
        header = header_of(value[:LOOKED_AT])
        return Table(header=header.names, rows=value[header.below :], name=name, first_row=header.below + 1)
    if isinstance(value, dict) and len(value) > 1 and all(isinstance(item, dict) for item in value.values()):
        records = [{"key": key, **flattened(record)} for key, record in value.items()]
        shared = frozenset(records[0]).intersection(*records)
        if (len(shared) - 1) * 2 >= max(map(len, records)) - 1 > 0:
            return _of_records(records, name)
    return None


def _of_records(records: list[dict[str, Cell]], name: str) -> Table:
    names = field_names(records)
    return Table(header=names, rows=rows_of(records, names), name=name, first_row=1)


def _is_row(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 1
        and not any(isinstance(cell, dict | list) for cell in value)
    )


def _is_lines(file: SourceFile) -> bool:
    """Whether every line is a value: by the name, or by the first two lines."""
    if file.path.suffix.lower() in _LINES:
        return True
    with file.open() as raw:
        head = raw.read(_PIECE)
    lines = [line for line in head.splitlines()[:20] if line.strip()]
    if len(lines) < 2 or not lines[0].lstrip(b"\xef\xbb\xbf").startswith(b"{"):  # noqa: PLR2004
        return False
    try:
        return all(isinstance(json.loads(line), dict) for line in lines[:2])
    except (ValueError, RecursionError):
        return False


def _table_of_lines(file: SourceFile, record_path: str | None) -> Iterator[Table]:
    with file.open() as raw, io.BufferedReader(cast("io.RawIOBase", raw), _PIECE) as buffered:
        records = _records_of_lines(cast("BinaryIO", buffered), file, record_path)
        sample = list(islice(records, _SAMPLE))
        names = field_names(record for record in sample if record)
        yield Table(header=names, rows=rows_of(chain(sample, records), names), first_row=1)


def _records_of_lines(
    raw: BinaryIO, file: SourceFile, record_path: str | None
) -> Iterator[dict[str, Cell] | None]:
    """A flat record for each line that is not blank, `None` for one that is no JSON."""
    broken, first, number = 0, "", 0
    while line := raw.readline(file.policy.max_bytes + 1):
        check_size(len(line), f"a line of {file.source}", file.policy)
        if not line.strip():
            continue
        number += 1
        try:
            value = _parsed(decode_text(line, f"record {number}"), f"record {number}")
            value = value if record_path is None else _at(value, record_path, f"record {number}")
        except LoadError as error:
            broken, first = broken + 1, first or str(error)
            yield None
        else:
            yield flattened(value) if isinstance(value, dict) else {"value": _cell(value)}
    if broken == number:
        msg = f"{file.source}: {first or 'there are no records in it'}"
        raise CorruptMediaError(msg)
    if broken:
        file.problem(f"{broken} records cannot be read, the first: {first}")


def _cell(value: Any) -> Cell:
    return listed(value) if isinstance(value, list) else value


def _texts(value: Any, tables: Sequence[str] | None) -> Iterator[Part]:
    """What is no table: plain entries together, the others each by themselves."""
    if tables == [""]:
        return
    entries = value if isinstance(value, dict) else {"": value}
    rest = {name: entry for name, entry in entries.items() if name not in (tables or ())}
    plain = {name: entry for name, entry in rest.items() if not isinstance(entry, dict | list)}
    if lines := "\n".join(_lines(plain, 0)):
        yield Part(text=lines, key="values")
    for name, entry in rest.items():
        if isinstance(entry, dict | list) and entry:
            text = "\n".join(_lines({name: entry} if name else entry, 0))
            key = f"{name}:entry"  # of rows "...:row-1" is the end: no name makes one of the other
            yield Part(text=text, metadata={HEADING: name} if name else {}, key=key)


def _lines(value: Any, depth: int) -> Iterator[str]:
    """A value as indented lines, `name: value` or `- value`."""
    indent = "  " * depth
    if isinstance(value, Mapping):
        items = [(f"{indent}{name}:" if name else indent, entry) for name, entry in value.items()]
    else:
        items = [(f"{indent}-", entry) for entry in value]
    for label, entry in items:
        if isinstance(entry, dict | list) and entry and depth < _DEEPEST:
            yield label
            yield from _lines(entry, depth + 1)
        elif isinstance(entry, dict | list):
            yield f"{label} {json.dumps(entry, ensure_ascii=False)}" if entry else f"{label} (none)"
        else:
            yield f"{label} {cell_text(entry)}" if label else cell_text(entry)
