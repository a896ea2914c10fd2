r"""Citations of an answer: which `[n]` point at a document of the context, and which point at nothing.

Models write citations in many ways. What counts as one, and what becomes of it:

| written | becomes |
|---|---|
| `[2]`, `[1, 3]`, `[1-3]`, `[1][2]` | stays as it is |
| `[^2]`, `【2】`, `[[2]]`, `[2†source]`, `[Source 2]`, `[docs 1 and 3]` | `[2]`, `[1, 3]`: one form for all |
| `[9]` without a ninth document | nothing, and the space before it goes too; of `[1, 9]` stays `[1]` |
| `[2](address)` | stays: a link of Markdown; it counts as a citation if there is such a document |
| `[2]: address` at the start of a line | stays: Markdown's definition of a link or footnote |
| `[2024]`, `[0.5]`, `[x]`, `[Figure 2]`, `a[0]`, `\sqrt[3]{x}` | stays: no citation |
| `[3-1]`, `[2` | stays: nobody can tell what is meant |

Code (fenced and inline) and formulas between `$$`, `\[ \]` and `\( \)` are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypedDict

from langchain_core.documents import Document

from langchain_mmrag.citing import cite, cite_link

_OPEN: Final = "[【［"  # noqa: RUF001 (full-width brackets: some models write them)
_SPACES: Final = " \t\u00a0\u202f"
_MOST_SPACES: Final = 8
_LONGEST: Final = 64
"""Characters a citation may have: so much of a stream is held back at most."""

_NUMBER: Final = r"\d{1,3}(?!\d)(?: ?[-–—] ?\d{1,3}(?!\d))?"  # noqa: RUF001 (dashes)
_NAME: Final = "(?:source|doc|document|passage|ref|reference|citation)s?|evidence"
_MARKER = re.compile(
    r"(?:(?P<double>\[\[)|(?P<single>\[)|(?P<lens>【)|［) ?\^?"  # noqa: RUF001
    rf"(?:(?:{_NAME})[ :.#]{{1,2}})?"
    rf"(?P<numbers>{_NUMBER}(?: ?(?:,|;|&|and) ?(?:and )?{_NUMBER})*)"
    r"(?:†[^\[\]【】［］\n]*)? ?"  # noqa: RUF001
    r"(?(double)\]\]|(?(single)\]|(?(lens)】|］)))",  # noqa: RUF001
    re.IGNORECASE,
)
_UNFINISHED = re.compile(r"(?:\[\[?|【|［)[^\[\]【】［］\n]*\]?")  # noqa: RUF001
_ITEM = re.compile(_NUMBER)
_PLAIN = re.compile(r"[^`~\\$ \t\u00a0\u202f\[【［]+")  # noqa: RUF001
_LIST_MARK: Final = " \t>-*+.)0123456789"
_QUOTED = re.compile(r"^- .*\[(\d+)\]$", re.MULTILINE)

_Mode = Literal["text", "fence", "code", "math"]
_MATH: Final = {"$$": "$$", "\\[": "\\]", "\\(": "\\)"}


class Citation(TypedDict):
    """A document an answer rests on.

    Attributes:
        number: Its `[n]` in the answer; the document is `context[n - 1]`.
        source: Where it is from, for people (see `citing.cite`).
        link: An address that opens it at its page or second, if it has one (see `citing.cite_link`).
        id: The document's id, if it has one.
    """

    number: int
    source: str
    link: str | None
    id: str | None


class Checked(NamedTuple):
    """An answer whose citations have been checked.

    Attributes:
        answer: Without the citations that point at nothing.
        numbers: Of the documents it cites, ascending.
        removed: What was taken out, in order, such as `"[9]"`; each once.
    """

    answer: str
    numbers: list[int]
    removed: list[str]


def check_citations(answer: str, documents: int) -> Checked:
    """Take out the citations of an answer that point at none of its documents.

    Args:
        answer: As the model gave it.
        documents: How many were shown to it, numbered from 1.
    """
    checker = CitationChecker(documents)
    text = checker.feed(answer) + checker.finish()
    return Checked(text, checker.numbers, checker.removed)


def citations_of(numbers: Iterable[int], documents: Sequence[Document]) -> list[Citation]:
    """The documents behind numbers, each once, in order of number."""
    return [
        Citation(
            number=number,
            source=cite(documents[number - 1]),
            link=cite_link(documents[number - 1]),
            id=documents[number - 1].id,
        )
        for number in sorted(set(numbers))
    ]


def quoted_numbers(answer: str) -> list[int]:
    """The numbers cited by `prompts.quote_evidence`: brackets within what it quotes are none of its own."""
    return sorted({int(number) for number in _QUOTED.findall(answer.partition("\n\nSources:\n")[0])})


class CitationChecker:
    """Checks the citations of an answer while it is written.

    Only what may yet turn out to be a citation is held back: from an open bracket (and the spaces before it)
    to the character after the one that closes it, some `_LONGEST` characters at most. However a text is cut
    into pieces, the same comes out.

    Args:
        documents: How many there are to be cited, numbered from 1.
    """

    def __init__(self, documents: int) -> None:
        self._documents = documents
        self._cited: set[int] = set()
        self._removed: dict[str, None] = {}
        self._rest = ""
        self._line = ""  # what is written of the current line; of a long one both ends
        self._mode: _Mode = "text"
        self._until = ""  # what ends code or a formula
        self._bare = False  # whether a citation was taken out at the start of this line

    @property
    def numbers(self) -> list[int]:
        """Numbers of the documents cited so far, ascending."""
        return sorted(self._cited)

    @property
    def removed(self) -> list[str]:
        """What was taken out so far, in order, each once."""
        return list(self._removed)

    def feed(self, text: str) -> str:
        """What can be shown, now that `text` has come."""
        return self._read(self._rest + text, final=False)

    def finish(self) -> str:
        """What was held back."""
        return self._read(self._rest, final=True)

    def _read(self, text: str, *, final: bool) -> str:
        shown: list[str] = []
        start, ended = 0, len(text)
        if final:
            text += "\n"  # an answer ends as a line does
        while start < ended:
            step = self._step(text, start)
            if step is None:  # more has to come before this can be told
                if not final:
                    break
                step = text[start:], len(text)
            part, start = step
            shown.append(part if start <= ended else part.removesuffix("\n"))
            self._bare = self._bare and not part
            line = (self._line + part).rpartition("\n")[2]
            self._line = line if len(line) <= _LONGEST else line[:20] + line[-20:]
        self._rest = text[start:ended]
        return "".join(shown)

    # Each of these gives what to show and where to go on, or `None` if that cannot be told yet.

    def _step(self, text: str, start: int) -> tuple[str, int] | None:
        char = text[start]
        if self._mode != "text":
            return self._within(text, start)
        if char in "`~":
            return self._opened_code(text, start)
        if char in "\\$":
            return self._opened_math(text, start)
        if char in _SPACES or char in _OPEN:
            return self._marker(text, start)
        plain = _PLAIN.match(text, start)
        return (plain[0], plain.end()) if plain else (char, start + 1)

    def _opened_code(self, text: str, start: int) -> tuple[str, int] | None:
        end = _run(text, start, text[start])
        if end == len(text):
            return None
        marks = text[start:end]
        if len(marks) >= 3 and not self._line.strip(_LIST_MARK):  # noqa: PLR2004 - Markdown's fence
            self._mode, self._until = "fence", marks
        elif marks[0] == "`":
            self._mode, self._until = "code", marks
        return marks, end

    def _opened_math(self, text: str, start: int) -> tuple[str, int] | None:
        if start + 1 == len(text):
            return None
        pair = text[start : start + 2]
        if pair in _MATH:
            self._mode, self._until = "math", _MATH[pair]
        elif pair[0] == "$" or pair[1] not in _OPEN:
            return pair[0], start + 1
        return pair, start + 2

    def _within(self, text: str, start: int) -> tuple[str, int] | None:
        """A step inside of code or a formula: on to what ends it."""
        char, mark = text[start], self._until[0]
        if char == "\n" and (self._mode == "code" or (self._mode == "math" and not self._line.strip())):
            self._mode = "text"  # left open: neither goes on beyond this
        if char != mark:
            return char, start + 1
        if self._mode == "math":
            if start + 1 == len(text):
                return None
            if not text.startswith(self._until, start):
                return char, start + 1
            self._mode = "text"
            return self._until, start + 2
        end = _run(text, start, mark)
        if end == len(text):
            return None
        marks = text[start:end]
        if marks == self._until or (
            self._mode == "fence" and marks.startswith(self._until) and not self._line.strip(_LIST_MARK)
        ):
            self._mode = "text"
        return marks, end

    def _marker(self, text: str, start: int) -> tuple[str, int] | None:
        opening = _run(text, start, _SPACES)
        if opening - start > _MOST_SPACES:
            return text[start : opening - _MOST_SPACES], opening - _MOST_SPACES
        if opening == len(text):
            return None
        spaces = "" if self._bare else text[start:opening]
        if text[opening] not in _OPEN:
            return spaces, opening
        found = _MARKER.match(text, opening)
        if found is None or found.end() - opening > _LONGEST:
            may_become_one = _UNFINISHED.fullmatch(text, opening) and len(text) - opening < _LONGEST
            return None if may_become_one else (spaces + text[opening], opening + 1)
        end = found.end()
        return None if end == len(text) else (self._checked(found, spaces, text[end]), end)

    def _checked(self, found: re.Match[str], spaces: str, follows: str) -> str:
        """What becomes of what looks like a citation."""
        written, before = f"{spaces}{found[0]}", (self._line + spaces)[-1:]
        ranges = [_bounds(item) for item in _ITEM.findall(found["numbers"])]
        is_index = found["numbers"] == "0" and (before.isalnum() or (before and before in "_)]"))
        is_definition = follows == ":" and not (self._line + spaces).strip()
        if is_index or is_definition or follows == "{" or any(low > high for low, high in ranges):
            return written
        kept = [part for low, high in ranges if (part := _overlap((low, high), (1, self._documents)))]
        self._cited.update(number for low, high in kept for number in range(low, high + 1))
        if follows == "(":
            return written
        for bounds in ranges:
            gone = (_overlap(bounds, (0, 0)), _overlap(bounds, (self._documents + 1, 999)))
            self._removed.update((f"[{_written(part)}]", None) for part in gone if part)
        if kept == ranges and found["single"] and found[0][1:-1] == found["numbers"]:
            return written
        if not kept:
            self._bare = not self._line.strip()
            return ""
        return f"{spaces}[{', '.join(map(_written, kept))}]"


def _run(text: str, start: int, chars: str) -> int:
    """Where the characters end that are all of `chars`."""
    while start < len(text) and text[start] in chars:
        start += 1
    return start


def _bounds(item: str) -> tuple[int, int]:
    numbers = [int(number) for number in re.findall(r"\d+", item)]
    return numbers[0], numbers[-1]


def _overlap(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int] | None:
    low, high = max(first[0], second[0]), min(first[1], second[1])
    return (low, high) if low <= high else None


def _written(bounds: tuple[int, int]) -> str:
    return str(bounds[0]) if bounds[0] == bounds[1] else f"{bounds[0]}-{bounds[1]}"


class Piece(NamedTuple):
    """A part of an answer: text, or one citation in brackets.

    Attributes:
        text: As the answer has it.
        numbers: Of the documents it cites, ascending, none if it points at nothing; `None` for text.
    """

    text: str
    numbers: tuple[int, ...] | None = None


def pieces_of(answer: str, documents: int = 999) -> list[Piece]:
    """An answer in parts that make up all of it, its citations apart from its text.

    Args:
        answer: As a model gave it, checked or not.
        documents: How many there are to be cited, numbered from 1.
    """
    finder = _Finder(documents)
    finder.read(answer)
    pieces, start = [], 0
    for first, end, numbers in finder.found:
        pieces += [Piece(answer[start:first]), Piece(answer[first:end], numbers)]
        start = end
    pieces.append(Piece(answer[start:]))
    return [piece for piece in pieces if piece.text]


class _Finder(CitationChecker):
    """Tells where citations are; what it would make of them is of no matter here."""

    def __init__(self, documents: int) -> None:
        super().__init__(documents)
        self.found: list[tuple[int, int, tuple[int, ...]]] = []

    def read(self, answer: str) -> None:
        """Go through a whole answer, once."""
        self._read(answer, final=True)

    def _checked(self, found: re.Match[str], spaces: str, follows: str) -> str:
        self._cited.clear()
        shown = super()._checked(found, spaces, follows)
        if self._cited or shown != f"{spaces}{found[0]}":
            self.found.append((*found.span(), tuple(self.numbers)))
        return shown
