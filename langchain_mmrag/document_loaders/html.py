"""A web page becomes passages under its headings, its tables, and its pictures in place."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any, Final

from langchain_mmrag.document_loaders._blocks import Block
from langchain_mmrag.document_loaders._html import PageFacts, html_blocks
from langchain_mmrag.document_loaders._page_loader import PageLoader
from langchain_mmrag.document_loaders._passages import PartWriter
from langchain_mmrag.document_loaders.base import Part, SourceFile
from langchain_mmrag.document_loaders.text import BYTE_ORDER_MARKS, decode_text
from langchain_mmrag.errors import CorruptMediaError
from langchain_mmrag.types import TITLE

URL: Final = "url"
"""Metadata key: the address that a page says it is from."""

_DECLARED = re.compile(
    rb"""<(?:meta|\?xml)\b[^>]*?(?:charset|encoding)\s*+=\s*+["']?\s*+([\w.:-]+)""", re.IGNORECASE
)
_HEAD: Final = 4096
_MARKS: Final = tuple(mark for mark, _ in BYTE_ORDER_MARKS)
_MEANT: Final = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030"} | {
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso8859-9": "cp1254",
}
"""What browsers read where a page declares the key, by the names Python gives them."""


class HTMLLoader(PageLoader):
    """Load an HTML or XHTML page: passages, tables and pictures in its order.

    A passage begins with the `heading` of its section. A table is a document of its own, and a picture too:
    with its caption (the figure's, else what stands in its place), near the passage it stands in or after.
    Every document has the page's `title` and, if it names one, its `url`.

    Pictures are read from data-URIs, and from files below `picture_root`; those elsewhere are left alone.

    Args:
        path: The file.
        max_tokens: Size of a passage in tokens of CLIP's tokenizer, estimated.
        fetch_images: Whether pictures at `http(s)` addresses are fetched, under the policy, and kept.
        picture_root: Folder that pictures of the page must lie in; the page's own by default.
        media_policy: What may be opened.
        media_directory: Where pictures taken out of the page go.
    """

    name = "html"

    def parts(self, file: SourceFile) -> Iterator[Part]:
        """Yield passages, tables and pictures.

        Raises:
            LoadError: If the file is not text, or nothing on the page can be read.
        """
        html = decode_html(file.read(), self.source)
        page = PageFacts()
        pictures = self.pictures_of(file)
        metadata: dict[str, Any] = {}
        writer = PartWriter(pictures, max_tokens=self.max_tokens, metadata=metadata)
        yield from writer.parts(said_blocks(html, page, metadata, self.source))
        pictures.report()
        for note in page.notes:
            file.problem(note)


def decode_html(data: bytes, name: str) -> str:
    """Text of a page: by its byte order mark, else as UTF-8, else as it declares, else Windows-1252.

    UTF-8 comes before what is declared: text that is not UTF-8 hardly ever passes for it, and pages that
    were saved or edited declare what they were.

    Raises:
        UnsupportedFormatError: If the bytes are not text.
    """
    declared = _DECLARED.search(data[:_HEAD])
    if declared and not data.startswith(_MARKS) and b"\0" not in data and not _is_utf8(data):
        try:
            codec = codecs.lookup(declared[1].decode("ascii"))
            return data.decode(_MEANT.get(codec.name, codec.name), errors="replace")
        except (LookupError, UnicodeError, TypeError, ValueError):  # no such encoding, or not one of text
            pass
    return decode_text(data, name)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def said_blocks(html: str, page: PageFacts, metadata: dict[str, Any], source: str) -> Iterator[Block]:
    """Yield the blocks of a page; what it says of itself goes into `metadata` as soon as it is known.

    Raises:
        CorruptMediaError: If the parser gives up.
    """
    try:
        for block in html_blocks(html, page):
            metadata.update({key: value for key, value in ((TITLE, page.title), (URL, page.url)) if value})
            yield block
    except (SyntaxError, ValueError, MemoryError) as error:  # lxml's own is a `SyntaxError`
        msg = f"{source} cannot be read as HTML: {error}"
        raise CorruptMediaError(msg) from error
