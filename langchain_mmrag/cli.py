"""The `mmrag` command. Whatever is heavy is imported by the command that needs it: `--help` stays quick."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from langchain_mmrag._cli import console
from langchain_mmrag._cli.asking import Asking, takes_asking
from langchain_mmrag._cli.evaluating import evaluate
from langchain_mmrag._cli.indexing import index
from langchain_mmrag._cli.opening import (
    DEFAULT_COLLECTION,
    DEFAULT_FOLDER,
    DEFAULT_MODEL,
    ModelName,
    open_chat_model,
    open_collection,
)
from langchain_mmrag._cli.options import Checkpoint, Collection, Json, Model, Store, named_model
from langchain_mmrag._cli.serving import serve_mcp
from langchain_mmrag.errors import LoadError, MMRAGError, ModelUnavailableError, UnknownModelError

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.runnables import Runnable

    from langchain_mmrag.indexing import Failed
    from langchain_mmrag.queries import Query

app = typer.Typer(
    name="mmrag",
    help="Ask a folder of documents and pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Classifier = Annotated[
    str,
    typer.Option("--model", help="OpenCLIP model, or mmrag-tiny for the embedded one."),
]
_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
_IN_PYTHON = "create_rag_chain(..., images=False)"
_ON_COMMAND_LINE = "mmrag ask --text-only"

Html = Annotated[Path | None, typer.Option("--html", help="Also write the hits as an HTML page.")]


def main() -> None:
    """Run the command; an expected error is one line on stderr and exit status 1, a warning one line.

    Threads of torch sleep while they wait (`OMP_WAIT_POLICY=PASSIVE`), and NumPy takes one
    (`OPENBLAS_NUM_THREADS=1`), as a question is too small to be shared out; what the environment says of
    these goes before.
    """
    for setting, value in _THREADS.items():  # read when torch and NumPy are imported, later
        os.environ.setdefault(setting, value)
    warnings.formatwarning = lambda message, *_place, **_line: f"{_one_line(message)}\n"
    try:
        app()
    except Exception as error:
        if not isinstance(error, _expected()):
            raise
        typer.echo(_one_line(error), err=True)
        if isinstance(error, ModelUnavailableError) and not isinstance(error, UnknownModelError):
            typer.echo("Here: --model mmrag-tiny, or --model local-dir:FOLDER.", err=True)
        sys.exit(1)


def _one_line(message: object) -> str:
    return console.plain("mmrag: " + " ".join(str(message).split()))


def _expected() -> tuple[type[Exception], ...]:
    """Errors that come from what the user has, not from a mistake in the program."""
    chroma = sys.modules.get("chromadb.errors")  # there if the command came as far as opening a store
    return (MMRAGError, OSError) if chroma is None else (MMRAGError, OSError, chroma.ChromaError)


@app.callback()
def _options() -> None:
    """Ask a folder of documents and pictures."""


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the pictures and notes go.")] = Path("mmrag_demo"),
) -> None:
    """Draw a small town's pictures, index them with its notes, and ask. Needs no network and no key."""
    from langchain_mmrag.demo.show import run_demo

    run_demo(folder)


app.command()(index)


@app.command()
@takes_asking
def search(
    text: Annotated[str | None, typer.Argument(help="What to look for.", show_default=False)] = None,
    *,
    asking: Asking,
    html: Html = None,
    store: Store = Path(DEFAULT_FOLDER),
    collection: Collection = DEFAULT_COLLECTION,
    model: Model = None,
    checkpoint: Checkpoint = None,
    as_json: Json = False,
) -> None:
    """Find pictures and passages by words, by a picture, or by both, and by what they should not be.

    The number of a hit says how far it stands out among hits of its kind.
    """
    _check_page(html)
    query = asking.query(text)
    opened = open_collection(store, collection, model=named_model(model, checkpoint))
    hits = opened.search_ranked(query, **asking.options())
    if as_json:
        _print_json({**asking.row(text), "hits": console.hit_rows(hits)})
    else:
        for rank, hit in enumerate(hits, start=1):
            console.print_hit(rank, *hit, console.copies_of(hit[0], opened))
        if not hits:
            typer.echo("Nothing was found.")
    _write_html(html, query, hits)


@app.command()
@takes_asking
def ask(
    question: Annotated[str | None, typer.Argument(help="The question.", show_default=False)] = None,
    *,
    asking: Asking,
    llm: Annotated[
        str | None, typer.Option(help="Chat model that answers: openai:MODEL, ollama:MODEL and so on.")
    ] = None,
    text_only: Annotated[
        bool, typer.Option("--text-only", help="Show the chat model captions, no pictures.")
    ] = False,
    html: Html = None,
    store: Store = Path(DEFAULT_FOLDER),
    collection: Collection = DEFAULT_COLLECTION,
    model: Model = None,
    checkpoint: Checkpoint = None,
    as_json: Json = False,
) -> None:
    """Answer a question from the collection, with citations. Without --llm the evidence is quoted."""
    from langchain_core.runnables import RunnableLambda

    from langchain_mmrag.chains import create_rag_chain

    if text_only and llm is None:
        _misused("--text-only", "it says what a chat model is shown: name one with --llm")
    _check_page(html)
    query = asking.query(question, argument="QUESTION")
    chat = None if llm is None else open_chat_model(llm)
    opened = open_collection(store, collection, model=named_model(model, checkpoint))
    hits = opened.search_ranked(query, **asking.options())  # here, as a chain does not tell the scores
    documents = [document for document, _ in hits]
    found = RunnableLambda[Any, list[Any]](lambda _query: documents)
    chain = create_rag_chain(
        found, chat, images=False if text_only else None, media_policy=opened.media_policy
    )
    result = _stream(chain, query, llm, quiet=as_json)
    told = {key: result[key] for key in ("answer", "citations", "removed_citations")}
    if as_json:
        _print_json({**asking.row(question, name="question"), **told, "hits": console.hit_rows(hits)})
    elif llm is not None and documents:
        if not told["answer"].strip():
            typer.echo(f"{llm} answered nothing.", err=True)
        console.print_citations(told["citations"], told["removed_citations"])
    _write_html(html, query, hits, answer=told["answer"])


