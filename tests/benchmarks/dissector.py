"""What `wireshark/socks5.lua` costs tshark, beside Wireshark's built-in SOCKS dissector in the same run.

    python -m tests.benchmarks.dissector           churn, bulk, and noise, of which one percent is SOCKS
    python -m tests.benchmarks.dissector churn --runs 9

Both list the SOCKS frames of a capture (`-Y … -T fields`), and print the plain summary, in turns; figures are medians
of the whole process' wall time, CPU time and peak memory. The ratios are those of CPU time (tshark computes in one
thread) and of peak memory. The summary of `noise` is what a capture with hardly any SOCKS pays for the dissector.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from .__main__ import make
from .measure import Cost, interleaved, run

TARGETS = {"churn": 1.6, "bulk": 1.5, "noise": 1.2}
SUMMARY_TARGETS = {"noise": 1.1}
MEMORY_TARGET = 1.3
LUA = Path(__file__).resolve().parents[2] / "wireshark" / "socks5.lua"
_COMMON = ("frame.number", "tcp.stream", "ip.src", "ip.dst")


def command(capture: Path, protocol: str, *fields: str, options: tuple[str, ...] = ()) -> list[str]:
    """tshark listing the SOCKS frames of a capture."""
    shown = [argument for field in (*_COMMON, *fields) for argument in ("-e", field)]
    # Without this preference tshark gathers a 200 MB HTTP body in one piece and does not end.
    whole = ["-o", "http.desegment_body:FALSE"]
    return ["tshark", "-n", "-r", str(capture), *whole, *options, "-Y", protocol, "-T", "fields", *shown]


def summary(capture: Path, options: tuple[str, ...] = ()) -> list[str]:
    """tshark printing a line for each packet: nothing asks for a field."""
    return ["tshark", "-n", "-r", str(capture), "-o", "http.desegment_body:FALSE", *options]


def compare(name: str, capture: Path, runs: int, bound: float) -> None:
    """Both dissectors on one capture, in both ways of asking."""
    run(["cat", str(capture)], bound)  # from here on the file is in the page cache for both
    ours = ("-X", f"lua_script:{LUA}")
    fields = ("socks5.command", "socks5.destination.host", "socks5.destination.port")
    costs = interleaved(
        {
            "built-in": command(capture, "socks", "socks.command", "socks.remote_name", "socks.dst", "socks.port"),
            "socks5.lua": command(capture, "socks5", *fields, options=ours),
            "built-in, summary": summary(capture),
            "socks5.lua, summary": summary(capture, ours),
        },
        runs,
        bound,
    )
    print(f"\n{name}: {capture.stat().st_size / 1e6:.0f} MB")
    for program, cost in costs.items():
        failure = f"  {cost.failure}" if cost.failure else ""
        print(f"  {program:<19} {cost.wall:>7.2f} s  CPU {cost.cpu:>6.2f} s  {cost.peak / 1e6:>6.0f} MB{failure}")
    theirs, mine, plain, with_lua = costs.values()
    print(f"  time {_against(mine.cpu / theirs.cpu, TARGETS[name])}", end="")
    print(f", memory {_against(mine.peak / theirs.peak, MEMORY_TARGET)}{_found(theirs, mine)}")
    target = SUMMARY_TARGETS.get(name, TARGETS[name])
    print(f"  summary: time {_against(with_lua.cpu / plain.cpu, target)}", flush=True)


def _against(ratio: float, target: float) -> str:
    return f"{ratio:.2f} times (target {target:g}: {'met' if ratio <= target else 'MISSED'})"


def _found(theirs: Cost, ours: Cost) -> str:
    return f"; frames listed: {theirs.lines} and {ours.lines}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.dissector",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("captures", nargs="*", metavar="CAPTURE", help=" ".join(TARGETS) + " (default: all)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--bound", type=float, default=120, help="seconds after which tshark is ended")
    parser.add_argument("--folder", type=Path, help="keep the captures here (default: a temporary folder)")
    arguments = parser.parse_args()
    names = arguments.captures or list(TARGETS)
    if not set(names) <= set(TARGETS):
        parser.error(f"the captures are {', '.join(TARGETS)}")
    if shutil.which("tshark") is None:
        raise SystemExit("tshark is not installed")
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            capture, _ = make(arguments.folder or Path(temporary), name, scale=1)
            compare(name, capture, arguments.runs, arguments.bound)
            if arguments.folder is None:
                capture.unlink()


if __name__ == "__main__":
    main()
