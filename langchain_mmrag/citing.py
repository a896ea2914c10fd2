"""Where a document is from: for people to read, and for a browser to open."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import quote, unquote

from langchain_core.documents import Document

from langchain_mmrag.media import describe_source, without_user_info
from langchain_mmrag.types import (
    BBOX,
    END_S,
    LAST_ROW,
    OCR_CONFIDENCE,
    PAGE,
    PATH,
    ROW,
    SHEET,
    SOURCE,
    START_S,
    Modality,
    modality_of,
)

TAG_OPENING = re.compile(r"<(?=[^\w<>]*(?:passage|table|transcript|caption|ocr_text))", re.IGNORECASE)
"""Where text begins to look like one of the tags that evidence stands between."""

_LABEL_CHARS = 160
_URL = re.compile(r"https?://(?:[^/?#]*@)?([^?#]*)", re.IGNORECASE)
_ADDRESS = ("http://", "https://", "file://")
_ADDRESS_SAFE = "/:?&=@+,;%~*!$[]"  # `'`, `(`, `)` and blanks end a link in Markdown or HTML


def kind_of(document: Document) -> Modality:
    """The modality of a document, text if another store calls it by a name unknown here."""
    try:
        return modality_of(document.metadata)
    except (ValueError, TypeError):
        return "text"


def cite(document: Document) -> str:
    """Where a document is from, for people.

    `report.pdf p. 12`, `talk.mp4 12:31-12:40`, `sales.xlsx Q3!row 17`, `prices.csv rows 7-9`,
    `scan.png (text at 12%, 34%)`: percent of width and height, from the top left.

    A relative source is shown as it stands; of an absolute path only the file's name, since the rest says
    more about the machine than about the evidence; a URL without its query.
    """
    label = one_line(_source_name(document.metadata)) or f"{kind_of(document)} without a source"
    return one_line(f"{label} {place_of(document)}")


def place_of(document: Document) -> str:
    """Where in its source a document stands: `p. 12`, `12:31-12:40`, `Q3!row 17`; empty for all of it."""
    metadata = document.metadata
    return " ".join(filter(None, (_span(metadata), _page(metadata), _rows(metadata), _spot(document))))


def cite_link(document: Document) -> str | None:
    """An address that opens a document where it was found: a file or web page, at its page or second.

    A URL keeps its query, without which it may not open, and loses a user name and password. What could end
    a link in Markdown or HTML is percent-encoded.

    Returns:
        `None` for a source that is no address and no absolute path: nobody knows what it is relative to.
    """
    metadata = document.metadata
    source = _address(next((str(metadata[key]) for key in (SOURCE, "path", "uri") if metadata.get(key)), ""))
    if source is None:
        return None
    times = (seconds_of(metadata, START_S), seconds_of(metadata, END_S))
    seconds = ",".join(f"{time:.10g}" for time in times if time is not None)
    page = metadata.get(PAGE)
    if not seconds and page is None:
        return source
    fragment = f"t={seconds}" if seconds else f"page={_percent(str(page), '')}"
    return f"{source.partition('#')[0]}#{fragment}"


def read_in(document: Document) -> str | None:
    """The picture a text was read in: a page that was kept as one, or the source itself; else `None`."""
    metadata = document.metadata
    if kind_of(document) != "text" or OCR_CONFIDENCE not in metadata or BBOX not in metadata:
        return None
    place = metadata.get(PATH) or (metadata.get(SOURCE) if metadata.get(PAGE) is None else None)
    return str(place) if place else None


def _span(metadata: Mapping[str, Any]) -> str:
    times = (seconds_of(metadata, START_S), seconds_of(metadata, END_S))
    return "-".join(_clock(time) for time in times if time is not None)


def _page(metadata: Mapping[str, Any]) -> str:
    page = metadata.get("page_label", metadata.get(PAGE))
    return "" if page is None else f"p. {page}"


def _rows(metadata: Mapping[str, Any]) -> str:
    """`Q3!row 17`: the sheet or table, and the rows of it."""
    sheet = str(metadata.get(SHEET, ""))
    first, last = metadata.get(ROW), metadata.get(LAST_ROW)
    if first is None:
        return sheet
    rows = f"row {first}" if last in {None, first} else f"rows {first}-{last}"
    return f"{sheet}!{rows}" if sheet else rows


def _spot(document: Document) -> str:
    """Where in a picture a text was read; pages say enough by their number."""
    metadata = document.metadata
    box = metadata.get(BBOX)
    is_read = kind_of(document) == "text" and metadata.get(PAGE) is None
    if not is_read or not isinstance(box, list | tuple) or len(box) != 4:  # noqa: PLR2004
        return ""
    if not all(isinstance(edge, int | float) and isfinite(edge) for edge in box):
        return ""
    return f"(text at {box[0]:.0%}, {box[1]:.0%})"


def seconds_of(metadata: Mapping[str, Any], key: str) -> float | None:
    """A time in the metadata, `None` if it is no number that can be one."""
    value = metadata.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return value if value >= 0 else None


def one_line(text: str) -> str:
    """Text as part of a label: one printable line, no tags, shortened in the middle (the ends tell most)."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) > _LABEL_CHARS:
        half = _LABEL_CHARS // 2
        line = f"{line[:half]}…{line[-half:]}"
    return TAG_OPENING.sub("&lt;", line)


def _address(source: str) -> str | None:
    windows = PureWindowsPath(source)
    if PurePosixPath(source).is_absolute():
        return f"file://{_percent(source, '/')}"
    if windows.drive and windows.is_absolute():  # C:/… or //server/share/…
        path = _percent(windows.as_posix(), "/:")
        return f"file:{path}" if path.startswith("//") else f"file:///{path}"
    if not source.lower().startswith(_ADDRESS):
        return None
    address, hash_, fragment = without_user_info(source).partition("#")
    return _percent(address, _ADDRESS_SAFE) + hash_ + _percent(fragment, _ADDRESS_SAFE)


def _percent(text: str, safe: str) -> str:
    try:
        data = text.encode("utf-8", "surrogateescape")  # as the names of files are decoded
    except UnicodeEncodeError:
        data = text.encode("utf-8", "replace")
    return quote(data, safe=safe)


def _source_name(metadata: Mapping[str, Any]) -> str:
    source = next((str(metadata[key]) for key in (SOURCE, "path", "uri", "title") if metadata.get(key)), "")
    source = source.strip()
    if source[:5].lower() == "data:":
        return describe_source(source)
    if url := _URL.match(source):
        return unquote(url[1])
    if source[:5].lower() == "file:":
        return PurePosixPath(unquote(source[5:]).replace("\\", "/")).name
    if PurePosixPath(source).is_absolute() or source.startswith("~"):
        return PurePosixPath(source).name
    windows = PureWindowsPath(source)
    return windows.name if windows.drive or windows.root else _secretless(source)


def _secretless(source: str) -> str:
    """An address of any other kind without user name, password and query; anything else as it is."""
    return without_user_info(source).partition("?")[0] if "://" in source else source


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
