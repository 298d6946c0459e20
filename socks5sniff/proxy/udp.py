"""UDP ASSOCIATE: the relay of RFC 1928 s7, with reassembly of fragments."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from socks5sniff.client.fragments import LAST_FRAGMENT, Fragments
from socks5sniff.codec import Address, AddressType, Decoded, UdpHeader, decode_udp_header
from socks5sniff.proxy.faults import Faults

if TYPE_CHECKING:
    from socks5sniff.proxy.channel import Channel
    from socks5sniff.proxy.server import Proxy

MOST_LOOKUPS = 16
"""Names one association looks up at the same time; datagrams beyond are dropped, as a full queue drops them."""

MOST_NAMES = 256
"""Names one association remembers the address of."""

UdpAddress = tuple[str, int]


class Endpoint(asyncio.DatagramProtocol):
    """One UDP socket."""

    def __init__(self, receive: Callable[[bytes, UdpAddress], None]) -> None:
        self._receive = receive
        self.transport: asyncio.DatagramTransport
        self.congested = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self._receive(data, (str(addr[0]), int(addr[1])))

    def error_received(self, error: Exception) -> None:
        """An ICMP error about an earlier datagram: UDP promises nothing, so nothing follows from it."""

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False

    def send(self, data: bytes, address: UdpAddress) -> bool:
        """Send, or drop where the socket's buffer is full."""
        if self.congested or self.transport.is_closing():
            return False
        self.transport.sendto(data, address)
        return True


class Association:
    """One UDP association.

    Attributes:
        sent, received: octets of data relayed from the client, and to it.
    """

    def __init__(self, proxy: Proxy, client: Channel, announced: Address, faults: Faults) -> None:
        self._proxy = proxy
        self._faults = faults
        self._client_host: str = client.transport.get_extra_info("peername")[0]
        self._local_host: str = client.transport.get_extra_info("sockname")[0]
        # A client that knows its port says so together with its own address (or none); many name the remote target
        # instead, which says nothing. Then the first datagram from the client's address tells the port.
        own = announced.is_unspecified or announced.text == self._client_host
        self._client_port = announced.port if own else 0
        self._activity = client
        self._fragments = Fragments(proxy.settings.fragment_timeout)
        self._inner: Endpoint | None = None
        self._outer: dict[int, Endpoint] = {}
        self._names: dict[bytes, str] = {}
        self._lookups: set[asyncio.Task[None]] = set()
        self.sent = 0
        self.received = 0

    async def open(self) -> Address:
        """Open the client's side; its address is what BND tells. Raises OSError."""
        self._inner = await self._endpoint(self._local_host, self._from_client)
        name = self._inner.transport.get_extra_info("sockname")
        return Address.from_text(name[0], name[1])

    def close(self) -> None:
        """Close all sockets and forget what is under way."""
        for task in self._lookups:
            task.cancel()
        for endpoint in (self._inner, *self._outer.values()):
            if endpoint is not None:
                endpoint.transport.close()

    async def _endpoint(self, host: str, receive: Callable[[bytes, UdpAddress], None]) -> Endpoint:
        _, endpoint = await self._proxy.loop.create_datagram_endpoint(lambda: Endpoint(receive), local_addr=(host, 0))
        return endpoint

    # From the client

    def _from_client(self, datagram: bytes, source: UdpAddress) -> None:
        assert self._inner is not None
        self._proxy.observe_datagram(source, self._inner.transport, datagram, outgoing=False)
        # RFC 1928 s7: datagrams of any other source are dropped.
        if source[0] != self._client_host or (self._client_port and source[1] != self._client_port):
            return
        result = decode_udp_header(datagram)
        if not isinstance(result, Decoded):
            return
        self._client_port = source[1]
        now = self._activity.active = self._proxy.loop.time()
        data = self._fragments.add(result.frame, datagram[result.length :], now)
        if data is None:
            return
        if len(self._lookups) < MOST_LOOKUPS:
            task = self._proxy.loop.create_task(self._forward(result.frame.destination, data))
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)

    async def _forward(self, destination: Address, data: bytes) -> None:
        try:
            host = await self._address(destination)
            version = 6 if ":" in host else 4
            endpoint = self._outer.get(version)
            if endpoint is None:
                local = self._proxy.settings.outbound_for(version) or ("::" if version == 6 else "0.0.0.0")
                endpoint = await self._endpoint(local, self._from_outside)
                # Another datagram may have opened one while this one waited.
                kept = self._outer.setdefault(version, endpoint)
                if kept is not endpoint:
                    endpoint.transport.close()
                    endpoint = kept
            if endpoint.send(data, (host, destination.port)):
                self.sent += len(data)
                self._proxy.observe_datagram((host, destination.port), endpoint.transport, data, outgoing=True)
        except (OSError, UnicodeError):
            return  # a destination that cannot be reached looks like a lost datagram: RFC 1928 s7, "silently drop"

    async def _address(self, destination: Address) -> str:
        if destination.type != AddressType.DOMAIN:
            return destination.text
        known = self._names.get(destination.host)
        if known is None:
            found = await self._proxy.look_up(destination.host, destination.port, socket.SOCK_DGRAM)
            known = found[0]
            if len(self._names) < MOST_NAMES:
                self._names[destination.host] = known
        return known

    # From outside

    def _from_outside(self, data: bytes, source: UdpAddress) -> None:
        assert self._inner is not None
        outer = self._outer[6 if ":" in source[0] else 4]
        self._proxy.observe_datagram(source, outer.transport, data, outgoing=False)
        self._activity.active = self._proxy.loop.time()
        client = (self._client_host, self._client_port)
        sender = Address.from_text(source[0], source[1])
        complete = True
        for fragment, part in self._cut(data):
            datagram = UdpHeader(sender, fragment, self._faults.udp_reserved).encode() + part
            complete = self._inner.send(datagram, client) and complete
            self._proxy.observe_datagram(client, self._inner.transport, datagram, outgoing=True)
        if complete:
            self.received += len(data)

    def _cut(self, data: bytes) -> list[tuple[int, bytes]]:
        """The data as (FRAG, part): standalone, or in fragments where the fault asks for it (127 at most)."""
        size = self._faults.udp_fragment
        if not size or len(data) <= size or len(data) > size * 127:
            return [(0, data)]
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        numbered = [(position, part) for position, part in enumerate(parts, 1)]
        numbered[-1] = (numbered[-1][0] | LAST_FRAGMENT, parts[-1])
        return numbered
