"""Clients and proxies of a few lines, each of which does one thing wrong. Run as a script in the lab.

Arguments: the address of the proxies, that of the targets, the ports of microsocks and of Dante, and of the HTTP and
the echo server. It prints as JSON from which port each client has connected.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

PROXY, TARGET = sys.argv[1:3]
MICROSOCKS, DANTE, HTTP, ECHO = map(int, sys.argv[3:7])
FIRST_PORT = 9200
"""Where the first of the proxies here listens."""
OWN = (PROXY, 0)
"""Whence clients connect: a port that is bound before is no other client's to another proxy."""

Step = bytes | int | float | None
"""Octets to send, a number of octets to read, seconds to wait; None is the other side's end."""
Steps = Sequence[Step]

GREETING, CHOICE = b"\5\1\0", b"\5\0"
NOBODY = b"\1\0\0\0\0\0\0"
GET = b"GET / HTTP/1.1\r\nHost: target.test\r\n\r\n"
HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.8 51000 1080\r\n"
LATE = 10.5
"""Seconds; RFC 1928 gives a proxy 10 to close in after a failure."""


def ipv4(host: str, port: int) -> bytes:
    return b"\1" + socket.inet_aton(host) + port.to_bytes(2, "big")


def named(name: bytes, port: int = HTTP) -> bytes:
    return bytes([3, len(name)]) + name + port.to_bytes(2, "big")


WEB = ipv4(TARGET, HTTP)


def asking(request: bytes, *more: Step) -> Steps:
    """A client that says this after a greeting, hears the first octets of the answer, and closes."""
    return [GREETING, 2, request, *(more or (10,))]


def answering(reply: bytes, *more: Step) -> Steps:
    """A proxy that says this to a request for an IPv4 address."""
    return [3, CHOICE, 10, reply, *(more or (None,))]


CLIENTS: dict[str, tuple[int, Steps]] = {
    "another version": (MICROSOCKS, asking(b"\2\1\0" + WEB, None)),
    "no methods": (MICROSOCKS, [b"\5\0", 2]),
    "a method twice": (DANTE, [b"\5\2\0\0", 2, b"\5\1\0" + WEB, 10]),
    "a login that nobody asked for": (MICROSOCKS, [b"\5\2\0\2", 2, b"\1\5alice\3abc", None]),
    "a reserved octet": (MICROSOCKS, asking(b"\5\1\1" + WEB)),
    "a private command": (MICROSOCKS, asking(b"\5\x99\0" + WEB)),
    "an address type": (MICROSOCKS, asking(b"\5\1\0\7" + WEB[1:])),
    "an empty name": (DANTE, asking(b"\5\1\0" + named(b""), None)),
    "a name with umlauts": (MICROSOCKS, asking(b"\5\1\0" + named("bücher.test".encode()))),
    "an address as a name": (MICROSOCKS, asking(b"\5\1\0" + named(TARGET.encode()))),
    "a name with its NUL": (MICROSOCKS, asking(b"\5\1\0" + named(b"target.test\0"))),
    "a number as a name": (MICROSOCKS, asking(b"\5\1\0" + named(b"2130706433"))),
    "no port": (MICROSOCKS, asking(b"\5\1\0" + ipv4(TARGET, 0))),
    "data before the reply": (DANTE, [GREETING, 2, b"\5\1\0" + WEB + GET, 10, 100]),
    "all at once": (DANTE, [GREETING + b"\5\1\0" + WEB, 12, GET, 100]),
    "octet by octet": (DANTE, [b"\5", 0.05, b"\1\0", 2, b"\5\1\0" + WEB, 10, GET, 100]),
    "half a request": (DANTE, [GREETING, 2, b"\5\1\0\1\x0a"]),
    "a target for its datagrams": (DANTE, asking(b"\5\3\0" + ipv4(TARGET, ECHO))),
}
"""Clients of real proxies, by what they do wrong."""

