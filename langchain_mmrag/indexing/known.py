"""What a collection holds of each file, and what its documents were made with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from langchain_core.documents import BaseDocumentTransformer

from langchain_mmrag.document_loaders._ids import FILE_ID_PREFIX
from langchain_mmrag.types import FILE_SHA256, LOADER, MODALITY, PART, PARTS, SHA256, SOURCE

if TYPE_CHECKING:
    from langchain_mmrag.vectorstores import MultimodalChroma

PAGE: Final = 5000
"""Documents read at once from the collection, below SQLite's limit of variables."""


class Made(NamedTuple):
    """What one document was made of and with."""

    sha256: str
    loader: str
    modality: str


@dataclass
class Known:
    """What the collection holds of one file.

    Attributes:
        rows: Of each of its documents, by id, what it was made of and with.
        parts: How many there should be; 0 if the last of several is missing.
    """

    rows: dict[str, Made] = field(default_factory=dict)
    parts: int = 0

    @property
    def digests(self) -> set[str]:
        """Of the file, as it was when its documents were made."""
        return {made.sha256 for made in self.rows.values()}

    def is_current(self, id_: str, maker: Maker, sha256: str) -> bool:
        """Whether a document is there and would be made in the same way again."""
        made = self.rows.get(id_)
        return made is not None and made == Made(sha256, maker.loader(made.modality), made.modality)

    def is_whole(self, maker: Maker) -> bool:
        """Whether all parts are there, of one state of the file and as `maker` would make them."""
        return (
            len(self.rows) == self.parts
            and len(self.digests) == 1
            and all(made.loader == maker.loader(made.modality) for made in self.rows.values())
        )


@dataclass(frozen=True)
class Maker:
    """What documents of a file are made with besides the file itself.

    Attributes:
        fingerprint: Of the loader.
        transformers: Those whose own fingerprint counts; one with `modalities` only for documents of these.
    """

    fingerprint: str
    transformers: tuple[BaseDocumentTransformer, ...] = ()

    def loader(self, modality: str, source: str = "") -> str:
        """What `metadata["loader"]` says of documents of a modality.

        Args:
            modality: Of the document.
            source: Its file: a transformer that has it among its `unfinished` ones has no part in it.
        """
        names = [self.fingerprint]
        for transformer in self.transformers:
            modalities = getattr(transformer, "modalities", None)
            is_done = source not in getattr(transformer, "unfinished", ())
            if is_done and (modalities is None or modality in modalities):
                names.append(str(getattr(transformer, "fingerprint", "")))
        return "+".join(filter(None, names))


def known_files(store: MultimodalChroma, is_wanted: Callable[[str], bool]) -> dict[str, Known]:
    """What the collection holds of the files that are wanted by their path, read page by page."""
    files: dict[str, Known] = {}
    offset = 0
    while True:
        page: dict[str, Any] = store.get(limit=PAGE, offset=offset, include=["metadatas"])
        for id_, metadata in zip(page["ids"], page["metadatas"], strict=True):
            if id_.startswith(FILE_ID_PREFIX) and metadata and is_wanted(str(metadata[SOURCE])):
                known = files.setdefault(str(metadata[SOURCE]), Known())
                known.rows[id_] = _made(metadata)
                # several parts, but no last one that says how many: the run before was interrupted
                known.parts = int(metadata.get(PARTS, known.parts if PART in metadata else 1))
        if len(page["ids"]) < PAGE:
            return files
        offset += PAGE


def _made(metadata: dict[str, Any]) -> Made:
    values: Sequence[Any] = (
        metadata.get(FILE_SHA256) or metadata.get(SHA256),
        metadata.get(LOADER, ""),
        metadata.get(MODALITY) or "text",
    )
    return Made(*(intern(str(value)) for value in values))
