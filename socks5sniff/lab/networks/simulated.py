"""A network that exists in memory only, with a clock that jumps: the real proxy and the real client run on it.

Addresses, ports, times and the order of events are the same in every run, so a capture made on it is the same octet
for octet. It is an asyncio event loop: what runs on it cannot tell the difference.
"""

from __future__ import annotations

import asyncio
import errno
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from ipaddress import ip_address
from typing import Any, TypeVar

from socks5sniff.proxy.packets import HostPort, version_of

LATENCY = 0.00025
"""Seconds an octet takes from one host to any other."""

Result = TypeVar("Result")


class Clockwork(selectors.BaseSelector):
    """A selector without files: waiting means that the time has come."""

    def __init__(self) -> None:
        self.now = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is left that could happen on the simulated network: everyone waits")
        self.now += timeout
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class Listener:
    """What `create_server` gives: enough of a server to close it and to ask for its address."""

    def __init__(self, loop: SimulatedLoop, address: HostPort, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self._loop = loop
        self.address = address
        self.factory = factory
        self.sockets = [self]

    def getsockname(self) -> HostPort:
        return self.address

    def close(self) -> None:
        self._loop.listeners.pop(self.address, None)

    async def wait_closed(self) -> None:
        return None


class Linger:
    """Stands for the socket: remembers that SO_LINGER was set, which makes an abort a reset."""

    def __init__(self) -> None:
        self.set = False

    def setsockopt(self, level: int, option: int, value: bytes | int) -> None:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self.set = True


class SimulatedTransport(asyncio.Transport):
    """One end of a TCP connection."""

    def __init__(self, loop: SimulatedLoop, here: HostPort, there: HostPort, protocol: asyncio.BaseProtocol) -> None:
        self._linger = Linger()
        super().__init__({"sockname": here, "peername": there, "socket": self._linger})
        self._loop = loop
        self._protocol = protocol
        self._closing = False
        self._lost = False
        self._sent_eof = False
        self._paused = False
        self._waiting: deque[tuple[str, bytes]] = deque()
        self.other: SimulatedTransport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self._closing and not self._sent_eof:
            self._loop.post(self.other.arrive, "data", bytes(data))

    def write_eof(self) -> None:
        if not self._closing and not self._sent_eof:
            self._sent_eof = True
            self._loop.post(self.other.arrive, "eof", b"")

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self.write_eof()
            self._closing = True
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        if self._linger.set and not self._lost:
            self._loop.post(self.other.arrive, "reset", b"")
            self._sent_eof = True
        self.close()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        while self._waiting and not self._paused:
            self._take(*self._waiting.popleft())

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered here."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def arrive(self, kind: str, octets: bytes) -> None:
        """Something that the other end sent is here."""
        if self._paused and kind != "reset":
            self._waiting.append((kind, octets))
        else:
            self._take(kind, octets)

    def vanish(self) -> None:
        """The network is gone: nothing can be sent any more."""
        self._closing = self._lost = True

    def _take(self, kind: str, octets: bytes) -> None:
        if self._closing:
            return
        protocol = self._protocol
        if kind == "reset":
            self._closing = True
            self._lose(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))
        elif kind == "eof":
            if not protocol.eof_received():  # type: ignore[attr-defined]
                self.close()
        elif isinstance(protocol, asyncio.BufferedProtocol):
            while octets:
                buffer = protocol.get_buffer(len(octets))
                count = min(len(buffer), len(octets))  # type: ignore[arg-type]
                buffer[:count] = octets[:count]  # type: ignore[index]
                protocol.buffer_updated(count)
                octets = octets[count:]
        else:
            protocol.data_received(octets)  # type: ignore[attr-defined]

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(error)


