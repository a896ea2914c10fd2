"""A second vector for each text, by an embedding for text alone, in a collection beside the store's own.

It is named like the store's with `.text` at its end, and its ids are those of the rows that have a text:
passages, windows of long ones, tables or their summaries, captions of pictures. A picture without a caption
has no vector here, rather than one of nothing. A row of it is taken out before its text is touched and comes
back with a new vector afterwards. So whatever happens in between, a vector never stands for another text: it
is there and right, or missing, which the numbers of rows tell.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from chromadb.errors import NotFoundError
from numpy.typing import NDArray

from langchain_mmrag._record import EmbeddingRecord
from langchain_mmrag._store.chroma import reading
from langchain_mmrag._store.embedder import Embedder
from langchain_mmrag._store.ledger import Ledger
from langchain_mmrag._store.ledger_rows import PAGE, is_blank, pages, rows_of, text_of_row
from langchain_mmrag.errors import StoreError
from langchain_mmrag.ranking import Side, unit

if TYPE_CHECKING:
    from chromadb import Collection
    from chromadb.api import ClientAPI

logger = logging.getLogger(__name__)

SUFFIX: Final = ".text"
_FEW: Final = 256  # texts that a search embeds by the way, as those a crash has left behind
_DIGEST: Final = "text_sha256"
_REMEDY: Final = (
    "Give the text_embedding it was made with, or delete this collection through the client and call"
    " rebuild_index(), which embeds every text anew"
)

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class TextBackground:
    """A sample of texts, for what is scored by chance.

    Attributes:
        vectors: Unit vectors [n, d].
    """

    vectors: Vector

    @cached_property
    def likeness(self) -> tuple[float, float] | None:
        """Mean and deviation of the cosines of two different texts; `None` for less than three."""
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
class TextVectors:
    """The text vectors there are, as a search finds them.

    Attributes:
        collection: Has them; `None` if there is none yet.
        count: How many there are.
    """

    collection: Collection | None
    count: int

    def near(self, vector: Vector, k: int) -> list[tuple[str, float]]:
        """Ids and cosines of the texts nearest to a unit vector [d]; best first."""
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


class Companion:
    """The text vectors of a store.

    Without an embedding it only sees to it that vectors another process has made do not outlive their texts.

    Args:
        client: Of the store's collection.
        collection: Gives the store's collection.
        ledger: Knows which rows have a text.
        embedding: Any LangChain embedding; `None` for none.
    """

    def __init__(
        self, client: ClientAPI, collection: Callable[[], Collection], ledger: Ledger, embedding: Any | None
    ) -> None:
        self._client = client
        self._main = collection
        self._ledger = ledger
        self._embedder = None if embedding is None else Embedder(embedding)
        self._lock = RLock()
        self._record = EmbeddingRecord(self._made, lambda: self._used.name, _REMEDY)
        self._samples: dict[Side, tuple[object, Vector]] = {}
        self._backgrounds: dict[Side, TextBackground] = {}
        self._never_equal: tuple[int, int] | None = None

    @property
    def is_used(self) -> bool:
        """Whether the store was given an embedding for text."""
        return self._embedder is not None

    # --- asking ---------------------------------------------------------------------------------------------

    def query(self, text: str, there: TextVectors | None = None) -> Vector:
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

    def sample(self, side: Side, there: TextVectors | None = None) -> Vector:
        """The unit vectors [n, d] of a side in the ledger's sample; the same array until that changes."""
        state, ids = self._ledger.sampled_texts(side)
        kept = self._samples.get(side)
        if kept is None or kept[0] != state:
            vectors = list((there or self._there()).of(ids).values())
            kept = (state, np.stack(vectors) if vectors else np.empty((0, 0), dtype=np.float32))
            self._samples[side] = kept
        return kept[1]

    def background(self, side: Side, samples: Mapping[Side, Vector]) -> TextBackground:
        """What the texts of a side are like by samples [n, d]; those of all where the side has none."""
        own = samples[side]
        if not len(own):
            own = np.concatenate([each for each in samples.values() if len(each)] or [own])
        kept = self._backgrounds.get(side)
        if kept is None or (kept.vectors is not own and not np.array_equal(kept.vectors, own)):
            kept = self._backgrounds[side] = TextBackground(own)
        return kept

    # --- keeping in step ------------------------------------------------------------------------------------

    def embed(self, texts: Mapping[str, str]) -> dict[str, tuple[str, Vector]]:
        """Digest and vector [d] of each text that is not blank, by id; empty without an embedding.

        Raises:
            EmbeddingMismatchError: If the vectors there are were made with another embedding.
        """
        texts = {id_: text for id_, text in texts.items() if not is_blank(text)}
        if self._embedder is None or not texts:
            return {}
        self._check()  # before the time for embedding is spent
        vectors = self._embedder.texts(list(texts.values()))
        digests = map(_digest, texts.values())
        return dict(zip(texts, zip(digests, vectors, strict=True), strict=True))

    @contextmanager
    def replacing(self, ids: Sequence[str], vectors: Mapping[str, tuple[str, Vector]]) -> Iterator[None]:
        """Around a change of rows: their old vectors go before it, the new ones come after."""
        with self._lock:
            self._take_out(ids)
            yield
            # Another store may have searched in between, and embedded the texts that were still there.
            self._take_out([id_ for id_ in ids if id_ not in vectors])
            self._put({id_: vectors[id_] for id_ in ids if id_ in vectors})

    def catch_up(self, count: int | None = None) -> TextVectors:
        """Embed texts that have no vector, if they are but a few, as a crash leaves them behind.

        Args:
            count: The collection's number of rows, if it was just asked for.

        Returns:
            The vectors there are now.

        Raises:
            StoreError: If there are more than a few.
        """
        self._ledger.current(count)
        there = self._there()
        return there if self._is_complete(there) else self._caught_up()

    def _caught_up(self) -> TextVectors:
        with self._lock:
            # A writer may have been between taking out and putting in, or the count was of a while ago.
            self._ledger.current()
            there = self._there()
            if self._is_complete(there):
                return there
            total = self._ledger.texts()
            if total - there.count > _FEW:
                msg = (
                    f"{total - there.count} of {total} texts have no vector of the text_embedding yet: call"
                    " rebuild_index(), which embeds them, or open the store without text_embedding"
                )
                raise StoreError(msg)
            if there.count > total:
                self._take_out_gone()
            undisturbed = True
            for ids in self._ledger.text_ids():
                known = self._digests(ids)
                undisturbed &= self._embed_rows([id_ for id_ in ids if id_ not in known])
            there = self._there()
            if undisturbed:
                self._never_equal = (there.count, self._ledger.texts())
            return there

    def _is_complete(self, there: TextVectors) -> bool:
        counts = (there.count, self._ledger.texts())
        # Should the two never agree, every search would list the collection.
        return counts[0] == counts[1] or counts == self._never_equal

    def _there(self) -> TextVectors:
        collection = self._existing()
        return TextVectors(collection, 0 if collection is None else collection.count())

    def rebuild(self) -> None:
        """Take out vectors of texts that are gone or have changed, and embed texts that have none."""
        if self._embedder is None:
            return
        with self._lock:
            self._samples.clear()
            self._never_equal = None
            self._check()
            self._take_out_gone()
            for ids in self._ledger.text_ids():
                known, texts = self._digests(ids), self._texts(ids)
                self._embed_rows([id_ for id_, text in texts.items() if known.get(id_) != _digest(text)])

    def forget(self) -> None:
        """Delete the collection, if there is one."""
        self._record.forget()
        self._samples.clear()
        try:
            self._client.delete_collection(self._name)
        except NotFoundError:
            logger.debug("there are no text vectors to delete beside %s", self._name)

    # --- the collection -------------------------------------------------------------------------------------

    @property
    def _used(self) -> Embedder:
        if self._embedder is None:
            msg = "this needs a text_embedding: give one to MultimodalChroma"
            raise StoreError(msg)
        return self._embedder

    @property
    def _name(self) -> str:
        return self._main().name + SUFFIX

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
        """Embed the texts of rows; whether nobody wrote to them meanwhile."""
        if not ids:
            return True
        vectors = self.embed(self._texts(ids))
        self._put(vectors)
        # Another store may have written since the texts were read: a vector of the old text must not stay.
        now = {id_: _digest(text) for id_, text in self._texts(list(vectors)).items()}
        changed = [id_ for id_, (made_of, _) in vectors.items() if made_of != now.get(id_)]
        self._take_out(changed)
        return not changed

    def _take_out(self, ids: Sequence[str]) -> None:
        collection = self._existing()
        if ids and collection is not None and collection.count():
            for page in pages(ids, PAGE):
                collection.delete(ids=list(page))

    def _texts(self, ids: Sequence[str]) -> dict[str, str]:
        return {id_: text_of_row(*row) for id_, row in rows_of(self._main(), list(ids)).items()}

    def _digests(self, ids: Sequence[str]) -> dict[str, Any]:
        """What the texts were when their vectors were made, of those that have one."""
        collection = self._existing()
        if collection is None:
            return {}
        found = collection.get(ids=list(ids), include=["metadatas"])
        rows: Iterable[Any] = zip(found["ids"], found["metadatas"] or (), strict=True)
        return {id_: (metadata or {}).get(_DIGEST) for id_, metadata in rows}

    def _take_out_gone(self) -> None:
        """Take out vectors of rows that other programs have deleted."""
        collection = self._existing()
        if collection is None:
            return
        there = {id_ for page in self._ledger.text_ids() for id_ in page}
        self._take_out([id_ for id_ in collection.get(include=[])["ids"] if id_ not in there])


def _unit(vectors: Any) -> Vector:
    return unit(vectors).astype(np.float32)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
