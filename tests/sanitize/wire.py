"""Frames read without the project's own code: checksums, TCP payload, and capture files written and read."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from socks5sniff.capture.merge import open_captures
from socks5sniff.capture.writer import PcapngWriter
from tests.traffic import Packet


class Frame(NamedTuple):
    """A frame of a capture file."""

    time: int
    length: int
    octets: bytes


class Part(NamedTuple):
    """What a TCP segment carries."""

    source: tuple[bytes, int]
    destination: tuple[bytes, int]
    sequence: int
    octets: bytes


def write(path: Path, frames: Iterable[tuple[int, bytes]], comment: str = "") -> Path:
    """A capture of Ethernet frames."""
    with path.open("wb") as file:
        writer = PcapngWriter(file)
        writer.add_interface("eth0", 1)
        for time, octets in frames:
            writer.write(octets, time, comment=comment)
    return path


def read(path: Path) -> list[Frame]:
    """The frames of a capture."""
    return [
        Frame(time, length, batch.frame(row))
        for batch in open_captures([str(path)])
        for row, (time, length) in enumerate(zip(batch.time.tolist(), batch.length.tolist(), strict=True))
    ]


def folded(octets: bytes) -> int:
    """The one's complement sum of 16-bit words, as a remainder."""
    octets += bytes(len(octets) & 1)
    return sum(struct.unpack(f">{len(octets) // 2}H", octets)) % 0xFFFF


def _split(frame: bytes) -> tuple[bytes, int, bytes, bytes]:
    """IP header, protocol, addresses and what follows of an Ethernet frame without tags."""
    packet = frame[14:]
    if packet[0] >> 4 == 4:
        size, total = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
        return packet[:size], packet[9], packet[12:20], packet[size:total]
    size = 40 + int.from_bytes(packet[4:6], "big")
    return packet[:40], packet[6], packet[8:40], packet[40:size]


def residues(frame: bytes) -> tuple[int, ...]:
    """By how much the checksums of a frame's IP header and of its TCP or UDP are wrong: 0 is right."""
    if frame[12:14] not in (b"\x08\x00", b"\x86\xdd"):
        return ()
    header, protocol, addresses, body = _split(frame)
    own = folded(header) if header[0] >> 4 == 4 else 0
    if protocol not in (6, 17) or (header[0] >> 4 == 4 and int.from_bytes(header[6:8], "big") & 0x3FFF):
        return (own,)
    if protocol == 17 and body[6:8] == b"\0\0":
        return own, -1
    return own, folded(addresses + struct.pack(">II", protocol, len(body)) + body)


def segment(frame: bytes) -> Part | None:
    """What a frame's TCP segment carries; None where there is none."""
    if frame[12:14] not in (b"\x08\x00", b"\x86\xdd"):
        return None
    _, protocol, addresses, body = _split(frame)
    if protocol != 6:
        return None
    source, destination, sequence = struct.unpack_from(">HHI", body)
    half = len(addresses) // 2
    return Part(
        (addresses[:half], source), (addresses[half:], destination), sequence, body[(body[12] >> 4) * 4 :]
    )


def right(frame: bytes) -> bytes:
    """The frame with right checksums."""
    header, protocol, addresses, body = _split(frame)
    field = {6: 16, 17: 6}[protocol]
    body = body[:field] + b"\0\0" + body[field + 2 :]
    total = 0xFFFF - folded(addresses + struct.pack(">II", protocol, len(body)) + body)
    body = body[:field] + (total or 0xFFFF).to_bytes(2, "big") + body[field + 2 :]
    if header[0] >> 4 == 4:
        header = header[:10] + b"\0\0" + header[12:]
        header = header[:10] + (0xFFFF - folded(header)).to_bytes(2, "big") + header[12:]
    return frame[:14] + header + body


def frames(packets: Sequence[Packet], summed: bool = True) -> list[tuple[int, bytes]]:
    """Packets as frames with their times."""
    return [(packet.time, right(packet.frame()) if summed else packet.frame()) for packet in packets]
