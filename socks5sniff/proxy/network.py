"""The world as a proxy reaches it: names, connections, listeners and UDP sockets, each shown to the capture.

It knows nothing of SOCKS, and nothing of those who use it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol

from socks5sniff.codec import Address, AddressType
from socks5sniff.proxy.channel import LISTENER, SCRATCH, Channel, FlowTrace
from socks5sniff.proxy.settings import Settings

HostPort = tuple[str, int]


class Trace(Protocol):
    """What a capture is told; `socks5sniff.proxy.trace.Trace` makes packets of it."""

    def tcp(self, opener: HostPort, listener: HostPort) -> FlowTrace: ...

    def udp(self, source: HostPort, destination: HostPort, data: bytes) -> None: ...


class DatagramSocket(asyncio.DatagramProtocol):
    """One UDP socket. `congested` while the kernel takes no more of what is sent."""

    def __init__(self, receive: Callable[[bytes, HostPort], None], trace: Trace | None) -> None:
        self._receive = receive
        self._trace = trace
        self.transport: asyncio.DatagramTransport
        self.congested = False

    @property
    def address(self) -> HostPort:
        """The local address and port."""
        host, port = self.transport.get_extra_info("sockname")[:2]
        return host, port

    def send(self, data: bytes, address: HostPort) -> bool:
        """Send, or drop (False) where the socket's buffer is full or it is closed."""
        if self.congested or self.transport.is_closing():
            return False
        self.transport.sendto(data, address)
        if self._trace is not None:
            self._trace.udp(self.address, address, data)
        return True

    def close(self) -> None:
        self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        source = (str(addr[0]), int(addr[1]))
        if self._trace is not None:
            self._trace.udp(source, self.address, data)
        self._receive(data, source)

    def error_received(self, error: Exception) -> None:
        """An ICMP error about an earlier datagram: UDP promises nothing, so nothing follows from it."""

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False


class Network:
    """Made inside a running event loop.

    Attributes:
        loop: the event loop.
    """

    def __init__(self, settings: Settings, trace: Trace | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self._settings = settings
        self._trace = trace
        self._scratch = memoryview(bytearray(SCRATCH))

    def channel(self, on_open: Callable[[Channel], None] | None = None) -> Channel:
        """A connection that is yet to be made."""
        return Channel(self.loop, self._scratch, on_open)

    async def look_up(self, destination: Address, kind: socket.SocketKind) -> list[str]:
        """The addresses of a destination as text, in the order to try them. Raises OSError, UnicodeError."""
        if destination.type != AddressType.DOMAIN:
            return [destination.text]
        name = destination.host
        if not name or b"\0" in name:
            raise UnicodeError("no name that can be looked up")
        # Octets outside ASCII are UTF-8 by convention; what is not cannot be put into labels (UnicodeError).
        text = name.decode()
        known = self._settings.hosts.get(text)
        if known is not None:
            return [known]
        return [str(entry[4][0]) for entry in await self.loop.getaddrinfo(text, destination.port, type=kind)]

    async def name_of(self, address: Address) -> str:
        """The name of an address. Raises OSError."""
        name, _ = await self.loop.getnameinfo((address.text, 0), socket.NI_NAMEREQD)
        return name

    async def connect(self, host: str, port: int) -> Channel:
        """A connection, from the outbound address of the settings if there is one. Raises OSError."""
        channel = self.channel()
        local = self._settings.outbound_for(6 if ":" in host else 4)
        try:
            await self.loop.create_connection(
                lambda: channel, host, port, local_addr=None if local is None else (local, 0)
            )
        except asyncio.CancelledError:
            if channel.opened:
                channel.reset()
            raise
        return channel

    async def listen(
        self, host: str, port: int, on_open: Callable[[Channel], None], backlog: int
    ) -> asyncio.Server:
        """Accept connections. Raises OSError."""
        return await self.loop.create_server(lambda: self.channel(on_open), host, port, backlog=backlog)

    async def datagrams(self, host: str, receive: Callable[[bytes, HostPort], None]) -> DatagramSocket:
        """A UDP socket on a local address and a free port; `receive` gets each datagram and its source.

        Raises OSError.
        """
        _, made = await self.loop.create_datagram_endpoint(
            lambda: DatagramSocket(receive, self._trace), local_addr=(host, 0)
        )
        return made

    def source_towards(self, host: str) -> str:
        """The local address for what goes to `host`: the settings' outbound one, else the route's. Raises OSError."""
        outbound = self._settings.outbound_for(6 if ":" in host else 4)
        if outbound is not None:
            return outbound
        # Connecting a UDP socket asks the kernel for the route and sends nothing; the port does not matter.
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))
            name: Any = probe.getsockname()
            return str(name[0])

    def show(self, channel: Channel) -> None:
        """Show a new connection to the capture, and what has come over it so far."""
        if self._trace is None:
            return
        here, there = (channel.transport.get_extra_info(end) for end in ("sockname", "peername"))
        if here is None or there is None:
            return  # gone again before anyone could ask
        here, there = here[:2], there[:2]
        channel.flow = self._trace.tcp(there, here) if channel.side == LISTENER else self._trace.tcp(here, there)
        if channel.input:
            channel.flow.data(1 - channel.side, bytes(channel.input))
