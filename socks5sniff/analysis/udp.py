"""UDP associations (RFC 1928 s7): which datagrams belong to which conversation, and what is in them.

An association is known by the address and port where its relay listens (BND; an unspecified address is the proxy's).
What the client's address sends there, from any port, is `sent`; what comes from there to the client is `received`.
Proxies may serve all their associations on one port; then the client's address and port tell whose a datagram is.
Datagrams are judged by their time stamps, not by their place in the file, and those that look like a SOCKS UDP header
are kept for a while, so that a datagram which lies before the reply in the file is still found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import (
    Address,
    AddressType,
    Decoded,
    GssapiMessageType,
    Mismatch,
    UdpHeader,
    decode_udp_header,
)
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import IPV6, Datagrams, payload_octet, payload_octets
from socks5sniff.record import AnomalyEntry, FrameEntry, UdpDestination, UdpTraffic

from .anomalies import anomaly

MAX_HEADER = 262
"""RSV, FRAG, ATYP, a 255-octet name with its length, and the port."""
MAX_REMEMBERED = 4096
"""Datagrams kept because an association may turn out to be theirs."""
MAX_DESTINATIONS = 65_536
"""Destinations counted one by one per association; the totals go on."""
MAX_STRANGERS = 16
"""Foreign senders named per association."""
SLACK = 1_000_000_000
"""Nanoseconds a datagram's time may lie outside its association's life: two capture clocks are never the same."""
MAX_PORTS = 1024
"""Ports of its client that an association remembers."""
MAX_OWNERS = 65_536
"""Parties for which it is remembered whose association theirs is."""
FRAGMENT_LIFE = 5_000_000_000
"""Nanoseconds a fragment queue lives at least (RFC 1928 s7)."""

_TOKEN = bytes((1, GssapiMessageType.USER_DATA))
"""How a datagram inside a GSSAPI token begins."""
_MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv4 address in the form of an IPv6 address begins with (RFC 4291 s2.5.5.2)."""


def relays_of(bound: Address, proxy: int, book: AddressBook) -> tuple[int, ...]:
    """Endpoints where the relay may listen, given BND and the proxy's endpoint.

    Where BND names an address the proxy is not known by, datagrams go there, or, when that address means nothing to
    the client (address translation), to the proxy's.
    """
    own = (proxy & ~0xFFFF) | bound.port
    if bound.type == AddressType.DOMAIN or bound.is_unspecified:
        return (own,)
    named = book.make(bound.host.removeprefix(_MAPPED) if len(bound.host) == 16 else bound.host, bound.port)
    return (named,) if named == own else (named, own)


class _Datagram(NamedTuple):
    frame: int
    time: int
    source: int
    destination: int
    octets: bytes
    """Captured payload, as far as a header can reach."""
    length: int


class _Queue:
    """Fragments of one direction on their way to being one datagram."""

    __slots__ = ("began", "highest", "octets")

    def __init__(self) -> None:
        self.highest = 0
        self.octets = 0
        self.began = 0

    def add(self, fragment: int, octets: int, time: int) -> int | None:
        """Take a fragment; return the whole datagram's octets when this was its last."""
        position = fragment & 0x7F
        if position <= self.highest or time - self.began > FRAGMENT_LIFE:
            self.highest = 0
        if position != self.highest + 1:
            self.highest = 0
            return None
        if position == 1:
            self.octets, self.began = 0, time
        self.highest = position
        self.octets += octets
        if not fragment & 0x80:
            return None
        self.highest = 0
        return self.octets


