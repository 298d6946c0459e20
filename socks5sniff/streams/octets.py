"""How many octets went each way: counted once, however often they were sent, whatever the order and what is missing.

An octet counts when a sequence number proves it: that of an octet behind it or of the FIN. Only flows that are not
known to be something else than SOCKS are counted, from their first packet on.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.columns import Segments, TcpFlag

from .flows import UNKNOWN, FlowBatch, FlowTable
from .slots import SlotTable

PLAUSIBLE = 1 << 30
"""Segments further than this from where their direction stands are strays: no window is larger (RFC 7323 s2.3)."""

UNPLACED = -2
"""An acknowledgment of a direction of which nothing was seen yet is kept as a number: this much minus it."""


class Payloads(NamedTuple):
    """The rows of a batch that have octets, of flows that are counted; in the order of `FlowBatch`.

    Attributes:
        segments: the batch; `row` is each one's row in it.
        slot, way: the flow and the direction.
        offset: position of the first octet; see `Octets.origin`.
        heard: what it acknowledges, as a position in the other direction; -1 where it says nothing, and see UNPLACED.
    """

    segments: Segments
    row: NDArray[np.intp]
    slot: NDArray[np.intp]
    way: NDArray[np.uint8]
    offset: NDArray[np.int64]
    heard: NDArray[np.int64]

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Payloads:
        """Some of the rows."""
        return Payloads._make((self.segments, *(column[chosen] for column in self[1:])))


class Octets(SlotTable):
    """Counters by direction and slot.

    `origin`: the sequence number that positions count from, -1 while none is known; `edge`: that behind the furthest
    octet, `reach`: its position; `heard`: the furthest position that was acknowledged.
    """

    PAIRS: ClassVar = {
        "origin": (np.int64, -1),
        "edge": (np.uint32, 0),
        "reach": (np.int64, 0),
        "heard": (np.int64, 0),
    }

    origin: NDArray[np.int64]
    edge: NDArray[np.uint32]
    reach: NDArray[np.int64]
    heard: NDArray[np.int64]

    def count(self, flows: FlowTable, batch: FlowBatch, counted: NDArray[np.bool_]) -> Payloads:
        """Count a batch's octets of the flows that are `counted` (bool[g], by run), and give those with payload."""
        segments = batch.segments
        at = np.flatnonzero(np.repeat(counted, batch.counts)) if not counted.all() else np.arange(len(batch.order))
        slot = np.repeat(batch.slots[counted], batch.counts[counted])
        row, way, flags = batch.order[at], batch.direction[at], batch.flags[at]
        # What an RST carries is a text for people (RFC 9293 s3.5.3).
        length = np.where(flags & TcpFlag.RST, 0, segments.length[row])
        sequence = segments.sequence[row] + ((flags & TcpFlag.SYN) != 0)
        early = self._early(flows, batch.slots[counted], batch.counts[counted], way, length)
        self._begin(flows, batch.slots[counted], slot, way, sequence, length)
        ahead = (sequence - self.edge[way, slot]).view(np.int32).astype(np.int64)
        known = (self.origin[way, slot] >= 0) & (np.abs(ahead) < PLAUSIBLE)
        offset = self.reach[way, slot] + ahead
        speaks = known & ((length > 0) | ((flags & TcpFlag.FIN) != 0))
        self._advance(slot, way, np.where(speaks, offset + length, 0))
        heard = self._hear(slot, way, flags, segments.acknowledgment[row], early)
        chosen = np.flatnonzero(known & (length > 0))
        return Payloads(segments, row[chosen], slot[chosen], way[chosen], offset[chosen], heard[chosen])

    def _early(
        self,
        flows: FlowTable,
        slots: NDArray[np.intp],
        counts: NDArray[np.intp],
        way: NDArray[np.uint8],
        length: NDArray[np.int64],
    ) -> NDArray[np.intp]:
        """Rows that come before the other direction begins; see `_begin`.

        Args:
            slots, counts: the flows, and the number of rows of each.
        """
        lacking = self.origin[:, slots] < 0
        if not lacking.any():
            return np.empty(0, np.intp)
        ends = np.cumsum(counts)
        starts = ends - counts
        opened = flows.opener[slots] != UNKNOWN
        # With its first packet ...
        turns = np.append(np.flatnonzero(way[1:] != way[:-1]) + 1, len(way))
        until = np.minimum(turns[np.searchsorted(turns, starts, side="right")], ends)
        waits = lacking[way[starts] ^ 1, np.arange(len(slots))] & opened
        found = _ranges(starts[waits], until[waits])
        if opened.all():
            return found
        # ... or, where the SYNs are missing, with its first octet.
        group = np.repeat(np.arange(len(slots)), counts)
        says = np.flatnonzero((length > 0) & ~opened[group])[::-1]
        since = np.zeros(lacking.shape, np.intp)
        # Backwards, so that of several the first is written last and stands.
        since[way[says], group[says]] = says
        since -= starts
        mine, which = np.nonzero(lacking & (since > 0))
        rows = _ranges(starts[which], starts[which] + since[mine, which])
        return np.concatenate((found, rows[way[rows] != np.repeat(mine, since[mine, which])]))

    def _begin(
        self,
        flows: FlowTable,
        slots: NDArray[np.intp],
        slot: NDArray[np.intp],
        way: NDArray[np.uint8],
        sequence: NDArray[np.uint32],
        length: NDArray[np.int64],
    ) -> None:
        """Where each direction begins: at its SYN; in a capture that lacks both SYNs, at the first octet in it."""
        opened = flows.opener[slots] != UNKNOWN
        for this, bases in ((0, flows.base0), (1, flows.base1)):
            fresh = slots[(self.origin[this, slots] < 0) & (bases[slots] >= 0) & opened]
            self.origin[this, fresh] = bases[fresh]
            self.edge[this, fresh] = bases[fresh].astype(np.uint32)
        if opened.all():
            return
        # Backwards, so that of several in one batch the first is written last and stands.
        first = np.flatnonzero((length > 0) & (self.origin[way, slot] < 0))[::-1]
        self.origin[way[first], slot[first]] = sequence[first]
        self.edge[way[first], slot[first]] = sequence[first]

    def _advance(self, slot: NDArray[np.intp], way: NDArray[np.uint8], end: NDArray[np.int64]) -> None:
        if not len(slot):
            return
        runs = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), slot[1:] != slot[:-1])))
        of = slot[runs]
        for this in (0, 1):
            furthest = np.maximum.reduceat(np.where(way == this, end, 0), runs)
            more = np.maximum(furthest - self.reach[this, of], 0)
            self.reach[this, of] += more
            self.edge[this, of] += more.astype(np.uint32)

    def _hear(
        self,
        slot: NDArray[np.intp],
        way: NDArray[np.uint8],
        flags: NDArray[np.uint8],
        number: NDArray[np.uint32],
        early: NDArray[np.intp],
    ) -> NDArray[np.int64]:
        """Acknowledgments as positions in the direction they are about."""
        other = way ^ 1
        beyond = (number - self.edge[other, slot]).view(np.int32).astype(np.int64)
        acknowledges = (flags & TcpFlag.ACK) != 0
        known = self.origin[other, slot] >= 0
        known[early] = False
        says = acknowledges & known & (np.abs(beyond) < PLAUSIBLE)
        unplaced = np.where(acknowledges & ~known, UNPLACED - number.astype(np.int64), -1)
        heard = np.where(says, self.reach[other, slot] + beyond, unplaced)
        if len(slot):
            runs = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), slot[1:] != slot[:-1])))
            of = slot[runs]
            for this in (0, 1):
                furthest = np.maximum.reduceat(np.where(other == this, heard, -1), runs)
                self.heard[this, of] = np.maximum(self.heard[this, of], furthest)
        return heard


def _ranges(begins: NDArray[np.intp], ends: NDArray[np.intp]) -> NDArray[np.intp]:
    """All numbers from each of these up to its end."""
    counts = ends - begins
    return np.repeat(begins - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
