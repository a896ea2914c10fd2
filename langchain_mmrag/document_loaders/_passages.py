"""Blocks of a page become parts: passages under their headings, tables and pictures next to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from langchain_mmrag.document_loaders._blocks import (
    Block,
    Caption,
    Grid,
    Heading,
    Picture,
    Words,
    takes_caption,
    with_caption,
)
from langchain_mmrag.document_loaders._pictures import PagePictures, caption_from
from langchain_mmrag.document_loaders._tables import Table, table_parts
from langchain_mmrag.document_loaders.base import Part
from langchain_mmrag.document_loaders.text import PASSAGE_TOKENS, estimate_tokens, pack
from langchain_mmrag.types import CAPTION, HEADING


class PartWriter:
    """Packs words into passages; tables and pictures follow the passage that they stand in or after.

    Keys are the number of a passage, `table-N` and `picture-N`, so that they do not shift when a picture
    cannot be read.

    Args:
        pictures: Reads what the page shows.
        max_tokens: Size of a passage in tokens of CLIP's tokenizer, estimated.
        metadata: Of every part; may grow while the page is read.
    """

    def __init__(
        self,
        pictures: PagePictures,
        *,
        max_tokens: int = PASSAGE_TOKENS,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.pictures = pictures
        self.max_tokens = max_tokens
        self.metadata = metadata if metadata is not None else {}
        self._passages = self._tables = self._shown = 0
        self._begin(Heading(0, ""))

    def parts(self, blocks: Iterator[Block]) -> Iterator[Part]:
        """Yield the parts of a page in its order."""
        for block in _captioned(blocks):
            if isinstance(block, Heading):
                yield from self._end_section(block.level)
                self._begin(block)
            elif isinstance(block, Grid):
                yield from self._flush()
                yield from self._grid(block)
            elif isinstance(block, Words):
                yield from self._words(block)
        yield from self._end_section(0)

    def _begin(self, heading: Heading) -> None:
        self._level = heading.level
        self._heading = pack(heading.text, self.max_tokens // 2)[0] if heading.text else ""
        self._room = self.max_tokens - estimate_tokens(self._heading)
        self._text, self._used = "", 0
        self._near: str | None = None  # key of the section's last passage, or first table
        self._waiting: list[Part] = []  # for the passage that they stand in

    def _end_section(self, next_level: int) -> Iterator[Part]:
        if self._text or self._waiting:
            yield from self._flush(at_end=True)
        elif self._near is None and self._heading and next_level <= self._level:
            yield self._passage("")

    def _words(self, block: Words) -> Iterator[Part]:
        shown, unshown = self._shown_in(block)
        # what a picture is captioned with stands in its own document; if it has none, it is said here
        text = block.text or " ".join(one.caption for one in unshown).strip()
        if text:
            yield from self._add(replace(block, text=text))
        if self._text or self._near is None:
            self._waiting += shown
        else:
            yield from (replace(part, near=self._near) for part in shown)

    def _add(self, block: Words) -> Iterator[Part]:
        gap = "\n" if block.tight and self._text else "\n\n"
        size = estimate_tokens(block.text)
        if self._used + size <= self._room:
            self._text = f"{self._text}{gap}{block.text}".strip("\n")
            self._used += size
            return
        yield from self._flush()
        *whole, self._text = _code(block.text, self._room) if block.is_code else pack(block.text, self._room)
        for text in whole:
            yield self._passage(text)
        self._used = estimate_tokens(self._text)

    def _flush(self, *, at_end: bool = False) -> Iterator[Part]:
        """The passage that is being filled, then the pictures in it."""
        if self._text or (at_end and self._waiting and self._near is None and self._heading):
            yield self._passage(self._text)
            self._text, self._used = "", 0
        if self._near is not None or at_end:
            yield from (replace(part, near=self._near) for part in self._waiting)
            self._waiting = []

    def _passage(self, text: str) -> Part:
        self._near = str(self._passages)
        self._passages += 1
        text = f"{self._heading}\n\n{text}" if self._heading and text else self._heading or text
        return Part(text=text, metadata=self._named(), key=self._near)

    def _grid(self, grid: Grid) -> Iterator[Part]:
        key = f"table-{self._tables}"
        self._tables += 1
        named = self._named() | ({CAPTION: grid.caption} if grid.caption else {})
        title = grid.caption or self._heading
        table = Table(header=grid.header, rows=grid.rows, title=title)
        for part in table_parts(table, key=key, metadata=named, near=self._near):
            yield replace(part, text=f"{title}\n\n{part.text}" if title else part.text)
        self._near = self._near or key
        shown, _ = self._shown_in(Words(text="", pictures=grid.pictures))
        yield from (replace(part, near=key) for part in shown)

    def _shown_in(self, block: Words) -> tuple[list[Part], list[Picture]]:
        parts, unshown = [], []
        for picture in block.pictures:
            key = f"picture-{self._shown}"
            self._shown += 1
            facts = self.pictures.read(picture)
            if facts is None:
                unshown.append(picture)
                continue
            caption = caption_from(picture.words)
            metadata = self._named() | facts | ({CAPTION: caption} if caption else {})
            text = caption or self._heading
            parts.append(Part(text=text, modality="image", metadata=metadata, key=key))
        return parts, unshown

    def _named(self) -> dict[str, Any]:
        return {**self.metadata, **({HEADING: self._heading} if self._heading else {})}


def _captioned(blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks with each caption on the picture before it or the table after it."""
    before: Block | None = None
    caption: Caption | None = None
    for block in blocks:
        if caption is not None:
            if isinstance(block, Grid):
                block = with_caption(block, caption.text)  # noqa: PLW2901
            else:
                yield Words(text=caption.text)
            caption = None
        if isinstance(block, Caption):
            if before is not None and takes_caption(before) and not isinstance(before, Grid):
                yield with_caption(before, block.text)
                before = None
                continue
            caption = block
        if before is not None:
            yield before
        before = None if isinstance(block, Caption) else block
    if before is not None:
        yield before
    if caption is not None:
        yield Words(text=caption.text)


def _code(text: str, room: int) -> list[str]:
    """Code between its fences, cut between lines as far as they fit."""
    first, *lines, last = text.split("\n")
    room -= estimate_tokens(first) + estimate_tokens(last)
    pieces, current, used = [], list[str](), 0
    for line in lines:
        size = estimate_tokens(line)
        if current and used + size > room:
            pieces.append(current)
            current, used = [], 0
        if size > room:
            pieces += [[piece] for piece in pack(line, max(room, 1))]
        else:
            current.append(line)
            used += size
    pieces += [current] if any(map(str.strip, current)) else []
    return ["\n".join([first, *piece, last]) for piece in pieces]
