"""How sure a mean or a difference is, given that the queries are a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from langchain_mmrag.ranking import FloatArray

RESAMPLES: Final = 1000
LEVEL: Final = 0.95
_CELLS: Final = 4_000_000  # drawn at once: 32 MB
_TINY: Final = 1e-12


@dataclass(frozen=True)
class Score:
    """A mean over queries and its 95 % interval; without one for less than two queries."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Difference:
    """How much better one run is than another on the same queries.

    Attributes:
        mean: Mean of the differences, query by query.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: How often a difference this large, either way, comes of swapping the two runs' values of queries
            by chance.
    """

    mean: float
    low: float | None
    high: float | None
    p: float


def score(values: FloatArray, *, seed: int = 0, resamples: int = RESAMPLES) -> Score:
    """Mean of `values` [n] and its interval, by the bootstrap's percentiles (Efron 1979)."""
    mean = float(values.mean()) if len(values) else float("nan")
    if len(values) < 2:  # noqa: PLR2004 - one query says nothing about others
        return Score(mean)
    rng = np.random.default_rng(seed)
    n = len(values)
    means = _in_batches(resamples, n, lambda rows: values[rng.integers(n, size=(rows, n))].mean(axis=1))
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(mean, float(low), float(high))


def difference(a: FloatArray, b: FloatArray, *, seed: int = 0, resamples: int = RESAMPLES) -> Difference:
    """How much better `b` [n] is than `a` [n], values of the same queries.

    The interval is that of the paired bootstrap, p that of Fisher's two-sided randomisation test, which
    Smucker, Allan and Carterette (2007) recommend for comparing retrieval runs.
    """
    apart = b - a
    whole = score(apart, seed=seed, resamples=resamples)
    if not apart.any():
        return Difference(0.0, whole.low, whole.high, 1.0)
    rng = np.random.default_rng(seed)
    moved = apart[apart != 0]  # the others stay 0 under either sign
    means = np.abs(_swapped(moved, resamples, rng)) / len(apart)
    as_large = int((means >= abs(whole.mean) - _TINY).sum())
    if 2 ** len(moved) == len(means):
        return Difference(whole.mean, whole.low, whole.high, as_large / len(means))
    # What was seen is one of the ways it could have come out: p is never 0 (Phipson and Smyth 2010).
    return Difference(whole.mean, whole.low, whole.high, (as_large + 1) / (len(means) + 1))


def _swapped(apart: FloatArray, resamples: int, rng: np.random.Generator) -> FloatArray:
    """Sums of `apart` [n] under signs by chance; under every choice of signs if there are few."""
    n = len(apart)
    if 2**n <= resamples:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        every: FloatArray = (2.0 * bits - 1.0) @ apart
        return every
    return _in_batches(resamples, n, lambda rows: rng.choice((-1.0, 1.0), size=(rows, n)) @ apart)


def _in_batches(rows: int, columns: int, drawn: Callable[[int], FloatArray]) -> FloatArray:
    size = max(1, _CELLS // columns)
    return np.concatenate([drawn(min(size, rows - start)) for start in range(0, rows, size)])
