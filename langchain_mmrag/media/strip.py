"""Take out of a picture's bytes what is no picture: where it was taken, by whom, and with what.

The pixels are not touched, nor what says how to show them (colour profile, gamma, density). What a camera
or an editor hides behind the end of the file (a second picture, a film) goes too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from struct import error as StructError  # noqa: N812 - an error is named like one
from struct import pack, unpack_from

from langchain_mmrag.media.formats import JPEG, PNG, WEBP, ImageFormat

_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)  # none of these stands in coded pixels
_SOI, _EOI, _SOS = b"\xff\xd8", 0xD9, 0xDA
_JPEG_APP, _JPEG_COMMENT = range(0xE0, 0xF0), 0xFE
_JPEG_KEPT = ((0xE2, b"ICC_PROFILE\x00"), (0xEE, b"Adobe"))
_JFIF, _NO_THUMBNAIL = (0xE0, b"JFIF\x00"), b"\x00\x00"
_JFIF_CHARS = 12  # name, version and density; what follows is a thumbnail: its sides, its pixels
_PNG_KEPT = {b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"bKGD", b"pHYs"}
_PNG_LOWER = 0x20  # the bit that marks a chunk as one a decoder may pass over
_WEBP_KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP"}
_WEBP_METADATA_FLAGS = 0x08 | 0x04  # EXIF and XMP


def without_metadata(data: bytes, image_format: ImageFormat) -> bytes | None:
    """`data` without EXIF, XMP, comments and the like; the same bytes if there is none in it.

    Args:
        data: A whole picture that decodes.
        image_format: JPEG, PNG or WebP.

    Returns:
        `None` if the file is built in a way that this does not follow: encode it anew.
    """
    parts_of = _PARTS.get(image_format)
    if parts_of is None:
        return None
    try:
        kept = b"".join(parts_of(data))
    except (IndexError, StructError):  # an end where there should be more
        return None
    return data if kept == data else kept


def _jpeg(data: bytes) -> Iterator[bytes]:
    """Segments of marker and length; after the header of a scan its pixels, up to the next marker."""
    yield _SOI
    at = len(_SOI)
    while True:
        marker = _JPEG_MARKER.match(data, at)
        if marker is None:
            raise IndexError(at)
        kind, start = marker[1][0], marker.end()
        if kind == _EOI:
            yield b"\xff\xd9"
            return
        end = start + unpack_from(">H", data, start)[0]
        if kind == _SOS:
            following = _JPEG_MARKER.search(data, end)
            if following is None:
                raise IndexError(end)
            end = following.start()
        body = data[start + 2 : end]
        if (kind, body[:5]) == _JFIF:
            yield _jpeg_segment(kind, body[:_JFIF_CHARS].ljust(_JFIF_CHARS, b"\x00") + _NO_THUMBNAIL)
        elif kind != _JPEG_COMMENT and (
            kind not in _JPEG_APP or any(kind == app and body.startswith(name) for app, name in _JPEG_KEPT)
        ):
            yield b"\xff" + marker[1] + data[start:end]
        at = end


def _jpeg_segment(kind: int, body: bytes) -> bytes:
    return pack(">BBH", 0xFF, kind, 2 + len(body)) + body


def _png(data: bytes) -> Iterator[bytes]:
    yield data[:8]
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = unpack_from(">I4s", data, at)
        if kind in _PNG_KEPT or not kind[0] & _PNG_LOWER:
            yield _whole(data, at, at + 12 + length)
        at += 12 + length


def _webp(data: bytes) -> Iterator[bytes]:
    parts: list[bytes] = []
    at, end = 12, min(len(data), 8 + unpack_from("<I", data, 4)[0])
    while at < end:
        kind, length = unpack_from("<4sI", data, at)
        part = bytearray(_whole(data, at, at + 8 + length))
        if kind in _WEBP_KEPT:
            if kind == b"VP8X":
                part[8] &= ~_WEBP_METADATA_FLAGS
            parts.append(bytes(part) + bytes(length % 2))
        at += 8 + length + length % 2
    body = b"WEBP" + b"".join(parts)
    yield b"RIFF" + pack("<I", len(body)) + body


def _whole(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise IndexError(end)
    return data[start:end]


_PARTS: dict[ImageFormat, Callable[[bytes], Iterator[bytes]]] = {
    JPEG: _jpeg,
    PNG: _png,
    WEBP: _webp,
}
