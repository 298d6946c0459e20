"""Frames of another link type within a record of a program's own: ERF, PKTAP, Wireshark's exported PDUs."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from ..capture.batch import Process
from .headers import HeaderPass, Peeler
from .kinds import ERF_TYPES, KINDS, LINKS, Kind
from .links import passed, taken
from .rows import U8, Rows, gather, layout, present

_ERF = layout(16, type=("u1", 8))
_ERF_EXTENSIONS = 16
_PKTAP = layout(
    76,
    header=("<u4", 0),
    record=("<u4", 4),
    link=("<u4", 8),
    flags=("<u4", 36),
    process=("V24", 52),
)
_PKTAP_LEAST, _PKTAP_MOST = 76, 4096
_PKTAP_PACKET = 1
_INBOUND = 1
_PDU_NAME, _PDU_IPV4, _PDU_IPV6 = 12, (20, 21), (22, 23)
_PDU_TAGS = 64
_PDU_REACH = 4096
"""Octets that tags may take."""
_PDU_KINDS = {
    b"ip": Kind.RAW_IP,
    b"ipv4": Kind.RAW_IP,
    b"ipv6": Kind.RAW_IP,
    b"raw_ip": Kind.RAW_IP,
    b"raw": Kind.RAW_IP,
    b"eth": Kind.ETHERNET,
    b"eth_withoutfcs": Kind.ETHERNET,
    b"eth_maybefcs": Kind.ETHERNET,
    b"eth_withfcs": Kind.ETHERNET,
    b"llc": Kind.LLC,
    b"ppp": Kind.PPP,
    b"ppp_hdlc": Kind.PPP,
    b"mpls": Kind.MPLS,
    b"vlan": Kind.VLAN,
    b"gre": Kind.GRE,
    b"sll": Kind.SLL,
    b"sll_v1": Kind.SLL,
    b"sll_v2": Kind.SLL2,
    b"wlan": Kind.WLAN,
    b"wlan_withoutfcs": Kind.WLAN,
    b"radiotap": Kind.RADIOTAP,
    b"tcp": Kind.TCP,
    b"udp": Kind.UDP,
}
"""Names of Wireshark's dissectors for what is read here."""


def _erf(headers: HeaderPass, rows: Rows) -> None:
    """Extensible record format of capture cards: 16 octets, extensions of 8 as long as a bit says so."""
    memory = headers.memory
    rows = present(rows, headers.skipped, 16)
    types = gather(memory, rows.at, _ERF)["type"]
    at = rows.at + 16
    more = types & 0x80 != 0
    for _ in range(_ERF_EXTENSIONS):
        more &= at + 8 <= rows.end
        if not more.any():
            break
        following = gather(memory, at[more], U8) & 0x80 != 0
        at = at + 8 * more
        more[more] = following
    headers.follow(ERF_TYPES, types & 0x7F, rows._replace(at=at))


def _pktap(headers: HeaderPass, rows: Rows) -> None:
    """Apple's PKTAP: the link type of the frame, and which process sent or received it."""
    rows = present(rows, headers.skipped, 76)
    header = gather(headers.memory, rows.at, _PKTAP)
    size = header["header"].astype(np.int64)
    sound = (size >= _PKTAP_LEAST) & (size <= _PKTAP_MOST) & (header["record"] == _PKTAP_PACKET)
    headers.skipped.other += int((~sound).sum())
    rows, header, size = taken(rows, sound), header[sound], size[sound]
    numbers = _processes(headers, header["process"].tobytes())
    numbers[header["flags"] & _INBOUND != 0] *= -1
    if numbers.any():
        headers.marks.attribute(rows.row, numbers)
    headers.follow(LINKS, np.minimum(header["link"], 0xFFFF), rows._replace(at=rows.at + size))


