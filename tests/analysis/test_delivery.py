"""What a record says of an association's datagrams, against a plain reading of one after another."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import pytest

from socks5sniff.analysis.association import FRAGMENT_LIFE
from socks5sniff.analysis.datagrams import COPY
from socks5sniff.analysis.tunnel.dns import outcome, question
from socks5sniff.codec import Decoded, decode_udp_header
from socks5sniff.record import Conversation
from tests.traffic import SECOND, START, analyse, datagram, six_of

from .test_associations import ONE, PROXY, address, associate

OWN = (ONE, 50_000)
QUERY = b"\0%c\1\0\0\1\0\0\0\0\0\0\3www\7example\0\0\1\0\1"
ANSWER = b"\0%c\x81\x80\0\1\0%c\0\0\0\0"


class Datagram(NamedTuple):
    """One of an association; `outward`: of the client's."""

    time: int
    outward: bool
    ident: int
    octets: bytes


def places(version: int) -> list[bytes]:
    hosts = [("8.8.8.8", 53), ("8.8.8.8", 54), ("9.9.9.9", 53), OWN, (ONE, 9), ("2001:db8::7", 443), ("127.0.0.1", 7)]
    named = [b"\3\x07a.tests\0\x35", b"\3\x07a.tests\0\x36", b"\3\x04a b.\1\xbb"]
    return [address(six_of(host) if version == 6 else host, port) for host, port in hosts] + named


