"""Datagrams on a stream that comes in pieces and lacks some, against the list of what was sent."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import pytest

from socks5sniff.analysis.udp_in_tcp import StreamDatagrams
from socks5sniff.codec import Address

from .test_udp_in_tcp import DNS, NAME, SIX, WAYS, Place, target

CONNECTED = "sing-box, connected"
KINDS = [*WAYS, CONNECTED]


class Piece(NamedTuple):
    """Octets of a side, or so many that are missing."""

    side: int
    octets: bytes
    missing: bool


class Sent(NamedTuple):
    """A datagram, and what precedes its data on the stream."""

    place: Place
    head: bytes
    data: bytes


def sent(draw: Random, kind: str) -> list[Sent]:
    found = []
    for _ in range(draw.randint(0, 6)):
        place, data = draw.choice([DNS, SIX, NAME]), draw.randbytes(draw.choice([0, 1, 5, 40, 300]))
        if kind == CONNECTED:
            place, head = NAME, len(data).to_bytes(2, "big")
        else:
            whole = WAYS[kind][2](place, data)
            head = whole[: len(whole) - len(data)]
        found.append(Sent(place, head, data))
    return found


def first(kind: str) -> bytes:
    """What the client says before its datagrams."""
    return b"\1" + target(NAME) if kind == CONNECTED else WAYS[kind][1]


def pieces(draw: Random, side: int, stream: bytes, lossy: bool, begin: int) -> list[Piece]:
    found, at = [], 0
    while at < len(stream):
        size = draw.choice([1, 2, 3, 10, 50, 400])
        octets = stream[at : at + size]
        found.append(Piece(side, octets, lossy and at >= begin and draw.randrange(8) == 0))
        at += size
    return found


def interleaved(draw: Random, sides: list[list[Piece]]) -> list[Piece]:
    order = [side for side, listed in enumerate(sides) for _ in listed]
    draw.shuffle(order)
    waiting = [iter(listed) for listed in sides]
    return [next(waiting[side]) for side in order]


class Told:
    """A receiver that keeps what it is handed; octets that are missing are None."""

    def __init__(self) -> None:
        self.datagrams: tuple[list[tuple[Place, int, list[int | None]]], ...] = ([], [])

    def begin(self, side: int, place: Address | None, length: int, frame: int) -> None:
        assert place is not None
        self.datagrams[side].append(((place.text, place.port), length, []))

    def data(self, side: int, octets: bytes) -> None:
        if octets:
            self.datagrams[side][-1][2].extend(octets)

    def lost(self, side: int, length: int) -> None:
        self.datagrams[side][-1][2].extend([None] * length)


def expected(all_: list[Sent], came: list[Piece], begin: int) -> tuple[list[tuple[Place, int, list[int | None]]], bool]:
    """What can be read: up to the first head that lacks an octet, or a gap that reaches behind a datagram's data."""
    octets: list[int | None] = []
    gaps = []
    for piece in came:
        if piece.missing:
            gaps.append((len(octets), len(octets) + len(piece.octets)))
        octets += [None] * len(piece.octets) if piece.missing else [*piece.octets]
    found, at = [], begin
    for each in all_:
        behind = at + len(each.head)
        if None in octets[at:behind]:
            return found, False
        end = behind + len(each.data)
        found.append((each.place, len(each.data), octets[behind:end]))
        if any(start < end < stop for start, stop in gaps):
            return found, False
        at = end
    return found, True


def fed(datagrams: StreamDatagrams, came: list[Piece]) -> None:
    for frame, piece in enumerate(came):
        if piece.missing:
            datagrams.gap(piece.side, len(piece.octets))
        else:
            datagrams.feed(piece.side, piece.octets, frame)


@pytest.mark.parametrize("client_side", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(25))
def test_datagrams_are_read_as_they_were_sent(seed: int, kind: str, client_side: int) -> None:
    draw, name = Random(seed), "sing-box, version 2" if kind == CONNECTED else kind
    both, lossy = [sent(draw, kind), sent(draw, kind)], seed % 2 == 1
    begins = [len(first(kind)) if side == client_side else 0 for side in (0, 1)]
    streams = [(first(kind) if begins[side] else b"") + b"".join(each.head + each.data for each in both[side])
               for side in (0, 1)]  # fmt: skip
    sides = [pieces(draw, side, streams[side], lossy, begins[side]) for side in (0, 1)]
    told, counted = Told(), StreamDatagrams(name, client_side)
    came = interleaved(draw, sides)
    fed(StreamDatagrams(name, client_side, told), came)
    fed(counted, came)
    totals = []
    for side in (0, 1):
        found, whole = expected(both[side], sides[side], begins[side])
        if name != "sing-box, version 2" or side == client_side or not lossy:
            assert told.datagrams[side] == found
            totals.append((len(found), sum(size for _, size, _ in found)))
            assert whole or lossy
    if len(totals) == 2:
        amounts, (mine, theirs) = counted.amounts, totals if client_side == 0 else totals[::-1]
        assert ((amounts.sent, amounts.sent_octets), (amounts.received, amounts.received_octets)) == (mine, theirs)
        assert not counted.unread((len(streams[0]), len(streams[1])))
        for side, more in ((0, (1, 0)), (1, (0, 1))):
            assert counted.unread((len(streams[0]) + more[0], len(streams[1]) + more[1])), side
    assert not counted.unread(None)
