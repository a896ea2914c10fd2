"""`MultimodalChroma`: pictures and passages in one Chroma collection, ranked fairly against each other."""

from __future__ import annotations

import logging
import shutil
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import mkdtemp
from threading import local
from typing import Any, Self, TypeVar

from chromadb.errors import NotFoundError
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor

from langchain_mmrag._store.chroma import (
    document,
    listed,
    listed_if_given,
    of_documents,
    reading,
    same_length,
    writing,
)
from langchain_mmrag._store.ingest import Intake, OnError, Row, to_write
from langchain_mmrag._store.ledger import Told
from langchain_mmrag._store.ledger_rows import PAGE, Content
from langchain_mmrag._store.pictures import save
from langchain_mmrag._store.pipeline import Embedded, Inserter, pieces_of
from langchain_mmrag._store.searching import DEFAULT_COLLECTION, SearchingChroma
from langchain_mmrag._store.second_vectors import SecondVectors, Vector
from langchain_mmrag._store.typed import typed
from langchain_mmrag.errors import StoreError
from langchain_mmrag.types import WINDOW, ImageInput

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


class _Bulks(local):
    """What takes the rows that a thread adds to a store in bulk."""

    def __init__(self) -> None:
        self.by_store: dict[MultimodalChroma, Inserter] = {}


_bulks = _Bulks()


