"""A PROXY protocol header (HAProxy's, version 1 or 2) in front of the greeting."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

from socks5sniff.lab.scenarios.exchanges import (
    CHOICE,
    FETCHED,
    GREETING,
    PAGE,
    WEB_NAME,
    granted,
    handshake,
    handshake_frames,
    octets_of,
    request_to,
    tell,
)
from socks5sniff.lab.scenarios.registry import Play, add, scenario
from socks5sniff.lab.scene import OUTBOUND, PORT, PROXY, SECOND, Scene
from socks5sniff.lab.truth import endpoint, reply, target
from socks5sniff.proxy.packets import HostPort

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL, PROXIED = 0x20, 0x21
STREAM4, STREAM6 = 0x11, 0x21
FROM, TO = ("203.0.113.7", 51000), ("192.0.2.80", 1080)
FROM6, TO6 = ("2001:db8:77::7", 51000), ("2001:db8:77::80", 1080)
AUTHORITY = b"\x02" + struct.pack(">H", 12) + b"example.test"
"""A TLV: the host name that the client asked for (PP2_TYPE_AUTHORITY)."""


def version_1(source: HostPort, destination: HostPort) -> bytes:
    family = "TCP6" if ":" in source[0] else "TCP4"
    return f"PROXY {family} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode()


def version_2(command: int, family: int, source: HostPort, destination: HostPort, more: bytes = b"") -> bytes:
    packed = ip_address(source[0]).packed + ip_address(destination[0]).packed
    body = packed + struct.pack(">HH", source[1], destination[1]) + more
    return SIGNATURE + struct.pack(">BBH", command, family, len(body)) + body


def said_of(header: bytes, version: int, source: HostPort | None, destination: HostPort | None) -> dict[str, Any]:
    """The header as the record has it."""
    return {
        "version": version,
        "source": endpoint(source) if source else None,
        "destination": endpoint(destination) if destination else None,
        "length": len(header),
    }


def behind(header: bytes, said: dict[str, Any], port: int = PORT, apart: bool = False) -> Play:
    """The usual dialogue behind a header, which may have a segment of its own (`apart`)."""

    async def play(scene: Scene) -> None:
        ends, bound = ((scene.place.client, 40001), (PROXY, port)), (OUTBOUND[0], 40001)
        (_, greeting), *rest = handshake((WEB_NAME, 80), bound)
        first = [(0, header), (0, greeting)] if apart else [(0, header + greeting)]
        await tell(scene, ends, [*first, *rest, *PAGE], "10")
        scene.expect_between(
            *ends,
            destination=target(WEB_NAME, 80),
            reply=reply(0),
            bound=target(*bound),
            **FETCHED,
            closed_by="proxy",
            anomalies=["proxy-protocol"],
            proxy_header=said,
            frames=handshake_frames((WEB_NAME, 80)),
            after=(len(header), 0),
        )

    return play


ONE, ONE6 = version_1(FROM, TO), version_1(FROM6, TO6)
UNKNOWN = b"PROXY UNKNOWN\r\n"
TWO = version_2(PROXIED, STREAM4, FROM, TO, AUTHORITY)
TWO6 = version_2(PROXIED, STREAM6, FROM6, TO6)
HEALTH_CHECK = SIGNATURE + struct.pack(">BBH", LOCAL, 0, 0)

for _name, _about, _header, _said, _port, _apart in (
    ("proxy-header-v1", "version 1", ONE, said_of(ONE, 1, FROM, TO), PORT, False),
    ("proxy-header-v1-port-7777", "version 1, at an unusual port", ONE, said_of(ONE, 1, FROM, TO), 7777, True),
    ("proxy-header-v1-ipv6", "version 1, TCP6", ONE6, said_of(ONE6, 1, FROM6, TO6), PORT, True),
    ("proxy-header-v1-unknown", "version 1, UNKNOWN", UNKNOWN, said_of(UNKNOWN, 1, None, None), PORT, False),
    ("proxy-header-v2", "version 2, with a TLV", TWO, said_of(TWO, 2, FROM, TO), PORT, False),
    ("proxy-header-v2-port-7777", "version 2, at an unusual port", TWO, said_of(TWO, 2, FROM, TO), 7777, True),
    ("proxy-header-v2-ipv6", "version 2, IPv6", TWO6, said_of(TWO6, 2, FROM6, TO6), PORT, True),
    ("proxy-header-v2-local", "version 2, LOCAL", HEALTH_CHECK, said_of(HEALTH_CHECK, 2, None, None), PORT, False),
):
    add(_name, f"a PROXY protocol header before the greeting: {_about}", behind(_header, _said, _port, _apart))


@scenario("a PROXY protocol header inside a tunnel, in front of the inner proxy's greeting")
async def proxy_header_inside(scene: Scene) -> None:
    ends, bound, inner_bound = ((scene.place.client, 40001), (PROXY, PORT)), (OUTBOUND[0], 40001), (SECOND[0], 40001)
    inner = [(0, ONE + GREETING), (1, CHOICE), (0, request_to((WEB_NAME, 80))), (1, granted(inner_bound))]
    await tell(scene, ends, [*handshake(SECOND, bound), *inner, *PAGE], "10")
    outer_frames, inner_frames = handshake_frames(SECOND), handshake_frames((WEB_NAME, 80))
    sizes, page = octets_of(inner_frames), FETCHED["bytes"]
    scene.expect_between(
        *ends,
        destination=target(*SECOND),
        reply=reply(0),
        bound=target(*bound),
        tunnel={"protocol": "socks5"},
        bytes={"sent": len(ONE) + sizes[0] + page["sent"], "received": sizes[1] + page["received"]},
        closed_by="proxy",
        frames=outer_frames,
    )
    before = octets_of(outer_frames)
    scene.expect_between(
        *ends,
        parent=1,
        destination=target(WEB_NAME, 80),
        reply=reply(0),
        bound=target(*inner_bound),
        **FETCHED,
        closed_by="proxy",
        anomalies=["proxy-protocol"],
        proxy_header=said_of(ONE, 1, FROM, TO),
        frames=inner_frames,
        after=(before[0] + len(ONE), before[1]),
    )
