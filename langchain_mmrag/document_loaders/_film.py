"""Samples of a film, decoded as cheaply as they can be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from langchain_mmrag._extras import require
from langchain_mmrag.document_loaders._scenes import Sample
from langchain_mmrag.document_loaders.base import SourceFile
from langchain_mmrag.errors import CorruptMediaError, UnsafeSourceError
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.media.containers import container_seconds, container_start, open_container

_PROBED: Final = 1500  # packets of the picture that are looked at to see how dense key frames are
_MOST_DAMAGE: Final = 500  # places, after which reading stops
_MISSING_S: Final = 2.0  # an end this much before what the film says is a tail that is missing
_PQ: Final = 16  # transfer function SMPTE ST 2084 in the numbers of ISO/IEC 23091-2
_WIDEST: Final = 4.0  # of pixels that are not square


_MIME_SUBTYPES: Final = {
    "mp4": "mp4", "matroska": "x-matroska", "avi": "x-msvideo", "mpegts": "mp2t", "mpeg": "mpeg",
    "ogg": "ogg", "flv": "x-flv", "asf": "x-ms-asf", "wav": "wav", "mp3": "mpeg", "flac": "flac",
    "aac": "aac", "aiff": "aiff",
}  # fmt: skip
_MIME_BY_SUFFIX: Final = {("x-matroska", ".webm"): "webm", ("mp4", ".mov"): "quicktime"}


@dataclass
class Progress:
    """What reading a film has come to.

    Attributes:
        said: How long the film says it is, in seconds.
        read_s: How far sound and picture were read.
        damaged: When there was something that could not be decoded.
    """

    said: float | None
    read_s: float = 0.0
    damaged: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The film's length; what was read if it does not say, or its tail is missing."""
        return self.read_s if self.said is None or self.is_cut_off else self.said

    @property
    def is_cut_off(self) -> bool:
        """Whether its tail is missing."""
        return self.said is not None and self.said - self.read_s > max(_MISSING_S, self.said / 100)


def picture_stream(container: Any) -> Any:
    """The stream of moving pictures, `None` if there is none: a cover is none."""
    av = require("av", extra="video")
    cover = av.stream.Disposition.attached_pic
    return next((stream for stream in container.streams.video if not stream.disposition & cover), None)


def mime_type(container: Any, name: str, *, sound_only: bool = False) -> str:
    """The MIME type of an open container; `name` tells those apart that FFmpeg does not."""
    names = container.format.name.split(",")
    found = next((_MIME_SUBTYPES[one] for one in names if one in _MIME_SUBTYPES), "octet-stream")
    found = _MIME_BY_SUFFIX.get((found, Path(name).suffix.lower()), found)
    return f"{'audio' if sound_only else 'video'}/{found}"


def title_of(container: Any) -> str:
    """The title that a container carries, or nothing."""
    return str(container.metadata.get("title") or "").strip()


def key_spacing(file: SourceFile) -> float:
    """Seconds between key frames at the beginning of a film, infinite if there is only one."""
    times: list[float] = []
    with file.open() as raw, open_container(raw, file.source) as container:
        stream = picture_stream(container)
        for number, packet in enumerate(container.demux(stream)):
            time = _packet_time(packet)
            if packet.is_keyframe and time is not None:
                times.append(time)
            if number >= _PROBED:
                break
    gaps = np.diff(times)
    return float(gaps.max()) if len(gaps) else math.inf


