"""Packets written from columns: IP, TCP and UDP headers with lengths and checksums (RFC 791, 8200, 9293, 768).

A batch at a time: the headers of all packets of one kind are filled as columns, the payloads copied behind them, and
every checksum is a sum over the words of the finished packet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.batch import FrameBatch, Interface
from socks5sniff.packets.columns import TcpFlag

TCP, UDP = 6, 17
MAX_PAYLOAD = 65_535 - 40
"""Octets of payload in one packet: what an IPv4 packet holds beside its own header and TCP's."""
WINDOW, WINDOW_SCALE = 65_535, 14
"""A window of a gigabyte: how much the receiver had room for is not known, and no reader shall find it full."""
_SYN_OPTIONS = bytes((2, 4, 0xFF, 0xD7, 1, 3, 3, WINDOW_SCALE))
"""Maximum segment size (MAX_PAYLOAD), a filling octet, window scale."""

_FOUR = np.dtype(
    [
        ("version", "u1"), ("service", "u1"), ("length", ">u2"), ("identification", ">u2"), ("fragment", ">u2"),
        ("ttl", "u1"), ("protocol", "u1"), ("checksum", ">u2"), ("source", "V4"), ("destination", "V4"),
    ]
)  # fmt: skip
_SIX = np.dtype(
    [
        ("version", ">u4"), ("length", ">u2"), ("protocol", "u1"), ("ttl", "u1"),
        ("source", "V16"), ("destination", "V16"),
    ]
)  # fmt: skip
_TCP = np.dtype(
    [
        ("source", ">u2"), ("destination", ">u2"), ("sequence", ">u4"), ("acknowledgment", ">u4"),
        ("offset", "u1"), ("flags", "u1"), ("window", ">u2"), ("checksum", ">u2"), ("urgent", ">u2"),
    ]
)  # fmt: skip
_UDP = np.dtype([("source", ">u2"), ("destination", ">u2"), ("length", ">u2"), ("checksum", ">u2")])
_DONT_FRAGMENT, _TTL = 0x4000, 64


class Route(NamedTuple):
    """Where packets come from and go to: addresses of 4 or 16 octets, both of the same length, and ports."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int

    def back(self) -> Route:
        """The other direction."""
        return Route(self.destination, self.source, self.destination_port, self.source_port)


class Packet(NamedTuple):
    """One packet to be written.

    Attributes:
        frame: number of the frame that it stands for.
        time: ns since 1970.
        protocol: TCP or UDP; the next three are TCP's.
        length: octets of the payload on the wire, where more than there are in `payload`; else 0.
        comment: what the file shall say of it.
    """

    frame: int
    time: int
    route: Route
    protocol: int
    payload: bytes | memoryview = b""
    flags: int = 0
    sequence: int = 0
    acknowledgment: int = 0
    length: int = 0
    comment: str = ""


LINK_HEADERS: dict[int, tuple[bytes, bytes]] = {
    0: ((2).to_bytes(4, "little"), (30).to_bytes(4, "little")),
    1: (bytes(12) + b"\x08\x00", bytes(12) + b"\x86\xdd"),
    101: (b"", b""),
    108: ((2).to_bytes(4, "big"), (30).to_bytes(4, "big")),
    113: (b"\0\0\0\x01" + bytes(10) + b"\x08\x00", b"\0\0\0\x01" + bytes(10) + b"\x86\xdd"),
    276: (b"\x08\x00\0\0" + bytes(4) + b"\0\x01" + bytes(10), b"\x86\xdd\0\0" + bytes(4) + b"\0\x01" + bytes(10)),
}
"""By LINKTYPE_: what stands in front of IPv4 and of IPv6. Hosts have no link-layer addresses here: they are zeros."""
RAW_IP = 101


class _Columns(NamedTuple):
    """Packets as columns, see `Packet`; addresses are of 16 octets, zeros behind IPv4's."""

    time: NDArray[np.int64]
    four: NDArray[np.bool_]
    source_port: NDArray[np.uint16]
    destination_port: NDArray[np.uint16]
    source: NDArray[np.void]
    destination: NDArray[np.void]
    protocol: NDArray[np.uint8]
    captured: NDArray[np.int64]
    length: NDArray[np.int64]
    flags: NDArray[np.uint8]
    sequence: NDArray[np.uint32]
    acknowledgment: NDArray[np.uint32]


