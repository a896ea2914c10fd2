"""Tell the format of a file by its bytes, without reading more of it than its two ends."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from functools import cached_property
from io import BytesIO
from typing import BinaryIO, Final, Literal, TypeAlias

from langchain_mmrag.media import MediaPolicy, open_local
from langchain_mmrag.media.formats import sniff

Format: TypeAlias = Literal[
    "picture",
    "pdf",
    "docx",
    "pptx",
    "excel",
    "old office",
    "parquet",
    "sqlite",
    "html",
    "video",
    "audio",
    "other",
]
"""What bytes can say; `other` is a format that is known and that no loader reads."""

_HEAD: Final = 4096
_PDF_WITHIN: Final = 1024
"""Readers accept a PDF's first line anywhere in so many bytes (ISO 32000-1, implementation note 13)."""

_ZIP_TAIL: Final = 2**16 + 22  # the end record of a ZIP archive and the longest comment
_ZIP_NAMES: Final = 2**18
_ZIP_END: Final = b"PK\x05\x06"
_ZIP_ENTRY: Final = re.compile(rb"PK\x01\x02.{24}(..).{16}", re.DOTALL)
_ZIP_LOCAL: Final = re.compile(rb"PK\x03\x04.{22}(..)..", re.DOTALL)
_INSIDE_ZIP: Final[tuple[tuple[str, Format], ...]] = (
    ("word/document", "docx"),
    ("ppt/presentation", "pptx"),
    ("xl/workbook", "excel"),
    ("word/", "docx"),
    ("ppt/", "pptx"),
    ("xl/", "excel"),
)

_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_SUFFIXES: Final = frozenset({".doc", ".dot", ".xls", ".xlt", ".ppt", ".pps", ".pot"})
_ENCRYPTED_SUFFIXES: Final = frozenset({".docx", ".docm", ".xlsx", ".xlsm", ".pptx", ".pptm"})

_AUDIO_BRANDS: Final = (b"M4A ", b"M4B ", b"M4P ", b"F4A ")
_PICTURE_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"mif1", b"msf1")

_STARTS: Final[tuple[tuple[bytes, Format], ...]] = (
    (b"SQLite format 3\0", "sqlite"),
    (rb"PAR1", "parquet"),
    (rb"\{\\rtf", "old office"),
    (rb"(RIFF|RF64)....WAVE", "audio"),
    (rb"(fLaC|ID3[\x02-\x04]|#!AMR|FORM....AIF[FC]|caff\0)", "audio"),
    (rb"RIFF....AVI ", "video"),
    (rb"(FLV\x01|\x00\x00\x01[\xba\xb3])", "video"),
    (rb"\x47.{187}\x47.{187}\x47", "video"),  # packets of an MPEG transport stream
    (rb"(\xff\x0a|\x00\x00\x00\x0cJXL |\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51)", "picture"),
    (rb"(\x1f\x8b|BZh[1-9]|\xfd7zXZ\0|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|\x28\xb5\x2f\xfd)", "other"),  # packed
    (rb"(\x7fELF|MZ.{50,}PE\0\0|8BPS|%!PS|version https://git-lfs)", "other"),
)
_SPACE: Final = re.compile(rb"(\xef\xbb\xbf)?(\s|<\?xml[^>]*>|<!--.*?-->)*", re.DOTALL | re.IGNORECASE)
_SVG: Final = re.compile(
    rb"(<!doctype\s+svg[^>]*>\s*)?(<!--.*?-->\s*)*+<(\w+:)?svg[\s>]", re.DOTALL | re.IGNORECASE
)
_HTML: Final = re.compile(rb"(<!doctype\s+html|<html)[\s>]", re.IGNORECASE)
_MAY_BEGIN_WITH_MARKUP: Final = frozenset({".md", ".markdown", ".rst"})


