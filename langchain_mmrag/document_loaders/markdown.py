"""A Markdown file becomes passages, its tables, and the pictures it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

from langchain_mmrag._extras import require
from langchain_mmrag.document_loaders._markdown import Marked, marked
from langchain_mmrag.document_loaders._page_loader import PageLoader, page_fingerprint
from langchain_mmrag.document_loaders._pictures import caption_from
from langchain_mmrag.document_loaders._tables import Table, table_parts
from langchain_mmrag.document_loaders.base import Part, SourceFile
from langchain_mmrag.document_loaders.text import Passage, decode_text, split_passages
from langchain_mmrag.errors import CorruptMediaError
from langchain_mmrag.types import CAPTION, HEADING, TITLE

TAGS: Final = "tags"
"""Metadata key: the words that a page is filed under."""
DATE: Final = "date"
"""Metadata key: the day that a page says it is of, as ISO 8601."""

_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
_LONGEST_FRONT_MATTER: Final = 2**15
_MOST_BRACKETS: Final = 200
_GAPS = re.compile(r"\n{3,}")


class MarkdownLoader(PageLoader):
    """Load a Markdown file: passages as `TextLoader` cuts them, tables, and pictures in place.

    A table is a document of its own and stands in no passage; it begins with the heading of its section. A
    picture has what stands in its place as caption, and is near the passage it stands in or after; it and
    the document of its own file count as one. `title`, `tags` and `date` come from a YAML header.

    Pictures are read from data-URIs, and from files below `picture_root`; those elsewhere are left alone.

    Args:
        path: The file.
        max_tokens: Size of a passage in tokens of CLIP's tokenizer, estimated.
        fetch_images: Whether pictures at `http(s)` addresses are fetched, under the policy, and kept.
        picture_root: Folder that pictures of the page must lie in; the page's own by default.
        media_policy: What may be opened.
        media_directory: Where pictures taken out of the page go.
    """

    name = ""

    @property
    def fingerprint(self) -> str:
        """Empty unless options were given."""
        given = page_fingerprint("markdown", max_tokens=self.max_tokens, fetch_images=self.fetch_images)
        return "" if given == "markdown" else given

    def parts(self, file: SourceFile) -> Iterator[Part]:
        """Yield passages, tables and pictures.

        Raises:
            LoadError: If the file is not text, or nothing in it can be read.
        """
        text, metadata = _without_front_matter(decode_text(file.read(), self.source))
        pictures = self.pictures_of(file)
        page = marked(text, pictures)
        writer = _Writer(page, metadata)
        for passage in split_passages(page.text, max_tokens=self.max_tokens):
            yield from writer.parts(passage)
        yield from writer.rest()
        pictures.report()
        if not writer.has_any and not file.problems:
            msg = f"{self.source} is empty: there is no text to index"
            raise CorruptMediaError(msg)


@dataclass
class _Writer:
    """Makes parts of passages, and of what is marked in them."""

    page: Marked
    metadata: dict[str, Any]
    has_any: bool = False
    _passages: int = 0
    _near: str | None = None
    _section: str = ""

    def parts(self, passage: Passage) -> Iterator[Part]:
        """Yield a passage, then the pictures and tables that stand in it."""
        text, places = self.page.take(passage.text)
        heading, _ = self.page.take(passage.heading, peek=True)
        text, heading = _GAPS.sub("\n\n", text).strip(), heading.strip()
        if heading != self._section:
            self._near = None
        self._section = heading
        named = {**self.metadata, **({HEADING: heading} if heading else {})}
        # a passage of pictures alone is none, unless nothing else says what section they are of
        if text and (text != heading or not places or self._near is None):
            self._near = str(self._passages)
            self._passages += 1
            self.has_any = True
            yield Part(text=text, metadata=named, key=self._near)
        for place in places:
            yield from self._marked(place, named, heading)

    def rest(self) -> Iterator[Part]:
        """Yield what no passage held, such as pictures in a heading that has no text below it."""
        for place in self.page.untaken():
            yield from self._marked(place, self.metadata, "")

    def _marked(self, place: int, named: dict[str, Any], heading: str) -> Iterator[Part]:
        self.has_any = True
        if place in self.page.tables:
            yield from self._table(place, named, heading)
        else:
            yield self._picture(place, named, heading, self._near)

    def _table(self, place: int, named: dict[str, Any], heading: str) -> Iterator[Part]:
        header, *rows = self.page.tables[place]
        taken = [[self.page.take(cell) for cell in row] for row in (header, *rows)]
        texts = [[text.strip() for text, _ in row] for row in taken]
        key = f"table-{place}"
        table = Table(header=texts[0], rows=texts[1:], title=heading)
        for part in table_parts(table, key=key, metadata=named, near=self._near):
            yield replace(part, text=f"{heading}\n\n{part.text}" if heading else part.text)
        for inner in (inner for row in taken for _, places in row for inner in places):
            yield self._picture(inner, named, heading, key)

    def _picture(self, place: int, named: dict[str, Any], heading: str, near: str | None) -> Part:
        picture, facts = self.page.pictures[place]
        caption = caption_from(picture.words)
        return Part(
            text=caption or heading,
            modality="image",
            metadata=named | facts | ({CAPTION: caption} if caption else {}),
            key=f"picture-{place}",
            near=near,
        )


def _without_front_matter(text: str) -> tuple[str, dict[str, Any]]:
    """The text below a YAML header, and what of the header goes into metadata."""
    match = _FRONT_MATTER.match(text[:_LONGEST_FRONT_MATTER])
    if match is None or sum(map(match[1].count, "[{")) > _MOST_BRACKETS:  # nesting takes YAML ages
        return text, {}
    yaml = require("yaml", extra="office")
    try:
        header = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, RecursionError):  # then it is text between two rules
        return text, {}
    if not isinstance(header, dict):
        return text, {}
    return text[match.end() :], _front_matter(header)


def _front_matter(header: dict[Any, Any]) -> dict[str, Any]:
    title, tags, day = (header.get(key) for key in (TITLE, TAGS, DATE))
    metadata: dict[str, Any] = {}
    if isinstance(title, str | int | float) and str(title).strip():
        metadata[TITLE] = str(title).strip()
    tags = [tag.strip() for tag in tags.split(",")] if isinstance(tags, str) else tags
    if isinstance(tags, list):
        words = [str(tag) for tag in tags if isinstance(tag, str | int | float) and str(tag).strip()]
        metadata |= {TAGS: words} if words else {}
    if isinstance(day, date):
        metadata[DATE] = day.isoformat()
    elif isinstance(day, str) and day.strip():
        metadata[DATE] = day.strip()
    return metadata
