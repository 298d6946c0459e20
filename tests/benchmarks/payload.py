"""How fast tunnels are taken out of captures, beside tcpflow and tshark on the same captures in the same run.

    python -m tests.benchmarks.payload                   bulk (two tunnels of 200 MB) and many (5,000 tunnels)
    python -m tests.benchmarks.payload many --runs 3

`extract` and tcpflow write every stream to a file of its own; `follow` and tshark print one. tshark's taps see every
packet, so that its time grows with the tunnels that are asked for: of many it is asked for so few as --taps says, and
what all of them would take is reckoned from that. Figures are medians of whole processes; ratios are of CPU time, which
suffers less from what else the machine does.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from .__main__ import make
from .measure import Cost, interleaved, run

CAPTURES = ("bulk", "many")
OURS = [sys.executable, "-m", "socks5sniff"]


def _fresh(folder: Path, *command: str) -> list[str]:
    """A command that writes a folder, which is not there when it begins."""
    return ["sh", "-c", 'rm -rf "$0" && exec "$@"', str(folder), *command]


def commands(capture: Path, streams: int, folder: Path) -> dict[str, list[str]]:
    """Whoever takes octets out of a capture, by what it is called here."""
    taps = [part for stream in range(streams) for part in ("-z", f"follow,tcp,raw,{stream}")]
    # Without the preference tshark gathers a 200 MB HTTP body in one piece and does not end.
    tshark = [
        "tshark",
        "-n",
        "-q",
        "--disable-protocol",
        "socks",
        "-o",
        "http.desegment_body:FALSE",
        "-r",
        str(capture),
    ]
    ours, flows = folder / "ours", folder / "tcpflow"
    found = {
        "extract": _fresh(ours, *OURS, "extract", str(capture), "-o", str(ours)),
        "tcpflow": _fresh(flows, "tcpflow", "-q", "-r", str(capture), "-o", str(flows)),
        f"tshark, {streams}": [*tshark, *taps],
        "follow, 1": [*OURS, "follow", str(capture), "1", "--format", "raw"],
        "tshark, 1": [*tshark, *taps[:2]],
    }
    foreign = ("tcpflow", "tshark")
    missing = [program for program in foreign if shutil.which(program) is None]
    return {name: command for name, command in found.items() if name.partition(",")[0] not in missing}


def compare(capture: Path, conversations: int, streams: int, folder: Path, arguments: argparse.Namespace) -> None:
    """Run them and print a table."""
    print(f"\n{capture.stem}: {capture.stat().st_size / 1e6:.0f} MB, {conversations:,} tunnels", flush=True)
    run(["cat", str(capture)], arguments.bound)
    costs = interleaved(commands(capture, streams, folder), arguments.runs, arguments.bound)
    print(f"  {'program':<12} {'wall s':>8} {'CPU s':>8} {'peak MB':>8} {'times ours':>10}")
    for name, cost in costs.items():
        ours = costs["follow, 1" if name.endswith(", 1") else "extract"]
        ratio = "" if cost is ours else f"{cost.cpu / ours.cpu:.1f}"
        figures = f"{cost.wall:>8.2f} {cost.cpu:>8.2f} {cost.peak / 1e6:>8.1f} {ratio:>10}"
        print(f"  {name:<12} {figures}  {cost.failure or ''}", flush=True)
    several, one = costs.get(f"tshark, {streams}"), costs.get("tshark, 1")
    if several is not None and one is not None and 1 < streams < conversations:
        _reckon(several, one, costs["extract"], streams, conversations)


def _reckon(several: Cost, one: Cost, ours: Cost, streams: int, conversations: int) -> None:
    """What tshark would take for all tunnels."""
    every = one.cpu + (several.cpu - one.cpu) / (streams - 1) * (conversations - 1)
    print(f"  tshark, all {conversations:,}: about {every:.0f} s of CPU, {every / ours.cpu:.0f} times ours", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.payload",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("captures", nargs="*", metavar="CAPTURE", help="bulk, many (default: both)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each program")
    parser.add_argument("--taps", type=int, default=200, help="tunnels of many that tshark is asked for")
    parser.add_argument("--bound", type=float, default=300, help="seconds after which a program is ended")
    parser.add_argument("--folder", type=Path, help="keep the captures here (default: a temporary folder)")
    arguments = parser.parse_args()
    wanted = arguments.captures or CAPTURES
    if not set(wanted) <= set(CAPTURES):
        parser.error("the captures are bulk and many")
    with tempfile.TemporaryDirectory() as temporary:
        for name in wanted:
            capture, conversations = make(arguments.folder or Path(temporary), name, scale=1)
            compare(capture, conversations, min(conversations, arguments.taps), Path(temporary), arguments)


if __name__ == "__main__":
    main()
