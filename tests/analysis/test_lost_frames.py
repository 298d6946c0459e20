"""A frame that is missing from the capture takes nothing with it that the others say."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from socks5sniff.record import Conversation
from tests.traffic import CLIENT, PLAIN, SERVER, Packet, analyse, connection

from .dialogues import PASSWORD, REFUSED

FRAMES = ("greeting", "method-selection", "auth-request", "auth-reply", "request", "reply")
SAYS = {
    "greeting": ("methods",),
    "method-selection": ("method",),
    "auth-request": ("username", "password"),
    "auth-reply": ("authenticated",),
    "request": ("command", "destination"),
    "reply": ("reply", "bound"),
}
"""Keys of the record that a frame alone tells."""
DENIED = [*PASSWORD[:3], (SERVER, b"\1\1")]
FAILED = [*PASSWORD[:5], (SERVER, b"\5\4\0\1\0\0\0\0\0\0")]
ASSOCIATED = [*PASSWORD[:4], (CLIENT, b"\5\3\0\1\0\0\0\0\0\0"), (SERVER, b"\5\0\0\1\x0a\0\0\x09\x20\x01")]
KINDS = {"plain": PLAIN, "password": PASSWORD, "refused": REFUSED, "denied": DENIED, "failed": FAILED,
         "associated": ASSOCIATED}  # fmt: skip


def types(said: list[tuple[int, bytes]]) -> list[str]:
    (whole,) = analyse(connection(said))
    return [frame.type for frame in whole.frames]


def without(said: list[tuple[int, bytes]], *lost: int, **changes: Any) -> list[Packet]:
    packets = connection(said, **changes)
    return [packet for number, packet in enumerate(packets) if number - 3 not in lost]


def told(record: Conversation, kind: str) -> list[Any]:
    return [getattr(record, key) for key in SAYS[kind]]


CASES = [
    (name, lost)
    for name, said in KINDS.items()
    for lost in range(1, len(types(said)))
    if types(said)[lost] != "reply" and not (name == "denied" and types(said)[lost] == "auth-reply")
]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("port", [1080, 7777])
@pytest.mark.parametrize(("name", "lost"), CASES)
def test_one_frame(name: str, lost: int, port: int, version: int) -> None:
    said = KINDS[name]
    kinds = types(said)
    (whole,) = analyse(connection(said, proxy=("10.0.0.9", port)), version=version)
    (record,) = analyse(without(said, lost, proxy=("10.0.0.9", port)), version=version)
    left = [kind for place, kind in enumerate(kinds) if place != lost]
    assert record.outcome == whole.outcome
    # Without its request nobody knows what a reply opens.
    assert record.bytes == (None if kinds[lost] == "request" else whole.bytes)
    assert [frame.type for frame in record.frames] == left
    for kind in left:
        assert told(record, kind) == told(whole, kind), kind
    assert told(record, kinds[lost]) == [None] * len(SAYS[kinds[lost]])
    gaps = [entry.message for entry in record.anomalies if entry.code == "handshake-gap"]
    assert gaps == [f"{len(said[lost][1])} octets of the handshake are not in the capture"]
    assert {entry.code for entry in record.anomalies} <= {entry.code for entry in whole.anomalies} | {"handshake-gap"}


@pytest.mark.parametrize("lost", list(combinations(range(1, 5), 2)))
def test_two_frames_at_most_of_each_side(lost: tuple[int, int]) -> None:
    """Where the capture lacks more, at least what comes before it is there, and nothing is made up."""
    kinds = types(PASSWORD)
    (whole,) = analyse(connection(PASSWORD))
    for record in analyse(without(PASSWORD, *lost)):
        for frame in record.frames:
            assert told(record, frame.type) == told(whole, frame.type)
        for place in lost:
            assert told(record, kinds[place]) == [None] * len(SAYS[kinds[place]])
        assert record.outcome in (whole.outcome, "incomplete")
        assert "handshake-gap" in [entry.code for entry in record.anomalies]


@pytest.mark.parametrize("port", [1080, 7777])
def test_a_lost_greeting(port: int) -> None:
    (whole,) = analyse(connection(PLAIN, proxy=("10.0.0.9", port)))
    (record,) = analyse(without(PLAIN, 0, proxy=("10.0.0.9", port)))
    assert (record.methods, record.method, record.outcome) == (None, whole.method, "succeeded")
    assert (record.destination, record.reply) == (whole.destination, whole.reply)


@pytest.mark.parametrize("name", ["plain", "refused"])
def test_a_lost_reply(name: str) -> None:
    (whole,) = analyse(connection(KINDS[name]))
    (record,) = analyse(without(KINDS[name], 3))
    assert (record.outcome, record.destination, record.reply) == ("incomplete", whole.destination, None)


def test_no_tunnel_is_made_up() -> None:
    """Whether it was CONNECT nobody knows."""
    (record,) = analyse(without(PLAIN, 2))
    assert (record.tunnel, record.bytes, record.udp, record.phase) == (None, None, None, "request")
    assert record.timing.request is None


@pytest.mark.parametrize("lost", [1, 2])
def test_a_gap_proves_nothing(lost: int) -> None:
    """On a port that nobody named, octets that only begin like SOCKS."""
    asked, answered = b"\5\0\0\3\x10\0\0\0\x48\0", b"\5\0\x0c\3\x10\0\0\0"
    said = [(CLIENT, b"\5\1\0"), (SERVER, b"\5\0"), (CLIENT, asked), (SERVER, answered)]
    assert analyse(without(said, 1, proxy=("10.0.0.9", 7777))) == []
    said[0] = (CLIENT, b"\5\0\x0b\3\x10\0\0\0\x48\0\0\0")
    assert analyse(without(said, lost, proxy=("10.0.0.9", 7777))) == []


def test_a_request_that_waited_for_its_turn_is_read() -> None:
    """Pipelined, and what follows it is lost."""
    said = [PLAIN[0], PLAIN[2], (CLIENT, b"GET / HTTP/1.1\r\n"), PLAIN[1], PLAIN[3]]
    (record,) = analyse(without(said, 2))
    assert (record.destination and record.destination.host, record.outcome) == ("example.com", "succeeded")
