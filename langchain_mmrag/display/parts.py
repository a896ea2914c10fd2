"""What pages, notebooks and figures show alike: a thumbnail, the words of a passage, of a query."""

from __future__ import annotations

import re
from html import escape
from os import PathLike, fsdecode
from typing import TYPE_CHECKING, Final, TypeAlias

from langchain_core.documents import Document

from langchain_mmrag.citations import Piece, pieces_of
from langchain_mmrag.citing import read_in
from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import (
    MediaPolicy,
    PromptPicture,
    describe_source,
    encode_image,
    open_image,
    reason_of,
)
from langchain_mmrag.prompts import cite, kind_of
from langchain_mmrag.quotes import excerpt_of, found_span
from langchain_mmrag.types import SOURCE, ImageInput, Modality, image_source, thumbnails_of

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
_BAR: Final = re.compile(r"(?<!\\)\|")
_RULE: Final = re.compile(r"\|(?:\s*:?-+:?\s*\|)+")


def thumbnail(
    source: ImageInput, policy: MediaPolicy, *, side: int, max_bytes: int = _PAGE_BYTES
) -> PromptPicture | str:
    """A picture with its longer side `side` pixels at most, or why it is not shown."""
    try:
        image = open_image(source, policy)
    except LoadError as error:
        return f"picture not shown: {reason_of(error)}"
    return encode_image(image, max_side=side, max_bytes=max_bytes)


def picture_of(document: Document) -> str | None:
    """What to show: its picture or the one it was read in, or of a video and the like its first thumbnail."""
    if kind_of(document) == "image":
        return image_source(document.metadata)
    if picture := read_in(document):
        return picture
    return next(iter(thumbnails_of(document.metadata)), None)


def linked(answer: str, anchor: str, count: int) -> str:
    """An answer in HTML whose citations lead to the hits they cite.

    Args:
        answer: Text.
        anchor: The hits have ids of this, `-` and their number.
        count: How many hits there are.
    """
    return "".join(_linked(piece, anchor) for piece in pieces_of(answer, count))


def _linked(piece: Piece, anchor: str) -> str:
    numbers = piece.numbers or ()
    if len(numbers) == 1:
        return _link(piece.text, anchor, numbers[0])
    parts = re.split(r"(\d+)", piece.text) if numbers else [piece.text]
    return "".join(
        _link(part, anchor, int(part)) if part.isdigit() and int(part) in numbers else escape(part)
        for part in parts
    )


def _link(text: str, anchor: str, number: int) -> str:
    return f'<a href="#{anchor}-{number}">{escape(text)}</a>'


def passage_of(document: Document, longest: int) -> tuple[str, str]:
    """The heading of a document's text, if it begins with one, and what to show of the rest."""
    text = document.page_content.strip()
    heading = str(document.metadata.get("heading", ""))
    part = excerpt_of(document, longest)
    shown = part.marked.strip()
    if not heading or not text.startswith(heading):
        return "", shortened(shown, longest)
    return heading, shortened(shown if part.cut_before else shown[len(heading) :].strip(), longest)


def rows_of(document: Document, most: int, columns: int, chars: int) -> tuple[str, list[list[str]]]:
    """What stands above a table in Markdown, and its rows: the header, then `most` from where it was found.

    Args:
        document: A hit; of one that is no such table there are no rows.
        most: Rows besides the header; a row of a single `…` tells of others before and after them.
        columns: Of each row.
        chars: Of each cell.
    """
    lines = document.page_content.split("\n")
    rules = (place for place, line in enumerate(lines) if place and _RULE.fullmatch(line.strip()))
    is_row = kind_of(document) in {"table", "image"}  # a picture in a row has the row as its text
    rule = next(rules, None) if is_row else None
    if rule is None:
        return "", []
    body = [line.strip() for line in lines[rule + 1 :] if line.strip().startswith("|")]
    span = found_span(document)
    found = 0 if span is None else document.page_content.count("\n", 0, span[0]) - rule - 1
    start = max(0, min(found, len(body) - most))
    kept = [_cells(line)[:columns] for line in (lines[rule - 1].strip(), *body[start : start + most])]
    header, *rows = [[shortened(cell, chars) for cell in row] for row in kept]
    before, after = [["…"]] if start else [], [["…"]] if start + most < len(body) else []
    return "\n".join(lines[: rule - 1]).strip(), [header, *before, *rows, *after]


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in _BAR.split(line.removeprefix("|").removesuffix("|"))]


def encodable(html: str) -> str:
    """A page with a mark in place of what no file can hold: halves of characters, as broken texts have."""
    return html.encode("utf-8", "replace").decode("utf-8")


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
    return query.text or ("" if query.image is None else _told_image(query.image))


def not_wanted(query: str | Query) -> str:
    """What a query does not want, in words."""
    if isinstance(query, str):
        return ""
    image = None if query.not_image is None else _told_image(query.not_image)
    parts = [part for part in (query.not_text, image) if part is not None]
    return f"Not like: {', '.join(parts)}" if parts else ""


def _told_image(image: ImageInput) -> str:
    """Which picture is meant, without the folders it lies in."""
    if isinstance(image, str | PathLike):
        return cite(Document("", metadata={SOURCE: fsdecode(image)}))
    return describe_source(image)
