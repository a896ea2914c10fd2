"""A plain CLIP model on weights that are read straight into it: no random numbers first, no second copy.

open_clip fills both towers with random numbers and copies the weights over them, seconds for what takes half
of one here. What is not certain to come out the same is left to open_clip.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from langchain_mmrag.embeddings._tensor_file import TensorFile, opened_tensors

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_KINDS: Final = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # in torch's words
_ELSEWHERE: Final = {"timm_model_name", "hf_model_name"}  # towers of other packages
# What a configuration, a file or a version of open_clip that is not as expected raises on the way.
_MISFITS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def direct_model(
    weights: Path, model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any]
) -> tuple[Any, Any] | None:
    """A `CLIP` model of fp32 in main memory and its preprocessing, None where open_clip has to load it.

    The model has no more to do with the file, which may be written to or removed afterwards.

    Args:
        weights: A safetensors file in open_clip's own layout, every tensor under its name and of its shape;
            numbers of half precision become fp32.
        model_cfg: Shape of the two towers, in open_clip's words.
        preprocess_cfg: How an image becomes pixels, likewise.
    """
    keys = {*model_cfg["vision_cfg"], *model_cfg["text_cfg"]}
    if weights.suffix != ".safetensors" or model_cfg.get("custom_text") or keys & _ELSEWHERE:
        return None
    try:
        return _direct(weights, model_cfg, preprocess_cfg)
    except _MISFITS as error:
        logger.debug("%s is left to open_clip: %s: %s", weights, type(error).__name__, error)
        return None


def _direct(
    weights: Path, model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any]
) -> tuple[Any, Any] | None:
    import torch
    from open_clip import CLIP
    from open_clip.model import set_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = {key: value for key, value in deepcopy(dict(model_cfg)).items() if key != "custom_text"}
    with torch.device("meta"):
        model = CLIP(**config)
    expected = model.state_dict()
    with opened_tensors(weights) as file:
        if file.table.keys() != expected.keys():
            return None
        state = {name: _tensor(file, name, expected[name]) for name in expected}
    model.load_state_dict(state, strict=True, assign=True)
    if model.attn_mask is not None:
        positions = len(model.positional_embedding)
        model.attn_mask = torch.full((positions, positions), -math.inf).triu_(1)
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        return None
    set_model_preprocess_cfg(model, {**preprocess_cfg, "size": model.visual.image_size})
    return model, image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)


def _tensor(file: TensorFile, name: str, expected: torch.Tensor) -> torch.Tensor:
    """A tensor of the file, each in memory of its own so that it can be let go by itself.

    Raises:
        ValueError: If it is of another shape or kind than the model has.
    """
    import torch

    entry = file.table[name]
    kind: torch.dtype = getattr(torch, _KINDS[entry["dtype"]])
    begin, end = entry["data_offsets"]
    shape, size = tuple(entry["shape"]), math.prod(entry["shape"]) * kind.itemsize
    if shape != expected.shape or end - begin != size or expected.dtype != torch.float32:
        msg = f"a tensor of shape {shape} and {end - begin} bytes in place of {tuple(expected.shape)}"
        raise ValueError(msg)
    found = torch.empty(shape, dtype=kind)
    file.read_into(found.view(-1).view(torch.uint8).numpy(), name)
    return found.to(torch.float32)
