"""What a collection holds of each file, and what its documents were made with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from langchain_core.documents import BaseDocumentTransformer

from langchain_mmrag._store.ledger_rows import pages
from langchain_mmrag.document_loaders._ids import FILE_ID_PREFIX, printable
from langchain_mmrag.types import (
    FILE_SHA256,
    LOADER,
    MODALITY,
    PART,
    PARTS,
    PATH,
    PROBLEMS,
    SHA256,
    SHOWS,
    SOURCE,
)

if TYPE_CHECKING:
    from langchain_mmrag.vectorstores import MultimodalChroma

PAGE: Final = 5000
"""Documents read at once from the collection, below SQLite's limit of variables."""
_MOST_NAMED: Final = 200
"""Sources that a query can name; for more of them the whole collection is read."""
_THEN: Final = " > "
"""Stands between a loader's fingerprint and those of the transformers after it."""
_NOTES: Final = (PARTS, PROBLEMS, SHOWS)


class Made(NamedTuple):
    """What one document was made of and with."""

    sha256: str
    loader: str
    modality: str


@dataclass
class Known:
    """What the collection holds of one file.

    Attributes:
        rows: Of each of its documents, by id, what it was made of and with.
        parts: How many there should be; 0 if the last of several is missing.
        notes: What stands on the last of them about the file: see `notes_of`.
        shows: Other files it shows, by path, and their SHA-256; `""` for those that could not be read.
    """

    rows: dict[str, Made] = field(default_factory=dict)
    parts: int = 0
    notes: dict[str, Any] = field(default_factory=dict)
    shows: dict[str, str] = field(default_factory=dict)

    @property
    def digests(self) -> set[str]:
        """Of the file, as it was when its documents were made."""
        return {made.sha256 for made in self.rows.values()}

    @property
    def makings(self) -> set[tuple[str, str]]:
        """Digest of the file and fingerprint of the loader of its documents."""
        return {(made.sha256, made.loader.partition(_THEN)[0]) for made in self.rows.values()}

    def is_current(self, id_: str, maker: Maker, sha256: str) -> bool:
        """Whether a document is there and would be made in the same way again."""
        made = self.rows.get(id_)
        return made is not None and made.sha256 == sha256 and maker.has_made(made)

    def is_whole(self, maker: Maker) -> bool:
        """Whether all parts are there, of one state of the file and as `maker` would make them."""
        return (
            len(self.rows) == self.parts
            and len(self.digests) == 1
            and all(maker.has_made(made) for made in self.rows.values())
        )


class Applied:
    """A transformer and what counts of it; its fingerprint is asked for here, where an error can be raised.

    Attributes:
        transformer: Itself.
        fingerprint: What its work depends on; empty if it does not say.
        modalities: Of documents it changes; `None` for any.
    """

    def __init__(self, transformer: BaseDocumentTransformer) -> None:
        self.transformer = transformer
        self.fingerprint = str(getattr(transformer, "fingerprint", ""))
        self.modalities: Collection[str] | None = getattr(transformer, "modalities", None)

    def has_part_in(self, modality: str, source: str = "") -> bool:
        """Whether it is done with documents of a modality and file; `source` may be empty for any file."""
        is_done = source not in getattr(self.transformer, "unfinished", ())
        return is_done and (self.modalities is None or modality in self.modalities)


@dataclass(frozen=True)
class Maker:
    """What documents of a file are made with besides the file itself.

    Attributes:
        fingerprint: Of the loader.
        applied: The transformers.
    """

    fingerprint: str
    applied: tuple[Applied, ...] = ()

    def loader(self, modality: str, source: str) -> str:
        """What `metadata["loader"]` says of documents of a modality.

        Args:
            modality: Of the document.
            source: Its file: a transformer that has it among its `unfinished` ones has no part in it.
        """
        names = [each.fingerprint for each in self.applied if each.has_part_in(modality, source)]
        return _THEN.join([self.fingerprint, *filter(None, names)])

    def has_made(self, made: Made) -> bool:
        """Whether a document is this loader's and all the transformers': others may have had a part in it."""
        if made.loader != self.fingerprint and not made.loader.startswith(self.fingerprint + _THEN):
            return False
        names = made.loader[len(self.fingerprint) :].split(_THEN)
        return all(each.fingerprint in names for each in self.applied if each.has_part_in(made.modality))


def known_files(
    store: MultimodalChroma,
    folders: Sequence[str],
    named: Collection[str],
    *,
    is_kept: Callable[[str], bool],
) -> dict[str, Known]:
    """What the collection holds of files, read page by page.

    Args:
        store: The collection.
        folders: Those whose files are wanted, each ending with a separator.
        named: Files that are wanted besides.
        is_kept: Whether a path is of a picture that was taken out of a file, and no file of its own.
    """
    files: dict[str, Known] = {}
    for page in _rows_from(store, folders, named) if named or folders else ():
        for id_, metadata in zip(page["ids"], page["metadatas"], strict=True):
            source = str((metadata or {}).get(SOURCE))
            if id_.startswith(FILE_ID_PREFIX) and (source in named or source.startswith(tuple(folders))):
                _add(files.setdefault(source, Known()), id_, metadata, is_kept)
    return files


def _rows_from(
    store: MultimodalChroma, folders: Sequence[str], named: Collection[str]
) -> Iterator[dict[str, Any]]:
    """Rows that may be from the files, a page at a time.

    What is kept on disk beside the collection knows which they are; without it all rows are looked at.
    """
    ledger = store._ledger  # noqa: SLF001 - one package
    if ledger.is_kept:
        inside = [folder for folder in folders if printable(folder) == folder]  # no other is stored
        for ids in ledger.sourced(inside, named):
            for part in pages(ids, PAGE):
                yield store.get(ids=list(part), include=["metadatas"])
        return
    is_few = not folders and len(named) <= _MOST_NAMED
    where = {SOURCE: {"$in": sorted(named)}} if is_few else None
    offset, count = 0, PAGE
    while count == PAGE:
        page: dict[str, Any] = store.get(where=where, limit=PAGE, offset=offset, include=["metadatas"])
        yield page
        count = len(page["ids"])
        offset += PAGE


def _add(known: Known, id_: str, metadata: Mapping[str, Any], is_kept: Callable[[str], bool]) -> None:
    known.rows[id_] = _made(metadata)
    # several parts, but no last one that says how many: the run before was interrupted
    known.parts = int(metadata.get(PARTS, known.parts if PART in metadata else 1))
    known.notes |= {key: metadata[key] for key in _NOTES if key in metadata}
    shown, digest = metadata.get(PATH), metadata.get(SHA256)
    if shown and digest and not is_kept(str(shown)):
        known.shows[str(shown)] = str(digest)
    for note in metadata.get(SHOWS, ()):
        digest, _, path = str(note).partition(" ")
        known.shows[path] = digest


def _made(metadata: Mapping[str, Any]) -> Made:
    values: Sequence[Any] = (
        metadata.get(FILE_SHA256) or metadata.get(SHA256),
        metadata.get(LOADER, ""),
        metadata.get(MODALITY) or "text",
    )
    return Made(*(intern(str(value)) for value in values))
