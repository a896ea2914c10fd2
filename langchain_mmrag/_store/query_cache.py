"""The vectors of the questions asked last, so that one asked again is not embedded again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]

SIZE: Final = 256


class QueryCache:
    """Keeps the vectors of the texts used last; for several threads.

    Texts only: the file at a picture's path may change. Errors are not kept. An embedding without a
    `fingerprint` has no such name of its weights, and another may be behind it at any time: nothing is kept
    for it. Nor is it for one that says its weights may change under the same name: its `has_fixed_weights`
    is false, as that of `OpenCLIPEmbeddings` on a model that was handed in and may be in training.

    Args:
        size: How many vectors.
    """

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._lock = Lock()
        self._kept: OrderedDict[Hashable, Vectors] = OrderedDict()

    def get(self, embedding: Any, text: str, embed: Callable[[str], Vectors]) -> Vectors:
        """The vector [d] of a text, as an array of the caller's own.

        Args:
            embedding: What makes it; known by its `fingerprint`.
            text: What is asked for.
            embed: Makes the vector if it is not kept; called outside of the lock.
        """
        fingerprint = getattr(embedding, "fingerprint", None)
        if not isinstance(fingerprint, str) or not getattr(embedding, "has_fixed_weights", True):
            return embed(text)
        key = fingerprint, text
        with self._lock:
            if (known := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return known.copy()
        made = embed(text)
        with self._lock:
            self._kept[key] = made.copy()
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return made
