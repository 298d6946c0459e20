"""Link, tunnel and IP headers read column-wise, down to TCP and UDP.

Headers are peeled off one after another. All rows that have come to the same kind of header are read at once: one
gather of the header, its fields as columns, one look-up of what follows. Where a whole batch has one layout, as is
usual, no row is ever picked out or copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .addresses import AddressBook
from .kinds import ADDRESS_FAMILIES, ETHERTYPES, IP_PROTOCOLS, PPP_PROTOCOLS, Kind
from .rows import Rows, Skipped, Structured, gather, layout, pick, present

_NESTING = 32
_SNAP = 0xAAAA03000000

_OCTET = layout(1, value=("u1", 0))
_U16 = layout(2, value=(">u2", 0))
_U32 = layout(4, value=(">u4", 0))
_U64 = layout(8, value=(">u8", 0))
_IPV4 = layout(
    20,
    version=("u1", 0),
    total=(">u2", 2),
    identification=(">u2", 4),
    fragment=(">u2", 6),
    protocol=("u1", 9),
    source=(">u4", 12),
    destination=(">u4", 16),
)
_IPV6 = layout(
    40,
    version=("u1", 0),
    payload=(">u2", 4),
    next=("u1", 6),
    source_high=("u8", 8),
    source_low=("u8", 16),
    destination_high=("u8", 24),
    destination_low=("u8", 32),
)
_EXTENSION = layout(2, next=("u1", 0), length=("u1", 1))
_FRAGMENT = layout(8, next=("u1", 0), place=(">u2", 2), identification=(">u4", 4))
_GRE = layout(4, flags=("u1", 0), version=("u1", 1), protocol=(">u2", 2))


class Fragments(NamedTuple):
    """IP fragments met in one pass, as columns."""

    rows: Rows
    """`at` is where the fragment's octets start, `wire` where they ended on the wire."""
    protocol: Structured
    """IP protocol number; for IPv6 the fragment header's next header."""
    identification: Structured
    start: Structured
    """Where the fragment's octets lie in the packet's payload, in units of 8 octets."""
    more: Structured
    """True where more fragments follow."""


