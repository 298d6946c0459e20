"""The client's end of a UDP association."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from socks5sniff.client.fragments import LAST_FRAGMENT, Fragments
from socks5sniff.client.wire import Wire
from socks5sniff.codec import Address, Decoded, UdpHeader, decode_udp_header

QUEUE = 1024
"""Datagrams that may wait to be received; more are dropped, as by a full socket."""


class Datagram(NamedTuple):
    """A datagram that came through the proxy."""

    data: bytes
    source: Address
    """The remote sender, as the proxy names it."""


class Association(asyncio.DatagramProtocol):
    """A UDP association; closing it closes the TCP connection it lives on.

    Attributes:
        bound: BND of the reply.
        relay: where datagrams are sent to.
    """

    def __init__(self, wire: Wire, bound: Address) -> None:
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._received: asyncio.Queue[Datagram] = asyncio.Queue(QUEUE)
        self._fragments = Fragments()
        self._transport: asyncio.DatagramTransport
        self.bound = bound
        self.relay = (wire.remote[0] if bound.is_unspecified else bound.text, bound.port)

    async def open(self, local: tuple[str, int]) -> None:
        """Open the UDP socket. Raises OSError."""
        await self._loop.create_datagram_endpoint(lambda: self, local_addr=local)

    @property
    def local(self) -> tuple[str, int]:
        """The UDP socket's address and port."""
        host, port = self._transport.get_extra_info("sockname")[:2]
        return str(host), int(port)

    @property
    def wire(self) -> Wire:
        """The TCP connection."""
        return self._wire

    def send(self, data: bytes, host: str | Address, port: int = 0, fragment: int = 0, reserved: int = 0) -> None:
        """Send one datagram to a remote host, or one fragment of it (FRAG as on the wire)."""
        destination = host if isinstance(host, Address) else Address.from_text(host, port)
        self._transport.sendto(UdpHeader(destination, fragment, reserved).encode() + data, self.relay)

    def send_fragmented(self, data: bytes, host: str, port: int, size: int) -> None:
        """Send one datagram in fragments of `size` octets; at most 127 of them. Raises ValueError above that."""
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        if not 1 <= len(parts) <= 127:
            raise ValueError(f"{len(parts)} fragments; there can be 1 to 127")
        for position, part in enumerate(parts, 1):
            self.send(part, host, port, position | (LAST_FRAGMENT if position == len(parts) else 0))

    def send_octets(self, octets: bytes) -> None:
        """Send a datagram that need not have a SOCKS header."""
        self._transport.sendto(octets, self.relay)

    async def receive(self, timeout: float = 10.0) -> Datagram:
        """The next datagram, its fragments put together. Raises asyncio.TimeoutError."""
        return await asyncio.wait_for(self._received.get(), timeout)

    async def close(self) -> None:
        """End the association."""
        self._transport.close()
        await self._wire.close()

    async def __aenter__(self) -> Association:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        result = decode_udp_header(data)
        if not isinstance(result, Decoded):
            return
        whole = self._fragments.add(result.frame, data[result.length :], self._loop.time())
        if whole is not None and not self._received.full():
            self._received.put_nowait(Datagram(whole, result.frame.destination))

    def error_received(self, error: Exception) -> None:
        """An ICMP error about an earlier datagram: nothing follows from it."""
