"""Which conversations are read as columns, many at once, and which have to be looked at one by one.

What is said of either is the same (see `test_forms_give_what_each_dialogue_by_itself_gives`); here it is that the usual
ones do go the quick way, up to the limits of what is read there.
"""

from __future__ import annotations

import string
from dataclasses import replace

import pytest

from socks5sniff.analysis import Analyser, forms, handshakes
from socks5sniff.analysis.exchanges import PLACES
from socks5sniff.session import Session, SessionFrame
from socks5sniff.session.states import STATES
from socks5sniff.session.steps import Step, decode_step
from tests.traffic import ANSWER, CLIENT, GREETING, HTTP, REPLY, SERVER, START, analyse, batches, connection

Said = list[tuple[int, bytes]]
CHOICE, LOGGED_IN = b"\5\0", b"\1\0"
TALK: Said = [(CLIENT, HTTP), (SERVER, ANSWER)]
HOST = b"\3\7gopher."


def in_columns(talks: list[Said], monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each of these conversations, each of them thrice, whether it was read with its like at once."""
    monkeypatch.setattr(handshakes, "FEW", 0)
    packets = [
        packet
        for number, said in enumerate(talks * 3)
        for packet in connection(said, client=(f"10.1.{number >> 8}.{number & 255}", 40_000), begin=START + number)
    ]
    packets.sort(key=lambda packet: packet.time)
    analyser = Analyser()
    parts = [part for batch in batches([(p.time, p.frame()) for p in packets]) for part in analyser.take(batch)]
    found = {
        number: record is None
        for part in [*parts, *analyser.finish()]
        for number, record in zip(part.id.tolist(), part.written, strict=True)
    }
    assert sorted(found) == [*range(1, 3 * len(talks) + 1)]
    return [all(found[number + copy * len(talks)] for copy in range(3)) for number in range(1, len(talks) + 1)]


def asking(
    host: bytes = HOST, greeting: bytes = GREETING, choice: bytes = CHOICE, reply: bytes = REPLY, command: int = 1
) -> Said:
    """A conversation without a login."""
    request = bytes([5, command, 0]) + host + b"\0\x50"
    return [(CLIENT, greeting), (SERVER, choice), (CLIENT, request), (SERVER, reply), *(TALK if command == 1 else [])]


def named(name: bytes) -> Said:
    return asking(b"\3" + bytes([len(name)]) + name)


def logging_in(user: bytes, password: bytes = b"secret") -> Said:
    login = b"\1" + bytes([len(user)]) + user + bytes([len(password)]) + password
    greeting, _, *rest = asking(greeting=b"\5\1\2")
    return [greeting, (SERVER, b"\5\2"), (CLIENT, login), (SERVER, LOGGED_IN), *rest]


def asking4(user: bytes, name: bytes = b"") -> Said:
    request = b"\4\1\0\x50" + (b"\0\0\0\1" if name else b"\x0a\0\0\7") + user + b"\0" + (name and name + b"\0")
    return [(CLIENT, request), (SERVER, b"\0\x5a" + bytes(6)), *TALK]


WHOLE = asking()
QUICK: dict[str, Said] = {
    "a name of 64 octets": named(b"g" * 64),
    "a name that begins as 0x does not": named(b"1xgg"),
    "a name that begins nearly as sp.": named(b"sq.g"),
    "a user of no octets": logging_in(b""),
    "a user of 64 octets": logging_in(b"u" * 64),
    "a user that is a number": logging_in(b"0x1"),
    "a password of no octets": logging_in(b"me", b""),
    "SOCKS4": asking4(b"me"),
    "SOCKS4 without a user": asking4(b""),
    "SOCKS4, a user of 64 octets": asking4(b"u" * 64),
    "SOCKS4A": asking4(b"me", b"gopher."),
    "SOCKS4A, a name of 64 octets": asking4(b"", b"g" * 64),
    "12 methods": asking(greeting=b"\5\x0c" + bytes(range(12))),
    "IPv4": asking(b"\1\1\2\3\4"),
    "IPv6": asking(b"\4" + bytes(range(16))),
    "an answer with IPv6": asking(reply=b"\5\0\0\4" + bytes(18)),
    "a refusal": asking(reply=b"\5\5\0\1" + bytes(6))[:4],
    "RESOLVE": asking(command=0xF0),
    "BIND": asking(command=2),
    "an octet that is reserved": asking(reply=b"\5\0\1\1" + bytes(6)),
    "an early selection": [WHOLE[1], WHOLE[0], *WHOLE[2:]],
    "a request with the greeting": [(CLIENT, GREETING + WHOLE[2][1]), *WHOLE[1:2], *WHOLE[3:]],
    **{f"the first {count} of the frames": WHOLE[:count] for count in range(1, 6)},
}
CLOSER: dict[str, Said] = {
    "a name of 65 octets": named(b"g" * 65),
    "a name of no octets": named(b""),
    "a name that is a hexadecimal number": named(b"0xgg"),
    "a name that is one in capitals": named(b"0Xgg"),
    "a name that begins with sp.": named(b"sp.g"),
    "a user of 65 octets": logging_in(b"u" * 65),
    "SOCKS4, a user of 65 octets": asking4(b"u" * 65),
    "SOCKS4A, a name of 65 octets": asking4(b"", b"g" * 65),
    "13 methods": asking(greeting=b"\5\x0d" + bytes(range(13))),
    "GSSAPI": asking(greeting=b"\5\1\1", choice=b"\5\1"),
    "an answer with a name": asking(reply=b"\5\0\0\3\3ghi\0\1"),
    "an address of an unknown type": asking(b"\2ab"),
    "an unknown command": asking(command=4),
    "a login that nobody asked for": [*WHOLE[:2], *logging_in(b"me")[2:]],
    **{
        f"{(said[:-1]).hex(' ')} and no more": [*WHOLE[:place], (side, said[:-1])]
        for place, (side, said) in enumerate(WHOLE[:4])
    },
}


@pytest.mark.parametrize("quick", [True, False])
def test_which_conversations_are_read_at_once(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    talks = QUICK if quick else CLOSER
    found = in_columns([*talks.values()], monkeypatch)
    assert [name for name, way in zip(talks, found, strict=True) if way != quick] == []


def test_names_have_letters_digits_and_a_few_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of others, and those that could be a number, somebody has to think."""
    octets = [bytes([octet]) for octet in range(256)]
    usual = {*(string.ascii_letters + string.digits + ".-_").encode()}
    numeric = {*b"0123456789.abcdefABCDEFxX"}
    amid = in_columns([named(b"g" + octet) for octet in octets], monkeypatch)
    alone = in_columns([named(octet) for octet in octets], monkeypatch)
    users = in_columns([logging_in(octet) for octet in octets], monkeypatch)
    assert {octet for octet, way in enumerate(amid) if way} == usual
    assert {octet for octet, way in enumerate(alone) if way} == usual - numeric
    assert {octet for octet, way in enumerate(users) if way} == usual


def test_associations_of_one_form_differ_in_their_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """DST may be zeros, the client's own address or a name, BND zeros or not: each is told as if it were alone."""
    packets = []
    for number in range(36):
        own = bytes([1, 10, 1, 0, number])
        host = (own, b"\1" + bytes(4), b"\4" + bytes(16), HOST)[number % 4]
        bound = (b"\1\x0a\0\0\x09\x0b\xb8", b"\1" + bytes(4) + b"\x0b\xb8", b"\1" + bytes(6))[number % 3]
        said = asking(host, reply=b"\5\0\0" + bound, command=3)
        packets += connection(said, client=(f"10.1.0.{number}", 40_000), begin=START + number * 20_000_000)
    frames = [(packet.time, packet.frame()) for packet in sorted(packets, key=lambda packet: packet.time)]
    told = []
    for few in (0, 1 << 30):
        monkeypatch.setattr(handshakes, "FEW", few)
        told.append([record.as_dict() for record in analyse(frames)])
    assert told[0] == told[1]
    assert len(told[0]) == 36


@pytest.mark.parametrize("place", [3, 4, 5, 6])
def test_a_segment_that_is_sent_again_is_compared(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Greeting, selection, request and reply: a copy that differs is told of, whichever side sends it."""
    packets = []
    for number in range(3):
        whole = connection(WHOLE, client=(f"10.1.0.{number}", 40_000), begin=START + number * 50_000_000)
        copy = replace(whole[place], octets=whole[place].octets[:-1] + b"\x7f", time=whole[place].time + 1)
        packets += [*whole[: place + 1], copy, *whole[place + 1 :]]
    frames = [(packet.time, packet.frame()) for packet in packets]
    told = []
    for few in (0, 1 << 30):
        monkeypatch.setattr(handshakes, "FEW", few)
        told.append([record.as_dict() for record in analyse(frames)])
    assert told[0] == told[1]
    assert all(record["anomalies"] for record in told[0])


@pytest.mark.parametrize("few", [0, 1 << 30])
def test_time_stamps_that_contradict_each_other_in_the_tunnel_take_no_timing(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read at once or one by one: what is timed lies before it."""
    monkeypatch.setattr(handshakes, "FEW", few)
    packets = []
    for number in range(6):
        talk = connection(named(b"a.example"), client=(f"10.1.0.{number}", 40_000), begin=START + number)
        asked, answered = (place for place, packet in enumerate(talk) if packet.octets in (HTTP, ANSWER))
        talk[asked], talk[answered] = (
            replace(talk[asked], time=talk[answered].time),
            replace(talk[answered], time=talk[asked].time),
        )
        packets += talk
    records = analyse([(packet.time, packet.frame()) for packet in packets])
    assert len(records) == 6
    assert {record.timing.request for record in records} == {0.001}


@pytest.mark.parametrize(
    ("changes", "has"),
    [
        ({}, True),
        ({"damaged": True}, False),
        ({"frame": forms._MARK + 2}, False),
        ({"frame": forms._MARK - 1, "time": forms._MARK_TIME}, False),
        ({"frame": forms._MARK + PLACES, "time": forms._MARK_TIME + (forms._MARK_STEP << PLACES)}, False),
    ],
)
def test_a_form_has_whole_frames_of_known_segments(changes: dict[str, int], has: bool) -> None:
    """What it says of times is of the segment that a frame ends in."""
    step = decode_step(STATES["choice"], 1, CHOICE)
    assert isinstance(step, Step)
    frame = SessionFrame(step, forms._MARK + 1, forms._MARK_TIME + (forms._MARK_STEP << 1), 0, 0, 2)._replace(**changes)
    session, frames = Session(), None  # of a choice nothing else is asked
    assert (forms._form_frame(frame, session, None, 0, frames) is not None) == has  # type: ignore[arg-type]
