"""The proxy: listening, counting, timing out, stopping."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol

from socks5sniff.codec import Address
from socks5sniff.proxy.channel import LISTENER, SCRATCH, Channel, FlowTrace
from socks5sniff.proxy.conversation import Conversation
from socks5sniff.proxy.log import LogEntry
from socks5sniff.proxy.settings import Settings

BACKLOG = 2048
"""Connections the kernel may hold for us while we are busy."""


class Trace(Protocol):
    """What the proxy tells a capture; `socks5sniff.proxy.trace.Trace` writes packets from it."""

    def tcp(self, opener: tuple[str, int], listener: tuple[str, int]) -> FlowTrace: ...

    def udp(self, source: tuple[str, int], destination: tuple[str, int], data: bytes) -> None: ...


class Proxy:
    """A SOCKS proxy for tests.

    Use it as an asynchronous context manager, or call `start` and `stop`. Raises ExposureError (settings), OSError
    (an address that cannot be listened on) from `start`.

    Args:
        settings: what to do.
        log: called with each conversation's entry when it is over.
        trace: captures both legs of every conversation.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        log: Callable[[LogEntry], None] | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.loop: asyncio.AbstractEventLoop
        self._log = log
        self._trace = trace
        self._scratch = memoryview(bytearray(SCRATCH))
        self._servers: list[asyncio.AbstractServer] = []
        self._conversations: set[Conversation] = set()
        self._count = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._idle: asyncio.Event
        self.addresses: list[tuple[str, int]] = []
        self.turned_away = 0

    async def start(self) -> None:
        """Listen on all addresses of the settings; `addresses` then holds the real ports."""
        self.settings.check()
        self.loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()
        try:
            for host, port in self.settings.listen:
                server = await self.loop.create_server(lambda: self.channel(self._accept), host, port, backlog=BACKLOG)
                self._servers.append(server)
                self.addresses += [each.getsockname()[:2] for each in server.sockets]
        except OSError:
            await self.stop()
            raise
        self._sweep()

    async def stop(self) -> None:
        """Stop listening, end every conversation, and wait until nothing of them is left."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for conversation in list(self._conversations):
            conversation.end("proxy stopped")
        await self._idle.wait()

    async def __aenter__(self) -> Proxy:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def active(self) -> int:
        """Conversations under way."""
        return len(self._conversations)

    # What conversations call.

    def channel(self, on_open: Callable[[Channel], None] | None = None) -> Channel:
        """A connection of this proxy that is yet to be made."""
        return Channel(self.loop, self._scratch, on_open)

    async def look_up(self, name: bytes, port: int, kind: socket.SocketKind) -> list[str]:
        """The addresses of a name, in the order to try them. Raises OSError, UnicodeError."""
        if not name or b"\0" in name:
            raise UnicodeError("no name that can be looked up")
        # Octets outside ASCII are UTF-8 by convention; what is not cannot be put into labels (UnicodeError).
        text = name.decode()
        known = self.settings.hosts.get(text)
        if known is not None:
            return [known]
        return [str(entry[4][0]) for entry in await self.loop.getaddrinfo(text, port, type=kind)]

    def finished(self, conversation: Conversation) -> None:
        """A conversation is over."""
        self._conversations.discard(conversation)
        if not self._conversations:
            self._idle.set()
        if self._log is not None:
            self._log(conversation.log_entry())

    def observe(self, channel: Channel) -> None:
        """Show a new connection to the capture."""
        if self._trace is None:
            return
        here, there = (channel.transport.get_extra_info(end) for end in ("sockname", "peername"))
        if here is None or there is None:
            return  # gone again before anyone could ask
        here, there = here[:2], there[:2]
        channel.flow = self._trace.tcp(there, here) if channel.side == LISTENER else self._trace.tcp(here, there)
        if channel.input:
            channel.flow.data(1 - channel.side, bytes(channel.input))

    def observe_datagram(
        self, remote: tuple[str, int], transport: asyncio.DatagramTransport, data: bytes, outgoing: bool
    ) -> None:
        """Show a datagram to the capture."""
        if self._trace is None:
            return
        host, port = transport.get_extra_info("sockname")[:2]
        if not any(Address.from_text(host, port).host):
            host = _source_towards(remote)
        if outgoing:
            self._trace.udp((host, port), remote, data)
        else:
            self._trace.udp(remote, (host, port), data)

    def _accept(self, channel: Channel) -> None:
        if len(self._conversations) >= self.settings.limit:
            self.turned_away += 1
            channel.transport.abort()
            return
        self._count += 1
        self.observe(channel)
        self._idle.clear()
        self._conversations.add(Conversation(self, channel, self._count, self.settings.faults(self._count)))

    def _sweep(self) -> None:
        """End what has been idle too long. One timer for all: an octet then costs no timer of its own."""
        limit = self.settings.idle_timeout
        oldest = self.loop.time() - limit
        for conversation in list(self._conversations):
            upstream = conversation.upstream
            if conversation.client.active < oldest and (upstream is None or upstream.active < oldest):
                conversation.end("idle too long")
        self._sweeper = self.loop.call_later(max(limit / 4, 0.05), self._sweep)


def _source_towards(remote: tuple[str, int]) -> str:
    """The local address the kernel would send from: connecting a UDP socket asks without sending anything."""
    family = socket.AF_INET6 if ":" in remote[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(remote)
        name: Any = probe.getsockname()
        return str(name[0])
