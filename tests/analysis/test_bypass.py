"""Rows of what went past proxies: who is a client, what is local, what is the proxy's."""

from __future__ import annotations

import io
import struct

import pytest

from socks5sniff.analysis import Bypass, Past, read
from tests.traffic import ANSWER, CLIENT, HTTP, PLAIN, SECOND, SERVER, START, connection, datagram

from .test_names import DNS, response
from .test_relayed_dns import ASSOCIATE, RELAY, header

CALLER = "10.0.0.1"
CALLER_PORT = (CALLER, 5555)


def capture(*frames: tuple[int, bytes]) -> io.BytesIO:
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
    return io.BytesIO(
        head
        + b"".join(
            struct.pack("<IIII", time // SECOND, time % SECOND, len(octets), len(octets)) + octets
            for time, octets in sorted(frames)
        )
    )


def tcp(source: str, target: tuple[str, int], port: int = 50000, said: bytes = HTTP) -> list[tuple[int, bytes]]:
    packets = connection([(CLIENT, said), (SERVER, ANSWER)], client=(source, port), proxy=target)
    return [(packet.time, packet.frame()) for packet in packets]


def query(name: str) -> bytes:
    return bytes(DNS.DNS(id=7, qd=[DNS.DNS.Q(name=name, type=DNS.DNS_A)]))


SOCKS = [(packet.time, packet.frame()) for packet in connection(PLAIN)]


def rows(*frames: tuple[int, bytes], clients: tuple[str, ...] = (), everything: bool = False) -> list[Bypass]:
    reading = read(capture(*frames), bypasses=Past(clients, everything))
    for _ in reading:
        pass
    return reading.bypasses


def test_a_host_that_uses_a_proxy_and_goes_past_it() -> None:
    (row,) = rows(*SOCKS, *tcp(CALLER, ("198.51.100.7", 80)))
    assert (row.client, row.destination) == ((CALLER, 50000), ("198.51.100.7", 80))
    assert (row.transport, row.server_name) == ("tcp", "example.com")
    assert (row.sent, row.received) == (len(HTTP), len(ANSWER))


def test_one_that_uses_none_is_listed_where_it_is_named() -> None:
    frames = [*SOCKS, *tcp("10.0.0.2", ("198.51.100.7", 80))]
    assert rows(*frames) == []
    assert [row.client.address for row in rows(*frames, clients=("10.0.0.2",))] == ["10.0.0.2"]


@pytest.mark.parametrize("destination", ["8.8.8.8", "198.51.100.7"], ids=["lower", "higher"])
def test_datagrams_are_counted_by_who_sent_them(destination: str) -> None:
    """Whichever endpoint is the smaller number."""
    theirs = (destination, 7777)
    said = [(CALLER_PORT, theirs, b"ab"), (theirs, CALLER_PORT, b"answer"), (CALLER_PORT, theirs, b"c")]
    frames = [(START + place, datagram(*each)) for place, each in enumerate(said)]
    (row,) = rows(*SOCKS, *frames)
    assert (row.client.address, row.destination.address) == (CALLER, destination)
    assert (row.sent, row.received) == (3, 6)


def test_octets_that_are_sent_twice_count_once() -> None:
    past = tcp(CALLER, ("198.51.100.7", 80))
    again = [(time + SECOND, octets) for time, octets in past if HTTP in octets]
    (row,) = rows(*SOCKS, *past, *again)
    assert (row.sent, row.packets) == (len(HTTP), len(past) + 1)


def test_a_connection_to_a_proxy_is_none_even_without_a_word() -> None:
    silent = connection([], client=(CALLER, 50001))
    assert rows(*SOCKS, *[(packet.time, packet.frame()) for packet in silent]) == []


@pytest.mark.parametrize(
    ("destination", "port"),
    [("224.0.0.251", 5353), ("239.255.255.250", 1900), ("255.255.255.255", 67), ("127.0.0.1", 9), ("169.254.1.1", 9)],
)
def test_what_does_not_leave_the_network(destination: str, port: int) -> None:
    local = START, datagram((CALLER, 51000), (destination, port), b"x")
    assert rows(*SOCKS, local) == []
    assert [row.destination for row in rows(*SOCKS, local, everything=True)] == [(destination, port)]


def test_dns_shows_what_was_asked_and_names_what_follows() -> None:
    asked = START, datagram((CALLER, 51000), ("9.9.9.9", 53), query("leak.test"))
    told = START + 1000, datagram(("9.9.9.9", 53), (CALLER, 51000), response("leak.test", "198.51.100.9"))
    past = [(time + SECOND, octets) for time, octets in tcp(CALLER, ("198.51.100.9", 22), said=b"SSH-2.0-x\r\n")]
    dns, ssh = rows(*SOCKS, asked, told, *past)
    assert (dns.transport, dns.server_name, dns.packets) == ("udp", "leak.test", 2)
    assert (ssh.destination.port, ssh.server_name) == (22, "leak.test")


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_what_a_relay_sends_on_is_the_proxy_s_own(everything: bool, named: bool) -> None:
    """The host of the proxy uses another one itself; of its datagrams those that its clients sent are left out."""
    host, place = RELAY[0], ("198.51.100.9", 443)
    request = [(packet.time, packet.frame()) for packet in connection(ASSOCIATE)]
    asked = header(("a.example", 443) if named else place, named)
    legs = [(START + 1, datagram(CALLER_PORT, RELAY, asked + b"hello"))]
    legs += [(START + 2, datagram((host, 7), place, b"hello"))]
    learned = [(START, datagram(("192.0.2.53", 53), (host, 4000), response("a.example", place[0])))]
    own = tcp(host, ("192.0.2.1", 1080), said=b"\5\1\0")
    frames = [*SOCKS, *request, *legs, *learned, *own, (START + 3, datagram((host, 8), ("198.51.100.9", 444), b"x"))]
    ports = [row.client.port for row in rows(*frames, clients=(host,), everything=everything) if row.transport == "udp"]
    assert [port for port in ports if port in (7, 8)] == ([7, 8] if everything else [8])
