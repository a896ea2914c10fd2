"""What a run of indexing did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Failed(NamedTuple):
    """A file or folder that could not be indexed, or not all of it."""

    source: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """What a run did, counted in files.

    Attributes:
        added: Files that were new.
        updated: Files that had changed, or what makes documents of them; the old documents are gone.
        skipped: Files that were as the collection knows them.
        deleted: Files that are gone or passed over now, and their documents with them.
        vanished: Such files whose documents are still there: `prune` takes them out.
        failed: What could not be read at all, and why.
        partial: What could not be read of files that are otherwise indexed, and why; of files that were
            skipped, what is remembered of that.
        ignored: Files of kinds this package does not read, by suffix.
        unmatched: Globs that matched no file.
        documents: Documents written; no part of equality, as it says how files were cut, not which.
        seconds: Where the time went; no part of equality either. `total`, and in it the three stages that go
            on at the same time: `reading` and decoding files, added up over the threads that do, `embedding`
            and `inserting`.
    """

    added: int = 0
    updated: int = 0
    skipped: int = 0
    deleted: int = 0
    vanished: int = 0
    failed: tuple[Failed, ...] = ()
    partial: tuple[Failed, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()
    documents: int = field(default=0, compare=False)
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)

    @property
    def readable(self) -> int:
        """Files that are in the collection after the run."""
        return self.added + self.updated + self.skipped
