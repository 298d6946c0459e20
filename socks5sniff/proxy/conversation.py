"""One accepted connection, from its first octet until nothing of it is left."""

from __future__ import annotations

import asyncio
import time

from socks5sniff.codec import Address
from socks5sniff.proxy.channel import Channel, GoneError
from socks5sniff.proxy.commands import Commands
from socks5sniff.proxy.dialogue import Dialogue, OverError, UndelimitedError
from socks5sniff.proxy.faults import Faults
from socks5sniff.proxy.handshake import request_of
from socks5sniff.proxy.log import LogEntry
from socks5sniff.proxy.network import Network
from socks5sniff.proxy.settings import Settings


class Conversation:
    """The task that holds one conversation, and its end.

    Attributes:
        entry: what the log says of it; complete when the task is done.
        task: done when the conversation is over.
    """

    def __init__(self, network: Network, settings: Settings, client: Channel, number: int, faults: Faults) -> None:
        peer = client.transport.get_extra_info("peername") or ("?", 0)
        self.entry = LogEntry(number, time.time(), str(Address.from_text(peer[0], peer[1])))
        self._dialogue = Dialogue(client, self.entry, faults, settings.linger)
        self._commands = Commands(self._dialogue, network, settings)
        self._settings = settings
        self._client = client
        self._clock = network.loop.time
        self._began = self._clock()
        self._timer = network.loop.call_later(settings.handshake_timeout, self._handshake_timed_out)
        self.task = network.loop.create_task(self._run())
        self.task.add_done_callback(self._settle)
        client.on_lost = self._client_lost

    @property
    def active(self) -> float:
        """Loop time of the last octet that came from the client or for it."""
        upstream = self._commands.upstream
        return self._client.active if upstream is None else max(self._client.active, upstream.active)

    def end(self, outcome: str) -> None:
        """End the conversation from outside: a time-out, the proxy stopping, the client's loss."""
        if self._dialogue.ended is None:
            self._dialogue.ended = outcome
            self.task.cancel()

    def _handshake_timed_out(self) -> None:
        if not self._dialogue.decided:
            self.end("handshake timed out")

    def _client_lost(self, channel: Channel) -> None:
        # In a relay the channels settle their ends between themselves, so the loss is no reason to cancel.
        # After a verdict the conversation ends by itself, and its outcome is the verdict.
        if self._commands.upstream is None and not self._dialogue.decided:
            self.end("closed by the client")

    async def _run(self) -> None:
        entry, client = self.entry, self._client
        try:
            request = await request_of(self._dialogue, self._settings)
            self._timer.cancel()
            await self._commands.run(request.command, request.destination)
        except OverError as over:
            entry.outcome = str(over)
        except UndelimitedError as error:
            entry.outcome = str(error)
            client.close()
        except (GoneError, asyncio.CancelledError):
            if not self._dialogue.decided:
                entry.outcome = self._dialogue.ended or entry.outcome
            client.close()
        except Exception:
            entry.outcome = "internal error"
            client.reset()
            raise

    def _settle(self, task: asyncio.Task[None]) -> None:
        """Leave nothing open. A callback of the task, since one that is cancelled before its first step never runs."""
        self._timer.cancel()
        client, upstream, ended = self._client, self._commands.upstream, self._dialogue.ended
        if task.cancelled():
            self.entry.outcome = ended or self.entry.outcome
        if upstream is not None and not upstream.lost:
            upstream.reset() if ended else upstream.close()
        if ended is not None and not client.lost:
            client.transport.abort()
        if upstream is not None:
            self.entry.sent, self.entry.received = client.received, upstream.received
        self.entry.duration = self._clock() - self._began
