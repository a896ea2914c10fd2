"""How well ways of ranking pictures and passages together find what was asked for, and what each step gives.

    python benchmarks/ranking.py [FEATURES.npy] [--seed 0]

FEATURES is an array [2, n, d] of unit vectors of a real CLIP: row 0 of n pictures, row 1 of their captions,
such as the 500 COCO pairs published with "Mind the Gap" (Liang et al. 2022,
github.com/Weixin-Liang/Modality-Gap). Without it, pairs are drawn with the moments of CLIP's. Every item
enters an index either as a picture or as a passage; three tasks are asked of it:

    other side  a caption asks for its picture, a picture for its caption, amid as many of both
    item        a caption asks for its item; one that is a passage has a second caption, which is the first
                moved by the difference of two others until their cosine is the .777 of real second captions
    topic       a caption or a picture asks for all items of its topic, which are clusters of pairs

with 50, 15 or 85 % of the items as pictures. Figures are nDCG@10, of 60 queries each. "z alone" is the
calibrated score without the three steps; the last columns leave out one of them each.
"""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple
from unittest.mock import patch

import numpy as np

from langchain_mmrag.ranking import (
    SAMPLE_SIZE,
    Background,
    Candidates,
    Part,
    Ranker,
    backgrounds,
    ranker,
    unit,
)

QUERIES = 60
TOPICS = 40
POOL = 60
STEPS = {
    "_WHITENING": patch.object(backgrounds, "_WHITENING", 0.0),
    "_HUBNESS": patch.object(backgrounds, "_HUBNESS", 0.0),
    "_FEEDBACK": patch.object(ranker, "_FEEDBACK", 0.0),
}
"""What takes each of the three steps away."""

WAYS = {
    "raw": ("raw", []),
    "rrf": ("rrf", []),
    "centered": ("centered", []),
    "z alone": ("calibrated", [*STEPS]),
    "calibrated": ("calibrated", []),
    "not evened": ("calibrated", ["_WHITENING"]),
    "with hubs": ("calibrated", ["_HUBNESS"]),
    "no feedback": ("calibrated", ["_FEEDBACK"]),
}


class Situation(NamedTuple):
    """An index and what is asked of it."""

    name: str
    texts: np.ndarray
    images: np.ndarray
    queries: np.ndarray
    side: str
    relevant: np.ndarray  # [queries, texts + images]
    left_out: np.ndarray  # the query's own vector, where it is in the index


def situations(images: np.ndarray, captions: np.ndarray, seed: int) -> Iterator[Situation]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    half = len(order) // 2
    pictured, written = order[:half], order[half:]
    nothing = np.zeros((half, 2 * half), dtype=bool)
    own = np.eye(half, dtype=bool)
    of_images, of_texts = np.hstack([~own & own, own]), np.hstack([own, own & ~own])
    index = captions[written[:half]], images[pictured]
    yield Situation("other side, text", *index, captions[pictured], "text", of_images, nothing)
    yield Situation("other side, image", *index, images[written[:half]], "image", of_texts, nothing)
    second = second_captions(captions, rng)
    both = np.hstack([unit(images - images.mean(axis=0)), unit(captions - captions.mean(axis=0))])
    topics = clusters(unit(both), rng)
    for share in (0.5, 0.15, 0.85):
        order = rng.permutation(len(images))
        n = int(share * len(images))
        items = np.concatenate([order[n:], order[:n]])
        own = items[None] == np.arange(len(items))[:, None]
        is_image = np.arange(len(items)) >= len(items) - n
        index = images[order[:n]]
        name = f"{share:.0%} pictures"
        yield Situation(f"item, text, {name}", second[order[n:]], index, captions, "text", own, own & ~own)
        same = topics[:, None] == topics[items][None]
        texts = captions[order[n:]]
        yield Situation(f"topic, text, {name}", texts, index, captions, "text", same, own & ~is_image)
        yield Situation(f"topic, image, {name}", texts, index, images, "image", same, own & is_image)


def second_captions(captions: np.ndarray, rng: np.random.Generator, cosine: float = 0.777) -> np.ndarray:
    one, other = rng.permutation(len(captions)), rng.permutation(len(captions))
    apart = (captions[one] - captions[other]) / np.sqrt(2)
    low, high = 0.0, 3.0
    for _ in range(30):
        middle = (low + high) / 2
        moved = unit(captions + middle * apart)
        low, high = (middle, high) if (moved * captions).sum(axis=1).mean() > cosine else (low, middle)
    return moved


