"""Published figures of zero-shot retrieval, to see one's own beside."""

from __future__ import annotations

from typing import Final

from langchain_mmrag.evaluation.report import Published

_MODEL: Final = "ViT-B-32 laion2b_s34b_b79k"
_FIGURES: Final = {
    ("dataset_coco", "text-to-image"): (0.393, 0.654, 0.756),
    ("dataset_coco", "image-to-text"): (0.563, 0.798, 0.871),
    ("dataset_flickr30k", "text-to-image"): (0.668, 0.884, 0.931),
    ("dataset_flickr30k", "image-to-text"): (0.841, 0.962, 0.983),
}
_SIZES: Final = {"dataset_coco": 5000, "dataset_flickr30k": 1000}
_CUTOFFS: Final = (1, 5, 10)


def published_measures(k: int) -> list[str]:
    """The measures the papers give, as far as `k` documents allow: whether any answer is among the first."""
    return [f"success@{cut}" for cut in _CUTOFFS if cut <= k]


def published_figures(name: str, protocol: str) -> list[Published]:
    """What open_clip has published on Karpathy's test split of a set: recall@1, @5 and @10.

    Args:
        name: Name of the file of captions without its ending.
        protocol: `text-to-image` or `image-to-text`; there are none for others.
    """
    figures = _FIGURES.get((name, protocol))
    if figures is None:
        return []
    query, target = protocol.split("-to-")
    scores = dict(zip((f"success@{cut}" for cut in _CUTOFFS), figures, strict=True))
    source = f"published: test split, {_SIZES[name]} pictures"
    return [Published(_MODEL, source, query, target, scores)]
