"""Which type each column of a table has, and its cells as metadata that can be filtered by.

A column's type is decided once, by a sample of its first rows, so that it is the same in every document:

    int, float   every cell is a number: `1,234.50`, `1.234,50`, `$ 12`, `12 %` (as 12), `(5)` (as -5),
                 `1 250,00`, `1 250 €` (but not `1 250`, which may be a code)
    bool         every cell is true or false, or yes or no
    date         every cell is a date that can be read in one way only
    text         anything else: codes that begin with 0, whole numbers beyond 64 bits, dates such as 3/4/2024

Where a comma is more likely to stand before decimals (cells between semicolons), 3/4/2024 is in April, and
`1,500` in doubt unless other cells of its column tell: after a dollar or pound it is a thousand and more,
else the column is text. Elsewhere `1,500` is a thousand and more.

Cells that come later and do not fit stay out of the metadata (they stand in the text) and are counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from langchain_mmrag import types
from langchain_mmrag.document_loaders._tables import Cell, cell_text

Kind: TypeAlias = Literal["int", "float", "bool", "date", "text"]
Value: TypeAlias = "int | float | bool | str | datetime | date"
Reader: TypeAlias = "Callable[[Cell], Value | None]"

MAX_COLUMNS: Final = 64
"""Columns of a table that become metadata; of wider tables the first ones."""
LONGEST_VALUE: Final = 200
"""Characters of a value; longer ones are found in the text."""

_LONGEST_NAME: Final = 64
_RESERVED: Final = frozenset(
    {value for name, value in vars(types).items() if name.isupper() and isinstance(value, str)}
    | {"type", "uri", "id", "relevance_score", "page_label", "rows", "columns"}
)
_RESERVED_STARTS: Final = ("$", "#", "mmrag_", "chroma:", "lc_")
_MISSING: Final = frozenset(
    {"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "–", "—", "?"}  # noqa: RUF001
    | {"#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!"}
)
_BOOLS: Final = ({"true": True, "false": False}, {"yes": True, "no": False})
_INT64: Final = 2**63
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_UNIT = r"[$€£¥₹₽₩₺₴%]|(?:US|CA|AU)\$|USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|SEK|NOK|DKK|PLN|CZK|BRL|Fr\.|kr|zł"
_UNITS_WITH_POINT: Final = frozenset({"$", "US$", "USD", "£", "GBP"})
_GROUPS: Final = "'\u2019\xa0\u202f "
_DIGITS = rf"[+-]?[\d.,](?:[\d.,{_GROUPS}]*[\d.,])?(?:e[+-]?\d+)?"
_MEASURED = re.compile(rf"(?i)([+-]?)\s*({_UNIT})?\s*({_DIGITS})\s*({_UNIT})?")
_WITH_POINT, _WITH_COMMA = (
    re.compile(
        rf"(?i)(?P<whole>[+-]?(?:[1-9]\d{{0,2}}(?P<group>[{group}{_GROUPS}])\d{{3}}(?:(?P=group)\d{{3}})*|\d+)?)"
        rf"(?P<rest>[{point}]\d+)?(?P<power>e[+-]?\d{{1,3}})?"
    )
    for point, group in (".,", ",.")
)
_DOUBTFUL = re.compile(r"(?<![\d.,])[1-9]\d{0,2},\d{3}(?![\d.,])")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,17}")
_GROUPING = re.compile(rf"[.,{_GROUPS}]")
_CODE = re.compile(r"[+-]?0\d|\+\d{8}")  # postal codes and telephone numbers

_CLOCK = r"(?:[T ]+(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*([ap]m)?\s*(Z|UTC|[+-]\d\d:?\d\d)?)?"
_BY_ORDER: Final = {
    "ymd": re.compile(rf"(?i)(?P<y>\d{{4}})[-/.](?P<m>\d{{1,2}})[-/.](?P<d>\d{{1,2}}){_CLOCK}"),
    "d.m.y": re.compile(rf"(?i)(?P<d>\d{{1,2}})\.\s?(?P<m>\d{{1,2}})\.\s?(?P<y>\d{{4}}){_CLOCK}"),
    "dmy": re.compile(rf"(?i)(?P<d>\d{{1,2}})[-/](?P<m>\d{{1,2}})[-/](?P<y>\d{{4}}){_CLOCK}"),
    "mdy": re.compile(rf"(?i)(?P<m>\d{{1,2}})[-/](?P<d>\d{{1,2}})[-/](?P<y>\d{{4}}){_CLOCK}"),
    "d mon y": re.compile(rf"(?i)(?P<d>\d{{1,2}})[-. ]+(?P<m>[a-z]{{3,9}})[-., ]+(?P<y>\d{{4}}){_CLOCK}"),
    "mon d, y": re.compile(rf"(?i)(?P<m>[a-z]{{3,9}})\.? +(?P<d>\d{{1,2}}),? +(?P<y>\d{{4}}){_CLOCK}"),
}
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)


@dataclass
class Column:
    """A column whose type is known.

    Attributes:
        name: As the header has it.
        key: In metadata: the name, unless it is taken there; see `metadata_keys`.
        kind: Type of its cells.
        read: A cell as a value of this type, `None` if it is empty or does not fit.
        is_doubtful: Whether its cells are numbers that can be read in two ways, and so are text.
        surprises: Cells that did not fit, bytes apart.
    """

    name: str
    key: str
    kind: Kind
    read: Reader
    is_doubtful: bool = False
    surprises: int = field(default=0)

    def value(self, cell: Cell) -> Value | None:
        """A cell as a value; one that does not fit is counted."""
        value = self.read(cell)
        if value is None and not is_missing(cell) and not isinstance(cell, bytes):
            self.surprises += 1
        return value


def columns_of(
    header: Sequence[str], sample: Sequence[Sequence[Cell]], *, decimal_comma: bool = False
) -> list[Column]:
    """The columns of a table, typed.

    Args:
        header: Their names.
        sample: The first rows.
        decimal_comma: Whether `1,234` is a little more than one and `3/4/2024` in April, unless other cells
            of the column say otherwise.
    """
    keys = metadata_keys(header)
    columns = []
    for place, (name, key) in enumerate(zip(header, keys, strict=True)):
        cells = [row[place] for row in sample if place < len(row)] if place < MAX_COLUMNS else []
        said = [cell for cell in cells if not is_missing(cell)]
        kind, read = _typed(said, decimal_comma=decimal_comma)
        is_doubtful = decimal_comma and kind == "text" and _is_doubtful(said)
        columns.append(Column(name, key, kind, read, is_doubtful))
    return columns


def metadata_keys(header: Iterable[str]) -> list[str]:
    """A key for each column: its name, short, unlike the others.

    Names that mean something else in metadata (`source`, `title`, `row`, ...) or that a store keeps for
    itself get `column_` in front; a second column of the same name is `name_2`.
    """
    wanted = [_key_of(cell_text(name), number) for number, name in enumerate(header, 1)]
    keys: dict[str, None] = {}
    times = {f"{key}_ts" for key in wanted}  # if a column is of dates, their seconds
    counts: dict[str, int] = {}
    for key in wanted:
        count = counts.get(key, 1)
        free = f"{key}_{count}" if count > 1 else key
        while free in keys or free in times or f"{free}_ts" in keys:
            count += 1
            free = f"{key}_{count}"
        keys[free], counts[key] = None, count
        times.add(f"{free}_ts")
    return list(keys)


def _key_of(name: str, number: int) -> str:
    key = "".join(c if c.isprintable() else " " for c in name)[:_LONGEST_NAME].strip()
    key = key or f"column {number}"
    is_reserved = key.lower() in _RESERVED or key.lower().startswith(_RESERVED_STARTS)
    return f"column_{key}" if is_reserved else key


def typed_metadata(columns: Sequence[Column], row: Sequence[Cell]) -> dict[str, Any]:
    """What of a row can be filtered by; a date is ISO text and, as `<key>_ts`, seconds since 1970 in UTC."""
    metadata: dict[str, Any] = {}
    for column, cell in zip(columns[:MAX_COLUMNS], row, strict=False):
        value = column.value(cell)
        if value is None or (isinstance(value, str) and len(value) > LONGEST_VALUE):
            continue
        if isinstance(value, date):
            metadata[column.key] = value.isoformat()
            metadata[f"{column.key}_ts"] = seconds_since_1970(value)
        else:
            metadata[column.key] = value
    return metadata


def seconds_since_1970(when: date) -> float:
    """Seconds from 1970-01-01 in UTC to a date (its first moment) or time; without a zone it is UTC too."""
    moment = when if isinstance(when, datetime) else datetime.combine(when, time())
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH).total_seconds()


def is_missing(cell: Cell) -> bool:
    """Whether a cell says that nothing is known: empty, `N/A`, a dash, a spreadsheet's error."""
    if cell is None:
        return True
    if isinstance(cell, str):
        return len(cell) < 16 and cell.strip().lower() in _MISSING  # noqa: PLR2004  faster for long ones
    return isinstance(cell, float) and not math.isfinite(cell)


