"""Speed of embedding against other packages, side by side in one run: `make bench`.

    python benchmarks/embed.py [--quick] [--threads 1] [--clock cpu] [--only images,captions]

Every package gets the same random weights of ViT-B-32, the same drawn JPEG files and captions, in one
process, loaded and warmed up. Each round times every way once, in turn; a ratio is the median over rounds of
the other's time divided by ours. Ratios nearer than 15 % to each other are ties. Time is CPU time of the
process, which bears other work on the machine better; `--clock wall` judges by wall-clock time.

Ways that take one item after the other, or pad every text alike, cost the same for each: of the captions they
get a tenth, and their time is scaled up. fastembed and its like fetch their models from a hub; ONNX Runtime
on the exported towers stands for them.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported

import _ceiling
import numpy as np
from _bars import QUICK, Bar, Size
from _fresh import COLLECTION, QUESTION
from _measure import (
    Timing,
    Way,
    difference,
    extrapolated,
    has_bf16,
    interleaved,
    machine,
    quotient_of_medians,
    ratio,
    run_child,
    table,
)
from _peers import BASELINE, BF16, FP32, OURS, PADDED, OnnxRuntime, OpenVino, Ours, Peer
from _photos import LARGE, SMALL, captions, photographs
from _weights import SIDE, Files
from PIL import Image
from threadpoolctl import threadpool_limits

FRESH = Path(__file__).with_name("_fresh.py")
SCALED = ("ONNX Runtime, JPEG scaled by hand", "OpenVINO, JPEG scaled by hand")
NO_BF16 = "this CPU has no bf16"
SECTIONS = ("images", "photographs", "captions", "question", "start", "memory", "ceiling")


class Bench:
    """The peers that could be loaded, the files they share, and the bars met so far."""

    def __init__(self, files: Files, threads: int, clock: str, size: Size) -> None:
        self.files, self.threads, self.clock, self.size = files, threads, clock, size
        self.bars: list[Bar] = []
        self.missing: dict[str, str] = {}
        made = FP32 | (BF16 if has_bf16() else {})
        self.peers = {name: peer for name, make in made.items() if (peer := self.loaded(name, make))}

    def loaded(self, name: str, make: Callable[[Files, int], Peer]) -> Peer | None:
        """The peer, or None with the reason kept: a package that is missing is a row that says so."""
        try:
            peer = make(self.files, self.threads)
            peer.texts([QUESTION])
        except Exception as error:
            if name.startswith(OURS):
                raise
            self.missing[name] = first_line(error)
            return None
        return peer

    def compare(
        self, title: str, ways: dict[str, Way], items: int, expected: dict[str, object]
    ) -> dict[str, Timing]:
        """Time ways; print milliseconds an item, ratios to the baseline, how equal the vectors are."""
        spent = interleaved(ways, self.size.rounds)
        rows = []
        for name, timing in spent.items():
            apart, cosine = difference(np.asarray(expected[name]), np.asarray(expected[BASELINE]))
            rows.append(
                [
                    name,
                    f"{1e3 * statistics.median(timing.cpu) / items:.2f}",
                    f"{1e3 * statistics.median(timing.wall) / items:.2f}",
                    f"{ratio(spent[BASELINE].cpu, timing.cpu):.2f}x",
                    f"{ratio(spent[BASELINE].wall, timing.wall):.2f}x",
                    f"{apart:.1e}",
                    f"{cosine:.7f}",
                ]
            )
        rows += [[name, f"not measured: {why}", "", "", "", "", ""] for name, why in self.missing.items()]
        head = [
            "",
            "CPU ms/item",
            "wall ms/item",
            "CPU ratio",
            "wall ratio",
            "largest difference",
            "least cosine",
        ]
        print(f"\n{title}, {items} items, {self.size.rounds} rounds\n\n{table(head, rows)}", flush=True)
        return spent

    def judge(
        self, work: str, spent: dict[str, Timing], ours: str, peers: Sequence[str], bars: tuple[float, float]
    ) -> None:
        """Add the bar of one kind of work: against the baseline, and against the fastest of `peers`."""
        mine = spent[ours].of(self.clock)
        quotients = {name: ratio(spent[name].of(self.clock), mine) for name in peers if name in spent}
        best = min(quotients, key=quotients.__getitem__, default="")
        against = ratio(spent[BASELINE].of(self.clock), mine)
        self.bars.append(Bar(work, against, bars[0], quotients.get(best), bars[1], best))

    def no_bf16(self, work: str) -> None:
        self.bars.append(Bar(work, note=NO_BF16))

    def images(self) -> None:
        paths = photographs(self.files.folder / "photos", SMALL, self.size.small)
        exact = Ours(exact_decode=True) if takes_exact_decode() else None
        spent = self.pictures("images 500x375", paths, {f"{OURS}, exact_decode": exact} if exact else {})
        self.judge("images 500x375, fp32", spent, OURS, [name for name in FP32 if name != OURS], (3.0, 1.0))
        if has_bf16():
            self.judge("images 500x375, bf16", spent, f"{OURS}, bf16", [*BF16][:-1], (6.0, 1.0))
        else:
            self.no_bf16("images 500x375, bf16")

    def photographs(self) -> None:
        paths = photographs(self.files.folder / "photos", LARGE, self.size.large)
        by_hand = dict(zip(SCALED, (OnnxRuntime, OpenVino), strict=True))
        extra = {
            name: peer
            for name, kind in by_hand.items()
            if (
                peer := self.loaded(name, lambda files, threads, kind=kind: kind(files, threads, scaled=True))
            )
        }
        spent = self.pictures("photographs 4000x3000", paths, extra)
        if has_bf16():
            self.judge("photographs 4000x3000, bf16", spent, f"{OURS}, bf16", [*BF16][:-1], (5.0, 1.2))
        else:
            self.no_bf16("photographs 4000x3000, bf16")
        rivals = [name for name in FP32 if name != OURS]
        self.judge("photographs 4000x3000, fp32 (bars of bf16)", spent, OURS, rivals, (5.0, 1.2))

    def pictures(self, title: str, paths: list[str], extra: dict[str, Peer]) -> dict[str, Timing]:
        peers = self.peers | extra
        expected = {name: peer.images(paths) for name, peer in peers.items()}  # warms up, too
        ways = {name: Way(lambda peer=peer: peer.images(paths)) for name, peer in peers.items()}
        return self.compare(title, ways, len(paths), expected)

    def captions(self) -> None:
        texts = captions(self.size.captions)
        part = texts[: max(1, len(texts) // 10)]
        given = {name: part if name in PADDED else texts for name in self.peers}
        expected = {name: peer.texts(given[name]) for name, peer in self.peers.items()}
        ways = {
            name: Way(lambda name=name, peer=peer: peer.texts(given[name]), len(given[name]) / len(texts))
            for name, peer in self.peers.items()
        }
        spent = self.compare("captions", ways, len(texts), expected)
        work = f"{len(texts):,} captions"
        self.judge(f"{work}, fp32", spent, OURS, [name for name in FP32 if name != OURS], (15.0, 1.0))
        if has_bf16():
            self.judge(f"{work}, bf16", spent, f"{OURS}, bf16", [*BF16][:-1], (28.0, 1.0))
        else:
            self.no_bf16(f"{work}, bf16")

    def question(self) -> None:
        """One text at a time, another each round; asked also of an instance that has done nothing else."""
        asked = iter(captions(self.size.questions + 1, seed=1))
        now = [next(asked)]
        asks_only = "langchain-mmrag that only asks"
        peers = {asks_only: Ours(), **self.peers}
        for peer in peers.values():
            peer.texts(now)
        spent = {name: Timing() for name in peers}
        for now[0] in asked:
            for name, timing in interleaved(
                {n: Way(lambda p=p: p.texts(now)) for n, p in peers.items()}, 1
            ).items():
                spent[name].cpu += timing.cpu
                spent[name].wall += timing.wall
        rows = [
            [
                name,
                f"{1e3 * np.median(timing.cpu):.2f}",
                f"{1e3 * np.median(timing.wall):.2f}",
                f"{1e3 * np.quantile(timing.wall, 0.99):.2f}",
                f"{quotient_of_medians(spent[BASELINE].wall, timing.wall):.2f}x",
            ]
            for name, timing in spent.items()
        ]
        head = ["", "CPU p50 ms", "wall p50 ms", "wall p99 ms", "wall ratio"]
        print(f"\none question, {self.size.questions} rounds\n\n{table(head, rows)}", flush=True)
        self.judge_medians("one question, p50", spent, asks_only, (10.0, 1.0))

    def judge_medians(
        self, work: str, spent: dict[str, Timing], ours: str, bars: tuple[float, float]
    ) -> None:
        mine = spent[ours].of(self.clock)
        rivals = [name for name in FP32 if name in spent and name != OURS]
        quotients = {name: quotient_of_medians(spent[name].of(self.clock), mine) for name in rivals}
        best = min(quotients, key=quotients.__getitem__)
        self.bars.append(Bar(work, quotients.get(BASELINE), bars[0], quotients[best], bars[1], best))

    def start(self) -> None:
        """Import, load, open a collection, ask once: each in a fresh process, its files in the page cache."""
        with TemporaryDirectory() as store:
            fill(store, self.peers[OURS], self.size.rows)
            ways = [name for name in FP32 if name in self.peers]
            spent: dict[str, list[float]] = {name: [] for name in ways}
            for number in range(self.size.starts + 1):
                for name in ways:
                    _, seconds = run_child(
                        FRESH, "start", name, str(self.files.folder), str(self.threads), store
                    )
                    if number:  # the first round warms the cache
                        spent[name].append(seconds)
        self.show(
            "process start to first answer",
            "seconds",
            {n: statistics.median(s) for n, s in spent.items()},
            8.0,
        )

    def memory(self) -> None:
        """Peak memory of a fresh process; rivals get fewer photographs, and a line through two peaks."""
        paths = photographs(self.files.folder / "photos", LARGE, self.size.large)
        peaks = {}
        for name in (name for name in FP32 if name in self.peers):
            counts = [self.size.photos] if name == OURS else list(self.size.rival_photos)
            found = [self.peak(name, (paths * count)[:count]) for count in counts]
            pair = (counts[0], counts[-1])
            peaks[name] = (
                found[0] if name == OURS else extrapolated(pair, (found[0], found[1]), self.size.photos)
            )
            told_counts = " and ".join(
                f"{peak:.0f} MB with {count}" for count, peak in zip(counts, found, strict=True)
            )
            print(f"{name}: {told_counts}", flush=True)
        self.show(f"peak memory, {self.size.photos} photographs of 12 MP", "MB", peaks, 10.0)

    def peak(self, name: str, paths: list[str]) -> float:
        with NamedTemporaryFile("w", suffix=".txt") as listed:
            listed.write("\n".join(paths))
            listed.flush()
            found, _ = run_child(
                FRESH, "memory", name, str(self.files.folder), str(self.threads), listed.name
            )
        return float(found["peak_mb"])

    def show(self, title: str, measure: str, figures: dict[str, float], bar: float) -> None:
        """Print a figure each, and add the bar: so many times less than the baseline, and least of all."""
        mine = figures[OURS]
        rows = [[name, f"{figure:.2f}", f"{figure / mine:.2f}x"] for name, figure in figures.items()]
        print(f"\n{title}\n\n{table(['', measure, 'of ours'], rows)}", flush=True)
        rivals = {name: figure / mine for name, figure in figures.items() if name != OURS}
        best = min(rivals, key=rivals.__getitem__)
        self.bars.append(Bar(title, rivals.get(BASELINE), bar, rivals[best], 1.0, best))

    def ceiling(self) -> None:
        """What part of this CPU's rate of products the towers reach, pixels and tokens included."""
        rates = _ceiling.gemm_rates(bf16=has_bf16())
        print(
            f"\n{table(['product', 'GFLOP per CPU s'], [[n, f'{rate:.0f}'] for n, rate in rates.items()])}\n"
        )
        small = [
            Image.open(path).convert("RGB").resize((SIDE, SIDE))
            for path in photographs(self.files.folder / "photos", SMALL, self.size.small)
        ]
        texts = captions(256)
        lengths = self.peers[OURS].clip.token_counts(texts)
        for name in (name for name in (OURS, f"{OURS}, bf16") if name in self.peers):
            clip, kind = self.peers[name].clip, "bf16" if name.endswith("bf16") else "fp32"
            top = max(rate for of, rate in rates.items() if f" {kind}" in of)
            works = {
                "pictures": (
                    lambda clip=clip: clip.embed_image(small),
                    [len(small) * _ceiling.image_flops(pruned=pruned) for pruned in (False, True)],
                ),
                "captions": (
                    lambda clip=clip: clip.embed_documents(texts),
                    [_ceiling.text_flops(lengths, pruned=pruned) for pruned in (False, True)],
                ),
            }
            for work, (run, (full, pruned)) in works.items():
                run()
                spent = statistics.median(interleaved({"": Way(run)}, self.size.rounds)[""].cpu) * 1e9
                print(
                    f"{work}, {kind}: {full / spent:.0f} GFLOP/s, {full / spent / top:.0%} of {top:.0f},"
                    f" {pruned / spent / top:.0%} if what the pooled token spares is not counted"
                )


