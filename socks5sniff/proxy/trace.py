"""A capture from inside the proxy: what its sockets did, told as the packets that a sniffer would have seen.

No rights are needed for it. The proxy does not see the segments of the kernel's TCP, so each read and each write is
shown as segments of at most one MSS and an acknowledgment; retransmissions and windows are not shown. The start of a
connection is shown when the proxy learns of it. Connections that could not be made do not appear.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from socks5sniff.proxy.packets import (
    ACK,
    FIN,
    MSS,
    PSH,
    RST,
    SYN,
    HostPort,
    Packet,
    TcpSegment,
    UdpDatagram,
    version_of,
)

MASK = 0xFFFFFFFF


class Trace:
    """Makes packets of a proxy's doings, in order, and hands each to `sink`.

    Args:
        sink: called with each packet.
        clock: nanoseconds since 1970. Packets get times at least a microsecond apart.
        before: connections that there were before: sequence numbers go on from them.

    Attributes:
        initial: initial sequence numbers (opener's, listener's) of the next connections; the trace's own after those.
    """

    def __init__(
        self, sink: Callable[[Packet], None], clock: Callable[[], int] = time.time_ns, before: int = 0
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._last = 0
        self._flows = 0
        self._before = before
        self.initial: list[tuple[int, int]] = []

    def tcp(self, opener: HostPort, listener: HostPort) -> TcpTrace:
        """A new connection, with its three-way handshake."""
        index = self._flows
        self._flows += 1
        # Any numbers do that differ between connections, so that a port used again is seen to be a new one.
        count = self._before + index
        initial = ((count * 0x9E3779B1 + 0x1000) & MASK, (count * 0x85EBCA6B + 0x8000) & MASK)
        if self.initial:
            initial = self.initial.pop(0)
        return TcpTrace(self, index, opener, listener, initial)

    def udp(self, source: HostPort, destination: HostPort, data: bytes) -> None:
        """A datagram."""
        self._sink(UdpDatagram(self.now(), source, destination, data))

    def now(self) -> int:
        """A time for the next packet."""
        self._last = max(self._clock(), self._last + 1000)
        return self._last

    def put(self, packet: Packet) -> None:
        """Hand a packet on."""
        self._sink(packet)


class TcpTrace:
    """One TCP connection as the capture shows it. Sides are 0 for who opened it, 1 for who listened."""

    def __init__(
        self, trace: Trace, index: int, opener: HostPort, listener: HostPort, initial: tuple[int, int]
    ) -> None:
        self._trace = trace
        self.index = index
        self._ends = (opener, listener)
        self._next = list(initial)
        self._mss = MSS[version_of(opener[0])]
        self._ended = [False, False]
        self._put(0, SYN)
        self._put(1, SYN | ACK)
        self._put(0, ACK)

    def data(self, side: int, octets: bytes) -> None:
        """Octets that `side` sent."""
        if self._ended[side]:
            return
        for at in range(0, len(octets), self._mss):
            part = octets[at : at + self._mss]
            self._put(side, ACK | (PSH if at + self._mss >= len(octets) else 0), part)
        self._put(1 - side, ACK)

    def fin(self, side: int) -> None:
        """`side` closed its direction."""
        if self._ended[side]:
            return
        self._ended[side] = True
        self._put(side, FIN | ACK)
        self._put(1 - side, ACK)

    def reset(self, side: int, text: bytes = b"") -> None:
        """`side` reset the connection, with a text for people if it gives one (RFC 9293 s3.5.3)."""
        if self._ended == [True, True]:
            return
        self._ended = [True, True]
        self._put(side, RST | ACK, text)

    def _put(self, side: int, flags: int, payload: bytes = b"") -> None:
        source, destination = self._ends[side], self._ends[1 - side]
        acknowledgment = self._next[1 - side] if flags & ACK else 0
        self._trace.put(
            TcpSegment(
                self._trace.now(),
                source,
                destination,
                self.index,
                side,
                self._next[side],
                acknowledgment,
                flags,
                payload,
            )
        )
        self._next[side] = (self._next[side] + len(payload) + bool(flags & (SYN | FIN))) & MASK
