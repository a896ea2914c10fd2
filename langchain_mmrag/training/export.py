"""Write a trained model as a folder that open_clip loads by `local-dir:`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from langchain_mmrag.training.config import PREPROCESS

VOCABULARY = "bpe_tiny.txt.gz"
WEIGHTS = "open_clip_model.safetensors"


def export(model: Any, model_cfg: dict[str, Any], vocabulary: Path, folder: Path) -> None:
    """Write config, half-precision weights and vocabulary into `folder`.

    Half precision is for storage only: open_clip copies it into single-precision parameters. Buffers that a
    model rebuilds by itself (the causal mask) are left out.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    side = model_cfg["vision_cfg"]["image_size"]
    text_cfg = {**model_cfg["text_cfg"], "tokenizer_kwargs": {"bpe_path": VOCABULARY}}
    config = {
        "model_cfg": {**model_cfg, "text_cfg": text_cfg},
        "preprocess_cfg": {"size": [side, side], **PREPROCESS},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
        if name != "attn_mask"
    }
    save_file(weights, folder / WEIGHTS)
    if vocabulary.resolve() != (folder / VOCABULARY).resolve():
        shutil.copyfile(vocabulary, folder / VOCABULARY)
