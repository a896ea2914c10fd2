"""Load every file of a folder of a kind this package reads."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from langchain_mmrag._cache import default_media_directory
from langchain_mmrag.document_loaders._ahead import Job, Results, default_workers, in_order
from langchain_mmrag.document_loaders._reading import Outcome, read_file
from langchain_mmrag.document_loaders._walk import LoadFailure, find_files, selection
from langchain_mmrag.document_loaders.kinds import LoaderOptions, MakeLoader, OcrChoice
from langchain_mmrag.media import MediaPolicy

if TYPE_CHECKING:
    from tqdm import tqdm

    from langchain_mmrag.document_loaders.ocr import OCR
    from langchain_mmrag.document_loaders.transcription import Transcriber

logger = logging.getLogger(__name__)

__all__ = ["DirectoryLoader", "LoadFailure"]


class DirectoryLoader(BaseLoader):
    """Load every file below a folder, in the order of their names.

    What a file is, its bytes say; only then its name. Hidden files and folders, Chroma stores and captions
    beside their pictures are passed over, files of other kinds are counted in `ignored`. Links are followed
    as far as they stay inside the folder; one that leads out of it is a failure.

    Files are decoded in parallel and a few of them ahead; a long one is never held whole.

    Example:
        ```python
        loader = DirectoryLoader("project", glob="**/*.{pdf,md}", exclude="drafts/")
        documents = loader.load()
        for failure in loader.failures:
            print(failure.source, failure.error)
        ```

    Documents name each other by their ids (`parent_id`, `near_id`). LangChain's own `index` gives them others
    unless it is told to keep them: `index(loader, record_manager, store, key_encoder=lambda each: each.id)`.

    Args:
        path: The folder.
        glob: Which files, by their path inside the folder, or several such: `*` and `?` within a name,
            `[a-z]`, `{one,other}`, `**/` for any folders.
        exclude: Which not, in the words of a `.gitignore`, one line or several: `*.tmp`, `build/`, `/notes`.
        ignore_files: Whether `.gitignore` and `.mmragignore`, in the folder and those below it, hold.
        recursive: Whether folders in the folder are read.
        on_error: `"skip"` keeps what cannot be read in `failures` and goes on, `"raise"` stops at it.
        ocr: Who reads the writing in pictures and scanned pages; see `LoaderOptions`.
        transcriber: Who writes down what is spoken in recordings and films.
        loaders: Loaders to take for a suffix in place of this package's, such as `{".tex": MyLoader}`.
        max_workers: Files decoded at once; by default the processors, up to 4. With 1 nothing is done ahead.
        show_progress: Whether to show a bar.
        media_policy: What may be opened.
        media_directory: Where pictures taken out of files go; by default the user's cache folder.

    Attributes:
        failures: What could not be read in the last run; `partial` ones of files that could be otherwise.
        ignored: How many files of kinds this package does not read the last run met, by suffix.
        unmatched: Globs that no file matched in the last run.

    Raises:
        ValueError: If an option is none of its choices, or a glob cannot be understood.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        glob: str | Sequence[str] = "**/*",
        exclude: str | Sequence[str] = (),
        ignore_files: bool = True,
        recursive: bool = True,
        on_error: Literal["raise", "skip"] = "skip",
        ocr: OCR | OcrChoice | None = "auto",
        transcriber: Transcriber | None = None,
        loaders: Mapping[str, MakeLoader] | None = None,
        max_workers: int | None = None,
        show_progress: bool = False,
        media_policy: MediaPolicy | None = None,
        media_directory: str | os.PathLike[str] | None = None,
    ) -> None:
        if on_error not in ("raise", "skip"):
            msg = f"on_error must be 'raise' or 'skip', got {on_error!r}"
            raise ValueError(msg)
        self.path = Path(path)
        self.options = LoaderOptions(
            media_policy=media_policy,
            media_directory=Path(media_directory) if media_directory else default_media_directory(),
            ocr=ocr,
            transcriber=transcriber,
            loaders=loaders or {},
        )
        self.selection = selection(
            glob,
            exclude,
            ignore_files=ignore_files,
            recursive=recursive,
            skipped_folders=[self.options.media_directory],
        )
        self.on_error = on_error
        self.max_workers = default_workers() if max_workers is None else max_workers
        self.show_progress = show_progress
        self.failures: list[LoadFailure] = []
        self.ignored: Counter[str] = Counter()
        self.unmatched: list[str] = []

    def lazy_load(self) -> Iterator[Document]:
        """Yield the documents file by file.

        Raises:
            LoadError: If the folder does not exist; with `on_error="raise"` also for the first bad file.
            MissingDependencyError: If a reader was asked for that is not installed; with `on_error="raise"`
                also for the first file whose loader is not.
        """
        self.failures, self.ignored, self.unmatched = [], Counter(), []
        _ = self.options.reader  # made here once: threads would each make their own
        met: list[LoadFailure] = []
        paths: Iterable[Path] = find_files(
            self.path, self.selection, on_failure=met.append, on_unmatched=self._unmatched
        )
        if self.show_progress:
            paths = list(paths)  # a bar wants to know how many there are
        reading = in_order(self._jobs(paths, met), workers=self.max_workers)
        with _bar(paths, shown=self.show_progress) as bar, closing(reading):
            for path, read in reading:
                if isinstance(read, Document):
                    yield read
                else:
                    self._ended(path, read)
                    bar.update()

    def _jobs(self, paths: Iterable[Path], met: list[LoadFailure]) -> Iterator[Job[str, Document | Outcome]]:
        """What is to be done for each file, and, in its place, what the search for files met."""
        for path in paths:
            yield from _told(met)
            yield str(path), partial(read_file, path, self.options, root=self.path)
        yield from _told(met)

    def _ended(self, path: str, outcome: Outcome) -> None:
        if outcome.status == "ignored":
            self.ignored[Path(path).suffix.lower()] += 1
        if outcome.error is not None:
            self._failed(LoadFailure(path, outcome.error))
        for problem in outcome.problems:
            self._failed(LoadFailure(path, problem, partial=True))

    def _failed(self, failure: LoadFailure) -> None:
        if self.on_error == "raise" and not failure.partial:
            raise failure.error
        if not failure.partial:  # the loader told of the others
            logger.warning("passed over: %s", failure.error)
        self.failures.append(failure)

    def _unmatched(self, glob: str) -> None:
        logger.warning("no file in %s matches %s", self.path, glob)
        self.unmatched.append(glob)


def _bar(paths: Iterable[Path], *, shown: bool) -> tqdm[Any]:
    from tqdm import tqdm

    total = len(paths) if isinstance(paths, list) else None
    return tqdm(total=total, desc="Loading", unit=" files", disable=None if shown else True)


def _told(met: list[LoadFailure]) -> Iterator[Job[str, Document | Outcome]]:
    while met:
        failure = met.pop(0)
        yield failure.source, partial(_failure, failure)


def _failure(failure: LoadFailure) -> Results[Document | Outcome]:
    yield Outcome("failed", failure.error)
