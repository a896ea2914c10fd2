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

from langchain_mmrag._cache import default_media_directory
from langchain_mmrag.document_loaders._ahead import default_workers
from langchain_mmrag.document_loaders._walk import selection
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

    A file is unchanged if its SHA-256 is, the files that it shows are, and its loader with its options, and
    if every transformer given now had its part in it: a run without any leaves captions as they are. A
    changed file's new documents are written as they come and its old ones deleted when all of them are there;
    a file that can no longer be read keeps its own. Documents that were not made by a loader of this package
    are never touched.

    A run that was stopped, in whatever way, goes on with the same call; what it wrote is not written again.

    Args:
        store: The collection.
        paths: Files and folders, or one of them.
        options: What loaders are told; see `LoaderOptions`. Pictures taken out of files go to the store's own
            folder of pictures unless it names one.
        transformers: Change documents before they are written, batch by batch: captions, for example. Their
            `fingerprint`, where there is one, is part of what makes a document; with `modalities`, only of
            documents of these; and not of files whose `source` is among their `unfinished` ones.
        prune: Whether to delete the documents of files that have vanished from a given folder, or that match
            `glob` and are passed over now (ignored, excluded, the caption of a picture, of a kind that is
            not read, met under another name), unless the folder holds no readable file at all (an unmounted
            disk looks like that). Otherwise they are counted.
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
        TypeError: If a transformer does not give every document back.
        Exception: Whatever a transformer raises; what was written before stays, and the same call goes on.
    """
    given = options or LoaderOptions()
    told = replace(
        given,
        media_policy=media_policy or given.media_policy or store.media_policy,
        media_directory=_pictures_of(store, given.media_directory),
        sound_search=given.sound_search or store._audio_embedding is not None,  # noqa: SLF001
    )
    kept = told.media_directory and told.media_directory.parent
    wanted = selection(glob, exclude, ignore_files=ignore_files, skipped_folders=[kept])
    run = Run(store, told, tuple(transformers), on_document)
    run.collect([paths] if isinstance(paths, str | os.PathLike) else paths, wanted)
    run.take_all(default_workers() if max_workers is None else max_workers, on_progress)
    run.forget_vanished(prune=prune)
    return run.report()


def _pictures_of(store: MultimodalChroma, given: Path | None) -> Path:
    """A folder for the pictures of this collection alone, as others may hold the same files.

    It lies in the one that is given, in the store's, or in the user's cache folder where the store has none.
    """
    collection = store._collection  # noqa: SLF001 - langchain_chroma has no public name for it
    try:
        folder = given or store.media_directory
    except StoreError:  # a server's collection has no folder of its own
        folder = default_media_directory()
    return Path(folder).absolute() / f"{collection.name}-{str(collection.id)[:8]}"
