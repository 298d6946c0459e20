"""The table: fits the terminal, shows what matters most, escapes what the wire sends."""

from __future__ import annotations

import io
import os
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.record import (
    AnomalyEntry,
    Conversation,
    Endpoint,
    ReplyCode,
    Target,
    Traffic,
    Tunnel,
    UdpDestination,
    UdpTraffic,
)
from socks5sniff.sinks import Options, Totals, open_sink
from socks5sniff.sinks.columns import NAMES
from socks5sniff.sinks.layout import Need, cut, display_width, fit
from socks5sniff.sinks.table import BLOCK

from .samples import START, conversations, sample

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def table(*records: Conversation, totals: Totals | None = None, options: Options | None = None) -> list[str]:
    out = io.StringIO()
    sink = open_sink("table", out, options or Options())
    for record in records:
        sink.conversation(record)
    sink.close(totals or Totals(packets=100, conversations=len(records)))
    return out.getvalue().splitlines()


def test_a_row_and_the_summary() -> None:
    title, rule, row, empty, *summary = table(sample())
    assert " ".join(title.split()) == (
        "# time (UTC) client proxy user command destination result tunnel sent received seconds anomalies"
    )
    assert set(rule) == {"-", " "}
    assert " ".join(row.split()) == (
        "1 00:00:00.123 127.0.0.1:50001 127.0.0.1:1080 alice connect example.com:443 succeeded tls example.com "
        "517 4096 1.500 cleartext-credentials"
    )
    assert empty == ""
    assert summary == ["1 conversation in 100 packets", "succeeded 1"]


def test_counts_by_outcome_most_frequent_first() -> None:
    records = [sample(), sample(outcome="rejected"), sample(outcome="rejected")]
    assert table(*records)[-2:] == ["3 conversations in 100 packets", "rejected 2, succeeded 1"]


def test_the_summary_tells_what_a_filter_left_out_and_what_was_not_understood() -> None:
    lines = table(sample(), totals=Totals(packets=12_345, skipped=7, conversations=20))
    assert lines[-2] == "1 of 20 conversations in 12,345 packets (7 not understood)"


def test_no_conversation() -> None:
    assert table(totals=Totals(packets=3)) == ["0 conversations in 3 packets"]
    assert table(totals=Totals(packets=3, conversations=2)) == ["0 of 2 conversations in 3 packets"]


def test_columns_without_content_are_left_out() -> None:
    title = table(sample(username=None, tunnel=None, anomalies=[]))[0]
    assert {"user", "tunnel", "anomalies"}.isdisjoint(title.split())


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({}, "succeeded"),
        ({"outcome": "rejected", "reply": ReplyCode(5, "connection refused")}, "rejected: connection refused"),
        ({"outcome": "auth-failed", "reply": None}, "auth-failed"),
        ({"outcome": "no-acceptable-method", "reply": None}, "no-acceptable-method"),
        (
            {"outcome": "incomplete", "phase": "request", "reply": None, "close": "reset", "closed_by": "proxy"},
            "incomplete: reset by proxy in request",
        ),
        (
            {"outcome": "incomplete", "phase": "greeting", "reply": None, "close": "fin", "closed_by": None},
            "incomplete: closed in greeting",
        ),
        (
            {"outcome": "incomplete", "phase": "request", "reply": None, "close": "open", "closed_by": None},
            "incomplete: still open in request",
        ),
        (
            {
                "outcome": "incomplete", "phase": "request", "reply": None, "close": "fin", "closed_by": "proxy",
                "anomalies": [AnomalyEntry("half-frame", "warning", 9, "the proxy closed after 4 octets of its reply")],
            },
            "incomplete: closed by proxy after half of its reply",
        ),
        (
            {"outcome": "malformed", "anomalies": [AnomalyEntry("bad-version", "error", 4, "VER is 9")]},
            "malformed: VER is 9",
        ),
    ],
)
def test_the_result_says_why(changes: dict[str, object], result: str) -> None:
    assert f" {result} " in table(sample(**changes))[2]


