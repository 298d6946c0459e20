"""Tunnels in IP: GRE and what it carries, NSH."""

from __future__ import annotations

import numpy as np

from .headers import HeaderPass, Peeler
from .kinds import ETHERTYPES, Kind, NumberSpace
from .links import taken
from .marks import KEY, VLAN
from .rows import U8, U16, U32, Rows, gather, layout, pick, present

_GRE = layout(4, flags=("u1", 0), version=("u1", 1), protocol=(">u2", 2))
_CHECKSUM, _ROUTING, _KEY, _SEQUENCE = 0x80, 0x40, 0x20, 0x10
_ERSPAN, _BRIDGING = 0x88BE, 0x6558
_ERSPAN_IP = 2
_NSH = layout(4, words=("u1", 1), next=("u1", 3))
_NSH_KINDS = np.full(256, Kind.UNSUPPORTED, np.uint8)
_NSH_KINDS[1:6] = Kind.IPV4, Kind.IPV6, Kind.ETHERNET, Kind.NSH, Kind.MPLS
_NSH_NEXT = NumberSpace(_NSH_KINDS, "NSH protocol {}")


def _gre(headers: HeaderPass, rows: Rows) -> None:
    """GRE (RFC 2784, RFC 2890) and PPTP's version of it (RFC 2637)."""
    rows = present(rows, headers.skipped, 4)
    header = gather(headers.memory, rows.at, _GRE)
    # Checksum, key, sequence number and version 1's acknowledgment add 4 octets each. Source routing was never used.
    known = (header["flags"] & _ROUTING == 0) & (header["version"] & 7 <= 1)
    rows, header, lost = pick(known, rows, header)
    headers.skipped.unread("GRE of another version or with routing", lost)
    flags, version = header["flags"], header["version"]
    sizes = np.full(rows.size, 4)
    for bit in ((flags & _CHECKSUM), (flags & _KEY), (flags & _SEQUENCE), (version & 0x81 == 0x81)):
        sizes += (bit != 0) * 4
    protocol = header["protocol"].astype(np.uint16)
    keyed = (protocol == _BRIDGING) & (flags & _KEY != 0)
    if keyed.any():
        _enter_key(headers, taken(rows._replace(at=rows.at + 4 + (flags & _CHECKSUM != 0) * 4), keyed))
    protocol[(protocol == _ERSPAN) & (flags & _SEQUENCE == 0)] = _BRIDGING  # type I has no header of its own
    headers.follow(ETHERTYPES, protocol, rows._replace(at=rows.at + sizes))


def _enter_key(headers: HeaderPass, rows: Rows) -> None:
    """The key of bridged frames names their network (RFC 7637); others may have a key for each direction."""
    rows = taken(rows, rows.at + 4 <= rows.end)
    headers.enter(KEY, rows, gather(headers.memory, rows.at, U32).astype(np.int64))


def _erspan2(headers: HeaderPass, rows: Rows) -> None:
    """ERSPAN type II: 8 octets."""
    rows = present(rows, headers.skipped, 8)
    _enter_mirrored(headers, rows)
    headers.push(Kind.ETHERNET, rows._replace(at=rows.at + 8))


def _erspan3(headers: HeaderPass, rows: Rows) -> None:
    """ERSPAN type III: 12 octets, and 8 more where the last bit says so; a frame, or an IP packet without one."""
    rows = present(rows, headers.skipped, 12)
    _enter_mirrored(headers, rows)
    words = gather(headers.memory, rows.at + 10, U16).astype(np.int64)
    packet = words >> 10 & 0x1F == _ERSPAN_IP
    rows = rows._replace(at=rows.at + 12 + (words & 1) * 8)
    headers.push(Kind.ETHERNET, taken(rows, ~packet))
    headers.push(Kind.RAW_IP, taken(rows, packet))


def _enter_mirrored(headers: HeaderPass, rows: Rows) -> None:
    """The VLAN that a mirrored frame came from, 0 where it has none."""
    identifiers = gather(headers.memory, rows.at, U16).astype(np.int64) & 0xFFF
    chosen = identifiers != 0
    headers.enter(VLAN, taken(rows, chosen), identifiers[chosen])


def _nsh(headers: HeaderPass, rows: Rows) -> None:
    """Network service header (RFC 8300)."""
    rows = present(rows, headers.skipped, 8)
    header = gather(headers.memory, rows.at, _NSH)
    sizes = np.maximum((header["words"] & 0x3F).astype(np.int64), 2) * 4
    headers.follow(_NSH_NEXT, header["next"], rows._replace(at=rows.at + sizes))


def _wccp(headers: HeaderPass, rows: Rows) -> None:
    """Redirected by WCCP: version 2 has four octets before the packet."""
    rows = present(rows, headers.skipped, 1)
    first = gather(headers.memory, rows.at, U8) >> 4
    headers.push(Kind.RAW_IP, rows._replace(at=rows.at + np.where((first == 4) | (first == 6), 0, 4)))


TUNNELS: dict[int, Peeler] = {
    Kind.GRE: _gre,
    Kind.ERSPAN2: _erspan2,
    Kind.ERSPAN3: _erspan3,
    Kind.NSH: _nsh,
    Kind.WCCP: _wccp,
}
