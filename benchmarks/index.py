"""What a collection costs as it grows, and what an index run of photographs spends its time on.

    python benchmarks/index.py curve [--rows 1000,10000,100000,1000000] [--features FILE] [--plot out.png]
    python benchmarks/index.py stages [--photos 60] [--size 4000x3000] [--model NAME --checkpoint FILE]

`curve` grows one collection from each size to the next and measures at each: the time and disk a new row
takes (in Chroma, and beside it), the first search of a collection another program has filled, queries, and
the peak of memory so far. Half of the rows are pictures, half passages; each has twenty words drawn from
30,000 by Zipf's law. Vectors are mixes of those in FILE, see `search.py`.

Queries are asked in each way in turn, so that whatever else the machine does falls on all of them. Each asks
with the words and (about) the vector of a row. Times of adding are CPU time, those of queries wall time.

`stages` indexes photographs as `mmrag index` does and says how long each stage was at work. They go on at the
same time, and reading and decoding in several threads, so their shares add up to more than the whole: a stage
is the bottleneck if it is at work (per thread) nearly all of the time. By default the model is ViT-B-32 with
random weights, and the photographs are drawn; both are kept for the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from _photos import photographs
from _weights import MODEL, SIDE, TAG, Files
from langchain_core.embeddings import Embeddings
from PIL import Image
from search import drawn_pairs, unit

from langchain_mmrag._store.ingest import Row
from langchain_mmrag._store.ledger import Ledger
from langchain_mmrag._store.pipeline import Embedded
from langchain_mmrag.document_loaders import LoaderOptions
from langchain_mmrag.indexing import index_paths
from langchain_mmrag.vectorstores import MultimodalChroma

BATCH = 2000
QUERIES = 60
K = 10
WORDS = [f"w{n}" for n in range(30_000)]
_ZIPF = 1 / np.arange(1, len(WORDS) + 1)
_SHARES = np.cumsum(_ZIPF / _ZIPF.sum())


class Growing:
    """The rows of the collection, a block at a time and always the same ones."""

    def __init__(self, pairs: np.ndarray) -> None:
        self.means = pairs.mean(axis=1).astype(np.float32)
        self.contents = (pairs - pairs.mean(axis=1, keepdims=True)).astype(np.float32)

    def vectors(self, number: int, count: int, seed: int = 3) -> np.ndarray:
        """Pictures in even rows, passages in odd ones [count, d]: mixes of three pairs each, with noise."""
        rng = np.random.default_rng([seed, number])
        n = self.contents.shape[1]
        mixed = rng.integers(0, n, (count, 3))
        shares = np.sqrt(rng.dirichlet([2, 1, 0.5], count)).astype(np.float32)
        one, other = rng.integers(0, n, (2, count))
        found = np.empty((count, self.contents.shape[2]), np.float32)
        for side in range(2):
            of = slice(side, None, 2)
            content = self.contents[side]
            body = np.einsum("nk,nkd->nd", shares[of], content[mixed[of]])
            noise = (content[one[of]] - content[other[of]]) / np.float32(np.sqrt(2))
            found[of] = self.means[side] + 0.93 * body + 0.37 * noise
        return unit(found).astype(np.float32)

    def texts(self, number: int, count: int) -> list[str]:
        rng = np.random.default_rng([4, number])
        drawn = np.searchsorted(_SHARES, rng.random((count, 20))).clip(max=len(WORDS) - 1)
        return [" ".join(WORDS[word] for word in words) for words in drawn]

    def rows(self, start: int, count: int) -> list[Row]:
        """Rows as the store has them once they are embedded."""
        columns = zip(self.texts(start, count), self.vectors(start, count), strict=True)
        rows = []
        for number, (text, vector) in enumerate(columns, start):
            facts = {"source": f"/notes/{number // 40}.md", "page": number % 40}
            if number % 2 == start % 2:
                facts = {"source": f"/photos/IMG_{number}.jpg", "modality": "image", "width": 4000}
            row = Row(number - start, f"{number:032x}", text, facts)
            row.vector = vector
            rows.append(row)
        return rows


class Stored(Embeddings):
    """Vectors made beforehand, by the text they are of."""

    def __init__(self) -> None:
        self.of: dict[str, np.ndarray] = {}

    def embed_query(self, text: str) -> list[float]:
        return self.of[text].tolist()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


class Clock:
    """CPU seconds spent in a function that is wrapped in it."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run, self.spent = run, 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return self.run(*args, **kwargs)
        finally:
            self.spent += time.process_time() - start


