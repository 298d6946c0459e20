"""Datagrams on the TCP stream, as hev-socks5, GOST and sing-box have them."""

from __future__ import annotations

from typing import Any

from socks5sniff.client import Witnessed
from socks5sniff.codec import Address, Command, FwdUdpHeader, UdpHeader
from socks5sniff.lab.payloads import counted, dns_answer, dns_query
from socks5sniff.lab.scenarios.exchanges import (
    CHOICE,
    GREETING,
    WEB_NAME,
    Said,
    granted,
    handshake_frames,
    request_to,
    tell,
)
from socks5sniff.lab.scenarios.registry import Play, add
from socks5sniff.lab.scenarios.udp import destination, relayed
from socks5sniff.lab.scene import DNS, ECHO6, PORT, PROXY, Scene
from socks5sniff.lab.truth import reply, target
from socks5sniff.proxy.packets import HostPort

QUERY = dns_query(WEB_NAME)
ANSWER = dns_answer(QUERY, "198.51.100.80")
NOWHERE = ("0.0.0.0", 0)
ANNOUNCED = "sp.v2.udp-over-tcp.arpa"


def hev(peer: HostPort, data: bytes, length: int | None = None) -> bytes:
    """A datagram as hev-socks5 puts it on the stream; `length` is what its header says."""
    address = Address.from_text(*peer)
    header = FwdUdpHeader(address, len(data) if length is None else length, 3 + len(address.encode()))
    return header.encode() + data


def gost(peer: HostPort, data: bytes, length: int | None = None) -> bytes:
    """The same for GOST: a relay datagram whose RSV is the length."""
    return UdpHeader(Address.from_text(*peer), 0, len(data) if length is None else length).encode() + data


def counted_data(data: bytes) -> bytes:
    """The same for sing-box, once the request has named the peer."""
    return len(data).to_bytes(2, "big") + data


def streamed(
    command: int,
    asked: HostPort,
    name: str,
    said: list[Said],
    udp: dict[str, Any] | None,
    wrong: bool = False,
    **facts: Any,
) -> Play:
    """A request for UDP in TCP, and what goes over the stream; `wrong` lengths leave open what can be counted."""

    async def play(scene: Scene) -> None:
        ends = ((scene.place.client, 40001), (PROXY, PORT))
        request = request_to(asked, command)
        await tell(scene, ends, [(0, GREETING), (1, CHOICE), (0, request), (1, granted(NOWHERE)), *said])
        greeting, choice, _, answer = handshake_frames(NOWHERE)
        octets = [sum(len(each) for side, each in said if side == who) for who in (0, 1)]
        scene.expect_between(
            *ends,
            command=name,
            destination=target(*asked),
            reply=reply(0),
            bound=target(*NOWHERE),
            bytes={"sent": octets[0], "received": octets[1]},
            udp=udp,
            closed_by="client",
            frames=[greeting, choice, Witnessed("client", "request", len(request)), answer],
            **facts,
        )
        # What a tunnel of datagrams is called, and when its first octet came, the contract does not say.
        scene.forget("tunnel", "timing.first_byte", *(("udp", "anomalies") if wrong else ()))

    return play


ONE = relayed((1, len(QUERY)), (1, len(ANSWER)), 0, destination(DNS, 1, 1))
TWO = relayed((2, len(QUERY) + 300), (1, len(ANSWER)), 0, destination(ECHO6, 1, 0), destination(DNS, 1, 1))


def pieces(octets: bytes, size: int) -> list[Said]:
    return [(0, octets[at : at + size]) for at in range(0, len(octets), size)]


for _name, _command, _about, _pack in (
    ("fwd-udp", Command.FWD_UDP, "hev-socks5's FWD UDP (05)", hev),
    ("udp-over-tcp", Command.UDP_OVER_TCP, "GOST's UDP over TCP (F3)", gost),
):
    _back = (1, _pack(DNS, ANSWER))
    add(
        _name,
        f"{_about}: a query and its answer",
        streamed(_command, NOWHERE, _name, [(0, _pack(DNS, QUERY)), _back], ONE),
    )
    _both = _pack(ECHO6, counted(300)) + _pack(DNS, QUERY)
    add(
        f"{_name}-split",
        f"{_about}: two datagrams to two destinations, in segments of seven octets",
        streamed(_command, NOWHERE, _name, [*pieces(_both, 7), _back], TWO),
    )
    add(
        f"{_name}-wrong-length",
        f"{_about}: the length says more than comes",
        streamed(_command, NOWHERE, _name, [(0, _pack(DNS, QUERY, 60_000))], None, wrong=True),
    )

HEAD = b"\x01" + Address.from_text(*DNS).encode()
"""sing-box's request on the stream: connected, and to whom."""

add(
    "udp-over-tcp-announced",
    f"sing-box's UDP over TCP, announced by a CONNECT to {ANNOUNCED}: a query and its answer",
    streamed(
        Command.CONNECT,
        (ANNOUNCED, 0),
        "connect",
        [(0, HEAD + counted_data(QUERY)), (1, counted_data(ANSWER))],
        ONE,
        anomalies=["zero-port"],
    ),
)
add(
    "udp-over-tcp-announced-split",
    "the same in segments of five octets",
    streamed(
        Command.CONNECT,
        (ANNOUNCED, 0),
        "connect",
        [*pieces(HEAD + counted_data(QUERY), 5), (1, counted_data(ANSWER))],
        ONE,
        anomalies=["zero-port"],
    ),
)
