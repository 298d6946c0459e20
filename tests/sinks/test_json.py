"""JSON output: one record a line, exactly as the standard library would write it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings

from socks5sniff.record import Conversation
from socks5sniff.sinks import Options, Totals, open_sink
from socks5sniff.sinks.record_line import record_line

from .samples import START, conversations, sample


class Flushes(io.StringIO):
    """A stream that keeps what it held at each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def flush(self) -> None:
        self.seen.append(self.getvalue())


def plain(conversation: Conversation) -> str:
    return json.dumps(conversation.as_dict(), separators=(",", ":"))


def written(name: str, *records: Conversation, prompt: bool = False) -> Flushes:
    out = Flushes()
    sink = open_sink(name, out, Options(prompt=prompt))
    for record in records:
        sink.conversation(record)
    sink.close(Totals())
    return out


@settings(max_examples=400, deadline=None)
@given(conversations)
def test_a_line_is_what_json_dumps_gives(conversation: Conversation) -> None:
    assert record_line(conversation) == plain(conversation)


def test_the_typical_record_is_what_json_dumps_gives() -> None:
    assert record_line(sample()) == plain(sample())


@pytest.mark.parametrize("start", [0, 1, 999_999_999, 1_000_000_000, START, 253_402_300_799_999_999_999])
def test_times_keep_their_nanoseconds(start: int) -> None:
    conversation = sample(start_ns=start, end_ns=start + 1)
    assert record_line(conversation) == plain(conversation)


def test_many_different_words_and_seconds_stay_right() -> None:
    """The tables of known words and seconds are bounded; beyond the bound the text is the same."""
    for number in range(3000):
        conversation = sample(method=f"private-{number}", start_ns=START + number * 10**9)
        assert record_line(conversation) == plain(conversation)


def test_a_line_is_printable_ascii_whatever_the_wire_says() -> None:
    nasty = "\x1b[31m\n\u202eevil\udcff é"
    line = record_line(sample(username=nasty))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["username"] == nasty


def test_jsonl_is_one_object_a_line() -> None:
    lines = written("jsonl", sample(), sample(id=2)).getvalue().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [1, 2]


@pytest.mark.parametrize("name", ["jsonl", "json", "csv", "zeek", "accesslog", "frames", "table"])
def test_each_record_is_flushed_when_someone_waits(name: str) -> None:
    out = Flushes()
    sink = open_sink(name, out, Options(prompt=True))
    sink.conversation(sample())
    assert "example.com" in out.seen[-1]
    before = len(out.seen)
    sink.conversation(sample(id=2))
    assert len(out.seen) > before
    assert out.seen[-1] == out.getvalue()


def test_nothing_is_flushed_before_the_end_when_nobody_waits() -> None:
    out = written("jsonl", sample(), sample())
    assert out.seen == [out.getvalue()]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_is_one_array(count: int) -> None:
    array: list[Any] = json.loads(written("json", *[sample(id=number) for number in range(count)]).getvalue())
    assert [record["id"] for record in array] == list(range(count))


@pytest.mark.parametrize("name", ["table", "jsonl", "json", "csv", "zeek", "accesslog", "frames"])
def test_making_a_sink_writes_nothing(name: str) -> None:
    out = io.StringIO()
    open_sink(name, out, Options())
    assert out.getvalue() == ""
