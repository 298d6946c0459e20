"""The proxy's own connection: which one it is, what shows it, and where nothing does."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import socks5sniff
from socks5sniff.analysis import Analyser, analyser, bounds, handshakes
from socks5sniff.analysis import upstream as upstreams
from socks5sniff.analysis.live import LiveAnalyser
from socks5sniff.analysis.upstream import MAX_LEGS, SLACK, _certain, _joined, _Pairs
from socks5sniff.record import Conversation
from tests.traffic import (
    ACK,
    ANSWER,
    CHOICE,
    CLIENT,
    GREETING,
    HTTP,
    RST,
    SECOND,
    SERVER,
    START,
    SYN,
    Packet,
    analyse,
    batches,
    connection,
    datagram,
)

from .test_names import response
from .test_net import cut, whole

CALLER = ("10.0.0.1", 40000)
PROXY = ("10.0.0.9", 1080)
OUTSIDE = "203.0.113.9"
TARGET = ("198.51.100.80", 80)
NAME = "www.example.test"
TRIED, REPLIED = START + SECOND, START + 2 * SECOND
MANY = pytest.mark.parametrize("many", [1, 40])
"""Conversations that are judged one by one, and together."""

Ends = tuple[str, int]


def packed(end: Ends) -> bytes:
    family, kind = (socket.AF_INET6, b"\4") if ":" in end[0] else (socket.AF_INET, b"\1")
    return kind + socket.inet_pton(family, end[0]) + end[1].to_bytes(2, "big")


def asks(
    target: Ends | str = TARGET,
    bound: Ends = ("0.0.0.0", 0),
    *,
    caller: Ends = CALLER,
    proxy: Ends = PROXY,
    code: int = 0,
    tunnel: bytes = HTTP,
) -> list[Packet]:
    """A conversation whose request is sent before TRIED and whose reply comes after."""
    wanted = b"\3" + bytes([len(target)]) + target.encode() + b"\0\x50" if isinstance(target, str) else packed(target)
    answer = bytes([5, code, 0]) + packed(bound)
    said = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, b"\5\1\0" + wanted), (SERVER, answer)]
    if not code:
        said += [(CLIENT, tunnel), (SERVER, ANSWER)]
    packets = connection(said, client=caller, proxy=proxy)
    reply = next(number for number, packet in enumerate(packets) if packet.octets == said[3][1])
    return [replace(packet, time=packet.time + (number >= reply) * 2 * SECOND) for number, packet in enumerate(packets)]


def leg(source: Ends, target: Ends = TARGET, said: bytes = HTTP, at: int = TRIED) -> list[Packet]:
    packets = connection([(CLIENT, said), (SERVER, ANSWER)], client=source, proxy=target)
    return [replace(packet, time=packet.time - START + at) for packet in packets]


def failed(source: Ends, answers: bool, target: Ends = TARGET, at: int = TRIED) -> list[Packet]:
    ends = source, target
    refusal = [Packet(SERVER, RST | ACK, 0, 1001, b"", at + 1_000_000, ends)]
    return [Packet(CLIENT, SYN, 1000, 0, b"", at, ends), *(refusal if answers else [])]


def read(
    *connections: Sequence[Packet], datagrams: Sequence[tuple[int, bytes]] = (), sizes: Sequence[int] = (11, 17, 200)
) -> list[Conversation]:
    reading = Analyser()
    frames = [(packet.time, packet.frame()) for each in connections for packet in each]
    found = []
    for batch in batches(sorted([*frames, *datagrams]), sizes):
        found += reading.take(batch)
    records = [record for batch in [*found, *reading.finish()] for record in batch]
    return sorted(records, key=lambda record: record.id)


def others(many: int) -> list[list[Packet]]:
    """More conversations, whose legs are not in the capture."""
    return [asks(("192.0.2.7", 25), caller=("10.0.0.2", 50000 + number)) for number in range(many - 1)]


def upstream(records: list[Conversation]) -> dict[str, Any] | None:
    (found,) = (record for record in records if record.client == CALLER)
    assert [record.upstream for record in records if record.client != CALLER and record.client[0] == "10.0.0.2"] == [
        None
    ] * sum(record.client[0] == "10.0.0.2" for record in records)
    return found.upstream


def ends(source: Ends, target: Ends = TARGET) -> dict[str, Any]:
    return {
        "source": {"address": source[0], "port": source[1]},
        "destination": {"address": target[0], "port": target[1]},
    }


@MANY
@pytest.mark.parametrize("source", [(OUTSIDE, 4711), (PROXY[0], 4711)])
def test_by_what_bnd_says(many: int, source: Ends) -> None:
    records = read(asks(NAME, source), leg(source), *others(many))
    assert upstream(records) == {**ends(source), "matched_by": "bound-address", "outcome": "established"}
    (record,) = (record for record in records if record.client == CALLER)
    assert record.timing.upstream_handshake is not None
    assert record.timing.request is not None
    assert 0 < record.timing.upstream_handshake < record.timing.request


@MANY
def test_by_what_bnd_says_in_ipv6(many: int) -> None:
    source, target = ("2001:db8::9", 4711), ("2001:db8::80", 80)
    found = upstream(read(asks(target, source), leg(source, target), *others(many)))
    assert found == {**ends(source, target), "matched_by": "bound-address", "outcome": "established"}


@MANY
@pytest.mark.parametrize("target", [TARGET, ("2001:db8::80", 80)])
def test_by_the_asked_address(many: int, target: Ends) -> None:
    source = (PROXY[0] if target is TARGET else "2001:db8::9", 4711)
    proxy = (source[0], 1080)
    caller = CALLER if target is TARGET else ("2001:db8::1", 40000)
    records = read(asks(target, caller=caller, proxy=proxy), leg(source, target), *others(many))
    (found,) = (record.upstream for record in records if record.client == caller)
    assert found == {**ends(source, target), "matched_by": "destination-and-time", "outcome": "established"}


@MANY
def test_by_the_proxy_s_own_dns_answer(many: int) -> None:
    source = PROXY[0], 4711
    answer = datagram(("10.0.0.53", 53), (PROXY[0], 5353), response(NAME, TARGET[0]))
    late = leg(source, said=b"other octets, as the proxy changes them")
    records = read(asks(NAME), late, *others(many), datagrams=[(TRIED - 1_000_000, answer)])
    assert upstream(records) == {**ends(source), "matched_by": "destination-and-time", "outcome": "established"}


@MANY
def test_by_equal_first_octets(many: int) -> None:
    source = OUTSIDE, 4711
    records = read(asks(NAME), leg(source), *others(many))
    assert upstream(records) == {**ends(source), "matched_by": "octets", "outcome": "established"}


@MANY
@pytest.mark.parametrize(("answers", "outcome", "code"), [(True, "refused", 5), (False, "unanswered", 4)])
def test_an_attempt_in_vain_is_the_upstream_too(many: int, answers: bool, outcome: str, code: int) -> None:
    source = PROXY[0], 4711
    records = read(asks(code=code), failed(source, answers), *others(many))
    assert upstream(records) == {**ends(source), "matched_by": "destination-and-time", "outcome": outcome}
    (record,) = (record for record in records if record.client == CALLER)
    assert record.timing.upstream_handshake is None


@MANY
def test_also_from_another_address_of_the_proxy(many: int) -> None:
    source = OUTSIDE, 4711
    records = read(asks(code=5), failed(source, True), *others(many))
    assert upstream(records) == {**ends(source), "matched_by": "destination-and-time", "outcome": "refused"}
    assert upstream(read(asks(), failed(source, True), *others(many))) is None
    assert upstream(read(asks(code=5), leg(source), *others(many))) is None


def test_of_several_attempts_the_one_that_carried_the_tunnel() -> None:
    """Happy eyeballs: both were answered, and the later one was given up."""
    first, second = (PROXY[0], 4711), (PROXY[0], 4712)
    given_up = leg(second, at=TRIED + 250_000_000)[:3]
    assert upstream(read(asks(), leg(first), given_up)) == {
        **ends(first), "matched_by": "destination-and-time", "outcome": "established",
    }  # fmt: skip


def test_of_retries_the_last() -> None:
    first, second = (PROXY[0], 4711), (PROXY[0], 4712)
    found = upstream(read(asks(code=5), failed(first, True), failed(second, True, at=TRIED + 250_000_000)))
    assert found == {**ends(second), "matched_by": "destination-and-time", "outcome": "refused"}


def test_in_a_chain_it_is_the_connection_to_the_next_proxy() -> None:
    source, further = (PROXY[0], 4711), ("10.0.0.8", 1081)
    inner = asks(NAME, caller=source, proxy=further)
    inner = [replace(packet, time=packet.time + SECOND) for packet in inner]
    records = read(asks(further, tunnel=GREETING), inner)
    assert upstream(records) == {
        **ends(source, further), "matched_by": "destination-and-time", "outcome": "established",
    }  # fmt: skip
    assert [record.upstream for record in records if record.proxy == further] == [None]


@MANY
@pytest.mark.parametrize(
    "packets",
    [
        leg((PROXY[0], 4711), at=START - SECOND),
        leg((PROXY[0], 4711), at=REPLIED + SECOND),
        leg((PROXY[0], 4711), (TARGET[0], 81)),
        leg((CALLER[0], 4711)),
        leg(("10.0.0.3", 4711), said=b"what somebody else says there"),
    ],
    ids=["before the request", "after the reply", "another port", "the client's own", "somebody else's"],
)
def test_what_is_another_s(many: int, packets: list[Packet]) -> None:
    assert upstream(read(asks(), packets, *others(many))) is None


def test_what_two_may_have_opened_is_neither_s() -> None:
    twice = asks(), asks(caller=("10.0.0.3", 40001))
    assert [record.upstream for record in read(*twice, leg((PROXY[0], 4711)))] == [None, None]


def test_unless_its_first_octets_tell() -> None:
    source = PROXY[0], 4711
    records = read(asks(), asks(caller=("10.0.0.3", 40001), tunnel=b"GET /b HTTP/1.1\r\n\r\n"), leg(source))
    assert [record.upstream is None for record in records] == [False, True]


def test_address_translation_makes_bnd_another_address_than_the_wire_s() -> None:
    wire = OUTSIDE, 61000
    found = upstream(read(asks(bound=("10.0.0.9", 4711)), leg(wire)))
    assert found == {**ends(wire), "matched_by": "destination-and-time", "outcome": "established"}


@pytest.mark.parametrize("few", [0, handshakes.FEW])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("target", "bound", "source", "code", "late"),
    [
        (NAME, (OUTSIDE, 4711), (OUTSIDE, 4711), 0, 8),
        (TARGET, ("0.0.0.0", 0), (PROXY[0], 4711), 0, 6),
        (TARGET, ("0.0.0.0", 0), (PROXY[0], 4711), 5, 6),
        (NAME, ("0.0.0.0", 0), (OUTSIDE, 4711), 0, 8),
    ],
)
def test_a_conversation_that_goes_on_for_long_behind_its_upstream(
    monkeypatch: pytest.MonkeyPatch, few: int, full: bool, target: Any, bound: Ends, source: Ends, code: int, late: int
) -> None:
    """However full the table of connections is by then. Before the reply only where the asked address shows it."""
    monkeypatch.setattr(handshakes, "FEW", few)
    monkeypatch.setattr(bounds, "MAX_FLOWS", 400)
    monkeypatch.setattr(analyser, "AT_ONCE", 10)
    talk = asks(target, bound, code=code)
    talk = [replace(packet, time=packet.time + (number >= late) * 200 * SECOND) for number, packet in enumerate(talk)]
    past = [
        replace(packet, time=packet.time + 80 * SECOND + number * SECOND // 10)
        for number in range(300 if full else 0)
        for packet in connection([(CLIENT, b"x")], client=("10.0.0.3", 10_000 + number), proxy=("10.0.0.4", 25))
    ]
    found = upstream(read(talk, leg(source), past, sizes=[500] * 4))
    assert found is not None
    assert found["source"] == {"address": source[0], "port": source[1]}


@pytest.mark.parametrize("few", [0, handshakes.FEW])
@pytest.mark.parametrize("size", [1, 3, 50, 100_000])
def test_asking_for_news_takes_no_upstream_from_the_record(
    size: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of conversations that are told by their form, of which some were told before."""
    monkeypatch.setattr(handshakes, "FEW", few)
    path = Path(__file__).resolve().parents[2] / "captures" / "connect-many.pcapng"
    expected = [record.upstream for record in socks5sniff.read(path)]
    assert all(expected)
    analyser = LiveAnalyser()
    found: list[Conversation] = []
    for batch in cut(whole(path), size):
        found += chain.from_iterable(analyser.take(batch))
        analyser.news()
        analyser.current([record.tcp_stream for record in found])
    found += chain.from_iterable(analyser.finish())
    assert [record.upstream for record in sorted(found, key=lambda record: record.id)] == expected


