"""Whose each datagram is where associations share clients, relays and ports, against one datagram after another."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address
from random import Random
from typing import NamedTuple

import pytest

from socks5sniff.analysis.association import MAX_STRANGERS, Association, Bound
from socks5sniff.codec import Decoded, decode_udp_header
from tests.traffic import RST, SECOND, SERVER, START, Packet, analyse, datagram

from .test_associations import PROXY, address, associate
from .test_relays import Plain

HOSTS = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
RELAYS = [3000, 3001]
PORTS = [50_000, 50_001, 50_002]
REMOTES = [("8.8.8.8", 53), ("9.9.9.9", 53), (HOSTS[2], 50_000)]
MILLISECOND = 1_000_000


class Datagram(NamedTuple):
    """One between a relay and somebody."""

    time: int
    outward: bool
    relay: int
    party: tuple[str, int]
    octets: bytes


def endpoint(host: str, port: int) -> int:
    return int(ip_address(host)) << 16 | port


def associations(draw: Random) -> list[tuple[Association, list[Packet]]]:
    """Some, one after the other, all before the first datagram; a reset ends some of them."""
    found = []
    for number in range(draw.randint(1, 4)):
        client, relay, declared = (
            (draw.choice(HOSTS[:2]), 40_000 + number),
            draw.choice(RELAYS),
            draw.choice([0, 0, *PORTS]),
        )
        begin = START + number * 10 * MILLISECOND
        packets = associate(client, (PROXY, relay), declared, begin, closing=False)
        closed = draw.choice([None, None, START + draw.randrange(200, 5_000) * MILLISECOND + number])
        if closed is not None:
            last = packets[-1]
            packets.append(Packet(SERVER, RST, last.sequence + len(last.octets), 0, b"", closed, last.ends))
        opened, replied = begin + 5 * MILLISECOND, begin + 6 * MILLISECOND
        host, bound = endpoint(client[0], 0), Bound(None, 0, None, None)
        where = [endpoint(PROXY, relay)]
        found.append(
            (
                Association(host, 0, declared, opened, replied, 0, bound, closed=closed, relays=where, hosts=[host]),
                packets,
            )
        )
    return found


def datagrams(draw: Random) -> list[Datagram]:
    found = []
    for number in range(draw.randint(1, 40)):
        time = START + SECOND // 10 + draw.randrange(6_000) * MILLISECOND + 10 * number + 5
        party = draw.choice([(draw.choice(HOSTS), draw.choice(PORTS))] * 5 + [(HOSTS[2], 7)])
        octets = draw.choice([b"\0\0\0"] * 8 + [b"\0\0\7", b"\0\1\0"]) + address(*draw.choice(REMOTES)) + b"x" * 3
        if draw.randrange(8) == 0:
            octets = b"no header"
        found.append(Datagram(time, draw.random() < 0.7, draw.choice(RELAYS), party, octets))
    return sorted(found)


class Model:
    """One datagram after another, given to whoever it is by then."""

    def __init__(self, all_: list[Association]) -> None:
        self.plain = Plain()
        self.plain.all = all_
        self.counts: dict[int, Counter[str]] = {id(each): Counter() for each in all_}
        self.remotes: dict[int, set[int]] = {id(each): set() for each in all_}

    def take(self, frame: int, each: Datagram) -> None:
        relay, party = endpoint(PROXY, each.relay), endpoint(*each.party)
        found = decode_udp_header(each.octets)
        whole = isinstance(found, Decoded)
        sound = each.outward and whole and each.octets[:2] == b"\0\0"
        host, port = party & ~0xFFFF, party & 0xFFFF
        if not self.plain.shared(relay, host, frame):
            if sound:
                self._disturb(relay, party, each.time, frame)
            return
        owner = self.plain.owner(relay, host, port, each.time, frame)
        if owner is None or party in self.remotes[id(owner)]:
            return
        if sound and port not in owner.ports:
            owner.ports[port] = frame
            self.plain.shown.append((relay, host, port, owner))
        if isinstance(found, Decoded) and not (found.frame.reserved and found.frame.fragment):
            self.counts[id(owner)]["sent" if each.outward else "received"] += 1
            if each.outward:
                destination = found.frame.destination
                self.remotes[id(owner)].add(endpoint(destination.text, destination.port))

    def _disturb(self, relay: int, party: int, time: int, frame: int) -> None:
        latest = self.plain.latest(relay, time, frame)
        if latest is not None and party not in self.remotes[id(latest)] and len(latest.strangers) < MAX_STRANGERS:
            latest.strangers.setdefault(party, frame)


@pytest.mark.parametrize("seed", range(80))
def test_datagrams_go_where_one_after_another_goes(seed: int) -> None:
    draw = Random(seed)
    opened, passing = associations(draw), datagrams(draw)
    packets = [(packet.time, packet.frame()) for _, packets in opened for packet in packets]
    between = [((PROXY, each.relay), each.party) for each in passing]
    ends = [pair[::-1] if each.outward else pair for each, pair in zip(passing, between, strict=True)]
    frames = [(each.time, datagram(*pair, each.octets)) for each, pair in zip(passing, ends, strict=True)]
    ordered = sorted([*packets, *frames], key=lambda frame: frame[0])
    numbers = {time: number for number, (time, _) in enumerate(ordered, 1)}
    records = analyse(ordered, [draw.randint(1, 50) for _ in range(draw.randrange(6))])
    model = Model([association for association, _ in opened])
    for each in passing:
        model.take(numbers[each.time], each)
    for (association, _), record in zip(opened, records, strict=True):
        assert record.udp is not None
        counts = model.counts[id(association)]
        assert (record.udp.datagrams_sent, record.udp.datagrams_received) == (counts["sent"], counts["received"])
        strangers = sorted(each.frame or 0 for each in record.anomalies if each.code == "udp-unassociated")
        assert strangers == sorted(association.strangers.values())
