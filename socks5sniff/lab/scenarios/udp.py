"""UDP ASSOCIATE (RFC 1928 s7)."""

from __future__ import annotations

from typing import Any

from socks5sniff.client import Association, Client
from socks5sniff.codec import Address, UdpHeader
from socks5sniff.lab.payloads import counted, dns_answer, dns_query, http_request
from socks5sniff.lab.scenarios.exchanges import WEB_NAME
from socks5sniff.lab.scenarios.registry import scenario
from socks5sniff.lab.scene import DNS, ECHO, ECHO6, PROXY, PROXY6, STRANGER, Scene
from socks5sniff.lab.truth import reply, target
from socks5sniff.proxy.faults import Faults
from socks5sniff.proxy.packets import HostPort

QUERY = dns_query(WEB_NAME)
ANSWER = dns_answer(QUERY, "198.51.100.80")


def destination(address: HostPort, sent: int, received: int, host: str | None = None) -> dict[str, Any]:
    """One destination of an association as the truth writes it; the DNS server is always asked the same."""
    asked = {"dns": f"A {WEB_NAME}" + ": NOERROR, 1 answer" * bool(received)} if address == DNS else {}
    return {
        "host": host or address[0],
        "port": address[1],
        "datagrams_sent": sent,
        "datagrams_received": received,
        **asked,
    }


def carried(udp: dict[str, Any] | None) -> dict[str, Any] | None:
    """The record's `tunnel`: what the first datagrams were, if they were DNS."""
    first = ((udp or {}).get("destinations") or [{}])[0].get("dns")
    return None if first is None else {"protocol": "dns", "detail": first}


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


async def queried(association: Association) -> Any:
    """Ask the DNS server through the association; what was relayed once the answer is here."""
    association.send(QUERY, *DNS)
    assert (await association.receive()).data == ANSWER
    return relayed((1, len(QUERY)), (1, len(ANSWER)), 0, destination(DNS, 1, 1))


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
        "tunnel": carried(udp),
        "udp": udp,
        "closed_by": "client",
        **facts,
    }
    scene.expect(client, **expected)
    return scene.truth.conversations[-1]


