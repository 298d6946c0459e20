"""Proxies and clients that break the rules, fall silent, or leave."""

from __future__ import annotations

import asyncio
from typing import Any

from socks5sniff.client import ClientError, ClientFaults
from socks5sniff.codec import Address, Command, Greeting, MethodSelection, Reply, Request
from socks5sniff.lab.payloads import HTTP_RESPONSE, http_request
from socks5sniff.lab.scenarios.exchanges import WEB_NAME, failing, fetch
from socks5sniff.lab.scenarios.registry import Play, add, scenario
from socks5sniff.lab.scene import CLIENT, ECHO, OUTBOUND, PORT, PROXY, Scene, reply, target
from socks5sniff.proxy.faults import Faults

UNANSWERED: dict[str, Any] = {
    "outcome": "incomplete",
    "reply": None,
    "bound": None,
    "tunnel": None,
    "bytes": None,
}
NOT_ASKED: dict[str, Any] = {**UNANSWERED, "phase": "greeting", "command": None, "destination": None}
ASKED: dict[str, Any] = {**UNANSWERED, "phase": "request", "destination": target(WEB_NAME, 80)}


def leaving(faults: Faults, facts: dict[str, Any], timeout: float = 60.0, **settings: Any) -> Play:
    """A conversation that the proxy ends, or that the client gives up after `timeout`."""

    async def play(scene: Scene) -> None:
        await scene.web()
        await scene.proxy(faults=faults, **settings)
        client = scene.client(timeout=timeout)
        await failing(client.connect(WEB_NAME, 80), ClientError, asyncio.TimeoutError)
        await scene.settle()
        scene.expect(client, **facts)

    return play


for _name, _about, _faults, _facts in (
    (
        "close-before-method",
        "the proxy closes instead of choosing a method",
        Faults(close="method-selection"),
        {**NOT_ASKED, "method": None, "closed_by": "proxy"},
    ),
    (
        "reset-before-method",
        "the proxy resets instead of choosing a method",
        Faults(reset="method-selection"),
        {**NOT_ASKED, "method": None, "closed_by": "proxy", "close": "reset"},
    ),
    (
        "close-before-reply",
        "the proxy closes instead of replying",
        Faults(close="reply"),
        {**ASKED, "closed_by": "proxy"},
    ),
    (
        "reset-before-reply",
        "the proxy resets instead of replying",
        Faults(reset="reply"),
        {**ASKED, "closed_by": "proxy", "close": "reset"},
    ),
):
    add(_name, _about, leaving(_faults, _facts))

add(
    "silent-method",
    "the proxy never chooses a method; the client gives up after 4 s",
    leaving(Faults(silent="method-selection"), {**NOT_ASKED, "method": None, "closed_by": "client"}, 4.0),
)
add(
    "silent-reply",
    "the proxy never replies; the client gives up after 4 s",
    leaving(Faults(silent="reply"), {**ASKED, "closed_by": "client"}, 4.0),
)


@scenario("a client that sends one octet and waits; the proxy's handshake time-out ends it")
async def slow_loris(scene: Scene) -> None:
    await scene.proxy(handshake_timeout=5.0)
    reader, writer = await asyncio.open_connection(PROXY, PORT, local_addr=(CLIENT, 0))
    writer.write(b"\x05")
    await reader.read()
    writer.close()
    scene.expect_between(writer.get_extra_info("sockname"), (PROXY, PORT))
    scene.forget_all()


@scenario("the proxy resets the connection as soon as the relay is open")
async def reset_in_relay(scene: Scene) -> None:
    server = await scene.echo()
    await scene.proxy(faults=Faults(reset="relay"))
    client = scene.client()
    tunnel = await client.connect(*ECHO)
    assert await tunnel.read() == b""
    await tunnel.close()
    scene.expect(
        client,
        destination=server.text,
        reply=reply(0),
        bound=target(*server.peers[0]),
        tunnel=None,
        bytes={"sent": 0, "received": 0},
        close="reset",
        closed_by="proxy",
    )


@scenario("the client resets the connection in the middle of the tunnel")
async def reset_by_client(scene: Scene) -> None:
    server = await scene.echo()
    await scene.proxy()
    client = scene.client()
    tunnel = await client.connect(*ECHO)
    tunnel.write(b"\x00\x01\x02\x03" * 25)
    await tunnel.read_exactly(100)
    tunnel.wire.abort(reset=True)
    await scene.settle()
    scene.expect(
        client,
        destination=server.text,
        reply=reply(0),
        bound=target(*server.peers[0]),
        tunnel={"protocol": "unknown"},
        bytes={"sent": 100, "received": 100},
        close="reset",
        closed_by="client",
    )


