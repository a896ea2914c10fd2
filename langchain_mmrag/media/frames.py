"""Pictures out of a film: a few frames that show what happens between two times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from math import isfinite
from typing import Any

from PIL import Image

from langchain_mmrag.errors import CorruptMediaError, UnsafeSourceError, UnsupportedFormatError
from langchain_mmrag.media.containers import container_seconds, container_start, open_container
from langchain_mmrag.media.describe import describe_source
from langchain_mmrag.media.policy import DEFAULT_POLICY, MediaPolicy
from langchain_mmrag.media.sources import read_media
from langchain_mmrag.types import ImageInput

_FARTHEST = 600  # frames decoded from a key frame to the time asked for: 10 s at 60 a second


def key_frames(
    path: ImageInput,
    start_s: float | None = None,
    end_s: float | None = None,
    n: int = 3,
    policy: MediaPolicy = DEFAULT_POLICY,
) -> list[Image.Image]:
    """`n` frames of a film, from the middles of `n` equal parts of the time between `start_s` and `end_s`.

    The film is read into memory as far as `policy.max_bytes` allows, and decoding stops with what there is
    after `policy.timeout_s` seconds. The same film gives the same frames.

    Args:
        path: The film, anything that `read_media` takes. It is read under `policy`.
        start_s: Seconds from the film's start; `None`: from its start.
        end_s: Seconds from the film's start; `None`: to its end.
        n: Frames to take, 1 or more; a still or very short part gives fewer.
        policy: What may be read, and how much.

    Returns:
        Upright RGB pictures in the order of time, at least one.

    Raises:
        MissingDependencyError: If PyAV is not installed.
        SourceNotFoundError: If there is no such film.
        UnsafeSourceError: If the policy forbids it.
        UnsupportedFormatError: If it is no film, or of a kind that is not read.
        CorruptMediaError: If it is broken, or has no frame at that time.
        ValueError: If `n` is below 1.
    """
    if n < 1:
        msg = f"n is {n}: ask for 1 frame or more"
        raise ValueError(msg)
    name = describe_source(path)
    data = read_media(path, policy)
    deadline = time.monotonic() + policy.timeout_s
    with open_container(BytesIO(data), name) as film:
        if not film.streams.video:
            msg = f"{name} has no pictures, only sound"
            raise UnsupportedFormatError(msg)
        start, end = _span(film, start_s, end_s)
        times = [start + (end - start) * (2 * i + 1) / (2 * n) for i in range(n)]
        frames = list(_frames_at(film, times, deadline, name, policy))
    if not frames:
        msg = f"{name} has no frame that can be decoded between {start:g} and {end:g} s"
        raise CorruptMediaError(msg)
    return frames


def _span(film: Any, start_s: float | None, end_s: float | None) -> tuple[float, float]:
    """The part asked for, inside of the film."""
    length = container_seconds(film)
    start = _seconds(start_s) or 0.0
    end = _seconds(end_s)
    if end is None:
        end = start if length is None else length
    if length is not None:
        start, end = min(start, length), min(end, length)
    return start, max(start, end)


def _seconds(value: float | None) -> float | None:
    return max(0.0, value) if value is not None and isfinite(value) else None


def _frames_at(
    film: Any, times: list[float], deadline: float, name: str, policy: MediaPolicy
) -> Iterator[Image.Image]:
    stream = film.streams.video[0]
    if stream.codec_context is None:
        msg = f"{name}: there is no decoder for its pictures, or its header is damaged"
        raise CorruptMediaError(msg)
    _check_pixels(stream.codec_context, name, policy)
    origin = container_start(film)  # not the picture's: sound may begin before it
    last = None
    for wanted in times:
        frame = _frame_at(film, stream, origin + wanted, deadline)
        if frame is not None and (frame.pts, frame.dts) != last:
            last = (frame.pts, frame.dts)
            _check_pixels(frame, name, policy)
            yield _upright(frame)
        if time.monotonic() > deadline:
            return


def _frame_at(film: Any, stream: Any, wanted: float, deadline: float) -> Any:
    """The frame that is on screen at a time: from the key frame before it, decoded up to it."""
    film.seek(int(wanted / stream.time_base), stream=stream, backward=True)
    shown = None
    for count, frame in enumerate(film.decode(stream)):
        if shown is not None and frame.time is not None and frame.time > wanted:
            break
        shown = frame
        if count >= _FARTHEST or time.monotonic() > deadline:
            break
    return shown


def _check_pixels(sized: Any, name: str, policy: MediaPolicy) -> None:
    width, height = sized.width, sized.height
    if width * height > policy.max_pixels:
        msg = (
            f"{name} has frames of {width}x{height}, more than the {policy.max_pixels} pixels allowed: "
            "shrink it, or raise MediaPolicy.max_pixels"
        )
        raise UnsafeSourceError(msg)


def _upright(frame: Any) -> Image.Image:
    image: Image.Image = frame.to_image()
    turned = round(getattr(frame, "rotation", 0) or 0) % 360  # counter-clockwise, as Pillow turns
    return image.rotate(turned, expand=True) if turned else image
