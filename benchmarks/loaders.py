"""How fast each loader is, and whether long files cost more memory than short ones.

    python benchmarks/loaders.py [pdf|table|video|audio|ocr|office ...]

Every row is a real file made on the spot. Peak memory is that of a process of its own, which does nothing
but load one file; so are the seconds, after everything is imported. A rival is what people write without
this package: it does less, and says how much of the time is decoding.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

BENCHMARKS: dict[str, Callable[[Path], None]] = {}
"""By name, what `python benchmarks/loaders.py NAME` does with an empty folder."""


def benchmark(function: Callable[[Path], None]) -> Callable[[Path], None]:
    """Register a benchmark under its function's name."""
    BENCHMARKS[function.__name__] = function
    return function


def measured(code: str, *arguments: object) -> dict[str, float]:
    """Run `code` in a process of its own.

    Args:
        code: Python that leaves in `count` how many documents, pages or frames it made; `arguments` are
            `sys.argv[1:]`. What stands above a line `# start` is not timed.

    Returns:
        `count`, `seconds`, `peak_mb` of the process and `base_mb`, its peak at `# start`.
    """
    before, _, timed = code.partition("# start\n")
    whole = (
        "import json, resource, sys, time\n"
        f"{before}\n"
        "base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "start = time.perf_counter()\n"
        f"{timed}\n"
        "seconds = time.perf_counter() - start\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "row = {'count': count, 'seconds': seconds, 'peak_mb': peak / 1024, 'base_mb': base / 1024}\n"
        "print(json.dumps(row))"
    )
    command = [sys.executable, "-c", whole, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(name: str, result: dict[str, float], unit: str) -> None:
    """Print a row: how many `unit` per second, and the peak of memory."""
    rate = result["count"] / result["seconds"]
    print(f"{name:44} {rate:10.1f} {unit}/s   peak {result['peak_mb']:6.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all by default"
    )
    for name in parser.parse_args().names or BENCHMARKS:
        print(f"\n{name}")
        with TemporaryDirectory() as folder:
            BENCHMARKS[name](Path(folder))


if __name__ == "__main__":
    main()
