"""What is right of a capture: written by its scenario from what it did and from what the targets saw.

Nothing that reads captures has a part in it. What follows from the packets alone (times, numbers, counts) is filled
in from the packets as the trace made them. A key that a scenario leaves out is not judged.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from ipaddress import ip_address
from typing import Any, NamedTuple

from socks5sniff.client import Witnessed
from socks5sniff.codec import Address, reply_name, socks4_reply_name
from socks5sniff.proxy.packets import ACK, SYN, HostPort, Packet, RawFrame, TcpSegment
from socks5sniff.record import iso_time

DEFAULTS: dict[str, Any] = {
    "parent": None,
    "protocol": "socks5",
    "reversed": False,
    "phase": "relay",
    "outcome": "succeeded",
    "methods": ["no-authentication"],
    "method": "no-authentication",
    "username": None,
    "password": None,
    "authenticated": None,
    "command": "connect",
    "destination": None,
    "reply": None,
    "bound": None,
    "peer_reply": None,
    "peer": None,
    "tunnel": None,
    "bytes": None,
    "udp": None,
    "close": "fin",
    "anomalies": [],
    "proxy_header": None,
    "network": None,
    "process": None,
}
"""What a conversation is unless the scenario says otherwise."""

SOCKS4_DEFAULTS: dict[str, Any] = {**DEFAULTS, "protocol": "socks4", "methods": None, "method": None}

ORDER = ("greeting", "method-selection", "auth-request", "auth-reply", "gssapi", "request", "reply", "udp")
"""The order in which the record lists a dialogue's frames, whenever they came."""


def target(host: str, port: int) -> dict[str, Any]:
    """DST or BND as the truth writes it."""
    address = Address.from_text(host, port)
    return {"type": address.type_name, "host": host, "port": port}


def reply(code: int, version: int = 5) -> dict[str, Any]:
    """A reply code as the truth writes it."""
    return {"code": code, "name": reply_name(code) if version == 5 else socks4_reply_name(code)}


def endpoint(address: HostPort) -> dict[str, Any]:
    """A client or proxy as the truth writes it."""
    return {"address": address[0], "port": address[1]}


class Point(NamedTuple):
    """Where in the capture something was."""

    number: int
    time: int
    """Nanoseconds since 1970."""


