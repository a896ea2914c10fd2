"""Measure the embedded model on pictures it was not trained on; prints one line a slice.

Pictures are drawn at 128 pixels with seeds of their own and go through the package's own embedding, so what
is measured is what a user gets. Every gallery holds one new picture of each concept.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from langchain_mmrag._extras import require
from langchain_mmrag.embeddings import OpenCLIPEmbeddings
from langchain_mmrag.training import sources
from langchain_mmrag.training.render import backgrounds, charts, glyphs, shapes, signs
from langchain_mmrag.training.render.backgrounds import Kind
from langchain_mmrag.training.render.glyphs import GlyphSet
from langchain_mmrag.training.render.palette import COLORS, with_article

SIDE = 128
_SEED = 2**40  # far from every training batch's


@dataclass(frozen=True)
class Slice:
    """One measured figure.

    Attributes:
        name: What was asked of what.
        r1: Share of queries whose answer came first, in percent; for a choice among labels, the accuracy.
        r5: Share of queries whose answer came among the first five, in percent;.
        queries: Number of queries.
        gallery: Number of pictures or labels to choose from.
    """

    name: str
    r1: float
    r5: float
    queries: int
    gallery: int


def recall(
    queries: NDArray[np.float32], gallery: NDArray[np.float32], target: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Rank of each query's target, from 0; equal scores count against.

    Args:
        queries: Unit rows `[n, d]`.
        gallery: Unit rows `[m, d]`.
        target: Row of the gallery that answers each query, `[n]`.

    Returns:
        Ranks `[n]`.
    """
    scores = queries @ gallery.T
    own = scores[np.arange(len(target)), target]
    ranks: NDArray[np.float64] = (scores >= own[:, None]).sum(1) - 1.0
    return ranks


def _slice(name: str, ranks: Sequence[float] | NDArray[np.float64], gallery: int) -> Slice:
    ranks = np.asarray(ranks)
    return Slice(name, 100 * float((ranks < 1).mean()), 100 * float((ranks < 5).mean()), len(ranks), gallery)


