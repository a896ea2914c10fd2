"""How fast this CPU multiplies matrices, and how much a tower has to multiply."""

import time
from collections.abc import Callable, Iterable

PATCHES, WIDTH, LAYERS, EMBED = 49, 768, 12, 512  # the visual tower of ViT-B-32, at 224 x 224 pixels
TEXT_WIDTH = 512
SECONDS = 0.4


def block_flops(width: int, tokens: float) -> float:
    """Of a block: Q, K, V, the projection and the MLP (24 d²n), and attention (4 n²d)."""
    return 24 * width**2 * tokens + 4 * tokens**2 * width


def pooled_block_flops(width: int, tokens: float) -> float:
    """Of a last block of which only one token is read: K and V of all, everything else of that one."""
    return 4 * width**2 * tokens + 20 * width**2 + 4 * tokens * width


def image_flops(*, pruned: bool) -> float:
    """Of one picture through ViT-B-32's tower.

    Args:
        pruned: Count the last block for the class token alone.
    """
    tokens = PATCHES + 1
    last = pooled_block_flops(WIDTH, tokens) if pruned else block_flops(WIDTH, tokens)
    patches = 2 * PATCHES * 3 * 32 * 32 * WIDTH
    return (LAYERS - 1) * block_flops(WIDTH, tokens) + last + patches + 2 * WIDTH * EMBED


def text_flops(lengths: Iterable[int], *, pruned: bool) -> float:
    """Of texts of these numbers of tokens through ViT-B-32's tower."""
    last = pooled_block_flops if pruned else block_flops
    return sum(
        (LAYERS - 1) * block_flops(TEXT_WIDTH, n) + last(TEXT_WIDTH, n) + 2 * TEXT_WIDTH * EMBED
        for n in lengths
    )


def gemm_rates(*, bf16: bool) -> dict[str, float]:
    """GFLOP per CPU second of products of the towers' shapes, by kernel."""
    import torch
    from torch.nn.functional import linear

    shapes = {"pictures 800x768x3072": (800, 768, 3072), "captions 704x512x2048": (704, 512, 2048)}
    rates = {}
    for name, (rows, width, out) in shapes.items():
        for kind in (torch.float32, torch.bfloat16) if bf16 else (torch.float32,):
            x, weight = torch.randn(rows, width).to(kind), torch.randn(out, width).to(kind)
            work = 2 * rows * width * out
            short = "bf16" if kind is torch.bfloat16 else "fp32"
            with torch.inference_mode():
                rates[f"F.linear {short}, {name}"] = _rate(lambda x=x, weight=weight: linear(x, weight), work)
                packed = _packed(x, weight)
                if packed:
                    rates[f"oneDNN packed {short}, {name}"] = _rate(packed, work)
    return rates


def _packed(x, weight) -> Callable[[], object] | None:  # noqa: ANN001  tensors
    """oneDNN's product with a weight reordered beforehand, a private operator; None without it."""
    import torch

    try:
        reorder, product = torch.ops.mkldnn._reorder_linear_weight, torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
        packed = reorder(weight, x.shape[0])
        product(x, packed, None, "none", [], "")
    except (AttributeError, RuntimeError):
        return None
    return lambda: product(x, packed, None, "none", [], "")


def _rate(run: Callable[[], object], work: float) -> float:
    """GFLOP per CPU second: the best of five stretches."""
    run()
    best = 0.0
    for _ in range(5):
        count, start, began = 0, time.process_time(), time.perf_counter()
        while time.perf_counter() - began < SECONDS / 5:
            run()
            count += 1
        best = max(best, count * work / (time.process_time() - start) / 1e9)
    return best
