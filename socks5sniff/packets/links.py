"""Link-layer headers, and the tags and labels that lie between them and IP."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .headers import HeaderPass, Peeler
from .kinds import ADDRESS_FAMILIES, ETHERTYPES, IP_VERSIONS, KINDS, LINKS, NLPIDS, PPP_PROTOCOLS, Kind
from .marks import SERVICE, VLAN
from .rows import U8, U16, U32, U64, Column, Rows, gather, layout, pick, present

_ETHERNET_SNAP = 0x000000
_BRIDGE_SNAP = 0x0000F8
"""The other OUI whose numbers are ethertypes (IEEE 802.1H)."""
_BRIDGED = 0x0080C2
"""IEEE 802.1's OUI; numbers 1 and 7 are Ethernet frames (RFC 2684, RFC 2427)."""
_ATTRIBUTES = 32
_NFLOG_PACKET = 9
_ATTRIBUTE = layout(4, length=("<u2", 0), type=("<u2", 2))
_MACSEC_CLEAR = 0x0C
_AVS = 0x80211
_SNAPPED = 0xAAAA03


def typed(position: int, size: int) -> Peeler:
    """A header of fixed size that names what follows by an ethertype."""

    def peel(headers: HeaderPass, rows: Rows) -> None:
        rows = present(rows, headers.skipped, size)
        types = gather(headers.memory, rows.at + position, U16).astype(np.uint16)
        headers.follow(ETHERTYPES, types, rows._replace(at=rows.at + size))

    return peel


def passed(size: int, kind: int) -> Peeler:
    """A header of fixed size that is always followed by the same kind."""

    def peel(headers: HeaderPass, rows: Rows) -> None:
        rows = present(rows, headers.skipped, size)
        headers.push(kind, rows._replace(at=rows.at + size))

    return peel


def taken(rows: Rows, chosen: NDArray[np.bool_]) -> Rows:
    """The rows for which this holds."""
    return rows if chosen.all() else rows.take(np.flatnonzero(chosen))


def known_ethertype(memory: NDArray[np.uint8], at: Column, end: Column) -> NDArray[np.bool_]:
    """Whether an Ethernet header at these places would be there, with an ethertype that means something here."""
    known: NDArray[np.bool_] = at + 14 <= end
    kinds = ETHERTYPES.kinds.take(gather(memory, at[known] + 12, U16))
    known[known] = kinds != Kind.UNSUPPORTED
    return known


def _vlan(headers: HeaderPass, rows: Rows) -> None:
    """IEEE 802.1Q and its kin. Identifier 0 is a priority only."""
    rows = present(rows, headers.skipped, 4)
    tags = gather(headers.memory, rows.at, U32).astype(np.int64)
    identifiers = tags >> 16 & 0xFFF
    headers.enter(VLAN, *_numbered(rows, identifiers))
    headers.follow(ETHERTYPES, tags & 0xFFFF, rows._replace(at=rows.at + 4))


def _numbered(rows: Rows, numbers: NDArray[np.int64]) -> tuple[Rows, NDArray[np.int64]]:
    if numbers.all():
        return rows, numbers
    chosen = np.flatnonzero(numbers)
    return rows.take(chosen), numbers[chosen]


def _backbone(headers: HeaderPass, rows: Rows) -> None:
    """Provider backbone bridging (IEEE 802.1ah): a service identifier, then the customer's frame."""
    rows = present(rows, headers.skipped, 4)
    headers.enter(SERVICE, rows, gather(headers.memory, rows.at, U32).astype(np.int64) & 0xFFFFFF)
    headers.push(Kind.ETHERNET, rows._replace(at=rows.at + 4))