class HeaderPass:
    """One pass over the packets in one memory.

    Attributes:
        tcp, udp: what came down to TCP and UDP.
        fragments: IP fragments.
        unknown: rows that the dissector may know.
    """

    def __init__(self, memory: NDArray[np.uint8], addresses: AddressBook, skipped: Skipped) -> None:
        self.tcp: list[Rows] = []
        self.udp: list[Rows] = []
        self.fragments: list[Fragments] = []
        self.unknown: list[Rows] = []
        self._memory = memory
        self._addresses = addresses
        self._skipped = skipped
        self._pending: list[tuple[int, Rows, int]] = []
        self._depth = 0
        self._peel: dict[int, Callable[[Rows], None]] = {
            Kind.OTHER: self._other,
            Kind.UNKNOWN: self.unknown.append,
            Kind.TCP: self.tcp.append,
            Kind.UDP: self.udp.append,
            Kind.IPV4: self._ipv4,
            Kind.IPV6: self._ipv6,
            Kind.RAW_IP: self._raw_ip,
            Kind.IPV6_EXTENSION: self._ipv6_extension,
            Kind.IPV6_FRAGMENT: self._ipv6_fragment,
            Kind.AUTHENTICATION: self._authentication,
            Kind.ETHERNET: lambda rows: self._typed(rows, 12, 14),
            Kind.VLAN: lambda rows: self._typed(rows, 2, 4),
            Kind.SLL: lambda rows: self._typed(rows, 14, 16),
            Kind.SLL2: lambda rows: self._typed(rows, 0, 20),
            Kind.HDLC: lambda rows: self._typed(rows, 2, 4),
            Kind.LLC: self._llc,
            Kind.NULL: self._null,
            Kind.PPP: self._ppp,
            Kind.PPPOE: self._pppoe,
            Kind.MPLS: self._mpls,
            Kind.GRE: self._gre,
        }

    def run(self, table: NDArray[np.uint8], numbers: NDArray[np.integer], rows: Rows) -> None:
        """Read all headers of these rows; `table[numbers]` is the `Kind` of each row's first header."""
        self._follow(table, numbers, rows)
        while self._pending:
            kind, rows, self._depth = self._pending.pop()
            if self._depth > _NESTING:
                self._skipped.malformed += rows.size
            else:
                self._peel[kind](rows)

    def _follow(self, table: NDArray[np.uint8], numbers: NDArray[np.integer], rows: Rows) -> None:
        """Sort rows by what follows."""
        if not rows.size:
            return
        depth = self._depth + 1
        first = numbers[0]
        if (numbers == first).all():
            self._pending.append((int(table[first]), rows, depth))
            return
        kinds = table.take(numbers)
        for kind in np.flatnonzero(np.bincount(kinds)).tolist():
            chosen = np.flatnonzero(kinds == kind)
            same = len(chosen) == rows.size
            self._pending.append((kind, rows if same else rows.take(chosen), depth))

    def _other(self, rows: Rows) -> None:
        self._skipped.other += rows.size

    def _typed(self, rows: Rows, position: int, size: int) -> None:
        """A header of fixed size that names what follows by an ethertype."""
        rows = present(rows, self._skipped, size)
        types = gather(self._memory, rows.at + position, _U16)["value"].astype(np.uint16)
        self._follow(ETHERTYPES, types, rows._replace(at=rows.at + size))

    def _llc(self, rows: Rows) -> None:
        """IEEE 802.2: only SNAP with ethertypes can lead to IP (RFC 1042)."""
        rows = present(rows, self._skipped, 8)
        snap = gather(self._memory, rows.at, _U64)["value"].astype(np.uint64) >> np.uint64(16) == _SNAP
        self._skipped.other += rows.size - int(snap.sum())
        self._typed(rows.take(np.flatnonzero(snap)), 6, 8)

    def _null(self, rows: Rows) -> None:
        """LINKTYPE_NULL and LINKTYPE_LOOP: an address family in either byte order."""
        rows = present(rows, self._skipped, 4)
        families = gather(self._memory, rows.at, _U32)["value"].astype(np.uint32)
        small = np.minimum(families, families.byteswap())
        table = np.full(256, Kind.OTHER, np.uint8)
        table[list(ADDRESS_FAMILIES)] = list(ADDRESS_FAMILIES.values())
        self._follow(table, np.minimum(small, 255), rows._replace(at=rows.at + 4))

    def _ppp(self, rows: Rows) -> None:
        """PPP, with or without the address and control octets (RFC 1662) and with one-octet protocols (RFC 1661)."""
        rows = present(rows, self._skipped, 2)
        words = gather(self._memory, rows.at, _U16)["value"].astype(np.uint16)
        framed = words == 0xFF03
        if framed.any():
            rows = present(rows._replace(at=rows.at + np.where(framed, 2, 0)), self._skipped, 2)
            words = gather(self._memory, rows.at, _U16)["value"].astype(np.uint16)
        short = (words & 0x0100) != 0
        protocols = np.where(short, words >> 8, words)
        self._follow(PPP_PROTOCOLS, protocols, rows._replace(at=rows.at + np.where(short, 1, 2)))

    def _pppoe(self, rows: Rows) -> None:
        rows = present(rows, self._skipped, 6)
        self._push(Kind.PPP, rows._replace(at=rows.at + 6))

    def _mpls(self, rows: Rows) -> None:
        """One label; behind the last one the first nibble tells the IP version, as Wireshark guesses too."""
        rows = present(rows, self._skipped, 4)
        bottom = gather(self._memory, rows.at, _U32)["value"].astype(np.uint32) & 0x100 != 0
        rows = rows._replace(at=rows.at + 4)
        self._follow(np.array([Kind.MPLS, Kind.RAW_IP], np.uint8), bottom.astype(np.uint8), rows)

    def _gre(self, rows: Rows) -> None:
        """GRE (RFC 2784, RFC 2890) and PPTP's version of it (RFC 2637)."""
        rows = present(rows, self._skipped, 4)
        header = gather(self._memory, rows.at, _GRE)
        # Bits: checksum, key, sequence number, and version 1's acknowledgment add 4 octets each. Source routing (0x40)
        # was never used.
        known = (header["flags"] & 0x40 == 0) & (header["version"] & 7 <= 1)
        rows, header, lost = pick(known, rows, header)
        self._skipped.other += lost
        words = sum((header["flags"] & bit != 0).astype(np.int64) for bit in (0x80, 0x20, 0x10))
        words = words + (header["version"] & 0x81 == 0x81)
        rows = rows._replace(at=rows.at + 4 + 4 * words)
        rows, header, lost = pick(rows.at <= rows.end, rows, header)
        self._skipped.cut += lost
        self._follow(ETHERTYPES, header["protocol"].astype(np.uint16), rows)

    def _push(self, kind: int, rows: Rows) -> None:
        if rows.size:
            self._pending.append((kind, rows, self._depth + 1))

    def _raw_ip(self, rows: Rows) -> None:
        """No link header: the first nibble tells the IP version."""
        rows = present(rows, self._skipped, 1)
        versions = gather(self._memory, rows.at, _OCTET)["value"] >> 4
        table = np.full(16, Kind.OTHER, np.uint8)
        table[4] = Kind.IPV4
        table[6] = Kind.IPV6
        self._follow(table, versions, rows)

    def _ipv4(self, rows: Rows) -> None:
        rows = present(rows, self._skipped, 20)
        header = gather(self._memory, rows.at, _IPV4)
        version = header["version"]
        size = (version & 15).astype(np.int64) * 4
        total = header["total"].astype(np.int64)
        if not total.all():  # an offloaded segment: as long as the frame says
            total = np.where(total == 0, rows.wire - rows.at, total)
        at = rows.at + size
        wire = rows.at + total
        sound = (version >> 4 == 4) & (size >= 20) & (at <= wire)
        rows = rows._replace(at=at, end=np.minimum(rows.end, wire), wire=wire)
        rows, header, lost = pick(sound, rows, header)
        self._skipped.malformed += lost
        rows, header, lost = pick(rows.at <= rows.end, rows, header)
        self._skipped.cut += lost
        rows = rows._replace(
            source=header["source"].astype(np.uint64) << np.uint64(16),
            destination=header["destination"].astype(np.uint64) << np.uint64(16),
        )
        fragment = header["fragment"].astype(np.uint16)
        pieces = fragment & 0x3FFF != 0
        if pieces.any():
            chosen = np.flatnonzero(pieces)
            found = header[chosen]
            place = fragment[chosen]
            self.fragments.append(
                Fragments(
                    rows.take(chosen), found["protocol"], found["identification"], place & 0x1FFF, place & 0x2000 != 0
                )
            )
            rows, header, _ = pick(~pieces, rows, header)
        self._follow(IP_PROTOCOLS, header["protocol"], rows)

    def _ipv6(self, rows: Rows) -> None:
        rows = present(rows, self._skipped, 40)
        header = gather(self._memory, rows.at, _IPV6)
        rows, header, lost = pick(header["version"] >> 4 == 6, rows, header)
        self._skipped.malformed += lost
        at = rows.at + 40
        payload = header["payload"].astype(np.int64)
        wire = at + payload
        if not payload.all():  # a jumbogram (RFC 2675) or an offloaded segment: as long as the frame says
            wire = np.where(payload == 0, rows.wire, wire)
        intern = self._addresses.intern
        rows = Rows(
            rows.row,
            at,
            np.minimum(rows.end, wire),
            wire,
            intern(header["source_high"].copy(), header["source_low"].copy()),
            intern(header["destination_high"].copy(), header["destination_low"].copy()),
        )
        self._follow(IP_PROTOCOLS, header["next"], rows)

    def _ipv6_extension(self, rows: Rows) -> None:
        """Hop-by-hop and destination options, routing: a length in units of 8 octets (RFC 8200 s4.3)."""
        self._extension(rows, 8, 8)

    def _authentication(self, rows: Rows) -> None:
        """Authentication header: a length in units of 4 octets (RFC 4302 s2.2)."""
        self._extension(rows, 4, 8)

    def _extension(self, rows: Rows, unit: int, fixed: int) -> None:
        rows = present(rows, self._skipped, 2)
        header = gather(self._memory, rows.at, _EXTENSION)
        rows = rows._replace(at=rows.at + fixed + header["length"].astype(np.int64) * unit)
        rows, header, lost = pick(rows.at <= rows.wire, rows, header)
        self._skipped.malformed += lost
        rows, header, lost = pick(rows.at <= rows.end, rows, header)
        self._skipped.cut += lost
        self._follow(IP_PROTOCOLS, header["next"], rows)

    def _ipv6_fragment(self, rows: Rows) -> None:
        rows = present(rows, self._skipped, 8)
        rows = rows._replace(at=rows.at + 8)
        header = gather(self._memory, rows.at - 8, _FRAGMENT)
        place = header["place"].astype(np.uint16)
        pieces = place & 0xFFF9 != 0  # else a packet of one fragment (RFC 6946)
        if pieces.any():
            chosen = np.flatnonzero(pieces)
            found = header[chosen]
            place = place[chosen]
            self.fragments.append(
                Fragments(rows.take(chosen), found["next"], found["identification"], place >> 3, place & 1 != 0)
            )
            rows, header, _ = pick(~pieces, rows, header)
        self._follow(IP_PROTOCOLS, header["next"], rows)
