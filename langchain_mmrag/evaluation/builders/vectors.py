"""Vectors made beforehand, so that ranking can be measured without a model.

The file is an array [2, n, d]: row 0 the vectors of n pictures, row 1 those of a caption of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray
from PIL import Image

from langchain_mmrag.errors import DatasetError
from langchain_mmrag.evaluation.builders.captions import CaptionedImage

_AXES: Final = 3
_UNIT: Final = 1e-2


class ReadyVectors(Embeddings):
    """Vectors by number: a text is the number of a caption, a picture's file is named by its number.

    Args:
        images: Vectors of pictures [n, d].
        texts: Vectors of captions [m, d].
    """

    def __init__(self, images: NDArray[np.float32], texts: NDArray[np.float32]) -> None:
        self.images = images
        self.texts = texts

    def embed_query(self, text: str) -> list[float]:
        """The vector [d] of a caption, by its number."""
        vector: list[float] = self.texts[int(text)].tolist()
        return vector

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors [n, d] of captions, by their numbers."""
        return [self.embed_query(text) for text in texts]

    def embed_image(self, uris: Sequence[str]) -> list[list[float]]:
        """The vectors [n, d] of pictures, by the names of their files."""
        vectors: list[list[float]] = self.images[[int(Path(uri).stem) for uri in uris]].tolist()
        return vectors


def read_vectors(path: str | Path, folder: Path) -> tuple[list[CaptionedImage], ReadyVectors]:
    """Numbered items, and the embedding that knows their vectors.

    Args:
        path: The array, as NumPy saves it.
        folder: Where a file is written for each picture: stores open what they are given.

    Raises:
        DatasetError: If it is no array [2, n, d] of unit vectors.
        OSError: If it cannot be read.
    """
    images, texts = _checked(path)
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for number in range(len(images)):
        file = folder / f"{number}.png"
        # one pixel, each of another colour, so that no two pictures are copies of one
        Image.new("RGB", (1, 1), (number >> 16 & 255, number >> 8 & 255, number & 255)).save(file)
        items.append(CaptionedImage(str(number), str(file.absolute()), (str(number),)))
    return items, ReadyVectors(images, texts)


def _checked(path: str | Path) -> NDArray[np.float32]:
    try:
        array: Any = np.load(path, allow_pickle=False)
    except ValueError as error:
        msg = f"{path}: this is no array as NumPy saves it: {error}"
        raise DatasetError(msg) from error
    if not isinstance(array, np.ndarray) or array.ndim != _AXES or len(array) != 2:  # noqa: PLR2004 - two rows
        msg = (
            f"{path}: expected is an array [2, n, d] (row 0 pictures, row 1 captions), not {np.shape(array)}"
        )
        raise DatasetError(msg)
    vectors: NDArray[np.float32] = array.astype(np.float32)
    norms = np.linalg.norm(vectors, axis=-1)
    if not np.allclose(norms, 1, atol=_UNIT):
        worst = norms.flat[np.abs(norms - 1).argmax()]
        msg = f"{path}: the vectors must have norm 1, one has {worst:.3f}: divide each by its norm"
        raise DatasetError(msg)
    return vectors
