"""Packets as values, and their octets as scapy builds them.

A value keeps what a later hand may want to change (order, sequence numbers, payload, time); `Renderer` turns it into
an Ethernet frame with right lengths and checksums.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

HostPort = tuple[str, int]

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

WINDOW = 65535
WINDOW_SCALE = 7
"""Eight megabytes of window: more than the proxy ever sends at once, so the capture never shows a full one."""

LINK_TYPE = 1
"""LINKTYPE_ETHERNET."""

MSS = {4: 1460, 6: 1440}
"""Octets of TCP payload in an Ethernet frame, by IP version."""


def version_of(host: str) -> int:
    """IP version of an address in text."""
    return 6 if ":" in host else 4


@dataclass(frozen=True, slots=True)
class TcpSegment:
    """One TCP segment.

    Attributes:
        time: nanoseconds since 1970.
        flow: index of its connection, from 0 in the order of their first packets.
        sender: 0 for the side that opened the connection, 1 for the other.
    """

    time: int
    source: HostPort
    destination: HostPort
    flow: int
    sender: int
    sequence: int
    acknowledgment: int
    flags: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class UdpDatagram:
    """One UDP datagram; `time` as above."""

    time: int
    source: HostPort
    destination: HostPort
    payload: bytes


@dataclass(frozen=True, slots=True)
class RawFrame:
    """A frame that is ready; for what is neither of the others (IP fragments).

    Attributes:
        completes: the segment that is whole with this frame.
    """

    time: int
    octets: bytes
    flow: int = -1
    completes: TcpSegment | None = None


Packet = TcpSegment | UdpDatagram | RawFrame


class Renderer:
    """Packets to Ethernet frames. scapy builds each flow's headers once; what differs per packet is filled in."""

    def __init__(self) -> None:
        logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
        from scapy.layers.inet import IP, TCP, UDP
        from scapy.layers.inet6 import IPv6
        from scapy.layers.l2 import Ether
        from scapy.utils import checksum

        self._ether, self._ip, self._ipv6, self._tcp, self._udp = Ether, IP, IPv6, TCP, UDP
        self._checksum = checksum
        self._templates: dict[tuple[HostPort, HostPort, int], bytearray] = {}
        self._identification = 0

    def frame(self, packet: Packet) -> bytes:
        """The Ethernet frame of a packet."""
        if isinstance(packet, RawFrame):
            return packet.octets
        if isinstance(packet, UdpDatagram):
            return self._fill(packet, 17, 0)
        return self._fill(packet, 6, packet.flags)

    def _fill(self, packet: TcpSegment | UdpDatagram, protocol: int, flags: int) -> bytes:
        kind = 2 if flags & SYN else protocol
        key = (packet.source, packet.destination, kind)
        template = self._templates.get(key)
        if template is None:
            if len(self._templates) > 4096:
                self._templates.clear()
            template = self._templates[key] = self._template(*key)
        head = bytearray(template)
        version = version_of(packet.source[0])
        transport_at = 34 if version == 4 else 54
        size = len(head) - transport_at + len(packet.payload)
        if isinstance(packet, TcpSegment):
            struct.pack_into(">II", head, transport_at + 4, packet.sequence, packet.acknowledgment)
            head[transport_at + 13] = packet.flags
            checksum_at = transport_at + 16
        else:
            struct.pack_into(">H", head, transport_at + 4, size)
            checksum_at = transport_at + 6
        if version == 4:
            self._identification = (self._identification + 1) & 0xFFFF
            struct.pack_into(">HH", head, 16, 20 + size, self._identification)
            struct.pack_into(">H", head, 24, self._checksum(bytes(head[14:34])))
            pseudo = bytes(head[26:34]) + struct.pack(">HH", protocol, size)
        else:
            struct.pack_into(">H", head, 18, size)
            pseudo = bytes(head[22:54]) + struct.pack(">II", size, protocol)
        total = self._checksum(pseudo + bytes(head[transport_at:]) + packet.payload)
        # RFC 768: a UDP checksum of zero means "none", so zero is sent as its other form.
        struct.pack_into(">H", head, checksum_at, total or (0xFFFF if protocol == 17 else 0))
        return bytes(head) + packet.payload

    def _template(self, source: HostPort, destination: HostPort, kind: int) -> bytearray:
        if version_of(source[0]) == 4:
            network: Any = self._ip(src=source[0], dst=destination[0], flags="DF", id=0, ttl=64, chksum=0, len=0)
        else:
            network = self._ipv6(src=source[0], dst=destination[0], hlim=64, plen=0)
        if kind == 17:
            transport: Any = self._udp(sport=source[1], dport=destination[1], chksum=0, len=0)
        else:
            options = []
            if kind == 2:
                options = [
                    ("MSS", MSS[version_of(source[0])]),
                    ("SAckOK", b""),
                    ("NOP", None),
                    ("WScale", WINDOW_SCALE),
                ]
            transport = self._tcp(
                sport=source[1], dport=destination[1], window=WINDOW, chksum=0, flags=0, options=options
            )
        kind_of_network = 0x86DD if version_of(source[0]) == 6 else 0x0800
        ether = self._ether(src=_mac(source[0]), dst=_mac(destination[0]), type=kind_of_network)
        return bytearray(bytes(ether / network / transport))


def _mac(host: str) -> str:
    """Zeros for loopback, as Linux shows it; else a locally administered address made from the IP address."""
    address = ip_address(host)
    if address.is_loopback:
        return "00:00:00:00:00:00"
    return "02:00:" + ":".join(f"{octet:02x}" for octet in address.packed[-4:])
