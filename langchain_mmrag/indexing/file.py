"""A file on its way into a collection, and what is noted of it there for later runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from langchain_core.documents import Document
from PIL.Image import Image

from langchain_mmrag.document_loaders._ids import printable
from langchain_mmrag.document_loaders._reading import Outcome
from langchain_mmrag.indexing.known import Known, Maker
from langchain_mmrag.types import PARTS, PROBLEMS, SHOWS

_MOST_PROBLEMS: Final = 20
_LONGEST_PROBLEM: Final = 500
_MOST_SHOWN: Final = 500


@dataclass
class FileInWork:
    """A file that is being read and written.

    Attributes:
        path: Of the file.
        known: What the collection held of it before.
        was_known: Whether it held anything.
        maker: What makes its documents; known once its loader is.
        status: Size and time of change before it was read; `None` if it could not be looked at.
        is_stale: Whether what it shows has changed, so that its documents are made anew.
        sha256: Of the file, by its first document.
        ids: Of the documents that it now has, in their order.
        written: Of those that were written in this run.
        pictures: Paths of the pictures in its documents.
        last: The document that came last: it waits until it is known whether it is the last of the file.
        is_noted: Whether the notes on the file are written.
        seen: How many its loader gave.
        problems: Why some of them cannot be written.
        outcome: How the reading ended; `None` while it goes on.
        seconds: How long the reading took.
        picture: Of a picture, what was decoded of it, as small as the embedding needs it.
    """

    path: Path
    known: Known
    was_known: bool
    maker: Maker = field(default_factory=lambda: Maker(""))
    status: tuple[int, int] | None = None
    is_stale: bool = False
    sha256: str = ""
    ids: dict[str, None] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    pictures: set[str] = field(default_factory=set)
    last: Document | None = None
    is_noted: bool = False
    seen: int = 0
    problems: list[str] = field(default_factory=list)
    outcome: Outcome | None = None
    seconds: float = 0.0
    picture: Image | None = None
    shows: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """As in `metadata["source"]`."""
        return str(self.path)

    @property
    def making(self) -> tuple[str, str]:
        """Digest of the file and fingerprint of its loader."""
        return self.sha256, self.maker.fingerprint

    @property
    def told(self) -> list[str]:
        """What could not be read or written of it."""
        read = self.outcome.problems if self.outcome else ()
        return [printable(str(problem)) for problem in (*read, *self.problems)]

    def ends_with(self, document: Document) -> bool:
        """Whether this is its last document, as is known once it is read to its end."""
        return self.outcome is not None and self.last is not None and document.id == self.last.id

    def notes(self) -> dict[str, Any]:
        """What later runs must know of the file: metadata of its last document.

        How many parts there are, if not one; what could not be read, to be told again; and of other files it
        shows that are no documents of it the digest, `""` for those that are not there.
        """
        problems = [problem[:_LONGEST_PROBLEM] for problem in self.told]
        if more := len(problems) - _MOST_PROBLEMS:
            problems = [*problems[:_MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]
        shows = [f"{digest} {path}" for path, digest in sorted(self.shows.items())][:_MOST_SHOWN]
        given = {PARTS: len(self.ids) if self.seen > 1 else 0, PROBLEMS: problems, SHOWS: shows}
        return {key: value for key, value in given.items() if value}


def status_of(path: Path) -> tuple[int, int] | None:
    """Size and time of last change of a file; `None` if it cannot be looked at."""
    try:
        status = os.stat(path)  # noqa: PTH116 - as `is_gone` does
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def is_gone(source: str) -> bool:
    """Whether there is certainly no such file; one that cannot be looked at may be there."""
    try:
        os.stat(source)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False
