"""Bring a collection up to date with files and folders, doing only what changed.

What is already indexed is read from the collection itself: every document a loader made says which file it is
from (`source`), what the file held (`sha256`) and how many parts it has (`chunks`). There is no second record
that could disagree, so a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from langchain_core.documents import Document

from langchain_mmrag.document_loaders._ids import FILE_ID_PREFIX, printable
from langchain_mmrag.document_loaders.directory import LoadFailure, find_files, kind_of, unsupported
from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import MediaPolicy, read_media
from langchain_mmrag.types import FILE_SHA256, PART, PARTS, SHA256, SOURCE

if TYPE_CHECKING:
    from langchain_mmrag.vectorstores import MultimodalChroma

_BATCH_DOCUMENTS: Final = 64
_PAGE: Final = 5000
"""Documents read at once from the collection, below SQLite's limit of variables."""


class Failed(NamedTuple):
    """A file or folder that could not be indexed."""

    source: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """What a run did, counted in files.

    Attributes:
        added: Files that were new.
        updated: Files that had changed; their old documents are gone.
        skipped: Files that were as the collection knows them.
        deleted: Files that are gone, and their documents with them.
        failed: What could not be read, and why.
        ignored: Files of kinds this package does not read, by suffix.
    """

    added: int = 0
    updated: int = 0
    skipped: int = 0
    deleted: int = 0
    failed: tuple[Failed, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)

    @property
    def readable(self) -> int:
        """Files that are in the collection after the run."""
        return self.added + self.updated + self.skipped


