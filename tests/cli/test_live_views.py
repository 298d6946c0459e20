"""What `live` prints of conversations: lines, frames, the table, the comment in the file, the summary."""

from __future__ import annotations

import io
from typing import Any

import pytest

from socks5sniff.cli.live_summary import PROXIES, Tally, counts_line
from socks5sniff.cli.live_table import TableView
from socks5sniff.cli.live_views import LinesView, SinkView, comment, end_line, verdict_line
from socks5sniff.live.engine import Counts
from socks5sniff.record import (
    AnomalyEntry,
    Conversation,
    Endpoint,
    FrameEntry,
    ReplyCode,
    Target,
    Timing,
    Traffic,
    Tunnel,
)
from socks5sniff.record.batch import written
from socks5sniff.sinks import Options, Totals
from socks5sniff.sinks.clock import Clock

from ..sinks.samples import sample

START = 1_795_336_741_000_000_000


def conversation(**changes: Any) -> Conversation:
    """The sample as `live` would have it, so that every time and count is known."""
    told = {
        "capture": "lo",
        "client": Endpoint("127.0.0.1", 40000),
        "start_ns": START,
        "end_ns": START + 2_345_678_901,
        "methods": ["username-password"],
        "bound": Target("ipv4", "0.0.0.0", 0),
        "tunnel": Tunnel("tls", "example.com"),
        "bytes": Traffic(1234, 56789),
        "timing": Timing(negotiation=0.0012, authentication=0.0104, request=1.5),
        "close": "reset",
        "packets": 20,
        "last_frame": 20,
        "frames": [
            FrameEntry(4, START + 1_000_000, "client", "greeting", 3, "Greeting: username-password"),
            FrameEntry(9, START + 9_000_000, "proxy", "reply", 10, "Reply: succeeded, bound 0.0.0.0:0"),
        ],
        "anomalies": [],
    }
    return sample(**{**told, **changes})


def test_a_verdict_says_who_where_and_how_long_each_step_took() -> None:
    found = conversation(process={"pid": 812, "name": "curl"})
    assert verdict_line(found, Clock()) == (
        "08:39:01.009Z + 127.0.0.1:40000 curl[812] > 127.0.0.1:1080 user alice connect example.com:443: succeeded"
        " (negotiation 1.20 ms, authentication 10.40 ms, request 1.500 s)"
    )


def test_a_process_in_a_container_is_shown_with_it() -> None:
    found = conversation(process={"pid": 812, "name": "curl", "container": "c0ffee123456"})
    assert " 127.0.0.1:40000 curl[812]@c0ffee123456 > " in verdict_line(found, Clock())


def test_an_end_says_what_went_through_and_who_closed() -> None:
    assert end_line(conversation(), Clock()) == (
        "08:39:03.345Z - 127.0.0.1:40000 > 127.0.0.1:1080 user alice connect example.com:443: succeeded,"
        " tls example.com, 1,234 octets sent, 56,789 received, 2.346 s, reset by client"
    )
    assert end_line(conversation(close="open", closed_by=None), Clock()).endswith("2.346 s, still open")


def test_a_refusal_is_told_in_words_with_its_anomalies() -> None:
    refused = conversation(
        outcome="rejected",
        reply=ReplyCode(5, "connection refused"),
        tunnel=None,
        bytes=None,
        close="fin",
        closed_by="proxy",
        anomalies=[
            AnomalyEntry("late-close", "warning", 9, "…"),
            AnomalyEntry("late-close", "warning", 10, "…"),
            AnomalyEntry("rejected", "note", 9, "said already"),
        ],
    )
    assert ": rejected: connection refused (" in verdict_line(refused, Clock())
    assert end_line(refused, Clock()).endswith(": rejected: connection refused, 2.346 s, closed by proxy, late-close")


def test_nothing_from_the_wire_reaches_the_terminal_as_it_is() -> None:
    nasty = conversation(
        username="a\x1b[2Jb\nc",
        destination=Target("domain", "x\u202ey", 1),
        process={"pid": 1, "name": "p\x07"},
        frames=[FrameEntry(1, START, "client", "request", 9, "Request: \x1b]0;t\x07")],
    )
    out = io.StringIO()
    view = LinesView(out, colour=False, frames=True, clock=Clock())
    view.news(nasty)
    view.ended(written([nasty]))
    for text in (out.getvalue(), comment(nasty)):
        assert not set("\x1b\x07\u202e") & set(text)
    assert len(out.getvalue().splitlines()) == 3


