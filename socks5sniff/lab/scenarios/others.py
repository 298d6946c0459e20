"""Chains of proxies, turned-around connections, and traffic that only looks like SOCKS."""

from __future__ import annotations

from typing import Any

from socks5sniff.client import Client, Tunnel, Witnessed
from socks5sniff.codec import Decoded, decode_reply
from socks5sniff.lab.payloads import (
    HTTP_RESPONSE,
    SSH_CLIENT,
    SSH_SERVER,
    TLS_ALERT,
    client_hello,
    counted,
    http_request,
)
from socks5sniff.lab.scenarios.exchanges import (
    FETCHED,
    GREETING,
    PAGE,
    WEB_NAME,
    Said,
    fetch,
    handshake,
    handshake_frames,
    octets_of,
    request_to,
    tell,
)
from socks5sniff.lab.scenarios.registry import Play, add, scenario
from socks5sniff.lab.scene import OUTBOUND, PORT, PROXY, SECOND, THIRD, Scene
from socks5sniff.lab.truth import reply, target
from socks5sniff.proxy.packets import HostPort


async def through(tunnel: Tunnel, destination: HostPort) -> tuple[list[Witnessed], dict[str, Any]]:
    """A SOCKS handshake without authentication inside a tunnel; its frames, and BND as the truth writes it."""
    frames = handshake_frames(destination)
    tunnel.write(GREETING)
    await tunnel.read_exactly(frames[1].length)
    tunnel.write(request_to(destination))
    answer = decode_reply(await tunnel.read_exactly(frames[3].length))
    assert isinstance(answer, Decoded)
    return frames, target(answer.frame.bound.text, answer.frame.bound.port)


@scenario("a chain of three proxies, seen on both sides of the first: SOCKS in SOCKS in SOCKS")
async def chain_of_three(scene: Scene) -> None:
    await scene.web()
    await scene.proxy()
    await scene.proxy(*SECOND, traced=False, outbound=(SECOND[0],))
    await scene.proxy(*THIRD, traced=False, outbound=(THIRD[0],))
    client = scene.client()
    tunnel = await client.connect(*SECOND)
    outer, outer_bound = await through(tunnel, THIRD)
    inner, inner_bound = await through(tunnel, (WEB_NAME, 80))
    request = http_request(WEB_NAME)
    tunnel.write(request)
    assert await tunnel.read_all() == HTTP_RESPONSE
    await tunnel.close()
    page = (len(request), len(HTTP_RESPONSE))
    # The capture holds the client's connection to the first proxy and that proxy's own to the second: the same
    # octets after the first handshake, so what the inner handshakes asked for is there once per connection.
    assert client.wire is not None
    scene.expect(
        client,
        destination=target(*SECOND),
        reply=reply(0),
        bound=target(OUTBOUND[0], tunnel.bound.port),
        tunnel={"protocol": "socks5"},
        bytes=traffic(octets_of(outer), octets_of(inner), page),
        closed_by="proxy",
    )
    inside = (client.wire.local, client.wire.remote)
    onward = ((OUTBOUND[0], tunnel.bound.port), SECOND)
    for ends, before in ((inside, octets_of(client.wire.witnessed)), (onward, (0, 0))):
        first = len(scene.truth.conversations)
        scene.expect_between(
            *ends,
            frames=outer,
            after=before,
            destination=target(*THIRD),
            reply=reply(0),
            bound=outer_bound,
            tunnel={"protocol": "socks5"},
            bytes=traffic(octets_of(inner), page),
            closed_by="proxy",
            parent=None if ends == onward else first,
        )
        scene.expect_between(
            *ends,
            frames=inner,
            after=octets_of([*outer, *(client.wire.witnessed if ends == inside else [])]),
            destination=target(WEB_NAME, 80),
            reply=reply(0),
            bound=inner_bound,
            tunnel={"protocol": "http", "server_name": WEB_NAME},
            bytes=traffic(page),
            closed_by="proxy",
            parent=first + 1,
        )