class MultimodalChroma(SearchingChroma):
    """A `langchain_chroma.Chroma` that holds pictures beside text and ranks them fairly against each other.

    ```python
    store = MultimodalChroma("holiday", OpenCLIPEmbeddings(), persist_directory="./mm_store")
    store.add_images(["photos/lighthouse.jpg"], captions=["the red one"])
    store.add_texts(["We climbed the lighthouse on Tuesday."], [{"source": "diary.md"}])
    store.similarity_search("lighthouse", k=2)
    store.similarity_search(Query(image="postcard.jpg", text="at night"), modality="image")
    ```

    Which encoder embeds a document follows from its metadata alone: `{"modality": "image", "source": path}`
    (or the older `{"type": "image", "path": path}`) embeds the picture at that path or URL, and
    `page_content` is its caption or empty; anything else embeds `page_content`. A document never holds a
    picture's bytes: pictures given as bytes are kept as files. A `video` whose metadata has a `thumbnail`, a
    path or a list of them, is embedded by that picture, or by the mean of several, and ranked among pictures;
    so is any other document with a `thumbnail` and no text. The metadata of a text comes back as it was
    given, but for marks on one longer than the model reads: such a text is found by any of its windows (see
    `CLIPTextSplitter`), which are rows nobody sees; where an embedding does not say how many tokens it reads,
    the text is marked `truncated`.

    `similarity_search` and what is built on it (retrievers, MMR, search by image) ranks by `search_ranked`.
    Methods that Chroma defines by a distance keep the order of the distances, in which passages stand before
    pictures: give them `modality=` to compare like with like. Relevances, from 0 to 1, come in the order of
    `search_ranked` and mean the same for both.

    One process at a time may write to a `persist_directory`: to share a collection, run a Chroma server
    (`chroma run`) and give its `host` and `port`.

    The collection remembers which embedding made it. The space is cosine unless told otherwise; a collection
    that exists keeps the space it has.

    Args:
        collection_name: Name of the collection.
        embedding_function: Any LangChain embedding; pictures need a `MultimodalEmbeddings` or one with
            `embed_image(uris=[...])`.
        persist_directory: Folder to keep the collection in; in memory without.
        media_policy: What pictures may be opened, when they are added, asked with and put into prompts.
        media_directory: Folder for pictures given as bytes or taken out of files. By default `mmrag_media`
            in `persist_directory`, or a temporary folder that goes with a store in memory; through a server
            it must be given.
        text_embedding: An embedding for text alone, which gives each text a second vector: passages, tables
            and transcripts, or their `summary` where the metadata has one; of pictures the `caption`, or the
            `page_content` in its place. Pictures without one have none. The vectors are in a collection of
            their own, named like this one with `.text` at its end, and are deleted with it. For a collection
            that was filled without, `rebuild_index` makes them.
        audio_embedding: An embedding of sounds and text in one space, such as `ClapEmbeddings`, which gives
            recordings and films with sound a vector of what is heard between their `start_s` and `end_s`, of
            the first 30 seconds. Searches by vectors ask it for what a query says. Its vectors are in a
            collection of their own, with `.audio` at the end of its name; what has no sound there has none.
            For a collection that was filled without, `rebuild_index` makes them.
        rank: How searches put pictures and passages in one order, unless they say otherwise.
        search: Whether they go by vectors, by words, by both, or by texts; see `search_ranked`.
        **chroma: Every other keyword of `langchain_chroma.Chroma`: `host`, `port`, `client`,
            `collection_configuration`, `relevance_score_fn` and so on.

    Raises:
        TypeError: If an embedding is none.
        ValueError: If there is no `embedding_function`.
    """

    # --- add, replace, delete -------------------------------------------------------------------------------

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        ids: list[str] | None = None,
        *,
        on_error: OnError = "raise",
        **kwargs: Any,  # noqa: ARG002 - LangChain's indexing passes batch_size
    ) -> list[str]:
        """Add or replace documents; images are embedded by their picture, films by their thumbnails.

        Up to 4096 documents, or 8 million characters, are embedded before any is written, so an error leaves
        the collection as it was. Of more, thousands are written while the next are embedded, in bounded
        memory: an error, or Ctrl-C, leaves whole documents, those up to some place. Trouble with the disk or
        a server may leave some documents of any call. The same call writes them again, under the same ids,
        and goes on; a document that is at fault itself fails again until it is mended or left out.

        Args:
            texts: Passages, or captions (or empty strings) of images.
            metadatas: One for each text.
            ids: One for each text; where there is none it is made of the content, so that adding twice
                changes nothing. Of several documents with one id the last wins.
            on_error: Raise at a picture that cannot be read, or leave it out with a warning in the log.
            **kwargs: Ignored.

        Returns:
            The ids of the documents written, in their order.

        Raises:
            LoadError: If a picture cannot be read; the message has its place and source.
            UnsupportedModalityError: If there is a picture and the embedding takes none.
            EmbeddingMismatchError: If the collection was made with another embedding.
            StoreError: If it cannot be written to, as with a full disk; or if what was embedded of many
                documents could not be inserted.
            TypeError: If there is but one of something, outside of a list.
            ValueError: If the lengths differ, an id, text or metadata cannot be stored, or an image does not
                say where it is.
        """
        texts = listed(texts, "texts")
        metadatas, ids = listed_if_given(metadatas, "metadatas"), listed_if_given(ids, "ids")
        same_length(len(texts), metadatas=metadatas, ids=ids)
        return self._add(texts, metadatas, ids, [None] * len(texts), on_error)

    def add_documents(self, documents: Iterable[Document], **kwargs: Any) -> list[str]:
        """Add or replace documents; see `add_texts`."""
        return super().add_documents(_documents(documents), **kwargs)

    def add_images(
        self,
        uris: Iterable[ImageInput] | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        ids: list[str] | None = None,
        *,
        blobs: Iterable[ImageInput] | None = None,
        captions: list[str] | None = None,
        on_error: OnError = "raise",
    ) -> list[str]:
        """Add or replace pictures.

        Args:
            uris: Paths, URLs or data-URIs.
            metadatas: One for each picture; where it is, its format, size and digest are filled in.
            ids: One for each picture; where there is none it is made of the bytes and where they are from.
            blobs: Pictures as bytes, binary files or `PIL.Image`, in place of `uris`; they are kept as files.
            captions: Text for each, stored beside the picture and shown to models without eyes.
            on_error: As for `add_texts`.

        Returns:
            The ids of the pictures written, in their order.

        Raises:
            LoadError: If a picture cannot be read; the message has its place and source.
            StoreError: If bytes are added through a server and no `media_directory` was given.
            TypeError: If an image is `None`, or there is but one of something, outside of a list.
            ValueError: If not exactly one of `uris` and `blobs` is given, or lengths differ.
        """
        if (uris is None) == (blobs is None):
            msg = "add_images takes uris or blobs: exactly one of them"
            raise ValueError(msg)
        images = listed(uris if uris is not None else blobs, "images")
        missing = next((place for place, image in enumerate(images) if image is None), None)
        if missing is not None:
            msg = (
                f"image {missing} is None: give a path, URL, bytes or PIL.Image, or leave it out of the list"
            )
            raise TypeError(msg)
        metadatas, ids = listed_if_given(metadatas, "metadatas"), listed_if_given(ids, "ids")
        captions = listed_if_given(captions, "captions")
        same_length(len(images), metadatas=metadatas, ids=ids, captions=captions)
        return self._add(captions or [""] * len(images), metadatas, ids, images, on_error)

    async def aadd_images(self, uris: Iterable[ImageInput] | None = None, **kwargs: Any) -> list[str]:
        """`add_images` in a worker thread."""
        return await run_in_executor(None, self.add_images, uris, **kwargs)

    def update_documents(self, ids: list[str], documents: list[Document]) -> None:
        """Replace documents, metadata and all; ids nobody knows are left out with a warning in the log."""
        ids, documents = listed(ids, "ids"), _documents(documents)
        same_length(len(documents), ids=ids)
        known = {found.id for found in self.get_by_ids(ids)}
        if unknown := [id_ for id_ in ids if id_ not in known]:
            logger.warning("not updated, as there is no such document: %s", ", ".join(unknown))
        pairs = [(id_, found) for id_, found in zip(ids, documents, strict=True) if id_ in known]
        self.add_documents([found for _, found in pairs], ids=[id_ for id_, _ in pairs])

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> None:
        """Delete documents; ids nobody knows are no error. Files of pictures given as bytes stay.

        Args:
            ids: Which; `None` for all, or for all that match what else is given.
            **kwargs: `where` and `where_document`, as Chroma takes them.
        """
        ids = listed_if_given(ids, "ids")
        if ids is None and not kwargs:
            while page := self._collection.get(limit=PAGE, include=[])["ids"]:
                self._delete_ids(page)
            return
        if ids is None or kwargs:
            # Which they are has to be known before they are gone.
            ids = self._matching(ids, kwargs)
        windows = self._ledger.children(ids)
        self._delete_ids(list(dict.fromkeys([*ids, *(id_ for part in windows.values() for id_ in part)])))

    def _delete_ids(self, ids: list[str]) -> None:
        for batch in self._batches(ids):
            with self._writing(batch, [{}, {}]) as told:
                self._collection.delete(ids=batch)
                told.update(dict.fromkeys(batch))

    def _matching(self, ids: list[str] | None, conditions: Mapping[str, Any]) -> list[str]:
        # A window has its document's metadata and part of its text: the document decides.
        wanted: Any = {**conditions, "where": of_documents(conditions.get("where"))}
        if ids is None:
            return list(self._collection.get(include=[], **wanted)["ids"])
        found = (self._collection.get(batch, include=[], **wanted)["ids"] for batch in self._batches(ids))
        return [id_ for part in found for id_ in part]

    def get(  # noqa: PLR0917 - the order is Chroma's
        self,
        ids: str | list[str] | None = None,
        where: Mapping[str, Any] | None = None,
        limit: int | None = None,
        offset: int | None = None,
        where_document: Any = None,
        include: list[str] | None = None,
    ) -> dict[str, Any]:
        """Rows as Chroma gives them; takes what `langchain_chroma.Chroma.get` takes.

        Of a long text there is one row, its document's: those of its windows come only if asked for by id.

        Raises:
            StoreError: If the collection cannot be read, as another process has changed it on disk.
        """
        condition: Any = of_documents(where) if ids is None else typed(where) if where else where
        with reading(self._collection_name):
            return super().get(ids, condition, limit, offset, where_document, include)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents with these ids, in the order asked for; ids of no document are left out."""
        ids = listed(ids, "ids")
        found: dict[str, Document] = {}
        for batch in self._batches(list(dict.fromkeys(ids))):
            rows = self.get(batch, include=["documents", "metadatas"])
            columns = (rows["ids"], rows["documents"] or (), rows["metadatas"] or ())
            documents = (document(*row) for row in zip(*columns, strict=True))
            found |= {str(each.id): each for each in documents if each.metadata.get(WINDOW) is not True}
        return [found[id_] for id_ in dict.fromkeys(ids) if id_ in found]

    def delete_collection(self) -> None:
        """Delete the collection; `reset_collection` makes it anew."""
        self._ledger.forget()
        for companion in self._companions:
            companion.forget()
        self._delete_rows()
        super().delete_collection()
        self._record.forget()

    def _delete_rows(self) -> None:
        """Empty the collection before it goes: Chroma 1.5 leaves the lists in its rows' metadata behind.

        Rows of collections made later would have them as their own.
        """
        with suppress(NotFoundError):  # deleted by others: the parent says so
            while ids := self._collection.get(limit=PAGE, include=[])["ids"]:
                self._collection.delete(ids=ids)

    def reset_collection(self) -> None:
        """Make the collection anew, empty, open to any embedding, with the settings this store was given."""
        if self._chroma_collection is not None:
            self.delete_collection()
        self._chroma_collection = self._client.get_or_create_collection(
            self._collection_name,
            configuration=self._collection_configuration,
            metadata=self._collection_metadata,
            embedding_function=None,
        )

    def rebuild_index(self) -> None:
        """Make everything that is kept beside the collection anew from it; nothing is embedded again.

        That is an account of its rows, a sample of their vectors and an index of their words, in the folder
        `mmrag` of the `persist_directory`, or in memory. It follows what is written through this class, and
        notices by the number of rows when another program adds or deletes. Call this after another program
        has replaced rows.

        With a `text_embedding`, texts that have no vector of it yet, or have changed, get one; with an
        `audio_embedding`, so do recordings and films.
        """
        self._ledger.rebuild()
        for companion in self._companions:
            companion.rebuild()

    def fork(self, new_name: str) -> Self:
        """A copy of the collection under a new name; only Chroma Cloud can do it.

        Raises:
            StoreError: If this is no Chroma Cloud.
        """
        try:
            forked = self._collection.fork(new_name=new_name)
        except NotImplementedError as error:
            msg = f"cannot fork {self._collection_name!r}: only Chroma Cloud copies collections on the server"
            raise StoreError(msg) from error
        return self._opened_again(forked.name, self._text_embedding)

    def without_text_embedding(self) -> Self:
        """The same collection, searched by vectors of pictures and passages in one space, and by words."""
        return self if self._text_embedding is None else self._opened_again(self._collection_name, None)

    def _opened_again(self, name: str, text_embedding: Embeddings | None) -> Self:
        return type(self)(
            name,
            self.embeddings,
            client=self._client,
            media_policy=self._given_policy,
            media_directory=self._media_folder,
            relevance_score_fn=self.override_relevance_score_fn,
            rank=self.rank,
            search=self.search_mode,
            text_embedding=text_embedding,
            audio_embedding=self._audio_embedding,
        )

    @classmethod
    def from_texts(  # type: ignore[override]  # takes more, and the rest by keyword
        cls,
        texts: Iterable[str],
        embedding: Embeddings | Any | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        ids: list[str] | None = None,
        collection_name: str = DEFAULT_COLLECTION,
        **kwargs: Any,
    ) -> Self:
        """Make a store and add `texts`; other keywords are those of the constructor."""
        store = cls(collection_name, embedding, **kwargs)
        store.add_texts(texts, metadatas, ids)
        return store

    @classmethod
    def from_documents(  # type: ignore[override]  # as from_texts
        cls,
        documents: Iterable[Document],
        embedding: Embeddings | Any | None = None,
        ids: list[str] | None = None,
        collection_name: str = DEFAULT_COLLECTION,
        **kwargs: Any,
    ) -> Self:
        """Make a store and add `documents`; other keywords are those of the constructor."""
        store = cls(collection_name, embedding, **kwargs)
        store.add_documents(documents, **({} if ids is None else {"ids": ids}))
        return store

    # --- how a row gets there -------------------------------------------------------------------------------

    def _add(
        self,
        texts: Sequence[str],
        metadatas: Sequence[Mapping[str, Any]] | None,
        ids: Sequence[str | None] | None,
        images: Sequence[ImageInput | None],
        on_error: OnError,
    ) -> list[str]:
        intake = Intake(self._embedder, self.media_policy, on_error)
        bulk = _bulks.by_store.get(self)
        if bulk is not None:
            intake.decoded = bulk.decoded
        nothing = [None] * len(texts)
        rows = intake.rows(texts, metadatas or nothing, ids or nothing, images)
        if not rows:
            return []
        # What would stop us is found out before the time for embedding is spent.
        self._record.check(None)
        if any(not picture.has_address for row in rows for picture in row.pictures):
            self._folder_for_media()
        written: list[str] = []
        pieces = deque(pieces_of(rows))
        del rows  # what is inserted need not be kept
        if bulk is not None:
            while pieces:
                bulk.add(self._embedded(intake, pieces.popleft(), written, bulk))
        elif len(pieces) == 1:
            self._insert(self._embedded(intake, pieces.popleft(), written))
        else:
            with Inserter(self._insert) as inserter:
                while pieces:
                    inserter.add(self._embedded(intake, pieces.popleft(), written, inserter))
                    inserter.advance()
        return written

    @contextmanager
    def _in_bulk(self) -> Iterator[Inserter]:
        """While it is open, what this thread adds is embedded at once and inserted later, by the thousand.

        `Inserter.advance` begins to insert; what is not yet in is found by no search and deleted by no
        `delete`. All is in when the block ends, whatever ends it, but what the collection refuses: see
        `Inserter.refused`.
        """
        try:
            with Inserter(self._insert, leaves_out=True) as bulk:
                _bulks.by_store[self] = bulk
                yield bulk
        finally:
            _bulks.by_store.pop(self, None)

    def _embedded(
        self, intake: Intake, rows: list[Row], written: list[str], inserter: Inserter | None = None
    ) -> Embedded:
        """Embed rows; the ids of their documents are added to `written`."""
        with nullcontext() if inserter is None else inserter.embedding():
            rows = intake.embed(rows)
            written += [row.finish(self._folder_for_media) for row in rows]
            parts = to_write(rows)
            contents = {str(row.id): (row.text, row.metadata) for row in parts}
            second = [
                each.embed({id_: each.content(*content) for id_, content in contents.items()})
                for each in self._companions
            ]
        if parts:
            self._record.write(len(parts[0].vector))
        return Embedded(parts, second)

    def _insert(self, embedded: Embedded) -> None:
        rows = embedded.rows
        for picture in (picture for row in rows for picture in row.pictures):
            if not picture.has_address:
                save(picture, self._folder_for_media())
        stale = self._stale_windows([str(row.id) for row in rows])
        for batch in self._batches(rows):
            ids = [str(row.id) for row in batch]
            gone = [id_ for parent in ids for id_ in stale.get(parent, ())]
            touched = [*ids, *gone]
            with writing(self._place), self._writing(touched, embedded.second) as told:
                self._upsert(batch)
                for part in self._batches(gone):
                    self._collection.delete(ids=part)
                told.update((str(row.id), Content(row.text, row.metadata, row.vector)) for row in batch)
                told.update(dict.fromkeys(gone))

    @property
    def _place(self) -> str:
        settings = self._client.get_settings()
        return (
            f"the store {settings.persist_directory}"
            if settings.is_persistent
            else f"collection {self._collection_name!r}"
        )

    @property
    def _companions(self) -> tuple[SecondVectors, ...]:
        return self._companion, self._sounds

    @contextmanager
    def _writing(self, ids: list[str], vectors: Sequence[Mapping[str, tuple[str, Vector]]]) -> Iterator[Told]:
        """Around every change to the collection: all that is kept beside it follows."""
        with ExitStack() as beside:
            told = beside.enter_context(self._ledger.writing(ids))
            for companion, made in zip(self._companions, vectors, strict=True):
                beside.enter_context(companion.replacing(ids, made))
            yield told

    def _stale_windows(self, ids: list[str]) -> dict[str, list[str]]:
        """The windows, by parent, that replaced rows have and those written in their place have not."""
        written = set(ids)
        windows = self._ledger.children(ids)
        return {parent: [id_ for id_ in parts if id_ not in written] for parent, parts in windows.items()}

    def _upsert(self, rows: Sequence[Row]) -> None:
        ids = [str(row.id) for row in rows]
        # Chroma merges metadata into what a replaced document had: what is to go must be named.
        before = self._collection.get(ids=ids, include=["metadatas"])
        pairs = zip(before["ids"], before["metadatas"] or (), strict=True)
        stale: dict[str, dict[str, Any]] = {id_: dict.fromkeys(old or {}) for id_, old in pairs}
        metadatas: Any = [{**stale.get(str(row.id), {}), **row.metadata} or None for row in rows]
        vectors: Any = [row.vector for row in rows]
        texts = [row.text for row in rows]
        self._collection.upsert(ids=ids, embeddings=vectors, metadatas=metadatas, documents=texts)

    def _batches(self, items: list[_T]) -> Iterator[list[_T]]:
        """Parts as large as Chroma takes at once."""
        size = self._client.get_max_batch_size()
        return (items[start : start + size] for start in range(0, len(items), size))

    @property
    def media_directory(self) -> Path:
        """Where pictures without a file of their own are kept, such as those given as bytes.

        Those that loaders take out of files belong here too: whatever folders the `media_policy` names, what
        lies here may be opened. A store in memory has a temporary folder, which goes with it.

        Raises:
            StoreError: If the collection is on a server and no `media_directory` was given.
        """
        return self._folder_for_media()

    def _folder_for_media(self) -> Path:
        with self._media_lock:
            if self._media_folder is None:
                if self._client.get_settings().chroma_server_host:
                    msg = (
                        "a picture given as bytes, or taken out of a file, is kept as a file, and the server"
                        " has no place for it: give MultimodalChroma a media_directory"
                    )
                    raise StoreError(msg)
                self._media_folder = Path(mkdtemp(prefix="mmrag_media_"))
                weakref.finalize(self, shutil.rmtree, self._media_folder, ignore_errors=True)
            return self._media_folder


def _documents(given: Iterable[Document]) -> list[Document]:
    documents: list[Any] = listed(given, "Document")
    for place, found in enumerate(documents):
        if not isinstance(found, Document):
            msg = f"document {place} is a {type(found).__name__}: a list of Document is expected"
            raise TypeError(msg)
    return documents
