"""Finds pictures and tables in Markdown, and marks where they stood in a text that is cut later."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from typing import Any, Final

from langchain_mmrag.document_loaders._blocks import Picture, pixels
from langchain_mmrag.document_loaders._pictures import PagePictures, caption_from

# A mark is a number in private-use characters, which no text needs and no cut falls into: of words, or of
# runs of punctuation, it is one.
_FIRST: Final = 0xE100
_DIGITS: Final = 16
_MARK = re.compile("\ue0ff([\ue100-\ue10f]+)\ue0fe")
_PRIVATE = re.compile("[\ue0fe-\ue10f]")

_FENCE = re.compile(r" {0,3}(?:[-*+>] {0,3})*(```+|~~~+)")
_DEFINITION = re.compile(
    r""" {0,3}\[([^\]\n]{1,200})\]:[ \t]*(<[^<>\n]*>|\S+)(?:[ \t]+["'(](.*)["')])?[ \t]*$"""
)
_SHOWN = re.compile(
    r"""
    (?P<code>(?P<ticks>(?<!`)`++).{1,500}?(?<!`)(?P=ticks)(?!`))
    | !\[(?P<alt>(?:[^\[\]\\]++|\\.|\[[^\[\]\n]{0,200}\]){0,200}+)\]
      (?: \(\s*+(?P<src><[^<>\n]*>|(?:[^\s()\\]++|\\.|\([^()\s]*\))*+)
            (?:\s++(?P<title>"[^"\n]*"|'[^'\n]*'|\([^()\n]*\)))?+\s*+\)
        | \[(?P<name>[^\[\]\n]{0,200})\]
        | (?![(\[]) )
    | !\[\[(?P<wiki>[^\[\]|\n]{1,500})(?:\|[^\[\]\n]{0,500})?\]\]
    | <img\b(?P<tag>[^<>]*)>
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"""(?<![a-z-])([a-z-]++)\s*+=\s*+("[^"]*"|'[^']*'|[^\s"'>]+)""", re.IGNORECASE)
_EMPTY_LINK = re.compile("\\[([\ue0fe-\ue10f\\s]*)\\]\\([^()\\s]*\\)")
_RULE = re.compile(r":?-+:?")
_BAR = re.compile(r"(?<!\\)\|")
_ESCAPED = re.compile(r"\\([\[\]()\\<>_*`|])")


@dataclass
class Marked:
    """A text with marks in it, and what they stand for, by number.

    Attributes:
        text: With a mark wherever a table or picture stood.
        pictures: What the page says of each, and its metadata.
        tables: Rows of cells, the header first; a cell may hold the mark of a picture.
    """

    text: str = ""
    pictures: dict[int, tuple[Picture, dict[str, Any]]] = field(default_factory=dict)
    tables: dict[int, list[list[str]]] = field(default_factory=dict)
    _taken: set[int] = field(default_factory=set)

    def take(self, text: str, *, peek: bool = False) -> tuple[str, list[int]]:
        """A piece of the text without its marks, and their numbers, each given once.

        Args:
            text: The piece.
            peek: Do not count the marks as given.
        """
        if not self.pictures and not self.tables:
            return text, []
        new = [number for number in dict.fromkeys(_numbers(text)) if number not in self._taken]
        if not peek:
            self._taken.update(new)
        return re.sub(r"(?<![ \t])[ \t]+\n", "\n", _PRIVATE.sub("", text)), new

    def untaken(self) -> list[int]:
        """Numbers of what no piece has held; each counts as given from now on."""
        held = {
            number
            for rows in self.tables.values()
            for row in rows
            for cell in row
            for number in _numbers(cell)
        }
        left = sorted((self.pictures.keys() | self.tables.keys()) - self._taken - held)
        self._taken.update(left)
        return left

    def mark(self) -> tuple[int, str]:
        """A number that is not given yet, and its mark."""
        number = len(self.pictures) + len(self.tables)
        digits = "".join(chr(_FIRST + int(digit, _DIGITS)) for digit in f"{number:x}")
        return number, f"\ue0ff{digits}\ue0fe"


def marked(text: str, pictures: PagePictures) -> Marked:
    """Read the pictures of a page and take its tables out. A page that has neither stays as it is.

    Words that stand in place of a picture stay in the text where it stands in a line of words; a picture
    alone in its paragraph takes them along, and where it cannot be read they are all there was of it.

    Args:
        text: Markdown.
        pictures: Reads them.
    """
    if "![" not in text and "|" not in text and "<img" not in text.lower():
        return Marked(text=text)
    page = Marked()
    plain = _PRIVATE.sub("", text)
    lines = plain.split("\n")
    outside = list(_outside_code(lines))
    definitions = _definitions(lines, outside)
    shown = [
        _with_marks(line, page, pictures, definitions) if is_text else line
        for line, is_text in zip(lines, outside, strict=True)
    ]
    page.text = "\n".join(_without_tables(shown, outside, page))
    if not page.pictures and not page.tables and page.text == plain:
        return Marked(text=text)
    return page


def _outside_code(lines: list[str]) -> Iterator[bool]:
    """Whether each line is outside a fenced block of code."""
    fence = ""
    for line in lines:
        found = _FENCE.match(line)
        if found and not fence:
            fence = found[1]
            yield False
        elif found and found[1].startswith(fence):
            fence = ""
            yield False
        else:
            yield not fence


def _definitions(lines: list[str], outside: list[bool]) -> dict[str, tuple[str, str]]:
    """Source and title by the name that pictures refer to."""
    matches = (_DEFINITION.match(line) for line, is_text in zip(lines, outside, strict=True) if is_text)
    found = [match for match in matches if match]
    return {_name(match[1]): (match[2], match[3] or "") for match in reversed(found)}


def _with_marks(
    line: str, page: Marked, pictures: PagePictures, definitions: dict[str, tuple[str, str]]
) -> str:
    """A line with a mark for each picture in it."""
    if "![" not in line and "<img" not in line.lower():
        return line
    is_alone = not re.sub(r"[\s>*_-]+|\[\s*\]\([^()\s]*\)", "", _SHOWN.sub(lambda m: m["code"] or "", line))

    def replaced(match: re.Match[str]) -> str:
        picture = _picture(match, definitions)
        if picture is None:
            return match[0]
        facts = pictures.read(picture)
        words = caption_from(picture.alt)
        if facts is None:
            return "" if is_alone else words
        number, mark = page.mark()
        page.pictures[number] = (picture, facts)
        return mark if is_alone else f"{words}{mark}"

    return _EMPTY_LINK.sub(r"\1", _SHOWN.sub(replaced, line))


def _picture(match: re.Match[str], definitions: dict[str, tuple[str, str]]) -> Picture | None:
    """What a match shows; `None` if it shows nothing: code, or a reference that leads nowhere."""
    if match["code"] is not None:
        return None
    if match["wiki"] is not None:
        return Picture(src=match["wiki"].strip())
    if match["tag"] is not None:
        found = {
            name.lower(): unescape(value.strip("\"'")) for name, value in _ATTRIBUTE.findall(match["tag"])
        }
        src, alt, title = (found.get(name, "").strip() for name in ("src", "alt", "title"))
        width, height = (pixels(found.get(name, "")) for name in ("width", "height"))
        return Picture(src=src, alt=alt, title=title, width=width, height=height)
    alt = _ESCAPED.sub(r"\1", match["alt"]).strip()
    if match["src"] is not None:
        title = (match["title"] or "")[1:-1]
        return Picture(src=_source(match["src"]), alt=alt, title=title)
    defined = definitions.get(_name(match["name"] or match["alt"]))
    return defined and Picture(src=_source(defined[0]), alt=alt, title=defined[1])


def _without_tables(lines: list[str], outside: list[bool], page: Marked) -> Iterator[str]:
    """The lines with a mark in place of each table of pipes."""
    place = 0
    while place < len(lines):
        if not all(outside[place : place + 2]) or not _begins_table(lines[place : place + 2]):
            yield lines[place]
            place += 1
            continue
        header = _cells(lines[place])
        rows = [header]
        place += 2
        while place < len(lines) and outside[place] and "|" in lines[place]:
            rows.append(_cells(lines[place])[: len(header)])
            place += 1
        number, mark = page.mark()
        page.tables[number] = rows
        yield f"\n{mark}\n"


def _begins_table(lines: list[str]) -> bool:
    """Whether two lines are the header of a table and the rule below it."""
    if len(lines) < 2 or "|" not in lines[0] or lines[1].strip("|-: \t"):  # noqa: PLR2004
        return False
    header, rule = map(_cells, lines)
    is_sure = len(header) > 1 or "|" in lines[1]  # else it may be a heading that is underlined
    return is_sure and len(header) == len(rule) and all(map(_RULE.fullmatch, rule))


def _cells(line: str) -> list[str]:
    line = line.strip()
    cells = _BAR.split(line)
    cells = cells[1:] if line.startswith("|") else cells
    cells = cells[:-1] if cells and not cells[-1].strip() and line.endswith("|") else cells
    return [cell.strip().replace("\\|", "|") for cell in cells]


def _source(text: str) -> str:
    return _ESCAPED.sub(r"\1", text[1:-1] if text.startswith("<") else text)


def _name(text: str) -> str:
    return " ".join(text.casefold().split())


def _numbers(text: str) -> list[int]:
    digits = ("".join(f"{ord(digit) - _FIRST:x}" for digit in match[1]) for match in _MARK.finditer(text))
    return [int(number, _DIGITS) for number in digits]
