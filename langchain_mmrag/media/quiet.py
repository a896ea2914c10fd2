"""Keep warnings of Pillow and openpyxl about odd files to themselves, on this thread, while they decode."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any, cast

_decoding: ContextVar[bool] = ContextVar("langchain_mmrag_decoding", default=False)
_lock = Lock()


class _PillowWhileDecoding:
    """Stands where a filter has its pattern for module names."""

    def match(self, module: str) -> bool:
        return _decoding.get() and module.startswith(("PIL.", "openpyxl."))


_FILTER = ("ignore", None, Warning, _PillowWhileDecoding(), 0)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Drop warnings raised inside Pillow and openpyxl by this thread in the body.

    `warnings.catch_warnings` swaps the filters of the whole process: two threads that decode at once would
    leave each other's behind. This adds one filter that matches only in here, so it can stay.
    """
    _install()
    token = _decoding.set(True)
    try:
        yield
    finally:
        _decoding.reset(token)


def _install() -> None:
    filters = cast("list[Any]", warnings.filters)
    if filters and filters[0] is _FILTER:
        return
    with _lock:
        filters[:] = [_FILTER, *(entry for entry in filters if entry is not _FILTER)]
