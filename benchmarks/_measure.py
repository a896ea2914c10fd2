"""Ways timed side by side, and the machine they ran on."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

PACKAGES = (
    "torch",
    "open_clip_torch",
    "langchain-experimental",
    "chromadb",
    "sentence-transformers",
    "transformers",
    "onnxruntime",
    "openvino",
    "pillow",
)


@dataclass
class Way:
    """One way to do the work.

    Attributes:
        run: Does it once.
        share: Part of the work that `run` does, where each item costs the same and all would take too long.
    """

    run: Callable[[], object]
    share: float = 1.0


@dataclass
class Timing:
    """Seconds of all the work, a round each."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def of(self, clock: str) -> list[float]:
        return self.cpu if clock == "cpu" else self.wall


def interleaved(ways: Mapping[str, Way], rounds: int) -> dict[str, Timing]:
    """Time every way once a round, in turn; each round begins with another one."""
    spent = {name: Timing() for name in ways}
    names = list(ways)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            cpu, wall = time.process_time(), time.perf_counter()
            ways[name].run()
            spent[name].cpu.append((time.process_time() - cpu) / ways[name].share)
            spent[name].wall.append((time.perf_counter() - wall) / ways[name].share)
    return spent


def ratio(of: list[float], to: list[float]) -> float:
    """How many times longer the first took: the median of the quotients of each round."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))


def quotient_of_medians(of: list[float], to: list[float]) -> float:
    """How many times longer the first took, for many short calls."""
    return statistics.median(of) / statistics.median(to)


def difference(found: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Largest difference of a component, and the least cosine, over rows of unit length.

    Compares as many rows as both have.
    """
    rows = min(len(found), len(expected))
    found, expected = np.asarray(found)[:rows], np.asarray(expected)[:rows]
    return float(np.abs(found - expected).max()), float((found * expected).sum(axis=1).min())


def extrapolated(counts: tuple[int, int], peaks: tuple[float, float], count: int) -> float:
    """A peak of memory [MB] for `count` items, by the line through two; flat below a megabyte an item."""
    slope = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
    return peaks[1] + (slope * (count - counts[1]) if slope >= 1 and count > counts[1] else 0)


def peak_memory_mb() -> float:
    """Most memory this process ever had resident [MB].

    Not `getrusage`, which counts what the parent had when it forked.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def run_child(script: Path, *arguments: str) -> tuple[dict, float]:
    """The JSON that a fresh Python prints as its first line, and seconds until it did.

    Raises:
        RuntimeError: If it fails; says why.
    """
    start = time.perf_counter()
    with subprocess.Popen(  # noqa: S603  our own script
        [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        line = child.stdout.readline()
        spent = time.perf_counter() - start
        _, errors = child.communicate()
    if child.returncode or not line:
        raise RuntimeError((errors.strip().splitlines() or ["it printed nothing"])[-1])
    return json.loads(line), spent


def cpu_flags() -> set[str]:
    info = Path("/proc/cpuinfo")
    words = info.read_text().split() if info.exists() else []
    return {word.lower() for word in words}


def has_bf16() -> bool:
    """Whether the CPU multiplies in bf16; where it does not, bf16 is slower than fp32."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def machine(threads: int) -> str:
    """Processor, what it can do, threads, versions: three lines."""
    info = Path("/proc/cpuinfo")
    named = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    name = named[0].split(":", 1)[1].strip() if named else platform.processor() or platform.machine()
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "bf16")
    able = [flag for flag in wanted if flag in cpu_flags()]
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    policy = os.environ.get("OMP_WAIT_POLICY", "unset")
    today = time.strftime("%Y-%m-%d")
    return (
        f"{name}: {', '.join(able) or 'no vector extensions known'}; {os.cpu_count()} processors\n"
        f"{threads} thread(s) of arithmetic, OMP_WAIT_POLICY {policy}, load {load}, {today}\n"
        f"Python {platform.python_version()}, {', '.join(map(_versioned, PACKAGES))}"
    )


def _versioned(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown, in columns that line up."""
    lines = [head, ["-" * max(3, len(cell)) for cell in head], *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    lines[1] = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
