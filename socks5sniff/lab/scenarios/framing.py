"""Frames and segments never align: split, joined, ahead of time."""

from __future__ import annotations

import asyncio

from socks5sniff.client import ClientFaults
from socks5sniff.codec import decode_text
from socks5sniff.lab.payloads import HTTP_RESPONSE, SSH_SERVER, http_request
from socks5sniff.lab.scenarios.exchanges import WEB_NAME, fetch
from socks5sniff.lab.scenarios.methods import PASSWORD, USERS
from socks5sniff.lab.scenarios.registry import scenario
from socks5sniff.lab.scenarios.udp import ANSWER, QUERY, destination, over, relayed
from socks5sniff.lab.scene import DNS, SSH, Scene, Target
from socks5sniff.lab.truth import reply, target
from socks5sniff.proxy.faults import Faults

SPLIT = {"anomalies": ["split-frame"]}


@scenario("every octet of the handshake, both ways, in a segment of its own")
async def split_octets(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(users=USERS, faults=Faults(segment=1))
    client = scene.client(username="alice", password="correct horse", faults=ClientFaults(segment=1))
    facts = {**PASSWORD, "anomalies": ["cleartext-credentials", "split-frame"]}
    await fetch(scene, client, web, **facts, username="alice")
    scene.forget("timing.authentication")  # from the first or the last of the request's octets


@scenario("the client's frames in segments of three octets")
async def split_client(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy()
    await fetch(scene, scene.client(faults=ClientFaults(segment=3)), web, **SPLIT)


@scenario("the proxy's reply in segments of four octets")
async def split_proxy(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(faults=Faults(segment=4))
    await fetch(scene, scene.client(), web, **SPLIT)


@scenario("greeting, credentials and request in one segment; method choice and both replies in another")
async def pipelined(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(users=USERS, faults=Faults(hold=0.2))
    client = scene.client(
        username="alice", password="correct horse", faults=ClientFaults(methods=b"\x02", pipeline=True)
    )
    facts = {
        **PASSWORD,
        "methods": ["username-password"],
        "anomalies": ["cleartext-credentials", "pipelined-frames"],
    }
    await fetch(scene, client, web, **facts, username="alice")


@scenario("greeting and request in one segment, the answers one by one")
async def pipelined_client(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy()
    client = scene.client(faults=ClientFaults(pipeline=True))
    await fetch(scene, client, web, anomalies=["pipelined-frames"])


async def ahead(scene: Scene, faults: ClientFaults, anomalies: list[str]) -> None:
    web = await scene.web()
    await scene.proxy()
    client = scene.client(faults=faults)
    tunnel = await client.connect(WEB_NAME, 80)
    assert await tunnel.read_all() == HTTP_RESPONSE
    await tunnel.close()
    scene.expect(
        client,
        destination=target(WEB_NAME, 80),
        reply=reply(0),
        bound=target(*web.peers[0]),
        tunnel={"protocol": "http", "server_name": WEB_NAME},
        bytes={"sent": len(http_request(WEB_NAME)), "received": len(HTTP_RESPONSE)},
        closed_by="proxy",
        anomalies=anomalies,
    )


@scenario("tunnel data right behind the request, before the reply (optimistic data)")
async def optimistic_data(scene: Scene) -> None:
    await ahead(scene, ClientFaults(optimistic=http_request(WEB_NAME)), ["early-data"])


@scenario("greeting, request and tunnel data in one segment")
async def optimistic_all(scene: Scene) -> None:
    faults = ClientFaults(pipeline=True, optimistic=http_request(WEB_NAME))
    await ahead(scene, faults, ["early-data", "pipelined-frames"])


@scenario("a slow conversation: 1.5 s before the method choice, 2 s before the reply")
async def slow(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(faults=Faults(delay={"method-selection": 1.5, "reply": 2.0}))
    await fetch(scene, scene.client(), web)


@scenario("a user name that is Tor's typed RPC form, and a password of the longest kind")
async def auth_longest(scene: Scene) -> None:
    user, secret = b"<torS0X>0" + b"u" * 246, b"p" * 255
    web = await scene.web()
    await scene.proxy(users={user: secret})
    client = scene.client(username=user, password=secret)
    await fetch(scene, client, web, **PASSWORD, username=decode_text(user))


@scenario("greeting, credentials and request of UDP ASSOCIATE in one segment, and then datagrams only")
async def pipelined_associate(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy(users=USERS, faults=Faults(hold=0.2))
    faults = ClientFaults(methods=b"\x02", pipeline=True)
    client = scene.client(username="alice", password="correct horse", faults=faults)
    association = await client.associate()
    for _ in range(3):
        association.send(QUERY, *DNS)
        assert (await association.receive()).data == ANSWER
    facts = {**PASSWORD, "username": "alice", "methods": ["username-password"]}
    anomalies = ["cleartext-credentials", "pipelined-frames"]
    udp = relayed((3, 3 * len(QUERY)), (3, 3 * len(ANSWER)), 0, destination(DNS, 3, 3))
    await over(scene, client, association, udp, **{**facts, "anomalies": anomalies})


@scenario("greeting and request in one segment, and not another octet from the client: the server speaks first")
async def pipelined_silent(scene: Scene) -> None:
    server = await scene.listen(SSH, say_version)
    await scene.proxy()
    client = scene.client(faults=ClientFaults(pipeline=True))
    tunnel = await client.connect(*SSH)
    assert await tunnel.read_all() == SSH_SERVER
    await tunnel.close()
    scene.expect(
        client,
        destination=server.text,
        reply=reply(0),
        bound=target(*server.peers[0]),
        tunnel={"protocol": "ssh"},
        bytes={"sent": 0, "received": len(SSH_SERVER)},
        closed_by="proxy",
        anomalies=["pipelined-frames"],
    )


async def say_version(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, here: Target) -> None:
    writer.write(SSH_SERVER)
