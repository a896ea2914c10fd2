"""What the tools of the MCP server take; the schemas that clients see are made of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langchain_mmrag.types import Modality

MAX_RESULTS = 20
_LONGEST_QUERY = 10_000
_LONGEST_TEXT = 200_000
_MOST_IDS = 100

_Scalar: TypeAlias = str | int | float | bool
_OPERATORS = {"=": "$eq", "!=": "$ne", ">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte", "in": "$in"}


class Condition(BaseModel):
    """A condition on the metadata of what is to be found."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(min_length=1, pattern=r"^[^$]", description="A key that list_collections names.")
    op: Literal["=", "!=", ">", ">=", "<", "<=", "in"] = Field(description='"in" takes a list of values.')
    value: _Scalar | list[_Scalar] = Field(description="What to compare with; numbers for > and <.")

    def where(self) -> dict[str, Any]:
        """The condition as Chroma takes it.

        Raises:
            ValueError: If the value is not of a kind the operator compares.
        """
        is_list = isinstance(self.value, list)
        kinds = {type(value) for value in self.value} if isinstance(self.value, list) else {type(self.value)}
        if is_list != (self.op == "in") or not kinds:
            msg = f"{self.key} {self.op}: give a list that is not empty for in, one value for the others"
            raise ValueError(msg)
        if len(kinds) > 1:
            msg = f"{self.key} in: the values of the list are of several types, give them in one"
            raise ValueError(msg)
        if self.op in {">", ">=", "<", "<="} and not kinds <= {int, float}:
            msg = f"{self.key} {self.op}: give a number"
            raise ValueError(msg)
        return {self.key: {_OPERATORS[self.op]: self.value}}


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
        description="What to look for, in plain words: what a picture shows or a text says. Say only what is"
        " wanted: the search does not understand words such as not, without or except.",
    )
    image: str | None = Field(
        None,
        description="Id of an item with a picture, as an earlier search told it: finds what is like it, or,"
        " with a query, what is like it but as the query says. Paths and addresses are not taken.",
    )
    not_text: str | None = Field(
        None,
        max_length=_LONGEST_QUERY,
        description='What to avoid, in plain words and without "not": results like it move down.',
    )
    modality: Modality | None = Field(None, description="Only items of this kind. Leave out to search all.")
    k: int | None = Field(None, ge=1, le=MAX_RESULTS, description="How many results.")
    filter: list[Condition] | None = Field(
        None, max_length=10, description="Conditions on the metadata, all of which must hold."
    )

    def settings(self) -> dict[str, Any]:
        """What is said of how to search, as a retriever takes it.

        Raises:
            ValueError: If a condition makes no sense.
        """
        conditions = [condition.where() for condition in self.filter or ()]
        given = {
            "k": self.k,
            "modality": self.modality,
            "filter": {"$and": conditions} if conditions else None,
        }
        return {name: value for name, value in given.items() if value is not None}


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


def told(error: ValidationError) -> str:
    """Which argument is wrong, without what was given for it, which may be long."""
    errors = error.errors(include_input=False, include_url=False)
    details = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in errors)
    return f"The arguments are wrong: {details}"
