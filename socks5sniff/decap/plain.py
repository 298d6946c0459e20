"""Packets of tunnels and relayed datagrams as they would have been without the proxies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from socks5sniff.capture.batch import FrameBatch
from socks5sniff.payload import CLIENT, Closing, Datagram, Delivered, Tunnel
from socks5sniff.record import Conversation, Endpoint

from .connection import Connection
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
        connections: by place in the list of tunnels, those that are a stream.
        datagrams: how many were written.
        lost: see `Decapped`.
    """

    def __init__(self, tunnels: Sequence[Tunnel]) -> None:
        records = [tunnel.conversation for tunnel in tunnels]
        self.stand_ins = StandIns(_hosts(records))
        routes = Routes(self.stand_ins)
        self.connections = {
            place: Connection(tunnel, routes.of(tunnel.conversation))
            for place, tunnel in enumerate(tunnels)
            if tunnel.carries and tunnel.framing is None
        }
        self.datagrams = 0
        self._records = records
        # The last to begin in front, so that the next to begin is taken from the end.
        self._waiting = sorted(
            ((connection.begins, place) for place, connection in self.connections.items() if connection.begins),
            reverse=True,
        )
        self._ways: dict[tuple[Endpoint, str, int], Route] = {}
        self._fragments: dict[tuple[int, int], Fragments] = {}
        self._too_long = 0

    @property
    def lost(self) -> int:
        return self._too_long + sum(fragments.lost for fragments in self._fragments.values())

    def packets(self, delivered: Delivered) -> list[Packet]:
        """What a batch comes to, in the order of its frames."""
        packets = [*self._streams(delivered), *self._datagrams(delivered)]
        if delivered.frames is None:
            for fragments in self._fragments.values():
                fragments.give_up()
        packets.sort(key=lambda packet: packet.frame)
        return packets

    def _streams(self, delivered: Delivered) -> Iterator[Packet]:
        connections, closings = self.connections, iter(delivered.closings)
        closing = next(closings, None)
        cut = _Cut(delivered.frames)
        for chunk in delivered.chunks.each():
            while closing is not None and closing.frame < chunk.frame:
                yield from self._close(closing)
                closing = next(closings, None)
            connection = connections.get(chunk.tunnel)
            if connection is not None:
                yield from connection.take(chunk, cut.of(chunk.frame))
        while closing is not None:
            yield from self._close(closing)
            closing = next(closings, None)
        frames = delivered.frames
        while self._waiting and (frames is None or self._waiting[-1][0].frame < frames.first_number + len(frames)):
            at, place = self._waiting.pop()
            yield from connections[place].open(at)

    def _close(self, closing: Closing) -> Iterator[Packet]:
        connection = self.connections.get(closing.tunnel)
        if connection is not None:
            yield from connection.close(closing.direction, Moment(closing.frame, closing.time), closing.reset)

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
        client = datagram.client or self._records[datagram.tunnel].client
        key = client, datagram.host, datagram.port
        route = self._ways.get(key)
        if route is None:
            here, there = self.stand_ins.pair(client.address, datagram.host)
            if len(self._ways) >= _WAYS:
                self._ways.clear()
            route = self._ways[key] = Route(here, there, client.port, datagram.port)
        return route if datagram.direction == CLIENT else route.back()


class Routes:
    """Endpoints of connections: no two of them that exist at once have the same."""

    def __init__(self, stand_ins: StandIns) -> None:
        self._stand_ins = stand_ins
        self._until: dict[Route, int] = {}

    def of(self, record: Conversation) -> Route:
        """Where a conversation's tunnel led from and to; conversations come in the order of their beginning.

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
        self._until[route] = record.end_ns
        return route


def _hosts(records: Sequence[Conversation]) -> Iterator[str]:
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
