"""From a connection's octets to those of the chosen tunnels in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .assembly import Pieces
from .chunks import CLIENT, DESTINATION, Chunk, Chunks, Datagram, Octets
from .connections import Connections
from .framing import FramedDatagrams
from .survey import Tunnel
from .unwrapping import Unwrapping


class Taps:
    """The tunnels of each connection: one inside another begins later in the same octets."""

    def __init__(self, tunnels: Sequence[Tunnel], connections: Connections) -> None:
        carrying = [[place for place in places if tunnels[place].carries] for places in connections.tunnels]
        self._count = np.array([len(places) for places in carrying], np.intp)
        self._first = np.cumsum(self._count) - self._count
        self._tunnel = np.array([place for places in carrying for place in places], np.int64)
        starts = [tunnels[place].extent.start or (0, 0) for place in self._tunnel.tolist()]
        self._start = np.array(starts, np.int64).reshape(-1, 2).T
        self._unwrapping = {
            place: Unwrapping(tunnel.extent.skips) for place, tunnel in enumerate(tunnels) if tunnel.enclosed
        }
        self._framed = {
            place: FramedDatagrams(tunnel.framing, place)
            for place, tunnel in enumerate(tunnels)
            if tunnel.framing is not None
        }

    def take(self, pieces: Pieces) -> tuple[Chunks, list[Datagram]]:
        """The tunnels' part of a batch's octets."""
        counts = self._count[pieces.connection]
        rows = np.repeat(np.arange(len(counts)), counts)
        nth = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        tap = self._first[pieces.connection[rows]] + nth
        role = pieces.role[rows]
        start = self._start[role, tap]
        beyond = pieces.end[rows] > start
        rows, tap, role, start = rows[beyond], tap[beyond], role[beyond], start[beyond]
        begin = np.maximum(pieces.begin[rows], start)
        chunks = Chunks(
            self._tunnel[tap],
            role,
            begin - start,
            pieces.end[rows] - begin,
            _octets(pieces, rows, begin),
            pieces.frame[rows],
            pieces.time[rows],
        )
        return self._inside(chunks) if self._unwrapping or self._framed else (chunks, [])

    def finish(
        self, connections: NDArray[np.intp], frames: NDArray[np.int64], times: NDArray[np.int64]
    ) -> tuple[Chunks, list[Datagram]]:
        """Nothing more of these connections comes, whose last packets these are: what was read in part."""
        chunks: list[Chunk] = []
        datagrams: list[Datagram] = []
        if not self._unwrapping and not self._framed:
            return Chunks.of([]), []
        for number, frame, time in zip(connections.tolist(), frames.tolist(), times.tolist(), strict=True):
            for tap in range(int(self._first[number]), int(self._first[number] + self._count[number])):
                place = int(self._tunnel[tap])
                unwrapping, framed = self._unwrapping.pop(place, None), self._framed.pop(place, None)
                for direction in (CLIENT, DESTINATION):
                    last = Chunk(place, direction, 0, 0, None, frame, time)
                    if unwrapping is not None:
                        chunks += unwrapping.finish(direction, last)
                    if framed is not None:
                        datagrams += framed.finish(direction, last)
        return Chunks.of(chunks), datagrams

    def _inside(self, chunks: Chunks) -> tuple[Chunks, list[Datagram]]:
        """The same with tokens unwrapped, and the datagrams in it."""
        each: list[Chunk] = []
        datagrams: list[Datagram] = []
        for chunk in chunks.each():
            unwrapping, framed = self._unwrapping.get(chunk.tunnel), self._framed.get(chunk.tunnel)
            if unwrapping is not None:
                each += unwrapping.feed(chunk)
                continue
            each.append(chunk)
            if framed is not None:
                datagrams += framed.feed(chunk)
        return Chunks.of(each) if self._unwrapping else chunks, datagrams


def _octets(pieces: Pieces, rows: NDArray[np.intp], begin: NDArray[np.int64]) -> list[Octets | None]:
    """The octets of some pieces, without those before `begin`."""
    found = pieces.octets if len(rows) == len(pieces.octets) else [pieces.octets[row] for row in rows.tolist()]
    cut = begin - pieces.begin[rows]
    for place in np.flatnonzero(cut).tolist():
        octets = found[place]
        if octets is not None:
            found[place] = octets[int(cut[place]) :]
    return found
