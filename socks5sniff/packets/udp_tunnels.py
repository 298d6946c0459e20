"""Tunnels in UDP. A port alone proves nothing: what does not look like the tunnel stays a datagram."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .headers import HeaderPass, Peeler
from .kinds import ETHERTYPES, IP_VERSIONS, KINDS, LINK_TYPES, UDP_PORTS, UDP_SOURCES, Kind
from .links import known_ethertype, taken
from .marks import INSTANCE, VNI
from .rows import U8, U16, U32, Column, Rows, gather, layout, present

_LEAST = 36
"""Octets of UDP header, tunnel header and the least inner header together: less is no tunnel."""

_GTP_EXTENSIONS = 8
_TAGS = 32
_LABELS = 16
_VXLAN = layout(8, flags=("u1", 0), next=("u1", 3), vni=(">u4", 4))
_GENEVE = layout(8, version=("u1", 0), flags=("u1", 1), protocol=(">u2", 2), vni=(">u4", 4))
_GTP = layout(8, flags=("u1", 0), type=("u1", 1), length=(">u2", 2))
_LISP = layout(8, flags=("u1", 0), instance=(">u4", 4))
_TZSP = layout(4, version=("u1", 0), type=("u1", 1), protocol=(">u2", 2))
_L2TP = layout(2, flags=("u1", 0), version=("u1", 1))
_VXLAN_NEXT = np.array([Kind.DATAGRAM, Kind.IPV4, Kind.IPV6, Kind.ETHERNET, Kind.NSH], np.uint8)
_VXLAN_ETHERNET = 3
_INNER_VERSIONS = np.where(IP_VERSIONS.kinds == Kind.OTHER, Kind.DATAGRAM, IP_VERSIONS.kinds).astype(np.uint8)
_TZSP_KINDS = np.full(128, Kind.DATAGRAM, np.uint8)
_TZSP_KINDS[[1, 18, 119, 127]] = Kind.ETHERNET, Kind.WLAN, Kind.PRISM, LINK_TYPES[127]


def _udp(headers: HeaderPass, rows: Rows) -> None:
    """UDP: nearly always the end, but some ports are tunnels'."""
    rows = present(rows, headers.skipped, 8)
    ports = gather(headers.memory, rows.at, U32)
    tunnels = UDP_PORTS.take(ports & 0xFFFF)
    plain = tunnels == Kind.DATAGRAM
    tunnels[plain] = UDP_SOURCES.take(ports[plain] >> 16)
    tunnels[rows.at + _LEAST > rows.end] = Kind.DATAGRAM
    headers.follow(KINDS, tunnels, rows)


def _inside(headers: HeaderPass, rows: Rows, inner: Column, kinds: NDArray[np.uint8]) -> None:
    """Rows go on at `inner`; those of kind DATAGRAM did not look like the tunnel and stay what they are."""
    at = np.where(kinds == Kind.DATAGRAM, rows.at, inner)
    headers.follow(KINDS, kinds, rows._replace(at=at))


def _holds_ip(headers: HeaderPass, rows: Rows, at: Column) -> NDArray[np.bool_]:
    """Whether an IP packet lies at these places, by its version and a length that fits."""
    memory = headers.memory
    fits = at + 20 <= rows.end
    at, wire = at[fits], rows.wire[fits]
    version = gather(memory, at, U8) >> 4
    short = gather(memory, at + 2, U16).astype(np.int64)
    long = gather(memory, at + 4, U16).astype(np.int64) + 40
    size = np.where(version == 4, short, long)
    fits[fits] = ((version == 4) | (version == 6)) & (size >= 20) & (at + size <= wire)
    return fits


