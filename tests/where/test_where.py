"""The expression that chooses conversations: what it matches, and what it says of a mistake."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socks5sniff.record import (
    Conversation,
)
from socks5sniff.record.fields import RECORD, Kind, names
from socks5sniff.where import Expression, ExpressionError, compile_expression
from socks5sniff.where.syntax import MAX_DEPTH, MAX_LENGTH

from ..sinks.samples import conversations
from .samples import SAMPLE, UDP


def holds(text: str, conversation: Conversation = SAMPLE) -> bool:
    return compile_expression(text)(conversation)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("id == 7", True),
        ("id != 7", False),
        ("id < 7", False),
        ("id <= 7", True),
        ("id > 6", True),
        ("id >= 8", False),
        ("id eq 7", True),
        ("id ne 7", False),
        ("id lt 8", True),
        ("id le 6", False),
        ("id gt 7", False),
        ("id ge 7", True),
        ("id == 0x7", True),
        ("timing.request > 0.2", True),
        ("timing.request > 2.5e-1", False),
        ("timing.request >= 2.5e-1", True),
        ("duration == 2.5", True),
        ("duration > -1", True),
        ("id == 7.0", True),
    ],
)
def test_numbers(text: str, matches: bool) -> None:
    assert holds(text) is matches


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ('username == "Alice"', True),
        ("username == 'Alice'", True),
        ("username == Alice", True),
        ("username == alice", False),
        ("username != bob", True),
        ("username contains lic", True),
        ("username contains LIC", False),
        ("username matches '^a.*E$'", True),
        ("username ~ r'^a\\w+$'", True),
        ('username ~ "^a\\w+$"', True),
        ("username ~ '^b'", False),
        (r'username == "\x41lice"', True),
        (r'username == "\u0041lice"', True),
        (r'username == "Ali\"ce"', False),
        (r'username != "\xy"', True),
        (r'username != "\u00zz"', True),
        ("outcome == rejected", True),
        ("command == connect", True),
        ("tunnel.detail contains 'TLS 1.3'", True),
        ("community_id contains ':'", True),
    ],
)
def test_texts(text: str, matches: bool) -> None:
    assert holds(text) is matches


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("client == 192.0.2.10", True),
        ("client == 192.0.2.0/24", True),
        ("client == 192.0.2.77/24", True),
        ("client == '192.0.2.10'", True),
        ("client != 192.0.2.0/24", False),
        ("client in 192.0.2.0/24", True),
        ("client in {10.0.0.0/8, 192.0.2.0/24}", True),
        ("client in {192.0.2.1..192.0.2.20}", True),
        ("client in {192.0.2.11..192.0.2.20}", False),
        ("client not in {192.0.2.1..192.0.2.20}", False),
        ("client > 192.0.2.9", True),
        ("client > 2001:db8::", False),
        ("client == 2001:db8::/32", False),
        ("client.address contains '192.0'", True),
        ("client.port == 50000", True),
        ("proxy == 2001:db8::1", True),
        ("proxy == 2001:DB8:0:0::1", True),
        ("proxy in 2001:db8::/32", True),
        ("proxy in {2001:db8::1..2001:db8::ff}", True),
        ("proxy == 2001:db8::2", False),
        ("destination == www.example.com", True),
        ("destination.host == WWW.EXAMPLE.COM", True),
        ("destination.host contains 'EXAMPLE'", True),
        ("destination.host matches '[.]com$'", True),
        ("destination == 10.0.0.0/8", False),
        ("destination != 10.0.0.0/8", True),
        ("destination < 10.0.0.0", False),
        ("bound == 10.0.0.0/8", True),
        ("bound.host in {example.com, 10.1.2.3}", True),
        ("destination.type == domain", True),
        ("tunnel.server_name == www.example.com", True),
    ],
)
def test_addresses_and_hosts(text: str, matches: bool) -> None:
    assert holds(text) is matches


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("reply == 5", True),
        ("reply.code == 5", True),
        ("reply.code in {1..4, 6..8}", False),
        ("reply.code in {1..4 5}", True),
        ("reply.code in {5}", True),
        ("reply.code in {5,}", True),
        ("reply.code in 5", True),
        ("reply.code not in {5}", False),
        ("reply.code NOT  IN {6}", True),
        ("reply.name contains refused", True),
        ("tunnel == tls", True),
        ("process == curl", True),
        ("process.pid == 42", True),
        ("outcome in {rejected, malformed}", True),
        ("method == username-password", True),
        ("methods == private-0x91", True),
        ("timing.request in {0.2..0.3}", True),
    ],
)
def test_members_and_keys_that_stand_for_others(text: str, matches: bool) -> None:
    assert holds(text) is matches


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("anomalies", True),
        ("anomalies == late-close", True),
        ("anomalies != late-close", False),  # one is
        ("anomalies != split-frame", True),  # none is
        ("anomalies.severity == note", True),
        ("anomalies.frame > 10", True),
        ("anomalies[code == late-close]", True),
        ("anomalies[code == late-close and severity == warning]", False),  # not the same one
        ("anomalies.code == late-close and anomalies.severity == warning", True),
        ("not anomalies[code == late-close]", False),
        ("anomalies[not code == late-close]", True),
        ("methods == no-authentication", True),
        ("methods contains password", True),
        ("tunnel.alpn == h2", True),
        ("tunnel.alpn in {h3}", False),
        ("frames == reply", True),
        ("frames[type == reply and sender == proxy].x", None),
        ("frames[type == reply and sender == client]", False),
        ("frames.length > 9", True),
        ("udp", False),
        ("udp.destinations", False),
        ("udp.destinations == 10.0.0.1", False),
        ("destination[host == www.example.com and port == 443]", True),
        ("destination[host == www.example.com and port == 80]", False),
        ("peer[port == 1]", False),
    ],
)
def test_lists(text: str, matches: bool | None) -> None:
    if matches is None:
        with pytest.raises(ExpressionError):
            holds(text)
    else:
        assert holds(text) is matches


def test_destinations_of_an_association() -> None:
    association = replace(SAMPLE, udp=UDP)
    assert holds("udp.destinations[host == 10.0.0.1 and port == 53]", association)
    assert not holds("udp.destinations[host == 10.0.0.1 and port == 123]", association)
    assert holds("udp.destinations.port == 123 and udp.destinations in 10.0.0.0/24", association)
    assert holds("udp.datagrams_received < udp.datagrams_sent", association)
    assert not holds("udp.destinations", replace(association, udp=UDP._replace(destinations=[])))


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("peer", False),
        ("not peer", True),
        ("peer == 10.0.0.1", False),
        ("peer != 10.0.0.1", False),  # what is not there is not compared
        ("not peer == 10.0.0.1", True),
        ("peer not in {10.0.0.1}", True),
        ("reversed", False),
        ("reversed == false", True),
        ("reversed == TRUE", False),
        ("authenticated", True),
        ("parent", False),
        ("bytes", True),
        ("bytes.received", True),  # it is there, and zero
        ("reply.code", True),
        ("upstream.outcome == refused", False),
        ("proxy_header", False),
        ("network == 'vlan 10'", False),
    ],
)
def test_what_is_there_and_what_is_not(text: str, matches: bool) -> None:
    assert holds(text) is matches


def test_upstream_is_plain_values() -> None:
    ends = {"address": "10.0.0.1", "port": 5}, {"address": "10.0.0.2", "port": 80}
    upstream = {"source": ends[0], "destination": ends[1], "matched_by": "octets", "outcome": "refused"}
    conversation = replace(SAMPLE, upstream=upstream)
    assert holds("upstream.destination == 10.0.0.2 and upstream.destination.port == 80", conversation)
    assert holds("upstream.outcome == refused and upstream.matched_by == octets", conversation)
    assert not holds("upstream.source == 10.0.0.2", conversation)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("bytes.sent > bytes.received", True),
        ("bytes.sent == bytes.received", False),
        ("tunnel.server_name == destination.host", True),  # names have no case
        ("client.address == bound.host", False),
        ("client.address != bound.host", True),
        ("client.port > proxy.port", True),
        ("peer.port == proxy.port", False),
        ("frames.frame > anomalies.frame", True),
        ("frames.frame != anomalies.frame", True),
        ("client.address < bound.host", False),
    ],
)
def test_keys_beside_each_other(text: str, matches: bool) -> None:
    assert holds(text) is matches


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("start > '2026-11-22'", True),
        ("start < '2026-11-22T08:39'", False),
        ("start == '2026-11-22 08:39:01.5'", True),
        ("start == '2026-11-22T08:39:01.500000000Z'", True),
        ("end in {'2026-11-22 08:39:03'..'2026-11-22 08:39:04'}", True),
        ("frames[time == '2026-11-22 08:39:03' and type == reply]", True),
        ("start < end", True),
    ],
)
def test_times(text: str, matches: bool) -> None:
    assert holds(text) is matches


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("id == 7 and id == 8", False),
        ("id == 7 or id == 8", True),
        ("id == 8 or id == 8 or id == 7", True),
        ("id == 7 && id == 7 && id == 8", False),
        ("id == 7 || id == 8", True),
        ("id == 7 or id == 7 and id == 8", True),  # `and` binds closer
        ("(id == 7 or id == 7) and id == 8", False),
        ("not id == 8 and id == 7", True),
        ("not (id == 8 or id == 7)", False),
        ("!(id == 8)", True),
        ("!peer&&!reversed", True),
        ("not not anomalies", True),
        ("AND_ == 1", None),
        ("id == 7 AND NOT id == 8 Or peer", True),
        (" \t\n id == 7 \n", True),
    ],
)
def test_logic(text: str, matches: bool | None) -> None:
    if matches is None:
        with pytest.raises(ExpressionError):
            holds(text)
    else:
        assert holds(text) is matches


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 0, "a key of the record is expected"),
        ("reply.cod == 5", 0, "did you mean reply.code"),
        ("id == 1 and repyl", 12, "did you mean reply"),
        ("zzzzzz", 0, "there is no key 'zzzzzz'"),
        ("reply.code = 5", 11, "'=' is not understood"),
        ("reply.code ==", 13, "a value is expected"),
        ("reply.code 5", 11, "an operator"),
        ("(id == 1", 8, "`)` is expected"),
        ("id == 1)", 7, "not ')'"),
        ("id in {1", 8, "another value or `}`"),
        ("id in {}", 7, "a value is expected"),
        ("anomalies[code == late-close", 28, "`]` is expected"),
        ("anomalies[cod == late-close]", 10, "there is no key 'cod' in anomalies; did you mean code"),
        ("anomalies[]", 10, "a key of the record is expected"),
        ("id[port == 1]", 0, "id has no keys inside"),
        ("anomalies[code == late-close] == 5", 30, "nothing can be compared with it"),
        ("id == x", 6, "a number is expected, not 'x'"),
        ("id == '7'", 6, "a number is expected"),
        ("id contains 7", 3, "`contains` looks into text, and this is a number"),
        ("id matches 7", 3, "`matches` looks into text"),
        ("username > a", 9, "text has no order"),
        ("username in {a..b}", 13, "text has no ranges"),
        ("reversed == maybe", 12, "true or false is expected"),
        ("reversed < true", 9, "true or false has no order"),
        ("outcome == rejcted", 11, "did you mean rejected?"),
        ("outcome in {succeeded, gone}", 23, "it never is 'gone'; there is auth-failed"),
        ("close == shut", 9, "there is fin, open, reset"),
        ("anomalies == late-closing", 13, "did you mean late-close"),
        ("method == private-0xzz", 10, "it never is 'private-0xzz'"),
        ("client == example.com", 10, "an address or a network is expected"),
        ("client == 300.1.1.1", 10, "an address or a network is expected"),
        ("destination == 300.1.1.1", 15, "an address or a network is expected"),
        ("client == 10.0.0.0/33", 10, "an address or a network is expected"),
        ("client > 10.0.0.0/8", 9, "an address is expected"),
        ("client in {10.0.0.1..2001:db8::}", 21, "addresses of different kinds"),
        ("client in {10.0.0.1..x}", 21, "an address is expected"),
        ("bytes > 5", 0, "bytes cannot be compared itself; there is bytes.sent, bytes.received"),
        ("id == bytes", 6, "bytes cannot be compared itself"),
        ("id == username", 6, "username is text, id a number"),
        ("start > yesterday", 8, "a time is expected"),
        ("start > '2026-13-01'", 8, "a time is expected"),
        ("username matches 'a('", 19, "the pattern is wrong"),
        ("username == 'a", 12, "a string does not end"),
        ("id == 1 2", 8, "`and`, `or` or the end is expected"),
        ("id == 1 # x", 8, "'#' is not understood"),
        ("and", 0, "there is no key 'and'"),
        ("not", 3, "expected"),
    ],
)
def test_mistakes_are_pointed_at(text: str, position: int, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text)
    assert (caught.value.text, caught.value.position) == (text, position)
    assert words in str(caught.value)
    place = f"character {position + 1}" if position < len(text) else "the end"
    assert f"at {place}, " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_too_long_or_too_deep() -> None:
    deep = "(" * MAX_DEPTH + "id" + ")" * MAX_DEPTH
    assert holds(deep)
    assert holds("not " * MAX_DEPTH + "id")
    for text in (f"({deep})", "not " * (MAX_DEPTH + 1) + "id", "!" * 5000 + "id", "anomalies[" * 200):
        with pytest.raises(ExpressionError, match="inside each other"):
            compile_expression(text)
    with pytest.raises(ExpressionError, match="longer than") as caught:
        compile_expression("id == 7 or " * (MAX_LENGTH // 11) + "id == 7 or id == 7")
    assert len(str(caught.value)) < 400
    assert holds("id == 8 or " * (MAX_LENGTH // 11 - 1) + "id == 7")


def test_the_keys_it_looks_at() -> None:
    text = "reply == 5 and anomalies[code == late-close] or client.port == proxy.port or not udp"
    expression = compile_expression(text)
    assert expression.keys == {"reply.code", "anomalies.code", "client.port", "proxy.port", "udp"}
    assert expression.text == text
    assert repr(expression) == f"Expression({text!r})"


def test_it_outlives_a_pickle() -> None:
    for text in ("anomalies[code == late-close] and client in 192.0.2.0/24", "username ~ '^a' or start > '2026-11-22'"):
        again: Expression = pickle.loads(pickle.dumps(compile_expression(text)))
        assert again(SAMPLE)
        assert (again.text, again.tree) == (text, compile_expression(text).tree)


def test_every_key_of_a_record_can_be_named() -> None:
    """The table of keys is the record's, all the way down."""
    attributes = {field.name for field in fields(Conversation)} - {"start_ns", "end_ns"} | {"start", "end", "duration"}
    assert attributes <= set(RECORD.inside)
    plain = replace(SAMPLE, udp=UDP).as_dict()

    def leaves(value: Any, prefix: str = "") -> set[str]:
        if isinstance(value, list):
            return set().union(*(leaves(element, prefix) for element in value)) if value else set()
        if isinstance(value, dict):
            return set().union(
                *(leaves(inner, f"{prefix}.{name}" if prefix else name) for name, inner in value.items())
            )
        return {prefix}

    assert leaves(plain) <= set(names(RECORD))


