"""Where tunnels lie in their connections and what the capture lacks of them, against the list of its packets."""

from __future__ import annotations

from random import Random

import pytest

from socks5sniff.analysis import Analyser, handshakes
from socks5sniff.analysis.extents import Extent
from tests.traffic import ACK, CLIENT, FIN, SERVER, Packet, batches

from .test_packets_of_records import Talk, talk

FIRST = {CLIENT: 1001, SERVER: 5001}
"""The sequence number of the first octet."""


def lossy(draw: Random, whole: Talk) -> list[Packet]:
    """Its packets without some of its tunnel's segments."""
    carried = [octets for _, octets in whole.tunnel]
    lost = draw.sample(carried, draw.randint(0, len(carried)))
    return [packet for packet in whole.packets if packet.octets not in lost]


def begins(talk: Talk, side: int) -> int:
    return sum(len(frame.octets) for frame in talk.frames if frame.side == side)


def ends(packets: list[Packet], side: int) -> int:
    """How far a side is known to have spoken: by its octets, its FIN, or what the other side has heard."""
    mine = [each for each in packets if each.side == side and (each.octets or each.flags & FIN)]
    known = [each.sequence + len(each.octets) for each in mine]
    if not any(each.flags & FIN for each in mine):
        known += [each.acknowledgment for each in packets if each.side != side and each.flags & ACK]
    return max(known) - FIRST[side]


def holes(packets: list[Packet], side: int, begin: int, end: int) -> list[tuple[int, int]]:
    """What of it no segment has, in runs."""
    missing = {*range(begin, end)}
    for packet in packets:
        if packet.side == side:
            at = packet.sequence - FIRST[side]
            missing -= {*range(at, at + len(packet.octets))}
    edges = sorted({place for place in missing if place - 1 not in missing})
    behind = sorted({place + 1 for place in missing if place + 1 not in missing})
    return [*zip(edges, behind, strict=True)]


@pytest.mark.parametrize("few", [0, 1 << 30])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("seed", range(20))
def test_extents_are_those_of_the_packets(seed: int, version: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "FEW", few)
    draw = Random(seed)
    talks = [talk(draw, number, version) for number in range(1 + seed)]
    talks.sort(key=lambda each: each.packets[0].time)
    captured = [lossy(draw, each) for each in talks]
    all_ = sorted((packet for each in captured for packet in each), key=lambda packet: packet.time)
    numbers = {packet.time: number for number, packet in enumerate(all_, 1)}
    analyser = Analyser(extents=True)
    for batch in batches([(packet.time, packet.frame()) for packet in all_], [draw.randint(1, 99) for _ in range(4)]):
        analyser.take(batch)
    analyser.finish()
    extents = analyser.connections.extents
    assert extents is not None
    for stream, (each, packets) in enumerate(zip(talks, captured, strict=True)):
        found = extents.take(stream, 1)
        if not each.opens:
            assert found is None or found.start is None
            continue
        assert found is not None
        assert (found.stream, found.depth, found.origin, found.cut) == (stream, 1, (1001, 5001), False)
        assert (found.first_frame, found.last_frame) == (numbers[packets[0].time], numbers[packets[-1].time])
        check(found, each, packets)
        assert extents.take(stream, 1) is None, "each is asked for once"


def check(found: Extent, talk: Talk, packets: list[Packet]) -> None:
    starts = begins(talk, CLIENT), begins(talk, SERVER)
    end = tuple(max(ends(packets, side), start) for side, start in enumerate(starts))
    assert (found.start, found.end) == (starts, end)
    assert [[*each] for each in found.holes] == [
        holes(packets, side, start, behind) for side, (start, behind) in enumerate(zip(starts, end, strict=True))
    ]
