"""What a model may ask the search for, as a schema that fits the retriever at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel, Field, ValidationError, create_model

from langchain_mmrag.tools.asked_images import AskedImages
from langchain_mmrag.tools.filters import MetadataKey, filter_field, how_to_filter
from langchain_mmrag.types import Modality

MAX_RESULTS: Final = 20
TITLE: Final = "SearchArguments"

QUERY: Final = (
    "What to look for, in plain words: what a picture shows or a text says. Say only what is wanted: the"
    " search does not understand words such as not, without or except."
)
NOT_TEXT: Final = (
    'What to avoid, in plain words and without "not": results like it move down. Use it if the user excludes'
    ' something ("boats, but no sailing boats": query "boats", not_text "sailing boat") or if an earlier'
    " search was full of something unwanted. Leave it out otherwise."
)

MODALITY: Final = "Only results of this kind. Leave it out to search all."
COUNT: Final = "How many results. Leave it out for the usual number."


def arguments_of(
    options: set[str], images: AskedImages | None, keys: Mapping[str, MetadataKey]
) -> type[BaseModel]:
    """The schema of the tool's arguments.

    Args:
        options: What else the retriever takes, by the names of the arguments.
        images: How a model may ask with a picture; `None` if it may not.
        keys: Metadata it may filter by.
    """
    fields: dict[str, Any] = {"query": (str, Field(description=QUERY))}
    if images is not None:
        fields["query"] = (str, Field("", description=f"{QUERY} With image it may be left out."))
        fields["image"] = (str | None, Field(None, description=images.description))
    if "not_text" in options:
        fields["not_text"] = (str | None, Field(None, description=NOT_TEXT))
    if "modality" in options:
        fields["modality"] = (Modality | None, Field(None, description=MODALITY))
    fields["k"] = (int | None, Field(None, ge=1, le=MAX_RESULTS, description=COUNT))
    if keys:
        fields["filter"] = filter_field(keys)
    return create_model(TITLE, **fields)


def explain_arguments(keys: Mapping[str, MetadataKey]) -> Callable[[ValidationError], str]:
    """Tell a model which argument was wrong. Any other failed validation is a bug, and raises."""

    def explain(error: ValidationError) -> str:
        if error.title != TITLE:
            raise error
        details = wrong_arguments(error)
        if any(each["loc"][:1] == ("filter",) for each in error.errors(include_url=False)):
            details += f". {how_to_filter(keys)[:1].upper()}{how_to_filter(keys)[1:]}"
        return f"The arguments of the search are wrong: {details}"

    return explain


def wrong_arguments(error: ValidationError) -> str:
    """Which arguments are wrong, without what was given for them, which may be long."""
    wrong = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in wrong[:3])
