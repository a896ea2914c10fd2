"""How much a prompt may hold, and what its parts take: pictures, tokens, bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Any, get_args

from langchain_mmrag._chat_models import ModelFamily, family_of, input_limit_of

_SHARE_OF_INPUT = 0.75
"""Of what a model reads, for the evidence; the rest is for the rules, the question, and wrong estimates."""


@dataclass(frozen=True, kw_only=True)
class PromptBudget:
    """Limits of the evidence in a prompt. What does not fit is left out from the lowest rank up.

    Attributes:
        max_images: So many pictures at most, key frames and the picture of the question among them; with 0
            that is not shown either.
        max_tokens: Tokens of text and pictures together, by estimate (`text_tokens`, `image_tokens`);
            `None`: no limit, or what `budget_for` finds in the model's profile.
        max_image_bytes: Bytes of all pictures together, as they are sent (base64).
        max_side: Longer side of a picture in pixels; larger ones are shrunk, keeping the aspect.
        family: Whose rules count a picture's tokens; `None`: those of the model at hand, else a default.

    Raises:
        ValueError: If a limit is negative, `max_side` is less than 1, or `family` is unknown.
        TypeError: If a limit is no whole number.
    """

    max_images: int = 8
    max_tokens: int | None = None
    max_image_bytes: int = 15_000_000
    max_side: int = 1024
    family: ModelFamily | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_images", 0), ("max_tokens", 0), ("max_image_bytes", 0), ("max_side", 1)):
            given: Any = getattr(self, name)
            if given is None and name == "max_tokens":
                continue
            if isinstance(given, bool) or not isinstance(given, int):
                msg = f"{name} of a PromptBudget is {given!r}: give a whole number"
                raise TypeError(msg)
            if given < least:
                msg = f"{name} of a PromptBudget is {given}: use {least} or more"
                raise ValueError(msg)
        if self.family not in {None, *get_args(ModelFamily)}:
            names = ", ".join(get_args(ModelFamily))
            msg = f"unknown family {self.family!r} of a PromptBudget: use one of {names}"
            raise ValueError(msg)


DEFAULT_BUDGET = PromptBudget()


def budget_for(llm: object, budget: PromptBudget | None = None) -> PromptBudget:
    """`budget` with what it leaves open filled in from a chat model, also one inside of wrappers.

    The family is told by the provider and the model's name. Without `max_tokens` the evidence may take three
    quarters of what the model reads, where its profile says how much that is.
    """
    budget = budget or DEFAULT_BUDGET
    limit = input_limit_of(llm)
    share = None if limit is None else int(limit * _SHARE_OF_INPUT)
    return replace(
        budget,
        family=budget.family or family_of(llm),
        max_tokens=share if budget.max_tokens is None else budget.max_tokens,
    )


def text_tokens(text: str) -> int:
    """About how many tokens a text takes: a quarter of its ASCII characters, a third of its other bytes.

    Four characters a token is what OpenAI, Google and LangChain reckon for English. Beyond ASCII a third of
    the UTF-8 bytes gives two tokens for three Cyrillic or Greek letters and one for each Chinese or Japanese
    character, somewhat above what today's tokenizers need. Digits and program code may take more.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    ascii_size = len(text.encode("ascii", "ignore"))
    return ceil(ascii_size / 4 + (size - ascii_size) / 3)


def image_tokens(width: int, height: int, family: ModelFamily | None = None) -> int:
    """About how many tokens a picture takes.

    Nothing here is exact: providers change their rules with their models, and charge small models a multiple
    (OpenAI's mini and nano by 1.6 to 2.5), which is a price and no place in the context.

    - `openai` (GPT-4o, GPT-4.1, GPT-5, o1, o3): fitted into 2048 x 2048, then the shorter side into 768; 85
      tokens and 170 for each tile of 512 pixels. https://platform.openai.com/docs/guides/images-vision
    - `openai-patches` (their mini and nano models, o4-mini, GPT-5.2 and later): one for each patch of 32
      pixels, 1,536 at most; the same page.
    - `anthropic`: the longer side fitted into 1,568, then width x height / 750. The latest models read
      larger pictures, at more tokens. https://docs.anthropic.com/en/docs/build-with-claude/vision
    - `google` (Gemini up to 2.5): 258 if no side is above 384, else 258 for each tile of 768; Google says
      that it cuts and scales "as needed", so more tiles may come of it.
      https://ai.google.dev/gemini-api/docs/tokens
    - `google-fixed` (Gemini 3 and later): 1,120 whatever the size, the default of `media_resolution`.
      https://ai.google.dev/gemini-api/docs/media-resolution
    - `other`, `None`: one for each patch of 28 pixels, as Qwen2-VL counts (arXiv:2409.12191), in the middle
      of what open models take.

    Args:
        width: Pixels across.
        height: Pixels down.
        family: Whose rules to go by.

    Raises:
        ValueError: If a side is below 1.
    """
    if width < 1 or height < 1:
        msg = f"a picture of {width} x {height} pixels has no tokens: both sides must be 1 or more"
        raise ValueError(msg)
    size = (width, height)
    if family == "openai":
        width, height = _fitted(*size, min(2048 / max(size), 768 / min(size)))
        return 85 + 170 * _squares(width, height, 512)
    if family == "openai-patches":
        return min(_squares(width, height, 32), 1536)
    if family == "anthropic":
        width, height = _fitted(*size, 1568 / max(size))
        return ceil(width * height / 750)
    if family == "google":
        return 258 * (1 if max(size) <= 384 else _squares(width, height, 768))  # noqa: PLR2004 - its rule
    return 1120 if family == "google-fixed" else _squares(width, height, 28)


def _fitted(width: int, height: int, scale: float) -> tuple[int, int]:
    """Sides after shrinking, where there is something to shrink."""
    scale = min(1.0, scale)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _squares(width: int, height: int, side: int) -> int:
    return ceil(width / side) * ceil(height / side)
