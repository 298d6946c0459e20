"""One look at a capture: the analyser and its flow table, and each batch as they read it.

Every look is the same in what matters: streams have the same numbers, and octets the same positions in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from socks5sniff.analysis.analyser import Analyser
from socks5sniff.analysis.dialogue import Dialogue
from socks5sniff.capture.batch import FrameBatch
from socks5sniff.capture.merge import open_captures
from socks5sniff.capture.source import Input
from socks5sniff.errors import DamagedInputError
from socks5sniff.packets.columns import Datagrams, Segments
from socks5sniff.packets.layers import Layers
from socks5sniff.payload.inputs import rewind
from socks5sniff.record import Conversation
from socks5sniff.streams.flows import FlowBatch

from .frames import Taken
from .positions import Placed, Positions

Progress = Callable[[int, int], None]


class Look:
    """Looks at a capture once.

    Attributes:
        analyser: the analyser.
        fault: what the capture ended with, where it is damaged; all before that was looked at.
        packets: frames seen.
    """

    def __init__(
        self,
        source: Input,
        ports: tuple[int, ...],
        progress: Progress | None = None,
        witness: Callable[[int, Dialogue], None] | None = None,
    ) -> None:
        """`witness` is told of every dialogue, with its slot."""
        self.fault: DamagedInputError | None = None
        self.packets = 0
        self.analyser = Analyser(ports=ports, consumers=[self], witness=witness)
        self._source = source
        self._progress = progress
        self._positions = Positions()
        self._placed: Placed | None = None
        self._segments: Segments | None = None
        self._datagrams: Datagrams | None = None

    def records(self, seen: Callable[[NDArray[np.uint64]], None]) -> Iterator[Conversation]:
        """The capture's records; `seen` is told of the endpoints of each batch."""
        for batch in self._batches():
            self._segments = self._datagrams = None
            for records in self.analyser.take(batch):
                yield from records
            for read in (self._segments, self._datagrams):
                if read is not None:
                    seen(np.concatenate((read.source, read.destination)))
        for records in self.analyser.finish():
            yield from records

    def batches(self) -> Iterator[Taken]:
        """The capture's batches, valid until the next one is asked for."""
        layers = self.analyser.reader.layers = Layers()
        for batch in self._batches():
            self._placed = self._segments = self._datagrams = None
            self.analyser.take(batch)
            self.packets += len(batch)
            placed = self._placed
            yield Taken(batch, layers, _NOTHING if placed is None else placed, self._segments, self._datagrams)

    def _batches(self) -> Iterator[FrameBatch]:
        try:
            rewind([self._source])
            yield from open_captures([self._source], progress=self._progress)
        except DamagedInputError as fault:
            self.fault = fault

    def segments(self, batch: FlowBatch, /) -> None:
        """TCP segments, sorted by flow."""
        self._placed = self._positions.of(self.analyser.connections.flows, batch)
        self._segments = batch.segments

    def datagrams(self, datagrams: Datagrams, /) -> None:
        """UDP datagrams."""
        self._datagrams = datagrams


_NONE = np.empty(0, np.int64)
_NOTHING = Placed(_NONE, _NONE, _NONE, _NONE, _NONE)
