"""`CoCaCaptioner`: the decoder of an open_clip CoCa describes pictures on this machine."""

from __future__ import annotations

from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from PIL.Image import Image

from langchain_mmrag.captioning._local import LoadedOnce, check_counts
from langchain_mmrag.captioning.base import digest_of, tidy
from langchain_mmrag.embeddings import _open_clip_models as models
from langchain_mmrag.embeddings._devices import choose_device
from langchain_mmrag.embeddings._open_clip_tokens import padding_of
from langchain_mmrag.errors import ModelUnavailableError

if TYPE_CHECKING:
    import torch

_DEFAULT_MODEL: Final = "coca_ViT-L-14"
_DEFAULT_CHECKPOINT: Final = "mscoco_finetuned_laion2b_s13b_b90k"
_SHORTEST: Final = 3
"""Tokens before a caption may end: an empty one is often the likeliest of all."""


class CoCaCaptioner:
    """Describes pictures by a CoCa of open_clip.

    ```python
    CoCaCaptioner()  # coca_ViT-L-14, tuned on COCO's captions
    CoCaCaptioner("coca_ViT-B-32", "laion2b_s13b_b90k")
    CoCaCaptioner("local-dir:/path/to/a/folder")
    ```

    Weights are read at first use. The likeliest caption is searched for by beams, here and not by open_clip's
    own `generate`, which needs parts of transformers that its version 5 no longer has.

    Paper: Yu et al. 2022, CoCa, https://arxiv.org/abs/2205.01917 (the captioning decoder, section 3.2).

    Args:
        model_name: A name as `OpenCLIPEmbeddings` takes it, whose model is a CoCa.
        checkpoint: Its weights, likewise. `coca_ViT-L-14` has a default.
        batch_size: Pictures at a time.
        max_new_tokens: How long a caption may get.
        num_beams: How many beginnings are kept in mind; 1 takes the likeliest word each time.
        device: `"cpu"`, `"cuda"`, `"mps"`; the fastest there is by default.
        cache_dir: Where downloaded weights are kept, in place of the hub's own cache.

    Raises:
        ValueError: If a number is below 1.
    """

    def __init__(
        self,
        model_name: str = _DEFAULT_MODEL,
        checkpoint: str | PathLike[str] | None = None,
        *,
        batch_size: int = 8,
        max_new_tokens: int = 30,
        num_beams: int = 3,
        device: str | None = None,
        cache_dir: str | PathLike[str] | None = None,
    ) -> None:
        check_counts(batch_size=batch_size, max_new_tokens=max_new_tokens, num_beams=num_beams)
        if checkpoint is None and model_name == _DEFAULT_MODEL:
            checkpoint = _DEFAULT_CHECKPOINT
        self.model_name = model_name
        self.checkpoint = None if checkpoint is None else fspath(checkpoint)
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens
        self.num_beams = num_beams
        self.device = device
        self.cache_dir = None if cache_dir is None else fspath(cache_dir)
        self._loaded = LoadedOnce(self._load)
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """Names the model (a folder by its content), and a digest of the settings; reads no named weights.

        Raises:
            UnknownModelError: If no model goes by this name.
            ModelUnavailableError: If it is a folder that is missing or broken.
        """
        if self._fingerprint is None:
            settings = digest_of(self.max_new_tokens, self.num_beams)
            self._fingerprint = f"coca:{self._found().fingerprint}:{settings}"
        return self._fingerprint

    def caption(self, images: list[Image]) -> list[str]:
        """Describe pictures; see `ImageCaptioner.caption`.

        Raises:
            UnknownModelError: If no model goes by this name.
            ModelUnavailableError: If the weights are not here and cannot be fetched, or it is no CoCa.
        """
        import torch

        captions: list[str] = []
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            with self._loaded as loaded, torch.inference_mode():
                pixels = torch.stack([loaded.preprocess(image) for image in batch])
                marks = _marks(loaded.tokenizer)
                rows = _search(
                    loaded.model,
                    pixels.to(loaded.device, loaded.dtype),
                    marks,
                    beams=self.num_beams,
                    longest=min(self.max_new_tokens, loaded.model.context_length - 1),
                ).tolist()
            captions += [tidy(_words(loaded.tokenizer, row, marks)) for row in rows]
        return captions

    def _found(self) -> models.Blueprint:
        return models.find_model(self.model_name, self.checkpoint, self.cache_dir)

    def _load(self) -> models.Loaded:
        blueprint = self._found()
        if "multimodal_cfg" not in blueprint.model_cfg:
            msg = f"{self.model_name} is no CoCa, so it makes no captions: use coca_ViT-L-14 or coca_ViT-B-32"
            raise ModelUnavailableError(msg)
        return models.load(blueprint, choose_device(self.device), "fp32")


class _Marks(NamedTuple):
    """Ids of the tokens before, after and behind a caption."""

    start: int
    end: int
    padding: int


def _marks(tokenizer: Any) -> _Marks:
    inner: Any = getattr(tokenizer, "tokenizer", None)
    start = getattr(tokenizer, "sot_token_id", None)
    end = getattr(tokenizer, "eot_token_id", None)
    if start is None or end is None:  # one of transformers
        start = inner.bos_token_id if inner.bos_token_id is not None else inner.cls_token_id
        end = inner.eos_token_id if inner.eos_token_id is not None else inner.sep_token_id
    return _Marks(int(start), int(end), padding_of(tokenizer))


def _words(tokenizer: Any, row: list[int], marks: _Marks) -> str:
    tokens = row[1:]
    tokens = tokens[: tokens.index(marks.end)] if marks.end in tokens else tokens
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    return str(inner.decode(tokens))


def _search(model: Any, pixels: torch.Tensor, marks: _Marks, *, beams: int, longest: int) -> torch.Tensor:
    """Captions by beam search, the likeliest by the mean of its tokens.

    Args:
        model: A CoCa.
        pixels: Pictures [n, 3, h, w].
        marks: Special tokens.
        beams: Beginnings kept for each picture.
        longest: Tokens after the first.

    Returns:
        Tokens [n, <= longest + 1], padded.
    """
    import torch

    seen = model(pixels)
    n, place = len(pixels), pixels.device
    latent = seen["image_features"].repeat_interleave(beams, 0)
    tokens_seen = seen["image_embs"].repeat_interleave(beams, 0)
    rows = torch.full((n * beams, 1), marks.start, device=place)
    scores = torch.full((n, beams), -torch.inf, device=place)
    scores[:, 0] = 0  # all beams begin alike: one of them is enough
    lengths = torch.zeros(n * beams, device=place)
    ended = torch.zeros(n * beams, dtype=torch.bool, device=place)
    for step in range(longest):
        logits = model(None, rows, image_latent=latent, image_embs=tokens_seen, output_labels=False)["logits"]
        likely = logits[:, -1].float().log_softmax(-1)
        if step < _SHORTEST:
            likely[:, marks.end] = -torch.inf
        likely[ended] = -torch.inf
        likely[ended, marks.padding] = 0
        size = likely.shape[-1]
        scores, best = (scores[..., None] + likely.view(n, beams, size)).view(n, -1).topk(beams)
        kept = (best // size + torch.arange(n, device=place)[:, None] * beams).view(-1)
        chosen = (best % size).view(-1)
        lengths = lengths[kept] + ~ended[kept]
        ended = ended[kept] | (chosen == marks.end)
        rows = torch.cat([rows[kept], chosen[:, None]], 1)
        if ended.all():
            break
    winners = (scores / lengths.view(n, beams).clamp(min=1)).argmax(1)
    return rows.view(n, beams, -1)[torch.arange(n, device=place), winners]
