"""Captions for the drawings of the demo, by a captioner that runs anywhere: the embedded model itself.

It names what a picture shows out of the things that it was trained to know, by zero-shot classification. So
it makes mistakes, as captioners do, and they are part of what `mmrag eval --pattern` compares; unlike a real
one it knows no other words, and errs where the search by pictures errs, being the same model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Final

from langchain_mmrag.demo.corpus import THINGS
from langchain_mmrag.demo.labelled import UNRELATED
from langchain_mmrag.embeddings.base import MultimodalEmbeddings
from langchain_mmrag.evaluation.dataset import RetrievalDataset
from langchain_mmrag.training.render.charts import KINDS
from langchain_mmrag.training.render.palette import COLORS, with_article
from langchain_mmrag.training.render.shapes import FORMS, ShapeCard
from langchain_mmrag.types import ImageInput
from langchain_mmrag.zero_shot import ZeroShotClassifier

_COUNTS: Final = (1, 2, 3)
_CERTAIN: Final = 0.2
"""A picture of two things gives each of them about half of the probability."""
_MOST: Final = 2


class DrawingCaptioner:
    """Names what drawings of the demo show; a captioner for `CaptionTransformer`.

    Args:
        embeddings: Of texts and pictures.
    """

    def __init__(self, embeddings: MultimodalEmbeddings) -> None:
        self._embeddings = embeddings

    @property
    def fingerprint(self) -> str:
        """Names the model and what it may say."""
        return f"drawings:{self._embeddings.fingerprint}:{len(labels())}"

    def caption(self, images: Sequence[ImageInput]) -> list[str]:
        """A caption for each picture, in order."""
        classifier = ZeroShotClassifier(self._embeddings, labels(), templates=("{}",))
        return [caption_of(shares) for shares in classifier.classify([*images])] if images else []


def captioned(dataset: RetrievalDataset, embeddings: MultimodalEmbeddings) -> RetrievalDataset:
    """The dataset with a caption for each picture that has no text of its own.

    Args:
        dataset: One of the demo's.
        embeddings: Of texts and pictures.
    """
    captioner = DrawingCaptioner(embeddings)
    bare = [each for each in dataset.documents if each.image is not None and not each.text.strip()]
    captions = captioner.caption([str(each.image) for each in bare])
    said = {each.id: caption for each, caption in zip(bare, captions, strict=True)}
    documents = [replace(each, text=said[each.id]) if each.id in said else each for each in dataset.documents]
    return replace(dataset, documents=documents)


def caption_of(shares: Mapping[str, float]) -> str:
    """A caption of the most probable labels, the best first.

    Args:
        shares: Probability of each label, the most likely first.
    """
    best, *others = list(shares.items())[:_MOST]
    named = [best[0], *(label for label, share in others if share >= _CERTAIN)]
    return f"a picture of {' and '.join(named)}"


@cache
def labels() -> list[str]:
    """What the captioner knows: things, cards of shapes, charts; more than the demo shows."""
    others = " ".join(UNRELATED.split()).split(", ")
    things = [with_article(name) for name in (*THINGS, *others)]
    cards = [ShapeCard(*card).text for card in product(COLORS, FORMS, _COUNTS)]
    return list(dict.fromkeys([*things, *cards, *map(with_article, KINDS)]))
