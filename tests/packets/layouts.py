"""Every layout that a frame's headers may have: the link type, and what builds the frame around an IP packet."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from itertools import count, groupby

from .samples import ETHERNET, RAW, ethernet, ipv4, ipv6, tcp, udp

Build = Callable[[int, bytes], bytes]
"""Takes the version and the octets of an IP packet."""

ETHERTYPE = {4: 0x0800, 6: 0x86DD}


def tagged(*tags: int) -> Build:
    """Ethernet with these tags' ethertypes."""

    def build(version: int, ip: bytes) -> bytes:
        types = [*tags, ETHERTYPE[version]]
        between = b"".join(struct.pack(">HH", 0x0005, following) for following in types[1:])
        return ethernet(types[0], between + ip)

    return build


def null(order: str, family6: int) -> Build:
    """The loopback header of BSD, macOS and Npcap."""
    return lambda version, ip: struct.pack(order + "I", 2 if version == 4 else family6) + ip


def in_udp(port: int, header: bytes) -> Build:
    """A tunnel in UDP in IPv4 in Ethernet."""
    return lambda version, ip: ethernet(0x0800, ipv4(17, udp(header + ip, 50000, port)))


def in_gre(flags: int, protocol: int, header: bytes, whole: bool = False) -> Build:
    """GRE in IPv4; with `whole` an Ethernet frame in it."""

    def build(version: int, ip: bytes) -> bytes:
        inner = ethernet(ETHERTYPE[version], ip) if whole else ip
        kind = protocol or ETHERTYPE[version]
        return ethernet(0x0800, ipv4(47, struct.pack(">HH", flags, kind) + header + inner, "10.0.0.1", "10.0.0.2"))

    return build


def nflog(version: int, ip: bytes) -> bytes:
    """Linux netfilter log: an attribute with a prefix, then the packet."""
    prefix = struct.pack("<HH", 9, 10) + b"drop\0" + bytes(3)
    return struct.pack(">BBH", 2 if version == 4 else 10, 0, 5) + prefix + struct.pack("<HH", 4 + len(ip), 9) + ip


def vxlan(version: int, ip: bytes) -> bytes:
    """VXLAN in UDP."""
    return in_udp(4789, bytes.fromhex("0800000000002a00") + ethernet(ETHERTYPE[version], b""))(version, ip)


