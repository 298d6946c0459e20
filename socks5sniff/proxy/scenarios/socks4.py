"""SOCKS4 and SOCKS4A."""

from __future__ import annotations

import asyncio

from socks5sniff.client import Behaviour, RefusedError
from socks5sniff.proxy.faults import Faults
from socks5sniff.proxy.payloads import counted
from socks5sniff.proxy.scenarios.acts import WEB_NAME, failing, http
from socks5sniff.proxy.scenarios.registry import add, scenario
from socks5sniff.proxy.stage import CLOSED, PEER, WEB, Stage, reply, target

GRANTED = reply(90, 4)


@scenario("SOCKS4 CONNECT with a user id")
async def socks4_connect(stage: Stage) -> None:
    web = await stage.web()
    await stage.proxy()
    client = stage.client(version="4", username="alice")
    seen = await http(await client.connect(*WEB))
    bound = target(*web.peers[0])
    stage.expect(client, protocol="socks4", username="alice", **seen, destination=web.text, reply=GRANTED, bound=bound)


@scenario("SOCKS4 CONNECT without a user id, one octet per segment")
async def socks4_split(stage: Stage) -> None:
    web = await stage.web()
    await stage.proxy(faults=Faults(segment=1))
    client = stage.client(version="4", behaviour=Behaviour(segment=1))
    seen = await http(await client.connect(*WEB))
    stage.expect(
        client,
        protocol="socks4",
        **seen,
        destination=web.text,
        reply=GRANTED,
        bound=target(*web.peers[0]),
        anomalies=["split-frame"],
    )
    stage.forget("username")


@scenario("SOCKS4A CONNECT: the proxy resolves the name")
async def socks4a_connect(stage: Stage) -> None:
    web = await stage.web()
    await stage.proxy()
    client = stage.client(version="4a", username="alice")
    seen = await http(await client.connect(WEB_NAME, 80))
    stage.expect(
        client,
        protocol="socks4a",
        username="alice",
        **seen,
        destination=target(WEB_NAME, 80),
        reply=GRANTED,
        bound=target(*web.peers[0]),
    )


def rejected(code: int, about: str) -> None:
    async def play(stage: Stage) -> None:
        await stage.proxy(faults=Faults(reply=code) if code != 91 else Faults())
        client = stage.client(version="4", username="alice")
        await failing(client.connect(*CLOSED), RefusedError)
        stage.expect(
            client,
            protocol="socks4",
            username="alice",
            destination=target(*CLOSED),
            reply=reply(code, 4),
            bound=target("0.0.0.0", 0),
            tunnel=None,
            bytes=None,
            phase="request",
            outcome="rejected",
            closed_by="proxy",
        )

    add(f"socks4-reply-{code}", about, play)


rejected(91, "SOCKS4 rejected (91): connection refused")
rejected(92, "SOCKS4: no identd reachable (92)")
rejected(93, "SOCKS4: identd mismatch (93)")


@scenario("SOCKS4 BIND: two replies, then the peer's data")
async def socks4_bind(stage: Stage) -> None:
    await stage.proxy()
    client = stage.client(version="4", username="alice")
    binding = await client.bind(PEER, 0)
    first = binding.bound
    await stage.settle(0.01)
    _, writer = await asyncio.open_connection(first.text, first.port, local_addr=(PEER, 2121))
    tunnel = await binding.accept()
    writer.write(counted(64))
    writer.close()
    assert await tunnel.read_all() == counted(64)
    await tunnel.close()
    stage.expect(
        client,
        protocol="socks4",
        username="alice",
        command="bind",
        destination=target(PEER, 0),
        reply=GRANTED,
        bound=target(first.text, first.port),
        peer_reply=GRANTED,
        peer=target(PEER, 2121),
        tunnel={"protocol": "unknown"},
        bytes={"sent": 0, "received": 64},
        closed_by="proxy",
    )


@scenario("RESOLVE (Tor) in a SOCKS4A request")
async def socks4a_resolve(stage: Stage) -> None:
    await stage.proxy()
    client = stage.client(version="4a")
    assert (await client.resolve(WEB_NAME)).text == WEB[0]
    await stage.settle()
    stage.expect(
        client,
        protocol="socks4a",
        command="resolve",
        destination=target(WEB_NAME, 0),
        reply=GRANTED,
        bound=target(WEB[0], 0),
        tunnel=None,
        bytes=None,
        phase="request",
    )
    stage.forget("username", "name_resolution")
