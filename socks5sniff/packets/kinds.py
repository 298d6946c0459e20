"""What may follow a header, and the number spaces that say so: link types, ethertypes, IP protocols, PPP protocols.

Every number space is an array from number to `Kind`, so that a whole column of numbers is classified by one look-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .link_names import LINK_NAMES


class Kind:
    """What the octets at some place are. The values index tables, so they are small."""

    OTHER = 0
    """Known to carry neither TCP nor UDP."""
    UNSUPPORTED = 1
    """Could hold TCP or UDP, but nothing here can read it: an unknown number, or sealed."""
    TCP = 2
    UDP = 3
    DATAGRAM = 4
    """UDP that holds no tunnel."""
    IPV4 = 5
    IPV6 = 6
    RAW_IP = 7
    IPV6_EXTENSION = 8
    IPV6_FRAGMENT = 9
    AUTHENTICATION = 10
    ETHERNET = 11
    VLAN = 12
    LLC = 13
    NULL = 14
    ENC = 15
    SLL = 16
    SLL2 = 17
    HDLC = 18
    PPP = 19
    PPPOE = 20
    PFLOG = 21
    NFLOG = 22
    MPLS = 23
    NSH = 24
    GRE = 25
    ERSPAN2 = 26
    ERSPAN3 = 27
    ETHERNET_AFTER_2 = 28
    ETHERNET_AFTER_4 = 29
    VXLAN = 30
    GENEVE = 31
    GTP = 32
    MPLS_PAYLOAD = 33
    BACKBONE = 34
    VN_TAG = 35
    E_TAG = 36
    REDUNDANCY = 37
    """HSR, whose tag stands before the ethertype. PRP's stands behind the packet, where nobody looks."""
    METADATA = 38
    TIMESTAMP_TAG = 39
    MACSEC = 40
    TRILL = 41
    WCCP = 42
    TZSP = 43
    MPLS_IN_UDP = 44
    LISP = 45
    CAPWAP = 46
    TEREDO = 47
    L2TP = 48
    SLIP = 49
    FRAME_RELAY = 50
    FRAME_RELAY_SNAP = 51
    FRAME_RELAY_MULTILINK = 52
    SUN_ATM = 53
    ATM_LLC = 54
    """An ATM header of four octets, then LLC."""
    IPOIB = 55
    ERF = 56
    EXPORTED = 57
    PKTAP = 58
    MAYBE_PKTAP = 59
    TOKEN_RING = 60
    FDDI = 61
    FIBRE_CHANNEL = 62
    FIREWIRE = 63
    PPP_AFTER_1 = 64
    PPP_AFTER_2 = 65
    HDLC_AFTER_1 = 66
    FRAME_RELAY_AFTER_1 = 67
    PPP_MULTILINK = 68
    ETHERNET_AFTER_8 = 69
    ETHERNET_AFTER_12 = 70
    DSA = 71
    EDSA = 72
    WLAN = 73
    WLAN_SWAPPED = 74
    """IEEE 802.11 whose two octets of frame control are exchanged, as Cisco sends them in CAPWAP."""
    WLAN_PADDED = 75
    """IEEE 802.11 whose header was filled up to four octets by the network card."""
    RADIOTAP = 76
    PRISM = 77
    PPI = 78
    MULTICHANNEL_PPP = 79
    MULTICHANNEL_ATM = 80
    AVS = 81
    CLASSICAL_IP = 82
    ICMP = 83
    ICMP6 = 84


_NO_NAMES: Mapping[int, str] = {}


@dataclass(frozen=True)
class NumberSpace:
    """Numbers that name what follows a header.

    Attributes:
        kinds: uint8, the `Kind` of each number.
        form: a number as people know it, a format string.
        names: what numbers are called, where that helps.
    """

    kinds: NDArray[np.uint8]
    form: str
    names: Mapping[int, str] = field(default_factory=lambda: _NO_NAMES)

    def describe(self, number: int) -> str:
        """`EtherType 0x8926`, `link type 147 (USER0)`."""
        text = self.form.format(number)
        return f"{text} ({self.names[number]})" if number in self.names else text


def _table(numbers: type[np.unsignedinteger[Any]], default: int, entries: Mapping[int, int]) -> NDArray[np.uint8]:
    table = np.full(np.iinfo(numbers).max + 1, default, np.uint8)
    for number, kind in entries.items():
        table[number] = kind
    table.flags.writeable = False
    return table


