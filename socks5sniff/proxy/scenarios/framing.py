"""Frames and segments never align: split, joined, ahead of time."""

from __future__ import annotations

from socks5sniff.client import Behaviour
from socks5sniff.codec import decode_text
from socks5sniff.proxy.faults import Faults
from socks5sniff.proxy.payloads import HTTP_RESPONSE, http_request
from socks5sniff.proxy.scenarios.acts import WEB_NAME, fetch
from socks5sniff.proxy.scenarios.methods import PASSWORD, USERS
from socks5sniff.proxy.scenarios.registry import scenario
from socks5sniff.proxy.stage import Stage, reply, target

SPLIT = {"anomalies": ["split-frame"]}


@scenario("every octet of the handshake, both ways, in a segment of its own")
async def split_octets(stage: Stage) -> None:
    web = await stage.web()
    await stage.proxy(users=USERS, faults=Faults(segment=1))
    client = stage.client(username="alice", password="correct horse", behaviour=Behaviour(segment=1))
    facts = {**PASSWORD, "anomalies": ["cleartext-credentials", "split-frame"]}
    await fetch(stage, client, web, **facts, username="alice")


@scenario("the client's frames in segments of three octets")
async def split_client(stage: Stage) -> None:
    web = await stage.web()
    await stage.proxy()
    await fetch(stage, stage.client(behaviour=Behaviour(segment=3)), web, **SPLIT)


@scenario("the proxy's reply in segments of four octets")
async def split_proxy(stage: Stage) -> None:
    web = await stage.web()
    await stage.proxy(faults=Faults(segment=4))
    await fetch(stage, stage.client(), web, **SPLIT)


@scenario("greeting, credentials and request in one segment; method choice and both replies in another")
async def pipelined(stage: Stage) -> None:
    web = await stage.web()
    await stage.proxy(users=USERS, faults=Faults(hold=0.2))
    client = stage.client(
        username="alice", password="correct horse", behaviour=Behaviour(methods=b"\x02", pipeline=True)
    )
    facts = {
        **PASSWORD,
        "methods": ["username-password"],
        "anomalies": ["cleartext-credentials", "pipelined-frames"],
    }
    await fetch(stage, client, web, **facts, username="alice")
    stage.forget("frames")


@scenario("greeting and request in one segment, the answers one by one")
async def pipelined_client(stage: Stage) -> None:
    web = await stage.web()
    await stage.proxy()
    client = stage.client(behaviour=Behaviour(pipeline=True))
    await fetch(stage, client, web, anomalies=["pipelined-frames"])
    stage.forget("frames")


async def ahead(stage: Stage, behaviour: Behaviour, anomalies: list[str]) -> None:
    web = await stage.web()
    await stage.proxy()
    client = stage.client(behaviour=behaviour)
    tunnel = await client.connect(WEB_NAME, 80)
    assert await tunnel.read_all() == HTTP_RESPONSE
    await tunnel.close()
    stage.expect(
        client,
        destination=target(WEB_NAME, 80),
        reply=reply(0),
        bound=target(*web.peers[0]),
        tunnel={"protocol": "http", "server_name": WEB_NAME},
        bytes={"sent": len(http_request(WEB_NAME)), "received": len(HTTP_RESPONSE)},
        closed_by="proxy",
        anomalies=anomalies,
    )
    stage.forget("frames")


@scenario("tunnel data right behind the request, before the reply (optimistic data)")
async def optimistic_data(stage: Stage) -> None:
    await ahead(stage, Behaviour(optimistic=http_request(WEB_NAME)), ["early-data"])


@scenario("greeting, request and tunnel data in one segment")
async def optimistic_all(stage: Stage) -> None:
    await ahead(stage, Behaviour(pipeline=True, optimistic=http_request(WEB_NAME)), ["early-data", "pipelined-frames"])


@scenario("a slow conversation: 1.5 s before the method choice, 2 s before the reply")
async def slow(stage: Stage) -> None:
    web = await stage.web()
    await stage.proxy(faults=Faults(delay={"method-selection": 1.5, "reply": 2.0}))
    await fetch(stage, stage.client(), web)


@scenario("a user name that is Tor's typed RPC form, and a password of the longest kind")
async def auth_longest(stage: Stage) -> None:
    user, secret = b"<torS0X>0" + b"u" * 246, b"p" * 255
    web = await stage.web()
    await stage.proxy(users={user: secret})
    client = stage.client(username=user, password=secret)
    await fetch(stage, client, web, **PASSWORD, username=decode_text(user))