def _macsec(headers: HeaderPass, rows: Rows) -> None:
    """IEEE 802.1AE: a packet number and maybe a channel identifier; what follows can be in clear."""
    rows = present(rows, headers.skipped, 8)
    flags = gather(headers.memory, rows.at, U8)
    clear, flags, sealed = pick(flags & _MACSEC_CLEAR == 0, rows, flags)
    headers.skipped.unread("EtherType 0x88e5 (MACsec, encrypted)", sealed)
    _ethertype(headers, clear._replace(at=clear.at + np.where(flags & 0x20 != 0, 14, 6)))


_ethertype = typed(0, 2)


def _trill(headers: HeaderPass, rows: Rows) -> None:
    """RFC 6325: options in words of four octets."""
    rows = present(rows, headers.skipped, 6)
    words = gather(headers.memory, rows.at, U16).astype(np.int64) >> 6 & 0x1F
    headers.push(Kind.ETHERNET, rows._replace(at=rows.at + 6 + words * 4))


def _llc(headers: HeaderPass, rows: Rows) -> None:
    """IEEE 802.2: SNAP with ethertypes (RFC 1042) or a bridged frame, an NLPID (RFC 2684), or IP itself."""
    small = rows.at + 8 > rows.wire  # too little for IP
    headers.skipped.other += int(small.sum())
    rows = present(taken(rows, ~small), headers.skipped, 8)
    words = gather(headers.memory, rows.at, U64).astype(np.uint64).view(np.int64)
    points = words >> 40 & 0xFFFFFF
    organisation, number = words >> 16 & 0xFFFFFF, words & 0xFFFF
    snap = points == _SNAPPED
    types = snap & ((organisation == _ETHERNET_SNAP) | (organisation == _BRIDGE_SNAP))
    if types.all():
        headers.follow(ETHERTYPES, number, rows._replace(at=rows.at + 8))
        return
    bridged = snap & (organisation == _BRIDGED) & ((number == 1) | (number == 7))
    listed = points == 0xFEFE03
    plain = points == 0x060603
    headers.skipped.other += int((~(types | bridged | listed | plain)).sum())
    headers.follow(ETHERTYPES, number[types], taken(rows._replace(at=rows.at + 8), types))
    headers.push(Kind.ETHERNET, taken(rows._replace(at=rows.at + 10), bridged))
    headers.follow(NLPIDS, words[listed] >> 32 & 0xFF, taken(rows._replace(at=rows.at + 4), listed))
    headers.push(Kind.RAW_IP, taken(rows._replace(at=rows.at + 3), plain))


def _family(size: int) -> Peeler:
    """A header of `size` octets that begins with an address family, 4 octets in either byte order."""

    def peel(headers: HeaderPass, rows: Rows) -> None:
        rows = present(rows, headers.skipped, size)
        families = gather(headers.memory, rows.at, U32).astype(np.uint32)
        small = np.minimum(np.minimum(families, families.byteswap()), 255)
        headers.follow(ADDRESS_FAMILIES, small, rows._replace(at=rows.at + size))

    return peel


def _pflog(headers: HeaderPass, rows: Rows) -> None:
    """OpenBSD's packet filter log: the header's own length, filled up to 4 octets, and the address family."""
    rows = present(rows, headers.skipped, 2)
    sizes = gather(headers.memory, rows.at, U8).astype(np.int64) + 3 & ~3
    families = gather(headers.memory, rows.at + 1, U8)
    headers.follow(ADDRESS_FAMILIES, families, rows._replace(at=rows.at + sizes))


