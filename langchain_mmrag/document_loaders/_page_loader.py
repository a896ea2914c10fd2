"""What loaders of pages that show pictures have in common: their options."""

from __future__ import annotations

import os
from pathlib import Path

from langchain_mmrag.document_loaders._pictures import PagePictures
from langchain_mmrag.document_loaders.base import FileLoader, SourceFile
from langchain_mmrag.document_loaders.text import PASSAGE_TOKENS
from langchain_mmrag.media import MediaPolicy


class PageLoader(FileLoader):
    """Base of the loaders of HTML and Markdown.

    Args:
        path: The file.
        max_tokens: Size of a passage in tokens of CLIP's tokenizer, estimated.
        fetch_images: Whether pictures at `http(s)` addresses are fetched, under the policy, and kept.
        picture_root: Folder that pictures of the page must lie in; the page's own by default.
        media_policy: What may be opened.
        media_directory: Where pictures taken out of the page go.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_tokens: int = PASSAGE_TOKENS,
        fetch_images: bool = False,
        picture_root: str | os.PathLike[str] | None = None,
        media_policy: MediaPolicy | None = None,
        media_directory: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(path, media_policy=media_policy, media_directory=media_directory)
        self.max_tokens = max_tokens
        self.fetch_images = fetch_images
        self.picture_root = None if picture_root is None else Path(picture_root)

    @property
    def fingerprint(self) -> str:
        """The name, and the options that were given."""
        return page_fingerprint(self.name, max_tokens=self.max_tokens, fetch_images=self.fetch_images)

    def pictures_of(self, file: SourceFile) -> PagePictures:
        """What reads the pictures that a page shows."""
        return PagePictures(file, folder=self.picture_root, fetch=self.fetch_images)


def page_fingerprint(name: str, *, max_tokens: int, fetch_images: bool = False) -> str:
    """What the documents of a page depend on besides the file."""
    options = [f"max_tokens={max_tokens}"] if max_tokens != PASSAGE_TOKENS else []
    options += ["fetch_images"] if fetch_images else []
    return ":".join([name, ",".join(options)]) if options else name