def _typed(cells: list[Cell], *, decimal_comma: bool) -> tuple[Kind, Reader]:
    """The first type that all of some cells have."""
    cells = list(dict.fromkeys(cells)) if all(isinstance(cell, str) for cell in cells) else cells
    if not cells or not _may_be_typed(cells):
        return "text", _text
    for words in _BOOLS:
        if all(_bool(cell, words) is not None for cell in cells):
            return "bool", partial(_bool, words=words)
    if (typed := _typed_numbers(cells, decimal_comma=decimal_comma)) is not None:
        return typed
    if order := _order_of(cells, day_first=decimal_comma):
        return "date", partial(_date, order=order)
    return "text", _text


def _typed_numbers(cells: list[Cell], *, decimal_comma: bool) -> tuple[Kind, Reader] | None:
    unit = next((found for cell in cells if (found := _unit_of(cell))), "")
    for comma in (decimal_comma, not decimal_comma):
        numbers = [_number(cell, unit, comma=comma) for cell in cells]
        if None in numbers:
            continue
        is_sure = not (comma and decimal_comma) or None in (
            _number(cell, unit, comma=False) for cell in cells
        )
        if not is_sure and any(map(_has_doubtful_comma, cells)):
            if unit.upper() in _UNITS_WITH_POINT:
                continue
            return None
        are_whole = all(isinstance(number, int) for number in numbers)
        read: Reader = partial(_number if are_whole else _float, unit=unit, comma=comma)
        return "int" if are_whole else "float", read if is_sure else partial(_if_sure, read)
    return None