PAIRS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans(), st.booleans(), st.integers(0, 3)), max_size=30
)


@given(PAIRS, st.booleans())
def test_which_connection_is_certain_in_columns_as_one_by_one(
    drawn: list[tuple[int, int, bool, bool, int]], asserted: bool
) -> None:
    """A request gets a connection that fits no other, or whose first octets fit no other's: the one that carried them,
    else an established one, else the last one, of equal ones the first."""
    kinds = (np.intp, np.intp, np.bool_, np.bool_, np.int64)
    pairs = _Pairs._make(np.array([each[place] for each in drawn], kind) for place, kind in enumerate(kinds))
    best: dict[int, tuple[int, int, bool, bool, int]] = {}
    for pair in drawn:
        row, leg, alike = pair[:3]
        fitting = {other[0] for other in drawn if other[1] == leg}
        by_octets = {other[0] for other in drawn if other[1] == leg and other[2]}
        sure = asserted or len(fitting) == 1 or (alike and len(by_octets) == 1)
        if sure and (row not in best or best[row][2:] < pair[2:]):
            best[row] = pair
    found = _certain(pairs, asserted=asserted)
    assert [*zip(*(column.tolist() for column in found), strict=True)] == [best[row] for row in sorted(best)]


@pytest.mark.parametrize("seed", range(20))
def test_requests_and_connections_with_equal_keys_are_joined(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each key the last ones that began while the request waited, to the nanosecond."""
    draw, most = Random(seed), 1 + seed % 4 if seed % 2 else MAX_LEGS
    monkeypatch.setattr(upstreams, "MAX_LEGS", most)
    step = 1000 if most < MAX_LEGS else 1  # the last ones of equal microseconds are any
    times = sorted(draw.sample(range(0, 4 * SLACK, step), 30)) if step > 1 else [draw.randrange(9) for _ in range(30)]
    legs = [(draw.randrange(3) << 40, time) for time in times]
    asked = []
    for _ in range(20):
        near = [time + draw.choice([0, SLACK, -SLACK]) for time in draw.choices(times, k=2)]
        since, until = sorted(time // step * step for time in near)
        asked.append((draw.randrange(4) << 40, since, until))
    rows = [draw.randrange(20) for _ in range(15)]
    found = _joined(
        SimpleNamespace(since=np.array([each[1] for each in asked]), until=np.array([each[2] for each in asked])),
        np.array(rows),
        np.array([asked[row][0] for row in rows], np.uint64),
        SimpleNamespace(time=np.array(times)),
        np.array([key for key, _ in legs], np.uint64),
    )
    expected = []
    for row in rows:
        key, since, until = asked[row]
        begun = [leg for leg, (_, time) in enumerate(legs) if since - SLACK <= time <= until + SLACK]
        fitting = [leg for leg in begun if legs[leg][0] == key != 0]
        expected += [(row, leg) for leg in fitting[-most:]]
    pairs = zip(*(column.tolist() for column in found), strict=True)
    assert [*pairs] == expected if step > 1 else sorted(pairs) == sorted(expected)


# -- against a list of all ------------------------------------------------------------------------------------------


class Request(NamedTuple):
    """A conversation, and what it asks for; `late` (ns) it began after the first."""

    caller: Ends
    target: Ends | str
    bound: Ends
    granted: bool
    tunnel: bytes
    late: int
    four: bool

    @property
    def times(self) -> tuple[int, int]:
        """Of the request and of the reply, which comes two seconds later."""
        first = 3 if self.four else 5
        return (
            START + first * 1_000_000 + self.late,
            START + (first + 1) * 1_000_000 + 2 * SECOND + self.late,
        )

    def packets(self) -> list[Packet]:
        code = 5 * (not self.granted)
        talk = asks(self.target, self.bound, caller=self.caller, code=code, tunnel=self.tunnel)
        if self.four:
            place, port, name = self.target, b"\0\x50", b""
            host = b"\0\0\0\7" if isinstance(place, str) else socket.inet_aton(place[0])
            if isinstance(place, str):
                name = place.encode() + b"\0"
            else:
                port = place[1].to_bytes(2, "big")
            reply = self.bound[1].to_bytes(2, "big") + socket.inet_aton(self.bound[0])
            said = [(CLIENT, b"\4\1" + port + host + b"\0" + name), (SERVER, bytes([0, 91 if code else 90]) + reply)]
            said += [(CLIENT, self.tunnel), (SERVER, ANSWER)] if self.granted else []
            talk = connection(said, client=self.caller, proxy=PROXY)
            talk = [replace(each, time=each.time + (place > 3) * 2 * SECOND) for place, each in enumerate(talk)]
        return [replace(packet, time=packet.time + self.late) for packet in talk]


class Leg(NamedTuple):
    """A connection that some proxy may have opened."""

    source: Ends
    target: Ends
    outcome: str
    said: bytes
    at: int

    def packets(self) -> list[Packet]:
        if self.outcome == "established":
            packets = leg(self.source, self.target, self.said or b"x", self.at)
            return packets if self.said else packets[:3]
        return failed(self.source, self.outcome == "refused", self.target, self.at)


SAID = [HTTP, b"GET /b HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n"]
PLACES = [TARGET, (TARGET[0], 81), ("198.51.100.81", 80), NAME]


def some_requests(draw: Random) -> list[Request]:
    return [
        Request(
            (draw.choice([CALLER[0], CALLER[0], "10.0.0.2", PROXY[0]]), 40_000 + number),
            draw.choice(PLACES),
            draw.choice([("0.0.0.0", 0), ("0.0.0.0", 0), (OUTSIDE, 50_000), (OUTSIDE, 0), ("0.0.0.0", 50_001)]),
            draw.random() < 0.7,
            draw.choice(SAID),
            draw.choice([0, 1_000, 1_000_000, SECOND]),
            draw.random() < 0.3,
        )
        for number in range(draw.randint(1, 5))
    ]


def some_legs(draw: Random, requests: list[Request]) -> list[Leg]:
    """Among them some whose time is at an edge of a request's."""
    found = []
    for number in range(draw.randint(1, 6)):
        source = draw.choice([PROXY[0], PROXY[0], OUTSIDE, OUTSIDE, CALLER[0], "10.0.0.50"]), 50_000 + number
        outcome = draw.choice(["established"] * 3 + ["refused", "unanswered"])
        since, until = draw.choice(requests).times
        edges = [since - SLACK - 1, since - SLACK, since, until, until + SLACK, until + SLACK + 1]
        at = draw.choice([*edges, (since + until) // 2, (since + until) // 2, since + number * 1_000_000])
        said = draw.choice([*SAID, b""]) if outcome == "established" else b""
        found.append(Leg(source, draw.choice(PLACES[:3]), outcome, said, at))
    return found


def shown(request: Request, each: Leg, resolves: bool) -> list[str]:
    """What of a leg fits a request."""
    (since, until), of_proxy = request.times, each.source[0] == PROXY[0]
    if not since - SLACK <= each.at <= until + SLACK:
        return []
    of_client = each.source[0] == request.caller[0] != PROXY[0]
    tunnel = request.tunnel if request.granted else b""
    places = [request.target, TARGET if resolves and request.target == NAME else None]
    agrees = (each.outcome == "established") == request.granted and (not each.said or not tunnel or each.said == tunnel)
    port = 80 if isinstance(request.target, str) else request.target[1]
    fits = {
        "bound-address": request.bound == each.source,
        "destination-and-time": each.target in places and (of_proxy or (agrees and not of_client)),
        "octets": bool(tunnel) and each.said == tunnel and each.target[1] == port and not of_client,
    }
    return [way for way, fitting in fits.items() if fitting]


def one_by_one(requests: list[Request], legs: list[Leg], resolves: bool) -> dict[Request, tuple[str, Leg]]:
    """The surest way first; a leg that fits several requests is neither's, unless named or its octets tell."""
    found: dict[Request, tuple[str, Leg]] = {}
    for way in ("bound-address", "destination-and-time", "octets"):
        taken = [each for _, each in found.values()]
        pairs = [
            (request, each, request.granted and each.said == request.tunnel)
            for request in requests
            for each in legs
            if request not in found and each not in taken and way in shown(request, each, resolves)
        ]
        for request in requests:
            sure = [
                (alike, each.outcome == "established", each.at, -legs.index(each))
                for asker, each, alike in pairs
                if asker is request
                and (
                    way == "bound-address"
                    or sum(other is each for _, other, _ in pairs) == 1
                    or (alike and sum(other is each and same for _, other, same in pairs) == 1)
                )
            ]
            if sure:
                found[request] = way, legs[-max(sure)[-1]]
    return found


@pytest.mark.parametrize("few", [0, 1 << 30])
@pytest.mark.parametrize("seed", range(40))
def test_each_request_has_the_connection_that_a_list_of_all_tells(
    seed: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether conversations are judged one by one, or by their form."""
    monkeypatch.setattr(handshakes, "FEW", few)
    draw = Random(seed)
    requests, resolves = some_requests(draw), draw.random() < 0.5
    legs = sorted(some_legs(draw, requests), key=lambda each: each.at)
    answer = datagram(("10.0.0.53", 53), (PROXY[0], 5353), response(NAME, TARGET[0]))
    packets = sorted(
        (packet for each in (*requests, *legs) for packet in each.packets()), key=lambda packet: packet.time
    )
    frames = [(packet.time, packet.frame()) for packet in packets]
    first = [(START, answer)] if resolves else []
    records = [record for record in analyse([*first, *frames]) if record.client[1] < 50_000]
    found = {record.client: record.upstream for record in records}
    expected = one_by_one(requests, legs, resolves)
    assert found == {
        request.caller: {**ends(each.source, each.target), "matched_by": way, "outcome": each.outcome}
        if each is not None
        else None
        for request in requests
        for way, each in [expected.get(request, ("", None))]
    }
