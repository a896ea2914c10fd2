"""HTML to blocks, as it is parsed: nothing is kept but the block, table or figure that is open.

libxml2 mends the tags, as browsers do; no step recurses, so that a page may nest as deep as it likes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from langchain_mmrag._extras import require
from langchain_mmrag.document_loaders._blocks import (
    Block,
    Caption,
    Grid,
    Heading,
    Picture,
    Words,
    pixels,
    with_caption,
)
from langchain_mmrag.document_loaders._grid import Cell, OpenTable
from langchain_mmrag.media import holds_secret, is_url, without_user_info

_DROPPED: Final = frozenset(
    """
    script style nav template noscript svg iframe object embed applet canvas audio video map select datalist
    button textarea input annotation annotation-xml rp rt
    """.split()  # noqa: SIM905
)
_BLOCKS: Final = frozenset(
    """
    address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption
    figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu ol p pre section
    summary table tbody td tfoot th thead tr ul
    """.split()  # noqa: SIM905
)
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_DEEPEST: Final = 8
"""Tables, figures and lists nested deeper than this are read as running text."""
_FEED: Final = 2**16
_SPACE = re.compile(r"\s+")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_NOTE = re.compile(r"(foot|end)note[-_]|cite_note|fn:?\d")
_BACK: Final = frozenset("↑ ↩ ↩︎".split(" "))  # noqa: SIM905  leads from a note to where it is called
_SAVED_FROM = re.compile(r"\s*saved from url=\(\d+\)(\S+)")


@dataclass
class PageFacts:
    """What a page says of itself, known as far as it has been read."""

    title: str = ""
    url: str = ""
    base: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass
class _Open:
    """An element whose end has not come."""

    close: Callable[[], None] | None = None


def html_blocks(html: str, page: PageFacts) -> Iterator[Block]:
    """Yield the blocks of a page in its order.

    What nobody sees is left out (scripts, styles, templates, comments, hidden elements), and so is what leads
    through a site rather than says something: navigation, buttons, forms. Emphasis and the addresses of
    links are not kept, which take up the room of words in a passage.

    Args:
        html: The page.
        page: Is told what the page says of itself.
    """
    etree = require("lxml.etree", extra="office")
    target = _Target(page)
    parser = etree.HTMLParser(target=target, encoding="utf-8", huge_tree=True)
    for start in range(0, len(html), _FEED):
        parser.feed(html[start : start + _FEED].replace("\0", "").encode("utf-8", "replace"))
        yield from target.drain()
    parser.close()
    yield from target.drain()


class _Target:
    """Told of tags and text by the parser; ends come for every start."""

    def __init__(self, page: PageFacts) -> None:
        self.page = page
        self._open: list[_Open] = []
        self._dropping = 0  # elements open, from one that is dropped on
        self._inline: list[str] = []
        self._pictures: list[Picture] = []
        self._sinks: list[list[Block]] = [[]]  # the page, then each open cell, figure or caption
        self._tables: list[OpenTable] = []
        self._figures = 0
        self._lists: list[int | None] = []  # number of the item to come; None: bullets
        self._prefix = ""
        self._pre = 0
        self._capture: list[str] | None = None  # the title's words
        self._in_notes = False

    def drain(self) -> list[Block]:
        """The blocks since the last call."""
        blocks, self._sinks[0] = self._sinks[0], []
        return blocks

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if self._dropping:
            self._dropping += 1
            return
        if tag in _DROPPED or _is_hidden(attributes):
            self._dropping = 1
            return
        if tag in _BLOCKS:
            self._flush()
        element = _Open()
        self._open.append(element)
        if begin := getattr(self, f"_start_{_FAMILY.get(tag, tag)}", None):
            element.close = begin(tag, attributes)
        elif tag in _BLOCKS:
            element.close = self._flush

    def end(self, _tag: str) -> None:
        if self._dropping:
            self._dropping -= 1
        elif self._open and (close := self._open.pop().close):
            close()

    def data(self, text: str) -> None:
        if self._dropping:
            return
        if self._capture is not None:
            self._capture.append(text)
        elif text.strip() not in _BACK:
            self._inline.append(text if self._pre else _SPACE.sub(" ", text))

    def comment(self, text: str) -> None:
        if match := _SAVED_FROM.match(text):
            self._say_url(match[1])

    def close(self) -> None:
        self._flush()

    # elements: each method may return what to do at the element's end

    def _start_title(self, _tag: str, _attributes: Mapping[str, str]) -> Callable[[], None] | None:
        if self.page.title:
            return None
        self._capture = []

        def end() -> None:
            self.page.title = _SPACE.sub(" ", "".join(self._capture or ())).strip()
            self._capture = None

        return end

    def _start_link(self, _tag: str, attributes: Mapping[str, str]) -> None:
        if "canonical" in attributes.get("rel", "").lower().split():
            self._say_url(attributes.get("href", ""))

    def _start_meta(self, _tag: str, attributes: Mapping[str, str]) -> None:
        if attributes.get("property", "").lower() == "og:url":
            self._say_url(attributes.get("content", ""))

    def _start_base(self, _tag: str, attributes: Mapping[str, str]) -> None:
        self.page.base = self.page.base or attributes.get("href", "")

    def _start_br(self, _tag: str, _attributes: Mapping[str, str]) -> None:
        self._inline.append("\n")

    def _start_heading(self, tag: str, _attributes: Mapping[str, str]) -> Callable[[], None]:
        self._prefix = ""

        def end() -> None:
            text, pictures = self._taken()
            text = _SPACE.sub(" ", text)
            if text and self._tables:  # in a cell it is no section of the page, but its table is a layout
                self._tables[-1].is_layout = True
            if text:
                self._emit(Heading(_HEADINGS[tag], text))
                self.page.title = self.page.title or text
            if pictures:
                self._emit(Words(text="", pictures=pictures))

        return end

    def _start_pre(self, _tag: str, _attributes: Mapping[str, str]) -> Callable[[], None]:
        self._pre += 1

        def end() -> None:
            self._pre -= 1
            code = "".join(self._inline).strip("\n").expandtabs(4)
            self._inline = []
            if code.strip():
                self._emit(Words(text=f"```\n{code}\n```", is_code=True))
            self._flush()

        return end

    def _start_list(self, tag: str, attributes: Mapping[str, str]) -> Callable[[], None]:
        first = re.fullmatch(r"[0-9]{1,8}", attributes.get("start", ""))
        number = int(first[0]) if first else 1
        self._lists.append(number if tag == "ol" else None)

        def end() -> None:
            self._flush()
            self._lists.pop()

        return end

    def _start_li(self, _tag: str, attributes: Mapping[str, str]) -> Callable[[], None]:
        if not self._in_notes and _NOTE.match(attributes.get("id", "")):
            self._in_notes = True
            self._emit(Heading(1, ""))  # notes are not of the section that happens to be the last
        number = self._lists[-1] if self._lists else None
        if number is not None:
            self._lists[-1] = number + 1
        indent = "  " * min(max(len(self._lists) - 1, 0), _DEEPEST)
        self._prefix = f"{indent}{'-' if number is None else f'{number}.'} "

        def end() -> None:
            self._flush()
            self._prefix = ""

        return end

    def _start_figure(self, _tag: str, _attributes: Mapping[str, str]) -> Callable[[], None]:
        if self._figures == _DEEPEST:
            return self._flush
        self._figures += 1
        self._sinks.append([])

        def end() -> None:
            self._flush()
            self._figures -= 1
            for block in _captioned_figure(self._sinks.pop()):
                self._emit(block)

        return end

    def _start_caption(self, tag: str, _attributes: Mapping[str, str]) -> Callable[[], None]:
        def end() -> None:
            text, pictures = self._taken()
            text = _SPACE.sub(" ", text)
            if tag == "caption" and self._tables:
                self._tables[-1].caption = self._tables[-1].caption or text
            elif text:
                self._emit(Caption(text))
            if pictures:
                self._emit(Words(text="", pictures=pictures))

        return end

    def _start_img(self, _tag: str, attributes: Mapping[str, str]) -> None:
        src = _src_of(attributes)
        if self.page.base and src[:5].lower() != "data:":
            src = _joined(self.page.base, src)
        picture = Picture(
            src=src,
            alt=_SPACE.sub(" ", attributes.get("alt", "")).strip(),
            title=_SPACE.sub(" ", attributes.get("title", "")).strip(),
            width=pixels(attributes.get("width", "")),
            height=pixels(attributes.get("height", "")),
        )
        self._pictures.append(picture)

    def _start_table(self, _tag: str, attributes: Mapping[str, str]) -> Callable[[], None]:
        if len(self._tables) == _DEEPEST:
            return self._flush
        if self._tables:
            self._tables[-1].is_layout = True
        self._tables.append(OpenTable(is_layout=attributes.get("role") in {"presentation", "none"}))

        def end() -> None:
            self._flush()
            table = self._tables.pop()
            if table.is_cut:
                self.page.notes.append("a table has too many cells: the rest of it is left out")
            for block in table.blocks():
                self._emit(block)

        return end

    def _start_tr(self, _tag: str, _attributes: Mapping[str, str]) -> Callable[[], None]:
        if self._tables:
            self._tables[-1].begin_row()
        return self._flush

    def _start_cell(self, tag: str, attributes: Mapping[str, str]) -> Callable[[], None]:
        if not self._tables or len(self._sinks) > 3 * _DEEPEST:
            return self._flush
        table = self._tables[-1]
        self._sinks.append([])
        lists, self._lists = self._lists, []

        def end() -> None:
            self._flush()
            self._lists = lists
            spans = (pixels(attributes.get(name, "")) or 1 for name in ("colspan", "rowspan"))
            table.add(Cell(self._sinks.pop(), tag == "th", *spans))

        return end

    # blocks

    def _taken(self) -> tuple[str, tuple[Picture, ...]]:
        """The running text and the pictures in it, which are taken away."""
        text = re.sub(r" *\n *", "\n", re.sub(r" {2,}", " ", "".join(self._inline))).strip()
        pictures = tuple(self._pictures)
        self._inline, self._pictures = [], []
        return text, pictures

    def _flush(self) -> None:
        """End of a block: what has run up to here is a paragraph."""
        if not self._inline and not self._pictures:
            return
        if self._pre:
            return
        text, pictures = self._taken()
        if text:
            self._emit(Words(text=self._prefix + text, tight=bool(self._lists), pictures=pictures))
            self._prefix = " " * len(self._prefix) if self._lists else ""
        elif pictures:
            self._emit(Words(text="", pictures=pictures))

    def _emit(self, block: Block) -> None:
        self._sinks[-1].append(block)

    def _say_url(self, url: str) -> None:
        if not self.page.url and is_url(url) and not holds_secret(url):
            self.page.url = without_user_info(url.strip())


_FAMILY: Final = {
    **dict.fromkeys(_HEADINGS, "heading"),
    **dict.fromkeys(("ul", "ol", "menu", "dir"), "list"),
    **dict.fromkeys(("td", "th"), "cell"),
    **dict.fromkeys(("figcaption", "caption"), "caption"),
    **dict.fromkeys(("listing", "xmp"), "pre"),
    "image": "img",
}


def _captioned_figure(blocks: list[Block]) -> Iterator[Block]:
    """What a figure shows, with its caption on it; the caption as words if it shows nothing."""
    caption = " ".join(block.text for block in blocks if isinstance(block, Caption))
    has_any = any(
        isinstance(block, Grid) or (isinstance(block, Words) and block.pictures) for block in blocks
    )
    for block in blocks:
        if not isinstance(block, Caption):
            yield with_caption(block, caption) if caption else block
        elif not has_any:
            yield Words(text=block.text)


def _is_hidden(attributes: Mapping[str, str]) -> bool:
    if not attributes:
        return False
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or attributes.get("role") in {"navigation", "menu", "menubar", "search"}
        or _HIDDEN.search(attributes.get("style", "")) is not None
    )


def _src_of(attributes: Mapping[str, str]) -> str:
    """Where a picture lies; pages that load it late say it elsewhere, with a placeholder in its place."""
    src = attributes.get("src", "").strip()
    later = attributes.get("data-src") or attributes.get("data-original") or ""
    if later and (not src or src[:5].lower() == "data:"):
        return later.strip()
    return src or attributes.get("srcset", "").strip().partition(" ")[0].rstrip(",")


def _joined(base: str, src: str) -> str:
    from urllib.parse import urljoin

    try:
        return urljoin(base, src)
    except ValueError:
        return src
