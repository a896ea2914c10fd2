"""What callers may pass: checked lists of texts and images, and what a LangChain content block holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from langchain_mmrag.errors import UnsafeSourceError, UnsupportedModalityError
from langchain_mmrag.media import MediaPolicy, describe_source, open_image
from langchain_mmrag.types import ImageInput

if TYPE_CHECKING:
    from PIL.Image import Image

_URL_SCHEMES = ("http://", "https://", "data:")
_SHOWN_CHARS = 60


def checked_texts(texts: Iterable[Any]) -> list[str]:
    """The texts as a list.

    Raises:
        TypeError: If there is one bare `str`, or something else than a `str` in the list.
    """
    if isinstance(texts, str):
        msg = "expected a list of texts, not one str; embed_query embeds a single text"
        raise TypeError(msg)
    texts = list(texts)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            msg = f"text {index} must be a str, not {type(text).__name__}; embed_image embeds images"
            raise TypeError(msg)
    return texts


def checked_images(images: Any) -> list[ImageInput]:
    """The images as a list.

    Raises:
        TypeError: If there is one bare image, or something in the list that cannot be one.
    """
    if is_one_image(images):
        msg = (
            f"expected a list of images, not one ({describe_source(images)}); embed_image takes a single one"
        )
        raise TypeError(msg)
    listed: list[ImageInput] = list(images)
    for index, image in enumerate(listed):
        if not is_one_image(image):
            kinds = "a path, URL, data-URI, bytes, binary file or PIL image"
            msg = f"image {index} must be {kinds}, not {type(image).__name__}"
            raise TypeError(msg)
    return listed


def is_one_image(image: object) -> bool:
    """Whether this is a single image rather than a list of them."""
    from PIL.Image import Image

    one = isinstance(image, str | bytes | bytearray | memoryview | PathLike | Image)
    return one or callable(getattr(image, "read", None))


@runtime_checkable
class OpensItself(Protocol):
    """A binary file that knows how it is opened as a picture: under a policy of its own, for example."""

    def opened(self, policy: MediaPolicy, min_side: int | None) -> Image:
        """As `open_image` gives it, within the limits of `policy` on its size as well."""


def opened(image: ImageInput, policy: MediaPolicy, min_side: int | None) -> Image:
    """An upright RGB picture.

    Raises:
        LoadError: If it cannot be read.
    """
    if isinstance(image, OpensItself):
        return image.opened(policy, min_side)
    return open_image(image, policy, min_side=min_side)


def chunks(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """The rows in runs of at most `size`."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def excerpt(text: str) -> str:
    """A text as messages quote it."""
    return repr(text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…")


def text_of(block: Any, index: int) -> str | None:
    """The text of a `text` or `text-plain` block; None if the block is of another type.

    Raises:
        TypeError: If this is no content block at all.
    """
    if not isinstance(block, Mapping):
        msg = f"content block {index} must be a dict with a 'type', not {type(block).__name__}"
        raise TypeError(msg)
    text = block.get("text")
    return text if block.get("type") in {"text", "text-plain"} and isinstance(text, str) else None


def picture_of(block: Mapping[str, Any], index: int) -> str:
    """The picture of an image block, as a URL or a data-URI.

    Reads the standard `image` block (`url` or `base64`), its predecessor with `source_type`, and `image_url`.

    Raises:
        UnsupportedModalityError: If the block is no image block, or names a file kept by a provider.
        UnsafeSourceError: If its address is neither `http(s)` nor a data-URI: blocks come with chat messages,
            from people who have no business naming files of this machine.
    """
    url = block.get("url")
    if block.get("type") == "image_url":
        named = block.get("image_url")
        url = named.get("url") if isinstance(named, Mapping) else named
    elif block.get("type") != "image":
        msg = f"content block {index} is of type {block.get('type')!r}: only text and images can be embedded"
        raise UnsupportedModalityError(msg)
    encoded = block.get("base64", block.get("data"))
    if isinstance(encoded, str):
        return f"data:{block.get('mime_type') or ''};base64,{encoded}"
    if not isinstance(url, str):
        msg = f"content block {index} has neither url nor base64; a file_id only its provider can read"
        raise UnsupportedModalityError(msg)
    if not url.lower().startswith(_URL_SCHEMES):
        msg = (
            f"content block {index} names {describe_source(url)}, which is neither an http(s) address nor a "
            "data-URI; for a file of this machine call embed_image(path)"
        )
        raise UnsafeSourceError(msg)
    return url
