"""`BlipCaptioner`: BLIP and BLIP-2 describe pictures on this machine."""

from __future__ import annotations

from typing import Any, Final

from PIL.Image import Image

from langchain_mmrag._extras import require
from langchain_mmrag.captioning._local import LoadedOnce, check_counts
from langchain_mmrag.captioning.base import digest_of, tidy
from langchain_mmrag.embeddings._hub import load_with_processor, model_fingerprint, name_or_parts
from langchain_mmrag.errors import ModelUnavailableError

_KINDS: Final = ("BlipForConditionalGeneration", "Blip2ForConditionalGeneration")


class BlipCaptioner:
    """Describes pictures by a BLIP or BLIP-2 of transformers.

    ```python
    BlipCaptioner()  # Salesforce/blip-image-captioning-base
    BlipCaptioner("Salesforce/blip2-opt-2.7b", dtype="bfloat16")
    BlipCaptioner("path/to/a/folder", prompt="a drawing of")
    ```

    Weights are read at first use. The likeliest caption is searched for by beams, so that one picture has one
    caption.

    Papers: Li et al. 2022, BLIP, https://arxiv.org/abs/2201.12086 (conditional generation, section 3.1);
    Li et al. 2023, BLIP-2, https://arxiv.org/abs/2301.12597.

    Args:
        model: Name or folder of a model for conditional generation, or a loaded model with its processor.
        prompt: What every caption begins with, such as `a photo of`, and with BLIP is part of it; to BLIP-2
            it may be a question, and is no part of the answer.
        batch_size: Pictures at a time.
        max_new_tokens: How long a caption may get.
        num_beams: How many beginnings are kept in mind; 1 takes the likeliest word each time.
        device: `"cpu"`, `"cuda"`, `"mps"`; the fastest there is by default. A loaded model stays where it is.
        dtype: `"float32"`, `"bfloat16"`, `"float16"`; by default as the weights were saved.

    Raises:
        ValueError: If `model` is none of these, or a number is below 1.
    """

    def __init__(
        self,
        model: Any = "Salesforce/blip-image-captioning-base",
        *,
        prompt: str = "",
        batch_size: int = 8,
        max_new_tokens: int = 50,
        num_beams: int = 3,
        device: str | None = None,
        dtype: str = "auto",
    ) -> None:
        check_counts(batch_size=batch_size, max_new_tokens=max_new_tokens, num_beams=num_beams)
        self.model = name_or_parts(model)
        self.prompt = prompt.strip()
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens
        self.num_beams = num_beams
        self.device = device
        self.dtype = dtype
        self._loaded = LoadedOnce(self._load)
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """Names the model (a folder or a loaded one by its content), and a digest of the settings.

        Raises:
            ModelUnavailableError: If it is a folder that cannot be read.
        """
        if self._fingerprint is None:
            settings = digest_of(self.prompt, self.max_new_tokens, self.num_beams)
            self._fingerprint = f"blip:{model_fingerprint(self.model)}:{settings}"
        return self._fingerprint

    def caption(self, images: list[Image]) -> list[str]:
        """Describe pictures; see `ImageCaptioner.caption`.

        Raises:
            MissingDependencyError: If the extra `transformers` is not installed.
            ModelUnavailableError: If the model is not here and cannot be fetched, or makes no captions.
        """
        captions: list[str] = []
        for start in range(0, len(images), self.batch_size):
            captions += self._batch(images[start : start + self.batch_size])
        return captions

    def _batch(self, images: list[Image]) -> list[str]:
        torch = require("torch", extra="transformers")
        with self._loaded as (model, processor):
            words = {"text": [self.prompt] * len(images), "padding": True} if self.prompt else {}
            inputs = processor(images=images, return_tensors="pt", **words)
            # BLIP makes its mask of the picture on torch's default device, wherever it runs itself
            with torch.inference_mode(), torch.device(model.device):
                tokens = model.generate(
                    **inputs.to(model.device, dtype=model.dtype),
                    max_new_tokens=self.max_new_tokens,
                    num_beams=self.num_beams,
                    do_sample=False,
                )
            said = processor.batch_decode(tokens, skip_special_tokens=True)
        return [tidy(self._answer(each, type(model).__name__)) for each in said]

    def _answer(self, said: str, kind: str) -> str:
        said = said.strip()
        if self.prompt and kind.startswith("Blip2") and said.startswith(self.prompt):
            return said.removeprefix(self.prompt)
        return said

    def _load(self) -> tuple[Any, Any]:
        model, processor = self.model if not isinstance(self.model, str) else self._pretrained(self.model)
        if type(model).__name__ not in _KINDS:
            msg = f"a {type(model).__name__} is no BLIP that makes captions: use one of {', '.join(_KINDS)}"
            raise ModelUnavailableError(msg)
        return model.eval(), processor

    def _pretrained(self, name: str) -> tuple[Any, Any]:
        model, processor = load_with_processor(
            name, "AutoModelForImageTextToText", self.device, dtype=self.dtype
        )
        # another head on the same body loads too, and what it lacks is filled in by chance
        trained_as = [*(getattr(model.config, "architectures", None) or [])]
        if trained_as and not set(trained_as) & set(_KINDS):
            msg = (
                f"{name} is a {trained_as[0]}, which makes no captions: use one trained for conditional"
                " generation, such as Salesforce/blip-image-captioning-base"
            )
            raise ModelUnavailableError(msg)
        return model, processor
