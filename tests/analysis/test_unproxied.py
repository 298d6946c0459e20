"""Rows of all that is in a capture, against a plain list of packets."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import pytest

from socks5sniff.analysis import Analyser, unproxied
from socks5sniff.analysis.tunnel import DATAGRAM_LIMIT
from socks5sniff.analysis.unproxied import Exchange, Exchanges
from socks5sniff.streams.spaces import LINGER
from tests.traffic import ANSWER, CLIENT, HTTP, SERVER, START, Packet, batches, connection, cut, datagram

from .test_bypass import SOCKS, query, rows

Ends = tuple[str, int]
Frame = tuple[int, bytes]
HOSTS = ["10.0.0.1", "10.0.0.2", "9.9.9.9", "2001:db8::1", "2001:db8::2"]
PORTS = [53, 5353, 123, 1023, 1024, 4000, 50_000]


class Row(NamedTuple):
    """What is told of an exchange, in the order in which rows come."""

    start: int
    client: Ends
    destination: Ends
    stream: int
    end: int
    packets: int
    sent: int
    received: int
    server_name: str | None


class Datagram(NamedTuple):
    """One by itself."""

    time: int
    source: Ends
    destination: Ends
    octets: bytes


def some_datagrams(draw: Random) -> list[Datagram]:
    pairs = []
    for _ in range(draw.randint(1, 6)):
        hosts = draw.sample(HOSTS[:3] if draw.randint(0, 1) else HOSTS[3:], 2)
        pairs.append([(host, draw.choice(PORTS)) for host in hosts])
    found = []
    for _ in range(draw.randint(1, 30)):
        source, destination = draw.choice(pairs)[:: draw.choice([1, -1])]
        asks = destination[1] in (53, 5353) and draw.randint(0, 1)
        octets = query(f"{draw.choice('abc')}.example.") if asks else draw.randbytes(draw.randrange(9))
        found.append(Datagram(START + draw.randrange(9_000), source, destination, octets))
    return sorted(found, key=lambda each: each.time)


def of_datagrams(datagrams: list[Datagram], most: int) -> list[Row]:
    """Who sends first is the client, unless only it has a server's port; above `most` the oldest pair has ended."""
    open_: dict[frozenset[Ends], list[Datagram]] = {}
    over = []
    for each in datagrams:
        pair = frozenset([each.source, each.destination])
        open_.setdefault(pair, []).append(each)
        if len(open_) > most:
            over.append(open_.pop(next(iter(open_))))
    return [of_pair(each) for each in [*over, *open_.values()]]


def of_pair(datagrams: list[Datagram]) -> Row:
    client, destination = datagrams[0].source, datagrams[0].destination
    if client[1] < 1024 <= destination[1]:
        client, destination = destination, client
    sent, received = ([each for each in datagrams if each.source == end] for end in (client, destination))
    asked = sent[0].octets if sent and destination[1] in (53, 5353) else b""
    name = f"{chr(asked[13])}.example" if asked.endswith(b"\7example\0\0\1\0\1") else None
    times = [each.time for each in datagrams]
    octets = (sum(len(each.octets) for each in part) for part in (sent, received))
    return Row(min(times), client, destination, -1, max(times), len(datagrams), *octets, name)


def some_connections(draw: Random) -> tuple[list[Packet], list[Row]]:
    """Connections that are whole, or begin anywhere, with octets that are sent again."""
    packets, expected = list[Packet](), []
    for number in range(draw.randint(0, 4)):
        ends = (draw.choice(HOSTS[:3]), 60_000 + number), ("198.51.100.7", draw.choice([80, 8080]))
        said = draw.choice([[(CLIENT, HTTP), (SERVER, ANSWER)], [(SERVER, b"hello"), (CLIENT, b"x" * 9)], []])
        opening = bool(draw.randint(0, 3)) or not said
        begin = START + draw.randrange(9) * 1_000_000
        talk = connection(said, client=ends[0], proxy=ends[1], begin=begin, opening=opening, closing=bool(said))
        again = list(cut([draw.choice(talk)], [3]))
        talk = [*talk, *again]
        client = ends if opening or said[0][0] == CLIENT else ends[::-1]
        amounts = [sum(len(octets) for side, octets in said if ends[side] == end) for end in client]
        times = [packet.time for packet in talk]
        name = "example.com" if said and said[0][1] == HTTP else None
        expected.append(Row(min(times), *client, number, max(times), len(talk), *amounts, name))
        packets += talk
    return packets, expected


