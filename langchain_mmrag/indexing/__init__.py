"""Bring a collection up to date with files and folders, doing only what changed.

What is already indexed is read from the collection itself: every document a loader made says which file it is
from (`source`), what the file held (`file_sha256`), what made it (`loader`) and how many parts the file has
(`parts`). There is no second record that could disagree, so a run that was interrupted goes on where it
stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.documents import BaseDocumentTransformer

from langchain_mmrag.document_loaders._ahead import default_workers
from langchain_mmrag.document_loaders._walk import selection
from langchain_mmrag.document_loaders.base import default_media_directory
from langchain_mmrag.document_loaders.kinds import LoaderOptions
from langchain_mmrag.errors import StoreError
from langchain_mmrag.indexing.report import Failed, IndexReport
from langchain_mmrag.indexing.run import Run
from langchain_mmrag.media import MediaPolicy

if TYPE_CHECKING:
    from langchain_mmrag.vectorstores import MultimodalChroma

__all__ = ["Failed", "IndexReport", "index_paths"]


def index_paths(
    store: MultimodalChroma,
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    options: LoaderOptions | None = None,
    transformers: Sequence[BaseDocumentTransformer] = (),
    prune: bool = False,
    glob: str | Sequence[str] = "**/*",
    exclude: str | Sequence[str] = (),
    ignore_files: bool = True,
    max_workers: int | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
    on_document: Callable[[int, int, str, int], None] | None = None,
    media_policy: MediaPolicy | None = None,
) -> IndexReport:
    """Index files and folders, skipping what is unchanged.

    A file is unchanged if its SHA-256 is, and what makes documents of it: its loader with its options, and
    the `fingerprint` of each transformer. A changed file's new documents are written as they come and its old
    ones deleted when all of them are there; a file that can no longer be read keeps its own. Documents that
    were not made by a loader of this package are never touched.

    A run that was stopped, in whatever way, goes on with the same call; what it wrote is not written again.

    Args:
        store: The collection.
        paths: Files and folders, or one of them.
        options: What loaders are told; see `LoaderOptions`. Pictures taken out of files go to the store's own
            folder of pictures unless it names one.
        transformers: Change documents before they are written, batch by batch: captions, for example. Their
            `fingerprint`, where there is one, is part of what makes a document; with `modalities`, only of
            documents of these; and not of files whose `source` is among their `unfinished` ones.
        prune: Whether to delete the documents of files that have vanished from a given folder, unless the
            folder holds no readable file at all (an unmounted disk looks like that). Otherwise they are
            counted.
        glob: Which files of folders; see `DirectoryLoader`.
        exclude: Which not.
        ignore_files: Whether `.gitignore` and `.mmragignore` hold.
        max_workers: Files decoded at once; by default the processors, up to 4. Embedding and writing go on
            beside it in the caller's thread.
        on_progress: Called after each file with the number of files done, their total, and the file.
        on_document: Called for each document with the number of files done, their total, its file, and the
            number of documents so far of that.
        media_policy: What may be opened; by default what `options` say, else what the store's own policy
            allows.

    Returns:
        What was done. Bad files are listed in it and do not stop the run.

    Raises:
        MissingDependencyError: If `options` ask for a reader that is not installed.
        ValueError: If a glob cannot be understood.
    """
    given = options or LoaderOptions()
    told = replace(
        given,
        media_policy=media_policy or given.media_policy or store.media_policy,
        media_directory=given.media_directory or _pictures_of(store),
        sound_search=given.sound_search or store._audio_embedding is not None,  # noqa: SLF001
    )
    wanted = selection(glob, exclude, ignore_files=ignore_files, skipped_folders=[told.media_directory])
    run = Run(store, told, tuple(transformers), on_document)
    run.collect([paths] if isinstance(paths, str | os.PathLike) else paths, wanted)
    run.take_all(default_workers() if max_workers is None else max_workers, on_progress)
    run.forget_vanished(prune=prune)
    return run.report()


def _pictures_of(store: MultimodalChroma) -> Path:
    """The store's folder of pictures; the user's cache folder where it has none."""
    try:
        return store.media_directory
    except StoreError:  # a server's collection has no folder of its own
        return default_media_directory()
