"""CSV, access log and frame list: fields that can be taken apart again, whatever the wire says."""

from __future__ import annotations

import csv
import io
import re
import shlex
from dataclasses import replace

import pytest
from hypothesis import given, settings

from socks5sniff.analysis import Analyser
from socks5sniff.record import Conversation, Endpoint, FrameEntry, Target, Traffic, UdpDestination, UdpTraffic
from socks5sniff.sinks import Options, Totals, open_sink
from socks5sniff.sinks.accesslog import access_line
from socks5sniff.sinks.csv_rows import COLUMNS, row

from ..traffic import PLAIN, SECOND, batches, connection
from .samples import START, conversations, sample

NASTY = "\x1b[31m\n\u202eevil\t,\" '"


def written(name: str, *records: Conversation, options: Options | None = None) -> str:
    out = io.StringIO()
    sink = open_sink(name, out, options or Options())
    for record in records:
        sink.conversation(record)
    sink.close(Totals())
    return out.getvalue()


def cells(conversation: Conversation) -> dict[str, str]:
    return dict(zip(COLUMNS, row(conversation), strict=True))


class TestCsv:
    def test_the_header_names_every_key_of_the_record(self) -> None:
        keys = dict.fromkeys(column.split(".")[0] for column in COLUMNS)
        assert list(keys) == list(replace(sample(), interim=True).as_dict())

    def test_objects_are_spread_and_lists_joined(self) -> None:
        found = cells(sample())
        assert found["client.address"] == "127.0.0.1"
        assert found["client.port"] == "50001"
        assert found["destination.host"] == "example.com"
        assert found["methods"] == "no-authentication username-password"
        assert found["tunnel.alpn"] == "h2 http/1.1"
        assert found["frames"] == "6"
        assert found["anomalies"] == "cleartext-credentials"
        assert found["reversed"] == "false"
        assert found["udp.bytes_sent"] == ""

    def test_udp_destinations_are_host_and_port(self) -> None:
        parties = [UdpDestination("192.0.2.1", 53, 1, 1), UdpDestination("2001:db8::1", 53, 1, 0)]
        found = cells(sample(udp=UdpTraffic(2, 1, 60, 90, 0, parties)))
        assert found["udp.destinations"] == "192.0.2.1:53 [2001:db8::1]:53"
        assert found["udp.bytes_received"] == "90"

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", " ="])
    def test_a_formula_gets_an_apostrophe(self, start: str) -> None:
        assert cells(sample(username=start + "1+1"))["username"] == f"'{start}1+1"

    def test_a_tab_or_return_that_would_start_a_formula_is_escaped(self) -> None:
        assert cells(sample(username="\t=1"))["username"] == r"\t=1"
        assert cells(sample(username="\r=1"))["username"] == r"\r=1"

    def test_a_negative_number_is_a_number(self) -> None:
        assert cells(sample(end_ns=START - 1_000_000_000))["duration"] == "-1.0"

    def test_nasty_text_reads_back_as_one_cell(self) -> None:
        lines = written("csv", sample(username=NASTY)).split("\n")
        assert len(lines) == 3
        assert lines[-1] == ""
        (record,) = csv.DictReader(lines[:2])
        assert record["username"] == r"\x1b[31m\n\u202eevil\t," + "\" '"

    @settings(max_examples=100, deadline=None)
    @given(conversations)
    def test_any_record_is_one_row_of_printable_cells(self, conversation: Conversation) -> None:
        found = row(conversation)
        assert len(found) == len(COLUMNS)
        assert all(cell.isprintable() for cell in found)

    def test_no_conversation_gives_the_header_alone(self) -> None:
        assert written("csv") == ",".join(COLUMNS) + "\n"

    def test_a_spreadsheet_gets_a_mark_of_its_encoding_and_every_cell_in_quotes(self) -> None:
        text = written("csv", sample(username="Zoë; äé"), options=Options(excel=True))
        assert text.startswith('\ufeff"id","parent",')
        assert text.count("\r\n") == text.count("\n") == 2
        assert text.encode().startswith(b"\xef\xbb\xbf")
        (record,) = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
        assert record["username"] == "Zoë; äé"
        assert all(re.fullmatch(r'(?:"(?:[^"]|"")*",)*"(?:[^"]|"")*"', line) for line in text[1:].split("\r\n")[:2])


