"""From a query to ranked documents of a collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from chromadb.errors import InvalidArgumentError

from langchain_mmrag._record import EmbeddingRecord, mismatch
from langchain_mmrag._store.backgrounds import Backgrounds, Prior
from langchain_mmrag._store.beside import STANDS_OUT, Beside, Second
from langchain_mmrag._store.by_text import ByText
from langchain_mmrag._store.candidates import near_ids, nearest_first, nearest_in, of_one_side
from langchain_mmrag._store.chroma import Hit, hits, of_modality, reading
from langchain_mmrag._store.companion import Companion
from langchain_mmrag._store.embedder import Embedder
from langchain_mmrag._store.gather import Answer, Found, gathered, in_order, nearest_parts, tell_best_window
from langchain_mmrag._store.ledger import Ledger
from langchain_mmrag._store.ledger_rows import Entry
from langchain_mmrag._store.nearby import Nearby, OnlyModality
from langchain_mmrag._store.pictures import Picture
from langchain_mmrag._store.row_count import RowCount
from langchain_mmrag._store.sound_companion import SoundCompanion
from langchain_mmrag._store.wanted import Filter, How, Wanted, modality_of_filter, wanted
from langchain_mmrag.keyword import KeywordMatch
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.queries import Query
from langchain_mmrag.ranking import (
    Background,
    Candidates,
    FloatArray,
    Part,
    Ranker,
    Side,
    levelled,
    reordered,
    unit,
)
from langchain_mmrag.types import CHUNK_START, Modality

if TYPE_CHECKING:
    from chromadb import Collection

_CANDIDATES = 30  # of each side: the ten best by the scores that count are among them


class Search:
    """Searches one collection.

    Args:
        collection: Gives the collection.
        embedder: Makes vectors of queries.
        record: Knows whether these can be compared with the stored ones.
        policy: Gives what pictures may be opened.
        ledger: Knows the side, the vector and the words of each row.
        companion: Knows the second vectors of texts.
        sounds: Knows those of sounds.
        prior: See `Backgrounds`.
    """

    def __init__(
        self,
        collection: Callable[[], Collection],
        embedder: Embedder,
        record: EmbeddingRecord,
        policy: Callable[[], MediaPolicy],
        *,
        ledger: Ledger,
        companion: Companion,
        sounds: SoundCompanion,
        prior: Prior,
    ) -> None:
        self._collection = collection
        self._embedder = embedder
        self._record = record
        self._policy = policy
        self._ledger = ledger
        self._companion = companion
        self._sounds = sounds
        self._by_text = ByText(collection, ledger, companion)
        self._nearby = Nearby(collection, ledger)
        self._backgrounds = Backgrounds(ledger, prior)
        self._count = RowCount(collection, ledger)
        self._checked: tuple[object, float] = (None, 0.0)

    # --- ranked ---------------------------------------------------------------------------------------------

    def ranked(
        self,
        query: str | Query,
        k: int,
        filter: Filter | None,  # noqa: A002
        how: How,
        *,
        modality: Modality | None = None,
        **options: Any,
    ) -> list[Answer]:
        """The `k` best, best first."""
        asked = _asked(query)
        filter, modality = modality_of_filter(filter, modality or asked.modality)  # noqa: A001
        want = wanted(k, filter, modality, options)
        count = self._count.now()
        if not count:
            return []  # without waking the model
        want = replace(self._existing(want), k=min(want.k, count))
        if want.options.get("ids") == []:
            return []
        depth = max(_CANDIDATES, 3 * want.k)
        while True:
            pool = self._pool(asked, want, how, modality, count, depth)
            answers = gathered(self._collection(), pool, want.k, how.collapse)
            # Parts and copies of a few may have taken up all of the pool.
            if len(answers) == want.k or depth >= count or len(pool) < depth or how.threshold is not None:
                break
            depth *= 4
        if how.search != "vector" and asked.text:
            self._tell_by_words(asked.text, answers)
        return answers

    def _tell_by_words(self, query: str, answers: Sequence[Answer]) -> None:
        """Of long texts, tell the window that has the words of the query, if any has."""
        texts = [str(each.document.id) for each in answers if CHUNK_START in each.document.metadata]
        windows = self._ledger.children(texts) if texts else {}
        for answer in answers:
            if ids := windows.get(str(answer.document.id)):
                tell_best_window(self._collection(), answer, ids, query)

    def _pool(  # noqa: PLR0917
        self, asked: Query, want: Wanted, how: How, modality: Modality | None, count: int, depth: int
    ) -> list[Found]:
        if how.search == "keyword":
            pool = self._by_text.by_words(asked, want, modality, count, depth)
        elif how.search == "text":
            pool = self._by_text.by_texts(asked, want, modality, count, depth)
        elif how.rank == "raw" and how.search == "vector" and len(asked.terms()) == 1:
            pool = self._plain(asked, want, count, depth)
        else:
            pool = self._scored(asked, want, how, modality, count, depth)
        if how.threshold is not None:
            pool = [row for row in pool if row.relevance >= how.threshold]
        return in_order(pool)

    def _plain(self, asked: Query, want: Wanted, count: int, depth: int) -> list[Found]:
        """By the cosine, over all sides alike."""
        samples = self._ledger.statistics(count)
        vector = unit(self._parts(asked)[0].vector)
        ids = near_ids(self._collection(), [vector], depth, want.condition, **want.options)[0]
        if want.is_free:
            for sample in samples.values():
                if sample.count == len(sample.ids):  # the index may have no way to some of a few
                    ids += nearest_in(sample.ids, sample.vectors, vector, depth)
            ids = list(dict.fromkeys(ids))
            if len(ids) < min(depth, count):
                near = [
                    of_one_side(self._collection(), vector, side, n=depth, count=sample.count)
                    for side, sample in samples.items()
                ]
                ids = list(dict.fromkeys([*ids, *(id_ for each in near for id_ in each)]))
        rows = self._ledger.entries(ids)
        units = (
            unit(np.stack([entry.vector for entry in rows.values()])) if rows else np.empty((0, len(vector)))
        )
        near = levelled(units @ vector).tolist()
        return [
            Found(id_, entry.parent, entry.number, cosine, min(max(cosine, 0.0), 1.0), stored, stored, cosine)
            for (id_, entry), stored, cosine in zip(rows.items(), units, near, strict=True)
        ]

    def _scored(  # noqa: PLR0917
        self, asked: Query, want: Wanted, how: How, modality: Modality | None, count: int, depth: int
    ) -> list[Found]:
        parts = self._parts(asked)
        sampled = self._backgrounds.current(count, {part.side for part in parts})
        backgrounds = {side: each.background for side, each in sampled.items()}
        sides = [side for side, each in backgrounds.items() if each.count]
        there: dict[Side, dict[str, int]] = {} if modality is None else self._ledger.modalities(count)
        searched = sides if modality is None else [side for side in sides if modality in there[side]]
        if not searched:
            return []
        ranker = Ranker(parts, backgrounds, searched, how.rank)
        beside = self._beside(asked, want, how, searched, count, depth)
        only = None
        if modality is not None and want.condition == of_modality(modality) and not want.options:
            only = OnlyModality(modality, {side: there[side][modality] for side in searched})
            if [each.keys() for each in there.values() if modality in each] == [{modality}]:  # all of a side
                want, only = replace(want, condition=None), None
        rows = self._nearby.rows(ranker, want, sampled, depth, only)
        more = [id_ for id_ in dict.fromkeys(beside.ids(depth)) if id_ not in rows]
        rows |= self._ledger.entries(self._by_text.allowed(more, want))
        listed = {side: nearest_first(ranker, side, rows) for side in searched}
        if ranker.is_plain and not beside:
            listed = {side: each[:depth] for side, each in listed.items()}
        found = {
            side: Candidates(
                np.stack([entry.vector for _, entry in each]),
                sampled[side].places_of([id_ for id_, _ in each]),
            )
            for side, each in listed.items()
            if each
        }
        if not found:
            return []
        scores = ranker.scores(found)
        relevance = reordered(ranker.relevances(found), scores)
        given: tuple[Mapping[Side, FloatArray], Mapping[Side, FloatArray]] = scores, relevance
        if beside.matches:
            beside = beside.without(self._unwanted(asked, ranker, found, listed, count))
        if beside:
            given = beside.applied(reordered(ranker.standing(found), scores), relevance, listed)
        has_cosines = len(searched) == 1 and not beside
        return [
            Found(
                id_,
                entry.parent,
                entry.number,
                score,
                sure,
                vector,
                stored,
                float(stored @ ranker.plain) if has_cosines else None,
            )
            for side, each in found.items()
            for (id_, entry), score, sure, vector, stored in zip(
                listed[side],
                given[0][side].tolist(),
                given[1][side].tolist(),
                ranker.vectors(side, each),
                each.units,
                strict=True,
            )
        ]

    def _known(self) -> dict[Side, Background]:
        sampled = self._backgrounds.current(self._count.now())
        return {side: each.background for side, each in sampled.items()}

    def _parts(self, query: Query) -> list[Part]:
        """The vectors of the query's parts."""
        parts = []
        for term in query.terms():
            if term.side == "text":
                vector = self._embedder.query(cast("str", term.content))
            else:
                picture = Picture(term.content, self._policy(), wants_facts=self._embedder.opens_files_itself)
                vector = self._embedder.image(picture)
            parts.append(Part(term.side, vector.astype(np.float64), term.weight))
        for dimension in {len(part.vector) for part in parts}:
            self._check(dimension)
        return parts

    def _check(self, dimension: int) -> None:
        """Look at the record, for large collections as often as their rows are counted."""
        collection = self._collection()
        of, until = (collection.id, dimension), self._checked[1]
        if self._checked[0] != of or until <= monotonic():
            self._record.check(dimension)
            self._checked = of, monotonic() + self._count.holds_for_s(collection)

    # --- by words, and by second vectors --------------------------------------------------------------------

    def _beside(  # noqa: PLR0917
        self, asked: Query, want: Wanted, how: How, searched: Sequence[Side], count: int, depth: int
    ) -> Beside:
        matches: dict[str, KeywordMatch] = {}
        chance = None
        if how.search == "hybrid" and (asked.text or "").strip():
            side = searched[0] if len(searched) == 1 else None
            matches, chance = self._by_text.matches(asked, want, side, count, depth)
        has_second = how.rank != "raw"  # raw is the cosine of what all rows have
        second, sound = (
            Second.of(companion, asked, count, searched) if has_second else None
            for companion in (self._companion, self._sounds)
        )
        return Beside(matches, chance, second, sound)

    def _unwanted(
        self,
        asked: Query,
        ranker: Ranker,
        found: Mapping[Side, Candidates],
        listed: Mapping[Side, Sequence[tuple[str, Entry]]],
        count: int,
    ) -> set[str]:
        """Rows that stand out for what the query does not want, by vector or by words."""
        ids: set[str] = set()
        for part in (part for part in ranker.parts if part.weight < 0):
            against = Ranker([replace(part, weight=1.0)], ranker.backgrounds, ranker.searched)
            for side, z in against.standing(found).items():
                ids |= {
                    id_ for (id_, _), each in zip(listed[side], z.tolist(), strict=True) if each > STANDS_OUT
                }
        return ids | self._by_text.with_unwanted_words(asked, count)

    # --- by distance, as Chroma has it ----------------------------------------------------------------------

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
        parts = self._parts(asked)
        # Several parts only add up once they are centred.
        known = self._known() if len(parts) > 1 else {}
        return self._near_documents(Ranker(parts, known, ()).plain, want)

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
        return [] if capped is None else self._near_documents(given, capped)

    def _near_documents(self, vector: FloatArray, want: Wanted) -> list[Hit]:
        """The documents nearest to a vector [d]; a long text is as near as its nearest window."""
        depth = want.k
        while True:
            found = self.near(vector, replace(want, k=depth))
            documents = nearest_parts(self._collection(), found)
            if len(documents) >= want.k or len(found) < depth:
                return documents[: want.k]
            depth *= 4

    def _capped(self, want: Wanted) -> Wanted | None:
        """No more than there are, as Chroma's numbers have an end; `None` if there are none."""
        count = self._collection().count()
        want = self._existing(want)
        if not count or want.options.get("ids") == []:
            return None
        return replace(want, k=min(want.k, count))

    def _existing(self, want: Wanted) -> Wanted:
        """Of the ids that documents are wanted of, those there are: Chroma stumbles over others."""
        if "ids" not in want.options:
            return want
        collection, ids = self._collection(), list(want.options["ids"])
        with reading(collection.name):
            there = collection.get(ids=ids, include=[])["ids"] if ids else []
        return replace(want, options={**want.options, "ids": there})

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


def _asked(query: str | Query) -> Query:
    asked = Query.of(query)
    if asked.image is None and not (asked.text or "").strip():
        msg = f"the query is empty, {asked.text!r}: say in words what to look for, or give an image"
        raise ValueError(msg)
    return asked
