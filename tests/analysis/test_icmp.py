"""Why nothing came back: what ICMP says of a relay's datagrams."""

from __future__ import annotations

import socket
import struct

import pytest

from socks5sniff.packets.icmp import MAX_ERRORS
from tests.traffic import SECOND, START, Packet, analyse, connection, datagram, ethernet, six_of

from .test_relayed_dns import ASSOCIATE, CALLER, RELAY, RESOLVER, answer, header, query

Frame = tuple[int, bytes]


def icmp(kind: int, code: int, sender: str, about: bytes, quoted: int = 1000) -> bytes:
    """An error about an Ethernet frame, to whoever sent that."""
    packet = about[14:]
    six = packet[0] >> 4 == 6
    half = packet[8:24] if six else packet[12:16]
    to = socket.inet_ntop(socket.AF_INET6 if six else socket.AF_INET, half)
    return ethernet(sender, to, 58 if six else 1, struct.pack(">BBHI", kind, code, 0, 0) + packet[:quoted])


def told(*frames: bytes, sizes: tuple[int, ...] = ()) -> str | None:
    packets: list[Packet | Frame] = [*connection(ASSOCIATE, closing=False)]
    packets += [(START + SECOND + number, frame) for number, frame in enumerate(frames)]
    (record,) = analyse(packets, sizes)
    return next((entry.message for entry in record.anomalies if entry.code == "udp-one-way"), None)


SENT = datagram(CALLER, RELAY, header(RESOLVER) + query("a.example"))
BACK = datagram(RELAY, CALLER, header(RESOLVER) + answer("a.example"))
ON = datagram((RELAY[0], 6000), RESOLVER, query("a.example"))


@pytest.mark.parametrize("sizes", [(), (1,) * 20])
@pytest.mark.parametrize(
    ("code", "reason"), [(1, "host unreachable"), (3, "port unreachable"), (77, "unreachable (code 77)")]
)
def test_the_relay_is_not_there(code: int, reason: str, sizes: tuple[int, ...]) -> None:
    message = told(SENT, icmp(3, code, RELAY[0], SENT), sizes=sizes)
    assert message == (
        f"1 datagram went to the relay and none came back: ICMP {reason} came from 10.0.0.9 (frame 9)"
    )


def test_the_destination_is_not_there() -> None:
    message = told(SENT, ON, icmp(3, 1, "203.0.113.7", ON), SENT)
    assert message is not None
    assert message.endswith(
        "ICMP host unreachable came from 203.0.113.7 for the proxy's datagram to 192.0.2.53:53 (frame 10)"
    )


def test_eight_octets_of_the_datagram_are_enough() -> None:
    message = told(SENT, icmp(3, 3, RELAY[0], SENT, quoted=28))
    assert message is not None
    assert "port unreachable" in message


@pytest.mark.parametrize(
    "error",
    [
        icmp(3, 3, RELAY[0], SENT, quoted=27),
        icmp(11, 0, RELAY[0], SENT),
        icmp(3, 3, RELAY[0], datagram(CALLER, ("10.0.0.9", 99), b"x")),
        icmp(3, 3, "203.0.113.7", datagram(("10.0.0.8", 1), RESOLVER, b"x")),
        icmp(3, 3, RELAY[0], Packet(0).frame()),
        ethernet(RELAY[0], CALLER[0], 1, b""),
        ethernet(RELAY[0], CALLER[0], 1, b"\3\3" + bytes(40)),
    ],
)
def test_what_says_nothing_of_it(error: bytes) -> None:
    assert told(SENT, error) == "1 datagram went to the relay and none came back"


def test_an_answer_came_nonetheless() -> None:
    assert told(SENT, icmp(3, 3, RELAY[0], SENT), SENT, BACK) is None


def test_a_scan() -> None:
    others = [icmp(3, 3, "10.0.0.7", datagram(CALLER, ("10.0.0.7", port), b"")) for port in range(1, MAX_ERRORS + 50)]
    message = told(SENT, icmp(3, 3, RELAY[0], SENT), *others)
    assert message is not None
    assert "port unreachable" in message


@pytest.mark.parametrize(("code", "reason"), [(0, "no route"), (3, "address unreachable"), (4, "port unreachable")])
def test_over_ipv6(code: int, reason: str) -> None:
    caller, relay = (six_of(CALLER[0]), CALLER[1]), (six_of(RELAY[0]), RELAY[1])
    bound = socket.inet_pton(socket.AF_INET6, relay[0]) + struct.pack(">H", relay[1])
    said = [*ASSOCIATE[:3], (1, b"\5\0\0\4" + bound)]
    sent = datagram(caller, relay, header(RESOLVER) + query("a.example"))
    packets: list[Packet | Frame] = [
        *connection(said, client=(caller[0], 40000), proxy=(relay[0], 1080), closing=False),
        (START + SECOND, sent),
        (START + SECOND + 1, icmp(1, code, relay[0], sent)),
    ]
    (record,) = analyse(packets)
    (message,) = (entry.message for entry in record.anomalies if entry.code == "udp-one-way")
    assert message.endswith(f"ICMP {reason} came from {relay[0]} (frame 9)")