def test_an_association_shows_its_destinations_and_octets() -> None:
    udp = UdpTraffic(2, 1, 60, 90, 0, [UdpDestination("192.0.2.1", 53, 1, 1), UdpDestination("192.0.2.2", 53, 1, 1)])
    row = table(sample(udp=udp, tunnel=None, bytes=None))[2]
    assert "2 UDP destinations" in row
    assert " 60 " in row
    assert " 90 " in row


@settings(max_examples=60, deadline=None)
@given(st.lists(conversations, min_size=1, max_size=4), st.integers(40, 250))
def test_every_line_of_the_table_fits(records: list[Conversation], width: int) -> None:
    lines = table(*records, options=Options(width=width))
    rows = lines[: 2 + len(records)]
    assert all(display_width(line) <= width for line in rows)
    assert all(line.isprintable() for line in rows)


@pytest.mark.parametrize("width", [1, 10, 20])
def test_a_tiny_terminal_still_gets_something(width: int) -> None:
    assert len(table(sample(), options=Options(width=width))) == 7


def test_a_narrow_terminal_keeps_destination_and_result() -> None:
    title, _, row, *_ = table(sample(), options=Options(width=60))
    assert "destination" in title
    assert "result" in title
    assert "example.com:443" in row
    assert "anomalies" not in title


def test_a_long_destination_keeps_its_port() -> None:
    record = sample(destination=Target("domain", "a-very-long-name." * 8 + "example.com", 443))
    row = table(record, options=Options(width=100))[2]
    assert re.search(r"a-very\S*…\S*:443 ", row)


def test_nothing_is_cut_where_nothing_has_to_fit() -> None:
    name = "a-very-long-name." * 8 + "example.com"
    assert name in table(sample(destination=Target("domain", name, 443)))[2]


def test_what_comes_late_is_laid_out_like_what_came_first() -> None:
    """Wider ids, columns that had nothing in them before: beyond the rows that are kept in memory, too."""
    count = 2 * BLOCK + 3
    first = [sample(id=number, username=None, anomalies=[]) for number in range(1, count)]
    title, _, *rows = table(*first, sample(id=count, username="late"), options=Options(width=150))[: 2 + count]
    assert {"user", "anomalies"} <= set(title.split())
    assert [int(row.split()[0]) for row in rows] == list(range(1, count + 1))
    assert len({row.index("example.com:443") for row in rows}) == 1
    assert " late " in rows[-1]
    assert "no room for" not in title


def test_a_terminal_is_told_what_had_no_room() -> None:
    lines = table(sample(), options=Options(width=80))
    assert lines[0].split() == ["#", "client", "proxy", "destination", "result", "sent", "received"]
    hidden = "time,user,command,tunnel,seconds,anomalies"
    assert lines[-1] == f"no room for {hidden}: see --columns"
    shown = table(sample(), options=Options(width=80, columns=tuple(hidden.split(","))))
    assert len(shown[0].split()) == 7  # "time (UTC)" is two words
    assert "no room" not in shown[-1]


NARROWER = [
    (214, "", [12, 12, 21, 12, 15, 6, 13, 20, 18, 7, 14, 14, 12, 12]),
    (200, "seconds", [12, 12, 21, 12, 15, 6, 13, 20, 18, 7, 14, 14, 12]),
    (185, "command,seconds", [12, 12, 21, 12, 15, 6, 20, 18, 7, 14, 14, 12]),
    (171, "process,command,seconds", [12, 12, 21, 15, 6, 20, 18, 7, 14, 14, 12]),
    (162, "process,command,tunnel,seconds", [12, 12, 21, 15, 6, 20, 18, 14, 14, 12]),
    (154, "process,user,command,tunnel,seconds", [12, 12, 21, 15, 20, 18, 14, 14, 12]),
    (140, "time,process,user,command,tunnel,seconds", [12, 21, 15, 20, 18, 14, 14, 12]),
    (126, "time,process,user,command,tunnel,seconds,anomalies", [12, 21, 15, 20, 18, 14, 14]),
    (103, "time,client,process,user,command,tunnel,seconds,anomalies", [12, 15, 20, 18, 14, 14]),
]
"""The least width at which no more than these columns are left out, and the sizes of the others there."""


