"""What flows said first: the rows that a decision about them needs, kept until it is made.

The first octets of every flow that may be SOCKS are carried over from batch to batch, so that whoever decides sees a
whole dialogue, whatever the batch and the time between its segments. Rows of a flow keep the order of the capture.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from socks5sniff.packets import secret
from socks5sniff.packets.columns import Datagrams, Segments

from .octets import Payloads

HEAD = 4608
"""Octets of each direction that are kept: a handshake (1,100 at most, usually 40) and the first 4 kB of a tunnel, in
which a ClientHello with post-quantum keys is 1,800 long."""
SHORT = 96
"""Octets of a row kept in columns; most frames are shorter. Of longer rows all are kept beside them as well."""

PARTS = 32
"""Batches whose rows are kept apart: to put them together costs as much as all there are."""

_ROW = SHORT + 80
"""Octets of memory that a row takes in columns."""

_MASKS = (np.arange(SHORT) < np.arange(SHORT + 1)[:, None]).astype(np.uint8)


Segment = tuple[int, int, int, int, int, int, bytes]
"""A row by itself: way, offset, length, heard, frame, time, octets; see `HeadRows`."""


class HeadRows(NamedTuple):
    """Segments with octets, a row each.

    Attributes:
        slot, way: the flow and the direction.
        offset: position of the first octet in its direction; see `Octets`.
        heard: what it acknowledges, as a position in the other direction; see `octets.Payloads`.
        length: octets on the wire; captured: those that are there; both within what is kept of a direction.
        frame, time: where it comes from (ns).
        short: uint8[n, SHORT], its first octets, zeros behind them.
        long: object[n], all its octets where `captured` is above SHORT, else None.
    """

    slot: NDArray[np.intp]
    way: NDArray[np.uint8]
    offset: NDArray[np.int64]
    heard: NDArray[np.int64]
    length: NDArray[np.int64]
    captured: NDArray[np.int64]
    frame: NDArray[np.int64]
    time: NDArray[np.int64]
    short: NDArray[np.uint8]
    long: NDArray[np.object_]

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.slot)

    @property
    def beyond(self) -> int:
        """Octets of the rows that are longer than SHORT."""
        return int(self.captured[self.captured > SHORT].sum())

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> HeadRows:
        """Some of the rows."""
        return HeadRows._make(column[chosen] for column in self)

    def segments(self) -> list[Segment]:
        """Row by row."""
        columns = (self.way, self.offset, self.length, self.heard, self.frame, self.time)
        return [*zip(*(column.tolist() for column in columns), self.each(np.arange(self.size)), strict=True)]

    def octets(self, row: int) -> bytes:
        """The octets of a row."""
        whole = self.long[row]
        if whole is not None:
            return bytes(whole)
        return self.short[row, : self.captured[row]].tobytes()

    def each(self, rows: NDArray[np.intp]) -> list[bytes]:
        """The octets of some rows."""
        memory = self.short[rows].tobytes()
        kept = np.minimum(self.captured[rows], SHORT)
        begins = np.arange(len(rows)) * SHORT
        found = [memory[begin:end] for begin, end in zip(begins.tolist(), (begins + kept).tolist(), strict=True)]
        for place in np.flatnonzero(self.captured[rows] > SHORT).tolist():
            found[place] = self.long[rows[place]]
        return found

    def marks(self, rows: NDArray[np.intp]) -> NDArray[np.uint64]:
        """A number for the first octets of each of these rows: equal where they are, else hardly ever; never 0."""
        return marks(self.short[rows], self.captured[rows])

    @staticmethod
    def of(payloads: Payloads, limits: NDArray[np.int64]) -> HeadRows:
        """Copy rows out of a batch, up to the position `limits` (by row)."""
        segments, row = payloads.segments, payloads.row
        start = segments.payload[row]
        room = limits - payloads.offset
        captured = np.minimum(segments.captured[row], room)
        return HeadRows(
            payloads.slot,
            payloads.way,
            payloads.offset,
            payloads.heard,
            np.minimum(segments.length[row], room),
            captured,
            segments.frame[row],
            segments.time[row],
            windows(segments, start, captured),
            _long_octets(segments, start, captured),
        )

    @staticmethod
    def join(parts: list[HeadRows]) -> HeadRows:
        """Rows of several parts, in the order of the parts."""
        if len(parts) == 1:
            return parts[0]
        return HeadRows._make(np.concatenate(columns) for columns in zip(*parts, strict=True))

    @staticmethod
    def none() -> HeadRows:
        """No rows."""
        counts = np.empty(0, np.int64)
        short = np.empty((0, SHORT), np.uint8)
        slots, ways, octets = np.empty(0, np.intp), np.empty(0, np.uint8), np.empty(0, np.object_)
        return HeadRows(slots, ways, counts, counts, counts, counts, counts, counts, short, octets)


def windows(
    columns: Segments | Datagrams, start: NDArray[np.int64], length: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """uint8[n, SHORT]: the octets that begin at each `start`, at most `length` of them, zeros behind."""
    spilled = np.flatnonzero(start >= len(columns.octets)) if len(columns.spill) else ()
    if not len(spilled):
        return _windows(columns.octets, start, length)
    found = _windows(columns.octets, np.minimum(start, len(columns.octets) - 1), length)
    found[spilled] = _windows(columns.spill, start[spilled] - len(columns.octets), length[spilled])
    return found


def _windows(memory: NDArray[np.uint8], start: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.uint8]:
    if len(start) and int(start.max()) + SHORT > len(memory):
        memory = np.concatenate((memory, np.zeros(SHORT, np.uint8)))
    if not len(start) or len(memory) < SHORT:
        return np.zeros((len(start), SHORT), np.uint8)
    found: NDArray[np.uint8] = sliding_window_view(memory, SHORT)[np.minimum(start, len(memory) - SHORT)]
    # A window reaches into the next packet's octets. They are wiped, so that equal beginnings are equal rows.
    found *= _MASKS[np.minimum(length, SHORT)]
    return found


def _long_octets(
    columns: Segments, start: NDArray[np.int64], length: NDArray[np.int64]
) -> NDArray[np.object_]:
    found: NDArray[np.object_] = np.full(len(start), None, np.object_)
    octets, spill, size = columns.octets.data, columns.spill.data, len(columns.octets)
    for row in np.flatnonzero(length > SHORT).tolist():
        begin, count = int(start[row]), int(length[row])
        found[row] = bytes(octets[begin : begin + count] if begin < size else spill[begin - size :][:count])
    return found


def mark(octets: bytes) -> int:
    """What `HeadRows.marks` gives for a row with these octets."""
    short = np.frombuffer(octets[:SHORT].ljust(SHORT, b"\0"), np.uint8)[None, :]
    return int(marks(short, np.array([len(octets)]))[0])


@cache
def _factors(_: bytes) -> NDArray[np.uint64]:
    """Odd multipliers, by this process's secret: nobody can prepare octets with equal marks."""
    return np.array([secret.odd_number("marks", place) for place in range(SHORT // 8)], np.uint64)


def marks(short: NDArray[np.uint8], captured: NDArray[np.int64]) -> NDArray[np.uint64]:
    """See `HeadRows.marks`."""
    words = np.ascontiguousarray(short).view(np.uint64)
    factors = _factors(secret.key())
    sums: NDArray[np.uint64] = (words * factors).sum(1, dtype=np.uint64)
    sums ^= np.minimum(captured, SHORT).astype(np.uint64) * factors[0]
    sums ^= sums >> np.uint64(29)
    sums |= np.uint64(1)
    return sums


class Heads:
    """The rows of all flows that are not decided yet."""

    def __init__(self) -> None:
        self._parts: list[HeadRows] = []

    @property
    def octets(self) -> int:
        """About how much memory it takes."""
        return sum(part.size * _ROW + part.beyond for part in self._parts)

    def slots(self) -> NDArray[np.intp]:
        """The flows that have rows, each once."""
        return np.unique(np.concatenate([part.slot for part in self._parts])) if self._parts else np.empty(0, np.intp)

    def of(self, slots: NDArray[np.intp]) -> HeadRows:
        """The rows of some flows, each with its flow's place among `slots` in the place of the slot."""
        if not self._parts or not len(slots):
            return HeadRows.none()
        rows = HeadRows.join(self._parts)
        self._parts = [rows]
        place = np.full(max(int(slots.max()), int(rows.slot.max())) + 1, -1, np.intp)
        place[slots] = np.arange(len(slots))
        found = rows.take(np.flatnonzero(place[rows.slot] >= 0))
        return found._replace(slot=place[found.slot])

    def add(self, rows: HeadRows) -> None:
        """Keep rows that came after all the others of their flows."""
        if rows.size:
            self._parts.append(rows)
        if len(self._parts) > PARTS:
            self._parts = [HeadRows.join(self._parts)]

    def later(self, frames: int) -> None:
        """Every row lies so many frames later."""
        self._parts = [part._replace(frame=part.frame + frames) for part in self._parts]

    def look(self, chosen: NDArray[np.bool_]) -> HeadRows:
        """The rows of the flows that are `chosen` (bool by slot), by slot, in the order of the capture."""
        mine = [np.flatnonzero(chosen[part.slot]) for part in self._parts]
        found = [part.take(rows) for part, rows in zip(self._parts, mine, strict=True) if len(rows)]
        if not found:
            return HeadRows.none()
        rows = HeadRows.join(found)
        return rows.take(np.argsort(rows.slot, kind="stable"))

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Keep only rows of flows that are `kept` (bool by slot)."""
        mine = [kept[part.slot] for part in self._parts]
        self._parts = [part.take(rows) for part, rows in zip(self._parts, mine, strict=True) if rows.any()]

    def take(self, chosen: NDArray[np.bool_], kept: NDArray[np.bool_]) -> HeadRows:
        """The same; then keep only rows of flows that are `kept` and not chosen."""
        if not self._parts:
            return HeadRows.none()
        rows = HeadRows.join(self._parts)
        mine = chosen[rows.slot]
        rest = rows.take(np.flatnonzero(~mine & kept[rows.slot]))
        self._parts = [rest] if rest.size else []
        return _by_flow(rows, mine)


def _by_flow(rows: HeadRows, chosen: NDArray[np.bool_]) -> HeadRows:
    found = np.flatnonzero(chosen)
    return rows.take(found[np.argsort(rows.slot[found], kind="stable")])
