"""Packets that are written: scapy and tshark find every length and checksum right."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.capture.writer import PcapngWriter
from socks5sniff.decap.headers import LINK_HEADERS, MAX_PAYLOAD, RAW_IP, TCP, UDP, Packet, Route, frames_of
from socks5sniff.packets import TcpFlag

from .readers import fields

PORTS = st.integers(0, 0xFFFF)
NUMBERS = st.integers(0, 0xFFFF_FFFF)
FLAGS = st.sampled_from((TcpFlag.SYN, TcpFlag.SYN | TcpFlag.ACK, TcpFlag.ACK, TcpFlag.FIN | TcpFlag.ACK, TcpFlag.RST))


def routes() -> st.SearchStrategy[Route]:
    return st.sampled_from((4, 16)).flatmap(
        lambda size: st.builds(Route, *[st.binary(min_size=size, max_size=size)] * 2, PORTS, PORTS)
    )


PACKETS = st.builds(
    Packet,
    frame=st.just(1),
    time=st.integers(0, 2**61),
    route=routes(),
    protocol=st.sampled_from((TCP, UDP)),
    payload=st.binary(max_size=40),
    sequence=NUMBERS,
    acknowledgment=NUMBERS,
    length=st.just(0),
    comment=st.just(""),
).flatmap(lambda packet: FLAGS.map(lambda flags: packet._replace(flags=flags if packet.protocol == TCP else 0)))


def by_scapy(packet: Packet) -> bytes:
    from scapy.layers import inet, inet6
    from scapy.packet import Raw

    here, there = (str(ip_address(end)) for end in packet.route[:2])
    four = len(packet.route.source) == 4
    network: Any = inet.IP(src=here, dst=there, flags="DF", id=0) if four else inet6.IPv6(src=here, dst=there)
    ports: Any = {"sport": packet.route.source_port, "dport": packet.route.destination_port}
    transport: Any = inet.UDP(**ports)
    if packet.protocol == TCP:
        options = [("MSS", MAX_PAYLOAD), ("NOP", None), ("WScale", 14)] if packet.flags & TcpFlag.SYN else []
        numbers: Any = {"seq": packet.sequence, "ack": packet.acknowledgment}
        transport = inet.TCP(**ports, **numbers, flags=packet.flags, window=65535, options=options)
    return bytes(network / transport / Raw(bytes(packet.payload)))


@given(st.lists(PACKETS, min_size=1, max_size=12), st.sampled_from(sorted(LINK_HEADERS)))
@settings(max_examples=30, deadline=None)
def test_scapy_writes_the_same(packets: list[Packet], link_type: int) -> None:
    frames = frames_of(packets, link_type)
    head = len(LINK_HEADERS[link_type][0])
    assert [frames.frame(row)[head:] for row in range(len(packets))] == [*map(by_scapy, packets)]
    assert frames.time.tolist() == [packet.time for packet in packets]


@given(packet=PACKETS, extra=st.integers(1, 1400))
@settings(max_examples=30, deadline=None)
def test_what_was_cut_keeps_its_length(packet: Packet, extra: int) -> None:
    frames = frames_of([packet._replace(length=len(packet.payload) + extra)], RAW_IP)
    assert frames.length[0] - frames.captured[0] == extra
    octets = frames.frame(0)
    if len(packet.route.source) == 4:
        assert int.from_bytes(octets[2:4], "big") == frames.length[0]
    else:
        assert int.from_bytes(octets[4:6], "big") == frames.length[0] - 40


def test_wireshark_finds_every_checksum_right(tmp_path: Path) -> None:
    """Behind every link-layer header, with both IP versions."""
    four = Route(bytes((192, 0, 2, 1)), bytes((198, 18, 0, 1)), 40_000, 80)
    six = Route(bytes.fromhex("20010db8") + bytes(12), bytes(15) + b"\1", 40_000, 80)
    path = tmp_path / "written.pcapng"
    with PcapngWriter(path.open("wb")) as writer:
        for number, link_type in enumerate(sorted(LINK_HEADERS)):
            writer.add_interface("", link_type)
            for route in (four, six):
                batch = frames_of(
                    [
                        Packet(1, 0, route, TCP, b"", TcpFlag.SYN, 1000),
                        Packet(1, 0, route.back(), TCP, b"", TcpFlag.SYN | TcpFlag.ACK, 2000, 1001),
                        Packet(1, 0, route, TCP, b"odd", TcpFlag.ACK, 1001, 2001),
                        Packet(1, 0, route, TCP, bytes(MAX_PAYLOAD), TcpFlag.ACK, 1004, 2001),
                        Packet(1, 0, route, UDP, b"odd"),
                        Packet(1, 0, route, UDP),
                    ],
                    link_type,
                )
                for row in range(len(batch)):
                    writer.write(batch.frame(row), 0, number)
    rows = fields(path, "ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "tcp.len")
    sizes = ["0", "0", "3", str(MAX_PAYLOAD)]
    good = [[ip, "1", "", size] for ip in ("1", "") for size in sizes]
    assert [row for row in rows if row[1]] == good * len(LINK_HEADERS)
    assert [row for row in rows if row[2]] == [[ip, "", "1", ""] for ip in ("1", "1", "", "")] * len(LINK_HEADERS)
