"""Make a prompt's evidence fit its budget.

In this order, and no further than needed:

1. all retrieved pictures are shrunk to a common longer side: 768, 512, 384, at last 256 pixels;
2. from the lowest rank up, pictures are left out, and texts shortened or left out;
3. texts come back, and the pictures that stay grow again, as far as there is room;
4. if labels alone are still too much, the picture of the question is shrunk.

Labels and numbers always stay. What does not even fit then is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from langchain_mmrag._prompt.evidence import Evidence
from langchain_mmrag.budget import PromptBudget, image_tokens, text_tokens
from langchain_mmrag.errors import BudgetError
from langchain_mmrag.media import PromptPicture

_CUTS: Final = ("shortened", "left out")
_SIDES: Final = (768, 512, 384, 256)
"""Smaller pictures tell too little. On 768 and 512 the tiles of Gemini and OpenAI end."""


class Fitting:
    """Evidence, and the picture of the question, on their way into one prompt.

    Args:
        evidence: In rank order; what is left out is noted in it.
        budget: What must be kept to.
        question: The user's own picture, which has the first claim.
        framing: Text that stands around the evidence.
    """

    def __init__(
        self,
        evidence: Sequence[Evidence],
        budget: PromptBudget,
        *,
        question: PromptPicture | None = None,
        framing: str = "",
    ) -> None:
        self.evidence = evidence
        self.question = question
        self._budget = budget
        self._framing = text_tokens(framing)
        self._side = budget.max_side
        self._small: dict[tuple[bytes, int], PromptPicture] = {}

    def fit(self) -> None:
        """Shrink and leave out until everything keeps to the budget.

        Raises:
            BudgetError: If not even the labels and the picture of the question do.
        """
        sides = [self._budget.max_side, *(side for side in _SIDES if side < self._budget.max_side)]
        if self._try(sides):
            return
        for part in reversed(self.evidence):
            self._cut(part)
            if self._fits():
                break
        if self._fits():
            self._refill()
            self._try(sides)  # larger again
        else:
            self._shrink_question(sides)

    def picture(self, picture: PromptPicture) -> PromptPicture:
        """A retrieved picture in the size that was settled on."""
        key = (picture.data, self._side)
        if key not in self._small:
            self._small[key] = picture.shrunk(self._side)
        return self._small[key]

    @property
    def summary(self) -> str:
        """One line that says what was left out for want of room; empty if nothing was."""
        told = []
        if without := [part for part in self.evidence if part.pictures_cut]:
            told.append(f"pictures of {_numbers(without)} left out")
        cuts = {cut: [part for part in self.evidence if part.text_cut == cut] for cut in _CUTS}
        told += [f"text of {_numbers(parts)} {cut}" for cut, parts in cuts.items() if parts]
        shown = [picture for part in self.evidence for picture in part.pictures]
        if any(max(picture.width, picture.height) > self._side for picture in shown):
            told.append(f"pictures shrunk to {self._side} pixels")
        return f"To fit the prompt: {'; '.join(told)}." if told else ""

    def _try(self, sides: Sequence[int]) -> bool:
        """Settle on the largest of `sides` with which everything fits, or on the smallest if none does."""
        for side in sides:
            self._side = side
            if self._fits():
                return True
        return False

    def _cut(self, part: Evidence) -> None:
        """Leave out of one document what it takes for the rest to fit, at most all but its label."""
        while part.pictures and not self._fits():
            part.drop_picture()
        self._cut_text(part)

    def _cut_text(self, part: Evidence) -> None:
        # more than once: the line that tells of it takes room too
        while part.has_text and (excess := self._excess_tokens()) > 0:
            if not part.cut_text(part.text_tokens - excess):
                break

    def _refill(self) -> None:
        """Put back the texts that have room beside what was kept, the best ranked first."""
        for part in self.evidence:
            if part.text_cut:
                part.restore_text()
                self._cut_text(part)

    def _shrink_question(self, sides: Sequence[int]) -> None:
        if (whole := self.question) is not None:
            for side in sides[1:]:
                self.question = whole.shrunk(side)
                if self._fits():
                    return
        if self._excess_tokens() > 0:
            name, least = "max_tokens", self._tokens()
            given = f"{self._budget.max_tokens} (where none is given, three quarters of what the model reads)"
        else:
            name, least = "max_image_bytes", self._bytes()
            given = str(self._budget.max_image_bytes)
        parts = [f"the labels of {len(self.evidence)} documents"] if self.evidence else []
        parts += ["the picture of the question"] if whole is not None else []
        msg = (
            f"{name} of the PromptBudget is {given}, and {' and '.join(parts)} alone take {least}: "
            "raise it, or retrieve fewer documents"
        )
        raise BudgetError(msg)

    def _fits(self) -> bool:
        # bytes last: they are known only once the pictures have been encoded
        return self._excess_tokens() <= 0 and self._bytes() <= self._budget.max_image_bytes

    def _excess_tokens(self) -> int:
        return 0 if self._budget.max_tokens is None else self._tokens() - self._budget.max_tokens

    def _tokens(self) -> int:
        text = self._framing + text_tokens(self.summary) + sum(part.text_tokens for part in self.evidence)
        return (
            text
            + sum(
                image_tokens(*self._size(picture), self._budget.family)
                for part in self.evidence
                for picture in part.pictures
            )
            + (0 if self.question is None else self._tokens_of_question(self.question))
        )

    def _tokens_of_question(self, question: PromptPicture) -> int:
        return image_tokens(question.width, question.height, self._budget.family)

    def _size(self, picture: PromptPicture) -> tuple[int, int]:
        """What a picture measures in the size settled on, without making it."""
        scale = min(1.0, self._side / max(picture.width, picture.height))
        return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))

    def _bytes(self) -> int:
        pictures = [self.picture(picture) for part in self.evidence for picture in part.pictures]
        if self.question is not None:
            pictures.append(self.question)
        return sum(picture.sent_bytes for picture in pictures)


def _numbers(parts: Iterable[Evidence]) -> str:
    """`[2], [4]-[9]`."""
    runs: list[list[int]] = []
    for part in parts:
        if runs and runs[-1][-1] == part.number - 1:
            runs[-1].append(part.number)
        else:
            runs.append([part.number])
    return ", ".join(f"[{run[0]}]" if len(run) == 1 else f"[{run[0]}]-[{run[-1]}]" for run in runs)
