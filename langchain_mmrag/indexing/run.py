"""One run of indexing: files are read in parallel, embedded here batch by batch, inserted by the thousand."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import BaseDocumentTransformer, Document
from PIL.Image import Image

from langchain_mmrag.citing import place_of
from langchain_mmrag.document_loaders._ahead import Job, Results, in_order
from langchain_mmrag.document_loaders._ids import printable
from langchain_mmrag.document_loaders._reading import Outcome, read_file
from langchain_mmrag.document_loaders._walk import LoadFailure, Selection, find_files, glob_pattern
from langchain_mmrag.document_loaders.base import file_sha256, pictures_folder
from langchain_mmrag.document_loaders.image import ImageLoader
from langchain_mmrag.document_loaders.kinds import LoaderOptions
from langchain_mmrag.errors import LoadError, StoreError
from langchain_mmrag.indexing.file import FileInWork, is_gone, status_of
from langchain_mmrag.indexing.known import Applied, Known, Maker, known_files
from langchain_mmrag.indexing.report import Failed, IndexReport
from langchain_mmrag.media import open_local
from langchain_mmrag.types import (
    FILE_SHA256,
    LOADER,
    MODALITY,
    PART,
    PARTS,
    PATH,
    PROBLEMS,
    SHA256,
    image_source,
)

if TYPE_CHECKING:
    from langchain_mmrag._store.embedder import Embedder
    from langchain_mmrag._store.pipeline import Inserter
    from langchain_mmrag.vectorstores import MultimodalChroma

logger = logging.getLogger(__name__)

_BATCH_DOCUMENTS: Final = 64
_BATCH_CHARS: Final = 2**20
_NUMBER_IN_BATCH = re.compile(r"^document \d+: ")

OnProgress = Callable[[int, int, str], None]
OnDocument = Callable[[int, int, str, int], None]
_T = TypeVar("_T")
_Waiting: TypeAlias = tuple[FileInWork, Document]


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
        self.globs: list[re.Pattern[str]] = []
        self.files: dict[Path, Path | None] = {}
        self.named: set[Path] = set()
        self.pending: list[_Waiting] = []
        self.finished: list[FileInWork] = []
        self.unsettled: deque[tuple[int, FileInWork]] = deque()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.taken = 0
        self.readable: set[str] = set()
        self.failing: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self.failed: dict[Failed, None] = {}
        self.partial: list[Failed] = []
        self.unmatched: dict[str, int] = {}
        self._digests: dict[str, str] = {}
        self._inserter: Inserter
        self._embedder = store._embedder  # noqa: SLF001 - one package
        # The store's policy holds for what it embeds.
        self._decodes_here = self._embedder.shrinks and options.policy == store.media_policy
        _ = options.reader  # made here once: threads would each make their own

    # --- which files ----------------------------------------------------------------------------------------

    def collect(self, paths: Iterable[str | os.PathLike[str]], wanted: Selection) -> None:
        """The given folders, every file in them and beside them once, and what is known of these files."""
        self.globs = [glob_pattern(glob) for glob in wanted.globs]
        for path in map(_absolute, paths):
            try:
                is_folder = path.is_dir()
                is_there = is_folder or path.exists()
            except OSError as error:
                self._failed(LoadFailure(str(path), LoadError(f"cannot reach {path}: {error.strerror}")))
                continue
            if is_folder:
                self.folders.append(str(path))
                found = find_files(path, wanted, on_failure=self._failed, on_unmatched=self._unmatched)
                for file in found:
                    self.files.setdefault(file, path)
            elif is_there:
                self.files.setdefault(path, None)
                self.named.add(path)
            else:
                self._failed(LoadFailure(str(path), LoadError(f"there is no file or folder {path}")))
        folders = [_inside(folder) for folder in self.folders]
        named = {str(path) for path in self.named if printable(str(path)) == str(path)}
        self.known = known_files(self.store, folders, named, is_kept=self._is_kept)

    def _is_kept(self, path: str) -> bool:
        folder = self.options.media_directory
        return folder is not None and path.startswith(_inside(str(folder)))

    def _unmatched(self, glob: str) -> None:
        self.unmatched[glob] = self.unmatched.get(glob, 0) + 1

    # --- reading --------------------------------------------------------------------------------------------

    def take_all(self, workers: int, on_progress: OnProgress | None) -> None:
        """Read every file that is not as the collection knows it, and write its documents."""
        states = (
            FileInWork(path, self.known.get(str(path), Known()), was_known=str(path) in self.known)
            for path in self.files
        )
        jobs = ((file, self._job(file)) for file in states)
        start = perf_counter()
        with self.store._in_bulk() as self._inserter:  # noqa: SLF001 - one package
            self._take_each(jobs, workers, on_progress)
            self._inserter.finish()
            self._settle()
        self.seconds.update(self._inserter.seconds)
        self.seconds["total"] += perf_counter() - start

    def _take_each(
        self,
        jobs: Iterable[Job[FileInWork, Document | Outcome]],
        workers: int,
        on_progress: OnProgress | None,
    ) -> None:
        with closing(in_order(jobs, workers=workers)) as reading:
            for file, read in reading:
                if isinstance(read, Document):
                    self._take(file, read)
                    continue
                self._end(file, read)
                self.seconds["reading"] += file.seconds
                self.taken += 1
                if on_progress is not None:
                    on_progress(self.taken, len(self.files), printable(file.source))
        self.flush()

    def _job(self, file: FileInWork) -> Callable[[], Results[Document | Outcome]]:
        def is_unchanged(loader: BaseLoader) -> bool:
            if isinstance(loader, ImageLoader) and self._decodes_here:
                loader.taker = _Taker(file, self._embedder)
            file.maker = Maker(str(getattr(loader, "fingerprint", "")), self.applied)
            file.status = status_of(file.path)
            file.is_stale = any(self._digest(path) != digest for path, digest in file.known.shows.items())
            if file.is_stale or not file.known.is_whole(file.maker):
                return False
            with open_local(file.source, self.options.policy) as opened:
                return file_sha256(opened) in file.known.digests

        reading = partial(
            read_file,
            file.path,
            self.options,
            root=self.files[file.path],
            is_named=file.path in self.named,
            is_unchanged=is_unchanged,
        )
        return lambda: _timed(reading(), file)

    def _digest(self, path: str) -> str:
        """Of a file that others show, read once a run; `""` if it cannot be."""
        if path not in self._digests:
            try:
                with open_local(path, self.options.policy) as opened:
                    self._digests[path] = file_sha256(opened)
            except LoadError:
                self._digests[path] = ""
        return self._digests[path]

    def _take(self, file: FileInWork, document: Document) -> None:
        if not file.seen:
            file.sha256 = str(document.metadata.get(FILE_SHA256) or document.metadata.get(SHA256))
            if file.is_stale and file.sha256 in file.known.digests:
                # other parts may get the same ids: old and new ones must not mix, also if the run is stopped
                self._delete([*file.known.rows])
                file.known = Known()
        if file.last is not None:
            self._queue(file, file.last)
        file.seen += 1
        file.last = document
        file.ids[str(document.id)] = None
        if PATH in document.metadata:
            file.pictures.add(str(document.metadata[PATH]))
        if self.on_document is not None:
            self.on_document(self.taken, len(self.files), printable(file.source), file.seen)

    def _queue(self, file: FileInWork, document: Document) -> None:
        if not file.known.is_current(str(document.id), file.maker, file.sha256):
            self.pending.append((file, document))  # what an interrupted run wrote stays
        else:
            file.picture = None
        is_long = sum(len(waiting.page_content) for _, waiting in self.pending) >= _BATCH_CHARS
        if len(self.pending) >= _BATCH_DOCUMENTS or is_long:
            self.flush()

    def _end(self, file: FileInWork, outcome: Outcome) -> None:
        file.outcome = outcome
        if outcome.status == "ignored":
            self.ignored[file.path.suffix.lower()] += 1
        elif outcome.status == "unchanged":
            self._done("skipped", file, file.known.notes.get(PROBLEMS, ()))
        elif outcome.status != "sidecar":
            if outcome.error is not None:
                self.pending = [waiting for waiting in self.pending if waiting[0] is not file]
            elif file.last is not None:
                self._look_at_shown(file, outcome)
                self._queue(file, file.last)
            self.finished.append(file)
            if not self.pending:
                self.flush()

    def _look_at_shown(self, file: FileInWork, outcome: Outcome) -> None:
        paths = {path for path in outcome.shows - file.pictures if printable(path) == path}
        shows = {path: self._digest(path) for path in paths}
        if status_of(file.path) != file.status:
            shows[file.source] = ""  # no state of it was read for certain: the next run reads it again
            file.problems.append(f"{file.path} changed while it was read: index it again")
        file.shows = shows

    # --- writing --------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Embed what waits; files that are read to their end are settled once all of them is inserted."""
        batch, self.pending = self.pending, []
        if batch:
            self._write_what_can(self._transformed(batch))
        for file, _ in batch:
            file.picture = None
        finished, self.finished = self.finished, []
        self.unsettled.extend((self._inserter.taken, file) for file in finished)
        self._inserter.advance()
        self._settle()

    def _transformed(self, batch: Sequence[_Waiting]) -> list[_Waiting]:
        documents = [document for _, document in batch]
        for each in self.applied:
            documents = list(each.transformer.transform_documents(documents))
        if [document.id for document in documents] != [document.id for _, document in batch]:
            msg = "a transformer of an index must give every document back, with its id"
            raise TypeError(msg)
        transformed = [(file, document) for (file, _), document in zip(batch, documents, strict=True)]
        for file, document in transformed:
            made = file.maker.loader(str(document.metadata.get(MODALITY) or "text"), file.source)
            if made:
                document.metadata[LOADER] = made
        return transformed

    def _write_what_can(self, batch: Sequence[_Waiting]) -> None:
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
            file.ids.pop(str(document.id), None)
            told = _NUMBER_IN_BATCH.sub("", str(error))
            place = place_of(document) or f"document {int(document.metadata.get(PART, 0)) + 1} of the file"
            file.problems.append(f"{place}: {told}" if file.seen > 1 else told)

    def _write(self, batch: Sequence[_Waiting]) -> None:
        for file, document in batch:
            if file.ends_with(document):
                _put_notes(file, document)
        ids = [str(document.id) for _, document in batch]
        self._inserter.decoded = {
            str(document.id): file.picture
            for file, document in batch
            if file.picture is not None and image_source(document.metadata) == file.source
        }
        self.store.add_documents([document for _, document in batch], ids=ids)
        self.counts["documents"] += len(batch)
        for file, document in batch:
            file.written.append(str(document.id))
            file.is_noted |= file.ends_with(document)

    def _settle(self) -> None:
        """Files of which everything is inserted: old documents go, then the pictures taken out for them."""
        gone: list[str] = []
        outdated: list[tuple[Path, set[tuple[str, str]]]] = []
        while self.unsettled and self.unsettled[0][0] <= self._inserter.inserted:
            _, file = self.unsettled.popleft()
            error = file.outcome.error if file.outcome else None
            self._leave_out(file)
            if error is None and not file.ids and file.problems:
                error = LoadError(file.problems[0])
            if error is not None:
                self._undo(file)
                self._failed(LoadFailure(file.source, error))
                continue
            self._note(file)
            gone += [id_ for id_ in file.known.rows if id_ not in file.ids]
            outdated.append((file.path, file.known.makings - {file.making}))
            self._done("updated" if file.was_known else "added", file, file.told)
        self._delete(gone)
        for path, makings in outdated:
            self._forget_pictures(path, makings)

    def _leave_out(self, file: FileInWork) -> None:
        """What the collection refused as it was inserted is no document of its file, which is told why."""
        refused = self._inserter.refused
        for id_ in [id_ for id_ in file.written if id_ in refused]:
            file.written.remove(id_)
            file.ids.pop(id_, None)
            file.problems.append(f"document {id_}: {refused[id_]}" if file.seen > 1 else refused[id_])
            file.is_noted = False
            self.counts["documents"] -= 1

    def _note(self, file: FileInWork) -> None:
        """Where the last document was there already, or could not be written, the notes go on what is."""
        if file.is_noted or not file.ids:
            return
        last = next(reversed(file.ids))
        if last in file.known.rows and file.notes() == file.known.notes:
            return
        for document in self.store.get_by_ids([last]):
            _put_notes(file, document)
            self.store.add_documents([document], ids=[last])

    def _undo(self, file: FileInWork) -> None:
        """A file that failed keeps what the collection held of it, and gets nothing new."""
        self._delete([id_ for id_ in file.written if id_ not in file.known.rows])
        self.counts["documents"] -= len(file.written)
        if printable(file.source) != file.source:  # no loader took it
            return
        file.sha256 = file.sha256 or self._digest(file.source)  # pictures may be there before any document
        if file.sha256:
            self._forget_pictures(file.path, {file.making} - file.known.makings)

    def _delete(self, ids: list[str]) -> None:
        if ids:
            self.store.delete(ids=ids)

    def _forget_pictures(self, path: Path, makings: Iterable[tuple[str, str]]) -> None:
        if (folder := self.options.media_directory) is None:
            return
        for sha256, fingerprint in makings:
            shutil.rmtree(pictures_folder(folder, str(path), sha256, fingerprint), ignore_errors=True)

    # --- afterwards -----------------------------------------------------------------------------------------

    def forget_vanished(self, *, prune: bool) -> None:
        """Delete the documents of files that a folder has no more, if it still has readable ones."""
        for folder in self.folders:
            inside = _inside(folder)
            unseen = self.known.keys() - self.readable - self.failing
            gone = sorted(source for source in unseen if self._is_out_of(inside, source))
            if not prune or not any(source.startswith(inside) for source in self.readable):
                self.counts["vanished"] += len(gone)
                for source in gone:  # counted once, also if folders are given that lie in each other
                    del self.known[source]
                continue
            for source in gone:
                known = self.known.pop(source)
                self._delete(list(known.rows))
                self._forget_pictures(Path(source), known.makings)
                self.counts["deleted"] += 1

    def _is_out_of(self, inside: str, source: str) -> bool:
        """Whether a folder has a file no more: it is gone, or was passed over though the globs are about it.

        What lies where the search could not go may be there still.
        """
        if not source.startswith(inside):
            return False
        if is_gone(source):
            return True
        if any(source == failed or source.startswith(_inside(failed)) for failed in self.failing):
            return False
        place = Path(source).relative_to(inside).as_posix()
        return status_of(Path(source)) is not None and any(glob.fullmatch(place) for glob in self.globs)

    def report(self) -> IndexReport:
        """The counts so far."""
        return IndexReport(
            **self.counts,
            failed=tuple(failed for failed in self.failed if failed.source not in self.readable),
            partial=tuple(self.partial),
            ignored=dict(self.ignored),
            unmatched=tuple(glob for glob, times in self.unmatched.items() if times == len(self.folders)),
            seconds=dict(self.seconds),
        )

    def _done(self, outcome: str, file: FileInWork, problems: Iterable[str]) -> None:
        self.counts[outcome] += 1
        self.readable.add(file.source)
        self.partial += [Failed(printable(file.source), problem) for problem in problems]

    def _failed(self, failure: LoadFailure) -> None:
        self.failing.add(failure.source)
        self.failed[Failed(printable(failure.source), printable(str(failure.error)))] = None


