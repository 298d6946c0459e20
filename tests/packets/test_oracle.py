"""scapy is the oracle: it builds the frames, and what it reads in a frame is what the columns hold."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.packets import PacketReader

from .samples import Segment, batch_of, ethernet, ipv4, ipv6, read, tcp, udp

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.dot11 import Dot11, Dot11Beacon, Dot11QoS, PrismHeader, RadioTap
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, PadN
    from scapy.layers.l2 import ARP, GRE, LLC, SNAP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether
    from scapy.layers.ppi import PPI
    from scapy.layers.ppp import DIR_PPP, HDLC, PPP
    from scapy.layers.vxlan import VXLAN
    from scapy.packet import Packet, Raw

V4 = st.integers(0, 2**32 - 1).map(
    lambda number: f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
)
V6 = st.sampled_from(["2001:db8::1", "fe80::2", "::1", "2001:db8:0:1:1:1:1:1", "ff02::fb"])
PORT = st.integers(1, 65535).filter(lambda port: port not in (2152, 4789, 4790, 6081, 8472))
U32 = st.integers(0, 2**32 - 1)


@st.composite
def transports(draw: st.DrawFn) -> Packet:
    """TCP or UDP with a payload, or neither."""
    payload = draw(st.binary(max_size=40))
    which = draw(st.integers(0, 9))
    if which == 9:
        return ICMP() / Raw(payload)
    if which >= 6:
        return UDP(sport=draw(PORT), dport=draw(PORT)) / Raw(payload)
    options = draw(st.sampled_from([[], [("NOP", None)] * 4, [("MSS", 1460), ("WScale", 7)], [("Timestamp", (1, 2))]]))
    header = TCP(
        sport=draw(PORT),
        dport=draw(PORT),
        seq=draw(U32),
        ack=draw(U32),
        flags=draw(st.integers(0, 255)),
        options=options,
    )
    return header / Raw(payload)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """An IP packet."""
    transport = draw(transports())
    if draw(st.booleans()):
        options = draw(st.sampled_from([[], [IPOption(b"\x01\x01\x01\x00")]]))
        return IP(src=draw(V4), dst=draw(V4), ttl=draw(st.integers(1, 255)), options=options) / transport
    packet = IPv6(src=draw(V6), dst=draw(V6))
    if draw(st.booleans()):
        packet = packet / IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(draw(st.integers(0, 20))))])
    if draw(st.booleans()):
        packet = packet / IPv6ExtHdrDestOpt()
    return packet / transport


@st.composite
def frames(draw: st.DrawFn) -> tuple[int, Packet]:
    """A frame of a layout that is read column-wise, and its link type."""
    packet = draw(packets())
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        outer = IP(src=draw(V4), dst=draw(V4)) if draw(st.booleans()) else IPv6(src=draw(V6), dst=draw(V6))
        packet = outer / GRE() / packet if draw(st.booleans()) else outer / packet
    link_type = draw(st.sampled_from([1, 1, 1, 1, 101, 113, 276, 9, 50]))
    if link_type == 1:
        frame = Ether(src="02:00:5e:00:00:01", dst="02:00:5e:00:00:02")
        for tag in draw(st.lists(st.sampled_from([Dot1Q, Dot1AD]), max_size=3)):
            frame = frame / tag(vlan=draw(st.integers(0, 4095)))
        if draw(st.integers(0, 9)) == 0:
            return 1, frame / ARP()
        return 1, frame / packet
    link: dict[int, Any] = {113: CookedLinux, 276: CookedLinuxV2, 9: PPP, 50: HDLC}
    if link_type == 101:
        return link_type, packet
    first = link[link_type]()
    return link_type, (first / PPP() / packet if link_type == 50 else first / packet)


def innermost(packet: Packet) -> tuple[Any, ...] | None:
    """The fields of a dissected frame's innermost TCP or UDP header."""
    ip = transport = None
    while packet:
        if isinstance(packet, (IP, IPv6)):
            ip = packet
        elif isinstance(packet, (TCP, UDP)):
            transport = packet
        packet = packet.payload
    if ip is None or transport is None:
        return None
    ends = (ip.src, transport.sport), (ip.dst, transport.dport)
    payload = bytes(transport.payload)
    if isinstance(transport, UDP):
        return *ends, payload
    acknowledgment = transport.ack if transport.flags & 0x10 else 0
    return *ends, transport.seq, acknowledgment, int(transport.flags) & 0xFF, payload


def found_in(frames: list[bytes], links: list[int]) -> list[tuple[Any, ...] | None]:
    """What the reader makes of each frame, in the same form."""
    segments, datagrams, _ = read(batch_of(frames, links))
    found: list[tuple[Any, ...] | None] = [None] * len(frames)
    for segment in segments:
        assert segment.length == len(segment.payload)
        found[segment.frame - 1] = (*segment[1:6], segment.payload)
    for datagram in datagrams:
        assert datagram.length == len(datagram.payload)
        found[datagram.frame - 1] = (*datagram[1:3], datagram.payload)
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(frames(), min_size=1, max_size=6))
def test_columns_hold_what_scapy_reads(batch: list[tuple[int, Packet]]) -> None:
    raw = [bytes(packet) for _, packet in batch]
    dissected = [innermost(type(packet)(octets)) for octets, (_, packet) in zip(raw, batch, strict=True)]
    assert found_in(raw, [link for link, _ in batch]) == dissected


