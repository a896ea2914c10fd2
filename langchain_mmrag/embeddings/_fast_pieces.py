"""A batch in pieces that fit the memory of the device, found by halving when one does not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from langchain_mmrag.errors import EmbeddingError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

# What torch says, beside its own exception: of Apple's processors, of the main memory, of older releases.
_TOLD = ("out of memory", "can't allocate memory", "not enough memory")


class Pieces:
    """Runs forward passes; remembers how much of a batch the device holds.

    Args:
        name: Of what is encoded, in messages: "images" or "texts".
        most: Largest piece to begin with; None for whole batches.
    """

    def __init__(self, name: str, most: int | None = None) -> None:
        self._name = name
        self._most = most
        self._told = False

    def run(
        self, forward: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor, device: torch.device
    ) -> NDArray[np.float32]:
        """Features [n, d] of a batch [n, ...] in main memory.

        Raises:
            EmbeddingError: If the device cannot hold even one of them.
        """
        parts: list[NDArray[np.float32]] = []
        start = 0
        while start < len(batch):
            piece = batch[start : start + (self._most or len(batch))]
            try:
                parts.append(_as_array(forward(_moved(piece, device))))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(piece) == 1:
                    raise self._too_little(device) from error
            else:
                start += len(piece)
                continue
            # Only here, as the traceback would keep the tensors of the failed pass alive.
            self._halve(len(piece), device)
        return np.concatenate(parts)

    def _halve(self, size: int, device: torch.device) -> None:
        import torch

        self._most = size // 2
        if device.type == "cuda":
            torch.cuda.empty_cache()
        elif device.type == "mps":
            torch.mps.empty_cache()
        if not self._told:
            self._told = True
            logger.warning(
                "%s has no memory for %d %s at once: going on with smaller batches, %d at first. A smaller "
                "batch_size avoids the failed attempt",
                *(device, size, self._name, self._most),
            )

    def _too_little(self, device: torch.device) -> EmbeddingError:
        one = self._name.removesuffix("s")
        return EmbeddingError(
            f"{device} has no memory left for even one {one}. End what else uses it, or give device='cpu', "
            "precision='bf16' or a smaller model"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch says that a device, or main memory, is full."""
    import torch

    kinds = (torch.OutOfMemoryError, MemoryError) if hasattr(torch, "OutOfMemoryError") else (MemoryError,)
    return isinstance(error, kinds) or any(told in str(error).lower() for told in _TOLD)


def _moved(piece: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A piece on the device; for CUDA by pinned memory, so that this thread need not wait for the copy."""
    if device.type == "cuda":
        return piece.pin_memory().to(device, non_blocking=True)
    return piece.to(device)


def _as_array(features: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = features.float().cpu().numpy()
    return array
