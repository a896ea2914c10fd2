"""A text as pieces that are cut no further, each with the kind of boundary that follows it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

LONGEST_PIECE: Final = 24
"""Characters. Longer runs come in parts: tokenizers take time by the square of the length of a run."""

_PART: Final = 16
_LONGEST_CLUSTER: Final = 32
_RUN = re.compile(r"(\S+)(\s*)")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n|\f|\u2029")
_LIST_ITEM = re.compile(r"[-*+•>|#]|\d{1,3}[.)]\s")
_SENTENCE_END = re.compile(r"[.!?…。！？｡؟۔।॥][\"'”’»)\]}」』）》*_]*$")  # noqa: RUF001
_CLAUSE_END = re.compile(r"[,;:،؛、，；：–—)\]][\"'”’»]*$")  # noqa: RUF001
_ABBREVIATION = re.compile(
    r"""["'(\[]*(?:[^\W\d_]|dr|mrs?|ms|prof|st|no|nr|figs?|vs|cf|eq|vol|pp|ca|approx|e\.g|i\.e|z\.b|d\.h|u\.a)\.$""",
    re.IGNORECASE,
)
# Scripts that set no space after a mark.
_UNSPACED_END = re.compile(r"[。！？｡][」』）》”’\"']*|[、，；：]")  # noqa: RUF001
_UNSPACED_CLAUSE = "、，；："  # noqa: RUF001
_JOINER = "\u200d"
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_TAGS = range(0xE0020, 0xE0080)


class Boundary(IntEnum):
    """Where a text may be cut; higher is better."""

    INSIDE_WORD = 0
    WORD = 1
    CLAUSE = 2
    SENTENCE = 3
    PARAGRAPH = 4


class Piece(NamedTuple):
    """`text[start:end]`, without white space, and the boundary after it."""

    start: int
    end: int
    after: Boundary


def pieces(text: str) -> Iterator[Piece]:
    """Words with their punctuation; of scripts without spaces, and of anything long, parts of them."""
    for run in _RUN.finditer(text):
        start, end = run.span(1)
        after = _boundary(run, text)
        marks = () if run[1].isascii() else _UNSPACED_END.finditer(run[1])
        for mark in marks:
            cut = run.start() + mark.end()
            if cut == end:
                break
            inner = Boundary.CLAUSE if mark[0] in _UNSPACED_CLAUSE else Boundary.SENTENCE
            yield from _parts(text, Piece(start, cut, inner))
            start = cut
        yield from _parts(text, Piece(start, end, after))


def finer(text: str, piece: Piece, size: int) -> Iterator[Piece]:
    """A piece in parts of about `size` characters; marks stay with their letter, joined emoji together.

    Args:
        text: The whole text.
        piece: One that is too long.
        size: 0 for single code points, whatever belongs together.
    """
    start = piece.start
    while start < piece.end:
        end = min(start + max(size, 1), piece.end)
        longest = start + size + _LONGEST_CLUSTER  # a stack of a million accents is cut nevertheless
        while size and end < min(piece.end, longest) and _belongs_to_previous(text, start, end):
            end += 1
        yield Piece(start, end, piece.after if end == piece.end else Boundary.INSIDE_WORD)
        start = end


def _parts(text: str, piece: Piece) -> Iterator[Piece]:
    if piece.end - piece.start <= LONGEST_PIECE:
        yield piece
    else:
        yield from finer(text, piece, _PART)


def _boundary(run: re.Match[str], text: str) -> Boundary:
    """What follows a run of characters that are no white space."""
    gap = run[2]
    if _BLANK_LINE.search(gap) or run.end() == len(text):
        return Boundary.PARAGRAPH
    tail = run[1][-LONGEST_PIECE:]
    following = text[run.end() : run.end() + 5]
    if "\n" in gap and _LIST_ITEM.match(following):
        return Boundary.SENTENCE
    if _SENTENCE_END.search(tail) and not following[0].islower() and not _ABBREVIATION.match(tail):
        return Boundary.SENTENCE
    return Boundary.CLAUSE if "\n" in gap or _CLAUSE_END.search(tail) else Boundary.WORD


def _belongs_to_previous(text: str, start: int, place: int) -> bool:
    """Whether a cut before `text[place]` would tear apart what is seen as one character."""
    character, previous = text[place], text[place - 1]
    if character.isascii():
        return False
    code = ord(character)
    if code in _FLAG_LETTERS:
        return _flag_letters_before(text, start, place) % 2 == 1
    return (
        _JOINER in {character, previous}
        or code in _SKIN_TONES
        or code in _TAGS
        or unicodedata.category(character).startswith("M")
    )


def _flag_letters_before(text: str, start: int, place: int) -> int:
    count = 0
    while place - count > start and ord(text[place - count - 1]) in _FLAG_LETTERS:
        count += 1
    return count
