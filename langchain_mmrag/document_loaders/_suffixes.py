"""Suffixes of files whose bytes tell what they are, by what they hold: in lower case, with the dot."""

from __future__ import annotations

from typing import Final


def suffixes(names: str) -> frozenset[str]:
    """Suffixes written with a space between them and without their dots."""
    return frozenset(f".{name}" for name in names.split())


PICTURE_SUFFIXES: Final = suffixes(
    # those the decoder refuses are listed too: a picture that cannot be read is reported, not passed over
    "jpg jpeg jpe jfif png gif webp bmp dib tif tiff avif svg heic heif jp2 jxl ico"
)
FILM_SUFFIXES: Final = suffixes("mp4 m4v mov mkv webm avi mpg mpeg m2ts mts wmv asf flv ogv 3gp 3g2")
SOUND_SUFFIXES: Final = suffixes(
    "wav mp3 flac ogg oga opus m4a m4b aac ac3 wma aiff aif au caf amr mka weba ape wv"
)
