"""The contrastive loss of CLIP.

S = V_I V_T^T · scale is the matrix of temperature-scaled cosines of every picture with every caption of a
batch; the loss is the mean of two cross-entropies, over its rows and over its columns, with the diagonal as
target (Radford et al., 2021, arXiv 2103.00020, figure 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross-entropy of a batch of `n` pairs.

    Args:
        images: Unit vectors `[n, d]`; row `i` belongs to row `i` of `texts`.
        texts: Unit vectors `[n, d]`.
        scale: Inverse temperature, a scalar.

    Returns:
        A scalar: log n when nothing is told apart, near 0 when every pair is.
    """
    from open_clip.loss import ClipLoss

    loss: Tensor = ClipLoss()(images, texts, scale)
    return loss
