"""ICMP's "destination unreachable" (RFC 792, RFC 4443), which quotes the datagram that it is about."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .headers import HeaderPass, Peeler
from .kinds import Kind
from .rows import U8, Rows, gather

MAX_ERRORS = 1024
"""Errors of one batch that are read; a scan can make any number."""

_UDP = 17
_QUOTED = 8
"""Octets of ICMP before what it quotes."""
_FOUR = {
    0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable", 3: "port unreachable",
    9: "network prohibited", 10: "host prohibited", 13: "administratively prohibited",
}  # fmt: skip
_SIX = {
    0: "no route", 1: "administratively prohibited", 3: "address unreachable", 4: "port unreachable",
    5: "source address refused", 6: "route rejected",
}  # fmt: skip


class Unreachable(NamedTuple):
    """An error about a UDP datagram.

    Attributes:
        row: of the frame in the batch.
        sender: who says so, an endpoint with port 0.
        source, destination: endpoints of the datagram.
        reason: `port unreachable`.
    """

    row: int
    sender: int
    source: int
    destination: int
    reason: str


class Reported(NamedTuple):
    """An error, the number of its frame, and when it came, ns."""

    frame: int
    time: int
    error: Unreachable


def _peel(kind: int, header: int, six: bool) -> Peeler:
    """Reads errors of this ICMP type that quote an IP header of at least so many octets."""

    def peel(headers: HeaderPass, rows: Rows) -> None:
        headers.skipped.other += rows.size
        rows = rows.take(np.flatnonzero(rows.at + _QUOTED + header + 8 <= rows.end))
        rows = rows.take(np.flatnonzero(gather(headers.memory, rows.at, U8) == kind))
        for row, at, end, sender in zip(
            *(column[:MAX_ERRORS].tolist() for column in (rows.row, rows.at, rows.end, rows.source)), strict=True
        ):
            quoted = headers.memory[at + _QUOTED : end].tobytes()
            size = header if six else (quoted[0] & 15) * 4
            if quoted[6 if six else 9] != _UDP or size < header or len(quoted) < size + 4:
                continue
            addresses = quoted[8:40] if six else quoted[12:20]
            half = len(addresses) // 2
            ports = int.from_bytes(quoted[size : size + 2], "big"), int.from_bytes(quoted[size + 2 : size + 4], "big")
            make = headers.tables.addresses.make
            code = int(headers.memory[at + 1])
            headers.errors.append(
                Unreachable(
                    row,
                    sender,
                    make(addresses[:half], ports[0]),
                    make(addresses[half:], ports[1]),
                    (_SIX if six else _FOUR).get(code, f"unreachable (code {code})"),
                )
            )

    return peel


ICMP: dict[int, Peeler] = {Kind.ICMP: _peel(3, 20, six=False), Kind.ICMP6: _peel(1, 40, six=True)}
