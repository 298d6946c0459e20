"""TCP as it arrives at a sniffer: out of order, twice, with holes, in the middle."""

from __future__ import annotations

from typing import Any

from socks5sniff.client import ClientFaults
from socks5sniff.lab.impairments import (
    Change,
    cut,
    drop,
    drop_start,
    fragment,
    keepalive,
    overlap,
    repeat,
    repeat_syn,
    reverse,
)
from socks5sniff.lab.scenarios.exchanges import echo, fetch
from socks5sniff.lab.scenarios.registry import Play, add, scenario
from socks5sniff.lab.scene import ECHO, Scene
from socks5sniff.lab.truth import reply, target

CLIENT_SIDE, PROXY_SIDE = 0, 1
FLOW = 0
"""The client's connection is the first of every scenario."""


def impaired(
    change: Change,
    faults: ClientFaults | None = None,
    without: tuple[str, ...] = (),
    first: int = 0,
    **facts: Any,
) -> Play:
    """The usual conversation, its packets changed; `first` is the index of the first frame still there."""

    async def play(scene: Scene) -> None:
        web = await scene.web()
        await scene.proxy()
        await fetch(scene, scene.client(faults=faults), web, **facts)
        scene.truth.begin_at(first)
        scene.forget(*without)
        scene.impair(change)

    return play


add(
    "tcp-reordered",
    "the client's request in seven segments that arrive in reverse order",
    impaired(reverse(FLOW, CLIENT_SIDE, 1, 8), ClientFaults(segment=3), anomalies=["split-frame"]),
)
add(
    "tcp-reordered-tunnel",
    "the server's page in segments of 40 octets, three of them in reverse order",
    impaired(lambda packets: reverse(FLOW, PROXY_SIDE, 3, 3)(cut(FLOW, PROXY_SIDE, 2, 40)(packets))),
)
add(
    "tcp-duplicated",
    "greeting, request and reply each come twice",
    impaired(
        lambda packets: repeat(FLOW, CLIENT_SIDE, 0)(repeat(FLOW, CLIENT_SIDE, 1)(repeat(FLOW, PROXY_SIDE, 1)(packets)))
    ),
)
add(
    "tcp-retransmitted",
    "the request comes again after the reply, and the page after the end",
    impaired(lambda packets: repeat(FLOW, CLIENT_SIDE, 1, later=8)(repeat(FLOW, PROXY_SIDE, 2, later=3)(packets))),
)
add(
    "tcp-conflict",
    "the request comes again with another name in it",
    impaired(
        repeat(FLOW, CLIENT_SIDE, 1, lambda octets: octets.replace(b"www.", b"bad."), later=1),
        anomalies=["conflicting-retransmission"],
    ),
)
add(
    "tcp-overlap",
    "the request's second half brings some octets of the first once more",
    impaired(overlap(FLOW, CLIENT_SIDE, 2, 4), ClientFaults(segment=12), anomalies=["split-frame"]),
)
add(
    "tcp-keepalive",
    "a keep-alive in the middle of the handshake",
    impaired(keepalive(FLOW, CLIENT_SIDE, 1)),
)
add("tcp-syn-twice", "the SYN comes twice", impaired(repeat_syn(FLOW)))
add(
    "tcp-lost-request",
    "the request is missing from the capture",
    impaired(
        drop(FLOW, CLIENT_SIDE, 1),
        without=(
            *("frames", "phase", "outcome", "command", "name_resolution", "reply", "bound"),
            *("tunnel", "bytes", "upstream"),
        ),
        destination=None,
        anomalies=["handshake-gap"],
    ),
)
add(
    "tcp-lost-tunnel",
    "a segment of the server's page is missing from the capture; it counts, since it was acknowledged",
    impaired(lambda packets: drop(FLOW, PROXY_SIDE, 3)(cut(FLOW, PROXY_SIDE, 2, 40)(packets))),
)
add(
    "tcp-midstream",
    "the capture begins after the TCP handshake",
    impaired(drop_start(FLOW, 3), anomalies=["midstream"]),
)
add(
    "tcp-midstream-late",
    "the capture begins after the greeting",
    impaired(drop_start(FLOW, 5), first=1, methods=None, anomalies=["midstream"]),
)
add(
    "ip-fragments",
    "the request's packet comes in IPv4 fragments of 24 octets",
    impaired(fragment(FLOW, CLIENT_SIDE, 1, 24)),
)


@scenario("sequence numbers that wrap around within the handshake, both ways")
async def tcp_wraparound(scene: Scene) -> None:
    scene.trace.initial = [(0xFFFFFFF8, 0xFFFFFFFD)]
    web = await scene.web()
    await scene.proxy()
    await fetch(scene, scene.client(), web)


@scenario("the same client port for two conversations, one after the other")
async def tcp_port_reuse(scene: Scene) -> None:
    server = await scene.echo()
    await scene.proxy()
    for occurrence in range(2):
        client = scene.client(local=(scene.place.client, 41000))
        seen = await echo(await client.connect(*ECHO), 100 + occurrence)
        await scene.settle(1.0)
        wire = client.wire
        assert wire is not None
        scene.expect_between(
            wire.local,
            wire.remote,
            occurrence,
            **seen,
            destination=server.text,
            reply=reply(0),
            bound=target(*server.peers[-1]),
            frames=wire.witnessed,
        )