def _nflog(headers: HeaderPass, rows: Rows) -> None:
    """Linux netfilter log: an address family, then attributes (length and type, little-endian); one is the packet."""
    rows = present(rows, headers.skipped, 4)
    families = gather(headers.memory, rows.at, U8)
    at = rows.at + 4
    for _ in range(_ATTRIBUTES):
        there = at + 4 <= rows.end
        headers.skipped.other += int((~there).sum())
        rows, families, at = rows.take(np.flatnonzero(there)), families[there], at[there]
        attribute = gather(headers.memory, at, _ATTRIBUTE)
        sizes = np.maximum(attribute["length"].astype(np.int64), 4)
        packet = attribute["type"] & 0x7FFF == _NFLOG_PACKET
        found = rows._replace(
            at=at + 4, end=np.minimum(rows.end, at + sizes), wire=np.minimum(rows.wire, at + sizes)
        ).take(np.flatnonzero(packet))
        headers.follow(ADDRESS_FAMILIES, families[packet], found)
        rows, families, at = rows.take(np.flatnonzero(~packet)), families[~packet], (at + (sizes + 3 & ~3))[~packet]
        if not rows.size:
            return
    headers.skipped.malformed += rows.size


def _ppp(headers: HeaderPass, rows: Rows) -> None:
    """PPP, with or without the address and control octets (RFC 1662) and with one-octet protocols (RFC 1661)."""
    rows = present(rows, headers.skipped, 2)
    words = gather(headers.memory, rows.at, U16).astype(np.uint16)
    framed = words == 0xFF03
    if framed.any():
        rows = present(rows._replace(at=rows.at + np.where(framed, 2, 0)), headers.skipped, 2)
        words = gather(headers.memory, rows.at, U16).astype(np.uint16)
    cisco = (words == 0x0F00) | (words == 0x8F00)  # not PPP at all: Cisco's address and control octets
    short = (words & 0x0100 != 0) & ~cisco
    sizes = np.where(cisco, 0, np.where(short, 1, 2))
    headers.follow(PPP_PROTOCOLS, np.where(short, words >> 8, words), rows._replace(at=rows.at + sizes))


def _ppp_multilink(headers: HeaderPass, rows: Rows) -> None:
    """RFC 1990 with long sequence numbers; only packets that are in one piece."""
    rows = present(rows, headers.skipped, 4)
    whole = gather(headers.memory, rows.at, U8) & 0xC0 == 0xC0
    headers.skipped.unread("fragments of multilink PPP", int((~whole).sum()))
    headers.push(Kind.PPP, taken(rows._replace(at=rows.at + 4), whole))


def _mpls(headers: HeaderPass, rows: Rows) -> None:
    """One label."""
    rows = present(rows, headers.skipped, 4)
    bottom = gather(headers.memory, rows.at, U32) & 0x100 != 0
    kinds = np.where(bottom, Kind.MPLS_PAYLOAD, Kind.MPLS)
    headers.follow(KINDS, kinds, rows._replace(at=rows.at + 4))


def _mpls_payload(headers: HeaderPass, rows: Rows) -> None:
    """Nothing says what lies behind the last label. The first nibble tells, as Wireshark guesses too: an IP version,
    or an Ethernet frame with or without the control word of RFC 4448."""
    rows = present(rows, headers.skipped, 1)
    nibble = gather(headers.memory, rows.at, U8) >> 4
    kinds = IP_VERSIONS.kinds.take(nibble)
    if kinds.all():
        headers.follow(KINDS, kinds, rows)
        return
    word = (nibble == 0) & _carrying(headers.memory, rows.at + 4, rows.end)
    bare = ~word & (kinds == Kind.OTHER) & _carrying(headers.memory, rows.at, rows.end)
    kinds[word | bare] = Kind.ETHERNET
    headers.follow(KINDS, kinds, rows._replace(at=rows.at + word * 4))


def _carrying(memory: NDArray[np.uint8], at: Column, end: Column) -> NDArray[np.bool_]:
    """Whether an Ethernet header that leads to IP seems to be at these places."""
    carrying: NDArray[np.bool_] = at + 14 <= end
    kinds = ETHERTYPES.kinds.take(gather(memory, at[carrying] + 12, U16))
    carrying[carrying] = (kinds == Kind.IPV4) | (kinds == Kind.IPV6) | (kinds == Kind.VLAN)
    return carrying


