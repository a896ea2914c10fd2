"""A collection as it is served: what a client may ask of it, without a word of the protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chromadb.errors import ChromaError
from langchain_core.documents import Document
from langchain_core.tools import ToolException
from pydantic import BaseModel

from langchain_mmrag._record import EMBEDDING
from langchain_mmrag._store.chroma import of_modality, where
from langchain_mmrag.errors import LoadError, MMRAGError
from langchain_mmrag.media import (
    MediaPolicy,
    PromptPicture,
    image_facts,
    prompt_picture,
    read_media,
    reason_of,
)
from langchain_mmrag.prompts import cite, kind_of
from langchain_mmrag.queries import Query
from langchain_mmrag.quotes import PASSAGE_CHARS, shortened
from langchain_mmrag.reranking.base import RELEVANCE_SCORE
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.tools.filters import MetadataKey, keys_seen, listed, sampled_metadata, to_where
from langchain_mmrag.tools.stored import within
from langchain_mmrag.tools.telling import told_error, web_link
from langchain_mmrag.types import CAPTION, SOURCE, image_source
from langchain_mmrag.vectorstores import MultimodalChroma

_PAGE = 5_000
_LARGEST_SIDE = 8_192  # pixels of a picture given as a resource
_LARGEST_PICTURE = 15_000_000


class RequestError(Exception):
    """A request that cannot be met; the message is written for whoever asked."""


class HitRow(BaseModel):
    """What was found, as structured output has it."""

    number: int
    id: str
    uri: str
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

    collection: str
    documents: Sequence[Document]
    scores: Mapping[str, float]

    def rows(self) -> list[HitRow]:
        """The documents as structured output has them; `number` is the `[n]` of the labels."""
        return [
            HitRow(
                number=number,
                id=str(document.id),
                uri=item_uri(self.collection, str(document.id)),
                source=cite(document),
                modality=kind_of(document),
                score=self._score(document),
                text=shortened(document, PASSAGE_CHARS).marked,
                link=web_link(document),
            )
            for number, document in enumerate(self.documents, 1)
        ]

    def _score(self, document: Document) -> float | None:
        """What a reranker makes of it, else the search; a reranker's key may hold anything of a user's."""
        score = document.metadata.get(RELEVANCE_SCORE)
        if isinstance(score, int | float) and not isinstance(score, bool) and isfinite(score):
            return float(score)
        return self.scores.get(str(document.id))


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
        return self.store.opening_own_media(replace(policy, roots=tuple(self._roots)))

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
        picture = None if image is None else self.file(self.item(image))
        try:
            query = Query(text=text, image=picture, not_text=not_text)
        except ValueError as error:
            raise RequestError(str(error)) from error
        if conditions:
            settings["filter"] = where(self.retriever.filter, *self._where(conditions))
        if self.retriever.modality not in {None, settings.get("modality", self.retriever.modality)}:
            msg = f"This collection is searched for items of modality {self.retriever.modality} alone."
            raise RequestError(msg)
        watched = _Watched(self.store, self.media_policy)
        documents = self.retriever.model_copy(update={"store": watched}).invoke(query, **settings)
        return Found(self.name, documents, watched.scores)

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
        return within(self.store, ids, self._fence)

    def _where(self, conditions: Sequence[BaseModel]) -> list[dict[str, Any]]:
        keys = self.keys()
        if not keys:
            msg = "This collection has no metadata to filter by."
            raise RequestError(msg)
        try:
            return to_where(conditions, keys)
        except ToolException as error:
            raise RequestError(str(error)) from error

    def file(self, document: Document) -> bytes:
        """The file of an item's picture, as it is: to search with, not to be given away.

        Raises:
            RequestError: If it has none, or it can no longer be opened.
        """
        source = self._picture_of(document)
        try:
            return read_media(source, self.media_policy)
        except LoadError as error:
            raise self._not_shown(document, error) from error

    def picture(self, document: Document) -> PromptPicture:
        """An item's picture, without what a camera or an editor has written beside it.

        Raises:
            RequestError: If it has none, or it can no longer be opened.
        """
        source = self._picture_of(document)
        try:
            return prompt_picture(
                source, self.media_policy, max_side=_LARGEST_SIDE, max_bytes=_LARGEST_PICTURE
            )
        except LoadError as error:
            raise self._not_shown(document, error) from error

    def _picture_of(self, document: Document) -> str:
        source = image_source(document.metadata) if kind_of(document) == "image" else None
        if source is None:
            msg = f"Item {_shown(str(document.id))} has no picture: it is a {kind_of(document)}."
            raise RequestError(msg)
        return source

    def _not_shown(self, document: Document, error: LoadError) -> RequestError:
        shown = _shown(str(document.id))
        return RequestError(f"The picture of item {shown} cannot be shown: {reason_of(error)}.")

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
        keys = self.keys()
        named = listed(keys)
        recorded = self.store._client.get_collection(self.store._collection_name).metadata or {}  # noqa: SLF001
        return Summary(
            name=self.name,
            documents=modalities.total(),
            modalities=dict(sorted(modalities.items())),
            embedding=recorded.get(EMBEDDING),
            metadata_keys=[key.told if name in named else name for name, key in keys.items()],
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
        self._check_open()
        if not text.strip():
            msg = "The text is empty: there is nothing to add."
            raise RequestError(msg)
        [id_] = self.store.add_texts([text], [{SOURCE: source} if source else {}])
        self._known = None
        return id_

    def add_image(self, path: str, caption: str | None) -> str:
        """Add a picture that lies in one of the folders allowed; returns its id.

        Raises:
            RequestError: If it lies elsewhere, cannot be read, or is there already.
        """
        self._check_open()
        roots = tuple(self._roots or ())
        policy = replace(self.store.media_policy, roots=roots, allow_urls=False)
        place, failure = self._place(path, policy)
        if place is None:
            msg = f"{_shown(path)} cannot be added: {failure}. Give a picture in one of the allowed folders."
            raise RequestError(msg)
        if known := self.store.get(where={SOURCE: str(place)}, include=[], limit=1)["ids"]:
            if caption is None:
                return str(known[0])
            msg = f"{_shown(path)} is there already, as item {_shown(known[0])}: it stays as it is."
            raise RequestError(msg)
        # What is read anew while it is embedded is held to the same rules as what was looked at.
        store = copy(self.store)
        store._given_policy = policy  # noqa: SLF001
        [id_] = store.add_images([str(place)], [{CAPTION: caption} if caption else {}])
        self._known = None
        return id_

    def _check_open(self) -> None:
        if self._fence is not None:  # a client could neither see nor take out what it adds
            msg = "A part of this collection is served: nothing can be added to it."
            raise RequestError(msg)

    def _place(self, path: str, policy: MediaPolicy) -> tuple[Path | None, str]:
        """Where a picture lies that may be added, links resolved; else why there is none.

        What lies outside of the folders, or whether anything does, a client is not told.
        """
        failure = "there is no such file"
        for root in policy.roots or ():
            try:
                # Joined, an address is but a strange file name; an absolute path stays what it is.
                place = (root / path).resolve()
                inside = any(place.is_relative_to(each.resolve()) for each in policy.roots or ())
                if not (inside and place.is_file()):
                    continue
                image_facts(place, policy)
                image_facts(place, self.store.media_policy)
            except LoadError as error:
                failure = reason_of(error)
            except (OSError, ValueError, RuntimeError):  # a zero byte, a name too long, links in a circle
                continue
            else:
                return place, ""
        return None, failure

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

    def __init__(self, store: MultimodalChroma, media_policy: MediaPolicy) -> None:
        self._store = store
        self.media_policy = media_policy  # of the server, for a reranker too
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
    if isinstance(error, MMRAGError):
        said = told_error(error)
        return f"{said[:1].upper()}{said[1:]}" if isinstance(error, LoadError) else said
    if isinstance(error, ChromaError):  # another process has taken the collection away, for one
        return f"The collection cannot be read now ({type(error).__name__})."
    return None


def _shown(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 120 else f"{shown[:100]}…"  # noqa: PLR2004 - a label


def item_uri(collection: str, id_: str) -> str:
    """The address of an item; ids may hold anything, line breaks and slashes included.

    An id of nothing but one or two dots has no address, as addresses go: such an item is had by `get_item`.
    """
    return f"mmrag://{quote(collection, safe='')}/items/{quote(id_, safe='')}"
