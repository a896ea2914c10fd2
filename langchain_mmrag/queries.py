"""What is asked of a store: text, a picture, or both, and what is not wanted."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Final, get_args

from PIL import Image

from langchain_mmrag.media import describe_source
from langchain_mmrag.ranking import Side
from langchain_mmrag.types import ImageInput, Modality

_PARTS: Final[dict[str, Side]] = {"text": "text", "image": "image", "not_text": "text", "not_image": "image"}
_KEYS: Final = (*_PARTS, "weights", "modality")
_SHARES: Final = {"text": 0.7, "image": 0.3}  # a sum of centred vectors finds both parts best this way
_LEAST_WEIGHT: Final = 1e-6
_NOT_WANTED: Final = 0.5  # against 1 for all that is wanted


@dataclass(frozen=True, repr=False)
class Term:
    """One part of a query, as it enters the query's vector.

    Attributes:
        side: Which encoder reads it.
        content: Words for the text side, a picture for the image side.
        weight: Its share in the sum; negative for what is not wanted.
    """

    side: Side
    content: str | ImageInput
    weight: float

    def __repr__(self) -> str:
        return f"Term({self.weight:+g} {_shown(self.side, self.content)})"


@dataclass(frozen=True, kw_only=True, repr=False)
class Query:
    """One question: text, a picture, or a picture and how it should differ; and what is not wanted.

    ```python
    Query(image="postcard.jpg", text="at night")
    Query(text="lighthouse", not_text="fog", not_image="seen_already.jpg", weights={"not_text": 0.3})
    ```

    What is not wanted moves documents like it down; it keeps none out.

    Attributes:
        text: Words. A `str` is always text, never taken for a path.
        image: Path, URL, data-URI, bytes, binary file or `PIL.Image`.
        not_text: Words for what is not wanted.
        not_image: A picture of what is not wanted, given as `image` is.
        weights: How much a part counts against the others, for any of `text`, `image`, `not_text` and
            `not_image`. By default text counts 0.7 and image 0.3 when there are both, 1 alone; what is not
            wanted counts 0.5 each.
        modality: Return only documents of this modality.

    Raises:
        ValueError: If there is neither text nor image, what is not wanted is blank or the very thing that is
            wanted, an image is an empty `str`, a weight is not above 0 or for a part that is not there, or
            `modality` is none of the known ones.
        TypeError: If a text is not a `str`, an image is an array, `weights` is no mapping, or a weight is no
            number.
    """

    text: str | None = None
    image: ImageInput | None = None
    not_text: str | None = None
    not_image: ImageInput | None = None
    weights: Mapping[str, float] | None = None
    modality: Modality | None = None

    def __post_init__(self) -> None:
        _check_text("text", self.text)
        _check_text("not_text", self.not_text)
        _check_image("image", self.image)
        _check_image("not_image", self.not_image)
        self._check_wanted()
        self._check_not_wanted()
        object.__setattr__(self, "weights", self._checked_weights())  # frozen, but still being made
        check_modality(self.modality)

    @classmethod
    def of(cls, value: str | Query | Mapping[str, Any]) -> Query:
        """A `Query` of what a retriever may be called with.

        Args:
            value: Text, a `Query`, or a mapping whose keys are attributes of one.

        Raises:
            ValueError: If a mapping has other keys or names nothing to look for.
            TypeError: If `value` is none of these.
        """
        given: Any = value
        if isinstance(given, Query):
            return given
        if isinstance(given, str):
            return cls(text=given)
        if not isinstance(given, Mapping):
            msg = f"a query is a str, a Query or a mapping, not {type(given).__name__}"
            raise TypeError(msg)
        if unknown := [str(key) for key in given if key not in _KEYS]:
            msg = f"unknown key {', '.join(unknown)} in a query: use {', '.join(_KEYS)}"
            raise ValueError(msg)
        return cls(**given)

    def terms(self) -> list[Term]:
        """The parts that there are, weighted: first what is wanted, then what is not.

        Blank text is no part. What is wanted sums up to 1 unless `weights` says otherwise.
        """
        parts = self._parts()
        weights = {**self._default_weights(parts), **(self.weights or {})}
        return [
            Term(_PARTS[name], content, -weights[name] if name.startswith("not_") else weights[name])
            for name, content in parts.items()
        ]

    def _parts(self) -> dict[str, str | ImageInput]:
        given = {name: getattr(self, name) for name in _PARTS}
        if not (self.text or "").strip():
            del given["text"]
        return {name: part for name, part in given.items() if part is not None}

    @staticmethod
    def _default_weights(parts: Mapping[str, object]) -> dict[str, float]:
        wanted = _SHARES if _SHARES.keys() <= parts.keys() else dict.fromkeys(_SHARES, 1.0)
        return {**wanted, "not_text": _NOT_WANTED, "not_image": _NOT_WANTED}

    def _check_wanted(self) -> None:
        wants_nothing = self.image is None and not (self.text or "").strip()
        if wants_nothing and not (self.not_text is None and self.not_image is None):
            msg = (
                "a Query must want something: not_text and not_image only take away, so add text or an image"
            )
            raise ValueError(msg)
        if self.text is None and self.image is None:
            msg = "a Query needs text, an image, or both"
            raise ValueError(msg)

    def _check_not_wanted(self) -> None:
        if self.not_text is not None and not self.not_text.strip():
            msg = f"the not_text of a Query is blank, {self.not_text!r}: say what to avoid, or leave it out"
            raise ValueError(msg)
        if self.text and self.not_text and _folded(self.text) == _folded(self.not_text):
            msg = (
                f"text and not_text of a Query are both {self.not_text!r}: it cannot be wanted and not wanted"
            )
            raise ValueError(msg)
        if self.image is not None and self.not_image is not None and _same(self.image, self.not_image):
            name = describe_source(self.image)
            msg = f"image and not_image of a Query are both {name}: it cannot be wanted and not wanted"
            raise ValueError(msg)

    def _checked_weights(self) -> Mapping[str, float] | None:
        given: Any = self.weights
        if not isinstance(given, Mapping | None):
            msg = f'the weights of a Query are a {type(given).__name__}: give a dict such as {{"text": 0.5}}'
            raise TypeError(msg)
        if unknown := [str(name) for name in given or () if name not in _PARTS]:
            msg = f"unknown {', '.join(unknown)} in the weights of a Query: use {', '.join(_PARTS)}"
            raise ValueError(msg)
        parts = self._parts()
        if absent := [name for name in given or () if name not in parts]:
            msg = (
                f"a Query has a weight but nothing for {', '.join(absent)}: give it, or leave its weight out"
            )
            raise ValueError(msg)
        return _Weights({name: _checked_weight(name, given[name]) for name in given}) if given else None

    def __repr__(self) -> str:
        # Tracers and logs show this: a picture is named, never dumped.
        parts = {name: getattr(self, name) for name in _KEYS}
        shown = [
            f"{name}={_shown(_PARTS.get(name), value)}" for name, value in parts.items() if value is not None
        ]
        return f"Query({', '.join(shown)})"


class _Weights(Mapping[str, float]):
    """Weights that cannot be changed any more; hashable, as the query they belong to is."""

    __slots__ = ("_items",)

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._items = tuple((name, weights[name]) for name in _PARTS if name in weights)

    def __getitem__(self, name: str) -> float:
        return dict(self._items)[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        return repr(dict(self._items))


def check_modality(modality: str | None) -> None:
    """Refuse a modality nobody knows.

    Raises:
        ValueError: If `modality` is neither `None` nor one of the known modalities.
    """
    if modality is not None and modality not in get_args(Modality):
        msg = f"unknown modality {modality!r}: use one of {', '.join(get_args(Modality))}"
        raise ValueError(msg)


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str | None):
        msg = f"the {name} of a Query must be a str, not {type(text).__name__}"
        raise TypeError(msg)


def _check_image(name: str, image: ImageInput | None) -> None:
    if isinstance(image, str) and not image.strip():
        msg = f"the {name} of a Query is an empty str: give a path, URL, bytes or PIL.Image, or leave it out"
        raise ValueError(msg)
    if hasattr(image, "__array_interface__") and not isinstance(image, Image.Image):
        msg = f"the {name} of a Query is a {type(image).__name__}: give PIL.Image.fromarray(...) of it"
        raise TypeError(msg)


def _checked_weight(name: str, weight: Any) -> float:
    if isinstance(weight, bool) or not isinstance(weight, Real):
        msg = f"the weight of {name} in a Query is {weight!r}: give a number above 0"
        raise TypeError(msg)
    number = float(weight)
    if not _LEAST_WEIGHT <= number <= 1 / _LEAST_WEIGHT:
        hint = "; what is not wanted goes into not_text or not_image" if number < 0 else ""
        limits = "" if not number > 0 or math.isinf(number) else ", from a millionth to a million"
        msg = f"the weight of {name} in a Query is {weight!r}: give a number above 0{limits}{hint}"
        raise ValueError(msg)
    return number


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _same(first: ImageInput, second: ImageInput) -> bool:
    """Whether two images are one source, as far as can be told without opening them."""
    return first is second or _source(first) == _source(second)


def _source(image: ImageInput) -> object:
    """What tells one image from another: where it lies or its bytes, else the object itself."""
    if isinstance(image, os.PathLike):
        return os.path.normpath(os.fsdecode(image))
    if isinstance(image, str):
        is_path = "://" not in image and image[:5].lower() != "data:"
        return os.path.normpath(image) if is_path else image
    return image if isinstance(image, bytes) else id(image)


def _shown(side: Side | None, value: Any) -> str:
    return f"<{describe_source(value)}>" if side == "image" else repr(value)
