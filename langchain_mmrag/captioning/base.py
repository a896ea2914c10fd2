"""What a captioner is, and what makes a caption of what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final, Protocol, runtime_checkable

from PIL.Image import Image

_LONGEST: Final = 2000
_LABEL = re.compile(r"^(?:image |picture )?(?:caption|description)\s*:\s*", re.IGNORECASE)
_NOTHING = re.compile(r"^\W*(?:none|n/?a)?\W*$", re.IGNORECASE)
_QUOTED: Final = (('"', '"'), ("\u201c", "\u201d"))


class ImageCaptioner(Protocol):
    """Says in words what pictures show."""

    @property
    def fingerprint(self) -> str:
        """Names the model, its prompt and settings: captions of one picture are remembered under it."""

    def caption(self, images: list[Image]) -> list[str]:
        """Describe upright RGB pictures.

        Returns:
            One caption for each, in order; `""` where there is nothing to say.
        """


@runtime_checkable
class EachCaptioner(Protocol):
    """A captioner that tells each caption as soon as it has it, and whose errors cost one picture each."""

    uses_context: bool

    def caption_each(
        self, images: Sequence[Image], contexts: Sequence[str]
    ) -> Iterator[tuple[int, str | Exception]]:
        """Describe pictures.

        Args:
            images: Upright RGB pictures.
            contexts: What is known about where each is from; `""` for nothing.

        Yields:
            Place of a picture and its caption, or the error that took its place; in any order.
        """


def tidy(said: str) -> str:
    """A caption of what a model said: one line, 2,000 letters at most, no quotes or label around it."""
    caption = _LABEL.sub("", " ".join(said.split()))
    for start, end in _QUOTED:
        inner = caption[1:-1]
        if len(caption) > 1 and caption[0] == start and caption[-1] == end and start not in inner:
            caption = inner.strip()
    if _NOTHING.match(caption):
        return ""
    return caption if len(caption) <= _LONGEST else f"{caption[: _LONGEST - 1].rstrip()}…"


def digest_of(*parts: object) -> str:
    """A short digest of settings."""
    return sha256(repr(parts).encode()).hexdigest()[:12]