def _is_doubtful(cells: list[Cell]) -> bool:
    """Whether some cells are numbers with a decimal comma, or else with one between thousands."""
    unit = next((found for cell in cells if (found := _unit_of(cell))), "")
    return any(map(_has_doubtful_comma, cells)) and all(
        _number(cell, unit, comma=comma) is not None for cell in cells for comma in (True, False)
    )


def _has_doubtful_comma(cell: Cell) -> bool:
    return isinstance(cell, str) and _DOUBTFUL.search(cell) is not None


def _may_be_typed(cells: list[Cell]) -> bool:
    """Whether it is worth trying: the first cell is short, and no words."""
    return not isinstance(cells[0], bytes) and (
        not isinstance(cells[0], str) or len(cells[0]) <= _LONGEST_NAME
    )


def _text(cell: Cell) -> str | None:
    if isinstance(cell, bytes):
        return None
    return cell_text(cell) or None


def _bool(cell: Cell, words: dict[str, bool]) -> bool | None:
    if isinstance(cell, bool):
        return cell
    return words.get(cell.strip().lower()) if isinstance(cell, str) else None


def _unit_of(cell: Cell) -> str:
    is_short = isinstance(cell, str) and len(cell) <= _LONGEST_NAME
    found = _MEASURED.fullmatch(str(cell).strip().strip("()")) if is_short else None
    return (found[2] or found[4] or "") if found else ""


def _float(cell: Cell, unit: str, *, comma: bool) -> float | None:
    number = _number(cell, unit, comma=comma)
    return None if number is None else float(number)


def _if_sure(read: Reader, cell: Cell) -> Value | None:
    """A cell that comes after the type was decided, unless its comma may stand between thousands."""
    return None if _has_doubtful_comma(cell) else read(cell)


