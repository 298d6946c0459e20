"""The datagrams on the stream of a tunnel, whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from socks5sniff.analysis.udp_in_tcp import StreamDatagrams
from socks5sniff.codec import Address

from .chunks import CLIENT, Chunk, Datagram


@dataclass(slots=True)
class _Open:
    """A datagram whose data is still coming."""

    place: Address | None
    length: int
    octets: bytearray = field(default_factory=bytearray)
    left: int = 0
    broken: bool = False
    """Octets are missing: what comes behind them is no part of its beginning."""


class FramedDatagrams:
    """Reads one tunnel. A datagram of which octets are missing is delivered as far as it was captured."""

    def __init__(self, kind: str, tunnel: int) -> None:
        self._tunnel = tunnel
        self._stream = StreamDatagrams(kind, CLIENT, self)
        self._open: list[_Open | None] = [None, None]
        self._chunk: Chunk | None = None
        self._found: list[Datagram] = []

    def feed(self, chunk: Chunk) -> list[Datagram]:
        """The next octets of a direction, or a gap; gives the datagrams that end in them."""
        self._chunk, self._found = chunk, []
        if chunk.octets is None:
            self._stream.gap(chunk.direction, chunk.length)
        else:
            self._stream.feed(chunk.direction, bytes(chunk.octets), chunk.frame)
        return self._found

    def finish(self, direction: int, last: Chunk) -> list[Datagram]:
        """Nothing more comes: what there is of a datagram that is not whole."""
        self._chunk, self._found = last, []
        if self._open[direction] is not None:
            self._end(direction)
        return self._found

    # What `StreamDatagrams` tells

    def begin(self, side: int, place: Address | None, length: int, frame: int) -> None:
        """A datagram begins."""
        self._open[side] = _Open(place, length, left=length)
        if not length:
            self._end(side)

    def data(self, side: int, octets: bytes) -> None:
        """The next octets of it."""
        datagram = self._open[side]
        if datagram is None:
            return
        if not datagram.broken:
            datagram.octets += octets
        datagram.left -= len(octets)
        if datagram.left <= 0:
            self._end(side)

    def lost(self, side: int, length: int) -> None:
        """So many octets of it are missing."""
        datagram = self._open[side]
        if datagram is None:
            return
        datagram.broken = True
        datagram.left -= length
        if datagram.left <= 0:
            self._end(side)

    def _end(self, side: int) -> None:
        datagram, chunk = self._open[side], self._chunk
        assert datagram is not None, "it was begun"
        assert chunk is not None, "by a chunk"
        self._open[side] = None
        host, port = ("", 0) if datagram.place is None else (datagram.place.text, datagram.place.port)
        octets = bytes(datagram.octets)
        self._found.append(
            Datagram(self._tunnel, side, host, port, 0, datagram.length, octets, chunk.frame, chunk.time, None)
        )