def _processes(headers: HeaderPass, fields: bytes) -> NDArray[np.int32]:
    """The numbers of processes, 24 octets each: process identifier and name."""
    known: dict[bytes, int] = {}
    numbers = np.zeros(len(fields) // 24, np.int32)
    for row in range(len(numbers)):
        octets = fields[row * 24 : row * 24 + 24]
        number = known.get(octets)
        if number is None:
            (pid,) = struct.unpack_from("<i", octets)
            name = octets[4:].partition(b"\0")[0].decode("utf-8", "replace")
            number = known[octets] = headers.tables.processes.number(Process(max(pid, 0), name))
        numbers[row] = number
    return numbers


def _maybe_pktap(headers: HeaderPass, rows: Rows) -> None:
    """Link type 149 is for private use, and Apple's programs used it for PKTAP."""
    likely = rows.at + _PKTAP_LEAST <= rows.end
    header = gather(headers.memory, rows.at[likely], _PKTAP)
    likely[likely] = (
        (header["header"] >= _PKTAP_LEAST)
        & (header["header"] <= _PKTAP_MOST)
        & (header["record"] == _PKTAP_PACKET)
        & (header["link"] < len(LINKS.kinds))
    )
    headers.skipped.unread(LINKS.describe(149), int((~likely).sum()))
    headers.push(Kind.PKTAP, taken(rows, likely))


def _exported(headers: HeaderPass, rows: Rows) -> None:
    """What Wireshark exports: tags (one names the dissector, others may tell the addresses), then the octets."""
    kinds = np.full(rows.size, Kind.OTHER, np.uint8)
    at = rows.at.copy()
    source, destination = rows.source.copy(), rows.destination.copy()
    make = headers.tables.addresses.make
    for row, (start, end) in enumerate(zip(rows.at.tolist(), rows.end.tolist(), strict=True)):
        tags, size = _tags(headers.memory[start : min(end, start + _PDU_REACH)].tobytes())
        name = tags.get(_PDU_NAME, b"")
        kind = _PDU_KINDS.get(name)
        ends = [
            next((tags[tag] for tag, size in pair if len(tags.get(tag, b"")) == size), None)
            for pair in (((_PDU_IPV4[way], 4), (_PDU_IPV6[way], 16)) for way in (0, 1))
        ]
        if kind in (Kind.TCP, Kind.UDP):
            if ends[0] is None or ends[1] is None:
                kind = None
            else:
                source[row], destination[row] = make(ends[0], 0), make(ends[1], 0)
        if kind is None:
            headers.skipped.unread(f"exported PDU of {_printable(name)}", 1)
            kinds[row] = Kind.UNSUPPORTED
            continue
        kinds[row] = kind
        at[row] = start + size
    read = kinds != Kind.UNSUPPORTED
    rows = rows._replace(at=at, source=source, destination=destination)
    headers.follow(KINDS, kinds[read], taken(rows, read))


def _tags(octets: bytes) -> tuple[dict[int, bytes], int]:
    """The tags before an exported PDU, and where it starts."""
    tags: dict[int, bytes] = {}
    at = 0
    for _ in range(_PDU_TAGS):
        if at + 4 > len(octets):
            break
        tag, size = struct.unpack_from(">HH", octets, at)
        at += 4
        if tag == 0:
            break
        tags[tag] = octets[at : at + size].rstrip(b"\0") if tag == _PDU_NAME else octets[at : at + size]
        at += size
    return tags, at


def _printable(name: bytes) -> str:
    """A dissector's name, or that there is none: anything else could fill the table of names."""
    text = name.decode("ascii", "replace")
    return text if 0 < len(text) <= 32 and text.replace("_", "").replace("-", "").replace(".", "").isalnum() else "?"


ENVELOPES: dict[int, Peeler] = {
    Kind.ERF: _erf,
    Kind.MULTICHANNEL_PPP: passed(4, Kind.PPP),
    Kind.MULTICHANNEL_ATM: passed(8, Kind.LLC),
    Kind.PKTAP: _pktap,
    Kind.MAYBE_PKTAP: _maybe_pktap,
    Kind.EXPORTED: _exported,
}
