"""Link-layer headers, and the tags and labels that lie between them and IP."""

from __future__ import annotations

import numpy as np

from .headers import HeaderPass, Peeler
from .kinds import ADDRESS_FAMILIES, ETHERTYPES, PPP_PROTOCOLS, Kind
from .rows import U8, U16, U32, U64, Rows, gather, layout, present

_SNAP = 0xAAAA03000000
_MPLS_BOTTOM = np.array([Kind.MPLS, Kind.RAW_IP], np.uint8)
_ATTRIBUTES = 32
_NFLOG_PACKET = 9
_ATTRIBUTE = layout(4, length=("<u2", 0), type=("<u2", 2))


def _typed(position: int, size: int) -> Peeler:
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


_snap = _typed(6, 8)


def _llc(headers: HeaderPass, rows: Rows) -> None:
    """IEEE 802.2: only SNAP with ethertypes can lead to IP (RFC 1042)."""
    rows = present(rows, headers.skipped, 8)
    snap = gather(headers.memory, rows.at, U64).astype(np.uint64) >> np.uint64(16) == _SNAP
    headers.skipped.other += int((~snap).sum())
    _snap(headers, rows.take(np.flatnonzero(snap)))


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


def _mpls(headers: HeaderPass, rows: Rows) -> None:
    """One label; behind the last one the first nibble tells the IP version, as Wireshark guesses too."""
    rows = present(rows, headers.skipped, 4)
    bottom = gather(headers.memory, rows.at, U32).astype(np.uint32) >> 8 & 1
    headers.follow(_MPLS_BOTTOM, bottom, rows._replace(at=rows.at + 4))


LINKS: dict[int, Peeler] = {
    Kind.ETHERNET: _typed(12, 14),
    Kind.VLAN: _typed(2, 4),
    Kind.SLL: _typed(14, 16),
    Kind.SLL2: _typed(0, 20),
    Kind.HDLC: _typed(2, 4),
    Kind.LLC: _llc,
    Kind.NULL: _family(4),
    Kind.ENC: _family(12),
    Kind.PFLOG: _pflog,
    Kind.NFLOG: _nflog,
    Kind.PPP: _ppp,
    Kind.PPPOE: passed(6, Kind.PPP),
    Kind.MPLS: _mpls,
}
