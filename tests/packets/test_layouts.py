"""Every layout that a frame's headers may have leads to the same segment and the same datagram."""

from __future__ import annotations

import random
import struct

import pytest

from socks5sniff.packets import PacketReader

from .layouts import ETHERTYPE, LAYOUTS, TEREDO, in_udp
from .samples import (
    RAW,
    Datagram,
    Segment,
    batch_of,
    datagrams_of,
    ethernet,
    ipv4,
    ipv6,
    read,
    segments_of,
    tcp,
    udp,
)

V4 = ("192.0.2.1", "198.51.100.2")
V6 = ("2001:db8::1", "2001:db8::2")


def packet(version: int, protocol: int, payload: bytes) -> bytes:
    """An IP packet of either version."""
    return ipv4(protocol, payload) if version == 4 else ipv6(protocol, payload)


SOCKS = bytes.fromhex("000000 01 c0000202 0035") + b"a question that is longer than the least"
"""A datagram on its way to a relay, whose port may be any."""


def expected_segment(version: int, frame: int = 1) -> Segment:
    """What `tcp(b"hello")` is."""
    source, destination = V4 if version == 4 else V6
    return Segment(frame, (source, 40000), (destination, 1080), 0x01020304, 0x05060708, 0x18, 5, b"hello")


def expected_datagram(version: int, frame: int = 1) -> Datagram:
    """What `udp(b"question")` is."""
    source, destination = V4 if version == 4 else V6
    return Datagram(frame, (source, 40000), (destination, 53), 8, b"question")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_leads_to_tcp_and_udp(name: str, version: int) -> None:
    link_type, build = LAYOUTS[name]
    segment = build(version, packet(version, 6, tcp(b"hello", options=b"\1\1\1\1")))
    datagram = build(version, packet(version, 17, udp(b"question")))
    segments, datagrams, reader = read(batch_of([segment, datagram], link_type))
    assert segments == [expected_segment(version, 1)]
    assert datagrams == [expected_datagram(version, 2)]
    assert reader.skipped.total == 0


@pytest.mark.parametrize("name", TEREDO)
def test_teredo_leads_to_ipv6(name: str) -> None:
    build = in_udp(3544, TEREDO[name])
    frames = [build(6, ipv6(6, tcp(b"hello"))), build(6, ipv6(17, udp(b"question")))]
    segments, datagrams, reader = read(batch_of(frames))
    assert segments == [expected_segment(6, 1)]
    assert datagrams == [expected_datagram(6, 2)]
    assert reader.skipped.total == 0


@pytest.mark.parametrize("gap", [b"", b"\x45" * 16])
def test_all_layouts_in_one_batch_come_in_file_order(gap: bytes) -> None:
    chosen = [(name, version, protocol) for name in LAYOUTS for version in (4, 6) for protocol in (6, 17)] * 2
    random.Random(5).shuffle(chosen)
    frames, links = [], []
    segments: list[Segment] = []
    datagrams: list[Datagram] = []
    for number, (name, version, protocol) in enumerate(chosen, 100):
        link, build = LAYOUTS[name]
        frames.append(build(version, packet(version, protocol, tcp(b"hello") if protocol == 6 else udp(b"question"))))
        links.append(link)
        if protocol == 6:
            segments.append(expected_segment(version, number))
        else:
            datagrams.append(expected_datagram(version, number))
    assert read(batch_of(frames, links, first_number=100, gap=gap))[:2] == (segments, datagrams)


def test_times_and_interfaces_follow_their_frames() -> None:
    frames = [ipv4(17, udp()), b"\2\0\0\0" + ipv4(6, tcp()), ipv4(1, bytes(8)), ipv4(6, tcp()), ipv4(17, udp())]
    batch = batch_of(frames, [101, 0, 101, 101, 101], times=[50, 40, 30, 20, 10])
    segments, datagrams = PacketReader().read(batch)
    assert segments.frame.tolist() == [2, 4]
    assert segments.time.tolist() == [40, 20]
    assert segments.capture.tolist() == [0, 1]
    assert datagrams.frame.tolist() == [1, 5]
    assert datagrams.time.tolist() == [50, 10]
    assert datagrams.capture.tolist() == [1, 1]


