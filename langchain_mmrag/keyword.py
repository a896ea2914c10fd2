"""The words of a collection: which rows have those of a query, and how much they say (BM25, SQLite FTS5).

A row's words are its text (passage, table row or caption), its summary, what is written in its picture
(`ocr_text`), its title and the name of its file; see `words_of`. A row without any is not in the index at
all: it has no keyword score, rather than a score of zero.

What a user types is never read as FTS5's query language; see `terms_of` for what it means.

    score(row) = Σ_terms idf · tf (k + 1) / (tf + k (1 - b + b |row| / mean |row|))        k = 1.2, b = 0.75
    idf = ln(1 + (N - n + ½) / (n + ½))     of N rows with words, n have the term

tf counts words by the weight of their column. (Robertson and Zaragoza 2009; the "1 +" keeps a word that
most of a small collection has from counting against it.)
"""

from __future__ import annotations

import math
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from langchain_mmrag.ranking import FloatArray, Side
from langchain_mmrag.types import CAPTION, FILE_SHA256, KEYWORDS, OCR_TEXT, PATH, SOURCE, SUMMARY

_WEIGHTS: Final = (2.0, 1.0, 0.8, 0.6)  # of the columns of `Words`
_MOST_ROWS: Final = 10_000  # scored for one term: some 3 ms for each thousand
_BUDGET: Final = 10_000  # rows of further terms
_FEW: Final = 100  # rows: a word in that many may be in most of them and still finds
_MOST_TERMS: Final = 32
_MOST_COMMON_TERMS: Final = 4
_FTS5_LEAST_IDF: Final = 1e-6

_STOP_WORDS: Final = frozenset(
    re.split(
        r"\s+",
        "a about an and are as at be been by can did do does for from had has have he how i if in into is it"
        " its me my of on or our she so than that the their them then there these they this to us was we were"
        " what when where which who whose why will with would you your",
    )
)