def drawn(draw: Random, version: int) -> list[Datagram]:
    """The first is whole and shows the client's port."""
    time, all_, own = START + SECOND, places(version), (six_of(ONE) if version == 6 else ONE, OWN[1])
    found = [Datagram(time, True, 1, b"\0\0\0" + all_[0] + b"hello")]
    fragment = 0
    for number in range(2, draw.randint(2, 40)):
        time += draw.choice([1, COPY, COPY + 1, SECOND, FRAGMENT_LIFE // 2])
        if draw.randrange(6) == 0:
            found.append(found[-1]._replace(time=time))  # a copy of the one before it, if not too late
            continue
        outward = draw.random() < 0.6
        fragment = draw.choice([0, 0, 0, 0, 1, fragment + 1, fragment + 1 | 0x80, 2, 0x80]) & 0xFF
        inside = draw.choice([QUERY % draw.choice(b"AB"), b"x", b"", bytes(90)])
        if not outward:
            inside = draw.choice([ANSWER % (*draw.choice([b"A", b"B"]), draw.randrange(3)), b"yy"])
        reserved = draw.choice([b"\0\0"] * 7 + [b"\0\1"])
        place = draw.choice([each for each in all_ if not outward or each != address(*own)])
        octets = reserved + bytes([fragment]) + place + inside
        if draw.randrange(12) == 0:
            octets = draw.choice([octets[:7], b"", b"\0\0\0\7abc", b"GET /", octets[:3]])
        found.append(Datagram(time, outward, number, octets))
    return found


def frames_of(datagrams: Sequence[Datagram], version: int) -> list[tuple[int, bytes]]:
    ends = [OWN, (PROXY, 3000)]
    if version == 6:
        ends = [(six_of(host), port) for host, port in ends]
    frames = [(each.time, datagram(*(ends if each.outward else ends[::-1]), each.octets)) for each in datagrams]
    if version == 6:
        return frames
    return [
        (time, octets[:18] + struct.pack(">H", each.ident) + octets[20:])
        for each, (time, octets) in zip(datagrams, frames, strict=True)
    ]


class Plain:
    """One datagram after another."""

    def __init__(self, version: int) -> None:
        self.counts = [0, 0, 0, 0, 0]
        self.places: dict[tuple[str, int], list[Any]] = {}
        self.asked: dict[tuple[str, int], Any] = {}
        self.anomalies: dict[str, int] = {}
        self.entries: list[tuple[int, str, int, str]] = []
        self.fragments: dict[bool, list[tuple[int, int, int]]] = {True: [], False: []}
        self.came = False
        self.own = six_of(ONE) if version == 6 else ONE

    def note(self, code: str, frame: int) -> None:
        self.anomalies.setdefault(code, frame)

    def read(self, frame: int, each: Datagram, copy: bool) -> None:
        found = decode_udp_header(each.octets)
        self.came |= not each.outward and (isinstance(found, Decoded) or bool(each.octets))
        if copy:
            return
        if not isinstance(found, Decoded) or (found.frame.reserved and found.frame.fragment):
            unknown = each.octets[:2] == b"\0\0" and len(each.octets) > 3 and each.octets[3] not in (1, 3, 4)
            if each.octets:
                self.note("unknown-address-type" if unknown and each.outward else "udp-no-header", frame)
            return
        place = found.frame.destination.text, found.frame.destination.port
        self._look_at_header(frame, each, found, place)
        self._count(frame, each, len(each.octets) - found.length, place, found.frame.fragment)
        if not found.frame.fragment:
            self._look_inside(each, each.octets[found.length :], place)

    def _look_at_header(self, frame: int, each: Datagram, found: Any, place: tuple[str, int]) -> None:
        for deviation in found.deviations:
            self.note(deviation.code, frame)
        if found.frame.fragment:
            self.note("udp-fragmented", frame)
            self.fragments[each.outward].append((found.frame.fragment, frame, each.time))
        if not each.outward and place[0] == self.own:
            known = self.places.get(place)
            if place[1] == OWN[1] or not (known and known[1]):
                self.note("udp-names-client", frame)

    def _count(self, frame: int, each: Datagram, size: int, place: tuple[str, int], fragment: int) -> None:
        to, known = not each.outward, self.places.setdefault(place, [frame, 0, 0])
        self.counts[to] += 1
        self.counts[2 + to] += size
        self.counts[4] += fragment != 0
        known[1 + to] += 1
        suffix = f", fragment {fragment:#04x}" if fragment else ""
        summary = f"UDP {'from' if to else 'to'} {place[0]}:{place[1]}, {size} octets{suffix}"
        self.entries.append((frame, "proxy" if to else "client", len(each.octets), summary))

    def _look_inside(self, each: Datagram, inside: bytes, place: tuple[str, int]) -> None:
        """The first datagram to a place may ask; what answers, is told."""
        if each.outward:
            self.asked.setdefault(place, [question(inside), None])
        elif place in self.asked and self.asked[place][0] is not None:
            self.asked[place][1] = self.asked[place][1] or outcome(inside, self.asked[place][0])

    def destinations(self) -> list[tuple[str, int, int, int, str | None]]:
        ordered = sorted(self.places.items(), key=lambda item: item[1][0])
        return [(*place, sent, received, self.dns(place)) for place, (_, sent, received) in ordered]

    def dns(self, place: tuple[str, int]) -> str | None:
        asked, answer = self.asked.get(place, (None, None))
        return None if asked is None else f"{asked}: {answer}" if answer else str(asked)

    def all_anomalies(self) -> list[tuple[str, int]]:
        lost = [found for found in map(unfinished, self.fragments.values()) if found is not None]
        return sorted([*self.anomalies.items(), *(("udp-fragments-incomplete", frame) for frame in lost)])


def unfinished(fragments: list[tuple[int, int, int]]) -> int | None:
    """Of fragments the frame with which the first datagram begins that is not whole: 1, 2, ... and the last marked."""
    coming: list[tuple[int, int]] = []
    for fragment, frame, time in fragments:
        place = fragment & 0x7F
        if coming and (place != len(coming) + 1 or time - coming[0][1] > FRAGMENT_LIFE):
            return coming[0][0]
        if place != len(coming) + 1:
            return frame
        coming = [] if fragment & 0x80 else [*coming, (frame, time)]
    return coming[0][0] if coming else None


def read_plainly(datagrams: Sequence[Datagram], first: int, version: int) -> Plain:
    plain, before = Plain(version), dict[tuple[bool, int, bytes], int]()
    for frame, each in enumerate(datagrams, first):
        same = each.outward, each.ident, each.octets
        copy = version == 4 and same in before and each.time - before[same] <= COPY
        before[same] = each.time
        plain.read(frame, each, copy)
    return plain


def told(record: Conversation) -> tuple[Any, ...]:
    assert record.udp is not None
    udp = record.udp
    return [*udp[:5]], [
        (each.host, each.port, each.datagrams_sent, each.datagrams_received, each.dns) for each in udp.destinations
    ]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("seed", range(40))
def test_datagrams_are_told_as_one_after_another_tells(seed: int, version: int) -> None:
    draw = Random(seed)
    datagrams = drawn(draw, version)
    opening = associate(bound=(six_of(PROXY) if version == 6 else PROXY, 3000), closing=False)
    sizes = [draw.randint(1, 30) for _ in range(5)]
    packets = [*opening, *frames_of(datagrams, version)]
    (record,) = analyse(packets, sizes, udp_frames=True, version=version)
    plain = read_plainly(datagrams, len(opening) + 1, version)
    assert told(record) == (plain.counts, plain.destinations())
    entries = [entry for entry in record.frames if entry.type == "udp"]
    assert [(each.frame, each.sender, each.length, each.summary) for each in entries] == plain.entries
    found = [(each.code, each.frame) for each in record.anomalies]
    assert sorted(each for each in found if each[0] != "udp-one-way") == plain.all_anomalies()
    assert ("udp-one-way" in dict(found)) == (not plain.came)
