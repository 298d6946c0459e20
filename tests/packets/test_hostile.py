"""No octets, cuts or lying lengths raise; what can't be read is counted, frame by frame."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from socks5sniff.packets import PacketReader
from socks5sniff.packets.kinds import LINK_TYPES

from .layouts import LAYOUTS
from .samples import RAW, batch_of, ethernet, ipv4, ipv6, read, tcp, udp
from .test_layouts import packet

LINKS = st.one_of(st.sampled_from(sorted(LINK_TYPES)), st.integers(0, 400))
TUNNEL_PORTS = {1701, 2152, 3544, 4341, 4789, 4790, 5247, 6081, 6635, 37008}
WELL_FORMED = [
    (link, build(version, packet(version, protocol, payload)))
    for link, build in LAYOUTS.values()
    for version in (4, 6)
    for protocol, payload in ((6, tcp(b"hello", options=b"\1" * 8)), (17, udp(b"question")))
]


def all_accounted(frames: list[bytes], links: list[int], lengths: list[int] | None = None) -> PacketReader:
    """Every frame is a segment, a datagram, skipped for a reason, or a fragment that waits."""
    batch = batch_of(frames, links, lengths=lengths)
    reader = PacketReader()
    segments, datagrams = reader.read(batch)
    waiting = sum(partial.fragments for partial in reader._reassembler._partial.values())
    assert len(segments) + len(datagrams) + reader.skipped.total + waiting == len(frames)
    for columns in (segments, datagrams):
        assert (columns.captured >= 0).all()
        assert (columns.captured <= columns.length).all()
        behind = columns.payload + columns.captured
        assert (behind[columns.captured > 0] <= len(columns.octets) + len(columns.spill)).all()
        assert (columns.frame[1:] >= columns.frame[:-1]).all()
    return reader


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(LINKS, st.binary(max_size=120)), min_size=1, max_size=6))
@example([(239, b"\2\0\0\5" + b"\0\0\0\0" * 40)])
@example([(1, ethernet(0x8847, b"\0\0\0\0" * 60))])
@example([(101, ipv6(0, b"\0" * 600))])
@example([(101, ipv4(4, ipv4(4, ipv4(4, ipv4(4, b"")))))])
def test_any_octets_of_any_link_type(frames: list[tuple[int, bytes]]) -> None:
    all_accounted([frame for _, frame in frames], [link for link, _ in frames])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(WELL_FORMED),
            st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=3),
            st.integers(0, 130),
            st.integers(0, 2000),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_changed_and_cut_frames(cases: list[tuple[tuple[int, bytes], list[tuple[int, int]], int, int]]) -> None:
    frames, links, lengths = [], [], []
    for (link, frame), changes, captured, beyond in cases:
        changed = bytearray(frame)
        for place, value in changes:
            changed[place % len(changed)] = value
        frames.append(bytes(changed[:captured]))
        links.append(link)
        lengths.append(len(frames[-1]) + beyond)
    all_accounted(frames, links, lengths)


def test_a_flood_of_odd_frames() -> None:
    source = random.Random(9)
    frames = [source.choice(WELL_FORMED)[1][: source.randrange(90)] + source.randbytes(9) for _ in range(3000)]
    all_accounted(frames, [source.choice([0, 1, 1, 1, 9, 101, 113, 239, 276, 4444]) for _ in frames])


@pytest.mark.parametrize("number", range(len(WELL_FORMED)))
def test_a_frame_cut_at_every_octet(number: int) -> None:
    link, frame = WELL_FORMED[number]
    sizes = range(len(frame) + 1)
    frames = [frame[:size] for size in sizes]
    # Each cut frame lies between others, whose octets must not be taken for its own.
    all_accounted(frames, [link] * len(frames), [len(frame)] * len(frames))
    whole = read(batch_of([frame], link))[:2]
    found = (whole[0] or whole[1])[0]
    pairs = [octets for size in sizes for octets in (frame[:size], frame)]
    segments, datagrams, _ = read(batch_of(pairs, link, lengths=[len(frame)] * len(pairs)))
    for row in [row for row in [*segments, *datagrams] if row.frame % 2]:
        if row.destination[1] in TUNNEL_PORTS or row.source[1] in TUNNEL_PORTS:
            continue  # too little of the tunnel to know it as one
        assert row._replace(payload=b"", frame=1) == found._replace(payload=b"")
        assert found.payload.startswith(row.payload)


def test_a_cut_payload_keeps_its_length_on_the_wire() -> None:
    frame = ethernet(0x0800, ipv4(6, tcp(b"x" * 1000)))
    segments, _, _ = read(batch_of([frame[:60], frame[:54]], lengths=[len(frame)] * 2))
    assert [(found.length, found.payload) for found in segments] == [(1000, b"x" * 6), (1000, b"")]


def test_cut_tcp_options_cost_only_the_payload() -> None:
    frame = ethernet(0x0800, ipv4(6, tcp(b"x" * 100, options=b"\1" * 20)))
    segments, _, reader = read(batch_of([frame[:60]], lengths=[len(frame)]))
    assert [(found.length, found.payload) for found in segments] == [(100, b"")]
    assert reader.skipped.total == 0


MALFORMED = {
    "IHL below 5": b"\x44" + ipv4(6, tcp())[1:],
    "IPv4 total length below its header": ipv4(6, tcp(), total=19),
    "TCP behind the IPv4 total length": ipv4(6, tcp(), total=30),
    "data offset below 5": ipv4(6, tcp(b"x" * 40, offset=4)),
    "data offset beyond the packet": ipv4(6, tcp(b"x" * 4, offset=15)),
    "UDP length below 8": ipv4(17, udp(b"x", length=3)),
    "extension header beyond the packet": ipv6(0, b"\6\xff" + bytes(30)),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_lengths_that_lie(name: str) -> None:
    sound = ipv4(6, tcp())
    segments, datagrams, reader = read(batch_of([sound, MALFORMED[name], sound], RAW))
    assert [found.frame for found in segments] == [1, 3]
    assert datagrams == []
    assert (reader.skipped.malformed, reader.skipped.total) == (1, 1)


BEYOND = {
    "TZSP": (37008, "01000001 0aff"),
    "Teredo": (3544, "0001ffff"),
    "Teredo, just beyond": (3544, "00010020"),
    "CAPWAP": (5247, "00f80000"),
    "CAPWAP, IEEE 802.11": (5247, "00f80100"),
    "L2TP": (1701, "0202 0001 0001 ffff"),
    "GTP": (2152, "34ff0020 00000001 0000 00 85 ff"),
}
"""Port and header of tunnels in UDP whose lengths lead far away."""


@pytest.mark.parametrize("name", BEYOND)
def test_lengths_that_lead_beyond_the_memory(name: str) -> None:
    """The frame is the last one: behind it there is nothing that could be read by mistake."""
    port, header = BEYOND[name]
    payload = bytes.fromhex(header) + bytes(40)
    _, datagrams, reader = read(batch_of([ethernet(0x0800, ipv4(17, udp(payload, 50000, port)))]))
    assert [len(found.payload) for found in datagrams] == [len(payload)]
    assert reader.skipped.total == 0


def test_headers_nested_without_end() -> None:
    labels = ethernet(0x8847, b"\0\0\0\0" * 200)
    nested = ipv4(6, tcp())
    for _ in range(60):
        nested = ipv4(4, nested)
    _, _, reader = read(batch_of([labels, nested], [1, 101]))
    assert reader.skipped.malformed == 2


@pytest.mark.parametrize("version", [0, 4, 5, 7, 15])
def test_ipv6_of_another_version(version: int) -> None:
    """The ethertype says IPv6, the packet does not."""
    sound = ipv6(6, tcp())
    wrong = bytes([version << 4]) + sound[1:]
    segments, _, reader = read(batch_of([ethernet(0x86DD, packet) for packet in (sound, wrong, sound)]))
    assert [found.frame for found in segments] == [1, 3]
    assert reader.skipped.malformed == 1


OTHERS = {
    "ARP": ethernet(0x0806, bytes(28)),
    "LLDP": ethernet(0x88CC, bytes(40)),
    "spanning tree": ethernet(38, b"\x42\x42\3" + bytes(35)),
    "ICMP": ethernet(0x0800, ipv4(1, bytes(8))),
    "ICMPv6": ethernet(0x86DD, ipv6(58, bytes(8))),
    "SCTP": ethernet(0x0800, ipv4(132, bytes(12))),
    "nothing in an IP packet": ethernet(0x0800, ipv4(132, b"")),
    "no next header": ethernet(0x86DD, ipv6(59, b"")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_carries_neither_tcp_nor_udp_is_counted_as_such(name: str) -> None:
    _, _, reader = read(batch_of([OTHERS[name]] * 3))
    assert (reader.skipped.other, reader.skipped.total) == (3, 3)


LLDP = b"\x88\xcc"
FRAME = ethernet(0x88CC, b"")
SNAP = b"\xaa\xaa\3\0\0\0" + LLDP
NAMED = {
    "Ethernet": (1, FRAME),
    "VLAN": (1, ethernet(0x8100, b"\0\5" + LLDP)),
    "FabricPath": (1, ethernet(0x8903, bytes(2) + FRAME)),
    "VN tag": (1, ethernet(0x8926, bytes(4) + LLDP)),
    "E tag": (1, ethernet(0x893F, bytes(6) + LLDP)),
    "HSR": (1, ethernet(0x892F, bytes(4) + LLDP)),
    "metadata": (1, ethernet(0x8909, bytes(6) + LLDP)),
    "timestamp tag": (1, ethernet(0x8988, bytes(6) + LLDP)),
    "MACsec": (1, ethernet(0x88E5, bytes(6) + LLDP)),
    "MACsec with channel": (1, ethernet(0x88E5, b"\x20" + bytes(13) + LLDP)),
    "backbone bridging": (1, ethernet(0x88E7, bytes(4) + FRAME)),
    "TRILL": (1, ethernet(0x22F3, bytes(6) + FRAME)),
    "SLL": (113, bytes(14) + LLDP),
    "SLL2": (276, LLDP + bytes(18)),
    "HDLC": (104, b"\x0f\0" + LLDP),
    "PPP": (9, b"\xc0\x21"),
    "PPP in HDLC": (9, b"\xff\3\xc0\x21"),
    "PPPoE": (1, ethernet(0x8864, b"\x11\0\0\1\0\2\xc0\x21")),
    "multilink PPP": (9, b"\0\x3d\xc0\0\0\1\xc0\x21"),
    "BSD loopback": (0, b"\x10\0\0\0"),
    "encapsulating interface": (109, b"\x10\0\0\0" + bytes(8)),
    "GRE": (101, ipv4(47, b"\0\0" + LLDP)),
    "ERSPAN type II": (101, ipv4(47, b"\x10\0\x88\xbe" + bytes(4) + b"\x10\1\0\1\0\0\0\1" + FRAME)),
    "service header": (1, ethernet(0x894F, b"\0\2\2\3" + bytes(4) + FRAME)),
    "IPv4": (101, ipv4(132, b"")),
    "IPv6": (101, ipv6(59, b"")),
    "IPv6 fragment": (101, ipv6(44, b"\x3b\0" + bytes(6))),
    "frame relay": (107, b"\x18\x40\0\1" + LLDP + bytes(2)),
    "ERF": (197, bytes(8) + b"\x0d" + bytes(7)),
    "ERF with Ethernet": (197, bytes(8) + b"\2" + bytes(9) + FRAME),
    "IP over InfiniBand": (242, bytes(40) + LLDP + bytes(2)),
    "DSA": (284, bytes(12) + b"\x40\0\0\0" + LLDP),
    "EDSA": (285, bytes(12) + b"\xda\xda\0\0\x40\0\0\0" + LLDP),
    "PPI": (192, b"\0\0\x08\0\1\0\0\0" + FRAME),
    "LAN emulation": (123, b"\1\0\0\0\0\1" + FRAME),
    "FireWire": (138, bytes(16) + LLDP),
    "EtherIP": (101, ipv4(97, b"\x30\0" + FRAME)),
    "netANALYZER": (240, bytes(4) + FRAME),
}
"""Link type and a frame that ends with the header that names what would come next: nothing of ours."""


@pytest.mark.parametrize("name", NAMED)
def test_a_header_may_be_the_last_but_not_in_part(name: str) -> None:
    link, octets = NAMED[name]
    _, _, reader = read(batch_of([octets, octets[:-1]], link))
    assert (reader.skipped.other, reader.skipped.malformed + reader.skipped.cut, reader.skipped.total) == (1, 1, 2)


@pytest.mark.parametrize(
    ("link", "octets"),
    [
        *((link, bytes(begin) + SNAP) for link, begin in ((6, 14), (10, 13), (122, 24))),
        (1, ethernet(8, SNAP)),
        (101, ipv6(0, b"\x3b\0" + bytes(6))),
        (101, ipv6(51, b"\x3b\1" + bytes(10))),
        (117, b"\x3d\x10" + bytes(62)),
        (239, b"\x10\0\0\5\4\0\x09\0"),
    ],
)
def test_a_header_without_anything_behind_it_is_no_damage(link: int, octets: bytes) -> None:
    _, _, reader = read(batch_of([octets], link))
    assert (reader.skipped.other, reader.skipped.total) == (1, 1)


def test_an_unknown_link_type_is_counted_as_such() -> None:
    _, _, reader = read(batch_of([bytes(64)], 65000))
    assert (reader.skipped.unsupported, reader.skipped.total) == (1, 1)
