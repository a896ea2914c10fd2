"""Name what a picture shows by comparing it with texts: no training, only an embedding of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from langchain_core.runnables.config import run_in_executor
from numpy.typing import NDArray

from langchain_mmrag.embeddings.base import MultimodalEmbeddings
from langchain_mmrag.types import ImageInput

_CLIP_SCALE = 100.0  # where CLIP's learned factor on cosines ends up; for embeddings that do not say


def similarity_matrix(
    embeddings: MultimodalEmbeddings, images: Sequence[ImageInput], texts: Sequence[str]
) -> NDArray[np.float32]:
    """Cosine of every image with every text, [n_images, n_texts]."""
    return embeddings.embed_images_array(images).vectors @ embeddings.embed_texts_array(texts).T


class ZeroShotClassifier:
    """Tells pictures apart by the names of what they may show.

    Each label is put into each template; the unit vectors of these texts are averaged into one vector per
    label ("Learning Transferable Visual Models From Natural Language Supervision", section 3.1.4: an ensemble
    in the space of embeddings, not of probabilities). The probabilities of a picture are the softmax of its
    cosines, times the scale the model has learned.

    Args:
        embeddings: Embeds both texts and images.
        labels: What a picture may show; at least one, no two the same.
        templates: Texts with `{}` where the label goes.
        logit_scale: Factor on cosines before the softmax; None takes the model's own.

    Example:
        ```python
        charts = ZeroShotClassifier(clip, ["bar chart", "line chart", "pie chart"])
        charts.classify(["q3.png"])  # [{"bar chart": 0.93, "line chart": 0.05, "pie chart": 0.02}]
        ```
    """

    def __init__(
        self,
        embeddings: MultimodalEmbeddings,
        labels: Sequence[str],
        *,
        templates: Sequence[str] = ("{}", "a picture of a {}"),
        logit_scale: float | None = None,
    ) -> None:
        if isinstance(labels, str) or isinstance(templates, str):
            msg = "labels and templates are lists of str, not one str"
            raise TypeError(msg)
        for name, values in (("labels", labels), ("templates", templates)):
            _check_texts(name, values)
        if not labels or len(set(labels)) < len(labels):
            msg = f"labels must be at least one, and no two the same: {list(labels)!r}"
            raise ValueError(msg)
        without = [template for template in templates if "{}" not in template]
        if without or not templates:
            msg = f"every template needs {{}} where the label goes; without it: {without!r}"
            raise ValueError(msg)
        self.embeddings = embeddings
        self.labels = list(labels)
        self.templates = list(templates)
        self._scale = logit_scale
        self._vectors: NDArray[np.float32] | None = None

    @property
    def label_vectors(self) -> NDArray[np.float32]:
        """One unit vector per label [n_labels, d], made at first use."""
        if self._vectors is None:
            texts = [template.replace("{}", label) for label in self.labels for template in self.templates]
            by_text = self.embeddings.embed_texts_array(texts)
            mean = by_text.reshape(len(self.labels), len(self.templates), -1).mean(axis=1)
            self._vectors = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return self._vectors

    @property
    def logit_scale(self) -> float:
        """Factor on cosines before the softmax."""
        if self._scale is None:
            self._scale = float(getattr(self.embeddings, "logit_scale", _CLIP_SCALE))
        return self._scale

    def classify(self, images: Sequence[ImageInput]) -> list[dict[str, float]]:
        """Probability of every label for each image, the most likely label first.

        Raises:
            LoadError: If an image cannot be read; the message has its place in the list and its source.
        """
        cosines = self.embeddings.embed_images_array(images).vectors @ self.label_vectors.T
        logits = self.logit_scale * cosines.astype(np.float64)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = weights / weights.sum(axis=1, keepdims=True)
        return [{self.labels[i]: float(row[i]) for i in np.argsort(-row, kind="stable")} for row in shares]

    def similarity_matrix(self, images: Sequence[ImageInput], texts: Sequence[str]) -> NDArray[np.float32]:
        """Cosine of every image with every text, [n_images, n_texts]."""
        return similarity_matrix(self.embeddings, images, texts)

    async def aclassify(self, images: Sequence[ImageInput]) -> list[dict[str, float]]:
        """Classify in a worker thread; see `classify`."""
        return await run_in_executor(None, self.classify, images)

    async def asimilarity_matrix(
        self, images: Sequence[ImageInput], texts: Sequence[str]
    ) -> NDArray[np.float32]:
        """Compare in a worker thread; see `similarity_matrix`."""
        return await run_in_executor(None, self.similarity_matrix, images, texts)


def _check_texts(name: str, values: Any) -> None:
    if not isinstance(values, Iterable):
        msg = f"{name} is {values!r}: give a list of str"
        raise TypeError(msg)
    for place, value in enumerate(values):
        if not isinstance(value, str):
            msg = f"{name}[{place}] is {value!r}: give a list of str"
            raise TypeError(msg)