@dataclass(slots=True, eq=False)
class Association:
    """One UDP ASSOCIATE that succeeded.

    Attributes:
        relays: endpoints where the proxy may take datagrams.
        client: the client's address: its endpoint without the port.
        port: the port the client said it will use, 0 unknown.
        opened, closed: ns, request to end of the TCP connection; `closed` is None while it lives.
        enclosed: it was agreed on inside GSSAPI tokens, so that datagrams may come in such tokens; those are not read.
        forgotten: its record has been made.
    """

    relays: tuple[int, ...]
    client: int
    port: int
    opened: int
    enclosed: bool = False
    closed: int | None = None
    forgotten: bool = False
    sent: int = 0
    received: int = 0
    sent_octets: int = 0
    received_octets: int = 0
    fragments: int = 0
    frames: list[FrameEntry] = field(default_factory=list)
    anomalies: list[AnomalyEntry] = field(default_factory=list)
    _destinations: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    _remotes: set[int] = field(default_factory=set)
    _queues: tuple[_Queue, _Queue] = field(default_factory=lambda: (_Queue(), _Queue()))
    _strangers: set[int] = field(default_factory=set)
    _ports: set[int] = field(default_factory=set)
    _other: int | None = None
    """The client's address in the IP version that its TCP connection does not have."""

    def alive(self, time: int, slack: int = SLACK) -> bool:
        """Whether a datagram of that time can be this association's."""
        return self.opened - slack <= time and (self.closed is None or time <= self.closed + slack)

    def claim(self, party: int, time: int) -> tuple[bool, bool, bool, int]:
        """How well a datagram of its client fits, compared with the client's other associations at the same relay.

        Best is one that lives at that time, then one that knows the port, then the first that has no port yet.
        """
        port = party & 0xFFFF
        known = port in self._ports or party in self._remotes or port == self.port != 0
        fresh = not self._ports and not self.port
        return self.alive(time, 0), known, fresh, -self.opened if fresh else self.opened

    def endpoints(self) -> Iterator[int]:
        """Endpoints that datagrams are compared with."""
        yield self.client
        if self._other is not None:
            yield self._other
        yield from self._remotes
        yield from self._strangers

    def traffic(self) -> UdpTraffic:
        """What went through so far."""
        return UdpTraffic(
            self.sent,
            self.received,
            self.sent_octets,
            self.received_octets,
            self.fragments,
            [UdpDestination(host, port, *counts) for (host, port), counts in self._destinations.items()],
        )

    def take(self, datagram: _Datagram, book: AddressBook, keep_frames: bool) -> None:
        """Look at a datagram that comes from the relay or goes to it."""
        outward = datagram.destination in self.relays
        party = datagram.source if outward else datagram.destination
        if party in self._remotes:
            return  # the leg between proxy and destination, which carries no SOCKS header
        if self.enclosed and datagram.octets[:2] == _TOKEN:
            return
        found = decode_udp_header(datagram.octets)
        sound = isinstance(found, Decoded) and not found.deviations
        if party & ~0xFFFF not in (self.client, self._other):
            if not (outward and sound):
                return
            if self._ports or not (party ^ self.client) & IPV6:
                self._note_stranger(datagram, book)
                return
            self._other = party & ~0xFFFF
        if outward and sound and len(self._ports) < MAX_PORTS:
            self._ports.add(party & 0xFFFF)
        if not isinstance(found, Decoded):
            # On the client's own machine another of its ports may be the destination's.
            if isinstance(found, Mismatch) and outward and (party & 0xFFFF in self._ports or not self._ports):
                self._note(found.deviation.code, datagram.frame, found.deviation.message)
            return
        for deviation in found.deviations:
            self._note(deviation.code, datagram.frame, deviation.message)
        self._count(datagram, found.frame, datagram.length - found.length, outward, book)
        if keep_frames:
            header = found.frame
            fragment = f", fragment {header.fragment:#04x}" if header.fragment else ""
            address = header.destination
            self.frames.append(
                FrameEntry(
                    datagram.frame,
                    datagram.time,
                    "client" if outward else "proxy",
                    "udp",
                    datagram.length,
                    f"UDP {'to' if outward else 'from'} {address.text}:{address.port}, "
                    f"{datagram.length - found.length} octets{fragment}",
                )
            )

    def _count(self, datagram: _Datagram, header: UdpHeader, octets: int, outward: bool, book: AddressBook) -> None:
        address = header.destination
        key = (address.text, address.port)
        counts = self._destinations.get(key)
        if counts is None:
            counts = [0, 0]
            if len(self._destinations) < MAX_DESTINATIONS:
                self._destinations[key] = counts
                if address.type_name != "domain":
                    self._remotes.add(book.make(address.host, address.port))
        if header.fragment:
            self.fragments += 1
            self._note("udp-fragmented", datagram.frame, f"datagram {key[0]}:{key[1]} is sent in fragments")
            whole = self._queues[outward].add(header.fragment, octets, datagram.time)
            if whole is None:
                return
            octets = whole
        if outward:
            counts[0] += 1
            self.sent += 1
            self.sent_octets += octets
        else:
            counts[1] += 1
            self.received += 1
            self.received_octets += octets

    def _note(self, code: str, frame: int, message: str) -> None:
        """An anomaly, each code once per association: a stream of datagrams repeats what is wrong with it."""
        if all(entry.code != code for entry in self.anomalies):
            self.anomalies.append(anomaly(code, frame, message))

    def _note_stranger(self, datagram: _Datagram, book: AddressBook) -> None:
        if datagram.source not in self._strangers and len(self._strangers) < MAX_STRANGERS:
            self._strangers.add(datagram.source)
            sender = book.endpoint_address(datagram.source)
            message = f"{sender}:{book.port(datagram.source)} sends to the relay, which is another client's"
            self.anomalies.append(anomaly("udp-unassociated", datagram.frame, message))