class SimulatedDatagrams(asyncio.DatagramTransport):
    """A UDP socket."""

    def __init__(self, loop: SimulatedLoop, here: HostPort, protocol: asyncio.DatagramProtocol) -> None:
        super().__init__({"sockname": here})
        self._loop = loop
        self._here = here
        self._protocol = protocol

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        self._loop.post(self._loop.deliver, self._here, (addr[0], addr[1]), bytes(data))

    def close(self) -> None:
        self._loop.datagrams.pop(self._here, None)

    def get_protocol(self) -> asyncio.DatagramProtocol:
        """Whom datagrams are given to."""
        return self._protocol

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._here not in self._loop.datagrams

    def receive(self, data: bytes, source: HostPort) -> None:
        """A datagram is here."""
        self._protocol.datagram_received(data, source)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """The event loop that is the network.

    Args:
        first_port: the first that each host gives out.

    Attributes:
        names: addresses of host names; what is not in it does not exist.
        failing: what connecting to an address fails with (an `errno` value).
    """

    def __init__(self, first_port: int = 40001) -> None:
        self._clockwork = Clockwork()
        super().__init__(self._clockwork)
        self._first_port = first_port
        self.names: dict[str, list[str]] = {}
        self.failing: dict[str, int] = {}
        self.listeners: dict[HostPort, Listener] = {}
        self.datagrams: dict[HostPort, SimulatedDatagrams] = {}
        self._ports: dict[str, int] = {}
        self._transports: list[SimulatedTransport] = []
        self._flying: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    def time(self) -> float:
        return self._clockwork.now

    def run(self, main: Coroutine[Any, Any, Result]) -> Result:
        """Run `main` to its end and close the loop."""
        try:
            return self.run_until_complete(main)
        finally:
            for transport in self._transports:
                transport.vanish()
            self.close()

    def post(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call back after the latency. It is the same for all, so one queue keeps everything in order."""
        self._flying.append((callback, arguments))
        self.call_later(LATENCY, self._land)

    def _land(self) -> None:
        callback, arguments = self._flying.popleft()
        callback(*arguments)

    def deliver(self, source: HostPort, destination: HostPort, data: bytes) -> None:
        """A datagram reaches its socket, if there is one."""
        transport = self.datagrams.get(destination)
        if transport is not None:
            transport.receive(data, source)

    def free_port(self, host: str) -> int:
        """The next port of a host."""
        port = self._ports.get(host, self._first_port)
        self._ports[host] = port + 1
        return port

    # What asyncio offers and this loop does in its own way.

    async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, type: int = 0, **_: Any) -> Any:
        try:
            addresses = [str(ip_address(host))]
        except ValueError:
            await asyncio.sleep(4 * LATENCY)
            addresses = self.names.get(host, [])
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if version_of(each) == 6 else socket.AF_INET, type, 0, "", (each, port))
            for each in addresses
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        await asyncio.sleep(4 * LATENCY)
        for name, addresses in self.names.items():
            if sockaddr[0] in addresses:
                return name, str(sockaddr[1])
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, local_addr: Any = None, **_: Any
    ) -> Any:
        source_host = local_addr[0] if local_addr else ("::1" if version_of(host) == 6 else "127.0.0.1")
        here = (source_host, (local_addr[1] if local_addr else 0) or self.free_port(source_host))
        there = (host, port)
        await asyncio.sleep(2 * LATENCY)
        if host in self.failing:
            code = self.failing[host]
            raise OSError(code, os.strerror(code))
        listener = self.listeners.get(there)
        if listener is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        protocol, accepted = protocol_factory(), listener.factory()
        opener = SimulatedTransport(self, here, there, protocol)
        accepter = SimulatedTransport(self, there, here, accepted)
        opener.other, accepter.other = accepter, opener
        self._transports += opener, accepter
        accepted.connection_made(accepter)
        protocol.connection_made(opener)
        return opener, protocol

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        address = (host, port or self.free_port(host))
        self.listeners[address] = listener = Listener(self, address, protocol_factory)
        return listener

    async def create_datagram_endpoint(  # type: ignore[override]
        self, protocol_factory: Any, local_addr: Any = None, **_: Any
    ) -> Any:
        here = (local_addr[0], local_addr[1] or self.free_port(local_addr[0]))
        protocol = protocol_factory()
        self.datagrams[here] = transport = SimulatedDatagrams(self, here, protocol)
        protocol.connection_made(transport)
        return transport, protocol