PROXIES: dict[str, tuple[Steps, Steps]] = {
    "no patience": ([None], [GREETING, 0.1]),
    "a method of its own": ([3, b"\5\2"], [GREETING, 2]),
    "a login in version 5": ([3, b"\5\2", 12, b"\5\0", None], [b"\5\1\2", 2, b"\1\5alice\4open", 2]),
    "an empty password": ([3, b"\5\2", 8, b"\1\0", None], [b"\5\1\2", 2, b"\1\5alice\0", 2]),
    "a code of its own": (answering(b"\5\x33\0" + NOBODY), asking(b"\5\1\0" + WEB)),
    "words after its refusal": (answering(b"\5\2\0" + NOBODY + b"Not from here.\n"), asking(b"\5\1\0" + WEB, None)),
    "a banner": (
        [b"220 welcome\r\n", 3, CHOICE, 10, b"\5\0\0" + NOBODY, None],
        [0.1, GREETING, 15, b"\5\1\0" + WEB, 10],
    ),
    "a reply too early": ([3, CHOICE + b"\5\0\0" + NOBODY, 10, None], [GREETING, 12, 0.1, b"\5\1\0" + WEB, 0.1]),
    "a reply as refusal": ([3, b"\5\xff\0" + NOBODY], [GREETING, None]),
    "half a reply": ([3, CHOICE, 10, b"\5\0\0\1"], asking(b"\5\1\0" + WEB, None)),
    "an unspecified relay": (answering(b"\5\0\0" + ipv4("0.0.0.0", 9999)), asking(b"\5\3\0" + NOBODY)),
    "a relay on loopback": (answering(b"\5\0\0" + ipv4("127.0.0.1", 9999)), asking(b"\5\3\0" + NOBODY)),
    "a level in clear": (
        [3, b"\5\1", 9, b"\1\1\0\5proxy", 5, b"\1\2\0\1\1", None],
        [b"\5\1\1", 2, b"\1\1\0\5token", 9, b"\1\2\0\1\1", 5],
    ),
    "a balancer in front": (
        [len(HEADER), 3, CHOICE, 10, b"\5\0\0" + NOBODY, None],
        [HEADER, GREETING, 2, b"\5\1\0" + WEB, 10],
    ),
    "no end": (answering(b"\5\5\0" + NOBODY, None), asking(b"\5\1\0" + WEB, 10, LATE)),
    **{f"code {code}": (answering(bytes([5, code, 0]) + NOBODY), asking(b"\5\1\0" + WEB)) for code in (1, 4, 6, 8, 9)},
    **{
        f"code {code}": (answering(bytes([5, code, 0]) + NOBODY), asking(b"\5\1\0" + WEB))
        for code in (0xF0, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF7)
    },
    **{
        f"code {code}": (
            [9, bytes([0, code]) + bytes(6), None],
            [b"\4\1" + HTTP.to_bytes(2, "big") + socket.inet_aton(TARGET) + b"\0", 8],
        )
        for code in (92, 93)
    },
}
"""Proxies, and the clients that they answer to, by what is wrong."""


async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, steps: Steps, patience: float) -> None:
    """Do one step after the other, until the other side ends or keeps waiting for so many seconds."""
    try:
        for step in steps:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, float):
                await asyncio.sleep(step)
            elif step is None:
                await asyncio.wait_for(reader.read(), patience)
            else:
                await asyncio.wait_for(reader.readexactly(step), patience)
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.TimeoutError):
        pass
    finally:
        writer.close()


async def client(port: int, steps: Steps) -> int:
    """A conversation with a proxy; the port it came from."""
    reader, writer = await asyncio.open_connection(PROXY, port, local_addr=OWN)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    own: int = writer.get_extra_info("sockname")[1]
    await follow(reader, writer, steps, 2)
    return own


async def serve(port: int, steps: Steps) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await follow(reader, writer, steps, LATE + 2)

    await asyncio.start_server(answer, PROXY, port)


class Association:
    """A UDP association with Dante, and a socket to use it from."""

    def __init__(self, port: int = DANTE) -> None:
        self.control = socket.create_connection((PROXY, port), 10, OWN)
        self.port: int = self.control.getsockname()[1]
        self.control.sendall(GREETING)
        self.control.recv(2)
        self.control.sendall(b"\5\3\0" + NOBODY)
        reply = self.control.recv(10)
        self.relay = socket.inet_ntoa(reply[4:8]), int.from_bytes(reply[8:10], "big")
        self.datagrams = datagrams()

    def send(self, data: bytes, fragment: int = 0) -> None:
        self.datagrams.sendto(b"\0\0" + bytes([fragment]) + ipv4(TARGET, ECHO) + data, self.relay)


def datagrams() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((PROXY, 0))
    made.settimeout(5)
    return made


def fragments() -> int:
    """The first of two fragments, and then a datagram of its own."""
    association = Association()
    association.send(b"half", 1)
    association.send(b"whole")
    association.datagrams.recv(100)
    association.control.close()
    return association.port


def no_header() -> int:
    association = Association()
    association.send(b"hello")
    association.datagrams.recv(100)
    association.datagrams.sendto(b"the data without anything before it", association.relay)
    association.control.close()
    return association.port


