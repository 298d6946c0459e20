"""What hosts that use a proxy sent past it: connections and datagrams that no proxy in the capture carried."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, NamedTuple

from socks5sniff.record import Endpoint, iso_time
from socks5sniff.record.batch import Batch

from .analyser import Analyser
from .unproxied import Exchange, Exchanges

_NEVER = 1 << 62
AGE = 3_000_000_000
"""Nanoseconds after which a running capture tells of what has not ended: by then it is known who is a proxy."""
MAX_WAITING = 10_000
"""Rows of hosts that were not seen using a proxy yet; the oldest are forgotten."""
MAX_ROWS = 200_000
"""Connections and exchanges of datagrams that are kept, the first ones; the others are counted."""

_LOCAL_PORTS = frozenset({67, 68, 137, 138, 546, 547, 1900, 3702, 5353, 5355})
"""DHCP, NetBIOS, SSDP, WS-Discovery, mDNS, LLMNR: they do not leave the network."""


class Bypass(NamedTuple):
    """A connection, or the datagrams between two endpoints, that went past the proxies."""

    client: Endpoint
    destination: Endpoint
    transport: str
    """`tcp` or `udp`."""
    server_name: str | None
    """From SNI or Host, or that for which DNS gave the client the address; of DNS itself the one that was asked for."""
    sent: int
    """Octets of payload, TCP's each once."""
    received: int
    packets: int
    """Of both directions."""
    start_ns: int
    end_ns: int
    process: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The row as programs read it."""
        return {
            "client": self.client._asdict(),
            "destination": self.destination._asdict(),
            "transport": self.transport,
            "server_name": self.server_name,
            "bytes": {"sent": self.sent, "received": self.received},
            "packets": self.packets,
            "start": iso_time(self.start_ns),
            "end": iso_time(self.end_ns),
            "process": self.process,
        }


def _bypass(row: Exchange, name: str | None) -> Bypass:
    """The row as it is told; `name` is what DNS called the destination."""
    return Bypass(
        row.client, row.destination, "udp" if row.stream is None else "tcp", row.server_name or name,
        row.sent, row.received, row.packets, row.start, row.end,
    )  # fmt: skip


class _Own:
    """What proxies send themselves, on behalf of their clients."""

    def __init__(self) -> None:
        self._connections: set[tuple[Endpoint, Endpoint]] = set()
        self._datagrams: set[tuple[str, str, int]] = set()

    def learn(self, records: Batch) -> None:
        """Conversations have ended."""
        self._connections.update(records.upstreams())
        for record in filter(None, records.written):  # those with datagrams are
            if record.udp is not None and len(self._datagrams) < MAX_ROWS:
                places = record.udp.destinations
                self._datagrams.update((record.proxy.address, place.host, place.port) for place in places)

    def holds(self, row: Exchange, name: str | None) -> bool:
        """Whether it is a proxy's; `name` is what DNS called the destination."""
        if row.stream is not None:
            return (row.client, row.destination) in self._connections
        sender, port = row.client.address, row.destination.port
        return any((sender, host, port) in self._datagrams for host in (row.destination.address, name) if host)


@dataclass(frozen=True, slots=True)
class Sought:
    """Whose traffic may be told, as far as that is known while it passes.

    Attributes:
        clients: addresses of hosts; any where there are none.
        everything: also local traffic and the proxies' own.
    """

    clients: frozenset[str] = frozenset()
    everything: bool = False

    def __call__(self, destination: Endpoint, client: Endpoint) -> bool:
        if self.clients and client.address not in self.clients:
            return False
        return self.everything or leaves(destination, client)


class Past:
    """What goes past the proxies, beside the records of an analyser.

    Args:
        clients: addresses of hosts; those that use a proxy where there are none.
        everything: also local traffic and the proxies' own.

    Attributes:
        sought: of what there may be rows.
        exchanges: to be told of every batch.
        left_out: rows beyond MAX_ROWS.
    """

    def __init__(self, clients: Collection[str] = (), everything: bool = False) -> None:
        self.left_out = 0
        self.sought = Sought(frozenset(str(ip_address(client)) for client in clients), everything)
        self.exchanges = Exchanges(self._keep, self.sought)
        self._rows: list[Exchange] = []
        self._clients: set[str] = set()
        self._streams: set[int] = set()
        self._own = _Own()

    def follow(self, analyser: Analyser) -> None:
        """Whose traffic is looked at."""
        self._analyser = analyser
        self.exchanges.follow(analyser)

    def learn(self, records: Batch) -> None:
        """Records that the analyser has given."""
        for ends, stream, socks in _each(records):
            if socks:
                self._clients.add(ends[0])
                self._streams.add(stream)
        self._own.learn(records)

    def finish(self) -> None:
        """The analyser is at its end."""
        self.exchanges.finish()
        self._leave_out()

    @property
    def clients(self) -> set[str]:
        """The hosts whose traffic is told."""
        return {*self.sought.clients} or self._clients

    def rows(self) -> list[Bypass]:
        """What went past the proxies, in the order of time."""
        wanted, everything = self.clients, self.sought.everything
        proxies, name_of = self._analyser.attempts.proxies, self._analyser.records.names.name_of
        found = []
        for row in self._rows:
            if row.client.address not in wanted or row.destination in proxies or row.relayed:
                continue
            name = name_of(row.client.address, row.destination.address)
            if row.stream not in self._streams and (everything or not self._own.holds(row, name)):
                found.append(_bypass(row, name))
        return found

    def _keep(self, row: Exchange) -> None:
        row.heads = ([], [])
        self._rows.append(row)
        if len(self._rows) > 2 * MAX_ROWS:
            self._leave_out()

    def _leave_out(self) -> None:
        self._rows.sort(key=_place)
        self.left_out += len(self._rows[MAX_ROWS:])
        del self._rows[MAX_ROWS:]


