"""Mean and variance of what a query scores with many vectors, without scoring each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from langchain_mmrag.ranking.vectors import FloatArray, cosines


@dataclass(frozen=True)
class Moments:
    """What is needed of vectors v [n, d] and numbers h [n] for the mean and the variance of q · v - h.

    With C the covariance of the vectors and c theirs with h, the variance is q · C q - 2 q · c + var(h). That
    is a product of d by d numbers instead of n by d. Of fewer vectors than dimensions all are scored.

    Attributes:
        vectors: [n, d].
        taken_off: h [n].
        mean: Of the vectors [d].
        covariance: C [d, d]; `None` where there are few vectors.
        shared: c [d].
    """

    vectors: FloatArray
    taken_off: FloatArray
    mean: FloatArray
    covariance: FloatArray | None
    shared: FloatArray

    @classmethod
    def of(cls, vectors: FloatArray, taken_off: FloatArray | None = None) -> Moments:
        """Those of at least one vector.

        Args:
            vectors: [n, d].
            taken_off: h [n]; zeros by default.
        """
        n, d = vectors.shape
        numbers = np.zeros(n) if taken_off is None else taken_off
        mean = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors.astype(np.float32) - mean.astype(np.float32)
        covariance = centred.T @ centred / np.float32(n) if n > d else None
        shared: FloatArray = (numbers - numbers.mean()) @ centred / n
        return cls(vectors, numbers, mean, covariance, shared)

    def scored(self, query: FloatArray) -> tuple[float, float]:
        """Mean and variance of the scores of a query [d]."""
        if self.covariance is None:
            scores = cosines(self.vectors, query) - self.taken_off
            return float(scores.mean()), float(scores.var())
        mean = float(self.mean @ query - self.taken_off.mean())
        spread = float(cosines(self.covariance, query) @ query)
        return mean, max(spread - 2.0 * float(self.shared @ query) + float(self.taken_off.var()), 0.0)
