"""The backgrounds of a collection: sampled when first asked for, and again when it has changed enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from langchain_mmrag._store.chroma import of_side, reading
from langchain_mmrag.ranking import SAMPLE_SIZE, SIDES, Background, Places, Side, unit

if TYPE_CHECKING:
    from chromadb import Collection

_CHANGED_ENOUGH = 0.1


@dataclass(frozen=True)
class Sampled:
    """A background, and which documents its sample is of.

    Attributes:
        background: Of one side.
        places: Row of each sampled document in `background.sample`, by id.
    """

    background: Background
    places: dict[str, int]

    def places_of(self, ids: list[str]) -> Places:
        """Row of each document in the sample, -1 for those not in it [n]."""
        return np.array([self.places.get(id_, -1) for id_ in ids], dtype=np.int64)


class Backgrounds:
    """Keeps a random sample of each side of a collection.

    The sample is random because collections are filled topic by topic: the oldest documents would rank worse.
    It is kept in memory, seeded, and taken anew once a tenth of a side was written here or the number of
    documents changed by as much through others. Documents that another program replaces one for one go
    unnoticed until this store has written as much or is opened anew.
    """

    def __init__(self, collection: Callable[[], Collection]) -> None:
        self._collection = collection
        self._lock = Lock()
        self._sampled: dict[Side, Sampled] = {}
        self._count = 0
        self._written: Counter[Side] = Counter()

    def wrote(self, side: Side) -> None:
        """Take note that this store added or replaced a document of a side."""
        self._written[side] += 1

    def forget(self) -> None:
        """Sample anew at the next search."""
        with self._lock:
            self._count, self._sampled = 0, {}
            self._written.clear()

    def current(self) -> dict[Side, Sampled]:
        """The background of each side that has documents."""
        count = self._collection().count()
        with self._lock:
            if self._is_stale(count):
                self._written.clear()
                self._sampled = self._sample()
                self._count = count
            return self._sampled

    def _is_stale(self, count: int) -> bool:
        sizes = {side: s.background.count for side, s in self._sampled.items()}
        if any(written > _CHANGED_ENOUGH * sizes.get(side, 0) for side, written in self._written.items()):
            return True
        by_others = abs(count - self._count) - self._written.total()
        return by_others > _CHANGED_ENOUGH * min((sizes.get(side, 0) for side in SIDES), default=0)

    def _sample(self) -> dict[Side, Sampled]:
        sampled = {side: self._sample_side(side) for side in SIDES}
        return {side: found for side, found in sampled.items() if found is not None}

    def _sample_side(self, side: Side) -> Sampled | None:
        collection = self._collection()
        with reading(collection.name):
            ids = collection.get(where=of_side(side), include=[])["ids"]
        chosen = sorted(ids)
        if len(ids) > SAMPLE_SIZE:
            chosen = np.random.default_rng(0).choice(chosen, SAMPLE_SIZE, replace=False).tolist()
        if not chosen:
            return None
        with reading(collection.name):
            found = collection.get(ids=chosen, include=["embeddings"])
        if not found["ids"]:  # deleted by another program in between
            return None
        background = Background(len(ids), unit(np.asarray(found["embeddings"])))
        return Sampled(background, {id_: place for place, id_ in enumerate(found["ids"])})
