"""Where a model runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def choose_device(name: str | None) -> torch.device:
    """The device of this name, or the fastest there is.

    Raises:
        ValueError: If torch knows no such device, or sees none here.
    """
    import torch

    if name is None:
        best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(best)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        msg = f"torch knows no device {name!r}: use 'cpu', 'cuda', 'cuda:1', 'mps', or None for the fastest"
        raise ValueError(msg) from error
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(device.type, True):
        msg = f"device {name!r} was asked for, but torch sees none here; None takes the fastest there is"
        raise ValueError(msg)
    return device


def computes_fast(precision: str, device: torch.device) -> bool:
    """Whether a device has instructions for products in this precision; without, they take far longer.

    Args:
        precision: `"fp32"`, `"bf16"` or `"fp16"`.
        device: Only the CPU is looked at; an accelerator has them.
    """
    import torch

    if device.type != "cpu" or precision == "fp32":
        return True
    names = {
        "bf16": ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported"),
        "fp16": ("_is_amx_fp16_supported",),
    }
    checks = [getattr(torch.cpu, name, None) for name in names[precision]]  # private: they come and go
    return any(check() for check in checks if check is not None)
