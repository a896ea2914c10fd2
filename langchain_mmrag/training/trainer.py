"""Train a CLIP from pairs of pictures and captions."""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from langchain_mmrag.embeddings._open_clip_towers import encode_trimmed
from langchain_mmrag.training.config import PREPROCESS, TrainConfig
from langchain_mmrag.training.data import Batch, Batches
from langchain_mmrag.training.loss import contrastive_loss

logger = logging.getLogger(__name__)

Report = Callable[[dict[str, float]], None]


def pixels(images: NDArray[np.uint8]) -> Tensor:
    """RGB pictures `[n, side, side, 3]` in 0..255 as normalised floats `[n, 3, side, side]`."""
    mean, std = torch.tensor(PREPROCESS["mean"]), torch.tensor(PREPROCESS["std"])
    scaled = (torch.from_numpy(images).float() / 255 - mean) / std
    return scaled.permute(0, 3, 1, 2)  # a view: channels stay last in memory, as convolutions like them


def encode_texts(model: Any, tokens: Tensor, chunks: int = 2) -> Tensor:
    """What `model.encode_text` gives, unit rows `[n, d]`, in chunks of like length."""
    order = tokens.argmax(-1).argsort()  # the end token has the highest id
    parts = [encode_trimmed(model, tokens[rows]) for rows in order.chunk(chunks)]
    return functional.normalize(torch.cat(parts)[order.argsort()].float(), dim=-1)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: matrices decay; embeddings, norms, biases and the temperature do not."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (decayed if parameter.ndim > 1 and "embedding" not in name else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move a running average of all weights and statistics towards the model; faster in the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    current = model.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name], 1 - decay)
        else:
            value.copy_(current[name])


def train(
    model: Any,
    tokenizer: Callable[[list[str]], Tensor],
    batches: Batches,
    config: TrainConfig,
    folder: Path,
    *,
    report: Report | None = None,
) -> nn.Module:
    """Train `model`, resuming from the checkpoint in `folder` if there is one.

    Args:
        model: An open_clip `CLIP` with a causal text tower.
        tokenizer: Texts to token ids `[n, context]`.
        batches: Batch `i` is step `i`; drawn ahead by `config.workers` processes.
        config: Settings; a resumed run may ask for more steps than the first one did.
        folder: Takes `checkpoint.pt`, `log.jsonl` and `config.json`.
        report: Called with `step`, `loss`, `scale`, `learning_rate`, `pairs_per_s` now and then.

    Returns:
        The averaged model, in evaluation mode.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1))
    torch.set_num_threads(config.threads)
    model.to(memory_format=torch.channels_last).train()
    average: nn.Module = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(
        parameter_groups(model, config.weight_decay),
        lr=config.learning_rate,
        betas=config.betas,
        eps=1e-6,
        fused=True,
    )
    start = load_checkpoint(folder, model, average, optimizer)
    losses: list[float] = []
    since = time.perf_counter()
    for step, batch in zip(range(start, config.steps), _ahead(batches, start, config), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate_at(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.autocast):
            images = functional.normalize(model.encode_image(pixels(batch.images)).float(), dim=-1)
            texts = encode_texts(model, tokenizer(batch.captions))
        loss = contrastive_loss(images, texts, model.logit_scale.exp())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(config.max_logit_scale))
        update_average(average, model, config.ema_decay, step)
        losses.append(loss.item())
        done = step + 1
        if done % config.checkpoint_every == 0 or done == config.steps:
            speed = len(losses) * config.batch_size / (time.perf_counter() - since)
            line = {
                "step": done,
                "loss": float(np.mean(losses)),
                "scale": model.logit_scale.exp().item(),
                "learning_rate": config.learning_rate_at(step),
                "pairs_per_s": speed,
            }
            save_checkpoint(folder, done, model, average, optimizer)
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            if report:
                report(line)
            losses, since = [], time.perf_counter()
    return average


def _ahead(batches: Batches, start: int, config: TrainConfig) -> Iterator[Batch]:
    """Batches from `start` on, drawn by other processes while this one trains."""
    if not config.workers:
        yield from (batches[step] for step in range(start, config.steps))
        return
    loader: Any = torch.utils.data.DataLoader(
        cast("Any", batches),  # all that is asked of a map-style dataset is `__getitem__`
        sampler=range(start, config.steps),
        batch_size=None,
        num_workers=config.workers,
        prefetch_factor=8,
        collate_fn=cast("Any", _as_is),
    )
    yield from loader


def _as_is(batch: Batch) -> Batch:
    return batch


def save_checkpoint(folder: Path, step: int, model: nn.Module, average: nn.Module, optimizer: Any) -> None:
    """Write all state; an interrupted write leaves the previous checkpoint."""
    state = {
        "step": step,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    part = folder / "checkpoint.pt.part"
    torch.save(state, part)
    part.replace(folder / "checkpoint.pt")


def load_checkpoint(folder: Path, model: nn.Module, average: nn.Module, optimizer: Any) -> int:
    """Restore all state and return the step to go on with: 0 without a checkpoint."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    logger.info("resuming at step %d", state["step"])
    return int(state["step"])