def grow(store: MultimodalChroma, growing: Growing, start: int, stop: int) -> tuple[float, float]:
    """Add rows; microseconds of CPU time a row, in Chroma's upsert and in all the rest."""
    collection = store._collection  # noqa: SLF001
    chroma = Clock(collection.upsert)
    collection.upsert = chroma
    total = 0.0
    try:
        for number in range(start, stop, BATCH):
            rows = growing.rows(number, min(BATCH, stop - number))
            begun = time.process_time()
            store._insert(Embedded(rows, [{}, {}]))  # noqa: SLF001  as `add_texts` does
            total += time.process_time() - begun
    finally:
        del collection.upsert
    scale = 1e6 / (stop - start)
    return chroma.spent * scale, (total - chroma.spent) * scale


def sizes(folder: Path) -> dict[str, int]:
    """Bytes on disk: of Chroma, and beside it of words, vectors and the rest."""
    ledger = next((folder / "mmrag").glob("*.sqlite3"))
    with closing(sqlite3.connect(ledger)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        parts = dict.fromkeys(("words", "vectors", "rows"), 0)
        for name, size in file.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"):
            parts[next((part for part in ("words", "vectors") if name.startswith(part)), "rows")] += size
    every = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    beside = sum(path.stat().st_size for path in (folder / "mmrag").iterdir())
    return {"chroma": every - beside, **parts}


def first_search(store: MultimodalChroma, folder: Path) -> float:
    """Seconds until a ledger made from nothing knows the collection, as if another program had filled it."""
    place = folder.with_name(f"{folder.name}-anew")
    ledger = Ledger(lambda: store._collection, place)  # noqa: SLF001
    begun = time.perf_counter()
    ledger.statistics()
    taken = time.perf_counter() - begun
    ledger.forget()
    shutil.rmtree(place)
    return taken


def queries(growing: Growing, count: int, embedding: Stored) -> Iterator[str]:
    """Two to four words of a row each, with a vector near the row's."""
    rng = np.random.default_rng(5)
    noise = growing.vectors(0, 2 * QUERIES, seed=6)[1::2]
    for number in range(QUERIES):
        block = int(rng.integers(0, max(count // BATCH, 1))) * BATCH
        place = int(rng.integers(0, min(BATCH, count) // 2)) * 2 + 1
        words = growing.texts(block, min(BATCH, count))[place].split()
        text = " ".join(rng.choice(words, rng.integers(2, 5), replace=False))
        vector = growing.vectors(block, min(BATCH, count))[place]
        embedding.of[text] = unit(vector + 0.5 * noise[number]).astype(np.float32)
        yield text


def ask(store: MultimodalChroma, growing: Growing, count: int) -> dict[str, tuple[float, float]]:
    """p50 and p99 in milliseconds of each way to ask."""
    collection, embedding = store._collection, store.embeddings  # noqa: SLF001
    columns = ["documents", "metadatas", "distances"]
    ways: dict[str, Callable[[str], object]] = {
        "plain": lambda text: collection.query(
            query_embeddings=[embedding.of[text]], n_results=K, include=columns
        ),
        "fair": lambda text: store.search_ranked(text, k=K),
        "keyword": lambda text: store.search_ranked(text, k=K, search="keyword"),
        "hybrid": lambda text: store.search_ranked(text, k=K, search="hybrid"),
    }
    asked = list(queries(growing, count, embedding))
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(asked[0])
    for text in asked:
        for name, way in ways.items():
            begun = time.perf_counter()
            way(text)
            spent[name].append(1e3 * (time.perf_counter() - begun))
    return {name: (float(np.median(each)), float(np.quantile(each, 0.99))) for name, each in spent.items()}


def curve(counts: list[int], pairs: np.ndarray) -> Iterator[dict[str, Any]]:
    """What each size costs; the collection grows from one to the next."""
    folder = Path(mkdtemp(prefix="mmrag-curve-"))
    growing = Growing(pairs)
    store = MultimodalChroma("curve", Stored(), persist_directory=folder)
    known = 0
    before: dict[str, int] = {}
    try:
        for count in counts:
            chroma_us, beside_us = grow(store, growing, known, count)
            disk = sizes(folder)
            yield {
                "rows": count,
                "add_us": {"chroma": chroma_us, "beside": beside_us},
                "disk": {part: (size - before.get(part, 0)) / (count - known) for part, size in disk.items()},
                "queries_ms": ask(store, growing, count),
                "first_search_s": first_search(store, folder),
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
            known, before = count, disk
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stages(paths: list[str], embedding: Embeddings) -> Iterator[str]:
    """How long each stage of an index run was at work, and how long the model alone takes for as many."""
    folder = Path(mkdtemp(prefix="mmrag-stages-"))
    try:
        store = MultimodalChroma("stages", embedding, persist_directory=folder)
        embedding.embed_image(paths[:1])  # the weights are read before the clock starts
        cpu = time.process_time()
        # Writing in pictures is not looked for: that takes many times as long as all else.
        report = index_paths(store, paths, options=LoaderOptions(ocr="off"))
        cpu = time.process_time() - cpu
        total = report.seconds["total"]
        yield f"{report.added}/{len(paths)} photographs, {os.cpu_count()} cores, {torch_threads()} threads"
        for stage in ("reading", "embedding", "inserting"):
            spent = report.seconds.get(stage, 0.0)
            yield (
                f"{stage:>10}: {spent:7.2f} s, {100 * spent / total:4.0f} % of the run,"
                f" {1e3 * spent / len(paths):6.1f} ms a photograph"
            )
        yield f"{'total':>10}: {total:7.2f} s, {len(paths) / total:.1f} photographs a second, CPU {cpu:.1f} s"
        yield f"{'alone':>10}: {forward_alone(embedding, paths):7.2f} s for what was decoded before"
        yield f"{'peak':>10}: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:7.0f} MB"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def forward_alone(embedding: Embeddings, paths: list[str]) -> float:
    """Seconds for the vectors of as many pictures that lie decoded in memory, as small as the model's own."""
    picture = Image.open(paths[0])
    picture.draft("RGB", (SIDE, SIDE))
    small = picture.convert("RGB").resize((SIDE, SIDE))
    begun = time.perf_counter()
    embedding.embed_image([small] * len(paths))
    return time.perf_counter() - begun


def torch_threads() -> int:
    import torch

    return torch.get_num_threads()


def run_stages(options: argparse.Namespace) -> None:
    files = Files(options.cache)
    if options.checkpoint is None:
        files.in_place_of_downloads()
        files.make()
    from langchain_mmrag import OpenCLIPEmbeddings

    width, height = map(int, options.size.split("x"))
    paths = photographs(options.cache / "photos", ((width, height),), options.photos)
    embedding = OpenCLIPEmbeddings(options.model, options.checkpoint or TAG, show_progress=False)
    for each in stages(paths, embedding):
        print(each, flush=True)


HEADER = (
    f"{'':9} | {'add, us CPU a row':^17} | {'disk, bytes a new row':^31} | {'first':^8} |"
    f" {'queries, ms p50 / p99':^63} | {'peak':>6}\n"
    f"{'rows':>9} | {'Chroma':>8} {'beside':>8} | {'Chroma':>7} {'rows':>7} {'vectors':>7} {'words':>7} |"
    f" {'search s':>8} | {'plain':>15} {'fair':>15} {'keyword':>15} {'hybrid':>15} | {'MB':>6}"
)


def line(found: dict[str, Any]) -> str:
    disk, asked = found["disk"], found["queries_ms"]
    ways = " ".join(f"{p50:>7.1f} /{p99:>6.0f}" for p50, p99 in asked.values())
    return (
        f"{found['rows']:>9,} | {found['add_us']['chroma']:>8.0f} {found['add_us']['beside']:>8.0f} |"
        f" {disk['chroma']:>7.0f} {disk['rows']:>7.0f} {disk['vectors']:>7.0f} {disk['words']:>7.0f} |"
        f" {found['first_search_s']:>8.1f} | {ways} | {found['peak_mb']:>6.0f}"
    )


def plot(found: list[dict[str, Any]], path: Path) -> None:
    """Draw time and disk a row and the time of queries over the number of rows."""
    from matplotlib.figure import Figure

    rows = [each["rows"] for each in found]
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    adding, disk, asking = figure.subplots(1, 3)
    adding.plot(rows, [each["add_us"]["chroma"] for each in found], "o-", label="add: Chroma (CPU)")
    adding.plot(rows, [each["add_us"]["beside"] for each in found], "s-", label="add: beside it (CPU)")
    first = [1e6 * each["first_search_s"] / each["rows"] for each in found]
    adding.plot(rows, first, "^--", label="first search of a foreign collection")
    adding.set(title="Time a row", ylabel="microseconds a row")
    for part, marker in (("chroma", "o-"), ("vectors", "s-"), ("words", "^-"), ("rows", "v-")):
        label = "Chroma" if part == "chroma" else f"beside it: {part}"
        disk.plot(rows, [max(each["disk"][part], 1) for each in found], marker, label=label)
    disk.set(title="Disk a new row", ylabel="bytes a row")
    for name, marker in zip(found[0]["queries_ms"], "osv^", strict=True):
        p50, p99 = zip(*(each["queries_ms"][name] for each in found), strict=True)
        (drawn,) = asking.plot(rows, p50, f"{marker}-", label=name)
        asking.plot(rows, p99, ":", color=drawn.get_color(), alpha=0.7)
    asking.set(title="A query (solid p50, dotted p99)", ylabel="milliseconds")
    for axes in (adding, disk, asking):
        axes.set(xscale="log", yscale="log", xlabel="rows")
        axes.grid(which="major", alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)
    print(f"drawn: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    growth = commands.add_parser("curve", help="costs from a thousand rows to a million")
    growth.add_argument("--rows", default="1000,10000,100000")
    growth.add_argument("--features", type=Path, help="unit vectors [2, n, d] of pictures and their captions")
    growth.add_argument("--plot", type=Path, help="a picture to draw")
    growth.add_argument("--out", type=Path, help="a JSON file for the figures")
    growth.set_defaults(run=run_curve)
    staged = commands.add_parser("stages", help="what an index run of photographs spends its time on")
    staged.add_argument("--photos", type=int, default=60)
    staged.add_argument("--size", default="4000x3000", help="of the photographs, in pixels")
    staged.add_argument("--model", default=MODEL, help="of open_clip")
    staged.add_argument("--checkpoint", help="its weights: a file or a tag; random ones by default")
    staged.add_argument("--cache", type=Path, default=Path(".cache/benchmarks"))
    staged.set_defaults(run=run_stages)
    options = parser.parse_args()
    options.run(options)


def run_curve(options: argparse.Namespace) -> None:
    pairs = np.load(options.features) if options.features else drawn_pairs(500)
    found = []
    print(HEADER)
    for each in curve(sorted(map(int, options.rows.split(","))), pairs):
        found.append(each)
        print(line(each), flush=True)
        if options.out:
            options.out.write_text(json.dumps(found, indent=1))
    if options.plot:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
