"""Pictures as bytes a chat model takes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from langchain_mmrag.media.decode import Decoded, decode, open_image, to_rgb
from langchain_mmrag.media.describe import describe_source
from langchain_mmrag.media.formats import JPEG, PNG, WEBP
from langchain_mmrag.media.policy import DEFAULT_POLICY, MediaPolicy
from langchain_mmrag.media.quiet import quiet_pillow
from langchain_mmrag.media.sources import read_media
from langchain_mmrag.media.strip import without_metadata
from langchain_mmrag.types import ImageInput

_QUALITIES = (90, 80, 70, 55, 40)
_FEW_COLOURS = 1024
_FEW_GREYS = 64
_ICON_PIXELS = 64 * 64
_JPEG_SIDE = 65_500  # libjpeg's limit
_LEAST_BYTES = 1024  # a JPEG of one pixel takes some 600
_PROMPT_FORMATS = {JPEG, PNG, WEBP}  # Google and Ollama take no GIF
_PLAIN_MODES = {"1", "L", "P", "RGB"}

_NO_LIMIT = MediaPolicy(max_pixels=2**62, max_bytes=2**62)  # what the caller holds in memory already


@dataclass(frozen=True)
class PromptPicture:
    """A picture as it goes to a chat model or into a page.

    Attributes:
        data: JPEG, PNG or WebP.
        mime_type: Which of them.
        width: Pixels across.
        height: Pixels down.
    """

    data: bytes
    mime_type: str
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The picture as an address that holds it."""
        return f"data:{self.mime_type};base64,{b64encode(self.data).decode('ascii')}"

    @property
    def sent_bytes(self) -> int:
        """What it takes as base64."""
        return -(-len(self.data) // 3) * 4

    def shrunk(self, max_side: int) -> PromptPicture:
        """The picture with a longer side of `max_side` pixels at most, its aspect kept."""
        if max(self.width, self.height) <= max_side:
            return self
        return prompt_picture(self.data, _NO_LIMIT, max_side=max_side)


def encode_image(image: Image.Image, *, max_side: int = 1024, max_bytes: int = 3_500_000) -> PromptPicture:
    """Encode `image` for a prompt, keeping its aspect.

    Flat art and icons become PNG, everything else JPEG of the best quality that fits; of a picture in many
    greys the smaller of both. If none fits, the picture is halved until one does.

    Args:
        image: Any mode; left as it is.
        max_side: Longest side of the result, in pixels.
        max_bytes: Largest result, at least 1024.

    Raises:
        ValueError: If `max_side` or `max_bytes` leaves no room for a picture.
    """
    return _encode(open_image(image, _NO_LIMIT), max_side, max_bytes)


def _encode(image: Image.Image, max_side: int, max_bytes: int) -> PromptPicture:
    _check_limits(max_side, max_bytes)
    while True:
        image = _shrink(image, min(max_side, _JPEG_SIDE))
        for encoded, mime_type in _encodings(image):
            if len(encoded) <= max_bytes:
                return PromptPicture(encoded, mime_type, *image.size)
        max_side = max(image.size) // 2


def prompt_picture(
    source: ImageInput,
    policy: MediaPolicy = DEFAULT_POLICY,
    *,
    max_side: int = 1024,
    max_bytes: int = 3_500_000,
) -> PromptPicture:
    """`source` for a prompt: its own bytes where a chat model can take them as they are, else encoded anew.

    Taken as they are: JPEG, PNG and WebP within the limits that are upright, opaque, still, and of a
    colour mode every provider reads. What they carry beside the picture stays here: EXIF with the place and
    the camera, XMP, comments, thumbnails, whatever follows the end of the picture. It is cut out of the file
    without touching the pixels or the colour profile; a file without any goes byte for byte.

    Raises:
        LoadError: As `open_image`.
        ValueError: As `encode_image`.
    """
    if isinstance(source, Image.Image):
        return _encode(open_image(source, policy), max_side, max_bytes)
    _check_limits(max_side, max_bytes)
    name = describe_source(source)
    data = read_media(source, policy)
    decoded = decode(data, name, policy, min_side=max_side)
    if max(decoded.size) <= max_side and _is_plain(decoded):
        bare = without_metadata(data, decoded.image_format)
        if bare is not None and len(bare) <= max_bytes:
            return PromptPicture(bare, decoded.image_format.mime_type, *decoded.size)
    return _encode(to_rgb(decoded, name), max_side, max_bytes)


def _check_limits(max_side: int, max_bytes: int) -> None:
    if max_side < 1 or max_bytes < _LEAST_BYTES:
        msg = (
            f"max_side must be at least 1 and max_bytes at least {_LEAST_BYTES}, "
            f"not {max_side} and {max_bytes}"
        )
        raise ValueError(msg)


def _is_plain(decoded: Decoded) -> bool:
    image = decoded.image
    return (
        decoded.image_format in _PROMPT_FORMATS
        and decoded.orientation == 1
        and image.mode in _PLAIN_MODES
        and not image.has_transparency_data
        and not _is_animated(image)
    )


def _is_animated(image: Image.Image) -> bool:
    with quiet_pillow():
        try:
            return bool(getattr(image, "is_animated", False))
        except Exception:  # noqa: BLE001  a broken second frame: not to be sent as it is
            return True


def _shrink(image: Image.Image, max_side: int) -> Image.Image:
    longest = max(image.size)
    if longest <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _encodings(image: Image.Image) -> Iterator[tuple[bytes, str]]:
    """What `image` can be sent as, the best first."""
    colours: Any = image.getcolors(_FEW_COLOURS)
    is_grey = colours is not None and all(red == green == blue for _, (red, green, blue) in colours)
    if is_grey:
        image = image.convert("L")  # the same greys: a third of the bytes, and a tenth of the time
    jpegs = ((_save(image, "JPEG", quality=quality, optimize=True), JPEG.mime_type) for quality in _QUALITIES)
    is_icon = image.width * image.height <= _ICON_PIXELS
    if is_icon or colours is not None:
        png = _save(image, "PNG", optimize=True), PNG.mime_type
        if is_icon or not is_grey or len(colours) <= _FEW_GREYS:
            yield png
        else:  # a photograph, a scan, a gradient? The smaller of the two tells
            yield from sorted((png, next(jpegs)), key=lambda encoded: len(encoded[0]))
    yield from jpegs


def _save(image: Image.Image, pillow_format: str, **options: int) -> bytes:
    encoded = BytesIO()
    image.save(encoded, pillow_format, **options)
    return encoded.getvalue()