def traffic(*parts: tuple[int, int]) -> dict[str, int]:
    """Octets through a tunnel."""
    return {"sent": sum(part[0] for part in parts), "received": sum(part[1] for part in parts)}


def told(conversation: tuple[Said, ...], port: int) -> Play:
    """TCP octets between two hosts, without a proxy, and no SOCKS conversation expected in them."""

    async def play(scene: Scene) -> None:
        await tell(scene, ((scene.place.client, 40001), ("198.51.100.9", port)), conversation)

    return play


DCE_BIND = bytes.fromhex("05000b0310000000480000000100000000100010000000000100000000000100") + counted(40)
MQTT_CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"
DCE_ACK = bytes.fromhex("05000c03100000003c0000000100000000100010ffff0000") + counted(36)

for _name, _about, _octets, _port in (
    ("not-socks-dce-rpc", "DCE/RPC: it begins with 05 too", ((0, DCE_BIND), (1, DCE_ACK)), 135),
    (
        "not-socks-greeting-alike",
        "a request that looks like a greeting, and an answer that chooses nothing offered",
        ((0, b"\x05\x01\x00"), (1, b"\x05\x07\x99\x00"), (0, counted(50)), (1, counted(80))),
        9999,
    ),
    (
        "not-socks-four",
        "a request that looks like SOCKS4, and an answer that does not",
        ((0, b"\x04\x01\x00\x50\xc6\x33\x64\x50\x00"), (1, b"\x04\x5a" + counted(20))),
        9998,
    ),
    ("not-socks-http", "HTTP on port 80", ((0, http_request(WEB_NAME)), (1, HTTP_RESPONSE)), 80),
    (
        "not-socks-mqtt",
        "MQTT on port 1883",
        ((0, MQTT_CONNECT), (1, b"\x20\x02\x00\x00")),
        1883,
    ),
    ("not-socks-random", "octets of no protocol", ((0, counted(200)), (1, counted(333)), (0, counted(5))), 31337),
):
    add(_name, _about, told(_octets, _port))


def foreign(first: tuple[Said, ...]) -> Play:
    """Another protocol on port 1080."""

    async def play(scene: Scene) -> None:
        ends = ((scene.place.client, 40001), (PROXY, PORT))
        await tell(scene, ends, first, "10")
        nothing: dict[str, Any] = dict.fromkeys(("protocol", "phase", "methods", "method", "command"))
        anomalies = ["not-socks-on-socks-port"]
        scene.expect_between(*ends, frames=[], outcome="malformed", closed_by="proxy", anomalies=anomalies, **nothing)

    return play


for _name, _about, _told in (
    ("port-1080-http", "HTTP sent to a SOCKS port", ((0, http_request(WEB_NAME)), (1, HTTP_RESPONSE))),
    ("port-1080-tls", "TLS sent to a SOCKS port", ((0, client_hello("a.test", ("h2",))), (1, TLS_ALERT))),
    ("port-1080-ssh", "SSH on a SOCKS port", ((1, SSH_SERVER), (0, SSH_CLIENT))),
):
    add(_name, _about, foreign(_told))


@scenario("a proxy that opens the TCP connection itself and is then spoken to (reverse proxy, port 4444)")
async def reversed_roles(scene: Scene) -> None:
    # The proxy runs behind a firewall and calls back to its controller, which speaks as the SOCKS client.
    proxy, controller = ("192.0.2.44", 50123), ("198.51.100.44", 4444)
    bound = ("192.0.2.44", 50200)
    said = [(1 - side, octets) for side, octets in (*handshake((WEB_NAME, 80), bound), *PAGE)]
    await tell(scene, (proxy, controller), said)
    scene.expect_between(
        controller,
        proxy,
        reversed=True,
        destination=target(WEB_NAME, 80),
        reply=reply(0),
        bound=target(*bound),
        **FETCHED,
        closed_by="proxy",
        frames=handshake_frames((WEB_NAME, 80)),
    )


@scenario("a proxy on an unusual port (443)")
async def port_unusual(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(port=443)
    client: Client = scene.client(port=443)
    facts: dict[str, Any] = {}
    await fetch(scene, client, web, **facts)
