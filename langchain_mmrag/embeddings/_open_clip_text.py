"""The text tower on tokens cut to the longest text of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_TOLERANCE = {"torch.float32": 1e-5, "torch.float16": 1e-2, "torch.bfloat16": 5e-2}


def encode_trimmed(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """What `model.encode_text(tokens)` gives, without computing the padding.

    In a causal tower the position of the end token sees only positions before it, and pooling reads nothing else
    (the end token has the highest id, so its position is the argmax); what is cut off is padding. open_clip's own
    method adds the whole positional table and so cannot take short tokens.

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
    if model.text_projection is None:
        return x
    projected: torch.Tensor = (
        model.text_projection(x)
        if isinstance(model.text_projection, torch.nn.Linear)
        else x @ model.text_projection
    )
    return projected


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
