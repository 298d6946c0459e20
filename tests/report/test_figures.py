"""Counts over conversations that a page's table does not hold."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from socks5sniff.record import Traffic
from socks5sniff.report import figures
from socks5sniff.report.figures import Figures

from ..sinks.samples import START, sample
from .made_up import conversations


def figures_of(records: list) -> Figures:
    made = Figures()
    for begin in range(0, len(records), 100):
        made.take(records[begin : begin + 100])
    return made


def test_groups_are_what_a_counter_counts() -> None:
    records = list(conversations(500))
    made = figures_of(records)
    assert {name: count for name, (count, _) in made.groups["outcome"].items()} == Counter(c.outcome for c in records)
    hosts = Counter(str(c.destination) for c in records if c.destination)
    assert dict(made.most("destination", 10_000)) == hosts
    assert made.most("destination", 1) == hosts.most_common(1)
    assert made.octets == [
        sum(c.bytes.sent for c in records if c.bytes),
        sum(c.bytes.received for c in records if c.bytes),
    ]


def test_quantiles_of_a_step_are_right_within_one_percent() -> None:
    records = list(conversations(2000))
    classes = figures_of(records).plain()["steps"]["request"]
    told = np.repeat([time for time, _ in classes], [count for _, count in classes]) / 1e9
    real = np.array([c.timing.request for c in records if c.timing.request is not None])
    assert len(told) == len(real)
    for share in (0.5, 0.95, 0.99):
        assert np.quantile(told, share) == pytest.approx(np.quantile(real, share), rel=0.01)


def test_octets_inside_another_tunnel_count_once() -> None:
    made = figures_of([sample(bytes=Traffic(10, 20)), sample(id=2, parent=1, bytes=Traffic(4, 5))])
    assert (made.conversations, made.octets) == (2, [10, 20])


def test_names_beyond_the_bound_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "NAMES", 3)
    made = figures_of([sample(username=f"user{n % 5}") for n in range(10)])
    assert made.most("user", 9) == [(None, 4), ("user0", 2), ("user1", 2), ("user2", 2)]


def test_spans_become_longer_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_SPANS", 8)
    made = figures_of([sample(start_ns=START + second * 1_000_000_000) for second in range(100)])
    spans = made.plain()["spans"]
    assert len(spans) <= 8
    assert sum(count for _, _, count in spans) == 100
    assert len({begin % 16_000 for begin, _, _ in spans}) == 1
