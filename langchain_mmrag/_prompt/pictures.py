"""The pictures of a prompt's evidence: opened in rank order, each sent once, so many at most."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from langchain_mmrag._prompt.evidence import Evidence
from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.citing import seconds_of
from langchain_mmrag.errors import LoadError, MissingDependencyError
from langchain_mmrag.media import MediaPolicy, PromptPicture, is_url, prompt_picture, reason_of
from langchain_mmrag.media.frames import key_frames
from langchain_mmrag.types import END_S, START_S, ImageInput, image_source, thumbnails_of

logger = logging.getLogger(__name__)

FRAMES_PER_VIDEO: Final = 3
_TOLD_INSTEAD: Final = {"image": "captions", "video": "transcripts"}


def open_pictures(
    evidence: Sequence[Evidence],
    *,
    images: bool,
    budget: PromptBudget,
    media_policy: MediaPolicy,
    question: PromptPicture | None = None,
) -> None:
    """Open the pictures and key frames of `evidence`, best first, or note in each why there are none.

    One lost file must not cost the whole answer: it becomes a reason in the label, and takes no place.
    """
    opener = _Opener(budget, media_policy, question)
    for part in evidence:
        if not images:
            instead = _TOLD_INSTEAD.get(part.kind)
            part.show([], f"this model is given {instead} instead of pictures" if instead else "")
        elif part.kind == "video":
            opener.open_video(part)
        elif part.visual:
            opener.open_image(part)


class _Opener:
    """What has been opened so far for one prompt."""

    def __init__(
        self, budget: PromptBudget, media_policy: MediaPolicy, question: PromptPicture | None
    ) -> None:
        self._max_side = budget.max_side
        self._policy = media_policy
        self._most = max(0, budget.max_images - (question is not None))
        self._room = self._most
        self._shown: dict[str, str] = {}
        if question is not None:
            self._shown[_digest(question)] = "the picture supplied by the user"

    def open_image(self, part: Evidence) -> None:
        source = part.source
        if source is None:
            part.show([], "its file is not recorded")
        elif source in self._shown:
            part.show([], f"same picture as {self._shown[source]}")
        elif not self._room:
            self._leave_out(part)
        else:
            pictures, why_not = self._open(part, [source])
            part.show(pictures, why_not)

    def open_video(self, part: Evidence) -> None:
        metadata = part.document.metadata
        thumbnails = thumbnails_of(metadata)[:FRAMES_PER_VIDEO]
        if not self._room:
            self._leave_out(part)
            return
        pictures, why_not = self._open(part, thumbnails) if thumbnails else ([], "")
        if not pictures and self._room and not why_not.startswith("same"):
            frames, why_not = self._frames(part)
            pictures, why_not = self._open(part, frames) if frames else ([], why_not)
        part.show(pictures, why_not)

    def _open(self, part: Evidence, sources: Sequence[ImageInput]) -> tuple[list[PromptPicture], str]:
        """As many of `sources` as there is room for, and if none, why."""
        pictures: list[PromptPicture] = []
        why_not = ""
        for source in sources:
            if not self._room:
                part.pictures_cut = True
                break
            try:
                picture = prompt_picture(source, self._policy, max_side=self._max_side)
            except LoadError as error:
                logger.warning("picture [%d] is left out of the prompt: %s", part.number, error)
                why_not = why_not or reason_of(error)
                continue
            digest, place = _digest(picture), f"[{part.number}]"
            known = self._shown.setdefault(digest, place)
            if isinstance(source, str):
                self._shown[source] = known
            if known != place or any(picture.data == other.data for other in pictures):
                why_not = f"same picture as {known}"
                continue
            pictures.append(picture)
            self._room -= 1
        return pictures, "" if pictures else why_not

    def _frames(self, part: Evidence) -> tuple[Sequence[ImageInput], str]:
        """Key frames out of the film itself, or why there are none."""
        metadata = part.document.metadata
        source = image_source(metadata)
        if source is None:
            return [], "its file is not recorded"
        if is_url(source):
            return [], "a film is not downloaded for a prompt"
        times = (seconds_of(metadata, START_S), seconds_of(metadata, END_S))
        count = min(FRAMES_PER_VIDEO, self._room)
        try:
            return key_frames(source, *times, n=count, policy=self._policy), ""
        except MissingDependencyError as error:
            logger.warning("key frames of [%d] are left out of the prompt: %s", part.number, error)
            return [], "the package that takes pictures out of films is not installed"
        except LoadError as error:
            logger.warning("key frames of [%d] are left out of the prompt: %s", part.number, error)
            return [], reason_of(error)

    def _leave_out(self, part: Evidence) -> None:
        part.pictures_cut = True
        part.show(
            [],
            f"only the {self._most} highest-ranked pictures are shown"
            if self._most
            else "the prompt may hold no more pictures",
        )


def _digest(picture: PromptPicture) -> str:
    return sha256(picture.data).hexdigest()
