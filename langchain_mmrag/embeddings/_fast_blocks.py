"""Pre-norm transformer blocks over sequences laid end to end, computed for the pooled token only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_mmrag.embeddings._fast_linear import Packing

if TYPE_CHECKING:
    import torch

    from langchain_mmrag.embeddings._fast_linear import Linear


class Sequences(NamedTuple):
    """So many sequences of `length` tokens, one after the other among the rows."""

    number: int
    length: int


@dataclass(frozen=True)
class Norm:
    """Layer normalisation, in fp32 whatever follows.

    Attributes:
        weight: Scale of each channel [d].
        bias: Shift of each channel [d].
        eps: Added to the variance.
        dtype: Of the answer.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float
    dtype: torch.dtype

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        return functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps).to(self.dtype)


@dataclass(frozen=True)
class Block:
    """x <- x + out(attention(LN x)), then x <- x + mlp(LN x).

    Attributes:
        heads: Attention heads.
        norm_1: Before the attention.
        queries: Q of the pooled tokens alone; None where the block is computed for all.
        keys: Q, K and V in one product [d, 3d]; in the last block K and V only [d, 2d].
        out: After the attention.
        norm_2: Before the two layers.
        mlp: The two layers.
    """

    heads: int
    norm_1: Norm
    queries: Linear | None
    keys: Linear
    out: Linear
    norm_2: Norm
    mlp: Callable[[torch.Tensor], torch.Tensor]


def make_blocks(modules: Sequence[Any], packing: Packing, release: Callable[[Any], None]) -> list[Block]:
    """The blocks of a tower.

    Args:
        modules: Its `ResidualAttentionBlock`s.
        packing: How linear layers are made.
        release: Told of each module whose weights are no longer needed.
    """
    return [_block(module, packing, release, last=module is modules[-1]) for module in modules]


def _block(module: Any, packing: Packing, release: Callable[[Any], None], *, last: bool) -> Block:
    attention, mlp = module.attn, module.mlp
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    dtype, d = weight.dtype, weight.shape[1]
    queries = packing.linear(weight[:d], bias[:d]) if last else None
    keys = packing.linear(weight[d:], bias[d:]) if last else packing.linear(weight, bias)
    block = Block(
        heads=attention.num_heads,
        norm_1=make_norm(module.ln_1, dtype),
        queries=queries,
        keys=keys,
        out=packing.linear(attention.out_proj.weight, attention.out_proj.bias),
        norm_2=make_norm(module.ln_2, dtype),
        mlp=_mlp(mlp, packing),
    )
    if packing.enabled:
        for part in (attention, attention.out_proj, mlp.c_fc, mlp.c_proj):
            release(part)
    return block


def _mlp(module: Any, packing: Packing) -> Callable[[torch.Tensor], torch.Tensor]:
    import torch

    exact = type(module.gelu) is torch.nn.GELU
    widen = packing.linear(module.c_fc.weight, module.c_fc.bias, gelu=exact)
    narrow = packing.linear(module.c_proj.weight, module.c_proj.bias)
    if exact:
        return lambda x: narrow(widen(x))

    def quick(x: torch.Tensor) -> torch.Tensor:
        y = widen(x)
        return narrow(torch.sigmoid(1.702 * y).mul_(y))  # QuickGELU

    return quick


def make_norm(module: Any, dtype: torch.dtype) -> Norm:
    """The layer normalisation of a module, answering in `dtype`."""
    return Norm(module.weight.float(), module.bias.float(), module.eps, dtype)


def pooled_rows(
    blocks: Sequence[Block],
    x: torch.Tensor,
    groups: Sequence[Sequences],
    pooled: torch.Tensor,
    *,
    causal: bool,
) -> torch.Tensor:
    """Run the blocks; the last one for the pooled tokens only, since nothing else of it is read.

    Args:
        blocks: At least one.
        x: Residual stream [rows, d] in fp32, the sequences end to end; overwritten.
        groups: How the rows are cut into sequences.
        pooled: For each sequence, the row of the token that is pooled; it must see its whole sequence.
        causal: Whether a token sees those up to itself only.

    Returns:
        The residual stream of the pooled tokens [sequences, d].
    """
    *most, last = blocks
    for block in most:
        x += block.out(_attention(block, block.keys(block.norm_1(x)), groups, causal=causal))
        x += block.mlp(block.norm_2(x))
    normed = last.norm_1(x)
    x = x[pooled]
    x += last.out(_pooled_attention(last, normed, groups, pooled))
    x += last.mlp(last.norm_2(x))
    return x


def _attention(block: Block, qkv: torch.Tensor, groups: Sequence[Sequences], *, causal: bool) -> torch.Tensor:
    """Attention of all tokens: qkv [rows, 3d] to [rows, d]."""
    parts, start = [], 0
    for number, length in groups:
        rows = qkv[start : start + number * length]
        q, k, v = rows.view(number, length, 3, block.heads, -1).permute(2, 0, 3, 1, 4)
        parts.append(_attended(q, k, v, causal=causal))
        start += number * length
    return _joined(parts)


def _pooled_attention(
    block: Block, normed: torch.Tensor, groups: Sequence[Sequences], pooled: torch.Tensor
) -> torch.Tensor:
    """Attention of the pooled tokens: normed [rows, d] to [sequences, d]."""
    assert block.queries is not None
    queries, kv = block.queries(normed[pooled]), block.keys(normed)
    parts, row, sequence = [], 0, 0
    for number, length in groups:
        rows = kv[row : row + number * length]
        k, v = rows.view(number, length, 2, block.heads, -1).permute(2, 0, 3, 1, 4)
        q = queries[sequence : sequence + number].view(number, 1, block.heads, -1).transpose(1, 2)
        parts.append(_attended(q, k, v, causal=False))
        row, sequence = row + number * length, sequence + number
    return _joined(parts)


def _attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool) -> torch.Tensor:
    """Of [count, heads, length, d/heads] each; returns rows [number * length, d]."""
    from torch.nn import functional

    out: torch.Tensor = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return out.transpose(1, 2).reshape(q.shape[0] * q.shape[2], -1)


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    import torch

    return parts[0] if len(parts) == 1 else torch.cat(parts)
