"""What fair search costs beside other stores, and whether it finds what an exact one would.

    python benchmarks/search.py [--rows 1000,10000,100000] [--share 0.5] [--features FEATURES.npy]
    python benchmarks/search.py --rows 1000000 --collection DIR --vectors VECTORS.npy --rivals none

A collection of passages and pictures, as vectors only, with the geometry CLIP has: mixes of three documents'
vectors about the mean of their side. They are mixes of real ones if FEATURES is given, an array [2, n, d]
of unit vectors, row 0 of n pictures and row 1 of their captions; else of ones drawn with the moments
measured on CLIP ViT-B-16. VECTORS are such mixes that were kept, and DIR is a collection that holds them.

Every query is asked in each way in turn, so that whatever else the machine does falls on all of them. Plain
ways are held against the exact order of cosines, fair ones against the exact order of the same scores, both
over all documents. Vectors of queries are at hand for all: nothing here waits for a model.
"""

import argparse
import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy is imported

import numpy as np
from _geometry import drawn_pairs, grown, nearest
from _measure import machine, table
from _rivals import BUILDING, RIVALS, SEARCHING, WIDTH, Rival
from PIL import Image

from langchain_mmrag import MultimodalEmbeddings, Query
from langchain_mmrag.ranking import Background, Candidates, Part, Ranker, unit
from langchain_mmrag.reranking import CrossEncoderReranker
from langchain_mmrag.vectorstores import MultimodalChroma

__all__ = ["drawn_pairs", "fill", "grown", "unit"]

K = 10
QUERIES = 60
RERANKED = 20
EXACT_POOL = 400
WORDS = (
    "harbour",
    "lamp",
    "kite",
    "bridge",
    "river",
    "street",
    "train",
    "horse",
    "market",
    "tower",
    "window",
)


class Stored(MultimodalEmbeddings):
    """Vectors made beforehand: a text begins with the number of its own, a picture has it for its color."""

    fingerprint = "stored"

    def __init__(self, images: np.ndarray, texts: np.ndarray) -> None:
        super().__init__()
        self.pictures, self.captions = images, texts

    def _encode_texts(self, texts: list[str]) -> np.ndarray:
        return np.stack([self.captions[int(text.split()[0])] for text in texts])

    def _encode_images(self, images: list[Image.Image]) -> np.ndarray:
        colors = [image.getpixel((0, 0)) for image in images]
        return np.stack([self.pictures[(red << 16) + (green << 8) + blue] for red, green, blue in colors])


def colored(number: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (number >> 16, number >> 8 & 255, number & 255))


def said(row: int) -> str:
    """The words of a passage: few enough that many share one."""
    return " ".join(WORDS[(row * step) % len(WORDS)] for step in (1, 5, 7))