LAYOUTS: dict[str, tuple[int, Build]] = {
    "Ethernet": (ETHERNET, tagged()),
    "VLAN": (ETHERNET, tagged(0x8100)),
    "QinQ": (ETHERNET, tagged(0x88A8, 0x8100)),
    "QinQ of old": (ETHERNET, tagged(0x9100, 0x8100)),
    "three tags": (ETHERNET, tagged(0x88A8, 0x8100, 0x8100)),
    "Ethernet padding": (ETHERNET, lambda version, ip: ethernet(ETHERTYPE[version], ip) + b"\xee" * 18),
    "SNAP": (ETHERNET, lambda v, ip: ethernet(len(ip) + 8, b"\xaa\xaa\3\0\0\0" + struct.pack(">H", ETHERTYPE[v]) + ip)),
    "FabricPath": (ETHERNET, lambda v, ip: ethernet(0x8903, b"\x40\x20" + ethernet(ETHERTYPE[v], ip) + bytes(4))),
    "backbone bridging": (ETHERNET, lambda v, ip: ethernet(0x88E7, bytes(4) + ethernet(ETHERTYPE[v], ip))),
    "MPLS": (ETHERNET, lambda v, ip: ethernet(0x8847, bytes.fromhex("0001003f 0002013f") + ip)),
    "PPPoE": (
        ETHERNET,
        lambda v, ip: ethernet(0x8864, b"\x11\0\0\1" + struct.pack(">HH", len(ip) + 2, 0x21 if v == 4 else 0x57) + ip),
    ),
    "service header": (ETHERNET, lambda v, ip: ethernet(0x894F, bytes((0, 2, 2, 1 if v == 4 else 2)) + bytes(4) + ip)),
    "raw IP": (RAW, lambda version, ip: ip),
    "raw IP, BSD": (12, lambda version, ip: ip),
    "raw IP, OpenBSD": (14, lambda version, ip: ip),
    "SLL": (
        113,
        lambda v, ip: bytes.fromhex("0000 0001 0006 020000000001 0000") + struct.pack(">H", ETHERTYPE[v]) + ip,
    ),
    "SLL and VLAN": (113, lambda v, ip: bytes(14) + struct.pack(">HHH", 0x8100, 5, ETHERTYPE[v]) + ip),
    "SLL2": (276, lambda v, ip: struct.pack(">H", ETHERTYPE[v]) + bytes(18) + ip),
    "PPP": (9, lambda v, ip: bytes((0, 0x21 if v == 4 else 0x57)) + ip),
    "PPP, compressed protocol": (9, lambda v, ip: bytes((0x21 if v == 4 else 0x57,)) + ip),
    "PPP in HDLC": (50, lambda v, ip: bytes((0xFF, 3, 0, 0x21 if v == 4 else 0x57)) + ip),
    "PPPoE without Ethernet": (
        51,
        lambda v, ip: b"\x11\0\0\1" + struct.pack(">HH", len(ip) + 2, 0x21 if v == 4 else 0x57) + ip,
    ),
    "Cisco HDLC": (104, lambda v, ip: b"\x0f\0" + struct.pack(">H", ETHERTYPE[v]) + ip),
    "Cisco HDLC as PPP": (9, lambda v, ip: b"\x8f\0" + struct.pack(">H", ETHERTYPE[v]) + ip),
    "packet filter log": (117, lambda v, ip: bytes((61, 2 if v == 4 else 24)) + bytes(62) + ip),
    "netfilter log": (239, nflog),
    "encapsulating interface": (109, lambda v, ip: struct.pack("<I", 2 if v == 4 else 24) + bytes(8) + ip),
    "IP in IPv4": (ETHERNET, lambda v, ip: ethernet(0x0800, ipv4(4 if v == 4 else 41, ip, "10.0.0.1", "10.0.0.2"))),
    "IP in IPv6": (ETHERNET, lambda v, ip: ethernet(0x86DD, ipv6(4 if v == 4 else 41, ip, "fd00::1", "fd00::2"))),
    "IP in IP in IP": (RAW, lambda v, ip: ipv6(4, ipv4(4 if v == 4 else 41, ip))),
    "EtherIP": (RAW, lambda v, ip: ipv4(97, b"\x30\0" + ethernet(ETHERTYPE[v], ip))),
    "MPLS in IP": (RAW, lambda v, ip: ipv4(137, bytes.fromhex("0002013f") + ip)),
    "GRE": (ETHERNET, in_gre(0, 0, b"")),
    "GRE with key and sequence number": (ETHERNET, in_gre(0xB000, 0, bytes(12))),
    "GRE with Ethernet": (ETHERNET, in_gre(0, 0x6558, b"", whole=True)),
    "PPTP": (
        RAW,
        lambda v, ip: ipv4(
            47, bytes.fromhex("3081 880b 0004 0001 00000001 00000002 ff03 00") + (b"\x21" if v == 4 else b"\x57") + ip
        ),
    ),
    "ERSPAN type II": (ETHERNET, in_gre(0x1000, 0x88BE, bytes(4) + bytes.fromhex("10010001 00000001"), whole=True)),
    "ERSPAN type III": (
        ETHERNET,
        in_gre(0x1000, 0x22EB, bytes(4) + b"\x20" + bytes(10) + b"\1" + bytes(8), whole=True),
    ),
    "VXLAN": (ETHERNET, vxlan),
    "VXLAN with next protocol": (
        ETHERNET,
        lambda v, ip: in_udp(4790, bytes((0x0C, 0, 0, 1 if v == 4 else 2, 0, 0, 7, 0)))(v, ip),
    ),
    "Geneve": (
        ETHERNET,
        lambda v, ip: in_udp(6081, b"\x02\0" + struct.pack(">H", ETHERTYPE[v]) + bytes(4) + bytes(8))(v, ip),
    ),
    "GTP": (ETHERNET, lambda v, ip: in_udp(2152, b"\x30\xff" + struct.pack(">HI", len(ip), 1))(v, ip)),
    "GTP with an extension": (
        ETHERNET,
        lambda v, ip: in_udp(
            2152, struct.pack(">HH", 0x34FF, len(ip) + 8) + bytes.fromhex("00000001 00000085 01000900")
        )(v, ip),
    ),
}


def around(version: int, ip: bytes) -> bytes:
    """An IP packet in an Ethernet frame."""
    return ethernet(ETHERTYPE[version], ip)


