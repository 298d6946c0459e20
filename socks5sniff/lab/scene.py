"""Where a scenario plays: hosts with fixed addresses on the simulated network, the capture, and the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from socks5sniff.client import Client, Witnessed
from socks5sniff.client.wire import Wire
from socks5sniff.lab.networks.loopback import LoopbackLoop
from socks5sniff.lab.networks.simulated import SimulatedLoop
from socks5sniff.lab.payloads import HTTP_RESPONSE, SSH_SERVER, TLS_ALERT, dns_answer
from socks5sniff.lab.place import Place
from socks5sniff.lab.truth import Truth, target
from socks5sniff.proxy.faults import Faults
from socks5sniff.proxy.packets import HostPort, Packet
from socks5sniff.proxy.server import Proxy
from socks5sniff.proxy.settings import Settings
from socks5sniff.proxy.trace import Trace

HERE = Place()
CLIENT, CLIENT6 = HERE.client, HERE.client6
"""Where clients are outside of scenarios, which have each a client of its own (`Scene.place`)."""

PROXY = "192.0.2.1"
PROXY6 = "2001:db8:10::1"
OUTBOUND = ("203.0.113.1", "2001:db8:1::1")
PORT = 1080

WEB = ("198.51.100.80", 80)
WEB6 = ("2001:db8:80::80", 80)
TLS = ("198.51.100.44", 443)
SSH = ("198.51.100.22", 22)
ECHO = ("198.51.100.7", 7)
ECHO6 = ("2001:db8:7::7", 7)
DNS = ("198.51.100.53", 53)
CLOSED = ("198.51.100.99", 81)
SECOND = ("198.51.100.2", 1081)
THIRD = ("198.51.100.3", 1082)
PEER = "198.51.100.21"
"""Who connects to a BIND."""
STRANGER = "192.0.2.66"
SERVERS = (WEB, WEB6, TLS, SSH, ECHO, ECHO6, DNS, CLOSED, SECOND, THIRD)
HOSTS = (CLIENT, CLIENT6, PROXY, PROXY6, *OUTBOUND, PEER, STRANGER, *(server[0] for server in SERVERS))
"""Every address there is, loopback apart."""

NAMES = {
    "www.example.test": [WEB[0]],
    "www6.example.test": [WEB6[0]],
    "secure.example.test": [TLS[0]],
    "ssh.example.test": [SSH[0]],
    "echo.example.test": [ECHO[0]],
}

@dataclass(slots=True)
class Target:
    """A server that the proxy is asked to reach.

    Attributes:
        peers: who connected, in order: what BND should have said.
        received, sent: octets.
    """

    address: HostPort
    peers: list[HostPort] = field(default_factory=list)
    received: int = 0
    sent: int = 0

    @property
    def text(self) -> dict[str, Any]:
        """As DST in the truth."""
        return target(*self.address)


class UnplayableError(Exception):
    """A scenario that cannot be played on real sockets; the text says why."""


class Scene:
    """One scenario's world.

    Attributes:
        loop: the network.
        packets: what has been captured so far.
        truth: what the capture holds.
        place: this scenario's own addresses and times.
    """

    def __init__(self, loop: SimulatedLoop | LoopbackLoop, place: Place = HERE) -> None:
        self.loop: Any = loop
        self.loop.names.update(NAMES)
        self.packets: list[Packet] = []
        self._live = not isinstance(loop, SimulatedLoop)
        self.place = place
        self._trace = Trace(
            self.packets.append, lambda: place.begins + round(loop.time() * 1e6) * 1000, place.connections
        )
        self._servers: list[Any] = []
        self.truth = Truth()
        self._proxies: list[Proxy] = []
        self._impairments: list[Callable[[list[Packet]], list[Packet]]] = []

    @property
    def trace(self) -> Trace:
        """The capture; scenarios without a proxy tell it themselves what happens. Raises UnplayableError live."""
        if self._live:
            raise UnplayableError("it makes packets of its own")
        return self._trace

    # Actors

    async def proxy(self, host: str = PROXY, port: int = PORT, traced: bool = True, **settings: Any) -> Proxy:
        """A running proxy; `faults` may be given as one Faults for all conversations."""
        faults = settings.get("faults")
        if isinstance(faults, Faults):
            settings["faults"] = lambda number: faults
        settings.setdefault("outbound", OUTBOUND)
        trace = self._trace if traced and not self._live else None
        proxy = Proxy(Settings(listen=((host, port),), allow_remote=True, **settings), trace=trace)
        await proxy.start()
        self._proxies.append(proxy)
        return proxy

    def client(self, host: str = PROXY, port: int = PORT, **options: Any) -> Client:
        """A client of the proxy at `host`."""
        options.setdefault("local", (self.place.client6 if ":" in host else self.place.client, 0))
        return Client(host, port, **options)

    async def web(self, address: HostPort = WEB) -> Target:
        """A web server that answers one request and closes."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, here: Target) -> None:
            here.received += len(await reader.readuntil(b"\r\n\r\n"))
            writer.write(HTTP_RESPONSE)
            here.sent += len(HTTP_RESPONSE)

        return await self.listen(address, answer)

    async def tls(self, address: HostPort = TLS) -> Target:
        """A TLS server that refuses every ClientHello."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, here: Target) -> None:
            head = await reader.readexactly(5)
            here.received += 5 + len(await reader.readexactly(int.from_bytes(head[3:], "big")))
            writer.write(TLS_ALERT)
            here.sent += len(TLS_ALERT)

        return await self.listen(address, answer)

    async def ssh(self, address: HostPort = SSH) -> Target:
        """An SSH server that says its version, hears the client's and closes."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, here: Target) -> None:
            writer.write(SSH_SERVER)
            here.sent += len(SSH_SERVER)
            here.received += len(await reader.readline())

        return await self.listen(address, answer)

    async def echo(self, address: HostPort = ECHO) -> Target:
        """A server that sends back what it gets, up to the end."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, here: Target) -> None:
            while octets := await reader.read(65536):
                here.received += len(octets)
                here.sent += len(octets)
                writer.write(octets)

        return await self.listen(address, answer)

    async def listen(
        self,
        address: HostPort,
        answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter, Target], Any],
    ) -> Target:
        """Any server."""
        here = Target(address)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            here.peers.append(writer.get_extra_info("peername")[:2])
            try:
                await answer(reader, writer, here)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass  # the proxy or the client left early: what was counted stays
            finally:
                writer.close()

        self._servers.append(await asyncio.start_server(serve, *address))
        return here

    async def udp_server(self, address: HostPort, answer: Callable[[bytes], bytes] = bytes) -> Target:
        """A UDP server; without `answer` it sends back what it gets."""
        here = Target(address)

        class Server(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport: Any = transport

            def datagram_received(self, data: bytes, addr: Any) -> None:
                here.peers.append(addr[:2])
                here.received += len(data)
                octets = answer(data)
                here.sent += len(octets)
                self.transport.sendto(octets, addr)

        transport, _ = await self.loop.create_datagram_endpoint(Server, local_addr=address)
        self._servers.append(transport)
        return here

    async def dns(self, address: HostPort = DNS, answer: str = WEB[0]) -> Target:
        """A name server that knows one address."""
        return await self.udp_server(address, lambda query: dns_answer(query, answer))

    # Truth

    def expect(self, client: Client | Wire | None, **facts: Any) -> dict[str, Any]:
        """A conversation that the capture holds, on this client's last connection. `facts` are keys of the record."""
        wire = client.wire if isinstance(client, Client) else client
        assert wire is not None
        facts.setdefault("frames", wire.witnessed)
        return self.expect_between(wire.local, wire.remote, **facts)

    def expect_between(
        self,
        client: HostPort,
        proxy: HostPort,
        occurrence: int = 0,
        frames: list[Witnessed] | None = None,
        after: tuple[int, int] = (0, 0),
        source: HostPort | None = None,
        **facts: Any,
    ) -> dict[str, Any]:
        """The same with the endpoints given; for the other arguments see `Expectation`."""
        return self.truth.expect(client, proxy, occurrence, frames, after, source, facts)

    def forget(self, *keys: str) -> None:
        """Do not judge these keys of the last expectation; `timing.request` is a key of an object."""
        self.truth.forget(*keys)

    # Packets

    def impair(self, change: Callable[[list[Packet]], list[Packet]]) -> None:
        """Change the packets when the scenario is over. Raises UnplayableError live."""
        if self._live:
            raise UnplayableError("its packets are changed afterwards")
        self._impairments.append(change)

    async def settle(self, seconds: float = 0.1) -> None:
        """Let everything under way arrive."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Stop the proxies."""
        await self.settle()
        for proxy in self._proxies:
            await proxy.stop()
        for server in self._servers:
            server.close()
        await self.settle()

    def finish(self, capture: str) -> None:
        """Impair the packets, and fill in the truth what follows from them alone."""
        made = self.packets
        for change in self._impairments:
            self.packets = change(self.packets)
        self.truth.finish(capture, made, self.packets, counted=not self._live)
