"""What fair search costs beside a plain Chroma query, and whether it finds what an exact one would.

    python benchmarks/search.py [--rows 100000] [--share 0.5] [--features FEATURES.npy]

A collection of passages and pictures, as vectors only, with the geometry CLIP has: mixes of three documents'
vectors about the mean of their side. They are mixes of real ones if FEATURES is given, an array [2, n, d]
of unit vectors, row 0 of n pictures and row 1 of their captions; else of ones drawn with the moments
measured on CLIP ViT-B-16. Half of the queries are captions, the other half pictures.

Every query is asked in each way in turn, so that whatever else the machine does falls on all of them. The
exact order is that of the same scores over all documents.
"""

import argparse
import time
from tempfile import TemporaryDirectory

import numpy as np
from langchain_core.embeddings import Embeddings

from langchain_mmrag.ranking import Background, Candidates, Part, Ranker, unit
from langchain_mmrag.vectorstores import MultimodalChroma

K = 10
QUERIES = 60
EXACT_POOL = 400


def drawn_pairs(n: int, d: int = 512) -> np.ndarray:
    """Pictures and captions [2, n, d] with the means, spreads and cosines of CLIP's."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    text_mean, image_mean = np.zeros(d), np.zeros(d)
    text_mean[0] = 0.71
    image_mean[:2] = 0.748 * np.array([0.332, np.sqrt(1 - 0.332**2)])

    def content(power: float, shift: int) -> np.ndarray:
        of = np.zeros((n, d))
        of[:, 2:] = rng.normal(size=(n, d - 2)) * np.roll(np.arange(1, d - 1.0) ** -power, shift)
        return unit(of)

    shared = content(0.62, 0)
    said = np.sqrt(0.319) * shared + np.sqrt(0.681) * content(0.55, 40)
    shown = np.sqrt(0.319) * shared + np.sqrt(0.681) * content(0.55, 80)
    texts = unit(text_mean + np.sqrt(1 - 0.71**2) * unit(said)) @ basis
    images = unit(image_mean + np.sqrt(1 - 0.748**2) * unit(shown)) @ basis
    return np.stack([images, texts])


def grown(pairs: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """`n` pictures and `n` captions, each pair the same mix of three of the given pairs, with noise."""
    rng = np.random.default_rng(1)
    mixed = rng.integers(0, pairs.shape[1], (n, 3))
    shares = np.sqrt(rng.dirichlet([2, 1, 0.5], n))
    sides = []
    for vectors in pairs:
        mean = vectors.mean(axis=0)
        content = vectors - mean
        one, other = rng.integers(0, len(vectors), (2, n))
        body = sum(shares[:, [k]] * content[mixed[:, k]] for k in range(3))
        noise = (content[one] - content[other]) / np.sqrt(2)
        sides.append(unit(mean + 0.93 * body + 0.37 * noise).astype(np.float32))
    return sides[0], sides[1]


class Stored(Embeddings):
    """Vectors made beforehand: a text is the number of its vector, and so is the address of a picture."""

    def __init__(self, images: np.ndarray, texts: np.ndarray) -> None:
        self.images, self.captions = images, texts

    def embed_query(self, text: str) -> list[float]:
        return self.captions[int(text)].tolist()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


def fill(store: MultimodalChroma, images: np.ndarray, texts: np.ndarray) -> None:
    """Write vectors as another program would: the pictures themselves are not at hand."""
    order = np.random.default_rng(2).permutation(len(images) + len(texts))
    vectors = np.concatenate([images, texts])
    for batch in np.array_split(order, max(1, len(order) // 5000)):
        pictured = [bool(row < len(images)) for row in batch]
        store._collection.upsert(  # noqa: SLF001
            ids=[f"{'i' if is_image else 't'}{row}" for row, is_image in zip(batch, pictured, strict=True)],
            embeddings=vectors[batch],
            documents=[
                "" if is_image else f"passage {row}" for row, is_image in zip(batch, pictured, strict=True)
            ],
            metadatas=[
                {"modality": "image"} if is_image else {"source": "notes.md"} for is_image in pictured
            ],
        )


class Exact:
    """The order of the scores over all documents."""

    def __init__(self, store: MultimodalChroma, images: np.ndarray, texts: np.ndarray) -> None:
        first = {"image": ("i", 0), "text": ("t", len(images))}
        samples = store._ledger.statistics()  # noqa: SLF001
        self.vectors = {"image": images, "text": texts}
        self.ids = {
            side: [f"{letter}{start + row}" for row in range(len(self.vectors[side]))]
            for side, (letter, start) in first.items()
        }
        self.backgrounds = {side: Background(s.count, unit(s.vectors)) for side, s in samples.items()}
        self.places = {side: {id_: at for at, id_ in enumerate(s.ids)} for side, s in samples.items()}

    def best(self, vector: np.ndarray) -> list[str]:
        """Ids of the ten best for a caption's vector; the scores are worked out for the 400 nearest."""
        ranker = Ranker([Part("text", vector)], self.backgrounds, ("text", "image"))
        found, ids = {}, {}
        for side, vectors in self.vectors.items():
            near = np.argsort(-(vectors @ ranker.search_vector(side).astype(np.float32)))[:EXACT_POOL]
            ids[side] = [self.ids[side][row] for row in near]
            places = [self.places[side].get(id_, -1) for id_ in ids[side]]
            found[side] = Candidates(vectors[near], np.array(places))
        scores = ranker.scores(found)
        ranked = sorted(
            ((score, id_) for side in found for score, id_ in zip(scores[side], ids[side], strict=True)),
            reverse=True,
        )
        return [id_ for _, id_ in ranked[:K]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--share", type=float, default=0.5, help="of pictures")
    parser.add_argument("--features")
    options = parser.parse_args()
    pairs = drawn_pairs(500) if options.features is None else np.load(options.features).astype(np.float64)
    images, texts = grown(pairs, options.rows + QUERIES)
    pictured = int(options.rows * options.share)
    with TemporaryDirectory() as folder:
        store = MultimodalChroma("search", Stored(images, texts), persist_directory=folder)
        fill(store, images[:pictured], texts[pictured : options.rows])
        start = time.perf_counter()
        store.search_ranked("0", k=K)
        print(
            f"{options.rows:,} rows; the first search makes the ledger: {time.perf_counter() - start:.1f} s"
        )
        compare(store, images[:pictured], texts[pictured : options.rows])


def compare(store: MultimodalChroma, images: np.ndarray, texts: np.ndarray) -> None:
    """Print time and recall of each way, interleaved."""
    captions: np.ndarray = store.embeddings.captions
    asked = [str(row) for row in range(0, len(images), max(1, len(images) // QUERIES))][:QUERIES]
    collection = store._collection  # noqa: SLF001

    def plain(query: str) -> list[str]:
        columns = ["documents", "metadatas", "distances"]
        return collection.query(query_embeddings=[captions[int(query)]], n_results=K, include=columns)["ids"][
            0
        ]

    def filtered(query: str) -> list[str]:
        near = [store.similarity_search_with_score(query, K, modality=side) for side in ("image", "text")]
        return [str(found.id) for of_side in near for found, _ in of_side]

    ways = {
        "plain Chroma query": plain,
        "fair, rank='calibrated'": lambda query: ids(store.search_ranked(query, k=K)),
        "fair, rank='rrf'": lambda query: ids(store.search_ranked(query, k=K, rank="rrf")),
        "rank='raw'": lambda query: ids(store.search_ranked(query, k=K, rank="raw")),
        "two filtered queries": filtered,
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, list[list[str]]] = {name: [] for name in ways}
    for query in asked:
        for name, way in ways.items():
            start = time.perf_counter()
            answers[name].append(way(query))
            spent[name].append(time.perf_counter() - start)
    exact = Exact(store, images, texts)
    best = [exact.best(captions[int(query)].astype(np.float64)) for query in asked]
    base = np.median(spent["plain Chroma query"])
    print(f"{'':26}{'p50 ms':>8}{'p99 ms':>8}{'ratio':>8}{'recall@10 of the exact fair order':>36}")
    for name, times in spent.items():
        recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(answers[name], best, strict=True)])
        print(
            f"{name:26}{np.median(times) * 1e3:8.1f}{np.quantile(times, 0.99) * 1e3:8.1f}"
            f"{np.median(times) / base:8.2f}{recall:36.3f}"
        )


def ids(found: list) -> list[str]:
    return [document.id for document, _ in found]


if __name__ == "__main__":
    main()