@pytest.mark.parametrize("name", list(names(RECORD)))
def test_every_key_can_be_read(name: str) -> None:
    assert isinstance(holds(name), bool)
    key = RECORD
    for part in name.split("."):
        key = key.inside[part]
    value = {Kind.NUMBER: "5", Kind.TRUTH: "true", Kind.TIME: "'2026-01-01'", Kind.ADDRESS: "::1"}.get(key.kind, "x")
    if key.words:
        value = min(key.words)
    if key.kind is not Kind.OBJECT:
        assert isinstance(holds(f"{name} == {value}"), bool)
        assert isinstance(holds(f"{name} != {value}"), bool)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conversations)
def test_it_agrees_with_python(c: Conversation) -> None:
    """On any record, also those whose values are missing or come from the wire."""
    assert holds("outcome == rejected", c) is (c.outcome == "rejected")
    assert holds("reply.code == 5", c) is (c.reply is not None and c.reply.code == 5)
    assert holds("anomalies.severity == error", c) is any(entry.severity == "error" for entry in c.anomalies)
    assert holds("client.port > 1023 and not udp", c) is (c.client.port > 1023 and c.udp is None)
    assert holds("bytes.sent > 100 or duration < 1", c) is (
        (c.bytes is not None and c.bytes.sent > 100) or c.duration < 1
    )
    assert isinstance(holds("destination in 10.0.0.0/8 or username contains 'a' or tunnel.server_name ~ 'x'", c), bool)


@given(st.text(alphabet="idreply.code()[]{}=<>!&|~'\" 0159:/andortcis,-\\", max_size=60))
def test_any_text_is_an_expression_or_a_mistake(text: str) -> None:
    try:
        holds(text)
    except ExpressionError as mistake:
        position = mistake.position
    else:
        position = 0
    assert 0 <= position <= len(text)
