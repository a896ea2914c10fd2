"""The two towers of a plain CLIP model as functions: the vectors of open_clip's modules in less time.

What is left out is what nothing reads: padding after the end of a text, and in the last block all tokens but
the pooled one. What stays is done by few large products over all tokens of a batch, laid end to end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from langchain_mmrag.embeddings._fast_blocks import (
    Block,
    Norm,
    Sequences,
    make_blocks,
    make_norm,
    pooled_rows,
)
from langchain_mmrag.embeddings._fast_linear import Packing

if TYPE_CHECKING:
    import torch

    from langchain_mmrag.embeddings._fast_linear import Linear

_MIDDLE = 128  # grey level taken as zero, so that half precision keeps all 256 levels and loses little


@dataclass(frozen=True)
class Scale:
    """How grey levels of 0 to 255 become the model's input: (level / 255 - mean) / std for each channel.

    Attributes:
        mean: Three numbers.
        std: Three numbers.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def normalised(self, pixels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Pixels [n, 3, height, width] of 0 to 255 as the model's own modules take them."""
        import torch

        mean, std = (torch.tensor(part, device=pixels.device).view(3, 1, 1) for part in (self.mean, self.std))
        return pixels.float().div_(255).sub_(mean).div_(std).to(dtype)


@dataclass(frozen=True)
class VisionTower:
    """A vision transformer that pools its class token.

    Attributes:
        patch: Height and width of a patch.
        embed: Patches [n, 3 * height * width] to tokens [n, d].
        first: Class token with its position [d].
        positions: Of the patches [patches, d].
        norm_pre: Before the blocks, if there is one.
        blocks: The blocks.
        norm_post: After the blocks.
        projection: [d, dimension], if there is one.
        dtype: Of the linear layers.
        is_folded: Whether the normalisation of the pixels is part of `embed`.
    """

    patch: tuple[int, int]
    embed: Linear
    first: torch.Tensor
    positions: torch.Tensor
    norm_pre: Norm | None
    blocks: Sequence[Block]
    norm_post: Norm
    projection: torch.Tensor | None
    dtype: torch.dtype
    is_folded: bool

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features [n, dimension], not normalised.

        Args:
            pixels: [n, 3, height, width]; grey levels of 0 to 255 if the normalisation is folded in.
        """
        import torch

        n, length = len(pixels), len(self.positions) + 1
        tokens = self.embed(self._patches(pixels)).view(n, length - 1, -1)
        x = self.positions.new_empty((n, length, tokens.shape[-1]))
        x[:, 0] = self.first
        torch.add(tokens, self.positions, out=x[:, 1:])
        x = x.view(n * length, -1)
        if self.norm_pre is not None:
            x = self.norm_pre(x)
        pooled = torch.arange(0, n * length, length, device=x.device)
        x = pooled_rows(self.blocks, x, [Sequences(n, length)], pooled, causal=False)
        x = self.norm_post(x)
        return x if self.projection is None else x @ self.projection

    def _patches(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels [n, 3, height, width] as rows [n * patches, 3 * patch height * patch width]."""
        high, wide = self.patch
        n, channels, height, width = pixels.shape
        cut = pixels.view(n, channels, height // high, high, width // wide, wide).permute(0, 2, 4, 1, 3, 5)
        rows = cut.to(self.dtype).reshape(-1, channels * high * wide)
        return rows.sub_(_MIDDLE) if self.is_folded else rows


@dataclass(frozen=True)
class TextTower:
    """A causal text transformer that pools its end token.

    Attributes:
        table: Token embeddings [vocabulary, d].
        positions: [context, d].
        blocks: The blocks.
        norm_post: After the blocks.
        project: Pooled tokens to features.
        end: Position of each text's end token: ids [n, context] to [n].
    """

    table: torch.Tensor
    positions: torch.Tensor
    blocks: Sequence[Block]
    norm_post: Norm
    project: Callable[[torch.Tensor], torch.Tensor]
    end: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Features [n, dimension], not normalised, in the order given.

        Args:
            tokens: Ids [n, context].
        """
        import torch

        lengths = self.end(tokens) + 1
        order = lengths.argsort(stable=True)
        sizes: list[int] = lengths[order].tolist()
        groups = [Sequences(len(list(same)), length) for length, same in groupby(sizes)]
        is_read = torch.arange(tokens.shape[1], device=tokens.device) < lengths[order, None]
        _, places = is_read.nonzero(as_tuple=True)
        ids = tokens[order][is_read]
        x = self.table[ids].float() + self.positions[places]
        pooled = lengths[order].cumsum(0) - 1
        x = self.norm_post(pooled_rows(self.blocks, x, groups, pooled, causal=True))
        features = self.project(x)
        unordered = torch.empty_like(features)
        unordered[order] = features
        return unordered


def vision_tower(
    visual: Any, scale: Scale | None, packing: Packing, release: Callable[[Any], None]
) -> VisionTower:
    """The tower of a `VisionTransformer` for which `is_plain_vision` holds.

    Args:
        visual: The module.
        scale: Folded into the patch embedding; None if pixels come normalised.
        packing: How linear layers are made.
        release: Told of each module whose weights are no longer needed.
    """
    import torch

    dtype = visual.conv1.weight.dtype
    weight, bias = _patch_embedding(visual.conv1.weight, scale)
    positions = visual.positional_embedding.float()
    tower = VisionTower(
        patch=visual.conv1.kernel_size,
        embed=packing.linear(weight, bias),
        first=visual.class_embedding.float() + positions[0],
        positions=positions[1:],
        norm_pre=make_norm(visual.ln_pre, torch.float32) if hasattr(visual.ln_pre, "weight") else None,
        blocks=make_blocks(visual.transformer.resblocks, packing, release),
        norm_post=make_norm(visual.ln_post, dtype),
        projection=visual.proj,
        dtype=dtype,
        is_folded=scale is not None,
    )
    if packing.enabled:
        release(visual.conv1)
    return tower


def _patch_embedding(weight: torch.Tensor, scale: Scale | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A convolution [d, 3, height, width] as weight [d, 3 * height * width] and bias of a linear layer."""
    if scale is None:
        return weight.flatten(1), None
    exact = weight.double()
    mean, std = (exact.new_tensor(part).view(3, 1, 1) for part in (scale.mean, scale.std))
    folded = exact / (255 * std)
    bias = (folded * (_MIDDLE - 255 * mean)).sum(dim=(1, 2, 3))
    return folded.flatten(1).to(weight.dtype), bias.to(weight.dtype)


def text_tower(model: Any, packing: Packing, release: Callable[[Any], None]) -> TextTower:
    """The text tower of a `CLIP` model for which `is_plain_text` holds; arguments as of `vision_tower`."""
    dtype = model.transformer.get_cast_dtype()
    return TextTower(
        table=model.token_embedding.weight,
        positions=model.positional_embedding.float(),
        blocks=make_blocks(model.transformer.resblocks, packing, release),
        norm_post=make_norm(model.ln_final, dtype),
        project=_projection(model.text_projection),
        end=_end(model.text_pool_type, model.text_eos_id),
    )


def _projection(projection: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    import torch

    if projection is None:
        return lambda x: x
    return projection if isinstance(projection, torch.nn.Linear) else lambda x: x @ projection


def _end(pool: str, eos: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Where a text ends: at the highest id, or at the first end token, as the model pools."""
    if pool == "argmax":
        return lambda tokens: tokens.argmax(dim=-1)
    return lambda tokens: (tokens == eos).int().argmax(dim=-1)
