"""When connections are over: a closed one waits for its last packets, by the time of the capture."""

from __future__ import annotations

from collections import deque
from typing import ClassVar

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


class _Noted(SlotTable):
    COLUMNS: ClassVar = {"noted": (np.bool_, False)}

    PAIRS: ClassVar = {"fin": (np.int64, _NONE)}

    noted: NDArray[np.bool_]
    fin: NDArray[np.int64]


class Endings:
    """Closed flows in the order in which they closed."""

    def __init__(self, flows: FlowTable) -> None:
        self._flows = flows
        self._noted = _Noted()
        self._closing: deque[tuple[int, int, int]] = deque()
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
        # Runs lie in the order of a hash; what follows from them must not.
        slots = slots[np.argsort(flows.close_frame[slots])]
        clocks = flows.close_clock[slots].tolist()
        self._closing.extend(zip(clocks, slots.tolist(), flows.stream[slots].tolist(), strict=True))
        return slots

    def noted(self) -> NDArray[np.intp]:
        """Slots of the flows that have closed and are waited for, in the order in which they closed."""
        return np.array([slot for _, slot, _ in self._closing], np.intp)

    def fins(self, slots: NDArray[np.intp]) -> Rows:
        """What is known of the ends of some flows."""
        return self._noted.rows(slots)

    def adopt(self, slots: NDArray[np.intp], fins: Rows) -> None:
        """Know the same of these flows as another analyser knew of its own."""
        self._noted.put(slots, fins)

    def insert(self, slots: NDArray[np.intp], behind: int) -> None:
        """These flows have closed too: they belong among those that closed last, behind the first so many."""
        flows = self._flows
        self._noted.noted[slots] = True
        mine = [self._closing.pop()[1] for _ in range(len(self._closing) - behind)]
        slots = np.concatenate((slots, np.array(mine, np.intp)))
        slots = slots[np.argsort(flows.close_frame[slots])]
        columns = flows.close_clock[slots].tolist(), slots.tolist(), flows.stream[slots].tolist()
        self._closing.extend(zip(*columns, strict=True))

    def __len__(self) -> int:
        return len(self._closing)

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
        closing = self._closing
        if size is None:
            ripe = bool(closing) and closing[0][0] + LINGER + GATHER < now
            most, until = len(closing) if ripe else 0, now
        elif len(closing) >= size and closing[size - 1][0] + LINGER < now:
            most, until = size, closing[size - 1][0] + LINGER
        else:
            return None
        over: list[tuple[int, int]] = []
        while len(over) < most and closing[0][0] + LINGER < now:
            over.append(closing.popleft()[1:])
        slots, streams = np.array(over, np.intp).reshape(-1, 2).T
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
        self._closing.clear()
        self._waiting.clear()