class _Layout(NamedTuple):
    """Where everything of each packet is in the memory that is being filled."""

    at: NDArray[np.int64]
    """int64[n], of the IP header."""
    transport: NDArray[np.int64]
    payload: NDArray[np.int64]
    end: NDArray[np.int64]
    """Behind the last octet that is there."""


def frames_of(packets: Sequence[Packet], link_type: int, interface: int = 0) -> FrameBatch:
    """Packets as frames.

    Args:
        packets: at least one, each with at most MAX_PAYLOAD octets of payload.
        link_type: a key of LINK_HEADERS.
        interface: number of the interface that they are said to come from.
    """
    columns = _columns(packets)
    four, udp, syn = columns.four, columns.protocol == UDP, (columns.flags & TcpFlag.SYN) != 0
    links = LINK_HEADERS[link_type]
    link = len(links[0])
    network = np.where(four, 20, 40)
    transport = np.where(udp, 8, 20 + len(_SYN_OPTIONS) * syn)
    sizes = link + network + transport + columns.captured
    # Every header has an even length, so that all words of a checksum are words of the memory, too.
    begins = np.cumsum(sizes + 1 & ~1) - (sizes + 1 & ~1)
    at = begins + link
    layout = _Layout(at, at + network, at + network + transport, begins + sizes)
    memory = np.zeros(int(begins[-1] + sizes[-1]) + 3 & ~1, np.uint8)  # with a word behind the last packet
    view = memoryview(memory.data)
    for packet, start in zip(packets, layout.payload.tolist(), strict=True):
        view[start : start + len(packet.payload)] = packet.payload
    length = transport + columns.length
    for chosen, header in ((four, links[0]), (~four, links[1])):
        _scatter(memory, begins[chosen], np.broadcast_to(np.frombuffer(header, np.uint8), (int(chosen.sum()), link)))
    _fill_network(memory, layout, columns, length)
    _fill_transport(memory, layout, columns, length)
    return FrameBatch(
        octets=memory,
        offset=begins,
        captured=sizes,
        length=sizes + columns.length - columns.captured,
        time=columns.time,
        first_number=1,
        interface=np.full(len(packets), interface, np.uint16),
        interfaces=[Interface("", "", link_type)] * (interface + 1),
    )


def _columns(packets: Sequence[Packet]) -> _Columns:
    _, times, routes, protocols, payloads, flags, sequences, acknowledgments, lengths, _ = zip(*packets, strict=True)
    # By identity, which costs less than comparing: packets of one direction share their route.
    known = {id(route): route for route in routes}
    numbers = {key: number for number, key in enumerate(known)}
    route = np.array([numbers[id(route)] for route in routes], np.intp)
    ends = [
        (len(each.source) == 4, each.source_port, each.destination_port, *map(_padded, each[:2]))
        for each in known.values()
    ]
    four, source_port, destination_port, source, destination = zip(*ends, strict=True)
    captured = np.array([*map(len, payloads)], np.int64)
    return _Columns(
        np.array(times, np.int64),
        np.array(four, np.bool_)[route],
        np.array(source_port, np.uint16)[route],
        np.array(destination_port, np.uint16)[route],
        np.array(source, "V16")[route],
        np.array(destination, "V16")[route],
        np.array(protocols, np.uint8),
        captured,
        np.maximum(captured, np.array(lengths, np.int64)),
        np.array(flags, np.uint8),
        np.array(sequences, np.uint32),
        np.array(acknowledgments, np.uint32),
    )


def _padded(address: bytes) -> bytes:
    return address.ljust(16, b"\0")


def _scatter(memory: NDArray[np.uint8], at: NDArray[np.int64], rows: NDArray[np.uint8]) -> None:
    """Put each row of octets at its place."""
    memory[at[:, None] + np.arange(rows.shape[1])] = rows


