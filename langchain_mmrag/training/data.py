"""Batches of pictures and captions, drawn while training; any batch can be drawn again from its number."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from langchain_mmrag.training.render import charts, glyphs, shapes, signs
from langchain_mmrag.training.render.glyphs import GlyphSet
from langchain_mmrag.training.render.palette import held_out


class Batch(NamedTuple):
    """Pictures `[n, side, side, 3]`, uint8, and their `n` captions, all different."""

    images: NDArray[np.uint8]
    captions: list[str]


class Batches(Protocol):
    """Batches by number: batch `i` is step `i` of a run, the same whenever it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, step: int) -> Batch: ...


MIXTURE = {"single": 0.68, "pair": 0.05, "several": 0.02, "shapes": 0.14, "charts": 0.08, "signs": 0.03}
"""What a training picture shows, and how often."""


def pair_held_out(first: int, second: int) -> bool:
    """Whether two concepts are never trained on in one picture."""
    return held_out("pair", min(first, second), max(first, second))


class RenderedPairs:
    """Training batches as a sequence: batch `i` is the same whoever draws it, and whenever.

    Concepts are drawn without replacement and captions are unique within a batch, for a caption met twice
    would be its own negative.
    """

    def __init__(
        self,
        glyph_set: GlyphSet,
        *,
        batch_size: int,
        side: int,
        steps: int,
        seed: int = 0,
        prose_from: int = 0,
    ) -> None:
        self._glyphs = glyph_set
        self._batch_size = batch_size
        self._side = side
        self._steps = steps
        self._seed = seed
        self._prose_from = prose_from

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < self._steps:
            raise IndexError(step)
        rng = random.Random(self._seed * 2**32 + step)
        concepts = self._concepts(rng)
        images = np.empty((self._batch_size, self._side, self._side, 3), np.uint8)
        captions: list[str] = []
        seen: set[str] = set()
        for row in images:
            for _ in range(20):  # a caption taken already is drawn again; after that a repeat is let through
                image, caption = self._sample(rng, concepts[len(captions)], prose=step >= self._prose_from)
                if caption not in seen:
                    break
            row[:] = np.asarray(image)
            captions.append(caption)
            seen.add(caption)
        return Batch(images, captions)

    def _concepts(self, rng: random.Random) -> list[int]:
        count = len(self._glyphs.concepts)
        order: list[int] = []
        while len(order) < self._batch_size:
            order += rng.sample(range(count), count)
        return order[: self._batch_size]

    def _sample(self, rng: random.Random, concept: int, *, prose: bool) -> tuple[Image.Image, str]:
        kind = rng.choices(list(MIXTURE), list(MIXTURE.values()))[0]
        plain: dict[str, Callable[[random.Random, int], tuple[Image.Image, str]]] = {
            "shapes": shapes.sample,
            "charts": charts.sample,
            "signs": signs.sample,
        }
        if kind in plain:
            return plain[kind](rng, self._side)
        if kind == "single":
            return glyphs.single(rng, self._glyphs, concept, self._side, prose=prose)
        if kind == "several":
            return glyphs.several(rng, self._glyphs, concept, rng.randint(2, 4), self._side)
        other = concept
        while other == concept or pair_held_out(concept, other):
            other = rng.randrange(len(self._glyphs.concepts))
        return glyphs.pair(rng, self._glyphs, concept, other, self._side)
