"""From what is added to a store to rows of its collection: all vectors, before any row is written."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL.Image import Image

from langchain_mmrag._store.chroma import storable, storable_id, storable_text
from langchain_mmrag._store.embedder import Embedder, Vectors
from langchain_mmrag._store.pictures import Picture, has_facts
from langchain_mmrag.errors import EmbeddingError, LoadError
from langchain_mmrag.media import MediaPolicy, describe_source
from langchain_mmrag.ranking import Side, unit
from langchain_mmrag.types import (
    CHUNK,
    CHUNK_END,
    CHUNK_START,
    COLLAPSED_IDS,
    PARENT_ID,
    PICTURED,
    SHA256,
    SOURCE,
    THUMBNAIL,
    TRUNCATED,
    WINDOW,
    ImageInput,
    image_source,
    modality_of,
    thumbnails_of,
)

logger = logging.getLogger(__name__)

OnError: TypeAlias = Literal["raise", "skip"]

_MARKS = (CHUNK_END, WINDOW, PICTURED, COLLAPSED_IDS)  # of documents that come out of a store and go in again
_POSITION = ("page", "frame", "start_s", "end_s", "row", "chunk", PARENT_ID)


@dataclass
class Row:
    """One document on its way in.

    A text longer than the model reads is one row with the vector of its first window, and one for each other
    window after it.

    Attributes:
        index: Its place in the caller's list.
        id: As given; `None` asks for one made of the content.
        text: Passage or caption.
        metadata: In types Chroma takes.
        picture: Of an image, what is embedded in place of the text.
        thumbnails: Of a film and the like, what is: the mean of their vectors.
        start: Of a window, where it begins in the text it is from.
        first_end: Of a long text, where its first window ends.
        windows: Of a long text, those after the first.
        vector: Of the picture or thumbnails, of the text or of its first window [d].
    """

    index: int
    id: str | None
    text: str
    metadata: dict[str, Any]
    picture: Picture | None = None
    thumbnails: list[Picture] = field(default_factory=list)
    start: int = 0
    first_end: int | None = None
    windows: list[Row] = field(default_factory=list)
    vector: Vectors = field(init=False)

    @property
    def side(self) -> Side:
        """Which encoder makes its vector."""
        return "image" if self.pictures else "text"

    @property
    def pictures(self) -> list[Picture]:
        """What is embedded in place of the text."""
        return [self.picture] if self.picture else self.thumbnails

    def finish(self, folder: Callable[[], Path]) -> str:
        """Fill in what is known now that the picture was read; returns the id.

        Args:
            folder: Gives the folder of pictures without an address.
        """
        if self.picture is None:
            self.id = self.id or _text_id(self.text, self.metadata)
            self._finish_windows(self.id)
            self._finish_thumbnails(folder)
            return self.id
        given = self.metadata
        has_address = self.picture.has_address
        described = self.picture.described(given, None if has_address else folder())
        self.metadata = storable(described, self.index)
        # The folder of pictures without an address may move: it is no part of what they are.
        address = self.picture.source if has_address else given.get(SOURCE)
        self.id = self.id or _image_id(self.metadata[SHA256], address, given)
        return self.id

    def _finish_thumbnails(self, folder: Callable[[], Path]) -> None:
        """Say where they are, so that they are found from another working folder, and that they count."""
        if self.thumbnails:
            places = [each.address(None if each.has_address else folder()) for each in self.thumbnails]
            is_list = isinstance(self.metadata[THUMBNAIL], list)
            self.metadata = {**self.metadata, THUMBNAIL: places if is_list else places[0], PICTURED: True}

    def split(self, spans: Sequence[tuple[int, int]]) -> None:
        """Make windows of the text, unless it is read whole.

        What repeats itself word for word is one window: a second adds nothing to a document's best, and equal
        vectors in numbers keep Chroma's index from reaching others.
        """
        if len(spans) < 2:  # noqa: PLR2004
            return
        self.first_end = spans[0][1]
        distinct: dict[str, tuple[int, int]] = {}
        for start, end in spans:
            distinct.setdefault(" ".join(self.text[start:end].split()), (start, end))
        self.windows = [
            Row(self.index, None, self.text[start:end], {}, start=start)
            for start, end in [*distinct.values()][1:]
        ]

    @property
    def read_text(self) -> str:
        """What of the text the model reads for the vector of this row."""
        return self.text[: self.first_end]

    def _finish_windows(self, id_: str) -> None:
        for window in self.windows:
            window.id = f"{id_}#{window.start}"
            window.metadata = {**self.metadata, PARENT_ID: id_, CHUNK_START: window.start, WINDOW: True}
        if self.first_end is not None:
            self.metadata = {**self.metadata, CHUNK_END: self.first_end}


class Intake:
    """Makes rows of what is added, and decides what becomes of pictures that cannot be read.

    Attributes:
        embedder: Makes the vectors.
        policy: What pictures may be opened.
        on_error: Raise at the first bad picture, or leave each of them out with a warning in the log.
        decoded: Pictures that a loader has read under this policy, by the ids of their documents.
    """

    def __init__(self, embedder: Embedder, policy: MediaPolicy, on_error: OnError) -> None:
        if on_error not in {"raise", "skip"}:
            msg = f"on_error must be 'raise' or 'skip', not {on_error!r}"
            raise ValueError(msg)
        self.embedder = embedder
        self.policy = policy
        self.on_error = on_error
        self.decoded: Mapping[str, Image] = {}

    def rows(
        self,
        texts: Sequence[str],
        metadatas: Sequence[Mapping[str, Any] | None],
        ids: Sequence[str | None],
        images: Sequence[ImageInput | None],
    ) -> list[Row]:
        """Pair up the columns a caller gives; `images` are pictures that are given beside the metadata.

        Raises:
            LoadError: If a picture is forbidden or no picture, naming its place and source.
            ValueError: If an image document says of no picture, or metadata cannot be stored.
        """
        rows = []
        columns = zip(texts, metadatas, ids, images, strict=True)
        for index, (text, metadata, id_, image) in enumerate(columns):
            given = _unmarked(storable(metadata, index), text)
            row = Row(index, storable_id(id_, index), storable_text(text, index), given)
            source = _source_of(row) if image is None else image
            if source is not None:
                try:
                    row.picture = self._picture(source, row.metadata, row.id)
                except LoadError as error:
                    self._failed(index, describe_source(source), error)
                    continue
            elif not self._add_thumbnails(row):
                continue
            rows.append(row)
        return rows

    def _add_thumbnails(self, row: Row) -> bool:
        """Whether the thumbnails a film goes by, if it has any, may be opened.

        Other documents go by what is written in them, and by thumbnails only if there is nothing. With an
        embedding for text alone, all do.
        """
        goes_by_them = modality_of(row.metadata) == "video" or not row.text.strip()
        sources = thumbnails_of(row.metadata) if goes_by_them and self.embedder.takes_pictures else []
        wants_facts = self.embedder.opens_files_itself
        for source in sources:
            try:
                row.thumbnails.append(Picture(source, self.policy, wants_facts=wants_facts))
            except LoadError as error:
                self._failed(row.index, describe_source(source), error)
                return False
        return True

    def embed(self, rows: Sequence[Row]) -> list[Row]:
        """Give the rows their vectors; returns those that have one, in their order.

        Raises:
            LoadError: If a picture cannot be read, naming its place and source.
            UnsupportedModalityError: If there are pictures and the embedding takes none.
        """
        pictures = [(row, picture) for row in rows for picture in row.pictures]
        failed = set[int]()

        def on_failure(place: int, error: LoadError) -> None:
            row, picture = pictures[place]
            if row.index not in failed:  # of several bad ones of a film the first is told
                failed.add(row.index)
                self._failed(row.index, picture.name, error)

        # Pictures first: a bad one should be told of before the time for the texts is spent.
        found = self.embedder.images([picture for _, picture in pictures], on_failure)
        vectors: dict[int, list[Vectors]] = {}
        for place, vector in found.items():
            vectors.setdefault(pictures[place][0].index, []).append(vector)
        for row in rows:
            if row.pictures and row.index not in failed:
                of_row = vectors[row.index]
                row.vector = of_row[0] if row.picture else unit(unit(of_row).mean(axis=0)).astype(np.float32)
        self._embed_texts([row for row in rows if not row.pictures])
        kept = [row for row in rows if row.index not in failed]
        if len({len(row.vector) for row in kept}) > 1:
            msg = "the embedding's vectors of texts and of pictures differ in length: they share no space"
            raise EmbeddingError(msg)
        return kept

    def _embed_texts(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        if self.embedder.can_split:
            for row, spans in zip(rows, self.embedder.windows([row.text for row in rows]), strict=True):
                row.split(spans)
        else:
            for row, cut in zip(rows, self.embedder.truncated([row.text for row in rows]), strict=True):
                if cut:  # so that whoever reads a hit knows that its end was not searched
                    row.metadata[TRUNCATED] = True
        parts = [part for row in rows for part in (row, *row.windows)]
        vectors = self.embedder.texts([part.read_text for part in parts])
        for part, vector in zip(parts, vectors, strict=True):
            part.vector = vector

    def _picture(self, source: ImageInput, metadata: dict[str, Any], id_: str | None) -> Picture:
        # What reads files by its own means must find them checked in full beforehand.
        wants_facts = self.embedder.opens_files_itself or not has_facts(metadata)
        picture = Picture(source, self.policy, wants_facts=wants_facts)
        if id_ is not None and not wants_facts:
            picture.decoded = self.decoded.get(id_)
        return picture

    def _failed(self, index: int, name: str, error: LoadError) -> None:
        told = str(error) if name in str(error) else f"{name}: {error}"
        if self.on_error == "raise":
            located = f"document {index}: {told}"
            raise type(error)(located) from error
        logger.warning("skipped document %d: %s", index, told)


def to_write(rows: Iterable[Row]) -> list[Row]:
    """The rows of finished documents with their windows; of several with one id the last.

    A document comes after its windows: if writing stops in between, nothing is there that seems whole.
    """
    documents = {row.id: row for row in rows}
    parts = (part for row in documents.values() for part in (*row.windows, row))
    return [part for part in parts if documents.get(part.id, part) is part]


def _unmarked(metadata: dict[str, Any], text: str) -> dict[str, Any]:
    """Metadata without what a search told of a hit: it is no part of the document."""
    chunk, start = metadata.get(CHUNK), metadata.get(CHUNK_START)
    is_told = isinstance(chunk, str) and isinstance(start, int) and text.startswith(chunk, start)
    marks = {*_MARKS, CHUNK, CHUNK_START} if is_told else {*_MARKS}
    return {key: value for key, value in metadata.items() if key not in marks}


def _source_of(row: Row) -> str | None:
    if modality_of(row.metadata) != "image":
        return None
    source = image_source(row.metadata)
    if source is None:
        msg = (
            f"document {row.index} is an image but does not say where: put its path or URL into "
            "metadata['source'] (page_content is for a caption), or use add_images"
        )
        raise ValueError(msg)
    return source


# Ids are made of content, so adding twice changes nothing. A text is told by its words and all of its
# metadata: losing one of two equal passages with different metadata would be worse than keeping both. A
# picture is told by its bytes and where it is from, so adding it with a better caption replaces the caption.


def _text_id(text: str, metadata: Mapping[str, Any]) -> str:
    return _digest("text", text, sorted(metadata.items()))


def _image_id(sha256: str, address: Any, metadata: Mapping[str, Any]) -> str:
    return _digest("image", sha256, [address, *(metadata.get(key) for key in _POSITION)])


def _digest(*parts: Any) -> str:
    key = json.dumps(parts, ensure_ascii=True, default=str)
    return hashlib.sha256(key.encode()).hexdigest()[:32]
