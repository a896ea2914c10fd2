"""Conditions on metadata as they are meant, in the form in which Chroma gets them right.

Chroma keeps integers and fractions apart. A fraction that is asked for loses what is behind its point before
it is compared with integers, so that 2 is no less than 2.5 to it, and equals it; and one list takes values of
one type alone. Here numbers compare as numbers do, whatever the type of either.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np

_JOINED: Final = ("$and", "$or")
_BY_SIZE: Final = ("$lt", "$lte", "$gt", "$gte")
_LISTS: Final = {"$in": ("$or", "$eq"), "$nin": ("$and", "$ne")}
_INT64: Final = range(-(2**63), 2**63)


def typed(condition: Mapping[str, Any]) -> dict[str, Any]:
    """The condition in Chroma's form, so that it holds for integers and fractions alike.

    Args:
        condition: As a caller gives it: keys with values or `$` operators, `$and` and `$or`, nested.

    Raises:
        ValueError: If what is no number is to be compared by size, or a number is NaN or infinite.
    """
    parts: list[dict[str, Any]] = []
    for key, value in condition.items():
        if key in _JOINED and isinstance(value, Iterable) and not isinstance(value, str | Mapping):
            parts.append({key: [typed(each) if isinstance(each, Mapping) else each for each in value]})
        elif isinstance(value, Mapping):
            parts += [_test(key, operator, operand) for operator, operand in value.items()] or [{key: {}}]
        else:
            plain = _plain(value)
            parts.append(_compared(key, "$eq", plain) if type(plain) is float else {key: plain})
    return parts[0] if len(parts) == 1 else {"$and": parts} if parts else {}


def _test(key: str, operator: str, operand: Any) -> dict[str, Any]:
    operand = _plain(operand)
    if operator in _LISTS and isinstance(operand, Iterable) and not isinstance(operand, str | Mapping):
        return _listed(key, operator, [_plain(each) for each in operand])
    if operator in _BY_SIZE and type(operand) not in {int, float}:
        raise ValueError(_no_size(key, operator, operand))
    if operator in {*_BY_SIZE, "$eq", "$ne"} and type(operand) in {int, float}:
        return _compared(key, operator, operand)
    return {key: {operator: operand}}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _listed(key: str, operator: str, values: Sequence[Any]) -> dict[str, Any]:
    """One test for each type: Chroma's lists are of one."""
    join, single = _LISTS[operator]
    kinds = list(dict.fromkeys(map(type, values)))
    if float not in kinds and len(kinds) < 2:  # noqa: PLR2004 - of one type already
        return {key: {operator: list(values)}}
    tests: list[dict[str, Any]] = []
    for kind in kinds:
        same: list[Any] = [value for value in values if type(value) is kind]
        if kind is float:
            tests += [_compared(key, single, value) for value in same]
        else:
            tests.append({key: {operator: same}})
    return tests[0] if len(tests) == 1 else {join: tests}


def _compared(key: str, operator: str, number: float) -> dict[str, Any]:
    """A comparison with a number that holds for integers and fractions alike."""

    def test(operator: str, operand: float) -> dict[str, Any]:
        return {key: {operator: operand}}

    if not math.isfinite(number):
        msg = f"filter: {key!r} is compared with {number}: give a finite number"
        raise ValueError(msg)
    if isinstance(number, int):
        return test(operator, number if number in _INT64 else float(number))
    if number.is_integer():
        return test(operator, number)
    whole = math.trunc(number)
    same = {"$and": [test("$eq", number), test("$ne", whole)]}
    if operator == "$eq":
        return same
    if operator == "$ne":
        return {"$or": [test("$ne", number), test("$eq", whole)]}
    # A whole number beside it, on the side that is wanted, counts whatever its type.
    if operator in {"$gt", "$gte"}:
        tests = [test("$gt", number), test("$gte", math.ceil(number))]
    else:
        tests = [test("$lt", number), test("$lte", math.floor(number))]
    return {"$or": [*tests, same] if operator.endswith("e") else tests}


def _no_size(key: str, operator: str, operand: Any) -> str:
    told = (
        f"filter: {{{key!r}: {{{operator!r}: {operand!r}}}}} compares by size, which goes for numbers alone"
    )
    if (seconds := _seconds(operand)) is None:
        return f"{told}: give an int or a float, or use $eq, $ne, $in or $nin"
    return (
        f"{told}. Of dates, compare the seconds since 1970 (UTC), which tables have beside each column of"
        f" dates: { {f'{key}_ts': {operator: seconds}}!r}"
    )


def _seconds(value: Any) -> float | None:
    """Seconds from 1970 to a date in UTC; `None` if it is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    return None
