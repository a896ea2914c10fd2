"""Conditions on metadata that a model may set: which keys there are, and from its plain form to Chroma's."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

from langchain_core.tools import ToolException
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model

from langchain_mmrag import types
from langchain_mmrag._store.typed import typed
from langchain_mmrag.tools.telling import told_source

Operator: TypeAlias = Literal["eq", "ne", "gt", "gte", "lt", "lte"]
Kind: TypeAlias = Literal["text", "number", "boolean"]
Scalar: TypeAlias = str | int | float | bool

MAX_CONDITIONS: Final = 8
MAX_VALUES: Final = 50
MAX_VALUE_CHARS: Final = 500

_KINDS: Final[dict[type, Kind]] = {str: "text", bool: "boolean", int: "number", float: "number"}
_HIDDEN: Final = frozenset(
    {
        types.PATH,
        "uri",
        "type",
        types.MODALITY,  # an argument of its own
        types.SHA256,
        types.FILE_SHA256,
        types.LOADER,
        types.PART,
        types.PARTS,
        "chunks",  # their number, in collections filled by older loaders
        types.BBOX,
        types.CAPTION,
        types.OCR_TEXT,
        types.SUMMARY,
        types.THUMBNAIL,
        types.PARENT_ID,
        types.NEAR_ID,
        types.CHUNK,
        types.CHUNK_START,
        "relevance_score",
        types.TRUNCATED,
        types.COLLAPSED_IDS,
    }
)
_OF_LOADERS: Final = (  # after columns of tables and all else that somebody chose
    types.PAGE,
    types.SHEET,
    types.HEADING,
    types.TITLE,
    types.START_S,
    types.SOURCE,
    types.MIME_TYPE,
    types.WIDTH,
    types.HEIGHT,
    types.ROW,
    types.LAST_ROW,
    "rows",
    types.END_S,
    "duration_s",
    types.OCR_CONFIDENCE,
)
_OWN_PREFIXES: Final = ("mmrag_", "chroma:", "lc_")
_MOST_KEYS: Final = 200
_MOST_LISTED: Final = 40
_LISTED_CHARS: Final = 900
_LONGEST_KEY: Final = 40
_MOST_VALUES_SHOWN: Final = 8
_LONGEST_VALUE_SHOWN: Final = 32
_MOST_VALUES_KEPT: Final = 200
_MOST_NAMES_KEPT: Final = 5_000
_DESCRIPTION_CHARS: Final = 1500


@dataclass
class MetadataKey:
    """What is known of one key: enough to tell a model, and to read what it gives.

    Attributes:
        name: The key.
        kinds: What its values are; several if documents differ.
        values: Of those that are text, the ones seen; none once there were too many.
        lowest: Least number seen.
        highest: Greatest number seen.
        by_name: Of a source, what is stored by the name it is told by: a whole path is nobody's business.
    """

    name: str
    kinds: set[Kind] = field(default_factory=set)
    values: Counter[str] = field(default_factory=Counter)
    lowest: float = math.inf
    highest: float = -math.inf
    by_name: dict[str, set[str]] = field(default_factory=dict)

    def see(self, value: Scalar) -> None:
        """Take note of a value."""
        kind = _KINDS[type(value)]
        self.kinds.add(kind)
        if kind == "text" and self.name == types.SOURCE:
            stored, value = str(value), told_source(str(value))
            if len(self.by_name) < _MOST_NAMES_KEPT or value in self.by_name:
                self.by_name.setdefault(value, set()).add(stored)
        if kind == "text" and len(self.values) < _MOST_VALUES_KEPT:
            self.values[str(value)] += 1
        elif kind == "number":
            self.lowest, self.highest = min(self.lowest, float(value)), max(self.highest, float(value))

    @property
    def told(self) -> str:
        """One line for a model. Values are data that somebody wrote: quoted, short and few."""
        parts = []
        if "text" in self.kinds:
            what = "text, the name of a file or its address" if self.by_name else "text"
            parts.append(f"{what}{self._few_values()}")
        if "number" in self.kinds:
            seen = f", {self.lowest:.10g} to {self.highest:.10g}" if self.lowest <= self.highest else ""
            parts.append(f"number{seen}")
        if "boolean" in self.kinds:
            parts.append("true or false")
        return f"{self.name} ({' or '.join(parts)})"

    def _few_values(self) -> str:
        fit = all(len(value) <= _LONGEST_VALUE_SHOWN and value.isprintable() for value in self.values)
        if not self.values or len(self.values) > _MOST_VALUES_SHOWN or not fit:
            return ""
        return f": {', '.join(json.dumps(value, ensure_ascii=False) for value in sorted(self.values))}"


def keys_seen(metadatas: Iterable[Mapping[str, Any] | None]) -> dict[str, MetadataKey]:
    """The keys of a sample of metadata that a model may filter by, the most frequent first.

    Sources are told by name. What loaders tell of places, sizes and formats comes after what is somebody's
    own, but among the keys that are listed. Not among them: marks of the store, digests, paths of this
    machine, addresses with a password, lists, and names that are no plain words.
    """
    keys: dict[str, MetadataKey] = {}
    counts: Counter[str] = Counter()
    unfit: set[str] = set()
    for metadata in metadatas:
        for name, value in (metadata or {}).items():
            if not _is_plain(name):
                continue
            if type(value) not in _KINDS or (name != types.SOURCE and told_source(str(value)) != str(value)):
                if value is not None:
                    unfit.add(name)
                continue
            if name == types.SOURCE and str(value)[:5].lower() == "data:":
                continue
            counts[name] += 1
            keys.setdefault(name, MetadataKey(name)).see(value)
    frequent = [name for name, _ in counts.most_common() if name not in unfit]
    of_loaders = [name for name in _OF_LOADERS if name in frequent]
    own = [name for name in frequent if name not in of_loaders]
    first = _MOST_LISTED - len(of_loaders)
    return {name: keys[name] for name in [*own[:first], *of_loaders, *own[first:]][:_MOST_KEYS]}


def listed(keys: Mapping[str, MetadataKey]) -> list[str]:
    """The keys that are named to a model: as many as there is room for; it may use the others too."""
    names: list[str] = []
    for name in [*keys][:_MOST_LISTED]:
        if sum(map(len, names)) + len(name) > _LISTED_CHARS:
            break
        names.append(name)
    return names


def keys_told(kinds: Mapping[str, type]) -> dict[str, MetadataKey]:
    """Keys as a caller names them, with the type of their values.

    Raises:
        TypeError: If they are no mapping.
        ValueError: If a type is none of `str`, `int`, `float` and `bool`.
    """
    given: Any = kinds
    if not isinstance(given, Mapping):
        msg = f'filter_keys is a {type(given).__name__}: name the type of each, as in {{"year": int}}'
        raise TypeError(msg)
    for name, kind in kinds.items():
        if kind not in _KINDS:
            msg = f"filter_keys[{name!r}] is {kind!r}: use str, int, float or bool"
            raise ValueError(msg)
    return {name: MetadataKey(name, {_KINDS[kind]}) for name, kind in kinds.items()}


def _is_plain(name: str) -> bool:
    words = name.replace("_", "").replace("-", "").replace(".", "").replace(" ", "")
    is_own = name in _HIDDEN or name.startswith(_OWN_PREFIXES)
    return not is_own and len(name) <= _LONGEST_KEY and words.isalnum()


# --- the form a model fills in -----------------------------------------------------------------------------


def _as_words(values: Any) -> Any:
    """What models give for a list of words: also a single value, a number, `true`."""
    listed = values if isinstance(values, list) else [values]
    return [
        json.dumps(v) if isinstance(v, bool | int) else repr(v) if isinstance(v, float) else v for v in listed
    ]


def _bounded_values(values: list[str]) -> list[str]:
    if not values or len(values) > MAX_VALUES or any(len(value) > MAX_VALUE_CHARS for value in values):
        msg = f"give 1 to {MAX_VALUES} values of at most {MAX_VALUE_CHARS} characters"
        raise ValueError(msg)
    return values


def _bounded_conditions(conditions: list[Any] | None) -> list[Any] | None:
    if conditions and len(conditions) > MAX_CONDITIONS:
        msg = f"give at most {MAX_CONDITIONS} conditions"
        raise ValueError(msg)
    return conditions


def _decoded(conditions: Any) -> Any:
    """Some models write nested arguments as a JSON string."""
    if isinstance(conditions, str):
        try:
            conditions = json.loads(conditions)
        except (ValueError, RecursionError):
            return conditions
    return [conditions] if isinstance(conditions, dict) and "key" in conditions else conditions


def filter_field(keys: Mapping[str, MetadataKey]) -> tuple[Any, Any]:
    """Type and field of the argument `filter`, as `pydantic.create_model` takes them.

    Flat on purpose: strings, enumerations and lists are what every provider's form of a schema has.
    """
    names = listed(keys)
    # an enumeration would forbid the keys that are not listed
    named: dict[str, Any] = {"enum": names} if len(names) == len(keys) else {}
    condition = create_model(
        "Condition",
        __config__=ConfigDict(extra="forbid"),
        key=(str, Field(description="Which key.", json_schema_extra=named)),
        op=(Operator, Field("eq", description="How it compares; gt, gte, lt and lte are for numbers.")),
        values=(
            Annotated[list[str], BeforeValidator(_as_words), AfterValidator(_bounded_values)],
            Field(description="The value; several for eq mean any of them, for ne none of them."),
        ),
    )
    kind = Annotated[
        list[condition] | None,  # type: ignore[valid-type]
        BeforeValidator(_decoded),
        AfterValidator(_bounded_conditions),
    ]
    return kind, Field(None, description=_described({name: keys[name] for name in names}, len(keys)))


def _described(keys: Mapping[str, MetadataKey], count: int) -> str:
    text = (
        "Only documents whose metadata meets all of these conditions. Leave it out unless the user asks for"
        " something it can tell. Keys: "
    )
    lines = [key.told for key in keys.values()]
    while lines and len(text) + len("; ".join(lines)) > _DESCRIPTION_CHARS:
        longest = max(range(len(lines)), key=lambda place: len(lines[place]))
        name = list(keys)[longest]
        if lines[longest] == name:
            break
        lines[longest] = name
    more = f"; and {count - len(keys)} more, such as columns that results show" if count > len(keys) else ""
    return text + "; ".join(lines) + more


def how_to_filter(keys: Mapping[str, MetadataKey]) -> str:
    """What to tell a model whose filter was no good."""
    number = next((key for key in keys.values() if "number" in key.kinds and key.lowest <= key.highest), None)
    name, op, value = (
        (number.name, "gte", f"{number.lowest:g}") if number else (next(iter(keys)), "eq", "...")
    )
    example = json.dumps([{"key": name, "op": op, "values": [value]}], ensure_ascii=False)
    return f"a filter is a list like {example}; known keys: {', '.join(listed(keys))}"


# --- to Chroma's form --------------------------------------------------------------------------------------


def to_where(conditions: Sequence[BaseModel] | None, keys: Mapping[str, MetadataKey]) -> list[dict[str, Any]]:
    """Conditions in Chroma's form, all of which must hold.

    Raises:
        ToolException: If a key is unknown or a value is not of its kind; the message is for the model.
    """
    return [typed(_condition(cast("Any", each), keys)) for each in conditions or ()]


def _condition(asked: Any, keys: Mapping[str, MetadataKey]) -> dict[str, Any]:
    key = keys.get(asked.key)
    if key is None:
        msg = f"The filter is wrong: there is no key {_short(asked.key)}; {how_to_filter(keys)}"
        raise ToolException(msg)
    if asked.op in {"eq", "ne"}:
        return _equal(key, asked.op, asked.values)
    numbers = [number for value in asked.values if (number := _number(value)) is not None]
    if "number" not in key.kinds or len(numbers) != 1 or len(asked.values) != 1:
        msg = f"The filter is wrong: {asked.op} compares numbers, and takes one; {how_to_filter(keys)}"
        raise ToolException(msg)
    return {key.name: {f"${asked.op}": numbers[0]}}


def _equal(key: MetadataKey, op: str, values: Sequence[str]) -> dict[str, Any]:
    """One test for all types a value may be of, since Chroma compares it with those of its own type alone."""
    values = [stored for value in values for stored in sorted(key.by_name.get(value, {value}))]
    scalars: list[Scalar] = []
    for value in values:
        read = [scalar for kind in sorted(key.kinds) if (scalar := _read(kind, value)) is not None]
        if not read:
            msg = f"The filter is wrong: {_short(value)} is no value for {key.told}"
            raise ToolException(msg)
        scalars += read
    if len(scalars) == 1:
        return {key.name: {f"${op}": scalars[0]}}
    return {key.name: {"$in" if op == "eq" else "$nin": scalars}}


def _read(kind: Kind, value: str) -> Scalar | None:
    if kind == "text":
        return value
    if kind == "number":
        return _number(value)
    return {"true": True, "false": False}.get(value.strip().lower())


def _number(value: str) -> int | float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    if not math.isfinite(number) or abs(number) > 2**53:  # beyond, a float no longer tells integers apart
        return None
    return int(number) if number.is_integer() else number


def _short(value: str) -> str:
    return json.dumps(value if len(value) <= _LONGEST_KEY else f"{value[:_LONGEST_KEY]}…")


# --- a sample of a collection -------------------------------------------------------------------------------


def sampled_metadata(store: Any, condition: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any] | None]:
    """Metadata of up to some two thousand documents, from the start of a collection and from further on.

    Args:
        store: A `langchain_chroma.Chroma`.
        condition: Which documents to look at, in Chroma's form.
    """
    for offset in (0, 500, 5_000, 50_000, 500_000):
        page = store.get(where=condition, limit=500, offset=offset, include=["metadatas"])
        metadatas = page["metadatas"] or []
        yield from metadatas
        if len(metadatas) < 500:  # noqa: PLR2004 - the limit above
            return
