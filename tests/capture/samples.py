"""Capture files made octet by octet, independently of the package's writer, and the reading of them as rows."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from socks5sniff.capture import open_captures
from socks5sniff.errors import Socks5sniffError

ETHERNET = 1
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


class Frame(NamedTuple):
    time: int
    octets: bytes
    length: int = -1

    @property
    def wire(self) -> int:
        return len(self.octets) if self.length < 0 else self.length


class Row(NamedTuple):
    """One frame as it was read."""

    number: int
    time: int
    octets: bytes
    length: int
    link_type: int
    interface: str
    capture: str


def frames(count: int, seed: int = 1, largest: int = 200, start: int = START, step: int = 1_000_000) -> list[Frame]:
    """Random frames with rising times in whole microseconds."""
    random = np.random.default_rng(seed)
    sizes = random.integers(0, largest, count).tolist()
    return [Frame(start + step * row, random.bytes(size)) for row, size in enumerate(sizes)]


def pcap(
    content: Sequence[Frame], order: str = "<", nano: bool = False, link: int = ETHERNET, patched: bool = False
) -> bytes:
    magic = 0xA1B23C4D if nano else 0xA1B2CD34 if patched else 0xA1B2C3D4
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link)]
    for frame in content:
        seconds, rest = divmod(frame.time, SECOND)
        out.append(
            struct.pack(order + "IIII", seconds, rest if nano else rest // 1000, len(frame.octets), frame.wire)
            + bytes(8 * patched)
            + frame.octets
        )
    return b"".join(out)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) & 3)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) & 3)


def section(order: str = "<", length: int = -1) -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, length), order)


def interface(link: int = ETHERNET, order: str = "<", snaplen: int = 0, options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snaplen) + options, order)


def enhanced(frame: Frame, number: int = 0, order: str = "<", ticks: int | None = None, options: bytes = b"") -> bytes:
    """An enhanced packet block; times are in microseconds unless `ticks` says otherwise."""
    if ticks is None:
        ticks = frame.time // 1000
    body = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame.octets), frame.wire)
    return block(6, body + frame.octets + bytes(-len(frame.octets) & 3) + options, order)


def simple(frame: Frame, order: str = "<") -> bytes:
    return block(3, struct.pack(order + "I", frame.wire) + frame.octets, order)


def old_packet(frame: Frame, number: int = 0, order: str = "<", drops: int = 7) -> bytes:
    ticks = frame.time // 1000
    body = struct.pack(order + "HHIIII", number, drops, ticks >> 32, ticks & 0xFFFFFFFF, len(frame.octets), frame.wire)
    return block(2, body + frame.octets, order)


def pcapng(content: Sequence[Frame], order: str = "<") -> bytes:
    return section(order) + interface(order=order) + b"".join(enhanced(frame, order=order) for frame in content)


def read(*paths: Path | str, **options: Any) -> tuple[list[Row], Socks5sniffError | None]:
    """All frames of these captures, and the error that ended the reading."""
    rows: list[Row] = []
    try:
        for batch in open_captures([str(path) for path in paths], **options):
            for row in range(len(batch)):
                described = batch.interfaces[batch.interface[row]]
                rows.append(
                    Row(
                        batch.first_number + row,
                        int(batch.time[row]),
                        batch.frame(row),
                        int(batch.length[row]),
                        described.link_type,
                        described.name,
                        described.capture,
                    )
                )
    except Socks5sniffError as error:
        return rows, error
    return rows, None


def plain(rows: Sequence[Row]) -> list[Frame]:
    """Rows as the frames they were made of."""
    return [Frame(row.time, row.octets, row.length) for row in rows]


def full(content: Sequence[Frame]) -> list[Frame]:
    """Frames with their length on the wire filled in, as `plain` gives them."""
    return [Frame(frame.time, frame.octets, frame.wire) for frame in content]