def _vxlan(headers: HeaderPass, rows: Rows) -> None:
    """VXLAN (RFC 7348), with Linux's group policy (flag 0x80) or VXLAN-GPE's next protocol (flag 0x04)."""
    header = gather(headers.memory, rows.at + 8, _VXLAN)
    flags, following = header["flags"], header["next"]
    vni = header["vni"].astype(np.int64)
    likely = (flags & 0x78 == 0x08) & (vni & 0xFF == 0) & (following < len(_VXLAN_NEXT))
    kinds = _VXLAN_NEXT.take(np.where(likely, np.where(flags & 0x04 != 0, following, _VXLAN_ETHERNET), 0))
    types = gather(headers.memory, rows.at + 28, U16)
    kinds[(kinds == Kind.ETHERNET) & (ETHERTYPES.kinds.take(types) == Kind.UNSUPPORTED)] = Kind.DATAGRAM
    _enter_vni(headers, rows, kinds, vni)
    _inside(headers, rows, rows.at + 16, kinds)


def _geneve(headers: HeaderPass, rows: Rows) -> None:
    """Geneve (RFC 8926)."""
    header = gather(headers.memory, rows.at + 8, _GENEVE)
    vni = header["vni"].astype(np.int64)
    kinds = ETHERTYPES.kinds.take(header["protocol"])
    likely = (header["version"] < 0x40) & (header["flags"] & 0x3F == 0) & (vni & 0xFF == 0)
    likely &= (kinds == Kind.ETHERNET) | (kinds == Kind.IPV4) | (kinds == Kind.IPV6)
    kinds[~likely] = Kind.DATAGRAM
    _enter_vni(headers, rows, kinds, vni)
    _inside(headers, rows, rows.at + 16 + (header["version"] & 0x3F).astype(np.int64) * 4, kinds)


def _enter_vni(headers: HeaderPass, rows: Rows, kinds: NDArray[np.uint8], vni: Column) -> None:
    tunnels = kinds != Kind.DATAGRAM
    headers.enter(VNI, taken(rows, tunnels), vni[tunnels] >> 8)


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
    _inside(headers, rows, inner, kinds)


def _tzsp(headers: HeaderPass, rows: Rows) -> None:
    """TZSP, the stream of a sniffing access point or router: tags up to one of type 1, then a frame."""
    memory = headers.memory
    header = gather(memory, rows.at + 8, _TZSP)
    likely = (header["version"] == 1) & (header["type"] <= 1)
    kinds = _TZSP_KINDS.take(np.where(likely, np.minimum(header["protocol"], 127), 0))
    inner = rows.at + 12
    open_ = kinds != Kind.DATAGRAM
    for _ in range(_TAGS):
        open_ &= inner + 2 <= rows.end
        if not open_.any():
            break
        tags = gather(memory, inner[open_], U16).astype(np.int64)
        single = tags >> 8 <= 1  # filling, or the end
        inner[open_] += np.where(single, 1, 2 + (tags & 0xFF))
        open_[open_] = tags >> 8 != 1
    ended = ~open_ & (inner < rows.end)
    ended[ended] = gather(memory, inner[ended] - 1, U8) == 1
    kinds[~ended] = Kind.DATAGRAM
    kinds[(kinds == Kind.ETHERNET) & ~known_ethertype(memory, inner, rows.end)] = Kind.DATAGRAM
    _inside(headers, rows, inner, kinds)


def _mpls_in_udp(headers: HeaderPass, rows: Rows) -> None:
    """MPLS in UDP (RFC 7510): labels, then IP."""
    inner = rows.at + 8
    open_ = np.ones(rows.size, np.bool_)
    for _ in range(_LABELS):
        open_ &= inner + 4 <= rows.end
        if not open_.any():
            break
        bottom = gather(headers.memory, inner[open_], U32) & 0x100 != 0
        inner[open_] += 4
        open_[open_] = ~bottom
    likely = ~open_ & _holds_ip(headers, rows, inner)
    _inside(headers, rows, inner, np.where(likely, Kind.RAW_IP, Kind.DATAGRAM).astype(np.uint8))