def _place(row: Exchange) -> tuple[Any, ...]:
    """By which rows are in order, whenever they are complete."""
    return row.start, row.client, row.destination, -1 if row.stream is None else row.stream, row.end


class LiveBypasses:
    """Tells of a running capture what went past the proxies, each once: when it ends, or after AGE.

    Attributes:
        exchanges: to be told of every batch.
    """

    def __init__(self) -> None:
        self.exchanges = Exchanges(self._keep, leaves)
        self._clients: set[str] = set()
        self._proxies: set[Endpoint] = set()
        self._own = _Own()
        self._relaying: dict[int, str] = {}
        """Hosts of proxies with an association whose record has not come, by stream."""
        self._rows: deque[Exchange] = deque(maxlen=MAX_WAITING)

    def follow(self, analyser: Analyser) -> None:
        """Whose flows these are."""
        self._analyser = analyser
        self.exchanges.follow(analyser)

    def found(self, client: Endpoint, proxy: Endpoint) -> None:
        """A conversation was found."""
        self._clients.add(client.address)
        self._proxies.add(proxy)

    def learn(self, records: Batch) -> None:
        """Conversations have ended."""
        for ends, stream, socks in _each(records):
            if socks:
                self.found(Endpoint(*ends[:2]), Endpoint(*ends[2:]))
            self._relaying.pop(stream, None)
        self._own.learn(records)

    def tell(self, ended: bool = False) -> list[Bypass]:
        """What went past proxies and was not told of yet; all of it where the capture has `ended`."""
        self.exchanges.tell(_NEVER if ended else self._analyser.connections.handshakes.now, AGE)
        name_of = self._analyser.records.names.name_of
        self._note_relaying()
        if self._may_be_upstreams():
            self._own.learn(self._analyser.told(self._analyser.standing_slots()).batch)
        hosts = {*self._relaying.values()}
        found, rest = [], []
        for row in self._rows:
            if row.client.address not in self._clients:
                rest.append(row)  # the host may turn out to use a proxy
                continue
            name = name_of(row.client.address, row.destination.address)
            if row.destination in self._proxies or self._own.holds(row, name):
                continue
            if ended or row.stream is not None or row.client.address not in hosts:
                found.append(_bypass(row, name))
            else:
                rest.append(row)  # an association that is still open may turn out to have sent it
        self._rows = deque(rest, MAX_WAITING)
        return found

    def _may_be_upstreams(self) -> bool:
        """Whether a connection may be a proxy's own, for a tunnel that is open: its records have not come yet."""
        hosts = {proxy.address for proxy in self._proxies}
        local = any(ip_address(host).is_loopback for host in hosts)
        return any(
            row.stream is not None
            and row.client.address in self._clients
            and row.destination not in self._proxies
            and (local or row.client.address in hosts)
            for row in self._rows
        )

    def _note_relaying(self) -> None:
        analyser = self._analyser
        streams, address_of = analyser.connections.flows.stream, analyser.reader.addresses.endpoint_address
        for slot, association in analyser.agreements.by_slot.items():
            self._relaying[int(streams[slot])] = address_of(association.proxy)

    def _keep(self, row: Exchange) -> None:
        if not row.relayed:
            row.heads = ([], [])
            self._rows.append(row)


def _each(records: Batch) -> Iterator[tuple[tuple[str, int, str, int], int, bool]]:
    """Of each record: endpoints of client and proxy, the TCP stream, and whether SOCKS was spoken."""
    socks = [each is None or each.protocol is not None for each in records.written]
    return zip(records.endpoints(), records.numbers("tcp_stream").tolist(), socks, strict=True)


def leaves(destination: Endpoint, client: Endpoint) -> bool:
    """The opposite of `is_local`."""
    return not is_local(destination, client)


def is_local(destination: Endpoint, client: Endpoint) -> bool:
    """Whether traffic cannot leave the host or its network, or only looks for neighbours."""
    address = ip_address(destination.address)
    if address.is_loopback or address.is_multicast or address.is_link_local or address.is_unspecified:
        return True
    broadcast = destination.address.endswith(".255")
    ports = destination.port, client.port
    return destination.address == "255.255.255.255" or bool(_LOCAL_PORTS & {*ports}) or (broadcast and ports[0] < 1024)