def _number(cell: Cell, unit: str, *, comma: bool) -> int | float | None:
    """A cell as a number; a whole number within 64 bits as `int`."""
    if isinstance(cell, str):
        return _number_in(cell.strip(), unit, comma=comma)
    if isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
        return None
    if isinstance(cell, int):
        return cell if -_INT64 <= cell < _INT64 else None
    return float(cell) if math.isfinite(cell) else None


def _number_in(text: str, unit: str, *, comma: bool) -> int | float | None:
    if text.isdecimal() and text.isascii() and (text[0] != "0" or text == "0"):  # nearly all are
        return _whole(text)
    if not comma and _DECIMAL.fullmatch(text):
        return float(text)
    if len(text) > _LONGEST_NAME or not text:
        return None
    negative = text[0] == "(" and text[-1] == ")"
    found = _MEASURED.fullmatch(text[1:-1] if negative else text)
    if found is None or _CODE.match(found[1] + found[3]):
        return None
    is_code = " " in found[3] and not (found[2] or found[4] or "," in text or "." in text)
    if is_code or (found[2] and found[4]) or (found[2] or found[4] or unit) != unit:
        return None
    number = _parsed(found[1] + found[3], _WITH_COMMA if comma else _WITH_POINT)
    return number if number is None or not negative else -number


def _parsed(text: str, form: re.Pattern[str]) -> int | float | None:
    parts = form.fullmatch(text)
    if parts is None or not (parts["whole"].strip("+-") or parts["rest"]):
        return None
    whole = _GROUPING.sub("", parts["whole"])
    if not parts["rest"] and not parts["power"]:
        return _whole(whole)
    sign_only = not whole.strip("+-")
    number = float(f"{whole}{'0' if sign_only else ''}.{(parts['rest'] or '.0')[1:]}{parts['power'] or ''}")
    return number if math.isfinite(number) else None


def _whole(digits: str) -> int | None:
    number = int(digits) if len(digits) <= _LONGEST_NAME else _INT64
    return number if -_INT64 <= number < _INT64 else None


def _order_of(cells: list[Cell], *, day_first: bool) -> str:
    """The one order of day, month and year in which all cells are dates; empty if there is none, or two."""
    if all(isinstance(cell, date) for cell in cells):
        return "ymd"
    orders = [order for order in _BY_ORDER if all(_date(cell, order) is not None for cell in cells)]
    if orders == ["dmy", "mdy"]:
        return "dmy" if day_first else ""
    return orders[0] if orders else ""


def _date(cell: Cell, order: str) -> date | None:
    if isinstance(cell, datetime):
        return cell if cell.tzinfo or cell.time() != time() else cell.date()
    if isinstance(cell, date):
        return cell
    if not isinstance(cell, str) or len(cell) > _LONGEST_NAME:
        return None
    if order == "ymd" and len(cell) == len("2024-01-02") and cell[4] == cell[7] == "-":
        return _iso_day(cell)  # nearly all are
    return _written_date(cell, order)


def _iso_day(cell: str) -> date | None:
    try:
        return date.fromisoformat(cell)
    except ValueError:
        return None


def _written_date(cell: str, order: str) -> date | None:
    found = _BY_ORDER[order].fullmatch(cell.strip())
    month = _month(found["m"]) if found else 0
    if found is None or not month:
        return None
    try:
        day = date(int(found["y"]), month, int(found["d"]))
        return day if found[4] is None else _moment(day, found)
    except (ValueError, OverflowError):
        return None


def _month(text: str) -> int:
    if text.isdecimal():
        return int(text)
    return next((n for n, name in enumerate(_MONTHS, 1) if name.startswith(text.lower())), 0)


def _moment(day: date, found: re.Match[str]) -> datetime:
    hour, minute, second, fraction, half, zone = found.groups()[3:]
    of_day = int(hour)
    if half:
        if not 1 <= of_day <= 12:  # noqa: PLR2004
            raise ValueError
        of_day = of_day % 12 + (12 if half.lower() == "pm" else 0)
    moment = f"{day}T{of_day:02}:{minute}:{second or '00'}.{(fraction or '0')[:6]:0<6}"
    return datetime.fromisoformat(moment + ("+00:00" if (zone or "").upper() in {"Z", "UTC"} else zone or ""))
