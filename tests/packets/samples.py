"""Frames for the tests of `socks5sniff.packets`, built header by header, and columns as plain rows."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from socks5sniff.capture.batch import FrameBatch, Interface
from socks5sniff.packets import Datagrams, PacketReader, Segments, payload_octets

ETHERNET = 1
RAW = 101


def batch_of(
    frames: Sequence[bytes],
    link_type: int | Sequence[int] = ETHERNET,
    *,
    lengths: Sequence[int] | None = None,
    times: Sequence[int] | None = None,
    first_number: int = 1,
    gap: bytes = b"",
) -> FrameBatch:
    """A batch of these frames, one behind another with `gap` between them and nothing behind the last one."""
    links = [link_type] * len(frames) if isinstance(link_type, int) else list(link_type)
    kinds = sorted(set(links))
    captured = np.array([len(frame) for frame in frames], np.int64)
    return FrameBatch(
        octets=np.frombuffer(gap.join(frames), np.uint8),
        offset=np.cumsum(captured + len(gap)) - captured - len(gap),
        captured=captured,
        length=captured if lengths is None else np.array(lengths, np.int64),
        time=np.arange(len(frames)) * 1_000_000 if times is None else np.array(times, np.int64),
        first_number=first_number,
        interface=np.array([kinds.index(link) for link in links], np.uint16),
        interfaces=[Interface("test.pcap", "", link) for link in kinds],
    )


class Segment(NamedTuple):
    """One row of `Segments`."""

    frame: int
    source: tuple[str, int]
    destination: tuple[str, int]
    sequence: int
    acknowledgment: int
    flags: int
    length: int
    payload: bytes


class Datagram(NamedTuple):
    """One row of `Datagrams`."""

    frame: int
    source: tuple[str, int]
    destination: tuple[str, int]
    length: int
    payload: bytes


def segments_of(reader: PacketReader, columns: Segments) -> list[Segment]:
    """The columns as rows."""
    return [
        Segment(
            int(columns.frame[row]),
            _endpoint(reader, int(columns.source[row])),
            _endpoint(reader, int(columns.destination[row])),
            int(columns.sequence[row]),
            int(columns.acknowledgment[row]),
            int(columns.flags[row]),
            int(columns.length[row]),
            payload_octets(columns, row),
        )
        for row in range(len(columns))
    ]


def datagrams_of(reader: PacketReader, columns: Datagrams) -> list[Datagram]:
    """The columns as rows."""
    return [
        Datagram(
            int(columns.frame[row]),
            _endpoint(reader, int(columns.source[row])),
            _endpoint(reader, int(columns.destination[row])),
            int(columns.length[row]),
            payload_octets(columns, row),
        )
        for row in range(len(columns))
    ]


def read(batch: FrameBatch, reader: PacketReader | None = None) -> tuple[list[Segment], list[Datagram], PacketReader]:
    """What a reader makes of the batch."""
    reader = reader or PacketReader()
    segments, datagrams = reader.read(batch)
    return segments_of(reader, segments), datagrams_of(reader, datagrams), reader


def _endpoint(reader: PacketReader, endpoint: int) -> tuple[str, int]:
    return reader.addresses.endpoint_address(endpoint), reader.addresses.port(endpoint)


def ethernet(ethertype: int, payload: bytes) -> bytes:
    """An Ethernet frame with made-up addresses."""
    return bytes.fromhex("02005e000001 02005e000002") + struct.pack(">H", ethertype) + payload


def ipv4(
    protocol: int,
    payload: bytes,
    source: str = "192.0.2.1",
    destination: str = "198.51.100.2",
    *,
    total: int | None = None,
    fragment: int = 0,
    identification: int = 1,
    options: bytes = b"",
) -> bytes:
    """An IPv4 packet; `fragment` is the field of flags and fragment offset."""
    size = 20 + len(options)
    return (
        struct.pack(
            ">BBHHHBBH4s4s",
            0x40 | size // 4,
            0,
            size + len(payload) if total is None else total,
            identification,
            fragment,
            64,
            protocol,
            0,
            ip_address(source).packed,
            ip_address(destination).packed,
        )
        + options
        + payload
    )


def ipv6(
    following: int,
    payload: bytes,
    source: str = "2001:db8::1",
    destination: str = "2001:db8::2",
    *,
    length: int | None = None,
) -> bytes:
    """An IPv6 packet."""
    size = len(payload) if length is None else length
    addresses = ip_address(source).packed + ip_address(destination).packed
    return struct.pack(">IHBB", 6 << 28, size, following, 64) + addresses + payload


def tcp(
    payload: bytes = b"",
    source: int = 40000,
    destination: int = 1080,
    *,
    sequence: int = 0x01020304,
    acknowledgment: int = 0x05060708,
    flags: int = 0x18,
    options: bytes = b"",
    offset: int | None = None,
) -> bytes:
    """A TCP segment; `offset` is the data offset in words, where it should lie."""
    words = 5 + len(options) // 4 if offset is None else offset
    header = struct.pack(">HHIIBBHHH", source, destination, sequence, acknowledgment, words << 4, flags, 1024, 0, 0)
    return header + options + payload


def udp(payload: bytes = b"", source: int = 40000, destination: int = 53, *, length: int | None = None) -> bytes:
    """A UDP datagram."""
    size = 8 + len(payload) if length is None else length
    return struct.pack(">HHHH", source, destination, size, 0) + payload


def pieces_of(payload: bytes, cuts: Iterable[int]) -> list[tuple[int, bytes, bool]]:
    """The payload cut at these places (multiples of 8): offset, octets, whether more follow."""
    places = [0, *sorted(cut for cut in set(cuts) if 0 < cut < len(payload)), len(payload)]
    return [(start, payload[start:end], end < len(payload)) for start, end in pairwise(places)]
