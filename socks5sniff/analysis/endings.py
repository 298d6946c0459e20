"""When connections are over: a closed one waits for its last packets, by the time of the capture."""

from __future__ import annotations

from collections import deque
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.columns import TcpFlag
from socks5sniff.streams.flows import NO_TIME, FlowBatch, FlowTable
from socks5sniff.streams.slots import Rows, SlotTable
from socks5sniff.streams.spaces import LINGER

OUTLIVE = 10_000_000_000
"""Nanoseconds of capture time after the end of a connection for which datagrams of its association are waited for."""


GATHER = 300_000_000
"""Nanoseconds for which flows that are over may wait for others where there are no more packets yet: together they cost
less than one by one."""

_NONE = np.iinfo(np.int64).max
_NOBODY = np.empty(0, np.intp)


class _Noted(SlotTable):
    COLUMNS: ClassVar = {"noted": (np.bool_, False)}

    PAIRS: ClassVar = {"fin": (np.int64, _NONE)}

    noted: NDArray[np.bool_]
    fin: NDArray[np.int64]


class _Closed(NamedTuple):
    """Flows that have closed.

    Attributes:
        clock: int64[n], ns, the latest time of the capture by then.
        slot: intp[n].
        stream: int64[n], by which is known that a slot is another flow's by now.
    """

    clock: NDArray[np.int64]
    slot: NDArray[np.intp]
    stream: NDArray[np.int64]

    @staticmethod
    def of(flows: FlowTable, slots: NDArray[np.intp]) -> _Closed:
        """These flows, in the order in which they closed: that of runs, or slots, must not matter."""
        slots = slots[np.argsort(flows.close_frame[slots])]
        return _Closed(flows.close_clock[slots], slots, flows.stream[slots])

    def part(self, begin: int, end: int | None = None) -> _Closed:
        """Some of them."""
        return _Closed(*(column[begin:end] for column in self))

    def and_then(self, others: _Closed) -> _Closed:
        """These, and behind them others."""
        return _Closed(*map(np.concatenate, zip(self, others, strict=True)))


class Endings:
    """Closed flows in the order in which they closed."""

    def __init__(self, flows: FlowTable) -> None:
        self._flows = flows
        self._noted = _Noted()
        self._closing = _Closed.of(flows, _NOBODY)
        self._waiting: deque[tuple[int, int, int]] = deque()

    def begin(self, slots: NDArray[np.intp], capacity: int) -> None:
        """These slots are new flows'."""
        if not len(slots):
            return
        self._noted.grow(capacity)
        self._noted.reset(slots)

    def note(self, batch: FlowBatch) -> NDArray[np.intp]:
        """Slots of flows that have closed in the batch."""
        flows, noted = self._flows, self._noted.noted
        self._note_fins(batch)
        slots: NDArray[np.intp] = batch.slots[flows.close_clock[batch.slots] != NO_TIME]
        slots = slots[~noted[slots]]
        if not len(slots):
            return slots
        noted[slots] = True
        closed = _Closed.of(flows, slots)
        self._closing = self._closing.and_then(closed)
        return closed.slot

    def noted(self) -> NDArray[np.intp]:
        """Slots of the flows that have closed and are waited for, in the order in which they closed."""
        return self._closing.slot

    def fins(self, slots: NDArray[np.intp]) -> Rows:
        """What is known of the ends of some flows."""
        return self._noted.rows(slots)

    def adopt(self, slots: NDArray[np.intp], fins: Rows) -> None:
        """Know the same of these flows as another analyser knew of its own."""
        self._noted.put(slots, fins)

    def insert(self, slots: NDArray[np.intp], behind: int) -> None:
        """These flows have closed too: they belong among those that closed last, behind the first so many."""
        self._noted.noted[slots] = True
        last = _Closed.of(self._flows, np.concatenate((slots, self._closing.slot[behind:])))
        self._closing = self._closing.part(0, behind).and_then(last)

    def __len__(self) -> int:
        return len(self._closing.slot)

    def _note_fins(self, batch: FlowBatch) -> None:
        fins = np.flatnonzero(batch.flags & TcpFlag.FIN)
        if len(fins):
            slot, way = np.repeat(batch.slots, batch.counts)[fins], batch.direction[fins]
            np.minimum.at(self._noted.fin, (way, slot), batch.segments.time[batch.order[fins]])

    def ended(self, slot: int) -> int | None:
        """When a flow had ended (ns), by the clock of whichever side is ahead; None while neither side has closed."""
        times = [*self._noted.fin[:, slot].tolist(), int(self._flows.close_time[slot])]
        return max((time for time in times if time not in (_NONE, NO_TIME)), default=None)

    def due(self, now: int, size: int | None) -> tuple[NDArray[np.intp], int] | None:
        """Slots of flows that are over, so many, and when (ns) they are: by now, where somebody waits.

        None while there are fewer; with None for a size all, as soon as the first of them has been over for GATHER.
        With a size, which flows are together follows from the capture alone, not from where its batches end.
        """
        # By the latest time, which never goes back: those that are over come first.
        clocks = self._closing.clock
        if size is None:
            ripe = len(clocks) > 0 and int(clocks[0]) + LINGER + GATHER < now
            count, until = int(np.searchsorted(clocks, now - LINGER)) if ripe else 0, now
        elif len(clocks) >= size and int(clocks[size - 1]) + LINGER < now:
            count, until = size, int(clocks[size - 1]) + LINGER
        else:
            return None
        _, slots, streams = self._closing.part(0, count)
        self._closing = self._closing.part(count)
        return slots[self._flows.stream[slots] == streams], until

    def put_off(self, due: NDArray[np.intp], longer: list[int], until: int) -> NDArray[np.intp]:
        """Of the flows that are `due`, wait for datagrams of those whose slots are to live `longer`; give the others,
        and those that have been waited for until now."""
        flows, waiting = self._flows, self._waiting
        if longer:
            later = np.isin(due, longer)
            for slot in due[later].tolist():
                waiting.append((int(flows.close_clock[slot]), slot, int(flows.stream[slot])))
            due = due[~later]
        over = []
        while waiting and waiting[0][0] + OUTLIVE < until:
            _, slot, stream = waiting.popleft()
            if flows.stream[slot] == stream:
                over.append(slot)
        return np.concatenate((due, np.array(over, np.intp)))

    def clear(self) -> None:
        """The capture has ended, and so has everything."""
        self._closing = self._closing.part(0, 0)
        self._waiting.clear()