class Associations:
    """All UDP associations of a capture, and the datagrams that may be theirs."""

    def __init__(self, book: AddressBook, keep_frames: bool = False) -> None:
        self._book = book
        self._keep_frames = keep_frames
        # By relay, and then by client, in the order of opening.
        self._by_relay: dict[int, dict[int, list[Association]]] = {}
        self._owners: dict[tuple[int, int], Association] = {}
        self._relays: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._recent: deque[_Datagram] = deque(maxlen=MAX_REMEMBERED)

    def open(self, associations: list[Association]) -> None:
        """UDP ASSOCIATEs have succeeded; datagrams that came before them in the file are looked through."""
        if not associations:
            return
        for association in associations:
            for relay in association.relays:
                there = self._by_relay.setdefault(relay, {}).setdefault(association.client, [])
                there.append(association)
                there.sort(key=_by_opening)
        self._relays = np.array(sorted(self._by_relay), np.uint64)
        recent, self._recent = self._recent, deque(maxlen=MAX_REMEMBERED)
        for datagram in recent:
            self._take_one(datagram)

    def endpoints(self) -> Iterator[int]:
        """All endpoints that are still needed."""
        for relay, clients in self._by_relay.items():
            yield relay
            for there in clients.values():
                for association in there:
                    yield from association.endpoints()
        for datagram in self._recent:
            yield datagram.source
            yield datagram.destination

    def forget(self, association: Association) -> None:
        """The conversation's record has been made."""
        association.forgotten = True
        for relay in association.relays:
            clients = self._by_relay[relay]
            there = clients[association.client]
            there.remove(association)
            if not there:
                del clients[association.client]
            if not clients:
                del self._by_relay[relay]
                self._relays = np.array(sorted(self._by_relay), np.uint64)

    def take(self, datagrams: Datagrams) -> None:
        """Hand a batch's datagrams to the associations they belong to."""
        if not len(datagrams):
            return
        if len(self._relays):
            related = np.isin(datagrams.destination, self._relays) | np.isin(datagrams.source, self._relays)
            for row in np.flatnonzero(related).tolist():
                self._take_one(self._datagram(datagrams, row))
            rest = np.flatnonzero(~related)
        else:
            rest = np.arange(len(datagrams))
        for row in self._header_like(datagrams, rest)[-MAX_REMEMBERED:].tolist():
            self._recent.append(self._datagram(datagrams, row))

    def related(self, datagrams: Datagrams) -> NDArray[np.bool_]:
        """Which datagrams go to a relay of an open association, or come from it."""
        return np.isin(datagrams.destination, self._relays) | np.isin(datagrams.source, self._relays)

    def carries(self, source: int, destination: int, time: int) -> bool:
        """Whether a datagram goes from or to the relay of an association that lives at that time."""
        there = self._owner(destination, source, time)
        return there is not None or self._owner(source, destination, time) is not None

    @staticmethod
    def _header_like(datagrams: Datagrams, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Rows that can begin with a SOCKS UDP header: RSV 0000 and a known ATYP."""
        for position, wanted in ((0, (0,)), (1, (0,)), (3, (1, 3, 4))):
            rows = rows[np.isin(payload_octet(datagrams, rows, position), wanted)]
        return rows

    @staticmethod
    def _datagram(datagrams: Datagrams, row: int) -> _Datagram:
        return _Datagram(
            int(datagrams.frame[row]),
            int(datagrams.time[row]),
            int(datagrams.source[row]),
            int(datagrams.destination[row]),
            payload_octets(datagrams, row, MAX_HEADER),
            int(datagrams.length[row]),
        )

    def _take_one(self, datagram: _Datagram) -> None:
        association = self._owner(datagram.destination, datagram.source, datagram.time) or self._owner(
            datagram.source, datagram.destination, datagram.time
        )
        if association is None:
            self._recent.append(datagram)
        else:
            association.take(datagram, self._book, self._keep_frames)

    def _owner(self, relay: int, party: int, time: int) -> Association | None:
        """The association that a datagram between `relay` and `party` belongs to, or disturbs."""
        clients = self._by_relay.get(relay)
        if clients is None:
            return None
        owner = self._owners.get((relay, party))
        if owner is not None and not owner.forgotten and owner.alive(time, 0):
            return owner
        own = [association for association in clients.get(party & ~0xFFFF, ()) if association.alive(time)]
        if own:
            owner = max(own, key=lambda association: association.claim(party, time))
            if len(self._owners) >= MAX_OWNERS:
                self._owners.clear()
            self._owners[relay, party] = owner
            return owner
        latest = next(reversed(clients.values()))[-1]
        return latest if latest.alive(time) else None


def _by_opening(association: Association) -> int:
    return association.opened