def fill(store: MultimodalChroma, images: np.ndarray, texts: np.ndarray) -> None:
    """Write vectors as another program would: the pictures themselves are not at hand."""
    order = np.random.default_rng(2).permutation(len(images) + len(texts))
    for batch in np.array_split(order, max(1, len(order) // 5000)):
        pictured = batch < len(images)
        vectors = np.empty((len(batch), images.shape[1]), np.float32)
        vectors[pictured] = images[batch[pictured]]
        vectors[~pictured] = texts[batch[~pictured] - len(images)]
        store._collection.upsert(  # noqa: SLF001
            ids=[f"{'i' if is_image else 't'}{row}" for row, is_image in zip(batch, pictured, strict=True)],
            embeddings=vectors,
            documents=[
                "" if is_image else f"passage {row} {said(row)}"
                for row, is_image in zip(batch, pictured, strict=True)
            ],
            metadatas=[
                {"modality": "image"} if is_image else {"source": "notes.md"} for is_image in pictured
            ],
        )


class Exact:
    """Both orders over all documents: by cosine, and by the scores of fair search."""

    def __init__(self, store: MultimodalChroma, images: np.ndarray, texts: np.ndarray) -> None:
        samples = store._ledger.statistics()  # noqa: SLF001
        self.vectors, self.first = {"image": images, "text": texts}, {"image": 0, "text": len(images)}
        self.backgrounds = {side: Background(s.count, unit(s.vectors)) for side, s in samples.items()}
        self.places = {side: {id_: at for at, id_ in enumerate(s.ids)} for side, s in samples.items()}

    def by_cosine(self, queries: np.ndarray) -> list[list[int]]:
        """Rows of the ten nearest of each query [q, d]."""
        found = {side: nearest(vectors, queries, K) for side, vectors in self.vectors.items()}
        rows = np.concatenate([places + self.first[side] for side, (places, _) in found.items()], axis=1)
        cosines = np.concatenate([each for _, each in found.values()], axis=1)
        return np.take_along_axis(rows, np.argsort(-cosines, axis=1)[:, :K], 1).tolist()

    def fair(self, queries: np.ndarray, asking: str, rank: str = "calibrated") -> list[list[int]]:
        """Rows of the ten best of each; the scores are worked out for the 400 nearest of a side."""
        sides = ("text", "image")
        rankers = [
            Ranker([Part(asking, vector.astype(np.float64))], self.backgrounds, sides, rank)
            for vector in queries
        ]
        near = {
            side: nearest(vectors, np.stack([r.search_vector(side) for r in rankers]), EXACT_POOL)[0]
            for side, vectors in self.vectors.items()
        }
        return [
            self._best(ranker, {side: rows[at] for side, rows in near.items()})
            for at, ranker in enumerate(rankers)
        ]

    def _best(self, ranker: Ranker, near: dict[str, np.ndarray]) -> list[int]:
        found = {}
        for side, rows in near.items():
            ids = [f"{side[0]}{row + self.first[side]}" for row in rows]
            places = np.array([self.places[side].get(id_, -1) for id_ in ids])
            found[side] = Candidates(self.vectors[side][rows], places)
        scores = ranker.scores(found)
        ranked = sorted(
            (
                (score, int(row) + self.first[side])
                for side in found
                for score, row in zip(scores[side], near[side], strict=True)
            ),
            reverse=True,
        )
        return [row for _, row in ranked[:K]]


class World(NamedTuple):
    """A filled store, what is in it, and the numbers of the vectors that ask."""

    store: MultimodalChroma
    images: np.ndarray
    texts: np.ndarray
    captions: np.ndarray
    asked: list[int]


Ask = Callable[[int], list[int]]


class Section(NamedTuple):
    """Ways to ask the same thing, the rows that each should find, and the way they are compared with."""

    title: str
    ways: dict[str, Ask]
    best: dict[str, list[list[int]]]
    base: str


def rows_of(found: list[tuple[Any, float]]) -> list[int]:
    return [int(document.id[1:]) for document, _ in found]


def plain(world: World, vectors: np.ndarray, where: dict | None = None) -> Ask:
    """A query of Chroma as any program asks it."""
    collection, columns = world.store._collection, ["documents", "metadatas", "distances"]  # noqa: SLF001

    def ask(number: int) -> list[int]:
        found = collection.query(
            query_embeddings=[vectors[number]], n_results=K, include=columns, where=where
        )
        return [int(id_[1:]) for id_ in found["ids"][0]]

    return ask


def sections(world: World, rivals: dict[str, Rival]) -> Iterator[Section]:
    store, asked = world.store, world.asked
    exact = Exact(store, world.images, world.texts)
    texts, images = world.captions, store.embeddings.pictures

    def fair(**settings: Any) -> Ask:
        return lambda number: rows_of(store.search_ranked(f"{number}", k=K, **settings))

    def worded(search: str) -> Ask:
        return lambda number: rows_of(store.search_ranked(f"{number} {said(number)}", k=K, search=search))

    by_image: Ask = lambda number: rows_of(store.search_ranked(Query(image=colored(number)), k=K))  # noqa: E731
    nearest_of = {name: rival.nearest for name, rival in rivals.items()}
    by_text = {name: lambda number, ask=ask: ask(texts[number], K) for name, ask in nearest_of.items()}
    shown = {name: lambda number, ask=ask: ask(images[number], K) for name, ask in nearest_of.items()}
    filtered = {
        name: lambda number, rival=rival: rival.pictures(texts[number], K)
        for name, rival in rivals.items()
        if can_filter(rival, texts[0])
    }
    best_text, best_image = texts[asked], images[asked]
    cosine, among_images = exact.by_cosine(best_text), nearest(world.images, best_text, K)[0].tolist()
    fair_ways = {"fair": "calibrated", "fair, rank='rrf'": "rrf"}
    chroma = "plain Chroma"
    yield Section(
        "text queries over pictures and passages",
        {
            chroma: plain(world, texts),
            **by_text,
            "rank='raw'": fair(rank="raw"),
            **{name: fair(rank=rank) for name, rank in fair_ways.items()},
        },
        dict.fromkeys((chroma, *by_text, "rank='raw'"), cosine)
        | {name: exact.fair(best_text, "text", rank) for name, rank in fair_ways.items()},
        chroma,
    )
    yield Section(
        "picture queries over pictures and passages",
        {chroma: plain(world, images), **shown, "fair": by_image},
        {name: exact.by_cosine(best_image) for name in (chroma, *shown)}
        | {"fair": exact.fair(best_image, "image")},
        chroma,
    )
    yield Section(
        "text queries for pictures alone",
        {
            chroma: plain(world, texts, {"modality": "image"}),
            **filtered,
            "modality='image'": fair(modality="image"),
        },
        dict.fromkeys((chroma, *filtered), among_images),
        chroma,
    )
    yield Section(
        "words, both, and what reading the best twenty again adds",
        {
            "search='vector'": worded("vector"),
            "search='keyword'": worded("keyword"),
            "search='hybrid'": worded("hybrid"),
            f"best {RERANKED} by a small cross-encoder": reranked(store),
        },
        {},
        "search='vector'",
    )


def can_filter(rival: Rival, vector: np.ndarray) -> bool:
    try:
        rival.pictures(vector, 1)
    except NotImplementedError:
        return False
    return True


def reranked(store: MultimodalChroma) -> Ask:
    """Search, then a cross-encoder of two layers with random weights: what one costs, not what it finds."""
    reranker = CrossEncoderReranker(model=small_cross_encoder(), top_n=K)

    def ask(number: int) -> list[int]:
        documents = [
            document for document, _ in store.search_ranked(f"{number}", k=RERANKED, modality="text")
        ]
        return [int(document.id[1:]) for document in reranker.compress_documents(documents, said(number))]

    return ask


def small_cross_encoder() -> Any:
    """As wide and deep as the smallest that are in use: 2 layers, width 128."""
    from sentence_transformers import CrossEncoder
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    marks = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "passage", *WORDS)
    vocabulary = {word: number for number, word in enumerate(marks)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=marks[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config = BertConfig(
        vocab_size=30_522,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        num_labels=1,
    )
    with TemporaryDirectory() as folder:
        BertForSequenceClassification(config).save_pretrained(folder)
        BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=128).save_pretrained(folder)
        return CrossEncoder(folder, device="cpu", local_files_only=True)


def measure(section: Section, asked: list[int]) -> list[list[str]]:
    """Ask every query in each way in turn; rows of the table.

    All are asked once before the clock starts: vectors of rows that another program has written are fetched
    for fair search when they are first needed.
    """
    spent: dict[str, list[float]] = {name: [] for name in section.ways}
    cpu = dict.fromkeys(section.ways, 0.0)
    answers: dict[str, list[list[int]]] = {name: [] for name in section.ways}
    for way in section.ways.values():
        for number in asked:
            way(number)
    for number in asked:
        for name, way in section.ways.items():
            start, begun = time.perf_counter(), time.process_time()
            answers[name].append(way(number))
            spent[name].append(1e3 * (time.perf_counter() - start))
            cpu[name] += 1e3 * (time.process_time() - begun) / len(asked)
    base = float(np.median(spent[section.base]))
    return [
        [
            name,
            f"{np.median(times):.2f}",
            f"{np.quantile(times, 0.99):.2f}",
            f"{np.median(times) / base:.2f}",
            f"{cpu[name]:.2f}",
            f"{recall(answers[name], section.best[name]):.3f}" if name in section.best else "",
        ]
        for name, times in spent.items()
    ]


def recall(found: list[list[int]], best: list[list[int]]) -> float:
    """Part of the ten best that is among the ten found, the mean over queries."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, best, strict=True)]))


def filled(names: list[str], vectors: np.ndarray, pictured: int, folder: Path) -> dict[str, Rival]:
    """The rivals that could be made; says what each took, or why it is missing."""
    rivals = {}
    for name in names:
        start = time.process_time()
        try:
            rivals[name] = RIVALS[name](vectors, pictured, folder)
        except Exception as error:  # noqa: BLE001  packages of others fail in every way
            print(f"{name}: not measured, {(str(error).splitlines() or [repr(error)])[0][:80]}")
            continue
        print(f"{name}: filled in {time.process_time() - start:.1f} s of CPU time", flush=True)
    return rivals


def run(rows: int, options: argparse.Namespace, folder: Path) -> None:
    if options.vectors:
        images, texts = np.load(options.vectors, mmap_mode="r")
    else:
        pairs = drawn_pairs(500) if options.features is None else np.load(options.features).astype(np.float64)
        images, texts = grown(pairs, rows + QUERIES, folder / "vectors.npy")
    pictured = int(rows * options.share)
    place = options.collection or str(folder / "store")
    store = MultimodalChroma("search", Stored(images, texts), persist_directory=place)
    if store._collection.count() != rows:  # noqa: SLF001
        start = time.process_time()
        fill(store, images[:pictured], texts[pictured:rows])
        print(f"Chroma: filled in {time.process_time() - start:.1f} s of CPU time", flush=True)
    start = time.perf_counter()
    store.search_ranked("0", k=K)
    print(f"{rows:,} rows; the first search makes the index beside: {time.perf_counter() - start:.1f} s")
    names = [] if options.rivals == "none" else list(RIVALS) if options.rivals == "all" else options.rivals
    names = names.split(",") if isinstance(names, str) else names
    both = np.concatenate([images[:pictured], texts[pictured:rows]]) if names else images[:0]
    rivals = filled(names, both, pictured, folder)
    step = max(1, pictured // options.queries)
    world = World(
        store, images[:pictured], texts[pictured:rows], texts, list(range(1, pictured, step))[:QUERIES]
    )
    for section in sections(world, rivals):
        head = ["", "p50 ms", "p99 ms", "ratio", "CPU ms", "recall@10"]
        print(
            f"\n{rows:,} rows, {section.title}\n\n{table(head, measure(section, world.asked))}\n", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="1000,10000,100000")
    parser.add_argument("--share", type=float, default=0.5, help="of pictures")
    parser.add_argument("--features", help="unit vectors of pairs [2, n, d]")
    parser.add_argument("--vectors", help="kept vectors [2, rows or more, d], in place of mixing new ones")
    parser.add_argument("--collection", help="a folder; filled if it does not hold as many rows")
    parser.add_argument("--queries", type=int, default=QUERIES, help="of each kind")
    parser.add_argument("--rivals", default="all", help=f"none, or some of {','.join(RIVALS)}")
    options = parser.parse_args()
    print(machine(1))
    print(f"graphs: {WIDTH} neighbors, effort {BUILDING} at making and {SEARCHING} at asking\n")
    for rows in (int(count) for count in options.rows.split(",")):
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            run(rows, options, Path(folder))
            gc.collect()


if __name__ == "__main__":
    main()