@dataclass
class _Taker:
    """Keeps the picture of a file until it is embedded, as small as that needs it."""

    file: FileInWork
    embedder: Embedder
    knows_side: bool = False

    def min_side(self) -> int | None:
        try:
            side = self.embedder.min_side()
        except Exception:  # noqa: BLE001 - of a model that cannot be had, who embeds tells
            return 1
        self.knows_side = True
        return side

    def take(self, image: Image) -> None:
        if not self.knows_side:  # it is too small, should the model be there by the time it is embedded
            return
        try:
            self.file.picture = self.embedder.shrunk(image)
        except Exception:
            logger.debug("%s is decoded once more", self.file.path, exc_info=True)


def _absolute(given: str | os.PathLike[str]) -> Path:
    """Absolute as sources are, without `..`; two slashes in front, which POSIX lets stand, are one."""
    path = os.path.abspath(given)  # noqa: PTH100 - links are not resolved
    return Path(path[1:] if os.sep == "/" and path.startswith("//") else path)


def _inside(folder: str) -> str:
    """What the paths of everything in a folder begin with."""
    return os.path.join(folder, "")  # noqa: PTH118 - a prefix, which a Path cannot be


def _timed(results: Results[_T], file: FileInWork) -> Results[_T]:
    """Results as they come; how long they take to make is noted with their file."""
    with closing(results):
        while True:
            start = perf_counter()
            try:
                result = next(results)
            except StopIteration:
                return
            finally:
                file.seconds += perf_counter() - start
            yield result


def _put_notes(file: FileInWork, document: Document) -> None:
    document.metadata.pop(PARTS, None)
    document.metadata.update(file.notes())
