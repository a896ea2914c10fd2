"""A film becomes moments with a picture each, passages of what is said, and one document of the whole."""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from io import BytesIO
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Final, Literal

from PIL import Image

from langchain_mmrag.document_loaders._film import (
    FilmReader,
    clock,
    key_spacing,
    mime_type,
    picture_stream,
    title_of,
)
from langchain_mmrag.document_loaders._scenes import (
    Moment,
    Sample,
    SceneCuts,
    Seen,
    moments,
    split,
    spread,
)
from langchain_mmrag.document_loaders._sound import Passages, SoundReader
from langchain_mmrag.document_loaders._subtitles import first_transcript, sidecar_of
from langchain_mmrag.document_loaders.audio import sound_parts, times_of, with_words
from langchain_mmrag.document_loaders.base import FileLoader, Part, SourceFile
from langchain_mmrag.document_loaders.transcription import Segment, Transcriber
from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsupportedFormatError
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.media.containers import open_container
from langchain_mmrag.types import END_S, HEIGHT, MIME_TYPE, PATH, START_S, THUMBNAIL, TITLE, WIDTH

if TYPE_CHECKING:
    from langchain_mmrag.embeddings.base import MultimodalEmbeddings

Sampling = Literal["scene", "keyframe", "uniform"]

MOST_MOMENTS: Final = 5000
THUMBNAILS: Final = 8
"""Pictures that stand for a whole film."""

_STEP_S: Final = 0.5  # between the pictures that are compared to find scenes
_DENSE_KEYS_S: Final = 1.05  # key frames this close are enough to find scenes by
_BATCH: Final = 16
_MEANWHILE_S: Final = 1.0
_DEFAULTS: Final = {
    "sampling": "scene",
    "every_s": 5.0,
    "min_moment_s": 2.0,
    "max_moment_s": 12.0,
    "max_moments": MOST_MOMENTS,
    "collapse_s": 60.0,
    "thumbnail_side": 768,
}


