"""The levels of dialogue and payload: scripts as connections in one capture, read in several ways that must agree."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from operator import itemgetter
from random import Random
from typing import Any

from socks5sniff.analysis import Analyser, handshakes
from socks5sniff.record.batch import Batch
from tests.traffic import CLIENT, FIN, RST, SERVER, START, SYN, Packet, batches, connection, cut, datagram, six_of

from . import outputs
from .scripts import RELAY, Script

Frame = tuple[int, bytes]
"""Time in nanoseconds, and octets."""
Ends = tuple[tuple[str, int], tuple[str, int]]

ABOUT_SEGMENTS = {"split-frame", "pipelined-frames"}
"""Anomalies that say how octets were cut, which is not what they say."""
NAMED_PORT = 8443
"""A port that the user has named as a proxy's."""
STEP = 1_000_000
SNAPLEN = 70


def frames_of(scripts: Sequence[Script], pieces: Random | None = None, first: int = 0) -> list[Frame]:
    """Scripts as the frames of one capture, in turns; with `pieces` the octets are in other segments, at their times.

    Only what is said in order is cut: where it is not, or where something is missing, the segments are what shows where
    messages begin, and what a side had heard when it spoke.
    """
    frames: list[Frame] = []
    for number, script in enumerate(scripts, first):
        packets = _befallen(packets_of(script, number), script)
        if pieces is not None and script.orderly:
            packets = [part for each in packets for part in _in_pieces(each, pieces)]
        frames += [(each.time, each.frame()) if isinstance(each, Packet) else each for each in packets]
    return sorted(frames, key=itemgetter(0))


def _in_pieces(each: Packet | Frame, chance: Random) -> Iterator[Packet | Frame]:
    return cut([each], _sizes(chance)) if isinstance(each, Packet) else iter([each])


def _sizes(chance: Random) -> Iterator[int]:
    """Sizes of segments: from some place on as they were."""
    for _ in range(chance.choice((0, 1, 2, 8))):
        yield chance.choice((1, 1, 2, 3, 8, 50))


def packets_of(script: Script, number: int) -> list[Packet | Frame]:
    """The packets of a script's connection, the `number`th in its capture, with its datagrams in between."""
    client = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    ends: Ends = ((client, 40_000), (RELAY, script.port))
    if script.version == 6:
        ends = ((six_of(client), 40_000), (six_of(RELAY), script.port))
    begin = START + number * 1000
    said = [step[:2] for step in script.steps if not step.datagram and step.octets]
    packets = connection(said, client=ends[0], proxy=ends[1], begin=begin, opening=script.opening, closing=False)
    relay = next((octets[-2:] for _, octets in said if octets[:4] == b"\5\0\0\1" and len(octets) == 10), b"\x27\x11")
    found: list[Packet | Frame] = []
    ahead = iter(packets)
    if script.opening:
        found += [next(ahead), next(ahead), next(ahead)]
    for step in script.steps:
        if step.datagram:
            pair = (ends[0][0], 50_000), (ends[1][0], int.from_bytes(relay, "big"))
            found.append((begin, datagram(*(pair[::-1] if step.side else pair), step.octets)))
        elif step.octets:
            found.append(next(ahead))
    if script.closing:
        last = [each for each in found if isinstance(each, Packet)]
        after = _next(last[-1:], ends)
        flags = FIN if script.closing == "fin" else RST
        found += [replace(each, flags=each.flags | flags) for each in after[: 2 if flags == FIN else 1]]
    return [
        replace(each, time=begin + place * STEP) if isinstance(each, Packet) else (begin + place * STEP, each[1])
        for place, each in enumerate(found)
    ]


def _next(last: list[Packet], ends: Ends) -> list[Packet]:
    """A packet of each side, behind the last one."""
    if not last:
        return [Packet(CLIENT, sequence=1001, acknowledgment=5001, ends=ends)]
    one = last[0]
    end = one.sequence + len(one.octets) + bool(one.flags & SYN)
    same = replace(one, sequence=end, octets=b"", flags=16)
    other = replace(one, side=SERVER - one.side, sequence=one.acknowledgment, acknowledgment=end, octets=b"", flags=16)
    return [same, other]


