"""What pages are made of, in the order they are read: headings, words, tables and pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture that a page shows.

    Attributes:
        src: Where it lies, as the page says it: relative path, address, data-URI.
        alt: What the page says in its place.
        title: What the page says on top of it.
        caption: What stands below or above it.
        width: In pixels, as the page says; 0 if it does not.
        height: Likewise.
    """

    src: str
    alt: str = ""
    title: str = ""
    caption: str = ""
    width: int = 0
    height: int = 0

    @property
    def words(self) -> str:
        """The best of what is said about it."""
        return self.caption or self.alt or self.title


@dataclass(frozen=True)
class Heading:
    """Begins a section; an empty one begins a section without a heading."""

    level: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Words:
    """A paragraph, an item of a list (`tight`: no gap before it), or code; with the pictures in it."""

    text: str
    tight: bool = False
    is_code: bool = False
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table; `pictures` are those in its cells."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Caption:
    """Of the picture before it or the table after it; words like others if there is neither."""

    text: str


Block: TypeAlias = "Heading | Words | Grid | Caption"


def with_caption(block: Block, caption: str) -> Block:
    """The block with `caption` on the picture or table that it is, as far as it has none."""
    if isinstance(block, Grid):
        return block if block.caption else replace(block, caption=caption)
    if isinstance(block, Words) and block.pictures:
        pictures = tuple(one if one.caption else replace(one, caption=caption) for one in block.pictures)
        return replace(block, pictures=pictures)
    return block


def takes_caption(block: Block | None) -> bool:
    """Whether a block is a table, or a picture without words around it."""
    return isinstance(block, Grid) or (isinstance(block, Words) and bool(block.pictures) and not block.text)


def pixels(value: str) -> int:
    """A width or height as pages write it, `80` or `80px`; 0 for any other."""
    match = re.fullmatch(r"\s*([0-9]{1,6})(?:px)?\s*", value)
    return int(match[1]) if match else 0
