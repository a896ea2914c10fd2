"""A text or Markdown file becomes passages short enough for CLIP's text tower to read whole."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from langchain_mmrag.document_loaders.base import FileLoader, Part, SourceFile
from langchain_mmrag.errors import CorruptMediaError, UnsupportedFormatError
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.types import HEADING

PASSAGE_TOKENS: Final = 68
"""Estimated tokens of a passage: CLIP's text towers read 77, two of them the start and end marks.

At 68 one passage in a hundred of technical English is still cut, at 72 three; prose is not.
"""

BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""How a text begins that says its encoding, and that encoding."""

_PIECE = re.compile(r"[^\W\d_]+|\d|[^\w\s]+|_+")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_HASH_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]++(.*)$")
_UNDERLINE = re.compile(r"""([=\-~^"'`*+#.:_])\1{2,}[ \t]*$""")
_BOUNDARIES = (
    re.compile(r"\n[ \t]*\n\s*"),  # paragraphs
    re.compile(r"(?<=[.!?])['\")\]]*\s+|(?<=[。！？])|\n(?=[ \t]*(?:[-*+|>]|\d+[.)])[ \t])"),  # noqa: RUF001
    re.compile(r"\s+"),  # words
    re.compile(r"(?<=.)(?=.)", re.DOTALL),  # characters, for text without spaces
)


@dataclass(frozen=True)
class Passage:
    """A stretch of text.

    Attributes:
        text: The passage, with its heading as first line if it has one.
        heading: Title of the section it is from, or `""`.
    """

    text: str
    heading: str = ""


@dataclass(frozen=True)
class _Section:
    level: int
    heading: str
    body: str


class TextLoader(FileLoader):
    """Load a text or reStructuredText file as passages, cut at headings, paragraphs, sentences.

    Each passage carries its section's `heading` and what every part of a file does; see `FileLoader`.

    Args:
        path: The file.
        max_tokens: Size of a passage in tokens of CLIP's tokenizer, estimated.
        media_policy: What may be opened.
    """

    name = ""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_tokens: int = PASSAGE_TOKENS,
        media_policy: MediaPolicy | None = None,
    ) -> None:
        super().__init__(path, media_policy=media_policy)
        self.max_tokens = max_tokens

    @property
    def fingerprint(self) -> str:
        """Empty unless the size of passages is another one."""
        return "" if self.max_tokens == PASSAGE_TOKENS else f"text:max_tokens={self.max_tokens}"

    def parts(self, file: SourceFile) -> Iterator[Part]:
        """Yield the passages.

        Raises:
            LoadError: If the file is not text, or blank.
        """
        passages = split_passages(decode_text(file.read(), self.source), max_tokens=self.max_tokens)
        if not passages:
            msg = f"{self.source} is empty: there is no text to index"
            raise CorruptMediaError(msg)
        for passage in passages:
            yield Part(text=passage.text, metadata={HEADING: passage.heading} if passage.heading else {})


