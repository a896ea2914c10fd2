"""`CrossEncoderReranker`: a cross-encoder of sentence-transformers reads question and document together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from langchain_core.documents import Document
from pydantic import PrivateAttr, field_validator

from langchain_mmrag._extras import require
from langchain_mmrag.embeddings._hub import load_pretrained
from langchain_mmrag.media import MediaPolicy, open_image
from langchain_mmrag.prompts import kind_of
from langchain_mmrag.queries import Query
from langchain_mmrag.quotes import excerpt_of
from langchain_mmrag.reranking.base import ScoringReranker, batched, has_picture, picture_of, picture_text

_LIKE_A_PLACE = re.compile(r"\s*(?:data:|https?://)|.*\.\w{2,5}\s*\Z", re.IGNORECASE | re.DOTALL)


class CrossEncoderReranker(ScoringReranker):
    """Orders documents by the score of a cross-encoder, pictures and passages on one scale.

    ```python
    CrossEncoderReranker(model="Qwen/Qwen3-VL-Reranker-2B")
    CrossEncoderReranker(model=CrossEncoder(...), top_n=5)
    ```

    A model that reads pictures gets the picture with its caption, and the picture that was asked with. For
    one that reads text only, a picture stands by its caption and the words in it; one without either keeps
    its rank. Long passages are read by the part that was found.
    """

    model: Any
    """Name or folder of a `CrossEncoder` (sentence-transformers 5.4 or later for pictures), or one loaded."""

    device: str | None = None
    """Where to run a model given by its name; the fastest device there is by default."""

    _lock: Any = PrivateAttr(default_factory=Lock)
    _loaded: Any = PrivateAttr(default=None)

    @field_validator("model")
    @classmethod
    def _can_predict(cls, model: Any) -> Any:
        if isinstance(model, str) or callable(getattr(model, "predict", None)):
            return model
        msg = f"model is a {type(model).__name__}: give a name, a folder, or a CrossEncoder"
        raise ValueError(msg)

    def _scores(self, query: Query, documents: Sequence[Document], policy: MediaPolicy) -> list[float | None]:
        scores: list[float | None] = [None] * len(documents)
        with self._lock:
            model = self._load()
        sees = "image" in getattr(model, "modalities", ())
        asked = self._question(query, policy, sees=sees)
        if asked is None:
            return scores
        for ranks in batched(range(len(documents)), self.batch_size):
            inputs = {rank: self._input(documents[rank], policy, sees=sees) for rank in ranks}
            pairs = {rank: (asked, read) for rank, read in inputs.items() if read is not None}
            for rank, score in zip(pairs, self._predict(model, [*pairs.values()]), strict=True):
                scores[rank] = score
        return scores

    def _question(self, query: Query, policy: MediaPolicy, *, sees: bool) -> Any:
        text = (query.text or "").strip()
        picture = open_image(query.image, policy) if sees and query.image is not None else None
        return _together(picture, text)

    def _input(self, document: Document, policy: MediaPolicy, *, sees: bool) -> Any:
        """What the model reads of a document; `None` if there is nothing."""
        if kind_of(document) == "image":
            picture = picture_of(document, policy) if sees else None
            # a picture that cannot be opened must not fall behind for the little its caption says
            is_lost = sees and picture is None and has_picture(document)
            return None if is_lost else _together(picture, picture_text(document))
        picture = picture_of(document, policy) if sees and has_picture(document) else None
        return _together(picture, excerpt_of(document).text.strip())

    def _predict(self, model: Any, pairs: list[tuple[Any, Any]]) -> list[float]:
        if not pairs:
            return []
        with self._lock:
            scores = np.asarray(
                model.predict(pairs, batch_size=self.batch_size, show_progress_bar=False), dtype=float
            )
        if scores.size != len(pairs):
            labels = scores.size // len(pairs)
            msg = (
                f"{self.model!r} gives {labels} scores for a pair: it tells classes apart, it does not rank."
                " Use a cross-encoder with one label"
            )
            raise ValueError(msg)
        flat: list[float] = scores.reshape(-1).tolist()
        return flat

    def _load(self) -> Any:
        if self._loaded is None:
            self._loaded = self._from_name(self.model) if isinstance(self.model, str) else self.model
        return self._loaded

    def _from_name(self, name: str) -> Any:
        library = require("sentence_transformers", extra="rerank")
        return load_pretrained(
            name, lambda local: library.CrossEncoder(name, device=self.device, local_files_only=local)
        )


def _together(picture: Any, text: str) -> Any:
    """One side of a pair as sentence-transformers takes it: text, a picture, both in a dict, or nothing."""
    if picture is None:
        return _plain(text) if text else None
    return {"image": picture, "text": text} if text else picture


def _plain(text: str) -> str:
    """Text that is taken for text: sentence-transformers opens a `str` that is a path or address of media.

    What documents say is not to be trusted with that. Blanks around it keep it from being recognised.
    """
    return f" {text} " if _LIKE_A_PLACE.match(text) else text