def _classical_ip(headers: HeaderPass, rows: Rows) -> None:
    """Classical IP over ATM as Linux hands it up: with or without LLC."""
    rows = present(rows, headers.skipped, 1)
    llc = gather(headers.memory, rows.at, U8) == 0xAA
    headers.push(Kind.LLC, taken(rows, llc))
    headers.push(Kind.RAW_IP, taken(rows, ~llc))


def _frame_relay(headers: HeaderPass, rows: Rows) -> None:
    """Q.922: an address of 2 to 4 octets, then an NLPID (RFC 2427) or, as Cisco does it, an ethertype."""
    rows = present(rows, headers.skipped, 4)
    words = gather(headers.memory, rows.at, U32)
    at = rows.at + np.where(words & 0x10000 != 0, 2, np.where(words & 0x100 != 0, 3, 4))
    rows = present(rows._replace(at=at), headers.skipped, 4)
    words = gather(headers.memory, rows.at, U32).astype(np.int64)
    named = words >> 24 == 0x03
    headers.follow(ETHERTYPES, words[~named] >> 16, taken(rows._replace(at=rows.at + 2), ~named))
    rows, words = taken(rows, named), words[named]
    padded = words >> 16 & 0xFF == 0
    headers.follow(
        NLPIDS, np.where(padded, words >> 8 & 0xFF, words >> 16 & 0xFF), rows._replace(at=rows.at + 2 + padded)
    )


def _frame_relay_snap(headers: HeaderPass, rows: Rows) -> None:
    rows = present(rows, headers.skipped, 8)
    words = gather(headers.memory, rows.at, U64).astype(np.uint64).view(np.int64)
    organisation, number = words >> 40 & 0xFFFFFF, words >> 24 & 0xFFFF
    types = organisation == _ETHERNET_SNAP
    bridged = (organisation == _BRIDGED) & ((number == 1) | (number == 7))
    headers.skipped.other += int((~(types | bridged)).sum())
    rows = rows._replace(at=rows.at + 5)
    headers.follow(ETHERTYPES, number[types], taken(rows, types))
    headers.push(Kind.ETHERNET, taken(rows, bridged))


def _frame_relay_multilink(headers: HeaderPass, rows: Rows) -> None:
    """FRF.16: only frames that are in one piece."""
    rows = present(rows, headers.skipped, 2)
    bits = gather(headers.memory, rows.at, U8) & 0xE0
    whole, control = bits == 0xC0, bits == 0xE0
    headers.skipped.other += int(control.sum())
    headers.skipped.unread("fragments of multilink frame relay", int((~(whole | control)).sum()))
    headers.push(Kind.FRAME_RELAY, taken(rows._replace(at=rows.at + 2), whole))


def _sun_atm(headers: HeaderPass, rows: Rows) -> None:
    """The traffic's type, the circuit, then LLC or a frame of LAN emulation (whose control frames begin with FF)."""
    rows = present(rows, headers.skipped, 6)
    kind = gather(headers.memory, rows.at, U8) & 0x0F
    data = gather(headers.memory, rows.at + 4, U8) != 0xFF
    llc, lane = kind == 2, (kind == 1) & data
    headers.skipped.other += int((~(llc | lane)).sum())
    headers.push(Kind.LLC, taken(rows._replace(at=rows.at + 4), llc))
    headers.push(Kind.ETHERNET, taken(rows._replace(at=rows.at + 6), lane))


def _token_ring(headers: HeaderPass, rows: Rows) -> None:
    """IEEE 802.5: a route where the source address' first bit says so."""
    rows = present(rows, headers.skipped, 15)
    routed = gather(headers.memory, rows.at + 8, U8) & 0x80 != 0
    route = (gather(headers.memory, rows.at + 14, U8) & 0x1F).astype(np.int64)
    headers.push(Kind.LLC, rows._replace(at=rows.at + 14 + np.where(routed, route, 0)))


