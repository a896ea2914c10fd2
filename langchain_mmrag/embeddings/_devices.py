"""Where a model runs."""

from __future__ import annotations

import platform
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

    Where this torch has no way to tell, it is taken to have them.

    Args:
        precision: `"fp32"`, `"bf16"` or `"fp16"`.
        device: Only the CPU is looked at; an accelerator has them.
    """
    import torch

    if device.type != "cpu" or precision == "fp32":
        return True
    checks = [getattr(torch.cpu, name, None) for name in _checks(precision)]  # private: they come and go
    # One that is missing might have been the one to say yes.
    return None in checks or any(check() for check in checks if check is not None)


def _checks(precision: str) -> tuple[str, ...]:
    """Functions of torch.cpu that know of a precision, one of which has to say yes."""
    if platform.machine().lower() in {"x86_64", "amd64"}:
        return {
            "bf16": ("_is_avx512_bf16_supported", "_is_amx_tile_supported"),
            "fp16": ("_is_amx_fp16_supported",),
        }[precision]
    return (f"_is_arm_{precision}_supported",)
