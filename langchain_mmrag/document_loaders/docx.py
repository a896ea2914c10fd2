"""A Word document becomes passages under its headings, its tables, and its pictures in place."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any, Final

from langchain_mmrag._extras import require
from langchain_mmrag.document_loaders._html import PageFacts
from langchain_mmrag.document_loaders._page_loader import page_fingerprint
from langchain_mmrag.document_loaders._passages import PartWriter
from langchain_mmrag.document_loaders._pictures import PagePictures
from langchain_mmrag.document_loaders._zip import check_zip
from langchain_mmrag.document_loaders.base import FileLoader, Part, SourceFile
from langchain_mmrag.document_loaders.html import said_blocks
from langchain_mmrag.document_loaders.text import PASSAGE_TOKENS
from langchain_mmrag.errors import CorruptMediaError, LoadError, SourceNotFoundError
from langchain_mmrag.media import MediaPolicy

MAX_TAGS: Final = 500_000
"""Most tags of a document: reading them takes 20 s, a minute on a slow machine, and some 300 MB; a book of
1,000 pages has 300,000."""

_STYLES: Final = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
p[style-name='Caption'] => figcaption:fresh
p[style-name='Quote'] => blockquote > p:fresh
r[style-name='Hyperlink'] =>
"""
_TITLE: Final = "{http://purl.org/dc/elements/1.1/}title"


class DocxLoader(FileLoader):
    """Load a Word document (`.docx`): passages, tables and pictures in its order, footnotes at its end.

    A passage begins with the `heading` of its section. A table is a document of its own, and a picture too:
    with its caption (the paragraph below it in the style Caption, else its alternative text), near the
    passage it stands in or after. Every document has the `title`, if the file has one.

    What the document links to is never opened. Drawings that are not read (EMF, WMF) are told as a problem.

    Args:
        path: The file.
        max_tokens: Size of a passage in tokens of CLIP's tokenizer, estimated.
        media_policy: What may be opened.
        media_directory: Where the pictures go.
    """

    name = "docx"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_tokens: int = PASSAGE_TOKENS,
        media_policy: MediaPolicy | None = None,
        media_directory: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(path, media_policy=media_policy, media_directory=media_directory)
        self.max_tokens = max_tokens

    @property
    def fingerprint(self) -> str:
        """The name, and the options that were given."""
        return page_fingerprint(self.name, max_tokens=self.max_tokens)

    def parts(self, file: SourceFile) -> Iterator[Part]:
        """Yield passages, tables and pictures.

        Raises:
            LoadError: If the file is no Word document, broken, encrypted, or made to exhaust its reader.
        """
        check_zip(file, folder="word/", max_tags=MAX_TAGS)
        kept: dict[str, Mapping[str, Any]] = {}
        pictures = PagePictures(file, kept=kept)
        data = file.read()
        page = PageFacts(title=_title(data))
        html = _converted(data, file.source, pictures, kept)
        metadata: dict[str, Any] = {}
        writer = PartWriter(pictures, max_tokens=self.max_tokens, metadata=metadata)
        yield from writer.parts(said_blocks(html, page, metadata, self.source))
        pictures.report()


def _converted(data: bytes, name: str, pictures: PagePictures, kept: dict[str, Mapping[str, Any]]) -> str:
    """The document as HTML; its pictures are in `kept`, by what stands as their `src`."""
    mammoth = require("mammoth", extra="office")

    def keep(image: Any) -> dict[str, str]:
        try:
            with image.open() as opened:
                facts = pictures.keep(opened.read())
        except LoadError as error:
            pictures.refuse(str(image.content_type), error)
            return {}
        except (KeyError, RuntimeError) as error:  # what it names is not in the archive
            pictures.refuse(str(error).strip("'\""), SourceNotFoundError())
            return {}
        if facts is None:
            return {}
        src = f"kept:{len(kept)}"
        kept[src] = facts
        return {"src": src}

    try:
        result = mammoth.convert_to_html(
            BytesIO(data),
            style_map=_STYLES,
            include_embedded_style_map=False,  # it is the document's own, which is not to be trusted
            convert_image=mammoth.images.img_element(keep),
            external_file_access=False,
        )
    except RecursionError as error:
        msg = f"{name} cannot be read as a Word document: it is nested too deeply"
        raise CorruptMediaError(msg) from error
    except Exception as error:  # a parser of untrusted bytes raises nearly every kind there is
        reason = str(error) or type(error).__name__
        msg = f"{name} cannot be read as a Word document: {reason}"
        raise CorruptMediaError(msg) from error
    return str(result.value)


def _title(data: bytes) -> str:
    """Title in the document's properties, or `""`."""
    etree = require("lxml.etree", extra="office")
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            root = etree.fromstring(archive.read("docProps/core.xml"), parser)
    except (KeyError, ValueError, etree.XMLSyntaxError, zipfile.BadZipFile):  # there need not be any
        return ""
    return " ".join((root.findtext(_TITLE) or "").split())
