"""The search box takes what `--where` takes: one table of expressions through both, and every mistake at its place."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest

from socks5sniff.record import (
    Conversation,
)
from socks5sniff.report.columns import container
from socks5sniff.report.conversations import Conversations

from ..sinks.samples import sample
from ..where.samples import SAMPLE
from ..where.samples import UDP as RELAYED
from .chromium import Tab

REJECTED = replace(SAMPLE, first_frame=2)
ENDS = {"address": "10.0.0.1", "port": 5}, {"address": "10.0.0.2", "port": 80}
UDP = replace(
    REJECTED,
    id=8,
    udp=RELAYED,
    bytes=None,
    upstream={"source": ENDS[0], "destination": ENDS[1], "matched_by": "octets", "outcome": "refused"},
    anomalies=[],
    reversed=True,
    authenticated=None,
    process=None,
    community_id="1:told",
)
RECORDS = (REJECTED, UDP)

TABLE: dict[str, tuple[bool, bool]] = {
    "id == 7": (True, False),
    "id != 7": (False, True),
    "id < 8 and id <= 7 and id > 6 and id >= 7": (True, False),
    "id eq 7 or id gt 7": (True, True),
    "id == 0x7": (True, False),
    "id == 7.0": (True, False),
    "duration == 2.5 and duration > -1": (True, True),
    "timing.request > 2.5e-1": (False, False),
    "timing.request in {0.2..0.3}": (True, True),
    "timing.upstream_handshake": (False, False),
    'username == "Alice"': (True, True),
    "username == alice": (False, False),
    "username contains lic and not username contains LIC": (True, True),
    "username matches '^a.*E$'": (True, True),
    r"username ~ r'^a\w+$'": (True, True),
    r'username ~ "^a\w+$"': (True, True),
    r'username == "\x41lice"': (True, True),
    r'username == "Ali\"ce"': (False, False),
    "username != bob": (True, True),
    "client == 192.0.2.0/24 and client in 192.0.2.77/24": (True, True),
    "client != 192.0.2.0/24": (False, False),
    "client in {10.0.0.0/8, 192.0.2.0/24}": (True, True),
    "client in {192.0.2.11..192.0.2.20}": (False, False),
    "client not in {192.0.2.1..192.0.2.20}": (False, False),
    "client > 192.0.2.9": (True, True),
    "client > 2001:db8::": (False, False),
    "client == '192.0.2.10' and client.port == 50000": (True, True),
    "client.address contains '192.0'": (True, True),
    "proxy == 2001:DB8:0:0::1 and proxy in 2001:db8::/32": (True, True),
    "proxy in {2001:db8::2..2001:db8::ff}": (False, False),
    "destination == www.example.com": (True, True),
    "destination.host contains 'EXAMPLE'": (True, True),
    "destination.host matches '[.]com$'": (True, True),
    "destination != 10.0.0.0/8": (True, True),
    "destination < 10.0.0.0": (False, False),
    "bound.host in {example.com, 10.1.2.3}": (True, True),
    "destination[host == www.example.com and port == 80]": (False, False),
    "destination[host == www.example.com and port == 443]": (True, True),
    "peer[port == 1]": (False, False),
    "reply == 5": (True, True),
    "reply.code in {1..4 5}": (True, True),
    "reply.code in {5,}": (True, True),
    "reply.code NOT  IN {5}": (False, False),
    "reply.name contains refused": (True, True),
    "process == curl": (True, False),
    "process.pid == 42": (True, False),
    "methods == private-0x91": (True, True),
    "methods contains password": (True, True),
    "tunnel.alpn == h2 and tunnel == tls": (True, True),
    "anomalies": (True, False),
    "not anomalies": (False, True),
    "anomalies == late-close": (True, False),
    "anomalies != late-close": (False, False),
    "anomalies != split-frame": (True, False),
    "anomalies.frame > 10": (True, False),
    "anomalies[code == late-close]": (True, False),
    "anomalies[code == late-close and severity == warning]": (False, False),
    "anomalies.code == late-close and anomalies.severity == warning": (True, False),
    "anomalies[not code == late-close]": (True, False),
    "frames == reply and frames.length > 9": (True, True),
    "frames[type == reply and sender == client]": (False, False),
    "frames[time == '2026-11-22 08:39:03' and type == reply]": (True, True),
    "udp": (False, True),
    "udp.destinations == 10.0.0.1": (False, True),
    "udp.destinations[host == 10.0.0.1 and port == 123]": (False, False),
    "udp.destinations[host == 10.0.0.2 and port == 123]": (False, True),
    "udp.destinations in 10.0.0.0/24 and udp.destinations.port == 53": (False, True),
    "udp.datagrams_received < udp.datagrams_sent": (False, True),
    "udp[destinations == 10.0.0.1]": (False, True),
    "upstream.destination == 10.0.0.2 and upstream.destination.port == 80": (False, True),
    "upstream.outcome == refused": (False, True),
    "upstream[source == 10.0.0.1]": (False, True),
    "peer or parent or proxy_header or network": (False, False),
    "peer != 10.0.0.1": (False, False),
    "peer not in {10.0.0.1}": (True, True),
    "reversed": (False, True),
    "reversed == false": (True, False),
    "reversed == TRUE": (False, True),
    "authenticated": (True, False),
    "bytes.received": (True, False),
    "bytes": (True, False),
    "timing": (True, True),
    "bytes.sent > bytes.received": (True, False),
    "tunnel.server_name == destination.host": (True, True),
    "client.address == bound.host": (False, False),
    "client.address != bound.host": (True, True),
    "client.port > proxy.port": (True, True),
    "frames.frame > anomalies.frame": (True, False),
    "frames.frame != anomalies.frame": (True, False),
    "start > '2026-11-22' and start < end": (True, True),
    "start == '2026-11-22T08:39:01.500000000Z'": (True, True),
    "start < '2026-11-22T08:39'": (False, False),
    "end in {'2026-11-22 08:39:03'..'2026-11-22 08:39:04'}": (True, True),
    "id == 7 or id == 7 and id == 9": (True, False),
    "(id == 7 or id == 7) and id == 9": (False, False),
    "not (id == 9 or id == 7)": (False, True),
    "!peer&&!reversed": (True, False),
    "id == 7 AND NOT id == 8 Or peer": (True, False),
    "community_id == '1:told'": (False, True),
    " \t\n id == 7 \n": (True, False),
    "not not anomalies": (True, False),
}
"""What each expression says of the two records."""

MISTAKES: dict[str, int] = {
    "": 0,
    "reply.cod == 5": 0,
    "id == 1 and repyl": 12,
    "reply.code = 5": 11,
    "reply.code ==": 13,
    "reply.code 5": 11,
    "(id == 1": 8,
    "id == 1)": 7,
    "id in {1": 8,
    "id in {}": 7,
    "anomalies[code == late-close": 28,
    "anomalies[cod == late-close]": 10,
    "anomalies[]": 10,
    "id[port == 1]": 0,
    "anomalies[code == late-close] == 5": 30,
    "id == x": 6,
    "id == '7'": 6,
    "id contains 7": 3,
    "username > a": 9,
    "username in {a..b}": 13,
    "reversed == maybe": 12,
    "outcome == rejcted": 11,
    "close == shut": 9,
    "client == example.com": 10,
    "client == 300.1.1.1": 10,
    "client == 10.0.0.0/33": 10,
    "client > 10.0.0.0/8": 9 + 0,
    "client in {10.0.0.1..2001:db8::}": 21,
    "bytes > 5": 0,
    "id == bytes": 6,
    "id == username": 6,
    "start > yesterday": 8,
    "start > '2026-13-01'": 8,
    "username == 'a": 12,
    "id == 1 2": 8,
    "id == 1 # x": 8,
    "and": 0,
    "not": 3,
    "__proto__ == 1": 0,
    "constructor": 0,
}
"""Where each one is wrong."""


@pytest.fixture(scope="module")
def store(scripts: Tab) -> Tab:
    """The scripts with both records in a store, as they come out of a report's data."""
    made = Conversations()
    made.take(RECORDS, [[]] * len(RECORDS))
    data = base64.b64encode(gzip.compress(container(made.columns.values(), made.dictionary, {"rows": made.rows})))
    scripts.evaluate(
        f"Columns.read({json.dumps(data.decode())})"
        ".then((read) => { globalThis.source = new Source.Source(read.store); return true; })"
    )
    return scripts