@scenario("UDP ASSOCIATE: a DNS query to an IPv4 address and its answer")
async def udp_associate(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    await over(scene, client, association, await queried(association))


@scenario("UDP ASSOCIATE whose DST names the client's own address and port")
async def udp_declared(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy()
    client = scene.client()
    association = await client.associate(scene.place.client, 5353, local=(scene.place.client, 5353))
    udp = await queried(association)
    await over(scene, client, association, udp, destination=target(scene.place.client, 5353))


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
    # Whether name and address are one destination is a matter of taste.
    del scene.truth.conversations[-1]["udp"]["destinations"]


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
    udp = relayed((3, 300), (1, 300), 3, destination(ECHO, 3, 1))
    await over(scene, client, association, udp, anomalies=["udp-fragmented"])


@scenario("a datagram answered in fragments of 64 octets")
async def udp_fragments_back(scene: Scene) -> None:
    await scene.udp_server(ECHO)
    await scene.proxy(faults=Faults(udp_fragment=64))
    client = scene.client()
    association = await client.associate()
    association.send(counted(200), *ECHO)
    assert (await association.receive()).data == counted(200)
    udp = relayed((1, 200), (4, 200), 4, destination(ECHO, 1, 4))
    await over(scene, client, association, udp, anomalies=["udp-fragmented"])


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
    udp = relayed((4, 155), (1, 5), 3, destination(ECHO, 4, 1))
    await over(scene, client, association, udp, anomalies=["udp-fragmented", "udp-fragments-incomplete"])


@scenario("a reply whose BND is 0.0.0.0: datagrams go to the proxy's address")
async def udp_bound_unspecified(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy(faults=Faults(bound=Address.ipv4("0.0.0.0", 0)))
    client = scene.client()
    association = await client.associate()
    udp = await queried(association)
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
    udp = await queried(association)
    await over(scene, client, association, udp, destination=target(*DNS), anomalies=["associate-names-target"])


@scenario("relay datagrams to the client whose RSV is 0x0102")
async def udp_reserved(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy(faults=Faults(udp_reserved=0x0102))
    client = scene.client()
    association = await client.associate()
    udp = await queried(association)
    await over(scene, client, association, udp, anomalies=["reserved-nonzero"])


@scenario("a stranger sends to the association's port; the proxy drops it")
async def udp_stranger(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    udp = await queried(association)
    stranger = UdpHeader(Address.from_text(*DNS)).encode() + b"let me in"
    scene.loop.deliver((STRANGER, 6666), association.relay, stranger)
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


@scenario("HTTP to the association's port instead of a relay datagram")
async def udp_no_header(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    association.send(QUERY, *DNS)
    assert (await association.receive()).data == ANSWER
    association.send_octets(http_request("www.example.test")[:60])
    await scene.settle(0.01)
    tunnel = carried({"destinations": [destination(DNS, 1, 1)]})
    await over(scene, client, association, None, tunnel=tunnel, anomalies=["udp-no-header"])
    scene.forget("udp")  # whether what has no header is a relayed datagram is a matter of taste


RELAY_NAME = "relay.example.test"
RESOLVER = ("192.0.2.53", 53)


async def asked(
    scene: Scene,
    faults: Faults,
    anomalies: list[str],
    relay: str | None = None,
    forget: tuple[str, ...] = (),
    answers: int = 1,
) -> None:
    """A query through a proxy with these faults.

    Args:
        relay: where the client sends, whatever BND says.
        forget: keys that the truth does not state.
        answers: how many can be told to be the DNS server's.
    """
    await scene.dns()
    await scene.proxy(faults=faults)
    client = scene.client()
    association = await client.associate()
    if relay is not None:
        association.relay = (relay, association.bound.port)
    association.send(QUERY, *DNS)
    await scene.settle(0.01)
    udp = relayed((1, len(QUERY)), (1, len(ANSWER)), 0, destination(DNS, 1, 1))
    tunnel = carried({"destinations": [destination(DNS, 1, answers)]})
    await over(scene, client, association, udp, tunnel=tunnel, anomalies=anomalies)
    scene.forget(*forget)


@scenario("BND is a name; the client resolves it, in clear")
async def udp_bound_name(scene: Scene) -> None:
    own, query = (scene.place.client, 51515), dns_query(RELAY_NAME)
    scene.trace.udp(own, RESOLVER, query)
    await scene.settle(0.002)
    scene.trace.udp(RESOLVER, own, dns_answer(query, PROXY))
    await scene.settle(0.002)
    await asked(scene, Faults(bound=Address.domain(RELAY_NAME, 0)), [], PROXY)


@scenario("BND is a name that nothing in the capture resolves")
async def udp_bound_unknown_name(scene: Scene) -> None:
    await asked(scene, Faults(bound=Address.domain(RELAY_NAME, 0)), [], PROXY)


@scenario("BND is the proxy's loopback address; the client knows better")
async def udp_bound_loopback(scene: Scene) -> None:
    await asked(scene, Faults(bound=Address.ipv4("127.0.0.1", 0)), ["unreachable-bound"], PROXY)


@scenario("BND is a private address of the proxy's own network; the client knows better")
async def udp_bound_private(scene: Scene) -> None:
    await asked(scene, Faults(bound=Address.ipv4("10.1.2.3", 0)), ["unreachable-bound"], PROXY)


@scenario("BND's port is 0: there is nowhere to send to")
async def udp_bound_no_port(scene: Scene) -> None:
    await scene.proxy(faults=Faults(bound_port=0))
    client = scene.client()
    association = await client.associate()
    await over(scene, client, association, relayed((0, 0), (0, 0), 0), anomalies=["unreachable-bound"])


@scenario("the answer reaches the client from another port of the proxy")
async def udp_other_port(scene: Scene) -> None:
    # Whether such an answer is the association's is a matter of taste; that the client has none is not.
    await asked(scene, Faults(udp_other_port=True), ["udp-one-way"], forget=("udp",), answers=0)


@scenario("the answer reaches the client without a SOCKS header")
async def udp_answer_no_header(scene: Scene) -> None:
    await asked(scene, Faults(udp_no_header=True), ["udp-no-header"], forget=("udp",), answers=0)


@scenario("the answer's header names the client instead of the server")
async def udp_names_client(scene: Scene) -> None:
    await asked(scene, Faults(udp_names_client=True), ["udp-names-client"], forget=("udp.destinations",), answers=0)


@scenario("a query to a server that does not answer")
async def udp_one_way(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    association.send(QUERY, *DNS)
    await scene.settle(0.01)
    udp = relayed((1, len(QUERY)), (0, 0), 0, destination(DNS, 1, 0))
    await over(scene, client, association, udp, anomalies=["udp-one-way"])


@scenario("the client goes on sending when the association has ended")
async def udp_after_close(scene: Scene) -> None:
    await scene.dns()
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    own = association.local
    udp = await queried(association)
    await over(scene, client, association, udp, anomalies=["udp-after-close"])
    scene.forget("udp")  # whether what came too late counts is a matter of taste
    scene.trace.udp(own, association.relay, UdpHeader(Address.from_text(*DNS)).encode() + QUERY)
    await scene.settle(0.01)


@scenario("two fragments of a datagram, and never the last one")
async def udp_fragments_unfinished(scene: Scene) -> None:
    await scene.udp_server(ECHO)
    await scene.proxy()
    client = scene.client()
    association = await client.associate()
    association.send(b"whole", *ECHO)
    assert (await association.receive()).data == b"whole"
    for fragment in (1, 2):
        association.send(counted(50), *ECHO, fragment=fragment)
    await scene.settle(6.0)
    udp = relayed((3, 105), (1, 5), 2, destination(ECHO, 3, 1))
    await over(scene, client, association, udp, anomalies=["udp-fragmented", "udp-fragments-incomplete"])
