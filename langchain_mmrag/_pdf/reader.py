"""A PDF that is read by another process, as this one sees it."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO, Final, cast

from langchain_mmrag._pdf.child import MEMORY, receive, send
from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsafeSourceError, UnsupportedFormatError

_CHUNK: Final = 2**20
_OPENING_S: Final = 60.0  # at least: all of the file is handed over
_MOST_IDLE: Final = 4
_MARK_WITHIN: Final = 1024  # bytes, in which readers look for the first line of a PDF
_CODE: Final = "import sys; sys.path[:] = {path!r}; from langchain_mmrag._pdf.child import main; main()"


class PageError(CorruptMediaError):
    """Something of a page could not be read; the next page may be."""


class PageLimitError(PageError):
    """More is drawn on the page than is looked through for figures and tables."""


class PageTimeoutError(PageError):
    """The page took too long or too much memory: the process that read it is gone."""


class PDFReader:
    """One PDF, open in a process of its own, which is started anew if a page costs it its life.

    Not for several threads at once; each thread has a reader of its own.

    Args:
        name: What to call the file in an error.
        open_file: Opens its bytes, as often as need be.
        password: That opens it, if it is encrypted.
        timeout_s: Seconds for each thing that is asked of a page.

    Attributes:
        pages: How many there are, by the file.
        title: Of the document, or `""`.

    Raises:
        LoadError: If the file cannot be opened as a PDF.
    """

    def __init__(
        self, name: str, open_file: Callable[[], BinaryIO], *, password: str | None, timeout_s: float
    ) -> None:
        self.name = name
        self._open_file = open_file
        self._password = password
        self._timeout_s = timeout_s
        self._child: _Child | None = None
        self.pages = 0
        self.title = ""
        self._ready()

    def ask(self, do: str, page: int, **arguments: Any) -> tuple[dict[str, Any], list[bytes]]:
        """Ask for something of a page; see `child` for what there is.

        Args:
            do: What.
            page: From 0.
            arguments: Of the request.

        Raises:
            PageTimeoutError: If the page took too long or more memory than it may.
            PageLimitError: If there is too much on the page to look through.
            PageError: If the page cannot be read.
            LoadError: If the file is not there any more.
        """
        child = self._ready()
        try:
            answer, blobs = child.exchange({"do": do, "page": page, **arguments}, self._timeout_s)
        except _GoneError as error:
            self._child = None
            raise PageTimeoutError(str(error)) from error
        if "error" in answer:
            reason = answer["reason"] or answer["error"]
            if answer["error"] in {"TooManyObjectsError", "TableTooLargeError"}:
                raise PageLimitError(reason)
            if answer["error"] == "MemoryError":
                child.stop()
                self._child = None
                msg = "it takes too much memory"
                raise PageTimeoutError(msg)
            raise PageError(reason)
        return answer, blobs

    def close(self) -> None:
        """Let the process go; it waits for the next file."""
        child, self._child = self._child, None
        if child is None:
            return
        try:
            child.exchange({"do": "close"}, self._timeout_s)
        except _GoneError:
            return
        _IDLE.put(child)

    def _ready(self) -> _Child:
        if self._child is None:
            child = _IDLE.take()
            try:
                self._child = self._opened(child)
            except _LateError as error:
                msg = f"{self.name} cannot be opened as a PDF: {error}"
                raise CorruptMediaError(msg) from error
            except _GoneError:  # it may have ended while it was idle: once more with a new one
                self._child = self._opened_anew()
        return self._child

    def _opened_anew(self) -> _Child:
        try:
            return self._opened(_Child())
        except _GoneError as error:
            msg = f"{self.name} cannot be opened as a PDF: {error}"
            raise CorruptMediaError(msg) from error

    def _opened(self, child: _Child) -> _Child:
        with self._open_file() as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            request = {"do": "open", "size": size, "password": self._password, "memory": MEMORY}
            answer, _ = child.exchange(request, max(self._timeout_s, _OPENING_S), file, size)
        if "error" in answer:
            _IDLE.put(child)
            raise self._refused(answer["reason"], answer["error"])
        self.pages, self.title = answer["pages"], answer["title"]
        return child

    def _refused(self, reason: str, kind: str) -> LoadError:
        """Why the file cannot be opened."""
        if "assword" in reason:
            if self._password is None:
                msg = f"{self.name} is encrypted: give its password to PDFLoader(..., password=...)"
            else:
                msg = f"{self.name} is encrypted, and the password given does not open it"
            return UnsafeSourceError(msg)
        if "ecurity" in reason:
            return UnsafeSourceError(
                f"{self.name} is encrypted in a way that is not supported: save it without"
            )
        with self._open_file() as file:
            head = file.read(_MARK_WITHIN)
        if b"%PDF-" not in head:
            return UnsupportedFormatError(f"{self.name} is not a PDF: give it the suffix of what it is")
        if kind == "PdfiumError":
            reason = "it is cut off or damaged beyond mending"
        return CorruptMediaError(f"{self.name} cannot be opened as a PDF: {reason}")


class _GoneError(Exception):
    """The process ended or was ended; the message says why."""


class _LateError(_GoneError):
    """It was ended because it took too long: another one would too."""


class _Child:
    """A process that reads PDFs."""

    def __init__(self) -> None:
        code = _CODE.format(path=[path or os.getcwd() for path in sys.path])  # noqa: PTH109
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._requests = cast("BinaryIO", self._process.stdin)
        self._answers = cast("BinaryIO", self._process.stdout)
        self.owner = os.getpid()

    def exchange(
        self, request: dict[str, Any], timeout_s: float, file: BinaryIO | None = None, size: int = 0
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Send a request, `size` bytes of a file after it, and wait for the answer.

        Raises:
            _GoneError: If there is none in time, or the process ended.
        """
        late = threading.Event()
        watch = threading.Timer(timeout_s, self._stop_late, (late,))
        watch.daemon = True
        watch.start()
        try:
            send(self._requests, request)
            while file is not None and size > 0:
                piece = file.read(min(_CHUNK, size)) or bytes(min(_CHUNK, size))  # shorter than it was
                self._requests.write(piece)
                size -= len(piece)
            self._requests.flush()
            received = receive(self._answers)
        except (OSError, ValueError):
            received = None
        except (
            BaseException
        ):  # interrupted: the answer that is still to come must not be taken for the next one
            self.stop()
            raise
        finally:
            watch.cancel()
        if received is None:
            self.stop()
            if late.is_set():
                msg = f"it takes more than {timeout_s:g} s"
                raise _LateError(msg)
            msg = "it takes too much memory or is damaged"
            raise _GoneError(msg)
        return received

    def _stop_late(self, late: threading.Event) -> None:
        late.set()
        self._process.kill()

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        for stream in (self._requests, self._answers):
            try:
                stream.close()
            except OSError:
                continue  # what it was being sent has no reader any more
        self._process.wait()

    @property
    def runs(self) -> bool:
        """Whether it can take a file: alive, and not that of the process this one was forked from."""
        return self.owner == os.getpid() and self._process.poll() is None


class _Idle:
    """Processes that wait for a file, a few at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: list[_Child] = []
        atexit.register(self.stop)

    def take(self) -> _Child:
        with self._lock:
            while self._children:
                child = self._children.pop()
                if child.runs:
                    return child
                if child.owner == os.getpid():
                    child.stop()
        return _Child()

    def put(self, child: _Child) -> None:
        with self._lock:
            if len(self._children) < _MOST_IDLE:
                self._children.append(child)
                return
        child.stop()

    def stop(self) -> None:
        with self._lock:
            children, self._children = self._children, []
        for child in children:
            if child.owner == os.getpid():
                child.stop()


_IDLE = _Idle()
