"""A PDF becomes pages of text, the figures and tables on them, and pictures of pages without text."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, Final

from PIL import Image

from langchain_mmrag._extras import require
from langchain_mmrag._pdf.reader import PageError, PageLimitError, PageTimeoutError, PDFReader
from langchain_mmrag.document_loaders._ocr_lines import OCR, OcrLine, ocr_metadata, ocr_passages
from langchain_mmrag.document_loaders._tables import Table, table_parts
from langchain_mmrag.document_loaders.base import FileLoader, Part, SourceFile
from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import MediaPolicy, open_image
from langchain_mmrag.types import BBOX, CAPTION, PAGE, PATH, TITLE

PAGE_LABEL: Final = "page_label"

_SAMPLED_PAGES: Final = 8
_REMEMBERED: Final = 500  # figures by which a repeat is told
_MOST_LOST: Final = 3  # pages that cost their process its life; then the file is given up
_MOST_FAILED: Final = 50  # pages in a row that cannot be read; then the file is given up
_NAMED_PAGES: Final = 8  # in a problem


class PDFLoader(FileLoader):
    """Load a PDF: a document for each page, and for each figure and table on it.

    A page has `page` (from 1), `page_label` if the file numbers it otherwise, and `title`. Figures and tables
    have `bbox` and `caption` too, and `near_id` leads to the page's text. A page without text, or a scan with
    little more than a printed header, is a picture; with `ocr` it has `ocr_text`, and passages of it with
    their own `bbox`.

    The file is read by a process of its own, so that no page can take more than so much time and memory: a
    page that would is lost alone, and told in `problems`. Scripts in the file are not run, attachments not
    opened.

    Args:
        path: The file.
        page_images: Whether each page is kept as a picture too; `None` for scans and pages without text.
        figures: Whether pictures and drawings on pages become documents.
        tables: Whether tables do, as Markdown.
        ocr: Reads the writing in scans, pages without text, and figures.
        password: That opens the file, if it is encrypted.
        timeout_s: Seconds for each thing that is read of a page: text, tables, figures, picture. Of a page
            on which one takes longer nothing more is read, and of a file with three such pages.
        media_policy: What may be opened.
        media_directory: Where figures and pictures of pages are kept.
    """

    name = "pdf"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        page_images: bool | None = None,
        figures: bool = True,
        tables: bool = True,
        ocr: OCR | None = None,
        password: str | None = None,
        timeout_s: float = 20.0,
        media_policy: MediaPolicy | None = None,
        media_directory: str | os.PathLike[str] | None = None,
    ) -> None:
        if timeout_s <= 0:
            msg = f"timeout_s must be above 0, got {timeout_s}"
            raise ValueError(msg)
        super().__init__(path, media_policy=media_policy, media_directory=media_directory)
        self.page_images = page_images
        self.figures = figures
        self.tables = tables
        self.ocr = ocr
        self.password = password
        self.timeout_s = timeout_s

    @property
    def fingerprint(self) -> str:
        """Name and those options that change what comes out."""
        options = [
            "" if self.page_images is None else f"page_images={self.page_images}",
            "" if self.figures else "figures=False",
            "" if self.tables else "tables=False",
            f"ocr={self.ocr.fingerprint}" if self.ocr is not None else "",
        ]
        given = ",".join(filter(None, options))
        return f"{self.name}:{given}" if given else self.name

    def parts(self, file: SourceFile) -> Iterator[Part]:
        """Yield each page's text, picture, tables and figures.

        Raises:
            MissingDependencyError: If `pypdfium2` is not installed.
            LoadError: If the file is encrypted, or no PDF that can be mended.
        """
        require("pypdfium2", extra="pdf")
        reader = PDFReader(file.source, file.open, password=self.password, timeout_s=self.timeout_s)
        pages = _Pages(self, reader, file)
        try:
            yield from pages.parts()
        finally:
            reader.close()
            pages.troubles.report()


class _Pages:
    """One run through a file."""

    def __init__(self, loader: PDFLoader, reader: PDFReader, file: SourceFile) -> None:
        self._options = loader
        self._reader = reader
        self._file = file
        self._seen: deque[str] = deque(maxlen=_REMEMBERED)
        self._decorations: list[str] = []
        self._failed_in_a_row = 0
        self._lost = -1  # the page that last cost its process its life: it would do so again
        self.troubles = _Troubles(file)

    def parts(self) -> Iterator[Part]:
        if self._options.figures or self._options.page_images is not False:
            self._decorations = self._repeated()
        for number in range(self._reader.pages):
            yield from self._page(number)
            if self.troubles.lost >= _MOST_LOST or self._failed_in_a_row >= _MOST_FAILED:
                if number + 1 < self._reader.pages:
                    self._file.problem(
                        f"the rest is not read, from page {number + 2} on: too much of it failed"
                    )
                return

    def _repeated(self) -> list[str]:
        """Digests of the pictures on most of the pages, as far as a few of them tell: logos, frames."""
        count = self._reader.pages
        sampled = sorted({count * step // _SAMPLED_PAGES for step in range(_SAMPLED_PAGES)})
        if len(sampled) < _SAMPLED_PAGES // 2:
            return []
        found: Counter[str] = Counter()
        for number in sampled:
            try:
                answer, _ = self._reader.ask("digests", number)
            except PageTimeoutError:
                break
            except PageError:
                continue  # it is told of when the page's turn comes
            found.update(answer["digests"])
        return [digest for digest, times in found.items() if times > len(sampled) // 2]

    def _page(self, number: int) -> Iterator[Part]:
        key = f"page-{number + 1}"
        read = self._ask("text", number, "cannot be read", decorations=self._decorations)
        self._failed_in_a_row = 0 if read else self._failed_in_a_row + 1
        if read is None:
            return
        page = read[0]
        about: dict[str, Any] = {PAGE: number + 1}
        if page["label"] not in {"", str(number + 1)}:
            about[PAGE_LABEL] = page["label"]
        if self._reader.title:
            about[TITLE] = self._reader.title
        if page["text"]:
            yield Part(text=page["text"], metadata=about, key=key)
        wants_picture = page["is_scan"] if self._options.page_images is None else self._options.page_images
        is_shown = False
        if wants_picture and not page["blank"]:
            for part in self._picture(number, key, about, page):
                is_shown = True
                yield part
        near = key if page["text"] or is_shown else None
        boxes: list[Any] = []
        if self._options.tables and page["text"]:
            yield from self._tables(number, about, near, boxes)
        if self._options.figures and not page["blank"] and not (is_shown and page["is_bare"]):
            yield from self._figures(number, about, near, boxes)

    def _picture(self, number: int, key: str, about: dict[str, Any], page: dict[str, Any]) -> Iterator[Part]:
        read = self._ask("picture", number, "cannot be drawn")
        if read is None:
            return
        picture = Image.frombytes("RGB", tuple(read[0]["size"]), read[1][0])
        name = key if not page["text"] else f"{key}-image"
        kept = self._kept(picture, f"{key}-image", number)
        if kept is None:
            return
        lines = self._writing(picture, number) if page["is_scan"] else []
        yield Part(
            modality="image",
            metadata={**about, **kept, **ocr_metadata(lines)},
            key=name,
            parent=key if page["text"] else None,
        )
        yield from ocr_passages(lines, parent=name, metadata={**about, PATH: kept[PATH]})

    def _tables(
        self, number: int, about: dict[str, Any], near: str | None, boxes: list[Any]
    ) -> Iterator[Part]:
        read = self._ask("tables", number, "cannot be searched for tables")
        for place, found in enumerate(read[0]["tables"] if read else ()):
            boxes.append(found["box"])
            header, *rows = found["rows"]
            metadata = {**about, BBOX: found["bbox"]}
            if found["caption"]:
                metadata[CAPTION] = found["caption"]
            table = Table(header=header, rows=rows, title=found["caption"])
            key = f"page-{number + 1}-table-{place + 1}"
            yield from table_parts(table, key=key, metadata=metadata, near=near)

    def _figures(
        self, number: int, about: dict[str, Any], near: str | None, boxes: list[Any]
    ) -> Iterator[Part]:
        known = [*self._decorations, *self._seen]
        read = self._ask("figures", number, "cannot be searched for figures", taken=boxes, known=known)
        for place, (found, data) in enumerate(zip(read[0]["figures"], read[1], strict=True) if read else ()):
            key = f"page-{number + 1}-figure-{place + 1}"
            self._seen.append(found["digest"])
            kept = self._kept(data, key, number)
            if kept is None:
                continue
            metadata = {**about, **kept, BBOX: found["bbox"]}
            if found["caption"]:
                metadata[CAPTION] = found["caption"]
            metadata |= ocr_metadata(self._writing(data, number))
            text = found["caption"] or found["words"]
            yield Part(text=text, modality="image", metadata=metadata, key=key, near=near)

    def _writing(self, picture: Image.Image | bytes, number: int) -> list[OcrLine]:
        if self._options.ocr is None:
            return []
        try:
            return self._options.ocr.read(open_image(picture, self._file.policy))
        except LoadError as error:
            self.troubles.add(f"has a picture whose writing cannot be read: {error}", number)
            return []

    def _kept(self, picture: Image.Image | bytes, name: str, number: int) -> dict[str, Any] | None:
        try:
            return self._file.keep_picture(picture, name)
        except LoadError as error:
            self.troubles.add(f"has a picture that cannot be kept: {error}", number)
            return None

    def _ask(
        self, do: str, number: int, trouble: str, **arguments: Any
    ) -> tuple[dict[str, Any], list[bytes]] | None:
        if number == self._lost:
            return None
        try:
            return self._reader.ask(do, number, **arguments)
        except PageLimitError:
            self.troubles.add(f"{trouble}: too much is drawn on it", number)
        except PageError as error:
            if isinstance(error, PageTimeoutError):
                self.troubles.lost += 1
                self._lost = number
            self.troubles.add(f"{trouble}: {error}", number)
        return None


class _Troubles:
    """What went wrong, with the pages on which it did: a file of a thousand bad pages has one problem."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._pages: dict[str, list[int]] = {}
        self.lost = 0

    def add(self, trouble: str, number: int) -> None:
        self._pages.setdefault(trouble, []).append(number + 1)

    def report(self) -> None:
        for trouble, pages in self._pages.items():
            named = ", ".join(map(str, pages[:_NAMED_PAGES]))
            more = f" and {len(pages) - _NAMED_PAGES} more" if len(pages) > _NAMED_PAGES else ""
            self._file.problem(f"page{'s' if len(pages) > 1 else ''} {named}{more} {trouble}")
