"""What anybody can put on the wire does not decide how much is remembered. Lower limits stand in for large captures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from socks5sniff.analysis import Analyser, analyser
from socks5sniff.analysis import connection as following
from socks5sniff.record import Conversation
from socks5sniff.session.session import HANDSHAKE_OCTETS
from tests.traffic import ACK, CLIENT, GREETING, PLAIN, SECOND, SERVER, START, SYN, Packet, batches, connection


class Watched(Analyser):
    """An analyser whose size can be seen."""

    def read(self, packets: list[Packet], size: int = 50) -> Iterator[list[Conversation]]:
        """The records of each batch of `size` packets, those of the end last."""
        frames = [(packet.time, packet.frame()) for packet in packets]
        for batch in batches(frames, [size] * (len(frames) // size)):
            yield self.take(batch)
        yield self.finish()

    @property
    def connections(self) -> int:
        return len(self._connections)

    @property
    def waiting(self) -> int:
        return sum(each.waiting for each in self._connections.values())

    @property
    def flows(self) -> int:
        return len(self._flows)


def opening(number: int, octets: bytes = GREETING, port: int = 1080, at: int = 0) -> Packet:
    """The first segment of a connection of its own, `at` octets behind where it begins."""
    ends = ((f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 40_000), ("192.0.2.9", port))
    return Packet(CLIENT, ACK, 1000 + at, 1, octets, START + number * 1000, ends)


@pytest.mark.parametrize("port", [1080, 9999])
def test_greetings_without_end(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """The longest idle connections end early; on a proxy port each is in the report all the same, in order."""
    monkeypatch.setattr(analyser, "MAX_CONNECTIONS", 200)
    watched = Watched()
    ids = []
    for records in watched.read([opening(number, port=port) for number in range(1000)]):
        assert watched.connections <= 200
        ids += [record.id for record in records]
    assert ids == (list(range(1, 1001)) if port == 1080 else [])
    assert watched.evicted >= 800
    assert watched.connections == 0


def test_conversations_outlive_what_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyser, "MAX_CONNECTIONS", 200)
    midstream = connection(PLAIN, opening=False)  # needs a `Connection` for as long as it lives
    flood = [opening(number, port=9999) for number in range(1000)]
    late = [replace(packet, time=START + 2 * SECOND) for packet in midstream[-5:]]
    watched = Watched()
    (record,) = [record for records in watched.read([*midstream[:-5], *flood, *late]) for record in records]
    assert (record.outcome, record.close, record.packets) == ("succeeded", "fin", len(midstream))


def test_octets_behind_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that wait for one that never comes."""
    monkeypatch.setattr(analyser, "MAX_WAITING", 100_000)
    packets = []
    for number in range(200):
        first = opening(number, b"\5" * 1000, at=1)
        packets += [replace(first, flags=SYN, sequence=first.sequence - 2, octets=b""), first]
    watched = Watched()
    for _ in watched.read(packets):
        assert watched.waiting <= 100_000


def test_holes_in_a_tunnel_that_are_given_up_lose_no_octet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of conversations that are only counted any more, the count goes on."""
    monkeypatch.setattr(analyser, "MAX_WAITING", 100)
    monkeypatch.setattr(analyser, "FEW", 0)
    packets = connection([*PLAIN, *((SERVER, b"x" * 100) for _ in range(20))])
    del packets[10]
    for size in (4, 5, 12, 15):
        (record,) = [record for records in Watched().read(packets, size) for record in records]
        assert record.bytes == (38, 24 + 20 * 100)


def test_flows_that_are_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyser, "MAX_FLOWS", 400)
    watched = Watched()
    packets = [replace(opening(number, port=80), flags=SYN, octets=b"") for number in range(2000)]
    for _ in watched.read(packets):
        assert watched.flows <= 450
    assert watched.evicted >= 1500


def test_octets_behind_a_refusal_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SEEN_OCTETS", 5000)
    watched = Watched()
    refused = [*PLAIN[:3], (SERVER, b"\5\5\0\1\0\0\0\0\0\0"), *[(SERVER, bytes(1000))] * 200]
    held = []
    for _ in watched.read(connection(refused), size=10):
        held.append(sum(len(segment[1]) for each in watched._connections.values() for segment in each.seen))
    assert max(held) <= 6000


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
