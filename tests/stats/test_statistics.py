"""The figures of conversations, held against plain counting, whole and in parts."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import socks5sniff
from socks5sniff.record import (
    AnomalyEntry,
    Conversation,
    Endpoint,
    ReplyCode,
    Target,
    Timing,
    Traffic,
    Tunnel,
    UdpDestination,
    UdpTraffic,
    iso_time,
)
from socks5sniff.stats import Statistics, report, statistics, tallies
from socks5sniff.stats.distribution import ERROR
from socks5sniff.stats.timeline import MAX_INTERVALS, Timeline

from ..conftest import ROOT
from ..sinks.samples import sample

SECOND = 1_000_000_000
START = 1_795_336_741 * SECOND

KEYS = [
    *("conversations", "packets", "start", "end", "outcomes", "methods", "commands", "replies", "anomalies"),
    *("tunnels", "users", "clients", "destinations", "destinations_left_out", "proxies", "bytes", "rates"),
    *("open_at_once", "quantile_error", "over_time"),
]


def made(**changes: Any) -> Conversation:
    facts: dict[str, Any] = {
        "client": Endpoint("192.0.2.10", 40000),
        "proxy": Endpoint("192.0.2.1", 1080),
        "start_ns": START,
        "end_ns": START + SECOND,
        "outcome": "succeeded",
        "method": "no-authentication",
        "username": None,
        "command": "connect",
        "destination": Target("domain", "example.com", 443),
        "reply": ReplyCode(0, "succeeded"),
        "tunnel": Tunnel("tls"),
        "bytes": Traffic(10, 100),
        "udp": None,
        "timing": Timing(0.001, 0.002, None, 0.25, 0.5),
        "anomalies": [],
    }
    return sample(**{**facts, **changes})


def of(*conversations: Conversation) -> Statistics:
    found = Statistics()
    for conversation in conversations:
        found.add(conversation)
    return found


def figures(*conversations: Conversation) -> dict[str, Any]:
    return of(*conversations).as_dict()


def test_nothing() -> None:
    empty = figures()
    assert list(empty) == KEYS
    assert (empty["start"], empty["end"], empty["over_time"], empty["proxies"]) == (None, None, [], {})
    assert empty["rates"] == {"conversations": None, "sent": None, "received": None}
    assert report(empty) == "0 conversations in 0 packets\n"


def test_counts() -> None:
    odd = [
        AnomalyEntry("early-data", "note", 3, ""),
        AnomalyEntry("early-data", "note", 5, ""),
        AnomalyEntry("late-close", "note", 9, ""),
    ]
    found = figures(
        made(username="alice", method="username-password"),
        made(outcome="rejected", reply=ReplyCode(5, "connection refused"), tunnel=None, bytes=None, anomalies=odd),
        made(outcome="incomplete", method=None, command=None, destination=None, reply=None, tunnel=None, bytes=None),
        made(client=Endpoint("192.0.2.11", 1), username="alice"),
    )
    assert found["conversations"] == 4
    assert found["outcomes"] == {"succeeded": 2, "incomplete": 1, "rejected": 1}
    assert found["methods"] == {"no-authentication": 2, "username-password": 1}
    assert found["commands"] == {"connect": 3}
    assert found["replies"] == {"succeeded": 2, "connection refused": 1}
    assert found["anomalies"] == {"early-data": 1, "late-close": 1}  # conversations, not entries
    assert found["tunnels"] == {"tls": 2}
    assert found["users"] == {"alice": 2}
    assert found["clients"] == {"192.0.2.10": 3, "192.0.2.11": 1}
    assert found["bytes"] == {"sent": 20, "received": 200}
    assert list(found) == KEYS
    json.dumps(found)


def test_destinations() -> None:
    parties = [UdpDestination("10.0.0.1", 53, 1, 1), UdpDestination("10.0.0.2", 53, 1, 1)]
    one_party = UdpTraffic(1, 1, 7, 8, 0, parties[:1])
    two_parties = UdpTraffic(2, 2, 70, 80, 0, parties)
    asked = Target("ipv4", "0.0.0.0", 0)
    found = figures(
        made(),
        made(bytes=Traffic(1, 1)),
        made(destination=Target("ipv6", "2001:db8::1", 80), bytes=Traffic(5000, 5000)),
        made(command="udp-associate", destination=asked, bytes=None, udp=one_party),
        made(command="udp-associate", destination=asked, bytes=None, udp=two_parties),
        made(command="udp-associate", destination=asked, bytes=None, udp=None),
    )
    assert found["destinations"] == [
        {"host": "example.com", "port": 443, "conversations": 2, "sent": 11, "received": 101},
        {"host": "10.0.0.1", "port": 53, "conversations": 2, "sent": 7, "received": 8},
        {"host": "2001:db8::1", "port": 80, "conversations": 1, "sent": 5000, "received": 5000},
        {"host": "10.0.0.2", "port": 53, "conversations": 1, "sent": 0, "received": 0},
    ]
    assert found["bytes"] == {"sent": 5088, "received": 5189}


def test_the_top_is_by_conversations_and_by_octets() -> None:
    often = [made(destination=Target("domain", "often.test", 1), bytes=Traffic(0, 0))] * 3
    much = made(destination=Target("domain", "much.test", 1), bytes=Traffic(1000, 0))
    other = made(destination=Target("domain", "other.test", 1), bytes=Traffic(1, 0))
    hosts = [entry["host"] for entry in of(*often, much, other).as_dict(top=1)["destinations"]]
    assert hosts == ["often.test", "much.test"]


def test_proxies() -> None:
    other = made(proxy=Endpoint("2001:db8::9", 9050), outcome="rejected", bytes=None, timing=Timing(request=1.0))
    counted = of(made(), made(timing=Timing(request=0.75)), other)
    counted.attempt(Endpoint("192.0.2.1", 1080), "refused")
    counted.attempt(Endpoint("192.0.2.1", 1080), "refused")
    counted.attempt(Endpoint("192.0.2.99", 1080), "unanswered")
    found = counted.as_dict()["proxies"]
    assert list(found) == ["192.0.2.1:1080", "[2001:db8::9]:9050", "192.0.2.99:1080"]
    assert list(found["192.0.2.1:1080"]) == ["conversations", "outcomes", "attempts", "sent", "received", "timing"]
    assert found["192.0.2.1:1080"]["attempts"] == {"refused": 2}
    assert found["192.0.2.99:1080"]["attempts"] == {"unanswered": 1}
    assert found["192.0.2.99:1080"]["conversations"] == 0
    assert found["192.0.2.1:1080"]["outcomes"] == {"succeeded": 2}
    request = found["192.0.2.1:1080"]["timing"]["request"]
    assert request == {
        "count": 2,
        "p50": 0.5,
        "p90": 0.7,
        "p95": pytest.approx(0.725),
        "p99": pytest.approx(0.745),
        "max": 0.75,
    }
    nothing = found["192.0.2.1:1080"]["timing"]["authentication"]
    assert nothing == {"count": 0, "p50": None, "p90": None, "p95": None, "p99": None, "max": None}


def test_quantiles_are_numpys_on_many_conversations() -> None:
    generator = np.random.default_rng(7)
    times = np.round(generator.lognormal(-4, 2, 5000), 9).tolist()
    found = figures(*(made(timing=Timing(request=time)) for time in times))["proxies"]["192.0.2.1:1080"]["timing"][
        "request"
    ]
    wanted = np.quantile(times, [0.5, 0.9, 0.95, 0.99]).tolist()
    assert [found[name] for name in ("p50", "p90", "p95", "p99")] == pytest.approx(wanted, rel=1e-12)
    assert (found["count"], found["max"]) == (5000, max(times))


def lasting(start: float, end: float, sent: int = 0, received: int = 0) -> Conversation:
    """A conversation from `start` to `end`, seconds after START."""
    at = START + round(start * SECOND), START + round(end * SECOND)
    return made(start_ns=at[0], end_ns=at[1], bytes=Traffic(sent, received))


def test_over_time() -> None:
    found = figures(lasting(0, 2, 100, 7), lasting(0.5, 0.75, 1, 1), lasting(1, 1.5), lasting(3, 3))
    shown = [(entry["conversations"], entry["open"], entry["sent"], entry["received"]) for entry in found["over_time"]]
    assert shown == [(2, 2, 51, 4), (1, 2, 50, 4), (0, 1, 0, 0), (1, 1, 0, 0)]
    assert {entry["seconds"] for entry in found["over_time"]} == {1}
    assert [entry["start"] for entry in found["over_time"]] == [iso_time(START + at * SECOND) for at in range(4)]
    assert found["open_at_once"] == 2
    assert (found["start"], found["end"]) == (iso_time(START), iso_time(START + 3 * SECOND))
    assert found["rates"] == {"conversations": 4 / 3, "sent": 101 / 3, "received": 8 / 3}


def test_one_that_ends_where_another_begins_is_open_with_it() -> None:
    assert figures(lasting(0, 1), lasting(1, 2))["open_at_once"] == 2
    assert figures(lasting(0, 1), lasting(1.000000001, 2))["open_at_once"] == 1


def test_intervals_grow_with_what_they_cover() -> None:
    """However long the capture, there are so many at most, and nothing is lost."""
    found = figures(*(lasting(3600 * hour, 3600 * hour + 1800, 3601, 11) for hour in range(2000)))
    intervals = found["over_time"]
    assert MAX_INTERVALS / 2 < len(intervals) <= MAX_INTERVALS
    assert sum(entry["conversations"] for entry in intervals) == 2000
    assert sum(entry["sent"] for entry in intervals) == 2000 * 3601
    assert sum(entry["received"] for entry in intervals) == 2000 * 11
    assert intervals[0]["seconds"] == 32768


spans = st.tuples(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**6), st.integers(0, 99))


@given(st.lists(spans, max_size=30), st.integers(0, 30), st.booleans())
def test_parts_of_a_timeline_merge_to_the_whole(
    found: list[tuple[int, int, int, int]], cut: int, sketched: bool
) -> None:
    def counted(part: list[tuple[int, int, int, int]]) -> Timeline:
        timeline = Timeline()
        if sketched:
            timeline.sketch()
        for start, length, sent, received in part:
            timeline.add(start, start + length, sent, received)
        return timeline

    parts = counted(found[:cut]), counted(found[cut:])
    parts[0].merge(parts[1])
    assert parts[0].as_list() == counted(found).as_list()


@given(st.lists(spans, min_size=1, max_size=20))
def test_open_conversations_are_those_that_counting_finds(found: list[tuple[int, int, int, int]]) -> None:
    exact, sketched = Timeline(), Timeline()
    sketched.sketch()
    for start, length, _, _ in found:
        exact.add(start, start + length, 0, 0)
        sketched.add(start, start + length, 0, 0)
    most = max(sum(other <= start <= other + length for other, length, _, _ in found) for start, _, _, _ in found)
    assert max(entry["open"] for entry in exact.as_list()) == most
    bounds = zip(exact.as_list(), sketched.as_list(), strict=True)
    assert all(entry["open"] <= bound["open"] for entry, bound in bounds)


times = st.none() | st.floats(0, 100)
conversations = st.builds(
    made,
    client=st.builds(Endpoint, st.sampled_from(["192.0.2.10", "192.0.2.11", "2001:db8::1"]), st.just(1)),
    proxy=st.builds(Endpoint, st.sampled_from(["192.0.2.1", "192.0.2.2"]), st.sampled_from([1080, 9050])),
    outcome=st.sampled_from(["succeeded", "rejected", "incomplete"]),
    destination=st.none() | st.builds(Target, st.just("domain"), st.sampled_from(["a", "b", "c"]), st.just(80)),
    username=st.sampled_from([None, "alice", "bob"]),
    start_ns=st.integers(START, START + 2000 * SECOND),
    end_ns=st.integers(START + 2000 * SECOND, START + 3000 * SECOND),
    bytes=st.none() | st.builds(Traffic, st.integers(0, 10**9), st.integers(0, 10**9)),
    timing=st.builds(lambda request, first: Timing(request=request, first_byte=first), times, times),
)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(conversations, max_size=4), max_size=4), st.integers(1, 12))
def test_parts_merge_to_the_whole(parts: list[list[Conversation]], limit: int) -> None:
    """Also where a part, or only all of them together, has more than are kept exactly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "MAX_EXACT", limit)
        whole = of(*(conversation for part in parts for conversation in part))
        for order in (parts, parts[::-1]):
            merged = Statistics()
            for part in order:
                merged.merge(pickle.loads(pickle.dumps(of(*part))))
            assert merged.as_dict() == whole.as_dict()
            assert merged.exact == whole.exact == (whole.conversations <= limit)


