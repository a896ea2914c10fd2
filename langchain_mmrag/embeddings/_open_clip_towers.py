"""The text tower without the padding, in torch's own modules: so that it can be trained as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def encode_trimmed(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """What `model.encode_text(tokens)` gives, without computing the padding.

    In a causal tower the position of the end token sees only positions before it, and pooling reads nothing
    else (the end token has the highest id, so its position is the argmax); what is cut off is padding.
    open_clip's own method adds the whole positional table and so cannot take short tokens.

    Args:
        model: An open_clip `CLIP` with a causal text tower that pools the token of the highest id.
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
