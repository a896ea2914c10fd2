"""Where this package keeps what it can make again: one folder for all of it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, Final, TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)

CACHE_VARIABLE: Final = "LANGCHAIN_MMRAG_CACHE"
"""Environment variable with the folder to keep such files in, in place of the user's cache folder."""


def user_cache() -> Path:
    """`$LANGCHAIN_MMRAG_CACHE`, else `langchain-mmrag` in the platform's cache folder."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "langchain-mmrag"


def default_media_directory() -> Path:
    """Folder for pictures taken out of files: `media` in `user_cache`."""
    return user_cache() / "media"


def kept(kind: str, name: str, state: list[Any], make: Callable[[], T], *, keep: bool = True) -> T:
    """What was made before for a thing that is still as it was then; else what is made now.

    A damaged file is as good as none, and a folder that cannot be written is no error.

    Args:
        kind: Folder in `user_cache`.
        name: The thing.
        state: Numbers and strings that change when the thing does.
        make: Makes a value that JSON can hold; a false one is not kept.
        keep: Whether to write down what is made.
    """
    key = [name, *state]
    try:
        value = _read(_file(kind, name), key)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):  # RuntimeError is that of no home folder
        value = None
    if value is not None:
        found: T = value
        return found
    made = make()
    if keep and made:
        try:
            _write(_file(kind, name), {"key": key, "value": made})
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            logger.debug("%s of %s is not kept: %s", kind, name, error)
    return made


def _file(kind: str, name: str) -> Path:
    return user_cache() / kind / f"{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:32]}.json"


def _read(file: Path, key: list[Any]) -> Any:
    found = json.loads(file.read_text(encoding="utf-8"))
    return found["value"] if found["key"] == key else None


def _write(file: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content)
    write_whole(file, lambda opened: opened.write(text.encode()))


def write_whole(file: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file all or nothing, as another process may be reading it.

    Args:
        file: Its folder is made if there is none.
        write: Writes the content to an open file.

    Raises:
        OSError: If it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    opened = NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False)  # noqa: SIM115
    temporary = Path(opened.name)
    try:
        with opened:
            write(opened)
        temporary.replace(file)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
