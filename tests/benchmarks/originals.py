"""Captures of real dialogues as originals, of which any number of copies can be made, each with hosts of its own.

Of every original the addresses that begin a flow are known, and those of both ends of datagrams (two relays that are
open at a time are not one endpoint), and all places in its octets where one of them stands: in IP headers, and in what
SOCKS says (BND.ADDR of an association, DST.ADDR of a datagram). A copy has another address of the same kind in all
these places, and other sequence numbers, so no flow of one copy is a flow of another. Names stay what they are. IPv4
checksums are right again; TCP and UDP checksums are zero, as on a loopback interface with offload.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture import open_captures
from socks5sniff.errors import DamagedInputError

_ETHERNET = 1
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_TAGS = (b"\x81\x00", b"\x88\xa8")
_TCP, _UDP = 6, 17
_ACK = 0x10
_SACK = 5

BLOCKS = {
    "loopback": (0x7F010000, 0x00FE0000),
    "private": (0x0A010000, 0x00FE0000),
    "documentation": (0xC6120000, 0x00020000),
    "public": (0x2C000000, 0x01000000),
}
"""First address and number of addresses of the blocks that copies' IPv4 addresses come from, by kind."""

_KINDS = (
    ("loopback", "127.0.0.0/8"),
    *(("private", net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    *(("documentation", net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15")),
)
_NETWORKS = [(kind, ipaddress.IPv4Network(net)) for kind, net in _KINDS]


@dataclass
class Original:
    """The frames of one capture, and what is changed in a copy of them.

    Attributes:
        octets: uint8: all frames, one after the other.
        begin, captured, length, time: int64[n]: where each frame starts, its octets here and on the wire, and its time
            in nanoseconds from the capture's first.
        conversations: how many SOCKS conversations are in it.
        addresses: the addresses that copies have others for, as 4 or 16 octets.
        places: where addresses stand in `octets`: for each address int64 positions.
        numbers: int64[m, 2]: where a sequence number stands, and which stream (0 to `streams` - 1) it belongs to.
        ip_headers, checksums: int64: where an IPv4 header without options begins, and where a TCP or UDP checksum is.
    """

    name: str
    octets: NDArray[np.uint8]
    begin: NDArray[np.int64]
    captured: NDArray[np.int64]
    length: NDArray[np.int64]
    time: NDArray[np.int64]
    conversations: int
    addresses: list[bytes]
    places: list[NDArray[np.int64]]
    numbers: NDArray[np.int64]
    streams: int
    ip_headers: NDArray[np.int64]
    checksums: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.begin)


class Addresses:
    """Gives out addresses, no address twice before a block is used up."""

    def __init__(self) -> None:
        self._given = dict.fromkeys([*BLOCKS, "IPv6"], 0)

    def like(self, address: bytes, count: int) -> NDArray[np.uint8]:
        """uint8[count, octets]: `count` addresses of the kind of this one."""
        kind = _kind(address)
        number = np.arange(self._given[kind], self._given[kind] + count)
        self._given[kind] += count
        if kind == "IPv6":
            made = np.tile(np.frombuffer(address, np.uint8), (count, 1))
            made[:, 4:8] = (number + 0x00010000).astype(">u4").view(np.uint8).reshape(count, 4)
            return made
        first, size = BLOCKS[kind]
        return (first + 1 + number % (size - 2)).astype(">u4").view(np.uint8).reshape(count, 4)


def copies(original: Original, count: int, given: Addresses, draw: np.random.Generator) -> NDArray[np.uint8]:
    """uint8[count, octets]: the original's octets, `count` times, each a copy with hosts of its own."""
    made = np.tile(original.octets, (count, 1))
    for address, places in zip(original.addresses, original.places, strict=True):
        other = given.like(address, count)
        for octet in range(len(address)):
            made[:, places + octet] = other[:, octet, None]
    shift = draw.integers(0, 1 << 32, (count, max(original.streams, 1)), np.uint32)
    at, stream = original.numbers.T
    wide = at[:, None] + np.arange(4)
    said = original.octets[wide].copy().view(">u4").reshape(-1)
    shifted = np.ascontiguousarray(said.astype(np.uint32) + shift[:, stream], ">u4")
    made[:, wide] = shifted.view(np.uint8).reshape(count, len(wide), 4)
    headers = original.ip_headers[:, None] + np.arange(20)
    made[:, headers[:, 10:12]] = 0
    words = made[:, headers].reshape(count, -1, 10, 2).astype(np.int64)
    total = (words[..., 0] * 256 + words[..., 1]).sum(2)
    total = (total & 0xFFFF) + (total >> 16)
    total = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
    made[:, headers[:, 10]] = total >> 8
    made[:, headers[:, 11]] = total & 0xFF
    made[:, original.checksums] = 0
    made[:, original.checksums + 1] = 0
    return made


def load(path: Path, conversations: int) -> Original | None:
    """The capture as an original; None where it is not all Ethernet, or is damaged or empty."""
    parts: list[bytes] = []
    captured, length, time = [], [], []
    try:
        for batch in open_captures([str(path)]):
            if any(interface.link_type != _ETHERNET for interface in batch.interfaces):
                return None
            parts += [batch.frame(row) for row in range(len(batch))]
            captured.append(batch.captured.copy())
            length.append(batch.length.copy())
            time.append(batch.time.copy())
    except DamagedInputError:
        return None
    if not parts:
        return None
    sizes = np.concatenate(captured)
    times = np.concatenate(time)
    begin = np.cumsum(sizes) - sizes
    found = _Findings()
    for at, frame in zip(begin.tolist(), parts, strict=True):
        found.look(frame, at)
    octets = b"".join(parts)
    addresses = sorted(address for address in found.hosts if _replaceable(address))
    return Original(
        path.name,
        np.frombuffer(octets, np.uint8),
        begin,
        sizes,
        np.concatenate(length),
        np.maximum.accumulate(times - times[0]),
        conversations,
        addresses,
        [_occurrences(octets, address) for address in addresses],
        np.array(found.numbers, np.int64).reshape(-1, 2),
        len(found.streams),
        np.array(found.ip_headers, np.int64),
        np.array(found.checksums, np.int64),
    )


@dataclass
class _Findings:
    """What the headers of an original's frames hold."""

    flows: set[frozenset[tuple[bytes, bytes, int]]] = field(default_factory=set)
    hosts: set[bytes] = field(default_factory=set)
    streams: dict[tuple[bytes, bytes, bytes, bytes], int] = field(default_factory=dict)
    numbers: list[tuple[int, int]] = field(default_factory=list)
    ip_headers: list[int] = field(default_factory=list)
    checksums: list[int] = field(default_factory=list)

    def look(self, frame: bytes, at: int) -> None:
        """Look at the headers of a frame that starts at `at`."""
        link = 12
        while frame[link : link + 2] in _TAGS:
            link += 4
        kind, ip = frame[link : link + 2], link + 2
        if kind == _IPV4 and len(frame) >= ip + 20 and frame[ip] >> 4 == 4:
            source, destination = frame[ip + 12 : ip + 16], frame[ip + 16 : ip + 20]
            if frame[ip] == 0x45:
                self.ip_headers.append(at + ip)
            later = int.from_bytes(frame[ip + 6 : ip + 8], "big") & 0x1FFF
            self._transport(frame, at, ip + (frame[ip] & 15) * 4, -1 if later else frame[ip + 9], source, destination)
        elif kind == _IPV6 and len(frame) >= ip + 40:
            source, destination = frame[ip + 8 : ip + 24], frame[ip + 24 : ip + 40]
            self._transport(frame, at, ip + 40, frame[ip + 6], source, destination)

    def _transport(self, frame: bytes, at: int, start: int, protocol: int, source: bytes, destination: bytes) -> None:
        ports = frame[start : start + 2], frame[start + 2 : start + 4]
        if protocol == -1 or len(ports[1]) < 2:
            return
        flow = frozenset(((source, ports[0], protocol), (destination, ports[1], protocol)))
        if flow not in self.flows:
            self.flows.add(flow)
            self.hosts |= {source, destination} if protocol == _UDP else {source}
        if protocol == _UDP and len(frame) >= start + 8:
            self.checksums.append(at + start + 6)
        elif protocol == _TCP and len(frame) >= start + 20:
            self.checksums.append(at + start + 16)
            own = self._stream(source, ports[0], destination, ports[1])
            other = self._stream(destination, ports[1], source, ports[0])
            self.numbers.append((at + start + 4, own))
            if frame[start + 13] & _ACK:
                self.numbers.append((at + start + 8, other))
            options = frame[start + 20 : start + (frame[start + 12] >> 4) * 4]
            self.numbers += [(at + start + 20 + edge, other) for edge in _sack_edges(options)]

    def _stream(self, source: bytes, port: bytes, destination: bytes, other: bytes) -> int:
        return self.streams.setdefault((source, port, destination, other), len(self.streams))


def _sack_edges(options: bytes) -> Iterator[int]:
    """Where in TCP options sequence numbers of selective acknowledgments stand (RFC 2018)."""
    at = 0
    while at + 1 < len(options) and options[at] != 0:
        size = 1 if options[at] == 1 else options[at + 1]
        if size == 0:
            return
        if options[at] == _SACK:
            yield from range(at + 2, min(at + size, len(options)) - 3, 4)
        at += size


def _occurrences(octets: bytes, address: bytes) -> NDArray[np.int64]:
    found: Iterable[re.Match[bytes]] = re.finditer(re.escape(address), octets)
    return np.array([match.start() for match in found], np.int64)


def _kind(address: bytes) -> str:
    if len(address) == 16:
        return "IPv6"
    host = ipaddress.IPv4Address(address)
    return next((kind for kind, network in _NETWORKS if host in network), "public")


def _replaceable(address: bytes) -> bool:
    """Whether it is one host's, and its octets hardly stand somewhere by chance."""
    host = ipaddress.ip_address(address)
    if isinstance(host, ipaddress.IPv6Address):
        return not (host.is_multicast or host.is_loopback or host.is_link_local or host.is_unspecified)
    return not (host.is_multicast or host.is_link_local or host.is_reserved or address[0] == 0)