def told(frames: list[Frame]) -> list[Row]:
    found = rows(*frames, clients=(*HOSTS, "198.51.100.7"), everything=True)
    return [
        Row(row.start_ns, row.client, row.destination, row.transport == "tcp", row.end_ns, row.packets, row.sent,
            row.received, row.server_name)
        for row in found
    ]  # fmt: skip


@pytest.mark.parametrize("most", [1, 2, 4, 1 << 16])
@pytest.mark.parametrize("seed", range(15))
def test_rows_are_those_of_a_plain_list(seed: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unproxied, "MAX_EXCHANGES", most)
    draw = Random(seed)
    datagrams, (packets, connections) = some_datagrams(draw), some_connections(draw)
    frames = [(each.time, datagram(each.source, each.destination, each.octets)) for each in datagrams]
    found = told([*frames, *((packet.time, packet.frame()) for packet in packets)])
    expected = sorted([*of_datagrams(datagrams, most), *connections])
    assert found == [row._replace(stream=row.stream >= 0) for row in expected]


LOCAL = ["127.0.0.1", "224.0.0.251", "169.254.1.1", "0.0.0.0", "255.255.255.255", "::1", "ff02::1", "fe80::1"]


@pytest.mark.parametrize("destination", [*LOCAL, "8.8.8.8", "2001:db8::7", "10.0.0.255"])
@pytest.mark.parametrize("port", [1023, 1024])
def test_what_stays_in_the_network_is_not_told(destination: str, port: int) -> None:
    """Nor what looks for neighbours at a server's port of all of them."""
    client = "2001:db8::1" if ":" in destination else "10.0.0.1"
    frames = [*SOCKS, (START, datagram((client, 4000), (destination, port), b"x"))]
    local = destination in LOCAL or (destination.endswith(".255") and port == 1023)
    assert len(rows(*frames, clients=(client,))) == (not local)


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_what_is_old_or_has_ended_is_told_once_while_the_capture_runs(late: int) -> None:
    """A connection when its last packets cannot come any more; whatever began longer ago than an age."""
    given: list[Exchange] = []
    exchanges = Exchanges(given.append, lambda destination, client: True)
    analyser = Analyser(consumers=[exchanges])
    exchanges.follow(analyser)
    ended = connection([(CLIENT, HTTP), (SERVER, ANSWER)], proxy=("198.51.100.7", 80))
    open_ = connection([(CLIENT, HTTP)], client=("10.0.0.1", 2), proxy=("198.51.100.7", 80), closing=False)
    frames = [(packet.time, packet.frame()) for packet in (*ended, *open_)]
    frames.append((START, datagram(("10.0.0.1", 3), ("198.51.100.7", 4), b"x")))
    for batch in batches(sorted(frames)):
        analyser.take(batch)
    age = 10 * LINGER
    exchanges.tell(ended[-2].time + LINGER + late, age)
    assert [row.client.port for row in given] == [40000] * (late > 0)
    given.clear()
    exchanges.tell(START + age + late, age)
    assert sorted(row.client.port for row in given) == sorted([*[40000] * (late <= 0), *[2, 3] * (late > 0)])
    exchanges.tell(START + 2 * age, age)
    exchanges.tell(START + 3 * age, age)
    exchanges.finish()
    assert len({(row.client, row.destination) for row in given}) == len(given)
    assert {row.client.port for row in given} >= {2, 3}


@pytest.mark.parametrize("size", [1, 3, 100])
def test_of_datagrams_the_first_are_kept_and_no_more(size: int) -> None:
    """However many come in a batch: those that tell what they are."""
    given: list[Exchange] = []
    exchanges = Exchanges(given.append, lambda destination, client: True)
    analyser = Analyser(consumers=[exchanges])
    exchanges.follow(analyser)
    ends = ("10.0.0.1", 3000), ("198.51.100.7", 4000)
    frames = [(START + number, datagram(*ends[:: (-1) ** number], b"%d" % number)) for number in range(40)]
    for batch in batches(frames, [size] * 40):
        analyser.take(batch)
    exchanges.finish()
    (row,) = given
    assert row.heads == tuple([b"%d" % number for number in range(first, 40, 2)][:DATAGRAM_LIMIT] for first in (0, 1))
