"""Files that lie beside another and belong to it: found by their names, never out of what may be read."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Final, TypeAlias

from langchain_mmrag.media import MediaPolicy

Names: TypeAlias = tuple[tuple[str, str], ...]

_SETTLED_NS: Final = 3_000_000_000
"""Clocks of file systems tick as seldom as every 2 s: a folder that changed just now may do so unseen."""


def beginning_with(folder: Path, start: str) -> Iterator[tuple[str, str]]:
    """Stems and suffixes of the files of a folder whose stem begins so, in their order, exact ones first.

    The folder is listed once for all files that ask for it; none if it cannot be listed.
    """
    try:
        changed = folder.stat().st_mtime_ns
        settled = time.time_ns() - changed > _SETTLED_NS
        names = _listed(str(folder), changed) if settled else _names(str(folder))
    except OSError:
        return
    for number in range(bisect_left(names, (start, "")), len(names)):
        if not names[number][0].startswith(start):
            return
        yield names[number]


def suffixes_of(folder: Path, stem: str) -> Iterator[str]:
    """Suffixes of the files of a folder that have this stem."""
    return (suffix for _, suffix in takewhile(lambda name: name[0] == stem, beginning_with(folder, stem)))


@lru_cache(maxsize=8)
def _listed(folder: str, _changed: int) -> Names:
    return _names(folder)


def _names(folder: str) -> Names:
    with os.scandir(folder) as entries:
        return tuple(sorted(os.path.splitext(entry.name) for entry in entries))  # noqa: PTH122


def stays_beside(path: Path, policy: MediaPolicy) -> bool:
    """Whether a file may speak for one beside it: a link must not bring in what lies elsewhere.

    Where the policy has roots, they say what may be read; otherwise the folder that the file lies in.
    """
    if policy.roots is not None or not path.is_symlink():
        return True
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(path.parent))