class VideoLoader(FileLoader):
    """Load a film as moments with pictures, passages of what is said, and one document of the whole.

    A moment has `start_s`, `end_s`, a `thumbnail` beside it and, as text, the words spoken meanwhile. Moments
    that look like the one before are joined to it. Passages of what is said, of up to some sixty words and
    without a pause of two seconds, are documents of their own. The last document is the whole film, whose
    `thumbnail`s are spread over it.
    All of them have the film's `duration_s`, `width`, `height` (upright), `mime_type` and `title`.

    Words are those of subtitles beside the film (`clip.srt`, `clip.en.vtt`) or inside of it, else those that
    `transcriber` hears. A film without words is no problem, as its pictures are found all the same; a
    recording without words is one, see `AudioLoader`. A film of any length is read as a stream.

    Args:
        path: The film.
        sampling: `scene`: a moment lasts until the picture changes; `keyframe`: from a key frame to the next,
            the cheapest way; `uniform`: each lasts `every_s`.
        every_s: Seconds of a moment with `uniform`.
        min_moment_s: No moment but the last is shorter.
        max_moment_s: A longer scene becomes several moments.
        max_moments: Where reading stops; it is told in `problems`.
        collapse_s: Moments and passages within a stretch of so many seconds count as one in results.
        transcriber: Recognises what is said.
        embedding: Tells scenes apart by the distance of its vectors, not of colours; slower.
        thumbnail_side: Longer side of the pictures, in pixels.
        sound_search: Whether the store embeds sound, so that a film without pictures is no problem without
            words either.
        media_policy: What may be opened.
        media_directory: Where the pictures go; see `FileLoader`.

    Raises:
        ValueError: If a number or `sampling` is none of those that make sense.
    """

    name = "video"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sampling: Sampling = "scene",
        every_s: float = 5.0,
        min_moment_s: float = 2.0,
        max_moment_s: float = 12.0,
        max_moments: int = MOST_MOMENTS,
        collapse_s: float = 60.0,
        transcriber: Transcriber | None = None,
        embedding: MultimodalEmbeddings | None = None,
        thumbnail_side: int = 768,
        sound_search: bool = False,
        media_policy: MediaPolicy | None = None,
        media_directory: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(path, media_policy=media_policy, media_directory=media_directory)
        self.sampling = sampling
        self.every_s = every_s
        self.min_moment_s = min_moment_s
        self.max_moment_s = max_moment_s
        self.max_moments = max_moments
        self.collapse_s = collapse_s
        self.transcriber = transcriber
        self.embedding = embedding
        self.thumbnail_side = thumbnail_side
        self.sound_search = sound_search
        self._check()

    def _check(self) -> None:
        if self.sampling not in ("scene", "keyframe", "uniform"):
            msg = f"sampling must be 'scene', 'keyframe' or 'uniform', not {self.sampling!r}"
            raise ValueError(msg)
        for name in _DEFAULTS.keys() - {"sampling"}:
            value = getattr(self, name)
            if not 0 < value < math.inf:
                msg = f"{name} must be above 0 and finite, not {value!r}"
                raise ValueError(msg)
        if self.min_moment_s > self.max_moment_s:
            msg = f"min_moment_s ({self.min_moment_s:g}) is more than max_moment_s ({self.max_moment_s:g})"
            raise ValueError(msg)

    @cached_property
    def fingerprint(self) -> str:
        """With the options that were given, the transcriber, and the subtitles beside the film."""
        options = {key: getattr(self, key) for key in _DEFAULTS}
        given = [f"{key}={value}" for key, value in options.items() if value != _DEFAULTS[key]]
        if self.embedding is not None:
            given.append(f"embedding={self.embedding.fingerprint}")
        return with_words(";".join([self.name, *given]), self.source, self.media_policy, self.transcriber)

    def parts(self, file: SourceFile) -> Iterator[Part]:
        """Yield moments and passages in the order of time, and the whole film at the end.

        Raises:
            LoadError: If the film cannot be read, or has neither pictures nor words.
        """
        with file.open() as raw, open_container(raw, file.source) as container:
            if picture_stream(container) is None:
                yield from self._sound_only(file, container)
                return
            reader = FilmReader(
                file,
                container,
                step_s=self._step(),
                longest_side=self.thumbnail_side,
                keys_only=self._keys_suffice(file),
            )
            yield from self._film(file, reader)

    def _sound_only(self, file: SourceFile, container: Any) -> Iterator[Part]:
        said = (
            self.transcriber
            or self.sound_search
            or sidecar_of(self.source, self.media_policy)
            or container.streams.subtitles
        )
        if not container.streams.audio or not said:
            has = "sound but no pictures" if container.streams.audio else "neither pictures nor sound"
            msg = f"{self.source} has {has}: give a transcriber to have its words searched"
            raise UnsupportedFormatError(msg)
        yield from sound_parts(file, self.transcriber, sound_search=self.sound_search)

    def _step(self) -> float:
        return {"scene": _STEP_S, "uniform": self.every_s / 3, "keyframe": self.min_moment_s}[self.sampling]

    def _keys_suffice(self, file: SourceFile) -> bool:
        if self.sampling == "keyframe":
            return True
        return key_spacing(file) <= (_DENSE_KEYS_S if self.sampling == "scene" else self.every_s / 2)

    def _film(self, file: SourceFile, reader: FilmReader) -> Iterator[Part]:
        facts: dict[str, Any] = {}
        shown: list[str] = []
        words = _Words(self._transcript(file))
        timed = self._timed(file, reader, words, facts, shown)
        yield from _with_parents(timed, self.collapse_s)
        if not shown:
            msg = f"{self.source} has no picture that can be decoded"
            raise CorruptMediaError(msg)
        end = round(max(reader.progress.seconds, 0.0), 3)
        whole = {START_S: 0.0, END_S: end, THUMBNAIL: spread(shown, THUMBNAILS), **facts, "duration_s": end}
        yield Part(text=str(facts.get(TITLE, "")), modality="video", metadata=whole, key="clip")

    def _timed(
        self, file: SourceFile, reader: FilmReader, words: _Words, facts: dict[str, Any], shown: list[str]
    ) -> Iterator[Part]:
        """Moments, and passages when they are complete; notes what the film is and its pictures."""
        numbers = count()
        for number, moment in enumerate(self._moments(reader)):
            if number >= self.max_moments:
                at = clock(moment.start_s)
                file.problem(f"only its first {number} moments, up to {at}, are kept: raise max_moments")
                yield from _passage_parts(words.begun(), facts, numbers)
                return
            if not facts:
                facts.update(_facts(reader))
            if not (moment.repeats and shown):
                shown.append(_kept(file, moment, f"moment-{number}"))
            said = words.during(moment.start_s, moment.end_s)
            times = {START_S: round(moment.start_s, 3), END_S: round(moment.end_s, 3), THUMBNAIL: shown[-1]}
            yield Part(text=said, modality="video", metadata={**times, **facts}, key=f"moment-{number}")
            yield from _passage_parts(words.complete(), facts, numbers)
        yield from _passage_parts(words.rest(), facts, numbers)

    def _moments(self, reader: FilmReader) -> Iterator[Moment]:
        samples: Iterable[Sample] = reader.samples()
        if self.embedding is not None and self.sampling == "scene":
            samples = _embedded(samples, self.embedding)
        if self.sampling == "scene":
            stretches = split(samples, SceneCuts(), shortest_s=self.min_moment_s, longest_s=self.max_moment_s)
        elif self.sampling == "uniform":
            cut = split(samples, self._next_interval, shortest_s=0.0, longest_s=math.inf)
            stretches = ((start // self.every_s * self.every_s, scene) for start, scene in cut)
        else:
            stretches = split(samples, _always, shortest_s=self.min_moment_s, longest_s=math.inf)
        return moments(stretches, lambda: reader.progress.seconds, longest_s=self.collapse_s)

    def _next_interval(self, scene: list[Seen], new: Seen, _after: Seen | None) -> bool:
        return new[0].time_s // self.every_s > scene[0][0].time_s // self.every_s

    def _transcript(self, file: SourceFile) -> Iterator[Segment]:
        """What is said, from where it costs least; what is broken of it costs nothing else."""
        try:
            said = first_transcript(file, sidecar_of(self.source, self.media_policy))
            if said is None and self.transcriber is not None and _has_sound(file):
                said = self.transcriber.transcribe(SoundReader(file).pieces())
            yield from said or ()
        except LoadError as error:
            file.problem(f"what is said cannot be read: {error}")


class _Words:
    """What is said, pulled as far as the pictures have come."""

    def __init__(self, segments: Iterator[Segment]) -> None:
        self._segments = segments
        self._next = next(segments, None)
        self._late: list[Segment] = []  # those that may last into the next moment
        self._passages = Passages()
        self._complete: list[Segment] = []

    def during(self, start_s: float, end_s: float) -> str:
        """The words between two times; asked for in the order of time."""
        while self._next is not None and self._next.start_s < end_s:
            self._late.append(self._next)
            self._take()
        self._late = [one for one in self._late if one.end_s > start_s or one.start_s >= start_s]
        return " ".join(one.text for one in self._late if _meanwhile(one, start_s, end_s))

    def complete(self) -> list[Segment]:
        """The passages that have ended since this was asked last."""
        complete, self._complete = self._complete, []
        return complete

    def rest(self) -> Iterator[Segment]:
        """All passages that are left, those after the last picture too."""
        while self._next is not None:
            self._take()
            yield from self.complete()
        yield from self.begun()

    def begun(self) -> Iterator[Segment]:
        """The passage that goes on; it ends with what was asked for so far."""
        yield from self._passages.rest()

    def _take(self) -> None:
        if self._next is not None:
            self._complete += self._passages.add(self._next)
        self._next = next(self._segments, None)


def _meanwhile(segment: Segment, start_s: float, end_s: float) -> bool:
    """Whether a good part of a segment is spoken between two times."""
    shared = min(segment.end_s, end_s) - max(segment.start_s, start_s)
    length = segment.end_s - segment.start_s
    return shared >= min(_MEANWHILE_S, length / 2) and (shared > 0 or start_s <= segment.start_s < end_s)


def _passage_parts(
    passages: Iterable[Segment], facts: dict[str, Any], numbers: Iterator[int]
) -> Iterator[Part]:
    for passage in passages:
        metadata = {**times_of(passage), **facts}
        yield Part(text=passage.text, modality="video", metadata=metadata, key=f"words-{next(numbers)}")


def _with_parents(parts: Iterable[Part], collapse_s: float) -> Iterator[Part]:
    """Parts of a short film belong to the film, those of a long one to the first of their stretch.

    Which it is shows when the first part after the first stretch comes: until then they are held.
    """
    held: list[Part] = []
    starts: list[float] = []
    firsts: list[str] = []
    for part in parts:
        start = float(part.metadata[START_S])
        if not starts or start >= starts[-1] + collapse_s:
            starts.append(start)
            firsts.append(str(part.key))
        if len(starts) == 1:
            held.append(part)
            continue
        yield from (_child(one, firsts[0]) for one in held)
        held = []
        yield _child(part, firsts[max(0, bisect_right(starts, start) - 1)])
    yield from (replace(one, parent="clip") for one in held)


def _child(part: Part, parent: str) -> Part:
    return part if part.key == parent else replace(part, parent=parent)


def _embedded(samples: Iterable[Sample], embedding: MultimodalEmbeddings) -> Iterator[Sample]:
    waiting = iter(samples)
    while batch := list(islice(waiting, _BATCH)):
        pictures = [Image.fromarray(sample.picture) for sample in batch]
        vectors = embedding.embed_images_array(pictures).vectors
        for sample, vector in zip(batch, vectors, strict=True):
            yield replace(sample, vector=vector)


def _kept(file: SourceFile, moment: Moment, name: str) -> str:
    """Where the picture of a moment is kept."""
    jpeg = BytesIO()
    Image.fromarray(moment.picture).save(jpeg, "JPEG", quality=90)
    return str(file.keep_picture(jpeg.getvalue(), name)[PATH])


def _facts(reader: FilmReader) -> dict[str, Any]:
    container = reader.container
    width, height = reader.pictures.shown
    kind = mime_type(container, reader.file.source)
    facts: dict[str, Any] = {WIDTH: width, HEIGHT: height, MIME_TYPE: kind}
    if reader.progress.said is not None:
        facts["duration_s"] = round(reader.progress.said, 3)
    title = title_of(container)
    return {**facts, TITLE: title} if title else facts


def _has_sound(file: SourceFile) -> bool:
    with file.open() as raw, open_container(raw, file.source) as container:
        return bool(container.streams.audio)


def _always(_scene: list[Seen], _new: Seen, _after: Seen | None) -> bool:
    return True
