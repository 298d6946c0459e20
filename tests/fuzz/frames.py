"""The level of packet: octets of frames, changed from the link layer on."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from socks5sniff.analysis import Analyser
from socks5sniff.capture.batch import FrameBatch
from tests.packets.layouts import LAYOUTS
from tests.packets.samples import batch_of, ipv4, ipv6
from tests.traffic import START

from . import outputs
from .connections import STEP, frames_of, lines, same
from .mutation import mutated
from .scripts import of_messages

ETHERNET_HEADER = 14


Frames = list[tuple[int, bytes, int]]
"""Link type, octets and length on the wire of each frame."""


def make(chance: Random) -> Frames:
    """A dialogue's packets in some layout of headers, of which a few are changed from the link layer on."""
    script = of_messages(chance)
    link, build = LAYOUTS[chance.choice([*LAYOUTS])]
    whole: Frames = []
    for _, octets in frames_of([script], first=chance.randrange(1 << 12)):
        octets = build(script.version, octets[ETHERNET_HEADER:])
        if chance.randrange(3) == 0:
            octets = mutated(octets, chance)
        beyond = 0 if chance.randrange(8) else chance.choice((1, 40, 3000))
        told = link if chance.randrange(40) else chance.choice((1, 0, 101, 113, 276))
        whole.append((told, octets, len(octets) + beyond))
    if chance.randrange(6) == 0:
        whole += _fragments(chance)
    return whole


def _fragments(chance: Random) -> Frames:
    """A datagram in IP fragments that overlap, lack, or come twice."""
    payload = chance.randbytes(64)
    pieces: Frames = []
    for _ in range(chance.randint(1, 6)):
        at, more = chance.randrange(0, 64, 8), chance.randrange(2)
        part = payload[at : at + chance.choice((8, 16, 24))]
        if chance.randrange(2):
            packet = bytearray(ipv4(17, part))
            packet[6:8] = (more << 13 | at >> 3).to_bytes(2, "big")
            pieces.append((101, bytes(packet), len(packet)))
        else:
            header = b"\x11\0" + (at | more).to_bytes(2, "big") + b"\0\0\0\7"
            packet = bytearray(ipv6(44, header + part))
            pieces.append((101, bytes(packet), len(packet)))
    return pieces


def check(inputs: Sequence[Frames], seed: str) -> None:
    """All invariants, of these inputs one behind the other in one capture; frames are accounted for."""
    chance = Random(seed)
    frames = [frame for each in inputs for frame in each]
    if not frames:
        return
    links, octets, lengths = ([frame[column] for frame in frames] for column in range(3))
    times = [START + row * STEP for row in range(len(frames))]
    whole = batch_of(octets, links, lengths=lengths, times=times)
    analyser = Analyser(udp_frames=True)
    found = [*analyser.take(whole), *analyser.finish()]
    counted = analyser.reader.skipped.total
    assert 0 <= counted <= len(frames)
    again = Analyser(udp_frames=True)
    parts = []
    for batch in _parts(whole, chance):
        parts += again.take(batch)
    same(lines(found), lines([*parts, *again.finish()]), "other batches")
    assert again.reader.skipped.total == counted, "other batches: frames skipped"
    outputs.check(found, [])


def _parts(batch: FrameBatch, chance: Random) -> list[FrameBatch]:
    """The same frames in batches of other sizes."""
    begin, found = 0, []
    while begin < len(batch):
        end = begin + chance.choice((1, 2, 7, 30, 400))
        offset, captured, length, time, interface = (
            column[begin:end] for column in (batch.offset, batch.captured, batch.length, batch.time, batch.interface)
        )
        number = batch.first_number + begin
        found.append(FrameBatch(batch.octets, offset, captured, length, time, number, interface, batch.interfaces))
        begin = end
    return found