@dataclass(slots=True)
class Expectation:
    """One conversation that the capture holds.

    Attributes:
        facts: keys of the record.
        client, proxy: the TCP connection's ends.
        occurrence: which of the connections between the same two, from 0.
        frames: the SOCKS frames, None where they are not judged.
        after: octets of the stream, from the client and from the proxy, before the first frame.
        source: where the proxy's own connection came from, as the destination saw it; None where BND says it.
        unjudged: keys to leave out.
    """

    facts: dict[str, Any]
    client: HostPort
    proxy: HostPort
    occurrence: int
    frames: list[Witnessed] | None
    after: tuple[int, int]
    source: HostPort | None
    unjudged: set[str] = field(default_factory=set)

    def fill_in(self, connection: Connection, upstream: Connection | None) -> None:
        """What follows from the packets."""
        facts, own = self.facts, connection.packets
        side = 0 if connection.opener == self.client else 1
        points = self._points(connection, side)
        first, last = own[0], own[-1]
        inside = facts.get("parent") is not None
        if inside and points:
            first = points[0]  # of a conversation in a tunnel: where it begins in it
        facts.setdefault("reversed", side == 1)
        facts.setdefault("tcp_stream", connection.stream)
        facts.setdefault("packets", connection.count)
        facts.setdefault("first_frame", first.number)
        facts.setdefault("last_frame", last.number)
        facts.setdefault("start", iso_time(first.time))
        facts.setdefault("end", iso_time(last.time))
        facts.setdefault("duration", (last.time - first.time) / 1e9)
        if upstream is not None:
            ends = {"source": endpoint(upstream.opener), "destination": endpoint(upstream.listener)}
            facts.setdefault("upstream", {**ends, "matched_by": self._proof(upstream), "outcome": "established"})
        facts.setdefault("upstream", None)
        if self.frames is None or len(points) < len(self.frames):
            return
        facts.setdefault(
            "frames",
            [
                {"frame": point.number, "time": iso_time(point.time), **frame._asdict()}
                for frame, point in zip(self._ordered(), points, strict=True)
            ],
        )
        facts.setdefault("timing", self._timing(connection, side, points, None if inside else connection, upstream))

    def upstream_in(self, connections: Iterable[Connection]) -> Connection | None:
        """The proxy's own connection, if it succeeded and is in the capture."""
        facts = self.facts
        if (facts["command"], facts["outcome"]) != ("connect", "succeeded"):
            return None
        bound = facts.get("bound")
        source = self.source or (bound and (bound["host"], bound["port"]))
        return next((each for each in connections if each.opener == source), None)

    def _proof(self, upstream: Connection) -> str:
        """What shows that `upstream` is this conversation's."""
        bound, destination = self.facts["bound"], self.facts["destination"]
        if (bound["host"], bound["port"]) == upstream.opener:
            return "bound-address"
        return "octets" if destination["type"] == "domain" else "destination-and-time"

    def _ordered(self) -> list[Witnessed]:
        return sorted(self.frames or [], key=lambda frame: ORDER.index(frame.type))

    def _points(self, connection: Connection, side: int) -> list[Point]:
        """Where each frame was whole; shorter than the frames where octets are missing."""
        spoken = list(self.after)
        points = []
        for frame in self._ordered():
            proxy = frame.sender == "proxy"
            spoken[proxy] += frame.length
            point = connection.heard(side ^ proxy, self.after[proxy], spoken[proxy])
            if point is None:
                break
            points.append(point)
        return points

    def _timing(
        self,
        connection: Connection,
        side: int,
        points: Sequence[Point],
        opened: Connection | None,
        upstream: Connection | None,
    ) -> dict[str, float | None]:
        """The record's steps in seconds."""
        frames = self._ordered()
        at: dict[str, list[Point]] = {}
        for frame, point in zip(frames, points, strict=True):
            at.setdefault(frame.type, []).append(point)
        said = self.after[1] + sum(frame.length for frame in frames if frame.sender == "proxy")
        reply = at.get("reply", [None])[-1]
        relayed = self.facts.get("outcome") == "succeeded" and self.facts.get("tunnel") is not None
        first = connection.heard(side ^ 1, self.after[1], said + 1) if reply and relayed else None
        return {
            "tcp_handshake": None if opened is None else opened.handshake,
            "negotiation": _step(at.get("greeting"), at.get("method-selection")),
            "authentication": _step(at.get("auth-request"), at.get("auth-reply"))
            if "gssapi" not in at
            else _step(at["gssapi"], at["gssapi"][1:]),
            "request": _step(at.get("request"), at.get("reply", [])[:1]),
            "first_byte": _step([reply] if reply else None, [first] if first else None),
            "upstream_handshake": None if upstream is None else upstream.handshake,
        }


def _step(start: Sequence[Point] | None, end: Sequence[Point] | None) -> float | None:
    """Seconds between the first of the one and the last of the other; a step that would be negative is none."""
    if not start or not end or end[-1].time < start[0].time:
        return None
    return (end[-1].time - start[0].time) / 1e9


class Connection:
    """One TCP connection of the capture.

    Attributes:
        stream: its index in the order of first packets.
        opener, listener: its ends.
        packets: where its packets are.
        count: TCP packets; IP fragments of one are one.
        handshake: seconds from SYN to SYN/ACK, None where they are not in the capture.
    """

    def __init__(self, stream: int, starts: tuple[int, int], own: Sequence[tuple[int, Packet]]) -> None:
        self.stream = stream
        self.packets = [Point(number, packet.time) for number, packet in own]
        segments = [(Point(number, packet.time), segment) for number, packet in own if (segment := segment_of(packet))]
        self.count = len(segments)
        first = segments[0][1]
        ends = (first.source, first.destination)
        self.opener, self.listener = ends if first.sender == 0 else ends[::-1]
        begun = [next((p.time for p, s in segments if s.flags == flags), None) for flags in (SYN, SYN | ACK)]
        self.handshake = (begun[1] - begun[0]) / 1e9 if begun[0] is not None and begun[1] is not None else None
        self._segments = segments
        self._starts = starts

    def heard(self, sender: int, begin: int, end: int) -> Point | None:
        """Where the octets from `begin` to `end` of a direction were all there, whatever the order they came in."""
        missing = set(range(begin, end))
        for point, segment in self._segments:
            if segment.sender == sender and segment.payload:
                first = (segment.sequence - self._starts[sender]) & 0xFFFFFFFF
                missing.difference_update(range(first, first + len(segment.payload)))
                if not missing:
                    return point
        return None


