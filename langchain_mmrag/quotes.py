"""Which sentences of some passages bear on a question: word overlap, no model, the same answer every time."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

QUOTE_CHARS = 300
_QUOTES_PER_PASSAGE = 2
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
    for line in map(str.strip, [*text.splitlines(), ""]):
        if _UNIT_START.match(line):
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


def _words(text: str) -> set[str]:
    """Words to compare by: case folded, English plural s off, bigrams where a script sets no spaces."""
    text = unicodedata.normalize("NFKC", text).casefold()
    runs = _UNSPACED_SCRIPTS.findall(text)
    words = {run[i : i + 2] for run in runs for i in range(max(1, len(run) - 1))}
    for word in re.findall(r"[^\W_]+", _UNSPACED_SCRIPTS.sub(" ", text)):
        if word not in _STOP_WORDS:
            words.add(_PLURAL_S.sub("", word))
    return words
