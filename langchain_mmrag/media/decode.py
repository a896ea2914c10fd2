"""Bytes to an upright RGB picture, and the facts about it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from threading import Lock
from typing import Final

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose

from langchain_mmrag._extras import require
from langchain_mmrag.errors import (
    CorruptMediaError,
    LoadError,
    MissingDependencyError,
    UnsafeSourceError,
    UnsupportedFormatError,
)
from langchain_mmrag.media.describe import describe_source
from langchain_mmrag.media.formats import (
    HEIF,
    PNG,
    SVG,
    WEBP,
    ImageFormat,
    guess,
    is_decodable,
    sniff,
    webp_size,
)
from langchain_mmrag.media.policy import DEFAULT_POLICY, MediaPolicy
from langchain_mmrag.media.quiet import quiet_pillow
from langchain_mmrag.media.sources import read_media
from langchain_mmrag.media.svg import render_svg
from langchain_mmrag.types import ImageInput

_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_SIDEWAYS = {5, 6, 7, 8}
_FLIPPED = {  # whether the stored right edge comes to lie left or on top, and the bottom edge likewise
    2: (True, False),
    3: (True, True),
    4: (False, True),
    6: (False, True),
    7: (True, True),
    8: (True, False),
}
PICTURE_BOX: Final = "picture_box"
"""In `info` of a JPEG decoded at a reduced scale that does not divide its size. The decoder rounds up, so the
last row and column hold a part of the picture only. Its edges in pixels: left, top, right, bottom."""
_FROM_16_BITS = ((np.arange(65536) + 128) // 257).astype(np.uint8)
_LOADING = Lock()  # two threads must not load one lazy image at once, and a caller may give it twice


@dataclass(frozen=True)
class ImageFacts:
    """What a catalogue keeps of a picture.

    Attributes:
        mime_type: Media type of the stored bytes, by their content.
        width: Pixels across when upright.
        height: Pixels down when upright.
        sha256: Digest of the stored bytes, in hexadecimal; of a `PIL.Image`, of its PNG encoding.
    """

    mime_type: str
    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class Decoded:
    """Encoded bytes with what came out of them.

    Attributes:
        image: Loaded, in the colour mode and orientation it was stored in.
        size: Stored width and height in pixels; `image` is smaller when decoded at a reduced scale.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        image_format: By the first bytes.
        scale: How many times fewer pixels `image` has a side than the file.
    """

    image: Image.Image
    size: tuple[int, int]
    orientation: int
    image_format: ImageFormat
    scale: int = 1

    @property
    def is_padded(self) -> bool:
        """Whether the last column or row lies partly beyond the picture."""
        return any(stored % self.scale for stored in self.size)

    @property
    def upright_size(self) -> tuple[int, int]:
        """Pixels across and down when upright."""
        width, height = self.size
        return (height, width) if self.orientation in _SIDEWAYS else (width, height)


def open_image(
    source: ImageInput, policy: MediaPolicy = DEFAULT_POLICY, *, min_side: int | None = None
) -> Image.Image:
    """Open `source` as an RGB picture: upright, the first frame, transparency on white, 16 bits scaled to 8.

    The result is loaded, shares nothing with `source`, and keeps no file open.

    Args:
        source: Path, URL, data-URI, encoded bytes, binary file or `PIL.Image` (left as it is).
        policy: What may be read, and how much.
        min_side: Decode a JPEG at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps this many
            pixels; much faster for large photographs that are shrunk afterwards.

    Raises:
        SourceNotFoundError: If there is no such file or address.
        UnsafeSourceError: If the policy forbids it.
        UnsupportedFormatError: If it is no JPEG, PNG, GIF, WebP, BMP, TIFF or AVIF, nor, with the `images`
            extra, HEIC or SVG.
        CorruptMediaError: If it is one, but broken or cut off.
        LoadError: If it cannot be read.
    """
    if isinstance(source, Image.Image):
        return _from_pillow(source, policy)
    name = describe_source(source)
    return to_rgb(decode(read_media(source, policy), name, policy, min_side), name)


def open_with_facts(
    source: ImageInput, policy: MediaPolicy = DEFAULT_POLICY, *, min_side: int | None = None
) -> tuple[Image.Image, ImageFacts]:
    """What `open_image` and `image_facts` give for the same arguments, from one read and one decode.

    A file read at a reduced scale is read to its end all the same: what is broken or cut off is refused, and
    the facts are of the stored picture. For a catalogue that also embeds: keep the facts, shrink the picture.

    Raises:
        LoadError: As `open_image`.
    """
    if isinstance(source, Image.Image):
        image = _from_pillow(source, policy)
        return image, _facts_of_pillow(image)
    name = describe_source(source)
    data = read_media(source, policy)
    decoded = decode(data, name, policy, min_side)
    return to_rgb(decoded, name), _facts_of(decoded, data)


def image_facts(source: ImageInput, policy: MediaPolicy = DEFAULT_POLICY) -> ImageFacts:
    """Format, upright size and digest of `source`; refuses whatever `open_image` refuses."""
    if isinstance(source, Image.Image):
        return _facts_of_pillow(_from_pillow(source, policy))
    data = read_media(source, policy)
    # Every byte is read, few pixels are made.
    return _facts_of(decode(data, describe_source(source), policy, min_side=1), data)


def _facts_of(decoded: Decoded, data: bytes) -> ImageFacts:
    return ImageFacts(decoded.image_format.mime_type, *decoded.upright_size, sha256(data).hexdigest())


def _facts_of_pillow(image: Image.Image) -> ImageFacts:
    encoded = BytesIO()
    image.save(encoded, "PNG")
    return ImageFacts(PNG.mime_type, *image.size, sha256(encoded.getbuffer()).hexdigest())


def decode(data: bytes, name: str, policy: MediaPolicy, min_side: int | None = None) -> Decoded:
    """Decode `data`, called `name` in messages, with the one decoder its first bytes ask for.

    Raises:
        UnsupportedFormatError: If there is none.
        UnsafeSourceError: If there are more pixels than `policy.max_pixels`, by the header.
        CorruptMediaError: If the decoder gives up.
    """
    image_format = _format_of(data, name)
    if image_format is SVG:
        drawing = render_svg(data, name)
        check_pixels(drawing.size, name, policy)
        return Decoded(drawing, drawing.size, 1, SVG)
    with quiet_pillow():
        try:
            if image_format is WEBP:  # Pillow makes the canvas of a WebP while it opens it
                check_pixels(webp_size(data), name, policy)
            image = _opened(data, image_format, name)
            size = image.size
            check_pixels(size, name, policy)
            drafted = None if min_side is None else image.draft(None, (max(1, min_side),) * 2)
            scale = round(size[0] / drafted[1][2]) if drafted else 1
            image.load()
        except LoadError:
            raise
        except Image.DecompressionBombError as error:
            msg = (
                f"{name} has more pixels than Pillow opens ({error}) If you trust it, "
                "raise PIL.Image.MAX_IMAGE_PIXELS beside MediaPolicy.max_pixels"
            )
            raise UnsafeSourceError(msg) from error
        except Exception as error:  # hostile bytes make Pillow raise nearly every kind there is
            msg = f"{name} is a broken or cut-off {image_format.name} file ({_reason(error)})"
            raise CorruptMediaError(msg) from error
        return Decoded(image, size, orientation_of(image), image_format, scale)


def _opened(data: bytes, image_format: ImageFormat, name: str) -> Image.Image:
    if image_format is not HEIF:
        return Image.open(BytesIO(data), formats=[image_format.name])
    try:
        heif = require("pillow_heif", extra="images")
    except MissingDependencyError as error:  # one picture in a folder does not stop the rest of it
        msg = f"{name} is a HEIC picture: {error}"
        raise UnsupportedFormatError(msg) from error
    image: Image.Image = heif.HeifImageFile(BytesIO(data))  # turns it upright, and drops the tag
    return image


def to_rgb(decoded: Decoded, name: str) -> Image.Image:
    """The picture of `decoded`: RGB, upright, with nothing of the file left on it."""
    with quiet_pillow():
        try:
            image = _convert(decoded.image)
        except ValueError as error:
            mode = decoded.image.mode
            msg = f"{name} has the colour mode {mode}, which Pillow cannot convert: save it as RGB"
            raise UnsupportedFormatError(msg) from error
    if decoded.orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[decoded.orientation])
    # An orientation left here would turn the picture a second time.
    image.info = {PICTURE_BOX: _picture_box(decoded)} if decoded.is_padded else {}
    return image


def _picture_box(decoded: Decoded) -> tuple[float, float, float, float]:
    """Where the picture lies in the upright pixels of `decoded`: left, top, right, bottom."""
    width, height = decoded.image.size
    right, bottom = (stored / decoded.scale for stored in decoded.size)
    right_is_left, bottom_is_top = _FLIPPED.get(decoded.orientation, (False, False))
    left, right = (width - right, float(width)) if right_is_left else (0.0, right)
    top, bottom = (height - bottom, float(height)) if bottom_is_top else (0.0, bottom)
    sideways = decoded.orientation in _SIDEWAYS
    return (top, left, bottom, right) if sideways else (left, top, right, bottom)


def _from_pillow(image: Image.Image, policy: MediaPolicy) -> Image.Image:
    name = describe_source(image)
    size = image.size
    check_pixels(size, name, policy)
    with quiet_pillow():
        try:
            with _LOADING:
                image.load()
        except Exception as error:  # as in `decode`: a lazy image decodes only now
            msg = f"{name} cannot be loaded ({_reason(error)})"
            raise CorruptMediaError(msg) from error
        orientation = orientation_of(image)
    return to_rgb(Decoded(image, size, orientation, PNG), name)


def _format_of(data: bytes, name: str) -> ImageFormat:
    if not data:
        msg = f"{name} is empty"
        raise CorruptMediaError(msg)
    image_format = sniff(data)
    if image_format is None:
        msg = f"{name} is not an image this package reads: it seems to be {guess(data)}"
        raise UnsupportedFormatError(msg)
    if not is_decodable(image_format):
        msg = (
            f"{name} is {image_format.name}, which this Pillow cannot read: upgrade pillow, or save it as PNG"
        )
        raise UnsupportedFormatError(msg)
    return image_format


def check_pixels(size: tuple[int, int], name: str, policy: MediaPolicy) -> None:
    """Refuse more pixels than the policy allows, and none at all.

    Raises:
        UnsafeSourceError: If there are too many.
        CorruptMediaError: If there are none.
    """
    width, height = size
    if width * height > policy.max_pixels:
        msg = (
            f"{name} is {width}x{height}, more than the {policy.max_pixels} pixels allowed: "
            "shrink it, or raise MediaPolicy.max_pixels"
        )
        raise UnsafeSourceError(msg)
    if width * height == 0:
        msg = f"{name} has no pixels ({width}x{height})"
        raise CorruptMediaError(msg)


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation of a loaded `image` (loading a TIFF turns it, and drops the tag)."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  a picture with broken EXIF is still a picture
        return 1
    return value if isinstance(value, int) else 1


def _convert(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _from_wide_gray(image).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    page = Image.new("RGB", clear.size, "white")
    page.paste(clear, mask=clear)
    return page


def _from_wide_gray(image: Image.Image) -> Image.Image:
    """Gray of 16 or 32 bits to 8: full range to full range, where Pillow itself would clip at 255.

    16 bits have a known range. 32-bit integers and floats do not: the smallest of [0, 1] (floats), [0, 255]
    and [0, 65535] that holds all values is taken, else their own minimum and maximum.
    """
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        gray = _FROM_16_BITS[values]
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            gray[values == clear] = 255
        return Image.fromarray(gray)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    if low >= 0:
        low, high = 0.0, next((top for top in ranges if high <= top), high)
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) * (255 / ((high - low) or 1.0))
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its header makes no sense"  # Pillow's own words name the buffer's address
    return str(error) or type(error).__name__
