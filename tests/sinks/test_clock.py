"""Times for the eye, in each form."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from socks5sniff.sinks.clock import Clock

SECOND = 1_000_000_000
TIME = 1_782_000_000_999_000_007
"""2026-06-21T00:00:00.999000007Z"""

Zone = Callable[[str], None]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    if not hasattr(time, "tzset"):
        pytest.skip("this system has one zone")

    def change(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield change
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("form", "brief", "dated", "full", "day"),
    [
        ("utc", "00:00:00.999", "2026-06-21 00:00:00.999", "2026-06-21T00:00:00.999000007Z", "2026-06-21"),
        ("epoch", "1782000000.999", "1782000000.999", "1782000000.999000007", ""),
        ("relative", "+0.000", "+0.000", "+0.000000000", ""),
    ],
)
def test_a_time_in_each_form(form: str, brief: str, dated: str, full: str, day: str) -> None:
    clock = Clock(form)
    assert (clock.brief(TIME), clock.brief(TIME, dated=True), clock.full(TIME), clock.day(TIME)) == (
        *(brief, dated, full, day),
    )


def test_relative_times_count_from_the_first_and_are_never_below_zero() -> None:
    clock = Clock("relative")
    assert [clock.brief(TIME + later) for later in (0, 12_345_000_000, -5)] == ["+0.000", "+12.345", "+0.000"]
    assert clock.full(TIME + 12 * SECOND + 7) == "+12.000000007"


@pytest.mark.parametrize(
    ("name", "shown", "suffix"),
    [("XYZ-2:30", "02:30:00.999", "+02:30"), ("XYZ3:30", "20:30:00.999", "-03:30")],
)
def test_local_time_says_how_far_from_utc_it_is(name: str, shown: str, suffix: str, zone: Zone) -> None:
    zone(name)
    clock = Clock("local")
    assert (clock.brief(TIME), clock.suffix(TIME), clock.label(TIME, TIME)) == (shown, suffix, f"UTC{suffix}")
    assert clock.full(TIME).endswith(f"{shown}000007{suffix}")


def test_where_the_clocks_are_changed_the_heading_names_no_distance(zone: Zone) -> None:
    zone("CET-1CEST,M3.5.0,M10.5.0/3")
    assert Clock("local").label(TIME - 170 * 86_400 * SECOND, TIME) == "local"
    assert [Clock(form).label(TIME, TIME) for form in ("utc", "epoch", "relative")] == ["UTC", "epoch", "relative"]


def test_a_line_has_the_date_on_another_day_than_the_first_one() -> None:
    clock = Clock()
    assert [clock.stamp(TIME + day * 86_400 * SECOND) for day in (0, 0, 1)] == [
        *("00:00:00.999Z", "00:00:00.999Z", "2026-06-22 00:00:00.999Z"),
    ]
    assert Clock("epoch").stamp(TIME) == "1782000000.999"
