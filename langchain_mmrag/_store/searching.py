"""The reading half of `MultimodalChroma`: LangChain's search methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from threading import Lock
from typing import Any, get_args

import numpy as np
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor

from langchain_mmrag._record import EmbeddingRecord
from langchain_mmrag._store.companion import Companion
from langchain_mmrag._store.embedder import Embedder
from langchain_mmrag._store.gather import Answer
from langchain_mmrag._store.hnsw import in_cosine_space
from langchain_mmrag._store.ledger import Ledger
from langchain_mmrag._store.priors import Priors
from langchain_mmrag._store.search import Search
from langchain_mmrag._store.sound_companion import SoundCompanion
from langchain_mmrag._store.wanted import Filter, How, wanted
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy
from langchain_mmrag.queries import Query
from langchain_mmrag.ranking import Collapse, FloatArray, Rank, SearchMode, mmr_order, unit
from langchain_mmrag.types import ImageInput, Modality

DEFAULT_COLLECTION = "langchain"

_MEDIA_FOLDER = "mmrag_media"
_LEDGER_FOLDER = "mmrag"
_TINY = 1e-9


class SearchingChroma(Chroma):
    """A Chroma that is searched by text and pictures; see `MultimodalChroma`."""

    def __init__(
        self,
        collection_name: str = DEFAULT_COLLECTION,
        embedding_function: Embeddings | Any | None = None,
        persist_directory: str | Path | None = None,
        *,
        media_policy: MediaPolicy | None = None,
        media_directory: str | Path | None = None,
        text_embedding: Embeddings | None = None,
        audio_embedding: Any | None = None,
        rank: Rank = "calibrated",
        search: SearchMode = "vector",
        **chroma: Any,
    ) -> None:
        if embedding_function is None:
            # Chroma itself would fetch a text model from the internet at the first search.
            msg = "MultimodalChroma needs an embedding_function, for instance OpenCLIPEmbeddings()"
            raise ValueError(msg)
        for name, given in (("embedding_function", embedding_function), ("text_embedding", text_embedding)):
            _check_embedding(name, given)
        _check_audio_embedding(audio_embedding)
        chroma["collection_configuration"] = in_cosine_space(
            chroma.get("collection_configuration"), chroma.get("collection_metadata")
        )
        # Chroma keeps one client for each path as it is written: after a change of the working folder a
        # relative one would mean the old place.
        folder = None if persist_directory is None else str(Path(persist_directory).absolute())
        super().__init__(collection_name, embedding_function, folder, **chroma)
        self.rank: Rank = _checked("rank", rank, Rank)
        self.search_mode: SearchMode = _checked("search", search, SearchMode)
        self._given_policy = media_policy or DEFAULT_POLICY
        self._media_folder = self._settled_media_folder(media_directory)
        self._media_lock = Lock()
        self._embedder = Embedder(embedding_function)
        # As it is now: what others write into its metadata does not reach the object Chroma gave us.
        self._record = EmbeddingRecord(
            lambda: self._client.get_collection(self._collection_name, embedding_function=None),
            lambda: self._embedder.name,
        )
        self._ledger = Ledger(lambda: self._collection, self._own_folder(_LEDGER_FOLDER))
        self._text_embedding = text_embedding
        self._audio_embedding = audio_embedding
        self._companion = Companion(self._client, lambda: self._collection, self._ledger, text_embedding)
        self._sounds = SoundCompanion(
            self._client,
            lambda: self._collection,
            self._ledger,
            audio_embedding,
            policy=lambda: self.media_policy,
        )
        self._search = Search(
            lambda: self._collection,
            self._embedder,
            self._record,
            lambda: self.media_policy,
            ledger=self._ledger,
            companion=self._companion,
            sounds=self._sounds,
            prior=Priors(embedding_function),
        )

    @property
    def media_policy(self) -> MediaPolicy:
        """What may be opened of the pictures in this store: the policy given, and the store's own files."""
        return self.opening_own_media(self._given_policy)

    def opening_own_media(self, policy: MediaPolicy) -> MediaPolicy:
        """The policy, and that what the store keeps in its `media_directory` may be opened."""
        own = self._media_folder
        if policy.roots is None or own is None or own in policy.roots:
            return policy
        return replace(policy, roots=(*policy.roots, own))

    def _settled_media_folder(self, given: str | Path | None) -> Path | None:
        """Where pictures given as bytes go, as far as it is known before there are any."""
        if given is not None:
            return Path(given).absolute()
        return self._own_folder(_MEDIA_FOLDER)

    def _own_folder(self, name: str) -> Path | None:
        """A folder beside the collection, if that lies in one on this machine."""
        settings = self._client.get_settings()
        return Path(settings.persist_directory).absolute() / name if settings.is_persistent else None

    def _how(
        self,
        rank: Rank | None,
        search: SearchMode | None,
        collapse: Collapse = "parent",
        score_threshold: float | None = None,
    ) -> How:
        return How(
            _checked("rank", rank or self.rank, Rank),
            _checked("search", search or self.search_mode, SearchMode),
            _checked("collapse", collapse, Collapse),
            _checked_threshold(score_threshold),
        )

    # --- ranked fairly --------------------------------------------------------------------------------------

    def search_ranked(
        self,
        query: str | Query,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002 - LangChain's name
        *,
        modality: Modality | None = None,
        rank: Rank | None = None,
        search: SearchMode | None = None,
        collapse: Collapse = "parent",
        score_threshold: float | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """The `k` best documents of all modalities, or of one, best first.

        Args:
            query: Text, or a `Query` with text, image or both, and what is not wanted.
            k: How many; fewer if there are no more.
            filter: Condition on the metadata; several keys mean all of them.
            modality: Only documents of this modality; a `Query` may also name it.
            rank: In place of the store's own, for vectors: `"calibrated"`; `"raw"` for plain cosine; `"rrf"`,
                which takes from each side in turn (reciprocal rank fusion); or `"centered"`, which takes off
                the means.
            search: In place of the store's own: `"vector"`; `"keyword"` for the words of passages, captions,
                summaries, writing in pictures and file names; `"hybrid"` for both; or `"text"` for words and
                the vectors of the `text_embedding`, as text retrieval goes: pictures are found by their
                captions alone, and without a `text_embedding` it is `"keyword"`. With an `audio_embedding`,
                `"vector"` and `"hybrid"` also go by how recordings and films sound. Words are taken as they
                are written, without accents; `light*` finds words that begin so, `"in quotes"` a phrase.
            collapse: `"parent"` returns one document for the parts of one parent; `"near-duplicate"` also one
                for pictures or passages that are nearly the same, with the ids of the others in its
                metadata `collapsed_ids`; `"none"` only puts the windows of a long text together.
            score_threshold: Only documents of at least this relevance, from 0 to 1; see
                `similarity_search_with_relevance_scores`.
            **kwargs: Passed to Chroma's query: `where_document` and `ids`.

        Returns:
            Documents with scores; higher is better, and of equal ones the document added first comes first.
            Calibrated scores say by how many standard deviations a document beats what the query scores by
            chance in its modality, so they compare across modalities:
            relevant documents tend to have 3 to 5, and so do those of `"hybrid"`, and of `"rrf"` with a
            `text_embedding`. By vectors alone, raw ones are cosines, those of `"rrf"` sums of
            1 / (60 + place); those of `"keyword"` are BM25. Those of `"text"` say by how many deviations a
            text beats the texts of its modality. A long text comes whole; its metadata `chunk` and
            `chunk_start` say which part of it was found.

        Raises:
            EmbeddingMismatchError: If the collection was made with another embedding.
            LoadError: If the picture asked with cannot be read.
            UnsupportedModalityError: If the query has a picture and the embedding takes none.
            TypeError: If `filter` is no mapping, or there is a keyword no search takes.
            ValueError: If the query is empty, asks for words and has none, or takes away all that it asks
                for; if `k` is not a whole number of at least 1; or another argument is none of its values.
        """
        how = self._how(rank, search, collapse, score_threshold)
        found = self._search.ranked(query, k, filter, how, modality=modality, **kwargs)
        return [(each.told(), each.found.score) for each in found]

    async def asearch_ranked(
        self, query: str | Query, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """`search_ranked` in a worker thread."""
        return await run_in_executor(None, self.search_ranked, query, k, **kwargs)

    def similarity_search(
        self,
        query: str | Query,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002
        **kwargs: Any,
    ) -> list[Document]:
        """The `k` best documents; see `search_ranked`, which takes the same arguments."""
        return [found for found, _ in self.search_ranked(query, k, filter, **kwargs)]

    def similarity_search_by_image(
        self,
        uri: ImageInput,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002
        **kwargs: Any,
    ) -> list[Document]:
        """The `k` documents, passages and pictures, that are most like a picture; see `search_ranked`."""
        return self.similarity_search(Query(image=uri), k, filter, **kwargs)

    async def asimilarity_search_by_image(self, uri: ImageInput, k: int = 4, **kwargs: Any) -> list[Document]:
        """`similarity_search_by_image` in a worker thread."""
        return await run_in_executor(None, self.similarity_search_by_image, uri, k, **kwargs)

    def max_marginal_relevance_search(  # noqa: PLR0917 - the order is Chroma's
        self,
        query: str | Query,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,  # noqa: A002
        where_document: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Of the `fetch_k` best ranked documents, `k` that are relevant and differ, in the order picked.

        Args:
            query: Text, or a `Query`.
            k: How many; fewer if there are no more.
            fetch_k: From how many.
            lambda_mult: 1 for relevance alone, 0 for variety alone.
            filter: Condition on the metadata.
            where_document: Condition on the text.
            **kwargs: As for `search_ranked`.

        Raises:
            ValueError: If `lambda_mult` is not from 0 to 1; else as `search_ranked`.
        """
        _check_share(lambda_mult)
        how = self._how(*(kwargs.pop(name, None) for name in ("rank", "search")))
        how = replace(how, threshold=_checked_threshold(kwargs.pop("score_threshold", None)))
        how = replace(how, collapse=_checked("collapse", kwargs.pop("collapse", "parent"), Collapse))
        options = {"where_document": where_document, **kwargs}
        found = self._search.ranked(query, _at_least(fetch_k, k), filter, how, **options)
        vectors = np.array([each.found.vector for each in found])
        order = mmr_order(_spread_out(found), vectors, k, lambda_mult)
        return [found[place].told() for place in order]

    # --- by distance, as Chroma has it ----------------------------------------------------------------------

    def similarity_search_with_score(
        self,
        query: str | Query,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002
        where_document: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """The `k` nearest documents with their distances in the collection's space: lower is nearer.

        Distances of passages and of pictures do not compare: over both, passages come first. Give `modality`
        for one kind; `search_ranked` scores all kinds on one scale.
        """
        options = {"where_document": where_document, **kwargs}
        return [(hit.document, hit.distance) for hit in self._search.nearest(query, k, filter, **options)]

    def similarity_search_with_vectors(
        self,
        query: str | Query,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002
        where_document: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, FloatArray]]:
        """The `k` nearest documents with their vectors [d], as `similarity_search_with_score` finds them."""
        options = {"where_document": where_document, **kwargs}
        return [(hit.document, hit.vector) for hit in self._search.nearest(query, k, filter, **options)]

    def similarity_search_by_vector(
        self,
        embedding: Sequence[float] | FloatArray,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002
        where_document: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The `k` documents nearest to a vector [d]; nothing is corrected, as nobody knows its modality."""
        found = self.similarity_search_by_vector_with_relevance_scores(
            embedding, k, filter, where_document, **kwargs
        )
        return [document for document, _ in found]

    def similarity_search_by_vector_with_relevance_scores(
        self,
        embedding: Sequence[float] | FloatArray,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002
        where_document: Mapping[str, Any] | None = None,
        *,
        modality: Modality | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """The `k` documents nearest to a vector [d] with their distances, as `Chroma` has it."""
        options = {"where_document": where_document, **kwargs}
        near = self._search.near_given(embedding, wanted(k, filter, modality, options))
        return [(hit.document, hit.distance) for hit in near]

    def max_marginal_relevance_search_by_vector(  # noqa: PLR0917
        self,
        embedding: Sequence[float] | FloatArray,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,  # noqa: A002
        where_document: Mapping[str, Any] | None = None,
        *,
        modality: Modality | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Of the `fetch_k` documents nearest to a vector [d], `k` that differ, in the order picked."""
        _check_share(lambda_mult)
        options = {"where_document": where_document, **kwargs}
        near = self._search.near_given(embedding, wanted(_at_least(fetch_k, k), filter, modality, options))
        vectors = unit([hit.vector for hit in near])
        relevance = vectors @ unit(embedding) if near else vectors
        return [near[place].document for place in mmr_order(relevance, vectors, k, lambda_mult)]

    # --- by relevance from 0 to 1 ---------------------------------------------------------------------------

    def _similarity_search_with_relevance_scores(
        self,
        query: str | Query,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002
        *,
        modality: Modality | None = None,
        rank: Rank | None = None,
        search: SearchMode | None = None,
        collapse: Collapse = "parent",
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Documents with relevances from 0 to 1, behind `similarity_search_with_relevance_scores`.

        The order is that of `search_ranked`. A relevance is the probability that the best of as many
        documents as there are, none of which has to do with the query, would score less: Φ(z)^N, see
        `ranking.relevance`. So it means the same for pictures and for passages: near 1 chance is ruled out,
        near 0 a score like it was to be expected. 0.5 is a good `score_threshold` to begin with.

        With `rank="raw"`, or a `relevance_score_fn` of the caller's own, it is made of the distance instead.
        """
        how = self._how(rank, search, collapse)
        is_raw = rank == "raw" or (rank is None and (self.rank == "raw" or self.override_relevance_score_fn))
        if is_raw and how.search == "vector":
            relevance = self._select_relevance_score_fn()
            near = self.similarity_search_with_score(query, k, filter, modality=modality, **kwargs)
            return [(found, relevance(distance)) for found, distance in near]
        found = self._search.ranked(query, k, filter, how, modality=modality, **kwargs)
        return [(each.told(), each.found.relevance) for each in found]

    async def _asimilarity_search_with_relevance_scores(
        self, query: str | Query, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        # LangChain's own would take another way than the method above.
        return await run_in_executor(None, self._similarity_search_with_relevance_scores, query, k, **kwargs)

    def similarity_search_by_image_with_relevance_score(
        self,
        uri: ImageInput,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """The documents most like a picture, scored as by `similarity_search_with_relevance_scores`."""
        return self._similarity_search_with_relevance_scores(Query(image=uri), k, filter=filter, **kwargs)

    async def asimilarity_search_by_image_with_relevance_score(
        self, uri: ImageInput, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """`similarity_search_by_image_with_relevance_score` in a worker thread."""
        return await run_in_executor(
            None, self.similarity_search_by_image_with_relevance_score, uri, k, **kwargs
        )

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """From distance to the cosine of unit vectors, in the space the collection really has."""
        if self.override_relevance_score_fn:
            return self.override_relevance_score_fn
        # Chroma's l2 is the squared distance: 2 - 2 cos.
        scale = 0.5 if self._space() == "l2" else 1.0
        return lambda distance: min(max(1.0 - scale * distance, 0.0), 1.0)

    def _space(self) -> str:
        settings: Mapping[str, Any] = self._collection.configuration_json
        indexes = (settings.get("hnsw"), settings.get("spann"))
        return next((str(index["space"]) for index in indexes if index), "l2")


def _check_embedding(name: str, given: Any) -> None:
    if given is not None and not callable(getattr(given, "embed_query", None)):
        msg = f"{name} is a {type(given).__name__}, not an embedding: give one such as OpenCLIPEmbeddings()"
        raise TypeError(msg)


def _check_audio_embedding(given: Any) -> None:
    needed = ("embed_query", "embed_audio")
    if given is not None and not all(callable(getattr(given, name, None)) for name in needed):
        msg = (
            f"audio_embedding is a {type(given).__name__}, which embeds no sound: give one with embed_query,"
            " embed_audio and sampling_rate, such as ClapEmbeddings()"
        )
        raise TypeError(msg)


def _at_least(fetch_k: int, k: int) -> int:
    return max(fetch_k, wanted(k, None, None, {}).k)


def _check_share(lambda_mult: Any) -> None:
    if not isinstance(lambda_mult, Real) or not 0 <= float(lambda_mult) <= 1:
        msg = f"lambda_mult must be from 0 (variety alone) to 1 (relevance alone), not {lambda_mult!r}"
        raise ValueError(msg)


def _checked(name: str, value: Any, values: Any) -> Any:
    if value not in get_args(values):
        msg = f"{name} must be one of {', '.join(map(repr, get_args(values)))}, not {value!r}"
        raise ValueError(msg)
    return value


def _checked_threshold(value: float | None) -> float | None:
    if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
        msg = f"score_threshold must be from 0 to 1, not {value!r}"
        raise ValueError(msg)
    return value


def _spread_out(found: Sequence[Answer]) -> FloatArray:
    """Scores on the scale of the cosines they are weighed against: of several sides, 1 for the best to 0."""
    cosines = [each.found.cosine for each in found if each.found.cosine is not None]
    if len(cosines) == len(found):
        return np.array(cosines)
    scores = np.array([each.found.score for each in found])
    return (scores - scores.min()) / max(float(np.ptp(scores)), _TINY) if len(scores) else scores
