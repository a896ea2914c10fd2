"""What the captioners that run on this machine share."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Generic, TypeVar

Loaded = TypeVar("Loaded")


class LoadedOnce(Generic[Loaded]):
    """A model that is loaded when it is first used, by one thread, and used by one at a time."""

    def __init__(self, load: Callable[[], Loaded]) -> None:
        self._load = load
        self._loaded: Loaded | None = None
        self._lock = RLock()

    def __enter__(self) -> Loaded:
        self._lock.acquire()
        try:
            if self._loaded is None:
                self._loaded = self._load()
        except BaseException:
            self._lock.release()
            raise
        return self._loaded

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def check_counts(**counts: int) -> None:
    """Refuse numbers below 1.

    Raises:
        ValueError: If there is one.
    """
    for name, count in counts.items():
        if count < 1:
            msg = f"{name} is {count}: use 1 or more"
            raise ValueError(msg)
