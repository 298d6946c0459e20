"""The proxy: listening, counting, timing out, stopping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from socks5sniff.proxy.channel import Channel
from socks5sniff.proxy.conversation import Conversation
from socks5sniff.proxy.log import LogEntry
from socks5sniff.proxy.network import Network, Trace
from socks5sniff.proxy.settings import Settings

BACKLOG = 2048
"""Connections the kernel may hold for us while we are busy."""


class Proxy:
    """A SOCKS proxy for tests.

    Use it as an asynchronous context manager, or call `start` and `stop`. Raises ExposureError (settings), OSError
    (an address that cannot be listened on) from `start`.

    Args:
        settings: what to do.
        log: called with each conversation's entry when it is over.
        trace: captures both legs of every conversation.

    Attributes:
        addresses: where it listens.
        turned_away: connections closed on arrival, since there were too many.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        log: Callable[[LogEntry], None] | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._settings = settings or Settings()
        self._log = log
        self._trace = trace
        self._network: Network
        self._servers: list[asyncio.Server] = []
        self._conversations: set[Conversation] = set()
        self._count = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._idle: asyncio.Event
        self.addresses: list[tuple[str, int]] = []
        self.turned_away = 0

    async def start(self) -> None:
        """Listen on all addresses of the settings; `addresses` then holds the real ports."""
        self._settings.check()
        self._network = Network(self._settings, self._trace)
        self._idle = asyncio.Event()
        self._idle.set()
        try:
            for host, port in self._settings.listen:
                server = await self._network.listen(host, port, self._accept, BACKLOG)
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

    def _accept(self, channel: Channel) -> None:
        if len(self._conversations) >= self._settings.limit:
            self.turned_away += 1
            channel.transport.abort()
            return
        self._count += 1
        self._network.show(channel)
        self._idle.clear()
        faults = self._settings.faults(self._count)
        conversation = Conversation(self._network, self._settings, channel, self._count, faults)
        self._conversations.add(conversation)
        conversation.task.add_done_callback(lambda _: self._finished(conversation))

    def _finished(self, conversation: Conversation) -> None:
        self._conversations.discard(conversation)
        if not self._conversations:
            self._idle.set()
        if self._log is not None:
            self._log(conversation.entry)

    def _sweep(self) -> None:
        """End what has been idle too long. One timer for all: an octet then costs no timer of its own."""
        limit = self._settings.idle_timeout
        oldest = self._network.loop.time() - limit
        for conversation in list(self._conversations):
            if conversation.active < oldest:
                conversation.end("idle too long")
        self._sweeper = self._network.loop.call_later(max(limit / 4, 0.05), self._sweep)
