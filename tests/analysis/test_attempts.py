"""Connections to proxies that came to no conversation: what became of each, and which are a proxy's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from socks5sniff.analysis import Analyser, attempts
from socks5sniff.analysis.live import LiveAnalyser
from tests.traffic import ACK, CLIENT, FIN, PLAIN, RST, SECOND, SERVER, START, SYN, Packet, batches, connection

PROXY = ("10.0.0.9", 1080)
ELSEWHERE = ("10.0.0.9", 7777)
Packets = list[tuple[int, int]]
"""Who sends which flags."""

REFUSED: Packets = [(CLIENT, SYN), (SERVER, RST | ACK)]
UNANSWERED: Packets = [(CLIENT, SYN), (CLIENT, SYN)]
SHAKEN: Packets = [(CLIENT, SYN), (SERVER, SYN | ACK), (CLIENT, ACK)]
CLOSED: Packets = [*SHAKEN, (CLIENT, FIN | ACK), (SERVER, FIN | ACK), (CLIENT, ACK)]
RESET: Packets = [*SHAKEN, (SERVER, RST)]


def tried(packets: Packets, proxy: tuple[str, int] = PROXY, *, port: int = 41000, at: int = START) -> list[Packet]:
    ends = ("10.0.0.1", port), proxy
    placed = []
    for number, (side, flags) in enumerate(packets):
        opens = bool(flags & SYN)
        sequence = 1000 + 5000 * side + (not opens)
        if flags == RST | ACK:
            sequence = 0
        elif FIN & flags == 0 and side == SERVER and not opens:
            sequence = 6001
        heard = 0 if flags == SYN else 6001 - 5000 * side
        placed.append(Packet(side, flags, sequence, heard, b"", at + number * 1_000_000, ends))
    return placed


def counted(*conversations: Sequence[Packet], ports: Sequence[int] = ()) -> Analyser:
    analyser = Analyser(ports=ports)
    for batch in batches([(packet.time, packet.frame()) for each in conversations for packet in each], [5, 7]):
        analyser.take(batch)
    analyser.finish()
    return analyser


@pytest.mark.parametrize(
    ("packets", "outcome"),
    [
        (REFUSED, "refused"),
        (UNANSWERED, "unanswered"),
        (UNANSWERED[:1], "unanswered"),
        (CLOSED, "closed"),
        (RESET, "closed"),
    ],
)
def test_what_became_of_it(packets: Packets, outcome: str) -> None:
    found = counted(tried(packets)).attempts
    assert found.counts() == [(PROXY, outcome, 1)]
    (attempt,) = found.listed()
    assert attempt == (("10.0.0.1", 41000), PROXY, outcome, START, 1)


@pytest.mark.parametrize(
    "packets", [SHAKEN, SHAKEN[1:], [(CLIENT, ACK), (SERVER, ACK)], [(SERVER, RST)]], ids=["open", "cut", "mid", "rst"]
)
def test_what_stands_or_did_not_begin_here_is_none(packets: Packets) -> None:
    assert counted(tried(packets)).attempts.counts() == []


def test_a_conversation_is_none() -> None:
    assert counted(connection(PLAIN)).attempts.counts() == []


def test_a_listener_elsewhere_counts_where_the_user_named_its_port() -> None:
    assert counted(tried(REFUSED, ELSEWHERE)).attempts.counts() == []
    assert counted(tried(REFUSED, ELSEWHERE), ports=[7777]).attempts.counts() == [(ELSEWHERE, "refused", 1)]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("many", [1, 40])
def test_or_where_it_speaks_socks_before_or_after(first: bool, many: int) -> None:
    spoken = [
        replace(packet, time=packet.time + 10 * SECOND * first)
        for number in range(many)
        for packet in connection(PLAIN, client=("10.0.0.1", 42000 + number), proxy=ELSEWHERE)
    ]
    vain = [*tried(REFUSED, ELSEWHERE), *tried(CLOSED, ELSEWHERE, port=41001), *tried(REFUSED, ("10.0.0.7", 7777))]
    found = counted(*((vain, spoken) if first else (spoken, vain))).attempts
    assert found.counts() == [(ELSEWHERE, "refused", 1), (ELSEWHERE, "closed", 1)]
    assert [attempt.outcome for attempt in found.listed()] == ["refused", "closed"]


def test_a_scan_takes_bounded_memory_and_hides_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MAX_PLACES", 8)
    monkeypatch.setattr(attempts, "MAX_LISTED", 5)
    scan = [tried(REFUSED, (f"10.1.0.{host}", 25)) for host in range(1, 100)]
    vain = [tried(REFUSED, port=41000 + number) for number in range(9)]
    found = counted(*scan, *vain).attempts
    assert found.counts() == [(PROXY, "refused", 9)]
    assert [attempt.client.port for attempt in found.listed()] == [41000, 41001, 41002, 41003, 41004]


@pytest.mark.parametrize("begun", [0, 20])
def test_a_running_capture_lists_the_latest(monkeypatch: pytest.MonkeyPatch, begun: int) -> None:
    """Whether its proxy was expected or shows itself later."""
    monkeypatch.setattr(attempts, "MAX_LISTED", 5)
    analyser = LiveAnalyser(ports=[7777] * (begun == 0))
    vain = [packet for n in range(9) for packet in tried(REFUSED, ELSEWHERE, port=41000 + n, at=START + n * SECOND)]
    spoken = connection(PLAIN, proxy=ELSEWHERE, begin=START + begun * SECOND)
    for batch in batches([(packet.time, packet.frame()) for packet in (*vain, *spoken)], [5, 7]):
        analyser.take(batch)
    analyser.finish()
    assert analyser.attempts.counts() == [(ELSEWHERE, "refused", 9)]
    assert [attempt.client.port for attempt in analyser.attempts.listed()] == [41004, 41005, 41006, 41007, 41008]
