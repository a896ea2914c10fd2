"""Small captioning models, made and taught on the spot: a BLIP, a BLIP-2 and a CoCa that name plain colours.

Asked for a picture of one of `COLOURS`, each says `CAPTION` with its colour; teaching takes a few seconds.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from langchain_mmrag.embeddings._open_clip_models import TINY_FOLDER
from tests.tiny_vision_model import COLOURS, SIDE, _blip_processor, _letters, plain

CAPTION = "a {} card"
_SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


def blip(folder: Path, *, steps: int = 40) -> Path:
    """Write a `BlipForConditionalGeneration` to `folder`."""
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    processor = _blip_processor(folder)
    words = processor.tokenizer
    config = BlipConfig(
        text_config={
            **_SMALL, "vocab_size": len(words), "encoder_hidden_size": 32, "projection_dim": 16,
            "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 2, "sep_token_id": 3,
            "eos_token_id": 3, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
            "initializer_range": 0.2, "label_smoothing": 0.0,
        },
        vision_config={**_SMALL, "image_size": SIDE, "patch_size": 16, "initializer_range": 0.2},
        projection_dim=16,
        image_text_hidden_size=16,
    )  # fmt: skip

    def loss(model: Any, images: list[Image.Image], captions: list[str]) -> Any:
        inputs = processor(images=images, text=captions, padding=True, return_tensors="pt")
        labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
        return model(**inputs, labels=labels).loss

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BlipForConditionalGeneration(config)
        _teach(model, loss, steps)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def blip2(folder: Path, *, steps: int = 40) -> Path:
    """Write a `Blip2ForConditionalGeneration` around an OPT to `folder`."""
    import torch
    from tokenizers.processors import TemplateProcessing
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        BlipImageProcessor,
        GenerationConfig,
        OPTConfig,
    )

    words = _letters(["<image>"])
    words.image_token = "<image>"
    start = ("<s>", words.bos_token_id)
    words.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[start])
    marks = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    image_token = words.convert_tokens_to_ids("<image>")
    text = OPTConfig(
        vocab_size=len(words), hidden_size=32, ffn_dim=64, num_hidden_layers=1, num_attention_heads=2,
        word_embed_proj_dim=32, max_position_embeddings=64, init_std=0.2, dropout=0.0,
        pad_token_id=words.pad_token_id, **marks,
    )  # fmt: skip
    config = Blip2Config(
        vision_config={**_SMALL, "image_size": SIDE, "patch_size": 16, "initializer_range": 0.2},
        qformer_config={
            **_SMALL, "encoder_hidden_size": 32, "vocab_size": 10, "initializer_range": 0.2,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        },
        text_config=text.to_dict(),
        num_query_tokens=2,
        image_token_index=image_token,
    )  # fmt: skip
    processor = Blip2Processor(BlipImageProcessor(size={"height": SIDE, "width": SIDE}), words, 2)

    def loss(model: Any, images: list[Image.Image], captions: list[str]) -> Any:
        pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"]
        start, end = [image_token] * 2 + [marks["bos_token_id"]], [marks["eos_token_id"]]
        rows = [torch.tensor([*start, *words.encode(c, add_special_tokens=False), *end]) for c in captions]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=words.pad_token_id)
        given = (ids != words.pad_token_id).long()
        labels = ids.masked_fill((given == 0) | (ids == image_token), -100)
        return model(pixel_values=pixels, input_ids=ids, attention_mask=given, labels=labels).loss

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Blip2ForConditionalGeneration(config)
        torch.nn.init.normal_(model.query_tokens, std=0.5)
        _teach(model, loss, steps)
    model.generation_config = GenerationConfig(pad_token_id=words.pad_token_id, **marks)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def coca(folder: Path, *, steps: int = 60) -> Path:
    """Write a CoCa of open_clip to `folder`, with the vocabulary of the embedded model."""
    import open_clip
    import torch
    from open_clip.coca_model import CoCa
    from safetensors.torch import save_file

    shape = {"context_length": 16, "vocab_size": 7864, "heads": 2, "width": 16, "layers": 1}
    model_cfg = {
        "embed_dim": 16,
        "multimodal_cfg": {**shape, "dim_head": 8, "n_queries": 4, "attn_pooler_heads": 2},
        "vision_cfg": {
            "image_size": SIDE, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16,
            "attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2, "output_tokens": True,
        },
        "text_cfg": {
            **shape, "embed_cls": True, "output_tokens": True,
            "tokenizer_kwargs": {"bpe_path": "bpe_tiny.txt.gz"},
        },
        "custom_text": True,
    }  # fmt: skip
    preprocess_cfg = {"size": [SIDE, SIDE], "mean": [0.5] * 3, "std": [0.5] * 3}
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    merges = shutil.copy(TINY_FOLDER / "bpe_tiny.txt.gz", folder)
    tokenizer = open_clip.SimpleTokenizer(bpe_path=merges, context_length=16)

    def loss(model: Any, images: list[Image.Image], captions: list[str]) -> Any:
        prepare = open_clip.image_transform((SIDE, SIDE), is_train=False, mean=(0.5,) * 3, std=(0.5,) * 3)
        tokens = tokenizer(captions)
        tokens = tokens[:, : int((tokens != 0).sum(1).max())]
        out = model(torch.stack([prepare(image) for image in images]), tokens)
        return torch.nn.functional.cross_entropy(out["logits"].transpose(1, 2), out["labels"], ignore_index=0)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        cfg = {key: value for key, value in model_cfg.items() if key != "custom_text"}
        model = CoCa(**cfg)
        torch.nn.init.normal_(model.text_decoder.text_projection, std=0.2)  # left as it was in memory
        _teach(model, loss, steps, rate=1e-2)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def _teach(model: Any, loss: Callable[..., Any], steps: int, rate: float = 5e-3) -> None:
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    model.train()
    for images, captions in _lessons(steps):
        error = loss(model, images, captions)
        optimizer.zero_grad()
        error.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def _lessons(steps: int) -> Iterator[tuple[list[Image.Image], list[str]]]:
    chance = random.Random(0)
    for _ in range(steps):
        yield (
            [plain(colour, chance.randint(-20, 20)) for colour in COLOURS],
            [CAPTION.format(colour) for colour in COLOURS],
        )
