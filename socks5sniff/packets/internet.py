"""IPv4 and IPv6 headers (RFC 791, RFC 8200)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .headers import Fragments, HeaderPass, Peeler
from .kinds import IP_PROTOCOLS, IP_VERSIONS, Kind
from .rows import U8, Rows, gather, layout, pick, present

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
_UDP = 17
_FRAGMENT = layout(8, next=("u1", 0), place=(">u2", 2), identification=(">u4", 4))


def _raw_ip(headers: HeaderPass, rows: Rows) -> None:
    """No link header: the first nibble tells the IP version."""
    rows = present(rows, headers.skipped, 1)
    headers.follow(IP_VERSIONS, gather(headers.memory, rows.at, U8) >> 4, rows)


def _ipv4(headers: HeaderPass, rows: Rows) -> None:
    rows = present(rows, headers.skipped, 20)
    header = gather(headers.memory, rows.at, _IPV4)
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
    headers.skipped.malformed += lost
    rows = rows._replace(
        source=header["source"].astype(np.uint64) << np.uint64(16),
        destination=header["destination"].astype(np.uint64) << np.uint64(16),
    )
    datagrams = header["protocol"] == _UDP
    if datagrams.any():
        chosen = np.flatnonzero(datagrams)
        headers.marks.identify(rows.row[chosen], header["identification"][chosen].astype(np.int32))
    fragment = header["fragment"].astype(np.uint16)
    pieces = fragment & 0x3FFF != 0
    if pieces.any():
        pieces &= _whole(fragment & 0x1FFF, rows)
        chosen = np.flatnonzero(pieces)
        found = header[chosen]
        place = fragment[chosen]
        headers.fragments.append(
            Fragments(
                rows.take(chosen), found["protocol"], found["identification"], place & 0x1FFF, place & 0x2000 != 0
            )
        )
        rows, header, _ = pick(~pieces, rows, header)
    headers.follow(IP_PROTOCOLS, header["protocol"], rows)


def _ipv6(headers: HeaderPass, rows: Rows) -> None:
    rows = present(rows, headers.skipped, 40)
    header = gather(headers.memory, rows.at, _IPV6)
    rows, header, lost = pick(header["version"] >> 4 == 6, rows, header)
    headers.skipped.malformed += lost
    at = rows.at + 40
    payload = header["payload"].astype(np.int64)
    wire = at + payload
    if not payload.all():  # a jumbogram (RFC 2675) or an offloaded segment: as long as the frame says
        wire = np.where(payload == 0, rows.wire, wire)
    if headers.marks.ident is not None:  # of a packet that this one lies in
        headers.marks.identify(rows.row, -1)
    intern = headers.tables.addresses.intern
    rows = Rows(
        rows.row,
        at,
        np.minimum(rows.end, wire),
        wire,
        intern(header["source_high"].copy(), header["source_low"].copy()),
        intern(header["destination_high"].copy(), header["destination_low"].copy()),
    )
    headers.follow(IP_PROTOCOLS, header["next"], rows)


def _extension(unit: int) -> Peeler:
    """A header that names the next one and how many units of octets it has beyond the first 8."""

    def peel(headers: HeaderPass, rows: Rows) -> None:
        rows = present(rows, headers.skipped, 2)
        header = gather(headers.memory, rows.at, _EXTENSION)
        sizes = header["length"].astype(np.int64) * unit + 8
        headers.follow(IP_PROTOCOLS, header["next"], rows._replace(at=rows.at + sizes))

    return peel


def _ipv6_fragment(headers: HeaderPass, rows: Rows) -> None:
    rows = present(rows, headers.skipped, 8)
    rows = rows._replace(at=rows.at + 8)
    header = gather(headers.memory, rows.at - 8, _FRAGMENT)
    place = header["place"].astype(np.uint16)
    pieces = place & 0xFFF9 != 0  # else a packet of one fragment (RFC 6946)
    if pieces.any():
        pieces &= _whole(place >> 3, rows)
        chosen = np.flatnonzero(pieces)
        found = header[chosen]
        place = place[chosen]
        headers.fragments.append(
            Fragments(rows.take(chosen), found["next"], found["identification"], place >> 3, place & 1 != 0)
        )
        rows, header, _ = pick(~pieces, rows, header)
    headers.follow(IP_PROTOCOLS, header["next"], rows)


def _whole(start: NDArray[Any], rows: Rows) -> NDArray[np.bool_]:
    """False for first fragments cut by the capture: they can't be put together, but hold the next header."""
    whole: NDArray[np.bool_] = (start != 0) | (rows.end == rows.wire)
    return whole


INTERNET: dict[int, Peeler] = {
    Kind.RAW_IP: _raw_ip,
    Kind.IPV4: _ipv4,
    Kind.IPV6: _ipv6,
    Kind.IPV6_EXTENSION: _extension(8),  # RFC 8200 s4.3
    Kind.IPV6_FRAGMENT: _ipv6_fragment,
    Kind.AUTHENTICATION: _extension(4),  # RFC 4302 s2.2
}
