"""What `mmrag search` and `mmrag ask` are asked with: options both share, written once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn, get_type_hints

import typer

if TYPE_CHECKING:
    from langchain_mmrag.queries import Query

_WEIGHED: Final = {"text": "text", "image": "image", "not": "not_text", "not-image": "not_image"}


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Options of a search; `takes_asking` makes them those of a command.

    The choices are written out: `langchain_mmrag.ranking`, which has them too, would make `--help` slow.
    """

    image: Annotated[
        str | None, typer.Option("--image", help="Picture to ask with: a path or a web address.")
    ] = None
    not_text: Annotated[
        str | None, typer.Option("--not", metavar="TEXT", help="What to avoid: hits like it move down.")
    ] = None
    not_image: Annotated[
        str | None, typer.Option("--not-image", help="Picture of what to avoid: a path or a web address.")
    ] = None
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weight",
            metavar="PART=NUMBER",
            help=f"How much a part counts, such as not=0.3; the parts are {', '.join(_WEIGHED)}. Repeatable.",
        ),
    ] = None
    modality: Annotated[
        Literal["text", "image", "table", "video", "audio"] | None,
        typer.Option("--modality", help="Only hits of this kind."),
    ] = None
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 6
    search: Annotated[
        Literal["vector", "hybrid", "keyword", "text"],
        typer.Option("--search", help="Find by meaning, by words, by both, or by texts alone."),
    ] = "hybrid"
    rank: Annotated[
        Literal["calibrated", "raw", "rrf", "centered"] | None,
        typer.Option("--rank", help="How pictures and passages get into one order."),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0, max=1, help="Only hits of at least this relevance, from 0 to 1."),
    ] = None
    collapse: Annotated[
        Literal["parent", "near-duplicate", "none"] | None,
        typer.Option(
            "--collapse", help="What counts as one hit: parts of one text, also copies, or nothing."
        ),
    ] = None

    def query(self, text: str | None, *, argument: str = "TEXT") -> Query:
        """The query for `text` and what is to be avoided.

        Raises:
            BadParameter: If there is nothing to look for, or the parts do not go together.
        """
        from langchain_mmrag.queries import Query

        if not (text or "").strip() and self.image is None:
            _misused(argument, "give words to look for, a picture with --image, or both")
        if self.search in {"keyword", "text"} and not (text or "").strip():
            _misused("--search", "a search by words needs words; leave it out to search by the picture")
        weights = _weights(self.weights or ())
        try:
            return Query(
                text=text or None,
                image=self.image,
                not_text=self.not_text,
                not_image=self.not_image,
                weights=weights,
                modality=self.modality,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    def options(self) -> dict[str, Any]:
        """The other keywords of `search_ranked`; those that were not given are not there."""
        given = {
            "search": self.search,
            "rank": self.rank,
            "score_threshold": self.threshold,
            "collapse": self.collapse,
        }
        return {"k": self.k, **{name: value for name, value in given.items() if value is not None}}

    def row(self, text: str | None, *, name: str = "text") -> dict[str, Any]:
        """What was asked, as JSON has it; `text` under `name`."""
        row = {name: text, "image": self.image, "not_text": self.not_text, "not_image": self.not_image}
        return {**row, "weights": _weights(self.weights or ())}


def takes_asking(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command with a parameter `asking` the options of an `Asking` in its place."""
    signature = inspect.signature(command, eval_str=True)
    hints = get_type_hints(Asking, include_extras=True)
    names = [field.name for field in fields(Asking)]
    options = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(Asking)
    ]

    @wraps(command)
    def run(**given: Any) -> None:
        asking = Asking(**{name: given.pop(name) for name in names})
        command(asking=asking, **given)

    others = list(signature.parameters.values())
    place = list(signature.parameters).index("asking")
    parameters = [*others[:place], *options, *others[place + 1 :]]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def _weights(given: Sequence[str]) -> dict[str, float] | None:
    weights = {}
    for item in given:
        part, _, number = item.partition("=")
        name = _WEIGHED.get(part.strip())
        if name is None:
            _misused("--weight", f"{item!r} names no part: use one of {', '.join(_WEIGHED)}, as in text=0.5")
        try:
            weights[name] = float(number)
        except ValueError:
            _misused("--weight", f"{item!r} has no number: write it as in text=0.5")
    return weights or None


def _misused(parameter: str, message: str) -> NoReturn:
    raise typer.BadParameter(message, param_hint=parameter)
