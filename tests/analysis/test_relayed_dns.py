"""DNS inside the tunnel is named: in datagrams through a relay, and on a connection."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from socks5sniff.record import Conversation
from tests.traffic import CLIENT, SECOND, SERVER, START, Packet, analyse, connection, datagram

from .test_names import response

RELAY = ("10.0.0.9", 8193)
CALLER = ("10.0.0.1", 5555)
ANSWERED = response("a.example", "192.0.2.1")
RESOLVER = ("192.0.2.53", 53)
ASSOCIATE = [
    (CLIENT, b"\5\1\0"),
    (SERVER, b"\5\0"),
    (CLIENT, b"\5\3\0\1\0\0\0\0\0\0"),
    (SERVER, b"\5\0\0\1\x0a\0\0\x09" + struct.pack(">H", RELAY[1])),
]


def query(name: str, kind: int = 1, number: int = 7, more: int = 0) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, more) + labels + b"\0" + struct.pack(">HH", kind, 1)


def answer(name: str, code: int = 0, count: int = 1, number: int = 7) -> bytes:
    octets = query(name, number=number)
    head = struct.pack(">HHHHHH", number, 0x8180 | code, 1, count, 0, 0)
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\x01"
    return head + octets[12:] + record * count


def header(place: tuple[str, int], named: bool = False) -> bytes:
    host = place[0].encode()
    address = b"\3" + bytes([len(host)]) + host if named else b"\1" + socket.inet_aton(place[0])
    return b"\0\0\0" + address + struct.pack(">H", place[1])


def relayed(*said: tuple[bool, bytes], named: bool | str = False, sizes: tuple[int, ...] = ()) -> Conversation:
    """The record of an association: datagrams to the resolver (True) and from it, by its address or a name."""
    packets: list[Packet | tuple[int, bytes]] = [*connection(ASSOCIATE, closing=False)]
    for number, (outward, octets) in enumerate(said):
        ends = (CALLER, RELAY) if outward else (RELAY, CALLER)
        place = (named if isinstance(named, str) else "dns.example", 53) if named else RESOLVER
        packets.append((START + SECOND + number, datagram(*ends, header(place, bool(named)) + octets)))
    (record,) = analyse(packets, sizes)
    return record


def dns(record: Conversation) -> list[Any]:
    assert record.udp is not None
    return [destination.as_dict().get("dns") for destination in record.udp.destinations]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("sizes", [(), (1,) * 20])
@pytest.mark.parametrize("name", ["a.example", ".".join(["long-label-number-one"] * 8)])
def test_question_and_answer(name: str, named: bool, sizes: tuple[int, ...]) -> None:
    record = relayed((True, query(name, more=1)), (False, answer(name, count=2)), named=named, sizes=sizes)
    assert dns(record) == [f"A {name}: NOERROR, 2 answers"]
    assert record.tunnel is not None
    assert (record.tunnel.protocol, record.tunnel.detail) == ("dns", f"A {name}: NOERROR, 2 answers")


@pytest.mark.parametrize("length", [76, 77, 78, 79, 80, 89, 90, 255])
def test_however_long_the_resolvers_name_is(length: int) -> None:
    record = relayed((True, query("a.example")), (False, answer("a.example")), named="r" * length)
    assert dns(record) == ["A a.example: NOERROR, 1 answer"]


def test_no_answer_and_a_failure() -> None:
    assert dns(relayed((True, query("a.example", 28)))) == ["AAAA a.example"]
    assert dns(relayed((True, query("a.example")), (False, answer("a.example", 3, 0)))) == ["A a.example: NXDOMAIN"]
    assert dns(relayed((True, query("a.example")), (False, answer("a.example", number=8)))) == ["A a.example"]


def test_a_refusal_need_not_repeat_the_question() -> None:
    refusal = struct.pack(">HHHHHH", 7, 0x8185, 0, 0, 0, 0)
    assert dns(relayed((True, query("a.example")), (False, refusal))) == ["A a.example: REFUSED"]
    assert dns(relayed((True, query("a.example")), (False, refusal[:-1]))) == ["A a.example"]


def test_an_answer_to_a_later_question_is_not_the_first_one_s() -> None:
    record = relayed(
        (True, query("a.example", number=1)), (True, query("b.example", number=2)),
        (False, answer("b.example", 3, 0, number=2)), (False, answer("a.example", number=1)),
    )  # fmt: skip
    assert dns(record) == ["A a.example: NOERROR, 1 answer"]


@pytest.mark.parametrize("octets", [b"", b"hello", bytes(40), query("a.example")[:16], ANSWERED])
def test_what_is_no_query(octets: bytes) -> None:
    record = relayed((True, octets), (False, answer("a.example")))
    assert dns(record) == [None]
    assert record.tunnel is None
    assert "dns" not in record.as_dict()["udp"]["destinations"][0]


def test_on_a_connection() -> None:
    asked, answered = query("a.example"), answer("a.example", 3, 0)
    said = [
        (CLIENT, b"\5\1\0"), (SERVER, b"\5\0"), (CLIENT, b"\5\1\0\1\xc0\0\2\x35\0\x35"),
        (SERVER, b"\5\0\0\1\0\0\0\0\0\0"),
        (CLIENT, struct.pack(">H", len(asked)) + asked), (SERVER, struct.pack(">H", len(answered)) + answered),
    ]  # fmt: skip
    (record,) = analyse(connection(said))
    assert record.tunnel is not None
    assert (record.tunnel.protocol, record.tunnel.detail) == ("dns", "A a.example")
