"""Office files are ZIP archives: looked through before a parser that trusts them is let in."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Final, NoReturn, cast

from langchain_mmrag.document_loaders.base import SourceFile
from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsafeSourceError, UnsupportedFormatError
from langchain_mmrag.media.policy import check_size

MAX_ENTRIES: Final = 10_000
"""Most files inside one archive; an office document of a thousand slides has about five thousand."""
MAX_INFLATED: Final = 2**30
"""Most bytes all files inside come to."""
MAX_RATIO: Final = 250
"""Most that an entry of more than `_SMALL` bytes may grow: deflate does 1,032, spreadsheets below 100."""

_SMALL: Final = 16 * 2**20
_PIECE: Final = 2**20
_LARGEST_DIRECTORY: Final = MAX_ENTRIES * 256
_BEFORE_XML: Final = b"\xef\xbb\xbf\xff\xfe\0 \t\r\n"
_DECLARATIONS: Final = (b"<!DOCTYPE", b"<!ENTITY", b"<!ATTLIST")  # by which little XML becomes gigabytes
_DRAWING: Final = ".svg"  # the only one that may name a document type; whatever its name, it declares nothing
_FOLDERS: Final = {
    "word/": "a Word document: load it with DocxLoader",
    "ppt/": "a presentation: load it with PptxLoader",
    "xl/": "an Excel workbook: load it with ExcelLoader",
}
_ENCRYPTED: Final = 0x1
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_KINDS: Final = (
    ("EncryptedPackage", "is protected by a password: save it without one"),
    ("WordDocument", "is a Word file of before 2007: save it as .docx"),
    ("PowerPoint Document", "is a PowerPoint file of before 2007: save it as .pptx"),
    ("Workbook", "is an Excel file of before 2007: save it as .xlsx"),
    ("Book", "is an Excel file of before 1997: save it as .xlsx"),
    ("__properties_version1.0", "is an Outlook message: save it as text or HTML"),
)


class _TooLongError(Exception):
    """A table of contents that no office program writes."""


class _BoundedFile(io.BufferedReader):
    """Refuses to read a table of contents of any length at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > max(_LARGEST_DIRECTORY, _PIECE):
            msg = f"its table of contents takes {size} bytes"
            raise _TooLongError(msg)
        return super().read(size)


def check_zip(file: SourceFile, *, folder: str = "", max_tags: int | None = None) -> None:
    """Look through an office file: what it unpacks to is bounded, whole, and not encrypted.

    Everything inside is unpacked once, a piece at a time, and thrown away. Nothing is ever extracted to a
    place that a name inside could choose, so names with `..` do no harm.

    Args:
        file: The file.
        folder: In which its kind keeps its parts, such as `word/`: files of another kind are told.
        max_tags: Most tags of all XML inside, for a parser that builds a tree of it.

    Raises:
        UnsafeSourceError: If it holds more than `MAX_ENTRIES` files, unpacks to more than `MAX_INFLATED`
            bytes or by more than `MAX_RATIO`, has more than `max_tags`, declares entities (which no office
            program does), or is itself larger than the policy allows.
        UnsupportedFormatError: If it is encrypted, of another kind, or of the time before ZIP.
        CorruptMediaError: If it is no archive, or broken or cut off.
    """
    refuse_ole(file)
    with _BoundedFile(cast("io.FileIO", file.open())) as raw:
        check_size(raw.seek(0, io.SEEK_END), file.source, file.policy)
        raw.seek(0)
        try:
            with zipfile.ZipFile(raw) as archive:
                entries = archive.infolist()
                _check_declared(entries, file.source)
                _check_kind(entries, file.source, folder)
                _check_inflated(archive, file.source, max_tags)
        except LoadError:  # some are `ValueError`s too
            raise
        except _TooLongError as error:
            _refuse(file.source, f"holds more than {MAX_ENTRIES} files: {error}")
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            msg = f"{file.source} is a broken or cut-off office file ({error}): save it anew"
            raise CorruptMediaError(msg) from error
        except (NotImplementedError, RuntimeError) as error:  # a method of packing or encryption of its own
            msg = f"{file.source} is packed in a way that is not read ({error}): save it anew"
            raise UnsupportedFormatError(msg) from error


def refuse_ole(file: SourceFile) -> None:
    """Say of an office file in Microsoft's older container (OLE) which kind it is and what to do.

    Encrypted files of today's kinds are such containers too. Any other file passes.

    Raises:
        UnsupportedFormatError: If it is one.
    """
    with file.open() as raw:
        if raw.read(len(_OLE)) != _OLE:
            return
        names = [(name.encode("utf-16-le"), remedy) for name, remedy in _OLE_KINDS]
        found, tail = set[str](), b""
        while (piece := raw.read(_PIECE)) and len(found) < len(names):
            found |= {remedy for name, remedy in names if name in tail + piece}
            tail = piece[-64:]
    default = "is an OLE file: save it in today's format"
    remedy = next((remedy for _, remedy in names if remedy in found), default)
    msg = f"{file.source} {remedy}"
    raise UnsupportedFormatError(msg)


def _check_declared(entries: list[zipfile.ZipInfo], name: str) -> None:
    """By the table of contents alone, which no entry can exceed when it is unpacked."""
    if len(entries) > MAX_ENTRIES:
        _refuse(name, f"holds {len(entries)} files, {MAX_ENTRIES} are allowed")
    if any(entry.flag_bits & _ENCRYPTED for entry in entries):
        msg = f"{name} is encrypted: save it without a password"
        raise UnsupportedFormatError(msg)
    total = sum(entry.file_size for entry in entries)
    if total > MAX_INFLATED:
        _refuse(name, f"unpacks to {total} bytes, {MAX_INFLATED} are allowed")
    for entry in entries:
        if entry.file_size > max(_SMALL, entry.compress_size * MAX_RATIO):
            _refuse(name, f"holds a file that grows {entry.file_size // max(1, entry.compress_size)}-fold")


def _check_kind(entries: list[zipfile.ZipInfo], name: str, folder: str) -> None:
    found = {start for start in _FOLDERS if any(entry.filename.startswith(start) for entry in entries)}
    if folder and found and folder not in found:
        msg = f"{name} is {_FOLDERS[min(found)]}"
        raise UnsupportedFormatError(msg)


def _check_inflated(archive: zipfile.ZipFile, name: str, max_tags: int | None) -> None:
    left, tags = MAX_INFLATED, 0
    for entry in archive.infolist():
        with archive.open(entry) as packed:
            is_xml, tail = None, b""
            while piece := packed.read(_PIECE):
                left -= len(piece)
                if left < 0:
                    _refuse(name, f"unpacks to more than {MAX_INFLATED} bytes")
                if is_xml is None:  # by content: which entries are parsed is said inside, not by their names
                    is_xml = piece.lstrip(_BEFORE_XML).startswith(b"<")
                    marks = _DECLARATIONS[entry.filename.endswith(_DRAWING) :]
                if is_xml:
                    tags += piece.count(b"<")
                    plain = tail + piece.replace(b"\0", b"")  # of UTF-16
                    if any(mark in plain for mark in marks):
                        _refuse(
                            name, f"declares a document type in {entry.filename}, which office files do not"
                        )
                    tail = plain[-16:]
                if max_tags is not None and tags > max_tags:
                    _refuse(
                        name,
                        f"has more than {max_tags:,} tags, which takes too long to read: split the document",
                    )


def _refuse(name: str, what: str) -> NoReturn:
    msg = f"{name} {what}"
    raise UnsafeSourceError(msg)
