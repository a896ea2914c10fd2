"""What is known of the documents of a side, and the space in which they are compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langchain_mmrag.ranking.moments import Moments
from langchain_mmrag.ranking.vectors import TINY, FloatArray, Places, cosines, unit, units_of

SAMPLE_SIZE = 1024
"""Vectors in a background: of smaller sides all, so that they are exact."""

PRIOR_BELOW = 50
"""Documents of a side below which a prior is mixed into its background, less and less towards there."""

# Chosen on several geometries, checked on seeds kept apart, each flat around its value: docs/decisions/0007.
_WHITENING = -1 / 16
_SHRINKAGE = 1.0  # of Σ towards the identity, in mean eigenvalues
_HUBNESS = 0.3
_NEIGHBOURS = 10
_BANK = 256  # of the sample: more neighbours to look among change little

_PRIOR_ITEMS = 1  # what a prior weighs in the mean, in documents: docs/decisions/0009
PRIOR_STD = 0.1  # of centred cosines in CLIP models: .08 to .14
PRIOR_STD_ITEMS = 2


@dataclass(frozen=True)
class Background:
    """What is known of one side of a collection.

    Attributes:
        count: Its number of documents.
        sample: Unit vectors [n, d] of a random choice of them, n <= count.
        prior: Unit vectors [p, d] of this side from elsewhere, which stand in for documents not there yet.
    """

    count: int
    sample: FloatArray
    prior: FloatArray | None = None

    @cached_property
    def vectors(self) -> FloatArray:
        """The sample, padded with the prior as far as it is small [m, d]."""
        if self.prior is None:
            return self.sample
        return np.concatenate([self.sample, self.prior[: round(self._prior_share * len(self.prior))]])

    @property
    def _prior_share(self) -> float:
        """How much of the prior counts: all of it where there is no document, nothing from 50 on."""
        return max(0.0, 1 - len(self.sample) / PRIOR_BELOW)

    @cached_property
    def mean(self) -> FloatArray:
        """μ_m [d], shrunk towards the prior's."""
        if self.prior is None:
            mean: FloatArray = self.sample.mean(axis=0)
            return mean
        n = len(self.sample)
        items = _PRIOR_ITEMS * self._prior_share
        shrunk: FloatArray = (self.sample.sum(axis=0) + items * self.prior.mean(axis=0)) / (n + items)
        return shrunk

    @cached_property
    def whitening(self) -> FloatArray:
        """W_m = ((Σ_m + I) / 2)^(-1/16) [d, d], with Σ_m scaled to a mean eigenvalue of 1."""
        centred = unit(self.vectors - self.mean)
        n, d = centred.shape
        # Of fewer vectors than dimensions, only as many directions have a variance.
        values, directions = _spectrum(centred)
        values = values * d / n
        floor = (_SHRINKAGE / (1 + _SHRINKAGE)) ** _WHITENING
        gains = ((values + _SHRINKAGE) / (1 + _SHRINKAGE)) ** _WHITENING - floor
        matrix: FloatArray = floor * np.eye(d) + (directions.T * gains) @ directions
        return matrix

    @cached_property
    def placed(self) -> FloatArray:
        """P_m of `vectors` [m, d]."""
        return self.place(self.vectors)

    @cached_property
    def bank(self) -> FloatArray:
        """Those of `placed` among which neighbours are counted."""
        return self.placed[:_BANK]

    def place(self, vectors: ArrayLike) -> FloatArray:
        """P_m of vectors of this side: centred, evened out, of norm 1 [..., d]."""
        return self.place_units(unit(vectors))

    def place_units(self, vectors: FloatArray) -> FloatArray:
        """`place` for vectors of norm 1."""
        # In float32, as the vectors are stored: twice as fast.
        placed: FloatArray = (vectors.astype(np.float32, copy=False) - self._mean32) @ self._whitening32
        norms = np.sqrt(np.einsum("...d,...d->...", placed, placed))[..., None]
        placed /= np.maximum(norms, TINY, dtype=np.float32)
        return placed

    def stretch(self, placed: FloatArray) -> FloatArray:
        """W_m times a vector [d] in the space of `place`: what it looks for among stored vectors."""
        result: FloatArray = self._whitening32 @ placed.astype(np.float32)
        return result

    @cached_property
    def _mean32(self) -> NDArray[np.float32]:
        return self.mean.astype(np.float32)

    @cached_property
    def _whitening32(self) -> NDArray[np.float32]:
        return self.whitening.astype(np.float32)

    def chance(self, query: FloatArray, bank: FloatArray) -> tuple[float, float]:
        """Mean and variance of what a query [d] in the space of `place` scores by chance, hubs held back.

        Those of the last query are kept.
        """
        kept: tuple[FloatArray, tuple[float, float]] | None = self.__dict__.get("_chance")
        if kept is None or kept[0] is not query:
            kept = query, self._moments_in(bank).scored(query)
            self.__dict__["_chance"] = kept  # in one go: other threads ask other queries
        return kept[1]

    def chance_at(self, places: Places, query: FloatArray, bank: FloatArray) -> FloatArray:
        """What single vectors of the sample score among the others [n]."""
        return cosines(self.placed[places], query) - self.hubness_in(bank)[places]

    def plain_chance(self, query: FloatArray) -> tuple[float, float]:
        """Mean and variance of the plain cosines with a query [d]."""
        return self._plain_moments.scored(query)

    @cached_property
    def _plain_moments(self) -> Moments:
        return Moments.of(self.vectors)

    def _moments_in(self, bank: FloatArray) -> Moments:
        """Kept for one bank only: there are hardly ever two."""
        kept: tuple[FloatArray, Moments] | None = self.__dict__.get("_moments")
        if kept is None or kept[0] is not bank:
            kept = bank, Moments.of(self.placed, self.hubness_in(bank))
            self.__dict__["_moments"] = kept
        return kept[1]

    def chance_of(self, asking: Background) -> tuple[float, float]:
        """Mean and standard deviation of what documents of one side score with those of this one by chance.

        Args:
            asking: Background of the side that is asked with.
        """
        kept: tuple[Background, tuple[float, float]] | None = self.__dict__.get("_chance_of")
        if kept is None or kept[0] is not asking:
            scores = asking.bank @ self.placed.T - self.hubness_in(asking.bank)
            if asking is self:
                np.fill_diagonal(scores, np.nan)
            kept = asking, _moments(scores[np.isfinite(scores)])
            self.__dict__["_chance_of"] = kept
        return kept[1]

    def hubness_in(self, bank: FloatArray) -> FloatArray:
        """Hubness of `placed` in a bank [b, d]; kept for its own, and for the last of the other side [m]."""
        kept: dict[bool, tuple[FloatArray, FloatArray]] = self.__dict__.setdefault("_hubness", {})
        is_own = bank is self.bank
        known = kept.get(is_own)
        if known is None or known[0] is not bank:
            known = bank, hubness(self.placed, bank, np.arange(len(bank)) if is_own else None)
            kept[is_own] = known
        return known[1]


