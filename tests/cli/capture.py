"""A small pcap file with SOCKS conversations in it, octet by octet, for the tests of whole commands."""

from __future__ import annotations

import struct

SYN, ACK, FIN = 2, 16, 1
HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)


def frame(number: int, to_proxy: bool, port: int, sequence: int, acknowledged: int, flags: int, data: bytes) -> bytes:
    """One pcap record: Ethernet, IPv4, TCP between 192.0.2.1:`port` and 192.0.2.2:1080, a millisecond a frame."""
    ends = [(b"\xc0\x00\x02\x01", port), (b"\xc0\x00\x02\x02", 1080)]
    (source, source_port), (target, target_port) = ends if to_proxy else ends[::-1]
    tcp = struct.pack(">HHIIBBHHH", source_port, target_port, sequence, acknowledged, 0x50, flags, 65535, 0, 0) + data
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), number, 0, 64, 6, 0, source, target)
    octets = bytes(12) + b"\x08\x00" + ip + tcp
    seconds, microseconds = divmod(number * 1000, 1_000_000)
    return struct.pack("<IIII", 1_782_000_000 + seconds, microseconds, len(octets), len(octets)) + octets


def connect(number: int, port: int, host: bytes = b"example.com", reply: int = 0, closed: bool = True) -> list[bytes]:
    """The frames of a CONNECT to port 443, from frame `number` on; the proxy answers `reply`."""
    talk = [
        (True, b"\x05\x01\x00"),
        (False, b"\x05\x00"),
        (True, b"\x05\x01\x00\x03" + bytes([len(host)]) + host + b"\x01\xbb"),
        (False, bytes([5, reply, 0, 1]) + bytes(6)),
    ]
    steps = [(True, SYN, b""), (False, SYN | ACK, b""), (True, ACK, b"")]
    steps += [(to_proxy, ACK, data) for to_proxy, data in talk]
    steps += [(True, FIN | ACK, b""), (False, FIN | ACK, b""), (True, ACK, b"")] if closed else []
    sent = {True: 1000, False: 5000}
    frames = []
    for step, (to_proxy, flags, data) in enumerate(steps):
        frames.append(frame(number + step, to_proxy, port, sent[to_proxy], sent[not to_proxy], flags, data))
        sent[to_proxy] += len(data) + bool(flags & (SYN | FIN))
    return frames


def capture(count: int) -> bytes:
    """A capture of `count` conversations one after the other; every third is refused."""
    frames: list[bytes] = []
    for number in range(count):
        host = b"host%d.example.com" % number
        frames += connect(len(frames) + 1, 10_000 + number % 50_000, host, reply=5 if number % 3 == 2 else 0)
    return HEADER + b"".join(frames)
