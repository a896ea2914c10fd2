"""What is quoted of passages: sentences that bear on a question, and of a long text the part that was found.

Word overlap and places in the text, no model: the same answer every time.
"""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from langchain_core.documents import Document

from langchain_mmrag._pieces import Boundary, pieces
from langchain_mmrag.types import CHUNK, CHUNK_START

QUOTE_CHARS = 300
PASSAGE_CHARS = 2000
"""A text up to this long is shown whole."""

_CUT_MARK = "[…]"
_QUOTES_PER_PASSAGE = 2
_LOOK_BACK = 1000  # characters in which a good place for a cut is looked for
_HEADING_SHARE = 2 / 3  # of the longest line: a line that is full is not shorter
_UNIT_START = re.compile(r"$|[>#|]|[-*+•]\s|\d{1,2}[.)]\s")
_LIST_MARK = re.compile(r"^(?:(?:[-*+•>]|#+|\d{1,2}[.)])\s+)+")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])")  # noqa: RUF001 (full-width marks end sentences)
_UNSPACED_SCRIPTS = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")
_PLURAL_S = re.compile(r"(?<=[a-z]{2}[a-rt-z])s$")
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by can did do does for from had has have how i in is it its me my of on or"
        " our that the their there these this those to was we were what when where which who why will with"
        " you your",
    )
)


class Excerpt(NamedTuple):
    """A part of a text, and whether something was left out before it and after it."""

    text: str
    cut_before: bool = False
    cut_after: bool = False

    @property
    def marked(self) -> str:
        """The text with a mark at each end where something was left out."""
        before = f"{_CUT_MARK} " if self.cut_before else ""
        return f"{before}{self.text}{f' {_CUT_MARK}' if self.cut_after else ''}"