def test_which_columns_go_first_and_how_narrow_the_others_get() -> None:
    """Every column has more to say than there is room."""
    full = sample(
        id=10**18, end_ns=START + 10**26, client=Endpoint("c" * 60, 1), proxy=Endpoint("p" * 60, 2),
        process={"name": "n" * 60, "pid": 1}, username="u" * 60, command="c" * 60,
        destination=Target("domain", "d" * 60, 3), outcome="o" * 60, reply=None, tunnel=Tunnel("t" * 60),
        bytes=Traffic(10**60, 10**60), anomalies=[AnomalyEntry("a" * 60, "warning", 1, "x")],
    )  # fmt: skip
    for width, hidden, sizes in NARROWER:
        lines = table(full, options=Options(width=width))
        assert [len(rule) for rule in lines[1].split()] == sizes
        assert lines[-1] == (f"no room for {hidden}: see --columns" if hidden else "o" * 60 + " 1")
        assert table(full, options=Options(width=width - 1))[-1] != lines[-1]


def test_everything_is_shown_where_nothing_has_to_fit() -> None:
    assert "no room" not in table(sample())[-1]


def test_columns_that_are_chosen_come_in_their_order_and_are_never_left_out() -> None:
    names = ("destination.host", "id", "timing.request", "bytes.sent", "methods", "peer", "anomalies")
    title, _, row, *_ = table(sample(), options=Options(columns=names))
    assert title.split() == [*names[:1], "#", *names[2:]]
    assert row.split() == [
        "example.com",
        "1",
        "0.0123",
        "517",
        "no-authentication",
        "username-password",
        "cleartext-credentials",
    ]
    narrow = table(sample(), options=Options(columns=names, width=50))
    assert len(narrow[0].split()) == len(names)
    assert display_width(narrow[2]) <= 50


@settings(max_examples=30, deadline=None)
@given(conversations, st.sampled_from(NAMES))
def test_every_name_of_the_record_can_be_a_column(record: Conversation, name: str) -> None:
    assert len(table(record, options=Options(columns=(name,)))) == 6


def test_rows_appear_one_by_one_when_someone_waits() -> None:
    out = io.StringIO()
    sink = open_sink("table", out, Options(width=120, prompt=True))
    sink.conversation(sample())
    once = out.getvalue().splitlines()
    assert len(once) == 3
    sink.conversation(sample(id=2))
    both = out.getvalue().splitlines()
    assert len(both) == 4
    assert both[2].index("example.com") == both[3].index("example.com")


def test_a_new_heading_where_a_row_does_not_go_under_the_last_one() -> None:
    out = io.StringIO()
    sink = open_sink("table", out, Options(width=140, prompt=True))
    sink.conversation(sample(username=None, anomalies=[]))
    sink.conversation(sample(id=20_000, username=None, anomalies=[]))
    sink.conversation(sample(id=20_001, username=None, anomalies=[]))
    sink.conversation(sample(id=20_002, username="bob", anomalies=[]))
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines if not line.startswith("-")] == [
        "#",
        "1",
        "#",
        "20000",
        "20001",
        "#",
        "20002",
    ]
    assert "user" in lines[-3]


def test_a_pipe_has_every_column_and_nothing_is_cut_though_each_row_comes_at_once() -> None:
    out = io.StringIO()
    sink = open_sink("table", out, Options(prompt=True))
    name = "a-very-long-name." * 8 + "example.com"
    sink.conversation(sample(username=None))
    sink.conversation(sample(id=20_000, username="late", destination=Target("domain", name, 443)))
    lines = out.getvalue().splitlines()
    assert len(lines) == 4
    assert len(lines[0].split()) == 15
    assert name in lines[3]
    assert " late " in lines[3]


