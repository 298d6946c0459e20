"""Proxies and clients that break the rules, fall silent, or leave."""

from __future__ import annotations

import asyncio
from typing import Any

from socks5sniff.client import ClientError, ClientFaults, Witnessed
from socks5sniff.codec import Address, AuthRequest, Greeting
from socks5sniff.lab.scenarios.exchanges import (
    CHOICE,
    FETCHED,
    GREETING,
    PAGE,
    WEB_NAME,
    failing,
    fetch,
    handshake,
    handshake_frames,
    request_to,
    tell,
)
from socks5sniff.lab.scenarios.registry import Play, add, scenario
from socks5sniff.lab.scene import ECHO, OUTBOUND, PORT, PROXY, Scene
from socks5sniff.lab.truth import reply, target
from socks5sniff.proxy.faults import Faults
from socks5sniff.record import MASKED_PASSWORD

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
    reader, writer = await asyncio.open_connection(PROXY, PORT, local_addr=(scene.place.client, 0))
    writer.write(b"\x05")
    await reader.read()
    writer.close()
    facts = {**NOT_ASKED, "methods": None, "method": None, "closed_by": "proxy"}
    scene.expect_between(writer.get_extra_info("sockname"), (PROXY, PORT), frames=[], **facts)
    scene.forget("anomalies")  # whose fault the half greeting is, is a matter of taste


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
        anomalies=["closed-without-data"],
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
    reader, writer = await asyncio.open_connection(PROXY, PORT, local_addr=(scene.place.client, 0))
    writer.write(GREETING)
    await reader.readexactly(2)
    writer.write(request_to((WEB_NAME, 80)))
    await reader.read()
    writer.close()
    scene.expect_between(
        writer.get_extra_info("sockname"),
        (PROXY, PORT),
        frames=handshake_frames((WEB_NAME, 80)),
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
    web = await scene.web()
    await scene.proxy(faults=Faults(version={"method-selection": 1}))
    client = scene.client()
    tunnel = await client.connect(WEB_NAME, 80)
    await tunnel.close()
    scene.expect(
        client,
        destination=target(WEB_NAME, 80),
        reply=reply(0),
        bound=target(*web.peers[0]),
        bytes={"sent": 0, "received": 0},
        closed_by="client",
        anomalies=["bad-version"],
    )


@scenario("the request begins with VER 04; the proxy refuses to go on")
async def request_version(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client(faults=ClientFaults(versions={"request": 4}))
    await failing(client.connect(WEB_NAME, 80), ClientError)
    scene.expect(client, **{**ASKED, "closed_by": "proxy"}, anomalies=["bad-version"])


@scenario("octets of the destination's come before the reply")
async def data_before_reply(scene: Scene) -> None:
    await scene.web()
    await scene.proxy(faults=Faults(before={"reply": b"HELLO"}))
    client = scene.client()
    await failing(client.connect(WEB_NAME, 80), ClientError)
    assert client.wire is not None
    frames = client.wire.witnessed[:3]  # what came instead of the reply is no frame
    facts = {**ASKED, "outcome": "malformed"}
    scene.expect(client, **facts, closed_by="client", anomalies=["bad-version"], frames=frames)


@scenario("a reply whose name is said to be 200 octets long and has 20: the tunnel's octets are swallowed")
async def reply_lying_length(scene: Scene) -> None:
    await scene.web()
    await scene.proxy(faults=Faults(bound=Address.domain("gateway.example.test", 1), length={"reply": 200}))
    client = scene.client(timeout=3.0)
    await failing(client.connect(WEB_NAME, 80), ClientError, asyncio.TimeoutError)
    await scene.settle()
    scene.expect(client, **ASKED, closed_by="client")
    scene.forget("reply", "anomalies")  # its code can be read, its end never came


@scenario("a greeting that promises nine methods and brings one; the client waits, the proxy's time-out ends it")
async def greeting_lying_length(scene: Scene) -> None:
    await scene.proxy(handshake_timeout=5.0)
    client = scene.client(faults=ClientFaults(lengths={"greeting": 9}, stop_after="greeting"))
    await failing(client.connect(WEB_NAME, 80), ClientError)
    scene.expect(client, **{**NOT_ASKED, "methods": None, "method": None}, closed_by="proxy", frames=[])
    scene.forget("anomalies")  # whose fault the half greeting is, is a matter of taste


@scenario("the proxy speaks first: a method choice before any greeting")
async def server_first(scene: Scene) -> None:
    ends = ((scene.place.client, 40001), (PROXY, PORT))
    bound = (OUTBOUND[0], 40001)
    greeting, choice, *rest = handshake((WEB_NAME, 80), bound)
    await tell(scene, ends, [choice, greeting, *rest, *PAGE], "10")
    scene.expect_between(
        *ends,
        destination=target(WEB_NAME, 80),
        reply=reply(0),
        bound=target(*bound),
        **FETCHED,
        closed_by="proxy",
        anomalies=["server-spoke-first"],
        frames=handshake_frames((WEB_NAME, 80)),
    )


@scenario("the proxy closes after four octets of its reply")
async def half_reply(scene: Scene) -> None:
    await scene.web()
    await scene.proxy(faults=Faults(cut={"reply": 4}))
    client = scene.client()
    await failing(client.connect(WEB_NAME, 80), ClientError)
    await scene.settle()
    scene.expect(client, **ASKED, closed_by="proxy", anomalies=["half-frame"])


@scenario("the client closes after half of its request")
async def half_request(scene: Scene) -> None:
    await scene.proxy()
    reader, writer = await asyncio.open_connection(PROXY, PORT, local_addr=(scene.place.client, 0))
    writer.write(GREETING)
    await reader.readexactly(len(CHOICE))
    writer.write(request_to((WEB_NAME, 80))[:9])
    await scene.settle(0.01)
    writer.close()
    await scene.settle()
    ends = (writer.get_extra_info("sockname"), (PROXY, PORT))
    frames = handshake_frames((WEB_NAME, 80))[:2]
    scene.expect_between(*ends, frames=frames, closed_by="client", anomalies=["half-frame"], **NOT_ASKED)
    scene.forget("phase")  # half of a request was seen


@scenario("the client closes after half of its greeting")
async def half_greeting(scene: Scene) -> None:
    await scene.proxy()
    _, writer = await asyncio.open_connection(PROXY, PORT, local_addr=(scene.place.client, 0))
    writer.write(Greeting(b"\x00\x01\x02").encode()[:3])
    await scene.settle(0.01)
    writer.close()
    await scene.settle()
    facts = {**NOT_ASKED, "methods": None, "method": None, "closed_by": "client", "anomalies": ["half-frame"]}
    scene.expect_between(writer.get_extra_info("sockname"), (PROXY, PORT), frames=[], **facts)


@scenario("success, and the proxy closes without an octet from the destination: it answers before it has connected")
async def closed_without_data(scene: Scene) -> None:
    server = await scene.echo()
    await scene.proxy(faults=Faults(close="relay"))
    client = scene.client()
    tunnel = await client.connect(*ECHO)
    tunnel.write(b"anyone there?")
    assert await tunnel.read() == b""
    await tunnel.close()
    scene.expect(
        client,
        destination=server.text,
        reply=reply(0),
        bound=target(*server.peers[0]),
        tunnel={"protocol": "unknown"},
        bytes={"sent": 13, "received": 0},
        closed_by="proxy",
        anomalies=["closed-without-data"],
    )


@scenario("no authentication chosen, and user name and password sent all the same")
async def auth_unasked(scene: Scene) -> None:
    ends = ((scene.place.client, 40001), (PROXY, PORT))
    greeting, login = Greeting(b"\x00\x02"), AuthRequest(b"alice", b"correct horse")
    await tell(scene, ends, [(0, greeting.encode()), (1, CHOICE), (0, login.encode())], "10")
    facts = {**NOT_ASKED, "methods": ["no-authentication", "username-password"], "username": "alice"}
    scene.expect_between(
        *ends,
        **facts,
        password=MASKED_PASSWORD,
        closed_by="proxy",
        anomalies=["auth-unasked", "cleartext-credentials"],
        frames=[
            Witnessed("client", "greeting", len(greeting.encode())),
            Witnessed("proxy", "method-selection", len(CHOICE)),
            Witnessed("client", "auth-request", len(login.encode())),
        ],
    )
    scene.forget("phase", "outcome")  # of an authentication that nobody asked for


RESET_TEXT = b"closed by the administrator: policy 7"


@scenario("the proxy resets the tunnel, with a text for people in the RST")
async def reset_text(scene: Scene) -> None:
    ends, bound = ((scene.place.client, 40001), (PROXY, PORT)), (OUTBOUND[0], 40001)
    flow = await tell(scene, ends, [*handshake((WEB_NAME, 80), bound), *PAGE], "")
    flow.reset(1, RESET_TEXT)
    scene.expect_between(
        *ends,
        destination=target(WEB_NAME, 80),
        reply=reply(0),
        bound=target(*bound),
        **FETCHED,
        close="reset",
        closed_by="proxy",
        frames=handshake_frames((WEB_NAME, 80)),
    )


@scenario("the proxy resets instead of replying, with a text for people in the RST")
async def reset_text_before_reply(scene: Scene) -> None:
    ends = ((scene.place.client, 40001), (PROXY, PORT))
    flow = await tell(scene, ends, handshake((WEB_NAME, 80), (OUTBOUND[0], 40001))[:3], "")
    flow.reset(1, RESET_TEXT)
    frames = handshake_frames((WEB_NAME, 80))[:3]
    scene.expect_between(*ends, **ASKED, close="reset", closed_by="proxy", frames=frames)
