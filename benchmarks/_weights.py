"""One set of random weights of ViT-B-32 in each form that a package reads: made once, kept in a folder.

The files of open_clip lie as its downloads do, so that every package of it loads them by the name that its
users write. Weights are drawn, so vectors say nothing of pictures; speed does not depend on that.
"""

import os
from pathlib import Path

MODEL, TAG = "ViT-B-32", "laion2b_s34b_b79k"
SIDE = 224
CONTEXT = 77
# What open_clip and transformers call the same parameters.
LAYER_NAMES = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
TOWER_NAMES = {
    "vision": {
        "class_embedding": "embeddings.class_embedding",
        "conv1.weight": "embeddings.patch_embedding.weight",
        "positional_embedding": "embeddings.position_embedding.weight",
        "ln_pre.weight": "pre_layrnorm.weight",
        "ln_pre.bias": "pre_layrnorm.bias",
        "ln_post.weight": "post_layernorm.weight",
        "ln_post.bias": "post_layernorm.bias",
    },
    "text": {
        "token_embedding.weight": "embeddings.token_embedding.weight",
        "positional_embedding": "embeddings.position_embedding.weight",
        "ln_final.weight": "final_layer_norm.weight",
        "ln_final.bias": "final_layer_norm.bias",
    },
}


class Files:
    """Where each form lies; making one that is missing imports what it takes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.hub = self.folder / "hub"
        self.transformers = self.folder / "transformers"
        self.visual, self.text = self.folder / "visual.onnx", self.folder / "text.onnx"
        self.tokenizer = self.transformers / "tokenizer.json"

    def in_place_of_downloads(self) -> None:
        """Have Hugging Face's client read these files alone; before anything imports it."""
        os.environ["HF_HUB_CACHE"] = str(self.hub)
        os.environ["HF_HUB_OFFLINE"] = "1"

    def make(self) -> None:
        """Weights of open_clip, the same as a model of transformers, and their two graphs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._save_open_clip()
        if not self.tokenizer.exists():
            self._save_transformers()

    def make_graphs(self) -> None:
        """Export both towers, the batch and the length of texts left open.

        Raises:
            ImportError: If onnx or onnxscript is not installed.
        """
        if not self.text.exists():
            self._export()

    def _save_open_clip(self) -> None:
        from huggingface_hub.constants import REPO_ID_SEPARATOR
        from open_clip.pretrained import get_pretrained_cfg

        repo = get_pretrained_cfg(MODEL, TAG)["hf_hub"].rstrip("/")
        home = self.hub / f"models--{repo.replace('/', REPO_ID_SEPARATOR)}"
        commit = "0" * 40
        file = home / "snapshots" / commit / "open_clip_model.safetensors"
        if file.exists():
            return
        import open_clip
        import torch
        from safetensors.torch import save_file

        torch.manual_seed(0)
        state = open_clip.create_model(MODEL, pretrained=None).state_dict()
        file.parent.mkdir(parents=True, exist_ok=True)
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / "main").write_text(commit)
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)

    def _model(self):  # noqa: ANN202  of an untyped package
        import open_clip

        self.in_place_of_downloads()
        return open_clip.create_model(MODEL, pretrained=TAG).eval()

    def _save_transformers(self) -> None:
        from open_clip.tokenizer import SimpleTokenizer
        from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

        own = SimpleTokenizer()
        ends = {"bos_token_id": own.sot_token_id, "eos_token_id": own.eot_token_id}
        marks = {own.sot_token_id: "<|startoftext|>", own.eot_token_id: "<|endoftext|>"}
        vocabulary = {marks.get(number, token): number for token, number in own.encoder.items()}
        config = CLIPConfig(
            text_config={"hidden_act": "gelu", **ends},
            vision_config={"hidden_act": "gelu"},
            projection_dim=512,
        )
        model = CLIPModel(config)
        model.load_state_dict(as_transformers(self._model().state_dict()))
        model.save_pretrained(self.transformers)
        tokenizer = CLIPTokenizerFast(
            vocab=vocabulary, merges=[tuple(pair) for pair in own.bpe_ranks], model_max_length=CONTEXT
        )
        CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(self.transformers)

    def _export(self) -> None:
        import torch

        model = self._model()
        mask = model.attn_mask

        class Text(torch.nn.Module):
            """The text tower over as many tokens as it is given."""

            def __init__(self) -> None:
                super().__init__()
                self.clip = model

            def forward(self, tokens: torch.Tensor) -> torch.Tensor:
                length = tokens.shape[1]
                x = model.token_embedding(tokens) + model.positional_embedding[:length]
                x = model.ln_final(model.transformer(x, attn_mask=mask[:length, :length]))
                return x[torch.arange(x.shape[0]), tokens.argmax(dim=-1)] @ model.text_projection

        batch, length = (
            torch.export.Dim("batch", min=1, max=4096),
            torch.export.Dim("length", min=2, max=CONTEXT),
        )
        pixels, tokens = torch.zeros(2, 3, SIDE, SIDE), torch.ones(2, 9, dtype=torch.long)
        for tower, given, dims, file in (
            (model.visual, pixels, {0: batch}, self.visual),
            (Text().eval(), tokens, {0: batch, 1: length}, self.text),
        ):
            with torch.inference_mode(mode=False), torch.no_grad():
                torch.onnx.export(
                    tower,
                    (given,),
                    str(file),
                    dynamo=True,
                    dynamic_shapes=(dims,),
                    verbose=False,
                    input_names=["given"],
                    output_names=["vectors"],
                    external_data=False,
                )


def as_transformers(state: dict) -> dict:
    """Weights of open_clip's CLIP under the names that transformers has for them."""
    named = {"logit_scale": state["logit_scale"]}
    for side, ours, theirs in (("vision", "visual.", "vision_model."), ("text", "", "text_model.")):
        for name, tensor in state.items():
            if not name.startswith(f"{ours}transformer.resblocks."):
                continue
            _, _, number, part = name.removeprefix(ours).split(".", 3)
            layer = f"{theirs}encoder.layers.{number}"
            if part.startswith("attn.in_proj_"):
                for letter, piece in zip("qkv", tensor.chunk(3), strict=True):
                    named[f"{layer}.self_attn.{letter}_proj.{part.removeprefix('attn.in_proj_')}"] = piece
                continue
            for old, new in LAYER_NAMES.items():
                part = part.replace(old, new)
            named[f"{layer}.{part}"] = tensor
        for old, new in TOWER_NAMES[side].items():
            named[f"{theirs}{new}"] = state[f"{ours}{old}"]
    named["visual_projection.weight"] = state["visual.proj"].T.contiguous()
    named["text_projection.weight"] = state["text_projection"].T.contiguous()
    return named
