"""Columns that hold pictures: paths, addresses or the bytes themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from langchain_mmrag.document_loaders._pictures import own_picture, policy_inside
from langchain_mmrag.document_loaders._tables import Cell
from langchain_mmrag.document_loaders.base import SourceFile
from langchain_mmrag.errors import LoadError, UnsafeSourceError
from langchain_mmrag.media import is_url, read_media
from langchain_mmrag.media.formats import sniff

_PICTURE_NAME = re.compile(
    r"[^\n]{1,500}\.(?:png|jpe?g|jpe|jfif|gif|webp|bmp|tiff?|avif|hei[cf]|svg)", re.IGNORECASE
)
_TRIED: Final = 5
_MOST_TOLD: Final = 5
_MOST_SHOWN: Final = 500
_MOST_DEAD_ADDRESSES: Final = 5
_LONGEST_VALUE: Final = 2_000


class RowPictures:
    """The pictures of a table's rows.

    A column of text is taken for one of paths if more than half of its values in the sample end like names of
    pictures and one of the first is there and opens. Addresses are fetched only from columns that were named:
    a table that is indexed should not make a computer call on strangers. Bytes that are a picture always are.
    A table comes from anywhere: files are read only inside `folder`, and what lies outside is told.

    Args:
        file: Whose folder relative paths start from.
        header: Names of the columns.
        sample: The first rows.
        columns: Names of the columns of pictures, if they are known.
        folder: Which folder pictures that are files must lie in; the table's own by default.
    """

    def __init__(
        self,
        file: SourceFile,
        header: Sequence[str],
        sample: Sequence[Sequence[Cell]],
        columns: Sequence[str] | None = None,
        *,
        folder: Path | None = None,
    ) -> None:
        self._file = file
        self._folder = Path(file.source).parent
        self._policy = policy_inside(file.policy, folder or self._folder)
        self._named = columns is not None
        self._header = header
        if columns is None:
            self._places = {n for n in range(len(header)) if self._holds_paths(n, sample)}
        else:
            self._places = {n for n, name in enumerate(header) if name in columns}
        self._failed = 0
        self._dead_addresses = 0

    def of(self, number: int, row: Sequence[Cell], key: str) -> Iterator[dict[str, Any]]:
        """What is to be known of each picture of a row; one that cannot be opened is a problem told.

        Args:
            number: Of the row.
            row: Its cells.
            key: Of the row, by which pictures kept as files are called.
        """
        for place, cell in enumerate(row):
            if not (isinstance(cell, bytes) or (place in self._places and isinstance(cell, str))):
                continue
            name = self._header[place] if place < len(self._header) else f"column {place + 1}"
            try:
                picture = self._picture(cell, f"{key}-{name}")
            except LoadError as error:
                self._tell(number, error)
                continue
            if picture:
                yield picture

    def tell_rest(self) -> None:
        """Say how many more pictures could not be opened than were told."""
        if self._failed > _MOST_TOLD:
            self._file.problem(f"{self._failed - _MOST_TOLD} more pictures cannot be opened")

    def _picture(self, cell: Cell, name: str) -> dict[str, Any] | None:
        if isinstance(cell, bytes):
            return self._file.keep_picture(cell, name) if sniff(cell[:64]) else None
        value = str(cell).strip()
        if not value or len(value) > _LONGEST_VALUE:
            return None
        if is_url(value):
            return self._fetched(value, name) if self._named else None
        return self._found(value)

    def _found(self, value: str) -> dict[str, Any]:
        path = os.path.abspath(self._folder / value)  # noqa: PTH100  links are not resolved
        try:
            return own_picture(path, self._policy)
        except LoadError:
            self._file.shows |= {path} if len(self._file.shows) < _MOST_SHOWN else set()
            raise

    def _fetched(self, address: str, name: str) -> dict[str, Any] | None:
        """Fetched once and kept: what an address gives may be another picture tomorrow, or none."""
        if self._dead_addresses >= _MOST_DEAD_ADDRESSES:
            return None
        try:
            picture = self._file.keep_picture(read_media(address, self._file.policy), name)
        except LoadError:
            self._dead_addresses += 1
            if self._dead_addresses == _MOST_DEAD_ADDRESSES:
                self._file.problem(
                    f"{_MOST_DEAD_ADDRESSES} addresses in a row give no picture: no more are tried"
                )
            raise
        self._dead_addresses = 0
        return picture

    def _holds_paths(self, place: int, sample: Sequence[Sequence[Cell]]) -> bool:
        cells = [row[place] for row in sample if place < len(row)]
        values = [cell.strip() for cell in cells if isinstance(cell, str) and cell.strip()]
        named = [value for value in values if _PICTURE_NAME.fullmatch(value) and not is_url(value)]
        if len(named) * 2 <= len(values):
            return False
        refused: LoadError | None = None
        for value in dict.fromkeys(named[:_TRIED]):
            try:
                self._found(value)
            except UnsafeSourceError as error:
                refused = refused or error
            except LoadError:
                continue
            else:
                return True
        if refused:
            self._file.problem(f"the pictures of {self._header[place]} are left alone: {refused}")
        return False

    def _tell(self, number: int, error: LoadError) -> None:
        self._failed += 1
        if self._failed <= _MOST_TOLD:
            self._file.problem(f"the picture of row {number} cannot be opened: {error}")
