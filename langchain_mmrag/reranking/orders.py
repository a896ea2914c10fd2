"""The order in a model's answer, however it words it."""

from __future__ import annotations

import re

from langchain_mmrag._chat_models import without_thoughts

_CHAIN = re.compile(r"(?<!\d)\[?\d{1,4}\]?(?:\s*>\s*\[?\d{1,4}\]?)+(?!\d)")
_LIST = re.compile(r"\[\s*[\"']?\d{1,4}[\"']?(?:\s*,\s*[\"']?\d{1,4}[\"']?)+\s*\]")
_MARKER = re.compile(r"\[(\d{1,4})\]")
_NUMBER = re.compile(r"(?<![\w.,])\d{1,4}(?![\w]|[.,]\d)")
_CHARS = 20_000  # of an answer are read, from its end: expressions go over all of it several times


def parse_order(answer: str, count: int) -> list[int]:
    """Places (from 0) of the candidates that an answer names by number (from 1), best first.

    Read as the first of these that there is: the longest chain `[3] > [1] > [2]`, the longest list
    `[3, 1, 2]`, markers such as `[3]` in the order of their first mention, bare numbers. Numbers beyond
    `count` and mentions after the first are passed over; thoughts between tags are not read.

    Args:
        answer: What the model said.
        count: How many candidates there are.
    """
    text = without_thoughts(answer)[-_CHARS:]
    readings = (
        _longest([[int(n) for n in re.findall(r"\d+", chain)] for chain in _CHAIN.findall(text)]),
        _longest([[int(n) for n in re.findall(r"\d+", found)] for found in _LIST.findall(text)]),
        [int(n) for n in _MARKER.findall(text)],
        [int(n) for n in _NUMBER.findall(text)],
    )
    for numbers in readings:
        if named := [*dict.fromkeys(number - 1 for number in numbers if 1 <= number <= count)]:
            return named
    return []


def _longest(readings: list[list[int]]) -> list[int]:
    """The longest reading; of equals the last, for a model comes to its conclusion at the end."""
    return max(reversed(readings), key=len, default=[])
