"""Answers to a few texts before torch is there, where a model's text tower is of the common kind."""

from __future__ import annotations

from contextlib import suppress
from threading import Thread
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langchain_mmrag.embeddings._open_clip_models import Blueprint, light_tokenizer
from langchain_mmrag.embeddings._question_tokens import QuestionTokenizer
from langchain_mmrag.embeddings._question_tower import QuestionTower, question_tower

_FEW = 4
_BATCH = 32
_ALLOWANCE = 64
_OFTEN = 3  # who asks so often will go on


class Answer(NamedTuple):
    """Features [n, d], not normalised; which texts were cut; tokens that are read of one."""

    features: NDArray[np.float32]
    cut: list[bool]
    context_length: int


class QuestionModel:
    """A text tower that is ready in a tenth of a second, for as long as torch's model is not loaded.

    It computes a text about as fast as torch, so up to 4 texts at a time are always answered; of larger
    batches, of up to 32, the first 64 texts in all: who embeds more is better off with torch.
    """

    def __init__(self) -> None:
        self._sought = False
        self._tokenizer: QuestionTokenizer | None = None
        self._tower: QuestionTower | None = None
        self._left = _ALLOWANCE
        self._asked = 0

    def encode(self, blueprint: Blueprint, texts: list[str]) -> Answer | None:
        """The features of the texts, None if they are too many or the tower is of another kind.

        Raises:
            ChangedWeightsError: If the file of the weights is another by now.
            ModelUnavailableError: If the weights cannot be had.
        """
        few = len(texts) <= _FEW
        if not few and len(texts) > min(_BATCH, self._left):
            return None
        if not self._sought:
            self._tokenizer = light_tokenizer(blueprint)
            if self._tokenizer is not None:
                self._tower = question_tower(blueprint.weights(), blueprint.model_cfg)
            self._sought = True
        if self._tokenizer is None or self._tower is None:
            return None
        self._asked += 1
        if self._asked == _OFTEN:
            with suppress(RuntimeError):  # there are too many threads, or the process is ending
                Thread(target=self._tower.lay_out, name="lay out the text tower").start()
        rows, cut = self._tokenizer.rows(texts)
        features = self._tower.encode(rows)
        self._left -= 0 if few else len(texts)
        return Answer(features, cut, self._tokenizer.context_length)

    @property
    def is_outdated(self) -> bool:
        """Whether texts were answered from a file of weights that is another by now."""
        return self._tower is not None and not self._tower.is_current