def behind(ethertype: int, header: str) -> Build:
    """A tag with this ethertype, which ends before the next ethertype."""
    return lambda version, ip: ethernet(ethertype, bytes.fromhex(header) + kind(version) + ip)


def kind(version: int) -> bytes:
    """The ethertype as octets."""
    return struct.pack(">H", ETHERTYPE[version])


def ppp(version: int) -> bytes:
    """The PPP protocol as octets."""
    return b"\0\x21" if version == 4 else b"\0\x57"


def nlpid(version: int) -> bytes:
    """The network layer protocol identifier as an octet."""
    return b"\xcc" if version == 4 else b"\x8e"


SNAP = b"\xaa\xaa\3\0\0\0"
BRIDGED = b"\xaa\xaa\3\0\x80\xc2\0\7\0\0"


def wlan(control: str, middle: int = 18, rest: str = "0000") -> Build:
    """IEEE 802.11 with its frame control and duration, addresses and sequence control, and what comes behind."""
    head = bytes.fromhex(control) + bytes(2 + middle)
    return lambda version, ip: head + bytes.fromhex(rest) + SNAP + kind(version) + ip


def exported(names: tuple[bytes, bytes], inner: Build) -> Build:
    """An exported PDU with its dissector's names, for either IP version."""

    def build(version: int, ip: bytes) -> bytes:
        name = names[version == 6]
        return struct.pack(">HH", 12, len(name)) + name + bytes(4) + inner(version, ip)

    return build


def pktap(link: int, inner: Build, *, flags: int = 2, pid: int = 4242, name: bytes = b"curl") -> Build:
    """Apple's PKTAP header."""
    fields = (108, 1, link, b"en0", flags, 2, 14, 0, pid, name, 0, 6, 0, 0, b"")
    return lambda version, ip: struct.pack("<III24sIIIII20sIHHI20s", *fields) + inner(version, ip)


def erf(number: int, inner: Build, header: bytes = b"", extensions: bytes = b"") -> Build:
    """A record of a capture card."""

    def build(version: int, ip: bytes) -> bytes:
        body = header + inner(version, ip)
        size = 16 + len(extensions) + len(body)
        fields = (number | 0x80 * bool(extensions), 4, size, 0, len(body))
        return struct.pack("<Q", 1 << 32) + struct.pack(">BBHHH", *fields) + extensions + body

    return build


def bare(version: int, ip: bytes) -> bytes:
    """The packet itself."""
    return ip


