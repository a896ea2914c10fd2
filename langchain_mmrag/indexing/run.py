"""One run of indexing: files are read in parallel, embedded and written here, batch by batch."""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import BaseDocumentTransformer, Document

from langchain_mmrag.document_loaders._ahead import Results, in_order
from langchain_mmrag.document_loaders._ids import printable
from langchain_mmrag.document_loaders._reading import Outcome, read_file
from langchain_mmrag.document_loaders._walk import LoadFailure, Selection, find_files
from langchain_mmrag.document_loaders.base import file_sha256, pictures_folder
from langchain_mmrag.document_loaders.kinds import LoaderOptions
from langchain_mmrag.errors import LoadError, StoreError
from langchain_mmrag.indexing.known import Applied, Known, Maker, known_files
from langchain_mmrag.indexing.report import Failed, IndexReport
from langchain_mmrag.media import open_local
from langchain_mmrag.types import FILE_SHA256, LOADER, MODALITY, PARTS, SHA256

if TYPE_CHECKING:
    from langchain_mmrag.vectorstores import MultimodalChroma

logger = logging.getLogger(__name__)

_BATCH_DOCUMENTS: Final = 64
_BATCH_CHARS: Final = 2**20

OnProgress = Callable[[int, int, str], None]
OnDocument = Callable[[int, int, str, int], None]


@dataclass
class _File:
    """A file on its way into the collection.

    Attributes:
        known: What the collection held of it before.
        maker: What makes its documents; known once its loader is.
        sha256: Of the file, by its first document.
        ids: Of the documents that it now has.
        written: Of those that were written in this run.
        dropped: How many could not be written.
        seen: How many its loader gave.
        problems: Why some of them cannot be written.
        outcome: How the reading ended; `None` while it goes on.
    """

    path: Path
    known: Known
    maker: Maker = field(default_factory=lambda: Maker(""))
    sha256: str = ""
    ids: set[str] = field(default_factory=set)
    written: list[str] = field(default_factory=list)
    dropped: int = 0
    seen: int = 0
    problems: list[Exception] = field(default_factory=list)
    outcome: Outcome | None = None


