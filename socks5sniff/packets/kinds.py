"""What may follow a header, and the number spaces that say so: link types, ethertypes, IP protocols, PPP protocols.

Every number space is an array from number to `Kind`, so that a whole column of numbers is classified by one look-up.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


class Kind:
    """What the octets at some place are. The values index tables, so they are small."""

    OTHER = 0
    """Known to carry neither TCP nor UDP."""
    UNSUPPORTED = 1
    """A number that nothing here can read."""
    UNKNOWN = 2
    """Left to scapy's dissector."""
    TCP = 3
    UDP = 4
    DATAGRAM = 5
    """UDP that holds no tunnel."""
    IPV4 = 6
    IPV6 = 7
    RAW_IP = 8
    IPV6_EXTENSION = 9
    IPV6_FRAGMENT = 10
    AUTHENTICATION = 11
    ETHERNET = 12
    VLAN = 13
    LLC = 14
    NULL = 15
    ENC = 16
    SLL = 17
    SLL2 = 18
    HDLC = 19
    PPP = 20
    PPPOE = 21
    PFLOG = 22
    NFLOG = 23
    MPLS = 24
    NSH = 25
    GRE = 26
    ERSPAN2 = 27
    ERSPAN3 = 28
    ETHERNET_AFTER_2 = 29
    ETHERNET_AFTER_4 = 30
    VXLAN = 31
    GENEVE = 32
    GTP = 33


def _table(size: int, default: int, entries: Mapping[int, int]) -> NDArray[np.uint8]:
    table = np.full(size, default, np.uint8)
    for number, kind in entries.items():
        table[number] = kind
    table.flags.writeable = False
    return table


LINK_TYPES: dict[int, int] = {
    0: Kind.NULL,
    1: Kind.ETHERNET,
    9: Kind.PPP,
    12: Kind.RAW_IP,
    14: Kind.RAW_IP,
    50: Kind.PPP,
    51: Kind.PPPOE,
    101: Kind.RAW_IP,
    104: Kind.HDLC,
    105: Kind.UNKNOWN,  # IEEE 802.11
    108: Kind.NULL,
    109: Kind.ENC,
    113: Kind.SLL,
    117: Kind.PFLOG,
    119: Kind.UNKNOWN,  # IEEE 802.11 behind a Prism header
    127: Kind.UNKNOWN,  # IEEE 802.11 behind radiotap
    192: Kind.UNKNOWN,  # PPI
    204: Kind.UNKNOWN,  # PPP with a direction
    228: Kind.IPV4,
    229: Kind.IPV6,
    239: Kind.NFLOG,
    274: Kind.UNKNOWN,  # Ethernet with its preamble
    276: Kind.SLL2,
}
"""LINKTYPE_ values (https://www.tcpdump.org/linktypes.html); any other one is unsupported."""

ADDRESS_FAMILIES = _table(256, Kind.OTHER, {2: Kind.IPV4} | dict.fromkeys((10, 23, 24, 26, 28, 30), Kind.IPV6))
"""AF_ values: AF_INET6 differs by platform."""

ETHERTYPES = _table(
    65536,
    Kind.UNSUPPORTED,
    dict.fromkeys(range(0x600), Kind.LLC)  # an IEEE 802.3 length
    | {
        0x0800: Kind.IPV4,
        0x86DD: Kind.IPV6,
        0x8100: Kind.VLAN,
        0x88A8: Kind.VLAN,
        0x9100: Kind.VLAN,
        0x6558: Kind.ETHERNET,  # transparent Ethernet bridging, in GRE and Geneve
        0x8847: Kind.MPLS,
        0x8848: Kind.MPLS,
        0x8864: Kind.PPPOE,
        0x880B: Kind.PPP,
        0x88BE: Kind.ERSPAN2,
        0x22EB: Kind.ERSPAN3,
        0x8903: Kind.ETHERNET_AFTER_2,  # FabricPath
        0x88E7: Kind.ETHERNET_AFTER_4,  # provider backbone bridging
        0x894F: Kind.NSH,
    }
    | dict.fromkeys(
        (
            0x0806,  # ARP
            0x0842,  # Wake-on-LAN
            0x22F0,  # AVTP
            0x22F3,  # TRILL
            0x6002,  # DEC MOP
            0x6003,  # DECnet
            0x8035,  # RARP
            0x809B,  # AppleTalk
            0x80F3,  # AppleTalk ARP
            0x8137,  # IPX
            0x8808,  # Ethernet flow control
            0x8809,  # slow protocols: LACP
            0x8863,  # PPPoE discovery
            0x886D,  # Intel ANS
            0x887B,  # HomePlug 1.0
            0x888E,  # EAP over LAN
            0x8892,  # PROFINET
            0x8899,  # Realtek loop detection
            0x88A4,  # EtherCAT
            0x88B8,  # GOOSE
            0x88BA,  # sampled values
            0x88CC,  # LLDP
            0x88E1,  # HomePlug AV
            0x88E5,  # MACsec: usually sealed
            0x88F7,  # PTP
            0x8902,  # connectivity fault management
            0x8906,  # FCoE
            0x8914,  # FCoE initialisation
            0x893A,  # IEEE 1905
            0x8999,  # switch vendor discovery
            0x9000,  # loopback test
        ),
        Kind.OTHER,
    ),
)

IP_PROTOCOLS = _table(
    256,
    Kind.OTHER,
    {
        0: Kind.IPV6_EXTENSION,  # hop-by-hop options
        4: Kind.IPV4,
        6: Kind.TCP,
        17: Kind.UDP,
        41: Kind.IPV6,
        43: Kind.IPV6_EXTENSION,  # routing
        44: Kind.IPV6_FRAGMENT,
        47: Kind.GRE,
        51: Kind.AUTHENTICATION,
        60: Kind.IPV6_EXTENSION,  # destination options
        97: Kind.ETHERNET_AFTER_2,  # EtherIP
        135: Kind.IPV6_EXTENSION,  # mobility
        137: Kind.MPLS,
        139: Kind.IPV6_EXTENSION,  # host identity
        140: Kind.IPV6_EXTENSION,  # shim6
    },
)

PPP_PROTOCOLS = _table(
    65536,
    Kind.OTHER,
    {
        0x0021: Kind.IPV4,
        0x0057: Kind.IPV6,
        0x0281: Kind.MPLS,
        0x0F00: Kind.HDLC,
        0x8F00: Kind.HDLC,
    },
)

IP_VERSIONS = _table(16, Kind.OTHER, {4: Kind.IPV4, 6: Kind.IPV6})

UDP_PORTS = _table(
    65536,
    Kind.DATAGRAM,
    {2152: Kind.GTP, 4789: Kind.VXLAN, 4790: Kind.VXLAN, 6081: Kind.GENEVE, 8472: Kind.VXLAN},
)
"""Destination ports of tunnels in UDP. What does not look like the tunnel stays a datagram."""

KINDS = _table(256, Kind.OTHER, {kind: kind for kind in range(256)})
"""For numbers that are kinds already."""
