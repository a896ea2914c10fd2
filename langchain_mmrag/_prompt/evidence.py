"""One document on its way into a prompt: its label, its text between tags, its pictures.

Labels are made of one clean line, longer text stands between tags that it cannot close.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.documents import Document

from langchain_mmrag.budget import text_tokens
from langchain_mmrag.citing import TAG_OPENING, cite, kind_of, one_line, read_in
from langchain_mmrag.media import PromptPicture
from langchain_mmrag.quotes import excerpt_of, shortened
from langchain_mmrag.types import CAPTION, HEIGHT, MIME_TYPE, OCR_TEXT, SUMMARY, WIDTH, Modality, image_source

TAGS: Final[dict[Modality, str]] = {
    "text": "passage",
    "table": "table",
    "video": "transcript",
    "audio": "transcript",
    "image": "caption",
}
_VISUAL: Final = ("image", "video")
_DATES: Final = ("taken_at", "date", "created_at", "creationdate")
NO_ROOM: Final = "no room in the prompt"
_LEAST_CHARS: Final = 80  # a shorter part of a text says too little


class Evidence:
    """A document with its number in the prompt, and what is shown of it.

    Attributes:
        number: Its rank, counted from 1; never changes.
        document: The hit.
        kind: Its modality.
        source: Where the picture of an image lies, or the one that a text was read in.
        pictures: What is shown: that picture, or key frames of a video.
        why_not: Why no picture is shown, for the label; empty if there is nothing to explain.
        pictures_cut: Whether pictures were left out for want of room.
        text_cut: What happened to the text for want of room: nothing, `shortened`, or `left out`.
    """

    def __init__(self, number: int, document: Document, passage_chars: int) -> None:
        self.number = number
        self.document = document
        self.kind = kind_of(document)
        self.source = image_source(document.metadata) if self.kind == "image" else read_in(document)
        self.pictures: list[PromptPicture] = []
        self.why_not = ""
        self.pictures_cut = False
        self.text_cut = ""
        self._whole = _texts_of(document, self.kind, passage_chars)
        self._texts = self._whole
        self._rendered: tuple[str, int] | None = None

    @property
    def visual(self) -> bool:
        """Whether pictures belong to it."""
        return self.kind in _VISUAL or self.source is not None

    @property
    def text(self) -> str:
        """The label and what stands between tags."""
        return self._render()[0]

    @property
    def text_tokens(self) -> int:
        """What `text` takes, by estimate."""
        return self._render()[1]

    @property
    def has_text(self) -> bool:
        """Whether there is more of it than its label."""
        return bool(self._texts)

    def show(self, pictures: Sequence[PromptPicture], why_not: str = "") -> None:
        """Set the pictures, or why there are none."""
        self.pictures, self.why_not = [*pictures], why_not
        self._rendered = None

    def drop_picture(self, why_not: str = NO_ROOM) -> None:
        """Leave out the last of its pictures, if there is one, for want of room."""
        kept = self.pictures[:-1]
        self.pictures_cut = True
        self.show(kept, "" if kept else why_not)

    def cut_text(self, room: int) -> bool:
        """Shorten the text so that label and text take `room` tokens at most, or leave it out.

        Returns:
            Whether it takes less now; if leaving it out would only lengthen the label, it stays.
        """
        before = (self._texts, self.text_cut, self.text_tokens)
        self._set_texts([], "left out")
        kept: list[tuple[str, str]] = []
        left = room - self.text_tokens
        for tag, text in before[0]:  # of a picture the caption comes first, then the words read in it
            part = self._fitting(tag, text, left)
            if part:
                kept.append((tag, part))
                left -= self._tokens_of(tag, part)
            if part != text:
                break
        if kept:
            self._set_texts(kept, "shortened")
        if self.text_tokens >= before[2]:
            self._set_texts(*before[:2])
            return False
        return True

    def restore_text(self) -> None:
        """Put back what was cut."""
        self._set_texts(self._whole, "")

    def _set_texts(self, texts: list[tuple[str, str]], cut: str) -> None:
        self._texts, self.text_cut, self._rendered = texts, cut, None

    def _fitting(self, tag: str, text: str, room: int) -> str:
        """As much of a text as takes `room` tokens at most with its tags, or nothing."""
        # of a passage the part that was found is kept, not its start
        found = self.kind != "image" and tag == TAGS[self.kind] and self.document.page_content.strip()
        source = self.document if found else Document(page_content=text)
        part, chars = text, len(text)
        while (excess := self._tokens_of(tag, part) / max(room, 1)) > 1:
            chars = int(chars / max(excess, 1.1))
            if chars < _LEAST_CHARS:
                return ""
            part = shortened(source, chars).marked
        return part

    def _tokens_of(self, tag: str, text: str) -> int:
        return text_tokens(f"\n{self._quoted(tag, text)}")

    def _quoted(self, tag: str, text: str) -> str:
        """Text between tags that it cannot close or forge."""
        inside = TAG_OPENING.sub("&lt;", text.strip())
        return f'<{tag} n="{self.number}">\n{inside}\n</{tag}>'

    def _render(self) -> tuple[str, int]:
        if self._rendered is None:
            lines = [self._label(), *(self._quoted(tag, text) for tag, text in self._texts)]
            text = "\n".join(lines)
            self._rendered = text, text_tokens(text)
        return self._rendered

    def _label(self) -> str:
        label = f"[{self.number}] {self.kind} · {cite(self.document)}"
        if self.kind in _VISUAL or self.pictures:
            label += " · retrieved, not supplied by the user"
        if self.kind == "text" and self.visual:  # the words are shown in any case
            label += " · with the picture it was read in" if self.pictures else ""
            label += f" · its picture is not shown: {self.why_not}" if self.why_not else ""
        elif self.visual:
            if self.why_not:
                facts = _file_facts(self.document.metadata)
                label += f" · not shown: {self.why_not}" + (f" · {facts}" if facts else "")
            elif self.kind == "video" and self.pictures:
                count = len(self.pictures)
                label += f" · {count} key frame{'s' if count > 1 else ''}"
        if self.text_cut == "left out":
            label += f" · its text is left out: {NO_ROOM}"
        elif not self._texts and self.kind != "image":
            label += " · no text"
        return label


def caption_of(document: Document) -> str:
    """What is written about a picture."""
    return (document.page_content or str(document.metadata.get(CAPTION) or "")).strip()


def _texts_of(document: Document, kind: Modality, passage_chars: int) -> list[tuple[str, str]]:
    metadata = document.metadata
    if kind == "image":
        texts = [(TAGS[kind], caption_of(document))]
    else:
        text = excerpt_of(document, passage_chars).marked if document.page_content.strip() else ""
        texts = [(TAGS[kind], text or str(metadata.get(SUMMARY) or "").strip())]
    if kind in _VISUAL:
        texts.append((OCR_TEXT, str(metadata.get(OCR_TEXT) or "").strip()))
        if kind == "video" and document.page_content.strip():
            texts.append((TAGS["image"], str(metadata.get(CAPTION) or "").strip()))
    return [(tag, text) for tag, text in texts if text]


def _file_facts(metadata: Mapping[str, Any]) -> str:
    facts = [one_line(str(metadata[MIME_TYPE]))] if metadata.get(MIME_TYPE) else []
    if metadata.get(WIDTH) and metadata.get(HEIGHT):
        facts.append(one_line(f"{metadata[WIDTH]} x {metadata[HEIGHT]} pixels"))
    if date := next((metadata[key] for key in _DATES if metadata.get(key)), None):
        facts.append(one_line(f"dated {date}"))
    return ", ".join(facts)
