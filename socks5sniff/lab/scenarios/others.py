"""Chains of proxies, turned-around connections, and traffic that only looks like SOCKS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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
    http,
    octets_of,
    request_to,
    tell,
)
from socks5sniff.lab.scenarios.registry import Play, add, scenario
from socks5sniff.lab.scene import PORT, PROXY, SECOND, THIRD, Scene
from socks5sniff.lab.truth import reply, target
from socks5sniff.proxy.packets import HostPort


class Leg(NamedTuple):
    """One handshake of a chain."""

    destination: HostPort
    frames: list[Witnessed]
    bound: dict[str, Any]


async def through(tunnel: Tunnel, destination: HostPort) -> Leg:
    """A SOCKS handshake without authentication inside a tunnel."""
    frames = handshake_frames(destination)
    tunnel.write(GREETING)
    await tunnel.read_exactly(frames[1].length)
    tunnel.write(request_to(destination))
    answer = decode_reply(await tunnel.read_exactly(frames[3].length))
    assert isinstance(answer, Decoded)
    return Leg(destination, frames, target(answer.frame.bound.text, answer.frame.bound.port))


def through_tunnel(legs: Sequence[Leg]) -> dict[str, Any]:
    """What is right of a tunnel that the handshakes of these legs go through, and the page behind them."""
    if not legs:
        return FETCHED
    sizes = [octets_of(leg.frames) for leg in legs]
    sent, received = (sum(size[way] for size in sizes) for way in (0, 1))
    page = FETCHED["bytes"]
    return {
        "tunnel": {"protocol": "socks5"},
        "bytes": {"sent": sent + page["sent"], "received": received + page["received"]},
    }


def expect_legs(
    scene: Scene, ends: tuple[HostPort, HostPort], before: list[Witnessed], legs: Sequence[Leg], parent: int | None
) -> None:
    """The conversations of a chain's legs in one TCP connection, whose first handshakes (`before`) are others'."""
    for at, leg in enumerate(legs):
        scene.expect_between(
            *ends,
            frames=leg.frames,
            after=octets_of([*before, *(frame for earlier in legs[:at] for frame in earlier.frames)]),
            destination=target(*leg.destination),
            reply=reply(0),
            bound=leg.bound,
            **through_tunnel(legs[at + 1 :]),
            closed_by="proxy",
            parent=parent,
        )
        parent = len(scene.truth.conversations)


@scenario("a chain of three proxies, seen on both sides of the first: SOCKS in SOCKS in SOCKS")
async def chain_of_three(scene: Scene) -> None:
    await scene.web()
    await scene.proxy()
    await scene.proxy(*SECOND, traced=False, outbound=(SECOND[0],))
    await scene.proxy(*THIRD, traced=False, outbound=(THIRD[0],))
    client = scene.client()
    tunnel = await client.connect(*SECOND)
    legs = [await through(tunnel, THIRD), await through(tunnel, (WEB_NAME, 80))]
    await http(tunnel)
    # The capture holds the client's connection to the first proxy and that proxy's own to the second: the same
    # octets after the first handshake, so what the inner handshakes asked for is there once per connection.
    assert client.wire is not None
    scene.expect(
        client,
        destination=target(*SECOND),
        reply=reply(0),
        bound=target(tunnel.bound.text, tunnel.bound.port),
        **through_tunnel(legs),
        closed_by="proxy",
    )
    expect_legs(scene, (client.wire.local, client.wire.remote), client.wire.witnessed, legs, parent=1)
    expect_legs(scene, ((tunnel.bound.text, tunnel.bound.port), SECOND), [], legs, parent=None)


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
