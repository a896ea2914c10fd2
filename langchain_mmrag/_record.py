"""What a collection says about the embedding it was made with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from langchain_mmrag.errors import EmbeddingMismatchError

if TYPE_CHECKING:
    from chromadb import Collection

EMBEDDING = "mmrag:embedding"
DIMENSION = "mmrag:dimension"

_INDEX_SETTINGS = "hnsw:"
_HALF_PRECISIONS = ("bf16", "fp16")
_EARLIER = "or any, if it was made before precisions were recorded"
_REMEDY = (
    "Open it with the embedding it was made with, choose another collection_name, or call reset_collection()"
    " and add everything again"
)


class EmbeddingRecord:
    """Keeps one embedding's vectors out of a collection that was made with another's.

    Args:
        collection: Gives the collection with its metadata as they are now: others may have written to it.
        name: Gives the name of the embedding in use; may have to load its weights.
        remedy: What to do if the two do not agree.
    """

    def __init__(
        self, collection: Callable[[], Collection], name: Callable[[], str], remedy: str = _REMEDY
    ) -> None:
        self._collection = collection
        self._name = name
        self._remedy = remedy
        self._agreed = False
        self._agreed_dimension: int | None = None
        self._seen: tuple[Any, int] | None = None

    def check(self, dimension: int | None) -> None:
        """Hold the embedding in use against the record, until the two have been found to agree.

        Args:
            dimension: Of its vectors; `None` as long as there is none.

        Raises:
            EmbeddingMismatchError: If the collection was made with another embedding, or holds vectors of
                another length.
        """
        if self._agreed and dimension in {None, self._agreed_dimension}:
            return
        collection, name = self._collection(), self._name()
        metadata = collection.metadata or {}
        made_with = metadata.get(EMBEDDING)
        stored = metadata.get(DIMENSION) if made_with else None
        if stored is None and dimension is not None:
            stored = self._stored_dimension(collection)
        lengths_differ = None not in {stored, dimension} and stored != dimension
        if lengths_differ or made_with not in {None, name}:
            made, used = _described(made_with, stored), _described(name, dimension)
            raise mismatch(collection.name, made, used, self._remedy_for(made_with, name))
        self._agreed = made_with is not None and dimension is not None
        self._agreed_dimension = dimension

    def write(self, dimension: int) -> None:
        """Check, and put the embedding on record if there is none yet."""
        self.check(dimension)
        if self._agreed:
            return
        collection = self._collection()
        metadata: dict[str, Any] = {
            **(collection.metadata or {}),
            EMBEDDING: self._name(),
            DIMENSION: dimension,
        }
        # Chroma refuses index settings here, even unchanged ones: they are settled at creation.
        collection.modify(metadata={k: v for k, v in metadata.items() if not k.startswith(_INDEX_SETTINGS)})
        self._agreed, self._agreed_dimension = True, dimension

    def _remedy_for(self, made_with: str | None, name: str) -> str:
        """What to do; says so where one model was used in two precisions."""
        made, used = _in_precision(made_with or ""), _in_precision(name)
        if made[0] != used[0] or made[1] == used[1]:
            return self._remedy
        then, now = made[1] or f"fp32 ({_EARLIER})", used[1] or "fp32"
        return f"The model is the same, the precision is not: {then} then, {now} now. {self._remedy}"

    def _stored_dimension(self, collection: Collection) -> int | None:
        """Looked up once, as a collection never changes it and a large one takes its time to answer."""
        if self._seen is None or self._seen[0] != collection.id:
            vectors = collection.get(limit=1, include=["embeddings"])["embeddings"]
            if vectors is None or not len(vectors):
                return None
            self._seen = collection.id, len(vectors[0])
        return self._seen[1]

    def forget(self) -> None:
        """Look again: the collection is not the one it was."""
        self._agreed = False


def mismatch(
    collection: str, made_with: str, used_with: str, remedy: str = _REMEDY
) -> EmbeddingMismatchError:
    """The error that says what to do about it."""
    return EmbeddingMismatchError(
        f"collection {collection!r} was made with {made_with} and is used with {used_with}, whose vectors "
        f"cannot be compared. {remedy}"
    )


def _described(name: str | None, dimension: int | None) -> str:
    numbers = f" ({dimension} numbers)" if dimension else ""
    return f"{name or 'an unnamed embedding'}{numbers}"


def _in_precision(name: str) -> tuple[str, str]:
    """An embedding's name without its precision, and the precision; empty where the name has none."""
    model, _, last = name.rpartition(":")
    return (model, last) if last in _HALF_PRECISIONS else (name, "")