def _prism(headers: HeaderPass, rows: Rows) -> None:
    """144 octets, or the later header of AVS, which says its length."""
    rows = present(rows, headers.skipped, 8)
    words = gather(headers.memory, rows.at, U64).astype(np.uint64).view(np.int64)
    newer = words >> 44 & 0xFFFFF == _AVS
    sizes = np.where(newer, np.maximum(words & 0xFFFFFFFF, 8), 144)
    headers.push(Kind.WLAN, rows._replace(at=rows.at + sizes))


def _ppi(headers: HeaderPass, rows: Rows) -> None:
    """Per-packet information: its length and the link type, little-endian."""
    rows = present(rows, headers.skipped, 8)
    sizes = gather(headers.memory, rows.at + 2, _LITTLE16).astype(np.int64)
    types = gather(headers.memory, rows.at + 4, U32).astype(np.uint32).byteswap().astype(np.int64)
    headers.follow(LINKS, np.minimum(types, 0xFFFF), rows._replace(at=rows.at + np.maximum(sizes, 8)))


_LITTLE16 = np.dtype("<u2")

LINK_PEELERS: dict[int, Peeler] = {
    Kind.ETHERNET: typed(12, 14),
    Kind.VLAN: _vlan,
    Kind.VN_TAG: typed(4, 6),
    Kind.E_TAG: typed(6, 8),
    Kind.REDUNDANCY: typed(4, 6),
    Kind.METADATA: typed(6, 8),
    Kind.TIMESTAMP_TAG: typed(6, 8),
    Kind.DSA: typed(16, 18),
    Kind.EDSA: typed(20, 22),
    Kind.BACKBONE: _backbone,
    Kind.MACSEC: _macsec,
    Kind.TRILL: _trill,
    Kind.ETHERNET_AFTER_2: passed(2, Kind.ETHERNET),
    Kind.ETHERNET_AFTER_4: passed(4, Kind.ETHERNET),
    Kind.ETHERNET_AFTER_8: passed(8, Kind.ETHERNET),
    Kind.ETHERNET_AFTER_12: passed(12, Kind.ETHERNET),
    Kind.SLL: typed(14, 16),
    Kind.SLL2: typed(0, 20),
    Kind.HDLC: typed(2, 4),
    Kind.HDLC_AFTER_1: passed(1, Kind.HDLC),
    Kind.IPOIB: typed(40, 44),
    Kind.FIREWIRE: typed(16, 18),
    Kind.LLC: _llc,
    Kind.ATM_LLC: passed(4, Kind.LLC),
    Kind.CLASSICAL_IP: _classical_ip,
    Kind.FDDI: passed(13, Kind.LLC),
    Kind.FIBRE_CHANNEL: passed(16, Kind.LLC),
    Kind.TOKEN_RING: _token_ring,
    Kind.SUN_ATM: _sun_atm,
    Kind.NULL: _family(4),
    Kind.ENC: _family(12),
    Kind.PFLOG: _pflog,
    Kind.NFLOG: _nflog,
    Kind.SLIP: passed(16, Kind.RAW_IP),
    Kind.PPP: _ppp,
    Kind.PPP_AFTER_1: passed(1, Kind.PPP),
    Kind.PPP_AFTER_2: passed(2, Kind.PPP),
    Kind.PPP_MULTILINK: _ppp_multilink,
    Kind.PPPOE: passed(6, Kind.PPP),
    Kind.MPLS: _mpls,
    Kind.MPLS_PAYLOAD: _mpls_payload,
    Kind.FRAME_RELAY: _frame_relay,
    Kind.FRAME_RELAY_AFTER_1: passed(1, Kind.FRAME_RELAY),
    Kind.FRAME_RELAY_SNAP: _frame_relay_snap,
    Kind.FRAME_RELAY_MULTILINK: _frame_relay_multilink,
    Kind.PRISM: _prism,
    Kind.AVS: _prism,
    Kind.PPI: _ppi,
}
