"""What a record says of its packets, against the list of them: numbers, times, octets, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import NamedTuple

import pytest

from socks5sniff.analysis import handshakes
from socks5sniff.analysis.build import LATE_CLOSE
from socks5sniff.record import Conversation
from tests.traffic import (
    ACK,
    ANSWER,
    CHOICE,
    CLIENT,
    FIN,
    GREETING,
    HTTP,
    RST,
    SERVER,
    START,
    SYN,
    Packet,
    analyse,
    connection,
    six,
)

MILLISECOND = 1_000_000
SIDES = ("client", "proxy")


class Frame(NamedTuple):
    """A SOCKS frame, which is a segment by itself."""

    side: int
    type: str
    octets: bytes


class Talk(NamedTuple):
    """A conversation: its frames, and what its tunnel carried where one was opened."""

    frames: list[Frame]
    tunnel: list[tuple[int, bytes]]
    opens: bool
    packets: list[Packet]


def frames(draw: Random) -> Iterator[Frame]:
    """Of a dialogue that is refused or not."""
    code = draw.choice([0, 0, 0, 5])
    if draw.randrange(4) == 0:
        yield Frame(CLIENT, "request", b"\4\1\0\x50\x0a\0\0\7" + draw.choice([b"", b"me"]) + b"\0")
        yield Frame(SERVER, "reply", b"\0" + (b"\x5b" if code else b"\x5a") + bytes(6))
        return
    login = draw.randint(0, 1)
    yield Frame(CLIENT, "greeting", b"\5\1\2" if login else GREETING)
    yield Frame(SERVER, "method-selection", b"\5\2" if login else CHOICE)
    if login:
        yield Frame(CLIENT, "auth-request", b"\1\2me\6secret")
        yield Frame(SERVER, "auth-reply", b"\1\0")
    host = draw.choice([b"\1\x0a\0\0\7", b"\4\x20\1" + bytes(14), b"\3\7gopher."])
    yield Frame(CLIENT, "request", b"\5\1\0" + host + b"\0\x50")
    yield Frame(SERVER, "reply", bytes([5, code, 0]) + draw.choice([b"\1\0\0\0\0\0\0", b"\4" + bytes(17) + b"\x50"]))


def talk(draw: Random, number: int, version: int) -> Talk:
    listed = [*frames(draw)]
    opens = listed[-1].octets[1] in (0, 90)
    carried = [(CLIENT, HTTP), (SERVER, ANSWER), (CLIENT, b"x" * 200), (SERVER, b"y" * 300)]
    tunnel = draw.choice([[], carried[:1], carried[:2], carried]) if opens else []
    said = [*((frame.side, frame.octets) for frame in listed), *tunnel]
    ends = draw.choice(["10.0.0.1", "10.0.0.2", "10.0.0.9"]), 40_000 + number
    proxy = "10.0.0.9", draw.choice([1080, 3128])
    packets = connection(said, client=ends, proxy=proxy, opening=draw.randrange(5) > 0, closing=False)
    closers = draw.choice([[], [CLIENT], [SERVER], [CLIENT, SERVER], [SERVER, CLIENT]])
    flags = [draw.choice([FIN | ACK, FIN | ACK, RST]) for _ in closers]
    for side, flag in zip(closers, flags, strict=True):
        last = [next(each for each in packets[::-1] if each.side == this) for this in (CLIENT, SERVER)]
        sequence = [each.sequence + len(each.octets) + bool(each.flags & (SYN | FIN)) for each in last]
        packets.append(Packet(side, flag, sequence[side], sequence[1 - side], b"", 0, packets[0].ends))
    for _ in range(draw.choice([0, 0, 1, 3])):  # sent again
        at = draw.randrange(len(packets))
        packets.insert(draw.randint(at + 1, len(packets)), packets[at])
    if version == 6:
        packets = six(packets)
    time, timed, over = START + draw.randrange(100) * MILLISECOND, list[Packet](), False
    for packet in packets:
        time += draw.choice([1, 1, 1, 1, 5, 200]) * MILLISECOND
        if packet.flags & (FIN | RST) and not over:
            said = max(each.time - number for each in timed if each.octets)
            time, over = draw.choice([time, said + LATE_CLOSE, said + LATE_CLOSE + 1]), True
        timed.append(replace(packet, time=time + number))
    return Talk(listed, tunnel, opens, timed)


def check(record: Conversation, talk: Talk, numbers: list[int], now: int) -> None:
    packets = talk.packets
    assert (record.packets, record.first_frame, record.last_frame) == (len(packets), numbers[0], numbers[-1])
    assert (record.start_ns, record.end_ns) == (packets[0].time, packets[-1].time)
    assert (record.client, record.proxy) == packets[0].ends
    check_end(record, talk)
    first = {}
    for place, packet in enumerate(packets):
        if packet.octets:
            first.setdefault((packet.side, packet.sequence), place)
    places = [*first.values()]
    told = [(numbers[place], packets[place].time) for place in places[: len(talk.frames)]]
    expected = [
        (*where, SIDES[frame.side], frame.type, len(frame.octets))
        for where, frame in zip(told, talk.frames, strict=True)
    ]
    assert [(each.frame, each.time_ns, each.sender, each.type, each.length) for each in record.frames] == expected
    check_times(record, talk, {frame.type: time for frame, (_, time) in zip(talk.frames, told, strict=True)})
    sent, received = (sum(len(octets) for side, octets in talk.tunnel if side == this) for this in (CLIENT, SERVER))
    assert record.bytes == ((sent, received) if talk.opens else None)
    check_anomalies(record, talk, told[-1], now)


def check_end(record: Conversation, talk: Talk) -> None:
    flags = [packet.flags for packet in talk.packets]
    close = "reset" if any(flag & RST for flag in flags) else "fin" if any(flag & FIN for flag in flags) else "open"
    closers = [packet.side for packet in talk.packets if packet.flags & (FIN | RST)]
    assert (record.close, record.closed_by) == (close, SIDES[closers[0]] if closers else None)


def check_times(record: Conversation, talk: Talk, at: dict[str, int]) -> None:
    def between(one: str, other: str) -> float | None:
        return (at[other] - at[one]) / 1e9 if one in at and other in at else None

    timing = record.timing
    assert timing.negotiation == between("greeting", "method-selection")
    assert timing.authentication == between("auth-request", "auth-reply")
    assert timing.request == between("request", "reply")
    answers = [each.time for each in talk.packets if each.octets in (ANSWER, b"y" * 300)]
    assert timing.first_byte == ((answers[0] - at["reply"]) / 1e9 if answers else None)
    syn, answer = ([each.time for each in talk.packets if each.flags == flags] for flags in (SYN, SYN | ACK))
    assert timing.tcp_handshake == ((answer[0] - syn[0]) / 1e9 if syn else None)


def check_anomalies(record: Conversation, talk: Talk, last: tuple[int, int], now: int) -> None:
    """What only the connection tells."""
    codes = {each.code: each.frame for each in record.anomalies}
    closed_by_proxy = record.closed_by == "proxy"
    silent = not any(side == SERVER for side, _ in talk.tunnel)
    assert ("closed-without-data" in codes) == (talk.opens and closed_by_proxy and silent)
    assert codes.get("closed-without-data", record.last_frame) == record.last_frame
    ended = talk.packets[-1].time if record.closed_by else now
    assert codes.get("late-close") == (last[0] if not talk.opens and ended - last[1] > LATE_CLOSE else None)
    opening = any(packet.flags & SYN for packet in talk.packets)
    assert codes.get("midstream") == (None if opening else record.first_frame)


@pytest.mark.parametrize("few", [0, 1 << 30])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("seed", range(25))
def test_records_say_what_their_packets_show(
    seed: int, version: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether conversations are judged one by one, or by their form."""
    monkeypatch.setattr(handshakes, "FEW", few)
    draw = Random(seed)
    talks = [talk(draw, number, version) for number in range(1 + seed)]
    talks.sort(key=lambda each: each.packets[0].time)
    all_ = sorted((packet for each in talks for packet in each.packets), key=lambda packet: packet.time)
    numbers = {packet.time: number for number, packet in enumerate(all_, 1)}
    records = analyse(all_, [draw.randint(1, 99) for _ in range(4)])
    assert [(record.id, record.tcp_stream) for record in records] == [(each + 1, each) for each in range(len(talks))]
    for record, each in zip(records, talks, strict=True):
        check(record, each, [numbers[packet.time] for packet in each.packets], all_[-1].time)