def takes_exact_decode() -> bool:
    from inspect import signature

    from langchain_mmrag.embeddings import OpenCLIPEmbeddings

    return "exact_decode" in signature(OpenCLIPEmbeddings).parameters


def fill(store: str, ours: Peer, rows: int) -> None:
    """A collection of captions, with what a first search would still have to make."""
    from langchain_mmrag import MultimodalChroma

    collection = MultimodalChroma(COLLECTION, ours.clip, persist_directory=store)
    texts = captions(rows, seed=2)
    collection.add_texts(texts, ids=[str(number) for number in range(rows)])
    collection.similarity_search(QUESTION)


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:80]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="some three minutes; figures are rough")
    parser.add_argument("--threads", type=int, default=1, help="inside an operation, for all alike")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu", help="what ratios are taken of")
    parser.add_argument("--only", default=",".join(SECTIONS), help="of " + ",".join(SECTIONS))
    parser.add_argument(
        "--cache", type=Path, default=Path(".cache/benchmarks"), help="for weights and pictures, 2 GB"
    )
    parser.add_argument("--captions", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--photos", type=int, help="of 12 megapixels, for peak memory")
    options = parser.parse_args()
    size = QUICK if options.quick else Size()
    for name in ("captions", "rounds", "photos"):
        setattr(size, name, getattr(options, name) or getattr(size, name))
    sections = options.only.split(",")
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"no section is called {', '.join(sorted(unknown))}: there are {', '.join(SECTIONS)}")
    files = Files(options.cache)
    files.in_place_of_downloads()
    for library in ("OMP", "OPENBLAS"):
        os.environ[f"{library}_NUM_THREADS"] = str(options.threads)  # for processes started from here
    threadpool_limits(options.threads)  # NumPy's products, too
    run(files, options.threads, options.clock, size, sections)


def run(files: Files, threads: int, clock: str, size: Size, sections: list[str]) -> None:
    import torch

    started = time.perf_counter()
    warnings.simplefilter("ignore")  # of packages of others
    torch.set_num_threads(threads)
    print(machine(threads), flush=True)
    files.make()
    try:
        files.make_graphs()
    except ImportError as error:
        print(f"no graphs for ONNX Runtime and OpenVINO: {error}")
    bench = Bench(files, threads, clock, size)
    for section in sections:
        getattr(bench, section)()
    head = ["work", "against langchain-experimental", "against the best peer", "which"]
    print(f"\nratios by {clock} time; process start by wall-clock time\n")
    print(table(head, [bar.line() for bar in bench.bars]))
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
