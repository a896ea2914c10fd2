"""Tensors read from a safetensors file into memory.

They are never mapped: a map of a file that is overwritten by a shorter one ends the process when it is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any, Final

_HEADER_BYTES: Final = 8


@dataclass(frozen=True)
class TensorFile:
    """A file that is open, or was.

    Attributes:
        path: Its place.
        table: By name the kind (`dtype`), `shape` and place (`data_offsets`) of each tensor.
        state: Changes when the file does.
    """

    path: Path
    table: dict[str, dict[str, Any]]
    state: tuple[int, ...]
    _file: FileIO
    _start: int

    def read_into(self, buffer: Any, name: str, skip: int = 0) -> None:
        """Fill an array with what a tensor has behind its first `skip` bytes.

        Raises:
            ValueError: If the file ends before.
        """
        left = memoryview(buffer).cast("B")
        self._file.seek(self._start + int(self.table[name]["data_offsets"][0]) + skip)
        while len(left):
            count = self._file.readinto(left)
            if not count:
                msg = f"{self.path} ends within {name}"
                raise ValueError(msg)
            left = left[count:]

    @contextmanager
    def opened_again(self) -> Iterator[TensorFile]:
        """The same file, as long as it is as it was; errors as of `opened_tensors`."""
        with _watched(self.path) as (file, state):
            if state != self.state:
                msg = f"{self.path} was written to since"
                raise ValueError(msg)
            yield replace(self, _file=file)


@contextmanager
def opened_tensors(path: Path) -> Iterator[TensorFile]:
    """A safetensors file, open for reading; what was read of it in this block is of one state of the file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If its header is none, it is not as long as that says, or it was written to meanwhile.
    """
    with _watched(path) as (file, state):
        start, table = _header(file, path)
        yield TensorFile(path, table, state, file, start)


@contextmanager
def _watched(path: Path) -> Iterator[tuple[FileIO, tuple[int, ...]]]:
    with FileIO(path) as file:
        state = _state(file)
        yield file, state
        if _state(file) != state:
            msg = f"{path} was written to while it was read"
            raise ValueError(msg)


def _header(file: FileIO, path: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Where the numbers begin, and the table of tensors."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = _HEADER_BYTES + int.from_bytes(file.read(_HEADER_BYTES), "little")
    if start > size:
        msg = f"{path} has {size} bytes, its header alone {start}"
        raise ValueError(msg)
    table: dict[str, dict[str, Any]] = json.loads(file.read(start - _HEADER_BYTES))
    table.pop("__metadata__", None)
    if max(entry["data_offsets"][1] for entry in table.values()) != size - start:
        msg = f"{path} is not as long as its header says"
        raise ValueError(msg)
    return start, table


def _state(file: FileIO) -> tuple[int, ...]:
    stat = os.fstat(file.fileno())
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
