"""How fast `socks5sniff read --format jsonl` is, beside other programs on the same captures in the same run.

    python -m tests.benchmarks                     all captures, five runs each, and start-up
    python -m tests.benchmarks churn many --runs 9
    python -m tests.benchmarks --memory            peak memory of captures ten times as long, too
    python -m tests.benchmarks --save FILE         put the figures into a file, see tests/benchmarks/manual.py

Each program runs as a process of its own and takes its turn; figures are medians of the whole process' wall time, CPU
time and peak memory (a program smaller than this measuring one shows this one's, about 17 MB). "faster" is the peer's
wall time divided by socks5sniff's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .dialogues import NAMES as COPIES
from .dialogues import available
from .measure import Cost, interleaved, run
from .peers import OURS, PEAK_TARGET, PEERS, SNIFF, TARGETS, Program, installed

Costs = dict[str, Cost]
CAPTURES = ("churn", "bulk", "noise", "many", "midstream", *COPIES)
STARTUP_TARGETS = {"--version": 0.120, "read of 10 kB": 0.250}


def make(folder: Path, name: str, scale: int, size: int | None = None) -> tuple[Path, int]:
    """A capture in `folder` and the number of conversations in it, made by a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.captures", str(folder), name, "--scale", str(scale)]
    if size is not None:
        command += ["--size", str(size)]
    made = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return Path(made["capture"]), int(made["conversations"])


def compare(name: str, capture: Path, conversations: int, peers: list[Program], runs: int, bound: float) -> Costs:
    """Run all programs on one capture and print the table."""
    size = capture.stat().st_size
    print(f"\n{name}: {size / 1e6:.0f} MB, {conversations} SOCKS conversations", flush=True)
    capture_text = str(capture)
    run(["cat", capture_text], bound)  # from here on the file is in the page cache for everyone
    quick = {program.name: program.command(capture_text) for program in (SNIFF, *peers) if not program.slow}
    costs = interleaved(quick, runs, bound)
    slow = {program.name: program.command(capture_text) for program in peers if program.slow}
    costs |= interleaved(slow, 1, bound)
    ours = costs[OURS]
    print(f"  {'program':<12} {'wall s':>8} {'CPU s':>8} {'peak MB':>8} {'faster':>8} {'target':>8}")
    for program, cost in costs.items():
        ratio = "" if program == OURS else f"{cost.wall / ours.wall:.2f}"
        target = TARGETS[name].get(program)
        wanted = "" if target is None else f"{target:g}"
        print(f"  {program:<12} {_figures(cost)} {ratio:>8} {wanted:>8}{_verdict(cost, ours, target)}")
    if ours.failure is None and ours.lines != conversations and name != "lossy":
        print(f"  {OURS} printed {ours.lines} records, the capture holds {conversations}")
    if ours.failure is None:
        print(f"  peak memory {_against(ours.peak / 1e6, PEAK_TARGET / 1e6, 'MB')}", flush=True)
    return costs


def memory(folder: Path, names: list[str], bound: float) -> None:
    """Peak memory on captures ten times as long."""
    print("\nTen times as long")
    for name in names:
        capture, conversations = make(folder, name, scale=10)
        cost = run(SNIFF.command(str(capture)), bound * 10)
        print(
            f"  {name:<6} {capture.stat().st_size / 1e6:>6.0f} MB {cost.wall:>7.2f} s  {cost.lines} records of "
            f"{conversations}  peak memory {_against(cost.peak / 1e6, PEAK_TARGET / 1e6, 'MB')}"
            + (f"  {cost.failure}" if cost.failure else ""),
            flush=True,
        )
        capture.unlink()


def startup(folder: Path, runs: int, bound: float) -> Costs:
    """Wall time of the shortest things one can do."""
    capture, _ = make(folder, "churn", scale=1, size=7)
    commands = {
        "--version": [sys.executable, "-m", "socks5sniff", "--version"],
        "read of 10 kB": SNIFF.command(str(capture)),
        "python -c pass": [sys.executable, "-c", "pass"],
        "import numpy": [sys.executable, "-c", "import numpy"],
    }
    print(f"\nStart-up ({capture.stat().st_size} octets read)")
    costs = interleaved(commands, max(runs, 5), bound)
    for name, cost in costs.items():
        target = STARTUP_TARGETS.get(name)
        shown = f"{cost.wall * 1000:.0f} ms" if target is None else _against(cost.wall * 1000, target * 1000, "ms")
        print(f"  {name:<15} {shown}" + (f"  {cost.failure}" if cost.failure else ""), flush=True)
    capture.unlink()
    return costs


def save(path: Path, measured: dict[str, Costs]) -> None:
    """Put figures into a file that holds those of other captures too."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, costs in measured.items():
        found[name] = {
            program: {"wall": round(cost.wall, 3), "cpu": round(cost.cpu, 3), "peak": cost.peak}
            for program, cost in costs.items()
            if cost.failure is None
        }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _figures(cost: Cost) -> str:
    return f"{cost.wall:>8.3f} {cost.cpu:>8.3f} {cost.peak / 1e6:>8.1f}"


def _verdict(cost: Cost, ours: Cost, target: float | None) -> str:
    if cost.failure:
        return f"  {cost.failure}"
    if target is None or ours.failure:
        return ""
    return "  met" if cost.wall / ours.wall >= target else "  MISSED"


def _against(figure: float, target: float, unit: str) -> str:
    return f"{figure:.0f} {unit} (target {target:.0f}: {'met' if figure <= target else 'MISSED'})"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("captures", nargs="*", metavar="CAPTURE", help=" ".join(CAPTURES) + " startup (default: all)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each program; dpkt and scapy run once")
    parser.add_argument("--scale", type=int, default=1, help="captures so many times as long")
    parser.add_argument("--peers", default=",".join(program.name for program in PEERS), help="comma-separated")
    parser.add_argument("--bound", type=float, default=120, help="seconds after which a program is ended")
    parser.add_argument("--memory", action="store_true", help="also captures ten times as long, but for copies")
    parser.add_argument("--folder", type=Path, help="keep the captures here (default: a temporary folder)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="put the figures into FILE")
    arguments = parser.parse_args()
    wanted = arguments.captures or [*CAPTURES, "startup"]
    if not set(wanted) <= {*CAPTURES, "startup"}:
        parser.error(f"the captures are {', '.join(CAPTURES)}; besides there is startup")
    here = [name for name in wanted if available(name)]
    if here != wanted:
        print("mixed needs the public captures (../shared/captures), which are not here: left out")
    asked = arguments.peers.split(",")
    peers = [program for program in PEERS if program.name in asked and installed(program)]
    missing = [program.name for program in PEERS if program.name in asked and not installed(program)]
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        names = [name for name in here if name in CAPTURES]
        measured = {}
        for name in names:
            capture, conversations = make(folder, name, arguments.scale)
            measured[name] = compare(name, capture, conversations, peers, arguments.runs, arguments.bound)
            if arguments.folder is None:
                capture.unlink()
        if "startup" in wanted:
            measured["startup"] = startup(Path(temporary), arguments.runs, arguments.bound)
        if arguments.save is not None:
            save(arguments.save, measured)
        if arguments.memory:
            needed = 10 * 700_000_000
            if shutil.disk_usage(temporary).free < needed:
                sys.exit(f"--memory needs {needed // 10**9} GB free in {temporary}; set TMPDIR to another folder")
            memory(Path(temporary), [name for name in names if name not in COPIES], arguments.bound)


if __name__ == "__main__":
    main()
