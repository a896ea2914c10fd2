"""A small CLAP of transformers with random weights, made on the spot: sounds and texts to vectors."""

from __future__ import annotations

from pathlib import Path

SAMPLING_RATE = 48_000
HEARD_S = 2


def clap(folder: Path, *, seed: int = 0, fused: bool = False) -> Path:
    """Write a CLAP whose audio tower is a small HTSAT to `folder`.

    Args:
        folder: Where to write; made if need be.
        seed: Of the weights.
        fused: Whether it is of the kind that takes long sounds as several crops.
    """
    import torch
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, RobertaTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(97, 123)]
    vocabulary = {
        token: n for n, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", "\u0120", *letters])
    }
    words = RobertaTokenizerFast(vocab=vocabulary, merges=[], model_max_length=64)
    audio = {
        "spec_size": 128, "num_mel_bins": 64, "patch_size": 4, "patch_stride": [4, 4], "window_size": 4,
        "depths": [1, 1], "num_attention_heads": [2, 2], "patch_embeds_hidden_size": 16, "hidden_size": 32,
        "enable_fusion": fused, "num_hidden_layers": 2, "projection_hidden_size": 32,
    }  # fmt: skip
    text = {
        "vocab_size": len(vocabulary), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 70, "initializer_range": 0.3,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=16))
    model.eval().save_pretrained(folder)
    extractor = ClapFeatureExtractor(
        sampling_rate=SAMPLING_RATE,
        max_length_s=HEARD_S,
        truncation="fusion" if fused else "rand_trunc",
        frequency_min=50,
    )
    ClapProcessor(extractor, words).save_pretrained(folder)
    return folder
