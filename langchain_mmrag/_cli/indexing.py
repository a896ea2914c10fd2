"""`mmrag index`: bring a collection up to date with files and folders."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from langchain_mmrag._cli import console
from langchain_mmrag._cli.opening import (
    DEFAULT_COLLECTION,
    DEFAULT_FOLDER,
    make_ready_to_search,
    open_collection,
    remember_model,
)
from langchain_mmrag._cli.options import Checkpoint, Collection, Json, Model, Store, named_model
from langchain_mmrag.errors import LoadError, MMRAGError, StoreError

if TYPE_CHECKING:
    from langchain_mmrag.captioning import CaptionTransformer, ImageCaptioner
    from langchain_mmrag.document_loaders.transcription import Transcriber

Paths = Annotated[list[Path], typer.Argument(help="Files and folders.", show_default=False)]
Globs = Annotated[
    list[str] | None,
    typer.Option("--glob", help="Only files of folders like this, such as **/*.{pdf,md}. Repeatable."),
]
Excluded = Annotated[
    list[str] | None, typer.Option("--exclude", help="Not these, as in a .gitignore. Repeatable.")
]
NoIgnore = Annotated[bool, typer.Option("--no-ignore", help="Pay no heed to .gitignore and .mmragignore.")]
Prune = Annotated[bool, typer.Option("--prune", help="Take out files that are gone from a folder.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if any file could not be read whole.")]
Ocr = Annotated[
    Literal["auto", "on", "off", "tesseract"],
    typer.Option("--ocr", help="Read the writing in pictures and scans; auto: if it is installed."),
]
Transcribe = Annotated[
    str | None,
    typer.Option("--transcribe", metavar="NAME", help="Write down speech: pocketsphinx or whisper:MODEL."),
]
Caption = Annotated[
    str | None,
    typer.Option("--caption", metavar="MODEL", help="Describe pictures: PROVIDER:MODEL, blip or coca."),
]
CaptionMax = Annotated[
    int | None, typer.Option("--caption-max", min=0, help="Ask for no more captions than this.")
]
PageImages = Annotated[bool, typer.Option("--page-images", help="Keep each PDF page as a picture too.")]


@contextmanager
def _stoppable() -> Iterator[None]:
    """Say what Ctrl-C leaves, whenever it comes.

    Raises:
        Exit: With the status that shells give a command that was stopped.
    """
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("mmrag: stopped; what is indexed stays, and the same command goes on from here", err=True)
        raise typer.Exit(130) from None


@_stoppable()
def index(
    paths: Paths,
    *,
    store: Store = Path(DEFAULT_FOLDER),
    collection: Collection = DEFAULT_COLLECTION,
    model: Model = None,
    checkpoint: Checkpoint = None,
    glob: Globs = None,
    exclude: Excluded = None,
    no_ignore: NoIgnore = False,
    prune: Prune = False,
    ocr: Ocr = "auto",
    page_images: PageImages = False,
    transcribe: Transcribe = None,
    caption: Caption = None,
    caption_max: CaptionMax = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Index files and folders. What is unchanged since the last time is skipped.

    Documents, web pages, tables, pictures, recordings and films; what a file is, its content says. The exit
    status is 1 if nothing could be read.
    """
    from langchain_mmrag.document_loaders.kinds import LoaderOptions
    from langchain_mmrag.indexing import index_paths

    # before a model is fetched for nothing; `Path.exists` would raise for what is out of reach
    if not any(os.path.exists(path) for path in paths):  # noqa: PTH110
        msg = f"there is no file or folder {paths[0]}"
        raise LoadError(msg)
    if caption_max is not None and caption is None:
        msg = "it says how many: name what describes them with --caption"
        raise typer.BadParameter(msg, param_hint="--caption-max")
    transcriber, captioner = _transcriber(transcribe), _captioner(caption)
    with _writing(store):
        opened = open_collection(store, collection, model=named_model(model, checkpoint), create=True)
    captions = _captions(captioner, caption_max, opened)
    options = LoaderOptions(
        media_policy=opened.media_policy,
        ocr=ocr,
        transcriber=transcriber,
        page_images=page_images or None,
    )
    try:
        with _writing(store), console.reported(), console.progress("Indexing") as bar:
            report = index_paths(
                opened,
                paths,
                options=options,
                transformers=[] if captions is None else [captions],
                prune=prune,
                glob=glob or "**/*",
                exclude=exclude or (),
                ignore_files=not no_ignore,
                on_progress=bar,
                on_document=bar.within,
            )
    finally:
        remember_model(opened)
    make_ready_to_search(opened)
    if as_json:
        row = console.report_row(report) | ({} if captions is None else {"captions": _captions_row(captions)})
        typer.echo(json.dumps(row, indent=2, ensure_ascii=False))
    else:
        console.print_report(report, store, pruned=prune)
        if captions is not None:
            console.print_captions(captions.report, captions.failures)
    if not report.readable or (strict and (report.failed or report.partial)):
        raise typer.Exit(1)


@contextmanager
def _writing(store: Path) -> Iterator[None]:
    """Say what is most likely the matter when the database cannot write.

    Raises:
        StoreError: In place of Chroma's errors that name the disk.
    """
    from chromadb.errors import ChromaError

    try:
        yield
    except ChromaError as error:
        if "disk" not in str(error):
            raise
        msg = f"cannot write to the store {store}: is the disk full? ({error})"
        raise StoreError(msg) from error


def _transcriber(name: str | None) -> Transcriber | None:
    """The transcriber that `--transcribe` names."""
    if name is None:
        return None
    from langchain_mmrag.document_loaders.transcription import transcriber_named

    try:
        return transcriber_named(name)
    except MMRAGError as error:
        raise typer.BadParameter(str(error), param_hint="--transcribe") from error


def _captioner(name: str | None) -> ImageCaptioner | None:
    if name is None:
        return None
    from langchain_mmrag.captioning import captioner_named

    return captioner_named(name, option="--caption")


def _captions(
    captioner: ImageCaptioner | None, max_images: int | None, store: Any
) -> CaptionTransformer | None:
    if captioner is None:
        return None
    from langchain_mmrag.captioning import CaptionTransformer

    return CaptionTransformer(captioner, max_images=max_images, media_policy=store.media_policy)


def _captions_row(captions: CaptionTransformer) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(captions.report) | {"failures": [failure._asdict() for failure in captions.failures]}
