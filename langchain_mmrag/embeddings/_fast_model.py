"""A loaded model as it is used: images and tokens in, arrays out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from langchain_mmrag.embeddings._devices import computes_fast
from langchain_mmrag.embeddings._fast_forward import Towers
from langchain_mmrag.embeddings._fast_pieces import Pieces
from langchain_mmrag.embeddings._fast_towers import Scale
from langchain_mmrag.embeddings._open_clip_pixels import Pixels

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from langchain_mmrag.embeddings._open_clip_models import Loaded

logger = logging.getLogger(__name__)

# Larger batches of images do not stay in the processor's cache from one layer to the next.
_IMAGES_ON_CPU = 16


class Model:
    """A model with what prepares its images. Its two encoders are for one thread at a time.

    Args:
        loaded: The model.
        exact_decode: Whether images are decoded and made small by open_clip's own steps.
        is_given: Whether it was handed in: then its weights are left as and where they are.
    """

    def __init__(self, loaded: Loaded, *, exact_decode: bool, is_given: bool) -> None:
        self.pixels = Pixels(loaded.preprocess, exact=exact_decode)
        self._device = loaded.device
        self._dtype = loaded.dtype
        mean, std = self.pixels.mean, self.pixels.std
        scale = None if mean is None or std is None else Scale(mean, std)
        self.towers = Towers(loaded.model, self._device, self._dtype, scale, keeps_weights=is_given)
        self._texts = Pieces("texts")
        self._images = Pieces("images", _IMAGES_ON_CPU if self._device.type == "cpu" else None)

    def stack(self, images: list[Image]) -> torch.Tensor:
        """Images as the batch `encode_images` takes; for any number of threads."""
        import torch

        if self.pixels.mean is None:
            return self.pixels.tensor(images)
        return torch.from_numpy(self.pixels.stack(images))

    def encode_images(self, batch: torch.Tensor) -> NDArray[np.float32]:
        """Features [n, d] of what `stack` gave, not normalised."""
        import torch

        with torch.inference_mode():
            return self._images.run(self.towers.encode_image, batch, self._device)

    def encode_texts(self, tokens: torch.Tensor) -> NDArray[np.float32]:
        """Features [n, d] of token ids [n, context], not normalised."""
        import torch

        with torch.inference_mode():
            return self._texts.run(self.towers.encode_text, tokens, self._device)


def in_computable_precision(loaded: Loaded, precision: str) -> Loaded:
    """A model of half precision as it is, or, where that is slow, in fp32 with the rounded weights.

    A CPU without instructions for a precision takes many times as long in it as in fp32.

    Args:
        loaded: A model of our own.
        precision: That of its weights.
    """
    from dataclasses import replace

    import torch

    if computes_fast(precision, loaded.device):
        return loaded
    logger.warning(
        "this processor has no instructions for %s: its rounded weights are used, but computed with in fp32, "
        "which is no faster than precision='fp32' and takes as much memory",
        precision,
    )
    return replace(loaded, model=loaded.model.float(), dtype=torch.float32)
