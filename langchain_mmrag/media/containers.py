"""Films and sound files: opened so that nothing but their own bytes is read, their errors told as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from langchain_mmrag._extras import require
from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsupportedFormatError

FILM_FORMATS: Final = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,ogg,flv,asf"
SOUND_FORMATS: Final = "wav,mp3,flac,aac,aiff,au,amr,caf,w64,ac3,wv,ape"
_MICROSECONDS: Final = 1_000_000


@contextmanager
def open_container(
    file: BinaryIO, name: str, *, formats: str = FILM_FORMATS, extra: str = "video"
) -> Iterator[Any]:
    """Open a film or sound file with PyAV.

    Playlists and scripts (HLS, concat, DASH) name further files and addresses: they are not containers here,
    and nothing but the bytes at hand is opened.

    Args:
        file: Its bytes, seekable; read a piece at a time.
        name: What to call it in an error.
        formats: FFmpeg's names of the containers allowed, with commas between.
        extra: Which of this package's extras brings PyAV, for the message if it is missing.

    Raises:
        MissingDependencyError: If PyAV is not installed.
        UnsupportedFormatError: If it is of another kind.
        CorruptMediaError: If it is broken, here or within the `with`.
    """
    av = require("av", extra=extra)
    options = {
        "format_whitelist": formats,
        "protocol_whitelist": "none",
        "probesize": "5000000",
        "analyzeduration": "5000000",
    }
    with container_errors(name), av.open(file, options=options, metadata_errors="replace") as container:
        yield container


@contextmanager
def container_errors(name: str) -> Iterator[None]:
    """Errors of FFmpeg as this package's own."""
    av = require("av", extra="video")
    try:
        yield
    except LoadError:
        raise
    except av.error.InvalidDataError as error:
        msg = f"{name} is no film or recording that can be read, or it is broken ({error.strerror})"
        raise CorruptMediaError(msg) from error
    except av.error.ArgumentError as error:  # FFmpeg's word for a container that is not among those allowed
        msg = f"{name} is no film or recording of a kind that is read here"
        raise UnsupportedFormatError(msg) from error
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        msg = f"{name} is broken ({type(error).__name__})"
        raise CorruptMediaError(msg) from error


def container_start(container: Any) -> float:
    """What a film's own clock shows where it begins, in seconds: of sound or picture, the earlier."""
    return container.start_time / _MICROSECONDS if container.start_time is not None else 0.0


def container_seconds(container: Any) -> float | None:
    """How long a film says that it is, in seconds."""
    return container.duration / _MICROSECONDS if container.duration else None
