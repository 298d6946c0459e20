"""Every reply code: from the real error where the proxy can meet it, else by a fault."""

from __future__ import annotations

import errno
from typing import Any

from socks5sniff.client import ClientFaults, RefusedError
from socks5sniff.codec import Address
from socks5sniff.lab.scenarios.exchanges import WEB_NAME, failing
from socks5sniff.lab.scenarios.registry import Play, add, scenario
from socks5sniff.lab.scene import CLOSED, WEB, Scene
from socks5sniff.lab.truth import reply, target
from socks5sniff.proxy.faults import Faults

REJECTED: dict[str, Any] = {
    "tunnel": None,
    "bytes": None,
    "bound": target("0.0.0.0", 0),
    "phase": "request",
    "outcome": "rejected",
    "closed_by": "proxy",
}


def by_fault(code: int, anomalies: list[str]) -> Play:
    async def play(scene: Scene) -> None:
        await scene.proxy(faults=Faults(reply=code))
        client = scene.client()
        await failing(client.connect(WEB_NAME, 80), RefusedError)
        scene.expect(client, **REJECTED, destination=target(WEB_NAME, 80), reply=reply(code), anomalies=anomalies)

    return play


for _name, _code, _about in (
    ("reply-general-failure", 1, "general SOCKS server failure (1)"),
    ("reply-not-allowed", 2, "connection not allowed by ruleset (2)"),
    ("reply-ttl-expired", 6, "TTL expired (6)"),
    ("reply-invalid-address", 9, "invalid address (9, from a draft)"),
    ("reply-onion-not-found", 0xF0, "Tor's extended error F0: onion service descriptor not found"),
    ("reply-onion-invalid", 0xF6, "Tor's extended error F6: invalid onion address"),
    ("reply-unassigned", 0x33, "a reply code that no one has assigned (0x33)"),
):
    add(_name, _about, by_fault(_code, ["unknown-reply"] if _code == 0x33 else []))


def by_error(host: str, code: int, error: int) -> Play:
    async def play(scene: Scene) -> None:
        scene.loop.failing[host] = error
        await scene.proxy()
        client = scene.client()
        refused = await failing(client.connect(host, 80), RefusedError)
        assert refused.code == code
        scene.expect(client, **REJECTED, destination=target(host, 80), reply=reply(code))

    return play


for _name, _code, _error, _about in (
    ("reply-network-unreachable", 3, errno.ENETUNREACH, "network unreachable (3), from ENETUNREACH"),
    ("reply-host-unreachable", 4, errno.EHOSTUNREACH, "host unreachable (4), from EHOSTUNREACH"),
):
    add(_name, _about, by_error("198.51.100.200", _code, _error))


@scenario("connection refused (5), from ECONNREFUSED")
async def reply_connection_refused(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client()
    await failing(client.connect(*CLOSED), RefusedError)
    scene.expect(client, **REJECTED, destination=target(*CLOSED), reply=reply(5))


@scenario("host unreachable (4): a name that does not exist")
async def reply_unknown_name(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client()
    await failing(client.connect("nowhere.example.test", 80), RefusedError)
    scene.expect(client, **REJECTED, destination=target("nowhere.example.test", 80), reply=reply(4))


@scenario("command not supported (7): command 0x99")
async def command_unknown(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client()
    await failing(client.request(0x99, *WEB), RefusedError)
    scene.expect(
        client,
        **REJECTED,
        command="unknown-0x99",
        destination=target(*WEB),
        reply=reply(7),
        anomalies=["unknown-command"],
    )


@scenario("address type not supported (8): ATYP 0x07")
async def address_type_unknown(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client()
    await failing(client.connect(Address(7, b"\x01\x02\x03\x04", 80)), RefusedError)
    scene.expect(client, **REJECTED, destination=None, reply=reply(8), anomalies=["unknown-address-type"])
    scene.forget("frames", "timing.request")  # where a request of no known form ends is for nobody to say


def shaped(faults: Faults, **facts: Any) -> Play:
    """A success reply of an unusual form."""

    async def play(scene: Scene) -> None:
        from socks5sniff.lab.scenarios.exchanges import fetch

        web = await scene.web()
        await scene.proxy(faults=faults)
        await fetch(scene, scene.client(), web, **facts)

    return play


add(
    "reply-domain",
    "a success reply whose BND is a name",
    shaped(
        Faults(bound=Address.domain("gateway.example.test", 4711)),
        bound={"type": "domain", "host": "gateway.example.test", "port": 4711},
    ),
)
add(
    "reply-ipv6",
    "a success reply whose BND is an IPv6 address",
    shaped(Faults(bound=Address.ipv6("2001:db8:1::99", 4711)), bound=target("2001:db8:1::99", 4711)),
)
add(
    "reply-unspecified",
    "a success reply whose BND is 0.0.0.0:0, as most proxies send it",
    shaped(Faults(bound=Address.ipv4("0.0.0.0", 0)), bound=target("0.0.0.0", 0)),
)
add(
    "reply-reserved",
    "a success reply whose RSV is 0x7f",
    shaped(Faults(reserved=0x7F), anomalies=["reserved-nonzero"]),
)


@scenario("a request whose RSV is 0x01, answered as usual")
async def request_reserved(scene: Scene) -> None:
    from socks5sniff.lab.scenarios.exchanges import fetch

    web = await scene.web()
    await scene.proxy()
    client = scene.client(faults=ClientFaults(reserved=1))
    await fetch(scene, client, web, anomalies=["reserved-nonzero"])
