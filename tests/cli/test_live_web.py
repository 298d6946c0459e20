"""The view of `live --web`: what it collects, and when it tells it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from socks5sniff.analysis import Attempt, Bypass
from socks5sniff.cli import live_web
from socks5sniff.cli.judging import SilentView
from socks5sniff.cli.live_web import Together, WebView
from socks5sniff.live.engine import Counts
from socks5sniff.live.processes import Endpoints, Process
from socks5sniff.record import Conversation, Endpoint, Traffic
from socks5sniff.record.batch import Batch, written
from socks5sniff.sinks import Totals

from ..sinks.samples import sample


class Heard:
    """A publisher that keeps what it is told."""

    watched = True

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.open: list[list[Mapping[str, Any]]] = []
        self.health: list[Mapping[str, Any]] = []
        self.besides: list[Mapping[str, Any]] = []

    def publish(
        self,
        records: Sequence[str],
        open: Sequence[Mapping[str, Any]],
        health: Mapping[str, Any],
        besides: Mapping[str, Any] | None,
    ) -> None:
        self.records += map(json.loads, records)
        self.open.append(list(open))
        self.health.append(health)
        self.besides += [] if besides is None else [json.loads(json.dumps(besides))]


class Tried:
    """Attempts as the analyser knows them."""

    def __init__(self) -> None:
        self.rows: list[Attempt] = []

    def counts(self) -> list[tuple[Endpoint, str, int]]:
        return [(PROXY, "refused", len(self.rows))] if self.rows else []

    def listed(self) -> list[Attempt]:
        return self.rows


PROXY = Endpoint("192.0.2.1", 1080)


def attempt(number: int) -> Attempt:
    return Attempt(Endpoint("192.0.2.10", number), PROXY, "refused", number, number)


def past(number: int) -> Bypass:
    return Bypass(Endpoint("192.0.2.10", number), Endpoint("203.0.113.9", 443), "tcp", None, 1, 2, 3, number, number)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(live_web.time, "monotonic", lambda: now[0])
    return now


class Standing:
    """Open conversations as the analyser knows them, the newest first."""

    def __init__(self, *records: Conversation) -> None:
        self.records = records

    @property
    def open(self) -> int:
        return len(self.records)

    def newest(self, count: int) -> list[Conversation]:
        return [replace(record) for record in self.records[:count]]


def view(heard: Heard, opened: Standing | None = None, tried: Tried | None = None, found: Any = None) -> WebView:
    return WebView(heard, lambda: [Counts(50, 3), None], opened or Standing(), tried, found)  # type: ignore[arg-type]


def test_what_has_ended_is_told_at_most_ten_times_a_second(clock: list[float]) -> None:
    heard = Heard()
    shown = view(heard)
    for number in range(1, 31):
        shown.ended(written([sample(id=number)]))
        clock[0] += 0.01
        shown.refresh(number)
    assert 3 <= len(heard.health) <= 4
    shown.close(Totals(packets=99))
    assert [record["id"] for record in heard.records] == list(range(1, 31))
    assert heard.records[0] == json.loads(json.dumps(sample().as_dict()))
    assert heard.health[-1] == {"packets": 99, "dropped": 3, "open": 0}


def test_open_conversations_are_told_as_they_are_once_a_second(clock: list[float]) -> None:
    heard, opened = Heard(), Standing(sample(id=2, tcp_stream=2), sample(tcp_stream=1))
    shown = view(heard, opened)
    shown.refresh(1)
    opened.records = (sample(id=2, tcp_stream=2, bytes=Traffic(7, 8)),)
    for _ in range(15):
        clock[0] += 0.1
        shown.refresh(2)
    lists = [[c["id"] for c in state] for state in heard.open]
    assert lists == sorted(lists, key=len, reverse=True)
    assert {len(each) for each in lists} == {1, 2}
    assert lists.count([2, 1]) > 1
    assert heard.open[-1][0]["bytes"] == {"sent": 7, "received": 8}
    assert [health["open"] for health in heard.health] == [2, *[1] * (len(heard.health) - 1)]
    shown.close(Totals())
    assert (heard.open[-1], heard.health[-1]["open"]) == ([], 0)


def test_their_programs_are_told_as_far_as_they_are_known(clock: list[float]) -> None:
    class Found:
        def find(self, endpoints: Endpoints) -> Process | None:
            return {"pid": 7, "name": "curl"} if endpoints[1] == 5 else None

    heard = Heard()
    client = sample().client
    shown = view(heard, Standing(sample(client=client._replace(port=5)), sample(id=2)), found=Found())
    shown.refresh(1)
    assert [record["process"] for record in heard.open[0]] == [{"pid": 7, "name": "curl"}, None]


def test_nobody_works_for_a_list_that_nobody_sees(clock: list[float]) -> None:
    heard = Heard()
    heard.watched = False
    shown = view(heard, Standing(sample()))
    shown.refresh(1)
    assert heard.open == [[]]


def test_of_very_many_open_conversations_the_newest_are_shown(clock: list[float]) -> None:
    heard = Heard()
    view(heard, Standing(*[sample(id=number) for number in range(1000, 0, -1)])).refresh(1)
    assert heard.health[0]["open"] == 1000
    assert [record["id"] for record in heard.open[0]] == [*range(1000, 1000 - live_web.SENT, -1)]


def test_attempts_and_bypasses_are_told_when_there_are_new_ones(clock: list[float]) -> None:
    heard, tried = Heard(), Tried()
    shown = view(heard, tried=tried)
    shown.refresh(1)
    assert heard.besides == []
    tried.rows += [attempt(1), attempt(2)]
    shown.bypass(past(7))
    for _ in range(40):
        clock[0] += 0.1
        shown.refresh(2)
    (told,) = heard.besides
    assert told["attempts"] == [attempt(2).as_dict(), attempt(1).as_dict()]
    assert told["bypasses"] == [past(7).as_dict()]
    assert (told["all attempts"], told["all bypasses"]) == (2, 1)
    tried.rows.append(attempt(3))
    shown.close(Totals())
    assert heard.besides[-1]["attempts"][0] == attempt(3).as_dict(), "at the end, whenever that is"


def test_of_very_many_the_newest_are_told(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    heard, tried = Heard(), Tried()
    shown = view(heard, tried=tried)
    tried.rows += map(attempt, range(1000))
    for number in range(1000):
        shown.bypass(past(number))
    shown.refresh(1)
    (told,) = heard.besides
    ports = range(999, 999 - live_web.SENT, -1)
    assert [row["client"]["port"] for row in told["attempts"]] == [*ports]
    assert [row["client"]["port"] for row in told["bypasses"]] == [*ports]
    assert (told["all attempts"], told["all bypasses"]) == (1000, 1000)


@pytest.mark.parametrize("asked", [False, True])
def test_the_terminal_tells_bypasses_only_where_asked(asked: bool) -> None:
    class Seen(SilentView):
        def __init__(self) -> None:
            self.rows: list[Bypass] = []

        def bypass(self, row: Bypass) -> None:
            self.rows.append(row)

    terminal, page = Seen(), Seen()
    Together(terminal, page, asked).bypass(past(1))
    assert (terminal.rows, page.rows) == ([past(1)] * asked, [past(1)])


def test_views_together_see_the_same() -> None:
    class Plain:
        wants_news = False

        def __init__(self) -> None:
            self.seen: list[str] = []

        def news(self, conversation: Conversation) -> None:
            self.seen.append("news")

        def ended(self, records: Batch) -> None:
            self.seen.append("ended")

        def refresh(self, packets: int) -> None:
            self.seen.append("refresh")

        def close(self, totals: Totals) -> None:
            self.seen.append("close")

    plain, curious = Plain(), Plain()
    curious.wants_news = True
    both = Together(plain, curious, True)  # type: ignore[arg-type]
    assert both.wants_news
    both.news(sample())
    both.ended(written([sample()]))
    both.refresh(1)
    both.close(Totals())
    assert plain.seen == ["ended", "refresh", "close"]
    assert curious.seen == ["news", *plain.seen]
