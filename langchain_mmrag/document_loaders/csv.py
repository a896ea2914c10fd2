"""Tables in text files: cells between commas, semicolons, tabs or bars."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, BinaryIO, Final, TypeVar, Unpack, cast

from langchain_mmrag.document_loaders._headers import LOOKED_AT, header_of, title_above
from langchain_mmrag.document_loaders._table_loader import MAX_WIDTH, TableLoader, TableOptions
from langchain_mmrag.document_loaders._tables import Table, is_blank_row
from langchain_mmrag.document_loaders.base import SourceFile
from langchain_mmrag.document_loaders.text import BYTE_ORDER_MARKS
from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsupportedFormatError

_DELIMITERS: Final = ("\t", ";", "|", ",")
"""In the order in which they count where several would do: a comma may stand in any text."""

T = TypeVar("T")

_PIECE: Final = 2**20
_HEAD: Final = 2**16
_LONGEST_LINE: Final = 2**24
_END: Final = "\0end\0"
"""A last line, which zero bytes of the file itself never make: it is a record unless a quote is open."""


class CSVLoader(TableLoader):
    """Load a CSV or TSV file, a row at a time whatever its size.

    How it is written is found out: the character between cells; UTF-8, UTF-16 or UTF-32, with or without a
    mark, else Windows-1252 (Latin-1); whether there is a header, and titles above it. Rows are numbered as
    records, the header being row 1 if it comes first: a line break within quotes begins no new one. Between
    semicolons a comma stands before decimals, and 3/4/2024 is in April; elsewhere such dates stay text.
    Rows with more or fewer cells than the header are kept as they are, and told as a problem.

    Args:
        path: The file.
        delimiter: What stands between two cells.
        encoding: Of the text, as Python calls it.
        header: Whether the first row that is written in names the columns.
        quoting: Whether `"` encloses cells; `False` for files in which it is a character like any other.
        options: See `TableLoader`.

    Raises:
        ValueError: If there is no such encoding, or `delimiter` is not one character.
    """

    name = "csv"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        delimiter: str | None = None,
        encoding: str | None = None,
        header: bool | None = None,
        quoting: bool = True,
        **options: Unpack[TableOptions],
    ) -> None:
        super().__init__(path, **options)
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            msg = f"delimiter must be one character, and no quote or line end, not {delimiter!r}"
            raise ValueError(msg)
        if encoding is not None:
            try:
                codecs.lookup(encoding)
            except LookupError as error:
                msg = f"there is no encoding {encoding!r}: see the list in Python's documentation of codecs"
                raise ValueError(msg) from error
        self.delimiter = delimiter
        self.encoding = encoding
        self.header = header
        self.quoting = quoting

    def reading(self) -> dict[str, Any]:
        """How the file is written, as far as it was given."""
        return {
            "delimiter": self.delimiter,
            "encoding": self.encoding,
            "header": self.header,
            "quoting": None if self.quoting else False,
        }

    def tables(self, file: SourceFile) -> Iterator[Table]:
        """Yield the one table.

        Raises:
            LoadError: If the file is not text.
        """
        encoding = self.encoding or _encoding_of(file)
        # Five bytes mean nothing in Windows-1252; in UTF-16 a character may be cut in half.
        is_loose = encoding == "cp1252" or (
            self.encoding is None and encoding.startswith(("utf-16", "utf-32"))
        )
        errors = "replace" if is_loose else "strict"
        with file.open() as raw, _text(raw, encoding, errors) as text:
            lines = _guarded(_lines(text, file), file)
            head = list(_first(lines))
            delimiter = self.delimiter
            if head and head[0].lower().startswith("sep=") and len(head[0].strip()) == 5:  # noqa: PLR2004
                delimiter = delimiter or head[0][4]
                head = head[1:]
            delimiter = delimiter or _delimiter_of(head, file.path.suffix)
            records = csv.reader(
                chain(head, lines, [_END]), delimiter=delimiter, quoting=0 if self.quoting else 3
            )
            yield self._table(_ended(_guarded(records, file), records, file), delimiter, file)

    def _table(self, records: Iterator[list[str]], delimiter: str, file: SourceFile) -> Table:
        first = list(islice(records, LOOKED_AT))
        header = header_of(first, given=self.header)
        return Table(
            header=header.names,
            rows=_even(chain(first[header.below :], records), header.names, header.below + 1, file),
            first_row=header.below + 1,
            title=title_above(first[: header.above]),
            decimal_comma=delimiter == ";",
        )


def _even(
    rows: Iterable[list[str]], header: Sequence[str], number: int, file: SourceFile
) -> Iterator[list[str]]:
    """The rows as they are; at the end it is told which have more or fewer cells than the header."""
    width = len(header)
    uneven, first = 0, 0
    for place, row in enumerate(rows, number):
        if len(row) != width and row and (len(row) < width or not is_blank_row(row[width:])):
            uneven += 1
            first = first or place
        yield row
    if uneven:
        file.problem(
            f"rows with more or fewer cells than the header's {width}: {uneven}, the first is row {first}"
        )


def _text(raw: BinaryIO, encoding: str, errors: str) -> io.TextIOWrapper:
    buffered: Any = io.BufferedReader(cast("io.RawIOBase", raw), _PIECE)
    return io.TextIOWrapper(buffered, encoding, errors, newline="")


def _first(lines: Iterator[str]) -> Iterator[str]:
    """The first lines, as many as tell how the file is written."""
    room = _PIECE
    for line in islice(lines, LOOKED_AT):
        yield line
        room -= len(line)
        if room < 0:
            return


def _ended(records: Iterable[list[str]], reader: Any, file: SourceFile) -> Iterator[list[str]]:
    """The records, narrow enough; of a quote that is not closed the end of the file is told to be within."""
    began = 1
    for record in records:
        if not (record and record[-1].endswith(_END)):
            yield record[: MAX_WIDTH + 1]
            began = reader.line_num + 1
        elif record != [_END]:
            file.problem(
                f"a quote near line {began} is not closed: all that follows is one cell;"
                " mend it, or pass quoting=False"
            )
            yield [*record[:-1], record[-1].removesuffix(_END)][: MAX_WIDTH + 1]


def _lines(text: io.TextIOWrapper, file: SourceFile) -> Iterator[str]:
    zeros = 0
    while line := text.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            msg = f"{file.source} has a line of more than {_LONGEST_LINE} characters: it is no table"
            raise CorruptMediaError(msg)
        if "\0" in line:
            zeros += line.count("\0")
            line = line.replace("\0", "\ufffd")
        yield line
    if zeros:
        file.problem(f"{zeros} zero bytes are in the text: they are written as \ufffd")


def _guarded(items: Iterator[T], file: SourceFile) -> Iterator[T]:
    """Errors of reading as this package's own."""
    try:
        yield from items
    except csv.Error as error:
        limit = csv.field_size_limit()
        where = f" near line {items.line_num}" if hasattr(items, "line_num") else ""
        msg = (
            f"{file.source}{where}: {error}. A quote that is never closed makes one cell of all that follows:"
            f" pass quoting=False. For cells of more than {limit} characters raise csv.field_size_limit"
        )
        raise CorruptMediaError(msg) from error
    except LoadError:  # some of ours are `ValueError`s too
        raise
    except UnicodeError as error:
        msg = f"{file.source} is not in the encoding it seems or is said to be in: {error}; pass encoding="
        raise UnsupportedFormatError(msg) from error
    except OSError as error:
        msg = f"cannot read {file.source}: {error}"
        raise LoadError(msg) from error


