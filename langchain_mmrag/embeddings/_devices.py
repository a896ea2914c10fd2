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
