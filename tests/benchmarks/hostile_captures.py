"""Captures that somebody made to keep a reader busy, each kind in any size.

    python -m tests.benchmarks.hostile_captures FOLDER KIND N     prints the names of the files, one a line

A kind is a function from a folder and a size to files; `KINDS` lists them. What it is a size of, each says.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

START = 1_700_000_000
ETHERNET, RADIOTAP, RAW = 1, 127, 101

Maker = Callable[[Path, int], list[Path]]


class Kind(NamedTuple):
    """One way to be hostile."""

    make: Maker
    size: int
    """The smallest of the sizes tried."""
    of: str
    """What it is a size of."""


def pcap(path: Path, frames: Iterable[bytes], link: int = RAW, step: int = 1000) -> list[Path]:
    """Writes frames so many microseconds apart."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link))
        for number, frame in enumerate(frames):
            seconds, micros = divmod(number * step, 1_000_000)
            file.write(struct.pack("<IIII", START + seconds, micros, len(frame), len(frame)) + frame)
    return [path]


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block."""
    body += bytes(-len(body) & 3)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    """A pcapng section header."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(order: str = "<", options: bytes = b"") -> bytes:
    """A pcapng interface of raw IP."""
    return block(1, struct.pack(order + "HHI", RAW, 0, 0) + options, order)


def packet(frame: bytes, number: int = 0, order: str = "<", options: bytes = b"") -> bytes:
    """A pcapng packet."""
    head = struct.pack(order + "IIIII", number, 0x000608AC, 0x1B4E8000, len(frame), len(frame))
    return block(6, head + frame + bytes(-len(frame) & 3) + options, order)


def ipv4(protocol: int, payload: bytes, ident: int = 0, fragment: int = 0) -> bytes:
    """An IPv4 packet."""
    ends = bytes((192, 0, 2, 1, 198, 51, 100, 2))
    return (
        struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), ident & 0xFFFF, fragment, 64, protocol, 0) + ends + payload
    )


def tcp(number: int = 0, payload: bytes = b"") -> bytes:
    """A TCP segment of one of 20,000 flows."""
    ports = 40_000 + number % 20_000, 1080
    return struct.pack(">HHIIBBHHH", *ports, 1000 + number, 1, 0x50, 0x18, 1024, 0, 0) + payload


def syn(number: int) -> bytes:
    """An IPv4 packet with a segment."""
    return ipv4(6, tcp(number))


def byte_orders(folder: Path, n: int) -> list[Path]:
    """Sections of a packet each, every other one of the other byte order."""
    path = folder / "orders.pcapng"
    with path.open("wb") as file:
        for number in range(n):
            order = "<>"[number & 1]
            file.write(section(order) + interface(order) + packet(syn(number), order=order))
    return [path]


def same_sections(folder: Path, n: int) -> list[Path]:
    """Sections of a packet each, all of one byte order."""
    path = folder / "sections.pcapng"
    with path.open("wb") as file:
        file.writelines(section() + interface() + packet(syn(number)) for number in range(n))
    return [path]


def small_files(folder: Path, n: int) -> list[Path]:
    """Files of three packets, one after the other."""
    whole = (syn(number) for number in range(3 * n))
    paths = []
    for number in range(n):
        path = folder / f"{number:06}.pcap"
        pcap(path, [next(whole) for _ in range(3)])
        octets = bytearray(path.read_bytes())
        for row in range(3):
            octets[24 + row * 56 : 28 + row * 56] = struct.pack("<I", START + number)
        path.write_bytes(octets)
        paths.append(path)
    return paths


def overlapping_files(folder: Path, n: int) -> list[Path]:
    """Files of ten packets each, all from the same second."""
    return [
        pcap(folder / f"{number:06}.pcap", [syn(number * 10 + row) for row in range(10)], step=100_000)[0]
        for number in range(n)
    ]


def interfaces(folder: Path, n: int) -> list[Path]:
    """Interfaces that differ, and a packet of each."""
    path = folder / "interfaces.pcapng"
    with path.open("wb") as file:
        file.write(section())
        for number in range(n):
            name = b"%08d" % number
            file.write(interface(options=struct.pack("<HH", 2, 8) + name) + packet(syn(number), number))
    return [path]


def options(folder: Path, n: int) -> list[Path]:
    """Options of one interface."""
    path = folder / "options.pcapng"
    path.write_bytes(section() + interface(options=struct.pack("<HH", 1, 0) * n) + packet(syn(0)))
    return [path]


