"""Conversations in words: the ladder, what is wrong and why, and a whole capture by causes."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socks5sniff.codec.codes import ANOMALIES, REPLIES, SOCKS4_REPLIES
from socks5sniff.explain import Overview, conversation_text, findings, ladder, overview_text
from socks5sniff.explain.findings import MAX_FRAMES, SLOW
from socks5sniff.explain.ladder import MAX_STEPS
from socks5sniff.explain.overview import MAX_EXAMPLES
from socks5sniff.explain.reasons import ANOMALY_REASONS, ENDING_REASONS, REPLY_REASONS, Reason, refusing_codes
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
    UdpDestination,
    UdpTraffic,
)

from ..sinks.samples import conversations, sample

SECOND = 1_000_000_000
START = 1_795_336_741 * SECOND


def frame(number: int, sender: str, kind: str, summary: str = "", at: float = 0.0) -> FrameEntry:
    return FrameEntry(number, START + round(at * SECOND), sender, kind, 10, summary or kind)


HANDSHAKE = [
    frame(4, "client", "greeting", "Greeting: no-authentication", 0.1),
    frame(6, "proxy", "method-selection", "Method selection: no-authentication", 0.2),
    frame(8, "client", "request", "Request: CONNECT example.com:443", 0.3),
    frame(10, "proxy", "reply", "Reply: succeeded", 0.8),
]


def made(**changes: Any) -> Conversation:
    """A conversation that succeeded and has nothing odd about it."""
    facts: dict[str, Any] = {
        "id": 3,
        "parent": None,
        "protocol": "socks5",
        "client": Endpoint("192.0.2.10", 40000),
        "proxy": Endpoint("192.0.2.1", 1080),
        "reversed": False,
        "start_ns": START,
        "end_ns": START + 2 * SECOND,
        "phase": "relay",
        "outcome": "succeeded",
        "methods": ["no-authentication"],
        "method": "no-authentication",
        "username": None,
        "command": "connect",
        "destination": Target("domain", "example.com", 443),
        "reply": ReplyCode(0, "succeeded"),
        "bound": Target("ipv4", "192.0.2.1", 5000),
        "tunnel": Tunnel("tls", "example.com"),
        "bytes": Traffic(10, 100),
        "udp": None,
        "timing": Timing(0.001, 0.1, None, 0.5, 0.2),
        "close": "fin",
        "closed_by": "client",
        "first_frame": 1,
        "last_frame": 20,
        "frames": HANDSHAKE,
        "anomalies": [],
        "upstream": None,
    }
    return sample(**{**facts, **changes})


def rejected(code: int, name: str, **changes: Any) -> Conversation:
    return made(outcome="rejected", phase="request", reply=ReplyCode(code, name), tunnel=None, bytes=None, **changes)


class TestReasons:
    def test_there_is_one_for_every_anomaly(self) -> None:
        assert ANOMALY_REASONS.keys() == ANOMALIES.keys()

    def test_there_is_one_for_every_reply_that_refuses(self) -> None:
        assert REPLY_REASONS.keys() == refusing_codes()
        assert refusing_codes() == REPLIES.keys() - {0} | SOCKS4_REPLIES.keys() - {90}

    @pytest.mark.parametrize("reasons", [ANOMALY_REASONS, REPLY_REASONS, ENDING_REASONS])
    def test_each_has_causes_and_advice(self, reasons: dict[object, Reason]) -> None:
        for reason in reasons.values():
            assert reason.causes
            assert all(cause and not cause.endswith(".") for cause in reason.causes)
            assert reason.advice.endswith(".")


class TestFindings:
    def test_all_is_well(self) -> None:
        assert findings(made()) == []

    def test_a_refusal(self) -> None:
        (found,) = findings(rejected(5, "connection refused"))
        assert (found.code, found.severity, found.frames) == ("reply-5", "error", (8, 10))
        assert found.sentence == "The proxy refused CONNECT to example.com:443: connection refused (code 5)"
        assert found.causes[0] == "nothing listens on that port"
        assert "example.com:443" in found.advice

    @pytest.mark.parametrize("code", sorted(REPLY_REASONS))
    def test_every_refusal(self, code: int) -> None:
        name = REPLIES.get(code) or SOCKS4_REPLIES[code]
        first = findings(rejected(code, name))[0]
        assert (first.code, first.severity) == (f"reply-{code}", "error")
        assert name in first.sentence
        assert not set("{}") & set("".join([first.sentence, first.advice, *first.causes]))

    def test_a_refusal_of_no_table(self) -> None:
        first = findings(rejected(0x33, "unassigned 0x33"))[0]
        assert first.code == "reply-51"
        assert "codes of its own" in first.causes[0]

    def test_a_wrong_password(self) -> None:
        frames = [*HANDSHAKE[:2], frame(8, "client", "auth-request"), frame(9, "proxy", "auth-reply")]
        entry = AnomalyEntry("auth-failed", "note", 9, "the proxy refused the credentials")
        found = findings(
            made(outcome="auth-failed", phase="authentication", username="alice", frames=frames, anomalies=[entry])
        )
        assert [(finding.code, finding.severity, finding.frames) for finding in found] == [
            ("auth-failed", "error", (8, 9))
        ]
        assert found[0].sentence == "The proxy refused the user name and password of 'alice'"

    def test_no_method_in_common(self) -> None:
        entry = AnomalyEntry("no-acceptable-method", "note", 6, "")
        found = findings(
            made(outcome="no-acceptable-method", phase="greeting", frames=HANDSHAKE[:2], anomalies=[entry])
        )
        assert [(finding.code, finding.frames) for finding in found] == [("no-acceptable-method", (4, 6))]
        assert "(no-authentication)" in found[0].sentence
        assert "192.0.2.1:1080" in found[0].advice

    @pytest.mark.parametrize(
        ("close", "closed_by", "end", "phase", "code", "words"),
        [
            (
                "fin",
                "proxy",
                0.4,
                "request",
                "ended-without-reply",
                "The proxy closed the connection before",
            ),
            (
                "reset",
                "proxy",
                0.4,
                "greeting",
                "ended-by-proxy",
                "The proxy reset the connection before",
            ),
            ("fin", "client", 0.4, "request", "ended-by-client", "The client closed the connection before"),
            ("fin", "client", 9.3, "request", "ended-unanswered", "never came: after 9.0 s the client closed"),
            (
                "reset",
                None,
                0.4,
                "authentication",
                "ended-by-proxy",
                "One side reset the connection before",
            ),
            ("open", None, 0.4, "request", "capture-ended", "The capture ends before the proxy's reply"),
        ],
    )
    def test_an_early_end(
        self, close: str, closed_by: str | None, end: float, phase: str, code: str, words: str
    ) -> None:
        c = made(
            outcome="incomplete",
            phase=phase,
            reply=None,
            bytes=None,
            frames=HANDSHAKE[:3],
            close=close,
            closed_by=closed_by,
            end_ns=START + round(end * SECOND),
        )
        (found,) = findings(c)
        assert found.code == code
        assert words in found.sentence
        assert 20 in found.frames

    def test_another_protocol_on_the_port(self) -> None:
        entry = AnomalyEntry("not-socks-on-socks-port", "warning", 4, "HTTP on a SOCKS port")
        (found,) = findings(made(outcome="incomplete", phase=None, anomalies=[entry], frames=[]))
        assert (found.code, found.severity, found.sentence, found.frames) == (
            "not-socks-on-socks-port",
            "error",
            "HTTP on a SOCKS port",
            (4,),
        )

    def test_half_a_frame(self) -> None:
        entry = AnomalyEntry("half-frame", "warning", 10, "the proxy closed after 4 octets of the reply")
        (found,) = findings(made(outcome="incomplete", phase="request", anomalies=[entry]))
        assert (found.code, found.severity) == ("half-frame", "error")

    def test_what_cannot_be_read(self) -> None:
        entries = [
            AnomalyEntry("split-frame", "note", 4, "in pieces"),
            AnomalyEntry("bad-version", "error", 8, "version 2, not 5"),
        ]
        found = findings(made(outcome="malformed", anomalies=entries))
        assert [finding.code for finding in found] == ["bad-version", "split-frame"]
        (alone,) = findings(made(outcome="malformed"))
        assert (alone.code, alone.frames) == ("malformed", (20,))

    def test_closed_without_data(self) -> None:
        silent = made(bytes=Traffic(10, 0), closed_by="proxy")
        (found,) = findings(silent)
        assert (found.code, found.severity, found.frames) == ("closed-without-data", "note", (10, 20))
        assert "without one octet from example.com:443" in found.sentence
        entry = AnomalyEntry("closed-without-data", "note", 20, "the proxy closed 3 ms after its reply")
        (found,) = findings(replace(silent, anomalies=[entry]))
        assert found.sentence == "The proxy closed 3 ms after its reply"
        assert findings(replace(silent, closed_by="client")) == []
        assert findings(made(bytes=Traffic(10, 1), closed_by="proxy")) == []

    def test_udp_one_way(self) -> None:
        party = UdpDestination("10.0.0.1", 53, 2, 0)
        association = {"command": "udp-associate", "bytes": None}
        (found,) = findings(made(udp=UdpTraffic(2, 0, 20, 0, 0, [party]), **association))
        assert (found.code, found.severity) == ("udp-one-way", "warning")
        assert found.sentence == "2 datagrams went to the relay and none came back"
        (found,) = findings(made(udp=UdpTraffic(1, 0, 20, 0, 0, [party]), **association))
        assert found.sentence.startswith("1 datagram went")
        assert findings(made(udp=UdpTraffic(2, 1, 20, 5, 0, [party]), **association)) == []
        (found,) = findings(made(udp=UdpTraffic(0, 0, 0, 0, 0, []), **association))
        assert found.code == "udp-unused"
        assert "192.0.2.1:5000" in found.sentence

    def test_a_slow_proxy(self) -> None:
        (found,) = findings(made(timing=Timing(request=SLOW)))
        assert (found.code, found.frames) == ("slow-request", (8, 10))
        assert findings(made(timing=Timing(request=SLOW - 0.01))) == []

    @pytest.mark.parametrize("code", ANOMALIES)
    def test_every_anomaly(self, code: str) -> None:
        """Each is told once, with all its frames, whether the record has words for it or not."""
        entries = [AnomalyEntry(code, ANOMALIES[code].severity, number, "") for number in range(30, 42)]
        (found,) = findings(made(anomalies=entries))
        assert (found.code, found.severity) == (code, ANOMALIES[code].severity)
        assert found.sentence[0].isupper()
        assert ANOMALIES[code].description[1:] in found.sentence
        assert "(and 11 more times)" in found.sentence
        assert found.frames == tuple(range(30, 30 + MAX_FRAMES))
        assert found.causes
        assert found.advice

    def test_the_worst_comes_first(self) -> None:
        codes = ["split-frame", "cleartext-credentials", "method-not-offered"]
        entries = [AnomalyEntry(code, ANOMALIES[code].severity, 4, "") for code in codes]
        assert [finding.code for finding in findings(made(anomalies=entries))] == codes[::-1]
        refused = [
            finding.code for finding in findings(rejected(2, "connection not allowed by ruleset", anomalies=entries))
        ]
        assert refused == ["reply-2", *codes[::-1]]


class TestLadder:
    def test_the_lines(self) -> None:
        entry = AnomalyEntry("early-data", "note", 8, "")
        lines = ladder(made(anomalies=[entry]))
        assert lines[0] == "   FRAME     SECONDS          +  CLIENT       PROXY        DESTINATION"
        assert [line[:31].split() for line in lines[1:]] == [
            ["1", "0.000000", "0.000000"],
            ["4", "0.100000", "0.100000"],
            ["6", "0.200000", "0.100000"],
            ["8", "0.300000", "0.100000"],
            ["10", "0.800000", "0.500000"],
            [],
            ["20", "2.000000", "1.200000"],
        ]
        assert [line[33:] for line in lines[1:]] == [
            "|----------->|            |  connection, in 0.001000 s",
            "|----------->|            |  Greeting: no-authentication",
            "|<-----------|            |  Method selection: no-authentication",
            "|----------->|            |  Request: CONNECT example.com:443  ! early-data",
            "|<-----------|            |  Reply: succeeded",
            "|<=======================>|  tls example.com: 10 octets sent, 100 received",
            "|----------->|            |  closed by the client",
        ]

    def test_the_proxys_own_connection(self) -> None:
        upstream = {"destination": {"address": "10.0.0.9", "port": 443}, "outcome": "refused"}
        lines = ladder(rejected(5, "connection refused", upstream=upstream))
        at = next(number for number, line in enumerate(lines) if "Request" in line)
        assert (
            lines[at + 1].split("|", 1)[1]
            == "            |----------->|  the proxy's connection to 10.0.0.9:443: refused"
        )

    def test_what_is_odd_has_its_place(self) -> None:
        entries = [
            AnomalyEntry("late-close", "note", 20, ""),
            AnomalyEntry("conflicting-retransmission", "warning", 15, ""),
        ]
        entries += [AnomalyEntry("split-frame", "note", 5, "")]
        lines = ladder(made(anomalies=entries, closed_by="proxy", close="reset"))
        assert [line.split()[0] for line in lines[1:]] == [
            "1",
            "4",
            "5",
            "6",
            "8",
            "10",
            "|<=======================>|",
            "15",
            "20",
        ]
        assert lines[-1].endswith("|<-----------|            |  reset by the proxy  ! late-close")

    def test_datagrams(self) -> None:
        parties = [UdpDestination("10.0.0.1", 53, 2, 1), UdpDestination("10.0.0.2", 123, 1, 0)]
        datagrams = [frame(12, "client", "udp", "UDP to 10.0.0.1:53", 0.9), frame(13, "proxy", "udp", "UDP from", 1.0)]
        c = made(udp=UdpTraffic(3, 1, 30, 10, 0, parties), bytes=None, frames=[*HANDSHAKE, *datagrams])
        lines = ladder(c)
        assert [line.rpartition("|  ")[2] for line in lines[6:]] == [
            "2 datagrams to 10.0.0.1:53, 1 back",
            "1 datagrams to 10.0.0.2:123, 0 back",
            "UDP to 10.0.0.1:53",
            "UDP from",
            "closed by the client",
        ]

    def test_it_goes_by_frames_where_clocks_disagree(self) -> None:
        swapped = [HANDSHAKE[0], HANDSHAKE[1]._replace(time_ns=START - SECOND), *HANDSHAKE[2:]]
        lines = ladder(made(frames=swapped))
        assert [int(line.split()[0]) for line in lines[1:6]] == [1, 4, 6, 8, 10]
        assert "-1.000000" in lines[3]

    def test_other_openings_and_ends(self) -> None:
        assert "|<-----------|" in ladder(made(reversed=True))[1]
        assert ladder(made(parent=1))[1].endswith(", inside the tunnel of conversation 1")
        assert ladder(made(close="open", closed_by=None))[-1].endswith("still open when the capture ends")
        assert ladder(made(timing=Timing()))[1].endswith("|  connection")

    def test_thousands_of_frames(self) -> None:
        many = [frame(number, "client", "udp", f"datagram {number}") for number in range(100, 5100)]
        lines = ladder(made(frames=[*HANDSHAKE, *many]))
        assert len(lines) <= MAX_STEPS + 2
        shown = sum(line.lstrip()[:1].isdigit() for line in lines)
        (said,) = (line for line in lines if "more frames" in line)
        hidden = int(said.split("… ")[1].split()[0].replace(",", ""))
        assert shown + hidden + 1 == 1 + 4 + 1 + 5000 + 1

    def test_what_came_from_the_wire_is_escaped(self) -> None:
        wild = made(
            username="a\x1b[31m\n",
            destination=Target("domain", "e\u202evil\n.test", 1),
            tunnel=Tunnel("tls", "x\x07"),
            frames=[frame(4, "client", "greeting", "\x1b]0;\n")],
        )
        text = conversation_text(wild) + "".join(ladder(wild))
        assert all(character.isprintable() or character == "\n" for character in text)


class TestText:
    def test_a_conversation(self) -> None:
        text = conversation_text(rejected(5, "connection refused", username="alice"))
        assert text.startswith(
            "Conversation 3: 192.0.2.10:40000 as alice through 192.0.2.1:1080 to example.com:443, SOCKS5, rejected\n"
        )
        assert (
            "1. error: The proxy refused CONNECT to example.com:443: connection refused (code 5) [frames 8, 10]" in text
        )
        assert "\n   Likely: nothing listens on that port; or " in text
        assert "\n   Try: From the proxy's host: `ncat -v` to example.com:443." in text

    def test_nothing_wrong(self) -> None:
        assert conversation_text(made()).endswith("Nothing is wrong with it.\n")

    def test_no_line_is_too_long(self) -> None:
        for code in ANOMALIES:
            text = conversation_text(made(anomalies=[AnomalyEntry(code, "note", 4, "")]))
            assert max(map(len, text.partition("DESTINATION")[2].partition("1. ")[2].splitlines())) <= 100


class TestOverview:
    def test_nothing(self) -> None:
        assert overview_text(Overview().as_dict()) == "No SOCKS conversation\n"

    def test_by_causes_the_commonest_first(self) -> None:
        overview = Overview()
        entry = AnomalyEntry("cleartext-credentials", "warning", 5, "user name and password crossed in clear")
        for number in range(3):
            overview.add(made(id=number))
        for number in range(3, 10):
            overview.add(rejected(5, "connection refused", id=number))
        overview.add(rejected(2, "connection not allowed by ruleset", id=10, anomalies=[entry]))
        overview.add(made(id=11, anomalies=[entry]))
        found = overview.as_dict()
        assert {name: found[name] for name in ("conversations", "succeeded", "fine", "failed")} == {
            "conversations": 12,
            "succeeded": 4,
            "fine": 3,
            "failed": 8,
        }
        assert [(group["code"], group["count"]) for group in found["failures"]] == [("reply-5", 7), ("reply-2", 1)]
        assert [(group["code"], group["count"]) for group in found["oddities"]] == [("cleartext-credentials", 2)]
        assert found["failures"][0]["conversations"] == list(range(3, 3 + MAX_EXAMPLES))
        assert found["failures"][0]["destinations"] == {"example.com:443": 7}
        json.dumps(found)
        text = overview_text(found)
        assert text.startswith("12 conversations: 4 succeeded, 8 did not\n")
        assert text.index("connection refused") < text.index("connection not allowed") < text.index("What is odd")
        assert "(conversations 3, 4, 5, 6, 7, …; code reply-5)" in text
        assert text.endswith("3 succeeded with nothing to say about them\n")

    def test_places(self) -> None:
        overview = Overview()
        for number in range(1500):
            overview.add(rejected(5, "connection refused", destination=Target("domain", f"{number % 1200}.test", 1)))
        (group,) = overview.as_dict()["failures"]
        assert group["count"] == 1500
        assert group["destinations"] == {"0.test:1": 2, "1.test:1": 2, "10.test:1": 2}, "equal ones by name"
        assert "Mostly to: 0.test:1 (2), 1.test:1 (2), 10.test:1 (2)" in overview_text(overview.as_dict())

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(conversations, max_size=16), st.lists(st.integers(0, 2), min_size=16, max_size=16), st.randoms())
    def test_parts_merge_to_the_whole(self, found: list[Conversation], part: list[int], order: Random) -> None:
        """Whatever is counted where, and in whichever order."""
        for number, conversation in enumerate(found):
            conversation.id = number
        whole = Overview()
        for conversation in found:
            whole.add(conversation)
        parts = [Overview() for _ in range(3)]
        shuffled = [*zip(found, part, strict=False)]
        order.shuffle(shuffled)
        for conversation, number in shuffled:
            parts[number].add(conversation)
        merged = Overview()
        for each in parts:
            each.attempt(Endpoint("192.0.2.1", 1080), "refused")
            whole.attempt(Endpoint("192.0.2.1", 1080), "refused")
            merged.merge(pickle.loads(pickle.dumps(each)))
        assert merged.as_dict() == whole.as_dict()

    def test_proxies_that_were_not_reached(self) -> None:
        overview = Overview()
        for outcome in ("refused", "refused", "unanswered"):
            overview.attempt(Endpoint("2001:db8::1", 1080), outcome)
        found = overview.as_dict()["attempts"]
        assert [(attempt["outcome"], attempt["count"]) for attempt in found] == [("refused", 2), ("unanswered", 1)]
        text = overview_text(overview.as_dict())
        assert "2 connections to [2001:db8::1]:1080 refused\n   Likely: nothing listens there" in text


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conversations)
def test_any_record_can_be_told(c: Conversation) -> None:
    """Whatever is missing in it or comes from the wire: no error, and nothing a terminal would obey."""
    overview = Overview()
    overview.add(c)
    found = overview.as_dict()
    text = conversation_text(c) + overview_text(found)
    assert all(character.isprintable() or character == "\n" for character in text)
    json.dumps(found)
    assert found["failed"] == (c.outcome != "succeeded")
