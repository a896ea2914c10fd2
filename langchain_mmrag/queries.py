"""What is asked of a store: text, a picture, or both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from langchain_mmrag.media import describe_source
from langchain_mmrag.types import ImageInput, Modality

_KEYS = ("text", "image", "modality")


@dataclass(frozen=True, kw_only=True, repr=False)
class Query:
    """One question: text, a picture, or a picture and how it should differ.

    Attributes:
        text: Words. A `str` is always text, never taken for a path.
        image: Path, URL, data-URI, bytes, binary file or `PIL.Image`.
        modality: Return only documents of this modality.

    Raises:
        ValueError: If there is neither text nor image, `image` is an empty `str`, or `modality` is none of
            the known ones.
        TypeError: If `text` is not a `str`.
    """

    text: str | None = None
    image: ImageInput | None = None
    modality: Modality | None = None

    def __post_init__(self) -> None:
        if self.text is None and self.image is None:
            msg = "a Query needs text, an image, or both"
            raise ValueError(msg)
        text: Any = self.text
        if not isinstance(text, str | None):
            msg = f"the text of a Query must be a str, not {type(text).__name__}"
            raise TypeError(msg)
        if isinstance(self.image, str) and not self.image.strip():
            msg = (
                "the image of a Query is an empty str: give a path, URL, bytes or PIL.Image, or leave it out"
            )
            raise ValueError(msg)
        check_modality(self.modality)

    @classmethod
    def of(cls, value: str | Query | Mapping[str, Any]) -> Query:
        """A `Query` of what a retriever may be called with.

        Args:
            value: Text, a `Query`, or a mapping with the keys `text`, `image` and `modality`.

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

    def __repr__(self) -> str:
        # Tracers and logs show this: the picture is named, never dumped.
        image = None if self.image is None else describe_source(self.image)
        parts = {"text": repr(self.text), "image": f"<{image}>", "modality": repr(self.modality)}
        shown = [f"{key}={parts[key]}" for key in _KEYS if getattr(self, key) is not None]
        return f"Query({', '.join(shown)})"


def check_modality(modality: str | None) -> None:
    """Refuse a modality nobody knows.

    Raises:
        ValueError: If `modality` is neither `None` nor one of the known modalities.
    """
    if modality is not None and modality not in get_args(Modality):
        msg = f"unknown modality {modality!r}: use one of {', '.join(get_args(Modality))}"
        raise ValueError(msg)
