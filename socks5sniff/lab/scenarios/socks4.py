"""SOCKS4 and SOCKS4A."""

from __future__ import annotations

import asyncio

from socks5sniff.client import ClientFaults, RefusedError
from socks5sniff.lab.payloads import counted
from socks5sniff.lab.scenarios.exchanges import WEB_NAME, failing, http
from socks5sniff.lab.scenarios.registry import add, scenario
from socks5sniff.lab.scene import CLOSED, PEER, WEB, Scene, reply, target
from socks5sniff.proxy.faults import Faults

GRANTED = reply(90, 4)


@scenario("SOCKS4 CONNECT with a user id")
async def socks4_connect(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy()
    client = scene.client(version="4", username="alice")
    seen = await http(await client.connect(*WEB))
    bound = target(*web.peers[0])
    scene.expect(client, protocol="socks4", username="alice", **seen, destination=web.text, reply=GRANTED, bound=bound)


@scenario("SOCKS4 CONNECT without a user id, one octet per segment")
async def socks4_split(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(faults=Faults(segment=1))
    client = scene.client(version="4", faults=ClientFaults(segment=1))
    seen = await http(await client.connect(*WEB))
    scene.expect(
        client,
        protocol="socks4",
        **seen,
        destination=web.text,
        reply=GRANTED,
        bound=target(*web.peers[0]),
        anomalies=["split-frame"],
    )
    scene.forget("username")


@scenario("SOCKS4A CONNECT: the proxy resolves the name")
async def socks4a_connect(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy()
    client = scene.client(version="4a", username="alice")
    seen = await http(await client.connect(WEB_NAME, 80))
    scene.expect(
        client,
        protocol="socks4a",
        username="alice",
        **seen,
        destination=target(WEB_NAME, 80),
        reply=GRANTED,
        bound=target(*web.peers[0]),
    )


def rejected(code: int, about: str) -> None:
    async def play(scene: Scene) -> None:
        await scene.proxy(faults=Faults(reply=code) if code != 91 else Faults())
        client = scene.client(version="4", username="alice")
        await failing(client.connect(*CLOSED), RefusedError)
        scene.expect(
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
async def socks4_bind(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client(version="4", username="alice")
    binding = await client.bind(PEER, 0)
    first = binding.bound
    await scene.settle(0.01)
    _, writer = await asyncio.open_connection(first.text, first.port, local_addr=(PEER, 2121))
    tunnel = await binding.accept()
    writer.write(counted(64))
    writer.close()
    assert await tunnel.read_all() == counted(64)
    await tunnel.close()
    scene.expect(
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
async def socks4a_resolve(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client(version="4a")
    assert (await client.resolve(WEB_NAME)).text == WEB[0]
    await scene.settle()
    scene.expect(
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
    scene.forget("username", "name_resolution")
