"""Real captures with their TCP payload cut into one-octet segments, and those shuffled within a side's turn."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import dpkt

from .scenario import ip_packet

LONGEST_CUT = 700
"""Octets of payload; a handshake's frames are shorter, and bulk data need not be cut to show anything."""


def whole(path: Path) -> Iterator[tuple[int, bytes]]:
    """Time in ns and the IP packet of each frame of a capture."""
    with path.open("rb") as file:
        reader = dpkt.pcapng.Reader(file) if path.suffix == ".pcapng" else dpkt.pcap.Reader(file)
        ethernet = reader.datalink() == dpkt.pcap.DLT_EN10MB
        for time, octets in reader:
            yield int(time * 1_000_000) * 1000, octets[14:] if ethernet else octets


def cut(path: Path, shuffle: int | None = None) -> Iterator[tuple[int, bytes]]:
    """The same with every short TCP segment as one-octet segments; `shuffle` (a seed) disorders each segment's."""
    chance = random.Random(shuffle)
    for time, octets in whole(path):
        pieces = [octets]
        ip = dpkt.ip6.IP6(octets) if octets[0] >> 4 == 6 else dpkt.ip.IP(octets)
        tcp = ip.data
        if isinstance(tcp, dpkt.tcp.TCP) and 1 < len(tcp.data) <= LONGEST_CUT:
            pieces = [_segment(octets, tcp, i) for i in range(len(tcp.data))]
            if shuffle is not None and len(pieces) > 2:
                chance.shuffle(pieces)
        yield from ((time + i, piece) for i, piece in enumerate(pieces))


def _segment(octets: bytes, tcp: dpkt.tcp.TCP, i: int) -> bytes:
    last = i == len(tcp.data) - 1
    flags = tcp.flags if last else tcp.flags & ~(dpkt.tcp.TH_FIN | dpkt.tcp.TH_SYN)
    header = struct.pack(">HHIIBBHHH", tcp.sport, tcp.dport, (tcp.seq + i) % 2**32, tcp.ack, 0x50, flags, tcp.win, 0, 0)
    source, destination = (octets[8:24], octets[24:40]) if octets[0] >> 4 == 6 else (octets[12:16], octets[16:20])
    return ip_packet(_text(source), _text(destination), 6, header + tcp.data[i : i + 1])


def _text(address: bytes) -> str:
    from ipaddress import ip_address

    return str(ip_address(address))
