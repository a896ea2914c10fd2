"""What a model makes of texts and pictures in general, for collections too small to tell themselves.

A few dozen passages and drawn pictures are embedded once for each model, after files were indexed or else at
the first search of a small collection, and kept in memory and in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar, get_args
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langchain_mmrag._cache import user_cache, write_whole
from langchain_mmrag._store.prior_texts import TEXTS
from langchain_mmrag.embeddings.base import MultimodalEmbeddings
from langchain_mmrag.ranking import FloatArray, Side, unit

logger = logging.getLogger(__name__)

PICTURES: Final = 16
"""As many as rank nearly as well as 64 and take a large model two or three seconds."""

_VERSION: Final = 1  # of what is embedded: other texts or pictures need another number
_NORM_TOLERANCE: Final = 1e-3

Vectors = NDArray[np.float32]
_Key = tuple[str, int]
T = TypeVar("T")

_lock = Lock()
_made: dict[_Key, dict[Side, Vectors | None]] = {}


class Priors:
    """Vectors that stand in for documents of a side that are not there yet.

    Args:
        embedding: Any embedding; only a `MultimodalEmbeddings` has priors.
    """

    def __init__(self, embedding: Any) -> None:
        self._embedding = embedding

    def __call__(self, side: Side) -> FloatArray | None:
        """Unit vectors [p, d] of one side, `None` if this embedding cannot make them.

        They are made at the first call for a side. Nothing here is fetched, shown, or raised.
        """
        if not isinstance(self._embedding, MultimodalEmbeddings):
            return None
        try:
            key = self._embedding.fingerprint, self._embedding.dimension
            with _lock:
                return _prior(self._embedding, key, side)
        except Exception:
            # Others' encoders may raise anything; searching goes on without.
            logger.debug("no prior of side %s for %r", side, self._embedding, exc_info=True)
            return None

    def make_ahead(self) -> None:
        """Make them for both sides, so that the first search of another process need not load the model."""
        for side in get_args(Side):
            self(side)


def _prior(embedding: MultimodalEmbeddings, key: _Key, side: Side) -> Vectors | None:
    known = _made.setdefault(key, {})
    if side not in known:
        vectors = _read(key, side)
        if vectors is None:
            try:
                vectors = _encoded(embedding, key[1], side)
            except Exception:
                known[side] = None  # what fails once is not tried again at every search
                raise
            if vectors is not None:
                _write(key, side, vectors)
        known[side] = vectors
    return known[side]


def _encoded(embedding: MultimodalEmbeddings, dimension: int, side: Side) -> Vectors | None:
    """By the encoders themselves: no progress is shown, nothing is opened. `None` for unusable vectors."""
    size = embedding.batch_size
    if side == "text":
        parts: list[ArrayLike] = [embedding._encode_texts(list(batch)) for batch in _batches(TEXTS, size)]  # noqa: SLF001
    else:
        from langchain_mmrag._store.prior_pictures import pictures

        images = [embedding._shrink(image) for image in pictures(PICTURES)]  # noqa: SLF001
        parts = [embedding._encode_images(batch) for batch in _batches(images, size)]  # noqa: SLF001
    vectors: Vectors = unit(np.concatenate([np.asarray(rows) for rows in parts])).astype(np.float32)
    return vectors if _is_usable(vectors, dimension, side) else None


def _batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _is_usable(vectors: Any, dimension: int, side: Side) -> bool:
    count = len(TEXTS) if side == "text" else PICTURES
    if vectors.dtype != np.float32 or vectors.shape != (count, dimension):
        return False
    return bool(np.all(np.abs(np.linalg.norm(vectors, axis=1) - 1) < _NORM_TOLERANCE))


# --- on disk ------------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where vectors are kept."""
    return user_cache() / "priors"


def _file(key: _Key, side: Side) -> Path:
    named = "\n".join([str(_VERSION), side, str(key[1]), key[0]])
    return cache_folder() / f"{hashlib.sha256(named.encode()).hexdigest()[:32]}.npz"


def _read(key: _Key, side: Side) -> Vectors | None:
    """What is kept; `None` if that is nothing, of another model, or damaged."""
    try:
        # Opened here, as NumPy leaves files open that are damaged.
        with _file(key, side).open("rb") as file, np.load(file, allow_pickle=False) as kept:
            vectors: Vectors = kept["vectors"]
            fits = str(kept["fingerprint"]) == key[0] and _is_usable(vectors, key[1], side)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, BadZipFile):
        return None  # RuntimeError is also that of no home folder
    return vectors if fits else None


def _write(key: _Key, side: Side, vectors: Vectors) -> None:
    """Keep them, all or nothing; a folder that cannot be written is no error."""
    try:
        write_whole(
            _file(key, side), lambda file: np.savez(file, vectors=vectors, fingerprint=np.array(key[0]))
        )
    except (OSError, RuntimeError) as error:
        logger.debug("prior vectors are not kept: %s", error)
