"""Read a local file: inside the root folders, regular, within the size cap, without a race."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO

from langchain_mmrag._cache import default_media_directory
from langchain_mmrag.errors import LoadError, OutsideRootsError, SourceNotFoundError, UnsafeSourceError
from langchain_mmrag.media.describe import describe_source
from langchain_mmrag.media.policy import MediaPolicy, check_size, read_bounded

# Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever; flags a system lacks are 0.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
_FOLDER_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def read_local(path: str, policy: MediaPolicy) -> bytes:
    """The bytes of the file at `path`.

    Raises:
        SourceNotFoundError: If there is no such file.
        UnsafeSourceError: If it lies outside the roots, is too large, or is no regular file.
        LoadError: If it cannot be read.
    """
    name = describe_source(path)
    with _reading(name), open_local(path, policy) as file:
        size = os.fstat(file.fileno()).st_size
        check_size(size, name, policy)
        return read_bounded(file.read, name, policy, chunk=max(size, 2**16) + 1)


def open_local(path: str, policy: MediaPolicy) -> BinaryIO:
    """The file at `path`, open to be read a piece at a time: of any size, unbuffered.

    Raises:
        SourceNotFoundError: If there is no such file.
        UnsafeSourceError: If it lies outside the roots or is no regular file.
        LoadError: If it cannot be read.
    """
    name = describe_source(path)
    if not policy.allow_local:
        msg = f"{name}: local files are turned off by the media policy (MediaPolicy.allow_local)"
        raise UnsafeSourceError(msg)
    with _reading(name):
        # The file that is measured is the one that is read: an open descriptor cannot be swapped for another.
        file = os.fdopen(_open(path, name, policy.roots), "rb", buffering=0)
        try:
            _require_regular(os.fstat(file.fileno()), name)  # again: it may have been replaced meanwhile
        except BaseException:
            file.close()
            raise
        return file


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Errors of the system as this package's own."""
    try:
        yield
    except LoadError:  # some of ours are `OSError`s too, and say more
        raise
    except FileNotFoundError as error:
        msg = f"no such file: {name}"
        raise SourceNotFoundError(msg) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte or a lone surrogate in the path
        msg = f"cannot read {name}: {getattr(error, 'strerror', None) or error}"
        raise LoadError(msg) from error


def _open(path: str, name: str, roots: tuple[Path, ...] | None) -> int:
    if roots is None:
        _require_regular(os.stat(path), name)  # noqa: PTH116  Path("") would be the working folder
        return os.open(path, _FLAGS)
    real = os.path.realpath(path)
    for root in map(os.path.realpath, roots):
        if PurePath(real).is_relative_to(root):
            _require_regular(Path(real).stat(), name)
            return _open_beneath(root, PurePath(real).relative_to(root).parts)
    allowed = ", ".join(map(str, roots))
    remedy = "move it, or widen MediaPolicy.roots"
    if PurePath(real).is_relative_to(os.path.realpath(default_media_directory())):
        remedy = "it was taken out of a file: give its loader media_directory=store.media_directory"
    msg = f"{name} lies outside the allowed folders ({allowed}): {remedy}"
    raise OutsideRootsError(msg)


def _open_beneath(root: str, parts: tuple[str, ...]) -> int:
    """Open a file below `root` step by step, so that no folder on the way can be swapped for a link."""
    if os.open not in os.supports_dir_fd:
        return os.open(Path(root, *parts), _FLAGS | _NO_FOLLOW)
    folder = os.open(root, _FOLDER_FLAGS)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER_FLAGS | _NO_FOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], _FLAGS | _NO_FOLLOW, dir_fd=folder)
    finally:
        os.close(folder)


def _require_regular(status: os.stat_result, name: str) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        msg = f"{name} is a folder, not a file: load it with DirectoryLoader"
    else:
        msg = f"{name} is a pipe, device or socket: only regular files are read"
    raise UnsafeSourceError(msg)
