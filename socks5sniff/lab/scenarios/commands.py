"""Commands and address types (RFC 1928 s4 and s5, Tor's socks-extensions)."""

from __future__ import annotations

import asyncio
from typing import Any

from socks5sniff.client import RefusedError
from socks5sniff.codec import Address
from socks5sniff.lab.payloads import counted
from socks5sniff.lab.scenarios.exchanges import TLS_NAME, WEB_NAME, echo, failing, fetch, http, ssh, tls
from socks5sniff.lab.scenarios.registry import Play, add, scenario
from socks5sniff.lab.scene import ECHO, PEER, PROXY6, SSH, TLS, WEB, WEB6, Scene
from socks5sniff.lab.truth import reply, target

GRANTED = reply(0)


@scenario("CONNECT to a name, HTTP inside: the usual case")
async def connect_domain(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy()
    await fetch(scene, scene.client(), web)


@scenario("CONNECT to an IPv4 address, TLS inside")
async def connect_ipv4(scene: Scene) -> None:
    server = await scene.tls()
    await scene.proxy()
    client = scene.client()
    seen = await tls(await client.connect(*TLS))
    scene.expect(client, **seen, destination=server.text, reply=GRANTED, bound=target(*server.peers[0]))


@scenario("CONNECT to an IPv6 address over IPv6, HTTP inside")
async def connect_ipv6(scene: Scene) -> None:
    web = await scene.web(WEB6)
    await scene.proxy(PROXY6)
    client = scene.client(PROXY6)
    seen = await http(await client.connect(*WEB6), "www6.example.test")
    scene.expect(client, **seen, destination=web.text, reply=GRANTED, bound=target(*web.peers[0]))


@scenario("CONNECT to a name, TLS with SNI and ALPN inside")
async def connect_tls(scene: Scene) -> None:
    server = await scene.tls()
    await scene.proxy()
    client = scene.client()
    seen = await tls(await client.connect(TLS_NAME, 443))
    bound = target(*server.peers[0])
    scene.expect(client, **seen, destination=target(TLS_NAME, 443), reply=GRANTED, bound=bound)


@scenario("CONNECT to a server that speaks first (SSH)")
async def connect_ssh(scene: Scene) -> None:
    server = await scene.ssh()
    await scene.proxy()
    client = scene.client()
    seen = await ssh(await client.connect("ssh.example.test", SSH[1]))
    bound = target(*server.peers[0])
    scene.expect(client, **seen, destination=target("ssh.example.test", 22), reply=GRANTED, bound=bound)


@scenario("CONNECT and a tunnel of 20,000 octets each way, then a half-close")
async def connect_bulk(scene: Scene) -> None:
    server = await scene.echo()
    await scene.proxy()
    client = scene.client()
    seen = await echo(await client.connect(*ECHO), 20_000)
    scene.expect(client, **seen, destination=server.text, reply=GRANTED, bound=target(*server.peers[0]))


@scenario("CONNECT and a tunnel that nothing goes through")
async def connect_idle(scene: Scene) -> None:
    server = await scene.echo()
    await scene.proxy()
    client = scene.client()
    await (await client.connect(*ECHO)).close()
    scene.expect(
        client,
        destination=server.text,
        reply=GRANTED,
        bound=target(*server.peers[0]),
        tunnel=None,
        bytes={"sent": 0, "received": 0},
        closed_by="client",
    )


@scenario("twelve conversations at once, to four destinations")
async def connect_many(scene: Scene) -> None:
    web, secure, shell, mirror = await scene.web(), await scene.tls(), await scene.ssh(), await scene.echo()
    await scene.proxy()

    async def one(kind: int) -> dict[str, Any]:
        client = scene.client()
        await asyncio.sleep(0.000137 * kind)  # no two things at the same time, whose order could differ
        host, port = ((WEB_NAME, 80), (TLS_NAME, 443), SSH, ECHO)[kind % 4]
        tunnel = await client.connect(host, port)
        use = (http, tls, ssh, echo)[kind % 4]
        seen = await use(tunnel)
        server = (web, secure, shell, mirror)[kind % 4]
        assert tunnel.bound.text in {peer[0] for peer in server.peers}
        return {"client": client, "destination": target(host, port), "bound": tunnel.bound, **seen}

    for facts in await asyncio.gather(*(one(kind) for kind in range(12))):
        bound = facts.pop("bound")
        scene.expect(facts.pop("client"), **facts, reply=GRANTED, bound=target(bound.text, bound.port))


@scenario("the destination is an IPv4 address written as a name")
async def domain_ip_literal(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy()
    client = scene.client()
    seen = await http(await client.connect(Address.domain(WEB[0], 80)), WEB[0])
    scene.expect(
        client,
        **seen,
        destination={"type": "domain", "host": WEB[0], "port": 80},
        reply=GRANTED,
        bound=target(*web.peers[0]),
        anomalies=["domain-is-ip-literal"],
    )


async def refused(scene: Scene, destination: Address, code: int, anomalies: list[str], **facts: Any) -> None:
    """A request that the proxy answers with a failure."""
    client = scene.client()
    error = await failing(client.connect(destination), RefusedError)
    assert error.code == code
    expected = {
        "destination": {"type": destination.type_name, "host": destination.text, "port": destination.port},
        "reply": reply(code),
        "bound": target("0.0.0.0", 0),
        "tunnel": None,
        "bytes": None,
        "phase": "request",
        "outcome": "rejected",
        "closed_by": "proxy",
        "anomalies": anomalies,
        **facts,
    }
    scene.expect(client, **expected)


@scenario("the destination is an empty name")
async def domain_empty(scene: Scene) -> None:
    await scene.proxy()
    await refused(scene, Address.domain(b"", 80), 4, ["empty-domain"])


@scenario("the destination's name holds a NUL octet")
async def domain_nul(scene: Scene) -> None:
    await scene.proxy()
    await refused(scene, Address.domain(b"www\x00.example.test", 80), 4, ["domain-has-nul"])


@scenario("the destination's name is UTF-8")
async def domain_utf8(scene: Scene) -> None:
    await scene.proxy()
    await refused(scene, Address.domain("bücher.example.test", 80), 4, ["domain-not-ascii"])


@scenario("the destination's name has terminal control sequences and is not UTF-8")
async def domain_hostile(scene: Scene) -> None:
    await scene.proxy()
    await refused(scene, Address.domain(b"\x1b[31m\xff\r\n.example.test", 80), 4, ["domain-not-ascii"])


@scenario("the longest name there can be: 255 octets")
async def domain_longest(scene: Scene) -> None:
    await scene.proxy()
    name = ".".join(("a" * 63, "b" * 63, "c" * 63, "d" * 63))
    await refused(scene, Address.domain(name, 65535), 4, [])


@scenario("CONNECT to port 0")
async def zero_port(scene: Scene) -> None:
    await scene.proxy()
    await refused(scene, Address.ipv4(WEB[0], 0), 5, ["zero-port"])


@scenario("BIND: two replies, then the peer's data")
async def bind(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client()
    binding = await client.bind(PEER, 0)
    first = binding.bound
    await scene.settle(0.01)
    _, writer = await asyncio.open_connection(first.text, first.port, local_addr=(PEER, 2121))
    tunnel = await binding.accept()
    octets = counted(500)
    writer.write(octets)
    writer.close()
    assert await tunnel.read_all() == octets
    await tunnel.close()
    scene.expect(
        client,
        command="bind",
        destination=target(PEER, 0),
        reply=GRANTED,
        bound=target(first.text, first.port),
        peer_reply=GRANTED,
        peer=target(PEER, 2121),
        tunnel={"protocol": "unknown"},
        bytes={"sent": 0, "received": 500},
        closed_by="proxy",
    )


@scenario("BIND whose peer never comes: the second reply is a failure")
async def bind_no_peer(scene: Scene) -> None:
    await scene.proxy(bind_timeout=3.0)
    client = scene.client()
    binding = await client.bind(PEER, 0)
    first = binding.bound
    await failing(binding.accept(), RefusedError)
    await binding.close()
    scene.expect(
        client,
        command="bind",
        destination=target(PEER, 0),
        reply=GRANTED,
        bound=target(first.text, first.port),
        peer_reply=reply(4),
        peer=target("0.0.0.0", 0),
        tunnel=None,
        phase="request",
        outcome="rejected",
        closed_by="proxy",
    )


@scenario("RESOLVE (Tor): a name to an address")
async def resolve(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client()
    assert (await client.resolve(WEB_NAME)).text == WEB[0]
    await scene.settle()
    scene.expect(
        client,
        command="resolve",
        destination=target(WEB_NAME, 0),
        reply=GRANTED,
        bound=target(WEB[0], 0),
        tunnel=None,
        bytes=None,
        phase="request",
        closed_by="proxy",
    )


@scenario("RESOLVE_PTR (Tor): an address to a name, in a reply of type domain")
async def resolve_ptr(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client()
    assert (await client.resolve_ptr(WEB[0])).text == WEB_NAME
    scene.expect(
        client,
        command="resolve-ptr",
        destination=target(WEB[0], 0),
        reply=GRANTED,
        bound=target(WEB_NAME, 0),
        tunnel=None,
        bytes=None,
        phase="request",
        closed_by="proxy",
    )


@scenario("the client resolves the name itself, in clear, and asks the proxy for the address (DNS leak)")
async def local_dns(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy()
    from socks5sniff.lab.payloads import dns_answer, dns_query

    resolver = ("192.0.2.53", 53)
    query = dns_query(WEB_NAME)
    scene.trace.udp((scene.place.client, 51515), resolver, query)
    await scene.settle(0.002)
    scene.trace.udp(resolver, (scene.place.client, 51515), dns_answer(query, WEB[0]))
    await scene.settle(0.002)
    client = scene.client()
    seen = await http(await client.connect(*WEB))
    scene.expect(
        client,
        **seen,
        destination=web.text,
        reply=GRANTED,
        bound=target(*web.peers[0]),
        name_resolution="local",
        anomalies=["local-dns"],
    )


def odd(name: str) -> Play:
    async def play(scene: Scene) -> None:
        await scene.proxy()
        await refused(scene, Address.domain(name, 80), 4, ["odd-destination"])

    return play


for _name, _about, _host in (
    ("domain-url", "the destination's name is a URL", "http://www.example.test/"),
    ("domain-with-port", "the destination's name has a port in it", "www.example.test:8080"),
    ("domain-short-address", "the destination's name is an address in short notation", "127.1"),
    ("domain-octal-address", "the destination's name is an address in octal numbers", "0300.0250.1.1"),
    ("domain-decimal-address", "the destination's name is an address as one number", "3325256711"),
):
    add(_name, _about, odd(_host))
