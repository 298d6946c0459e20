"""QUIC in datagrams through a relay is named by its first packets, as QUIC that goes past a proxy is."""

from __future__ import annotations

import pytest

from socks5sniff.analysis.association import MAX_WAITING, Place
from socks5sniff.record import Conversation, UdpDestination
from tests.traffic import SECOND, START, Packet, analyse, connection, datagram

from .test_relayed_dns import ASSOCIATE, CALLER, RELAY, answer, header, query, relayed
from .test_tunnel_datagrams import VERSION_2, quic_client

LONG = quic_client(protocols=80)[:2]
"""A ClientHello that takes two datagrams."""


def destination(record: Conversation, place: int = 0) -> UdpDestination:
    assert record.udp is not None
    return record.udp.destinations[place]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("sizes", [(), (1,) * 20])
@pytest.mark.parametrize(("version", "name"), [(1, "QUIC version 1"), (VERSION_2, "QUIC version 2")])
def test_the_name_in_the_first_packet(version: int, name: str, sizes: tuple[int, ...], named: bool) -> None:
    sent = quic_client(version=version)
    record = relayed((True, sent[0]), (False, b"\xc3" + bytes(1199)), named=named, sizes=sizes)
    assert record.tunnel is not None
    assert record.tunnel[:3] == ("quic", "quic.example.com", ["h3"])
    assert str(record.tunnel.detail).startswith(f"{name}, JA4 q13d")
    assert destination(record)[4:] == (None, "quic.example.com", record.tunnel.detail)
    shown = record.as_dict()["udp"]["destinations"][0]
    assert (shown["server_name"], shown["quic"]) == ("quic.example.com", record.tunnel.detail)
    assert "dns" not in shown


@pytest.mark.parametrize("length", [79, 80, 90, 255])
def test_however_long_the_destinations_name_is(length: int) -> None:
    assert destination(relayed((True, quic_client()[0]), named="q" * length)).server_name == "quic.example.com"


@pytest.mark.parametrize("sizes", [(), (1,) * 20])
def test_a_hello_in_two_datagrams(sizes: tuple[int, ...]) -> None:
    record = relayed((True, LONG[0]), (False, b"answer"), (True, LONG[1]), sizes=sizes)
    assert destination(record).server_name == "quic.example.com"
    alone = relayed((True, LONG[0]), (False, b"answer"), sizes=sizes)
    assert destination(alone)[4:] == (None, None, "QUIC version 1")


def test_only_so_many_hellos_are_waited_for() -> None:
    """Beyond that the first datagram must tell it all: memory is bounded."""
    (whole,) = quic_client()
    packets: list[Packet | tuple[int, bytes]] = [*connection(ASSOCIATE, closing=False)]
    for number in range(MAX_WAITING + 1):
        for octets in (*LONG, whole)[: 2 if number < MAX_WAITING else 3]:
            place = header((f"198.51.{number >> 8}.{number & 255}", 443))
            packets.append((START + SECOND + len(packets), datagram(CALLER, RELAY, place + octets)))
    (record,) = analyse(packets)
    names = [destination(record, number).server_name for number in range(MAX_WAITING + 1)]
    assert names == ["quic.example.com"] * MAX_WAITING + [None]
    assert destination(record, MAX_WAITING).quic == "QUIC version 1"


def test_what_waits_is_bounded() -> None:
    place = Place(1)
    looked = 0
    while place.wants(True):
        place.look(LONG[0], True)
        looked += 1
        assert sum(map(len, place.initials)) <= 4096
    assert looked < 8
    assert place.carried is not None
    assert place.carried.detail == "QUIC version 1"


def test_a_question_before_it_stays_the_first() -> None:
    (sent,) = quic_client()
    record = relayed((True, query("a.example")), (True, sent), (False, answer("a.example")))
    assert destination(record)[4:] == ("A a.example: NOERROR, 1 answer", None, None)


@pytest.mark.parametrize("octets", [b"\xc3\0\0\0\1", b"\xc3" + bytes(1199), b"\x43\0\0\0\1\x08" + bytes(1194)])
def test_what_is_no_quic(octets: bytes) -> None:
    record = relayed((True, octets), (False, b"answer"))
    assert record.tunnel is None
    assert destination(record)[4:] == (None, None, None)


def test_said_by_the_answerer_only() -> None:
    record = relayed((False, quic_client()[0]), (False, b"x"))
    assert record.tunnel is None
