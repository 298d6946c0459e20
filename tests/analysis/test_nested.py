"""SOCKS inside a SOCKS tunnel: each conversation of a chain of proxies is one of its own."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.analysis.live import LiveAnalyser
from socks5sniff.analysis.relay import DEPTH
from socks5sniff.record import Conversation
from tests.traffic import (
    ANSWER,
    CHOICE,
    CLIENT,
    GREETING,
    HTTP,
    REPLY,
    REQUEST,
    SECOND,
    SERVER,
    START,
    Packet,
    analyse,
    batches,
    connection,
    cut,
)

from .dialogues import BIND, DIALOGUES, PASSWORD, REFUSED, SOCKS4A
from .test_analysis import PLAIN, facts

Said = list[tuple[int, bytes]]
OPENING: Said = PLAIN[:4]
"""A handshake whose tunnel is open."""


def chain(*inside: Said) -> list[Packet]:
    return connection([entry for said in inside for entry in said])


def heads(records: list[Conversation]) -> list[tuple[int, int | None, str, str]]:
    return [(r.id, r.parent, r.outcome, "" if r.tunnel is None else r.tunnel.protocol) for r in records]


def test_a_conversation_in_a_tunnel_has_a_record_of_its_own():
    outer, inner = analyse(chain(OPENING, PASSWORD))
    assert (outer.id, outer.parent, inner.id, inner.parent) == (1, None, 2, 1)
    assert outer.tunnel is not None
    assert outer.tunnel.protocol == "socks5"
    assert (inner.method, inner.username, inner.password) == ("username-password", "alice", "********")
    assert (str(inner.destination), inner.outcome, inner.phase) == ("example.com:443", "succeeded", "relay")
    assert inner.tunnel is not None
    assert (inner.tunnel.protocol, inner.tunnel.server_name) == ("http", "example.com")
    said = {side: sum(len(octets) for who, octets in PASSWORD if who == side) for side in (CLIENT, SERVER)}
    assert outer.bytes == (said[CLIENT], said[SERVER])
    assert inner.bytes == (len(HTTP), len(ANSWER))
    assert [(f.frame, f.sender, f.type) for f in inner.frames][:2] == [
        (8, "client", "greeting"),
        (9, "proxy", "method-selection"),
    ]
    assert inner.timing == (None, 0.001, 0.001, 0.001, 0.002, None)
    # The connection is the same; the conversation begins in it later.
    assert (inner.client, inner.proxy, inner.tcp_stream) == (outer.client, outer.proxy, outer.tcp_stream)
    assert (inner.community_id, inner.packets, inner.close) == (outer.community_id, outer.packets, outer.close)
    assert (inner.first_frame, inner.start_ns, inner.last_frame) == (8, START + 7_000_000, outer.last_frame)
    assert {a.code for a in inner.anomalies} == {"cleartext-credentials"}
    assert outer.anomalies == []


@pytest.mark.parametrize("name", DIALOGUES)
def test_inside_is_read_as_outside(name: str):
    said = DIALOGUES[name]
    (alone,) = analyse(connection(said))
    _, inner = analyse(chain(OPENING, said))
    other = {
        "id",
        "parent",
        "packets",
        "first_frame",
        "start",
        "frames",
        "duration",
        "timing",
        "anomalies",
        "last_frame",
    }
    plain, nested = alone.as_dict(), inner.as_dict()
    assert {key: nested[key] for key in nested.keys() - other - {"end"}} == {
        key: plain[key] for key in plain.keys() - other - {"end"}
    }
    assert [f.summary for f in inner.frames] == [f.summary for f in alone.frames]
    assert {a.code for a in inner.anomalies} == {a.code for a in alone.anomalies}


def test_a_chain_ends_after_eight():
    records = analyse(chain(*[OPENING] * 12, PLAIN))
    assert len(records) == DEPTH
    assert [record.parent for record in records] == [None, 1, 2, 3, 4, 5, 6, 7]
    assert {record.tunnel.protocol for record in records if record.tunnel} == {"socks5"}
    assert [
        outer.bytes.sent - inner.bytes.sent for outer, inner in pairwise(records) if outer.bytes and inner.bytes
    ] == [len(GREETING + REQUEST)] * (DEPTH - 1)


def test_socks4_inside_socks5_and_the_other_way_round():
    assert heads(analyse(chain(OPENING, SOCKS4A))) == [(1, None, "succeeded", "socks4"), (2, 1, "succeeded", "http")]
    assert heads(analyse(chain(SOCKS4A[:2], PLAIN))) == [(1, None, "succeeded", "socks5"), (2, 1, "succeeded", "http")]
    outer, inner = analyse(chain(BIND[:5], PLAIN))
    assert (outer.command, inner.command, inner.parent) == ("bind", "connect", 1)


def test_a_refusal_inside_is_the_inner_proxys():
    assert heads(analyse(chain(OPENING, REFUSED))) == [(1, None, "succeeded", "socks5"), (2, 1, "rejected", "")]


def test_an_association_inside_is_named_and_has_no_datagrams():
    said = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, b"\5\3\0\1\0\0\0\0\0\0"), (SERVER, REPLY)]
    _, inner = analyse(chain(OPENING, said))
    assert (inner.command, inner.outcome, inner.udp, inner.bytes) == ("udp-associate", "succeeded", None, None)


@pytest.mark.parametrize(
    "said",
    [
        [(CLIENT, GREETING)],
        [(CLIENT, GREETING), (SERVER, b"HTTP/1.1 400 Bad Request\r\n\r\n")],
        [(CLIENT, b"\5\0\0\3\x10\0\0\0" + bytes(60)), (SERVER, b"\5\0\x0c\3\x10\0\0\0" + bytes(60))],  # DCE/RPC
        [(SERVER, b"220 hello\r\n"), (CLIENT, GREETING), (SERVER, CHOICE)],
        [(CLIENT, HTTP), (SERVER, ANSWER), (CLIENT, GREETING), (SERVER, CHOICE)],
    ],
)
def test_inside_it_takes_a_fitting_answer(said: Said):
    (record,) = analyse(chain(OPENING, said))
    assert record.parent is None
    assert record.tunnel is not None


def test_where_the_answer_fits_the_tunnel_is_socks_whatever_the_greeting_looks_like():
    odd = b"\5\3\0\0\x42"
    records = analyse(chain(OPENING, [(CLIENT, odd), (SERVER, CHOICE), *PLAIN[2:]]))
    assert heads(records) == [(1, None, "succeeded", "socks5"), (2, 1, "succeeded", "http")]
    assert {a.code for a in records[1].anomalies} == {"duplicate-methods"}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(DIALOGUES)), max_size=2), st.lists(st.integers(1, 40), max_size=40), st.randoms()
)
def test_the_records_do_not_depend_on_how_the_octets_came(names: list[str], pieces: list[int], random: random.Random):
    packets = chain(*[OPENING] * len(names), DIALOGUES[names[-1]] if names else PLAIN)
    expected = [facts(record) for record in analyse(packets)]
    parts = [random.randint(1, 9) for _ in range(30)]
    assert [facts(record) for record in analyse([*cut(packets, pieces)], parts)] == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([CLIENT, SERVER]), st.binary(min_size=1, max_size=80)), max_size=12))
def test_any_octets_in_a_tunnel_are_borne(said: Said):
    inside = [(CLIENT, GREETING), (SERVER, CHOICE), *said]
    records = analyse(chain(OPENING, inside))
    assert records[0].parent is None
    assert sum((record.parent is None) for record in records) == 1
    sent = sum(len(octets) for side, octets in inside if side == CLIENT)
    assert records[0].bytes is not None
    assert records[0].bytes.sent == sent


def test_octets_that_are_lost_inside_are_lost_for_the_inner_conversation():
    packets = chain(OPENING, PLAIN)
    place = next(i for i, packet in enumerate(packets[8:], 8) if packet.octets == REQUEST)
    del packets[place]
    outer, inner = analyse(packets)
    assert outer.anomalies == []
    assert "handshake-gap" in {a.code for a in inner.anomalies}
    assert inner.destination is None


def test_ids_follow_the_first_packets_of_each():
    first = connection([*OPENING, *PLAIN], begin=START)
    second = connection(PLAIN, client=("10.0.0.2", 40000), begin=START + 3_000_000)
    packets = sorted([*first, *second], key=lambda packet: packet.time)
    records = analyse(packets)
    assert heads(records) == [
        (1, None, "succeeded", "socks5"),
        (2, None, "succeeded", "http"),
        (3, 1, "succeeded", "http"),
    ]
    assert [r.first_frame for r in records] == sorted(r.first_frame for r in records)
    assert [r.as_dict() for r in analyse(packets, [1] * 200)] == [r.as_dict() for r in records]


def test_live_news_tell_each_conversation_of_a_chain_once_as_it_gets_on():
    analyser = LiveAnalyser()
    packets = chain(OPENING, OPENING, PLAIN)
    told = []
    for batch in batches([(packet.time, packet.frame()) for packet in packets], [1] * len(packets)):
        analyser.take(batch)
        told += [(record.first_frame, record.outcome) for record in analyser.news()]
    inside = [(first, outcome) for first in (8, 12) for outcome in ("incomplete", "succeeded")]
    assert told == [(1, "succeeded"), *inside]
    records = [record for batch in analyser.tick(packets[-1].time + 10 * SECOND) for record in batch]
    assert [record.parent for record in records] == [None, 1, 2]
    assert analyser.news() == []
