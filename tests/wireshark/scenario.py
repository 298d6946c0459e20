"""Captures for the dissector's tests: TCP conversations and datagrams from lists of (side, octets)."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

CLIENT, PROXY = 0, 1
CLIENT_ADDRESS, PROXY_ADDRESS = "192.0.2.10", "192.0.2.1"
CLIENT_PORT = 49812
"""In no version's table of ports."""

Step = tuple[int, bytes]

GREETING = b"\x05\x01\x00"
CHOICE = b"\x05\x00"
GRANTED = b"\x05\x00\x00\x01\xcb\x00\x71\x01\x9c\x41"
REFUSED = b"\x05\x05\x00\x01\0\0\0\0\0\0"


def request(host: str | bytes, port: int, command: int = 1) -> bytes:
    """A SOCKS5 request: for an IP address when `host` is one, else for a name."""
    try:
        packed = ip_address(host).packed if isinstance(host, str) else b""
    except ValueError:
        packed = b""
    if packed:
        target = (b"\x01" if len(packed) == 4 else b"\x04") + packed
    else:
        name = host.encode() if isinstance(host, str) else host
        target = b"\x03" + bytes((len(name),)) + name
    return bytes((5, command, 0)) + target + struct.pack(">H", port)


def opened(host: str = "www.example.test", port: int = 80) -> list[Step]:
    """A handshake without authentication that opens a tunnel."""
    return [(CLIENT, GREETING), (PROXY, CHOICE), (CLIENT, request(host, port)), (PROXY, GRANTED)]


def udp_header(host: str, port: int, fragment: int = 0) -> bytes:
    """RSV, FRAG and the address before a relayed datagram."""
    return b"\0\0" + bytes((fragment,)) + request(host, port)[3:]


def octet_by_octet(steps: Iterable[Step]) -> list[Step]:
    """The same conversation, one octet a segment."""
    return [(side, octets[i : i + 1]) for side, octets in steps for i in range(len(octets))]


@dataclass
class Capture:
    """Packets in order; `write` makes a pcap file of them."""

    packets: list[tuple[int, bytes]] = field(default_factory=list)
    clock: int = 1_700_000_000_000_000_000
    """Nanoseconds."""

    def add(self, packet: bytes, after: int = 1_000_000) -> None:
        self.clock += after
        self.packets.append((self.clock, packet))

    def write(self, path: Path, snap: int = 262144) -> Path:
        """A pcap file; of each packet no more than `snap` octets, as a capture with that snap length has."""
        blocks = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 101)]
        for time, packet in self.packets:
            kept = packet[:snap]
            blocks.append(struct.pack("<IIII", *divmod(time, 10**9), len(kept), len(packet)) + kept)
        path.write_bytes(b"".join(blocks))
        return path


class Tcp:
    """One TCP connection; segments may be kept back and sent later, to reorder or lose them."""

    def __init__(
        self,
        capture: Capture,
        port: int = 1080,
        client: str = CLIENT_ADDRESS,
        proxy: str = PROXY_ADDRESS,
        client_port: int = CLIENT_PORT,
        initial: Sequence[int] = (1000, 5000),
        handshake: bool = True,
    ) -> None:
        self.capture = capture
        self.ends = ((client, client_port), (proxy, port))
        self.next = list(initial)
        if handshake:
            self.capture.add(self.segment(0, b"", 0x02))
            self.next[0] += 1
            self.capture.add(self.segment(1, b"", 0x12))
            self.next[1] += 1
            self.capture.add(self.segment(0, b"", 0x10))

    def segment(self, side: int, octets: bytes, flags: int = 0x18) -> bytes:
        (source, source_port), (destination, destination_port) = self.ends[side], self.ends[1 - side]
        acknowledged = self.next[1 - side] % 2**32 if flags != 0x02 else 0
        header = struct.pack(
            ">HHIIBBHHH", source_port, destination_port, self.next[side] % 2**32, acknowledged, 0x50, flags, 65000, 0, 0
        )
        return ip_packet(source, destination, 6, header + octets)

    def send(self, side: int, octets: bytes) -> None:
        self.capture.add(self.take(side, octets))

    def take(self, side: int, octets: bytes) -> bytes:
        """The packet, not put into the capture: for the caller to send later, or never."""
        packet = self.segment(side, octets)
        self.next[side] += len(octets)
        return packet

    def play(self, steps: Iterable[Step]) -> Tcp:
        for side, octets in steps:
            self.send(side, octets)
        return self

    def close(self) -> None:
        for side in (0, 1):
            self.capture.add(self.segment(side, b"", 0x11))
            self.next[side] += 1
        self.capture.add(self.segment(0, b"", 0x10))

    def reset(self, side: int) -> None:
        self.capture.add(self.segment(side, b"", 0x14))


def ip_packet(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """An IPv4 or IPv6 packet without link layer."""
    left, right = ip_address(source), ip_address(destination)
    if left.version == 6:
        return struct.pack(">IHBB", 0x60000000, len(payload), protocol, 64) + left.packed + right.packed + payload
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0)
    return head + left.packed + right.packed + payload


def datagram(source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> bytes:
    """A UDP packet."""
    header = struct.pack(">HHHH", source[1], destination[1], 8 + len(payload), 0)
    return ip_packet(source[0], destination[0], 17, header + payload)


def shuffled(packets: list[bytes], seed: int) -> list[bytes]:
    """The packets in another order, the same for the same seed."""
    packets = list(packets)
    random.Random(seed).shuffle(packets)
    return packets
