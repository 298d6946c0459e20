"""DNS answers over TCP (RFC 1035 s4.2.2): messages behind their lengths, on connections from a server's port 53.

Segments are put together as far as answers need it: those of one direction in the order of their sequence numbers,
from one that begins with a length. What is out of order is not waited for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from socks5sniff.packets.columns import Segments, payload_octets

PORT = 53
MAX_MESSAGE = 4096
"""Octets of a message that are read: what resolvers ask for at most (RFC 6891 s6.2.5)."""
MAX_STREAMS = 256
"""Directions with a message that is not whole."""

_WRAP = 1 << 32


class Message(NamedTuple):
    """A DNS message, or its first MAX_MESSAGE octets, and the packet that completed it (time in ns)."""

    octets: bytes
    frame: int
    time: int
    source: int
    destination: int


class DnsStreams:
    """The beginnings of messages that are not whole, by source and destination: next sequence number, octets."""

    def __init__(self) -> None:
        self._begun: OrderedDict[tuple[int, int], tuple[int, bytes]] = OrderedDict()

    def messages(self, segments: Segments) -> Iterator[Message]:
        """The messages that servers' segments of a batch complete."""
        port = (segments.source & np.uint64(0xFFFF)) == PORT
        for row in np.flatnonzero(port & (segments.captured > 0)).tolist():
            source, destination = int(segments.source[row]), int(segments.destination[row])
            octets = payload_octets(segments, row, 2 * MAX_MESSAGE)
            frame, time = int(segments.frame[row]), int(segments.time[row])
            for message in self._put(source, destination, int(segments.sequence[row]), octets):
                yield Message(message, frame, time, source, destination)

    def _put(self, source: int, destination: int, sequence: int, octets: bytes) -> Iterator[bytes]:
        expected, begun = self._begun.pop((source, destination), (sequence, b""))
        if expected != sequence:
            if (expected - sequence) % _WRAP < 1 << 20:
                self._begun[source, destination] = expected, begun  # sent again
                return
            begun = b""
        behind = (sequence + len(octets)) % _WRAP
        octets = begun + octets
        while len(octets) > 2:
            size = octets[0] << 8 | octets[1]
            if size < 12:
                return
            if len(octets) < 2 + min(size, MAX_MESSAGE):
                break
            yield octets[2 : 2 + min(size, MAX_MESSAGE)]
            octets = octets[2 + size :]
        if octets:
            self._begun[source, destination] = behind, octets
            if len(self._begun) > MAX_STREAMS:
                self._begun.popitem(last=False)
