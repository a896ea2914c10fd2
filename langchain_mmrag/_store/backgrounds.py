"""The backgrounds of a collection, from the samples its ledger keeps."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np

from langchain_mmrag._store.ledger import Ledger
from langchain_mmrag._store.ledger_rows import Sample
from langchain_mmrag.ranking import PRIOR_BELOW, SIDES, Background, FloatArray, Places, Side, unit

Prior = Callable[[Side], FloatArray | None]


@dataclass(frozen=True)
class Sampled:
    """A background, and which documents its sample is of.

    Attributes:
        background: Of one side.
        ids: Of the documents in `background.sample`, in its order.
    """

    background: Background
    ids: list[str]

    @property
    def is_whole(self) -> bool:
        """Whether the sample has every document of the side, as it has of sides up to `SAMPLE_SIZE`."""
        return 0 < self.background.count == len(self.ids)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {id_: place for place, id_ in enumerate(self.ids)}

    def places_of(self, ids: list[str]) -> Places:
        """Row of each document in the sample, -1 for those not in it [n]."""
        return np.array([self._places.get(id_, -1) for id_ in ids], dtype=np.int64)


class Backgrounds:
    """Makes backgrounds of a ledger's samples, and keeps them as long as these stay the same.

    Args:
        ledger: Keeps the samples.
        prior: Gives vectors [p, d] for a side that has few of its own, or `None` if there are none to be had.
    """

    def __init__(self, ledger: Ledger, prior: Prior) -> None:
        self._ledger = ledger
        self._prior = prior
        self._lock = Lock()
        self._made: dict[Side, tuple[Sample | None, Sampled]] = {}

    def current(self, count: int, asked: Collection[Side] = ()) -> dict[Side, Sampled]:
        """The background of each side that has documents, and of those asked with that have a prior.

        Args:
            count: The collection's number of rows.
            asked: The sides of the query's parts: no prior is made of a side nobody needs.
        """
        samples = self._ledger.statistics(count)
        with self._lock:
            needed = [side for side in SIDES if side in samples or side in asked]
            made = {side: self._background(side, samples.get(side)) for side in needed}
        return {side: sampled for side, sampled in made.items() if sampled is not None}

    def _background(self, side: Side, sample: Sample | None) -> Sampled | None:
        known, made = self._made.get(side, (None, None))
        if made is None or known is None or known is not sample:
            made = self._make(side, sample)
            if made is not None:
                self._made[side] = sample, made
        return made

    def _make(self, side: Side, sample: Sample | None) -> Sampled | None:
        few = sample is None or len(sample.ids) < PRIOR_BELOW
        prior = self._prior(side) if few else None
        if sample is None:
            if prior is None:
                return None
            nothing = np.empty((0, prior.shape[1]))
            return Sampled(Background(0, nothing, prior), [])
        if prior is not None and prior.shape[1] != sample.vectors.shape[1]:
            prior = None  # of another embedding: the search will say so
        return Sampled(Background(sample.count, unit(sample.vectors), prior), sample.ids)