@scenario("twenty octets after a failure reply")
async def data_after_failure(scene: Scene) -> None:
    junk = b"<html>refused</html>"
    await scene.proxy(faults=Faults(reply=2, junk_after_failure=junk))
    client = scene.client()
    await failing(client.connect(WEB_NAME, 80), ClientError)
    scene.expect(
        client,
        destination=target(WEB_NAME, 80),
        reply=reply(2),
        bound=target("0.0.0.0", 0),
        tunnel=None,
        phase="request",
        outcome="rejected",
        closed_by="proxy",
        anomalies=["data-after-failure"],
    )


@scenario("a failure reply, and twelve seconds until the proxy closes")
async def late_close(scene: Scene) -> None:
    await scene.proxy(faults=Faults(reply=1, late_close=12.0))
    # The library's client would close at once; this one waits for the proxy.
    reader, writer = await asyncio.open_connection(PROXY, PORT, local_addr=(CLIENT, 0))
    writer.write(Greeting(b"\x00").encode())
    await reader.readexactly(2)
    writer.write(Request(Command.CONNECT, Address.domain(WEB_NAME, 80)).encode())
    await reader.read()
    writer.close()
    scene.expect_between(
        writer.get_extra_info("sockname"),
        (PROXY, PORT),
        destination=target(WEB_NAME, 80),
        reply=reply(1),
        bound=target("0.0.0.0", 0),
        tunnel=None,
        phase="request",
        outcome="rejected",
        closed_by="proxy",
        anomalies=["late-close"],
    )


@scenario("the proxy's reply begins with VER 04")
async def reply_version(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(faults=Faults(version={"reply": 4}))
    await fetch(scene, scene.client(), web, anomalies=["bad-version"])


@scenario("the method choice begins with VER 01")
async def method_version(scene: Scene) -> None:
    await scene.web()
    await scene.proxy(faults=Faults(version={"method-selection": 1}))
    client = scene.client()
    tunnel = await client.connect(WEB_NAME, 80)
    await tunnel.close()
    # Whether octets that begin with 05 01 00 and are answered with 01 00 are SOCKS is for the analyser to judge: it
    # is on a SOCKS port. Nothing more is claimed than that nothing breaks.
    scene.expect(client)
    scene.forget_all()


@scenario("the request begins with VER 04; the proxy refuses to go on")
async def request_version(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client(faults=ClientFaults(versions={"request": 4}))
    await failing(client.connect(WEB_NAME, 80), ClientError)
    scene.expect(client, **{**ASKED, "closed_by": "proxy"}, anomalies=["bad-version"])
    scene.forget("outcome", "phase", "command", "destination", "name_resolution", "frames")


@scenario("octets of the destination's come before the reply")
async def data_before_reply(scene: Scene) -> None:
    await scene.web()
    await scene.proxy(faults=Faults(before={"reply": b"HELLO"}))
    client = scene.client()
    await failing(client.connect(WEB_NAME, 80), ClientError)
    scene.expect(client, closed_by="client")
    scene.forget("outcome", "phase", "anomalies", "frames", "close", "closed_by")


@scenario("a reply whose name is said to be 200 octets long and has 20: the tunnel's octets are swallowed")
async def reply_lying_length(scene: Scene) -> None:
    await scene.web()
    await scene.proxy(faults=Faults(bound=Address.domain("gateway.example.test", 1), length={"reply": 200}))
    client = scene.client(timeout=3.0)
    await failing(client.connect(WEB_NAME, 80), ClientError, asyncio.TimeoutError)
    await scene.settle()
    scene.expect(client, destination=target(WEB_NAME, 80), reply=None, closed_by="client")
    scene.forget("outcome", "phase", "reply", "anomalies")


@scenario("a greeting that promises nine methods and brings one; the client waits, the proxy's time-out ends it")
async def greeting_lying_length(scene: Scene) -> None:
    await scene.proxy(handshake_timeout=5.0)
    client = scene.client(faults=ClientFaults(lengths={"greeting": 9}, stop_after="greeting"))
    await failing(client.connect(WEB_NAME, 80), ClientError)
    scene.expect(client, **{**NOT_ASKED, "method": None}, closed_by="proxy", frames=[])
    scene.forget("methods", "phase", "outcome")


@scenario("the proxy speaks first: a method choice before any greeting")
async def server_first(scene: Scene) -> None:
    ends = ((CLIENT, 40001), (PROXY, PORT))
    flow = scene.trace.tcp(*ends)
    conversation = (
        (1, MethodSelection(0).encode()),
        (0, Greeting(b"\x00").encode()),
        (0, Request(Command.CONNECT, Address.domain(WEB_NAME, 80)).encode()),
        (1, Reply(0, Address.ipv4(OUTBOUND[0], 40001)).encode()),
        (0, http_request(WEB_NAME)),
        (1, HTTP_RESPONSE),
    )
    for side, octets in conversation:
        await scene.settle(0.001)
        flow.data(side, octets)
    flow.fin(1)
    flow.fin(0)
    scene.expect_between(*ends, closed_by="proxy", anomalies=["server-spoke-first"])
    scene.forget("methods", "method", "phase", "outcome", "command")
