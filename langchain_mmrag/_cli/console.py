"""What the command line prints: hits, reports and bars for people, plain rows for scripts."""

from __future__ import annotations

import logging
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from langchain_mmrag.types import CHUNK, CHUNK_START, SOURCE, image_source, modality_of

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from langchain_mmrag.captioning import CaptionReport
    from langchain_mmrag.citations import Citation
    from langchain_mmrag.indexing import IndexReport
    from langchain_mmrag.vectorstores import MultimodalChroma

KIND: Final = {"image": "picture", "text": "passage", "table": "table", "video": "video", "audio": "audio"}
_WIDTH: Final = 96
_PASSAGE_LINES: Final = 3
_COPIES: Final = "collapsed_ids"
_NAMED_COPIES: Final = 10
_SHOWN_FAILURES: Final = 20
_ANY_FILE: Final = "…"
_NAMED_FILES: Final = 3
_BAR_DELAY_S: Final = 1.0
_SMOOTHING: Final = 0.05  # files come in batches: the rate is a mean of many
_LINE_EVERY_S: Final = 30.0


class Bar:
    """A bar over files, with rate and time left; inside a long one the number of its documents moves.

    Where stderr is no terminal there is a line at the start and one every half a minute.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Any = None
        self._shown_at = 0.0
        self._began_at = 0.0
        self._is_terminal = True

    def __call__(self, done: int, total: int, source: str) -> None:
        """So many files are done, the last of them this one."""
        bar = self._opened(total)
        bar.set_postfix_str(_line(Path(source).name), refresh=False)
        bar.update(done - bar.n)
        now = time.monotonic()
        if not self._is_terminal and now - self._shown_at > _LINE_EVERY_S:
            self._shown_at = now
            typer.echo(f"{self._title}: {pace(done, total, now - self._began_at)}", err=True)

    def within(self, done: int, total: int, source: str, documents: int) -> None:
        """So many files are done, and so many documents of the next one."""
        bar, now = self._opened(total), time.monotonic()
        if done == bar.n and now - self._shown_at > _BAR_DELAY_S:
            self._shown_at = now
            bar.set_postfix_str(f"{_line(Path(source).name)}: {documents} documents")

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def _opened(self, total: int) -> Any:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                desc=self._title,
                unit=" files",
                delay=_BAR_DELAY_S,
                smoothing=_SMOOTHING,
                disable=None,
            )
            self._began_at = self._shown_at = time.monotonic()
            self._is_terminal = sys.stderr.isatty()
            if not self._is_terminal:  # where no bar is shown
                typer.echo(f"{self._title} {_counted(total, 'file')} ...", err=True)
        return self._bar


def pace(done: int, total: int, seconds: float) -> str:
    """How far something is, how fast it goes and how long it will take, in words."""
    told = f"{done} of {_counted(total, 'file')}"
    if not done or seconds <= 0:
        return told
    left = round((total - done) * seconds / done)
    return f"{told}, {done / seconds:.1f} files/s, {left // 60}:{left % 60:02} left"


def where_time_went(seconds: Mapping[str, float]) -> str:
    """The stages of an indexing run, which go on at the same time."""
    stages = ", ".join(f"{name} {seconds[name]:.1f} s" for name in seconds if name != "total")
    return f"In {seconds.get('total', 0.0):.1f} s, side by side: {stages}"


@contextmanager
def progress(title: str) -> Iterator[Bar]:
    """A bar on stderr for work that takes longer than a second, if stderr is a terminal."""
    with closing(Bar(title)) as bar:
        yield bar


@contextmanager
def reported() -> Iterator[None]:
    """While what goes wrong is gathered for a report: loaders and captioners do not log it besides."""
    loggers = [logging.getLogger(f"langchain_mmrag.{name}") for name in ("document_loaders", "captioning")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


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


def print_hit(rank: int, document: Document, score: float | None, copies: Sequence[Document] = ()) -> None:
    """One hit: rank, score, kind, place, the beginning of its text or the part that fits best.

    And where what counts as one hit with it stands: of `copies` that are given the places, else their number.
    """
    shown = "" if score is None else f"{score:6.2f}  "
    kind = KIND[modality_of(document.metadata)]
    typer.echo(f"{rank:2}  {shown}{kind:7}  {_place(document)}")
    indent = " " * (13 + len(shown))
    for line in textwrap.wrap(
        _passage(document), _WIDTH - len(indent), max_lines=_PASSAGE_LINES, placeholder=" …"
    ):
        typer.echo(indent + line)
    if count := len(document.metadata.get(_COPIES, ())):
        places = dict.fromkeys(map(_place, copies))
        told = f"+ {count} {'copy' if count == 1 else 'copies'}{': ' if places else ''}{', '.join(places)}"
        for line in textwrap.wrap(
            told,
            _WIDTH - len(indent),
            max_lines=_PASSAGE_LINES,
            placeholder=" …",
            break_long_words=False,
            break_on_hyphens=False,
        ):
            typer.echo(indent + line)


def copies_of(document: Document, store: MultimodalChroma) -> list[Document]:
    """The first documents that count as one hit with this one."""
    return store.get_by_ids([str(id_) for id_ in document.metadata.get(_COPIES, ())][:_NAMED_COPIES])


def _place(document: Document) -> str:
    from langchain_mmrag.citing import place_of

    return _line(f"{short(_source(document))} {place_of(document)}").strip()


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


def print_report(report: IndexReport, store: Path, *, pruned: bool = False) -> None:
    """What an indexing run did."""
    done = ", ".join(f"{getattr(report, name)} {name}" for name in ("added", "updated", "skipped", "deleted"))
    partly = f", {len({source for source, _ in report.partial})} read in part" if report.partial else ""
    written = _counted(report.documents, "document")
    typer.echo(f"{store}: {done}, {len(report.failed)} failed{partly} ({written} written)")
    if report.seconds.get("total", 0.0) >= _BAR_DELAY_S:
        typer.echo(where_time_went(report.seconds), err=True)
    if report.vanished:
        why = "nothing else in their folder can be read" if pruned else "--prune takes them out"
        gone = f"{_counted(report.vanished, 'file')} gone or passed over now"
        typer.echo(f"{gone}, with their documents still there: {why}")
    if report.ignored:
        kinds = ", ".join(
            f"{suffix or 'no suffix'} {count}" for suffix, count in sorted(report.ignored.items())
        )
        typer.echo(f"Passed over files of other kinds: {plain(kinds)}")
    for glob in report.unmatched:
        hint = "" if "/" in glob else f"; in every folder: **/{glob}"
        typer.echo(f"no file matches {_line(glob)}{hint}", err=True)
    print_failures(report.failed)
    print_failures(report.partial, "not all read")
    if not report.readable:
        typer.echo("mmrag: nothing could be read", err=True)


def print_captions(report: CaptionReport, failures: Sequence[tuple[str, str]]) -> None:
    """What became of the captions of an indexing run."""
    left = f", {report.left_out} left for another run" if report.left_out else ""
    typer.echo(
        f"Captions: {_counted(report.captioned, 'document')}, {report.sent} pictures asked about, "
        f"{report.cached} remembered, {report.failed} failed{left}"
    )
    if report.stopped:
        typer.echo(f"mmrag: no more captions were asked for: {_line(report.stopped)}", err=True)
    print_failures(failures, "no caption")


def print_classes(paths: Sequence[str], scores: Sequence[dict[str, float]]) -> None:
    """The likeliest label of each picture, with its probability."""
    best = [next(iter(row.items())) for row in scores]
    width = max((len(label) for label, _ in best), default=0)
    for path, (label, share) in zip(paths, best, strict=True):
        typer.echo(f"{label:<{width}}  {share:4.0%}  {_line(short(path))}")


def print_failures(failures: Sequence[tuple[str, str]], label: str = "not read") -> None:
    """Which files, and why, on stderr; those that have one reason in one line."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for source, reason in failures:
        groups.setdefault(reason.replace(source, _ANY_FILE), []).append((source, reason))
    for told, group in [*groups.items()][:_SHOWN_FAILURES]:
        source, reason = group[0]
        if len(group) == 1:
            where = "" if source in reason else f"{source}: "
            typer.echo(f"{label}: {_line(where + reason)}", err=True)
            continue
        names = ", ".join(Path(source).name for source, _ in group[:_NAMED_FILES])
        more = ", ..." if len(group) > _NAMED_FILES else ""
        typer.echo(f"{label}: {len(group)} files ({_line(names)}{more}): {_line(told)}", err=True)
    if len(groups) > _SHOWN_FAILURES:
        typer.echo(f"and {len(groups) - _SHOWN_FAILURES} more reasons (all of them with --json)", err=True)


def report_row(report: IndexReport) -> dict[str, Any]:
    """An indexing run as JSON has it."""
    return {
        "added": report.added,
        "updated": report.updated,
        "skipped": report.skipped,
        "deleted": report.deleted,
        "vanished": report.vanished,
        "documents": report.documents,
        "failed": [failure._asdict() for failure in report.failed],
        "partial": [failure._asdict() for failure in report.partial],
        "ignored": dict(report.ignored),
        "unmatched": list(report.unmatched),
        "seconds": {name: round(each, 3) for name, each in report.seconds.items()},
    }


def hit_rows(hits: Sequence[tuple[Document, float]]) -> list[dict[str, Any]]:
    """Hits as JSON has them."""
    from langchain_mmrag.citing import place_of

    return [
        {
            "rank": rank,
            "id": document.id,
            "score": score,
            "modality": modality_of(document.metadata),
            "source": _source(document),
            "place": place_of(document),
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


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _line(text: str) -> str:
    return plain(" ".join(text.split()))


def _source(document: Document) -> str:
    """The file or address that is cited; a picture without one lies where its pixels do."""
    metadata = document.metadata
    return str(metadata.get(SOURCE) or image_source(metadata) or document.id or "")
