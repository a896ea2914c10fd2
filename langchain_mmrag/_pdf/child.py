"""The process that reads a PDF: it answers one request at a time, over its standard streams.

A message is a line of JSON and the bytes it announces. A request names what to do (`do`) and its arguments;
the answer has `error` if it could not be done.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any, BinaryIO, Final

MEMORY: Final = 3 * 2**30
"""Bytes the process may take, the file itself aside, where the system can be told so."""

_IDLE_S: Final = 60.0  # without a file; then it ends, and a new one is started when it is needed
_PAGE_SIDE: Final = 1_400  # pixels of a page's picture
_LEAST_LETTERS: Final = 25  # of a page that is not a picture with a stamp on it
_SCANNED: Final = 0.5  # of the page
_LITTLE_TEXT: Final = 200  # letters beside a picture of the whole page: its header and footer
_LONGEST_TITLE: Final = 300
_NO_TITLE = re.compile(
    r"(?:untitled|title|document\d*|unbenannt|presentation\d*|slide \d+"
    r"|microsoft (?:word|powerpoint|excel) .*"
    r"|.*\.(?:docx?|pptx?|xlsx?|tex|dvi|indd|qxd|pdf|rtf|odt|txt|html?|ps|eps))",
    re.IGNORECASE,
)


def send(stream: BinaryIO, message: dict[str, Any], *blobs: bytes) -> None:
    """Write a message and its bytes."""
    head = json.dumps({**message, "blobs": [len(blob) for blob in blobs]})
    stream.write(head.encode("ascii") + b"\n")
    stream.writelines(blobs)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], list[bytes]] | None:
    """Read a message and its bytes; None if the other side is gone."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    message: dict[str, Any] = json.loads(line)
    blobs = []
    for size in message.pop("blobs"):
        blob = stream.read(size)
        if len(blob) < size:
            return None
        blobs.append(blob)
    return message, blobs