LAYOUTS |= {
    "VN-Tag": (ETHERNET, behind(0x8926, "80010002")),
    "E-Tag": (ETHERNET, behind(0x893F, "000110020000")),
    "HSR": (ETHERNET, behind(0x892F, "00420007")),
    "PRP": (ETHERNET, lambda v, ip: around(v, ip) + struct.pack(">HHH", 7, 0xA000 | len(ip) + 6, 0x88FB)),
    "Cisco MetaData": (ETHERNET, behind(0x8909, "010100010064")),
    "Cisco timestamp tag": (ETHERNET, behind(0x8988, "000000000001")),
    "MACsec": (ETHERNET, lambda v, ip: behind(0x88E5, "000000000001")(v, ip) + bytes(16)),
    "MACsec with a channel": (
        ETHERNET,
        lambda v, ip: behind(0x88E5, "200000000001 0200000000010001")(v, ip) + bytes(16),
    ),
    "TRILL": (ETHERNET, lambda v, ip: ethernet(0x22F3, bytes.fromhex("0001 0001 0002") + around(v, ip))),
    "TRILL with an option": (
        ETHERNET,
        lambda v, ip: ethernet(0x22F3, bytes.fromhex("0041 0001 0002 00000000") + around(v, ip)),
    ),
    "pseudowire": (ETHERNET, lambda v, ip: ethernet(0x8847, bytes.fromhex("0002013f 00000000") + around(v, ip))),
    "WCCP": (RAW, lambda v, ip: ipv4(47, struct.pack(">HHI", 0, 0x883E, 0x01020304) + ip)),
    "ERSPAN type I": (ETHERNET, in_gre(0, 0x88BE, b"", whole=True)),
    "EoIP": (
        ETHERNET,
        lambda v, ip: ethernet(
            0x0800, ipv4(47, struct.pack(">HHHH", 0x2001, 0x6400, len(ip) + 14, 0x0100) + around(v, ip))
        ),
    ),
    "NVGRE": (ETHERNET, in_gre(0x2000, 0x6558, struct.pack(">I", 5001 << 8), whole=True)),
    "frame relay in GRE": (ETHERNET, lambda v, ip: in_gre(0, 0x6559, b"\x18\x41" + kind(v))(v, ip)),
    "Ethernet in IP": (RAW, lambda v, ip: ipv6(143, around(v, ip))),
    "TZSP": (ETHERNET, lambda v, ip: in_udp(37008, b"\1\0\0\1\1")(v, around(v, ip))),
    "TZSP with tags": (
        ETHERNET,
        lambda v, ip: in_udp(37008, bytes.fromhex("01000001 0a0105 00 0c020001 01"))(v, around(v, ip)),
    ),
    "TZSP, IEEE 802.11": (
        ETHERNET,
        lambda v, ip: in_udp(37008, bytes.fromhex("01000012 01"))(v, wlan("0802")(v, ip)),
    ),
    "MPLS in UDP": (ETHERNET, in_udp(6635, bytes.fromhex("0001003f 0002013f"))),
    "LISP": (ETHERNET, in_udp(4341, bytes.fromhex("88000000 00000100"))),
    "LISP without an instance": (ETHERNET, in_udp(4341, bytes.fromhex("80000000 00000000"))),
    "CAPWAP, Ethernet": (ETHERNET, lambda v, ip: in_udp(5247, bytes.fromhex("00100200 00000000"))(v, around(v, ip))),
    "CAPWAP, IEEE 802.11": (
        ETHERNET,
        lambda v, ip: in_udp(5247, bytes.fromhex("00100300 00000000"))(v, wlan("0208")(v, ip)),
    ),
    "CAPWAP, IEEE 802.11 as it is": (
        ETHERNET,
        lambda v, ip: in_udp(5247, bytes.fromhex("00100300 00000000"))(v, wlan("0802")(v, ip)),
    ),
    "L2TP": (ETHERNET, lambda v, ip: in_udp(1701, bytes.fromhex("0002 0001 0002 ff03") + ppp(v))(v, ip)),
    "L2TP without HDLC": (ETHERNET, lambda v, ip: in_udp(1701, bytes.fromhex("0002 0001 0002") + ppp(v))(v, ip)),
    "L2TP with everything": (
        ETHERNET,
        lambda v, ip: in_udp(1701, struct.pack(">8H", 0x4A02, len(ip) + 20, 1, 2, 0, 0, 2, 0) + b"\xff\3" + ppp(v))(
            v, ip
        ),
    ),
    "bridged PPP": (9, lambda v, ip: b"\0\x31\0\1" + around(v, ip)),
    "multilink PPP": (9, lambda v, ip: b"\0\x3d\xc0\0\0\1" + ppp(v) + ip),
    "PPP of pppd": (166, lambda v, ip: b"\1\3" + ppp(v) + ip),
    "PPP with direction": (204, lambda v, ip: b"\1\xff\3" + ppp(v) + ip),
    "Cisco HDLC with direction": (205, lambda v, ip: b"\1\x0f\0" + kind(v) + ip),
    "SLIP": (8, lambda v, ip: b"\0\x45" + bytes(14) + ip),
    "frame relay": (107, lambda v, ip: b"\x18\x41\3" + nlpid(v) + ip),
    "frame relay, SNAP": (107, lambda v, ip: b"\x18\x41\3\0\x80\0\0\0" + kind(v) + ip),
    "frame relay, SNAP without filling": (107, lambda v, ip: b"\x18\x41\3\x80\0\0\0" + kind(v) + ip),
    "frame relay, bridged": (107, lambda v, ip: b"\x18\x41\3\0\x80\0\x80\xc2\0\7" + around(v, ip)),
    "frame relay, bridged, with its checksum": (
        107,
        lambda v, ip: b"\x18\x41\3\0\x80\0\x80\xc2\0\1" + around(v, ip) + bytes(4),
    ),
    "frame relay, Cisco": (107, lambda v, ip: b"\x18\x41" + kind(v) + ip),
    "frame relay, PPP": (107, lambda v, ip: b"\x18\x41\3\xcf" + ppp(v) + ip),
    "frame relay, three octets": (107, lambda v, ip: b"\x18\x40\x41\3" + nlpid(v) + ip),
    "frame relay, four octets": (107, lambda v, ip: b"\x18\x40\x40\x41\3" + nlpid(v) + ip),
    "frame relay with direction": (206, lambda v, ip: b"\0\x18\x41\3" + nlpid(v) + ip),
    "multilink frame relay": (182, lambda v, ip: b"\xc0\1\x18\x41\3" + nlpid(v) + ip),
    "ATM": (100, lambda v, ip: SNAP + kind(v) + ip),
    "ATM, bridged": (100, lambda v, ip: BRIDGED + around(v, ip)),
    "ATM, bridged, with its checksum": (100, lambda v, ip: BRIDGED[:-3] + b"\1\0\0" + around(v, ip) + bytes(4)),
    "ATM, PPP": (100, lambda v, ip: b"\xfe\xfe\3\xcf" + ppp(v) + ip),
    "ATM, routed": (100, lambda v, ip: b"\xfe\xfe\3" + nlpid(v) + ip),
    "classical IP": (106, bare),
    "classical IP with LLC": (106, lambda v, ip: SNAP + kind(v) + ip),
    "SunATM": (123, lambda v, ip: b"\x82\0\0\x64" + SNAP + kind(v) + ip),
    "SunATM, bridged": (123, lambda v, ip: b"\2\0\0\x64" + BRIDGED + around(v, ip)),
    "SunATM, LAN emulation": (123, lambda v, ip: b"\1\0\0\x64\0\1" + around(v, ip)),
    "IP over InfiniBand": (242, lambda v, ip: bytes(40) + kind(v) + b"\0\0" + ip),
    "MPLS without Ethernet": (219, lambda v, ip: bytes.fromhex("0002013f") + ip),
    "FDDI": (10, lambda v, ip: b"\x50" + bytes(12) + SNAP + kind(v) + ip),
    "token ring": (
        6,
        lambda v, ip: bytes.fromhex("1040 020000000001 020000000002") + SNAP + kind(v) + ip,
    ),
    "token ring with a route": (
        6,
        lambda v, ip: bytes.fromhex("1040 020000000001 820000000002 063000010002") + SNAP + kind(v) + ip,
    ),
    "Fibre Channel": (122, lambda v, ip: bytes(16) + SNAP + kind(v) + ip),
    "FireWire": (138, lambda v, ip: bytes(16) + kind(v) + ip),
    "Ethernet with preamble": (274, lambda v, ip: b"\x55" * 7 + b"\xd5" + around(v, ip) + bytes(4)),
    "netANALYZER": (240, lambda v, ip: bytes(4) + around(v, ip) + bytes(4)),
    "netANALYZER with preamble": (241, lambda v, ip: bytes(4) + b"\x55" * 7 + b"\xd5" + around(v, ip) + bytes(4)),
    "Broadcom tag": (281, lambda v, ip: bytes(12) + b"\x20\0\0\1" + kind(v) + ip),
    "Broadcom tag in front": (282, lambda v, ip: b"\x20\0\0\1" + around(v, ip)),
    "DSA": (284, lambda v, ip: bytes(12) + b"\xc0\0\0\1" + kind(v) + ip),
    "EDSA": (285, lambda v, ip: bytes(12) + bytes.fromhex("dada0000 c0000001") + kind(v) + ip),
    "IEEE 802.11": (105, wlan("0802")),
    "IEEE 802.11 with QoS": (105, wlan("8802", rest="0000 0000")),
    "IEEE 802.11, four addresses": (105, wlan("8803", 24, "0000 0000")),
    "IEEE 802.11, high throughput": (105, wlan("8882", rest="0000 0000 00000000")),
    "IEEE 802.11, aggregated": (
        105,
        lambda v, ip: wlan("8802", rest="0000 8000" + "00" * 12 + f"{len(ip) + 8:04x}")(v, ip),
    ),
    "IEEE 802.11, decrypted": (105, wlan("8842", rest="0000 0000")),
    "radiotap": (127, lambda v, ip: bytes.fromhex("0000 0800 00000000") + wlan("0802")(v, ip)),
    "radiotap, filled up": (
        127,
        lambda v, ip: bytes.fromhex("0000 0900 02000000 20") + wlan("8802", rest="0000 0000 0000")(v, ip),
    ),
    "radiotap, filled up, with a clock": (
        127,
        lambda v, ip: (
            bytes.fromhex("0000 1900 030000a0 00000020")
            + bytes(12)
            + b"\x20"
            + wlan("8802", rest="0000 0000 0000")(v, ip)
        ),
    ),
    "Prism": (119, lambda v, ip: struct.pack("<II", 0x44, 144) + bytes(136) + wlan("0802")(v, ip)),
    "AVS": (163, lambda v, ip: struct.pack(">II", 0x80211001, 64) + bytes(56) + wlan("0802")(v, ip)),
    "AVS as Prism": (119, lambda v, ip: struct.pack(">II", 0x80211001, 64) + bytes(56) + wlan("0802")(v, ip)),
    "PPI": (192, lambda v, ip: struct.pack("<BBHI", 0, 0, 8, 1) + around(v, ip)),
    "PPI, IEEE 802.11": (192, lambda v, ip: struct.pack("<BBHI", 0, 0, 8, 105) + wlan("0802")(v, ip)),
    "exported packet": (252, exported((b"ip", b"ipv6"), bare)),
    "exported frame": (252, exported((b"eth_withoutfcs",) * 2, around)),
    "PKTAP": (258, pktap(1, around)),
    "PKTAP, raw IP": (258, pktap(12, bare)),
    "PKTAP, loopback": (258, pktap(0, lambda v, ip: struct.pack("<I", 2 if v == 4 else 30) + ip)),
    "PKTAP as Apple wrote it": (149, pktap(1, around)),
    "ERF with extensions": (
        197,
        erf(2, around, bytes(2), bytes.fromhex("8300000000000000 0400000000000000")),
    ),
    "ERF, IP": (197, lambda v, ip: erf(22 if v == 4 else 23, bare)(v, ip)),
    "ERF, PPP": (197, lambda v, ip: erf(1, bare, b"\xff\3" + ppp(v))(v, ip)),
    "ERF, AAL5": (197, lambda v, ip: erf(4, bare, bytes.fromhex("00000640") + SNAP + kind(v))(v, ip)),
}
for _tag in (0x8200, 0x9100, 0x9200, 0x9300):
    LAYOUTS[f"tag {_tag:04x}"] = (ETHERNET, tagged(_tag))
