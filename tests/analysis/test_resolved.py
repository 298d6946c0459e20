"""Which requests are for an address that the client had from DNS, against the list of all answers and requests."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import pytest

from socks5sniff.analysis import handshakes
from socks5sniff.analysis.names import MAX_ANSWERS
from socks5sniff.record import Conversation
from tests.traffic import CHOICE, CLIENT, GREETING, REPLY, SERVER, START, Packet, analyse, connection, datagram

from .test_associations import address
from .test_names import response

CLIENTS = ["10.0.0.1", "10.0.0.2", "10.0.0.9"]
PROXY = "10.0.0.9"
NAMES = ["a.example", "b.example", "A.Example"]
ADDRESSES = ["198.51.100.1", "198.51.100.2", "2001:db8::1", "0.0.0.0"]
MILLISECOND = 1_000_000


class Answer(NamedTuple):
    """Of a DNS server."""

    time: int
    client: str
    name: str
    addresses: list[str]
    over_tcp: bool

    def frames(self, number: int) -> list[tuple[int, bytes]]:
        octets = response(self.name, *self.addresses)
        if not self.over_tcp:
            return [(self.time, datagram(("192.0.2.53", 53), (self.client, 5353), octets))]
        said = [(SERVER, len(octets).to_bytes(2, "big") + octets)]
        ends = (self.client, 20_000 + number), ("192.0.2.53", 53)
        packets = connection(said, client=ends[0], proxy=ends[1], begin=self.time - 3 * MILLISECOND)
        return [(packet.time, packet.frame()) for packet in packets]


class Request(NamedTuple):
    """A conversation's; at the sixth packet of it."""

    begin: int
    client: tuple[str, int]
    host: str
    command: int

    @property
    def time(self) -> int:
        return self.begin + 5 * MILLISECOND

    def packets(self) -> list[Packet]:
        name = self.host.encode()
        wanted = address(self.host, 80) if self.host in ADDRESSES else b"\3" + bytes([len(name)]) + name + b"\0\x50"
        asked = bytes([5, self.command, 0]) + wanted
        said = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, asked), (SERVER, REPLY)]
        return connection(said, client=self.client, proxy=(PROXY, 1080), begin=self.begin, closing=False)


def drawn(draw: Random) -> tuple[list[Answer], list[Request]]:
    def time() -> int:
        return START + draw.randrange(2_000) * MILLISECOND

    answers = []
    for number in range(draw.choice([1, 4, 30])):
        client, name, addresses = draw.choice(CLIENTS), draw.choice(NAMES), draw.sample(ADDRESSES, draw.randint(1, 2))
        answers.append(Answer(time() + 1000 * number, client, name, addresses, draw.randrange(4) == 0))
    requests = [
        Request(
            time() + number + 1, (draw.choice(CLIENTS), 40_000 + number), draw.choice([*ADDRESSES, *NAMES[:2]]),
            draw.choice([1, 1, 1, 1, 2]),
        )
        for number in range(draw.randint(1, 12))
    ]  # fmt: skip
    return sorted(answers), sorted(requests)


def known(request: Request, at: int, answers: list[tuple[int, Answer]], asked: list[tuple[int, str]]) -> str | None:
    """The message: an answer for the name that first gave the address, the latest that came before the request."""
    if request.host not in ADDRESSES or (request.command != 1 and request.host == "0.0.0.0"):
        return None
    mine = [each for each in answers if each[1].client == request.client[0] and request.host in each[1].addresses]
    same = [each for each in mine if each[1].name == mine[0][1].name]
    kept = [*same[:1], *same[1:][1 - MAX_ANSWERS :]]
    before = [each for each in kept if each[0] < at]
    if not before:
        return None
    frame, answer = before[-1]
    if request.client[0] == PROXY and any(early < frame and name == answer.name.lower() for early, name in asked):
        return None
    age = (request.time - answer.time) / 1e9
    return f"a DNS answer gave {request.host} for {answer.name} (frame {frame}, {age:.3f} s before the request)"


def told(record: Conversation) -> str | None:
    found = [each.message for each in record.anomalies if each.code == "local-dns"]
    assert (record.name_resolution == "local") == bool(found)
    return found[0] if found else None


@pytest.mark.parametrize("few", [0, 1 << 30])
@pytest.mark.parametrize("seed", range(30))
def test_requests_for_known_addresses_are_told(seed: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "FEW", few)
    draw = Random(seed)
    answers, requests = drawn(draw)
    frames = [frame for number, each in enumerate(answers) for frame in each.frames(number)]
    frames += [(packet.time, packet.frame()) for each in requests for packet in each.packets()]
    frames.sort(key=lambda frame: frame[0])
    numbers = {time: number for number, (time, _) in enumerate(frames, 1)}
    assert len(numbers) == len(frames)
    listed = [(numbers[each.time], each) for each in answers]
    own = [each for each in requests if each.client[0] == PROXY]
    asked = [(numbers[each.time], each.host) for each in own if each.host in NAMES]
    records = {record.client: record for record in analyse(frames, [draw.randint(1, 99) for _ in range(3)])}
    for each in requests:
        assert told(records[each.client]) == known(each, numbers[each.time], listed, asked)
