"""Segments of chosen connections in, their octets in order out: each once, holes as gaps.

Which octets are missing is known beforehand (`Extent.holes`). So octets behind a hole need not wait, and those behind
octets that are still to come wait for no longer than it takes until these are there.

What comes in order is worked on in columns; a direction in which something jumps or waits goes row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.analysis.extents import Extent
from socks5sniff.packets.columns import Segments
from socks5sniff.streams.coverage import running_ends

from .chunks import Octets
from .waiting import Waiting

_NOWHERE = 1 << 62
"""Where the tunnel begins of a connection that has none."""


class Rows(NamedTuple):
    """Segments with octets, in the capture's order.

    Attributes:
        connection: which of the chosen ones.
        role: CLIENT or DESTINATION.
        begin, end: positions of the captured octets.
        payload: where they lie, see `Segments`.
        frame, time: the packet's.
    """

    connection: NDArray[np.intp]
    role: NDArray[np.uint8]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    payload: NDArray[np.int64]
    frame: NDArray[np.int64]
    time: NDArray[np.int64]

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Rows:
        """Some of the rows."""
        return Rows._make(column[chosen] for column in self)


class Pieces(NamedTuple):
    """Octets in order; columns as in `Rows`, `octets` is None for a gap."""

    connection: NDArray[np.intp]
    role: NDArray[np.uint8]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    octets: list[Octets | None]
    frame: NDArray[np.int64]
    time: NDArray[np.int64]

    def and_then(self, other: Pieces) -> Pieces:
        """These, and others behind them."""
        columns: Iterator[tuple[Any, Any]] = zip(self, other, strict=True)
        return Pieces._make(
            [*one, *two] if isinstance(one, list) else np.concatenate((one, two)) for one, two in columns
        )

    def take(self, order: NDArray[np.intp]) -> Pieces:
        """Some of them, in that order."""
        rows = order.tolist()
        return Pieces._make(
            [column[row] for row in rows] if isinstance(column, list) else column[order] for column in self
        )


class _Piece(NamedTuple):
    shown_by: int
    """Number of the packet that made it deliverable."""
    connection: int
    role: int
    begin: int
    end: int
    octets: Octets | None
    frame: int
    time: int


class Memory:
    """The octets of a batch."""

    def __init__(self, segments: Segments) -> None:
        self._size = len(segments.octets)
        self._octets, self._spill = memoryview(segments.octets.data), memoryview(segments.spill.data)

    def slice(self, at: int, count: int) -> memoryview:
        """So many octets from a `payload` on."""
        if at < self._size:
            return self._octets[at : at + count]
        at -= self._size
        return self._spill[at : at + count]

    def slices(self, at: NDArray[np.int64], count: NDArray[np.int64]) -> list[Octets | None]:
        """The same for many."""
        octets, size = self._octets, self._size
        if not len(at) or int(at.max()) < size:
            return [octets[begin:end] for begin, end in zip(at.tolist(), (at + count).tolist(), strict=True)]
        return [self.slice(begin, length) for begin, length in zip(at.tolist(), count.tolist(), strict=True)]


class Assembly:
    """Puts octets in order.

    Attributes:
        edge: int64[2, n], by role and connection: everything before this position has been delivered.
    """

    def __init__(self, extents: Sequence[Extent]) -> None:
        """For the outermost chosen tunnel of each connection."""
        starts = [extent.start or (_NOWHERE, _NOWHERE) for extent in extents]
        self.edge = np.array(starts, np.int64).reshape(-1, 2).T.copy()
        self._end = np.array([extent.end for extent in extents], np.int64).reshape(-1, 2).T.copy()
        self._holes = {
            number * 2 + role: list(reversed(holes))
            for number, extent in enumerate(extents)
            for role, holes in enumerate(extent.holes)
            if holes
        }
        self._waiting = Waiting()

    def add(self, rows: Rows, memory: Memory) -> Pieces:
        """Take a batch's segments, and give what is in order."""
        rows = rows.take(np.flatnonzero(rows.end > self.edge[rows.role, rows.connection]))
        key = rows.connection * 2 + rows.role
        order = np.argsort(key, kind="stable")
        rows, key = rows.take(order), key[order]
        if not len(key):
            return _columns([])
        starts = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), key[1:] != key[:-1])))
        connection, role = rows.connection[starts], rows.role[starts]
        before, furthest = running_ends(rows.end, starts, self.edge[role, connection])
        odd = np.logical_or.reduceat(rows.begin > before, starts)
        keys = self._waiting.keys
        if keys:
            odd |= np.isin(key[starts], keys)
        plain = ~odd
        self.edge[role[plain], connection[plain]] = furthest[plain]
        counts = np.diff(np.append(starts, len(key)))
        chosen = np.flatnonzero(np.repeat(plain, counts) & (rows.end > before))
        each: list[_Piece] = []
        bounds = np.append(starts, len(key)).tolist()
        for run in np.flatnonzero(odd).tolist():
            self._add_each(rows.take(np.arange(bounds[run], bounds[run + 1])), memory, each)
        return _together(rows.take(chosen), np.maximum(rows.begin, before)[chosen], memory, each)

    def finish(
        self, connections: NDArray[np.intp], frames: NDArray[np.int64], times: NDArray[np.int64]
    ) -> tuple[Pieces, bool]:
        """Nothing more of these connections comes, whose last packets these are: what was still to be delivered, and
        whether all that is missing was known to be."""
        each: list[_Piece] = []
        known = True
        for role in (0, 1):
            left = self.edge[role, connections] < self._end[role, connections]
            if self._waiting.keys:
                left |= np.isin(connections * 2 + role, self._waiting.keys)
            for place in np.flatnonzero(left).tolist():
                connection, frame, time = int(connections[place]), int(frames[place]), int(times[place])
                known &= self._finish(connection * 2 + role, int(self._end[role, connection]), each, frame, time)
        return _columns(each), known

    def _finish(self, key: int, end: int, each: list[_Piece], frame: int, time: int) -> bool:
        """The same for one direction."""
        known = True
        self._drain(key, end, each, frame)
        late = self._waiting.first(key)
        while late is not None:
            known = False
            self._gap(key, late.begin, each, late.frame, late.time, frame)
            self._drain(key, late.begin, each, frame)
            late = self._waiting.first(key)
        edge = int(self.edge[key & 1, key >> 1])
        if edge < end:
            holes = self._holes.get(key, [])
            known &= bool(holes) and holes[-1][0] <= edge and holes[-1][1] >= end
            self._gap(key, end, each, frame, time, frame)
        return known

    def _add_each(self, rows: Rows, memory: Memory, each: list[_Piece]) -> None:
        """The rows of one direction."""
        connection, role = int(rows.connection[0]), int(rows.role[0])
        key = connection * 2 + role
        columns = (rows.begin, rows.end, rows.payload, rows.frame, rows.time)
        for begin, end, payload, frame, time in zip(*(column.tolist() for column in columns), strict=True):
            edge = self._cross(key, begin, each, frame, time, frame)
            if end <= edge:
                continue
            if begin > edge:
                self._waiting.add(key, begin, memory.slice(payload, end - begin), frame, time)
                continue
            octets = memory.slice(payload + edge - begin, end - edge)
            each.append(_Piece(frame, connection, role, edge, end, octets, frame, time))
            self.edge[role, connection] = end
            self._drain(key, end, each, frame)

    def _cross(self, key: int, towards: int, each: list[_Piece], frame: int, time: int, shown_by: int) -> int:
        """Deliver the gaps between what was delivered and a position, if that is all there is; how far it came then."""
        edge = int(self.edge[key & 1, key >> 1])
        holes = self._holes.get(key)
        while holes and holes[-1][0] <= edge < towards:
            end = holes.pop()[1]
            if end > edge:
                self._gap(key, end, each, frame, time, shown_by)
                edge = end
        return edge

    def _gap(self, key: int, end: int, each: list[_Piece], frame: int, time: int, shown_by: int) -> None:
        role, connection = key & 1, key >> 1
        each.append(_Piece(shown_by, connection, role, int(self.edge[role, connection]), end, None, frame, time))
        self.edge[role, connection] = end

    def _drain(self, key: int, edge: int, each: list[_Piece], shown_by: int) -> None:
        """Deliver what waited for its turn."""
        role, connection = key & 1, key >> 1
        late = self._waiting.first(key)
        while late is not None:
            edge = self._cross(key, late.begin, each, late.frame, late.time, shown_by)
            if late.begin > edge:
                break
            octets = self._waiting.pop(key)
            if late.end > edge:
                octets = octets[edge - late.begin :]
                each.append(_Piece(shown_by, connection, role, edge, late.end, octets, late.frame, late.time))
                self.edge[role, connection] = late.end
            late = self._waiting.first(key)


def _columns(each: list[_Piece]) -> Pieces:
    _, connection, role, begin, end, octets, frame, time = zip(*each, strict=True) if each else [()] * 8
    return Pieces(
        np.array(connection, np.intp),
        np.array(role, np.uint8),
        np.array(begin, np.int64),
        np.array(end, np.int64),
        list(octets),
        np.array(frame, np.int64),
        np.array(time, np.int64),
    )


def _together(rows: Rows, begin: NDArray[np.int64], memory: Memory, each: list[_Piece]) -> Pieces:
    """Pieces from columns and one by one, in the order of the packets that made them deliverable."""
    order = np.argsort(rows.frame, kind="stable")
    rows, begin = rows.take(order), begin[order]
    octets = memory.slices(rows.payload + begin - rows.begin, rows.end - begin)
    plain = Pieces(rows.connection, rows.role, begin, rows.end, octets, rows.frame, rows.time)
    if not each:
        return plain
    shown_by = np.concatenate((plain.frame, [piece.shown_by for piece in each]))
    return plain.and_then(_columns(each)).take(np.argsort(shown_by, kind="stable"))
