"""Captioners by name, as the command line has them."""

from __future__ import annotations

from typing import Any

from langchain_mmrag._chat_models import open_chat_model
from langchain_mmrag.captioning.base import ImageCaptioner
from langchain_mmrag.captioning.blip import BlipCaptioner
from langchain_mmrag.captioning.chat_model import ChatModelCaptioner
from langchain_mmrag.captioning.coca import CoCaCaptioner
from langchain_mmrag.errors import MMRAGError

_OWN_WEIGHTS = ("local-dir:", "hf-hub:")


def captioner_named(name: str, *, option: str = "--captions", **settings: Any) -> ImageCaptioner:
    """A captioner by name; no weights are read yet, and nothing is asked.

    Args:
        name: `blip:NAME` (a model of transformers, or a folder), `coca:NAME` or `coca:NAME/CHECKPOINT` (of
            open_clip; also `coca:local-dir:/folder`), else a chat model: `PROVIDER:MODEL`, such as
            `openai:gpt-5-mini`. `blip` and `coca` alone take their default model.
        option: What the name was given for, as errors name it.
        **settings: For the captioner's class, such as `prompt`.

    Raises:
        MissingDependencyError: If a chat model is named and the extra `agents` is not installed.
        MMRAGError: If there is no such provider, its package is missing, there is no key, or it is known
            that the model takes no pictures.
    """
    kind, _, model = name.strip().partition(":")
    if kind == "blip":
        return BlipCaptioner(*([model] if model else []), **settings)
    if kind == "coca":
        if model.startswith(_OWN_WEIGHTS):
            return CoCaCaptioner(model, **settings)
        architecture, _, checkpoint = model.partition("/")
        named = [architecture, checkpoint] if checkpoint else [architecture] if architecture else []
        return CoCaCaptioner(*named, **settings)
    if not model:
        msg = f"cannot use {option} {name}: write PROVIDER:MODEL, such as openai:gpt-5-mini, blip or coca"
        raise MMRAGError(msg)
    try:
        return ChatModelCaptioner(open_chat_model(name, option=option), **settings)
    except ValueError as error:
        msg = f"cannot use {option} {name}: {error}"
        raise MMRAGError(msg) from error
