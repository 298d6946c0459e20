"""The flow table: TCP connections as rows of columns, found again and updated a batch at a time.

A flow is known by its two endpoints, the smaller number first (`low`, `high`); direction 0 is from low to high,
direction 1 from high to low. No Python object is made per packet and none per flow: a flow is a slot in columns.

Of connections between the same endpoints (port reuse, and see `spaces`) each has a slot; the index knows the newest.
Connections are numbered in the order of their first
packets, as Wireshark's `tcp.stream` is.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.columns import Segments, TcpFlag

from .slots import Rows, SlotTable
from .spaces import ELSEWHERE, FORGET, LATE_SYN, LINGER, Route, Space, resets

NO_TIME = np.iinfo(np.int64).min
UNKNOWN = 2
"""Value of `opener` and `closer` where no SYN, and no FIN or RST, has been seen."""

_SYN_ACK = TcpFlag.SYN | TcpFlag.ACK
_ACK_RST = TcpFlag.ACK | TcpFlag.RST
_FAR = np.iinfo(np.int64).max
_MASK = 0xFFFFFFFF

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
    "close_clock": (np.int64, NO_TIME),
    "close_frame": (np.int64, 0),
    "syn_time": (np.int64, NO_TIME),
    "syn_ack_time": (np.int64, NO_TIME),
    "base0": (np.int64, -1),
    "base1": (np.int64, -1),
    "first_way": (np.uint8, 0),
    "next0": (np.int64, -1),
    "next1": (np.int64, -1),
    "fin0": (np.int64, -1),
    "fin1": (np.int64, -1),
    "fin_heard0": (np.int64, -1),
    "fin_heard1": (np.int64, -1),
    "network0": (np.int32, -1),
    "network1": (np.int32, -1),
    "beside": (np.bool_, False),
}


@dataclass(slots=True, eq=False, repr=False)
class FlowBatch:
    """One batch of segments sorted by flow; inside a flow the file's order is kept.

    Attributes:
        segments: the batch.
        order: intp[n], row of the segment at each sorted position.
        starts, counts: intp[g], where each flow's run begins in `order`, and its length.
        slots: intp[g], the flow of each run; every slot occurs once.
        direction, flags: uint8[n], 0 or 1 and the TCP flags, in sorted order.
        new: bool[g], runs whose flow began in this batch.
    """

    segments: Segments
    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    counts: NDArray[np.intp]
    slots: NDArray[np.intp]
    direction: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    new: NDArray[np.bool_]


class _Sorted(NamedTuple):
    """A batch sorted by endpoints; columns as in `FlowBatch`, `low` and `high` in sorted order, new slots -1."""

    segments: Segments
    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    slots: NDArray[np.intp]
    low: NDArray[np.uint64]
    high: NDArray[np.uint64]
    direction: NDArray[np.uint8]
    flags: NDArray[np.uint8]


class FlowTable(SlotTable):
    """Columns of all live flows (see `_COLUMNS`), indexed by slot.

    `low`, `high` (endpoints); `stream` (index from 0); `capture` (interface of the first packet); `first_way` (its
    direction); `first_time`, `last_time` (ns, smallest and largest); `first_frame`, `last_frame`; `packets`; `flags0`,
    `flags1` (all TCP flags seen per direction); `opener` (direction that sent the SYN); `closer` (direction of the
    first FIN or RST in the file) and `close_time` (ns, when both directions had closed) and
    `close_clock`, `close_frame` (the latest time in the capture by then, and the frame); `syn_time`, `syn_ack_time`;
    `base0`, `base1` (sequence number of the first octet per direction, -1 unknown); `next0`, `next1` (sequence number
    behind the last packet per direction, -1 before any); `fin0`, `fin1` (sequence number
    behind each direction's FIN, -1 for none) and `fin_heard0`, `fin_heard1` (what that FIN acknowledged); `network0`,
    `network1` (the network of each direction's first packet, see `Segments.network`, -1 before any); `beside` (another
    connection has the same endpoints at the same time).
    """

    COLUMNS: ClassVar = _COLUMNS

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
    close_clock: NDArray[np.int64]
    close_frame: NDArray[np.int64]
    syn_time: NDArray[np.int64]
    syn_ack_time: NDArray[np.int64]
    base0: NDArray[np.int64]
    base1: NDArray[np.int64]
    first_way: NDArray[np.uint8]
    next0: NDArray[np.int64]
    next1: NDArray[np.int64]
    fin0: NDArray[np.int64]
    fin1: NDArray[np.int64]
    fin_heard0: NDArray[np.int64]
    fin_heard1: NDArray[np.int64]
    network0: NDArray[np.int32]
    network1: NDArray[np.int32]
    beside: NDArray[np.bool_]

    def __init__(self, capacity: int = 4096) -> None:
        super().__init__()
        self.streams = 0
        self.clock = NO_TIME
        self._clocks = np.empty(0, np.int64)
        self.grow(capacity)
        self._next_slot = 0
        self._free: list[int] = []
        # The index: hashes in ascending order beside their slots. Queries come sorted, so searchsorted is quick.
        self._hashes = np.empty(0, np.uint64)
        self._slots = np.empty(0, np.intp)
        # Flows whose hash another live flow already has: exact, and in practice always empty.
        self._collided: dict[tuple[int, int], int] = {}
        # Endpoints between which not only the newest connection may still have packets, and the slots.
        self._shared: dict[tuple[int, int], list[int]] = {}
        # Those that this batch has packets for: their slots before it, and the spaces that the packets went to.
        self._routed: dict[tuple[int, int], tuple[list[int], list[Space]]] = {}
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
            return FlowBatch(segments, none, none, none, none, octets, octets, np.empty(0, np.bool_))
        # What comes after what is told by the latest time so far: single clocks may go backwards.
        clocks = segments.clock
        if clocks is None:
            clocks = np.maximum.accumulate(np.maximum(segments.time, self.clock))
        self._clocks = clocks
        self.clock = int(clocks[-1])
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
        found = self._route(_Sorted(segments, order, starts, slots, low, high, direction, flags))
        order, starts, slots = found.order, found.starts, found.slots
        counts = np.diff(np.append(starts, len(order)))
        batch = FlowBatch(segments, order, starts, counts, slots, found.direction, found.flags, slots < 0)
        opened = np.flatnonzero(batch.new)
        if len(opened):
            # Streams are numbered by first packet, so slots are handed out in file order.
            opened = opened[np.argsort(order[starts[opened]], kind="stable")]
            slots[opened] = self._open(segments, order, starts[opened], found.low, found.high, found.direction)
            self._index(hashes[order[starts[opened]]], slots[opened])
        if len(order):
            self._advance(batch)
        if self._routed:
            self._share(found)
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

    def _route(self, batch: _Sorted) -> _Sorted:
        """Give packets between endpoints of more than one connection to the one they belong to."""
        groups = self._doubtful(batch)
        groups = groups[~self._begin_again(batch, groups)]
        doubtful = self._elsewhere(batch)
        doubtful[groups] = True
        groups = np.flatnonzero(doubtful)
        if not len(groups):
            return batch
        ends = np.append(batch.starts, len(batch.order))
        # Runs as (slot, positions); the others as they are.
        runs: list[tuple[int, NDArray[np.intp]]] = []
        for group in groups.tolist():
            positions = range(int(ends[group]), int(ends[group + 1]))
            runs += self._route_group(batch, int(batch.slots[group]), positions)
        lengths = np.diff(ends)
        kept = np.flatnonzero(np.repeat(~doubtful, lengths))
        places = np.concatenate([kept, *(run for _, run in runs)]) if runs else kept
        counts = np.concatenate((lengths[~doubtful], [len(run) for _, run in runs])).astype(np.intp)
        slots = np.concatenate((batch.slots[~doubtful], [slot for slot, _ in runs])).astype(np.intp)
        return _Sorted(
            batch.segments,
            batch.order[places],
            (np.cumsum(counts) - counts).astype(np.intp),
            slots,
            batch.low[places],
            batch.high[places],
            batch.direction[places],
            batch.flags[places],
        )

    def _doubtful(self, batch: _Sorted) -> NDArray[np.intp]:
        """Runs that may hold packets of another connection than the one the endpoints have."""
        starts, slots, flags = batch.starts, batch.slots, batch.flags
        found: set[int] = set()
        syn = np.flatnonzero((flags & _SYN_ACK) == TcpFlag.SYN)
        if len(syn):
            group = np.searchsorted(starts, syn, side="right") - 1
            odd = (starts[group] != syn) | (slots[group] >= 0)
            if odd.any():
                odd &= ~self._fit(batch, syn, group)
            found.update(group[odd].tolist())
        # What comes long after the end.
        known = np.maximum(slots, 0)
        ended = np.where((slots >= 0) & (self.close_clock[known] != NO_TIME), self.close_clock[known], _FAR)
        closing = np.flatnonzero(flags & (TcpFlag.FIN | TcpFlag.RST))
        time = self._clocks[batch.order]
        if len(closing):
            group = np.searchsorted(starts, closing, side="right") - 1
            np.minimum.at(ended, group, time[closing])
        late = np.flatnonzero(ended != _FAR)
        if len(late):
            latest = np.maximum.reduceat(time, starts)
            found.update(late[latest[late] > ended[late] + LINGER].tolist())
        if self._shared:
            lows = np.array([low for low, _ in self._shared], np.uint64)
            for group in np.flatnonzero(np.isin(batch.low[starts], lows)).tolist():
                if (int(batch.low[starts[group]]), int(batch.high[starts[group]])) in self._shared:
                    found.add(group)
        return np.array(sorted(found), np.intp)

    def _fit(self, batch: _Sorted, syn: NDArray[np.intp], group: NDArray[np.intp]) -> NDArray[np.bool_]:
        """bool[n]: SYN of runs that are the one with which the only connection there began: seen again, as packets are
        at several interfaces of a machine, or late in the file. `Route` would come to the same.

        Args:
            syn: positions of all SYN without ACK; group: their runs.
        """
        starts, order, flags, count = batch.starts, batch.order, batch.flags, len(batch.order)
        sequence, time = batch.segments.sequence[order].astype(np.int64), self._clocks[order]
        way, slot = batch.direction[syn], np.maximum(batch.slots[group], 0)
        # Where their direction began: as the table knows it, else with its first packet in the run.
        place = np.arange(count)
        firsts = [np.minimum.reduceat(np.where(batch.direction == this, place, count - 1), starts) for this in (0, 1)]
        first = np.where(way == 1, firsts[1][group], firsts[0][group])
        base = np.where(way == 1, self.base1[slot], self.base0[slot])
        known = batch.slots[group] >= 0
        told = known & (base >= 0)
        began = (sequence[first] + ((flags[first] & TcpFlag.SYN) != 0)) & _MASK
        base = np.where(told, base, np.where(first < syn, began, -1))
        said = np.where(told, np.where(way == 1, self.flags1[slot], self.flags0[slot]), flags[first]) & TcpFlag.SYN
        ahead = (base - 1 - sequence[syn]) & _MASK
        last = np.where(known, self.last_time[slot], batch.segments.time[order[starts[group]]])
        recent = time[syn] <= last + FORGET
        late = (said == 0) & (ahead > 0) & (ahead < LATE_SYN)
        other = syn[np.searchsorted(group, group)]
        fits = np.where(other < syn, recent, (base < 0) | ((ahead == 0) & recent) | late)
        # It has not ended by then, and nothing else in the run says where the direction begins.
        ending = np.flatnonzero(flags & (TcpFlag.FIN | TcpFlag.RST))
        fits &= np.append(ending, count)[np.searchsorted(ending, starts[group])] > syn
        fits &= ~known | (self.close_clock[slot] == NO_TIME)
        fits &= (batch.direction[other] == way) & (sequence[other] == sequence[syn])
        answers = np.flatnonzero((flags & _SYN_ACK) == _SYN_ACK)
        answered = np.zeros((2, len(starts)), np.bool_)
        answered[batch.direction[answers], np.searchsorted(starts, answers, side="right") - 1] = True
        found: NDArray[np.bool_] = fits & ~answered[way, group]
        return found

    def _elsewhere(self, batch: _Sorted) -> NDArray[np.bool_]:
        """bool[g]: runs in which something behind an end has nothing to do with it, see `Space.is_over_for`.

        The numbers of the direction that ended first stand still from then on, so they alone are asked, and where a
        connection begins to end: more runs than are needed, which costs only time.
        """
        starts, slots = batch.starts, batch.slots
        closing = np.flatnonzero(batch.flags & (TcpFlag.FIN | TcpFlag.RST))
        group = np.searchsorted(starts, closing, side="right") - 1
        fresh = np.concatenate((np.ones(1, np.bool_), group[1:] != group[:-1]))[: len(group)]
        closing, group = closing[fresh], group[fresh]
        rows = batch.order[closing]
        way = batch.direction[closing]
        ends = batch.segments.sequence[rows].astype(np.int64) + batch.segments.length[rows]
        first = closing + 1
        # Those that had ended before this batch.
        known = np.maximum(slots, 0)
        before = np.flatnonzero((slots >= 0) & (self.close_clock[known] != NO_TIME))
        closer = self.closer[slots[before]]
        stood = np.where(closer == 1, self.next1[slots[before]], self.next0[slots[before]])
        anew = ~np.isin(group, before)
        group = np.concatenate((group[anew], before))
        way = np.concatenate((way[anew], closer))
        ends = np.concatenate((ends[anew], stood))
        first = np.concatenate((first[anew], starts[before]))
        counts = np.append(starts, len(batch.order))[group + 1] - first
        found = np.zeros(len(starts), np.bool_)
        run = np.repeat(np.arange(len(group)), counts)
        behind = np.arange(len(run)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        rows = batch.order[behind]
        same = batch.direction[behind] == way[run]
        number = np.where(same, batch.segments.sequence[rows], batch.segments.acknowledgment[rows]).astype(np.int64)
        apart = np.abs((number - ends[run]).astype(np.uint32).view(np.int32).astype(np.int64))
        far = (apart > ELSEWHERE // 2) & (batch.flags[behind] & _ACK_RST == TcpFlag.ACK) & (ends[run] >= 0)
        found[group[run[far]]] = True
        return found

    def _begin_again(self, batch: _Sorted, groups: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of these runs are new connections between endpoints whose last one has long ended: nothing else is.

        So it is with the ports of a busy client, again and again. `Route` would come to the same.
        """
        starts, order = batch.starts, batch.order
        if not len(groups):
            return np.empty(0, np.bool_)
        time, syn = self._clocks[order], (batch.flags & _SYN_ACK) == TcpFlag.SYN
        slots, first = np.maximum(batch.slots[groups], 0), starts[groups]
        ended = self.close_clock[slots]
        again: NDArray[np.bool_] = (batch.slots[groups] >= 0) & (ended != NO_TIME) & syn[first]
        again &= time[first] > ended + LINGER
        again &= np.add.reduceat(syn, starts, dtype=np.intp)[groups] == 1
        # Nor has it ended long before its last packet.
        closing = np.where(batch.flags & (TcpFlag.FIN | TcpFlag.RST), time, _FAR)
        latest = np.maximum.reduceat(time, starts)[groups]
        again &= latest - LINGER <= np.minimum.reduceat(closing, starts)[groups]
        if self._shared:
            for place in np.flatnonzero(again).tolist():
                again[place] = (int(batch.low[first[place]]), int(batch.high[first[place]])) not in self._shared
        batch.slots[groups[again]] = -1
        return again

    def _route_group(self, batch: _Sorted, slot: int, positions: range) -> list[tuple[int, NDArray[np.intp]]]:
        segments = batch.segments
        key = int(batch.low[positions[0]]), int(batch.high[positions[0]])
        slots = self._shared.get(key, [slot] if slot >= 0 else [])
        route = Route([self._space(known) for known in slots])
        run = slice(positions.start, positions.stop)
        rows = batch.order[run]
        heard = np.where(batch.flags[run] & TcpFlag.ACK, segments.acknowledgment[rows].astype(np.int64), -1)
        columns = (
            *(batch.direction[run], batch.flags[run], segments.sequence[rows], heard, segments.length[rows]),
            *(self._clocks[rows], segments.time[rows], segments.network[rows]),
        )
        for packet in zip(positions, *(column.tolist() for column in columns), strict=True):
            route.take(*packet)
        self._routed[key] = slots, [space for space in route.spaces if space.rows]
        for space in route.spaces:
            if space.beside and space.slot >= 0:
                self.beside[space.slot] = True
        return [(space.slot, np.array(space.rows, np.intp)) for space in route.spaces if space.rows]

    def _space(self, slot: int) -> Space:
        closed = int(self.close_clock[slot])
        return Space(
            slot,
            [int(self.base0[slot]), int(self.base1[slot])],
            [bool(self.flags0[slot] & TcpFlag.SYN), bool(self.flags1[slot] & TcpFlag.SYN)],
            [int(self.next0[slot]), int(self.next1[slot])],
            [int(self.fin0[slot]) >= 0, int(self.fin1[slot]) >= 0],
            None if closed == NO_TIME else closed,
            [int(self.network0[slot]), int(self.network1[slot])],
            int(self.last_time[slot]),
        )

    def _share(self, batch: _Sorted) -> None:
        """Remember endpoints between which not only the newest connection may still have packets."""
        routed, self._routed = self._routed, {}
        for key, (slots, spaces) in routed.items():
            index = self._find_one(key)
            runs = batch.slots[(batch.low[batch.starts] == key[0]) & (batch.high[batch.starts] == key[1])].tolist()
            self.beside[[slot for slot, space in zip(runs, spaces, strict=True) if space.beside]] = True
            slots = list(dict.fromkeys([*slots, *sorted(runs, key=lambda slot: self.stream[slot]), index]))
            slots = [slot for slot in slots if slot >= 0 and self._goes_on(slot, index)]
            if slots and slots != [index]:
                self._shared[key] = slots
            else:
                self._shared.pop(key, None)

    def _goes_on(self, slot: int, newest: int) -> bool:
        """Whether a connection may still have packets, or its end tells more of late ones than that of the newest."""
        closed, last = self.close_clock[slot], self.close_clock[newest]
        return bool(closed == NO_TIME or self.clock <= closed + LINGER or NO_TIME < last < closed)

    def _find_one(self, key: tuple[int, int]) -> int:
        low, high = np.array([key[0]], np.uint64), np.array([key[1]], np.uint64)
        return int(self._find(self._hash(low, high), low, high)[0])

    def _open(
        self,
        segments: Segments,
        order: NDArray[np.intp],
        first: NDArray[np.intp],
        low: NDArray[np.uint64],
        high: NDArray[np.uint64],
        direction: NDArray[np.uint8],
    ) -> NDArray[np.intp]:
        count = len(first)
        slots = self._allot(count)
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
        self.first_way[slots] = direction[first]
        return slots

    def _allot(self, count: int) -> NDArray[np.intp]:
        """Slots that are free, as they are at first."""
        reused = [self._free.pop() for _ in range(min(count, len(self._free)))]
        fresh = count - len(reused)
        if self._next_slot + fresh > self.capacity:
            self.grow(max(self.capacity * 2, self._next_slot + fresh))
        slots = np.array(reused + list(range(self._next_slot, self._next_slot + fresh)), np.intp)
        self._next_slot += fresh
        if reused:
            self.reset(np.array(reused, np.intp))
        return slots

    def _index(self, added: NDArray[np.uint64], added_slots: NDArray[np.intp]) -> None:
        """Enter new flows, their hashes and slots. Of several between the same endpoints the last one stands."""
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
        if (batch.flags & TcpFlag.RST).any():
            self._drop_strange_resets(batch)
        self._note_next(batch)
        weight = segments.weight
        self.packets[slots] += batch.counts if weight is None else np.add.reduceat(weight[order], starts)
        self.last_frame[slots] = segments.frame[order[starts + batch.counts - 1]]
        self.first_time[slots] = np.minimum(self.first_time[slots], np.minimum.reduceat(time, starts))
        self.last_time[slots] = np.maximum(self.last_time[slots], np.maximum.reduceat(time, starts))
        self._note_bases(batch)
        if (batch.flags & TcpFlag.SYN).any():
            self._drop_strange_syns(batch)
        upward = batch.direction.astype(np.bool_)
        seen0 = np.bitwise_or.reduceat(np.where(upward, np.uint8(0), batch.flags), starts)
        seen1 = np.bitwise_or.reduceat(np.where(upward, batch.flags, np.uint8(0)), starts)
        seen = seen0 | seen1
        if (seen & TcpFlag.SYN).any():
            self._note_syn(batch)
        self.flags0[slots] |= seen0
        self.flags1[slots] |= seen1
        if (seen & (TcpFlag.FIN | TcpFlag.RST)).any():
            self._note_close(batch)

    def _note_bases(self, batch: FlowBatch) -> None:
        """The first packet seen in each direction tells where its stream of octets begins."""
        order, slots = batch.order, batch.slots
        for way, bases, networks in ((0, self.base0, self.network0), (1, self.base1, self.network1)):
            lacking = bases[slots] < 0
            if not lacking.any():
                continue
            position = np.where(batch.direction == way, np.arange(len(order)), _FAR)
            first = np.minimum.reduceat(position, batch.starts)
            groups = np.flatnonzero(lacking & (first != _FAR))
            at = first[groups]
            syn = (batch.flags[at] & TcpFlag.SYN) != 0
            bases[slots[groups]] = (batch.segments.sequence[order[at]].astype(np.int64) + syn) & _MASK
            networks[slots[groups]] = batch.segments.network[order[at]]

    def _note_syn(self, batch: FlowBatch) -> None:
        """The first SYN of a connection tells who opened it; that of a direction where its octets begin."""
        # Backwards, so that of several in one batch the first is written last and stands.
        at = np.flatnonzero(batch.flags & TcpFlag.SYN)[::-1]
        slot = batch.slots[np.searchsorted(batch.starts, at, side="right") - 1]
        row, direction, answers = batch.order[at], batch.direction[at], (batch.flags[at] & TcpFlag.ACK) != 0
        for times, told in ((self.syn_time, ~answers), (self.syn_ack_time, answers)):
            first = told & (times[slot] == NO_TIME)
            times[slot[first]] = batch.segments.time[row[first]]
        unset = self.opener[slot] == UNKNOWN
        self.opener[slot[unset]] = direction[unset] ^ answers[unset]
        # It may come late in the file, behind packets that seemed to be the first.
        begins = (batch.segments.sequence[row].astype(np.int64) + 1) & _MASK
        for way, bases, flags in ((0, self.base0, self.flags0), (1, self.base1, self.flags1)):
            first = (direction == way) & ((flags[slot] & TcpFlag.SYN) == 0)
            bases[slot[first]] = begins[first]

    def _drop_strange_syns(self, batch: FlowBatch) -> None:
        """A SYN behind octets that its direction has shown begins nothing: what they are may have been decided. One
        that belongs to them comes before them in number, if not in the file; see `Space.begins_with`."""
        at = np.flatnonzero(batch.flags & TcpFlag.SYN)
        group, way = np.searchsorted(batch.starts, at, side="right") - 1, batch.direction[at]
        slot = batch.slots[group]
        begins = (batch.segments.sequence[batch.order[at]].astype(np.int64) + 1) & _MASK
        base = np.where(way == 1, self.base1[slot], self.base0[slot])
        told = (np.where(way == 1, self.flags1[slot], self.flags0[slot]) & TcpFlag.SYN) != 0
        counts = told | (((base - begins) & _MASK) < LATE_SYN)
        if counts.all():
            return
        # Those behind the first that counts are copies of it, or nobody asks.
        begun: set[tuple[int, int]] = set()
        whose = zip(group.tolist(), way.tolist(), strict=True)
        for place, one, good in zip(at.tolist(), whose, counts.tolist(), strict=True):
            if good:
                begun.add(one)
            elif one not in begun:
                batch.flags[place] &= 0xFF ^ TcpFlag.SYN

    def _drop_strange_resets(self, batch: FlowBatch) -> None:
        """An RST that ends nothing is none; see `resets`."""
        for at in np.flatnonzero(batch.flags & TcpFlag.RST).tolist():
            way = int(batch.direction[at])
            group = int(np.searchsorted(batch.starts, at, side="right")) - 1
            before = np.flatnonzero(batch.direction[batch.starts[group] : at] == way)
            if len(before):
                last = batch.starts[group] + before[-1]
                row = batch.order[last]
                syn = bool(batch.flags[last] & TcpFlag.SYN)
                following = int(batch.segments.sequence[row]) + int(batch.segments.length[row]) + syn
            else:
                following = int((self.next1 if way else self.next0)[batch.slots[group]])
            if not resets(int(batch.segments.sequence[batch.order[at]]), following):
                batch.flags[at] &= 0xFF ^ TcpFlag.RST

    def _note_next(self, batch: FlowBatch) -> None:
        places = np.arange(len(batch.order))
        for way, following in ((0, self.next0), (1, self.next1)):
            last = np.maximum.reduceat(np.where(batch.direction == way, places, -1), batch.starts)
            groups = np.flatnonzero(last >= 0)
            rows = batch.order[last[groups]]
            ends = batch.segments.sequence[rows].astype(np.int64) + batch.segments.length[rows]
            following[batch.slots[groups]] = (ends + ((batch.flags[last[groups]] & TcpFlag.SYN) != 0)) & _MASK

    def _note_close(self, batch: FlowBatch) -> None:
        """When a connection had closed: with its first RST, or with the later one of the two first FINs."""
        at = np.flatnonzero(batch.flags & (TcpFlag.FIN | TcpFlag.RST))
        slot = batch.slots[np.searchsorted(batch.starts, at, side="right") - 1]
        first, first_slot = at[::-1], slot[::-1]
        unset = self.closer[first_slot] == UNKNOWN
        self.closer[first_slot[unset]] = batch.direction[first[unset]]
        # Positions in the batch; -1 for what an earlier batch had.
        known = self.fin0[slot] >= 0, self.fin1[slot] >= 0
        ends = [np.where(earlier, -1, _FAR) for earlier in known]
        fin = (batch.flags[at] & TcpFlag.FIN) != 0
        groups = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), slot[1:] != slot[:-1])))
        for way in (0, 1):
            places = np.where(fin & (batch.direction[at] == way), at, _FAR)
            ends[way] = np.minimum(ends[way][groups], np.minimum.reduceat(places, groups))
        resets = np.minimum.reduceat(np.where(batch.flags[at] & TcpFlag.RST, at, _FAR), groups)
        closed = np.minimum(np.maximum(ends[0], ends[1]), resets)
        slot = slot[groups]
        ended = np.flatnonzero((closed >= 0) & (closed != _FAR) & (self.close_time[slot] == NO_TIME))
        self.close_time[slot[ended]] = batch.segments.time[batch.order[closed[ended]]]
        self.close_clock[slot[ended]] = self._clocks[batch.order[closed[ended]]]
        self.close_frame[slot[ended]] = batch.segments.frame[batch.order[closed[ended]]]
        self._note_fins(batch, at, batch.slots[np.searchsorted(batch.starts, at, side="right") - 1])

    def _note_fins(self, batch: FlowBatch, at: NDArray[np.intp], slot: NDArray[np.intp]) -> None:
        """Where each direction's first FIN ends its stream, and what it acknowledged: that tells who closed first."""
        segments = batch.segments
        fin = (batch.flags[at] & TcpFlag.FIN) != 0
        for way, fins, heard in ((0, self.fin0, self.fin_heard0), (1, self.fin1, self.fin_heard1)):
            mine = np.flatnonzero(fin & (batch.direction[at] == way))[::-1]
            mine = mine[fins[slot[mine]] < 0]
            rows = batch.order[at[mine]]
            fins[slot[mine]] = (segments.sequence[rows].astype(np.int64) + segments.length[rows] + 1) & _MASK
            heard[slot[mine]] = segments.acknowledgment[rows]

    # -- what the users of the table ask for ---------------------------------------------------------------------

    def find(self, low: NDArray[np.uint64], high: NDArray[np.uint64]) -> NDArray[np.intp]:
        """The newest flow between each pair of endpoints, -1 where there is none."""
        return self._find(self._hash(low, high), low, high)

    @property
    def clocks(self) -> NDArray[np.int64]:
        """The latest time so far at each segment of the last batch."""
        return self._clocks

    @property
    def shared(self) -> Mapping[tuple[int, int], Sequence[int]]:
        """Endpoints between which not only the newest connection may still have packets, and the slots."""
        return self._shared

    def adopt(self, columns: Rows, shared: Iterable[Sequence[int]]) -> NDArray[np.intp]:
        """Take over flows of another table, which come after all that are here; gives their slots.

        Args:
            columns: see `rows`; in the order of the flows' beginning.
            shared: flows with the same endpoints that may still have packets, by their places in `columns`.
        """
        slots = self._allot(len(columns["low"]))
        self.put(slots, columns)
        low, high = columns["low"], columns["high"]
        self._index(self._hash(low, high), slots)
        for places in shared:
            mine = slots[list(places)].tolist()
            self._shared[int(low[places[0]]), int(high[places[0]])] = mine
        return slots

    def count(self, slots: NDArray[np.intp], columns: Rows) -> None:
        """These flows had other packets besides, as another table has seen them: neither SYN nor FIN nor RST."""
        self.packets[slots] += columns["packets"]
        self.last_frame[slots] = columns["last_frame"]
        self.first_time[slots] = np.minimum(self.first_time[slots], columns["first_time"])
        self.last_time[slots] = np.maximum(self.last_time[slots], columns["last_time"])
        for name in ("flags0", "flags1"):
            getattr(self, name)[slots] |= columns[name]
        for name in ("next0", "next1"):
            column = getattr(self, name)
            column[slots] = np.where(columns[name] >= 0, columns[name], column[slots])
        for base, network in (("base0", "network0"), ("base1", "network1")):
            unknown = getattr(self, base)[slots] < 0
            for name in (base, network):
                column = getattr(self, name)
                column[slots] = np.where(unknown, columns[name], column[slots])

    def renumber(self, slots: NDArray[np.intp], first: int) -> None:
        """Number these flows from `first` on, in the order of their first frames; the next one follows them."""
        self.stream[slots[np.argsort(self.first_frame[slots])]] = np.arange(first, first + len(slots))
        self.streams = first + len(slots)

    def slot_of(self, stream: int) -> int:
        """The slot of a live flow, given its index."""
        return int(np.flatnonzero(self.stream[: self._next_slot] == stream)[0])

    def ends(self, slots: NDArray[np.intp], way: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The endpoints that send `way`, a direction for each flow, and those that answer."""
        low, high, turned = self.low[slots], self.high[slots], way != 0
        return np.where(turned, high, low), np.where(turned, low, high)

    def closers(self, slots: NDArray[np.intp]) -> NDArray[np.uint8]:
        """The direction that closed first, UNKNOWN for none: a FIN that acknowledges the other one is the later one."""
        fin0, fin1, closer = self.fin0[slots], self.fin1[slots], self.closer[slots]
        both = (fin0 >= 0) & (fin1 >= 0)
        later0 = both & ((self.fin_heard0[slots] - fin1).astype(np.uint32).view(np.int32) >= 0)
        later1 = both & ((self.fin_heard1[slots] - fin0).astype(np.uint32).view(np.int32) >= 0)
        return np.where(later1 & ~later0, 0, np.where(later0 & ~later1, 1, closer)).astype(np.uint8)

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
        if self._shared:
            for key, shared in list(self._shared.items()):
                rest = [slot for slot in shared if not gone[slot]]
                if rest:  # of one, too: the index may not know it
                    self._shared[key] = rest
                else:
                    del self._shared[key]
        self.stream[slots] = -1
        self._free.extend(slots.tolist())

    def live(self) -> NDArray[np.intp]:
        """All slots in use."""
        slots = np.ones(self._next_slot, np.bool_)
        slots[self._free] = False
        return np.flatnonzero(slots)


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