class Glimpse:
    """The beginning of a file, and the table of contents of an archive.

    Attributes:
        head: The first bytes.
        suffix: Of its name, in lower case.

    Args:
        path: The file.
        policy: What may be opened.

    Raises:
        LoadError: If it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], policy: MediaPolicy) -> None:
        self.path = os.fspath(path)
        self.suffix = os.path.splitext(self.path)[1].lower()  # noqa: PTH122 - also of names that are not UTF-8
        self._policy = policy
        with open_local(self.path, policy) as file:
            self.head = _read(file, _HEAD)

    @cached_property
    def format(self) -> Format | None:
        """What the bytes say; `None` if they may be anything, such as text."""
        if sniff(self.head) is not None:
            return "picture"
        if b"%PDF-" in self.head[:_PDF_WITHIN] and self._is_pdf():
            return "pdf"
        for start, look in _CONTAINERS:
            if re.match(start, self.head, re.DOTALL):
                return look(self)
        for pattern, found in _STARTS:
            if re.match(pattern, self.head, re.DOTALL):
                return found
        return self._markup()

    def _is_pdf(self) -> bool:
        """A text about PDF files has the mark too, but not as the beginning of anything."""
        start = self.head.index(b"%PDF-")
        return start == 0 or self.suffix == ".pdf" or b"\0" in self.head or b" obj" in self.head

    def _markup(self) -> Format | None:
        start = _SPACE.match(self.head)
        rest = self.head[start.end() :] if start else self.head
        if self.suffix in _MAY_BEGIN_WITH_MARKUP:
            return None
        if _SVG.match(rest):
            return "picture"
        return "html" if _HTML.match(rest) else None

    def zip_format(self) -> Format | None:
        """By the names in the archive; an archive of something else is `other`, a broken one says nothing."""
        names = list(self._zip_names())
        for prefix, found in _INSIDE_ZIP:
            if any(name.startswith(prefix) for name in names):
                return found
        return "other" if names and "[Content_Types].xml" not in names else None

    def _zip_names(self) -> Iterator[str]:
        with open_local(self.path, self._policy) as file:
            size = file.seek(0, os.SEEK_END)
            start = file.seek(max(0, size - _ZIP_TAIL))
            tail = _read(file, _ZIP_TAIL)
            end = tail.rfind(_ZIP_END)
            if end < 0 or len(tail) < end + 20:
                yield from _names_in(self.head, _ZIP_LOCAL)  # cut off: what its beginning says
                return
            (length,) = struct.unpack_from("<I", tail, end + 12)
            file.seek(max(0, start + end - length))
            yield from _names_in(_read(file, min(length, _ZIP_NAMES)), _ZIP_ENTRY)


def _ole(file: Glimpse) -> Format:
    """Old documents and encrypted new ones; the container holds much else, such as thumbnails of a folder."""
    return "old office" if file.suffix in _OLE_SUFFIXES | _ENCRYPTED_SUFFIXES else "other"


def _matroska(file: Glimpse) -> Format:
    """Matroska and WebM name the codec of each of their tracks."""
    return "audio" if b"A_" in file.head and not re.search(rb"V_[A-Z]", file.head) else "video"


def _ogg(file: Glimpse) -> Format:
    return "video" if b"\x80theora" in file.head else "audio"


def _windows_media(file: Glimpse) -> Format:
    return "audio" if file.suffix == ".wma" else "video"


def _names_in(data: bytes, entry: re.Pattern[bytes]) -> Iterator[str]:
    for found in entry.finditer(data):
        length = int.from_bytes(found[1], "little")
        yield data[found.end() : found.end() + length].decode("utf-8", "replace")


def _by_brand(file: Glimpse) -> Format:
    """ISO base media: pictures, sound and films in one container, told by the brand (ISO/IEC 14496-12)."""
    brand = file.head[8:12]  # the major one: the compatible ones of a film may name formats of pictures
    if brand in _AUDIO_BRANDS:
        return "audio"
    return "picture" if brand in _PICTURE_BRANDS else "video"


_CONTAINERS: Final[tuple[tuple[bytes, Callable[[Glimpse], Format | None]], ...]] = (
    (rb"PK(\x03\x04|\x05\x06)", Glimpse.zip_format),
    (re.escape(_OLE), _ole),
    (rb"....ftyp", _by_brand),
    (rb"\x1aE\xdf\xa3", _matroska),
    (rb"OggS", _ogg),
    (rb"0&\xb2u\x8ef\xcf\x11", _windows_media),
)
"""How formats begin that hold several kinds of content, and what tells which."""


def _read(file: BinaryIO, size: int) -> bytes:
    """Up to `size` bytes; an unbuffered file may give fewer at a time."""
    data = BytesIO()
    while piece := file.read(size - data.tell()):
        data.write(piece)
    return data.getvalue()
