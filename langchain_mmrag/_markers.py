"""How citations, and what is none, are written: the patterns `citations` reads an answer with."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

OPEN: Final = "[【［"  # noqa: RUF001 (full-width brackets: some models write them)
SPACES: Final = " \t\u00a0\u202f"
MOST_SPACES: Final = 8
LONGEST: Final = 96
"""Characters a citation may have: so much of a stream is held back at most."""

LONGEST_SPAN: Final = 1000
"""Characters inline code or a formula may have: so much is held back while its closing mark may yet come."""

NUMBER: Final = r"\d{1,3}(?!\d)(?: ?[-–—] ?\d{1,3}(?!\d))?"  # noqa: RUF001 (dashes)
NAME: Final = (
    "(?:(?:source|doc|document|passage|ref|reference|citation|image|picture|photo|table|video)s?|evidence)"
    "[ :.#]{1,2}"
)
PLACE: Final = (
    r"(?:(?:pp?|pages?|rows?|lines?|sec|section|ch|chapter)\.? ?|§ ?)\d+(?:[-–]\d+)?"  # noqa: RUF001
    r"|\d{1,3}(?::\d\d){1,2}(?: ?[-–] ?\d{1,3}(?::\d\d){1,2})?"  # noqa: RUF001
)
CITED: Final = rf"(?:{NAME})?{NUMBER}(?:,? ?(?:{PLACE}))?"
MARKER = re.compile(
    r"(?:(?P<double>\[\[)|(?P<single>\[)|(?P<lens>【)|［) ?\^?"  # noqa: RUF001
    rf"(?P<numbers>{CITED}(?: ?(?:,|;|&|and) ?(?:and )?{CITED})*)"
    r"(?: ?[,;])?(?:†[^\[\]【】［］\n]*)? ?"  # noqa: RUF001
    r"(?(double)\]\]|(?(single)\]|(?(lens)】|］)))",  # noqa: RUF001
    re.IGNORECASE,
)
ITEM = re.compile(rf"(?P<name>{NAME})?(?P<number>{NUMBER})(?P<place>,? ?(?:{PLACE}))?", re.IGNORECASE)
UNFINISHED = re.compile(r"(?:\[\[?|【|［)[^\[\]【】［］\n]*\]?")  # noqa: RUF001
RANGE_END = re.compile(r"[-–]\[(\d{1,3})\]")  # noqa: RUF001
MAY_BE_RANGE_END = re.compile(r"[-–](?:\[\d{0,3})?")  # noqa: RUF001
JOINT = re.compile(r"[,;]?[ \t]{0,8}(?:(?:and|&)[ \t]{1,8})?")
MAY_BE_JOINT = re.compile(r"[,;]?[ \t]{0,8}(?:an?|(?:and|&)[ \t]{0,8})?")
IN_PARENTHESES = re.compile(
    r"\((?:(?:see|cf|sources?|refs?|from)[:.]? ?)?"
    r"(?P<inside>(?:[\[【［]+[^\[\]【】［］()\n]+[\]】］]+(?:[,;]| and)? ?)+)\)",  # noqa: RUF001
    re.IGNORECASE,
)
MAY_BE_IN_PARENTHESES = re.compile(r"\([a-z]{0,7}[:.]? ?(?:[\[【［][^()\n]*)?", re.IGNORECASE)  # noqa: RUF001
PLAIN = re.compile(r"[^`~\\$(\] \t\u00a0\u202f\[【［\n]+")  # noqa: RUF001
LIST_MARK: Final = " \t>-*+.)0123456789"
SOURCES = re.compile(
    r"[#*_> \t]*(?:sources?|references?|citations?|evidence)[*_ \t]*:?[*_ \t]*", re.IGNORECASE
)
SOURCE_START = re.compile(r"[ \t]{0,8}(?:(?:[-*+•]|\d{1,3}[.)])[ \t]{1,8})?")
MAY_BE_SOURCE_START = re.compile(r"[ \t]{0,8}(?:(?:[-*+•]|\d{1,3}[.)]?)[ \t]{0,8})?")
CONTRACTED = re.compile(r"(?:s|t|d|m|re|ve|ll)(?=[\s.,;:!?)])")
BLANK_LINE = re.compile(r"\n[ \t]*\n")
LINE_START: Final = 40
LINE_END: Final = 200

MATH: Final = {"$$": "$$", "\\[": "\\]", "\\(": "\\)"}


class Marker(NamedTuple):
    """What looks like a citation.

    Attributes:
        written: As it stands.
        items: First and last number of each range in it, and the page or the like that follows.
        is_plain: Whether it has the form that others are brought into.
    """

    written: str
    items: list[tuple[tuple[int, int], str]]
    is_plain: bool


def read_marker(found: re.Match[str]) -> Marker:
    """What a match of `MARKER` says."""
    items = [*ITEM.finditer(found["numbers"])]
    is_bare = bool(found["single"]) and found[0][1:-1] == found["numbers"]
    is_plain = is_bare and not any(item["name"] for item in items)
    return Marker(found[0], [(bounds_of(item["number"]), item["place"] or "") for item in items], is_plain)


def source_start(text: str, start: int) -> int:
    """Where a line begins, after the mark of a list."""
    mark = SOURCE_START.match(text, start)
    return mark.end() if mark else start


def run(text: str, start: int, chars: str) -> int:
    """Where the characters end that are all of `chars`, `LONGEST` at most."""
    end, most = start, min(len(text), start + LONGEST)
    while end < most and text[end] in chars:
        end += 1
    return end


def bounds_of(item: str) -> tuple[int, int]:
    numbers = [int(number) for number in re.findall(r"\d+", item)]
    return numbers[0], numbers[-1]


def overlap(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int] | None:
    low, high = max(first[0], second[0]), min(first[1], second[1])
    return (low, high) if low <= high else None


def range_text(bounds: tuple[int, int]) -> str:
    return str(bounds[0]) if bounds[0] == bounds[1] else f"{bounds[0]}-{bounds[1]}"
