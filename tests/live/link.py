"""A link between two TAP devices that repeats, loses and reorders frames.

`python link.py NAME NAME DUPLICATED LOST LATE`: the three are shares of all frames. It runs until it is killed; where
the devices are (they may be moved to other network namespaces) makes no difference to it.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import sys
import time

_TUNSETIFF = 0x400454CA
_TAP, _NO_INFORMATION = 2, 0x1000
LATE = 0.004
"""Seconds that a late frame comes behind those sent after it."""


def tap(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP | _NO_INFORMATION))
    return descriptor


def run(one: int, other: int, duplicated: float, lost: float, late: float) -> None:
    chance = random.Random(1)
    held: list[tuple[float, int, bytes]] = []

    def write(end: int, frame: bytes) -> None:
        try:
            os.write(end, frame)
        except OSError:
            return  # the device is not up (yet)

    while True:
        ready, _, _ = select.select([one, other], [], [], LATE / 2 if held else None)
        for end in ready:
            try:
                frame = os.read(end, 1 << 17)
            except OSError:
                continue
            to = other if end == one else one
            if chance.random() < lost:
                continue
            if chance.random() < late:
                held.append((time.monotonic() + LATE, to, frame))
                continue
            write(to, frame)
            if chance.random() < duplicated:
                write(to, frame)
        while held and time.monotonic() >= held[0][0]:
            write(*held.pop(0)[1:])


if __name__ == "__main__":
    ends = tap(sys.argv[1]), tap(sys.argv[2])
    print("ready", flush=True)
    run(*ends, *map(float, sys.argv[3:]))
