"""A presentation becomes a passage for each slide, with its tables, charts and pictures next to it."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, BinaryIO, Final

from PIL import Image

from langchain_mmrag._extras import require
from langchain_mmrag.document_loaders._pictures import PagePictures, caption_from
from langchain_mmrag.document_loaders._slides import (
    MAX_SHAPES,
    Box,
    Placed,
    alternative_text,
    chart_table,
    diagram_text,
    frame_text,
    is_decorative,
    is_furniture,
    placed_shapes,
    table_of,
)
from langchain_mmrag.document_loaders._tables import Table, markdown_table, table_parts
from langchain_mmrag.document_loaders._zip import check_zip
from langchain_mmrag.document_loaders.base import FileLoader, Part, SourceFile
from langchain_mmrag.errors import CorruptMediaError, LoadError
from langchain_mmrag.media import MediaPolicy, open_image
from langchain_mmrag.types import BBOX, CAPTION, HEADING, PAGE, TITLE

MAX_TAGS: Final = 5_000_000
"""Most tags of a presentation, of which trees are built: about a gigabyte."""

_SHORT_TABLE: Final = 10
"""Rows up to which a table stays in the passage of its slide; a longer one is a document of its own."""
_LONGEST_CAPTION: Final = 200
_NO_TITLES: Final = {"", "PowerPoint Presentation", "PowerPoint-Präsentation", "Présentation PowerPoint"}
_CROPPED: Final = 0.02
_FILE_OBJECT = re.compile(r"file '<.*?>'")  # what python-pptx calls the file
_CONTENT_TYPES: Final = "[Content_Types].xml"
_PRESENTATION: Final = b"application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml"
_OTHER_TYPES: Final = re.compile(
    rb"application/vnd\.(openxmlformats-officedocument\.presentationml\.(slideshow|template)\.main"
    rb"|ms-powerpoint\.(slideshow|template)\.macroEnabled\.main)\+xml"
)


@dataclass
class _Slide:
    """A slide while it is read."""

    number: int
    metadata: dict[str, Any]
    heading: str
    texts: list[str]
    tables: list[tuple[Table, Box | None]]
    boxes: list[tuple[Box, str]]  # of short texts, which may be captions

    @property
    def key(self) -> str:
        return f"slide-{self.number}"

    @property
    def near(self) -> str | None:
        return self.key if self.texts else None


class PptxLoader(FileLoader):
    """Load a PowerPoint presentation (`.pptx`), slide by slide.

    A slide is a passage: its title, the words of its shapes from top to bottom, short tables as Markdown,
    and the speaker's notes. Long tables and what charts are drawn from are documents of their own, and so
    are pictures: as the slide shows them (cropped), with their alternative text as caption, else the words
    next to them; one without a caption has the slide's title as text. All have `page`, the slide's number;
    what lies on a slide, `bbox`.

    What the slides link to is never opened. Drawings that are not read (EMF, WMF) are told as a problem.

    Args:
        path: The file.
        notes: Whether the speaker's notes are read.
        media_policy: What may be opened.
        media_directory: Where the pictures go.
    """

    name = "pptx"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        notes: bool = True,
        media_policy: MediaPolicy | None = None,
        media_directory: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(path, media_policy=media_policy, media_directory=media_directory)
        self.notes = notes

    @property
    def fingerprint(self) -> str:
        """The name, and the options that were given."""
        return self.name if self.notes else f"{self.name}:no_notes"

    def parts(self, file: SourceFile) -> Iterator[Part]:
        """Yield each slide, then what lies on it.

        Raises:
            LoadError: If the file is no presentation, broken, encrypted, or made to exhaust its reader.
        """
        check_zip(file, folder="ppt/", max_tags=MAX_TAGS)
        presentation = _opened(file)
        pictures = PagePictures(file)
        size = float(presentation.slide_width or 0), float(presentation.slide_height or 0)
        title = " ".join((presentation.core_properties.title or "").split())
        metadata = {} if title in _NO_TITLES else {TITLE: title}
        # by the list in the file: the library's own list of slides fails as a whole where one is missing
        for number, identity in enumerate(presentation.element.xpath("./p:sldIdLst/p:sldId"), 1):
            try:
                source = presentation.part.related_slide(identity.rId)
                parts = self._slide(_new(source, number, metadata), source, size, pictures)
            except Exception as error:  # noqa: BLE001  nearly every kind comes of untrusted XML
                file.problem(f"slide {number} cannot be read: {str(error) or type(error).__name__}")
                continue
            yield from parts
        pictures.report()

    def _slide(
        self, slide: _Slide, source: Any, size: tuple[float, float], pictures: PagePictures
    ) -> list[Part]:
        shapes = placed_shapes(source, size) if all(size) else []
        if len(shapes) == MAX_SHAPES:
            pictures.file.problem(f"slide {slide.number} has too many shapes: the rest of it is left out")
        for placed in shapes:
            _read(placed, slide, source.shapes.title)
        if self.notes and source.has_notes_slide and (frame := source.notes_slide.notes_text_frame):
            slide.texts += [f"Notes: {text}"] if (text := frame_text(frame)) else []
        parts = []
        if slide.texts:
            text = "\n\n".join(slide.texts)
            parts.append(Part(text=text, metadata=slide.metadata, key=slide.key))
        parts += [
            part
            for number, (table, box) in enumerate(slide.tables)
            for part in _table(slide, number, table, box)
        ]
        parts += _pictures(slide, shapes, pictures)
        return parts


def _opened(file: SourceFile) -> Any:
    pptx = require("pptx", extra="office")
    try:
        with file.open() as raw:
            return pptx.Presentation(_as_presentation(raw))
    except Exception as error:  # a parser of untrusted bytes raises nearly every kind there is
        reason = _FILE_OBJECT.sub("it", str(error)) or type(error).__name__
        msg = f"{file.source} cannot be read as a presentation: {reason}"
        raise CorruptMediaError(msg) from error


def _as_presentation(raw: BinaryIO) -> BinaryIO:
    """The file, in which slide shows and templates, else the same, call themselves presentations."""
    with zipfile.ZipFile(raw) as archive:
        types = archive.read(_CONTENT_TYPES)
        if not _OTHER_TYPES.search(types):
            raw.seek(0)
            return raw
        copy = BytesIO()
        with zipfile.ZipFile(copy, "w") as target:
            for entry in archive.infolist():
                data = archive.read(entry)
                is_types = entry.filename == _CONTENT_TYPES
                target.writestr(entry.filename, _OTHER_TYPES.sub(_PRESENTATION, data) if is_types else data)
    copy.seek(0)
    return copy


def _new(source: Any, number: int, metadata: dict[str, Any]) -> _Slide:
    shape = source.shapes.title
    heading = " ".join(shape.text_frame.text.split()) if shape is not None and shape.has_text_frame else ""
    metadata = {**metadata, PAGE: number, **({HEADING: heading} if heading else {})}
    return _Slide(number, metadata, heading, [heading] if heading else [], [], [])


def _read(placed: Placed, slide: _Slide, title: Any) -> None:
    """Take the words, table or chart of a shape."""
    shape = placed.shape
    if (title is not None and shape.shape_id == title.shape_id) or is_furniture(shape):
        return
    if shape.has_text_frame:
        if text := frame_text(shape.text_frame):
            slide.texts.append(text)
            if placed.box and len(text) <= _LONGEST_CAPTION:
                slide.boxes.append((placed.box, text))
    elif shape.has_table:
        table = table_of(shape)
        rows = list(table.rows)
        if len(rows) <= _SHORT_TABLE:
            slide.texts.append(markdown_table(table.header, rows))
        else:
            slide.tables.append((table, placed.box))
    elif shape.has_chart:
        slide.tables.append((chart_table(shape.chart), placed.box))
    elif text := diagram_text(shape):
        slide.texts.append(text)


def _table(slide: _Slide, number: int, table: Table, box: Box | None) -> Iterator[Part]:
    title = table.title or slide.heading
    metadata = slide.metadata | ({CAPTION: table.title} if table.title else {})
    metadata |= {BBOX: box.as_list()} if box else {}
    for part in table_parts(table, key=f"{slide.key}-table-{number}", metadata=metadata, near=slide.near):
        yield replace(part, text=f"{title}\n\n{part.text}" if title else part.text)


def _pictures(slide: _Slide, shapes: list[Placed], pictures: PagePictures) -> Iterator[Part]:
    shown = [one for one in shapes if hasattr(type(one.shape), "image") and not is_decorative(one.shape)]
    for number, placed in enumerate(shown):
        try:
            facts = pictures.keep(_as_shown(placed.shape, pictures))
        except LoadError as error:
            pictures.refuse(f"slide {slide.number}", error)
            continue
        except (KeyError, ValueError, AttributeError):  # it has no picture, or only a link to one
            continue
        if facts is None:
            continue
        caption = caption_from(alternative_text(placed.shape)) or _beside(placed, slide)
        metadata = slide.metadata | facts | ({CAPTION: caption} if caption else {})
        metadata |= {BBOX: placed.box.as_list()} if placed.box else {}
        key = f"{slide.key}-picture-{number}"
        text = caption or slide.heading
        yield Part(text=text, modality="image", metadata=metadata, key=key, near=slide.near)


def _as_shown(shape: Any, pictures: PagePictures) -> bytes | Image.Image:
    """The picture as it is in the file, or what is left of it on the slide.

    Raises:
        LoadError: If a picture that is cropped cannot be read.
    """
    blob: bytes = shape.image.blob
    left, top, right, bottom = (
        min(max(float(value), 0.0), 1.0)
        for value in (shape.crop_left, shape.crop_top, shape.crop_right, shape.crop_bottom)
    )
    if max(left, top, right, bottom) < _CROPPED or left + right >= 1 or top + bottom >= 1:
        return blob
    image = open_image(blob, pictures.file.policy)
    width, height = image.size
    box = (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
    return image.crop(box) if box[0] < box[2] and box[1] < box[3] else blob


def _beside(placed: Placed, slide: _Slide) -> str:
    """The short text right below a picture, else right above it, within a tenth of the slide."""
    if placed.box is None:
        return ""
    near = []
    for box, text in slide.boxes:
        below, above = box.y0 - placed.box.y1, placed.box.y0 - box.y1
        gap = below if below >= above else above + 0.05
        if box.x0 < placed.box.x1 and placed.box.x0 < box.x1 and -0.02 <= gap <= 0.1:  # noqa: PLR2004
            near.append((gap, text))
    return min(near)[1] if near else ""
