"""One UDP association: what went through it, and what was odd about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import Address, AddressType
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import IPV6
from socks5sniff.record import AnomalyEntry, FrameEntry, Tunnel, UdpDestination, UdpTraffic
from socks5sniff.session import Session

from .anomalies import anomaly
from .endings import OUTLIVE
from .tunnel import identify_datagrams
from .tunnel.dns import Question, outcome, question

MAX_DESTINATIONS = 65_536
"""Destinations counted one by one per association; the totals go on."""
MAX_STRANGERS = 16
"""Foreign senders named per association."""
MAX_WAITING = 256
"""Destinations per association whose QUIC is read on where the first datagram does not tell the server's name."""
MAX_PORTS = 1024
"""Ports of its client that an association remembers."""
SLACK = 1_000_000_000
"""Nanoseconds a datagram's time may lie before its association's life: two capture clocks are never the same."""
MAX_LOOKED = 8
"""Datagrams of a destination that are looked at for a DNS question and its answer."""
NEVER = 1 << 62
"""Later than every time and every packet."""
FRAGMENT_LIFE = 5_000_000_000
"""Nanoseconds a fragment queue lives at least (RFC 1928 s7)."""

_MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv4 address in the form of an IPv6 address begins with (RFC 4291 s2.5.5.2)."""
_PRIVATE = re.compile(
    r"10\.|192\.168\.|169\.254\.|172\.(1[6-9]|2\d|3[01])\."
    # All four digits: `fc0::` is another network.
    r"|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:"
)
"""What private and link-local addresses begin with (RFC 1918, 3927, 4193, 4291)."""


def is_loopback(host: str) -> bool:
    """Whether an address in text is a loopback address."""
    return host.removeprefix("::ffff:").startswith("127.") or host == "::1"


def is_private(host: str) -> bool:
    """Whether an address in text has a meaning only in its own network."""
    return _PRIVATE.match(host.removeprefix("::ffff:")) is not None or is_loopback(host)


class Queue:
    """Fragments of one direction on their way to being one datagram."""

    __slots__ = ("began", "frame", "highest", "incomplete")

    def __init__(self) -> None:
        self.highest = 0
        self.began = 0
        self.frame = 0
        self.incomplete: tuple[int, int] | None = None
        """Of the first sequence that was not completed: number of its first packet, and fragments that came."""

    def add(self, fragment: int, frame: int, time: int) -> None:
        """Take a fragment."""
        position = fragment & 0x7F
        if self.highest and (position != self.highest + 1 or time - self.began > FRAGMENT_LIFE):
            self.give_up()
        if not self.highest:
            self.began, self.frame = time, frame
            if position != 1:
                self.incomplete = self.incomplete or (frame, 1)
                return
        self.highest = 0 if fragment & 0x80 else position

    def give_up(self) -> None:
        """The sequence will not be completed."""
        if self.highest:
            self.incomplete = self.incomplete or (self.frame, self.highest)
        self.highest = 0

    def unfinished(self) -> tuple[int, int] | None:
        """See `incomplete`, with the sequence that is on its way."""
        return self.incomplete or ((self.frame, self.highest) if self.highest else None)


@dataclass(slots=True, eq=False)
class Place:
    """Where datagrams went or came from.

    Attributes:
        frame: number of the first packet.
        asked, answer: what DNS was asked for by the first datagram to it, and what was answered.
        looked: datagrams that were looked at for it.
        patient: QUIC's first datagrams are kept until they tell the server's name.
        initials, quic: those datagrams, and what they tell.
    """

    frame: int
    sent: int = 0
    received: int = 0
    asked: Question | None = None
    answer: str | None = None
    looked: int = 0
    patient: bool = True
    initials: list[bytes] = field(default_factory=list)
    quic: Tunnel | None = None

    def look(self, octets: bytes, outward: bool) -> None:
        """Look at what the next datagram holds, while it may be DNS or QUIC."""
        self.looked += 1
        if not outward:
            self.answer = None if self.asked is None else outcome(octets, self.asked)
            return
        if not self.initials:
            self.asked = question(octets)
        if self.asked is None:
            sent = [*self.initials, octets]
            found = identify_datagrams(sent, (), not self.patient)
            self.initials = sent if found is None else []
            self.quic = found if found is not None and found.protocol == "quic" else None

    def wants(self, outward: bool) -> bool:
        """Whether such a datagram would tell more."""
        if outward:
            return not self.looked or bool(self.initials)
        return self.asked is not None and self.answer is None and self.looked < MAX_LOOKED

    @property
    def carried(self) -> Tunnel | None:
        """What the datagrams are, where they are DNS or QUIC."""
        if self.asked is not None:
            return Tunnel("dns", detail=str(self.asked) if self.answer is None else f"{self.asked}: {self.answer}")
        return identify_datagrams(self.initials, (), True) if self.initials else self.quic

    def destination(self, host: str, port: int) -> UdpDestination:
        """As the record shows it."""
        found = UdpDestination(host, port, self.sent, self.received)
        carried = self.carried
        if carried is None:
            return found
        if carried.protocol == "dns":
            return found._replace(dns=carried.detail)
        return found._replace(server_name=carried.server_name, quic=carried.detail)


@dataclass(slots=True, eq=False)
class Amounts:
    """What went through an association.

    Attributes:
        sent, received, sent_octets, received_octets: datagrams, each once, and octets of DATA.
        fragments: datagrams that are fragments.
        last: number of the last packet that the client sent.
        latest: time (ns) and number of the packet with the latest datagram, either way.
        places: by name or address and port.
        remotes: endpoints among them to which the client has sent, each with the number of the first packet.
        answered: the client's ports to which the relay has sent.
    """

    sent: int = 0
    received: int = 0
    sent_octets: int = 0
    received_octets: int = 0
    fragments: int = 0
    last: int = 0
    latest: tuple[int, int] = (0, 0)
    places: dict[tuple[str, int], Place] = field(default_factory=dict)
    remotes: dict[int, int] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)

    def count(
        self, place: tuple[str, int], endpoint: int | None, outward: bool, datagrams: int, octets: int, first: int
    ) -> Place | None:
        """Count datagrams that went to a place, or came from it; the first of them is in frame `first`.

        Gives the place, None where there are too many.
        """
        known = self.places.get(place)
        if known is None and len(self.places) < MAX_DESTINATIONS:
            known = self.places[place] = Place(first, patient=len(self.places) < MAX_WAITING)
        if known is not None:
            known.frame = min(known.frame, first)
        if known is not None and outward and endpoint is not None:
            self.remotes[endpoint] = min(self.remotes.get(endpoint, first), first)
        if outward:
            self.sent += datagrams
            self.sent_octets += octets
            if known is not None:
                known.sent += datagrams
        else:
            self.received += datagrams
            self.received_octets += octets
            if known is not None:
                known.received += datagrams
        return known

    def tunnel(self) -> Tunnel | None:
        """What the first datagrams carry, where they are DNS or QUIC."""
        first = min(self.places.values(), key=lambda place: place.frame, default=None)
        return None if first is None else first.carried

    def traffic(self) -> UdpTraffic:
        """As the record shows it."""
        places = sorted(self.places.items(), key=_by_frame)
        return UdpTraffic(
            self.sent,
            self.received,
            self.sent_octets,
            self.received_octets,
            self.fragments,
            [place.destination(*end) for end, place in places],
        )


def _by_frame(entry: tuple[tuple[str, int], Place]) -> int:
    return entry[1].frame


@dataclass(slots=True, eq=False)
class Bound:
    """BND of the reply, and what is to be said of it.

    Attributes:
        address: None where the capture lacks it.
        frame: number of the reply's packet.
        named: the endpoint that it names, None where it names none by itself.
        unreachable: why the client cannot reach it, None where it can.
        served: datagrams have come from there nonetheless.
    """

    address: Address | None
    frame: int
    named: int | None
    unreachable: str | None
    served: bool = False

    @staticmethod
    def of(address: Address | None, frame: int, client: int, proxy: int, book: AddressBook) -> Bound:
        """What a reply's BND means between these two endpoints."""
        if address is None:
            return Bound(None, frame, None, None)
        named = None
        unreachable = "its port is 0" if not address.port else None
        if address.type != AddressType.DOMAIN and not address.is_unspecified:
            host = address.host.removeprefix(_MAPPED) if len(address.host) == 16 else address.host
            named = book.make(host, address.port)
            unreachable = unreachable or _unreachable(
                book.endpoint_address(named), book.endpoint_address(client), book.endpoint_address(proxy)
            )
        return Bound(address, frame, named, unreachable)

    def relays(self, proxy: int) -> tuple[int, ...]:
        """Endpoints where the relay may listen, given the proxy's endpoint.

        Where BND names an address the proxy is not known by, datagrams go there, or, when that address means nothing
        to the client (address translation), to the proxy's.
        """
        if self.address is None or not self.address.port:
            return ()
        own = (proxy & ~0xFFFF) | self.address.port
        return (own,) if self.named in (None, own) else (self.named, own)

    def may_be_elsewhere(self, proxy: int) -> bool:
        """Whether only the client's datagrams tell where the relay is."""
        if self.address is None or not self.address.port or self.address.type == AddressType.DOMAIN:
            return True
        return self.named is not None and self.named >> 16 != proxy >> 16


