"""A picture becomes one `Document` that says where it lies; the bytes stay where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from langchain_mmrag.document_loaders._ids import file_document_id, source_of
from langchain_mmrag.document_loaders._sidecars import is_sidecar
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy, image_facts
from langchain_mmrag.types import CAPTION, HEIGHT, MIME_TYPE, MODALITY, SHA256, SOURCE, WIDTH

__all__ = ["ImageLoader", "is_sidecar"]


class ImageLoader(BaseLoader):
    """Load one picture, by path or address.

    The document's text is the caption (empty by default); its metadata has `modality`, `source`, `mime_type`,
    `width` and `height` in pixels (upright) and the `sha256` of the file, by which a later run sees that
    the picture has changed.

    Args:
        source: Path, `file://` or `http(s)://` address.
        caption: Text to keep beside the picture, if there is one.
        media_policy: What may be opened.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        *,
        caption: str = "",
        media_policy: MediaPolicy | None = None,
    ) -> None:
        self.source = source_of(source)
        self.caption = caption
        self.media_policy = media_policy or DEFAULT_POLICY

    def lazy_load(self) -> Iterator[Document]:
        """Yield the one document.

        Raises:
            LoadError: If the picture cannot be read, is broken, or the policy refuses it.
        """
        facts = image_facts(self.source, self.media_policy)
        metadata: dict[str, str | int] = {
            MODALITY: "image",
            SOURCE: self.source,
            MIME_TYPE: facts.mime_type,
            WIDTH: facts.width,
            HEIGHT: facts.height,
            SHA256: facts.sha256,
        }
        if self.caption:
            metadata[CAPTION] = self.caption
        yield Document(
            id=file_document_id(self.source, facts.sha256),
            page_content=self.caption,
            metadata=metadata,
        )
