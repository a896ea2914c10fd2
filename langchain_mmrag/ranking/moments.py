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
        offset: The mean and the variance of h.
        rows: C, c and the mean of the vectors, in one array for one product [d + 2, d]; `None` where there
            are few vectors.
    """

    vectors: FloatArray
    taken_off: FloatArray
    offset: tuple[float, float]
    rows: FloatArray | None

    @classmethod
    def of(cls, vectors: FloatArray, taken_off: FloatArray | None = None) -> Moments:
        """Those of at least one vector.

        Args:
            vectors: [n, d].
            taken_off: h [n]; zeros by default.
        """
        n, d = vectors.shape
        numbers = np.zeros(n) if taken_off is None else taken_off
        offset = float(numbers.mean()), float(numbers.var())
        if n <= d:
            return cls(vectors, numbers, offset, None)
        mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = vectors.astype(np.float32) - mean
        shared = ((numbers - offset[0]) @ centred / n).astype(np.float32)
        return cls(vectors, numbers, offset, np.vstack([centred.T @ centred / np.float32(n), shared, mean]))

    def scored(self, query: FloatArray) -> tuple[float, float]:
        """Mean and variance of the scores of a query [d]."""
        if self.rows is None:
            scores = cosines(self.vectors, query) - self.taken_off
            return float(scores.mean()), float(scores.var())
        asked = query.astype(np.float32)
        products = self.rows @ asked
        spread, shared, mean = float(products[:-2] @ asked), float(products[-2]), float(products[-1])
        return mean - self.offset[0], max(spread - 2.0 * shared + self.offset[1], 0.0)
