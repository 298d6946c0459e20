"""socks.log: what zeek-cut and other readers of Zeek's logs rely on."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.record import Conversation, Endpoint, ReplyCode, Target
from socks5sniff.sinks import Options, Totals
from socks5sniff.sinks.zeek import FIELDS, ZeekSink, uid

from .samples import START, conversations, sample


def log(*records: Conversation) -> list[str]:
    out = io.StringIO()
    sink = ZeekSink(out, Options(), clock=lambda: 1_800_000_000.0)
    for record in records:
        sink.conversation(record)
    sink.close(Totals())
    return out.getvalue().splitlines()


def columns(conversation: Conversation) -> dict[str, str]:
    """A conversation's columns by name, read from the log as zeek-cut does."""
    lines = log(conversation)
    names = next(line for line in lines if line.startswith("#fields\t")).split("\t")[1:]
    (values,) = [line.split("\t") for line in lines if not line.startswith("#")]
    return dict(zip(names, values, strict=True))


def test_the_header_is_zeeks() -> None:
    assert log(sample())[:8] == [
        "#separator \\x09",
        "#set_separator\t,",
        "#empty_field\t(empty)",
        "#unset_field\t-",
        "#path\tsocks",
        "#open\t2026-06-21-00-00-00",
        "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tversion\tuser\tpassword\tstatus\trequest.host\t"
        "request.name\trequest_p\tbound.host\tbound.name\tbound_p",
        "#types\ttime\tstring\taddr\tport\taddr\tport\tcount\tstring\tstring\tstring\taddr\tstring\tport\taddr\t"
        "string\tport",
    ]


def test_two_records_have_one_header() -> None:
    lines = log(sample(), sample(id=2))
    assert [line.partition("\t")[0].partition(" ")[0] for line in lines if line.startswith("#")] == [
        "#separator", "#set_separator", "#empty_field", "#unset_field", "#path", "#open", "#fields", "#types", "#close",
    ]  # fmt: skip
    assert [line.startswith("#") for line in lines[8:]] == [False, False, True]


def test_the_log_ends_with_the_time_of_the_last_packet() -> None:
    assert log(sample(), sample())[-1] == "#close\t2026-06-21-00-00-01"


def test_a_log_without_conversations_is_stamped_by_the_clock() -> None:
    lines = log()
    assert len(lines) == 9
    assert lines[5] == "#open\t2027-01-15-08-00-00"
    assert lines[8] == "#close\t2027-01-15-08-00-00"


def test_the_columns_of_a_connect() -> None:
    found = columns(sample())
    assert found.pop("uid").startswith("C")
    assert found == {
        "ts": "1782000000.126456",  # of the authentication, the first thing that Zeek notes
        "id.orig_h": "127.0.0.1",
        "id.orig_p": "50001",
        "id.resp_h": "127.0.0.1",
        "id.resp_p": "1080",
        "version": "5",
        "user": "alice",
        "password": "-",
        "status": "succeeded",
        "request.host": "-",
        "request.name": "example.com",
        "request_p": "443",
        "bound.host": "192.0.2.7",
        "bound.name": "-",
        "bound_p": "40000",
    }


def test_orig_is_the_side_that_opened_tcp() -> None:
    found = columns(sample(client=Endpoint("192.0.2.1", 1), proxy=Endpoint("192.0.2.2", 2), reversed=True))
    assert (found["id.orig_h"], found["id.resp_h"]) == ("192.0.2.2", "192.0.2.1")


def test_the_password_is_unset_unless_shown() -> None:
    assert columns(sample(password="hunter2"))["password"] == "hunter2"
    assert columns(sample(password="********"))["password"] == "-"


@pytest.mark.parametrize(
    ("protocol", "code", "status"),
    [
        ("socks5", 0, "succeeded"),
        ("socks5", 1, "general SOCKS server failure"),
        ("socks5", 5, "Connection refused"),
        ("socks5", 0xF0, "unknown-240"),
        ("socks4", 90, "succeeded"),
        ("socks4a", 91, "general SOCKS server failure"),
        ("socks4", 92, "request failed because client is not running identd"),
    ],
)
def test_status_in_zeeks_words(protocol: str, code: int, status: str) -> None:
    assert columns(sample(protocol=protocol, reply=ReplyCode(code, "as we name it")))["status"] == status


def test_status_without_a_reply() -> None:
    assert columns(sample(reply=None, outcome="auth-failed"))["status"] == "authentication failed"
    assert columns(sample(reply=None, outcome="no-acceptable-method"))["status"] == "no acceptable method"
    assert columns(sample(reply=None, outcome="incomplete"))["status"] == "-"


def test_socks4_has_its_version_and_user_id() -> None:
    assert columns(sample(protocol="socks4a", username="bob"))["version"] == "4"
    assert columns(sample(protocol="socks4", username="bob"))["user"] == "bob"
    assert columns(sample(protocol="socks4", username=""))["user"] == "-"


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        (None, "-"),
        ("", "(empty)"),
        ("-", r"\x2d"),
        ("(empty)", r"\x28empty)"),
        ("a\tb", r"a\x09b"),
        ("a\nb", r"a\x0ab"),
        ("a\\b", r"a\x5cb"),
        (r"a\xffb", r"a\xffb"),  # how a record shows an octet that is not UTF-8
        ("é", "é"),
        ("\u202e", r"\xe2\x80\xae"),
        ("\x1b[0m", r"\x1b[0m"),
        ("\udcff", r"\xed\xb3\xbf"),
    ],
)
def test_strings_are_escaped_as_zeek_does(user: str | None, shown: str) -> None:
    assert columns(sample(username=user))["user"] == shown


@given(st.text())
def test_any_name_stays_one_printable_column(name: str) -> None:
    found = columns(sample(username=name, destination=Target("domain", name, 1), bound=Target("domain", name, 2)))
    assert found["user"].isprintable()
    assert found["request.name"] == found["bound.name"]


@settings(max_examples=100, deadline=None)
@given(conversations)
def test_any_record_has_all_columns(conversation: Conversation) -> None:
    conversation.client = conversation.proxy = Endpoint("::1", 1)
    conversation.destination = conversation.bound = None
    assert list(columns(conversation)) == list(FIELDS)


def test_a_uid_is_stable_and_differs_between_connections() -> None:
    assert uid(sample()) == uid(sample(outcome="rejected"))
    assert len({uid(sample()), uid(sample(id=2)), uid(sample(start_ns=START + 1))}) == 3
    assert len(uid(sample())) == 18
    assert uid(sample()).isalnum()


def expectations() -> list[dict[str, str]]:
    path = Path(__file__).resolve().parents[3] / "shared" / "captures" / "zeek" / "expected.tsv"
    if not path.exists():
        return []
    return list(csv.DictReader(path.open(encoding="utf-8"), delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize("expected", expectations(), ids=lambda expected: expected["file"])
def test_zeeks_captures_give_zeeks_fields(shared_captures: Path, expected: dict[str, str]) -> None:
    from socks5sniff import read

    (conversation,) = read(str(shared_captures / "zeek" / expected["file"]))
    found = columns(conversation)
    del found["ts"], found["uid"]
    assert {"file": expected["file"], **found} == expected
