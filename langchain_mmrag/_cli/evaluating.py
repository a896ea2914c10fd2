"""`mmrag eval` as it is called: its options, and where it gets models and collections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn

import typer

from langchain_mmrag._cli import console
from langchain_mmrag._cli.opening import (
    DEFAULT_COLLECTION,
    DEFAULT_FOLDER,
    DEFAULT_MODEL,
    ModelName,
    open_chat_model,
    open_collection,
)
from langchain_mmrag._cli.options import Checkpoint, Collection, Json, Model, Store, named_model
from langchain_mmrag.errors import MMRAGError

if TYPE_CHECKING:
    from langchain_mmrag.evaluation.dataset import RetrievalDataset

# written out here too: the modules that have them would make --help slow
_RANKS: Final = ("raw", "rrf", "centered", "calibrated")
_BY_DEFAULT: Final = "raw,calibrated"
_SEARCHES: Final = ("vector", "hybrid", "keyword", "text")
_PATTERNS: Final = ("clip", "caption", "multi-vector", "fused")
_WORDS: Final = "words"
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
        str | None,
        typer.Option(
            help=f"Ways to rank, separated by commas: {', '.join(_RANKS)}; by default {_BY_DEFAULT}."
        ),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            help=f"Ways to search, separated by commas: {', '.join(_SEARCHES)}; by default vector, of words "
            "also hybrid."
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            help="Patterns of RAG, separated by commas, in place of ways to rank and search: "
            f"{', '.join(_PATTERNS)}."
        ),
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option(help="With --pattern: chat model that answers, such as openai:MODEL or ollama:MODEL."),
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

    Scores are broken down by what is asked with and what is asked for. With --pattern the patterns of RAG
    are compared: what they find, what they send to a model, and with --llm how good its answers are. A log,
    and a dataset without documents, ask the collection in --store; everything else is stored in memory for
    the time.
    """
    _check_pattern(pattern, llm, has_ways_to_search=bool(compare or search or thresholds))
    ranks = _several("--compare", compare or _BY_DEFAULT, _RANKS)
    by_default: Any = ("vector", "hybrid") if source == _WORDS else (None,)  # vectors alone know no numbers
    searches = by_default if search is None else _several("--search", search, _SEARCHES)
    patterns = () if pattern is None else _several("--pattern", pattern, _PATTERNS)
    if plot is not None:
        _check_writable(plot)
    if "{}" not in template:
        _misused("--template", "the text needs {} where the label goes")
    named = named_model(model, checkpoint)
    from langchain_mmrag.demo.captions import captioned
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
        patterns=patterns,
        llm=None if llm is None else open_chat_model(llm),
    )

    def drawn_by(dataset: RetrievalDataset) -> tuple[RetrievalDataset, Any]:
        embedding = (named or ModelName(_EMBEDDED)).load()
        return (captioned(dataset, embedding) if patterns else dataset), embedding

    sources = Sources(
        embedding=(named or ModelName(DEFAULT_MODEL)).load,
        store=lambda: open_collection(store, collection, model=named),
        drawn={
            "demo": lambda folder: drawn_by(labelled_town(folder)),
            _WORDS: lambda folder: drawn_by(labelled_papers(folder, seed)),
        },
    )
    try:
        outcome = run_evaluation(source, settings, sources, console.progress)
    except Exception as error:
        if llm is None or isinstance(error, MMRAGError | OSError):
            raise
        # no key, no network, no such model: every provider has its own errors, without a common base
        msg = f"{llm} did not answer: {type(error).__name__}: {error}"
        raise MMRAGError(msg) from error
    if as_json:
        typer.echo(json.dumps(outcome.to_dict(), indent=2, ensure_ascii=False))
    else:
        typer.echo(console.plain(outcome.to_markdown()))
    if plot is not None:
        outcome.report.plot(plot)
        typer.echo(f"Drawing of the report: {plot}", err=True)


def _check_pattern(pattern: str | None, llm: str | None, *, has_ways_to_search: bool) -> None:
    if pattern is None and llm is not None:
        _misused("--llm", "a chat model answers in patterns of RAG: name some with --pattern")
    if pattern is not None and has_ways_to_search:
        _misused("--pattern", "patterns search in their ways: leave --compare, --search, --thresholds out")


def _several(parameter: str, given: str, known: tuple[str, ...]) -> Any:
    """Names separated by commas, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        _misused(
            parameter, f"{unknown[0]!r} is none of {', '.join(known)}" if unknown else "name at least one"
        )
    return names


def _check_writable(path: Path) -> None:
    """Before an hour is spent on what cannot be written."""
    if not path.parent.is_dir() or path.is_dir():
        _misused("--plot", f"{path} cannot be written: name a file in a folder that is there")


def _misused(parameter: str, message: str) -> NoReturn:
    raise typer.BadParameter(message, param_hint=parameter)