def _moments(scores: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation, which leans on a weak prior."""
    n = len(scores)
    if not n:
        return 0.0, PRIOR_STD
    trust = n / (n + PRIOR_STD_ITEMS)
    return float(scores.mean()), sqrt(trust * float(scores.var()) + (1 - trust) * PRIOR_STD**2)


def _spectrum(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues [r] and eigenvectors [r, d] of rows^T rows, by way of the smaller Gram matrix."""
    n, d = rows.shape
    if n >= d:
        values, vectors = np.linalg.eigh(rows.T @ rows)
        return np.maximum(values, 0.0), vectors.T
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = values > TINY
    directions: FloatArray = (vectors[:, kept].T @ rows) / np.sqrt(values[kept])[:, None]
    return values[kept], directions


def hubness(placed: FloatArray, bank: FloatArray, own: Places | None = None) -> FloatArray:
    """How near documents are to whatever there is: the mean of their 10 greatest cosines, times 0.3 [n].

    Args:
        placed: The documents [n, d].
        bank: Vectors of the side the query is of [b, d].
        own: Where in the bank the first of the documents stand themselves, -1 if nowhere.
    """
    near = placed @ bank.T
    if own is not None:
        inside = np.flatnonzero((own >= 0) & (own < len(bank)))
        near[inside, own[inside]] = -np.inf
    nearest = min(_NEIGHBOURS, len(bank) - 1)
    if nearest < 1:
        return np.zeros(len(placed))
    near.partition(-nearest, axis=1)
    result: FloatArray = near[:, -nearest:].sum(axis=1) * (_HUBNESS / nearest)
    return result


@dataclass(frozen=True)
class Candidates:
    """Documents of one side that may answer a query.

    Attributes:
        vectors: Their vectors [n, d].
        places: Where each stands in the background's sample, -1 if it is not in it [n].
    """

    vectors: FloatArray
    places: Places

    @cached_property
    def units(self) -> FloatArray:
        """The vectors, of norm 1 [n, d]."""
        return units_of(self.vectors)

    def placed_by(self, background: Background) -> FloatArray:
        """P_m of `vectors`, worked out once [n, d]."""
        kept: dict[int, tuple[Background, FloatArray]] = self.__dict__.setdefault("_placed", {})
        if id(background) not in kept:
            kept[id(background)] = background, background.place_units(self.units)
        return kept[id(background)][1]

    def scored(self, query: FloatArray, background: Background, bank: FloatArray) -> FloatArray:
        """What they score for a query [d] in the space of `Background.place`, hubs held back [n]."""
        return cosines(self.placed_by(background), query) - self.hubness_in(bank, background)

    def hubness_in(self, bank: FloatArray, background: Background) -> FloatArray:
        """`hubness` of `placed_by(background)` in a bank, worked out once [n]."""
        kept: dict[int, tuple[FloatArray, FloatArray]] = self.__dict__.setdefault("_hubness", {})
        if id(bank) not in kept:
            own = self.places if bank is background.bank else None
            kept[id(bank)] = bank, hubness(self.placed_by(background), bank, own)
        return kept[id(bank)][1]
