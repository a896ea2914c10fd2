"""The further pages of a TIFF file."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from PIL import Image, TiffImagePlugin

from langchain_mmrag.errors import CorruptMediaError, LoadError
from langchain_mmrag.media.decode import Decoded, check_pixels, orientation_of, to_rgb
from langchain_mmrag.media.formats import TIFF, sniff
from langchain_mmrag.media.policy import DEFAULT_POLICY, MediaPolicy
from langchain_mmrag.media.quiet import quiet_pillow

_KIND = 254
"""Tag NewSubfileType: bit 0 marks a smaller copy of another page, bit 2 a mask."""
_NO_PAGE = 0b101
_MOST_PAGES = 10_000


def further_pages(
    data: bytes, name: str, policy: MediaPolicy = DEFAULT_POLICY
) -> Iterator[tuple[int, Image.Image | LoadError]]:
    """Pages after the first of a TIFF file, as upright RGB pictures, one at a time; none of other formats.

    Args:
        data: The file's bytes.
        name: What it is called in messages.
        policy: How large a page may be.

    Yields:
        The page's number, from 2, and the page, or the reason why it cannot be read. A file that ends too
        early ends with such a reason.
    """
    if sniff(data) is not TIFF:
        return
    with quiet_pillow():
        image = TiffImagePlugin.TiffImageFile(BytesIO(data))
    number = 1
    for frame in range(1, _MOST_PAGES):
        try:
            with quiet_pillow():
                image.seek(frame)
                if int(image.tag_v2.get(_KIND, 0)) & _NO_PAGE:
                    continue
                number += 1
                check_pixels(image.size, f"page {number} of {name}", policy)
                size = image.size
                image.load()
                page = image.copy()
                page.info = dict(image.info)
                decoded = Decoded(page, size, orientation_of(image), TIFF)
            yield number, to_rgb(decoded, f"page {number} of {name}")
        except EOFError:
            return
        except LoadError as error:
            yield number, error
        except Exception as error:  # noqa: BLE001  hostile bytes make Pillow raise nearly every kind there is
            msg = f"page {number} of {name} is broken or cut off ({error or type(error).__name__})"
            yield number, CorruptMediaError(msg)
            return
