"""UDP ASSOCIATE (RFC 1928 s7)."""

from __future__ import annotations

from typing import Any

from socks5sniff.client import Association, Client, ClientFaults
from socks5sniff.codec import Address, UdpHeader
from socks5sniff.lab.payloads import counted, dns_answer, dns_query, http_request
from socks5sniff.lab.scenarios.exchanges import WEB_NAME
from socks5sniff.lab.scenarios.registry import scenario
from socks5sniff.lab.scene import CLIENT, DNS, ECHO, ECHO6, PROXY6, STRANGER, Scene, reply, target
from socks5sniff.proxy.faults import Faults
from socks5sniff.proxy.packets import HostPort

QUERY = dns_query(WEB_NAME)
ANSWER = dns_answer(QUERY, "198.51.100.80")


def destination(address: HostPort, sent: int, received: int, host: str | None = None) -> dict[str, Any]:
    """One destination of an association as the truth writes it."""
    return {
        "host": host or address[0],
        "port": address[1],
        "datagrams_sent": sent,
        "datagrams_received": received,
    }


def relayed(sent: tuple[int, int], received: tuple[int, int], fragments: int, *destinations: dict[str, Any]) -> Any:
    """The record's `udp`: datagrams and octets of data each way."""
    return {
        "datagrams_sent": sent[0],
        "datagrams_received": received[0],
        "bytes_sent": sent[1],
        "bytes_received": received[1],
        "fragments": fragments,
        "destinations": list(destinations),
    }


async def over(
    scene: Scene, client: Client, association: Association, udp: dict[str, Any] | None, **facts: Any
) -> dict[str, Any]:
    """End the association, and expect what it did."""
    await association.close()
    await scene.settle()
    expected = {
        "command": "udp-associate",
        "destination": target("0.0.0.0", 0),
        "reply": reply(0),
        "bound": target(association.bound.text, association.bound.port),
        "tunnel": None,
        "udp": udp,
        "closed_by": "client",
        **facts,
    }
    scene.expect(client, **expected)
    scene.forget("name_resolution")
    return scene.truth[-1]


