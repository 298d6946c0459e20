"""Public captures: every TCP segment and UDP datagram as tshark lists it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from socks5sniff.capture import open_captures
from socks5sniff.packets import PacketReader

FIELDS = [
    "frame.number",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.flags",
    "tcp.len",
    "udp.srcport",
    "udp.dstport",
    "udp.length",
    "communityid",
]
CAPTURES = [
    "zeek/socks4-null.pcap",
    "zeek/socks-auth.pcap",
    "ndpi/socks.pcap",
    "ndpi/6in4tunnel.pcap",
    "ndpi/vxlan.pcap",
    "ndpi/ah.pcapng",
    "ndpi/BGP_Cisco_hdlc_slarp.pcap",
    "ndpi/dlt_ppp.pcap",
    "ndpi/rtmp.pcap",
    "ndpi/someip_sd_sample.pcap",
    "ndpi/dns_fragmented.pcap",
    "ndpi/KakaoTalk_chat.pcap",
    "ndpi/anyconnect-vpn.pcap",
    "ndpi/bad-dns-traffic.pcap",
    "ndpi/doq_adguard.pcapng",
    "ndpi/capwap_data.pcapng",
]
"""One of each layout. In all 546 captures the differences from tshark are these: an IP length beyond the frame (taken
as said here, tshark cuts it to the frame: a capture may have lost the frame's true length), fragments whose packet is
never complete, a tunnel's own datagrams where it carries neither TCP nor UDP, and headers whose lengths lie (left out
here)."""


def tshark(capture: Path) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Innermost TCP and UDP headers as tshark shows them."""
    command = ["tshark", "-n", "-r", str(capture), "-T", "fields", "-Y", "(tcp or udp) and not icmp and not icmpv6"]
    command += [
        "-E",
        "separator=|",
        "-o",
        "tcp.desegment_tcp_streams:FALSE",
        "-o",
        "tcp.analyze_sequence_numbers:FALSE",
    ]
    command += ["--enable-protocol", "communityid", *(part for field in FIELDS for part in ("-e", field))]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    segments: list[tuple[object, ...]] = []
    datagrams: list[tuple[object, ...]] = []
    for line in lines:
        values = {field: value.split(",")[-1] for field, value in zip(FIELDS, line.split("|"), strict=True)}
        frame = int(values["frame.number"])
        if values["tcp.srcport"]:
            flags = int(values["tcp.flags"], 16) & 0xFF
            numbers = [int(values[field]) for field in FIELDS[5:9]]
            numbers[3] *= flags >> 4 & 1
            segments.append((frame, *numbers, flags, int(values["tcp.len"]), values["communityid"]))
        else:
            ports = int(values["udp.srcport"]), int(values["udp.dstport"])
            datagrams.append((frame, *ports, int(values["udp.length"]) - 8, values["communityid"]))
    return segments, datagrams


def columns(capture: Path) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """The same from the reader."""
    reader = PacketReader()
    book = reader.addresses
    found_segments: list[tuple[object, ...]] = []
    found_datagrams: list[tuple[object, ...]] = []
    for batch in open_captures([str(capture)]):
        segments, datagrams = reader.read(batch)
        for frame, source, destination, *rest in zip(
            *(
                column.tolist()
                for column in (
                    segments.frame,
                    segments.source,
                    segments.destination,
                    segments.sequence,
                    segments.acknowledgment,
                    segments.flags,
                    segments.length,
                )
            ),
            strict=True,
        ):
            identity = book.community_id(source, destination, 6)
            found_segments.append((frame, source & 0xFFFF, destination & 0xFFFF, *rest, identity))
        for frame, source, destination, length in zip(
            *(c.tolist() for c in (datagrams.frame, datagrams.source, datagrams.destination, datagrams.length)),
            strict=True,
        ):
            identity = book.community_id(source, destination, 17)
            found_datagrams.append((frame, source & 0xFFFF, destination & 0xFFFF, length, identity))
    return found_segments, found_datagrams


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not here")
@pytest.mark.parametrize("name", CAPTURES)
def test_every_packet_is_what_tshark_says(shared_captures: Path, name: str) -> None:
    found = columns(shared_captures / name)
    assert found == tshark(shared_captures / name)
    assert any(found)