def _encoding_of(file: SourceFile) -> str:
    """Encoding of a file by its mark, its zero bytes, or whether all of it is UTF-8."""
    with file.open() as raw:
        head = raw.read(_HEAD)
        marked = next((codec for mark, codec in BYTE_ORDER_MARKS if head.startswith(mark)), None)
        if marked:
            return marked
        if b"\0" in head and not _is_nearly_text(head):
            return _wide_encoding(head, file)
        decoder = codecs.getincrementaldecoder("utf-8")()
        piece = head
        try:
            while piece:
                decoder.decode(piece)
                piece = raw.read(_PIECE)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
        return "utf-8"


def _is_nearly_text(head: bytes) -> bool:
    """Whether what has zero bytes is UTF-8, and few of them."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return head.count(0) * 10 <= len(head)


def _wide_encoding(head: bytes, file: SourceFile) -> str:
    """UTF-16 without a mark: of characters that are nearly all Latin every other byte is zero."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if odd * 2 > len(head[1::2]) * 0.8 and even * 20 < odd:
        return "utf-16-le"
    if even * 2 > len(head[::2]) * 0.8 and odd * 20 < even:
        return "utf-16-be"
    msg = f"{file.source} is not text (it has zero bytes): give it the suffix of what it is"
    raise UnsupportedFormatError(msg)


def _delimiter_of(head: Sequence[str], suffix: str) -> str:
    """The character that cuts most of the first rows into the same number of cells."""
    if suffix.lower() in {".tsv", ".tab"}:
        return "\t"
    head = [line[:_HEAD] for line in head]
    scores = {delimiter: _evenness(head, delimiter) for delimiter in _DELIMITERS}
    best = max(scores, key=lambda delimiter: scores[delimiter])
    return best if scores[best] else ","


def _evenness(head: Sequence[str], delimiter: str) -> float:
    try:
        widths = [len(row) for row in csv.reader(head, delimiter=delimiter) if row]
    except csv.Error:
        return 0.0
    several = Counter(width for width in widths if width > 1).most_common(1)
    return round(several[0][1] / len(widths), 2) if several else 0.0
