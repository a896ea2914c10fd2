"""What the settings of the vector index cost, and what they find, on vectors with the geometry of CLIP's.

    python benchmarks/hnsw.py [--rows 50000] [--features FEATURES.npy] [--parts graph store sync equal]

Half of the rows are pictures, half captions of other pictures (see `search.py` for FEATURES). They are asked
with captions and pictures that are not among them: for the 10 nearest, as any program would ("plain"), and by
queries that lean towards pictures or captions for 40, as fair search does ("leaning"): of these, the 10 best
of that side by the query as it was should be among them. What should be found is worked out by matrix
products, and what a leaning query would find in an index that misses nothing is printed first.

- `graph`: recall and time by width (`max_neighbors`) and effort (`ef_construction`, `ef_search`), in hnswlib,
  which Chroma's index is made of and which builds it in a fifth of the time.
- `store`: the same for some of them in Chroma itself: rows a second, disk, a fresh process's first answer.
- `sync`: what writing the index to disk adds as it grows, and what a fresh process pays for rows in the log.
- `equal`: how many rows are not found by their own vectors where 500 others are all alike.

Seconds of making are CPU time, as the machine may be shared; those of asking are by the clock.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import chromadb
import numpy as np
from search import drawn_pairs, grown

from langchain_mmrag.ranking import Background, Part, Ranker, unit

K = 10
QUERIES = 100
TILT = 0.3  # as fair search leans
SAMPLE = 1024
BATCH = 5000
WIDTHS = ((16, 100), (16, 200), (24, 100), (24, 200), (32, 100), (32, 200))
EFFORTS = (60, 100, 150, 200, 300)
ALIKE = 500
NEVER = 10**8  # rows before the index is written


class Asked(NamedTuple):
    """Queries [q, d], how many rows each is for, and the places of those it should find [q, 10]."""

    vectors: np.ndarray
    n: int
    best: np.ndarray

    def recall(self, found: Iterable[Iterable[int]]) -> float:
        kept = [len(set(rows) & set(best.tolist())) for rows, best in zip(found, self.best, strict=True)]
        return float(np.mean(kept)) / self.best.shape[1]


class World(NamedTuple):
    """Rows [n, d] in the order they are written, and what they are asked."""

    rows: np.ndarray
    leaning: Asked
    plain: Asked


def world(features: str | None, n: int) -> World:
    pairs = drawn_pairs(500) if features is None else np.load(features).astype(np.float64)
    images, texts = grown(pairs, n + QUERIES)
    half, unseen = n // 2, QUERIES // 2
    asked = {"text": texts[:unseen], "image": images[n : n + unseen]}
    order = np.random.default_rng(2).permutation(n)
    rows = np.concatenate([images[:half], texts[half:n]])[order]
    sides = {"image": np.flatnonzero(order < half), "text": np.flatnonzero(order >= half)}
    plain = np.concatenate(list(asked.values()))
    given = World(rows, leaning(asked, rows, sides), Asked(plain, K, nearest(rows, plain, K)))
    limit = given.leaning.recall(nearest(rows, given.leaning.vectors, given.leaning.n).tolist())
    print(f"{n:,} rows. Leaning queries find {limit:.3f} where nothing is missed")
    return given


def leaning(asked: dict[str, np.ndarray], rows: np.ndarray, sides: dict[str, np.ndarray]) -> Asked:
    """For each query one towards either side."""
    samples = {side: unit(rows[places[:SAMPLE]].astype(np.float64)) for side, places in sides.items()}
    backgrounds = {side: Background(len(sides[side]), sample) for side, sample in samples.items()}
    gap = backgrounds["image"].mean - backgrounds["text"].mean
    vectors, best = [], []
    for side, tilt in (("image", TILT), ("text", -TILT)):
        straight = np.array(
            [
                Ranker([Part(of, vector)], backgrounds, ("text", "image")).search_vector(side)
                for of, each in asked.items()
                for vector in each.astype(np.float64)
            ]
        )
        vectors.append(straight + np.outer(tilt - straight @ gap, gap / (gap @ gap)))
        best.append(sides[side][nearest(rows[sides[side]], straight.astype(np.float32), K)])
    return Asked(np.concatenate(vectors).astype(np.float32), 40, np.concatenate(best))


def nearest(rows: np.ndarray, queries: np.ndarray, n: int) -> np.ndarray:
    """Places of the `n` rows of the highest cosine with each query [q, n]."""
    return np.argpartition(-(queries @ rows.T), n, axis=1)[:, :n]


# --- the graph alone ----------------------------------------------------------------------------------------


def graph(given: World) -> None:
    print(f"\n{'hnswlib':20}{'s to make':>10}{'MB':>7}", end="")
    print("".join(f"{f'ef {effort}':>22}" for effort in EFFORTS))
    print(f"{'':37}" + f"{'leaning / plain / ms':>22}" * len(EFFORTS))
    for width, effort in WIDTHS:
        index, spent = made_graph(given.rows, width, effort)
        print(
            f"{f'M {width}, ef {effort}':20}{spent:10.0f}{index.index_file_size() / 1e6:7.0f}",
            end="",
            flush=True,
        )
        for ef in EFFORTS:
            index.set_ef(ef)
            leaning, _ = asked_graph(index, given.leaning)
            plain, ms = asked_graph(index, given.plain)
            print(f"{f'{leaning:.3f} / {plain:.3f} / {ms:.2f}':>22}", end="", flush=True)
        print()


def made_graph(rows: np.ndarray, width: int, effort: int):  # noqa: ANN201 - of an optional package
    import hnswlib

    index = hnswlib.Index("cosine", rows.shape[1])
    index.init_index(len(rows), M=width, ef_construction=effort)
    start = time.process_time()
    index.add_items(rows, num_threads=1)
    return index, time.process_time() - start


def asked_graph(index: object, asked: Asked) -> tuple[float, float]:
    """Recall, and the median of milliseconds."""

    def ask(vector: np.ndarray) -> list[int]:
        return index.knn_query(vector, asked.n, num_threads=1)[0][0].tolist()

    found, times = timed(ask, asked.vectors)
    return asked.recall(found), times[len(times) // 2]


def timed(ask: Callable[[np.ndarray], list[int]], vectors: np.ndarray) -> tuple[list[list[int]], list[float]]:
    """Answers, and milliseconds in their order of size."""
    found, times = [], []
    for vector in vectors:
        start = time.perf_counter()
        found.append(ask(vector))
        times.append((time.perf_counter() - start) * 1e3)
    return found, sorted(times)


# --- Chroma -------------------------------------------------------------------------------------------------


def made_collection(folder: str, rows: np.ndarray, batch: int = BATCH, **settings: int) -> Iterator[float]:
    """Write the rows, a batch at a time; CPU seconds of each."""
    collection = chromadb.PersistentClient(folder).create_collection(
        "rows", configuration={"hnsw": {"space": "cosine", **settings}}, embedding_function=None
    )
    for start in range(0, len(rows), batch):
        before = time.process_time()
        part = rows[start : start + batch]
        numbers = range(start, start + len(part))
        collection.upsert(
            ids=[str(n) for n in numbers],
            embeddings=part,
            documents=[f"passage {n}" for n in numbers],
            metadatas=[{"source": "notes.md"} for _ in numbers],
        )
        yield time.process_time() - before


def opened(folder: str, asked: list[Asked]) -> tuple[float, list[tuple[float, float]]]:
    """In a process of its own: seconds to the first answer, then recall and median ms of each kind."""
    start = time.perf_counter()
    collection = chromadb.PersistentClient(folder).get_collection("rows", embedding_function=None)

    def ask_for(n: int) -> Callable[[np.ndarray], list[int]]:
        def ask(vector: np.ndarray) -> list[int]:
            found = collection.query(query_embeddings=[vector], n_results=n, include=[])["ids"][0]
            return [int(id_) for id_ in found]

        return ask

    ask_for(1)(asked[0].vectors[0])
    first = time.perf_counter() - start
    results = []
    for each in asked:
        found, times = timed(ask_for(each.n), each.vectors)
        results.append((each.recall(found), times[len(times) // 2]))
    return first, results


def in_fresh_process(folder: str, asked: list[Asked]) -> tuple[float, list[tuple[float, float]]]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(int).result()  # the interpreter and the imports are not what is measured
        return pool.submit(opened, folder, asked).result()


def size_of(folder: str) -> float:
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6


def store(given: World) -> None:
    print(f"\n{'Chroma':20}{'rows/s':>8}{'MB':>6}{'ef':>5}{'first answer s':>16}", end="")
    print(f"{'leaning':>12}{'ms':>6}{'plain':>7}{'ms':>6}")
    for width, effort in ((16, 100), (16, 200)):
        with TemporaryDirectory() as folder:
            settings = {"max_neighbors": width, "ef_construction": effort, "sync_threshold": len(given.rows)}
            spent = sum(made_collection(folder, given.rows, **settings))
            made = f"{f'M {width}, ef {effort}':20}{len(given.rows) / spent:8.0f}{size_of(folder):6.0f}"
            for ef in (100, 150, 300):
                collection = chromadb.PersistentClient(folder).get_collection("rows", embedding_function=None)
                collection.modify(configuration={"hnsw": {"ef_search": ef}})
                first, results = in_fresh_process(folder, [given.leaning, given.plain])
                (leaning, slow), (plain, ms) = results
                print(f"{made}{ef:5}{first:16.2f}{leaning:12.3f}{slow:6.1f}{plain:7.3f}{ms:6.1f}", flush=True)


def sync(given: World) -> None:
    print(f"\nCPU seconds for {BATCH} rows more, by rows there are")
    every = max(1, len(given.rows) // BATCH // 10)
    kinds = {"never written": (NEVER, BATCH), "written every 5,000": (2, BATCH), "every 1,000": (2, 1000)}
    for name, (threshold, batch) in kinds.items():
        with TemporaryDirectory() as folder:
            times = np.array(list(made_collection(folder, given.rows, batch, sync_threshold=threshold)))
            spent = times.reshape(-1, BATCH // batch).sum(axis=1)[every - 1 :: every]
            print(f"{name:20}" + "".join(f"{seconds:7.1f}" for seconds in spent), flush=True)
    print("Seconds to the first answer of a fresh process, by rows in the log")
    for n in (0, 100, 1000, 5000, 20_000):
        with TemporaryDirectory() as folder:
            threshold = NEVER if n else 2
            for _ in made_collection(folder, given.rows[: n or 20_000], sync_threshold=threshold):
                pass
            first, _ = in_fresh_process(folder, [given.plain])
            print(f"{n:8,} {first:.2f}", flush=True)


def equal(given: World) -> None:
    chance = np.random.default_rng(3)
    copied = given.rows[0]
    rows = np.concatenate([given.rows, np.repeat(copied[None], ALIKE, axis=0)])
    rows = rows[chance.permutation(len(rows))]
    cosines = rows @ copied
    others = np.flatnonzero(cosines < 1 - 1e-6)
    kinds = {
        "the 2,000 nearest to them": others[np.argsort(-cosines[others])[:2000]],
        "2,000 others": chance.choice(others, 2000, replace=False),
    }
    print(f"\nOf {len(rows):,} rows {ALIKE} are alike. Not among the 10 nearest to their own vectors:")
    for width, effort in ((16, 100), (16, 200), (64, 400)):
        index, _ = made_graph(rows, width, effort)
        for ef in (150, 1000):
            index.set_ef(ef)
            lost = {name: lost_of(index, rows, places) for name, places in kinds.items()}
            told = ", ".join(f"{count} of {name}" for name, count in lost.items())
            print(f"  M {width}, ef {effort}, asked with {ef}: {told}", flush=True)


def lost_of(index: object, rows: np.ndarray, places: np.ndarray) -> int:
    found, _ = index.knn_query(rows[places], 10, num_threads=1)
    return int(sum(place not in near for place, near in zip(places, found, strict=True)))


def main() -> None:
    parts = {part.__name__: part for part in (graph, store, sync, equal)}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=50_000, help="in thousands of five")
    parser.add_argument("--features")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    options = parser.parse_args()
    given = world(options.features, options.rows // BATCH * BATCH)
    for part in options.parts:
        parts[part](given)


if __name__ == "__main__":
    main()
