"""What the tools of the MCP server take; the schemas that clients see are made of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from langchain_mmrag.tools.arguments import COUNT, MAX_RESULTS, MODALITY, NOT_TEXT, QUERY
from langchain_mmrag.tools.filters import MetadataKey, filter_field
from langchain_mmrag.types import Modality

_LONGEST_QUERY = 10_000
_LONGEST_TEXT = 200_000
_MOST_IDS = 100


class Arguments(BaseModel):
    """Arguments of a tool; names it does not know are refused."""

    model_config = ConfigDict(extra="forbid")


class InCollection(Arguments):
    """Arguments of a tool that works on one collection."""

    collection: str | None = Field(None, description="Name of the collection, as list_collections tells it.")


class SearchArguments(InCollection):
    """What may be looked for."""

    query: str | None = Field(
        None,
        max_length=_LONGEST_QUERY,
        description=QUERY,
    )
    image: str | None = Field(
        None,
        description="Id of an item with a picture, as an earlier search told it: finds what is like it, or,"
        " with a query, what is like it but as the query says. Paths and addresses are not taken.",
    )
    not_text: str | None = Field(
        None,
        max_length=_LONGEST_QUERY,
        description=NOT_TEXT,
    )
    modality: Modality | None = Field(None, description=MODALITY)
    k: int | None = Field(None, ge=1, le=MAX_RESULTS, description=COUNT)


def search_arguments(keys: Mapping[str, MetadataKey]) -> type[SearchArguments]:
    """Arguments of a search whose results can be narrowed by metadata, if there is any."""
    fields: dict[str, Any] = {"filter": filter_field(keys)} if keys else {}
    return create_model("SearchArguments", __base__=SearchArguments, **fields)


class ItemArguments(InCollection):
    """Which item."""

    id: str = Field(min_length=1, description="Id of the item, as a search told it.")


class AddTextArguments(InCollection):
    """A passage to add."""

    text: str = Field(min_length=1, max_length=_LONGEST_TEXT, description="The passage.")
    source: str | None = Field(None, max_length=1_000, description="Where it is from, for citations.")


class AddImageArguments(InCollection):
    """A picture to add."""

    path: str = Field(
        min_length=1,
        max_length=4_096,
        description="Path of the picture on the server's machine, in one of the folders it may read.",
    )
    caption: str | None = Field(None, max_length=_LONGEST_QUERY, description="What it shows.")


class DeleteArguments(InCollection):
    """Which items to take out."""

    ids: list[str] = Field(min_length=1, max_length=_MOST_IDS, description="Ids of the items.")


def schema_of(arguments: type[Arguments], collections: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a tool's arguments: the collections by name, and named only if there are several."""
    schema = arguments.model_json_schema()
    schema.pop("description", None)
    properties = schema["properties"]
    if "collection" in properties:
        properties["collection"] = {
            "type": "string",
            "enum": [*collections],
            "description": properties["collection"]["description"],
        }
        if len(collections) > 1:
            schema["required"] = [*schema.get("required", ()), "collection"]
    return schema
