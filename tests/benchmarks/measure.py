"""Run a program once and say what it cost: wall time of the whole process, CPU time, peak memory.

This module and those that use it import nothing heavy: Linux counts the memory of the process that starts a program
into that program's peak, so the one that measures must be smaller than what it measures.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple


class Cost(NamedTuple):
    """What one run cost."""

    wall: float
    """Seconds from start to end."""
    cpu: float
    """Seconds of CPU, user and system, of the process and its children."""
    peak: int
    """Octets of memory, at the highest."""
    lines: int
    """Lines the program printed."""
    failure: str | None = None
    """Why the figures do not count: it failed, or was ended at the bound."""


def run(command: Sequence[str], bound: float) -> Cost:
    """Run `command` with its output going to a file, for `bound` seconds at most."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=_as_installed())
        alarm = threading.Timer(bound, process.kill)
        alarm.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        alarm.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        failure = None
        if wall >= bound:
            failure = f"ended after {bound:.0f} s"
        elif process.returncode != 0:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            failure = f"exit status {process.returncode}: {''.join(last)}"
        output.seek(0)
        lines = sum(block.count(b"\n") for block in iter(lambda: output.read(1 << 20), b""))
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, lines, failure)


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure; the first failure, if any."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        int(statistics.median(cost.peak for cost in costs)),
        costs[0].lines,
        next((cost.failure for cost in costs if cost.failure), None),
    )


def interleaved(commands: dict[str, list[str]], runs: int, bound: float) -> dict[str, Cost]:
    """Each command `runs` times in turns (A B C A B C …), so that what the machine does meets all alike; medians."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            costs[name].append(run(command, bound))
    return {name: median(found) for name, found in costs.items()}


def _as_installed() -> dict[str, str]:
    """The environment without what keeps Python from using compiled modules, which an installation has."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
