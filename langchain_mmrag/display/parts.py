"""What pages, notebooks and figures show alike: a thumbnail, the words of a passage, of a query."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from langchain_core.documents import Document
from PIL import Image

from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import MediaPolicy, describe_source, encode_image, open_image
from langchain_mmrag.prompts import kind_of
from langchain_mmrag.quotes import excerpt_of
from langchain_mmrag.types import THUMBNAIL, ImageInput, Modality, image_source

if TYPE_CHECKING:
    from langchain_mmrag.queries import Query

Hit: TypeAlias = Document | tuple[Document, float | None]
"""A document found, alone or with its score."""

KINDS: Final[dict[Modality, str]] = {
    "image": "picture",
    "text": "passage",
    "table": "table",
    "video": "video",
    "audio": "audio",
}
"""What people call a document of a modality."""

_PAGE_BYTES: Final = 3_500_000


@dataclass(frozen=True)
class Thumbnail:
    """A picture made small.

    Attributes:
        data: Its bytes, PNG or JPEG.
        mime_type: Which of them.
    """

    data: bytes
    mime_type: str

    @property
    def uri(self) -> str:
        """The picture as an address that holds it."""
        return f"data:{self.mime_type};base64,{b64encode(self.data).decode('ascii')}"

    @property
    def image(self) -> Image.Image:
        """Its pixels."""
        return open_image(self.data)


def thumbnail(
    source: ImageInput, policy: MediaPolicy, *, side: int, max_bytes: int = _PAGE_BYTES
) -> Thumbnail | LoadError:
    """A picture with its longer side `side` pixels at most, or the reason why there is none."""
    try:
        image = open_image(source, policy)
    except LoadError as error:
        return error
    return Thumbnail(*encode_image(image, max_side=side, max_bytes=max_bytes))


def picture_of(document: Document) -> str | None:
    """What to show of a document: its picture, or of a video and the like its first thumbnail."""
    if kind_of(document) == "image":
        return image_source(document.metadata)
    given = document.metadata.get(THUMBNAIL)
    if isinstance(given, str) or not isinstance(given, Iterable):
        return str(given) if given else None
    return next((str(each) for each in given), None)


def passage_of(document: Document, longest: int) -> tuple[str, str]:
    """The heading of a document's text, if it begins with one, and what to show of the rest."""
    text = document.page_content.strip()
    heading = str(document.metadata.get("heading", ""))
    part = excerpt_of(document, longest)
    shown = part.marked.strip()
    if not heading or not text.startswith(heading):
        return "", shortened(shown, longest)
    return heading, shortened(shown if part.cut_before else shown[len(heading) :].strip(), longest)


def shortened(text: str, longest: int) -> str:
    """A text cut at a word, with a mark."""
    return text if len(text) <= longest else text[:longest].rsplit(maxsplit=1)[0] + " …"


def scored(hit: Hit) -> tuple[Document, float | None]:
    """A hit as a document and its score, or `None`."""
    return hit if isinstance(hit, tuple) else (hit, None)


def query_words(query: str | Query) -> str:
    """A query in words; of one without words, which picture it is."""
    if isinstance(query, str):
        return query
    return query.text or ("" if query.image is None else describe_source(query.image))


def not_wanted(query: str | Query) -> str:
    """What a query does not want, in words."""
    if isinstance(query, str):
        return ""
    image = None if query.not_image is None else describe_source(query.not_image)
    parts = [part for part in (query.not_text, image) if part is not None]
    return f"Not like: {', '.join(parts)}" if parts else ""
