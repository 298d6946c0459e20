"""Chains of proxies, turned-around connections, and traffic that only looks like SOCKS."""

from __future__ import annotations

from typing import Any

from socks5sniff.client import Client, Tunnel
from socks5sniff.codec import Address, Command, Greeting, MethodSelection, Reply, Request
from socks5sniff.lab.payloads import (
    HTTP_RESPONSE,
    SSH_CLIENT,
    SSH_SERVER,
    TLS_ALERT,
    client_hello,
    counted,
    http_request,
)
from socks5sniff.lab.scenarios.exchanges import WEB_NAME
from socks5sniff.lab.scenarios.registry import Play, add, scenario
from socks5sniff.lab.scene import CLIENT, DEFAULTS, OUTBOUND, PORT, PROXY, SECOND, THIRD, Scene, reply, target
from socks5sniff.proxy.packets import HostPort

OF_THE_CONNECTION = ("packets", "first_frame", "last_frame", "start", "end", "timing")
"""What a conversation inside a tunnel has of its own or shares with its connection: not for the truth to say."""


async def through(tunnel: Tunnel, destination: HostPort) -> tuple[int, int]:
    """A SOCKS handshake without authentication inside a tunnel; how many octets it took each way."""
    greeting = Greeting(b"\x00").encode()
    tunnel.write(greeting)
    choice = await tunnel.read_exactly(len(MethodSelection(0).encode()))
    request = Request(Command.CONNECT, Address.from_text(*destination)).encode()
    tunnel.write(request)
    answer = await tunnel.read_exactly(len(Reply(0, Address.ipv4("0.0.0.0", 0)).encode()))
    return len(greeting) + len(request), len(choice) + len(answer)


@scenario("a chain of three proxies, seen on both sides of the first: SOCKS in SOCKS in SOCKS")
async def chain_of_three(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy()
    await scene.proxy(*SECOND, traced=False, outbound=(SECOND[0],))
    await scene.proxy(*THIRD, traced=False, outbound=(THIRD[0],))
    client = scene.client()
    tunnel = await client.connect(*SECOND)
    outer = await through(tunnel, THIRD)
    inner = await through(tunnel, (WEB_NAME, 80))
    request = http_request(WEB_NAME)
    tunnel.write(request)
    assert await tunnel.read_all() == HTTP_RESPONSE
    await tunnel.close()
    page = (len(request), len(HTTP_RESPONSE))
    # The capture holds the client's connection to the first proxy and that proxy's own to the second: the same
    # octets after the first handshake, so what the inner handshakes asked for is there once per connection.
    scene.expect(
        client,
        destination=target(*SECOND),
        reply=reply(0),
        tunnel={"protocol": "socks5"},
        bytes=traffic(outer, inner, page),
        closed_by="proxy",
    )
    assert client.wire is not None
    inside = (client.wire.local, client.wire.remote)
    onward = ((OUTBOUND[0], tunnel.bound.port), SECOND)
    for ends in (inside, onward):
        first = len(scene.truth)
        scene.expect_between(
            *ends,
            destination=target(*THIRD),
            reply=reply(0),
            tunnel={"protocol": "socks5"},
            bytes=traffic(inner, page),
            closed_by="proxy",
            parent=None if ends == onward else first,
        )
        scene.forget(*OF_THE_CONNECTION)
        scene.expect_between(
            *ends,
            destination=target(WEB_NAME, 80),
            reply=reply(0),
            bound=target(*web.peers[0]),
            tunnel={"protocol": "http", "server_name": WEB_NAME},
            bytes=traffic(page),
            closed_by="proxy",
            parent=first + 1,
        )
        scene.forget(*OF_THE_CONNECTION)


def traffic(*parts: tuple[int, int]) -> dict[str, int]:
    """Octets through a tunnel."""
    return {"sent": sum(part[0] for part in parts), "received": sum(part[1] for part in parts)}


def told(conversation: tuple[tuple[int, bytes], ...], port: int) -> Play:
    """TCP octets between two hosts, without a proxy, and no SOCKS conversation expected in them."""

    async def play(scene: Scene) -> None:
        flow = scene.trace.tcp((CLIENT, 40001), ("198.51.100.9", port))
        for side, octets in conversation:
            await scene.settle(0.002)
            flow.data(side, octets)
        await scene.settle(0.002)
        flow.fin(0)
        flow.fin(1)

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


def foreign(first: tuple[tuple[int, bytes], ...]) -> Play:
    """Another protocol on port 1080."""

    async def play(scene: Scene) -> None:
        ends = ((CLIENT, 40001), (PROXY, PORT))
        flow = scene.trace.tcp(*ends)
        for side, octets in first:
            await scene.settle(0.002)
            flow.data(side, octets)
        flow.fin(1)
        flow.fin(0)
        scene.expect_between(*ends, anomalies=["not-socks-on-socks-port"])
        scene.forget(*(key for key in DEFAULTS if key != "anomalies"))

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
    flow = scene.trace.tcp(proxy, controller)
    request = http_request(WEB_NAME)
    conversation: tuple[tuple[int, bytes], ...] = (
        (1, Greeting(b"\x00").encode()),
        (0, MethodSelection(0).encode()),
        (1, Request(Command.CONNECT, Address.domain(WEB_NAME, 80)).encode()),
        (0, Reply(0, Address.ipv4("192.0.2.44", 50200)).encode()),
        (1, request),
        (0, HTTP_RESPONSE),
    )
    for side, octets in conversation:
        await scene.settle(0.002)
        flow.data(side, octets)
    flow.fin(0)
    flow.fin(1)
    scene.expect_between(
        controller,
        proxy,
        reversed=True,
        destination=target(WEB_NAME, 80),
        reply=reply(0),
        bound=target("192.0.2.44", 50200),
        tunnel={"protocol": "http", "server_name": WEB_NAME},
        bytes=traffic((len(request), len(HTTP_RESPONSE))),
        closed_by="proxy",
    )


@scenario("a proxy on an unusual port (443)")
async def port_unusual(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(port=443)
    client: Client = scene.client(port=443)
    from socks5sniff.lab.scenarios.exchanges import fetch

    facts: dict[str, Any] = {}
    await fetch(scene, client, web, **facts)