def index_paths(
    store: MultimodalChroma,
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    on_progress: Callable[[int, int, str], None] | None = None,
    media_policy: MediaPolicy | None = None,
) -> IndexReport:
    """Index files and folders, skipping what is unchanged.

    A file is unchanged if its SHA-256 is. A changed file's new documents are written before its old ones go;
    one that can no longer be read keeps them. Documents of files that have vanished from a given folder are
    deleted, unless the folder holds no readable file at all (an unmounted disk looks like that). Documents
    that were not made by a loader of this package are never touched.

    Args:
        store: The collection.
        paths: Files and folders, or one of them.
        on_progress: Called after each file with the number of files done, their total, and the file.
        media_policy: What may be opened; by default what the store's own policy allows.

    Returns:
        What was done. Bad files are listed in it and do not stop the run.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    run = _Run(store, media_policy or store.media_policy)
    folders, files = run.collect(paths)
    for done, path in enumerate(files, start=1):
        run.take(path)
        if on_progress is not None:
            on_progress(done, len(files), str(path))
    run.flush()
    run.forget_vanished(folders)
    return run.report()


@dataclass
class _Known:
    """What the collection holds of one file."""

    ids: list[str] = field(default_factory=list)
    digests: Counter[str] = field(default_factory=Counter)
    parts: int = 0

    def is_complete(self, sha256: str) -> bool:
        return dict(self.digests) == {sha256: self.parts}


class _File(NamedTuple):
    path: Path
    documents: list[Document]
    stale_ids: list[str]
    is_new: bool


class _Run:
    """One pass over the files: what is known, what waits to be written, what was done."""

    def __init__(self, store: MultimodalChroma, policy: MediaPolicy) -> None:
        self.store = store
        self.policy = policy
        self.known = _known_files(store)
        self.pending: list[_File] = []
        self.counts: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self.failed: list[Failed] = []
        self.readable: set[str] = set()
        self.named: set[Path] = set()

    def collect(self, paths: Iterable[str | os.PathLike[str]]) -> tuple[list[str], list[Path]]:
        """The given folders, and every file of them and beside them once, as absolute paths."""
        folders: list[str] = []
        files: dict[Path, None] = {}
        for given in paths:
            path = Path(os.path.abspath(given))  # noqa: PTH100 - as sources are, without `..`
            if path.is_dir():
                folders.append(str(path))
                files |= dict.fromkeys(find_files(path, on_failure=self._failed))
            elif path.exists():
                files[path] = None
                self.named.add(path)
            else:
                self._failed(LoadFailure(str(path), LoadError(f"there is no file or folder {path}")))
        return folders, list(files)

    def take(self, path: Path) -> None:
        """Skip a file that is unchanged, else put it in the batch; a full batch is written."""
        try:
            kind = kind_of(path)
            if kind is None and path in self.named:
                raise unsupported(path)
            if kind is None:
                self.ignored[path.suffix.lower()] += 1
                return
            known = self.known.get(str(path), _Known())
            sha256 = hashlib.sha256(read_media(path, self.policy)).hexdigest()
            if known.is_complete(sha256):
                self._done("skipped", path)
                return
            documents = kind.loader(path, self.policy).load()
        except LoadError as error:
            self._failed(LoadFailure(str(path), error))
            return
        fresh = {document.id for document in documents}
        stale = [id_ for id_ in known.ids if id_ not in fresh]
        self.pending.append(_File(path, documents, stale, is_new=not known.ids))
        if sum(len(file.documents) for file in self.pending) >= _BATCH_DOCUMENTS:
            self.flush()

    def flush(self) -> None:
        """Write the batch; if a file in it turns out bad, file by file."""
        batch, self.pending = self.pending, []
        if not batch:
            return
        try:
            self._write(batch)
        except LoadError:
            for file in batch:
                try:
                    self._write([file])
                except LoadError as error:
                    self._failed(LoadFailure(str(file.path), error))

    def forget_vanished(self, folders: list[str]) -> None:
        """Delete the documents of files that are gone from a folder which still has readable ones."""
        for folder in folders:
            inside = os.path.join(folder, "")  # noqa: PTH118 - a prefix, which a Path cannot be
            if not any(source.startswith(inside) for source in self.readable):
                continue
            unseen = self.known.keys() - self.readable
            gone = [source for source in unseen if source.startswith(inside) and not Path(source).exists()]
            ids = [id_ for source in gone for id_ in self.known.pop(source).ids]
            if ids:
                self.store.delete(ids=ids)
                self.counts["deleted"] += len(gone)

    def report(self) -> IndexReport:
        """The counts so far."""
        return IndexReport(**self.counts, failed=tuple(self.failed), ignored=dict(self.ignored))

    def _write(self, batch: list[_File]) -> None:
        documents = [document for file in batch for document in file.documents]
        self.store.add_documents(documents, ids=[str(document.id) for document in documents])
        stale = [id_ for file in batch for id_ in file.stale_ids]
        if stale:
            self.store.delete(ids=stale)
        for file in batch:
            self._done("added" if file.is_new else "updated", file.path)

    def _done(self, outcome: str, path: Path) -> None:
        self.counts[outcome] += 1
        self.readable.add(str(path))

    def _failed(self, failure: LoadFailure) -> None:
        self.failed.append(Failed(printable(failure.source), printable(str(failure.error))))


def _known_files(store: MultimodalChroma) -> dict[str, _Known]:
    """What the collection holds of each file, read page by page."""
    files: dict[str, _Known] = {}
    offset = 0
    while True:
        page: dict[str, Any] = store.get(limit=_PAGE, offset=offset, include=["metadatas"])
        for id_, metadata in zip(page["ids"], page["metadatas"], strict=True):
            if id_.startswith(FILE_ID_PREFIX) and metadata:
                known = files.setdefault(str(metadata[SOURCE]), _Known())
                known.ids.append(id_)
                known.digests[str(metadata.get(FILE_SHA256) or metadata.get(SHA256))] += 1
                # several parts, but no last one that says how many: the run before was interrupted
                known.parts = int(metadata.get(PARTS, known.parts if PART in metadata else 1))
        if len(page["ids"]) < _PAGE:
            return files
        offset += _PAGE
