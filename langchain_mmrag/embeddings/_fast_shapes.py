"""Whether a tower is of the plain shape that the fast forward computes, by its modules and their settings."""

from __future__ import annotations

from typing import Any


def is_plain_vision(model: Any) -> bool:
    """Whether images go through a plain vision transformer that pools its class token."""
    import open_clip
    import torch
    from open_clip.transformer import VisionTransformer

    visual: Any = getattr(model, "visual", None)
    if type(model) is not open_clip.CLIP or type(visual) is not VisionTransformer:
        return False
    conv, identity = visual.conv1, torch.nn.Identity
    return (
        _is_untouched(model, "encode_image")
        and _has_no_hooks(visual)
        and visual.attn_pool is None
        and visual.pool_type == "tok"
        and not visual.output_tokens
        and type(visual.patch_dropout) is identity
        and type(conv) is torch.nn.Conv2d
        and conv.kernel_size == conv.stride
        and conv.bias is None
        and conv.in_channels == 3  # noqa: PLR2004 - red, green, blue
        and (conv.padding, conv.dilation, conv.groups) == ((0, 0), (1, 1), 1)
        and (type(visual.ln_pre) is identity or _is_norm(visual.ln_pre))
        and _is_norm(visual.ln_post)
        and _are_plain_blocks(visual.transformer)
    )


def is_plain_text(model: Any) -> bool:
    """Whether texts go through a plain causal transformer that pools its end token."""
    import open_clip
    import torch

    return (
        type(model) is open_clip.CLIP
        and _is_untouched(model, "encode_text")
        and not any(_hooks(part) for part in (model, model.token_embedding, model.ln_final))
        and _has_no_hooks(model.transformer)
        and model.attn_mask is not None
        and model.text_pool_type in {"argmax", "eos"}
        and type(model.token_embedding) is torch.nn.Embedding
        and _is_norm(model.ln_final)
        and _are_plain_blocks(model.transformer)
    )


def _are_plain_blocks(transformer: Any) -> bool:
    from open_clip.transformer import Transformer

    return (
        type(transformer) is Transformer
        and all(map(_is_plain_block, transformer.resblocks))
        and (len(transformer.resblocks) > 0)
    )


def _is_plain_block(block: Any) -> bool:
    import torch
    from open_clip.transformer import QuickGELU, ResidualAttentionBlock

    if type(block) is not ResidualAttentionBlock or hasattr(block, "ln_1_kv"):
        return False
    attention, mlp = block.attn, block.mlp
    names = [name for name, _ in mlp.named_children()]
    return (
        type(block.ls_1) is type(block.ls_2) is torch.nn.Identity
        and _is_norm(block.ln_1)
        and _is_norm(block.ln_2)
        and type(attention) is torch.nn.MultiheadAttention
        and attention.in_proj_weight is not None
        and attention.in_proj_bias is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
        and isinstance(attention.out_proj, torch.nn.Linear)
        and names == ["c_fc", "gelu", "c_proj"]
        and type(mlp.c_fc) is type(mlp.c_proj) is torch.nn.Linear
        and (type(mlp.gelu) is QuickGELU or _is_exact_gelu(mlp.gelu))
    )


def _is_exact_gelu(module: Any) -> bool:
    import torch

    return type(module) is torch.nn.GELU and module.approximate == "none"


def _is_norm(module: Any) -> bool:
    from open_clip.transformer import LayerNorm, LayerNormFp32

    kinds = {LayerNorm, LayerNormFp32}
    return type(module) in kinds and module.weight is not None and module.bias is not None


def _is_untouched(model: Any, method: str) -> bool:
    return method not in vars(model) and "forward" not in vars(model)


def _has_no_hooks(module: Any) -> bool:
    return not any(_hooks(part) or "forward" in vars(part) for part in module.modules())


def _hooks(module: Any) -> bool:
    hooks = module._forward_hooks, module._forward_pre_hooks  # noqa: SLF001 - torch has no public look
    return any(hooks)