@settings(max_examples=60, deadline=None)
@given(st.lists(frames().filter(lambda pair: pair[0] == 1), min_size=1, max_size=4))
def test_an_envelope_changes_nothing(batch: list[tuple[int, Packet]]) -> None:
    """The same frames as Ethernet, and behind a header that names the link type."""
    raw = [bytes(packet) for _, packet in batch]
    wrapped = [bytes(PPI(dlt=1)) + frame for frame in raw]
    assert found_in(wrapped, [192] * len(raw)) == found_in(raw, [1] * len(raw))


SNAPPED = LLC() / SNAP()
BUILT = {
    "IEEE 802.11": (105, lambda ip: Dot11(type=2) / SNAPPED / ip),
    "IEEE 802.11 with QoS": (105, lambda ip: Dot11(type=2, subtype=8) / Dot11QoS() / SNAPPED / ip),
    "radiotap": (127, lambda ip: RadioTap() / Dot11(type=2) / SNAPPED / ip),
    "Prism": (119, lambda ip: PrismHeader() / Dot11(type=2) / SNAPPED / ip),
    "PPI, Ethernet": (192, lambda ip: PPI(dlt=1) / Ether() / ip),
    "PPI, IEEE 802.11": (192, lambda ip: PPI(dlt=105) / Dot11(type=2) / SNAPPED / ip),
    "PPP with direction": (204, lambda ip: DIR_PPP() / PPP() / ip),
    "Ethernet with preamble": (274, lambda ip: Raw(bytes.fromhex("55555555555555d5")) / Ether() / ip / Raw(bytes(4))),
    "PPI, VXLAN": (
        192,
        lambda ip: PPI(dlt=1) / Ether() / IP() / UDP(sport=5555, dport=4789) / VXLAN(vni=7) / Ether() / ip,
    ),
}


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("version", [4, 6])
def test_link_types_that_scapy_builds(name: str, version: int) -> None:
    link_type, build = BUILT[name]
    ip = IP(ipv4(6, tcp(b"hello"))) if version == 4 else IPv6(ipv6(6, tcp(b"hello")))
    plain = ipv4(17, udp(b"question"))
    frame = bytes(build(ip))
    segments, datagrams, reader = read(batch_of([plain, frame, plain], [101, link_type, 101]))
    ends = ("192.0.2.1", "198.51.100.2") if version == 4 else ("2001:db8::1", "2001:db8::2")
    assert segments == [Segment(2, (ends[0], 40000), (ends[1], 1080), 0x01020304, 0x05060708, 0x18, 5, b"hello")]
    assert [found.frame for found in datagrams] == [1, 3]
    assert reader.skipped.total == 0


def test_a_frame_of_another_link_type_that_was_cut_keeps_its_length() -> None:
    frame = bytes(PPI(dlt=1)) + bytes(Ether())[:12] + b"\x08\x00" + ipv4(6, tcp(b"x" * 200), total=0)
    segments, _, _ = read(batch_of([frame[:90]], 192, lengths=[len(frame)]))
    assert [(found.length, len(found.payload)) for found in segments] == [(200, 200 - len(frame) + 90)]


def test_frames_of_several_link_types_and_fragments_come_in_file_order() -> None:
    wrapped = bytes(PPI(dlt=1)) + ethernet(0x0800, ipv4(6, tcp(b"wrapped")))
    pieces = [ipv4(6, tcp(b"x" * 28)[:24], fragment=0x2000), ipv4(6, tcp(b"x" * 28)[24:], fragment=3)]
    frames = [pieces[0], wrapped, pieces[1], wrapped]
    segments, _, _ = read(batch_of(frames, [101, 192, 101, 192]))
    assert [(found.frame, found.payload) for found in segments] == [(2, b"wrapped"), (3, b"x" * 28), (4, b"wrapped")]


def test_management_frames_hold_nothing() -> None:
    beacon = bytes(RadioTap() / Dot11(type=0, subtype=8) / Dot11Beacon())
    _, _, reader = read(batch_of([beacon] * 3, 127))
    assert (reader.skipped.other, reader.not_understood) == (3, {})


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([105, 107, 119, 127, 192, 197, 204, 252, 258, 274]),
    st.binary(max_size=120),
    st.sampled_from([b"\x08\0E", b"\x86\xdd`"]),
)
def test_any_octets_of_these_link_types(link_type: int, octets: bytes, hint: bytes) -> None:
    frames = [hint + octets, octets + hint, octets[:20] + hint + octets[20:]]
    reader = PacketReader()
    segments, datagrams = reader.read(batch_of(frames, link_type))
    assert len(segments) + len(datagrams) + reader.skipped.total == 3


def test_no_frame_imports_scapy() -> None:
    code = (
        "import sys; from tests.packets.samples import *; "
        "read(batch_of([ethernet(0x800, ipv4(6, tcp())), ethernet(0x86dd, ipv6(17, udp())), "
        "ethernet(0x806, bytes(28)), ethernet(0x9999, bytes(50)), bytes(20)], [1, 1, 1, 105, 127])); "
        "sys.exit(any(name.split('.')[0] == 'scapy' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
