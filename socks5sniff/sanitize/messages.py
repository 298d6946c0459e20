"""What in a DNS message names somebody (RFC 1035): labels, addresses, and data that is not read."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from .options import Options, What
from .pseudonyms import kept_words

PORTS = (53, 5353, 5355)
"""DNS, multicast DNS, LLMNR."""
_RECORDS = 512
"""Questions and records of a message that are read."""
_POINTERS = 64
_RECORD = struct.Struct(">HHIH")
_A, _NS, _CNAME, _SOA, _PTR, _MX, _TXT, _AAAA, _SRV, _DNAME, _OPT = 1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 41
_NAMES_AT = {_NS: 0, _CNAME: 0, _PTR: 0, _DNAME: 0, _MX: 2, _SRV: 6}
_SIZES = {_A: 4, _AAAA: 16}
_SUBNET = 8
"""The option that tells a client's network (RFC 7871)."""


class Place(NamedTuple):
    """Octets of a message, and what they are."""

    start: int
    end: int
    what: int


class _Name(NamedTuple):
    """A name: its labels, where those lie that are written here, and where what follows begins."""

    labels: list[bytes]
    places: list[tuple[int, int]]
    behind: int


def places(octets: bytes, options: Options) -> Iterator[Place]:
    """The places of a message; none where it is no sound message."""
    if len(octets) < 12:
        return
    questions, *counts = struct.unpack_from(">4H", octets, 4)
    if questions > _RECORDS or sum(counts) > _RECORDS or not questions + sum(counts):
        return
    at = 12
    for _ in range(questions):
        name = _name(octets, at)
        if name is None:
            return
        yield from _labels(name, options)
        at = name.behind + 4
    for _ in range(sum(counts)):
        name = _name(octets, at)
        if name is None or name.behind + _RECORD.size > len(octets):
            return
        yield from _labels(name, options)
        kind, _, _, size = _RECORD.unpack_from(octets, name.behind)
        at = name.behind + _RECORD.size
        yield from _data(octets, kind, at, min(at + size, len(octets)), options)
        at += size


def _data(octets: bytes, kind: int, at: int, end: int, options: Options) -> Iterator[Place]:
    if kind in _SIZES:
        if end - at == _SIZES[kind]:
            yield Place(at, end, What.ADDRESS)
    elif kind in _NAMES_AT or kind == _SOA:
        place, names = at + _NAMES_AT.get(kind, 0), 2 if kind == _SOA else 1
        for _ in range(names):
            name = _name(octets, place)
            if name is None:
                return
            yield from _labels(name, options)
            place = name.behind
    elif kind == _OPT:
        yield from _subnets(octets, at, end, options)
    elif kind == _TXT:
        while options.destinations and at < end:
            yield Place(at + 1, min(at + 1 + octets[at], end), What.SECRET)
            at += 1 + octets[at]
    elif options.destinations or options.addresses:
        yield Place(at, end, What.NOTHING)


def _subnets(octets: bytes, at: int, end: int, options: Options) -> Iterator[Place]:
    while options.addresses and at + 4 <= end:
        code, size = struct.unpack_from(">HH", octets, at)
        if code == _SUBNET:
            yield Place(at + 8, min(at + 4 + size, end), What.NOTHING)
        at += 4 + size


def _labels(name: _Name, options: Options) -> Iterator[Place]:
    reverse = kept_words(name.labels) == 2
    if not options.destinations and not (options.addresses and reverse):
        return
    kept = kept_words(name.labels)
    for start, end in name.places[: max(len(name.labels) - kept, 0)]:
        yield Place(start, end, What.LABEL)


def _name(octets: bytes, at: int) -> _Name | None:
    labels: list[bytes] = []
    here: list[tuple[int, int]] = []
    behind = -1
    for _ in range(256 + _POINTERS):
        if at >= len(octets):
            return None
        size = octets[at]
        if size >= 0xC0:
            if at + 1 >= len(octets):
                return None
            behind = at + 2 if behind < 0 else behind
            at = (size & 0x3F) << 8 | octets[at + 1]
            continue
        if size > 63:
            return None
        if not size:
            return _Name(labels, here, at + 1 if behind < 0 else behind)
        if at + 1 + size > len(octets):
            return None
        labels.append(octets[at + 1 : at + 1 + size])
        if behind < 0:
            here.append((at + 1, at + 1 + size))
        at += 1 + size
    return None
