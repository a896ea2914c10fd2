"""How much a prompt may hold: pictures, tokens, bytes."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_mmrag._chat_models import ModelFamily


@dataclass(frozen=True, kw_only=True)
class PromptBudget:
    """Limits of the evidence in a prompt. What does not fit is left out from the lowest rank up.

    Attributes:
        max_images: So many pictures at most.
        max_tokens: Tokens of text and pictures together; `None`: no limit.
        max_image_bytes: Bytes of all pictures together, as they are sent (base64).
        max_side: Longer side of a picture in pixels; larger ones are shrunk, keeping the aspect.
        family: Whose rules count a picture's tokens; `None`: those of the model at hand, else a default.

    Raises:
        ValueError: If a limit is negative, or `max_side` is less than 1.
    """

    max_images: int = 8
    max_tokens: int | None = None
    max_image_bytes: int = 15_000_000
    max_side: int = 1024
    family: ModelFamily | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_images", 0), ("max_tokens", 0), ("max_image_bytes", 0), ("max_side", 1)):
            given = getattr(self, name)
            if given is not None and given < least:
                msg = f"{name} of a PromptBudget is {given}: use {least} or more"
                raise ValueError(msg)


DEFAULT_BUDGET = PromptBudget()