def answers(store: Tab, text: str) -> Any:
    """What the page says of both records, or where it sees a mistake."""
    return store.evaluate(
        f"(() => {{ try {{ const test = Where.compile({json.dumps(text)}, source); return [test(0), test(1)]; }}"
        " catch (fault) { if (!(fault instanceof Where.Fault)) throw fault; return fault.at; } })()"
    )


def test_every_expression_says_of_the_records_what_it_should(store: Tab) -> None:
    assert {text: tuple(answers(store, text)) for text in TABLE} == TABLE


def test_mistakes_are_pointed_at(store: Tab) -> None:
    assert {text: answers(store, text) for text in MISTAKES} == MISTAKES


def test_records_that_come_live_answer_the_same(store: Tab) -> None:
    records = json.dumps([c.as_dict() for c in RECORDS])
    store.evaluate(
        f"Columns.read({json.dumps(_empty())}).then((read) => {{ {records}.forEach((each) => read.store.push(each));"
        " globalThis.live = new Source.Source(read.store); return true; })"
    )
    told = {
        text: store.evaluate(f"(() => {{ const t = Where.compile({json.dumps(text)}, live); return [t(0), t(1)]; }})()")
        for text in TABLE
    }
    assert {text: tuple(found) for text, found in told.items()} == TABLE