def decode_text(data: bytes, name: str) -> str:
    """Text of a file: by its byte order mark, else UTF-8, else Windows-1252; all line ends become newlines.

    Args:
        data: The file's bytes.
        name: What to call the file in an error.

    Raises:
        UnsupportedFormatError: If the bytes are not text.
    """
    codec = next((codec for mark, codec in BYTE_ORDER_MARKS if data.startswith(mark)), None)
    if codec is None and b"\0" in data:
        msg = f"{name} is not text (it has zero bytes): give it the suffix of what it is"
        raise UnsupportedFormatError(msg)
    try:
        text = data.decode(codec or "utf-8")
    except UnicodeDecodeError as error:
        if codec is not None:
            msg = f"{name} starts like {codec.upper()} text but is not: {error.reason} at byte {error.start}"
            raise UnsupportedFormatError(msg) from error
        text = data.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split_passages(text: str, *, max_tokens: int = PASSAGE_TOKENS) -> list[Passage]:
    """Cut at headings, then pack whole paragraphs, sentences or words into passages of `max_tokens` at most.

    Every passage begins with the heading of its section, so that it says by itself what it is about.

    Raises:
        ValueError: If `max_tokens` is below 8.
    """
    if max_tokens < 8:  # noqa: PLR2004
        msg = f"max_tokens must be at least 8, got {max_tokens}"
        raise ValueError(msg)
    sections = _sections(text)
    passages = []
    for section, following in zip_longest(sections, sections[1:]):
        heading = _clip(section.heading, max_tokens // 2)
        if section.body:
            room = max_tokens - estimate_tokens(heading)
            parts = pack(section.body, room)
            passages += [Passage(f"{heading}\n\n{part}" if heading else part, heading) for part in parts]
        elif heading and (following is None or following.level <= section.level):
            passages.append(Passage(heading, heading))
    return passages


def estimate_tokens(text: str) -> int:
    """About how many tokens CLIP's tokenizer makes of a text.

    It takes each digit as a token, words and runs of punctuation whole or in pieces by how common they are;
    scripts other than Latin fall to about a token for every two bytes.
    """
    return sum(_piece_tokens(piece) for piece in _PIECE.findall(text))


def _piece_tokens(piece: str) -> int:
    size = len(piece.encode("utf-8", "surrogatepass"))
    bytes_a_token = 6 if size == len(piece) and piece[0].isalpha() else 2
    return -(-size // bytes_a_token)


def _sections(text: str) -> list[_Section]:
    """Cut at headings; text before the first one is a section without a heading."""
    sections: list[_Section] = []
    level, heading, body = 0, "", list[str]()
    for line_level, line in [*_headings(text.split("\n")), (1, "")]:
        if line_level == 0:
            body.append(line)
            continue
        if heading or any(map(str.strip, body)):
            sections.append(_Section(level, heading, "\n".join(body).strip()))
        level, heading, body = line_level, line, []
    return sections


def _headings(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Each line with its level as a heading, 0 for body; knows `# Title` and titles that are underlined."""
    fence = ""
    after_gap = True
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        rule = False
        if mark := _FENCE.match(line):
            if not fence:
                fence = mark[1]
            elif fence == mark[1]:
                fence = ""
            yield 0, line
        elif fence:
            yield 0, line
        elif hashed := _HASH_HEADING.match(line):
            yield len(hashed[1]), hashed[2].rstrip(" \t#")
        elif rule := _UNDERLINE.match(line) is not None:
            yield 0, ""
        elif after_gap and line.strip() and _UNDERLINE.match(following):
            yield 1 if following[0] == "=" else 2, line.strip()
        else:
            yield 0, line
        after_gap = rule or not line.strip()


def pack(text: str, room: int, coarseness: int = 0) -> list[str]:
    """Cut a text into passages of at most `room` tokens, between the coarsest pieces that fit.

    Pieces are paragraphs, sentences, words and characters, from coarseness 0 to 3.
    """
    if estimate_tokens(text) <= room or coarseness == len(_BOUNDARIES):
        return [text.strip()]
    passages: list[str] = []
    current, used = list[str](), 0
    for piece in _cut(text, _BOUNDARIES[coarseness]):
        size = estimate_tokens(piece)
        if used + size <= room:
            current.append(piece)
            used += size
            continue
        passages.append("".join(current).strip())
        current, used = [piece], size
        if size > room:
            *whole, last = pack(piece, room, coarseness + 1)
            passages += whole
            current, used = [last, piece[len(piece.rstrip()) :]], estimate_tokens(last)
    passages.append("".join(current).strip())
    return list(filter(None, passages))


def _cut(text: str, boundary: re.Pattern[str]) -> Iterator[str]:
    """Pieces of a text, each with the boundary that ends it."""
    start = 0
    for match in boundary.finditer(text):
        yield text[start : match.end()]
        start = match.end()
    yield text[start:]


def _clip(heading: str, room: int) -> str:
    return pack(heading, room)[0] if heading else ""
