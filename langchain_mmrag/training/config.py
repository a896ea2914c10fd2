"""Everything a training run can be told, and what is saved beside its checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of one run.

    The learning rate warms up, stays, and falls linearly to zero over the last part: unlike a cosine, a run
    may be lengthened from a checkpoint as long as the fall has not begun (Hägele et al., 2024,
    arXiv 2405.18392).
    """

    steps: int = 2900
    batch_size: int = 128
    seed: int = 0
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    cooldown: float = 0.3  # share of the steps over which the learning rate falls to zero
    weight_decay: float = 0.1  # on matrices only: not on embeddings, norms, biases
    betas: tuple[float, float] = (0.9, 0.98)
    max_grad_norm: float = 1.0
    max_logit_scale: float = 100.0  # CLIP clamps the learned temperature at 1/100
    ema_decay: float = 0.998
    autocast: bool = False  # bf16 for both towers, for processors that have it; the loss stays in fp32
    checkpoint_every: int = 100
    threads: int = 1
    workers: int = 1  # processes that draw batches ahead of the training
    prose_from: int = 1600  # step from which some captions are sentences: names first, then names in context
    vision: str = "resnet10t"  # any timm name
    image_size: int = 64
    context_length: int = 32
    width: int = 192

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        fall = max(1, round(self.steps * self.cooldown))
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return self.learning_rate * min(warm, max(0.0, (self.steps - step) / fall))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as saved."""
        return asdict(self)


def model_config(config: TrainConfig, vocab_size: int) -> dict[str, Any]:
    """The two towers in open_clip's own terms: a small convolutional and a three-layer text network."""
    return {
        "embed_dim": config.width,
        "vision_cfg": {
            "image_size": config.image_size,
            "timm_model_name": config.vision,
            "timm_pool": "avg",
            "timm_proj": "",  # the network's own head projects
            "timm_model_pretrained": False,
        },
        "text_cfg": {
            "context_length": config.context_length,
            "vocab_size": vocab_size,
            "width": config.width,
            "heads": 4,
            "layers": 3,
        },
    }


PREPROCESS: dict[str, Any] = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "mode": "RGB",
    "interpolation": "bicubic",
    "resize_mode": "longest",
    "fill_color": 255,
}
"""Pixels as the model takes them: the whole picture, padded white to a square."""