def test_deep_expressions_do_not_break_it(store: Tab) -> None:
    assert answers(store, "(" * 100 + "id" + ")" * 100) == [True, True]
    for text in ("(" * 101 + "id" + ")" * 101, "!" * 5000 + "id", "anomalies[" * 200):
        assert answers(store, text) == len(text)
    assert answers(store, "id == 7 or " * 1000) == 10_000


def test_a_store_that_forgets_its_oldest_rows_still_answers(store: Tab) -> None:
    names = json.dumps([sample(id=n, username=f"user{n}", first_frame=n).as_dict() for n in range(1, 31)])
    found = store.evaluate(
        f"Columns.read({json.dumps(_empty())}).then((read) => {{ const s = read.store;"
        f" for (const record of {names}) s.push(record);"
        " s.drop(25); s.push({ ...JSON.parse(JSON.stringify(" + names + "[0])), id: 31 });"
        " const test = Where.compile('username == user27 or frames.frame == 4 and id == 31', new Source.Source(s));"
        " return [s.rows, s.value('id', 0), s.words.filter((word) => /^user[0-9]/.test(word)).length, s.dropped,"
        " [...Array(s.rows).keys()].filter(test).map((row) => s.value('id', row)), s.entries('frames', 1).length,"
        " s.entries('anomalies', 5)[0].frame]; })"
    )
    assert found == [6, 26, 6, 25, [27, 31], 6, 6]


def _empty() -> str:
    made = Conversations()
    data = container(made.columns.values(), made.dictionary, {"rows": 0})
    return base64.b64encode(gzip.compress(data)).decode()


if find_spec("socks5sniff.where"):

    def _python(text: str, records: tuple[Conversation, ...]) -> Any:
        from socks5sniff.where import ExpressionError, compile_expression

        try:
            return tuple(compile_expression(text)(record) for record in records)
        except ExpressionError as mistake:
            return mistake.position

    def test_the_command_line_says_the_same() -> None:
        assert {text: _python(text, RECORDS) for text in TABLE} == TABLE
        assert {text: _python(text, RECORDS) for text in MISTAKES} == MISTAKES

    def test_both_know_the_same_keys(scripts: Tab) -> None:
        from socks5sniff.record.fields import RECORD, names

        assert scripts.evaluate("Keys.names(Keys.RECORD)") == list(names(RECORD))
