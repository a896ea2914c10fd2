"""The sound of a film or recording as one stream of samples, and what is said as passages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from langchain_mmrag._extras import require
from langchain_mmrag.document_loaders._film import clock
from langchain_mmrag.document_loaders.base import SourceFile
from langchain_mmrag.document_loaders.transcription import SAMPLE_RATE, Segment, Sound
from langchain_mmrag.errors import CorruptMediaError, UnsupportedFormatError
from langchain_mmrag.media.containers import FILM_FORMATS, SOUND_FORMATS, container_start, open_container
from langchain_mmrag.media.sounds import Mono

ANY_SOUND: Final = f"{FILM_FORMATS},{SOUND_FORMATS}"
_LEAST_RATE: Final = 1000  # samples a second; below it a small file claims days of sound
_SMALLEST_GAP_S: Final = 0.2
_LONGEST_GAP_S: Final = 600.0  # a longer one is a clock that jumps
_FULL_PASSAGE: Final = 30  # words, from which on a pause ends a passage
_LONGEST_PASSAGE: Final = 60
_PAUSE_S: Final = 0.6
_LONG_PAUSE_S: Final = 2.0  # ends a passage of any length: a citation opens where something is said
_SENTENCE_ENDS: Final = (".", "!", "?", "…", "。", "！", "？")  # noqa: RUF001


class SoundReader:
    """Reads the first stream of sound of a file, on the clock of the file.

    Attributes:
        peak: The loudest sample that was read, 0 to 1.
        seconds: How much was read.
    """

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self.peak = 0.0
        self.seconds = 0.0
        self._damaged: list[float] = []

    def pieces(self) -> Iterator[Sound]:
        """Yield the sound from time 0 on, `SAMPLE_RATE` samples a second; what is missing is silence.

        Raises:
            LoadError: If it cannot be read, or has no sound.
        """
        file, name = self.file, self.file.source
        with file.open() as raw, open_container(raw, name, formats=ANY_SOUND, extra="audio") as container:
            if not container.streams.audio:
                msg = f"{name} has no sound"
                raise UnsupportedFormatError(msg)
            if (rate := container.streams.audio[0].rate or 0) < _LEAST_RATE:
                msg = f"{name} claims {rate} samples a second: no sound is recorded like that"
                raise CorruptMediaError(msg)
            for piece in self._resampled(container):
                self.peak = max(self.peak, float(np.abs(piece).max(initial=0.0)))
                self.seconds += len(piece) / SAMPLE_RATE
                yield piece
        if self._damaged:
            count = len(self._damaged)
            file.problem(f"the sound is damaged at {clock(self._damaged[0])} ({count} places): passed over")

    def _resampled(self, container: Any) -> Iterator[Sound]:
        origin = container_start(container)
        mono = Mono(SAMPLE_RATE)
        for frame in self._frames(container):
            if frame.time is not None:
                yield from _silence(frame.time - origin - self.seconds)
            yield from mono.take(frame)
        yield from mono.rest()

    def _frames(self, container: Any) -> Iterator[Any]:
        av = require("av", extra="audio")
        stream = container.streams.audio[0]
        try:
            for packet in container.demux(stream):
                try:
                    yield from packet.decode()
                except av.error.FFmpegError:
                    self._damaged.append(self.seconds)
        except av.error.FFmpegError:
            self._damaged.append(self.seconds)


def _silence(seconds: float) -> Iterator[Sound]:
    if _SMALLEST_GAP_S < seconds < _LONGEST_GAP_S:
        for _ in range(int(seconds * 10)):
            yield np.zeros(SAMPLE_RATE // 10, np.float32)


class Passages:
    """Joins segments to passages of up to some thirty to sixty words, and ends them at pauses."""

    def __init__(self) -> None:
        self._held: list[Segment] = []

    def add(self, segment: Segment) -> Iterator[Segment]:
        """Take the next segment; yield the passages that it ends."""
        for part in _halved(segment):
            if self._held and self._ends_before(part):
                yield from self.rest()
            self._held.append(part)

    def rest(self) -> Iterator[Segment]:
        """Yield the last passage."""
        if self._held:
            held, self._held = self._held, []
            yield _joined(held)

    def _ends_before(self, new: Segment) -> bool:
        words = sum(_count(one) for one in self._held)
        last = self._held[-1]
        pause = new.start_s - last.end_s
        full = words >= _FULL_PASSAGE and (pause >= _PAUSE_S or last.text.endswith(_SENTENCE_ENDS))
        return full or words + _count(new) > _LONGEST_PASSAGE or pause >= _LONG_PAUSE_S


def passages_of(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Segments as passages; see `Passages`."""
    passages = Passages()
    for segment in segments:
        yield from passages.add(segment)
    yield from passages.rest()


def _count(segment: Segment) -> int:
    return len(segment.text.split())


def _joined(held: list[Segment]) -> Segment:
    sure = [(one.confidence, _count(one)) for one in held if one.confidence is not None]
    total = sum(count for _, count in sure)
    confidence = sum(value * count for value, count in sure) / total if total else None
    end = max(one.end_s for one in held)
    return Segment(held[0].start_s, end, " ".join(one.text for one in held), confidence)


def _halved(segment: Segment) -> list[Segment]:
    """One that is too long for a passage in halves, its words taken to be evenly spoken."""
    words = segment.text.split()
    if len(words) <= _LONGEST_PASSAGE:
        return [segment]
    half = len(words) // 2
    middle = segment.start_s + (segment.end_s - segment.start_s) * half / len(words)
    first = Segment(segment.start_s, middle, " ".join(words[:half]), segment.confidence)
    second = Segment(middle, segment.end_s, " ".join(words[half:]), segment.confidence)
    return [*_halved(first), *_halved(second)]
