"""A tunnel's octets as the TCP connection that would have carried them, had there been no proxy.

A connection begins with a handshake, every packet acknowledges all that came from the other side before it, and a
receiver that has nothing to say acknowledges every second packet by itself (RFC 9293 s3.8.6.3). Octets that the capture
lacks are missing from the sequence numbers, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from socks5sniff.packets.columns import TcpFlag

from .headers import MAX_PAYLOAD, TCP, Packet, Route

_EVERY = 2
"""Packets after which a receiver acknowledges at the latest."""
_SPREAD = 0x9E3779B1
_WRAP = 1 << 32


class Moment(NamedTuple):
    """When something happens: number of a frame, and its time in ns since 1970."""

    frame: int
    time: int


class PlainTcp:
    """Writes one connection, packet by packet.

    Args:
        route: from the side of direction 0 to that of direction 1.
        number: tells connections between the same endpoints apart: by it the sequence numbers begin.
        opener: the direction that the SYN goes.
    """

    def __init__(self, route: Route, number: int, opener: int = 0) -> None:
        self._routes = route, route.back()
        self._opener = opener
        first = number * _SPREAD
        self._next = [first % _WRAP, (first * 3 + _SPREAD) % _WRAP]
        self._unacknowledged = [0, 0]
        self._ended = [False, False]
        self._reset = False
        self._last = Moment(0, 0)
        self.opened = False

    def open(self, at: Moment, comment: str = "") -> Iterator[Packet]:
        """The handshake, with a comment on its first packet."""
        this, other = self._opener, 1 - self._opener
        self.opened = True
        yield self._packet(this, at, TcpFlag.SYN)._replace(comment=comment)
        yield self._packet(other, at, TcpFlag.SYN | TcpFlag.ACK)
        yield self._packet(this, at, TcpFlag.ACK)

    def send(self, direction: int, at: Moment, octets: bytes | memoryview, length: int = 0) -> Iterator[Packet]:
        """Octets of a direction; `length` says how many the packet had on the wire, where it was cut short."""
        length = max(length, len(octets))
        for begin in range(0, length, MAX_PAYLOAD):
            piece = octets[begin : begin + MAX_PAYLOAD]
            flags = TcpFlag.ACK | (TcpFlag.PSH if begin + MAX_PAYLOAD >= length else 0)
            yield self._packet(direction, at, flags, piece, min(length - begin, MAX_PAYLOAD))
            self._unacknowledged[direction] += 1
            if self._unacknowledged[direction] == _EVERY and not self._reset:
                yield self._packet(1 - direction, at, TcpFlag.ACK)

    def skip(self, direction: int, length: int) -> None:
        """Octets of a direction are missing."""
        self._next[direction] = (self._next[direction] + length) % _WRAP

    def end(self, direction: int, at: Moment) -> Iterator[Packet]:
        """A FIN, and its acknowledgment."""
        if not self._ended[direction] and not self._reset:
            self._ended[direction] = True
            yield self._packet(direction, at, TcpFlag.FIN | TcpFlag.ACK)
            yield self._packet(1 - direction, at, TcpFlag.ACK)

    def reset(self, direction: int, at: Moment) -> Iterator[Packet]:
        """An RST, unless both sides have ended before; nobody acknowledges anything any more."""
        if not self._reset and not all(self._ended):
            self._reset = True
            yield self._packet(direction, at, TcpFlag.RST | TcpFlag.ACK)

    def _packet(
        self, direction: int, at: Moment, flags: int, octets: bytes | memoryview = b"", length: int = 0
    ) -> Packet:
        # What can be read in order only with a later packet is told with that one, so that time does not go back.
        self._last = at = max(self._last, at)
        sequence = self._next[direction]
        heard = self._next[1 - direction] if flags & TcpFlag.ACK else 0
        takes = max(length, len(octets)) + bool(flags & (TcpFlag.SYN | TcpFlag.FIN))
        self._next[direction] = (sequence + takes) % _WRAP
        self._unacknowledged[1 - direction] = 0
        return Packet(*at, self._routes[direction], TCP, octets, flags, sequence, heard, length)
