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
        segments, row = batch.segments, found.row
        return Placed(
            row,
            flows.stream[found.slot] << 1 | found.way,
            found.offset,
            segments.payload[row],
            segments.captured[row],
        )
