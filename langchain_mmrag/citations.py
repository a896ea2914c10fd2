r"""Citations of an answer: which `[n]` point at a document of the context, and which point at nothing.

Models write citations in many ways. What counts as one, and what becomes of it:

| written | becomes |
|---|---|
| `[2]`, `[1, 3]`, `[1-3]`, `[1][2]`, `[1]-[3]`, `[1, p. 3]`, `[1, 0:12]` | stays as it is |
| `[^2]`, `【2】`, `[[2]]`, `[2†source]`, `[Source 2]`, `[docs 1 and 3]`, `[1, 3,]` | `[2]`, `[1, 3]` |
| `[9]` without a ninth document | nothing, and the space before it goes too; of `[1, 9]` stays `[1]` |
| `([9])`, `(see [9])`, and the `, ` or ` and ` of `[1], [9]` | go with it |
| `- [9] invented.md` under a line `Sources:` | the whole line goes: it would pass for a source |
| `[2](address)` | stays: a link of Markdown; it counts as a citation if there is such a document |
| `[2]: address` at the start of a line | stays: Markdown's definition of a link or footnote |
| `[2024]`, `[0.5]`, `[x]`, `[Figure 2]`, `a[0]`, `x_{[9]}`, `\sqrt[3]{x}` | stays: no citation |
| `![1](address)`, `http://x/[9]/y` | stays: a picture of Markdown's, a part of an address |
| `[3-1]`, `[2` | stays: nobody can tell what is meant |

Code (fenced and inline) and formulas between `$$`, `\[ \]` and `\( \)` are left alone. What is never closed,
or only after more than 1,000 characters, is neither: its mark is text like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypedDict

from langchain_core.documents import Document

from langchain_mmrag._markers import (
    BLANK_LINE,
    CONTRACTED,
    IN_PARENTHESES,
    JOINT,
    LINE_END,
    LINE_START,
    LIST_MARK,
    LONGEST,
    LONGEST_SPAN,
    MARKER,
    MATH,
    MAY_BE_IN_PARENTHESES,
    MAY_BE_JOINT,
    MAY_BE_RANGE_END,
    MAY_BE_SOURCE_START,
    MOST_SPACES,
    OPEN,
    PLAIN,
    RANGE_END,
    SOURCES,
    SPACES,
    UNFINISHED,
    Marker,
    overlap,
    range_text,
    read_marker,
    run,
    source_start,
)
from langchain_mmrag.citing import cite, cite_link


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


class CitationChecker:
    """Checks the citations of an answer while it is written.

    Only what may yet turn out to be a citation is held back: from an open bracket (and the spaces before it)
    to the character after the one that closes it, some 100 characters at most; and inline code and formulas
    until they are closed, 1,000 characters at most. However a text is cut into pieces, the same comes out.

    Args:
        documents: How many there are to be cited, numbered from 1.
    """

    def __init__(self, documents: int) -> None:
        self._documents = documents
        self._cited: set[int] = set()
        self._removed: dict[str, None] = {}
        self._rest = ""
        self._final = False
        self._line = ""  # what is written of the current line; of a long one both ends
        self._fence = ""  # what ends the code of some lines
        self._bare = False  # whether a citation was taken out at the start of this line
        self._in_sources = False  # whether lines say what is cited, under a heading of that kind
        self._skipping = False  # whether the rest of this line goes

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
        return self._read(self._rest + text)

    def finish(self) -> str:
        """What was held back."""
        self._final = True
        return self._read(self._rest)

    def _read(self, text: str) -> str:
        shown: list[str] = []
        start, ended = 0, len(text)
        if self._final:
            text += "\n"  # an answer ends as a line does
        while start < ended:
            step = self._step(text, start)
            if step is None:  # more has to come before this can be told
                if not self._final:
                    break
                step = text[start:], len(text)
            part, start = step
            shown.append(part if start <= ended else part.removesuffix("\n"))
            self._bare = self._bare and not part
            self._note(part)
        self._rest = text[start:ended]
        return "".join(shown)

    def _note(self, part: str) -> None:
        """Keep in mind what is written of the current line, and under which heading."""
        *lines, line = (self._line + part).split("\n")
        for one in lines:
            if SOURCES.fullmatch(one):
                self._in_sources = True
            elif one.strip() and not (one.lstrip()[0] in OPEN or source_start(one.lstrip(), 0)):
                self._in_sources = False
        self._line = line if len(line) <= 2 * LINE_END else line[:LINE_START] + line[-LINE_END:]

    # Each of these gives what to show and where to go on, or `None` if that cannot be told yet.

    def _step(self, text: str, start: int) -> tuple[str, int] | None:
        if self._skipping or self._fence:
            return self._skip(text, start) if self._skipping else self._within_fence(text, start)
        if self._in_sources and not self._line and self._may_be_source(text, start):
            return self._source(text, start)
        char = text[start]
        if char in "`~\\$":
            return self._code(text, start) if char in "`~" else self._math(text, start)
        if char in SPACES or char in OPEN or char == "(" or (char in ",;" and self._line.endswith("]")):
            return self._marker(text, start)
        plain = PLAIN.match(text, start)
        return (plain[0], plain.end()) if plain else (char, start + 1)

    def _skip(self, text: str, start: int) -> tuple[str, int]:
        end = text.find("\n", start)
        self._skipping = end < 0
        return "", end + 1 or len(text)

    def _may_be_source(self, text: str, start: int) -> bool:
        """Whether a line under `Sources:` begins with what is to go, or may do so."""
        if MAY_BE_SOURCE_START.fullmatch(text, start):
            return True
        opening = source_start(text, start)
        if text[opening] not in OPEN:
            return False
        found = MARKER.match(text, opening)
        if found is None:
            return self._may_become_one(text, opening)
        return not any(self._kept(bounds) for bounds, _ in read_marker(found).items)

    def _source(self, text: str, start: int) -> tuple[str, int] | None:
        opening = source_start(text, start)
        found = MARKER.match(text, opening) if opening < len(text) else None
        if found is None:
            return None
        self._remove(read_marker(found))
        self._skipping = True
        return "", found.end()

    def _code(self, text: str, start: int) -> tuple[str, int] | None:
        end = run(text, start, text[start])
        if end - start == LONGEST:  # a line drawn with them
            return text[start:end], end
        marks, line = text[start:end], text[end : end + LONGEST]
        told = self._final or "\n" in line or "`" in line
        if end == len(text):
            return None
        if len(marks) >= 3 and not self._line.strip(LIST_MARK):  # noqa: PLR2004 - Markdown's fence
            if not told and len(line) < LONGEST:
                return None
            if marks[0] == "~" or "`" not in line.partition("\n")[0]:
                self._fence = marks
                return marks, end
        if marks == "`" and self._line[-1:].isalpha() and not told and len(line) <= 3:  # noqa: PLR2004
            return None
        is_apostrophe = marks == "`" and self._line[-1:].isalpha() and CONTRACTED.match(text, end)
        return (marks, end) if marks[0] == "~" or is_apostrophe else self._inline_code(text, start, end)

    def _inline_code(self, text: str, start: int, end: int) -> tuple[str, int] | None:
        marks = text[start:end]
        closing = re.compile(rf"(?<!`){marks}(?!`)").search(text, end, end + LONGEST_SPAN + len(marks) + 1)
        line_end = text.find("\n", end, end + LONGEST_SPAN + len(marks) + 1)
        if closing and not 0 <= line_end < closing.start() and closing.start() - end <= LONGEST_SPAN:
            # a run that more backticks may follow is not told yet
            return None if closing.end() == len(text) else (text[start : closing.end()], closing.end())
        is_open = self._final or line_end >= 0 or len(text) - end > LONGEST_SPAN + len(marks)
        return (marks, end) if is_open else None

    def _math(self, text: str, start: int) -> tuple[str, int] | None:
        end = start + 2
        if len(text) < end:
            return None
        pair = text[start:end]
        if pair not in MATH:
            return (pair, end) if pair[0] == "\\" and pair[1] in OPEN else (pair[0], start + 1)
        closing = text.find(MATH[pair], end, end + LONGEST_SPAN + 2)
        paragraph_end = BLANK_LINE.search(text, end, end + LONGEST_SPAN + 2)
        if closing >= 0 and not (paragraph_end and paragraph_end.start() < closing):
            return text[start : closing + 2], closing + 2
        is_open = self._final or paragraph_end or len(text) - end >= LONGEST_SPAN + 2
        return (pair, end) if is_open else None

    def _within_fence(self, text: str, start: int) -> tuple[str, int] | None:
        char = text[start]
        if char != self._fence[0]:
            return char, start + 1
        end = run(text, start, char)
        if end == len(text):
            return None
        marks = text[start:end]
        if marks.startswith(self._fence) and not self._line.strip(LIST_MARK):
            self._fence = ""
        return marks, end

    def _marker(self, text: str, start: int) -> tuple[str, int] | None:
        opening = run(text, start, SPACES)
        if opening - start > MOST_SPACES:
            return text[start : opening - MOST_SPACES], opening - MOST_SPACES
        if self._line.endswith("]"):
            if MAY_BE_JOINT.fullmatch(text, start):
                return None
            joint = JOINT.match(text, start)
            if joint and text[joint.end()] in OPEN:
                opening = joint.end()
        if opening == len(text):
            return None
        before = "" if self._bare else text[start:opening]
        if text[opening] in OPEN:
            return self._bracket(text, before, opening)
        if text[opening] == "(" and not (opening == start and self._line.endswith("]")):  # no link's address
            return self._in_parentheses(text, before, opening)
        return (before, opening) if opening > start else (text[start], start + 1)

    def _bracket(self, text: str, before: str, opening: int) -> tuple[str, int] | None:
        found = MARKER.match(text, opening)
        if found is None or found.end() - opening > LONGEST:
            may_become_one = self._may_become_one(text, opening)
            return None if may_become_one else (before + text[opening], opening + 1)
        marker, end = read_marker(found), found.end()
        if found["numbers"].isdigit() and found["single"]:
            if MAY_BE_RANGE_END.fullmatch(text, end):
                return None
            last = RANGE_END.match(text, end)
            if last and int(found["numbers"]) <= int(last[1]):
                bounds, end = (int(found["numbers"]), int(last[1])), last.end()
                marker = Marker(text[opening:end], [(bounds, "")], is_plain=True)
        return None if end == len(text) else (self._checked(marker, before, text[end]), end)

    def _in_parentheses(self, text: str, before: str, opening: int) -> tuple[str, int] | None:
        """Leave out parentheses with nothing in them but citations that go."""
        found = IN_PARENTHESES.match(text, opening, opening + LONGEST)
        if found is None:
            may_be = MAY_BE_IN_PARENTHESES.fullmatch(text, opening) and len(text) - opening < LONGEST
            return None if may_be else (f"{before}(", opening + 1)
        inside = CitationChecker(self._documents)
        rest = inside.feed(found["inside"]) + inside.finish()
        if inside.numbers or not inside.removed or rest.replace("and", "").strip(" ,;"):
            return f"{before}(", opening + 1
        self._removed.update(dict.fromkeys(inside.removed))
        self._bare = not self._line.strip()
        return "", found.end()

    def _may_become_one(self, text: str, opening: int) -> bool:
        return bool(UNFINISHED.fullmatch(text, opening)) and len(text) - opening < LONGEST

    def _checked(self, marker: Marker, before: str, follows: str) -> str:
        """What becomes of what looks like a citation."""
        written = f"{before}{marker.written}"
        if self._is_other(marker, self._line + before, follows):
            return written
        kept = [(part, place) for bounds, place in marker.items if (part := self._kept(bounds))]
        self._cited.update(number for (low, high), _ in kept for number in range(low, high + 1))
        if follows == "(":
            return written
        self._remove(marker)
        if kept == marker.items and marker.is_plain:
            return written
        if not kept:
            self._bare = not self._line.strip()
            return ""
        return f"{before}[{', '.join(range_text(bounds) + place for bounds, place in kept)}]"

    def _is_other(self, marker: Marker, line: str, follows: str) -> bool:
        """Whether it is an index, a picture, a definition, or part of a formula or an address."""
        last = line[-1:]
        is_index = marker.written == "[0]" and (last.isalnum() or (last and last in "_)]"))
        is_picture = last == "!" and follows == "("
        is_definition = follows == ":" and not line.strip()
        is_formula = follows == "{" or (last == "{" and follows == "}")
        word = line[-LINE_END:].rpartition(" ")[2]
        is_address = "://" in word and (follows.isalnum() or follows in "/?&=#%_-" or last in "/?&=")
        is_backwards = any(low > high for (low, high), _ in marker.items)
        return bool(is_index or is_picture or is_definition or is_formula or is_address or is_backwards)

    def _kept(self, bounds: tuple[int, int]) -> tuple[int, int] | None:
        return overlap(bounds, (1, self._documents))

    def _remove(self, marker: Marker) -> None:
        """Note what of it points at nothing."""
        for bounds, _ in marker.items:
            gone = (overlap(bounds, (0, 0)), overlap(bounds, (self._documents + 1, 999)))
            self._removed.update((f"[{range_text(part)}]", None) for part in gone if part)


_OPENING = re.compile(r"[(\[【［]")  # noqa: RUF001


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
    finder.feed(answer)
    finder.finish()
    pieces, told, at = [], 0, 0
    for read, numbers in finder.steps:
        at += len(read)
        if numbers is not None:
            opening = _OPENING.search(read)
            start = at - len(read) + (opening.start() if opening else 0)
            pieces += [Piece(answer[told:start]), Piece(answer[start:at], numbers)]
            told = at
    pieces.append(Piece(answer[told:]))
    return [piece for piece in pieces if piece.text]


class _Finder(CitationChecker):
    """Tells what was read in each step, and what that cites; `None` where it is no citation."""

    def __init__(self, documents: int) -> None:
        super().__init__(documents)
        self.steps: list[tuple[str, tuple[int, ...] | None]] = []

    def _step(self, text: str, start: int) -> tuple[str, int] | None:
        self._cited.clear()
        self._removed.clear()
        step = super()._step(text, start)
        if step is not None:
            is_citation = bool(self._cited or self._removed)
            self.steps.append((text[start : step[1]], tuple(self.numbers) if is_citation else None))
        return step