@scenario("UDP ASSOCIATE: a DNS query to an IPv4 address and its answer")
async def udp_associate(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    association.send(QUERY, *DNS)
    assert (await association.receive()).data == ANSWER
    await over(scene, client, association, relayed((1, len(QUERY)), (1, len(ANSWER)), 0, destination(DNS, 1, 1)))


@scenario("UDP ASSOCIATE whose DST names the client's own address and port")
async def udp_declared(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy()
    client = scene.client()
    association = await client.associate(CLIENT, 5353, local=(CLIENT, 5353))
    association.send(QUERY, *DNS)
    assert (await association.receive()).data == ANSWER
    udp = relayed((1, len(QUERY)), (1, len(ANSWER)), 0, destination(DNS, 1, 1))
    await over(scene, client, association, udp, destination=target(CLIENT, 5353))


@scenario("UDP relay to an IPv6 destination, over IPv6")
async def udp_ipv6(scene: Scene) -> None:
    await scene.udp_server(ECHO6)
    await scene.proxy(PROXY6)
    client = scene.client(PROXY6)
    association = await client.associate("::", 0)
    association.send(b"over IPv6", *ECHO6)
    assert (await association.receive()).data == b"over IPv6"
    udp = relayed((1, 9), (1, 9), 0, destination(ECHO6, 1, 1))
    await over(scene, client, association, udp, destination=target("::", 0))


@scenario("UDP relay to a name; the answers come from its address")
async def udp_name(scene: Scene) -> None:
    await scene.udp_server(ECHO)
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    for length in (10, 20, 30):
        association.send(counted(length), "echo.example.test", 7)
        assert (await association.receive()).data == counted(length)
    await over(scene, client, association, relayed((3, 60), (3, 60), 0))
    del scene.truth[-1]["udp"]["destinations"]  # whether name and address are one destination is a matter of taste


@scenario("one association, three destinations")
async def udp_destinations(scene: Scene) -> None:
    await scene.dns()
    await scene.udp_server(ECHO)
    await scene.udp_server(ECHO6)
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    for at in range(4):
        association.send(counted(40 + at), *ECHO)
        await association.receive()
    association.send(QUERY, *DNS)
    await association.receive()
    for _ in range(2):
        association.send(b"six", *ECHO6)
        await association.receive()
    octets = 40 + 41 + 42 + 43
    udp = relayed(
        (7, octets + len(QUERY) + 6),
        (7, octets + len(ANSWER) + 6),
        0,
        destination(ECHO, 4, 4),
        destination(DNS, 1, 1),
        destination(ECHO6, 2, 2),
    )
    await over(scene, client, association, udp)


@scenario("a datagram of 300 octets in fragments of 100, answered whole")
async def udp_fragments(scene: Scene) -> None:
    await scene.udp_server(ECHO)
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    association.send_fragmented(counted(300), *ECHO, size=100)
    assert (await association.receive()).data == counted(300)
    await over(scene, client, association, relayed((1, 300), (1, 300), 3), anomalies=["udp-fragmented"])
    del scene.truth[-1]["udp"]["destinations"]


@scenario("a datagram answered in fragments of 64 octets")
async def udp_fragments_back(scene: Scene) -> None:
    await scene.udp_server(ECHO)
    await scene.proxy(faults=Faults(udp_fragment=64))
    client = scene.client()
    association = await client.associate()
    association.send(counted(200), *ECHO)
    assert (await association.receive()).data == counted(200)
    await over(scene, client, association, relayed((1, 200), (1, 200), 4), anomalies=["udp-fragmented"])
    del scene.truth[-1]["udp"]["destinations"]


@scenario("fragments out of order: the proxy gives the datagram up, and relays the next")
async def udp_fragments_disordered(scene: Scene) -> None:
    await scene.udp_server(ECHO)
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    for fragment in (1, 3, 0x82):
        association.send(counted(50), *ECHO, fragment=fragment)
    await scene.settle(0.01)
    association.send(b"whole", *ECHO)
    assert (await association.receive()).data == b"whole"
    await over(scene, client, association, relayed((1, 5), (1, 5), 3), anomalies=["udp-fragmented"])
    del scene.truth[-1]["udp"]["destinations"]


@scenario("a reply whose BND is 0.0.0.0: datagrams go to the proxy's address")
async def udp_bound_unspecified(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy(faults=Faults(bound=Address.ipv4("0.0.0.0", 0)))
    client = scene.client()
    association = await client.associate()
    association.send(QUERY, *DNS)
    assert (await association.receive()).data == ANSWER
    udp = relayed((1, len(QUERY)), (1, len(ANSWER)), 0, destination(DNS, 1, 1))
    await over(
        scene,
        client,
        association,
        udp,
        bound=target("0.0.0.0", association.bound.port),
        anomalies=["bound-unspecified"],
    )


@scenario("a client that puts the remote target into UDP ASSOCIATE's DST")
async def udp_names_target(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy()
    client = scene.client()
    association = await client.associate(*DNS)
    association.send(QUERY, *DNS)
    assert (await association.receive()).data == ANSWER
    udp = relayed((1, len(QUERY)), (1, len(ANSWER)), 0, destination(DNS, 1, 1))
    await over(scene, client, association, udp, destination=target(*DNS), anomalies=["associate-names-target"])


@scenario("relay datagrams to the client whose RSV is 0x0102")
async def udp_reserved(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy(faults=Faults(udp_reserved=0x0102))
    client = scene.client()
    association = await client.associate()
    association.send(QUERY, *DNS)
    assert (await association.receive()).data == ANSWER
    udp = relayed((1, len(QUERY)), (1, len(ANSWER)), 0, destination(DNS, 1, 1))
    await over(scene, client, association, udp, anomalies=["reserved-nonzero"])


@scenario("a stranger sends to the association's port; the proxy drops it")
async def udp_stranger(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    association.send(QUERY, *DNS)
    await association.receive()
    stranger = UdpHeader(Address.from_text(*DNS)).encode() + b"let me in"
    scene.loop.deliver((STRANGER, 6666), association.relay, stranger)
    udp = relayed((1, len(QUERY)), (1, len(ANSWER)), 0, destination(DNS, 1, 1))
    await over(scene, client, association, udp, anomalies=["udp-unassociated"])


@scenario("two associations of one client at the same time")
async def udp_two(scene: Scene) -> None:
    await scene.udp_server(ECHO)
    await scene.proxy()
    clients = [scene.client(), scene.client()]
    associations = [await client.associate() for client in clients]
    for round_ in range(3):
        for association in associations:
            association.send(counted(10 + round_), *ECHO)
    for association in associations:
        for _ in range(3):
            await association.receive()
    for client, association in zip(clients, associations, strict=True):
        await over(scene, client, association, relayed((3, 33), (3, 33), 0, destination(ECHO, 3, 3)))


@scenario("UDP ASSOCIATE and no datagram at all")
async def udp_unused(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    await over(scene, client, association, relayed((0, 0), (0, 0), 0))


@scenario("UDP inside TCP, announced by a CONNECT to sp.v2.udp-over-tcp.arpa")
async def udp_over_tcp_announced(scene: Scene) -> None:
    scene.loop.names["sp.v2.udp-over-tcp.arpa"] = [ECHO[0]]
    server = await scene.echo()
    await scene.proxy()
    client = scene.client(faults=ClientFaults())
    tunnel = await client.connect("sp.v2.udp-over-tcp.arpa", 7)
    head = b"\x01" + Address.from_text(*DNS).encode()
    octets = head + len(QUERY).to_bytes(2, "big") + QUERY
    tunnel.write(octets)
    await tunnel.read_exactly(len(octets))
    await tunnel.close()
    scene.expect(
        client,
        destination=target("sp.v2.udp-over-tcp.arpa", 7),
        reply=reply(0),
        bound=target(*server.peers[0]),
        bytes={"sent": len(octets), "received": len(octets)},
        closed_by="client",
    )


@scenario("HTTP to the association's port instead of relay datagrams")
async def udp_no_header(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    association.send_octets(http_request("www.example.test")[:60])
    await scene.settle(0.01)
    await over(scene, client, association, None)
    scene.forget("udp")
    scene.forget("anomalies")
