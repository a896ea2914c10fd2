"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langchain_mmrag._cli.opening import DEFAULT_MODEL, ModelName

Store = Annotated[Path, typer.Option("--store", help="Folder the collection lies in.")]
Collection = Annotated[str, typer.Option("--collection", help="Name of the collection.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help=f"OpenCLIP model, or mmrag-tiny for the embedded one. Default: what the collection was made "
        f"with, else {DEFAULT_MODEL}.",
    ),
]
Checkpoint = Annotated[str | None, typer.Option("--checkpoint", help="Tag or file of the model's weights.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def named_model(name: str | None, checkpoint: str | None) -> ModelName | None:
    """The model the options name, if they do.

    Raises:
        BadParameter: If there is a checkpoint without a model.
    """
    if name is None and checkpoint is not None:
        msg = "name the model too, with --model"
        raise typer.BadParameter(msg, param_hint="--checkpoint")
    return None if name is None else ModelName(name, checkpoint)
