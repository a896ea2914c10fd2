"""What the command line prints: hits, reports and bars for people, plain rows for scripts."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from langchain_mmrag.types import CHUNK, CHUNK_START, SOURCE, image_source, modality_of

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from langchain_mmrag.citations import Citation
    from langchain_mmrag.indexing import IndexReport

KIND: Final = {"image": "picture", "text": "passage", "table": "table", "video": "video", "audio": "audio"}
_WIDTH: Final = 96
_PASSAGE_LINES: Final = 3
_COPIES: Final = "collapsed_ids"
_SHOWN_FAILURES: Final = 20
_BAR_DELAY_S: Final = 1.0


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr for work that takes longer than a second, if stderr is a terminal."""
    from tqdm import tqdm

    bars: list[Any] = []

    def step(done: int, total: int, source: str) -> None:
        if not bars:
            bars.append(tqdm(total=total, desc=title, unit=" files", delay=_BAR_DELAY_S, disable=None))
        bars[0].set_postfix_str(Path(source).name, refresh=False)
        bars[0].update(done - bars[0].n)

    try:
        yield step
    finally:
        for bar in bars:
            bar.close()


def plain(text: str) -> str:
    """Text without control characters but line ends and tabs: what is in a file must not steer a terminal."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def short(path: str) -> str:
    """A path from here if it lies below the current folder, else as it is."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def print_hit(rank: int, document: Document, score: float | None) -> None:
    """One hit: rank, score, kind, place, the beginning of its text or the part that fits best, and copies."""
    shown = "" if score is None else f"{score:6.2f}  "
    kind = KIND[modality_of(document.metadata)]
    typer.echo(f"{rank:2}  {shown}{kind:7}  {_line(short(_place(document)))}")
    indent = " " * (13 + len(shown))
    for line in textwrap.wrap(
        _passage(document), _WIDTH - len(indent), max_lines=_PASSAGE_LINES, placeholder=" …"
    ):
        typer.echo(indent + line)
    if copies := document.metadata.get(_COPIES):
        told = f"+ {len(copies)} {'copy' if len(copies) == 1 else 'copies'}: {', '.join(map(str, copies))}"
        typer.echo(indent + textwrap.shorten(_line(told), _WIDTH - len(indent), placeholder=" …"))


def print_citations(citations: Sequence[Citation], removed: Sequence[str]) -> None:
    """The places an answer's `[n]` point at, each once, with a link where there is one."""
    numbers: dict[tuple[str, str | None], list[str]] = {}
    for citation in citations:
        numbers.setdefault((citation["source"], citation["link"]), []).append(f"[{citation['number']}]")
    typer.echo("\nSources:" if numbers else "\nThe answer cites no source.")
    for (source, link), found in numbers.items():
        typer.echo(_line(" ".join([*found, source]) + (f"  {link}" if link and link != source else "")))
    if removed:
        typer.echo(f"Taken out of the answer, as nothing has these numbers: {', '.join(removed)}", err=True)


def print_report(report: IndexReport, store: Path) -> None:
    """What an indexing run did."""
    done = ", ".join(f"{getattr(report, name)} {name}" for name in ("added", "updated", "skipped", "deleted"))
    typer.echo(f"{store}: {done}, {len(report.failed)} failed")
    if report.ignored:
        kinds = ", ".join(
            f"{suffix or 'no suffix'} {count}" for suffix, count in sorted(report.ignored.items())
        )
        typer.echo(f"Passed over files of other kinds: {kinds}")
    print_failures([reason for _, reason in report.failed])
    if not report.readable:
        typer.echo("mmrag: nothing could be read", err=True)


def print_classes(paths: Sequence[str], scores: Sequence[dict[str, float]]) -> None:
    """The likeliest label of each picture, with its probability."""
    best = [next(iter(row.items())) for row in scores]
    width = max((len(label) for label, _ in best), default=0)
    for path, (label, share) in zip(paths, best, strict=True):
        typer.echo(f"{label:<{width}}  {share:4.0%}  {_line(short(path))}")


def print_failures(reasons: Sequence[str]) -> None:
    """Why files could not be read, on stderr."""
    for reason in reasons[:_SHOWN_FAILURES]:
        typer.echo(f"not read: {_line(reason)}", err=True)
    if len(reasons) > _SHOWN_FAILURES:
        typer.echo(f"and {len(reasons) - _SHOWN_FAILURES} more (all of them with --json)", err=True)


def report_row(report: IndexReport) -> dict[str, Any]:
    """An indexing run as JSON has it."""
    return {
        "added": report.added,
        "updated": report.updated,
        "skipped": report.skipped,
        "deleted": report.deleted,
        "failed": [failure._asdict() for failure in report.failed],
        "ignored": dict(report.ignored),
    }


def hit_rows(hits: Sequence[tuple[Document, float]]) -> list[dict[str, Any]]:
    """Hits as JSON has them."""
    return [
        {
            "rank": rank,
            "id": document.id,
            "score": score,
            "modality": modality_of(document.metadata),
            "source": _place(document),
            "text": document.page_content,
            "metadata": document.metadata,
        }
        for rank, (document, score) in enumerate(hits, start=1)
    ]


def _passage(document: Document) -> str:
    metadata = document.metadata
    chunk = metadata.get(CHUNK)
    if (
        isinstance(chunk, str) and chunk
    ):  # the part of a long text that was found; a number says which passage
        return f"{'… ' if metadata.get(CHUNK_START) else ''}{_line(chunk)}"
    text = _line(document.page_content)
    heading = _line(str(metadata.get("heading", "")))
    if heading and text.startswith(f"{heading} "):
        text = f"{heading}: {text.removeprefix(heading).strip()}"
    return text


def _line(text: str) -> str:
    return plain(" ".join(text.split()))


def _place(document: Document) -> str:
    metadata = document.metadata
    is_picture = modality_of(metadata) == "image"
    return str((image_source(metadata) if is_picture else metadata.get(SOURCE)) or document.id or "")
