"""What a stretch has read, as it came: kept for questions until the stretch's records are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socks5sniff.analysis.datagrams import header_like
from socks5sniff.capture.batch import FrameBatch
from socks5sniff.capture.join import in_one_memory
from socks5sniff.capture.join import rows_of as batch_rows
from socks5sniff.packets.columns import Datagrams, Segments, TcpFlag
from socks5sniff.streams.flows import NO_TIME, FlowBatch, FlowTable

from .packets import datagrams_of, segments_of

_DNS = 53


class Seen:
    """The frames of a stretch, its segments and datagrams, and how its flows begin; a consumer of its analyser.

    Attributes:
        frames: how many.
        first: ns, the latest time by the first segment.
    """

    def __init__(self, flows: FlowTable) -> None:
        self.frames = 0
        self.first = NO_TIME
        self._flows = flows
        self._batches: list[FrameBatch] = []
        self._times: list[tuple[int, int]] = []
        self._segments: list[Segments] = []
        self._datagrams: list[Datagrams] = []
        self._flow_of: list[NDArray[np.intp]] = []
        self._syn: list[NDArray[np.bool_]] = []
        self._clocks: list[NDArray[np.int64]] = []

    def begin(self, batch: FrameBatch) -> int:
        """Frames that follow; gives the latest time of them (ns)."""
        batch.first_number = self.frames + 1
        self.frames += len(batch)
        self._batches.append(batch)
        self._times.append((int(batch.time.min()), int(batch.time.max())))
        return self._times[-1][1]

    def take(self, segments: Segments, datagrams: Datagrams) -> None:
        """What was in them, once the flow table knows it."""
        if len(segments):
            segments.clock = self._flows.clocks
            if self.first == NO_TIME:
                self.first = int(segments.clock[0])
            self._segments.append(segments)
        if len(datagrams):
            self._datagrams.append(datagrams)

    # -- as a consumer of the analyser ---------------------------------------------------------------------------

    def segments(self, batch: FlowBatch) -> None:
        """How flows begin."""
        new = np.flatnonzero(batch.new)
        new = new[np.argsort(batch.slots[new])]
        first = batch.starts[new]
        self._syn.append((batch.flags[first] & TcpFlag.SYN) != 0)
        self._clocks.append(self._flows.clocks[batch.order[first]])
        slot = np.full(len(batch.segments), -1, np.intp)
        slot[batch.order] = np.repeat(batch.slots, batch.counts)
        self._flow_of.append(slot)

    def datagrams(self, datagrams: Datagrams) -> None:
        """None are handed to this analyser."""

    # -- what is asked of it -------------------------------------------------------------------------------------

    @property
    def times(self) -> tuple[int, int]:
        """The earliest time of all frames and the latest one (ns)."""
        earliest, latest = zip(*self._times, strict=True) if self._times else ((NO_TIME,), (NO_TIME,))
        return min(earliest), max(latest)

    @property
    def syn(self) -> NDArray[np.bool_]:
        """By flow, whether its first packet has SYN."""
        return _joined(self._syn, np.bool_)

    @property
    def clocks(self) -> NDArray[np.int64]:
        """By flow, the latest time by its first packet (ns)."""
        return _joined(self._clocks, np.int64)

    def between(
        self, ends: NDArray[np.intp], newest: NDArray[np.intp]
    ) -> tuple[list[tuple[Segments, NDArray[np.intp]]], NDArray[np.intp]]:
        """The rows of segments between some endpoints, and which ones these are.

        Args:
            ends: the newest flow between each.
            newest: that of every flow.
        """
        chosen, whose = [], []
        wanted = np.zeros(len(newest) + 1, np.bool_)
        wanted[ends] = True
        for segments, flow in zip(self._segments, self._flow_of, strict=True) if len(ends) else ():
            found = newest[flow]
            dropped = np.flatnonzero(flow < 0)
            if len(dropped):
                source, destination = segments.source[dropped], segments.destination[dropped]
                found[dropped] = self._flows.find(np.minimum(source, destination), np.maximum(source, destination))
            rows = np.flatnonzero(wanted[found])
            chosen.append((segments, rows))
            whose.append(found[rows])
        return chosen, _joined(whose, np.intp)

    def dns(self) -> Segments:
        """Those from name servers that carry something."""
        chosen = [((each.source & np.uint64(0xFFFF)) == _DNS) & (each.captured > 0) for each in self._segments]
        return segments_of([(each, np.flatnonzero(rows)) for each, rows in zip(self._segments, chosen, strict=True)])

    def every_datagram(self) -> Datagrams:
        """All datagrams."""
        return datagrams_of([(each, np.arange(len(each))) for each in self._datagrams])

    def telling_datagrams(self) -> Datagrams:
        """Those that tell something even where no association is known."""
        return datagrams_of([(each, _telling(each)) for each in self._datagrams])

    @property
    def all_datagrams(self) -> int:
        """How many there are."""
        return sum(map(len, self._datagrams))

    def frames_of(self, numbers: NDArray[np.int64]) -> FrameBatch | None:
        """Some frames, by their numbers; None for none."""
        chosen = []
        for batch in self._batches if len(numbers) else ():
            rows = numbers[(numbers >= batch.first_number) & (numbers < batch.first_number + len(batch))]
            if len(rows):
                chosen.append(batch_rows(batch, (rows - batch.first_number).astype(np.intp)))
        return in_one_memory(chosen) if chosen else None

    def forget(self) -> None:
        """Nobody asks any more: what all this lies in is free for others."""
        self._batches, self._segments, self._datagrams, self._flow_of = [], [], [], []

    def octets(self) -> int:
        """Of the memories of all frames."""
        return sum(len(batch.octets) for batch in self._batches)


def _telling(datagrams: Datagrams) -> NDArray[np.intp]:
    like = header_like(datagrams, np.arange(len(datagrams)))
    return np.union1d(like, np.flatnonzero((datagrams.source & np.uint64(0xFFFF)) == _DNS)).astype(np.intp)


def _joined(parts: Sequence[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, kind)
