"""What anybody can put on the wire does not decide how much is remembered. Lower limits stand in for large captures."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import pytest

from socks5sniff.analysis import Analyser, bounds, forms, handshakes
from socks5sniff.record import Conversation
from socks5sniff.session.session import HANDSHAKE_OCTETS
from socks5sniff.streams.heads import HEAD
from tests.traffic import (
    ACK,
    ANSWER,
    CLIENT,
    GREETING,
    HTTP,
    PLAIN,
    SECOND,
    SERVER,
    START,
    SYN,
    Packet,
    batches,
    connection,
)


class Watched(Analyser):
    """An analyser whose size can be seen."""

    def read(self, packets: list[Packet], size: int = 50) -> Iterator[list[Conversation]]:
        """The records of each batch of `size` packets, those of the end last."""
        frames = [(packet.time, packet.frame()) for packet in packets]
        for batch in batches(frames, [size] * (len(frames) // size)):
            yield [*chain.from_iterable(self.take(batch))]
        yield [*chain.from_iterable(self.finish())]


def opening(number: int, octets: bytes = GREETING, port: int = 1080, at: int = 0) -> Packet:
    """The first segment of a connection of its own, `at` octets behind where it begins."""
    ends = ((f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 40_000), ("192.0.2.9", port))
    return Packet(CLIENT, ACK, 1000 + at, 1, octets, START + number * 1000, ends)


ROOM = 200 * 176
"""Memory for what flows said first, of 200 rows."""


@pytest.mark.parametrize("port", [1080, 9999])
def test_greetings_without_end(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """The longest idle ones end early; on a proxy port each is in the report all the same, in order."""
    monkeypatch.setattr(bounds, "MAX_HEADS", ROOM)
    watched = Watched()
    ids = []
    for records in watched.read([opening(number, port=port) for number in range(1000)]):
        assert watched.connections.handshakes.octets <= ROOM
        ids += [record.id for record in records]
    assert ids == (list(range(1, 1001)) if port == 1080 else [])
    assert watched.bounds.evicted >= 800
    assert watched.connections.handshakes.octets == 0


def test_open_conversations_outlive_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of tunnels that are open, what was said is kept in a shorter form, and every octet counts to their end.

    What is sent again is not looked at again.
    """
    monkeypatch.setattr(bounds, "MAX_HEADS", ROOM)
    monkeypatch.setattr(handshakes, "FEW", 2)
    whole = [connection(PLAIN, client=(f"10.1.0.{number}", 40_000)) for number in range(60)]
    early = [packet for packets in whole for packet in packets[:-3]]
    flood = [replace(opening(number, port=9999), time=START + SECOND) for number in range(1000)]
    late = [replace(packet, time=START + 2 * SECOND) for one in whole for packet in (one[3], *one[-3:])]
    watched = Watched()
    records = [record for records in watched.read([*early, *flood, *late]) for record in records]
    assert len(records) == 60
    for record in records:
        assert (record.outcome, record.close, record.packets) == ("succeeded", "fin", len(whole[0]) + 1)
        assert record.bytes == (len(HTTP), len(ANSWER))
        assert record.tunnel is not None
        assert record.tunnel.protocol == "http"


def test_12_600_conversations_open_at_once_are_no_flood() -> None:
    whole = [connection(PLAIN, client=(f"10.{n >> 8}.{n & 255}.1", 40_000), begin=START + n) for n in range(12_600)]
    packets = [packets[step] for step in range(len(whole[0])) for packets in whole]
    watched = Watched()
    records = [record for records in watched.read(packets, 20_000) for record in records]
    assert {record.outcome for record in records} == {"succeeded"}
    assert sorted(record.id for record in records) == list(range(1, 12_601))
    assert watched.bounds.evicted == 0


def test_what_is_over_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever differs from conversation to conversation, a service that runs for months stays as large as it is."""
    monkeypatch.setattr(forms, "MAX_TUNNELS", 32)
    monkeypatch.setattr(handshakes, "FEW", 2)
    watched = Watched(patience=SECOND)
    packets = []
    for number in range(1200):
        asked = f"GET /{number} HTTP/1.1\r\nHost: host-{number}.example\r\n\r\n".encode()
        ends = (f"10.0.{number >> 7}.{number & 127}", 40_000 + number)
        begin = START + number * SECOND
        packets += connection([*PLAIN[:4], (CLIENT, asked), PLAIN[5]], client=ends, begin=begin)
    sizes, given = [], 0
    for records in watched.read(packets, len(packets) // 12):
        given += len(records)
        sizes.append(len(pickle.dumps(watched)))
    assert given == 1200
    assert max(sizes[8:]) - max(sizes[:8]) < 10_000


def test_flows_that_are_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_FLOWS", 400)
    watched = Watched()
    packets = [replace(opening(number, port=80), flags=SYN, octets=b"") for number in range(2000)]
    for _ in watched.read(packets):
        assert len(watched.connections.flows) <= 450
    assert watched.bounds.evicted >= 1500


def test_octets_behind_a_refusal_are_not_kept() -> None:
    watched = Watched()
    refused = [*PLAIN[:3], (SERVER, b"\5\5\0\1\0\0\0\0\0\0"), *[(SERVER, bytes(1000))] * 200]
    held = [watched.connections.handshakes.octets for _ in watched.read(connection(refused), size=10)]
    assert max(held) <= 3 * HEAD


def test_a_gssapi_handshake_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    token = b"\1\1\xff\xff" + bytes(65_535)
    parts = [(side, token[at : at + 16_000]) for side in (CLIENT, SERVER) for at in range(0, len(token), 16_000)]
    watched = Watched()
    records = [
        record
        for records in watched.read(connection([(CLIENT, b"\5\1\1"), (SERVER, b"\5\1"), *parts * 20]))
        for record in records
    ]
    assert [record.outcome for record in records] == ["incomplete"]
    assert sum(frame.length for frame in records[0].frames) <= 3 * HANDSHAKE_OCTETS
