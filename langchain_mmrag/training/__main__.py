"""`python -m langchain_mmrag.training`: make the embedded model from nothing but the registries."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from langchain_mmrag.training.config import TrainConfig

_TINY = Path(__file__).parents[1] / "embeddings" / "tiny"


def _report(line: dict[str, float]) -> None:
    typer.echo("  ".join(f"{name} {value:.5g}" for name, value in line.items()))


def main(  # noqa: PLR0917  one option each
    steps: Annotated[int, typer.Option(help="Steps of the whole run.")] = TrainConfig.steps,
    workers: Annotated[int, typer.Option(help="Processes that draw pictures.")] = TrainConfig.workers,
    threads: Annotated[int, typer.Option(help="Threads of the training itself.")] = TrainConfig.threads,
    seed: Annotated[int, typer.Option(help="Seed of weights and pictures.")] = TrainConfig.seed,
    work: Annotated[Path, typer.Option(help="Folder for sources and checkpoints.")] = Path("runs"),
    out: Annotated[Path, typer.Option(help="Folder that takes the model.")] = _TINY,
) -> None:
    """Fetch the drawings, train, write the model, measure it; run again to go on after an interruption."""
    from langchain_mmrag.training.card import measure
    from langchain_mmrag.training.embedded import build

    logging.basicConfig(format="%(message)s")
    logging.getLogger("langchain_mmrag").setLevel(logging.INFO)
    build(TrainConfig(steps=steps, workers=workers, threads=threads, seed=seed), work, out, report=_report)
    typer.echo(measure(out, work))


if __name__ == "__main__":
    typer.run(main)