def _lisp(headers: HeaderPass, rows: Rows) -> None:
    """LISP (RFC 9300), maybe with an instance identifier."""
    header = gather(headers.memory, rows.at + 8, _LISP)
    inner = rows.at + 16
    likely = _holds_ip(headers, rows, inner)
    told = likely & (header["flags"] & 0x08 != 0)
    headers.enter(INSTANCE, taken(rows, told), header["instance"][told].astype(np.int64) >> 8)
    _inside(headers, rows, inner, np.where(likely, Kind.RAW_IP, Kind.DATAGRAM).astype(np.uint8))


def _capwap(headers: HeaderPass, rows: Rows) -> None:
    """CAPWAP data (RFC 5415 s4.3) in clear: an Ethernet frame, or one of IEEE 802.11."""
    memory = headers.memory
    words = gather(memory, rows.at + 8, U32).astype(np.int64)
    size = words >> 19 & 0x1F
    inner = rows.at + 8 + size * 4
    keep_alive, fragment = words & 0x08 != 0, words & 0x80 != 0
    likely = (words >> 24 == 0) & (size >= 2) & ~keep_alive & (inner + 24 <= rows.end)
    likely[likely] &= ~fragment[likely] | (gather(memory, rows.at[likely] + 14, U16) >> 3 == 0)
    native = words & 0x100 != 0
    kinds = np.full(rows.size, Kind.DATAGRAM, np.uint8)
    kinds[likely & ~native & known_ethertype(memory, inner, rows.end)] = Kind.ETHERNET
    radio = likely & native
    control = gather(memory, inner[radio], U16).astype(np.int64)
    kinds[radio] = np.where(control & 0x0F == 0x08, Kind.WLAN_SWAPPED, Kind.WLAN)
    _inside(headers, rows, inner, kinds)


def _teredo(headers: HeaderPass, rows: Rows) -> None:
    """Teredo (RFC 4380 s5.1.1): maybe an authentication and an origin indication, then IPv6."""
    memory = headers.memory
    inner = rows.at + 8
    words = gather(memory, inner, U32).astype(np.int64)
    authenticated = words >> 16 == 0x0001
    inner = inner + np.where(authenticated, 13 + (words >> 8 & 0xFF) + (words & 0xFF), 0)
    there = inner + 8 <= rows.end
    origin = there.copy()
    origin[there] = gather(memory, inner[there], U16) == 0
    inner = inner + 8 * origin
    likely = _holds_ip(headers, rows, inner)
    likely[likely] = gather(memory, inner[likely], U8) >> 4 == 6
    _inside(headers, rows, inner, np.where(likely, Kind.IPV6, Kind.DATAGRAM).astype(np.uint8))


def _l2tp(headers: HeaderPass, rows: Rows) -> None:
    """L2TP version 2 data (RFC 2661 s3.1): length, sequence numbers and an offset where bits say so, then PPP."""
    header = gather(headers.memory, rows.at + 8, _L2TP)
    flags, version = header["flags"].astype(np.int64), header["version"]
    likely = (flags & 0xB4 == 0) & (version == 2)
    lengths, sequences, offsets = flags & 0x40 != 0, flags & 0x08 != 0, flags & 0x02 != 0
    inner = rows.at + 14 + 2 * lengths + 4 * sequences
    padded = offsets & likely
    inner[padded] += 2 + gather(headers.memory, inner[padded], U16).astype(np.int64)
    likely &= inner + 2 <= rows.end
    _inside(headers, rows, inner, np.where(likely, Kind.PPP, Kind.DATAGRAM).astype(np.uint8))


UDP_TUNNELS: dict[int, Peeler] = {
    Kind.UDP: _udp,
    Kind.VXLAN: _vxlan,
    Kind.GENEVE: _geneve,
    Kind.GTP: _gtp,
    Kind.TZSP: _tzsp,
    Kind.MPLS_IN_UDP: _mpls_in_udp,
    Kind.LISP: _lisp,
    Kind.CAPWAP: _capwap,
    Kind.TEREDO: _teredo,
    Kind.L2TP: _l2tp,
}
