"""Whether a caption finds its picture among captions and pictures, by three ways of ranking.

    python benchmarks/ranking.py FEATURES.npy

FEATURES is an array [2, n, d] of unit vectors of a real CLIP: row 0 of n pictures, row 1 of their captions,
such as the 500 COCO pairs published with "Mind the Gap" (Liang et al. 2022,
github.com/Weixin-Liang/Modality-Gap). Half of the pairs enter a collection as captions, the other half as
pictures; the captions of the pictures ask.
"""

import argparse
from uuid import uuid4

import numpy as np
from langchain_core.embeddings import Embeddings

from langchain_mmrag.ranking import unit
from langchain_mmrag.vectorstores import MultimodalChroma


class Stored(Embeddings):
    """Vectors made beforehand: a text is the number of its caption."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def embed_query(self, text: str) -> list[float]:
        return self.vectors[int(text)].tolist()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


def split_ranks(images: np.ndarray, texts: np.ndarray, seed: int) -> dict[str, list[int]]:
    """Place of each query's picture in the first ten, 99 if it is not there, by way of ranking."""
    order = np.random.default_rng(seed).permutation(len(images))
    pictured, written = order[: len(order) // 2], order[len(order) // 2 :]
    store = MultimodalChroma(f"ranking-{uuid4()}", Stored(texts))
    store.add_texts([str(k) for k in written], ids=[f"t{k}" for k in written])
    store._collection.upsert(  # noqa: SLF001  the pictures are not at hand, only their vectors
        ids=[f"i{k}" for k in pictured],
        embeddings=images[pictured],
        documents=[""] * len(pictured),
        metadatas=[{"modality": "image"}] * len(pictured),
    )
    mean = texts[written].mean(0)
    ways = {
        "plain cosine": lambda k: store.similarity_search(str(k), k=10, rank="raw"),
        "one centred query": lambda k: store.similarity_search_by_vector(
            unit(texts[k] - mean).tolist(), k=10
        ),
        "calibrated": lambda k: store.similarity_search(str(k), k=10),
    }
    ranks: dict[str, list[int]] = {}
    for name, way in ways.items():
        for k in pictured:
            found = [document.id for document in way(k)]
            ranks.setdefault(name, []).append(found.index(f"i{k}") + 1 if f"i{k}" in found else 99)
    return ranks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features")
    parser.add_argument("--splits", type=int, default=3)
    options = parser.parse_args()
    images, texts = np.load(options.features).astype(np.float32)
    splits = [split_ranks(images, texts, seed) for seed in range(options.splits)]
    print(f"{'':20} nDCG@10    R@1   R@10")
    for name in splits[0]:
        ranks = np.concatenate([split[name] for split in splits])
        gains = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0)
        print(f"{name:20} {gains.mean():7.3f} {(ranks == 1).mean():6.3f} {(ranks <= 10).mean():6.3f}")


if __name__ == "__main__":
    main()