class Icmp(NamedTuple):
    """What ICMP says of a datagram.

    Attributes:
        reason: `port unreachable`.
        sender: who says so, an endpoint.
        frame: number of the packet.
        place: where the proxy had sent the datagram on; None of one that the client sent.
    """

    reason: str
    sender: int
    frame: int
    place: int | None

    def text(self, book: AddressBook) -> str:
        """As a part of a sentence."""
        about = "" if self.place is None else f" for the proxy's datagram to {_text(self.place, book)}"
        return f"ICMP {self.reason} came from {book.endpoint_address(self.sender)}{about} (frame {self.frame})"


def _unreachable(bound: str, client: str, proxy: str) -> str | None:
    if bound == proxy:
        return None
    if is_loopback(bound):
        return None if is_loopback(client) else "it is a loopback address, and the proxy is another host"
    if is_private(bound) and not is_private(client):
        return "it is a private address, and the client is not in that network"
    return None


class Opening(NamedTuple):
    """A success of UDP ASSOCIATE: what an association needs to know of its dialogue.

    Attributes:
        declared: DST of the request, None where it cannot be read.
        bound: BND of the reply, None where the capture lacks it.
        requested, replied: ns.
        frame: number of the reply's packet.
        agreed: number of the packet from which on all of this is known: others may come later in a capture.
        enclosed: it was agreed on inside GSSAPI tokens.
    """

    declared: Address | None
    bound: Address | None
    requested: int
    replied: int
    frame: int
    agreed: int
    enclosed: bool = False

    @staticmethod
    def of(session: Session) -> Opening | None:
        """What a session has seen; None where it has not come so far."""
        request, reply = session.request, session.reply_frame
        if request is None or reply is None:
            return None
        agreed = max(entry.frame for entry in session.frames)
        return Opening(
            session.destination, session.bound, request.time, reply.time, reply.frame, agreed, session.enclosed
        )


