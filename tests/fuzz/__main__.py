"""Fuzzing from the command line; what it is about is said in the package's docstring."""

from __future__ import annotations

import argparse
import itertools
import time
import traceback
from typing import Any

import tests.fuzz

from .levels import LEVELS, check, group
from .reduction import kind_of, reduced
from .scripts import Script

REPORT = 60.0
"""Seconds between two lines on how far it has come."""


def shown(inputs: list[Any]) -> str:
    """Inputs as one would write them in a test."""
    lines = []
    for each in inputs:
        if isinstance(each, Script):
            lines.append(repr(each._replace(steps=[])))
            lines += [f"    {step!r}" for step in each.steps]
        else:
            lines += map(repr, each if isinstance(each, list) else [each])
    return "\n".join(lines)


def smaller(name: str, seed: int, number: int) -> str:
    """The inputs that failed, as few and short as was found."""
    inputs = group(name, seed, number)

    def failure(attempt: Any) -> str | None:
        try:
            LEVELS[name].check(attempt, f"{seed}/{number}")
        except Exception as error:
            return kind_of(error)
        return None

    return shown(reduced(inputs, failure))[:8000]


def run(name: str, seed: int, most: int | None, seconds: float | None, first: int) -> int:
    """Check inputs of a level up to a number of them or for a time; the number of failures."""
    start = told = time.monotonic()
    faults = done = 0
    kinds: dict[str, int] = {}
    for number in itertools.count(first, LEVELS[name].together):
        now = time.monotonic()
        if (most is not None and done >= most) or (seconds is not None and now - start >= seconds):
            break
        if now - told >= REPORT:
            told = now
            print(f"{name}: {done:,} inputs, {faults} faults", flush=True)
        try:
            check(name, seed, number)
        except Exception as fault:
            faults += 1
            kind = kind_of(fault)
            kinds[kind] = kinds.get(kind, 0) + 1
            if kinds[kind] <= 2:
                print("".join(traceback.format_exception(fault))[-3000:])
                print(f"again: python -m tests.fuzz --level {name} --seed {seed} --only {number}", flush=True)
                print(smaller(name, seed, number), flush=True)
        done += LEVELS[name].together
    print(f"{name}: {done:,} inputs, {faults} faults, seed {seed}, {time.monotonic() - start:.0f} s", flush=True)
    for kind, count in kinds.items():
        print(f"  {count} times: {kind}")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=tests.fuzz.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--level", action="append", choices=LEVELS, help="may be repeated; default: every one")
    parser.add_argument("--inputs", type=int, metavar="N", help="of each level")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each level; default without --inputs: 60")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="other seeds, other inputs; default: 1")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="begin with this input")
    parser.add_argument("--only", type=int, metavar="N", help="this input (and those checked with it) alone")
    arguments = parser.parse_args()
    levels = arguments.level or list(LEVELS)
    seconds = arguments.seconds if arguments.seconds or arguments.inputs else 60.0
    if arguments.only is not None:
        together = LEVELS[levels[0]].together
        first = arguments.only // together * together
        print(shown(group(levels[0], arguments.seed, first)))
        return min(run(levels[0], arguments.seed, together, None, first), 1)
    return min(sum(run(level, arguments.seed, arguments.inputs, seconds, arguments.first) for level in levels), 1)


if __name__ == "__main__":
    raise SystemExit(main())
