"""A collection as it is served: what a client may ask of it, without a word of the protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chromadb.errors import ChromaError
from langchain_core.documents import Document
from langchain_core.tools import ToolException
from pydantic import BaseModel

from langchain_mmrag._record import EMBEDDING
from langchain_mmrag._store.chroma import of_modality, where
from langchain_mmrag.errors import (
    CorruptMediaError,
    LoadError,
    MMRAGError,
    UnsafeSourceError,
    UnsupportedFormatError,
)
from langchain_mmrag.media import MediaPolicy, describe_source, image_facts, read_media
from langchain_mmrag.prompts import cite, cite_link, kind_of
from langchain_mmrag.queries import Query
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.tools.filters import MetadataKey, keys_seen, sampled_metadata, to_where
from langchain_mmrag.types import CAPTION, SOURCE, image_source
from langchain_mmrag.vectorstores import MultimodalChroma

_PAGE = 5_000
_RERANKED = "relevance_score"  # where LangChain's rerankers write what they make of a document


class RequestError(Exception):
    """A request that cannot be met; the message is written for whoever asked."""


class HitRow(BaseModel):
    """What was found, as structured output has it."""

    number: int
    id: str
    source: str
    modality: str
    score: float | None
    text: str
    link: str | None


class Summary(BaseModel):
    """What there is to know of a collection before it is searched."""

    name: str
    documents: int
    modalities: dict[str, int]
    embedding: str | None
    metadata_keys: list[str]


@dataclass(frozen=True)
class Found:
    """Documents in rank order, with the scores of the search by id."""

    documents: Sequence[Document]
    scores: Mapping[str, float]

    def rows(self) -> list[HitRow]:
        """The documents as structured output has them; `number` is the `[n]` of the labels."""
        return [
            HitRow(
                number=number,
                id=str(document.id),
                source=cite(document),
                modality=kind_of(document),
                score=document.metadata.get(_RERANKED, self.scores.get(str(document.id))),
                text=document.page_content,
                link=cite_link(document),
            )
            for number, document in enumerate(self.documents, 1)
        ]


class ServedCollection:
    """One collection, and what its server lets be done with it.

    Args:
        name: What clients call it.
        retriever: How it is searched.
        roots: Folders that pictures are read from, and added from; `None`: those of items, wherever they lie.
    """

    def __init__(self, name: str, retriever: MultimodalRetriever, roots: Sequence[Path] | None) -> None:
        self.name = name
        self.retriever = retriever
        self.store: MultimodalChroma = retriever.store
        self._roots = roots
        # What a retriever is set up to find is all that there is to a client.
        self._fence = where(retriever.filter, of_modality(retriever.modality))
        self._known: tuple[int, Summary] | None = None

    @property
    def media_policy(self) -> MediaPolicy:
        """What may be opened to show items; nothing is fetched from elsewhere for a client."""
        policy = replace(self.store.media_policy, allow_urls=False)
        if self._roots is None:
            return policy
        own = self.store._media_folder  # noqa: SLF001 - pictures given as bytes lie there
        return replace(policy, roots=(*self._roots, *([] if own is None else [own])))

    # --- read -----------------------------------------------------------------------------------------------

    def keys(self) -> dict[str, MetadataKey]:
        """The metadata that searches can be narrowed by, as it is now."""
        return keys_seen(sampled_metadata(self.store, self._fence))

    def search(
        self,
        text: str | None,
        image: str | None = None,
        not_text: str | None = None,
        conditions: Sequence[BaseModel] | None = None,
        **settings: Any,
    ) -> Found:
        """What the retriever finds for words, the picture of an item, or both.

        Args:
            text: Words.
            image: Id of an item whose picture is asked with.
            not_text: Words for what is not wanted.
            conditions: On the metadata, as `tools.filters` has them.
            **settings: Of the retriever, for this search.

        Raises:
            RequestError: If there is nothing to look for, no such picture, or a condition makes no sense.
        """
        if image is None and not (text or "").strip():
            msg = "The query is empty: say in a few words what to look for, or name an item with image."
            raise RequestError(msg)
        picture = None if image is None else self.picture(self.item(image))[0]
        try:
            query = Query(text=text, image=picture, not_text=not_text)
        except ValueError as error:
            raise RequestError(str(error)) from error
        if conditions:
            settings["filter"] = where(self.retriever.filter, *self._where(conditions))
        if self.retriever.modality not in {None, settings.get("modality", self.retriever.modality)}:
            msg = f"This collection is searched for items of modality {self.retriever.modality} alone."
            raise RequestError(msg)
        watched = _Watched(self.store)
        documents = self.retriever.model_copy(update={"store": watched}).invoke(query, **settings)
        return Found(documents, watched.scores)

    def item(self, id_: str) -> Document:
        """The item with an id.

        Raises:
            RequestError: If there is none.
        """
        found = self._items([id_]) if id_ else []
        if not found:
            msg = f"There is no item {_shown(id_)} in collection {self.name!r}: ids are those a search told."
            raise RequestError(msg)
        return found[0]

    def _items(self, ids: Sequence[str]) -> list[Document]:
        found = self.store.get_by_ids(list(ids))
        if self._fence is None or not found:
            return found
        inside = set(self.store.get([str(each.id) for each in found], self._fence, include=[])["ids"])
        return [each for each in found if each.id in inside]

    def _where(self, conditions: Sequence[BaseModel]) -> list[dict[str, Any]]:
        keys = self.keys()
        if not keys:
            msg = "This collection has no metadata to filter by."
            raise RequestError(msg)
        try:
            return to_where(conditions, keys)
        except ToolException as error:
            raise RequestError(str(error)) from error

    def picture(self, document: Document) -> tuple[bytes, str]:
        """The bytes of an item's picture, as they are stored, and their media type.

        Raises:
            RequestError: If it has none, or it can no longer be opened.
        """
        source = image_source(document.metadata) if kind_of(document) == "image" else None
        if source is None:
            msg = f"Item {_shown(str(document.id))} has no picture: it is a {kind_of(document)}."
            raise RequestError(msg)
        try:
            data = read_media(source, self.media_policy)
            return data, image_facts(data, self.media_policy).mime_type
        except LoadError as error:
            msg = f"The picture of item {_shown(str(document.id))} cannot be shown: {reason(error)}."
            raise RequestError(msg) from error

    def summary(self) -> Summary:
        """Name, sizes, embedding and metadata keys; counted anew when the number of rows has changed."""
        rows = self.store._collection.count()  # noqa: SLF001 - windows of long texts included: all that is written
        if self._known is None or self._known[0] != rows:
            self._known = rows, self._summary()
        return self._known[1]

    def _summary(self) -> Summary:
        modalities: Counter[str] = Counter()
        for metadata in self._metadatas():
            modalities[kind_of(Document("", metadata=metadata))] += 1
        recorded = self.store._client.get_collection(self.store._collection_name).metadata or {}  # noqa: SLF001
        return Summary(
            name=self.name,
            documents=modalities.total(),
            modalities=dict(sorted(modalities.items())),
            embedding=recorded.get(EMBEDDING),
            metadata_keys=[key.told for key in self.keys().values()],
        )

    def _metadatas(self) -> Iterator[dict[str, Any]]:
        offset = 0
        page: list[Any] | None = None
        while page is None or len(page) == _PAGE:
            rows = self.store.get(where=self._fence, include=["metadatas"], limit=_PAGE, offset=offset)
            page = rows["metadatas"] or []
            yield from (dict(row or {}) for row in page)
            offset += _PAGE

    # --- write ----------------------------------------------------------------------------------------------

    def add_text(self, text: str, source: str | None) -> str:
        """Add a passage; returns its id, which is made of its content.

        Raises:
            RequestError: If there is nothing in it.
        """
        if not text.strip():
            msg = "The text is empty: there is nothing to add."
            raise RequestError(msg)
        [id_] = self.store.add_texts([text], [{SOURCE: source} if source else {}])
        self._known = None
        return id_

    def add_image(self, path: str, caption: str | None) -> str:
        """Add a picture that lies in one of the folders allowed; returns its id.

        Raises:
            RequestError: If it lies elsewhere, or cannot be read.
        """
        place, failure = None, "there is no such file"
        for root in self._roots or ():
            # Joined to the root, an address is but a strange file name; an absolute path stays what it is.
            given = root / path
            try:
                image_facts(given, MediaPolicy(roots=(root,), allow_urls=False))
            except LoadError as error:
                failure = reason(error)
            else:
                place = given.resolve()
                break
        if place is None:
            msg = f"{_shown(path)} cannot be added: {failure}. Give a picture in one of the allowed folders."
            raise RequestError(msg)
        [id_] = self.store.add_images([str(place)], [{CAPTION: caption} if caption else {}])
        self._known = None
        return id_

    def delete(self, ids: Sequence[str]) -> None:
        """Take items out.

        Raises:
            RequestError: If one of them is not there; then none is taken out.
        """
        known = {found.id for found in self._items(ids)}
        if unknown := [id_ for id_ in ids if id_ not in known]:
            msg = f"Nothing was deleted: there is no item {', '.join(map(_shown, unknown[:5]))}."
            raise RequestError(msg)
        self.store.delete(list(ids))
        self._known = None


class _Watched:
    """A store that remembers the scores of its last search, which a retriever does not hand on."""

    def __init__(self, store: MultimodalChroma) -> None:
        self._store = store
        self.scores: dict[str, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def search_ranked(self, *arguments: Any, **options: Any) -> list[tuple[Document, float]]:
        found = self._store.search_ranked(*arguments, **options)
        self.scores = {str(document.id): float(score) for document, score in found}
        return found


def expected(error: Exception) -> str | None:
    """What to tell a client of an error that comes from the request or the collection; `None` for a bug."""
    if isinstance(error, RequestError):
        return str(error)
    if isinstance(error, LoadError):
        return f"A picture cannot be opened: {reason(error)}."
    if isinstance(error, MMRAGError):
        return str(error)
    if isinstance(error, ChromaError):  # another process has taken the collection away, for one
        return f"The collection cannot be read now ({type(error).__name__})."
    return None


def reason(error: LoadError) -> str:
    """Why a picture cannot be opened, without the path: that is no business of a client."""
    if isinstance(error, UnsafeSourceError):
        return "it lies outside the allowed folders, is too large, or is not on this machine"
    if isinstance(error, CorruptMediaError):
        return "its file is damaged"
    if isinstance(error, UnsupportedFormatError):
        return "its file is not a picture of a known format"
    return "its file can no longer be opened"


def _shown(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 120 else f"{shown[:100]}…"  # noqa: PLR2004 - a label


def plain_metadata(document: Document) -> dict[str, Any]:
    """The metadata of a document, with pictures in data-URIs replaced by a description of them."""
    return {
        key: describe_source(value) if isinstance(value, str) and value.startswith("data:") else value
        for key, value in document.metadata.items()
    }