@pytest.mark.parametrize(
    "headers",
    [
        [(0, bytes(6))],
        [(0, bytes(14)), (60, bytes(6)), (43, bytes(22))],
        [(51, bytes((4,)) + bytes(22))],
        [(135, bytes(6)), (139, bytes(6)), (140, bytes(6))],
        [(44, bytes(6))],
        [(0, bytes(6)), (44, bytes(6)), (60, bytes(14))],
    ],
    ids=lambda headers: "-".join(str(number) for number, _ in headers),
)
def test_ipv6_extension_headers_are_passed(headers: list[tuple[int, bytes]]) -> None:
    payload = tcp(b"hello")
    following = 6
    for number, rest in reversed(headers):
        size = rest[:1] if number == 51 else bytes((0 if number == 44 else (len(rest) - 6) // 8,))
        payload = bytes((following,)) + size + (rest[1:] if number == 51 else rest) + payload
        following = number
    segments, _, reader = read(batch_of([ipv6(following, payload)], RAW))
    assert segments == [expected_segment(6)], reader.skipped


@pytest.mark.parametrize("words", range(1, 11))
def test_ipv4_options_are_passed(words: int) -> None:
    plain = ipv4(6, tcp(b"hello"))
    frames = [plain, ipv4(6, tcp(b"hello"), options=b"\1" * 4 * words), plain]
    assert read(batch_of(frames, RAW))[0] == [expected_segment(4, number) for number in (1, 2, 3)]


@pytest.mark.parametrize("version", [4, 6])
def test_a_length_of_zero_means_the_whole_frame(version: int) -> None:
    payload = bytes(range(256)) * 400
    segment = tcp(payload)
    ip = ipv4(6, segment, total=0) if version == 4 else ipv6(6, segment, length=0)
    segments, _, _ = read(batch_of([ethernet(ETHERTYPE[version], ip), ethernet(ETHERTYPE[version], ip)]))
    assert [(found.length, found.payload) for found in segments] == [(102400, payload)] * 2


def test_a_jumbogram_with_its_option() -> None:
    payload = bytes(70000)
    option = struct.pack(">BBBBI", 6, 0, 0xC2, 4, len(payload) + 28)
    segments, _, _ = read(batch_of([ipv6(0, option + tcp(payload), length=0)], RAW))
    assert [found.length for found in segments] == [70000]


def test_ethernet_padding_is_no_payload() -> None:
    segments, datagrams, _ = read(
        batch_of([ethernet(0x0800, ipv4(6, tcp()) + b"\0" * 6), ethernet(0x0800, ipv4(17, udp(b"x")) + b"\0" * 17)])
    )
    assert [(found.length, found.payload) for found in segments] == [(0, b"")]
    assert [(found.length, found.payload) for found in datagrams] == [(1, b"x")]


def test_the_udp_length_decides_within_the_ip_packet() -> None:
    frames = [
        ipv4(17, udp(b"question", length=8 + 3)),
        ipv4(17, udp(b"question", length=500)),
        ipv4(17, udp(b"question", length=0)),
        ipv4(17, udp(b"question", length=7)),
    ]
    _, datagrams, reader = read(batch_of(frames, RAW))
    assert [found.payload for found in datagrams] == [b"que", b"question", b"question"]
    assert reader.skipped.malformed == 1


def test_an_acknowledgment_without_its_flag_is_zero() -> None:
    segments, _, _ = read(batch_of([ipv4(6, tcp(flags=0x02)), ipv4(6, tcp(flags=0x12))], RAW))
    assert [found.acknowledgment for found in segments] == [0, 0x05060708]


@pytest.mark.parametrize("port", [1701, 2152, 3544, 4341, 4789, 4790, 5247, 6081, 6635, 8472, 37008])
@pytest.mark.parametrize("payload", [b"", b"\x45", bytes(28), b"\xff" * 40, b"\x30\xff" + bytes(6), SOCKS], ids=repr)
def test_what_does_not_look_like_a_tunnel_stays_a_datagram(port: int, payload: bytes) -> None:
    frames = [ipv4(17, udp(payload, 50000, port)), ipv4(17, udp(b"x", 50000, 54))]
    _, datagrams, reader = read(batch_of(frames, RAW))
    assert [found.payload for found in datagrams] == [payload, b"x"]
    assert reader.skipped.total == 0


def test_interfaces_may_become_known_later() -> None:
    reader = PacketReader()
    first = batch_of([ipv4(6, tcp())], RAW)
    read(first, reader)
    later = batch_of([b"\2\0\0\0" + ipv4(6, tcp()), ipv4(6, tcp())], [0, RAW])
    first.interfaces.append(later.interfaces[0])
    later.interfaces = first.interfaces
    later.interface = later.interface[::-1]
    assert [found.frame for found in read(later, reader)[0]] == [1, 2]


def test_an_empty_batch() -> None:
    reader = PacketReader()
    segments, datagrams = reader.read(batch_of([]))
    assert segments_of(reader, segments) == []
    assert datagrams_of(reader, datagrams) == []


@pytest.mark.parametrize(("place", "first"), [("0000", True), ("0007", True), ("0008", False), ("fff8", False)])
def test_of_a_frame_that_capwap_has_cut_the_first_piece_is_read(place: str, first: bool) -> None:
    """RFC 5415 s4.3: a later one begins with no header."""
    header = bytes.fromhex("00100280 0001") + bytes.fromhex(place)
    frame = in_udp(5247, header)(4, ethernet(0x0800, ipv4(6, tcp(b"hello"))))
    segments, datagrams, _ = read(batch_of([frame]))
    assert (segments, len(datagrams)) == (([expected_segment(4)], 0) if first else ([], 1))
