"""What each SOCKS command does: CONNECT, BIND, UDP ASSOCIATE, and Tor's RESOLVE and RESOLVE_PTR."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from socks5sniff.codec import Address, AddressType, Command, ReplyStatus
from socks5sniff.proxy.channel import LISTENER, OPENER, Channel, join
from socks5sniff.proxy.replies import reply_code
from socks5sniff.proxy.udp import Association

if TYPE_CHECKING:
    from socks5sniff.proxy.conversation import Conversation

FAILURES = (OSError, UnicodeError, asyncio.TimeoutError)
"""What reaching a destination can raise; a name that holds a NUL is a UnicodeError by the time it is looked up."""


class CommandRefusedError(Exception):
    """The command fails with this reply code; `second` where the first reply has already said success (BIND)."""

    def __init__(self, code: int, second: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.second = second


def endpoint_of(channel: Channel, end: str) -> Address:
    """The local (`sockname`) or remote (`peername`) address of a connection."""
    name = channel.transport.get_extra_info(end)
    return Address.from_text(name[0], name[1])


async def look_up(conversation: Conversation, destination: Address, kind: socket.SocketKind) -> list[str]:
    """The addresses of a destination as text, in the order to try them."""
    if destination.type != AddressType.DOMAIN:
        return [destination.text]
    return await conversation.proxy.look_up(destination.host, destination.port, kind)


async def connect(conversation: Conversation, destination: Address) -> None:
    """RFC 1928 s4, CONNECT."""
    try:
        await asyncio.wait_for(_reach(conversation, destination), conversation.settings.connect_timeout)
    except FAILURES as error:
        raise CommandRefusedError(reply_code(error)) from error
    assert conversation.upstream is not None
    await conversation.answer(endpoint_of(conversation.upstream, "sockname"))
    await _relay(conversation)


async def _reach(conversation: Conversation, destination: Address) -> None:
    proxy = conversation.proxy
    failure: OSError | None = None
    for host in await look_up(conversation, destination, socket.SOCK_STREAM):
        channel = proxy.channel()
        local = conversation.settings.outbound_for(6 if ":" in host else 4)
        try:
            await proxy.loop.create_connection(
                lambda channel=channel: channel,
                host,
                destination.port,
                local_addr=None if local is None else (local, 0),
            )
        except OSError as error:
            failure = failure or error
            continue
        except asyncio.CancelledError:
            if channel.opened:
                channel.reset()
            raise
        _adopt(conversation, channel, OPENER)
        return
    assert failure is not None
    raise failure


async def bind(conversation: Conversation, destination: Address) -> None:
    """RFC 1928 s4, BIND: two replies, the second when the peer has connected."""
    proxy, settings, client = conversation.proxy, conversation.settings, conversation.client
    try:
        expected = None if destination.is_unspecified else await look_up(conversation, destination, socket.SOCK_STREAM)
    except FAILURES as error:
        raise CommandRefusedError(reply_code(error)) from error
    arrived: asyncio.Future[Channel] = proxy.loop.create_future()

    def arrive(channel: Channel) -> None:
        peer = endpoint_of(channel, "peername").text
        if arrived.done() or (expected is not None and peer not in expected):
            channel.reset()
        else:
            arrived.set_result(channel)

    host = client.transport.get_extra_info("sockname")[0]
    try:
        server = await proxy.loop.create_server(lambda: proxy.channel(arrive), host, 0, backlog=4)
    except OSError as error:
        raise CommandRefusedError(reply_code(error)) from error
    client.on_eof = lambda: conversation.end("closed by the client")
    try:
        name = server.sockets[0].getsockname()
        await conversation.answer(Address.from_text(name[0], name[1]))
        channel = await asyncio.wait_for(arrived, settings.bind_timeout)
    except asyncio.TimeoutError as error:
        raise CommandRefusedError(ReplyStatus.HOST_UNREACHABLE, second=True) from error
    finally:
        client.on_eof = None
        server.close()
        if conversation.upstream is None and arrived.done() and not arrived.cancelled():
            _adopt(conversation, arrived.result(), LISTENER)
    await conversation.answer(endpoint_of(channel, "peername"), "peer-reply")
    await _relay(conversation)


async def associate(conversation: Conversation, destination: Address) -> None:
    """RFC 1928 s4 and s7, UDP ASSOCIATE: lives as long as the TCP connection."""
    association = Association(conversation.proxy, conversation.client, destination, conversation.faults)
    try:
        try:
            bound = await association.open()
        except OSError as error:
            raise CommandRefusedError(reply_code(error)) from error
        await conversation.answer(bound)
        await conversation.client.ended()
    finally:
        association.close()
        conversation.sent, conversation.received = association.sent, association.received
    await conversation.client.finish(conversation.settings.linger)


async def resolve(conversation: Conversation, destination: Address) -> None:
    """Tor's RESOLVE: the address of a name, in BND."""
    try:
        addresses = await asyncio.wait_for(
            look_up(conversation, destination, socket.SOCK_STREAM), conversation.settings.connect_timeout
        )
    except FAILURES as error:
        raise CommandRefusedError(reply_code(error)) from error
    if conversation.protocol != "socks5":
        addresses = [address for address in addresses if ":" not in address]
    if not addresses:
        raise CommandRefusedError(ReplyStatus.HOST_UNREACHABLE)
    await conversation.answer(Address.from_text(addresses[0], 0))
    await conversation.client.finish(conversation.settings.linger)


async def resolve_ptr(conversation: Conversation, destination: Address) -> None:
    """Tor's RESOLVE_PTR: the name of an address, in BND."""
    if destination.type == AddressType.DOMAIN or conversation.protocol != "socks5":
        raise CommandRefusedError(ReplyStatus.ADDRESS_TYPE_NOT_SUPPORTED)
    try:
        name, _ = await asyncio.wait_for(
            conversation.proxy.loop.getnameinfo((destination.text, 0), socket.NI_NAMEREQD),
            conversation.settings.connect_timeout,
        )
    except FAILURES as error:
        raise CommandRefusedError(reply_code(error)) from error
    await conversation.answer(Address.domain(name.encode()[:255], 0))
    await conversation.client.finish(conversation.settings.linger)


def _adopt(conversation: Conversation, channel: Channel, side: int) -> None:
    """The connection to (or, for BIND, from) the destination has come about; the capture learns of it."""
    conversation.upstream = channel
    channel.side = side
    conversation.proxy.observe(channel)


async def _relay(conversation: Conversation) -> None:
    client, upstream = conversation.client, conversation.upstream
    assert upstream is not None
    over: asyncio.Future[None] = conversation.proxy.loop.create_future()

    def check(channel: Channel) -> None:
        if client.lost and upstream.lost and not over.done():
            over.set_result(None)

    client.on_lost = upstream.on_lost = check
    join(client, upstream)
    check(client)
    await over


COMMANDS: dict[int, Callable[[Conversation, Address], Awaitable[None]]] = {
    Command.CONNECT: connect,
    Command.BIND: bind,
    Command.UDP_ASSOCIATE: associate,
    Command.RESOLVE: resolve,
    Command.RESOLVE_PTR: resolve_ptr,
}
