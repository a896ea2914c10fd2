"""Sound out of a film or recording: what is heard between two times, and no more of it is read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from math import isfinite
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from langchain_mmrag._extras import require
from langchain_mmrag.errors import UnsupportedFormatError
from langchain_mmrag.media.containers import FILM_FORMATS, SOUND_FORMATS, container_start, open_container
from langchain_mmrag.media.describe import describe_source
from langchain_mmrag.media.local import open_local
from langchain_mmrag.media.policy import DEFAULT_POLICY, MediaPolicy
from langchain_mmrag.media.sources import read_media

LONGEST_S: Final = 30.0
"""Of one part that is heard: no model hears more of it at once."""

SILENT: Final = 0.001
"""Of full scale: what is never louder than this is silence."""

_MICROSECONDS: Final = 1_000_000

Samples = NDArray[np.float32]


def sound_between(
    source: str,
    start_s: float | None = None,
    end_s: float | None = None,
    *,
    rate: int,
    policy: MediaPolicy = DEFAULT_POLICY,
) -> Samples:
    """The sound of a file between two times, at most `LONGEST_S` of it, mixed to one channel.

    A local file is read from the time asked for on, whatever its size; of an address or data-URI there may be
    `policy.max_bytes`. Decoding stops with what there is after `policy.timeout_s` seconds.

    Args:
        source: Path, URL or data-URI of a film or recording.
        start_s: Seconds from its start; `None`: from its start.
        end_s: Seconds from its start; `None`: to its end.
        rate: Samples a second.
        policy: What may be read, and how much.

    Returns:
        Samples in -1..1 [n]; none if it has no sound at that time.

    Raises:
        MissingDependencyError: If PyAV is not installed.
        SourceNotFoundError: If there is no such file.
        UnsafeSourceError: If the policy forbids it.
        UnsupportedFormatError: If it has no sound, or is of a kind that is not read.
        CorruptMediaError: If it is broken.
    """
    start = _seconds(start_s) or 0.0
    end = min(_seconds(end_s) or start + LONGEST_S, start + LONGEST_S)
    name = describe_source(source)
    formats = f"{FILM_FORMATS},{SOUND_FORMATS}"
    with (
        _opened(source, policy) as file,
        open_container(file, name, formats=formats, extra="audio") as container,
    ):
        if not container.streams.audio:
            msg = f"{name} has no sound"
            raise UnsupportedFormatError(msg)
        pieces = [*_pieces(container, start, end, rate, time.monotonic() + policy.timeout_s)]
    samples = np.concatenate(pieces) if pieces else np.empty(0, dtype=np.float32)
    return samples[: round((end - start) * rate)]


def _opened(source: str, policy: MediaPolicy) -> BinaryIO:
    if "://" in source or source[:5].lower() == "data:":
        return BytesIO(read_media(source, policy))
    return open_local(source, policy)


def _seconds(value: float | None) -> float | None:
    return max(0.0, float(value)) if value is not None and isfinite(value) else None


def _pieces(container: Any, start: float, end: float, rate: int, deadline: float) -> Iterator[Samples]:
    """Samples from `start` on, until those up to `end` are there."""
    av = require("av", extra="audio")
    origin = container_start(container)
    if start:
        with suppress(av.error.FFmpegError):  # what cannot be searched is read from its start
            container.seek(int((origin + start) * _MICROSECONDS), backward=True)
    mono, wanted, count = Mono(rate), round((end - start) * rate), 0
    for frame in _frames(container, deadline):
        since = frame.time - origin - start if frame.time is not None else 0.0
        if since >= end - start:
            break
        if since + frame.samples / frame.sample_rate <= 0 or count >= wanted:
            continue
        for piece in mono.take(frame):
            ahead = round(-since * rate) if not count and since < 0 else 0
            count += len(piece) - min(ahead, len(piece))
            yield piece[ahead:]
        if count >= wanted:
            return
    yield from mono.rest()


class Mono:
    """Frames of sound of any make as samples of one channel.

    Args:
        rate: Samples a second that are wanted.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._settings: tuple[str, str, int] | None = None
        self._resampler: Any = None

    def take(self, frame: Any) -> Iterator[Samples]:
        """Yield what is ready with the next frame."""
        now = (frame.format.name, frame.layout.name, frame.sample_rate)
        if now != self._settings:  # of streams that were joined it changes in the middle
            self._settings = now
            av = require("av", extra="audio")
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=self._rate)
        yield from self._resampled(frame)

    def rest(self) -> Iterator[Samples]:
        """Yield what is left after the last frame."""
        if self._resampler is not None:
            yield from self._resampled(None)

    def _resampled(self, frame: Any) -> Iterator[Samples]:
        for piece in self._resampler.resample(frame):
            yield np.nan_to_num(piece.to_ndarray().reshape(-1)).astype(np.float32, copy=False)


def _frames(container: Any, deadline: float) -> Iterator[Any]:
    """Frames of the first stream of sound; what is damaged is passed over."""
    av = require("av", extra="audio")
    with suppress(av.error.FFmpegError):
        for packet in container.demux(container.streams.audio[0]):
            with suppress(av.error.FFmpegError):
                yield from packet.decode()
            if time.monotonic() > deadline:
                return
