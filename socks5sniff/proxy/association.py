"""UDP ASSOCIATE: the relay of RFC 1928 s7, with reassembly of fragments.

It takes datagrams from the client's address and from those whom the client has sent to, and from nobody else: an
open UDP port that relays anybody's datagrams would be a way into the client's network.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

from socks5sniff.client.fragments import LAST_FRAGMENT, Fragments
from socks5sniff.codec import Address, AddressType, Decoded, UdpHeader, decode_udp_header
from socks5sniff.proxy.dialogue import Dialogue
from socks5sniff.proxy.network import DatagramSocket, HostPort, Network

MOST_LOOKUPS = 16
"""Names one association looks up at the same time; datagrams beyond are dropped, as a full queue drops them."""

MOST_NAMES = 256
"""Names one association remembers the address of."""

MOST_PEERS = 4096
"""Remote endpoints one association takes answers from; the one sent to longest ago is forgotten first."""

MOST_SOCKETS = 16
"""Local addresses one association sends from: more than the routes of any one machine lead over."""


class Association:
    """One UDP association; what it relays and drops it counts in the dialogue's entry."""

    def __init__(self, network: Network, dialogue: Dialogue, announced: Address, fragment_timeout: float) -> None:
        self._network = network
        self._faults = dialogue.faults
        self._entry = dialogue.entry
        self._client = dialogue.client
        self._client_host: str = self._client.transport.get_extra_info("peername")[0]
        # A client that knows its port says so together with its own address (or none); many name the remote target
        # instead, which says nothing. Then the first datagram from the client's address tells the port.
        own = announced.is_unspecified or announced.text == self._client_host
        self._client_port = announced.port if own else 0
        self._fragments = Fragments(fragment_timeout)
        self._inner: DatagramSocket | None = None
        self._answers: DatagramSocket | None = None
        self._outside = Outside(network, self._from_outside)
        self._lookups: set[asyncio.Task[None]] = set()

    async def open(self) -> Address:
        """Open the client's side; its address is what BND tells. Raises OSError."""
        host = self._client.transport.get_extra_info("sockname")[0]
        self._inner = self._answers = await self._network.datagrams(host, self._from_client)
        if self._faults.udp_other_port:
            self._answers = await self._network.datagrams(host, lambda data, source: None)
        return Address.from_text(*self._inner.address)

    def close(self) -> None:
        """Close all sockets and forget what is under way."""
        for task in self._lookups:
            task.cancel()
        self._outside.close()
        for each in (self._inner, self._answers):
            if each is not None:
                each.close()

    def _from_client(self, datagram: bytes, source: HostPort) -> None:
        # RFC 1928 s7: datagrams of any other source are dropped.
        if source[0] != self._client_host or (self._client_port and source[1] != self._client_port):
            return
        result = decode_udp_header(datagram)
        if not isinstance(result, Decoded):
            return
        self._client_port = source[1]
        now = self._client.active = self._network.loop.time()
        data = self._fragments.add(result.frame, datagram[result.length :], now)
        if data is None:
            return
        if len(self._lookups) >= MOST_LOOKUPS:
            self._entry.dropped += 1
            return
        task = self._network.loop.create_task(self._forward(result.frame.destination, data))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _forward(self, destination: Address, data: bytes) -> None:
        try:
            sent = await self._outside.send(destination, data)
        except (OSError, UnicodeError):
            return  # a destination that cannot be reached looks like a lost datagram: RFC 1928 s7, "silently drop"
        if sent:
            self._entry.sent += len(data)
        else:
            self._entry.dropped += 1

    def _from_outside(self, data: bytes, source: HostPort) -> None:
        assert self._answers is not None
        self._client.active = self._network.loop.time()
        client = (self._client_host, self._client_port)
        # All fragments are tried: the client gives up a datagram with a hole by itself.
        taken = [
            self._answers.send(self._header(source, fragment) + part, client) for fragment, part in self._cut(data)
        ]
        if all(taken):
            self._entry.received += len(data)
        else:
            self._entry.dropped += 1

    def _header(self, source: HostPort, fragment: int) -> bytes:
        if self._faults.udp_no_header:
            return b""
        named = (self._client_host, self._client_port) if self._faults.udp_names_client else source
        return UdpHeader(Address.from_text(*named), fragment, self._faults.udp_reserved).encode()

    def _cut(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The data as (FRAG, part): standalone, or in fragments where the fault asks for it (127 at most)."""
        size = self._faults.udp_fragment
        if not size or len(data) <= size or len(data) > size * 127:
            yield 0, data
            return
        for position, at in enumerate(range(0, len(data), size), 1):
            yield position | (LAST_FRAGMENT if at + size >= len(data) else 0), data[at : at + size]


class Outside:
    """The sockets of one association towards its remote hosts, one for each local address that routes lead over.

    `receive` is called with what comes from a host and port that something was sent to before.
    """

    def __init__(self, network: Network, receive: Callable[[bytes, HostPort], None]) -> None:
        self._network = network
        self._receive = receive
        self._sockets: dict[str, DatagramSocket] = {}
        self._names: dict[bytes, str] = {}
        self._peers: dict[HostPort, None] = {}

    async def send(self, destination: Address, data: bytes) -> bool:
        """Send, or drop (False) where there is no room. Raises OSError, UnicodeError where there is no way."""
        peer = (await self._address(destination), destination.port)
        local = self._network.source_towards(peer[0])
        if local not in self._sockets:
            if len(self._sockets) >= MOST_SOCKETS:
                return False
            made = await self._network.datagrams(local, self._arrived)
            # Another datagram may have opened one while this one waited.
            if self._sockets.setdefault(local, made) is not made:
                made.close()
        self._peers.pop(peer, None)
        self._peers[peer] = None
        if len(self._peers) > MOST_PEERS:
            del self._peers[next(iter(self._peers))]
        return self._sockets[local].send(data, peer)

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()

    def _arrived(self, data: bytes, source: HostPort) -> None:
        if source in self._peers:
            self._receive(data, source)

    async def _address(self, destination: Address) -> str:
        if destination.type != AddressType.DOMAIN:
            return destination.text
        known = self._names.get(destination.host)
        if known is None:
            known = (await self._network.look_up(destination, socket.SOCK_DGRAM))[0]
            if len(self._names) < MOST_NAMES:
                self._names[destination.host] = known
        return known
