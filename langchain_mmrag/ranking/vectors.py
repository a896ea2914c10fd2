"""Vectors and the names of what is done with them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Places: TypeAlias = NDArray[np.int64]
Side: TypeAlias = Literal["text", "image"]
"""Which encoder made a vector: tables and transcripts are on the text side."""

Rank: TypeAlias = Literal["calibrated", "raw", "rrf", "centered"]
"""How documents of both sides are put in one order."""

SearchMode: TypeAlias = Literal["vector", "hybrid", "keyword", "text"]
"""Whether documents are found by their vectors, by their words, by both, or by their texts alone."""

Collapse: TypeAlias = Literal["parent", "near-duplicate", "none"]
"""Which documents count as one: parts of one parent, also copies of one picture or passage, or none."""

SIDES: tuple[Side, Side] = ("text", "image")

TINY = 1e-9


def unit(vectors: ArrayLike) -> FloatArray:
    """Rows of norm 1; a row of zeros stays one."""
    rows = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    result: FloatArray = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > TINY)
    return result


def units_of(vectors: ArrayLike) -> FloatArray:
    """`unit` for rows [n, d], in single precision where they have it, as stored vectors do."""
    rows = np.asarray(vectors)
    if rows.dtype != np.float32:
        return unit(rows)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    result: FloatArray = (
        rows * np.where(norms > TINY, 1 / np.maximum(norms, TINY), 0).astype(rows.dtype)[:, None]
    )
    return result


def cosines(rows: FloatArray, vector: FloatArray) -> FloatArray:
    """Rows [n, d] times a vector [d], without widening the rows to the vector's precision."""
    result: FloatArray = (rows @ vector.astype(rows.dtype, copy=False)).astype(np.float64)
    return result
