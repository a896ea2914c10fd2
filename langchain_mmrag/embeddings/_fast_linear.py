"""Linear layers on the CPU, with weights laid out once for oneDNN where this torch can do that.

torch's default for fp32 is a matrix library that leaves much of some processors unused; oneDNN does better
with the same accuracy, most of all on weights brought into its own blocked layout beforehand. The operators
for that are private to torch, so each weight is tried against the plain layer before it is relied on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

    Linear: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
    """Rows [n, k] to rows [n, m]."""

logger = logging.getLogger(__name__)

_ROWS = 800  # expected in a product: 16 images of 50 tokens; the layout hardly depends on it
_TRIAL_ROWS = 3
# Largest difference from the plain layer, as a share of the largest number in its answer.
_TOLERANCE = {"torch.float32": 1e-5, "torch.bfloat16": 2e-2}


class Packing:
    """Turns weights into linear layers, packed for oneDNN as long as that is possible and right.

    Args:
        enabled: False for plain layers over the weights as they are, without a copy of them.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled

    def linear(self, weight: torch.Tensor, bias: torch.Tensor | None, *, gelu: bool = False) -> Linear:
        """A layer y = W x + b, or gelu(W x + b), in the precision of its weight.

        Args:
            weight: W, [m, k].
            bias: b, [m].
            gelu: Whether the exact GELU follows.
        """
        plain = plain_linear(weight, bias, gelu=gelu)
        if not self.enabled:
            return plain
        try:
            packed = _packed(weight, bias, gelu=gelu)
            differs = _difference(packed, plain, weight)
        except (AttributeError, RuntimeError, TypeError) as error:
            logger.debug("oneDNN's packed layers are not to be had here (%s)", error)
            self.enabled = False
            return plain
        if not differs <= _TOLERANCE[str(weight.dtype)]:
            shape = tuple(weight.shape)
            logger.debug("a packed layer of %s is off by %.1e: plain layers are used", shape, differs)
            self.enabled = False
            return plain
        return packed


def plain_linear(weight: torch.Tensor, bias: torch.Tensor | None, *, gelu: bool = False) -> Linear:
    """The layer by torch's public functions; it follows its weight if that changes in place."""
    import torch
    from torch.nn import functional

    def rows(x: torch.Tensor) -> torch.Tensor:
        y = functional.linear(x, weight, bias)
        return torch.ops.aten.gelu_(y) if gelu else y

    return rows


def _packed(weight: torch.Tensor, bias: torch.Tensor | None, *, gelu: bool) -> Linear:
    """The layer on a packed copy of its weight.

    Raises:
        AttributeError, RuntimeError, TypeError: If this torch or this processor cannot.
    """
    import torch

    if str(weight.dtype) not in _TOLERANCE or weight.device.type != "cpu":
        msg = f"{weight.dtype} on {weight.device} is not packed"
        raise TypeError(msg)
    product = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - guarded by its caller
    lay_out = torch.ops.mkldnn._reorder_linear_weight  # noqa: SLF001 - likewise
    laid_out = lay_out(weight.detach().contiguous(), _ROWS)
    own_bias = None if bias is None else bias.detach().clone()
    # Within the product GELU is for free with 512-bit registers, and slow without them.
    fused = gelu and torch.backends.cpu.get_cpu_capability() == "AVX512"
    after, form = ("gelu", "none") if fused else ("none", "")

    def rows(x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = product(x, laid_out, own_bias, after, [], form)
        return torch.ops.aten.gelu_(y) if gelu and not fused else y

    return rows


def _difference(packed: Linear, plain: Linear, weight: torch.Tensor) -> float:
    """Largest difference on a few rows, as a share of the largest number; NaN counts as a difference."""
    import torch

    numbers = torch.Generator().manual_seed(0)
    x = torch.randn(_TRIAL_ROWS, weight.shape[1], generator=numbers).to(weight.dtype)
    expected = plain(x).float()
    largest = float(expected.abs().max()) or 1.0
    return float((packed(x).float() - expected).abs().max()) / largest
