"""What each SOCKS command does: CONNECT, BIND, UDP ASSOCIATE, and Tor's RESOLVE and RESOLVE_PTR."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import NoReturn

from socks5sniff.codec import Address, AddressType, Command, ReplyStatus
from socks5sniff.proxy.association import Association
from socks5sniff.proxy.channel import LISTENER, OPENER, Channel, GoneError, join
from socks5sniff.proxy.dialogue import Dialogue
from socks5sniff.proxy.network import Network
from socks5sniff.proxy.replies import reply_code
from socks5sniff.proxy.settings import Settings

FAILURES = (OSError, UnicodeError, asyncio.TimeoutError)
"""What reaching a destination can raise; a name that holds a NUL is a UnicodeError by the time it is looked up."""


def endpoint_of(channel: Channel, end: str) -> Address:
    """The local (`sockname`) or remote (`peername`) address of a connection."""
    name = channel.transport.get_extra_info(end)
    return Address.from_text(name[0], name[1])


class Commands:
    """Carries out one client's request.

    Attributes:
        upstream: the connection to the destination or, for BIND, from it; None until there is one.
    """

    def __init__(self, dialogue: Dialogue, network: Network, settings: Settings) -> None:
        self._dialogue = dialogue
        self._network = network
        self._settings = settings
        self.upstream: Channel | None = None

    async def run(self, command: int, destination: Address) -> None:
        """From the request to the end of what it asked for. Raises OverError, GoneError."""
        if self._dialogue.faults.reply is not None:
            await self._dialogue.pretend(self._dialogue.faults.reply)
        handler = HANDLERS.get(command)
        if handler is None or (command == Command.UDP_ASSOCIATE and self._dialogue.entry.protocol != "socks5"):
            await self._dialogue.refuse(ReplyStatus.COMMAND_NOT_SUPPORTED)
        await handler(self, destination)

    async def connect(self, destination: Address) -> None:
        """RFC 1928 s4, CONNECT."""
        try:
            upstream = await asyncio.wait_for(self._reach(destination), self._settings.connect_timeout)
        except FAILURES as error:
            await self._fail(error)
        await self._dialogue.answer(endpoint_of(upstream, "sockname"))
        await self._relay(upstream)

    async def bind(self, destination: Address) -> None:
        """RFC 1928 s4, BIND: two replies, the second when the peer has connected."""
        client, network = self._dialogue.client, self._network
        try:
            expected = None if destination.is_unspecified else await network.look_up(destination, socket.SOCK_STREAM)
        except FAILURES as error:
            await self._fail(error)
        arrived: asyncio.Future[Channel] = network.loop.create_future()

        def arrive(channel: Channel) -> None:
            peer = endpoint_of(channel, "peername").text
            if arrived.done() or (expected is not None and peer not in expected):
                channel.reset()
            else:
                arrived.set_result(channel)

        def give_up() -> None:
            if not arrived.done():
                arrived.set_exception(GoneError())

        try:
            server = await network.listen(client.transport.get_extra_info("sockname")[0], 0, arrive, backlog=4)
        except OSError as error:
            await self._fail(error)
        client.on_eof = give_up
        try:
            name = server.sockets[0].getsockname()
            await self._dialogue.answer(Address.from_text(name[0], name[1]))
            peer = await asyncio.wait_for(arrived, self._settings.bind_timeout)
        except asyncio.TimeoutError:
            await self._dialogue.refuse(ReplyStatus.HOST_UNREACHABLE, "peer-reply")
        except GoneError:
            self._dialogue.entry.outcome = "closed by the client"
            raise
        finally:
            client.on_eof = None
            server.close()
            if arrived.done() and not arrived.cancelled() and arrived.exception() is None:
                self._adopt(arrived.result(), LISTENER)
        await self._dialogue.answer(endpoint_of(peer, "peername"), "peer-reply")
        await self._relay(peer)

    async def associate(self, destination: Address) -> None:
        """RFC 1928 s4 and s7, UDP ASSOCIATE: lives as long as the TCP connection."""
        dialogue = self._dialogue
        association = Association(self._network, dialogue, destination, self._settings.fragment_timeout)
        try:
            try:
                bound = await association.open()
            except OSError as error:
                await self._fail(error)
            await dialogue.answer(bound)
            await dialogue.client.ended()
        finally:
            association.close()
        await dialogue.client.finish(dialogue.linger)

    async def resolve(self, destination: Address) -> None:
        """Tor's RESOLVE: the address of a name, in BND."""
        try:
            addresses = await asyncio.wait_for(
                self._network.look_up(destination, socket.SOCK_STREAM), self._settings.connect_timeout
            )
        except FAILURES as error:
            await self._fail(error)
        if self._dialogue.entry.protocol != "socks5":
            addresses = [address for address in addresses if ":" not in address]
        if not addresses:
            await self._dialogue.refuse(ReplyStatus.HOST_UNREACHABLE)
        await self._dialogue.answer(Address.from_text(addresses[0], 0))
        await self._dialogue.client.finish(self._dialogue.linger)

    async def resolve_ptr(self, destination: Address) -> None:
        """Tor's RESOLVE_PTR: the name of an address, in BND."""
        if destination.type == AddressType.DOMAIN or self._dialogue.entry.protocol != "socks5":
            await self._dialogue.refuse(ReplyStatus.ADDRESS_TYPE_NOT_SUPPORTED)
        try:
            name = await asyncio.wait_for(self._network.name_of(destination), self._settings.connect_timeout)
        except FAILURES as error:
            await self._fail(error)
        await self._dialogue.answer(Address.domain(name.encode()[:255], 0))
        await self._dialogue.client.finish(self._dialogue.linger)

    async def _fail(self, error: BaseException) -> NoReturn:
        """The reply that `error` deserves."""
        await self._dialogue.refuse(reply_code(error))

    async def _reach(self, destination: Address) -> Channel:
        """A connection to the first address of the destination that takes one."""
        failure: OSError | None = None
        for host in await self._network.look_up(destination, socket.SOCK_STREAM):
            try:
                channel = await self._network.connect(host, destination.port)
            except OSError as error:
                failure = failure or error
                continue
            self._adopt(channel, OPENER)
            return channel
        assert failure is not None
        raise failure

    def _adopt(self, channel: Channel, side: int) -> None:
        """The connection to (or, for BIND, from) the destination has come about; the capture learns of it."""
        self.upstream = channel
        channel.side = side
        self._network.show(channel)

    async def _relay(self, upstream: Channel) -> None:
        client = self._dialogue.client
        over: asyncio.Future[None] = self._network.loop.create_future()

        def check(channel: Channel) -> None:
            if client.lost and upstream.lost and not over.done():
                over.set_result(None)

        client.on_lost = upstream.on_lost = check
        join(client, upstream)
        check(client)
        await over


HANDLERS: dict[int, Callable[[Commands, Address], Awaitable[None]]] = {
    Command.CONNECT: Commands.connect,
    Command.BIND: Commands.bind,
    Command.UDP_ASSOCIATE: Commands.associate,
    Command.RESOLVE: Commands.resolve,
    Command.RESOLVE_PTR: Commands.resolve_ptr,
}