def main() -> None:
    """Answer requests until the other side closes the pipe, or nothing comes for a minute."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing but answers goes to the pipe
    service = _Service(requests)
    idle = _idle_clock()
    while True:
        received = receive(requests)
        idle.cancel()
        if received is None:
            return
        message, _ = received
        try:
            answer, blobs = service.answer(message)
        except Exception as error:  # noqa: BLE001  whatever a parser makes of bytes nobody vouches for
            answer, blobs = {"error": type(error).__name__, "reason": str(error)[:500]}, []
        send(answers, answer, *blobs)
        if not service.is_busy:
            idle = _idle_clock()


def _idle_clock() -> threading.Timer:
    clock = threading.Timer(_IDLE_S, os._exit, (0,))
    clock.daemon = True
    clock.start()
    return clock


class _Service:
    """One document at a time, and the page of it that was asked for last."""

    def __init__(self, requests: BinaryIO) -> None:
        self._requests = requests
        self._document: Any = None
        self._page: Any = None
        self._number = -1

    @property
    def is_busy(self) -> bool:
        """Whether a document is open."""
        return self._document is not None

    def answer(self, message: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        """Do what a request says.

        Returns:
            The answer and its bytes.
        """
        arguments = dict(message)
        do: Callable[..., Any] = getattr(self, f"do_{arguments.pop('do')}")
        result = do(**arguments)
        return result if isinstance(result, tuple) else (result, [])

    def do_open(self, size: int, password: str | None, memory: int) -> dict[str, Any]:
        """Take over `size` bytes that follow the request, and open them."""
        self.do_close()
        data = self._received(size)
        _limit_memory(memory + size)
        import pypdfium2

        # An unopened document has no pages to count: pypdfium2 raises.
        self._document = pypdfium2.PdfDocument(data, password=password)
        title = re.sub(r"\s+", " ", self._document.get_metadata_value("Title")).strip(" \0")
        if _NO_TITLE.fullmatch(title) or not title.isprintable() or len(title) > _LONGEST_TITLE:
            title = ""
        return {"pages": len(self._document), "title": title}

    def _received(self, size: int) -> Any:
        """The file, in memory that the system can take back as it is on disk too."""
        with tempfile.TemporaryFile() as file:
            missing = size
            while missing:
                piece = self._requests.read(min(missing, 2**20))
                if not piece:
                    sys.exit(1)
                file.write(piece)
                missing -= len(piece)
            file.flush()
            whole = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
        return (ctypes.c_ubyte * size).from_buffer(whole)

    def do_close(self) -> dict[str, Any]:
        """Give up the document."""
        self._leave_page()
        if self._document is not None:
            self._document.close()
            self._document = None
        return {}

    def _leave_page(self) -> None:
        if self._page is not None:
            self._page.close()
        self._page, self._number = None, -1

    def _open_page(self, number: int) -> Any:
        from langchain_mmrag._pdf.page import Page

        if number != self._number:
            self._leave_page()
            self._page = Page(self._document, number)
            self._number = number
        return self._page

    def do_text(self, page: int, decorations: list[str]) -> dict[str, Any]:
        """Text of a page, its label, and whether it is a picture rather than text.

        `is_scan` says that its text is not all that is written on it, `is_bare` that there is hardly any.
        """
        from langchain_mmrag._pdf.figures import has_ground, has_picture
        from langchain_mmrag._pdf.layout import page_text
        from langchain_mmrag._pdf.page import TooManyObjectsError

        opened = self._open_page(page)
        text = page_text(opened.rows)
        letters = sum(map(str.isalnum, text))
        try:
            blank = not letters and not opened.shapes
            bare = not blank and (not letters or (letters < _LEAST_LETTERS and has_picture(opened, _SCANNED)))
            scanned = bare or (letters < _LITTLE_TEXT and has_ground(opened, decorations))
        except TooManyObjectsError:
            bare = scanned = not letters
            blank = False
        label = self._document.get_page_label(page)
        return {"text": text, "label": label, "is_scan": scanned, "is_bare": bare, "blank": blank}

    def do_picture(self, page: int) -> tuple[dict[str, Any], list[bytes]]:
        """The whole page, as pixels of three bytes."""
        opened = self._open_page(page)
        whole = (0.0, 0.0, opened.width, opened.height)
        picture = opened.picture(whole, _PAGE_SIDE / max(opened.width, opened.height), _PAGE_SIDE)
        return {"size": picture.size}, [picture.tobytes()]

    def do_digests(self, page: int) -> dict[str, Any]:
        """Digests of the pictures on a page."""
        from langchain_mmrag._pdf.figures import picture_digests

        return {"digests": sorted(picture_digests(self._open_page(page)))}

    def do_tables(self, page: int) -> dict[str, Any]:
        """The tables of a page."""
        from langchain_mmrag._pdf.tables import tables

        opened = self._open_page(page)
        found = tables(opened)
        return {
            "tables": [
                {
                    "box": table.box,
                    "bbox": opened.fractions(table.box),
                    "rows": table.rows,
                    "caption": table.caption,
                }
                for table in found
            ]
        }

    def do_figures(self, page: int, taken: list[Any], known: list[str]) -> tuple[dict[str, Any], list[bytes]]:
        """The figures of a page."""
        from langchain_mmrag._pdf.figures import figures

        opened = self._open_page(page)
        found = list(figures(opened, taken, set(known)))
        rows = [
            {
                "bbox": opened.fractions(figure.box),
                "digest": figure.digest,
                "caption": figure.caption,
                "words": figure.words,
            }
            for figure in found
        ]
        return {"figures": rows}, [figure.data for figure in found]


def _limit_memory(size: int) -> None:
    try:
        import resource
    except ModuleNotFoundError:  # not on Windows
        return
    _, highest = resource.getrlimit(resource.RLIMIT_AS)
    ceiling = size if highest == resource.RLIM_INFINITY else min(size, highest)
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, highest))
    resource.setrlimit(
        resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1])
    )  # no dumps of it
