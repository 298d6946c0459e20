"""DNS over TCP tells as much as DNS over UDP: whose answer, how old, in which frame."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address

import pytest

from socks5sniff.analysis.dns_streams import MAX_MESSAGE, MAX_STREAMS, PORT, DnsStreams
from socks5sniff.record import Conversation
from tests.traffic import (
    CHOICE,
    CLIENT,
    GREETING,
    REPLY,
    SECOND,
    SERVER,
    START,
    Packet,
    analyse,
    connection,
    cut,
    datagram,
)

from .test_associations import PROXY, address

NAME, ADDRESS = "www.example.test", "198.51.100.80"
ONE, OTHER = "10.0.0.1", "10.0.0.2"
SERVER_ENDS = ("192.0.2.53", 53)
QUERY = bytes.fromhex("0007 0100 0001 0000 0000 0000")


def labels(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def record(owner: bytes, kind: int, data: bytes, ttl: int = 1) -> bytes:
    return owner + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def answer(host: str = ADDRESS, name: str = NAME, alias: str | None = None, edns: bool = False, pad: int = 0) -> bytes:
    """A response: aliases, the address, an OPT record, and TXT records that make it long."""
    packed = ip_address(host).packed
    records, owner = [], b"\xc0\x0c"
    if alias is not None:
        records.append(record(owner, 5, labels(alias)))
        owner = labels(alias)
    records.append(record(owner, 1 if len(packed) == 4 else 28, packed))
    records += [record(b"\xc0\x0c", 16, b"\xc8" + bytes(200))] * pad
    extra = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0) if edns else b""
    head = struct.pack(">HHHHHH", 7, 0x8180, 1, len(records), 0, int(edns))
    return head + labels(name) + b"\0\1\0\1" + b"".join(records) + extra


def framed(message: bytes) -> bytes:
    return struct.pack(">H", len(message)) + message


def over_tcp(*messages: bytes, client: str = ONE, begin: int = START - SECOND, apart: bool = False) -> list[Packet]:
    said = [(CLIENT, framed(QUERY + labels(NAME) + b"\0\1\0\1"))]
    for message in messages:
        said += [(SERVER, framed(message)[:2]), (SERVER, message)] if apart else [(SERVER, framed(message))]
    return connection(said, client=(client, 50_053), proxy=SERVER_ENDS, begin=begin)


def asking(host: str = ADDRESS, client: str = ONE, proxy: str = PROXY, begin: int = START) -> list[Packet]:
    said = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, b"\5\1\0" + address(host, 80)), (SERVER, REPLY)]
    return connection([*said, (SERVER, b"hello")], client=(client, 40_000), proxy=(proxy, 1080), begin=begin)


def by_name(client: str = ONE, proxy: str = PROXY, begin: int = START) -> list[Packet]:
    request = b"\5\1\0\3" + bytes([len(NAME)]) + NAME.encode() + b"\0\x50"
    said = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, request), (SERVER, REPLY), (SERVER, b"hello")]
    return connection(said, client=(client, 40_001), proxy=(proxy, 1080), begin=begin)


def leaks(records: list[Conversation]) -> list[str]:
    return [a.message for record in records for a in record.anomalies if a.code == "local-dns"]


def read(*packets: Packet | tuple[int, bytes], sizes: tuple[int, ...] = ()) -> list[str]:
    return leaks(analyse(sorted(packets, key=lambda p: p.time if isinstance(p, Packet) else p[0]), sizes))


SAID = f"a DNS answer gave {ADDRESS} for {NAME} "


@pytest.mark.parametrize("sizes", [(), (1,) * 40, (5, 3, 1)])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("alias", [None, "edge.example.net"])
@pytest.mark.parametrize("edns", [False, True])
def test_an_answer(edns: bool, alias: str | None, apart: bool, sizes: tuple[int, ...]) -> None:
    messages = over_tcp(answer(alias=alias, edns=edns), apart=apart)
    frame, age = (6, "1.000") if apart else (5, "1.001")
    assert read(*messages, *asking(), sizes=sizes) == [SAID + f"(frame {frame}, {age} s before the request)"]


def test_ipv6_and_several_answers_on_one_connection() -> None:
    six = "2001:db8::80"
    messages = over_tcp(answer("192.0.2.1", "other.example.test"), answer(six))
    assert read(*messages, *asking(six)) == [
        f"a DNS answer gave {six} for {NAME} (frame 6, 1.000 s before the request)"
    ]


@pytest.mark.parametrize("size", [1, 2, 50, 700])
def test_in_pieces(size: int) -> None:
    packets = list(cut(over_tcp(answer(pad=5)), [size] * 3000))
    (said,) = read(*packets, *asking())
    assert said.startswith(SAID)


def test_sent_again_and_out_of_order() -> None:
    packets = list(cut(over_tcp(answer(pad=5)), [1000, 500, 500]))
    twice = [packet for packet in packets for _ in (0, 1)]
    assert len(read(*twice, *asking())) == 1
    lost = [packet for packet in packets if packet.side == CLIENT or len(packet.octets) != 500]
    assert read(*lost, *asking()) == []


def test_sequence_numbers_that_begin_again_within_an_answer() -> None:
    said = [(CLIENT, framed(QUERY + labels(NAME) + b"\0\1\0\1")), (SERVER, framed(answer(pad=5)))]
    starts = (1, (1 << 32) - 700)
    packets = list(
        cut(connection(said, client=(ONE, 50_053), proxy=SERVER_ENDS, starts=starts, begin=START - SECOND), [500, 500])
    )
    assert len(read(*packets, *asking())) == 1
    again = [packet for packet in packets for _ in (0, 1)]
    assert len(read(*again, *asking())) == 1


def test_the_directions_that_were_begun_last_are_kept() -> None:
    streams = DnsStreams()
    message = framed(answer())
    for client in range(MAX_STREAMS + 1):
        assert not [*streams._put(PORT, client, 0, message[:20])]
    assert not [*streams._put(PORT, 0, 20, message[20:])]
    for client in range(2, MAX_STREAMS + 1):
        assert [*streams._put(PORT, client, 20, message[20:])] == [message[2:]]


def test_a_message_that_is_longer_than_what_is_read_of_it() -> None:
    streams = DnsStreams()
    for size in (MAX_MESSAGE - 1, MAX_MESSAGE, MAX_MESSAGE + 1):
        message = framed(bytes(size))
        found = [*streams._put(PORT, size, 0, message), *streams._put(PORT, -size, 0, message[:-1])]
        assert found == [bytes(min(size, MAX_MESSAGE))] * (1 + (size > MAX_MESSAGE))
    assert [*streams._put(PORT, 3, 0, framed(bytes(12)) + framed(bytes(11)) + framed(bytes(12)))] == [bytes(12)]


@pytest.mark.parametrize(("apart", "again"), [(0, True), ((1 << 20) - 1, True), (1 << 20, False), (-1, False)])
def test_what_lies_a_little_before_what_is_due_is_sent_again(apart: int, again: bool) -> None:
    """It changes nothing; what lies elsewhere begins anew."""
    streams = DnsStreams()
    message = framed(bytes(40))
    assert not [*streams._put(PORT, 1, 1 << 30, message[:20])]
    expected = (1 << 30) + 20
    found = [*streams._put(PORT, 1, expected - apart, message[20:])]
    if apart:
        assert not found
        assert bool([*streams._put(PORT, 1, expected, message[20:])]) == again
    else:
        assert found == [message[2:]]


def test_the_age_of_an_old_answer_and_the_latest_of_several() -> None:
    old = over_tcp(answer(), begin=START - 90_000 * SECOND)
    assert read(*old, *asking()) == [SAID + "(frame 5, 90000.001 s before the request)"]
    assert read(*old, *over_tcp(answer()), *asking()) == [SAID + "(frame 13, 1.001 s before the request)"]


@pytest.mark.parametrize(
    "packets",
    [
        over_tcp(answer(), client=OTHER),
        over_tcp(answer(), client=PROXY),
        over_tcp(answer(), begin=START + SECOND),
        over_tcp(answer("198.51.100.81")),
        over_tcp(b"\0" * 12),
        [replace(p, ends=((ONE, 50_053), ("192.0.2.53", 54))) for p in over_tcp(answer())],
    ],
)
def test_what_does_not_count(packets: list[Packet]) -> None:
    """Another client's, the proxy's own, one after the request, another address, another port."""
    assert read(*packets, *asking()) == []


class TestOnOneMachine:
    """Client and proxy have the same address, so the proxy's own answers go to it too."""

    HERE = "127.0.0.1"

    def answered(self, begin: int) -> tuple[int, bytes]:
        return begin, datagram(("127.0.0.53", 53), (self.HERE, 50_053), answer())

    def test_the_proxy_s_own_answer(self) -> None:
        earlier = by_name(self.HERE, self.HERE, START - 10 * SECOND)
        resolved = self.answered(START - 10 * SECOND + 5_500_000)
        assert read(*earlier, resolved, *asking(client=self.HERE, proxy=self.HERE)) == []

    def test_the_client_s(self) -> None:
        assert len(read(self.answered(START - SECOND), *asking(client=self.HERE, proxy=self.HERE))) == 1