def test_packets_add_up() -> None:
    first, second = of(made()), of(made())
    first.packets, second.packets = 3, 4
    first.merge(second)
    assert (first.packets, first.conversations) == (7, 2)


def test_above_the_limit_times_are_sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MAX_EXACT", 100)
    times = [number / 1000 for number in range(1, 202)]
    found = of(*(made(timing=Timing(request=time)) for time in times)).as_dict()
    assert found["quantile_error"] == ERROR
    assert "within 0.5%" in report(found)
    request = found["proxies"]["192.0.2.1:1080"]["timing"]["request"]
    assert request["p90"] == pytest.approx(np.quantile(times, 0.9), rel=ERROR)
    assert request["max"] == 0.201
    assert found["open_at_once"] == 201


def test_names_without_end_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "MAX_NAMES", 3)
    monkeypatch.setattr(tallies, "MAX_DESTINATIONS", 10)
    monkeypatch.setattr(statistics, "MAX_PROXIES", 2)
    many = [
        made(
            username=f"user{number}",
            proxy=Endpoint("192.0.2.1", number),
            destination=Target("domain", f"{number}.test", 1),
            bytes=Traffic(number, 0),
        )
        for number in range(1, 101)
    ]
    loud = made(destination=Target("domain", "loud.test", 1), bytes=Traffic(10**6, 0), proxy=Endpoint("192.0.2.1", 1))
    found = of(loud, *many, made(proxy=Endpoint("192.0.2.1", 2))).as_dict()
    assert found["users"] == {"(others)": 97, "user1": 1, "user2": 1, "user3": 1}
    assert {name: entry["conversations"] for name, entry in found["proxies"].items()} == {
        "(others)": 98,
        "192.0.2.1:1": 2,
        "192.0.2.1:2": 2,
    }
    listed = found["destinations"]
    assert len(listed) < 20
    assert {"loud.test", "100.test"} <= {entry["host"] for entry in listed}
    assert sum(entry["conversations"] for entry in listed) + found["destinations_left_out"] == 102


