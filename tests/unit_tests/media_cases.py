"""Pictures in every format and colour mode that is read, and files that are refused: one row each.

Every picture is the same flag of four quarters, so that a wrong turn, a wrong colour or a wrong frame shows:

    red   green
    blue  white
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsafeSourceError, UnsupportedFormatError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy, prompt_picture
from langchain_mmrag.media.formats import AVIF, is_decodable
from langchain_mmrag.types import ImageInput

Colour = tuple[int, int, int]

RED, GREEN, BLUE, WHITE, BLACK = (200, 30, 30), (30, 160, 60), (30, 60, 200), (255, 255, 255), (0, 0, 0)
FLAG = (RED, GREEN, BLUE, WHITE)
GRAYS = tuple((level,) * 3 for level in (0, 64, 128, 255))
SIZE = (32, 16)
AVIF_HERE = ["AVIF"] if is_decodable(AVIF) else []  # an option of Pillow from 11.3 on
_EXACT, _LOSSY = 0, 14


@dataclass(frozen=True)
class GoodMedia:
    """A picture, its size when upright, and the colours of its quarters: upper left, upper right, lower left, lower right."""

    name: str
    data: bytes
    mime_type: str
    quarters: tuple[Colour, Colour, Colour, Colour] = FLAG
    size: tuple[int, int] = SIZE
    tolerance: int = _EXACT


@dataclass(frozen=True)
class BadMedia:
    """Bytes that are refused, with which error and which words."""

    name: str
    data: bytes
    error: type[LoadError]
    words: str


def sent(source: ImageInput, policy: MediaPolicy = DEFAULT_POLICY, **limits: int) -> tuple[bytes, str]:
    """What a chat model is sent of `source`: bytes, and what they are."""
    picture = prompt_picture(source, policy, **limits)
    return picture.data, picture.mime_type


def quarters(image: Image.Image) -> list[Colour]:
    """The colours in the middle of the four quarters of an RGB `image`."""
    xs, ys = (image.width // 4, 3 * image.width // 4), (image.height // 4, 3 * image.height // 4)
    return [image.getpixel((x, y)) for y in ys for x in xs]


def painted(mode: str, colours: tuple, size: tuple[int, int] = SIZE) -> Image.Image:
    """An image of four quarters, each of one raw pixel value of `mode`."""
    image = Image.new(mode, size)
    width, height = size[0] // 2, size[1] // 2
    for at, colour in enumerate(colours):
        left, top = at % 2 * width, at // 2 * height
        image.paste(colour, (left, top, left + width, top + height))
    return image


def flag(size: tuple[int, int] = SIZE) -> Image.Image:
    return painted("RGB", FLAG, size)


def saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def png(
    width: int, height: int, *, bits: int = 8, colour_type: int = 2, body: bytes = b"", extra: bytes = b""
) -> bytes:
    """A PNG written by hand, so that its header may lie."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = (
        png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(body)) + png_chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def tiff(tags: dict[int, tuple[int, int, int]], body: bytes = b"") -> bytes:
    """A TIFF written by hand: {tag: (type, count, value)}."""
    entries = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(tags.items()))
    return b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + body


def jpeg_with_broken_exif() -> bytes:
    """A JPEG whose EXIF block promises more entries than it has; Pillow warns of it."""
    block = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x05\x00\x0f\x01\x02\x00\xff\x00\x00\x00\xff\x00\x00\x00"
    data = saved(flag(), "JPEG", quality=95)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


