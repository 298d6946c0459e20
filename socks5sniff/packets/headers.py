"""Headers read column-wise, from the link layer down to TCP and UDP: the loop that the header readers share.

Headers are peeled off one after another. All rows that have come to the same kind of header are read at once: one
gather of the header, its fields as columns, one look-up of what follows. Where a whole batch has one layout, as is
usual, no row is ever picked out or copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .addresses import AddressBook
from .kinds import Kind, NumberSpace
from .marks import FrameMarks, NetworkKind, Networks, Processes
from .rows import Rows, Skipped, Structured

_NESTING = 32


class Tables(NamedTuple):
    """What a reading keeps for all its batches."""

    addresses: AddressBook
    networks: Networks
    processes: Processes


class Fragments(NamedTuple):
    """IP fragments met in one pass, as columns."""

    rows: Rows
    """`at` is where the fragment's octets start, `wire` where they ended on the wire."""
    protocol: Structured
    """IP protocol number; for IPv6 the fragment header's next header."""
    identification: Structured
    start: Structured
    """Where the fragment's octets lie in the packet's payload, in units of 8 octets."""
    more: Structured
    """True where more fragments follow."""


class HeaderPass:
    """One pass over the packets in one memory.

    Args:
        peelers: what reads each kind of header.
        trace: told of all headers, kind by kind.

    Attributes:
        tcp, udp: what came down to TCP and UDP.
        fragments: IP fragments.
        errors: what ICMP says of datagrams, see `icmp.Unreachable`.
        marks: what is noted of the batch's frames, whichever memory their headers lie in.
    """

    def __init__(
        self,
        memory: NDArray[np.uint8],
        tables: Tables,
        skipped: Skipped,
        marks: FrameMarks,
        peelers: Mapping[int, Peeler],
        trace: Callable[[int, Rows], None] | None = None,
    ) -> None:
        self.memory = memory
        self.tables = tables
        self.skipped = skipped
        self.marks = marks
        self.tcp: list[Rows] = []
        self.udp: list[Rows] = []
        self.fragments: list[Fragments] = []
        self.errors: list[Any] = []
        self._peelers = peelers
        self._trace = trace
        self._pending: list[tuple[int, Rows, int]] = []
        self._depth = 0

    def run(self) -> None:
        """Read the headers of all rows given to `follow` and `push`, and what they lead to."""
        while self._pending:
            kind, rows, self._depth = self._pending.pop()
            if self._trace is not None:
                self._trace(kind, rows)
            if self._depth > _NESTING:
                self.skipped.malformed += rows.size
            elif kind == Kind.OTHER:
                self.skipped.other += rows.size
            elif kind == Kind.TCP:
                self.tcp.append(rows)
            elif kind == Kind.DATAGRAM:
                self.udp.append(rows)
            else:
                self._peelers[kind](self, rows)

    def push(self, kind: int, rows: Rows) -> None:
        """Rows that have come to a header of this kind."""
        if rows.size:
            self._pending.append((kind, rows, self._depth + 1))

    def follow(self, space: NumberSpace, numbers: NDArray[np.integer[Any]], rows: Rows) -> None:
        """Rows that have come to headers of the kinds that these numbers name."""
        if not rows.size:
            return
        first = numbers[0]
        if (numbers == first).all():
            kind = int(space.kinds[first])
            if kind == Kind.UNSUPPORTED:
                self.skipped.unread(space.describe(int(first)), rows.size)
            else:
                self.push(kind, rows)
            return
        kinds = space.kinds.take(numbers)
        for kind in np.flatnonzero(np.bincount(kinds)).tolist():
            chosen = np.flatnonzero(kinds == kind)
            if kind == Kind.UNSUPPORTED:
                self._unread(space, numbers[chosen])
            else:
                self.push(kind, rows if len(chosen) == rows.size else rows.take(chosen))

    def enter(self, kind: NetworkKind, rows: Rows, numbers: NDArray[np.int64]) -> None:
        """These rows are in networks with these numbers."""
        self.marks.enter(self.tables.networks, kind, rows.row, numbers)

    def _unread(self, space: NumberSpace, numbers: NDArray[np.integer[Any]]) -> None:
        for number, count in zip(*(column.tolist() for column in np.unique(numbers, return_counts=True)), strict=True):
            self.skipped.unread(space.describe(number), count)


Peeler = Callable[[HeaderPass, Rows], None]