class Run:
    """One pass over the files: what is known, what waits to be written, what was done."""

    def __init__(
        self,
        store: MultimodalChroma,
        options: LoaderOptions,
        transformers: tuple[BaseDocumentTransformer, ...],
        on_document: OnDocument | None,
    ) -> None:
        self.store = store
        self.options = options
        self.applied = tuple(Applied(transformer) for transformer in transformers)
        self.on_document = on_document
        self.known: dict[str, Known] = {}
        self.folders: list[str] = []
        self.files: dict[Path, Path | None] = {}
        self.named: set[Path] = set()
        self.pending: list[tuple[_File, Document]] = []
        self.finished: list[_File] = []
        self.taken = 0
        self.readable: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self.failed: list[Failed] = []
        self.partial: list[Failed] = []
        self.unmatched: dict[str, int] = {}
        _ = options.reader  # made here once: threads would each make their own

    # --- which files ----------------------------------------------------------------------------------------

    def collect(self, paths: Iterable[str | os.PathLike[str]], wanted: Selection) -> None:
        """The given folders, every file in them and beside them once, and what is known of these files."""
        for given in paths:
            path = Path(os.path.abspath(given))  # noqa: PTH100 - as sources are, without `..`
            if path.is_dir():
                self.folders.append(str(path))
                found = find_files(path, wanted, on_failure=self._failed, on_unmatched=self._unmatched)
                for file in found:
                    self.files.setdefault(file, path)
            elif path.exists():
                self.files.setdefault(path, None)
                self.named.add(path)
            else:
                self._failed(LoadFailure(str(path), LoadError(f"there is no file or folder {path}")))
        folders = tuple(os.path.join(folder, "") for folder in self.folders)  # noqa: PTH118 - prefixes
        named = {str(path) for path in self.named}
        self.known = known_files(self.store, lambda source: source in named or source.startswith(folders))

    def _unmatched(self, glob: str) -> None:
        self.unmatched[glob] = self.unmatched.get(glob, 0) + 1

    # --- reading --------------------------------------------------------------------------------------------

    def take_all(self, workers: int, on_progress: OnProgress | None) -> None:
        """Read every file that is not as the collection knows it, and write its documents."""
        states = (_File(path, self.known.get(str(path), Known())) for path in self.files)
        jobs = ((file, self._job(file)) for file in states)
        with closing(in_order(jobs, workers=workers)) as reading:
            for file, read in reading:
                if isinstance(read, Document):
                    self._take(file, read)
                    continue
                self._end(file, read)
                self.taken += 1
                if on_progress is not None:
                    on_progress(self.taken, len(self.files), printable(str(file.path)))
        self.flush()

    def _job(self, file: _File) -> Callable[[], Results[Document | Outcome]]:
        def is_unchanged(loader: BaseLoader) -> bool:
            fingerprint = str(getattr(loader, "fingerprint", ""))
            file.maker = Maker(fingerprint, self.applied)
            if not file.known.is_whole(file.maker):
                return False
            with open_local(str(file.path), self.options.policy) as opened:
                return file_sha256(opened) in file.known.digests

        return partial(
            read_file,
            file.path,
            self.options,
            root=self.files[file.path],
            is_named=file.path in self.named,
            is_unchanged=is_unchanged,
        )

    def _take(self, file: _File, document: Document) -> None:
        file.seen += 1
        file.sha256 = str(document.metadata.get(FILE_SHA256) or document.metadata.get(SHA256))
        id_ = str(document.id)
        file.ids.add(id_)
        if not file.known.is_current(id_, file.maker, file.sha256):  # what an interrupted run wrote stays
            self.pending.append((file, document))
        if self.on_document is not None:
            self.on_document(self.taken, len(self.files), printable(str(file.path)), file.seen)
        is_long = sum(len(waiting.page_content) for _, waiting in self.pending) >= _BATCH_CHARS
        if len(self.pending) >= _BATCH_DOCUMENTS or is_long:
            self.flush()

    def _end(self, file: _File, outcome: Outcome) -> None:
        file.outcome = outcome
        if outcome.status == "ignored":
            self.ignored[file.path.suffix.lower()] += 1
        elif outcome.status == "unchanged":
            self._done("skipped", file)
        elif outcome.status != "sidecar":
            if outcome.error is not None:
                self.pending = [waiting for waiting in self.pending if waiting[0] is not file]
            self.finished.append(file)
            if not self.pending:
                self._settle()

    # --- writing --------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what waits; then the files that are read to their end are settled."""
        batch, self.pending = self.pending, []
        if batch:
            self._write_what_can(batch)
        self._settle()

    def _write_what_can(self, batch: Sequence[tuple[_File, Document]]) -> None:
        """Write a batch; if something in it turns out bad, by halves, until that alone is left out."""
        try:
            self._write(batch)
        except StoreError:
            raise
        except (LoadError, ValueError) as error:  # ValueError: metadata that no collection can hold
            if len(batch) > 1:
                middle = len(batch) // 2
                self._write_what_can(batch[:middle])
                self._write_what_can(batch[middle:])
                return
            ((file, document),) = batch
            file.dropped += 1
            file.ids.discard(str(document.id))
            file.problems.append(error)

    def _write(self, batch: Sequence[tuple[_File, Document]]) -> None:
        documents = [document for _, document in batch]
        for each in self.applied:
            documents = list(each.transformer.transform_documents(documents))
        if [document.id for document in documents] != [document.id for _, document in batch]:
            msg = "a transformer of an index must give every document back, with its id"
            raise TypeError(msg)
        for (file, _), document in zip(batch, documents, strict=True):
            made = file.maker.loader(str(document.metadata.get(MODALITY) or "text"), str(file.path))
            if made:
                document.metadata[LOADER] = made
            if PARTS in document.metadata and file.dropped:
                document.metadata[PARTS] = file.seen - file.dropped
        self.store.add_documents(documents, ids=[str(document.id) for document in documents])
        self.counts["documents"] += len(documents)
        for file, document in batch:
            file.written.append(str(document.id))

    def _settle(self) -> None:
        """Files of which everything is written: old documents go, then the pictures taken out for them."""
        finished, self.finished = self.finished, []
        for file in finished:
            error = file.outcome.error if file.outcome else None
            if error is None and not file.ids and file.problems:
                error = LoadError(str(file.problems[0]))
            if error is not None:
                self._undo(file)
                self._failed(LoadFailure(str(file.path), error))
                continue
            self._delete([id_ for id_ in file.known.rows if id_ not in file.ids])
            self._forget_pictures(file.path, file.known.digests - {file.sha256})
            self._done("updated" if file.known.rows else "added", file)
            for problem in (*(file.outcome.problems if file.outcome else ()), *file.problems):
                self.partial.append(Failed(printable(str(file.path)), printable(str(problem))))

    def _undo(self, file: _File) -> None:
        """A file that failed keeps what the collection held of it, and gets nothing new."""
        self._delete([id_ for id_ in file.written if id_ not in file.known.rows])
        self.counts["documents"] -= len(file.written)
        if file.sha256:
            self._forget_pictures(file.path, {file.sha256} - file.known.digests)

    def _delete(self, ids: list[str]) -> None:
        if ids:
            self.store.delete(ids=ids)

    def _forget_pictures(self, path: Path, digests: Iterable[str]) -> None:
        if self.options.media_directory is None:
            return
        for sha256 in digests:
            shutil.rmtree(
                pictures_folder(self.options.media_directory, str(path), sha256), ignore_errors=True
            )

    # --- afterwards -----------------------------------------------------------------------------------------

    def forget_vanished(self, *, prune: bool) -> None:
        """Delete the documents of files that are gone from a folder which still has readable ones."""
        for folder in self.folders:
            inside = os.path.join(folder, "")  # noqa: PTH118 - a prefix, which a Path cannot be
            unseen = self.known.keys() - self.readable
            gone = sorted(source for source in unseen if source.startswith(inside) and _is_gone(source))
            if not prune or not any(source.startswith(inside) for source in self.readable):
                self.counts["vanished"] += len(gone)
                for source in gone:  # counted once, also if folders are given that lie in each other
                    del self.known[source]
                continue
            for source in gone:
                known = self.known.pop(source)
                self._delete(list(known.rows))
                self._forget_pictures(Path(source), known.digests)
                self.counts["deleted"] += 1

    def report(self) -> IndexReport:
        """The counts so far."""
        return IndexReport(
            **self.counts,
            failed=tuple(self.failed),
            partial=tuple(self.partial),
            ignored=dict(self.ignored),
            unmatched=tuple(glob for glob, times in self.unmatched.items() if times == len(self.folders)),
        )

    def _done(self, outcome: str, file: _File) -> None:
        self.counts[outcome] += 1
        self.readable.add(str(file.path))

    def _failed(self, failure: LoadFailure) -> None:
        self.failed.append(Failed(printable(failure.source), printable(str(failure.error))))


def _is_gone(source: str) -> bool:
    """Whether there is certainly no such file; one that cannot be looked at may be there."""
    try:
        os.stat(source)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False