class FilmReader:
    """Reads samples of an open film, in one pass.

    Args:
        file: The film.
        container: The same, open.
        step_s: Seconds between samples; 0: every key frame.
        longest_side: Of the pictures, in pixels.
        keys_only: Whether to decode key frames and nothing else.
    """

    def __init__(
        self, file: SourceFile, container: Any, *, step_s: float, longest_side: int, keys_only: bool
    ) -> None:
        self.file = file
        self.container = container
        self.step_s = step_s
        self.keys_only = keys_only
        self.stream = picture_stream(container)
        self.origin = container_start(container)
        self.progress = Progress(container_seconds(container))
        if self.stream.codec_context is None:
            msg = f"{file.source}: there is no decoder for its pictures, or its header is damaged"
            raise CorruptMediaError(msg)
        self.pictures = Pictures(file.source, file.policy, self.stream, longest_side)
        self._next = -math.inf
        self._asked = -math.inf
        self._last = 0.0

    def samples(self) -> Iterator[Sample]:
        """Yield the samples; what is damaged is passed over and told when all was read."""
        self.stream.codec_context.thread_type = "AUTO"
        for packet in self._packets():
            for frame in self._decoded(packet):
                sample = self._sample(frame)
                if sample is not None:
                    yield sample
        self._tell()

    def _packets(self) -> Iterator[Any]:
        """Packets of the picture that are worth decoding; the sound's only say how far the film goes."""
        av = require("av", extra="video")
        streams = [self.stream, *self.container.streams.audio[:1]]
        try:
            for packet in self.container.demux(streams):
                time = _packet_time(packet)
                if time is not None:
                    end = time + float((packet.duration or 0) * packet.time_base)
                    self.progress.read_s = max(self.progress.read_s, end - self.origin)
                if packet.stream is self.stream and self._worth_decoding(packet, time):
                    yield packet
        except av.error.FFmpegError:
            self.progress.damaged.append(self.progress.read_s)

    def _worth_decoding(self, packet: Any, time: float | None) -> bool:
        if not packet.size:  # the end: the decoder gives what it holds
            return True
        if not self.keys_only:
            return not packet.is_disposable
        if not packet.is_keyframe or (time is not None and time - self.origin < self._asked):
            return False
        if time is not None:
            self._asked = time - self.origin + self.step_s
        return True

    def _decoded(self, packet: Any) -> list[Any]:
        av = require("av", extra="video")
        try:
            return list(packet.decode())
        except av.error.FFmpegError as error:
            self.progress.damaged.append(self.progress.read_s)
            if isinstance(error, av.error.EOFError):
                return []
            if len(self.progress.damaged) > _MOST_DAMAGE:
                raise
            return []

    def _sample(self, frame: Any) -> Sample | None:
        time = self._last if frame.time is None else frame.time - self.origin
        if time < self._next and not self.keys_only:
            return None
        self._last = time = max(time, self._last, 0.0)
        self._next = time + self.step_s * 0.98  # a frame just before the time is the one meant
        return Sample(time, self.pictures.of(frame))

    def _tell(self) -> None:
        progress = self.progress
        if progress.damaged:
            first, count = clock(progress.damaged[0]), len(progress.damaged)
            self.file.problem(f"the picture is damaged at {first} ({count} places): passed over")
        if progress.is_cut_off and progress.said is not None:
            read, said = clock(progress.read_s), clock(progress.said)
            self.file.problem(f"the film ends at {read} of {said}: the rest is missing")


class Pictures:
    """Frames as upright RGB pictures of a bounded size."""

    def __init__(self, name: str, policy: MediaPolicy, stream: Any, longest_side: int) -> None:
        self.name, self.policy, self.longest_side = name, policy, longest_side
        ratio = float(stream.sample_aspect_ratio or Fraction(1))
        self.wider = ratio if 1 / _WIDEST <= ratio <= _WIDEST else 1.0
        self.shown = self.size(stream.codec_context)  # upright, once a frame has said how it lies
        self.check(stream.codec_context)

    def check(self, sized: Any) -> None:
        """Refuse frames of more pixels than the policy allows."""
        width, height = sized.width, sized.height
        if width * height > self.policy.max_pixels:
            msg = (
                f"{self.name} has frames of {width}x{height}, more than the {self.policy.max_pixels} pixels "
                "allowed: shrink it, or raise MediaPolicy.max_pixels"
            )
            raise UnsafeSourceError(msg)

    def size(self, sized: Any) -> tuple[int, int]:
        """Width and height as shown, before it is turned."""
        return max(1, round(sized.width * self.wider)), sized.height

    def of(self, frame: Any) -> NDArray[np.uint8]:
        """The frame's pixels [h, w, 3]."""
        self.check(frame)
        width, height = self.size(frame)
        scale = min(1.0, self.longest_side / max(width, height))
        size = {"width": max(1, round(width * scale)), "height": max(1, round(height * scale))}
        clear = any(component.is_alpha for component in frame.format.components)
        pixels = frame.reformat(format="rgba" if clear else "rgb24", **size).to_ndarray()
        if clear:
            pixels = _on_white(pixels)
        if frame.color_trc == _PQ:
            pixels = _PQ_TO_SRGB[pixels]
        quarters = round((frame.rotation or 0) / 90) % 4  # counter-clockwise, as numpy turns
        self.shown = (height, width) if quarters % 2 else (width, height)
        return np.ascontiguousarray(np.rot90(pixels, quarters))


def _on_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels, "RGBA")
    ground = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(ground, image).convert("RGB"))


def _pq_to_srgb() -> NDArray[np.uint8]:
    """Values of ST 2084 as values of sRGB: light as the standard says, the highest pressed together."""
    value = np.linspace(0, 1, 256) ** (32 / 2523)
    light = np.maximum(value - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * value)
    shown = light ** (16384 / 2610) * 10_000 / 203  # 203 nits: white of a page, by ITU-R BT.2408
    pressed = np.where(shown <= 0.7, shown, 0.7 + 0.3 * (1 - np.exp(-(shown - 0.7) / 0.3)))  # noqa: PLR2004
    curve = np.where(pressed <= 0.0031308, 12.92 * pressed, 1.055 * pressed ** (1 / 2.4) - 0.055)  # noqa: PLR2004
    return np.clip(np.round(curve * 255), 0, 255).astype(np.uint8)


_PQ_TO_SRGB: Final = _pq_to_srgb()


def _packet_time(packet: Any) -> float | None:
    ticks = packet.pts if packet.pts is not None else packet.dts
    return None if ticks is None or packet.time_base is None else float(ticks * packet.time_base)


def clock(seconds: float) -> str:
    """A time as people write it: `1:02:03`, `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