@dataclass(slots=True, eq=False)
class Association:
    """One UDP ASSOCIATE that succeeded.

    Attributes:
        client, proxy: endpoints of the TCP connection.
        port: the port the client said it will use, 0 unknown.
        opened, closed: ns, request to end of the TCP connection by the later clock; `closed` is None while it lives.
        replied: ns, when the reply came.
        agreed: see `Opening`; before that packet a reader does not know of it.
        enclosed: it was agreed on inside GSSAPI tokens, so that datagrams may come in such tokens; those are not read.
        bound: where its datagrams go.
        relays: endpoints where the proxy may take datagrams.
        hosts: the client's addresses, endpoints with port 0: that of its TCP connection first.
        ports: from which it has sent, each with the number of the packet from which on that is known.
        forgotten: its record has been made.
        amounts, elsewhere (from where else the client got answers).
        queues: of fragments, from the client (True) and towards it, once there are some.
        frames: its datagrams, where they are wanted.
        numbers: where those are wanted, of its datagrams `frame * 2`, one more where the client sent it.
        anomalies: what datagrams showed.
        fault: the error of this program that some of them were lost to; see `Faults`.
        icmp: the first error that ICMP told of them.
        strangers: who else has sent to the relay, each with the number of the first packet.
    """

    client: int
    proxy: int
    port: int
    opened: int
    replied: int
    agreed: int
    bound: Bound
    enclosed: bool = False
    closed: int | None = None
    forgotten: bool = False
    relays: list[int] = field(default_factory=list)
    hosts: list[int] = field(default_factory=list)
    ports: dict[int, int] = field(default_factory=dict)
    amounts: Amounts = field(default_factory=Amounts)
    queues: dict[bool, Queue] = field(default_factory=dict)
    elsewhere: int | None = None
    strangers: dict[int, int] = field(default_factory=dict)
    frames: list[FrameEntry] = field(default_factory=list)
    anomalies: list[AnomalyEntry] = field(default_factory=list)
    numbers: list[NDArray[np.int64]] = field(default_factory=list)
    fault: str | None = None
    icmp: Icmp | None = None

    @staticmethod
    def of(opening: Opening, client: int, proxy: int, closed: int | None, book: AddressBook) -> Association:
        """What a success opens, given the endpoints."""
        declared = opening.declared
        own = declared is not None and (declared.is_unspecified or declared.host == book.packed(client))
        bound = Bound.of(opening.bound, opening.frame, client, proxy, book)
        return Association(
            client,
            proxy,
            declared.port if own and declared is not None else 0,
            min(opening.requested, opening.replied),
            opening.replied,
            opening.agreed,
            bound,
            opening.enclosed,
            closed,
            relays=list(bound.relays(proxy)),
            hosts=[client & ~0xFFFF],
        )

    @property
    def seeks(self) -> bool:
        """Its relay has yet to be found by the client's datagrams."""
        return not self.amounts.sent and self.bound.may_be_elsewhere(self.proxy)

    def may_be_at(self, relay: int) -> bool:
        """Whether an endpoint may be the relay that is sought: that port, or where BND names none the proxy's."""
        wanted = 0 if self.bound.address is None else self.bound.address.port
        return relay & 0xFFFF == wanted if wanted else relay >> 16 == self.proxy >> 16

    @property
    def ends(self) -> int:
        """When its TCP connection ended (ns); later than everything while it lives."""
        return NEVER if self.closed is None else self.closed

    def lived(self, time: int) -> bool:
        """Whether its TCP connection was open at that time."""
        return self.opened <= time and (self.closed is None or time <= self.closed)

    def may_have(self, time: int) -> bool:
        """Whether a datagram of that time can be this association's."""
        return self.opened - SLACK <= time and (self.closed is None or time <= self.closed + OUTLIVE)

    def had_sent(self, moment: int) -> bool:
        """Whether the client had shown a port of its by that packet."""
        return any(frame <= moment for frame in self.ports.values())

    def endpoints(self) -> Iterator[int]:
        """Endpoints that datagrams are compared with."""
        yield self.client
        yield self.proxy
        yield from self.relays
        yield from self.hosts
        yield from self.amounts.remotes
        yield from self.strangers
        if self.bound.named is not None:
            yield self.bound.named
        if self.elsewhere is not None:
            yield self.elsewhere
        if self.icmp is not None:
            yield self.icmp.sender
            yield self.icmp.place or self.icmp.sender

    def numbered(self) -> NDArray[np.int64]:
        """All of `numbers`, in the capture's order."""
        return np.sort(np.concatenate(self.numbers)) if self.numbers else np.empty(0, np.int64)

    def note(self, code: str, frame: int, message: str) -> None:
        """An anomaly, each code once per association: a stream of datagrams repeats what is wrong with it."""
        for place, entry in enumerate(self.anomalies):
            if entry.code == code:
                if frame < (entry.frame or 0):  # of one that came before the association was known
                    self.anomalies[place] = anomaly(code, frame, message)
                return
        self.anomalies.append(anomaly(code, frame, message))

    def findings(self, book: AddressBook) -> list[AnomalyEntry]:
        """What was odd, with what only the whole tells."""
        found = list(self.anomalies)
        for party, frame in self.strangers.items():
            message = f"{book.endpoint_address(party)}:{party & 0xFFFF} sends to the relay, which is another client's"
            found.append(anomaly("udp-unassociated", frame, message))
        if self.bound.unreachable is not None and not self.bound.served:
            found.append(
                anomaly(
                    "unreachable-bound",
                    self.bound.frame,
                    f"the client cannot reach the relay at {self.bound.address}: {self.bound.unreachable}",
                )
            )
        for outward, sender in enumerate(("proxy", "client")):
            queue = self.queues.get(bool(outward))
            incomplete = None if queue is None else queue.unfinished()
            if incomplete is not None:
                frame, count = incomplete
                came = "1 fragment" if count == 1 else f"{count} fragments"
                found.append(anomaly("udp-fragments-incomplete", frame, f"{came} of the {sender}, and not the rest"))
        time, frame = self.amounts.latest
        if self.closed is not None and time > self.closed:
            late = (time - self.closed) / 1e9
            message = f"a datagram {late:.3g} s after the association's TCP connection had ended"
            found.append(anomaly("udp-after-close", frame, message))
        if self.amounts.sent and not self.amounts.answered & self.ports.keys():
            found.append(anomaly("udp-one-way", self.amounts.last, self._one_way(book)))
        return found

    def _one_way(self, book: AddressBook) -> str:
        count = self.amounts.sent
        went = "1 datagram went" if count == 1 else f"{count} datagrams went"
        if self.elsewhere is not None:
            relay, sender = self.relays[0], self.elsewhere
            other = "port" if relay >> 16 == sender >> 16 else "address"
            return (
                f"{went} to the relay and none came back from it: answers came from another {other}, "
                f"{_text(sender, book)}"
            )
        if self.amounts.received:
            ports = ", ".join(map(str, sorted(self.amounts.answered)[:3]))
            return f"{went} to the relay and its answers went to another port of the client: {ports}"
        error = "" if self.icmp is None else f": {self.icmp.text(book)}"
        return f"{went} to the relay and none came back{error}"


def _text(endpoint: int, book: AddressBook) -> str:
    host, port = book.endpoint_address(endpoint), endpoint & 0xFFFF
    return f"[{host}]:{port}" if endpoint & IPV6 else f"{host}:{port}"