def _befallen(packets: list[Packet | Frame], script: Script) -> list[Packet | Frame]:
    """The packets after the script's accident."""
    if not packets:
        return packets
    at = int(script.at * (len(packets) - 1))
    one, other = packets[at], packets[min(at + 1, len(packets) - 1)]
    if script.accident == "lost":
        return packets[:at] + packets[at + 1 :]
    if script.accident == "doubled":
        return packets[: at + 1] + packets[at:]
    if not isinstance(one, Packet) or not isinstance(other, Packet) or one is other:
        return packets
    if script.accident == "late":
        return [*packets[:at], replace(other, time=one.time), replace(one, time=other.time), *packets[at + 2 :]]
    if script.accident == "changed":
        changed = replace(one, octets=bytes(octet ^ 1 for octet in one.octets), time=other.time)
        return [*packets[: at + 2], changed, *packets[at + 2 :]]
    return packets


def records(
    frames: Sequence[Frame],
    sizes: Sequence[int] = (),
    *,
    captured: int | None = None,
    show_passwords: bool = False,
    put_away: bool = False,
) -> list[Batch]:
    """What is found in frames that come in batches of these sizes, the rest in one."""
    analyser = Analyser(ports={NAMED_PORT}, show_passwords=show_passwords, udp_frames=True)
    found = []
    for batch in batches(frames, sizes, captured):
        found += analyser.take(batch)
        if put_away:
            analyser = pickle.loads(pickle.dumps(analyser))
    return found + analyser.finish()


@contextmanager
def forms_from(few: int) -> Iterator[None]:
    """So many dialogues of a form are judged one by one before the form serves the others."""
    before, handshakes.FEW = handshakes.FEW, few
    try:
        yield
    finally:
        handshakes.FEW = before


def lines(found: Sequence[Batch]) -> list[str]:
    return outputs.text_of("jsonl", found).splitlines()


def essence(line: str) -> dict[str, Any]:
    """A record without what may follow the cut of the segments, and without its password."""
    record: dict[str, Any] = json.loads(line)
    for key in ("first_frame", "last_frame", "packets", "password"):
        del record[key]
    for frame in record["frames"]:
        del frame["frame"]
    anomalies = [each for each in record["anomalies"] if each["code"] not in ABOUT_SEGMENTS]
    record["anomalies"] = sorted({(each["code"], each["severity"], each["message"]) for each in anomalies})
    return record


def check(scripts: Sequence[Script], seed: str) -> None:
    """All invariants, of these scripts together; `seed` says how else they are read."""
    chance = Random(seed)
    captured = SNAPLEN if chance.randrange(10) == 0 else None
    sizes = [chance.choice((1, 2, 3, 10, 60)) for _ in range(chance.choice((3, 10, 40)))]
    frames = frames_of(scripts)
    found = records(frames, captured=captured)
    expected = lines(found)
    with forms_from(chance.choice((0, 2, 1 << 30))):
        again = records(frames, sizes, captured=captured, put_away=chance.randrange(20) == 0)
    same(expected, lines(again), "other batches")
    shown = lines(records(frames, captured=captured, show_passwords=True))
    same(list(map(essence, expected)), list(map(essence, shown)), "passwords asked for")
    if captured is None:
        pieces = lines(records(frames_of(scripts, chance)))
        same(list(map(essence, expected)), list(map(essence, pieces)), "other segments")
    outputs.check(found, secrets(shown), with_page=chance.randrange(16) == 0)


def same(expected: Sequence[Any], found: Sequence[Any], what: str) -> None:
    """Fails with the first difference alone: records are long."""
    for one, other in zip(expected, found, strict=False):
        assert one == other, f"{what}: {difference(one, other)}"
    assert len(expected) == len(found), f"{what}: {len(found)} records for {len(expected)}"


def difference(one: Any, other: Any) -> str:
    """The keys in which two records differ."""
    first, second = (json.loads(each) if isinstance(each, str) else each for each in (one, other))
    return "; ".join(f"{key} {first[key]!r} != {second[key]!r}" for key in first if first[key] != second[key])


def secrets(shown: Sequence[str]) -> list[str]:
    """Passwords that a reading to which they may be shown has found, unless they are also something else there."""
    found: set[str] = set()
    others = []
    for line in shown:
        record = json.loads(line)
        password = record.pop("password")
        if password and len(password) >= outputs.SHORTEST:
            found.add(password)
        others += [record[key] for key in ("username", "destination", "bound", "peer", "tunnel", "udp")]
        # Of several logins the last one's name and password are the record's; the other names are told of.
        others += [frame["summary"] for frame in record["frames"] if frame["type"] == "auth-request"][:-1]
    rest = json.dumps(others, ensure_ascii=False)
    elsewhere = {password for password in found if json.dumps(password, ensure_ascii=False)[1:-1] in rest}
    return [password for password in found - elsewhere if password.isprintable()]
