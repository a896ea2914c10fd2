"""Where this package keeps what it can make again: one folder for all of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

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