def test_the_report() -> None:
    counted = of(
        *[made(username="al\x1b[31mice")] * 2,
        made(outcome="rejected", start_ns=START + 5 * SECOND, end_ns=START + 6 * SECOND),
    )
    counted.packets = 1234
    counted.attempt(Endpoint("192.0.2.1", 1080), "refused")
    text = report(counted.as_dict())
    assert text.startswith("3 conversations in 1,234 packets\n")
    assert "at most 2 open at once" in text
    assert "30 octets sent, 300 received (5 and 50 a second)" in text
    assert "  2  66.7%  succeeded\n  1  33.3%  rejected\n" in text
    assert "Proxy 192.0.2.1:1080: 3 conversations; connections that came to none: 1 refused" in text
    assert "  request            3  0.250000  0.250000" in text
    assert "\x1b" not in text
    assert r"al\x1b[31mice" in text


def test_the_report_shows_so_much_of_each_list() -> None:
    many = [
        made(client=Endpoint(f"192.0.2.{number}", 1), destination=Target("domain", f"{number}.test", 1))
        for number in range(30)
    ]
    text = report(figures(*many), top=4)
    assert text.count("… and 26 more") == 2
    hours = report(figures(*(lasting(600 * number, 600 * number + 1) for number in range(100))))
    lines = hours.partition("Over time\n")[2].splitlines()
    assert len(lines) <= 25
    assert sum(int(line.split()[2]) for line in lines[1:]) == 100


def test_a_plain_count_finds_the_same() -> None:
    """Over the project's captures: counting the records' own JSON again, in other words."""
    files = sorted(map(str, (ROOT / "captures").glob("*.pcapng")))
    assert files
    counted = Statistics()
    records = []
    for conversation in socks5sniff.read(files):
        counted.add(conversation)
        records.append(conversation.as_dict())
    found = counted.as_dict()
    assert found["outcomes"] == Counter(record["outcome"] for record in records)
    assert found["clients"] == Counter(record["client"]["address"] for record in records)
    codes = [code for record in records for code in {entry["code"] for entry in record["anomalies"]}]
    assert found["anomalies"] == Counter(codes)
    times = [record["timing"]["request"] for record in records if record["timing"]["request"] is not None]
    steps = [figures["timing"]["request"] for figures in found["proxies"].values()]
    assert sum(step["count"] for step in steps) == len(times)
    assert max(step["max"] or 0 for step in steps) == max(times)
