"""SOCKS4 and SOCKS4A."""

from __future__ import annotations

import asyncio
from typing import Any

from socks5sniff.client import ClientFaults, RefusedError, Witnessed
from socks5sniff.codec import Address, Socks4Reply, Socks4Request
from socks5sniff.lab.payloads import counted
from socks5sniff.lab.scenarios.exchanges import FETCHED, PAGE, WEB_NAME, failing, http, tell
from socks5sniff.lab.scenarios.registry import Play, add, scenario
from socks5sniff.lab.scene import CLOSED, PEER, PORT, PROXY, WEB, Scene
from socks5sniff.lab.truth import reply, target
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
        closed_by="proxy",
    )


GRANTED_OCTETS = Socks4Reply(90, Address.ipv4("0.0.0.0", 0)).encode()
NAMED = Socks4Request(1, Address.domain(WEB_NAME, 80), b"alice").encode()
NUMBERED = Socks4Request(1, Address.ipv4(*WEB), b"alice").encode()


def as_sent(request: bytes, answer: bytes, port: int, forget: tuple[str, ...] = (), **facts: Any) -> Play:
    """A dialogue as real programs have it, and a page behind it."""

    async def play(scene: Scene) -> None:
        ends = ((scene.place.client, 40001), (PROXY, port))
        await tell(scene, ends, [(0, request), (1, answer), *PAGE], "10")
        frames = [Witnessed("client", "request", len(request)), Witnessed("proxy", "reply", len(answer))]
        common = {"username": "alice", "reply": GRANTED, "bound": target("0.0.0.0", 0), "closed_by": "proxy"}
        scene.expect_between(*ends, frames=frames, **{**common, **FETCHED, **facts})
        scene.forget(*forget)

    return play


for _port in (PORT, 7777):
    add(
        f"socks4-reply-version-{_port}",
        f"a SOCKS4 reply that begins with VN 04, on port {_port}",
        as_sent(
            NUMBERED,
            b"\x04" + GRANTED_OCTETS[1:],
            _port,
            protocol="socks4",
            destination=target(*WEB),
            anomalies=["bad-version"],
        ),
    )
    add(
        f"socks4a-no-name-{_port}",
        f"a SOCKS4A request with an empty host name: two NULs behind the user id, on port {_port}",
        as_sent(
            Socks4Request(1, Address.domain(b"", 80), b"alice").encode(),
            GRANTED_OCTETS,
            _port,
            protocol="socks4a",
            destination={"type": "domain", "host": "", "port": 80},
            anomalies=["empty-domain"],
        ),
    )

add(
    "socks4a-two-nuls",
    "a SOCKS4A request with two NULs between user id and host name, as a library sends it",
    as_sent(
        NAMED.replace(b"alice\x00", b"alice\x00\x00"),
        GRANTED_OCTETS,
        PORT,
        ("frames", "timing", "destination", "tunnel", "bytes", "anomalies"),  # where the request ends is open
        protocol="socks4a",
        destination={"type": "domain", "host": "", "port": 80},
    ),
)


def unfinished(octets: bytes, protocol: str) -> Play:
    """A request whose end never comes; the proxy waits for it and closes."""

    async def play(scene: Scene) -> None:
        await scene.proxy(handshake_timeout=5.0)
        reader, writer = await asyncio.open_connection(PROXY, PORT, local_addr=(scene.place.client, 0))
        writer.write(octets)
        await reader.read()
        writer.close()
        await scene.settle()
        ends = (writer.get_extra_info("sockname"), (PROXY, PORT))
        scene.expect_between(*ends, protocol=protocol, frames=[], outcome="incomplete", closed_by="proxy")
        # How much of a request that never was whole is told, and whose fault it is, is a matter of taste.
        scene.forget("phase", "command", "username", "anomalies")

    return play


add(
    "socks4a-name-missing",
    "a SOCKS4A request (0.0.0.1) whose host name never comes",
    unfinished(Socks4Request(1, Address.domain(b"x", 80), b"alice").encode()[:-2], "socks4a"),
)
add("socks4-no-nul", "a SOCKS4 request whose user id never ends", unfinished(NUMBERED[:-1], "socks4"))
