"""Columns that hold pictures: paths, addresses or the bytes themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from langchain_mmrag.document_loaders._tables import Cell
from langchain_mmrag.document_loaders.base import SourceFile
from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import image_facts, is_url, read_media
from langchain_mmrag.media.formats import sniff
from langchain_mmrag.types import HEIGHT, MIME_TYPE, PATH, SHA256, WIDTH

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

    Args:
        file: Whose folder relative paths start from.
        header: Names of the columns.
        sample: The first rows.
        columns: Names of the columns of pictures, if they are known.
    """

    def __init__(
        self,
        file: SourceFile,
        header: Sequence[str],
        sample: Sequence[Sequence[Cell]],
        columns: Sequence[str] | None = None,
    ) -> None:
        self._file = file
        self._folder = Path(file.source).parent
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
            facts = image_facts(path, self._file.policy)
        except LoadError:
            self._file.shows |= {path} if len(self._file.shows) < _MOST_SHOWN else set()
            raise
        return {
            PATH: path,
            MIME_TYPE: facts.mime_type,
            WIDTH: facts.width,
            HEIGHT: facts.height,
            SHA256: facts.sha256,
        }

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
        return len(named) * 2 > len(values) and any(map(self._opens, dict.fromkeys(named[:_TRIED])))

    def _opens(self, value: str) -> bool:
        try:
            self._found(value)
        except LoadError:
            return False
        return True

    def _tell(self, number: int, error: LoadError) -> None:
        self._failed += 1
        if self._failed <= _MOST_TOLD:
            self._file.problem(f"the picture of row {number} cannot be opened: {error}")
