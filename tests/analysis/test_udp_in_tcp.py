"""Datagrams on the stream of a tunnel: hev-socks5's, GOST's and sing-box's way."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from socks5sniff.record import Conversation
from tests.traffic import CHOICE, CLIENT, GREETING, PLAIN, REPLY, SERVER, analyse, connection, cut

from .test_associations import address
from .test_relayed_dns import answer, query
from .test_tunnel_datagrams import quic_client

Said = list[tuple[int, bytes]]
Place = tuple[str, int]
DNS: Place = ("8.8.8.8", 53)
SIX: Place = ("2001:db8::53", 853)
NAME: Place = ("resolver.example.test", 53)


def target(place: Place) -> bytes:
    host, port = place
    if host[-1].isalpha():
        return bytes([3, len(host)]) + host.encode() + struct.pack(">H", port)
    return address(host, port)


def hev(place: Place, data: bytes) -> bytes:
    where = target(place)
    return struct.pack(">HB", len(data), 3 + len(where)) + where + data


def gost(place: Place, data: bytes) -> bytes:
    return struct.pack(">HB", len(data), 0) + target(place) + data


def sing(place: Place, data: bytes) -> bytes:
    where = target(place)
    return bytes([{1: 0, 4: 1, 3: 2}[where[0]]]) + where[1:] + struct.pack(">H", len(data)) + data


def request(command: int, place: Place = ("0.0.0.0", 0)) -> bytes:
    return bytes([5, command, 0]) + target(place)


Way = tuple[bytes, bytes, Callable[[Place, bytes], bytes]]
WAYS: dict[str, Way] = {
    "hev-socks5": (request(5), b"", hev),
    "GOST": (request(0xF3), b"", gost),
    "sing-box, version 1": (request(1, ("sp.udp-over-tcp.arpa", 443)), b"", sing),
    "sing-box, version 2": (request(1, ("sp.v2.udp-over-tcp.arpa", 443)), b"\0" + target(DNS), sing),
}
"""The request, what the client says first in the tunnel, and a datagram."""


def talk(way: str, said: Said) -> Said:
    asked, first, _ = WAYS[way]
    opened = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, asked), (SERVER, REPLY)]
    return [*opened, *([(CLIENT, first)] if first else []), *said]


def exchange(way: str) -> Said:
    datagram = WAYS[way][2]
    return [
        (CLIENT, datagram(DNS, b"query") + datagram(SIX, b"another")),
        (SERVER, datagram(DNS, b"an answer")),
        (CLIENT, datagram(NAME, b"")),
        (SERVER, datagram(SIX, b"six") + datagram(NAME, bytes(300))),
    ]


def udp(record: Conversation) -> tuple[int, int, int, int]:
    assert record.udp is not None
    return record.udp[:4]


def codes(records: list[Conversation]) -> set[str]:
    return {anomaly.code for record in records for anomaly in record.anomalies}


EXPECTED = (3, 3, 12, 312)


@pytest.mark.parametrize("port", [1080, 7777])
@pytest.mark.parametrize("way", WAYS)
def test_every_way(way: str, port: int) -> None:
    records = analyse(connection(talk(way, exchange(way)), proxy=("10.0.0.9", port)))
    (record,) = records
    assert udp(record) == EXPECTED
    assert record.udp is not None
    assert [tuple(each)[:4] for each in record.udp.destinations] == [(*DNS, 1, 1), (*SIX, 1, 1), (*NAME, 1, 1)]
    assert record.tunnel is not None
    assert (record.tunnel.protocol, record.tunnel.detail) == ("udp-in-tcp", way)
    assert record.bytes is not None
    assert record.bytes.sent > 12
    assert codes(records) == set()


@pytest.mark.parametrize("size", [1, 3, 7, 50])
@pytest.mark.parametrize("way", WAYS)
def test_in_pieces(way: str, size: int) -> None:
    packets = cut(connection(talk(way, exchange(way))), [size] * 1000)
    (record,) = analyse(list(packets))
    assert udp(record) == EXPECTED


@pytest.mark.parametrize("way", WAYS)
def test_reversed_and_inside_a_tunnel(way: str) -> None:
    said = talk(way, exchange(way))
    (record,) = analyse(connection([(1 - side, octets) for side, octets in said]))
    assert (record.reversed, udp(record)) == (True, EXPECTED)
    outer, inner = analyse(connection([*PLAIN[:4], *said]))
    assert (outer.udp, inner.parent, udp(inner)) == (None, 1, EXPECTED)


def test_sing_box_connected() -> None:
    said = talk("sing-box, version 2", [])[:4]
    said += [(CLIENT, b"\1" + target(NAME) + b"\0\5query"), (SERVER, b"\0\x09an answer\0\0"), (CLIENT, b"\0\1x")]
    (record,) = analyse(connection(said))
    assert udp(record) == (2, 2, 6, 9)
    assert record.udp is not None
    assert [tuple(each)[:4] for each in record.udp.destinations] == [(*NAME, 2, 2)]


def test_upper_case_announces_too() -> None:
    asked = request(1, ("SP.V2.udp-over-tcp.ARPA", 443))
    said = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, asked), (SERVER, REPLY)]
    (record,) = analyse(connection([*said, (CLIENT, b"\0" + target(DNS) + sing(DNS, b"query"))]))
    assert udp(record) == (1, 0, 5, 0)


@pytest.mark.parametrize("side", [CLIENT, SERVER])
@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"\0\0\0" + target(DNS) + b"answer", "its header length says 0, but the address makes it 10"),
        (b"\0\5\x0b" + target(DNS) + b"query", "its header length says 11"),
        (b"\0\5\x0a\x07" + b"query!!!!!!", "no address type 0x07 is known"),
    ],
)
def test_wrong_heads(octets: bytes, words: str, side: int) -> None:
    records = analyse(connection(talk("hev-socks5", [(side, octets)])))
    (message,) = [a.message for a in records[0].anomalies if a.code == "udp-no-header"]
    assert words in message
    assert ("client" if side == CLIENT else "proxy") in message


@pytest.mark.parametrize("way", WAYS)
def test_a_length_that_says_more_than_there_is(way: str) -> None:
    octets = WAYS[way][2](DNS, b"query")
    records = analyse(connection(talk(way, [(CLIENT, octets[:-2])])))
    (message,) = [a.message for a in records[0].anomalies if a.code == "half-frame"]
    assert message == "the last datagram of the client lacks 2 of the octets that its length says"


@pytest.mark.parametrize("sizes", [(), (1,) * 400, (17,) * 30])
def test_a_long_tunnel_is_counted_to_its_limit(sizes: tuple[int, ...]) -> None:
    many = [(CLIENT, hev(DNS, bytes(990))) for _ in range(120)]
    (record,) = analyse(connection(talk("hev-socks5", many)), sizes)
    assert 64 <= udp(record)[0] <= 66
    assert record.tunnel is not None
    assert record.tunnel.detail == "hev-socks5; counted in the first octets only"
    assert record.bytes is not None
    assert record.bytes.sent == 120_000
    assert codes([record]) == set()


@pytest.mark.parametrize("size", [0, 1, 700])
@pytest.mark.parametrize("way", WAYS)
def test_dns_is_named(way: str, size: int) -> None:
    datagram = WAYS[way][2]
    said = talk(way, [(CLIENT, datagram(DNS, query("a.example"))), (SERVER, datagram(DNS, answer("a.example", 3, 0)))])
    (record,) = analyse(list(cut(connection(said), [size] * 1000)) if size else connection(said))
    assert record.udp is not None
    assert record.tunnel is not None
    assert record.udp.destinations[0].dns == "A a.example: NXDOMAIN"
    assert record.tunnel == ("udp-in-tcp", None, None, f"{way}; DNS A a.example: NXDOMAIN")


@pytest.mark.parametrize("way", WAYS)
def test_of_several_questions_to_a_place_the_first_is_told(way: str) -> None:
    datagram = WAYS[way][2]
    asked = [datagram(DNS, query(name, number=number)) for number, name in enumerate(("a.example", "b.example"))]
    answers = [datagram(DNS, answer("b.example", number=1)), datagram(DNS, answer("a.example", 3, 0, number=0))]
    said = talk(way, [(CLIENT, asked[0]), (CLIENT, asked[1]), (SERVER, answers[0]), (SERVER, answers[1])])
    (record,) = analyse(connection(said))
    assert record.udp is not None
    assert [each.dns for each in record.udp.destinations] == ["A a.example: NXDOMAIN"]


@pytest.mark.parametrize("size", [0, 37, 700])
@pytest.mark.parametrize("way", WAYS)
def test_quic_is_named(way: str, size: int) -> None:
    """Its ClientHello takes two datagrams; another destination's datagram comes between them."""
    datagram, (one, two, *_) = WAYS[way][2], quic_client("quic.example.com", protocols=80)
    between = datagram(DNS, query("a.example"))
    said = talk(way, [(CLIENT, datagram(SIX, one) + between + datagram(SIX, two)), (SERVER, datagram(SIX, b"answer"))])
    (record,) = analyse(list(cut(connection(said), [size] * 1000)) if size else connection(said))
    assert record.udp is not None
    assert record.tunnel is not None
    assert [(each.server_name, each.dns) for each in record.udp.destinations] == [
        ("quic.example.com", None),
        (None, "A a.example"),
    ]
    assert str(record.udp.destinations[0].quic).startswith("QUIC version 1, JA4 q13d")
    assert record.tunnel.server_name == "quic.example.com"
    assert str(record.tunnel.detail).startswith(f"{way}; QUIC version 1, JA4 q13d")
    assert len(record.tunnel.alpn or ()) == 80


def test_a_refusal_carries_nothing() -> None:
    said = talk("GOST", [])[:3]
    (record,) = analyse(connection([*said, (SERVER, b"\5\7\0\1\0\0\0\0\0\0")]))
    assert (record.udp, record.outcome) == (None, "rejected")
