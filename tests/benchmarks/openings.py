"""What conversations say first: the payloads that make a flow the protocol it is.

The octets are written out here by hand from the protocols' documents and share no code with the package.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from .pcap import CLIENT, SERVER, TCP, UDP

Payload = tuple[int, bytes]
"""Sender (CLIENT or SERVER) and octets of one segment or datagram."""


class SocksTruth(NamedTuple):
    """What a SOCKS conversation said, in the words of the conversation record."""

    method: str
    username: str | None
    destination: tuple[str, str, int]
    tunnel: str
    server_name: str | None


class Opening(NamedTuple):
    """The first payloads of a flow, and how it goes on."""

    port: int
    payloads: list[Payload]
    quiet_client: bool = False
    """Only the server sends octets after the opening."""
    protocol: int = TCP
    socks: SocksTruth | None = None
    handshake: int = 0
    """How many of the payloads come before the tunnel."""


def tls_client_hello(rng: random.Random, name: str) -> bytes:
    """A TLS 1.2 ClientHello (RFC 5246 s7.4.1.2) with SNI (RFC 6066 s3)."""
    host = name.encode()
    server_name = b"\0\0" + _vector(2, _vector(2, b"\0" + _vector(2, host)))
    body = b"\3\3" + rng.randbytes(32) + _vector(1, rng.randbytes(32)) + _vector(2, b"\xc0\x2b\xc0\x2f\x00\x9c")
    body += _vector(1, b"\0") + _vector(2, server_name + b"\0\x17\0\0")
    return b"\x16\3\1" + _vector(2, b"\1" + _vector(3, body))


def tls_server_hello(rng: random.Random) -> bytes:
    body = b"\3\3" + rng.randbytes(32) + b"\0" + b"\xc0\x2f" + b"\0"
    return b"\x16\3\3" + _vector(2, b"\2" + _vector(3, body))


def http_request(name: str) -> bytes:
    return f"GET /index.html HTTP/1.1\r\nHost: {name}\r\nUser-Agent: bench/1\r\nConnection: close\r\n\r\n".encode()


HTTP_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n\r\n"


def socks(rng: random.Random, number: int, tunnel: str | None = None) -> Opening:
    """A SOCKS5 CONNECT whose destination no other `number` has, and the start of what it carries.

    Every tenth logs in with a user name of its own; names, IPv4 and IPv6 addresses take turns.
    """
    name = f"host-{number}.example"
    if tunnel is None:
        tunnel = ("tls", "tls", "http", "unknown")[number % 4]
    port = {"tls": 443, "http": 80, "unknown": 20000 + number % 20000}[tunnel]
    if number % 5 == 3:
        address = IPv4Address(0x64400000 + number % 0x400000)
        destination = ("ipv4", str(address), port)
        octets = b"\1" + address.packed
    elif number % 5 == 4:
        address6 = IPv6Address((0x20010DB8 << 96) + number)
        destination = ("ipv6", str(address6), port)
        octets = b"\4" + address6.packed
    else:
        destination = ("domain", name, port)
        octets = b"\3" + _vector(1, name.encode())
    username = f"user{number}" if number % 10 == 0 else None
    bound = b"\1" + rng.randbytes(4) + rng.randbytes(2)
    payloads: list[Payload] = [(CLIENT, b"\5\2\0\2"), (SERVER, b"\5\2" if username else b"\5\0")]
    if username:
        payloads += [(CLIENT, b"\1" + _vector(1, username.encode()) + _vector(1, b"secret")), (SERVER, b"\1\0")]
    payloads += [(CLIENT, b"\5\1\0" + octets + port.to_bytes(2, "big")), (SERVER, b"\5\0\0" + bound)]
    handshake = len(payloads)
    if tunnel == "tls":
        payloads += [(CLIENT, tls_client_hello(rng, name)), (SERVER, tls_server_hello(rng))]
    elif tunnel == "http":
        payloads += [(CLIENT, http_request(name)), (SERVER, HTTP_RESPONSE)]
    else:
        payloads += [(CLIENT, b"\xfe" + rng.randbytes(60)), (SERVER, b"\xfe" + rng.randbytes(90))]
    truth = SocksTruth(
        "username-password" if username else "no-authentication",
        username,
        destination,
        tunnel,
        None if tunnel == "unknown" else name,
    )
    return Opening(1080, payloads, tunnel == "http", TCP, truth, handshake)


def tls(rng: random.Random, number: int) -> Opening:
    return Opening(443, [(CLIENT, tls_client_hello(rng, f"www{number}.example")), (SERVER, tls_server_hello(rng))])


def http(rng: random.Random, number: int) -> Opening:
    return Opening(80, [(CLIENT, http_request(f"www{number}.example")), (SERVER, HTTP_RESPONSE)], quiet_client=True)


def ssh(rng: random.Random, number: int) -> Opening:
    return Opening(22, [(SERVER, b"SSH-2.0-OpenSSH_9.2\r\n"), (CLIENT, b"SSH-2.0-OpenSSH_8.4\r\n")])


def smtp(rng: random.Random, number: int) -> Opening:
    greeting = f"220 mx{number}.example ESMTP\r\n".encode()
    return Opening(25, [(SERVER, greeting), (CLIENT, b"STARTTLS\r\n"), (SERVER, b"220 go ahead\r\n")])


def redis(rng: random.Random, number: int) -> Opening:
    key = f"key:{number}".encode()
    return Opening(6379, [(CLIENT, b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key)), (SERVER, b"$-1\r\n")])


def mqtt(rng: random.Random, number: int) -> Opening:
    connect = b"\0\4MQTT\4\2\0\x3c" + _vector(2, f"sensor{number}".encode())
    return Opening(1883, [(CLIENT, b"\x10" + _vector(1, connect)), (SERVER, b"\x20\2\0\0")])


def dcerpc(rng: random.Random, number: int) -> Opening:
    """DCE/RPC over TCP: begins with 05, as SOCKS5 does."""
    call = number.to_bytes(4, "little")
    bind = b"\5\0\x0b\3\x10\0\0\0\x48\0\0\0" + call + b"\xd0\x16\xd0\x16\0\0\0\0\1\0\0\0" + rng.randbytes(44)
    answer = b"\5\0\x0c\3\x10\0\0\0\x44\0\0\0" + call + b"\xd0\x16\xd0\x16" + rng.randbytes(48)
    return Opening(135, [(CLIENT, bind), (SERVER, answer)])


def scrambled(rng: random.Random, number: int) -> Opening:
    """Octets without a pattern, as of an encrypted protocol without a header; one in 256 begins with 05."""
    first, second = rng.randbytes(rng.randrange(20, 400)), rng.randbytes(rng.randrange(20, 400))
    return Opening(8388, [(CLIENT, first), (SERVER, second)])


def dns(rng: random.Random, number: int) -> Opening:
    question = b"".join(_vector(1, label.encode()) for label in ("www", f"n{number}", "example")) + b"\0\0\1\0\1"
    identity = rng.randbytes(2)
    query = identity + b"\1\0\0\1\0\0\0\0\0\0" + question
    answer = identity + b"\x81\x80\0\1\0\1\0\0\0\0" + question + b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4" + rng.randbytes(4)
    return Opening(53, [(CLIENT, query), (SERVER, answer)], protocol=UDP)


def datagrams(rng: random.Random, number: int) -> Opening:
    """Encrypted UDP, without a pattern."""
    return Opening(4500, [(CLIENT, b"\x41" + rng.randbytes(80)), (SERVER, b"\x41" + rng.randbytes(120))], protocol=UDP)


OTHERS: dict[Callable[[random.Random, int], Opening], int] = {
    tls: 30,
    http: 14,
    scrambled: 26,
    dns: 10,
    datagrams: 4,
    ssh: 4,
    smtp: 3,
    redis: 3,
    mqtt: 3,
    dcerpc: 3,
}
"""Protocols that are not SOCKS, and how many of a hundred flows speak each."""


def _vector(width: int, octets: bytes) -> bytes:
    return len(octets).to_bytes(width, "big") + octets