class TestTimes:
    DAY = 86_400_000_000_000

    def column(self, *records: Conversation, form: str = "utc") -> list[str]:
        title, _, *rows = table(*records, options=Options(time=form, columns=("time",)))
        return [title, *rows[: len(records)]]

    def test_utc(self) -> None:
        assert self.column(sample()) == ["time (UTC)", "00:00:00.123"]

    def test_the_date_where_there_is_more_than_one_day(self) -> None:
        later = sample(id=2, start_ns=START + self.DAY)
        assert self.column(sample(), later) == [
            "time (UTC)",
            "2026-06-21 00:00:00.123",
            "2026-06-22 00:00:00.123",
        ]

    def test_epoch_and_relative(self) -> None:
        later = sample(id=2, start_ns=START + 1_500_000_000)
        assert self.column(sample(), later, form="epoch") == ["time (epoch)", "1782000000.123", "1782000001.623"]
        assert self.column(sample(), later, form="relative") == ["time (relative)", "+0.000", "+1.500"]

    @pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone cannot be set: Windows only")
    def test_local(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "Asia/Kolkata" if os.path.exists("/usr/share/zoneinfo/Asia/Kolkata") else "IST-5:30")
        time.tzset()
        try:
            assert self.column(sample(), form="local") == ["time (UTC+05:30)", "05:30:00.123"]
        finally:
            monkeypatch.undo()
            time.tzset()


def test_rows_are_in_the_order_of_the_conversations() -> None:
    """They come in the order in which they end."""
    rows = table(sample(id=3), sample(id=1), sample(id=2))[2:5]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]


def test_colours_only_where_asked_and_by_outcome() -> None:
    records = [sample(), sample(outcome="auth-failed", reply=None)]
    plain = table(*records, options=Options(width=120))
    coloured = table(*records, options=Options(width=120, colour=True))
    assert not any(ANSI.search(line) for line in plain)
    assert [ANSI.sub("", line).rstrip() for line in coloured] == plain
    assert "\x1b[32msucceeded" in coloured[2]
    assert "\x1b[31mauth-failed" in coloured[3]


def test_what_the_wire_says_is_escaped() -> None:
    row = table(sample(username="\x1b]0;owned\x07\n\u202e"))[2]
    assert r"\x1b]0;owned\x07\n\u202e" in row


@given(st.text(), st.integers(0, 30), st.booleans())
def test_cut_text_never_exceeds_its_size(text: str, size: int, middle: bool) -> None:
    shown = cut(text, size, middle)
    assert display_width(shown) <= size
    assert shown == text or "…" in shown or size == 0


def test_wide_characters_take_two_columns_and_combining_ones_none() -> None:
    assert display_width("例え.jp") == 7
    assert display_width("e\u0301") == 1
    assert cut("例え例え", 5) == "例え…"


@pytest.mark.parametrize(
    ("width", "sizes"),
    [
        (None, {0: 20, 1: 30, 2: 5}),
        (59, {0: 20, 1: 30, 2: 5}),  # all of it, with the gaps
        (58, {0: 20, 1: 29, 2: 5}),  # the widest first
        (43, {0: 17, 1: 17, 2: 5}),
        (27, {0: 10, 1: 8, 2: 5}),  # none below its least size
        (26, {0: 12, 1: 12}),  # then what ranks highest goes
        (20, {0: 10, 1: 8}),
        (19, {0: 19}),
        (8, {0: 8}),  # what ranks 0 stays, whatever is left of it
    ],
)
def test_columns_are_narrowed_to_their_least_sizes_and_then_left_out(width: int | None, sizes: dict[int, int]) -> None:
    assert fit([Need(20, 10, 0), Need(30, 8, 1), Need(5, 6, 2)], width) == sizes
