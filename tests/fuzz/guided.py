"""The same inputs, led by coverage: the octets that the engine draws decide what the generators would draw by chance.

    python -m tests.fuzz.guided --level file                       until a fault, or Ctrl-C
    python -m tests.fuzz.guided --level payload -- -max_total_time=600 corpus/

What stands behind `--` is the engine's (libFuzzer's). It needs the extra `fuzz`, atheris, which is built for Linux and
few versions of Python; nothing else does.
"""

from __future__ import annotations

import argparse
import sys
from random import Random

SHARE = 4
"""Inputs made of one drawing, at levels whose inputs are checked together."""


class Drawn(Random):
    """A source of chance that takes given octets, and goes on by itself, the same way each time, behind their end."""

    def __init__(self, octets: bytes) -> None:
        super().__init__(len(octets))
        self._octets = octets
        self._at = 0

    def getrandbits(self, k: int) -> int:
        size = (k + 7) // 8
        part = self._octets[self._at : self._at + size]
        self._at += size
        if len(part) < size:
            return super().getrandbits(k)
        return int.from_bytes(part, "little") & (1 << k) - 1

    def random(self) -> float:
        return self.getrandbits(24) / (1 << 24)


def main() -> None:
    import atheris

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("--level", default="file", choices=("dialogue", "payload", "packet", "file"))
    parser.add_argument("engine", nargs="*", help="arguments of the engine, behind --")
    arguments = parser.parse_args()
    with atheris.instrument_imports(include=["socks5sniff"]):
        from .levels import LEVELS
    level = LEVELS[arguments.level]

    def check(octets: bytes) -> None:
        chance = Drawn(octets)
        level.check([level.make(chance) for _ in range(min(level.together, SHARE))], "guided")

    atheris.Setup([sys.argv[0], *arguments.engine], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
