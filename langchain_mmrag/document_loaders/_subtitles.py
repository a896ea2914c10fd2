"""Subtitles beside a film or inside of it: what was said, with times, for nothing."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from langchain_mmrag.document_loaders._beside import beginning_with, stays_beside, suffixes_of
from langchain_mmrag.document_loaders._suffixes import FILM_SUFFIXES, SOUND_SUFFIXES
from langchain_mmrag.document_loaders.base import SourceFile
from langchain_mmrag.document_loaders.text import decode_text
from langchain_mmrag.document_loaders.transcription import Segment
from langchain_mmrag.errors import LoadError, UnsafeSourceError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy, read_media
from langchain_mmrag.media.containers import FILM_FORMATS, container_start, open_container

SUBTITLE_SUFFIXES: Final = (".srt", ".vtt")
_SHOWN_WITH: Final = FILM_SUFFIXES | SOUND_SUFFIXES | {".ts"}  # TypeScript has no subtitles
_TEXT_CODECS: Final = frozenset({"mov_text", "subrip", "srt", "webvtt", "ass", "ssa", "text"})
_LARGEST: Final = 2**22  # bytes; those of ten hours of film are a tenth of it
_LANGUAGE = re.compile(r"\.[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*(?:\.(?:sdh|cc|forced))?")
_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")
_TAG = re.compile(r"<[^<>\n]{0,200}>|\{\\[^{}\n]{0,200}\}")
_ASS_FIELDS: Final = 8  # before the text of a line of an ASS stream


def is_sidecar(path: str | os.PathLike[str], policy: MediaPolicy = DEFAULT_POLICY) -> bool:
    """Whether a file holds the subtitles of a film or recording beside it: it is read with that one."""
    path = Path(path)
    if path.suffix.lower() not in SUBTITLE_SUFFIXES or not stays_beside(path, policy):
        return False
    stem = path.stem
    stems = {stem} | {stem[: match.start()] for match in _LANGUAGE.finditer(stem) if match.end() == len(stem)}
    return any(suffix.lower() in _SHOWN_WITH for one in stems for suffix in suffixes_of(path.parent, one))


def sidecar_of(source: str, policy: MediaPolicy = DEFAULT_POLICY) -> Path | None:
    """The subtitles beside a film: of the same stem, else with a language (English first) after it."""
    film = Path(source)
    found = []
    for stem, suffix in beginning_with(film.parent, film.stem):
        language = stem.removeprefix(film.stem)
        belongs = suffix.lower() in SUBTITLE_SUFFIXES and (not language or _LANGUAGE.fullmatch(language))
        if belongs and stays_beside(film.with_name(stem + suffix), policy):
            found.append((bool(language), not language.lower().startswith(".en"), stem + suffix))
    return film.parent / min(found)[2] if found else None


def read_subtitles(path: Path, policy: MediaPolicy) -> list[Segment]:
    """The lines of an SRT or WebVTT file, in the order of time.

    Raises:
        LoadError: If it cannot be read.
    """
    data = read_media(path, policy)
    if len(data) > _LARGEST:
        msg = f"{path} has more than {_LARGEST} bytes, which no film's subtitles have"
        raise UnsafeSourceError(msg)
    return parse_subtitles(decode_text(data, str(path)))


def parse_subtitles(text: str) -> list[Segment]:
    """The cues of SRT or WebVTT; what is neither, notes and styles among it, is passed over."""
    cues: list[Segment] = []
    last: list[str] = []
    for block in re.split(r"\n[ \t]*\n", text):
        lines = block.strip("\n").split("\n")
        place = next((i for i, line in enumerate(lines[:2]) if _TIMES.match(line)), None)
        if place is None:
            continue
        start, end = _times(lines[place])
        said = [words for line in lines[place + 1 :] if (words := _plain(line))]
        # Captions that roll show the line before once more.
        new = said[1:] if last and said and said[0] == last[-1] else said
        last = said or last
        if new:
            cues.append(Segment(start, max(start, end), " ".join(new)))
    return sorted(cues, key=lambda cue: cue.start_s)


def _times(line: str) -> tuple[float, float]:
    found = _TIMES.match(line)
    groups = found.groups() if found else ()
    first, second = (
        int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(part.ljust(3, "0")) / 1000
        for hours, minutes, seconds, part in (groups[:4], groups[4:])
    )
    return first, second


def _plain(line: str) -> str:
    return " ".join(html.unescape(_TAG.sub("", line)).split())


def embedded_subtitles(file: SourceFile, formats: str = FILM_FORMATS) -> Iterator[Segment]:
    """Yield the lines of a film's first stream of subtitles in text, as it is read; none if it has none.

    Raises:
        LoadError: If the film cannot be read.
    """
    with file.open() as raw, open_container(raw, file.source, formats=formats) as container:
        stream = next((one for one in container.streams.subtitles if one.name in _TEXT_CODECS), None)
        if stream is None:
            return
        origin = container_start(container)
        for packet in container.demux(stream):
            if packet.pts is None or not packet.size:
                continue
            text = " ".join(filter(None, map(_line, packet.decode())))
            start = max(0.0, float(packet.pts * packet.time_base) - origin)
            if text:
                yield Segment(start, start + float((packet.duration or 0) * packet.time_base), text)


def _line(subtitle: Any) -> str:
    data = getattr(subtitle, "dialogue", b"") or getattr(subtitle, "text", b"") or b""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else str(data)
    return _plain(text.replace("\\N", " ").replace("\\n", " ").replace("\\h", " "))


def first_transcript(
    file: SourceFile, sidecar: Path | None, *, formats: str = FILM_FORMATS
) -> Iterator[Segment] | None:
    """What was said by the subtitles beside a film, else by those inside of it; `None` if there are none."""
    if sidecar is not None:
        try:
            beside = read_subtitles(sidecar, file.policy)
        except LoadError as error:
            file.problem(f"its subtitles cannot be read: {error}")
        else:
            if beside:
                return iter(beside)
            file.problem(f"{sidecar.name} beside it has no subtitles")
    inside = embedded_subtitles(file, formats)
    first = next(inside, None)
    return None if first is None else _again(first, inside)


def _again(first: Segment, rest: Iterator[Segment]) -> Iterator[Segment]:
    yield first
    yield from rest
