"""Vectors with the geometry that CLIP's have, as many as are wanted."""

from pathlib import Path

import numpy as np

from langchain_mmrag.ranking import unit

BLOCK = 50_000


def drawn_pairs(n: int, d: int = 512) -> np.ndarray:
    """Pictures and captions [2, n, d] with the means, spreads and cosines of CLIP's."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    text_mean, image_mean = np.zeros(d), np.zeros(d)
    text_mean[0] = 0.71
    image_mean[:2] = 0.748 * np.array([0.332, np.sqrt(1 - 0.332**2)])

    def content(power: float, shift: int) -> np.ndarray:
        of = np.zeros((n, d))
        of[:, 2:] = rng.normal(size=(n, d - 2)) * np.roll(np.arange(1, d - 1.0) ** -power, shift)
        return unit(of)

    shared = content(0.62, 0)
    said = np.sqrt(0.319) * shared + np.sqrt(0.681) * content(0.55, 40)
    shown = np.sqrt(0.319) * shared + np.sqrt(0.681) * content(0.55, 80)
    texts = unit(text_mean + np.sqrt(1 - 0.71**2) * unit(said)) @ basis
    images = unit(image_mean + np.sqrt(1 - 0.748**2) * unit(shown)) @ basis
    return np.stack([images, texts])


def grown(pairs: np.ndarray, n: int, file: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """`n` pictures and `n` captions, each pair the same mix of three of the given pairs, with noise.

    Args:
        pairs: Unit vectors [2, pairs, d].
        n: How many.
        file: Where to keep them as an array [2, n, d] of float32, mapped into memory; in memory by default.
    """
    rng = np.random.default_rng(1)
    mixed = rng.integers(0, pairs.shape[1], (n, 3))
    shares = np.sqrt(rng.dirichlet([2, 1, 0.5], n)).astype(np.float32)
    shape = (2, n, pairs.shape[2])
    sides = (
        np.empty(shape, np.float32)
        if file is None
        else np.lib.format.open_memmap(file, "w+", np.float32, shape)
    )
    for side, vectors in zip(sides, pairs, strict=True):
        mean = vectors.mean(axis=0).astype(np.float32)
        content = vectors.astype(np.float32) - mean
        one, other = rng.integers(0, len(vectors), (2, n))
        for start in range(0, n, BLOCK):
            of = slice(start, start + BLOCK)
            noise = (content[one[of]] - content[other[of]]) * np.float32(np.sqrt(0.5))
            made = mean + np.float32(0.37) * noise
            for place in range(3):
                made += np.float32(0.93) * shares[of, place, None] * content[mixed[of, place]]
            side[of] = made / np.linalg.norm(made, axis=1, keepdims=True)
    return sides[0], sides[1]


def nearest(vectors: np.ndarray, queries: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and cosines of the `n` vectors nearest to each query [q, n], nearest first: exact, by blocks."""
    places = np.empty((len(queries), 0), np.int64)
    cosines = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(vectors), BLOCK):
        block = queries.astype(np.float32) @ np.asarray(vectors[start : start + BLOCK]).T
        cosines = np.concatenate([cosines, block], axis=1)
        own = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
        places = np.concatenate([places, own], axis=1)
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :n]
        places, cosines = np.take_along_axis(places, best, 1), np.take_along_axis(cosines, best, 1)
    return places, cosines
