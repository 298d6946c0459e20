"""The table: fits the terminal, shows what matters most, escapes what the wire sends."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.record import AnomalyEntry, Conversation, ReplyCode, Target, UdpDestination, UdpTraffic
from socks5sniff.sinks import Options, Totals, open_sink
from socks5sniff.sinks.table import CHUNK, cut, display_width

from .samples import conversations, sample

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
        ({"outcome": "auth-failed", "reply": None}, "auth-failed: authentication failed"),
        ({"outcome": "no-acceptable-method", "reply": None}, "no-acceptable-method"),
        ({"outcome": "incomplete", "phase": "request", "reply": None}, "incomplete: ended in request"),
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
    assert len(table(sample(), options=Options(width=width))) == 6


def test_a_narrow_terminal_keeps_destination_and_result() -> None:
    title, _, row, *_ = table(sample(), options=Options(width=60))
    assert "destination" in title
    assert "result" in title
    assert "example.com:443" in row
    assert "anomalies" not in title


def test_a_long_destination_keeps_its_port() -> None:
    record = sample(destination=Target("domain", "a-very-long-name." * 8 + "example.com", 443))
    row = table(record, options=Options(width=100))[2]
    assert re.search(r"a-very-long\S*….*:443 ", row)


def test_nothing_is_cut_where_nothing_has_to_fit() -> None:
    name = "a-very-long-name." * 8 + "example.com"
    assert name in table(sample(destination=Target("domain", name, 443)))[2]


def test_rows_beyond_the_first_chunk_keep_the_layout() -> None:
    first = [sample(id=number, username=None) for number in range(CHUNK)]
    lines = table(*first, sample(id=1000, username="late"), options=Options(width=120))
    assert sum(line.startswith(("#", " #", "  #")) for line in lines) == 1
    assert len(lines) == 2 + CHUNK + 1 + 3
    assert display_width(lines[2 + CHUNK]) <= 120


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
