"""A model's forward pass: by the fast towers where they fit and agree with its modules, else by these."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_mmrag.embeddings._fast_linear import Packing
from langchain_mmrag.embeddings._fast_shapes import is_plain_text, is_plain_vision
from langchain_mmrag.embeddings._fast_towers import Scale, text_tower, vision_tower

if TYPE_CHECKING:
    import torch

    Features = Callable[[torch.Tensor], torch.Tensor]

logger = logging.getLogger(__name__)

# Largest difference of unit vectors from those of the modules.
_TOLERANCE = {"torch.float32": 1e-5, "torch.float16": 1e-2, "torch.bfloat16": 5e-2}
_TRIAL_LENGTHS = (3, 9)


class Towers:
    """Both towers of a model, each looked at and packed when it is first used.

    Nothing here is guarded against use by two threads at once.

    Args:
        model: An open_clip model in evaluation mode, of any kind.
        device: Where it is.
        dtype: Of its input.
        scale: How grey levels become its input; None if pixels come normalised.
        keeps_weights: Whether the model is somebody else's as well, who may use or train it on: its weights
            are then read where they lie. Otherwise those that were copied into another layout are let go.
    """

    def __init__(
        self,
        model: Any,
        device: torch.device,
        dtype: torch.dtype,
        scale: Scale | None = None,
        *,
        keeps_weights: bool,
    ) -> None:
        self._model = model
        self._device = device
        self._dtype = dtype
        self._scale = scale
        self._keeps_weights = keeps_weights
        self._text: Features | None = None
        self._vision: Features | None = None
        self.is_torn = False
        """Whether packing was begun and has not ended: if nobody is at it, the model is of no more use."""

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Features [n, d], not normalised, of token ids [n, context]."""
        if self._text is None:
            self._text = self._choose(
                "text", is_plain_text, self._fast_text, self._stock_text, self._trial_text
            )
            self.is_torn = False
        return self._text(tokens)

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features [n, d], not normalised.

        Args:
            pixels: [n, 3, height, width], grey levels of 0 to 255 if there is a scale, otherwise normalised.
        """
        if self._vision is None:
            self._vision = self._choose(
                "image", is_plain_vision, self._fast_vision, self._stock_vision, self._trial_pixels
            )
            self.is_torn = False
        return self._vision(pixels)

    def _choose(
        self,
        name: str,
        fits: Callable[[Any], bool],
        fast: Callable[[Packing], Features],
        stock: Features,
        trial: Callable[[], torch.Tensor],
    ) -> Features:
        """The fast tower, or the modules if it does not fit, fails or disagrees with them."""
        try:
            if not fits(self._model):
                logger.debug("the %s tower has a shape of its own: its modules compute it", name)
                return stock
            plain, inputs = fast(Packing(enabled=False)), trial()
            difference = _difference(plain(inputs), stock(inputs))
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            logger.debug("the %s tower cannot be computed fast (%r): its modules compute it", name, error)
            return stock
        if not difference <= _TOLERANCE.get(str(self._dtype), 0.0):
            logger.debug("the fast %s tower is off by %.1e: its modules compute it", name, difference)
            return stock
        if self._keeps_weights:
            return partial(_anew, fast)
        # Weights are let go one by one on the way, so that they are never held twice.
        self.is_torn = True
        return fast(Packing(enabled=self._device.type == "cpu"))

    def _fast_text(self, packing: Packing) -> Features:
        return text_tower(self._model, packing, _release)

    def _fast_vision(self, packing: Packing) -> Features:
        if not self._keeps_weights:
            return vision_tower(self._model.visual, self._scale, packing, _release)
        tower = vision_tower(self._model.visual, None, packing, _release)
        return lambda pixels: tower(self._normalised(pixels))

    def _stock_text(self, tokens: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self._model.encode_text(tokens)
        return features

    def _stock_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self._model.encode_image(self._normalised(pixels))
        return features

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        if self._scale is None:
            return pixels.to(self._dtype)
        return self._scale.normalised(pixels, self._dtype)

    def _trial_text(self) -> torch.Tensor:
        """Two texts of made-up words, of different lengths."""
        import torch

        words, end = self._model.vocab_size - 2, self._model.vocab_size - 1
        if self._model.text_pool_type == "eos":
            end = self._model.text_eos_id
        tokens = torch.zeros(len(_TRIAL_LENGTHS), self._model.context_length, dtype=torch.long)
        numbers = torch.Generator().manual_seed(0)
        for row, length in zip(tokens, _TRIAL_LENGTHS, strict=True):
            row[:length] = torch.randint(1, words, (length,), generator=numbers)
            row[length - 1] = end
        return tokens.to(self._device)

    def _trial_pixels(self) -> torch.Tensor:
        """One picture of noise."""
        import torch

        numbers = torch.Generator().manual_seed(0)
        shape = (1, 3, *self._model.visual.image_size)
        if self._scale is not None:
            return torch.randint(256, shape, generator=numbers, dtype=torch.uint8).to(self._device)
        return torch.randn(shape, generator=numbers).to(self._device, self._dtype)


def _anew(fast: Callable[[Packing], Features], inputs: torch.Tensor) -> torch.Tensor:
    """A tower over the weights as they are by now; making it copies next to nothing."""
    return fast(Packing(enabled=False))(inputs)


def _difference(ours: torch.Tensor, stock: torch.Tensor) -> float:
    """Largest difference of the unit vectors; NaN where one is not finite."""
    from torch.nn.functional import normalize

    return float((normalize(ours.float(), dim=-1) - normalize(stock.float(), dim=-1)).abs().max())


def _release(module: Any) -> None:
    """Let go of a module's own weights; what holds them otherwise keeps them."""
    for parameter in module.parameters(recurse=False):
        parameter.data = parameter.data.new_empty(0)