def after_the_end() -> int:
    association = Association()
    association.send(b"hello")
    association.datagrams.recv(100)
    association.control.close()
    time.sleep(0.5)  # until Dante has closed, too
    association.send(b"anybody there?")
    return association.port


def stranger() -> int:
    """Another program, which sends from the target's address."""
    association = Association()
    association.send(b"hello")
    association.datagrams.recv(100)
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.bind((TARGET, 0))
    other.sendto(b"\0\0\0" + ipv4(PROXY, 9) + b"me, too", association.relay)
    association.control.close()
    return association.port


def names_client(port: int = FIRST_PORT + 90) -> int:
    """A relay that writes the address of the client where the remote sender's belongs."""
    listener = socket.create_server((PROXY, port))
    relay = datagrams()
    client = socket.create_connection((PROXY, port), 10, OWN)
    control, (_, port_of_client) = listener.accept()
    own = datagrams()
    for speaker, octets, listening in (
        (client, GREETING, control),
        (control, CHOICE, client),
        (client, b"\5\3\0" + NOBODY, control),
        (control, b"\5\0\0" + ipv4(*relay.getsockname()), client),
    ):
        speaker.sendall(octets)
        listening.recv(100)
    own.sendto(b"\0\0\0" + ipv4(TARGET, ECHO) + b"hello", relay.getsockname())
    _, caller = relay.recvfrom(100)
    relay.sendto(b"\0\0\0" + ipv4(*caller) + b"answer", caller)
    own.recv(100)
    client.close()
    control.close()
    return int(port_of_client)


def resolves() -> int:
    """Asks a name server itself, and hands the proxy the address."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((TARGET, 53))
    question = b"\6target\4test\0\0\1\0\1"
    asker = datagrams()
    asker.sendto(b"\0\7\1\0\0\1\0\0\0\0\0\0" + question, (TARGET, 53))
    _, caller = server.recvfrom(512)
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(TARGET)
    server.sendto(b"\0\7\x81\x80\0\1\0\1\0\0\0\0" + question + record, caller)
    asker.recv(512)
    return asyncio.run(client(MICROSOCKS, [*asking(b"\5\1\0" + WEB), GET, 100]))


def says_it_twice() -> int:
    """A segment is sent again with other octets, as a middlebox does; the kernel tells its sequence numbers."""
    connection = socket.create_connection((PROXY, MICROSOCKS), 10, OWN)
    port: int = connection.getsockname()[1]
    connection.sendall(GREETING)
    connection.recv(2)
    repair, queue, sequence = 19, 20, 21  # TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ of linux/tcp.h
    numbers = []
    connection.setsockopt(socket.IPPROTO_TCP, repair, 1)
    for side in (2, 1):  # what it sends, and what it gets
        connection.setsockopt(socket.IPPROTO_TCP, queue, side)
        numbers.append(connection.getsockopt(socket.IPPROTO_TCP, sequence) & 0xFFFFFFFF)
    connection.setsockopt(socket.IPPROTO_TCP, repair, -1)  # off, without a probe
    connection.sendall(b"\5\1\0" + WEB)
    connection.recv(10)
    head = port.to_bytes(2, "big") + MICROSOCKS.to_bytes(2, "big")
    head += numbers[0].to_bytes(4, "big") + numbers[1].to_bytes(4, "big") + b"\x50\x18\x10\0\0\0\0\0"
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    raw.bind((PROXY, 0))
    raw.sendto(head + b"\5\1\0" + ipv4(TARGET, HTTP + 1), (PROXY, 0))
    connection.sendall(GET)
    connection.recv(100)
    connection.close()
    return port


OTHERS: dict[str, Callable[[], int]] = {
    "a lone fragment": fragments,
    "no header": no_header,
    "datagrams after the end": after_the_end,
    "a stranger at the relay": stranger,
    "the client named as sender": names_client,
    "its own resolver": resolves,
    "two versions of one segment": says_it_twice,
}


async def main() -> dict[str, int]:
    jobs: dict[str, Coroutine[Any, Any, int]] = {}
    for number, (name, (proxy, asker)) in enumerate(PROXIES.items()):
        await serve(FIRST_PORT + number, proxy)
        jobs[name] = client(FIRST_PORT + number, asker)
    jobs |= {name: client(port, steps) for name, (port, steps) in CLIENTS.items()}
    jobs |= {name: asyncio.to_thread(function) for name, function in OTHERS.items()}
    return dict(zip(jobs, await asyncio.gather(*jobs.values()), strict=True))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main())))
