"""From a query to ranked rows of a collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
from chromadb.errors import InvalidArgumentError

from langchain_mmrag._record import EmbeddingRecord, mismatch
from langchain_mmrag._store.backgrounds import Backgrounds, Sampled
from langchain_mmrag._store.chroma import Hit, Where, hits, of_modality, of_side, reading, side_of, where
from langchain_mmrag._store.embedder import Embedder
from langchain_mmrag._store.pictures import Picture
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.queries import Query, check_modality
from langchain_mmrag.ranking import Candidates, FloatArray, Ranker, Side, unit
from langchain_mmrag.types import Modality

if TYPE_CHECKING:
    from chromadb import Collection

Rank: TypeAlias = Literal["calibrated", "raw"]
Filter: TypeAlias = Mapping[str, Any]

_CANDIDATES = 30  # of each side: the ten best by exact score are among them
_TINY = 1e-9
_OPTIONS = ("where_document", "ids")  # of Chroma's query, beside what is asked for here


@dataclass(frozen=True)
class Wanted:
    """What is asked of a collection besides the query itself.

    Attributes:
        k: How many documents.
        condition: On their metadata, as Chroma takes it.
        options: Passed to Chroma's query.
    """

    k: int
    condition: Where | None
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """A hit with its score, and how it looks in the space it was ranked in.

    Attributes:
        hit: Document, stored vector and distance.
        score: Higher is better; comparable within one answer.
        vector: Unit vector [d], centred if several sides were ranked.
        relevance: On the scale of a cosine: 1 is the most.
    """

    hit: Hit
    score: float
    vector: FloatArray
    relevance: float


def wanted(k: Any, filter: Filter | None, modality: Modality | None, options: Mapping[str, Any]) -> Wanted:  # noqa: A002
    """What a caller's arguments ask for.

    Raises:
        TypeError: If the filter is no mapping, or there is a keyword no search takes.
        ValueError: If `k` is not a whole number of at least 1, or nobody knows the modality.
    """
    if unknown := [name for name in options if name not in _OPTIONS]:
        msg = (
            f"this search takes no {', '.join(unknown)}: use k, filter, modality, {', '.join(_OPTIONS)},"
            " and rank where documents are ranked"
        )
        raise TypeError(msg)
    given: Any = filter
    if not isinstance(given, Mapping | None):
        msg = f'filter is a {type(given).__name__}: give a dict such as {{"source": "diary.md"}}, or None'
        raise TypeError(msg)
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        msg = f"k must be a whole number of at least 1, not {k!r}"
        raise ValueError(msg)
    check_modality(modality)
    return Wanted(k, where(filter, of_modality(modality)), options)


class Search:
    """Searches one collection.

    Args:
        collection: Gives the collection.
        embedder: Makes vectors of queries.
        record: Knows whether these can be compared with the stored ones.
        policy: Gives what pictures may be opened.
    """

    def __init__(
        self,
        collection: Callable[[], Collection],
        embedder: Embedder,
        record: EmbeddingRecord,
        policy: Callable[[], MediaPolicy],
    ) -> None:
        self.backgrounds = Backgrounds(collection)
        self._collection = collection
        self._embedder = embedder
        self._record = record
        self._policy = policy

    def ranked(
        self,
        query: str | Query,
        k: int,
        filter: Filter | None = None,  # noqa: A002
        *,
        modality: Modality | None = None,
        rank: Rank = "calibrated",
        **options: Any,
    ) -> list[Found]:
        """The `k` best, best first."""
        asked = _asked(query)
        modality = modality or asked.modality
        want = self._capped(wanted(k, filter, modality, options))
        if want is None:
            return []  # without waking the model
        ranker, sampled = self._ranker(asked, modality, plain=rank == "raw")
        if rank == "raw":
            found = [_plain(hit, ranker) for hit in self.near(ranker.plain, want)]
        else:
            found = [each for side in ranker.searched for each in self._side(side, ranker, sampled, want)]
        found.sort(key=lambda each: -each.score)
        return _with_relevance(found[:k]) if len(ranker.searched) > 1 else found[:k]

    def nearest(
        self,
        query: str | Query,
        k: int,
        filter: Filter | None = None,  # noqa: A002
        *,
        modality: Modality | None = None,
        **options: Any,
    ) -> list[Hit]:
        """The `k` nearest by plain distance."""
        asked = _asked(query)
        want = self._capped(wanted(k, filter, modality or asked.modality, options))
        if want is None:
            return []
        ranker, _ = self._ranker(asked, None, plain=True)
        return self.near(ranker.plain, want)

    def near_given(self, vector: Sequence[float] | FloatArray, want: Wanted) -> list[Hit]:
        """The rows nearest to a vector [d] that a caller made.

        Raises:
            EmbeddingMismatchError: If the stored vectors have another length.
            ValueError: If it is no vector of finite numbers.
        """
        given = np.asarray(vector, dtype=np.float64)
        if given.ndim != 1 or not given.size or not np.isfinite(given).all():
            fault = "with NaN or infinity in it" if given.ndim == 1 and given.size else "which is no vector"
            msg = f"the embedding has shape {given.shape}, {fault}: give one vector of finite numbers"
            raise ValueError(msg)
        capped = self._capped(want)
        return [] if capped is None else self.near(given, capped)

    def _capped(self, want: Wanted) -> Wanted | None:
        """No more than there are, as Chroma's numbers have an end; `None` if there are none."""
        count = self._collection().count()
        return replace(want, k=min(want.k, count)) if count else None

    def near(self, vector: Sequence[float] | FloatArray, want: Wanted) -> list[Hit]:
        """The rows nearest to a vector [d].

        Raises:
            EmbeddingMismatchError: If the stored vectors have another length.
        """
        asked: Any = np.asarray(vector, dtype=np.float32)
        collection = self._collection()
        try:
            with reading(collection.name):
                found = collection.query(
                    query_embeddings=[asked],
                    n_results=want.k,
                    where=want.condition,
                    include=["documents", "metadatas", "distances", "embeddings"],
                    **want.options,
                )
        except InvalidArgumentError as error:
            if "dimension" not in str(error):
                raise
            stored, given = "vectors of another length", f"{len(asked)} numbers"
            raise mismatch(collection.name, stored, given) from error
        return hits(cast("Any", found))

    def _ranker(
        self, query: Query, modality: Modality | None, *, plain: bool
    ) -> tuple[Ranker, dict[Side, Sampled]]:
        parts = self._parts(query)
        # Plain cosine needs no statistics, but for the sum of text and image.
        sampled = {} if plain and len(parts) == 1 else self.backgrounds.current()
        searched = [side for side in sampled if not plain and (modality is None or side == side_of(modality))]
        return Ranker(parts, {side: known.background for side, known in sampled.items()}, searched), sampled

    def _parts(self, query: Query) -> dict[Side, FloatArray]:
        """The vector [d] of the query's text, image or both."""
        parts: dict[Side, FloatArray] = {}
        if query.text and query.text.strip():
            parts["text"] = self._embedder.query(query.text).astype(np.float64)
        if query.image is not None:
            picture = Picture(query.image, self._policy(), wants_facts=self._embedder.opens_files_itself)
            parts["image"] = self._embedder.image(picture).astype(np.float64)
        self._record.check(len(next(iter(parts.values()))))
        return parts

    def _side(self, side: Side, ranker: Ranker, sampled: Mapping[Side, Sampled], want: Wanted) -> list[Found]:
        """The candidates of one side, scored."""
        several = len(ranker.searched) > 1
        if several:
            depth = max(_CANDIDATES, 3 * want.k)
            want = replace(want, k=depth, condition=where(want.condition, of_side(side)))
        near = self.near(ranker.search_vector, want)
        if not near:
            return []
        vectors = unit([hit.vector for hit in near])
        scores = ranker.scores(side, Candidates(vectors, sampled[side].places_of([hit.id for hit in near])))
        if several:
            vectors = unit(vectors - sampled[side].background.mean)
        return list(map(Found, near, scores.tolist(), vectors, (vectors @ ranker.search_vector).tolist()))


def _asked(query: str | Query) -> Query:
    asked = Query.of(query)
    if asked.image is None and not (asked.text or "").strip():
        msg = f"the query is empty, {asked.text!r}: say in words what to look for, or give an image"
        raise ValueError(msg)
    return asked


def _plain(hit: Hit, ranker: Ranker) -> Found:
    vector = unit(hit.vector)
    cosine = float(vector @ ranker.plain)
    return Found(hit, cosine, vector, cosine)


def _with_relevance(found: list[Found]) -> list[Found]:
    """Scores of several sides as relevance from 1 for the best to 0 for the last."""
    if not found:
        return []
    best, last = found[0].score, found[-1].score
    return [replace(each, relevance=(each.score - last) / max(best - last, _TINY)) for each in found]
