"""Open a collection on disk with the model it was made with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from langchain_mmrag._record import EMBEDDING
from langchain_mmrag.errors import StoreError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from langchain_mmrag.embeddings import OpenCLIPEmbeddings
    from langchain_mmrag.vectorstores import MultimodalChroma

DEFAULT_MODEL: Final = "ViT-B-32"
DEFAULT_COLLECTION: Final = "langchain"
DEFAULT_FOLDER: Final = "mm_store"

_MODEL: Final = "mmrag:model"
_CHECKPOINT: Final = "mmrag:checkpoint"
_STORE_FILE: Final = "chroma.sqlite3"


@dataclass(frozen=True)
class ModelName:
    """What `OpenCLIPEmbeddings` is called with."""

    name: str
    checkpoint: str | None = None

    def load(self) -> OpenCLIPEmbeddings:
        """The embedding; its weights are read when first used."""
        from langchain_mmrag.embeddings import OpenCLIPEmbeddings

        return OpenCLIPEmbeddings(self.name, self.checkpoint, show_progress=False)


def open_collection(
    folder: Path,
    collection: str = DEFAULT_COLLECTION,
    *,
    model: ModelName | None = None,
    create: bool = False,
    load: Callable[[ModelName], OpenCLIPEmbeddings] = ModelName.load,
) -> MultimodalChroma:
    """Open a collection with the model named, else the one it was made with, else (a new one) ViT-B-32.

    Args:
        folder: Folder of the store.
        collection: Name of the collection in it.
        model: Model to open it with.
        create: Whether to make the collection where there is none.
        load: How to load a model; several collections can share one that way.

    Raises:
        StoreError: If there is no such collection and `create` is not set, or it does not say which model
            made it and none is named.
    """
    metadata = collection_metadata(folder, collection)
    if metadata is None and not create:
        msg = f"there is no collection {collection!r} in {folder}: make one with mmrag index PATHS"
        raise StoreError(msg)
    unused = metadata is None or EMBEDDING not in metadata
    chosen = model or recorded_model(metadata or {}) or (ModelName(DEFAULT_MODEL) if unused else None)
    if chosen is None:
        msg = f"collection {collection!r} in {folder} does not say which model made it: name it with --model"
        raise StoreError(msg)
    embeddings = load(chosen)
    if metadata is None:
        embeddings.embed_query("a picture")  # a model that cannot be had shows before a folder is made
    from langchain_mmrag.vectorstores import MultimodalChroma

    return MultimodalChroma(collection, embeddings, persist_directory=str(folder))


def open_chat_model(name: str) -> BaseChatModel:
    """A chat model by its provider and name; see `_chat_models.open_chat_model`, which is slow to import."""
    from langchain_mmrag import _chat_models

    return _chat_models.open_chat_model(name)


def remember_model(store: MultimodalChroma) -> None:
    """Write the model's name into a collection that holds something, so that it opens without naming it."""
    from langchain_mmrag.embeddings import OpenCLIPEmbeddings

    embeddings = store.embeddings
    # asked for anew: the metadata of an open collection is what it was when it was opened
    collection = store._client.get_collection(store._collection_name)  # noqa: SLF001
    metadata = dict(collection.metadata or {})
    if EMBEDDING in metadata and _MODEL not in metadata and isinstance(embeddings, OpenCLIPEmbeddings):
        metadata |= {_MODEL: embeddings.model_name, _CHECKPOINT: embeddings.checkpoint or ""}
        # Chroma refuses settings of the index here, even unchanged
        collection.modify(metadata={k: v for k, v in metadata.items() if not k.startswith("hnsw:")})


def make_ready_to_search(store: MultimodalChroma) -> None:
    """Embed what the first search would, if the model is loaded now: loading it then takes seconds."""
    from langchain_mmrag._store.priors import Priors
    from langchain_mmrag.embeddings import OpenCLIPEmbeddings

    embeddings = store.embeddings
    if isinstance(embeddings, OpenCLIPEmbeddings) and embeddings.is_loaded:
        Priors(embeddings).make_ahead()


def collection_metadata(folder: Path, collection: str) -> dict[str, Any] | None:
    """What a collection says about itself; `None` if there is no such collection. Makes nothing."""
    if not (folder / _STORE_FILE).is_file():
        return None
    import chromadb
    from chromadb.errors import NotFoundError

    try:
        found = chromadb.PersistentClient(path=str(folder.absolute())).get_collection(collection)
    except NotFoundError:
        return None
    return dict(found.metadata or {})


def collection_names(folder: Path) -> list[str]:
    """The collections in a folder, but for those that go with another one. Makes nothing."""
    if not (folder / _STORE_FILE).is_file():
        return []
    import chromadb

    from langchain_mmrag._store.second_vectors import SUFFIXES

    listed = chromadb.PersistentClient(path=str(folder.absolute())).list_collections()
    names = {each.name for each in listed}
    beside = {f"{name}{suffix}" for name in names for suffix in SUFFIXES}
    return sorted(names - beside)


def recorded_model(metadata: dict[str, Any]) -> ModelName | None:
    """The model a collection was made with, if it says so."""
    if name := metadata.get(_MODEL):
        return ModelName(str(name), str(metadata.get(_CHECKPOINT, "")) or None)
    # made in Python: the fingerprint of a model asked for by name is open_clip:name:weights:dimension:digest
    match str(metadata.get(EMBEDDING, "")).split(":"):
        case ["open_clip", name, weights, _, _] if not weights.startswith("sha256-"):
            return ModelName(name, weights)
        case ["open_clip", "mmrag-tiny", *_]:
            return ModelName("mmrag-tiny")
    return None