@app.command()
def classify(
    images: Annotated[
        list[str], typer.Argument(help="Pictures, folders of them, or web addresses.", show_default=False)
    ],
    *,
    labels: Annotated[str, typer.Option(help="What they may show, separated by commas.")],
    template: Annotated[
        list[str] | None, typer.Option(help='Text with {} for the label, such as "a photo of a {}".')
    ] = None,
    model: Classifier = DEFAULT_MODEL,
    checkpoint: Checkpoint = None,
    as_json: Json = False,
) -> None:
    """Tell what pictures show, out of a few labels, without training."""
    from langchain_mmrag.zero_shot import ZeroShotClassifier

    names = list(dict.fromkeys(name.strip() for name in labels.split(",") if name.strip()))
    if len(names) < 2:  # noqa: PLR2004
        _misused("--labels", "give two labels or more, separated by commas")
    if any("{}" not in text for text in template or ()):
        _misused("--template", "the text needs {} where the label goes")
    embeddings = ModelName(model, checkpoint).load()
    classifier = (
        ZeroShotClassifier(embeddings, names, templates=template)
        if template
        else ZeroShotClassifier(embeddings, names)
    )
    paths, failed = _readable_pictures(images)
    scores = classifier.classify(paths) if paths else []
    if as_json:
        rows = [{"source": path, "scores": row} for path, row in zip(paths, scores, strict=True)]
        _print_json({"images": rows, "failed": [failure._asdict() for failure in failed]})
    else:
        console.print_classes(paths, scores)
        console.print_failures(failed)
    if not paths:
        raise typer.Exit(1)


app.command(name="eval")(evaluate)
app.command(name="serve-mcp")(serve_mcp)


def _stream(
    chain: Runnable[Any, dict[str, Any]], query: Query, llm: str | None, *, quiet: bool
) -> dict[str, Any]:
    """Run the chain, printing the answer as it comes unless `quiet`; returns what the chain gives."""
    result: dict[str, Any] = {"answer": ""}
    try:
        for part in chain.stream({"input": query}):
            result |= {**part, "answer": result["answer"] + part.get("answer", "")}
            if not quiet:
                typer.echo(console.plain(part.get("answer", "")), nl=False)
    except MMRAGError:
        raise
    except Exception as error:
        if llm is None:
            raise
        if result["answer"] and not quiet:
            typer.echo("")
        # no key, no network, no such model: every provider has its own errors, without a common base
        what = "broke off" if result["answer"] else "did not answer"
        notes = " ".join(getattr(error, "__notes__", ())).replace(_IN_PYTHON, _ON_COMMAND_LINE)
        told = f"{error}. {notes}" if notes else error
        msg = f"{llm} {what}: {type(error).__name__}: {told}"
        raise MMRAGError(msg) from error
    if not quiet:
        typer.echo("")
    return result


def _readable_pictures(named: Sequence[str]) -> tuple[list[str], list[Failed]]:
    """Pictures named or in the folders named, and those that cannot be read."""
    from langchain_mmrag.document_loaders._walk import LoadFailure, find_files
    from langchain_mmrag.indexing import Failed
    from langchain_mmrag.media import image_facts

    failures: list[LoadFailure] = []
    sources: list[str] = []
    for name in named:
        if Path(name).is_dir():
            found = find_files(Path(name), on_failure=failures.append)
            sources += [str(path) for path in found if _is_picture(path)]
        else:
            sources.append(name)
    readable: list[str] = []
    for source in dict.fromkeys(sources):
        try:
            image_facts(source)
        except LoadError as error:
            failures.append(LoadFailure(source, error))
        else:
            readable.append(source)
    return readable, [Failed(failure.source, str(failure.error)) for failure in failures]


def _is_picture(path: Path) -> bool:
    """Whether it is one, or goes by the name of one; what cannot be opened is told of where it is read."""
    from langchain_mmrag.document_loaders.kinds import kind_of

    try:
        kind = kind_of(path)
    except LoadError:
        return True
    return kind is not None and kind.modality == "image"


def _check_page(path: Path | None) -> None:
    """Find out that a page has no folder before time, or a chat model, is spent on it."""
    if path is not None and not path.absolute().parent.is_dir():
        msg = f"cannot write {path}: there is no folder {path.parent}"
        raise MMRAGError(msg)


def _write_html(
    path: Path | None,
    query: Query,
    hits: Sequence[tuple[Document, float]],
    *,
    answer: str = "",
) -> None:
    if path is None:
        return
    from langchain_mmrag.display import hits_html

    try:
        path.write_text(hits_html(query, hits, answer=answer), encoding="utf-8")
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}"
        raise MMRAGError(msg) from error
    typer.echo(f"Page of the hits: {path}", err=True)


def _print_json(row: dict[str, Any]) -> None:
    typer.echo(json.dumps(row, indent=2, ensure_ascii=False))


def _misused(parameter: str, message: str) -> NoReturn:
    raise typer.BadParameter(message, param_hint=parameter)