def test_each_frame_is_shown_once() -> None:
    out = io.StringIO()
    view = LinesView(out, colour=False, frames=True, clock=Clock())
    whole = conversation()
    view.news(conversation(outcome="incomplete", frames=whole.frames[:1]))
    view.news(whole)
    view.ended(written([whole]))
    lines = out.getvalue().splitlines()
    assert [line.split(" ", 3)[1] for line in lines] == ["", "", "+", "-"]
    assert lines[0].endswith("frame 4 client: Greeting: username-password")
    assert lines[1].endswith("frame 9 proxy: Reply: succeeded, bound 0.0.0.0:0")


def test_colours_are_for_terminals() -> None:
    plain, coloured = io.StringIO(), io.StringIO()
    LinesView(plain, colour=False, frames=False, clock=Clock()).news(conversation())
    LinesView(coloured, colour=True, frames=False, clock=Clock()).news(conversation())
    assert "\x1b" not in plain.getvalue()
    assert coloured.getvalue() == f"\x1b[32m{plain.getvalue()[:-1]}\x1b[0m\n"


def test_records_are_written_as_conversations_end() -> None:
    out = io.StringIO()
    view = SinkView("jsonl", out, Options())
    view.news(conversation())
    assert out.getvalue() == ""
    view.ended(written([conversation()]))
    view.close(Totals())
    assert out.getvalue().startswith('{"id":1,')


def test_the_comment_grows_with_what_is_known() -> None:
    who = "SOCKS5 127.0.0.1:40000 > 127.0.0.1:1080 user alice connect example.com:443"
    assert comment(conversation(outcome="incomplete")) == who
    assert comment(conversation()) == f"{who}: succeeded"


def test_the_table_shows_open_and_ended_conversations_rates_and_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = io.StringIO()
    view = TableView(out, lambda: [Counts(100, 7), None], colour=False, clock=Clock())
    view.news(conversation(tcp_stream=1, process={"pid": 5, "name": "ncat"}))
    view.news(conversation(tcp_stream=2))
    refusal = ReplyCode(2, "connection not allowed by ruleset")
    view.ended(written([conversation(tcp_stream=2, outcome="rejected", reply=refusal)]))
    view.close(Totals(packets=93))
    text = out.getvalue()
    for words in ("1 open", "1 ended", "93 packets", "7 dropped", "rejected 1", "ncat[5]", "example.com:443"):
        assert words in text
    assert "rejected: connection not allowed by ruleset" in text


def test_the_summary_has_a_row_for_each_proxy_the_busiest_first() -> None:
    tally = Tally()
    assert tally.table() == ""
    tally.add(written([conversation(proxy=Endpoint("10.0.0.1", 1080), outcome="rejected", bytes=None)]))
    for _ in range(2):
        tally.add(written([conversation()]))
    tally.add(written([conversation(outcome="auth-failed", bytes=None)]))
    header, _, first, second = tally.table().splitlines()
    assert header.split() == ["proxy", "conversations", "outcomes", "sent", "received"]
    assert first.split() == ["127.0.0.1:1080", "3", "succeeded", "2,", "auth-failed", "1", "2,468", "113,578"]
    assert second.split() == ["10.0.0.1:1080", "1", "rejected", "1", "0", "0"]


def test_the_summary_is_bounded() -> None:
    tally = Tally()
    for number in range(PROXIES + 500):
        tally.add(written([conversation(proxy=Endpoint("10.0.0.1", number))]))
    assert tally.conversations == PROXIES + 500
    lines = tally.table().splitlines()
    assert lines[2].split()[:2] == ["others", "500"]
    assert lines[-1].startswith(f"… {PROXIES + 1 - 20} more")


def test_counts_say_what_was_dropped_where_that_is_known() -> None:
    line = counts_line(1234, 1, ["lo", "any"], [Counts(1300, 66), None])
    assert line == "1 conversation in 1,234 packets; lo: 1,300 received, 66 dropped; any: drops not known"