for _number in (2, 11, 16, 20):
    LAYOUTS[f"ERF, Ethernet of type {_number}"] = (197, erf(_number, around, bytes(2)))
for _number in (1, 10, 15):
    LAYOUTS[f"ERF, Cisco HDLC of type {_number}"] = (
        197,
        lambda v, ip, number=_number: erf(number, bare, b"\x0f\0" + kind(v))(v, ip),
    )
for _number in (5, 17):
    LAYOUTS[f"ERF, Cisco HDLC in channels of type {_number}"] = (
        197,
        lambda v, ip, number=_number: erf(number, bare, bytes(4) + b"\x0f\0" + kind(v))(v, ip),
    )
for _order in "<>":
    for _family in (10, 23, 24, 26, 28, 30):
        LAYOUTS[f"NULL, AF {_family}, order {_order}"] = (0, null(_order, _family))
        LAYOUTS[f"LOOP, AF {_family}, order {_order}"] = (108, null(_order, _family))

TEREDO = {
    "Teredo": b"",
    "Teredo with an origin": bytes.fromhex("0000 1234 01020304"),
    "Teredo with authentication": bytes.fromhex("0001 0000") + bytes(9) + bytes.fromhex("0000 1234 01020304"),
    "Teredo with authentication by a secret": bytes.fromhex("0001 0402") + bytes(6 + 9),
}
"""What may come before the IPv6 packet."""


def bits(numbers: Iterable[int]) -> str:
    """`0-7 12` for the numbers of bits."""
    after = count()
    runs = [[*run] for _, run in groupby(sorted(numbers), lambda number: number - next(after))]
    return " ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def one_bit_changed() -> list[tuple[str, int, int, bytes]]:
    """Layout, bit, link type and frame, for every bit in front of the inner packet."""
    inner = ipv4(6, tcp(b"hello"))
    frames = []
    for name, (link, build) in LAYOUTS.items():
        frame = build(4, inner)
        number, size = int.from_bytes(frame, "big"), len(frame)
        for bit in range(8 * frame.find(inner)):
            frames.append((name, bit, link, (number ^ 1 << 8 * size - 1 - bit).to_bytes(size, "big")))
    return frames
