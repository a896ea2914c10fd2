"""`BlipReranker`: BLIP's image-text-matching head looks at each picture with the question."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

from langchain_core.documents import Document
from PIL import Image
from pydantic import PrivateAttr, field_validator

from langchain_mmrag._extras import require
from langchain_mmrag.embeddings._hub import load_with_processor, name_or_parts
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.queries import Query
from langchain_mmrag.reranking.base import ScoringReranker, batched, has_picture, picture_of


class BlipReranker(ScoringReranker):
    """Orders pictures by the probability that they match the text of the question.

    ```python
    BlipReranker()  # Salesforce/blip-itm-base-coco
    BlipReranker(model="path/to/a/folder", batch_size=8)
    BlipReranker(model=(model, processor))  # both loaded with transformers
    ```

    It reads pictures and key frames of videos only, and puts them into order among the ranks they hold;
    passages stay where they are. A question that is a picture alone changes nothing: the head needs words.

    Paper: Li et al. 2022, BLIP, https://arxiv.org/abs/2201.12086 (section 3.1, image-text matching).
    """

    model: Any = "Salesforce/blip-itm-base-coco"
    """Name or folder of a `BlipForImageTextRetrieval`, or a loaded model with its processor."""

    device: str | None = None
    """`"cpu"`, `"cuda"`, `"mps"`; the fastest there is by default. A loaded model stays where it is."""

    _lock: Any = PrivateAttr(default_factory=Lock)
    _loaded: tuple[Any, Any] | None = PrivateAttr(default=None)

    @field_validator("model")
    @classmethod
    def _is_a_name_or_both_parts(cls, model: Any) -> Any:
        return name_or_parts(model)

    def _scores(self, query: Query, documents: Sequence[Document], policy: MediaPolicy) -> list[float | None]:
        scores: list[float | None] = [None] * len(documents)
        text = (query.text or "").strip()
        candidates = [rank for rank, document in enumerate(documents) if has_picture(document)]
        if not text or not candidates:
            return scores
        for ranks in batched(candidates, self.batch_size):
            pictures = {rank: picture_of(documents[rank], policy) for rank in ranks}
            opened = {rank: picture for rank, picture in pictures.items() if picture is not None}
            for rank, score in zip(opened, self._match(text, [*opened.values()]), strict=True):
                scores[rank] = score
        return scores

    def _match(self, text: str, pictures: Sequence[Image.Image]) -> list[float]:
        """Probability that each picture matches `text`."""
        if not pictures:
            return []
        torch = require("torch", extra="transformers")
        with self._lock:
            model, processor = self._load()
            inputs = processor(
                images=[*pictures],
                text=[text] * len(pictures),
                padding=True,
                truncation=True,
                return_tensors="pt",
            )
            # the model makes its mask of the picture on torch's default device, wherever it runs itself
            with torch.inference_mode(), torch.device(model.device):
                logits = model(**inputs.to(model.device)).itm_score
        scores: list[float] = logits.float().softmax(-1)[:, 1].tolist()
        return scores

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            if isinstance(self.model, str):
                kind = "BlipForImageTextRetrieval"
                self._loaded = load_with_processor(self.model, kind, self.device)
            else:
                self._loaded = (self.model[0], self.model[1])
            self._loaded[0].eval()
        return self._loaded
