"""Tell what bytes are by how they begin, never by their name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class ImageFormat:
    """One format this package reads.

    Attributes:
        name: What Pillow calls it.
        mime_type: Its media type.
    """

    name: str
    mime_type: str


JPEG = ImageFormat("JPEG", "image/jpeg")
PNG = ImageFormat("PNG", "image/png")
GIF = ImageFormat("GIF", "image/gif")
WEBP = ImageFormat("WEBP", "image/webp")
BMP = ImageFormat("BMP", "image/bmp")
TIFF = ImageFormat("TIFF", "image/tiff")
AVIF = ImageFormat("AVIF", "image/avif")
HEIF = ImageFormat("HEIF", "image/heic")
SVG = ImageFormat("SVG", "image/svg+xml")


def _has(plugin: str) -> bool:
    try:
        return bool(import_module(f"PIL.{plugin}ImagePlugin").SUPPORTED)
    except ImportError:  # older Pillows have no AVIF
        return False


# Asked for a format it has not loaded, Pillow loads the forty it has: these are those its start leaves out.
import_module("PIL.TiffImagePlugin")
_OPTIONAL = {"WEBP": _has("WebP"), "AVIF": _has("Avif")}

_PREFIXES = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"II+\x00", TIFF),  # BigTIFF
    (b"MM\x00+", TIFF),
)
_BMP_HEADER_SIZES = {12, 40, 52, 56, 64, 108, 124}

_OTHERS = (
    (rb"%PDF-", "a PDF"),
    (rb"(PK\x03\x04|PK\x05\x06)", "a ZIP archive or office document"),
    (rb"....ftyp", "a video"),
    (rb"(\x1aE\xdf\xa3|RIFF....AVI )", "a video"),
    (rb"(ID3|OggS|fLaC|RIFF....WAVE)", "a sound file"),
    (rb"(\xff\x0a|\x00\x00\x00\x0cJXL )", "a JPEG XL picture; save it as JPEG or PNG"),
    (rb"(\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51)", "a JPEG 2000 picture; save it as JPEG or PNG"),
    (rb"8BPS", "a Photoshop file; save it as PNG"),
    (rb"%!PS", "a PostScript file"),
    (rb"\x00\x00[\x01\x02]\x00", "a Windows icon"),
    (rb"\x1f\x8b", "gzip-compressed data"),
    (rb"P[1-6]\s", "a PNM picture; save it as PNG"),
    (rb"version https://git-lfs", "a Git LFS pointer; run git lfs pull"),
    (rb"\x7fELF|MZ", "a program"),
)
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?.*?\?>\s*|<!--.*?-->\s*|<!DOCTYPE\s+svg[^>\[]*(?:\[.*?\]\s*)?>\s*)*+"
    rb"<(?:svg:)?svg[\s/>]",
    re.DOTALL,
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_HTML = re.compile(rb"<(!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE)
_HEAD = 1024


def sniff(data: bytes) -> ImageFormat | None:
    """The image format `data` begins like, or `None` if it is none this package reads."""
    for prefix, image_format in _PREFIXES:
        if data.startswith(prefix):
            return image_format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return BMP
    brands = _brands(data)
    if brands & {b"avif", b"avis"}:
        return AVIF
    if data[8:12] in _HEIF_BRANDS and brands:  # films name these too, though not first
        return HEIF
    return SVG if _SVG.match(data[:_HEAD]) else None


def _brands(data: bytes) -> set[bytes]:
    """What a file of boxes says it is: its major brand, a version, the compatible ones."""
    if data[4:8] != b"ftyp":
        return set()
    brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    return {brands[i : i + 4] for i in range(0, len(brands), 4)}


def is_decodable(image_format: ImageFormat) -> bool:
    """Whether the installed Pillow was built with what `image_format` needs."""
    return image_format.name not in _OPTIONAL or _OPTIONAL[image_format.name]


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height by the header of a WebP file (RFC 9649, 2.5 to 2.7); 0 where it is cut off."""

    def number(start: int, end: int) -> int:
        return int.from_bytes(data[start:end], "little")

    if data[12:16] == b"VP8X":
        return number(24, 27) + 1, number(27, 30) + 1
    if data[12:16] == b"VP8L":
        bits = number(21, 25)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return number(26, 28) & 0x3FFF, number(28, 30) & 0x3FFF


def guess(data: bytes) -> str:
    """What `data`, not an image this package reads, seems to be; for messages."""
    head = data[:_HEAD]
    for pattern, name in _OTHERS:
        if re.match(pattern, head, re.DOTALL):
            return name
    if _HTML.search(head):
        return "an HTML page; is the address that of the page, not of the picture?"
    return "text" if _is_text(head) else "of an unknown kind"


def _is_text(head: bytes) -> bool:
    if b"\x00" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3 and error.start > 0  # only the last character is cut off
    return True