def clusters(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Spherical k-means: the number of a cluster for each vector."""
    centres = vectors[rng.choice(len(vectors), TOPICS, replace=False)]
    for _ in range(50):
        nearest = np.argmax(vectors @ unit(centres).T, axis=1)
        centres = np.array(
            [
                vectors[nearest == k].mean(axis=0)
                if (nearest == k).any()
                else vectors[rng.integers(len(vectors))]
                for k in range(TOPICS)
            ]
        )
    return nearest


def ndcg(found: Situation, rank: str, seed: int) -> float:
    """Mean nDCG@10 over a sample of the queries, from the candidates a store would consider."""
    rng = np.random.default_rng(seed)
    sides = {"text": found.texts, "image": found.images}
    starts = {"text": 0, "image": len(found.texts)}
    backgrounds, places = {}, {}
    for side, vectors in sides.items():
        chosen = rng.permutation(len(vectors))[:SAMPLE_SIZE]
        backgrounds[side] = Background(len(vectors), vectors[chosen])
        places[side] = np.full(len(vectors), -1)
        places[side][chosen] = np.arange(len(chosen))
    gains = []
    for query in rng.permutation(len(found.queries))[:QUERIES]:
        relevant = found.relevant[query] & ~found.left_out[query]
        if not relevant.any():
            continue
        ranks = Ranker([Part(found.side, found.queries[query])], backgrounds, ("text", "image"), rank)
        candidates, rows = {}, {}
        for side, vectors in sides.items():
            open_rows = np.flatnonzero(~found.left_out[query][starts[side] :][: len(vectors)])
            near = open_rows[np.argsort(-(vectors[open_rows] @ ranks.search_vector(side)))[:POOL]]
            rows[side], candidates[side] = starts[side] + near, Candidates(vectors[near], places[side][near])
        scores = (
            {side: sides[side][rows[side] - starts[side]] @ ranks.plain for side in sides}
            if rank == "raw"
            else ranks.scores(candidates)
        )
        all_rows = np.concatenate([rows[side] for side in sides])
        best = all_rows[np.argsort(-np.concatenate([scores[side] for side in sides]), kind="stable")[:10]]
        discounts = 1 / np.log2(np.arange(10) + 2)
        gains.append((relevant[best] * discounts[: len(best)]).sum() / discounts[: relevant.sum()].sum())
    return float(np.mean(gains))


def drawn_pairs(n: int = 1000, d: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and captions with the means, spreads and cosines of CLIP's, in 60 topics."""
    rng = np.random.default_rng(5)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    text_mean, image_mean = 0.71 * basis[0], 0.748 * (0.332 * basis[0] + np.sqrt(1 - 0.332**2) * basis[1])
    shared_spread = np.arange(1, d - 1.0) ** -0.66
    own_spread = np.arange(1, d - 1.0) ** -0.57
    topics = rng.normal(size=(60, d - 2))[rng.integers(0, 60, n)]
    shared = unit((topics + rng.normal(size=(n, d - 2))) * shared_spread)
    said, shown = (rng.permutation(d - 2) for _ in range(2))

    def own(columns: np.ndarray) -> np.ndarray:
        return unit((rng.normal(size=(n, d - 2)) * own_spread)[:, columns])

    text = unit(np.sqrt(0.319) * shared + np.sqrt(0.681) * own(said)) @ basis[2:]
    image = unit(np.sqrt(0.319) * shared + np.sqrt(0.681) * own(shown)) @ basis[2:]
    return unit(image_mean + np.sqrt(1 - 0.748**2) * image), unit(text_mean + np.sqrt(1 - 0.71**2) * text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features", nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    images, captions = drawn_pairs() if options.features is None else map(unit, np.load(options.features))
    asked = list(situations(images, captions, options.seed))
    table: dict[str, list[float]] = {}
    for name, (rank, taken_away) in WAYS.items():
        with ExitStack() as without:
            for step in taken_away:
                without.enter_context(STEPS[step])
            table[name] = [ndcg(each, rank, options.seed) for each in asked]
    width = max(len(each.name) for each in asked)
    print(" " * width + "".join(f"{name:>12}" for name in table))
    for row, each in enumerate(asked):
        print(f"{each.name:{width}}" + "".join(f"{figures[row]:12.3f}" for figures in table.values()))
    print(f"{'mean':{width}}" + "".join(f"{np.mean(figures):12.3f}" for figures in table.values()))


if __name__ == "__main__":
    main()
