"""What is asked of a collection besides the query itself, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast, get_args

from langchain_mmrag._store.chroma import Where, of_modality, where
from langchain_mmrag._store.typed import typed
from langchain_mmrag.queries import check_modality
from langchain_mmrag.ranking import Collapse, Rank, SearchMode
from langchain_mmrag.types import MODALITY, Modality

Filter: TypeAlias = Mapping[str, Any]

_OPTIONS = ("where_document", "ids")  # of Chroma's query, beside what is asked for here


@dataclass(frozen=True)
class How:
    """The ways of a search that do not concern what is looked for.

    Attributes:
        rank: How sides are put in one order.
        search: By vectors, by words, by both, or by texts.
        collapse: Which documents count as one.
        threshold: Relevance below which nothing is returned.
    """

    rank: Rank
    search: SearchMode = "vector"
    collapse: Collapse = "parent"
    threshold: float | None = None


@dataclass(frozen=True)
class Wanted:
    """What is asked of a collection besides the query itself.

    Attributes:
        k: How many documents.
        condition: On their metadata, as Chroma takes it.
        options: Passed to Chroma's query.
    """

    k: int
    condition: Where | None
    options: Mapping[str, Any]

    @property
    def is_free(self) -> bool:
        """Whether every row will do."""
        return self.condition is None and not self.options


def modality_of_filter(
    filter: Filter | None,  # noqa: A002
    modality: Modality | None,
) -> tuple[Filter | None, Modality | None]:
    """The filter without what it says of the modality, and the modality.

    A filter that is nothing but one modality means the same as the argument, and gives the same answers.
    """
    if not isinstance(filter, Mapping) or list(filter) != [MODALITY]:
        return filter, modality
    asked = filter[MODALITY]
    if isinstance(asked, Mapping) and list(asked) == ["$eq"]:
        asked = asked["$eq"]
    if not isinstance(asked, str) or asked not in get_args(Modality) or modality not in {None, asked}:
        return filter, modality
    return None, cast("Modality", asked)


def wanted(k: Any, filter: Filter | None, modality: Modality | None, options: Mapping[str, Any]) -> Wanted:  # noqa: A002
    """What a caller's arguments ask for.

    Raises:
        TypeError: If the filter is no mapping, or there is a keyword no search takes.
        ValueError: If `k` is not a whole number of at least 1, nobody knows the modality, or the filter
            compares what is no number by size.
    """
    if unknown := [name for name in options if name not in _OPTIONS]:
        msg = (
            f"this search takes no {', '.join(unknown)}: use k, filter, modality, {', '.join(_OPTIONS)},"
            " and where documents are ranked rank, search, collapse and score_threshold"
        )
        raise TypeError(msg)
    given: Any = filter
    if not isinstance(given, Mapping | None):
        msg = f'filter is a {type(given).__name__}: give a dict such as {{"source": "diary.md"}}, or None'
        raise TypeError(msg)
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        msg = f"k must be a whole number of at least 1, not {k!r}"
        raise ValueError(msg)
    check_modality(modality)
    passed = {name: value for name, value in options.items() if value is not None}
    return Wanted(k, where(typed(filter or {}), of_modality(modality)), passed)