class Evaluation:
    """The slices, over one embedding and one set of glyphs."""

    def __init__(self, clip: OpenCLIPEmbeddings, glyph_set: GlyphSet) -> None:
        self._clip = clip
        self._glyphs = glyph_set
        self._names = clip.embed_texts_array([concept.name for concept in glyph_set.concepts])

    def run(self, *, final: bool) -> list[Slice]:
        """All slices; the style kept for the published figure only when `final`."""
        trained, plain = list(backgrounds.TRAINED), [backgrounds.white, backgrounds.named, backgrounds.plain]
        slices = [
            *self.trained_styles("plain grounds", plain),
            *self.trained_styles("trained grounds", trained),
            *self.trained_styles("grounds never trained", list(backgrounds.HELD_OUT)),
        ]
        for style in (sources.DEVELOPMENT_STYLE, *([sources.HELD_OUT_STYLE] if final else [])):
            slices.append(
                self.names(f"style never trained: {style}, white ground", style, [backgrounds.white])
            )
            slices.append(self.names(f"style never trained: {style}, trained grounds", style, trained))
        return [*slices, *self.shapes(), *self.charts(), self.signs(), self.keywords()]

    def trained_styles(self, name: str, kinds: Sequence[Kind]) -> list[Slice]:
        """Name to picture, for each trained style in a gallery of its own; first all of them together."""
        each = [self.ranks(style, kinds) for style in sources.TRAINED_STYLES]
        rows = [
            _slice(f"trained style {style}, {name}", ranks, len(ranks))
            for style, ranks in zip(sources.TRAINED_STYLES, each, strict=True)
        ]
        return [_slice(f"all trained styles, {name}", np.concatenate(each), len(self._names)), *rows]

    def names(self, name: str, style: str, kinds: Sequence[Kind]) -> Slice:
        """Name to picture in one style."""
        ranks = self.ranks(style, kinds)
        return _slice(name, ranks, len(ranks))

    def ranks(self, style: str, kinds: Sequence[Kind]) -> NDArray[np.float64]:
        """Rank of each concept's new picture by its name, among one picture of each concept of the style."""
        rng = random.Random(f"{_SEED} {style} {[kind.__name__ for kind in kinds]}")
        drawn = [k for k, concept in enumerate(self._glyphs.concepts) if style in concept.styles]
        pictures = [self._picture(rng, concept, style, rng.choice(kinds)) for concept in drawn]
        return recall(self._names[drawn], self._embed(pictures), np.arange(len(drawn)))

    def _picture(self, rng: random.Random, concept: int, style: str, kind: Kind) -> Image.Image:
        ground, _ = kind(rng, SIDE)
        tile = glyphs.tile(rng, self._glyphs, concept, style, ground, alter=False)
        across = int(SIDE * rng.uniform(0.5, 1.0))
        glyphs.place(ground, tile, across, (rng.randint(0, SIDE - across), rng.randint(0, SIDE - across)))
        return ground

    def _embed(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        return self._clip.embed_images_array(pictures).vectors

    def shapes(self, rounds: int = 10) -> list[Slice]:
        """Colour and form in words to a card, among one card of each of the 144 combinations."""
        cards = [
            shapes.ShapeCard(color, form, ground="black" if color == "white" else "white")
            for color in COLORS
            for form in shapes.FORMS
        ]
        texts = self._clip.embed_texts_array([card.text for card in cards])
        ranks = []
        for number in range(rounds):
            rng = random.Random(f"{_SEED} shapes {number}")
            gallery = self._embed([shapes.draw_card(rng, card, SIDE) for card in cards])
            ranks.append(recall(texts, gallery, np.arange(len(cards))))
        apart = np.array([card.held_out for card in cards])
        every = np.stack(ranks)
        return [
            _slice("colour x form, combinations never trained", every[:, apart].ravel(), len(cards)),
            _slice("colour x form, trained combinations", every[:, ~apart].ravel(), len(cards)),
        ]

    def charts(self, each: int = 24) -> list[Slice]:
        """Kind of a chart among all kinds: new renders, and charts drawn by matplotlib."""
        rng = random.Random(f"{_SEED} charts")
        own = [
            (k, charts.draw_chart(rng, kind, SIDE)[0])
            for k, kind in enumerate(charts.KINDS)
            for _ in range(each)
        ]
        foreign = [
            (k, _plotted(rng, kind))
            for k, kind in enumerate(charts.KINDS)
            for _ in range(each)
            if kind in _PLOTS
        ]
        labels = self._clip.embed_texts_array([with_article(kind) for kind in charts.KINDS])
        slices = []
        for name, pairs in (("chart kind, new renders", own), ("chart kind, drawn by matplotlib", foreign)):
            kinds, pictures = zip(*pairs, strict=True)
            ranks = recall(self._embed(pictures), labels, np.array(kinds))
            slices.append(_slice(name, ranks, len(labels)))
        return slices

    def signs(self) -> Slice:
        """Picture of a word to the sentence that quotes it, among all the words."""
        rng = random.Random(f"{_SEED} signs")
        words = list(dict.fromkeys(signs.WORDS))
        pictures = [signs.draw_sign(rng, word, SIDE)[0] for word in words]
        texts = self._clip.embed_texts_array([f"a sign that says {word}" for word in words])
        return _slice(
            "word on a sign", recall(self._embed(pictures), texts, np.arange(len(words))), len(words)
        )

    def keywords(self) -> Slice:
        """A trained keyword to any picture of a concept that has it (clean pictures in the Noto style)."""
        rng = random.Random(f"{_SEED} keywords")
        count = len(self._glyphs.concepts)
        gallery = self._embed([self._picture(rng, k, "noto", backgrounds.white) for k in range(count)])
        owners: dict[str, list[int]] = {}
        for k, concept in enumerate(self._glyphs.concepts):
            for keyword in concept.keywords:
                owners.setdefault(keyword, []).append(k)
        scores = self._clip.embed_texts_array(list(owners)) @ gallery.T
        ranks = [
            float((row > row[owned].max()).sum()) for row, owned in zip(scores, owners.values(), strict=True)
        ]
        return _slice("trained keyword to any picture that has it", ranks, count)


def _plotted(rng: random.Random, kind: str) -> Image.Image:
    """A chart as matplotlib draws it, with titles and labels."""
    pyplot = require("matplotlib.pyplot", extra="training")
    figure, axes = pyplot.subplots(figsize=rng.choice([(4, 3), (3.2, 3.2)]), dpi=80)
    try:
        _PLOTS[kind](rng, axes)
        if rng.random() < 0.7:
            axes.set_title(rng.choice(["Revenue", "Users", "Result", "Visitors a month"]))
        buffer = BytesIO()
        figure.savefig(buffer, format="png")
        return Image.open(buffer).convert("RGB")
    finally:
        pyplot.close(figure)


def _values(rng: random.Random, count: int) -> list[float]:
    return charts.series(rng, count, rng.choice(list(charts.TRENDS)))


def _bar(rng: random.Random, axes: Any) -> None:
    values = _values(rng, rng.randint(3, 7))
    axes.bar([f"Q{k}" for k in range(len(values))], values, color=f"C{rng.randrange(10)}")


def _barh(rng: random.Random, axes: Any) -> None:
    values = _values(rng, rng.randint(3, 7))
    axes.barh([f"item {k}" for k in range(len(values))], values, color=f"C{rng.randrange(10)}")


def _plot(rng: random.Random, axes: Any) -> None:
    axes.plot(_values(rng, rng.randint(5, 12)), color=f"C{rng.randrange(10)}", marker=rng.choice([None, "o"]))
    axes.set_ylim(0, 1.1)


def _fill(rng: random.Random, axes: Any) -> None:
    values = _values(rng, rng.randint(5, 12))
    axes.fill_between(range(len(values)), values, color=f"C{rng.randrange(10)}")
    axes.set_ylim(0, 1.1)


def _pie(rng: random.Random, axes: Any) -> None:
    count = rng.randint(2, 6)
    axes.pie([rng.uniform(0.5, 2) for _ in range(count)], labels=list("ABCDEF")[:count])


def _scatter(rng: random.Random, axes: Any) -> None:
    xs = [rng.random() for _ in range(50)]
    axes.scatter(xs, [x + rng.gauss(0, 0.15) for x in xs], color=f"C{rng.randrange(10)}")


def _imshow(rng: random.Random, axes: Any) -> None:
    cells = [[rng.random() for _ in range(6)] for _ in range(6)]
    axes.imshow(cells, cmap=rng.choice(["Blues", "Reds", "Greens", "Oranges"]))


_PLOTS: dict[str, Callable[[random.Random, Any], None]] = {
    "bar chart": _bar,
    "horizontal bar chart": _barh,
    "line chart": _plot,
    "area chart": _fill,
    "pie chart": _pie,
    "scatter plot": _scatter,
    "heatmap": _imshow,
}


def evaluate(folder: Path, work: Path, *, final: bool) -> list[Slice]:
    """Measure the model in `folder`; glyphs come from `work`."""
    require("matplotlib", extra="training").use("Agg")
    concepts, banks = sources.prepare(work)
    clip = OpenCLIPEmbeddings(model_name=f"local-dir:{folder}", show_progress=False)
    return Evaluation(clip, GlyphSet.of(concepts, banks)).run(final=final)


def table(slices: Sequence[Slice]) -> str:
    """The slices as Markdown."""
    rows = [f"| {s.name} | {s.r1:.1f} | {s.r5:.1f} | {s.queries} | {s.gallery} |" for s in slices]
    return "\n".join(["| slice | R@1 % | R@5 % | queries | gallery |", "|---|---|---|---|---|", *rows])
