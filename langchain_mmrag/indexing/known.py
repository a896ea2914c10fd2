"""What a collection holds of each file, and what its documents were made with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
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


class Applied:
    """A transformer and what counts of it; its fingerprint is asked for here, where an error can be raised.

    Attributes:
        transformer: Itself.
        fingerprint: What its work depends on; empty if it does not say.
        modalities: Of documents it changes; `None` for any.
    """

    def __init__(self, transformer: BaseDocumentTransformer) -> None:
        self.transformer = transformer
        self.fingerprint = str(getattr(transformer, "fingerprint", ""))
        self.modalities: Collection[str] | None = getattr(transformer, "modalities", None)

    def has_part_in(self, modality: str, source: str) -> bool:
        """Whether it is done with documents of a modality and file; `source` may be empty for any file."""
        is_done = source not in getattr(self.transformer, "unfinished", ())
        return is_done and (self.modalities is None or modality in self.modalities)


@dataclass(frozen=True)
class Maker:
    """What documents of a file are made with besides the file itself.

    Attributes:
        fingerprint: Of the loader.
        applied: The transformers.
    """

    fingerprint: str
    applied: tuple[Applied, ...] = ()

    def loader(self, modality: str, source: str = "") -> str:
        """What `metadata["loader"]` says of documents of a modality.

        Args:
            modality: Of the document.
            source: Its file: a transformer that has it among its `unfinished` ones has no part in it.
        """
        names = [each.fingerprint for each in self.applied if each.has_part_in(modality, source)]
        return "+".join(filter(None, [self.fingerprint, *names]))


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
