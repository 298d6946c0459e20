"""Datagrams on the stream of a tunnel: UDP inside TCP, as three programs do it.

- hev-socks5 (command 05): `data length(2) header length(1) ATYP address port data`;
- GOST (command F3): the UDP header of RFC 1928 s7, RSV being the length of the data;
- sing-box (CONNECT to a name that stands for it): version 2 begins with `connected(1) ATYP address port` of the client;
  then, connected, each datagram is `length(2) data`, else `type address port length(2) data` with types of its own
  (00 IPv4, 01 IPv6, 02 a name). The older version has only the latter.

Of each direction so many octets are read as are kept of it (`watch.DATAGRAMS`); what comes later is not counted.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from socks5sniff.codec import (
    Address,
    AddressType,
    Command,
    Decoded,
    NeedMore,
    decode_fwd_udp_header,
    decode_gost_udp_header,
)
from socks5sniff.record import AnomalyEntry, Tunnel
from socks5sniff.session import Session

from .anomalies import anomaly
from .association import Amounts, Place

NAMES = {b"sp.v2.udp-over-tcp.arpa": "sing-box, version 2", b"sp.udp-over-tcp.arpa": "sing-box, version 1"}
"""Destinations that are none, and what they announce."""

MAX_UNREAD = 1 << 17
"""Octets that wait for the request of the other direction; a datagram and its head are half of that at most."""

_COMMANDS: dict[int | None, str] = {Command.FWD_UDP: "hev-socks5", Command.UDP_OVER_TCP: "GOST"}
_OWN_TYPES = {0: AddressType.IPV4, 1: AddressType.IPV6, 2: AddressType.DOMAIN}
_SIZES = {AddressType.IPV4: 4, AddressType.IPV6: 16}


class Head(NamedTuple):
    """What precedes the data of a datagram.

    Attributes:
        length, data: octets of the head, and of the data as it says.
        place: where the datagram goes or comes from; None where the head does not say.
        fault: what is wrong with its lengths.
    """

    length: int
    data: int
    place: Address | None
    fault: str | None = None


def kind_of(session: Session) -> str | None:
    """Whose way of putting datagrams on the stream a dialogue announces; None where it is an ordinary tunnel."""
    if session.socks4:
        return None
    kind = _COMMANDS.get(session.command)
    if kind is None and session.command == Command.CONNECT and session.destination is not None:
        kind = NAMES.get(session.destination.host.lower())
    return kind


class Receiver(Protocol):
    """Is handed the datagrams themselves."""

    def begin(self, side: int, place: Address | None, length: int, frame: int) -> None:
        """A datagram begins, with so many octets of data."""

    def data(self, side: int, octets: bytes) -> None:
        """The next octets of its data."""

    def lost(self, side: int, length: int) -> None:
        """So many octets of its data are missing."""


class _Stream:
    """One direction: octets of a head that is not whole, and how many of the data are still to come.

    `place` is where the present datagram goes or comes from, while its data may tell what is carried; `data` is that.
    """

    __slots__ = ("buffer", "data", "fed", "frame", "lost", "missing", "place")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.data = bytearray()
        self.place: Place | None = None
        self.missing = 0
        self.fed = 0
        self.lost = False
        self.frame = 0


class StreamDatagrams:
    """What a tunnel carries of datagrams.

    Attributes:
        amounts: see `Amounts`.
        kind: whose way it is, as of `kind_of`.
    """

    def __init__(self, kind: str, client_side: int, receiver: Receiver | None = None) -> None:
        self.kind = kind
        self.amounts = Amounts()
        self._receiver = receiver
        self._client_side = client_side
        self._streams = (_Stream(), _Stream())
        self._faults: list[AnomalyEntry] = []
        # sing-box's request, where one is due: whether it has come, and the one place that it names.
        self._request_due = kind == NAMES[b"sp.v2.udp-over-tcp.arpa"]
        self._connected: Address | None = None

    def feed(self, side: int, octets: bytes, frame: int) -> None:
        """The next octets of a side."""
        stream = self._streams[side]
        stream.frame = frame
        stream.fed += len(octets)
        if stream.lost:
            return
        passed = min(stream.missing, len(octets))
        stream.missing -= passed
        if passed:
            self._pass(side, stream, octets[:passed])
        if passed < len(octets):
            stream.buffer += octets[passed:]
            self._read(side, stream, frame)

    def gap(self, side: int, length: int) -> None:
        """So many octets are missing: nothing can be read behind them unless they are a datagram's data."""
        stream = self._streams[side]
        stream.fed += length
        if self._receiver is not None and stream.missing:
            self._receiver.lost(side, min(length, stream.missing))
        stream.place = None
        stream.lost |= length > stream.missing
        stream.missing = max(stream.missing - length, 0)

    def unread(self, passed: tuple[int, int] | None) -> bool:
        """Whether the tunnel carried more octets (by side) than were kept to be read."""
        return passed is not None and any(
            octets > stream.fed for octets, stream in zip(passed, self._streams, strict=True)
        )

    def tunnel(self) -> Tunnel:
        """Whose way it is, and what the first datagrams are."""
        found = Tunnel("udp-in-tcp", detail=self.kind)
        carried = self.amounts.tunnel()
        if carried is None:
            return found
        inside = f"DNS {carried.detail}" if carried.protocol == "dns" else carried.detail
        detail = f"{self.kind}; {inside}"
        return found._replace(server_name=carried.server_name, alpn=carried.alpn, detail=detail)

    def anomalies(self, whole: bool) -> list[AnomalyEntry]:
        """What was odd, once nothing more comes; `whole` says that all octets were read."""
        found = list(self._faults)
        for side, stream in enumerate(self._streams if whole else ()):
            if not stream.lost and (stream.missing or stream.buffer):
                lacks = (
                    f"lacks {stream.missing} of the octets that its length says" if stream.missing else "has no data"
                )
                sender = "client" if side == self._client_side else "proxy"
                found.append(anomaly("half-frame", stream.frame, f"the last datagram of the {sender} {lacks}"))
        return found

    def _read(self, side: int, stream: _Stream, frame: int) -> None:
        octets, at = bytes(stream.buffer), 0
        while at < len(octets):
            if self._request_due:
                size = self._read_request(octets) if side == self._client_side else None
                if size is None:
                    stream.lost = len(octets) > MAX_UNREAD
                    break
                at += size
                continue
            head = self._head(octets, at)
            if head is None:
                break
            if isinstance(head, str):
                self._note(side, frame, head)
                stream.lost = True
                break
            self._count(side, frame, head)
            taken = min(len(octets) - at, head.length + head.data)
            stream.missing = head.length + head.data - taken
            self._begin(side, stream, head)
            self._pass(side, stream, octets[at + head.length : at + taken])
            at += taken
        del stream.buffer[:at]
        other = self._streams[1 - side]
        if side == self._client_side and not self._request_due and other.buffer and not other.lost:
            self._read(1 - side, other, other.frame)  # it had to wait for the request

    def _begin(self, side: int, stream: _Stream, head: Head) -> None:
        """A datagram begins, whose data is still to be passed on."""
        if self._receiver is not None:
            self._receiver.begin(side, head.place, head.data, stream.frame)
        elif head.place is not None:
            place = self.amounts.places.get((head.place.text, head.place.port))
            stream.place = place if place is not None and place.wants(side == self._client_side) else None
            stream.data.clear()

    def _pass(self, side: int, stream: _Stream, octets: bytes) -> None:
        """The next octets of a datagram's data, to whoever wants them."""
        if self._receiver is not None:
            self._receiver.data(side, octets)
        elif stream.place is not None:
            stream.data += octets
            if not stream.missing:
                stream.place.look(bytes(stream.data), side == self._client_side)
                stream.place = None

    def _count(self, side: int, frame: int, head: Head) -> None:
        if head.fault is not None:
            self._note(side, frame, head.fault)
        if head.place is not None:
            outward = side == self._client_side
            self.amounts.count((head.place.text, head.place.port), None, outward, 1, head.data, frame)

    def _note(self, side: int, frame: int, what: str) -> None:
        sender = "client" if side == self._client_side else "proxy"
        if all(entry.code != "udp-no-header" or sender not in entry.message for entry in self._faults):
            self._faults.append(anomaly("udp-no-header", frame, f"a datagram of the {sender} inside TCP: {what}"))

    def _read_request(self, octets: bytes) -> int | None:
        """sing-box's request: its length, None while it is not whole."""
        found = decode_gost_udp_header(b"\0\0" + octets[:260]) if octets else NeedMore(1)
        if isinstance(found, NeedMore):
            return None
        self._request_due = False
        if not isinstance(found, Decoded):
            return 0
        if octets[0]:
            self._connected = found.frame.destination
        return found.length - 2

    def _head(self, octets: bytes, at: int) -> Head | str | None:
        """The head at a place of these octets, what is wrong with it, or None while it is not whole."""
        if self.kind == "hev-socks5":
            fwd = decode_fwd_udp_header(octets, at)
            if isinstance(fwd, Decoded):
                said, taken = fwd.frame.header_length, fwd.length
                fault = None if said == taken else f"its header length says {said}, but the address makes it {taken}"
                return Head(taken, fwd.frame.data_length, fwd.frame.destination, fault)
            return None if isinstance(fwd, NeedMore) else fwd.deviation.message
        if self.kind == "GOST":
            gost = decode_gost_udp_header(octets, at)
            if isinstance(gost, Decoded):
                return Head(gost.length, gost.frame.reserved, gost.frame.destination)
            return None if isinstance(gost, NeedMore) else gost.deviation.message
        if self._connected is not None:
            if len(octets) < at + 2:
                return None
            return Head(2, octets[at] << 8 | octets[at + 1], self._connected)
        return _own_head(octets, at)


def _own_head(octets: bytes, at: int) -> Head | str | None:
    """sing-box's head of a datagram that names its place."""
    kind = _OWN_TYPES.get(octets[at])
    if kind is None:
        return f"no address type 0x{octets[at]:02x} is known"
    start = at + 1
    if kind is AddressType.DOMAIN:
        if len(octets) <= start:
            return None
        size = octets[start]
        start += 1
    else:
        size = _SIZES[kind]
    end = start + size
    if len(octets) < end + 4:
        return None
    port, data = (octets[place] << 8 | octets[place + 1] for place in (end, end + 2))
    return Head(end + 4 - at, data, Address(kind, octets[start:end], port))
