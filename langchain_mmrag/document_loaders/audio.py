"""A recording becomes passages of what is said in it, with their times."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

from langchain_mmrag.document_loaders._film import mime_type
from langchain_mmrag.document_loaders._sound import ANY_SOUND, SoundReader, passages_of
from langchain_mmrag.document_loaders._subtitles import first_transcript, sidecar_of
from langchain_mmrag.document_loaders.base import FileLoader, Part, SourceFile, file_sha256
from langchain_mmrag.document_loaders.transcription import SAMPLE_RATE, Segment, Transcriber
from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsupportedFormatError
from langchain_mmrag.media import MediaPolicy, open_local
from langchain_mmrag.media.containers import container_seconds, open_container
from langchain_mmrag.media.sounds import SILENT
from langchain_mmrag.types import END_S, MIME_TYPE, START_S, TITLE

STRETCH_S: Final = 30.0
"""Length of the parts of a recording without words."""

_UNHEARD: Final = "no words were recognised"
_WORDLESS: Final = (
    "give a transcriber (transcriber=, or --transcribe pocketsphinx | whisper:MODEL), "
    "or put subtitles beside it (.srt, .vtt)"
)
_TAGS: Final = ("title", "artist", "album", "date", "genre")


class AudioLoader(FileLoader):
    """Load a recording: what is said in it, in passages of up to sixty words that end at pauses.

    The words are those of subtitles beside the file (`talk.srt` or `talk.en.vtt` of `talk.mp3`) or inside of
    it, else those that `transcriber` hears. Without either, each half minute that is not silent becomes a
    document without words, which a store that embeds sound finds by how it sounds; for one that does not it
    is told in `problems`.

    Documents have `start_s`, `end_s` and `duration_s` in seconds, `mime_type`, the file's `title`, `artist`
    and `album`, and `confidence` if the transcriber is sure of its words to some degree.

    Args:
        path: The recording; also a film, of which only the sound is read.
        transcriber: Recognises what is said.
        sound_search: Whether the store embeds sound, so that documents without words are no problem.
        media_policy: What may be opened.
        media_directory: Not used: no pictures are taken out of recordings.
    """

    name = "audio"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        transcriber: Transcriber | None = None,
        sound_search: bool = False,
        media_policy: MediaPolicy | None = None,
        media_directory: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(path, media_policy=media_policy, media_directory=media_directory)
        self.transcriber = transcriber
        self.sound_search = sound_search

    @cached_property
    def fingerprint(self) -> str:
        """With the transcriber's own, and the digest of the subtitles beside the file."""
        return with_words(self.name, self.source, self.media_policy, self.transcriber)

    def parts(self, file: SourceFile) -> Iterator[Part]:
        """Yield the passages.

        Raises:
            LoadError: If the file cannot be read, has no sound, or is silent.
        """
        yield from sound_parts(file, self.transcriber, sound_search=self.sound_search)


def with_words(name: str, source: str, policy: MediaPolicy, transcriber: Transcriber | None) -> str:
    """A loader's fingerprint with what the words of its documents depend on besides the file."""
    parts = [name]
    if transcriber is not None:
        parts.append(transcriber.fingerprint)
    sidecar = sidecar_of(source, policy)
    if sidecar is not None:
        try:
            with open_local(str(sidecar), policy) as file:
                parts.append(f"subtitles={file_sha256(file)[:16]}")
        except LoadError:  # told when they are read
            parts.append("subtitles")
    return ";".join(parts)


def sound_parts(
    file: SourceFile, transcriber: Transcriber | None, *, sound_search: bool = False
) -> Iterator[Part]:
    """Yield the documents of a recording; see `AudioLoader`."""
    facts = _facts(file)
    sound = SoundReader(file)
    said = first_transcript(file, sidecar_of(file.source, file.policy), formats=ANY_SOUND)
    if said is None and transcriber is not None:
        said = transcriber.transcribe(sound.pieces())
    some = False
    for number, passage in enumerate(passages_of(said or ())):
        some = True
        yield Part(
            text=passage.text,
            modality="audio",
            metadata={**facts, **times_of(passage)},
            key=f"words-{number}",
        )
    if some:
        return
    if said is not None and sound.seconds and sound.peak < SILENT:
        raise CorruptMediaError(_silent(file, sound))
    yield from _without_words(file, facts)
    if not sound_search:
        file.problem(f"its words cannot be searched: {_WORDLESS if transcriber is None else _UNHEARD}")


def times_of(segment: Segment) -> dict[str, float]:
    """Metadata of a segment: its times, and how sure its words are."""
    times = {START_S: round(segment.start_s, 3), END_S: round(segment.end_s, 3)}
    if segment.confidence is not None:
        times["confidence"] = round(segment.confidence, 3)
    return times


def _without_words(file: SourceFile, facts: dict[str, Any]) -> Iterator[Part]:
    """A part for each half minute that is not silent."""
    sound = SoundReader(file)
    start, peak, heard = 0.0, 0.0, 0
    for piece in sound.pieces():
        peak = max(peak, float(abs(piece).max(initial=0.0)))
        heard += len(piece)
        if heard >= STRETCH_S * SAMPLE_RATE:
            if peak >= SILENT:
                yield _stretch(facts, start, sound.seconds)
            start, peak, heard = sound.seconds, 0.0, 0
    if heard and peak >= SILENT:
        yield _stretch(facts, start, sound.seconds)
    if sound.peak < SILENT:
        raise CorruptMediaError(_silent(file, sound))


def _stretch(facts: dict[str, Any], start: float, end: float) -> Part:
    times = {START_S: round(start, 3), END_S: round(end, 3)}
    return Part(modality="audio", metadata={**facts, **times}, key=f"sound-{start:.0f}")


def _silent(file: SourceFile, sound: SoundReader) -> str:
    length = f"all of its {sound.seconds:.0f} s" if sound.seconds else "it has no samples"
    return f"{file.source} is silent ({length}): there is nothing to index"


def _facts(file: SourceFile) -> dict[str, Any]:
    """What the file says about itself.

    Raises:
        UnsupportedFormatError: If it has no sound.
    """
    with file.open() as raw, open_container(raw, file.source, formats=ANY_SOUND, extra="audio") as container:
        if not container.streams.audio:
            msg = f"{file.source} has no sound"
            raise UnsupportedFormatError(msg)
        facts: dict[str, Any] = {MIME_TYPE: mime_type(container, file.source, sound_only=True)}
        seconds = container_seconds(container)
        if seconds:
            facts["duration_s"] = round(seconds, 3)
        tags = {**container.streams.audio[0].metadata, **container.metadata}
        lower = {key.lower(): str(value).strip() for key, value in tags.items()}
        named = {TITLE if tag == "title" else tag: lower[tag] for tag in _TAGS if lower.get(tag)}
        return {**facts, **named}