LINK_TYPES: dict[int, int] = {
    0: Kind.NULL,
    1: Kind.ETHERNET,
    6: Kind.TOKEN_RING,
    8: Kind.SLIP,
    9: Kind.PPP,
    10: Kind.FDDI,
    12: Kind.RAW_IP,
    14: Kind.RAW_IP,
    50: Kind.PPP,
    51: Kind.PPPOE,
    100: Kind.LLC,  # ATM, RFC 2684
    101: Kind.RAW_IP,
    104: Kind.HDLC,
    105: Kind.WLAN,
    106: Kind.CLASSICAL_IP,
    107: Kind.FRAME_RELAY,
    108: Kind.NULL,
    109: Kind.ENC,
    113: Kind.SLL,
    117: Kind.PFLOG,
    119: Kind.PRISM,
    122: Kind.FIBRE_CHANNEL,
    123: Kind.SUN_ATM,
    127: Kind.RADIOTAP,
    138: Kind.FIREWIRE,
    149: Kind.MAYBE_PKTAP,
    163: Kind.AVS,
    166: Kind.PPP_AFTER_2,
    182: Kind.FRAME_RELAY_MULTILINK,
    192: Kind.PPI,
    197: Kind.ERF,
    204: Kind.PPP_AFTER_1,
    205: Kind.HDLC_AFTER_1,
    206: Kind.FRAME_RELAY_AFTER_1,
    219: Kind.MPLS,
    228: Kind.IPV4,
    229: Kind.IPV6,
    239: Kind.NFLOG,
    240: Kind.ETHERNET_AFTER_4,  # netANALYZER
    241: Kind.ETHERNET_AFTER_12,  # netANALYZER with the preamble
    242: Kind.IPOIB,
    252: Kind.EXPORTED,
    258: Kind.PKTAP,
    274: Kind.ETHERNET_AFTER_8,  # Ethernet with its preamble
    276: Kind.SLL2,
    281: Kind.DSA,  # Broadcom's switch tag
    282: Kind.ETHERNET_AFTER_4,
    284: Kind.DSA,
    285: Kind.EDSA,
}
"""LINKTYPE_ values (https://www.tcpdump.org/linktypes.html); any other one is unsupported."""

LINKS = NumberSpace(_table(np.uint16, Kind.UNSUPPORTED, LINK_TYPES), "link type {}", LINK_NAMES)

ADDRESS_FAMILIES = NumberSpace(
    _table(np.uint8, Kind.OTHER, {2: Kind.IPV4} | dict.fromkeys((10, 23, 24, 26, 28, 30), Kind.IPV6)),
    "address family {}",
)
"""AF_ values: AF_INET6 differs by platform."""

_ETHERTYPES = (
    dict.fromkeys(range(0x600), Kind.LLC)  # an IEEE 802.3 length
    | {
        0x0800: Kind.IPV4,
        0x86DD: Kind.IPV6,
        0x8100: Kind.VLAN,
        0x88A8: Kind.VLAN,
        0x8200: Kind.VLAN,  # service tags before IEEE 802.1ad gave them a number
        0x9100: Kind.VLAN,
        0x9200: Kind.VLAN,
        0x9300: Kind.VLAN,
        0x6400: Kind.ETHERNET,  # MikroTik's EoIP, in GRE
        0x6558: Kind.ETHERNET,  # transparent Ethernet bridging, in GRE and Geneve
        0x6559: Kind.FRAME_RELAY,
        0x883E: Kind.WCCP,
        0x8847: Kind.MPLS,
        0x8848: Kind.MPLS,
        0x8864: Kind.PPPOE,
        0x880B: Kind.PPP,
        0x8881: Kind.PPP,
        0x88BE: Kind.ERSPAN2,
        0x22EB: Kind.ERSPAN3,
        0x22F3: Kind.TRILL,
        0x8903: Kind.ETHERNET_AFTER_2,  # FabricPath
        0x8909: Kind.METADATA,
        0x8926: Kind.VN_TAG,
        0x892F: Kind.REDUNDANCY,
        0x893F: Kind.E_TAG,
        0x8988: Kind.TIMESTAMP_TAG,
        0x88E5: Kind.MACSEC,
        0x88E7: Kind.BACKBONE,
        0x894F: Kind.NSH,
    }
    | dict.fromkeys(
        (
            0x0806,  # ARP
            0x0842,  # Wake-on-LAN
            0x22F0,  # AVTP
            0x22F4,  # TRILL's IS-IS
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
            0x88F5,  # MVRP
            0x88F7,  # PTP
            0x88FB,  # supervision of HSR and PRP
            0x8902,  # connectivity fault management
            0x8906,  # FCoE
            0x8914,  # FCoE initialisation
            0x893A,  # IEEE 1905
            0x8999,  # switch vendor discovery
            0x9000,  # loopback test
        ),
        Kind.OTHER,
    )
)

