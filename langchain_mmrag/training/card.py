"""The card of a trained model: what it is, what it was made of, how well it does, what it cannot do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from langchain_mmrag._extras import require
from langchain_mmrag.training import sources
from langchain_mmrag.training.evaluate import Slice, table
from langchain_mmrag.training.export import WEIGHTS

_CARD = """\
# mmrag-tiny

A small real CLIP that ships with langchain-mmrag, so that it can be tried and tested without a download.
It was trained from nothing on pictures the package draws itself: everyday things ({concepts} of them,
listed in `concepts.txt`) in seven openly licensed styles, coloured shapes, charts, and signs of one word.
It knows these pictures. **It is not for photographs**: take `ViT-B-32` for those.

- Towers: timm `{vision}` on {side} x {side} pixels and a three-layer causal transformer on {context}
  tokens, both to {width} numbers; {parameters:.1f} million parameters, stored in half precision, run in
  single.
- Training: {pairs:,} pairs of picture and caption in {steps:,} steps of {batch}, seed {seed}, with the
  contrastive loss of CLIP; the last loss was {loss:.2f}, the learned scale {scale:.1f}.
- SHA-256 of `open_clip_model.safetensors`: `{digest}`
- Made by `make embedded-model` ({hours:.1f} hours on two processor cores without AVX-512); the curve is
  below.

## What it was made of

Drawings: Noto emoji images, both editions (Apache-2.0), Fluent emoji in three versions (MIT), the Noto
Emoji font in two weights (OFL-1.1). Names and keywords: CLDR 48 (Unicode-3.0). Letters on signs: Aileron
(CC0), the font inside Pillow. Vocabulary: a part of CLIP's merges (MIT). OpenMoji (CC BY-SA 4.0) and
Twemoji (CC BY 4.0) were used to measure, never to train. The weights are under the package's own licence
(MIT).

## How well it does

Pictures drawn anew at 128 pixels with seeds of their own, in galleries of one picture of each concept;
text to picture except where a slice says otherwise. Grounds never trained are checkerboards, radial
gradients, bricks and waves. Charts and signs are pictures to label. OpenMoji was looked at while the
recipe was chosen, Twemoji once, at the end; its figure is the one to quote for a style never trained.

{table}

## How it got there

| step | loss | scale | pairs a second |
|---|---|---|---|
{curve}

## What it cannot do

- Photographs, faces, people, flags, anything not in `concepts.txt` or drawn in quite another way.
- Relations (left of, above), free paraphrase, any language but English; words on signs only barely.
- Lend or borrow thresholds: its matching cosines are far above those of CLIPs trained on photographs.

"""


def write_card(
    folder: Path,
    slices: Sequence[Slice],
    config: Mapping[str, Any],
    log: Sequence[Mapping[str, float]],
    names: Sequence[str],
) -> None:
    """Write `README.md`, `slices.json` and `concepts.txt` beside the weights in `folder`.

    Args:
        folder: Where the weights are.
        slices: What was measured.
        config: The run's `config.json`.
        log: Lines of the run's `log.jsonl`.
        names: The concepts.
    """
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, "np") as weights:
        parameters = sum(weights.get_tensor(name).size for name in weights.keys())  # noqa: SIM118  not a mapping
    last = log[-1]
    seconds = _seconds(log, config["batch_size"])
    every = max(1, len(log) // 12)
    curve = [*log[every - 1 :: every], *([] if len(log) % every == 0 else [last])]
    text = _CARD.format(
        concepts=len(names),
        vision=config["vision"],
        side=config["image_size"],
        context=config["context_length"],
        width=config["width"],
        parameters=parameters / 1e6,
        pairs=config["steps"] * config["batch_size"],
        steps=config["steps"],
        batch=config["batch_size"],
        seed=config["seed"],
        loss=last["loss"],
        scale=last["scale"],
        digest=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        hours=seconds / 3600,
        table=table(slices),
        curve="\n".join(
            f"| {r['step']} | {r['loss']:.2f} | {r['scale']:.1f} | {r['pairs_per_s']:.0f} |" for r in curve
        ),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    rows = [
        {"name": s.name, "r1": s.r1, "r5": s.r5, "queries": s.queries, "gallery": s.gallery} for s in slices
    ]
    (folder / "slices.json").write_text(json.dumps(rows, indent=1) + "\n")
    (folder / "concepts.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def _seconds(log: Sequence[Mapping[str, float]], batch_size: int) -> float:
    """Wall time of a run by its log."""
    steps = [0.0, *(line["step"] for line in log)]
    return sum(
        (after - before) * batch_size / line["pairs_per_s"]
        for (before, after), line in zip(pairwise(steps), log, strict=True)
    )


def draw_curve(log: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the loss of a run over its steps as a PNG."""
    figures = require("matplotlib.figure", extra="training")
    figure = figures.Figure(figsize=(6, 3.5))
    axes = figure.subplots()
    axes.plot([line["step"] for line in log], [line["loss"] for line in log])
    axes.set(xlabel="step", ylabel="contrastive loss", yscale="log")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120, bbox_inches="tight")


def measure(folder: Path, work: Path) -> str:
    """Evaluate the model in `folder`, write its card, and return the table.

    The style kept for the published figure is looked at here and nowhere else.
    """
    from langchain_mmrag.training.evaluate import evaluate

    slices = evaluate(folder, work, final=True)
    config = json.loads((work / "run/config.json").read_text())
    log = [json.loads(line) for line in (work / "run/log.jsonl").read_text().splitlines()]
    names = [concept.name for concept in sources.concepts(sources.fetch(work / "packages"))]
    write_card(folder, slices, config, log, names)
    draw_curve(log, work / "run/curve.png")
    return table(slices)