class Truth:
    """The expectations of one scenario.

    Attributes:
        conversations: what is expected, as the truth's file has it.
    """

    def __init__(self) -> None:
        self._expected: list[Expectation] = []

    @property
    def conversations(self) -> list[dict[str, Any]]:
        return [expectation.facts for expectation in self._expected]

    def expect(
        self,
        client: HostPort,
        proxy: HostPort,
        occurrence: int,
        frames: list[Witnessed] | None,
        after: tuple[int, int],
        source: HostPort | None,
        facts: dict[str, Any],
    ) -> dict[str, Any]:
        """One more conversation; its facts, which may still be changed."""
        base = DEFAULTS if facts.get("protocol", "socks5") == "socks5" else SOCKS4_DEFAULTS
        ends = {"client": endpoint(client), "proxy": endpoint(proxy), "community_id": community_id(client, proxy)}
        expected = {**ends, **base, **facts}
        named = expected["destination"] is not None and expected["destination"]["type"] == "domain"
        asked = expected["destination"] is not None
        expected.setdefault("name_resolution", "remote" if named else "address" if asked else None)
        if expected["tunnel"] is not None:
            expected["tunnel"] = {"server_name": None, "alpn": None, **expected["tunnel"]}
        self._expected.append(Expectation(expected, client, proxy, occurrence, frames, after, source))
        return expected

    def begin_at(self, first: int) -> None:
        """The capture begins with this one of the last expectation's frames, counted from 0."""
        last = self._expected[-1]
        frames = last.frames or []
        sizes = [sum(each.length for each in frames[:first] if each.sender == who) for who in ("client", "proxy")]
        last.frames, last.after = frames[first:], (sizes[0], sizes[1])

    def forget(self, *keys: str) -> None:
        """Do not judge these keys of the last expectation; `timing.request` is a key of an object."""
        self._expected[-1].unjudged.update(keys)

    def finish(self, capture: str, made: Sequence[Packet], packets: Sequence[Packet], counted: bool = True) -> None:
        """Fill in what follows from the packets.

        Args:
            capture: the file's name.
            made: the packets before any impairment.
            packets: those of the capture.
            counted: there are packets to count (else the capture is somebody else's).
        """
        connections = connections_of(made, packets) if counted else []
        for expected in self._expected:
            expected.facts["capture"] = capture
            ends = {expected.client, expected.proxy}
            between = [each for each in connections if {each.opener, each.listener} == ends]
            if between:
                expected.fill_in(between[expected.occurrence], expected.upstream_in(connections))
        self._number()
        for expected in self._expected:
            for key in expected.unjudged:
                facts, _, inner = key.rpartition(".")
                (expected.facts.get(facts, {}) if facts else expected.facts).pop(inner, None)

    def _number(self) -> None:
        """Ids go by first packets."""
        if all("first_frame" in expected.facts for expected in self._expected):
            for number, facts in enumerate(sorted(self.conversations, key=lambda facts: facts["first_frame"]), 1):
                facts["id"] = number


def connections_of(made: Sequence[Packet], packets: Sequence[Packet]) -> list[Connection]:
    """The TCP connections of the capture, in the order of their first packets."""
    starts: dict[tuple[int, int], int] = {}
    for packet in made:
        if isinstance(packet, TcpSegment) and packet.flags & SYN:
            starts.setdefault((packet.flow, packet.sender), (packet.sequence + 1) & 0xFFFFFFFF)
    own: dict[int, list[tuple[int, Packet]]] = {}
    for number, packet in enumerate(packets, 1):
        if flow_of(packet) >= 0:
            own.setdefault(flow_of(packet), []).append((number, packet))
    return [
        Connection(stream, (starts[flow, 0], starts[flow, 1]), each) for stream, (flow, each) in enumerate(own.items())
    ]


def segment_of(packet: Packet) -> TcpSegment | None:
    """The TCP segment that is there with this packet."""
    if isinstance(packet, RawFrame):
        return packet.completes
    return packet if isinstance(packet, TcpSegment) else None


def community_id(one: HostPort, other: HostPort) -> str:
    """Community ID version 1 of a TCP connection (https://github.com/corelight/community-id-spec), seed 0."""
    low, high = sorted((ip_address(host).packed, port) for host, port in (one, other))
    octets = struct.pack(">H", 0) + low[0] + high[0] + struct.pack(">BBHH", 6, 0, low[1], high[1])
    return "1:" + b64encode(sha1(octets).digest()).decode()


def flow_of(packet: Packet) -> int:
    """The packet's TCP connection, -1 where it has none."""
    return packet.flow if isinstance(packet, (TcpSegment, RawFrame)) else -1