ETHERTYPES = NumberSpace(_table(np.uint16, Kind.UNSUPPORTED, _ETHERTYPES), "EtherType 0x{:04x}")

IP_PROTOCOLS = NumberSpace(
    _table(
        np.uint8,
        Kind.OTHER,
        {
            0: Kind.IPV6_EXTENSION,  # hop-by-hop options
            1: Kind.ICMP,
            4: Kind.IPV4,
            6: Kind.TCP,
            17: Kind.UDP,
            41: Kind.IPV6,
            43: Kind.IPV6_EXTENSION,  # routing
            44: Kind.IPV6_FRAGMENT,
            47: Kind.GRE,
            50: Kind.UNSUPPORTED,
            51: Kind.AUTHENTICATION,
            58: Kind.ICMP6,
            55: Kind.UNSUPPORTED,
            60: Kind.IPV6_EXTENSION,  # destination options
            94: Kind.IPV4,
            97: Kind.ETHERNET_AFTER_2,  # EtherIP
            108: Kind.UNSUPPORTED,
            115: Kind.UNSUPPORTED,
            135: Kind.IPV6_EXTENSION,  # mobility
            137: Kind.MPLS,
            139: Kind.IPV6_EXTENSION,  # host identity
            140: Kind.IPV6_EXTENSION,  # shim6
            143: Kind.ETHERNET,  # segment routing
        },
    ),
    "IP protocol {}",
    {50: "ESP, encrypted", 55: "minimal encapsulation", 108: "compressed", 115: "L2TP version 3"},
)

PPP_PROTOCOLS = NumberSpace(
    _table(
        np.uint16,
        Kind.OTHER,
        {
            0x0021: Kind.IPV4,
            0x0057: Kind.IPV6,
            0x0031: Kind.ETHERNET_AFTER_2,  # bridging
            0x003D: Kind.PPP_MULTILINK,
            0x0281: Kind.MPLS,
            0x0F00: Kind.HDLC,
            0x8F00: Kind.HDLC,
        }
        | dict.fromkeys((0x002D, 0x002F, 0x0053, 0x0055, 0x00FB, 0x00FD), Kind.UNSUPPORTED),
    ),
    "PPP protocol 0x{:04x}",
    {0x2D: "compressed TCP", 0x2F: "compressed TCP", 0x53: "encrypted", 0x55: "encrypted"}
    | dict.fromkeys((0xFB, 0xFD), "compressed"),
)

NLPIDS = NumberSpace(
    _table(
        np.uint8,
        Kind.OTHER,
        {0xCC: Kind.IPV4, 0x8E: Kind.IPV6, 0x80: Kind.FRAME_RELAY_SNAP, 0xCF: Kind.PPP},
    ),
    "NLPID 0x{:02x}",
)
"""Network layer protocol identifiers of ISO 9577, in frame relay (RFC 2427) and ATM."""

ERF_TYPES = NumberSpace(
    _table(
        np.uint8,
        Kind.UNSUPPORTED,
        dict.fromkeys((2, 11, 16, 20), Kind.ETHERNET_AFTER_2)
        | dict.fromkeys((1, 10, 15, 19), Kind.PPP)  # HDLC, which may be Cisco's
        | dict.fromkeys((5, 17), Kind.MULTICHANNEL_PPP)
        | {4: Kind.ATM_LLC, 9: Kind.MULTICHANNEL_ATM, 22: Kind.IPV4, 23: Kind.IPV6}
        | dict.fromkeys((0, 13, 14, 27, 48), Kind.OTHER),
    ),
    "ERF type {}",
)

IP_VERSIONS = NumberSpace(_table(np.uint8, Kind.OTHER, {4: Kind.IPV4, 6: Kind.IPV6}), "IP version {}")

UDP_PORTS = _table(
    np.uint16,
    Kind.DATAGRAM,
    {
        1701: Kind.L2TP,
        2152: Kind.GTP,
        3544: Kind.TEREDO,
        4341: Kind.LISP,
        4789: Kind.VXLAN,
        4790: Kind.VXLAN,
        5247: Kind.CAPWAP,
        6081: Kind.GENEVE,
        6635: Kind.MPLS_IN_UDP,
        8472: Kind.VXLAN,
        37008: Kind.TZSP,
    },
)
"""Destination ports of tunnels in UDP. What does not look like the tunnel stays a datagram."""

UDP_SOURCES = _table(np.uint16, Kind.DATAGRAM, {1701: Kind.L2TP, 3544: Kind.TEREDO, 5247: Kind.CAPWAP})
"""Source ports of tunnels whose other end may have any port."""

KINDS = NumberSpace(_table(np.uint8, Kind.OTHER, {kind: kind for kind in range(256)}), "kind {}")
"""For numbers that are kinds already."""
