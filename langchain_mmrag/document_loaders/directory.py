"""Walk a folder and load every file of a kind this package reads."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from langchain_mmrag.document_loaders.image import ImageLoader
from langchain_mmrag.document_loaders.text import TextLoader
from langchain_mmrag.errors import LoadError, UnsafeSourceError, UnsupportedFormatError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy
from langchain_mmrag.media.formats import sniff
from langchain_mmrag.types import Modality

logger = logging.getLogger(__name__)

_HEAD_BYTES: Final = 512
_STORE_FILE: Final = "chroma.sqlite3"
"""Marks a folder as a Chroma store: its files are not the user's."""


@dataclass(frozen=True)
class FileKind:
    """A kind of file and what loads it.

    Attributes:
        modality: Modality of its documents.
        suffixes: Lower-case suffixes, with the dot.
        recognises: Whether a file that begins with these bytes is of this kind, whatever its name.
        loader: Makes the loader of one file.
    """

    modality: Modality
    suffixes: frozenset[str]
    recognises: Callable[[bytes], bool]
    loader: Callable[[Path, MediaPolicy], BaseLoader]


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


KINDS: Final = (
    FileKind(
        modality="image",
        # those the decoder refuses are listed too: a picture that cannot be read is reported, not passed over
        suffixes=_suffixes("jpg jpeg jpe jfif png gif webp bmp dib tif tiff avif svg heic heif jp2 jxl ico"),
        recognises=lambda head: sniff(head) is not None,
        loader=lambda path, policy: ImageLoader(path, media_policy=policy),
    ),
    FileKind(
        modality="text",
        suffixes=_suffixes("md markdown txt text rst"),
        recognises=lambda _head: False,  # any bytes may be text
        loader=lambda path, policy: TextLoader(path, media_policy=policy),
    ),
)
"""The kinds of file this package reads. A file is what its first bytes say; only then what its name says."""


@dataclass(frozen=True)
class LoadFailure:
    """A file or folder that could not be read, and why."""

    source: str
    error: LoadError


class DirectoryLoader(BaseLoader):
    """Load every picture and text file below a folder, in the order of their names.

    Hidden files and folders and Chroma stores are passed over, files of other kinds are counted in `ignored`.
    Links are followed as far as they stay inside the folder; one that leads out of it is a failure.

    Example:
        ```python
        loader = DirectoryLoader("photos")
        documents = loader.load()
        for failure in loader.failures:
            print(failure.source, failure.error)
        ```

    Args:
        path: The folder.
        glob: Which files, by their path inside the folder: `*` within a name, `**/` any folders.
        on_error: `"skip"` keeps what cannot be read in `failures` and goes on, `"raise"` stops at it.
        media_policy: What may be opened.

    Attributes:
        failures: What could not be read in the last run.
        ignored: How many files of kinds this package does not read the last run met, by suffix.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        glob: str = "**/*",
        on_error: Literal["raise", "skip"] = "skip",
        media_policy: MediaPolicy | None = None,
    ) -> None:
        if on_error not in ("raise", "skip"):
            msg = f"on_error must be 'raise' or 'skip', got {on_error!r}"
            raise ValueError(msg)
        self.path = Path(path)
        self.glob = glob
        self.on_error = on_error
        self.media_policy = media_policy or DEFAULT_POLICY
        self.failures: list[LoadFailure] = []
        self.ignored: Counter[str] = Counter()

    def lazy_load(self) -> Iterator[Document]:
        """Yield the documents file by file; nothing is read ahead.

        Raises:
            LoadError: If the folder does not exist; with `on_error="raise"` also for the first bad file.
        """
        self.failures, self.ignored = [], Counter()
        for path in find_files(self.path, glob=self.glob, on_failure=self._failed):
            try:
                kind = kind_of(path)
                if kind is None:
                    self.ignored[path.suffix.lower()] += 1
                    continue
                # a file's documents come together or not at all
                documents = kind.loader(path, self.media_policy).load()
            except LoadError as error:
                self._failed(LoadFailure(str(path), error))
                continue
            yield from documents

    def _failed(self, failure: LoadFailure) -> None:
        if self.on_error == "raise":
            raise failure.error
        logger.warning("passed over: %s", failure.error)
        self.failures.append(failure)


def kind_of(path: Path) -> FileKind | None:
    """Kind of a file by its first bytes, else by its suffix; `None` if this package does not read it.

    Raises:
        LoadError: If the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise LoadError(msg) from error
    by_content = (kind for kind in KINDS if kind.recognises(head))
    by_name = (kind for kind in KINDS if path.suffix.lower() in kind.suffixes)
    return next(by_content, None) or next(by_name, None)


def supported_suffixes() -> str:
    """The suffixes this package reads, for a message."""
    return " ".join(sorted(suffix for kind in KINDS for suffix in kind.suffixes))


def unsupported(path: Path) -> UnsupportedFormatError:
    """The error for a file of a kind this package does not read."""
    return UnsupportedFormatError(f"{path} is not of a kind this package reads ({supported_suffixes()})")


def find_files(
    root: Path,
    *,
    glob: str = "**/*",
    on_failure: Callable[[LoadFailure], None],
) -> Iterator[Path]:
    """Files below a folder in the order of their names, without hidden ones and Chroma stores.

    Args:
        root: The folder.
        glob: Which files, by their path inside the folder.
        on_failure: Told of every folder that cannot be listed and every link that leads nowhere or out.

    Raises:
        LoadError: If `root` is not a folder.
    """
    if not root.is_dir():
        msg = f"{root} is a file, not a folder" if root.exists() else f"there is no folder {root}"
        raise LoadError(msg)
    wanted = _glob_pattern(glob)
    home = root.resolve()
    visited = set[tuple[int, int]]()
    pending = [root]
    while pending:
        path = pending.pop()
        try:
            mode = path.stat().st_mode
        except OSError as error:
            msg = f"cannot reach {path}: {error.strerror or error}"
            on_failure(LoadFailure(str(path), LoadError(msg)))
            continue
        if path.is_symlink() and path is not root and not path.resolve().is_relative_to(home):
            # what a folder is handed over with should not decide what else on the disk is read
            msg = f"{path} is a link that leads out of {root}: name its target to read it too"
            on_failure(LoadFailure(str(path), UnsafeSourceError(msg)))
        elif stat.S_ISDIR(mode):
            pending += reversed(_entries(path, visited, is_root=path is root, on_failure=on_failure))
        elif stat.S_ISREG(mode) and wanted.fullmatch(path.relative_to(root).as_posix()):
            yield path


def _entries(
    folder: Path,
    visited: set[tuple[int, int]],
    *,
    is_root: bool,
    on_failure: Callable[[LoadFailure], None],
) -> list[Path]:
    """Visible entries of a folder by name; none if it was visited before (a loop of links) or is a store."""
    try:
        status = folder.stat()
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        msg = f"cannot list the folder {folder}: {error.strerror or error}"
        on_failure(LoadFailure(str(folder), LoadError(msg)))
        return []
    identity = (status.st_dev, status.st_ino)
    is_store = not is_root and any(entry.name == _STORE_FILE for entry in entries)
    if identity in visited or is_store:
        return []
    visited.add(identity)
    return entries


def _glob_pattern(glob: str) -> re.Pattern[str]:
    meaning = {"**/": r"(?:[^/]+/)*", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts), re.DOTALL)
