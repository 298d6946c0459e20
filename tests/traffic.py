"""TCP and UDP conversations as packets, for tests of what comes after the capture file.

Packets are Ethernet, IPv4 or IPv6, and TCP or UDP, built here octet by octet and independent of the project's own code.
An address says its version. `six` is the switch: it moves packets, and `analyse(…, version=6)` a whole test, to IPv6.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from socks5sniff.analysis import Analyser
from socks5sniff.capture.batch import FrameBatch, Interface
from socks5sniff.record import Conversation

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
CLIENT, SERVER = 0, 1
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND

GREETING = b"\x05\x01\x00"
CHOICE = b"\x05\x00"
REQUEST = b"\x05\x01\x00\x03\x0bexample.com\x01\xbb"
REPLY = b"\x05\x00\x00\x01\x0a\x00\x00\x02\x12\x34"
HTTP = b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\n\r\nhello"
PLAIN = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, REQUEST), (SERVER, REPLY), (CLIENT, HTTP), (SERVER, ANSWER)]
"""One conversation as who says what."""


@dataclass(frozen=True)
class Packet:
    """One packet of a connection; `side` says who sends it."""

    side: int
    flags: int = ACK
    sequence: int = 0
    acknowledgment: int = 0
    octets: bytes = b""
    time: int = START
    ends: tuple[tuple[str, int], tuple[str, int]] = (("10.0.0.1", 40000), ("10.0.0.9", 1080))

    def frame(self) -> bytes:
        """The packet as an Ethernet frame."""
        source, destination = self.ends if self.side == CLIENT else self.ends[::-1]
        tcp = struct.pack(
            ">HHIIBBHHH", source[1], destination[1], self.sequence % (1 << 32), self.acknowledgment % (1 << 32),
            0x50, self.flags, 65535, 0, 0,
        )  # fmt: skip
        return ethernet(source[0], destination[0], 6, tcp + self.octets)


def ethernet(source: str, destination: str, protocol: int, octets: bytes) -> bytes:
    """An Ethernet frame with an IP packet."""
    if ":" in source:
        ends = socket.inet_pton(socket.AF_INET6, source), socket.inet_pton(socket.AF_INET6, destination)
        return bytes(12) + b"\x86\xdd" + struct.pack(">IHBB16s16s", 6 << 28, len(octets), protocol, 64, *ends) + octets
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(octets), 0, 0, 64, protocol, 0,
        socket.inet_aton(source), socket.inet_aton(destination),
    )  # fmt: skip
    return bytes(12) + b"\x08\x00" + ip + octets


def datagram(source: tuple[str, int], destination: tuple[str, int], octets: bytes) -> bytes:
    """An Ethernet frame with a UDP datagram."""
    udp = struct.pack(">HHHH", source[1], destination[1], 8 + len(octets), 0)
    return ethernet(source[0], destination[0], 17, udp + octets)


def connection(
    said: Sequence[tuple[int, bytes]],
    *,
    client: tuple[str, int] = ("10.0.0.1", 40000),
    proxy: tuple[str, int] = ("10.0.0.9", 1080),
    starts: tuple[int, int] = (1000, 5000),
    begin: int = START,
    opening: bool = True,
    closing: bool = True,
) -> list[Packet]:
    """A whole connection: SYN, what is said (each a segment, acknowledged by the next), FINs."""
    sequence = list(starts)
    packets: list[Packet] = []

    def send(side: int, flags: int, octets: bytes = b"") -> None:
        time = begin + len(packets) * 1_000_000
        packets.append(Packet(side, flags, sequence[side], sequence[1 - side], octets, time, (client, proxy)))
        sequence[side] += len(octets) + bool(flags & (SYN | FIN))

    if opening:
        send(CLIENT, SYN)
        send(SERVER, SYN | ACK)
        send(CLIENT, ACK)
    else:
        sequence = [start + 1 for start in starts]
    for side, octets in said:
        send(side, PSH | ACK, octets)
    if closing:
        send(CLIENT, FIN | ACK)
        send(SERVER, FIN | ACK)
        send(CLIENT, ACK)
    return packets


def six_of(host: str) -> str:
    """The IPv6 address that stands for an IPv4 one in IPv6 tests; the last of its groups are the same octets."""
    if ":" in host:
        return host
    octets = socket.inet_aton(host)
    return "::1" if octets[0] == 127 else socket.inet_ntop(socket.AF_INET6, b"\x20\x01\x0d\xb8" + bytes(8) + octets)


def six(packets: Iterable[Packet]) -> list[Packet]:
    """The same packets between IPv6 addresses."""
    return [
        replace(packet, ends=tuple((six_of(host), port) for host, port in packet.ends))  # type: ignore[arg-type]
        for packet in packets
    ]


def cut(packets: Iterable[Packet], pieces: Iterable[int]) -> Iterator[Packet]:
    """The same octets in other segments: each packet with payload is cut at the places that come next in `pieces`."""
    places = iter(pieces)
    for packet in packets:
        at = 0
        while at < len(packet.octets):
            size = max(next(places, len(packet.octets)), 1)
            part = packet.octets[at : at + size]
            yield replace(packet, sequence=packet.sequence + at, octets=part)
            at += len(part)
        if not packet.octets:
            yield packet


def batches(
    frames: Sequence[tuple[int, bytes]], sizes: Iterable[int] = (), captured: int | None = None
) -> Iterator[FrameBatch]:
    """Frames (time, octets) as batches of the given sizes, the rest in one."""
    interfaces = [Interface("test.pcap", "", 1)]
    done = 0
    for size in [*sizes, len(frames)]:
        part = frames[done : done + size]
        if not part:
            continue
        kept = [octets[:captured] for _, octets in part]
        lengths = np.array([len(octets) for octets in kept], np.int64)
        yield FrameBatch(
            octets=np.frombuffer(b"".join(kept) + bytes(64), np.uint8),
            offset=np.cumsum(lengths) - lengths,
            captured=lengths,
            length=np.array([len(octets) for _, octets in part], np.int64),
            time=np.array([time for time, _ in part], np.int64),
            first_number=done + 1,
            interface=np.zeros(len(part), np.uint16),
            interfaces=interfaces,
        )
        done += len(part)


def analyse(
    packets: Sequence[Packet | tuple[int, bytes]],
    sizes: Iterable[int] = (),
    *,
    captured: int | None = None,
    ports: Iterable[int] = (),
    show_passwords: bool = False,
    udp_frames: bool = False,
    version: int = 4,
) -> list[Conversation]:
    """The records of packets (or of frames with their times), by id; with `version` 6, of the packets over IPv6."""
    if version == 6:
        packets = [packet for each in packets for packet in (six([each]) if isinstance(each, Packet) else [each])]
    analyser = Analyser(ports=frozenset(ports), show_passwords=show_passwords, udp_frames=udp_frames)
    frames = [(p.time, p.frame()) if isinstance(p, Packet) else p for p in packets]
    found = [part for batch in batches(frames, sizes, captured) for part in analyser.take(batch)]
    return sorted(chain.from_iterable(found + analyser.finish()), key=lambda record: record.id)
