"""How the time of `socks5sniff read` grows with the size of what was made to keep it busy, and its memory.

    python -m tests.benchmarks.hostile                        all kinds at n, 2n and 4n
    python -m tests.benchmarks.hostile "byte orders" --scale 2

At most linear means that twice the size takes at most 2.3 times as long. Figures are of the whole process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from itertools import pairwise

from .hostile_captures import KINDS
from .measure import Cost, run
from .peers import SNIFF

FACTOR = 2.3
"""How many times longer twice the size may take."""
PEAK = 300_000_000
"""Octets of memory that no kind may take more of."""
_SHORT = 0.2
"""Seconds beside start-up under which no factor says anything."""


def measured(kind: str, n: int, bound: float, runs: int) -> Cost:
    """The quickest of several runs on a capture of this kind and size."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.benchmarks.hostile_captures", folder, kind, str(n)]
        names = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        first, *others = names
        return min((run([*SNIFF.command(first), *others], bound) for _ in range(runs)), key=lambda cost: cost.cpu)


def startup(bound: float) -> float:
    """Seconds that reading next to nothing takes."""
    return measured("sections", 1, bound, 3).cpu


def verdict(costs: list[Cost], base: float) -> str:
    """Whether it grows at most linearly, and stays small."""
    failures = [cost.failure for cost in costs if cost.failure]
    if failures:
        return failures[0]
    factors = [late.cpu / early.cpu for early, late in pairwise(costs) if late.cpu - base > _SHORT]
    words = []
    if any(factor > FACTOR for factor in factors):
        words.append(f"NOT LINEAR ({max(factors):.1f} times)")
    if max(cost.peak for cost in costs) > PEAK:
        words.append("TOO MUCH MEMORY")
    return ", ".join(words) or "met"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.hostile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS) + " (default: all)")
    parser.add_argument("--scale", type=float, default=1, help="sizes so many times as large")
    parser.add_argument("--runs", type=int, default=1, help="runs of each size; the quickest counts")
    parser.add_argument("--bound", type=float, default=120, help="seconds after which a run is ended")
    arguments = parser.parse_args()
    wanted = arguments.kinds or list(KINDS)
    if unknown := set(wanted) - set(KINDS):
        parser.error(f"no kind is called {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    base = startup(arguments.bound)
    print(f"seconds of CPU time, start-up {base:.2f}; peak memory in MB; targets {FACTOR} times, {PEAK // 10**6} MB")
    print(f"{'kind':<18} {'n':>9} {'of':<11} {'n':>6} {'2n':>6} {'4n':>6} {'peak':>5}")
    for kind in wanted:
        n = int(KINDS[kind].size * arguments.scale)
        costs = [measured(kind, n * times, arguments.bound, arguments.runs) for times in (1, 2, 4)]
        times = " ".join(f"{cost.cpu:>6.2f}" for cost in costs)
        peak = max(cost.peak for cost in costs) / 1e6
        print(f"{kind:<18} {n:>9} {KINDS[kind].of:<11} {times} {peak:>5.0f} {verdict(costs, base)}", flush=True)


if __name__ == "__main__":
    main()
