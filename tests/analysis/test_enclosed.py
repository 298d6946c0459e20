"""GSSAPI dialogues whose tokens can be read, from packets to records."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.record import Conversation, Tunnel
from tests.session.scripts import BIND, after_choice, segments, user_data, wrapped, wrapped_before
from tests.session.test_enclosed import OPENED, REFUSAL, REPLY, REQUEST, said, sealed
from tests.traffic import ANSWER, CLIENT, HTTP, PLAIN, SECOND, SERVER, START, Packet, analyse, connection, cut, datagram

from .test_associations import address

Said = list[tuple[int, bytes]]

CONNECT = [*OPENED, said(0, REQUEST), said(1, REPLY), said(0, HTTP), said(1, ANSWER)]
GREETED = [*OPENED, said(0, REQUEST), said(1, REPLY + b"SSH-2.0-", b"x\r\n"), said(0, b"SSH-2.0-y\r\n")]
EARLY = [*OPENED, said(0, REQUEST + HTTP[:9], HTTP[9:]), said(1, REPLY), said(1, ANSWER)]
BOUND = [*OPENED, *(said(role, octets) for role, octets in segments(after_choice(BIND))), said(1, b"220 ftp here\r\n")]
REJECTED = [*OPENED, said(0, REQUEST), said(1, REFUSAL)]
SEALED = [*OPENED, sealed(0, REQUEST), sealed(1, REPLY), sealed(0, HTTP)]
SEALED_TUNNEL = [*OPENED, said(0, REQUEST), said(1, REPLY), sealed(0, HTTP), sealed(1, ANSWER)]
DIALOGUES = {
    "connect": CONNECT, "greeted": GREETED, "early": EARLY, "bound": BOUND, "rejected": REJECTED, "sealed": SEALED,
    "sealed tunnel": SEALED_TUNNEL,
}  # fmt: skip


def one(talk: Said) -> Conversation:
    (record,) = analyse(connection(talk))
    return record


def facts(record: Conversation) -> dict[str, Any]:
    """What must not depend on how tokens lay in packets."""
    plain = record.as_dict()
    for key in ("start", "end", "duration", "timing", "packets", "first_frame", "last_frame"):
        del plain[key]
    for frame in plain["frames"]:
        del frame["frame"], frame["time"]
    about_segments = {"split-frame", "pipelined-frames"}
    plain["anomalies"] = sorted(a["code"] for a in plain["anomalies"] if a["code"] not in about_segments)
    return plain


def test_the_record() -> None:
    record = one(CONNECT)
    assert (record.phase, record.outcome, record.command, record.authenticated) == (
        "relay",
        "succeeded",
        "connect",
        True,
    )
    assert str(record.destination) == "example.com:443"
    assert record.name_resolution == "remote"
    assert record.reply is not None
    assert record.tunnel == Tunnel("http", server_name="example.com", detail="GET /a HTTP/1.1: 200 OK")
    assert [frame.type for frame in record.frames[6:]] == ["gssapi", "request", "gssapi", "reply"]
    assert [frame.frame for frame in record.frames[6:]] == [10, 10, 11, 11]
    # Only reading all tokens to the last would tell how much they enclose.
    assert record.bytes is None
    # Each packet comes a millisecond after the other.
    assert (record.timing.request, record.timing.first_byte) == (pytest.approx(0.001), pytest.approx(0.002))


def test_the_destination_speaks_first() -> None:
    record = one(GREETED)
    assert record.tunnel == Tunnel("ssh", detail="SSH-2.0-y, server SSH-2.0-x")
    assert record.timing.first_byte == 0
    later = one([*GREETED[:7], said(1, REPLY), said(1, b"SSH-2.0-x\r\n")])
    assert later.timing.first_byte == pytest.approx(0.001)


def test_bind() -> None:
    record = one(BOUND)
    assert (record.outcome, str(record.peer), record.tunnel) == (
        "succeeded",
        "192.0.2.9:20",
        Tunnel("ftp", detail="220 ftp here"),
    )


def test_rejected() -> None:
    record = one(REJECTED)
    assert (record.outcome, record.phase, record.reply and record.reply.code) == ("rejected", "request", 5)


def test_sealed() -> None:
    record = one(SEALED)
    assert (record.outcome, record.command, record.reply, record.tunnel) == ("incomplete", None, None, None)
    record = one(SEALED_TUNNEL)
    assert (record.outcome, record.tunnel, record.bytes) == ("succeeded", None, None)


def test_associate() -> None:
    relay, party, remote = ("10.0.0.9", 3000), ("10.0.0.1", 50_000), ("8.8.8.8", 53)
    talk = [
        *OPENED,
        said(0, b"\5\3\0" + address("0.0.0.0", 0)),
        said(1, b"\5\0\0" + address(*relay)),
    ]
    header = b"\0\0\0" + address(*remote)
    packets: list[Packet | tuple[int, bytes]] = [*connection(talk, closing=False)]
    later = START + SECOND
    packets += [
        (later, datagram(party, relay, header + b"query")),
        (later + 1000, datagram(relay, party, header + b"an answer")),
        # As RFC 1961 has it; not read, and nothing odd.
        (later + 2000, datagram(party, relay, user_data(wrapped(header + b"query")))),
    ]
    (record,) = analyse(packets)
    assert (record.command, record.outcome, record.anomalies) == ("udp-associate", "succeeded", [])
    assert record.udp is not None
    assert (record.udp.datagrams_sent, record.udp.datagrams_received, record.udp.bytes_received) == (1, 1, 9)


@pytest.mark.parametrize("name", DIALOGUES)
@given(st.lists(st.integers(1, 90), max_size=60), st.lists(st.integers(1, 20), max_size=6))
@settings(max_examples=40, deadline=None)
def test_packets_do_not_matter(name: str, pieces: list[int], sizes: list[int]) -> None:
    packets = connection(DIALOGUES[name])
    (whole,) = analyse(packets)
    (found,) = analyse(list(cut(packets, pieces)), sizes)
    assert facts(found) == facts(whole)


@pytest.mark.parametrize("name", DIALOGUES)
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_order_and_retransmissions_do_not_matter(name: str, data: st.DataObject) -> None:
    packets = connection(DIALOGUES[name])
    (whole,) = analyse(packets)
    with_payload = [place for place, packet in enumerate(packets) if packet.octets]
    place = data.draw(st.sampled_from(with_payload))
    again = [*packets[: place + 1], packets[place], *packets[place + 1 :]]
    assert [facts(record) for record in analyse(again)] == [facts(whole)]
    parts = list(cut([packets[place]], [max(len(packets[place].octets) // 2, 1)]))
    turned = [*packets[:place], *parts[::-1], *packets[place + 1 :]]
    assert [facts(record) for record in analyse(turned)] == [facts(whole)]


def test_a_long_tunnel_is_only_counted() -> None:
    talk = [*CONNECT[:8], *(said(number % 2, bytes(1000)) for number in range(2000))]
    record = one(talk)
    assert (record.tunnel, len(record.frames), record.packets) == (Tunnel("unknown"), 10, 3 + 8 + 2000 + 3)


@pytest.mark.parametrize("plain", [b"", b"\n"])
def test_a_tunnel_that_says_nothing_is_left(plain: bytes) -> None:
    talk = [*CONNECT[:8], *(said(SERVER, *[plain] * 40) for _ in range(400))]
    record = one(talk)
    assert (record.outcome, record.tunnel and record.tunnel.protocol) == ("succeeded", "unknown" if plain else None)


def test_octets_of_the_tunnel_are_lost() -> None:
    packets = connection([*CONNECT, said(CLIENT, b"more"), said(SERVER, b"more")])
    (whole,) = analyse(packets)
    (found,) = analyse([packet for packet in packets if packet.octets != CONNECT[8][1]])
    assert (found.outcome, found.tunnel, found.anomalies) == ("succeeded", None, [])
    (found,) = analyse([packet for packet in packets if packet.octets != CONNECT[9][1]])
    without_answer = Tunnel("http", server_name="example.com", detail="GET /a HTTP/1.1")
    assert facts(found) == {**facts(whole), "tunnel": without_answer._asdict()}


def test_tokens_cut_off_by_the_capture() -> None:
    (found,) = analyse(connection(CONNECT), captured=14 + 40 + 30)
    assert (found.outcome, found.command, found.tunnel) == ("incomplete", None, None)
    assert "handshake-gap" in {entry.code for entry in found.anomalies}


def test_a_conversation_inside_the_tunnel() -> None:
    inside = [said(side, octets) for side, octets in PLAIN]
    talk = [*OPENED, said(0, REQUEST), said(1, REPLY), *inside, *(said(number % 2, bytes(999)) for number in range(99))]
    outer, inner = analyse(connection(talk))
    assert (outer.tunnel, outer.bytes, inner.parent) == (Tunnel("socks5"), None, outer.id)
    assert (inner.outcome, str(inner.destination), inner.bytes) == ("succeeded", "example.com:443", None)
    assert inner.tunnel is not None
    assert inner.tunnel.protocol == "http"
    assert [frame.frame for frame in inner.frames] == [12, 13, 14, 15]
    assert inner.timing.first_byte == pytest.approx(0.002)


def test_inside_a_tunnel() -> None:
    outer, inner = analyse(connection([*PLAIN[:4], *CONNECT]))
    assert (outer.tunnel, inner.parent, inner.bytes) == (Tunnel("socks5"), outer.id, None)
    assert outer.bytes is not None
    (alone,) = analyse(connection(CONNECT))
    for record in (inner, alone):
        assert (record.outcome, str(record.destination)) == ("succeeded", "example.com:443")
        assert record.tunnel == Tunnel("http", server_name="example.com", detail="GET /a HTTP/1.1: 200 OK")
        assert record.timing.first_byte == pytest.approx(0.002)


def test_older_tokens() -> None:
    talk = [
        *OPENED,
        *((role, user_data(wrapped_before(plain))) for role, plain in [(0, REQUEST), (1, REPLY), (0, HTTP)]),
    ]
    assert one(talk).tunnel == Tunnel("http", server_name="example.com", detail="GET /a HTTP/1.1")


def test_on_an_unknown_port() -> None:
    packets = connection(CONNECT, proxy=("10.0.0.9", 4242))
    (record,) = analyse(packets)
    assert (record.outcome, str(record.destination)) == ("succeeded", "example.com:443")