def _palette(transparency: int | bytes | None = None) -> bytes:
    image = Image.new("P", SIZE)
    image.putpalette([*RED, *GREEN, *BLUE, *(WHITE if transparency is None else (9, 9, 9))])
    for at in range(4):
        image.paste(at, (at % 2 * 16, at // 2 * 8, at % 2 * 16 + 16, at // 2 * 8 + 8))
    return saved(image, "PNG", **({} if transparency is None else {"transparency": transparency}))


def _wide(values: tuple[float, ...], dtype: str) -> Image.Image:
    square = np.array(values, dtype).reshape(2, 2)
    return Image.fromarray(square.repeat(8, axis=0).repeat(16, axis=1))


def _turned() -> list[GoodMedia]:
    """One flag stored the same way eight times; the EXIF tag says how to hold it (EXIF 2.3, 4.6.4 A, Orientation)."""
    a, b, c, d = FLAG
    shown = {
        1: (a, b, c, d),
        2: (b, a, d, c),  # mirrored left to right
        3: (d, c, b, a),  # upside down
        4: (c, d, a, b),  # mirrored top to bottom
        5: (a, c, b, d),  # rows are columns
        6: (c, a, d, b),  # to be turned clockwise
        7: (d, b, c, a),  # rows are columns, upside down
        8: (b, d, a, c),  # to be turned anticlockwise
    }
    cases = []
    for orientation, expected in shown.items():
        size = SIZE if orientation < 5 else SIZE[::-1]
        for kind, mime, options in (
            ("JPEG", "image/jpeg", {"quality": 95}),
            ("PNG", "image/png", {}),
            ("WEBP", "image/webp", {"lossless": True}),
            ("TIFF", "image/tiff", {}),
        ):
            data = saved(flag(), kind, exif=exif(orientation), **options)
            tolerance = _LOSSY if kind == "JPEG" else _EXACT
            cases.append(
                GoodMedia(f"{kind} orientation {orientation}", data, mime, expected, size, tolerance)
            )
    return cases


def _jpegs() -> list[GoodMedia]:
    mime = "image/jpeg"
    inks = painted("CMYK", ((0, 255, 255, 0), (255, 0, 255, 0), (255, 255, 0, 0), (0, 0, 0, 0)))
    printed = ((255, 0, 0), (0, 255, 0), (0, 0, 255), WHITE)
    pair = {"save_all": True, "append_images": [flag().transpose(Image.Transpose.ROTATE_180)]}
    return [
        GoodMedia("JPEG", saved(flag(), "JPEG", quality=95), mime, tolerance=_LOSSY),
        GoodMedia(
            "JPEG progressive", saved(flag(), "JPEG", quality=95, progressive=True), mime, tolerance=_LOSSY
        ),
        GoodMedia(
            "JPEG gray",
            saved(painted("L", (0, 64, 128, 255)), "JPEG", quality=95),
            mime,
            GRAYS,
            tolerance=_LOSSY,
        ),
        GoodMedia(
            "JPEG CMYK, Adobe's inverted", saved(inks, "JPEG", quality=95), mime, printed, tolerance=_LOSSY
        ),
        GoodMedia(
            "JPEG with a second picture (MPO)",
            saved(flag(), "MPO", quality=95, **pair),
            mime,
            tolerance=_LOSSY,
        ),
        GoodMedia("JPEG with broken EXIF", jpeg_with_broken_exif(), mime, tolerance=_LOSSY),
    ]


def _pngs() -> list[GoodMedia]:
    mime = "image/png"
    clear = painted("RGBA", (*((*colour, 255) for colour in FLAG[:3]), (9, 9, 9, 0)))
    half = painted("RGBA", ((*BLACK, 255), (*BLACK, 128), (*RED, 255), (*BLACK, 0)))
    wide = _wide((0, 64 * 257, 128 * 257, 65535), "uint16")
    frames = {"save_all": True, "append_images": [flag().transpose(Image.Transpose.ROTATE_180)]}
    return [
        GoodMedia("PNG", saved(flag(), "PNG"), mime),
        GoodMedia("PNG palette", _palette(), mime),
        GoodMedia("PNG palette, one clear colour", _palette(3), mime),
        GoodMedia("PNG palette, alpha per colour", _palette(b"\xff\xff\xff\x00"), mime),
        GoodMedia("PNG alpha", saved(clear, "PNG"), mime),
        GoodMedia("PNG half clear", saved(half, "PNG"), mime, (BLACK, (127,) * 3, RED, WHITE), tolerance=1),
        GoodMedia(
            "PNG gray and alpha",
            saved(painted("LA", ((0, 255), (64, 255), (128, 255), (7, 0))), "PNG"),
            mime,
            GRAYS,
        ),
        GoodMedia(
            "PNG gray, one clear", saved(painted("L", (0, 64, 128, 7)), "PNG", transparency=7), mime, GRAYS
        ),
        GoodMedia(
            "PNG one clear colour",
            saved(painted("RGB", (*FLAG[:3], (9, 9, 9))), "PNG", transparency=(9, 9, 9)),
            mime,
        ),
        GoodMedia("PNG 16 bits", saved(wide, "PNG"), mime, GRAYS),
        GoodMedia("PNG 16 bits, one clear", saved(wide, "PNG", transparency=0), mime, (WHITE, *GRAYS[1:])),
        GoodMedia(
            "PNG 1 bit", saved(painted("1", (0, 255, 0, 255)), "PNG"), mime, (BLACK, WHITE, BLACK, WHITE)
        ),
        GoodMedia("PNG animated", saved(flag(), "PNG", **frames), mime),
    ]


def _others() -> list[GoodMedia]:
    frames = {"save_all": True, "append_images": [flag().transpose(Image.Transpose.ROTATE_180)]}
    clear = painted("RGBA", (*((*colour, 255) for colour in FLAG[:3]), (9, 9, 9, 0)))
    indexed = flag().quantize(4)
    wide = _wide((0, 64 * 257, 128 * 257, 65535), "uint16")
    float_, long = _wide((0.0, 0.25, 0.5, 1.0), "float32"), _wide((0, 64 * 257, 128 * 257, 65535), "int32")
    lzw, jpeg = {"compression": "tiff_lzw"}, {"compression": "jpeg", "quality": 95}
    fax = saved(painted("1", (0, 255, 0, 255)), "TIFF", compression="group4")
    ink = saved(flag().convert("CMYK"), "TIFF")
    return [
        GoodMedia("GIF", saved(indexed, "GIF"), "image/gif"),
        GoodMedia("GIF animated", saved(indexed, "GIF", **frames), "image/gif"),
        GoodMedia("GIF clear", saved(clear, "GIF"), "image/gif"),
        GoodMedia("WebP", saved(flag(), "WEBP", quality=95), "image/webp", tolerance=_LOSSY),
        GoodMedia("WebP alpha", saved(clear, "WEBP", lossless=True), "image/webp"),
        GoodMedia("WebP animated", saved(flag(), "WEBP", lossless=True, **frames), "image/webp"),
        GoodMedia("BMP", saved(flag(), "BMP"), "image/bmp"),
        GoodMedia("BMP palette", saved(indexed, "BMP"), "image/bmp"),
        GoodMedia("TIFF LZW", saved(flag(), "TIFF", **lzw), "image/tiff"),
        GoodMedia("TIFF JPEG", saved(flag(), "TIFF", **jpeg), "image/tiff", tolerance=_LOSSY),
        GoodMedia("TIFF fax", fax, "image/tiff", (BLACK, WHITE, BLACK, WHITE)),
        GoodMedia("TIFF 16 bits", saved(wide, "TIFF"), "image/tiff", GRAYS),
        GoodMedia("TIFF 16 bits, high byte first", saved(wide, "TIFF", big_endian=True), "image/tiff", GRAYS),
        GoodMedia("TIFF 32 bits", saved(long, "TIFF"), "image/tiff", GRAYS),
        GoodMedia("TIFF float", saved(float_, "TIFF"), "image/tiff", GRAYS),
        GoodMedia("TIFF CMYK", ink, "image/tiff", tolerance=1),
        *(
            GoodMedia(kind, saved(flag(), kind, quality=95), "image/avif", tolerance=_LOSSY)
            for kind in AVIF_HERE
        ),
    ]


GOOD = [*_jpegs(), *_pngs(), *_others(), *_turned()]

_TRUNCATED = [
    BadMedia(f"cut-off {kind}", data[: len(data) // 2], CorruptMediaError, "broken or cut-off")
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", *AVIF_HERE)
    for data in [saved(Image.effect_noise((64, 64), 80), kind)]
]

_NOT_AN_IMAGE = [
    BadMedia(name, data, UnsupportedFormatError, words)
    for name, data, words in (
        ("text", b"Dear diary,\ntoday I saw a red lighthouse.\n", "seems to be text"),
        ("text cut within a letter", "ä".encode() * 600 + b"\xc3", "seems to be text"),
        ("text that begins like a BMP", b"BMW stands for Bayerische Motoren Werke.", "seems to be text"),
        ("SVG", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        ("HTML", b"<!DOCTYPE html>\n<html><head></head></html>", "an HTML page"),
        ("PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "a PDF"),
        ("ZIP", b"PK\x03\x04\x14\x00", "a ZIP archive"),
        ("MP4", b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2", "a video"),
        ("WebM", b"\x1aE\xdf\xa3\x01\x00", "a video"),
        ("WAV", b"RIFF\x24\x00\x00\x00WAVEfmt ", "a sound file"),
        ("icon", b"\x00\x00\x01\x00\x01\x00", "a Windows icon"),
        ("JPEG 2000", b"\x00\x00\x00\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        ("JPEG XL", b"\xff\x0a\x00\x00", "a JPEG XL picture"),
        ("Photoshop file", b"8BPS\x00\x01", "a Photoshop file"),
        ("gzip", b"\x1f\x8b\x08\x00", "gzip-compressed"),
        ("Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("unknown bytes", b"\x00\x9d\xff\x01\x02", "of an unknown kind"),
    )
]

_SCREEN = struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
_FRAME = b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
_WEBP_CANVAS = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + (16382).to_bytes(3, "little") * 2
_BMP_HEADER = struct.pack("<IIIIiiHHIIiiII", 1000, 0, 54, 40, 40000, 40000, 1, 24, 0, 0, 0, 0, 0, 0)

_BOMBS = [
    BadMedia(name, data, UnsafeSourceError, "pixels")
    for name, data in (
        ("PNG above the cap", png(20_000, 8_000)),
        ("PNG of 2^31 pixels a side", png(2**31 - 1, 2**31 - 1)),
        ("GIF with a vast screen", b"GIF89a" + _SCREEN + _FRAME),
        ("WebP with a vast canvas", b"RIFF" + struct.pack("<I", 30) + _WEBP_CANVAS + bytes(8)),
        ("BMP above the cap", b"BM" + _BMP_HEADER),
        (
            "TIFF above the cap",
            tiff({256: (4, 1, 60000), 257: (4, 1, 60000), 258: (3, 1, 8), 262: (3, 1, 1), 273: (4, 1, 200)}),
        ),
    )
]

_INFLATED = zlib.compress(bytes(50_000_000))

BAD = [
    BadMedia("empty file", b"", CorruptMediaError, "is empty"),
    BadMedia(
        "JPEG of a header only", saved(flag(), "JPEG")[:24], CorruptMediaError, "broken or cut-off JPEG"
    ),
    BadMedia("PNG of a header only", saved(flag(), "PNG")[:33], CorruptMediaError, "broken or cut-off PNG"),
    BadMedia("PNG without a pixel", png(0, 0), CorruptMediaError, "broken or cut-off PNG"),
    BadMedia(
        "PNG whose comment inflates",
        png(1, 1, body=bytes(4), extra=png_chunk(b"zTXt", b"a\x00\x00" + _INFLATED)),
        CorruptMediaError,
        "too large",
    ),
    BadMedia(
        "TIFF with a vast tile",
        tiff(
            {
                256: (4, 1, 64),
                257: (4, 1, 64),
                258: (3, 1, 8),
                259: (3, 1, 5),
                262: (3, 1, 1),
                277: (3, 1, 1),
                322: (4, 1, 60000),
                323: (4, 1, 60000),
                324: (4, 1, 200),
                325: (4, 1, 1000),
            },
            bytes(2000),
        ),
        CorruptMediaError,
        "broken or cut-off TIFF",
    ),
    *_TRUNCATED,
    *_NOT_AN_IMAGE,
    *_BOMBS,
]
