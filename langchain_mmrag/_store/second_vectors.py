"""Second vectors of rows, by an embedding of their own, in a collection beside the store's own.

It is named like the store's with a suffix, and its ids are those of the rows that have what is embedded. A
row of it is taken out before the store's row is touched and comes back with a new vector afterwards. So
whatever happens in between, a vector never stands for another content: it is there and right, or missing.
"""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from chromadb.errors import NotFoundError
from numpy.typing import NDArray

from langchain_mmrag._record import EmbeddingRecord
from langchain_mmrag._store.chroma import reading
from langchain_mmrag._store.embedder import Embedder
from langchain_mmrag._store.ledger import Ledger
from langchain_mmrag._store.ledger_content import rows_of
from langchain_mmrag._store.ledger_rows import PAGE, is_blank, pages
from langchain_mmrag.errors import StoreError
from langchain_mmrag.ranking import Side, unit

if TYPE_CHECKING:
    from chromadb import Collection
    from chromadb.api import ClientAPI

logger = logging.getLogger(__name__)

TEXTS: Final = ".text"
SOUNDS: Final = ".audio"
SUFFIXES: Final = (TEXTS, SOUNDS)
"""What the names of collections of second vectors end with."""

_DIGEST: Final = "text_sha256"  # of what a vector was made of

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class VectorBackground:
    """A sample of second vectors, for what is scored by chance.

    Attributes:
        vectors: Unit vectors [n, d].
    """

    vectors: Vector

    @cached_property
    def likeness(self) -> tuple[float, float] | None:
        """Mean and deviation of the cosines of two different ones; `None` for less than three."""
        n = len(self.vectors)
        if n < 3:  # noqa: PLR2004 - of two there is but one cosine
            return None
        wide = self.vectors.astype(np.float64)
        squares = np.square(wide.T @ wide if wide.shape[1] < n else wide @ wide.T).sum()
        pairs = n * (n - 1)
        mean = (np.square(wide.sum(axis=0)).sum() - n) / pairs
        variance = (squares - n) / pairs - mean**2
        return float(mean), float(np.sqrt(max(variance, 0.0)))


@dataclass(frozen=True)
class StoredVectors:
    """The second vectors there are, as a search finds them.

    Attributes:
        collection: Has them; `None` if there is none yet.
        count: How many there are.
    """

    collection: Collection | None
    count: int

    def near(self, vector: Vector, k: int) -> list[tuple[str, float]]:
        """Ids and cosines of the rows nearest to a unit vector [d]; best first."""
        if self.collection is None or not self.count:
            return []
        asked: Any = vector
        with reading(self.collection.name):
            found = self.collection.query(
                query_embeddings=[asked], n_results=min(k, self.count), include=["distances"]
            )
        distances = (found["distances"] or [[]])[0]
        return [(id_, 1.0 - float(far)) for id_, far in zip(found["ids"][0], distances, strict=True)]

    def of(self, ids: Sequence[str]) -> dict[str, Vector]:
        """The unit vectors [d] of those of the rows that have one."""
        vectors: dict[str, Vector] = {}
        if self.collection is None:
            return vectors
        for page in pages(ids, PAGE):
            with reading(self.collection.name):
                found: Any = self.collection.get(ids=list(page), include=["embeddings"])
            if found["ids"]:
                vectors.update(zip(found["ids"], _unit(found["embeddings"]), strict=True))
        return vectors


