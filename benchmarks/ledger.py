"""What the index beside a collection costs: entering rows, statistics for a query, keyword search.

    python benchmarks/ledger.py --rows 100000

Milliseconds are CPU time of this process, as the machine may be shared. Texts are 40 words drawn from 30,000
by Zipf's law, every second row is a picture with a file name. Words named `share_60` and so on are in that
percentage of the rows.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import chromadb
import numpy as np

from langchain_mmrag._store.ledger import Ledger

WORDS = [f"w{n}" for n in range(30_000)]
SHARES = (60, 33, 20, 5)
QUERIES = (
    "w1000",
    "w20",
    "w5000 w300 w77",
    "share_5 share_20",
    "share_33 share_20 w30",
    "IMG_2041",
    "IMG_2041 w0",
    "share_60",
    "w0 w1",
    "w10*",
    '"w5 w6"',
    "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w500",
    " ".join(WORDS[:1000]),
    "nowhere",
)


def rows(start: int, count: int) -> dict[str, list]:
    chance = np.random.default_rng(start)
    zipf = 1 / np.arange(1, len(WORDS) + 1)
    drawn = chance.choice(len(WORDS), (count, 40), p=zipf / zipf.sum())
    texts = []
    for words in drawn:
        marks = [f"share_{share}" for share in SHARES if chance.random() < share / 100]
        texts.append(" ".join([*(WORDS[word] for word in words), *marks]))
    numbers = range(start, start + count)
    return {
        "ids": [f"id{n}" for n in numbers],
        "embeddings": chance.normal(size=(count, 64)).astype(np.float32),
        "documents": texts,
        "metadatas": [
            {"modality": "image", "source": f"IMG_{n}.jpg"} if n % 2 else {"source": "diary.md"}
            for n in numbers
        ],
    }


def milliseconds(action: Callable[[], object], times: int = 5) -> float:
    """CPU time of this process, the least of some runs."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        action()
        taken.append(time.process_time() - start)
    return min(taken) * 1000


def measure(count: int, folder: Path) -> None:
    collection = chromadb.PersistentClient(str(folder)).create_collection("rows", embedding_function=None)
    for start in range(0, count, 5000):
        collection.add(**rows(start, min(5000, count - start)))
    ledger = Ledger(lambda: collection, folder / "mmrag")

    start, cpu = time.perf_counter(), time.process_time()
    ledger.current()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"enter a collection of {count} rows: {wall:.1f} s, CPU {cpu:.1f} s")

    for size in (1, 1000):
        batch = rows(count, size)
        start = time.process_time()
        with ledger.writing(batch["ids"]):
            marked = time.process_time()
            collection.upsert(**batch)
            written = time.process_time()
        entered = time.process_time()
        with ledger.writing(batch["ids"]):
            collection.delete(ids=batch["ids"])
        inside, around = 1000 * (written - marked), 1000 * (marked - start + entered - written)
        print(f"add {size}: Chroma {inside:.1f} ms, ledger {around:.1f} ms")

    print(f"statistics, first: {milliseconds(ledger.statistics, 1):.1f} ms")
    print(f"statistics, nothing changed: {milliseconds(ledger.statistics):.2f} ms")
    print(f"  of that collection.count(): {milliseconds(collection.count):.2f} ms")
    print(f"  the rest: {milliseconds(lambda: ledger.statistics(count)):.3f} ms")
    for query in QUERIES:
        taken = milliseconds(lambda query=query: ledger.matches(query, 30, count=count))
        print(f"matches of {query[:40]!r}: {taken:.1f} ms")
    size = sum(path.stat().st_size for path in (folder / "mmrag").iterdir())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"file: {size / 1e6:.0f} MB; peak memory {memory:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    with TemporaryDirectory() as folder:
        measure(parser.parse_args().rows, Path(folder))
