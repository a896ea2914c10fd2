"""`mmrag eval` as it is called: its options, and where it gets models and collections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from langchain_mmrag import _console as console
from langchain_mmrag._opening import (
    DEFAULT_COLLECTION,
    DEFAULT_FOLDER,
    DEFAULT_MODEL,
    ModelName,
    open_collection,
)
from langchain_mmrag._options import Checkpoint, Collection, Json, Model, Store, named_model

# written out here too: the modules that have them would make --help slow
_RANKS: Final = ("raw", "rrf", "centered", "calibrated")
_SEARCHES: Final = ("vector", "hybrid", "keyword", "text")
_EMBEDDED: Final = "mmrag-tiny"


def evaluate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="demo; words (numbers and names beside pictures); a dataset or a log of answered questions "
            "(.jsonl); vectors [2, n, d] (.npy); a file of captions (COCO, Karpathy, Flickr30k) or its "
            "folder; a folder whose sub-folders are labels.",
            show_default=False,
        ),
    ],
    *,
    compare: Annotated[
        str, typer.Option(help=f"Ways to rank, separated by commas: {', '.join(_RANKS)}.")
    ] = "raw,calibrated",
    search: Annotated[
        str | None, typer.Option(help=f"Ways to search, separated by commas: {', '.join(_SEARCHES)}.")
    ] = None,
    protocol: Annotated[
        Literal["mixed", "text-to-image", "image-to-text"],
        typer.Option(help="For captions and vectors: what is stored, and what asks."),
    ] = "mixed",
    share: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Share of pictures in a mixed collection.")
    ] = 0.5,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="How many hits count.")] = 10,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many captioned pictures, or queries of other data.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn by chance.")] = 0,
    split: Annotated[str, typer.Option(help="Which split of a Karpathy file.")] = "test",
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures, if it is not found beside the captions.")
    ] = None,
    template: Annotated[
        str, typer.Option(help="Question for a label, with {} for its name.")
    ] = "a photo of a {}",
    thresholds: Annotated[
        bool, typer.Option("--thresholds", help="Also measure what relevance thresholds cost and save.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the report into a file, such as report.png.")
    ] = None,
    store: Store = Path(DEFAULT_FOLDER),
    collection: Collection = DEFAULT_COLLECTION,
    model: Model = None,
    checkpoint: Checkpoint = None,
    as_json: Json = False,
) -> None:
    """Measure how well questions find their answers among pictures and passages.

    Scores are broken down by what is asked with and what is asked for. A log, and a dataset without
    documents, ask the collection in --store; everything else is stored in memory for the time.
    """
    ranks = _several("--compare", compare, _RANKS)
    searches = (None,) if search is None else _several("--search", search, _SEARCHES)
    if "{}" not in template:
        _misused("--template", "the text needs {} where the label goes")
    named = named_model(model, checkpoint)
    from langchain_mmrag.demo.labelled import labelled_town
    from langchain_mmrag.demo.worded import labelled_papers
    from langchain_mmrag.evaluation.command import Settings, Sources, run_evaluation

    settings = Settings(
        ranks=ranks,
        searches=searches,
        protocol=protocol,
        share=share,
        k=k,
        limit=limit,
        seed=seed,
        split=split,
        images=images,
        template=template,
        thresholds=thresholds,
    )
    sources = Sources(
        embedding=(named or ModelName(DEFAULT_MODEL)).load,
        store=lambda: open_collection(store, collection, model=named),
        drawn={
            "demo": lambda folder: (labelled_town(folder), (named or ModelName(_EMBEDDED)).load()),
            "words": lambda folder: (labelled_papers(folder, seed), (named or ModelName(_EMBEDDED)).load()),
        },
    )
    outcome = run_evaluation(source, settings, sources, console.progress)
    if as_json:
        typer.echo(json.dumps(outcome.to_dict(), indent=2, ensure_ascii=False))
    else:
        typer.echo(console.plain(outcome.to_markdown()))
    if plot is not None:
        outcome.report.plot(plot)
        typer.echo(f"Drawing of the report: {plot}", err=True)


def _several(parameter: str, given: str, known: tuple[str, ...]) -> Any:
    """Names separated by commas, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        _misused(
            parameter, f"{unknown[0]!r} is none of {', '.join(known)}" if unknown else "name at least one"
        )
    return names


def _misused(parameter: str, message: str) -> None:
    raise typer.BadParameter(message, param_hint=parameter)
