"""Dialogues made of messages, whole and then disturbed.

A script is what is said, a message a step, in the order in which it is said; who opens the connection is side 0.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from tests.analysis.tunnel_samples import SAMPLES
from tests.session.scripts import DIALOGUES, segments

from .mutation import DANGEROUS, mutated

RELAY = "198.51.100.1"
"""Where the proxy says that its relay is."""
PASSWORD = b"Passw0rd-of-the-wire"
ACCIDENTS = ("lost", "doubled", "late", "changed", *[""] * 12)
PORTS = (1080, 1080, 9050, 8443, 53, 40_001)
MOST = 40
"""Steps of a script: repetitions stop there."""


class Step(NamedTuple):
    """A message: TCP side and octets; `datagram` where it is the payload of one beside the connection."""

    side: int
    octets: bytes
    datagram: bool = False


class Script(NamedTuple):
    """A connection's steps, the proxy's port, and how the connection begins and ends."""

    steps: list[Step]
    port: int
    opening: bool
    closing: str
    """`fin`, `reset` or nothing."""
    version: int
    """Of IP."""
    accident: str
    """What befell one of its packets on the way: `lost`, `doubled`, `late`, `changed` (repeated with other octets)."""
    at: float
    """Which packet, as a part of the whole."""
    orderly: bool
    """All that is said is what SOCKS says, in its turns or ahead of them, from its beginning on."""


BASES = [[Step(*segment) for segment in segments(script)] for script in DIALOGUES.values()]
TUNNELS = [(sample.client, sample.server) for sample in SAMPLES.values()]


def whole(chance: Random) -> list[Step]:
    """A dialogue as it should be, often with a tunnel and what is said there."""
    steps = list(chance.choice(BASES)) if chance.randrange(2) else _composed(chance)
    if chance.randrange(3):
        client, server = chance.choice(TUNNELS)
        steps += [Step(side, octets) for side, octets in ((0, client), (1, server)) if octets]
    if chance.randrange(12) == 0:
        steps += whole(chance)  # a proxy behind the proxy
    if chance.randrange(20) == 0:
        header = chance.choice((b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"))
        steps = [Step(0, header), *steps]
    return steps


def _composed(chance: Random) -> list[Step]:
    """A dialogue with names that are dangerous to show, a login, an association."""
    methods = chance.choice((b"\0", b"\2", b"\0\2", b"\0\1\2", b"\x80\2", b"\2\2"))
    chosen = methods[-1:]
    steps = [Step(0, b"\5" + bytes([len(methods)]) + methods), Step(1, b"\5" + chosen)]
    if chosen == b"\2":
        user = _name(chance)
        login = b"\1" + bytes([len(user)]) + user + bytes([len(PASSWORD)]) + PASSWORD
        steps += [Step(0, login), Step(1, b"\1" + bytes([chance.choice((0, 0, 0, 1))]))]
    command = chance.choice((1, 1, 1, 2, 3, 3, 0xF0, 0x99))
    name = _name(chance)
    host = chance.choice((b"\3" + bytes([len(name)]) + name, b"\1\xc0\0\2\x09", b"\4" + bytes(15) + b"\1"))
    steps.append(Step(0, bytes([5, command, 0]) + host + b"\1\xbb"))
    port = 20_000 + chance.randrange(40_000)
    code = chance.choice((0, 0, 0, 0, 1, 5, 8, 0x5B, 0xF0))
    steps.append(Step(1, bytes([5, code, 0, 1]) + bytes(map(int, RELAY.split("."))) + port.to_bytes(2, "big")))
    if command == 3:
        header = bytes([0, 0, chance.choice((0, 0, 0, 1, 2, 0x81))]) + host + b"\0\x35"
        for _ in range(chance.randrange(5)):
            steps.append(Step(chance.randrange(2), header + chance.choice(TUNNELS)[0], True))
    return steps


def _name(chance: Random) -> bytes:
    return (chance.choice((b"", b"", b"name-", b"a.test/")) + chance.choice((*DANGEROUS, b"example.com", b"bob")))[:255]


def of_messages(chance: Random) -> Script:
    """A dialogue whose messages are lost, repeated, reordered, interleaved, pipelined; seldom with other octets."""
    steps = whole(chance)
    times = chance.choice((0, 0, 1, 1, 2, 2, 3, 5))
    for _ in range(times):
        steps = chance.choice(DISTURBANCES)(steps, chance)[:MOST]
    return _connection(steps if times else steps[: chance.randint(1, MOST)], chance, orderly=not times)


def of_octets(chance: Random) -> Script:
    """A dialogue in which messages are changed within."""
    steps = whole(chance)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(steps))
        steps[at] = steps[at]._replace(octets=mutated(steps[at].octets, chance))
    return _connection(steps, chance)


def _connection(steps: list[Step], chance: Random, orderly: bool = False) -> Script:
    closing = chance.choice(("fin", "fin", "reset", ""))
    opening, version = chance.randrange(8) > 0, chance.choice((4, 4, 6))
    port, accident, at = chance.choice(PORTS), chance.choice(ACCIDENTS), chance.random()
    return Script(steps, port, opening, closing, version, accident, at, orderly and opening and accident != "lost")


def _lose(steps: list[Step], chance: Random) -> list[Step]:
    at = chance.randrange(len(steps) + 1)
    return steps[:at] + steps[at + 1 :]


def _end(steps: list[Step], chance: Random) -> list[Step]:
    if not steps:
        return steps
    at = chance.randrange(len(steps))
    return [*steps[:at], steps[at]._replace(octets=steps[at].octets[: chance.randrange(len(steps[at].octets) + 1)])]


def _repeat(steps: list[Step], chance: Random) -> list[Step]:
    begin = chance.randrange(len(steps) + 1)
    part = steps[begin : begin + chance.randint(1, 4)]
    at = chance.randrange(len(steps) + 1)
    return steps[:at] + part * chance.choice((1, 1, 1, 2, 9)) + steps[at:]


def _swap(steps: list[Step], chance: Random) -> list[Step]:
    steps = list(steps)
    if len(steps) > 1:
        one, other = chance.sample(range(len(steps)), 2)
        steps[one], steps[other] = steps[other], steps[one]
    return steps


def _interleave(steps: list[Step], chance: Random) -> list[Step]:
    """With another dialogue, each in its own order."""
    first, second = list(steps), whole(chance)
    mixed = []
    while first or second:
        source = second if not first or (second and chance.randrange(2)) else first
        mixed.append(source.pop(0))
    return mixed


def _pipeline(steps: list[Step], chance: Random) -> list[Step]:
    """One side does not wait for the other: what it says from some place on comes first, often as one message."""
    at, side = chance.randrange(len(steps) + 1), chance.choice((0, 0, 1))
    ahead = [step for step in steps[at:] if step.side == side and not step.datagram]
    rest = [step for step in steps[at:] if step.side != side or step.datagram]
    if ahead and chance.randrange(2):
        ahead = [Step(side, b"".join(step.octets for step in ahead))]
    return steps[:at] + ahead + rest


def _turn(steps: list[Step], chance: Random) -> list[Step]:
    """One message comes from the other side."""
    at = chance.randrange(len(steps) + 1)
    return steps[:at] + [step._replace(side=1 - step.side) for step in steps[at : at + 1]] + steps[at + 1 :]


def _mirror(steps: list[Step], chance: Random) -> list[Step]:
    """The proxy has opened the connection."""
    return [step._replace(side=1 - step.side) for step in steps]


def _spoil(steps: list[Step], chance: Random) -> list[Step]:
    at = chance.randrange(len(steps) + 1)
    spoilt = [step._replace(octets=mutated(step.octets, chance)) for step in steps[at : at + 1]]
    return steps[:at] + spoilt + steps[at + 1 :]


DISTURBANCES: tuple[Callable[[list[Step], Random], list[Step]], ...] = (
    _lose, _end, _repeat, _swap, _interleave, _pipeline, _turn, _mirror, _spoil,
)  # fmt: skip
