"""The flow table: TCP connections as rows of columns, found again and updated a batch at a time.

A flow is known by its two endpoints, the smaller number first (`low`, `high`); direction 0 is from low to high,
direction 1 from high to low. No Python object is made per packet and none per flow: a flow is a slot in columns.

A new SYN whose sequence number differs from the one that opened the flow is a new connection (port reuse): it gets a
slot of its own and the old slot is retired from the index. Connections are numbered in the order of their first
packets, as Wireshark's `tcp.stream` is.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.columns import Segments, TcpFlag

NO_TIME = np.iinfo(np.int64).min
UNKNOWN = 2
"""Value of `opener` and `closer` where no SYN, and no FIN or RST, has been seen."""

_SYN_ACK = TcpFlag.SYN | TcpFlag.ACK
_FAR = np.iinfo(np.int64).max

_COLUMNS: dict[str, tuple[type, int | bool]] = {
    "low": (np.uint64, 0),
    "high": (np.uint64, 0),
    "stream": (np.int64, 0),
    "capture": (np.uint16, 0),
    "first_time": (np.int64, 0),
    "last_time": (np.int64, 0),
    "first_frame": (np.int64, 0),
    "last_frame": (np.int64, 0),
    "packets": (np.int64, 0),
    "flags0": (np.uint8, 0),
    "flags1": (np.uint8, 0),
    "opener": (np.uint8, UNKNOWN),
    "closer": (np.uint8, UNKNOWN),
    "close_time": (np.int64, NO_TIME),
    "syn_time": (np.int64, NO_TIME),
    "syn_ack_time": (np.int64, NO_TIME),
    "base0": (np.int64, -1),
    "base1": (np.int64, -1),
    "kind": (np.uint8, 0),
    "spoke": (np.uint8, 0),
    "turn": (np.uint8, 0),
    "closing": (np.bool_, False),
    "awaited": (np.uint8, 0),
    "first_byte": (np.int64, NO_TIME),
    "edge0": (np.uint32, 0),
    "edge1": (np.uint32, 0),
    "passed0": (np.int64, 0),
    "passed1": (np.int64, 0),
}


@dataclass(slots=True)
class FlowBatch:
    """One batch of segments sorted by flow; inside a flow the file's order is kept.

    Attributes:
        segments: the batch.
        order: intp[n], row of the segment at each sorted position.
        starts, counts: intp[g], where each flow's run begins in `order`, and its length.
        slots: intp[g], the flow of each run; every slot occurs once.
        direction, flags: uint8[n], 0 or 1 and the TCP flags, in sorted order.
        new: bool[g], runs whose flow began in this batch.
        replaced: slots whose endpoints have been taken over by a newer connection.
    """

    segments: Segments
    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    counts: NDArray[np.intp]
    slots: NDArray[np.intp]
    direction: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    new: NDArray[np.bool_]
    replaced: list[int]


class FlowTable:
    """Columns of all live flows (see `_COLUMNS`), indexed by slot.

    `low`, `high` (endpoints); `stream` (index from 0); `capture` (interface of the first packet); `first_time`,
    `last_time` (ns, smallest and largest); `first_frame`, `last_frame`; `packets`; `flags0`, `flags1` (all TCP flags
    seen per direction); `opener` (direction that sent the SYN); `closer` (direction of the first FIN or RST) and
    `close_time` (ns, when both directions had closed); `syn_time`, `syn_ack_time`; `base0`, `base1` (sequence number
    of the first octet per direction, -1 unknown). `kind`, `spoke`, `turn`, `closing`, `awaited` and `first_byte` belong
    to the user of the table, as do `edge` and `passed` (see `count_octets`).
    """

    low: NDArray[np.uint64]
    high: NDArray[np.uint64]
    stream: NDArray[np.int64]
    capture: NDArray[np.uint16]
    first_time: NDArray[np.int64]
    last_time: NDArray[np.int64]
    first_frame: NDArray[np.int64]
    last_frame: NDArray[np.int64]
    packets: NDArray[np.int64]
    flags0: NDArray[np.uint8]
    flags1: NDArray[np.uint8]
    opener: NDArray[np.uint8]
    closer: NDArray[np.uint8]
    close_time: NDArray[np.int64]
    syn_time: NDArray[np.int64]
    syn_ack_time: NDArray[np.int64]
    base0: NDArray[np.int64]
    base1: NDArray[np.int64]
    kind: NDArray[np.uint8]
    spoke: NDArray[np.uint8]
    turn: NDArray[np.uint8]
    closing: NDArray[np.bool_]
    awaited: NDArray[np.uint8]
    first_byte: NDArray[np.int64]
    edge0: NDArray[np.uint32]
    edge1: NDArray[np.uint32]
    passed0: NDArray[np.int64]
    passed1: NDArray[np.int64]

    def __init__(self, capacity: int = 4096) -> None:
        self.capacity = 0
        self.streams = 0
        self._grow(capacity)
        self._next_slot = 0
        self._free: list[int] = []
        # The index: hashes in ascending order beside their slots. Queries come sorted, so searchsorted is quick.
        self._hashes = np.empty(0, np.uint64)
        self._slots = np.empty(0, np.intp)
        # Flows whose hash another live flow already has: exact, and in practice always empty.
        self._collided: dict[tuple[int, int], int] = {}
        # Odd random multipliers: nobody can prepare endpoints that collide.
        self._mix = [np.uint64(secrets.randbits(64) | 1) for _ in range(3)]

    def __len__(self) -> int:
        """Number of live flows."""
        return self._next_slot - len(self._free)

    @property
    def used(self) -> int:
        """Slots below this number have been in use."""
        return self._next_slot

    # -- one batch ---------------------------------------------------------------------------------------------

    def update(self, segments: Segments) -> FlowBatch:
        """Sort a batch by flow, open new flows, and bring every flow's columns up to date."""
        n = len(segments)
        if n == 0:
            none, octets = np.empty(0, np.intp), np.empty(0, np.uint8)
            return FlowBatch(segments, none, none, none, none, octets, octets, np.empty(0, np.bool_), [])
        swapped = segments.source > segments.destination
        low = np.where(swapped, segments.destination, segments.source)
        high = np.where(swapped, segments.source, segments.destination)
        hashes = self._hash(low, high)
        order = _sort_by_flow(hashes, low, high)
        low, high = low[order], high[order]
        direction = swapped[order].view(np.uint8)
        flags = segments.flags[order]
        edges = np.flatnonzero((low[1:] != low[:-1]) | (high[1:] != high[:-1])) + 1
        starts = np.concatenate((np.zeros(1, np.intp), edges))
        slots = self._find(hashes[order[starts]], low[starts], high[starts])
        starts, slots, replaced = self._split_at_reuse(segments, order, direction, flags, starts, slots)
        counts = np.diff(np.append(starts, n))
        batch = FlowBatch(segments, order, starts, counts, slots, direction, flags, slots < 0, replaced)
        opened = np.flatnonzero(batch.new)
        if len(opened):
            # Streams are numbered by first packet, so slots are handed out in file order.
            opened = opened[np.argsort(order[starts[opened]], kind="stable")]
            slots[opened] = self._open(segments, order, starts[opened], low, high)
            self._index(hashes, order, starts, slots, opened)
        self._advance(batch)
        return batch

    def _hash(self, low: NDArray[np.uint64], high: NDArray[np.uint64]) -> NDArray[np.uint64]:
        a, b, c = self._mix
        mixed: NDArray[np.uint64] = low * a
        mixed ^= high * b
        mixed ^= mixed >> np.uint64(31)
        mixed *= c
        mixed ^= mixed >> np.uint64(29)
        return mixed

    def _find(self, hashes: NDArray[np.uint64], low: NDArray[np.uint64], high: NDArray[np.uint64]) -> NDArray[np.intp]:
        slots = np.full(len(hashes), -1, np.intp)
        if len(self._hashes):
            at = np.searchsorted(self._hashes, hashes)
            at[at == len(self._hashes)] = 0
            found = self._slots[at]
            same = (self._hashes[at] == hashes) & (self.low[found] == low) & (self.high[found] == high)
            slots[same] = found[same]
        if self._collided:
            for group in np.flatnonzero(slots < 0).tolist():
                slots[group] = self._collided.get((int(low[group]), int(high[group])), -1)
        return slots

    def _split_at_reuse(
        self,
        segments: Segments,
        order: NDArray[np.intp],
        direction: NDArray[np.uint8],
        flags: NDArray[np.uint8],
        starts: NDArray[np.intp],
        slots: NDArray[np.intp],
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], list[int]]:
        """Cut runs where a SYN opens a new connection between the same endpoints."""
        syn = np.flatnonzero((flags & _SYN_ACK) == TcpFlag.SYN)
        if not len(syn):
            return starts, slots, []
        group = np.searchsorted(starts, syn, side="right") - 1
        suspect = (starts[group] != syn) | (slots[group] >= 0)
        if not suspect.any():
            return starts, slots, []
        cuts: list[int] = []
        replaced: list[int] = []
        bounds = np.append(starts, len(order))
        for g in np.unique(group[suspect]).tolist():
            slot = int(slots[g])
            base = [-1, -1] if slot < 0 else [int(self.base0[slot]), int(self.base1[slot])]
            for position in range(int(bounds[g]), int(bounds[g + 1])):
                way = int(direction[position])
                row = order[position]
                is_syn = bool(flags[position] & TcpFlag.SYN)
                first = (int(segments.sequence[row]) + is_syn) & 0xFFFFFFFF
                if is_syn and not flags[position] & TcpFlag.ACK and base[way] >= 0 and first != base[way]:
                    if position == int(bounds[g]):
                        replaced.append(slot)
                        slots[g] = -1
                    else:
                        cuts.append(position)
                    base = [-1, -1]
                if base[way] < 0:
                    base[way] = first
        if cuts:
            # Within one batch every piece after the first is a flow that has no slot yet. The pieces share their
            # endpoints: `_index` lets the last one stand.
            merged = np.concatenate((starts, np.array(cuts, np.intp)))
            known = np.concatenate((slots, np.full(len(cuts), -1, np.intp)))
            by_place = np.argsort(merged, kind="stable")
            owner = np.searchsorted(starts, np.array(cuts, np.intp), side="right") - 1
            replaced.extend(int(slot) for slot in slots[np.unique(owner)] if slot >= 0)
            starts, slots = merged[by_place], known[by_place]
        return starts, slots, replaced

    def _open(
        self,
        segments: Segments,
        order: NDArray[np.intp],
        first: NDArray[np.intp],
        low: NDArray[np.uint64],
        high: NDArray[np.uint64],
    ) -> NDArray[np.intp]:
        count = len(first)
        reused = [self._free.pop() for _ in range(min(count, len(self._free)))]
        fresh = count - len(reused)
        if self._next_slot + fresh > self.capacity:
            self._grow(max(self.capacity * 2, self._next_slot + fresh))
        slots = np.array(reused + list(range(self._next_slot, self._next_slot + fresh)), np.intp)
        self._next_slot += fresh
        if reused:
            again = np.array(reused, np.intp)
            for name, (_, value) in _COLUMNS.items():
                getattr(self, name)[again] = value
        rows = order[first]
        self.low[slots] = low[first]
        self.high[slots] = high[first]
        self.stream[slots] = np.arange(self.streams, self.streams + count)
        self.streams += count
        self.capture[slots] = segments.capture[rows]
        time = segments.time[rows]
        self.first_time[slots] = time
        self.last_time[slots] = time
        self.first_frame[slots] = segments.frame[rows]
        return slots

    def _index(
        self,
        hashes: NDArray[np.uint64],
        order: NDArray[np.intp],
        starts: NDArray[np.intp],
        slots: NDArray[np.intp],
        opened: NDArray[np.intp],
    ) -> None:
        """Enter new flows. Of several new flows between the same endpoints the last one stands."""
        added = hashes[order[starts[opened]]]
        added_slots = slots[opened]
        if len(self._hashes):
            at = np.searchsorted(self._hashes, added)
            at[at == len(self._hashes)] = 0
            taken = self._hashes[at] == added
            if taken.any():
                for place, slot in zip(at[taken].tolist(), added_slots[taken].tolist(), strict=False):
                    older = int(self._slots[place])
                    if self.low[older] == self.low[slot] and self.high[older] == self.high[slot]:
                        self._slots[place] = slot
                    else:
                        self._collided[int(self.low[slot]), int(self.high[slot])] = slot
                added, added_slots = added[~taken], added_slots[~taken]
        by_hash = np.argsort(added, kind="stable")
        added, added_slots = added[by_hash], added_slots[by_hash]
        repeats = np.flatnonzero(added[1:] == added[:-1])
        if len(repeats):
            keep = np.ones(len(added), np.bool_)
            for place in repeats.tolist():
                slot, later = int(added_slots[place]), int(added_slots[place + 1])
                if self.low[later] == self.low[slot] and self.high[later] == self.high[slot]:
                    keep[place] = False
                else:
                    self._collided[int(self.low[later]), int(self.high[later])] = later
                    added_slots[place + 1] = slot
                    keep[place] = False
            added, added_slots = added[keep], added_slots[keep]
        where = np.searchsorted(self._hashes, added)
        self._hashes = np.insert(self._hashes, where, added)
        self._slots = np.insert(self._slots, where, added_slots)

    def _advance(self, batch: FlowBatch) -> None:
        segments, order, starts, slots = batch.segments, batch.order, batch.starts, batch.slots
        time = segments.time[order]
        self.packets[slots] += batch.counts
        self.last_frame[slots] = segments.frame[order[starts + batch.counts - 1]]
        self.first_time[slots] = np.minimum(self.first_time[slots], np.minimum.reduceat(time, starts))
        self.last_time[slots] = np.maximum(self.last_time[slots], np.maximum.reduceat(time, starts))
        upward = batch.direction.astype(np.bool_)
        seen0 = np.bitwise_or.reduceat(np.where(upward, np.uint8(0), batch.flags), starts)
        seen1 = np.bitwise_or.reduceat(np.where(upward, batch.flags, np.uint8(0)), starts)
        self.flags0[slots] |= seen0
        self.flags1[slots] |= seen1
        self._note_bases(batch)
        seen = seen0 | seen1
        if (seen & TcpFlag.SYN).any():
            self._note_syn(batch)
        if (seen & (TcpFlag.FIN | TcpFlag.RST)).any():
            self._note_close(batch)

    def _note_bases(self, batch: FlowBatch) -> None:
        """The first packet seen in each direction tells where its stream of octets begins."""
        order, slots = batch.order, batch.slots
        for way, bases in ((0, self.base0), (1, self.base1)):
            lacking = bases[slots] < 0
            if not lacking.any():
                continue
            position = np.where(batch.direction == way, np.arange(len(order)), _FAR)
            first = np.minimum.reduceat(position, batch.starts)
            groups = np.flatnonzero(lacking & (first != _FAR))
            at = first[groups]
            syn = (batch.flags[at] & TcpFlag.SYN) != 0
            bases[slots[groups]] = (batch.segments.sequence[order[at]].astype(np.int64) + syn) & 0xFFFFFFFF

    def _note_syn(self, batch: FlowBatch) -> None:
        bits = batch.flags & _SYN_ACK
        for want, times, turned in ((TcpFlag.SYN, self.syn_time, 0), (_SYN_ACK, self.syn_ack_time, 1)):
            # Backwards, so that of several in one batch the first is written last and stands.
            at = np.flatnonzero(bits == want)[::-1]
            slot = batch.slots[np.searchsorted(batch.starts, at, side="right") - 1]
            missing = times[slot] == NO_TIME
            at, slot = at[missing], slot[missing]
            times[slot] = batch.segments.time[batch.order[at]]
            unset = self.opener[slot] == UNKNOWN
            self.opener[slot[unset]] = batch.direction[at[unset]] ^ turned

    def _note_close(self, batch: FlowBatch) -> None:
        at = np.flatnonzero(batch.flags & (TcpFlag.FIN | TcpFlag.RST))
        slot = batch.slots[np.searchsorted(batch.starts, at, side="right") - 1]
        first, first_slot = at[::-1], slot[::-1]
        unset = self.closer[first_slot] == UNKNOWN
        self.closer[first_slot[unset]] = batch.direction[first[unset]]
        both = self.flags0[slot] & self.flags1[slot] & TcpFlag.FIN
        either = (self.flags0[slot] | self.flags1[slot]) & TcpFlag.RST
        ended = ((both | either) != 0) & (self.close_time[slot] == NO_TIME)
        self.close_time[slot[ended]] = batch.segments.time[batch.order[at[ended]]]

    # -- what the users of the table ask for ---------------------------------------------------------------------

    def count_octets(self, batch: FlowBatch, groups: NDArray[np.bool_], since: NDArray[np.intp]) -> None:
        """Add up the octets that went through flows of which only the amount matters.

        `edge` is the sequence number that comes next in a direction and `passed` how many octets came before it; both
        move forward to the highest sequence number seen, so an octet counts once however often it was sent.

        Args:
            groups: bool[g], which runs to count.
            since: intp[g], the first position (in sorted order) to count of each run.
        """
        segments = batch.segments
        group = np.repeat(np.arange(len(batch.starts)), batch.counts)
        length = segments.length[batch.order]
        # A FIN without octets tells, too, where the octets have ended.
        speaks = (length > 0) | (segments.flags[batch.order] & TcpFlag.FIN != 0)
        wanted = groups[group] & speaks & (np.arange(len(group)) >= since[group])
        at = np.flatnonzero(wanted)
        if not len(at):
            return
        slot = batch.slots[group[at]]
        sequence = segments.sequence[batch.order[at]]
        ahead = length[at]
        way = batch.direction[at]
        for this, edges, passed in ((0, self.edge0, self.passed0), (1, self.edge1, self.passed1)):
            rows = np.flatnonzero(way == this)
            if not len(rows):
                continue
            slot_here = slot[rows]
            # The difference in 32-bit arithmetic is right across the sequence number's wrap.
            beyond = (sequence[rows] - edges[slot_here]).view(np.int32).astype(np.int64) + ahead[rows]
            runs = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), slot_here[1:] != slot_here[:-1])))
            furthest = np.maximum(np.maximum.reduceat(beyond, runs), 0)
            of = slot_here[runs]
            passed[of] += furthest
            edges[of] += furthest.astype(np.uint32)

    def release(self, slots: NDArray[np.intp]) -> None:
        """Forget flows. Their slots are used again."""
        if not len(slots):
            return
        gone = np.zeros(self._next_slot, np.bool_)
        gone[slots] = True
        keep = ~gone[self._slots]
        self._hashes, self._slots = self._hashes[keep], self._slots[keep]
        if self._collided:
            self._collided = {key: slot for key, slot in self._collided.items() if not gone[slot]}
        self.stream[slots] = -1
        self._free.extend(slots.tolist())

    def live(self) -> NDArray[np.intp]:
        """All slots in use."""
        slots = np.ones(self._next_slot, np.bool_)
        slots[self._free] = False
        return np.flatnonzero(slots)

    def _grow(self, capacity: int) -> None:
        for name, (kind, value) in _COLUMNS.items():
            column: NDArray[np.generic] = np.full(capacity, value, kind)
            if self.capacity:
                column[: self.capacity] = getattr(self, name)
            setattr(self, name, column)
        self.capacity = capacity


def _sort_by_flow(hashes: NDArray[np.uint64], low: NDArray[np.uint64], high: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Rows ordered by flow, file order inside a flow.

    The row number replaces the hash's lowest bits, so that one plain sort of numbers does the work of a stable
    argsort, several times faster. Where the shortened hashes of two flows are the same, the exact way is taken.
    """
    n = len(hashes)
    mask = np.uint64((1 << max(n - 1, 1).bit_length()) - 1)
    keys = hashes & ~mask
    keys |= np.arange(n, dtype=np.uint64)
    keys.sort()
    order: NDArray[np.intp] = (keys & mask).astype(np.intp)
    keys >>= np.uint64(int(mask).bit_length())
    same = keys[1:] == keys[:-1]
    low_sorted, high_sorted = low[order], high[order]
    mixed_up = same & ((low_sorted[1:] != low_sorted[:-1]) | (high_sorted[1:] != high_sorted[:-1]))
    if mixed_up.any():
        return np.lexsort((high, low)).astype(np.intp)
    return order