class SecondVectors(ABC):
    """The second vectors of a store.

    Without an embedding it only sees to it that vectors another process has made do not outlive their rows.

    Args:
        client: Of the store's collection.
        collection: Gives the store's collection.
        ledger: Knows which rows there are.
        embedding: Makes the vectors; `None` for none.
    """

    suffix: ClassVar[str]
    option: ClassVar[str]
    """What `MultimodalChroma` calls the embedding."""

    def __init__(
        self, client: ClientAPI, collection: Callable[[], Collection], ledger: Ledger, embedding: Any | None
    ) -> None:
        self._client = client
        self._main = collection
        self._ledger = ledger
        self._embedder = None if embedding is None else Embedder(embedding)
        self._lock = RLock()
        remedy = (
            f"Give the {self.option} it was made with, or delete this collection through the client and call"
            " rebuild_index(), which makes every vector anew"
        )
        self._record = EmbeddingRecord(self._made, lambda: self._used.name, remedy)
        self._samples: dict[Side, tuple[object, Vector]] = {}
        self._backgrounds: dict[Side, VectorBackground] = {}

    @property
    def is_used(self) -> bool:
        """Whether the store was given an embedding for them."""
        return self._embedder is not None

    # --- what a kind of them is -----------------------------------------------------------------------------

    @abstractmethod
    def content(self, text: str, metadata: Mapping[str, Any]) -> str:
        """What is embedded of a row, as text or as words that tell it; blank if there is nothing."""

    @abstractmethod
    def embedded(self, contents: list[str]) -> Sequence[Vector | None]:
        """The vector [d] of each content; `None` if there is none to be had."""

    @abstractmethod
    def rows(self) -> Iterator[list[str]]:
        """The ids of the rows that have a content, a page at a time."""

    @abstractmethod
    def sample(self, side: Side, there: StoredVectors | None = None) -> Vector:
        """Unit vectors [n, d] of some rows of a side; the same array until they change."""

    @abstractmethod
    def catch_up(self, count: int | None = None) -> StoredVectors:
        """The vectors there are, once what was left undone is done.

        Args:
            count: The collection's number of rows, if it was just asked for.
        """

    # --- asking ---------------------------------------------------------------------------------------------

    def query(self, text: str, there: StoredVectors | None = None) -> Vector:
        """The unit vector [d] of a text that is asked for.

        Args:
            text: What is asked.
            there: What it is to be compared with, if that is known.

        Raises:
            EmbeddingMismatchError: If the vectors were made with another embedding.
        """
        vector = self._used.query(text)
        if (there or self._there()).collection is not None:
            self._record.check(len(vector))
        return _unit(vector)

    def vectors(self, ids: Sequence[str]) -> dict[str, Vector]:
        """The unit vectors [d] of those of the rows that have one."""
        return self._there().of(ids)

    def background(self, side: Side, samples: Mapping[Side, Vector]) -> VectorBackground:
        """What the rows of a side are like by samples [n, d]; those of all where the side has none."""
        own = samples[side]
        if not len(own):
            own = np.concatenate([each for each in samples.values() if len(each)] or [own])
        kept = self._backgrounds.get(side)
        if kept is None or (kept.vectors is not own and not np.array_equal(kept.vectors, own)):
            kept = self._backgrounds[side] = VectorBackground(own)
        return kept

    # --- keeping in step ------------------------------------------------------------------------------------

    def embed(self, contents: Mapping[str, str]) -> dict[str, tuple[str, Vector]]:
        """Digest and vector [d] of each content that is not blank, by id; empty without an embedding.

        Raises:
            EmbeddingMismatchError: If the vectors there are were made with another embedding.
        """
        contents = {id_: content for id_, content in contents.items() if not is_blank(content)}
        if self._embedder is None or not contents:
            return {}
        self._check()  # before the time for embedding is spent
        vectors = self.embedded(list(contents.values()))
        return {
            id_: (_digest(content), vector)
            for (id_, content), vector in zip(contents.items(), vectors, strict=True)
            if vector is not None
        }

    @contextmanager
    def replacing(self, ids: Sequence[str], vectors: Mapping[str, tuple[str, Vector]]) -> Iterator[None]:
        """Around a change of rows: their old vectors go before it, the new ones come after."""
        with self._lock:
            self._take_out(ids)
            yield
            # Another store may have searched in between, and embedded what was still there.
            self._take_out([id_ for id_ in ids if id_ not in vectors])
            self._put({id_: vectors[id_] for id_ in ids if id_ in vectors})

    def _there(self) -> StoredVectors:
        collection = self._existing()
        return StoredVectors(collection, 0 if collection is None else collection.count())

    def rebuild(self) -> None:
        """Take out vectors of what is gone or has changed, and embed what has none."""
        if self._embedder is None:
            return
        with self._lock:
            self._samples.clear()
            self._check()
            self._take_out_gone()
            for ids in self.rows():
                known, contents = self._digests(ids), self._contents(ids)
                changed = [id_ for id_, content in contents.items() if known.get(id_) != _digest(content)]
                self._embed_rows(changed)
                # What has no vector any more keeps none of what it was.
                self._take_out(self._outdated(changed, contents))

    def _outdated(self, ids: Sequence[str], contents: Mapping[str, str]) -> list[str]:
        known = self._digests(ids) if ids else {}
        return [id_ for id_ in ids if id_ in known and known[id_] != _digest(contents[id_])]

    def forget(self) -> None:
        """Delete the collection, if there is one."""
        self._record.forget()
        self._samples.clear()
        try:
            self._client.delete_collection(self._name)
        except NotFoundError:
            logger.debug("there are no second vectors to delete beside %s", self._name)

    # --- the collection -------------------------------------------------------------------------------------

    @property
    def _used(self) -> Embedder:
        if self._embedder is None:
            article = "an" if self.option.startswith("a") else "a"
            msg = f"this needs {article} {self.option}: give one to MultimodalChroma"
            raise StoreError(msg)
        return self._embedder

    @property
    def _name(self) -> str:
        return self._main().name + self.suffix

    def _existing(self) -> Collection | None:
        # Another process may have made or deleted it since.
        try:
            return self._client.get_collection(self._name, embedding_function=None)
        except NotFoundError:
            self._record.forget()
            return None

    def _check(self) -> None:
        """Whether the vectors there are were made with the embedding in use."""
        if self._existing() is not None:
            self._record.check(None)

    def _made(self) -> Collection:
        return self._client.get_or_create_collection(
            self._name, configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )

    def _put(self, vectors: Mapping[str, tuple[str, Vector]]) -> None:
        if not vectors:
            return
        self._record.write(len(next(iter(vectors.values()))[1]))
        collection = self._made()
        size = self._client.get_max_batch_size()
        for ids in pages(list(vectors), size):
            embeddings: Any = [vectors[id_][1] for id_ in ids]
            collection.upsert(
                ids=list(ids), embeddings=embeddings, metadatas=[{_DIGEST: vectors[id_][0]} for id_ in ids]
            )

    def _embed_rows(self, ids: Sequence[str]) -> bool:
        """Embed rows; whether nobody wrote to them meanwhile."""
        if not ids:
            return True
        vectors = self.embed(self._contents(ids))
        if not vectors:
            return True
        self._put(vectors)
        # Another store may have written since they were read: a vector of the old content must not stay.
        now = {id_: _digest(content) for id_, content in self._contents(list(vectors)).items()}
        changed = [id_ for id_, (made_of, _) in vectors.items() if made_of != now.get(id_)]
        self._take_out(changed)
        return not changed

    def _take_out(self, ids: Sequence[str]) -> None:
        collection = self._existing()
        if ids and collection is not None and collection.count():
            for page in pages(ids, PAGE):
                collection.delete(ids=list(page))

    def _contents(self, ids: Sequence[str]) -> dict[str, str]:
        return {id_: self.content(*row) for id_, row in rows_of(self._main(), list(ids)).items()}

    def _digests(self, ids: Sequence[str]) -> dict[str, Any]:
        """What rows were when their vectors were made, of those that have one."""
        collection = self._existing()
        if collection is None:
            return {}
        found = collection.get(ids=list(ids), include=["metadatas"])
        rows: Iterable[Any] = zip(found["ids"], found["metadatas"] or (), strict=True)
        return {id_: (metadata or {}).get(_DIGEST) for id_, metadata in rows}

    def _take_out_gone(self) -> None:
        """Take out vectors of rows that other programs have deleted, a page at a time."""
        collection = self._existing()
        start, size = 0, self._ledger.listed_page
        while collection is not None:
            with reading(collection.name):
                page = collection.get(limit=size, offset=start, include=[])["ids"]
            if not page:
                return
            gone = self._gone(page)
            self._take_out(gone)
            start += len(page) - len(gone)  # what follows those that were taken out has moved up

    def _gone(self, ids: Sequence[str]) -> list[str]:
        """Those of a page of rows that have no content any more."""
        contents = self._contents(ids)
        return [id_ for id_ in ids if is_blank(contents.get(id_, ""))]


def _unit(vectors: Any) -> Vector:
    return unit(vectors).astype(np.float32)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
