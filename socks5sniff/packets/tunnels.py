"""Tunnels in IP and in UDP: GRE, ERSPAN, NSH, VXLAN, Geneve, GTP."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .headers import HeaderPass, Peeler
from .kinds import ETHERTYPES, IP_VERSIONS, KINDS, UDP_PORTS, Kind
from .links import passed
from .rows import U8, U16, Rows, gather, layout, pick, present

_GTP_EXTENSIONS = 8
_LEAST = 36
"""Octets of UDP header, tunnel header and the least inner header together: less is no tunnel."""

_GRE = layout(4, flags=("u1", 0), version=("u1", 1), protocol=(">u2", 2))
_VXLAN = layout(8, flags=("u1", 0), next=("u1", 3), reserved=("u1", 7))
_GENEVE = layout(8, version=("u1", 0), flags=("u1", 1), protocol=(">u2", 2), reserved=("u1", 7))
_GTP = layout(8, flags=("u1", 0), type=("u1", 1), length=(">u2", 2))
_NSH = layout(4, words=("u1", 1), next=("u1", 3))
_NSH_NEXT = np.array([Kind.UNSUPPORTED, Kind.IPV4, Kind.IPV6, Kind.ETHERNET, Kind.NSH, Kind.MPLS], np.uint8)
_VXLAN_NEXT = np.array([Kind.DATAGRAM, Kind.IPV4, Kind.IPV6, Kind.ETHERNET, Kind.NSH], np.uint8)
_VXLAN_ETHERNET = 3
_INNER_VERSIONS = np.where(IP_VERSIONS == Kind.OTHER, Kind.DATAGRAM, IP_VERSIONS).astype(np.uint8)


def _gre(headers: HeaderPass, rows: Rows) -> None:
    """GRE (RFC 2784, RFC 2890) and PPTP's version of it (RFC 2637)."""
    rows = present(rows, headers.skipped, 4)
    header = gather(headers.memory, rows.at, _GRE)
    # Checksum, key, sequence number and version 1's acknowledgment add 4 octets each. Source routing (0x40) was never
    # used.
    known = (header["flags"] & 0x40 == 0) & (header["version"] & 7 <= 1)
    rows, header, lost = pick(known, rows, header)
    headers.skipped.unsupported += lost
    flags, version = header["flags"], header["version"]
    sizes = np.full(rows.size, 4)
    for bit in ((flags & 0x80), (flags & 0x20), (flags & 0x10), (version & 0x81 == 0x81)):
        sizes += (bit != 0) * 4
    headers.follow(ETHERTYPES, header["protocol"].astype(np.uint16), rows._replace(at=rows.at + sizes))


def _erspan3(headers: HeaderPass, rows: Rows) -> None:
    """ERSPAN type III: 12 octets, and 8 more where the last bit says so."""
    rows = present(rows, headers.skipped, 12)
    optional = gather(headers.memory, rows.at + 11, U8) & 1
    headers.push(Kind.ETHERNET, rows._replace(at=rows.at + 12 + optional.astype(np.int64) * 8))


def _nsh(headers: HeaderPass, rows: Rows) -> None:
    """Network service header (RFC 8300)."""
    rows = present(rows, headers.skipped, 8)
    header = gather(headers.memory, rows.at, _NSH)
    sizes = np.maximum((header["words"] & 0x3F).astype(np.int64), 2) * 4
    following = np.where(header["next"] < len(_NSH_NEXT), header["next"], 0)
    headers.follow(_NSH_NEXT, following, rows._replace(at=rows.at + sizes))


def _udp(headers: HeaderPass, rows: Rows) -> None:
    """UDP: nearly always the end, but some ports are tunnels'."""
    rows = present(rows, headers.skipped, 8)
    tunnels = UDP_PORTS.take(gather(headers.memory, rows.at + 2, U16))
    tunnels[rows.at + _LEAST > rows.end] = Kind.DATAGRAM
    headers.follow(KINDS, tunnels, rows)


def _in_udp(headers: HeaderPass, rows: Rows, inner: NDArray[np.int64], kinds: NDArray[np.uint8]) -> None:
    """Rows go on at `inner`; those of kind DATAGRAM did not look like the tunnel and stay what they are."""
    at = np.where(kinds == Kind.DATAGRAM, rows.at, inner)
    headers.follow(KINDS, kinds, rows._replace(at=at))


def _vxlan(headers: HeaderPass, rows: Rows) -> None:
    """VXLAN (RFC 7348), with Linux's group policy (flag 0x80) or VXLAN-GPE's next protocol (flag 0x04)."""
    header = gather(headers.memory, rows.at + 8, _VXLAN)
    flags, following = header["flags"], header["next"]
    likely = (flags & 0x78 == 0x08) & (header["reserved"] == 0) & (following < len(_VXLAN_NEXT))
    kinds = _VXLAN_NEXT.take(np.where(likely, np.where(flags & 0x04 != 0, following, _VXLAN_ETHERNET), 0))
    types = gather(headers.memory, rows.at + 28, U16)
    kinds[(kinds == Kind.ETHERNET) & (ETHERTYPES.take(types) == Kind.UNSUPPORTED)] = Kind.DATAGRAM
    _in_udp(headers, rows, rows.at + 16, kinds)


def _geneve(headers: HeaderPass, rows: Rows) -> None:
    """Geneve (RFC 8926)."""
    header = gather(headers.memory, rows.at + 8, _GENEVE)
    kinds = ETHERTYPES.take(header["protocol"])
    likely = (header["version"] < 0x40) & (header["flags"] & 0x3F == 0) & (header["reserved"] == 0)
    likely &= (kinds == Kind.ETHERNET) | (kinds == Kind.IPV4) | (kinds == Kind.IPV6)
    kinds[~likely] = Kind.DATAGRAM
    _in_udp(headers, rows, rows.at + 16 + (header["version"] & 0x3F).astype(np.int64) * 4, kinds)


def _gtp(headers: HeaderPass, rows: Rows) -> None:
    """GTP-U version 1 G-PDUs (3GPP TS 29.281 s5.1), whose extension headers form a list."""
    header = gather(headers.memory, rows.at + 8, _GTP)
    flags = header["flags"]
    likely = (flags & 0xF8 == 0x30) & (header["type"] == 0xFF)
    inner = rows.at + 16 + (flags & 0x07 != 0) * 4
    extended = likely & (flags & 0x04 != 0)
    for _ in range(_GTP_EXTENSIONS):
        extended &= inner < rows.end
        extended[extended] = gather(headers.memory, inner[extended] - 1, U8) != 0
        if not extended.any():
            break
        inner[extended] += np.maximum(gather(headers.memory, inner[extended], U8).astype(np.int64), 1) * 4
    likely &= ~extended & (inner < rows.end)
    kinds = np.full(rows.size, Kind.DATAGRAM, np.uint8)
    kinds[likely] = _INNER_VERSIONS.take(gather(headers.memory, inner[likely], U8) >> 4)
    _in_udp(headers, rows, inner, kinds)


TUNNELS: dict[int, Peeler] = {
    Kind.GRE: _gre,
    Kind.ERSPAN2: passed(8, Kind.ETHERNET),
    Kind.ERSPAN3: _erspan3,
    Kind.ETHERNET_AFTER_2: passed(2, Kind.ETHERNET),
    Kind.ETHERNET_AFTER_4: passed(4, Kind.ETHERNET),
    Kind.NSH: _nsh,
    Kind.UDP: _udp,
    Kind.VXLAN: _vxlan,
    Kind.GENEVE: _geneve,
    Kind.GTP: _gtp,
}
