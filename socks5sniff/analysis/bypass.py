"""What hosts that use a proxy sent past it: connections and datagrams that no proxy in the capture carried."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple

from socks5sniff.capture.merge import open_captures
from socks5sniff.record import Conversation, Endpoint, iso_time

from .analyser import Analyser
from .faults import Faults
from .unproxied import Exchange, Exchanges

MAX_ROWS = 200_000
"""Connections and exchanges of datagrams that are kept; the others are counted."""

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
            "process": None,
        }


class Bypasses:
    """Reads captures, and tells what went past the proxies.

    Args:
        clients: addresses of hosts; those that use a proxy where there are none.
        ports: further proxy ports.
        everything: also local traffic and the proxies' own.
        progress: see `read`.

    Attributes:
        packets, skipped: as of a `Reading`.
        left_out: rows beyond MAX_ROWS.
        unknown_links: as of a `Reading`.
    """

    def __init__(
        self,
        names: Sequence[Any],
        clients: Collection[str] = (),
        *,
        ports: Collection[int] = (),
        everything: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.left_out = 0
        self._wanted = {str(ip_address(client)) for client in clients}
        self._everything = everything
        self._rows: list[Exchange] = []
        self._clients: set[str] = set()
        self._streams: set[int] = set()
        self._own: set[tuple[Endpoint, Endpoint]] = set()
        self._frames = open_captures(names, progress=progress)
        self._exchanges = Exchanges(self._keep)
        self._analyser = analyser = Analyser(ports=ports, consumers=[self._exchanges])
        self._exchanges.follow(analyser.flows, analyser.reader.addresses, analyser.associations.carries)

    def read(self) -> None:
        """Read everything.

        Raises:
            InputError: an input cannot be opened.
            DamagedInputError: an input is damaged; what came before counts.
        """
        try:
            for frames in self._frames:
                for batch in self._analyser.take(frames):
                    self._learn(batch)
        finally:
            for batch in self._analyser.finish():
                self._learn(batch)
            self._exchanges.finish()

    def rows(self) -> list[Bypass]:
        """What went past the proxies, in the order of time."""
        wanted = self._wanted or self._clients
        proxies, name_of = self._analyser.attempts.proxies, self._analyser.name_of
        found = [
            Bypass(
                row.client, row.destination, "udp" if row.stream is None else "tcp",
                row.server_name or name_of(row.client.address, row.destination.address),
                row.sent, row.received, row.packets, row.start, row.end,
            )
            for row in self._rows
            if row.client.address in wanted
            and row.destination not in proxies
            and not row.relayed
            and row.stream not in self._streams
            and (self._everything or (row.client, row.destination) not in self._own)
        ]  # fmt: skip
        return sorted(found, key=lambda row: (row.start_ns, row.client, row.destination))

    @property
    def packets(self) -> int:
        return self._analyser.packets

    @property
    def faults(self) -> Faults:
        return self._analyser.faults

    @property
    def clients(self) -> set[str]:
        """The hosts whose traffic is told."""
        return self._wanted or self._clients

    def _learn(self, records: Any) -> None:
        record: Conversation
        for record in records:
            if record.outcome == "malformed" and record.protocol is None:
                continue
            self._clients.add(record.client.address)
            self._streams.add(record.tcp_stream)
            if record.upstream is not None:
                source, destination = (Endpoint(**record.upstream[end]) for end in ("source", "destination"))
                self._own.add((source, destination))

    def _keep(self, row: Exchange) -> None:
        if self._wanted and row.client.address not in self._wanted:
            return
        if not self._everything and is_local(row.destination, row.client):
            return
        if len(self._rows) >= MAX_ROWS:
            self.left_out += 1
        else:
            row.heads = ([], [])
            self._rows.append(row)


def is_local(destination: Endpoint, client: Endpoint) -> bool:
    """Whether traffic cannot leave the host or its network, or only looks for neighbours."""
    address = ip_address(destination.address)
    if address.is_loopback or address.is_multicast or address.is_link_local or address.is_unspecified:
        return True
    broadcast = destination.address.endswith(".255")
    ports = destination.port, client.port
    return destination.address == "255.255.255.255" or bool(_LOCAL_PORTS & {*ports}) or (broadcast and ports[0] < 1024)
