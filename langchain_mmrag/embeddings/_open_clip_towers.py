"""What the two towers are fed: tokens without padding, images already small."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

_TOLERANCE = {"torch.float32": 1e-5, "torch.float16": 1e-2, "torch.bfloat16": 5e-2}


def encode_trimmed(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """What `model.encode_text(tokens)` gives, without computing the padding.

    In a causal tower the position of the end token sees only positions before it, and pooling reads nothing
    else (the end token has the highest id, so its position is the argmax); what is cut off is padding.
    open_clip's own method adds the whole positional table and so cannot take short tokens.

    Args:
        model: A model for which `can_trim` holds.
        tokens: Ids [n, context].

    Returns:
        Features [n, d], not normalised.
    """
    import torch

    end = tokens.argmax(dim=-1)
    length = int(end.max()) + 1
    tokens = tokens[:, :length]
    dtype = model.transformer.get_cast_dtype()
    x = model.token_embedding(tokens).to(dtype) + model.positional_embedding[:length].to(dtype)
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)[torch.arange(len(tokens), device=tokens.device), end]
    projection = model.text_projection
    if isinstance(projection, torch.nn.Linear):
        x = projection(x)
    elif projection is not None:
        x = x @ projection
    features: torch.Tensor = x
    return features


def can_trim(model: Any, tokens: torch.Tensor) -> bool:
    """Whether `encode_trimmed` may stand in for `model.encode_text`: by the tower's kind, and by trying it.

    Args:
        model: Any open_clip model.
        tokens: Ids [n, context] of short texts to try it on.
    """
    import open_clip
    import torch
    from torch.nn.functional import normalize

    if type(model) is not open_clip.CLIP or model.attn_mask is None or model.text_pool_type != "argmax":
        return False
    stock = normalize(model.encode_text(tokens).float(), dim=-1)
    short = normalize(encode_trimmed(model, tokens).float(), dim=-1)
    tolerance = _TOLERANCE.get(str(model.transformer.get_cast_dtype()), 0.0)
    return bool(torch.isfinite(short).all()) and float((stock - short).abs().max()) <= tolerance


def shrinker(preprocess: Any) -> Callable[[Image], Image]:
    """The steps of open_clip's own preprocessing that make an image small.

    Done a second time, by the preprocessing itself, they change nothing. A strip of 60,000 by 1 pixels would
    take gigabytes before its middle is cropped, or be shrunk to a height of nothing; so a strip whose sides
    differ by more than a factor of the target's size is cut to its middle first.
    """
    from open_clip.transform import CenterCropOrPad, ResizeKeepRatio
    from torchvision.transforms import CenterCrop, Compose, Resize

    kinds = (Resize, ResizeKeepRatio, CenterCrop, CenterCropOrPad)
    steps = list(takewhile(lambda step: isinstance(step, kinds), preprocess.transforms))
    resize = Compose(steps)
    size = steps[0].size
    longest = min(size) if isinstance(size, list | tuple) else int(size)

    def shrink(image: Image) -> Image:
        small: Image = resize(_middle(image, longest))
        return small

    return shrink


def unchanged(image: Image) -> Image:
    """The image as it is."""
    return image


def _middle(image: Image, ratio: int) -> Image:
    """The middle of an image more than `ratio` times as long as it is wide; any other as it is."""
    limit = ratio * min(image.size)
    if max(image.size) <= limit:
        return image
    left, top = ((side - min(side, limit)) // 2 for side in image.size)
    width, height = (min(side, limit) for side in image.size)
    return image.crop((left, top, left + width, top + height))