def packet_options(folder: Path, n: int) -> list[Path]:
    """Options of a packet, in a capture that names processes, where they are looked at."""
    path = folder / "options.pcapng"
    process = block(0x80000001, struct.pack("<I", 1) + struct.pack("<HH", 2, 4) + b"curl")
    many = packet(syn(0), options=struct.pack("<HH", 1, 0) * 1000)
    path.write_bytes(section() + interface() + process + many * (n // 1000))
    return [path]


def processes(folder: Path, n: int) -> list[Path]:
    """Processes, and a packet of each."""
    path = folder / "processes.pcapng"
    with path.open("wb") as file:
        file.write(section() + interface())
        for number in range(n):
            process = block(0x80000001, struct.pack("<I", number) + struct.pack("<HH", 2, 4) + b"curl")
            file.write(process + packet(syn(number), options=struct.pack("<HHI", 0x8001, 4, number)))
    return [path]


def elements(folder: Path, n: int) -> list[Path]:
    """Frames of IEEE 802.11 that are chains of elements, with what looks like IP among them."""
    radiotap = bytes.fromhex("0000080000000000")
    beacon = bytes.fromhex("80000000") + bytes(20) + bytes(12)
    frame = radiotap + beacon + bytes((0, 2, 8, 0)) + b"\x08\x00E\x00" + bytes((221, 0)) * 1000
    return pcap(folder / "elements.pcap", (frame for _ in range(n)), RADIOTAP)


def stack(layer: Callable[[bytes], bytes], inner: bytes, size: int) -> bytes:
    """A header around another, up to a size."""
    while len(inner) < size:
        inner = layer(inner)
    return inner


def vlans(folder: Path, n: int) -> list[Path]:
    """Frames of nothing but tags."""
    frame = bytes(12) + b"\x81\x00\x00\x05" * 370 + b"\x08\x00" + syn(0)
    return pcap(folder / "vlans.pcap", (frame for _ in range(n)), ETHERNET)


def distinct_vlans(folder: Path, n: int) -> list[Path]:
    """Frames in networks that no two have in common."""
    frames = (
        bytes(12)
        + b"".join(struct.pack(">HH", 0x8100, number >> shift & 0xFFF) for shift in (20, 10, 0))
        + b"\x08\x00"
        + syn(number)
        for number in range(n)
    )
    return pcap(folder / "networks.pcap", frames, ETHERNET)


def gre(folder: Path, n: int) -> list[Path]:
    """Packets in GRE in GRE."""
    frame = stack(lambda inner: ipv4(47, b"\0\0\x08\x00" + inner), syn(0), 1400)
    return pcap(folder / "gre.pcap", (frame for _ in range(n)))


def extension_headers(folder: Path, n: int) -> list[Path]:
    """IPv6 packets of nothing but options."""
    chain = (bytes((60, 0)) + bytes(6)) * 170 + bytes((6, 0)) + bytes(6) + tcp()
    frame = struct.pack(">IHBB", 6 << 28, len(chain), 60, 64) + bytes(15) + b"\1" + bytes(15) + b"\2" + chain
    return pcap(folder / "extensions.pcap", (frame for _ in range(n)))


def fragments(folder: Path, n: int) -> list[Path]:
    """Fragments of eight octets with holes between them, of packets that are never whole."""

    def pieces() -> Iterator[bytes]:
        for number in range(n):
            packet_number, place = divmod(number, 400)
            yield ipv4(6, bytes(8), packet_number, 0x2000 | place * 2)

    return pcap(folder / "fragments.pcap", pieces())


def bomb(folder: Path, megabytes: int, name: str, compress: Callable[[bytes], bytes]) -> list[Path]:
    """A capture that is small only while it is compressed."""
    frame = ipv4(6, tcp(0, bytes(60_000)))
    header = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, RAW)
    record = struct.pack("<IIII", START, 0, len(frame), len(frame)) + frame
    path = folder / f"bomb.{name}"
    # Members one after another are one capture.
    step = compress(record * 100)
    with path.open("wb") as file:
        file.write(compress(header))
        for _ in range(megabytes // 6):
            file.write(step)
    return [path]


def zstd(octets: bytes) -> bytes:
    """One frame."""
    import zstandard

    return zstandard.ZstdCompressor(level=19).compress(octets)


def lz4(octets: bytes) -> bytes:
    """One frame."""
    import lz4.frame

    packed: bytes = lz4.frame.compress(octets, compression_level=9)
    return packed


KINDS: dict[str, Kind] = {
    "byte orders": Kind(byte_orders, 4_000, "sections"),
    "sections": Kind(same_sections, 40_000, "sections"),
    "small files": Kind(small_files, 1_250, "files"),
    "overlapping files": Kind(overlapping_files, 1_250, "files"),
    "interfaces": Kind(interfaces, 16_000, "interfaces"),
    "options": Kind(options, 250_000, "options"),
    "packet options": Kind(packet_options, 1_000_000, "options"),
    "processes": Kind(processes, 25_000, "processes"),
    "elements": Kind(elements, 25_000, "frames"),
    "VLAN tags": Kind(vlans, 25_000, "frames"),
    "networks": Kind(distinct_vlans, 40_000, "networks"),
    "GRE": Kind(gre, 25_000, "packets"),
    "extension headers": Kind(extension_headers, 25_000, "packets"),
    "fragments": Kind(fragments, 25_000, "fragments"),
    "gzip bomb": Kind(lambda folder, n: bomb(folder, n, "gz", gzip.compress), 100, "MB"),
    "bzip2 bomb": Kind(lambda folder, n: bomb(folder, n, "bz2", bz2.compress), 25, "MB"),
    "xz bomb": Kind(lambda folder, n: bomb(folder, n, "xz", lzma.compress), 100, "MB"),
    "zstd bomb": Kind(lambda folder, n: bomb(folder, n, "zst", zstd), 100, "MB"),
    "lz4 bomb": Kind(lambda folder, n: bomb(folder, n, "lz4", lz4), 100, "MB"),
}


if __name__ == "__main__":
    for made in KINDS[sys.argv[2]].make(Path(sys.argv[1]), int(sys.argv[3])):
        print(made)