def excerpt_of(document: Document, longest: int = PASSAGE_CHARS) -> Excerpt:
    """What to show of a document: the whole text, or of a long one the part that was found.

    The part is the window of the text that a search found (a hit says so in its metadata), and whole
    sentences around it up to three quarters of `longest`. Where nobody knows what was found all is shown.

    Args:
        document: A hit.
        longest: Characters up to which a text stays whole.
    """
    text, span = document.page_content, found_span(document)
    if len(text) <= longest or span is None:
        return Excerpt(text)
    start, end = _widened(text, *span, max(longest * 3 // 4, span[1] - span[0]))
    return Excerpt(text[start:end], bool(text[:start].strip()), bool(text[end:].strip()))


def shortened(document: Document, longest: int) -> Excerpt:
    """What to show of a document in `longest` characters at most: what was found, else its start.

    Cut at the end of a sentence if one lies near enough, else of a word.
    """
    excerpt = excerpt_of(document, longest)
    text = excerpt.text
    if len(text) <= longest:
        return excerpt
    low = max(longest // 2, longest - _LOOK_BACK)
    # the last piece may be a part of a word
    ends = [(low + piece.end, piece.after) for piece in pieces(text[low:longest])][:-1]
    end = _outermost(ends[::-1], longest)
    return Excerpt(text[:end].rstrip(), excerpt.cut_before, cut_after=True)


def found_span(document: Document) -> tuple[int, int] | None:
    """Where in its text the window lies that a search found; `None` if the metadata does not tell of one.

    Keys of these names may mean other things in metadata that came with a document: the text decides.
    """
    chunk, start = document.metadata.get(CHUNK), document.metadata.get(CHUNK_START)
    if not isinstance(chunk, str) or not chunk or not isinstance(start, int) or isinstance(start, bool):
        return None
    end = start + len(chunk)
    return (start, end) if start >= 0 and document.page_content[start:end] == chunk else None


def _widened(text: str, start: int, end: int, room: int) -> tuple[int, int]:
    """A span and `room` characters at most around it, from a sentence's start to a sentence's end."""
    low = max(0, start - (room - (end - start)) // 2)
    high = min(len(text), low + room)
    low = max(0, min(low, high - room))
    found = list(pieces(text[low:high]))
    # At a cut that falls anywhere, the first piece and the last may be parts of words.
    inside = found[low > 0 : len(found) - (high < len(text))]
    before = [Boundary.WORD if low > 0 else Boundary.PARAGRAPH, *(piece.after for piece in found)][low > 0 :]
    starts = [
        (low + piece.start, level)
        for piece, level in zip(inside, before, strict=False)
        if low + piece.start <= start
    ]
    ends = [(low + piece.end, piece.after) for piece in reversed(inside) if low + piece.end >= end]
    return _outermost(starts, start), _outermost(ends, end)


def _outermost(places: Sequence[tuple[int, Boundary]], default: int) -> int:
    """The first place beside a sentence, else beside a word."""
    for level in (Boundary.SENTENCE, Boundary.WORD):
        for place, boundary in places:
            if boundary >= level:
                return place
    return default


def best_sentences(question: str, passages: Sequence[str]) -> list[list[str]]:
    """For each passage the (at most two) sentences that share most with the question, in reading order.

    A shared word counts log(1 + (N - df + .5) / (df + .5)), the idf of BM25, where df of the N sentences of
    all passages have it. The second sentence must count at least half of the first. A passage that shares no
    word with the question gives none.
    """
    groups = [[(sentence, _words(sentence)) for sentence in sentences_of(passage)] for passage in passages]
    counts = Counter(word for group in groups for _, words in group for word in words)
    total = sum(map(len, groups))
    weights = {
        word: math.log1p((total - counts[word] + 0.5) / (counts[word] + 0.5)) for word in _words(question)
    }
    # fsum: exact in any order, and the order of a set of strings changes from run to run
    scored = [
        [(math.fsum(weights.get(word, 0.0) for word in words), sentence) for sentence, words in group]
        for group in groups
    ]
    return [_best(group) for group in scored]


def _best(scored: Sequence[tuple[float, str]]) -> list[str]:
    ranked = sorted(range(len(scored)), key=lambda i: -scored[i][0])[:_QUOTES_PER_PASSAGE]
    enough = max((score for score, _ in scored), default=0) / 2
    return [scored[i][1] for i in sorted(ranked) if scored[i][0] > 0 and scored[i][0] >= enough]


def sentences_of(text: str) -> list[str]:
    """What can be quoted of Markdown or plain text: sentences, list items, rows; up to 300 characters."""
    sentences = (sentence for unit in _units(text) for sentence in _SENTENCE_END.split(unit))
    pieces = (piece for sentence in sentences for piece in textwrap.wrap(sentence, QUOTE_CHARS))
    return [piece for piece in pieces if any(char.isalnum() for char in piece)]


def _units(text: str) -> Iterator[str]:
    """Paragraphs (their lines joined), headings, list items and table rows of Markdown or plain text."""
    paragraph: list[str] = []
    header: list[str] = []
    longest = max(map(len, text.splitlines()), default=0)
    for line in map(str.strip, [*text.splitlines(), ""]):
        if _UNIT_START.match(line) or (paragraph and _is_heading(paragraph[-1], line, longest)):
            yield " ".join(paragraph).strip()
            paragraph = []
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if header and any(char.isalnum() for char in line):
                yield "; ".join(f"{name}: {cell}" for name, cell in zip(header, cells, strict=False))
            header = header or cells
        else:
            header = []
            paragraph.append(_LIST_MARK.sub("", line))
            if line.startswith("#"):
                yield paragraph.pop()


def _is_heading(line: str, following: str, longest: int) -> bool:
    """Whether a line stands for itself: short, without an end, and what follows begins with a capital."""
    is_short = len(line) <= _HEADING_SHARE * longest and line[-1:].isalnum()
    return is_short and line[:1].isupper() and following[:1].isupper()


def _words(text: str) -> set[str]:
    """Words to compare by: case folded, English plural s off, bigrams where a script sets no spaces."""
    text = unicodedata.normalize("NFKC", text).casefold()
    runs = _UNSPACED_SCRIPTS.findall(text)
    words = {run[i : i + 2] for run in runs for i in range(max(1, len(run) - 1))}
    for word in re.findall(r"[^\W_]+", _UNSPACED_SCRIPTS.sub(" ", text)):
        if word not in _STOP_WORDS:
            words.add(_PLURAL_S.sub("", word))
    return words