def _octets(header: NDArray[Any]) -> NDArray[np.uint8]:
    return header.view(np.uint8).reshape(len(header), header.itemsize)


def _fill_network(memory: NDArray[np.uint8], layout: _Layout, columns: _Columns, length: NDArray[np.int64]) -> None:
    four = np.flatnonzero(columns.four)
    header = np.zeros(len(four), _FOUR)
    header["version"], header["fragment"], header["ttl"] = 0x45, _DONT_FRAGMENT, _TTL
    header["length"], header["protocol"] = 20 + length[four], columns.protocol[four]
    for end in ("source", "destination"):
        header[end] = _octets(getattr(columns, end)[four])[:, :4].copy().view("V4")[:, 0]
    header["checksum"] = _folded(_octets(header).view(">u2").sum(1, dtype=np.uint64))
    _scatter(memory, layout.at[four], _octets(header))
    six = np.flatnonzero(~columns.four)
    header = np.zeros(len(six), _SIX)
    header["version"], header["ttl"] = 6 << 28, _TTL
    header["length"], header["protocol"] = length[six], columns.protocol[six]
    for end in ("source", "destination"):
        header[end] = getattr(columns, end)[six]
    _scatter(memory, layout.at[six], _octets(header))


def _fill_transport(memory: NDArray[np.uint8], layout: _Layout, columns: _Columns, length: NDArray[np.int64]) -> None:
    tcp = np.flatnonzero(columns.protocol == TCP)
    header = np.zeros(len(tcp), _TCP)
    header["source"], header["destination"] = columns.source_port[tcp], columns.destination_port[tcp]
    for name in ("sequence", "acknowledgment", "flags"):
        header[name] = getattr(columns, name)[tcp]
    syn = (header["flags"] & TcpFlag.SYN) != 0
    header["offset"] = np.where(syn, 5 + len(_SYN_OPTIONS) // 4, 5) << 4
    header["window"] = WINDOW
    _scatter(memory, layout.transport[tcp], _octets(header))
    options = np.broadcast_to(np.frombuffer(_SYN_OPTIONS, np.uint8), (int(syn.sum()), len(_SYN_OPTIONS)))
    _scatter(memory, layout.transport[tcp[syn]] + _TCP.itemsize, options)
    udp = np.flatnonzero(columns.protocol == UDP)
    header = np.zeros(len(udp), _UDP)
    header["source"], header["destination"] = columns.source_port[udp], columns.destination_port[udp]
    header["length"] = length[udp]
    _scatter(memory, layout.transport[udp], _octets(header))
    checksum = _transport_checksums(memory, layout, columns, length)
    # A UDP checksum of zero means "none", so zero is sent as its other form (RFC 768).
    checksum[udp] = np.where(checksum[udp] == 0, 0xFFFF, checksum[udp])
    place = layout.transport + np.where(columns.protocol == TCP, 16, 6)
    _scatter(memory, place, checksum.astype(">u2").view(np.uint8).reshape(-1, 2))


def _transport_checksums(
    memory: NDArray[np.uint8], layout: _Layout, columns: _Columns, length: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Over the pseudo header, the header (its own checksum is still zero) and what is there of the payload."""
    words = memory.view(">u2")
    addresses = _octets(columns.source).view(">u2").sum(1, dtype=np.uint64)
    addresses += _octets(columns.destination).view(">u2").sum(1, dtype=np.uint64)
    # `reduceat` adds up to the next index: every other sum is that of a packet's transport.
    bounds = np.stack((layout.transport // 2, (layout.end + 1) // 2), axis=1).ravel()
    sums: NDArray[np.uint64] = np.add.reduceat(words, bounds, dtype=np.uint64)[::2]
    sums += addresses
    return _folded(sums + columns.protocol + length.astype(np.uint64))


def _folded(sums: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The ones' complement of ones' complement sums (RFC 1071)."""
    folded = sums
    for _ in range(4):
        folded = (folded & np.uint64(0xFFFF)) + (folded >> np.uint64(16))
    complement: NDArray[np.uint64] = folded ^ np.uint64(0xFFFF)
    return complement