class TestAccessLog:
    def test_the_fields(self) -> None:
        assert access_line(sample()) == (
            "2026-06-21T00:00:00.123456789Z 127.0.0.1:50001 127.0.0.1:1080 alice username-password connect "
            'example.com:443 succeeded 0 517 4096 1.500000 "succeeded"'
        )

    def test_what_was_not_seen_is_a_dash(self) -> None:
        line = access_line(
            sample(
                username=None,
                method=None,
                command=None,
                destination=None,
                reply=None,
                bytes=None,
                outcome="incomplete",
                phase="greeting",
            )
        )
        assert line.split(" ")[3:11] == ["-", "-", "-", "-", "incomplete", "-", "-", "-"]
        assert line.endswith('"closed by client in greeting"')

    @pytest.mark.parametrize(
        ("user", "shown"), [("", '""'), ("-", r"\x2d"), ("a b", r"a\x20b"), ('a"b', r"a\x22b"), ("a\nb", r"a\nb")]
    )
    def test_user_names_stay_one_field(self, user: str, shown: str) -> None:
        assert access_line(sample(username=user)).split(" ")[3] == shown

    def test_octets_of_an_association_are_its_datagrams(self) -> None:
        line = access_line(sample(bytes=None, udp=UdpTraffic(2, 1, 60, 90, 0, [])))
        assert line.split(" ")[9:11] == ["60", "90"]

    @settings(max_examples=200, deadline=None)
    @given(conversations)
    def test_any_record_has_thirteen_fields(self, conversation: Conversation) -> None:
        conversation.client = conversation.proxy = Endpoint("::1", 1)
        conversation.method = conversation.command = "x"
        line = access_line(conversation)
        assert line.isprintable()
        match = re.fullmatch(r'([^ ]+ ){12}"[^"]*"', line)
        assert match

    def test_a_shell_takes_the_line_apart(self) -> None:
        line = access_line(sample(outcome="auth-failed", reply=None))
        assert shlex.split(line)[-1] == "authentication failed"


class TestFrames:
    def test_a_line_for_each_frame(self) -> None:
        lines = written("frames", sample(id=7)).splitlines()
        assert lines[0].split() == ["FRAME", "TIME", "(UTC)", "#", "SENDER", "TYPE", "SUMMARY"]
        assert len(lines) == 7
        assert lines[5].split(maxsplit=5) == [
            "8",
            "2026-06-21T00:00:00.128456789Z",
            "7",
            "client",
            "request",
            "connect example.com:443",
        ]

    def test_the_header_comes_once(self) -> None:
        assert written("frames", sample(), sample()).count("SUMMARY") == 1
        assert written("frames").count("SUMMARY") == 1

    def test_columns_are_aligned(self) -> None:
        header, *lines = written("frames", sample()).splitlines()
        at = header.index("SUMMARY")
        assert {line[at - 2 : at] for line in lines} == {"  "}
        assert all(line[at] != " " for line in lines)

    def test_a_summary_is_escaped(self) -> None:
        frames = [FrameEntry(1, START, "client", "request", 9, f"connect {NASTY}")]
        lines = written("frames", sample(frames=frames)).splitlines()
        assert len(lines) == 2
        assert lines[1].isprintable()


def test_many_that_came_to_nothing_each_say_who_ended_it() -> None:
    """What is alike but for its end is laid out in columns, and reads like a record by itself."""
    packets = []
    for number in range(30):
        ends = {"client": ("10.0.0.1", 40000 + number), "begin": START + number * SECOND}
        packets += connection(PLAIN[: 1 + number % 3], closing=number % 5 != 4, **ends)
    analyser = Analyser()
    (part,) = batches([(each.time, each.frame()) for each in packets], [1000])
    said = set()
    for batch in (*analyser.take(part), *analyser.finish()):
        assert None in batch.written
        out = io.StringIO()
        open_sink("accesslog", out, Options()).records(batch)
        lines = out.getvalue().splitlines()
        assert lines == [access_line(conversation) for conversation in batch]
        said |= {line.split('"')[1] for line in lines}
    ways = ("closed by client", "still open")
    assert said == {f"{way} in {step}" for way in ways for step in ("greeting", "request")}


def test_ipv6_destinations_are_in_brackets() -> None:
    line = access_line(sample(destination=Target("ipv6", "2001:db8::1", 443), bytes=Traffic(1, 2)))
    assert line.split(" ")[6] == "[2001:db8::1]:443"
