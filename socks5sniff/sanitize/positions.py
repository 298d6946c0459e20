"""A batch's segments by their positions in TCP streams, the same in every look at a capture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.streams.flows import FlowBatch, FlowTable
from socks5sniff.streams.octets import Octets


class Placed(NamedTuple):
    """Segments with octets, by connection and within it in the order of the capture.

    Attributes:
        row: in the batch's segments.
        key: number of the stream times two plus the direction.
        start: position of the first octet.
        place, length: the captured octets: where they are (see `Segments.payload`), and how many.
    """

    row: NDArray[np.intp]
    key: NDArray[np.int64]
    start: NDArray[np.int64]
    place: NDArray[np.int64]
    length: NDArray[np.int64]


class Positions:
    """Follows all connections of a capture."""

    def __init__(self) -> None:
        self._octets = Octets()

    def of(self, flows: FlowTable, batch: FlowBatch) -> Placed:
        """The segments of a batch that the flow table has just taken."""
        self._octets.grow(flows.capacity)
        self._octets.reset(batch.slots[batch.new])
        found = self._octets.count(flows, batch, np.ones(len(batch.slots), np.bool_))
        late_row, late_slot, late_way = _late(flows, batch)
        sequence = batch.segments.sequence[late_row]
        ahead = (sequence - self._octets.edge[late_way, late_slot]).view(np.int32).astype(np.int64)
        segments, row = batch.segments, np.concatenate((found.row, late_row))
        slot, way = np.concatenate((found.slot, late_slot)), np.concatenate((found.way, late_way))
        return Placed(
            row,
            flows.stream[slot] << 1 | way,
            np.concatenate((found.offset, self._octets.reach[late_way, late_slot] + ahead)),
            segments.payload[row],
            segments.captured[row],
        )


def _late(flows: FlowTable, batch: FlowBatch) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.uint8]]:
    """Segments that the flow table gave to no connection, since they came long after its end: rows, and the slot and
    direction of each connection between their endpoints that they may be copies from."""
    segments = batch.segments
    gone = np.ones(len(segments), np.bool_)
    gone[batch.order] = False
    rows, slots, ways = [], [], []
    for row in np.flatnonzero(gone & (segments.captured > 0)).tolist():
        source, destination = int(segments.source[row]), int(segments.destination[row])
        ends = np.uint64(min(source, destination)), np.uint64(max(source, destination))
        used = flows.used
        between = (flows.low[:used] == ends[0]) & (flows.high[:used] == ends[1]) & (flows.stream[:used] >= 0)
        for slot in np.flatnonzero(between).tolist():
            rows.append(row)
            slots.append(slot)
            ways.append(source > destination)
    return np.array(rows, np.intp), np.array(slots, np.intp), np.array(ways, np.uint8)
