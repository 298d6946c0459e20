"""Packets of tunnels and relayed datagrams as they would have been without the proxies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from socks5sniff.capture.batch import FrameBatch
from socks5sniff.payload import CLIENT, Closing, Datagram, Delivered, Tunnel
from socks5sniff.record import Conversation, Endpoint

from .connection import Connection, opening
from .headers import UDP, Packet, Route
from .plain_tcp import Moment
from .stand_ins import StandIns
from .udp_fragments import MAX_DATA, Fragments

_WAYS = 1 << 16
"""Pairs of endpoints of datagrams that are remembered."""


class Plain:
    """Packets of tunnels as they would have been without the proxies.

    Attributes:
        stand_ins: addresses of names.
        connections, datagrams: how many were written.
        gaps, unread: see `Decapped`.
    """

    def __init__(self, tunnels: Sequence[Tunnel]) -> None:
        self.stand_ins = StandIns(_hosts(tunnel.conversation for tunnel in tunnels))
        self.connections = self.datagrams = self.gaps = self.unread = 0
        self._tunnels = tunnels
        self._routes = Routes(self.stand_ins)
        # Those that have begun and are not over.
        self._open: dict[int, Connection] = {}
        begins = [(opening(tunnel.conversation), place) for place, tunnel in enumerate(tunnels) if _is_stream(tunnel)]
        # The last to begin in front, so that the next to begin is taken from the end.
        self._waiting = sorted(((at, place) for at, place in begins if at is not None), reverse=True)
        self._ways: dict[tuple[Endpoint, str, int], Route] = {}
        self._fragments: dict[tuple[int, int], Fragments] = {}
        self._too_long = 0

    @property
    def lost(self) -> int:
        """See `Decapped`."""
        return self._too_long + sum(fragments.lost for fragments in self._fragments.values())

    def packets(self, delivered: Delivered) -> list[Packet]:
        """What a batch comes to, in the order of its frames."""
        packets = [*self._streams(delivered), *self._begin(delivered.frames), *self._datagrams(delivered)]
        for place in delivered.over:
            connection = self._open.pop(place, None)
            self.unread += connection is not None and connection.unread
        if delivered.frames is None:
            for fragments in self._fragments.values():
                fragments.give_up()
        packets.sort(key=lambda packet: packet.frame)
        return packets

    def _streams(self, delivered: Delivered) -> Iterator[Packet]:
        closings = iter(delivered.closings)
        closing = next(closings, None)
        cut = _Cut(delivered.frames)
        for chunk in delivered.chunks.each():
            while closing is not None and closing.frame < chunk.frame:
                yield from self._close(closing)
                closing = next(closings, None)
            connection = self._connection(chunk.tunnel)
            if connection is not None:
                yield from connection.take(chunk, cut.of(chunk.frame))
        while closing is not None:
            yield from self._close(closing)
            closing = next(closings, None)

    def _close(self, closing: Closing) -> Iterator[Packet]:
        connection = self._connection(closing.tunnel)
        if connection is not None:
            yield from connection.close(closing.direction, Moment(closing.frame, closing.time), closing.reset)

    def _begin(self, frames: FrameBatch | None) -> Iterator[Packet]:
        """The tunnels that were opened by the end of a batch and in which nothing was said yet."""
        waiting = self._waiting
        while waiting and (frames is None or waiting[-1][0].frame < frames.first_number + len(frames)):
            at, place = waiting.pop()
            connection = self._connection(place)
            if connection is not None:
                yield from connection.open(at)

    def _connection(self, place: int) -> Connection | None:
        """That of a tunnel, None for what is no stream."""
        connection = self._open.get(place)
        if connection is None and _is_stream(self._tunnels[place]):
            tunnel = self._tunnels[place]
            connection = self._open[place] = Connection(tunnel, self._routes.of(tunnel.conversation))
            self.connections += 1
            self.gaps += connection.has_gaps
        return connection

    def _datagrams(self, delivered: Delivered) -> Iterator[Packet]:
        for datagram in delivered.datagrams.each():
            whole = self._whole(datagram)
            if whole is None:
                continue
            length = datagram.length if whole is datagram.octets else len(whole)
            if length > MAX_DATA:
                self._too_long += 1
                continue
            self.datagrams += 1
            yield Packet(datagram.frame, datagram.time, self._way(datagram), UDP, whole, length=length)

    def _whole(self, datagram: Datagram) -> bytes | memoryview | None:
        """DATA of a datagram, or of those that it completes; None where it completes none."""
        if not datagram.fragment:
            return datagram.octets
        fragments = self._fragments.setdefault((datagram.tunnel, datagram.direction), Fragments())
        return fragments.add(datagram.fragment, (datagram.host, datagram.port), bytes(datagram.octets))

    def _way(self, datagram: Datagram) -> Route:
        client = datagram.client or self._tunnels[datagram.tunnel].conversation.client
        key = client, datagram.host, datagram.port
        route = self._ways.get(key)
        if route is None:
            here, there = self.stand_ins.pair(client.address, datagram.host)
            if len(self._ways) >= _WAYS:
                self._ways.clear()
            route = self._ways[key] = Route(here, there, client.port, datagram.port)
        return route if datagram.direction == CLIENT else route.back()


def _is_stream(tunnel: Tunnel) -> bool:
    return tunnel.carries and tunnel.framing is None


class Routes:
    """Endpoints of connections: no two of them that exist at once have the same."""

    def __init__(self, stand_ins: StandIns) -> None:
        self._stand_ins = stand_ins
        self._until: dict[Route, int] = {}

    def of(self, record: Conversation) -> Route:
        """Where a conversation's tunnel led from and to.

        Where the capture lacks the request, the proxy stands for the destination. Another port stands for the
        client's where that has a tunnel to the same destination through another proxy.
        """
        target = record.peer if record.command == "bind" and record.peer is not None else record.destination
        host, port = record.proxy if target is None else (target.host, target.port)
        here, there = self._stand_ins.pair(record.client.address, host)
        for step in range(0x10000):
            route = Route(here, there, (record.client.port + step) & 0xFFFF, port)
            if self._until.get(route, -1) < record.start_ns:
                break
        self._until[route] = max(record.end_ns, self._until.get(route, 0))
        return route


def _hosts(records: Iterable[Conversation]) -> Iterator[str]:
    """Addresses and names that the capture holds as ends of tunnels and of datagrams."""
    for record in records:
        yield record.client.address
        yield record.proxy.address
        for target in (record.destination, record.peer):
            if target is not None:
                yield target.host
        if record.udp is not None:
            for place in record.udp.destinations:
                yield place.host


class _Cut:
    """How much of frames the capture lacks."""

    def __init__(self, frames: FrameBatch | None) -> None:
        self._first = 0
        self._cut: list[int] = []
        if frames is not None and (frames.length != frames.captured).any():
            self._first = frames.first_number
            self._cut = (frames.length - frames.captured).tolist()

    def of(self, frame: int) -> int:
        """Octets that a frame of this batch lacks."""
        row = frame - self._first
        return self._cut[row] if 0 <= row < len(self._cut) else 0