# Written without spaces, or with endings grown onto words: each character is a word, several are a phrase.
# Thai to Lao, Burmese, Khmer, kana, Chinese characters, Hangul.
_APART: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_ONE_APART: Final = re.compile(f"[{_APART}]")
_RUN_APART: Final = re.compile(f"([{_APART}]+)")
_QUOTED: Final = re.compile(
    '["\u201c\u201d\u201e\u00ab\u00bb]([^"\u201c\u201d\u201e\u00ab\u00bb]*)["\u201c\u201d\u00ab\u00bb]'
)
_ACCENT: Final = re.compile("[\u0300-\u036f]")
_LETTERS: Final = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Co", "Mn", "Mc"})
_BAD: Final = re.compile("[\x00-\x1f\ud800-\udfff\ufe00-\ufe0f]")
_WORD_BOUNDARY: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_DIGEST: Final = re.compile(r"[0-9a-f]{16,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

Numbers = NDArray[np.int64]


# --- what is found ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeywordMatch:
    """A row that has words of the query.

    Attributes:
        id: Of the row.
        side: Of the row.
        score: Higher is better.
        coverage: Which share of the query's words it has, from 0 to 1, weighted by how much each one says.
    """

    id: str
    side: Side
    score: float
    coverage: float


@dataclass(frozen=True)
class KeywordMatches:
    """What a collection's words say to a query.

    Attributes:
        matches: The best first.
        mean: Of the score over all rows of a side that have words; a row that does not match counts as 0.
        std: Its standard deviation over the same rows.
        worded: How many rows of a side have words.
    """

    matches: list[KeywordMatch]
    mean: dict[Side, float]
    std: dict[Side, float]
    worded: dict[Side, int]


@dataclass(frozen=True)
class Scored:
    """Rows with their scores, in the order of their numbers.

    Attributes:
        numbers: Of the rows [n].
        scores: Theirs [n].
        coverage: Theirs [n].
        each: How many rows each of them stands for; above 1 where a word was too common to score them all.
    """

    numbers: Numbers
    scores: FloatArray
    coverage: FloatArray
    each: float = 1.0


# --- the words of a row -------------------------------------------------------------------------------------


class Words(NamedTuple):
    """What a row is found by, ready to be indexed."""

    title: str
    text: str
    ocr: str
    name: str


def words_of(text: str, metadata: Mapping[str, Any]) -> Words | None:
    """The words of a row; `None` if it has none.

    The text column also has the metadata's `caption`, `summary` and `keywords`. The name is the last part of
    `path`, `uri` or `source` (of what was taken out of a file, the file's), whole and taken apart, so that
    `IMG_2041` and `2041` find `IMG_2041.jpg`. Names that are but a digest or a UUID, and data-URIs, are no
    words.
    """
    keywords = metadata.get(KEYWORDS)
    tags = " ".join(map(str, keywords)) if isinstance(keywords, list) else ""
    for said in (_text_at(metadata, CAPTION), _text_at(metadata, SUMMARY), tags):
        if said and said not in text:
            text = f"{text}\n{said}"
    columns = (_text_at(metadata, "title"), text, _text_at(metadata, OCR_TEXT), _file_name(metadata))
    words = Words(*map(_prepared, columns))
    return words if any(map(_has_words, words)) else None


def _text_at(metadata: Mapping[str, Any], key: str) -> str:
    value = metadata.get(key)
    return value if isinstance(value, str) else ""


def _file_name(metadata: Mapping[str, Any]) -> str:
    keys = (SOURCE,) if FILE_SHA256 in metadata else (PATH, "uri", SOURCE)
    source = next(filter(None, (_text_at(metadata, key) for key in keys)), "")
    if source.startswith("data:"):
        return ""
    if "://" in source:
        source = _url_path(source)
    name = re.split(r"[/\\]", source.rstrip("/\\"))[-1]
    stem = re.sub(r"\.\w{1,5}$", "", name)
    if _DIGEST.fullmatch(stem):
        return ""
    apart = _WORD_BOUNDARY.sub(" ", stem)
    return name if apart == stem else f"{name} {apart}"


def _url_path(url: str) -> str:
    try:
        return unquote(urlsplit(url).path)
    except ValueError:  # no address at all
        return url


def _prepared(text: str) -> str:
    """Text as it goes into the index, and into queries of it: one spelling of what is read as the same."""
    text = _BAD.sub(" ", text)
    if text.isascii():
        return text  # the index itself takes care of case
    text = _ACCENT.sub("", unicodedata.normalize("NFKD", text)).casefold()
    return _ONE_APART.sub(r" \g<0> ", unicodedata.normalize("NFKC", text))


def _split_words(prepared: str) -> tuple[str, ...]:
    """The words of a prepared text, as the index tells them apart."""
    letters = (char if unicodedata.category(char) in _LETTERS else " " for char in prepared)
    return tuple("".join(letters).lower().split())


def _has_words(text: str) -> bool:
    return any(map(str.isalnum, text))


# --- the words of a query -----------------------------------------------------------------------------------


class Term(NamedTuple):
    """A word or phrase that is looked for.

    Attributes:
        words: Which have to follow each other.
        is_prefix: Whether longer words that begin like the last one will do.
    """

    words: tuple[str, ...]
    is_prefix: bool = False

    @property
    def expression(self) -> str:
        """As FTS5 takes it: a string, in which nothing has a meaning."""
        return f'"{" ".join(self.words)}"{"*" * self.is_prefix}'


def terms_of(query: str) -> list[Term]:
    """What a user's query looks for, each thing once.

    Words are told apart by spaces. What is in one piece, such as `INV-2024-0815` or `AB/12.3`, or in
    quotation marks, has to stand like that in the text; case, accents and punctuation do not matter. A `*` at
    the end asks for words that begin so. Of Chinese, Japanese, Korean, Thai and other runs of characters
    without spaces each two neighbours are looked for, in quotation marks all of them in a row. Very common
    English words (`the`, `of`) are left out if there are others. Beyond 32 terms, or words in a phrase, the
    rest is left out. Nothing but punctuation or emoji is no term at all.
    """
    query = _BAD.sub(" ", query)
    phrases = [Term(_split_words(_prepared(phrase))) for phrase in _QUOTED.findall(query)]
    words = [term for word in _QUOTED.sub(" ", query).split() for term in _terms_of_word(word)]
    telling = [term for term in words if len(term.words) > 1 or not _STOP_WORDS.issuperset(term.words)]
    chosen = [*phrases, *(telling or ([] if any(term.words for term in phrases) else words))]
    whole = (Term(term.words[:_MOST_TERMS], term.is_prefix) for term in chosen if term.words)
    return list(dict.fromkeys(whole))[:_MOST_TERMS]


def _terms_of_word(word: str) -> Iterator[Term]:
    if not _ONE_APART.search(unicodedata.normalize("NFKC", word)):
        yield Term(_split_words(_prepared(word)), is_prefix=word.endswith("*"))
        return
    for part in _RUN_APART.split(unicodedata.normalize("NFKC", word)):
        words = _split_words(_prepared(part))
        if _ONE_APART.match(part):
            yield from (Term(words[start : start + 2]) for start in range(max(len(words) - 1, 1)))
        else:
            yield Term(words)


# --- the index ----------------------------------------------------------------------------------------------


class KeywordIndex:
    """An index of words in a SQLite database; what it writes is part of the caller's transaction.

    Rows go by numbers. A number's last bit is 0 for the text side and 1 for the image side.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection

    def create(self) -> None:
        """Make the tables, in a database that has none of them."""
        # Marks (Mn, Mc) are parts of words in the scripts of India; accents are taken off all the same.
        tokenizer = "unicode61 remove_diacritics 2 categories ''L* N* Co Mn Mc''"
        columns = ", ".join(Words._fields)
        self._run.execute(f"CREATE VIRTUAL TABLE words USING fts5({columns}, tokenize = '{tokenizer}')")
        self._run.execute("CREATE VIRTUAL TABLE vocabulary USING fts5vocab(words, row)")

    def clear(self) -> None:
        """Drop all words."""
        self._run.execute("DROP TABLE vocabulary")
        self._run.execute("DROP TABLE words")
        self.create()

    def put(self, rows: Iterable[tuple[int, Words]]) -> None:
        """Enter the words of rows whose numbers are not in use."""
        places = ", ".join("?" * (1 + len(Words._fields)))
        query = f"INSERT INTO words (rowid, {', '.join(Words._fields)}) VALUES ({places})"  # noqa: S608
        self._run.executemany(query, [(number, *words) for number, words in rows])

    def remove(self, numbers: Iterable[int]) -> None:
        """Take out the words of rows."""
        self._run.executemany("DELETE FROM words WHERE rowid = ?", [(number,) for number in numbers])

    def search(self, query: str, population: int) -> Scored:
        """Every row that has one of the query's terms, with its score.

        Rare terms come first. Once terms together are in more than 10,000 rows, the others, and those in more
        than half of all rows, only count for the rows found by then, and but the four rarest of them. Of a
        term that is in more than 10,000 rows and has no rarer one beside it, the first 10,000 are scored.

        Args:
            query: What a user typed.
            population: Number of rows that have words.
        """
        terms = sorted(
            ((self._frequency(term), term) for term in terms_of(query)), key=lambda counted: counted[0]
        )
        sought = _idf(0, population) * sum(not frequency for frequency, _ in terms)
        finding, refining = _split([counted for counted in terms if counted[0]], population)
        total = _Total()
        each = 1.0
        for term in finding:
            numbers, raw = self._rows(term.expression)
            n = len(numbers)
            if n == _MOST_ROWS:
                n = self._exact_frequency(term)
                each = n / _MOST_ROWS
            sought += total.add(numbers, raw, n, population)
        either = " OR ".join(term.expression for term in finding)
        for term in refining if each == 1.0 else ():
            numbers, raw = self._rows(f"({either}) AND {term.expression}", limit=-1)
            raw = raw - total.raw_of(numbers)
            sought += total.add(numbers, raw, self._exact_frequency(term), population, finds=False)
        return total.scored(sought, each)

    def _rows(self, expression: str, limit: int | None = None) -> tuple[Numbers, FloatArray]:
        """The numbers of the rows that match [n], ascending, and FTS5's BM25 of each [n]."""
        weights = ", ".join(map(str, _WEIGHTS))
        query = f"SELECT rowid, -bm25(words, {weights}) FROM words WHERE words MATCH ? LIMIT ?"  # noqa: S608
        found = self._run.execute(query, (expression, limit or _MOST_ROWS)).fetchall()
        numbers = np.fromiter((number for number, _ in found), np.int64, len(found))
        return numbers, np.fromiter((score for _, score in found), np.float64, len(found))

    def _frequency(self, term: Term) -> int:
        """In how many rows a term is at most: as often as the rarest of its words."""
        query = "SELECT doc FROM vocabulary WHERE term = ?"
        counts = [(self._run.execute(query, (word,)).fetchone() or (0,))[0] for word in term.words]
        if term.is_prefix:
            query = "SELECT total(doc) FROM vocabulary WHERE term >= ? AND term < ?"
            last = term.words[-1]
            counts[-1] = self._run.execute(query, (last, f"{last}\U0010ffff")).fetchone()[0]
        return int(min(counts))

    def _exact_frequency(self, term: Term) -> int:
        if len(term.words) == 1 and not term.is_prefix:
            return self._frequency(term)
        query = "SELECT count(*) FROM words WHERE words MATCH ?"
        return int(self._run.execute(query, (term.expression,)).fetchone()[0])


def best_text(texts: Sequence[str], query: str) -> int | None:
    """Which of a few texts has most of a query's words, by the same scores; `None` if none has any."""
    with closing(sqlite3.connect(":memory:")) as connection:
        index = KeywordIndex(connection)
        index.create()
        words = ((number, words_of(text, {})) for number, text in enumerate(texts))
        index.put((number << 1, found) for number, found in words if found is not None)
        scored = index.search(query, len(texts))
    return int(scored.numbers[np.argmax(scored.scores)]) >> 1 if len(scored.numbers) else None


def _split(counted: Sequence[tuple[int, Term]], population: int) -> tuple[list[Term], list[Term]]:
    """The terms that find rows, and those that only tell rows apart that others have found, rarest first."""
    finding: list[Term] = []
    room = _BUDGET
    for frequency, term in counted:
        if finding and (frequency > room or frequency > max(_FEW, population / 2)):
            break
        finding.append(term)
        room -= frequency
    rest = [term for _, term in counted[len(finding) :]]
    return finding, rest[:_MOST_COMMON_TERMS]


def _idf(n: int, population: int) -> float:
    """How much a term says that is in `n` of all rows."""
    return math.log1p((population - n + 0.5) / (n + 0.5))


class _Total:
    """Sums up what single terms say of rows."""

    def __init__(self) -> None:
        self._parts: list[tuple[Numbers, FloatArray, float]] = []
        self._raw: list[tuple[Numbers, FloatArray]] = []

    def add(self, numbers: Numbers, raw: FloatArray, n: int, population: int, *, finds: bool = True) -> float:
        """Add one term; returns its idf.

        FTS5 gives terms that are in half of the rows no weight to speak of: the weight is changed for ours.
        """
        if not len(numbers):
            return _idf(n, population)
        odds = (population - n + 0.5) / (n + 0.5)
        theirs = math.log(odds) if odds > 1 else _FTS5_LEAST_IDF
        ours = _idf(n, population)
        self._parts.append((numbers, raw * (ours / theirs), ours))
        if finds:
            self._raw.append((numbers, raw))
        return ours

    def raw_of(self, numbers: Numbers) -> FloatArray:
        """What FTS5 itself says of rows for the terms that find [n]."""
        found = np.zeros(len(numbers))
        for there, raw in self._raw:
            _, mine, theirs = np.intersect1d(numbers, there, assume_unique=True, return_indices=True)
            found[mine] += raw[theirs]
        return found

    def scored(self, sought: float, each: float) -> Scored:
        """The sums.

        Args:
            sought: Sum of the idf of all terms.
            each: How many rows each row stands for.
        """
        if not self._parts:
            return Scored(np.empty(0, np.int64), np.empty(0), np.empty(0))
        numbers = np.unique(np.concatenate([part for part, _, _ in self._parts]))
        scores, found = np.zeros(len(numbers)), np.zeros(len(numbers))
        for part, score, idf in self._parts:
            places = np.searchsorted(numbers, part)
            scores[places] += score
            found[places] += idf
        return Scored(numbers, scores, np.minimum(found / sought, 1.0), each)
