"""One client's conversation with the proxy, from its first octet to the end of the relay.

It reads top to bottom as the specifications do: greeting, authentication, request, command. Whatever goes wrong on
the way ends it with one word for the log; nothing that a client sends raises out of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

from socks5sniff.client.security import MAX_ROUNDS, NO_PROTECTION, ContextFactory, Protection, SecurityError
from socks5sniff.codec import (
    Address,
    AuthReply,
    Command,
    Decoded,
    Deviation,
    GssapiMessage,
    GssapiMessageType,
    Method,
    MethodSelection,
    Mismatch,
    NeedMore,
    ProtectionLevel,
    Reply,
    ReplyStatus,
    Socks4Reply,
    Socks4Status,
    command_name,
    decode_auth_request,
    decode_greeting,
    decode_gssapi,
    decode_request,
    decode_socks4_request,
    decode_text,
    reply_name,
    socks4_reply_name,
)
from socks5sniff.proxy.channel import Channel, GoneError
from socks5sniff.proxy.commands import COMMANDS, CommandRefusedError
from socks5sniff.proxy.faults import Faults
from socks5sniff.proxy.log import LogEntry

if TYPE_CHECKING:
    from socks5sniff.proxy.server import Proxy

FrameType = TypeVar("FrameType")
Decoder = Callable[[bytearray], "Decoded[FrameType] | NeedMore | Mismatch"]

UNSPECIFIED = Address.ipv4("0.0.0.0", 0)
SEGMENT_PAUSE = 0.001
"""Seconds between the segments of a frame that is cut up, so that the kernel does not join them again."""


class OverError(Exception):
    """The conversation is over; the text is the log's outcome."""


class UndelimitedError(Exception):
    """No octets to come can make these a frame."""

    def __init__(self, deviation: Deviation) -> None:
        super().__init__(deviation.message)
        self.deviation = deviation


class Conversation:
    """One accepted connection.

    Attributes:
        number: from 1, in order of arrival; chooses the faults.
        client: the connection to the client.
        upstream: the connection to the destination or, for BIND, from it.
        bound: what BND said last.
    """

    def __init__(self, proxy: Proxy, client: Channel, number: int, faults: Faults) -> None:
        self.proxy = proxy
        self.settings = proxy.settings
        self.client = client
        self.number = number
        self.faults = faults
        self.upstream: Channel | None = None
        self.protocol = "-"
        self.user: str | None = None
        self.command: str | None = None
        self.destination: Address | None = None
        self.outcome = "closed by the client"
        self.sent = 0
        self.received = 0
        self._held = b""
        self._started = time.time()
        self._clock = proxy.loop.time
        self._began = self._clock()
        self._timer = proxy.loop.call_later(self.settings.handshake_timeout, self.end, "handshake timed out")
        self._ended: str | None = None
        self._decided = False
        self.task = proxy.loop.create_task(self._run())
        self.task.add_done_callback(self._settle)
        self.client.on_lost = self._client_lost

    def end(self, outcome: str) -> None:
        """End the conversation from outside: a time-out, the proxy stopping, the client's loss."""
        if self._ended is None:
            self._ended = outcome
            self.task.cancel()

    def log_entry(self) -> LogEntry:
        """The conversation as the access log tells it."""
        peer = self.client.transport.get_extra_info("peername") or ("?", 0)
        if self.upstream is not None:
            self.sent, self.received = self.client.received, self.upstream.received
        return LogEntry(
            self.number,
            self._started,
            str(Address.from_text(peer[0], peer[1])),
            self.protocol,
            self.user,
            self.command,
            None if self.destination is None else str(self.destination),
            self.outcome,
            self.sent,
            self.received,
            self._clock() - self._began,
        )

    def _client_lost(self, channel: Channel) -> None:
        # In a relay the channels settle their ends between themselves, so the loss is no reason to cancel.
        # After a verdict the conversation ends by itself, and its outcome is the verdict.
        if self.upstream is None and not self._decided:
            self.end("closed by the client")

    async def _run(self) -> None:
        try:
            await self._converse()
        except OverError as over:
            self.outcome = str(over)
        except UndelimitedError as error:
            self.outcome = str(error)
            self.client.close()
        except (GoneError, asyncio.CancelledError):
            if not self._decided:
                self.outcome = self._ended or self.outcome
            self.client.close()
        except Exception:
            self.outcome = "internal error"
            self.client.reset()
            raise

    def _settle(self, task: asyncio.Task[None]) -> None:
        """Leave nothing open. A callback of the task, since one that is cancelled before its first step never runs."""
        self._timer.cancel()
        if task.cancelled():
            self.outcome = self._ended or self.outcome
        if self.upstream is not None and not self.upstream.lost:
            self.upstream.reset() if self._ended else self.upstream.close()
        if self._ended is not None and not self.client.lost:
            self.client.transport.abort()
        self.proxy.finished(self)

    async def _converse(self) -> None:
        if self.faults.close == "accept" or self.faults.reset == "accept":
            await self._leave("accept")
        await self.client.need(1)
        version = self.client.input[0]
        if version == 5:
            await self._socks5()
        elif version == 4:
            await self._socks4()
        else:
            self.client.close()
            raise OverError(f"not SOCKS: first octet 0x{version:02x}")

    # SOCKS5

    async def _socks5(self) -> None:
        self.protocol = "socks5"
        greeting = await self._read(decode_greeting)
        method = self._choose(greeting.methods)
        await self._say("method-selection", MethodSelection(method).encode())
        if method == Method.NO_ACCEPTABLE:
            await self._finish("no acceptable method")
        if method == Method.USERNAME_PASSWORD:
            await self._authenticate()
        elif method == Method.GSSAPI and self.settings.security is not None:
            await self._gssapi(self.settings.security)
        try:
            request = await self._read(decode_request)
        except UndelimitedError as error:
            if error.deviation.code != "unknown-address-type":
                raise
            await self.refuse(ReplyStatus.ADDRESS_TYPE_NOT_SUPPORTED)
        self.command, self.destination = command_name(request.command), request.destination
        if self.faults.reply is not None:
            await self._pretend(self.faults.reply)
        await self._serve(request.command, request.destination)

    def _choose(self, offered: bytes) -> int:
        """The method of a client that offers these: the strongest that this proxy has been set up for."""
        if self.faults.method is not None:
            return self.faults.method
        accepted = []
        if self.settings.security is not None:
            accepted.append(Method.GSSAPI)
        if self.settings.users:
            accepted.append(Method.USERNAME_PASSWORD)
        for method in accepted or [Method.NO_AUTHENTICATION]:
            if method in offered:
                return method
        return Method.NO_ACCEPTABLE

    async def _authenticate(self) -> None:
        """RFC 1929. A proxy without users that was made to choose this method accepts anyone."""
        request = await self._read(decode_auth_request)
        self.user = decode_text(request.username)
        users = self.settings.users
        right = not users or users.get(request.username) == request.password
        status = self.faults.auth_status
        if status is None:
            status = 0 if right else 1
        await self._say("auth-reply", AuthReply(status).encode())
        if status:
            await self._finish("authentication failed")

    async def _gssapi(self, security: ContextFactory) -> None:
        """RFC 1961: tokens until the context stands, the protection level, then everything encapsulated.

        At level 0, which curl 7 asks for, nothing is encapsulated.
        """
        try:
            context = security()
            for _ in range(MAX_ROUNDS):
                message = await self._read(decode_gssapi)
                if message.message_type != GssapiMessageType.AUTHENTICATION:
                    raise SecurityError("GSSAPI: no authentication message")
                token = context.step(message.token)
                if token is not None or not context.complete:
                    await self._say("gssapi", GssapiMessage(GssapiMessageType.AUTHENTICATION, token or b"").encode())
                if context.complete:
                    break
            else:
                raise SecurityError("GSSAPI: too many rounds")
            message = await self._read(decode_gssapi)
            if message.message_type != GssapiMessageType.PROTECTION_LEVEL:
                raise SecurityError("GSSAPI: no protection level")
            # NEC's servers and `curl --socks5-gssapi-nec` send the octet as it is.
            bare = len(message.token) == 1
            wanted = message.token if bare else context.unwrap(message.token)
            if len(wanted) != 1 or wanted[0] > ProtectionLevel.SELECTIVE:
                raise SecurityError("GSSAPI: no such protection level")
        except SecurityError as error:
            await self._say("gssapi", GssapiMessage(GssapiMessageType.ABORT).encode())
            await self._finish(str(error))
        level = wanted[0] if wanted[0] != ProtectionLevel.SELECTIVE else ProtectionLevel.CONFIDENTIALITY
        answer = bytes((level,))
        answer = answer if bare else context.wrap(answer, False)
        await self._say("gssapi", GssapiMessage(GssapiMessageType.PROTECTION_LEVEL, answer).encode())
        self.user = context.peer
        if level == NO_PROTECTION:
            return
        protection = Protection(context, level)
        try:
            self.client.input[:] = protection.open(bytes(self.client.input))
        except SecurityError as error:
            self.client.reset()
            raise OverError(str(error)) from error
        self.client.protection = protection

    # SOCKS4 and SOCKS4A

    async def _socks4(self) -> None:
        self.protocol = "socks4"
        request = await self._read(decode_socks4_request)
        if request.is_socks4a:
            self.protocol = "socks4a"
        self.command, self.destination = command_name(request.command), request.destination
        self.user = decode_text(request.user) or None
        if self.faults.reply is not None:
            await self._pretend(self.faults.reply)
        if self.settings.users or self.settings.security is not None:
            await self.refuse(ReplyStatus.NOT_ALLOWED)  # SOCKS4 has no way to authenticate
        await self._serve(request.command, request.destination)

    # Both

    async def _serve(self, command: int, destination: Address) -> None:
        self._timer.cancel()
        handler = COMMANDS.get(command)
        if handler is None or (command == Command.UDP_ASSOCIATE and self.protocol != "socks5"):
            await self.refuse(ReplyStatus.COMMAND_NOT_SUPPORTED)
        try:
            await handler(self, destination)
        except CommandRefusedError as refused:
            await self.refuse(refused.code, "peer-reply" if refused.second else "reply")

    async def answer(self, bound: Address, frame: str = "reply") -> None:
        """The success reply, `peer-reply` being BIND's second one."""
        if self._ended is not None:
            # Before Python 3.12 `wait_for` can lose a cancellation that comes at the same time as its result.
            raise asyncio.CancelledError
        await self._say(frame, self._reply(ReplyStatus.SUCCEEDED, bound))
        self.outcome = "succeeded"
        self._decided = self.command != "bind" or frame == "peer-reply"
        if "relay" in (self.faults.close, self.faults.reset) and self.command != "bind":
            await self._leave("relay")

    async def refuse(self, code: int, frame: str = "reply") -> NoReturn:
        """A failure reply, then the end (RFC 1928 s6: within ten seconds)."""
        octets = self._reply(code, UNSPECIFIED)
        await self._say(frame, octets)
        if self.faults.junk_after_failure:
            self.client.send(self.faults.junk_after_failure)
        if self.protocol == "socks5":
            await self._finish(reply_name(code))
        await self._finish(socks4_reply_name(octets[1]))

    async def _pretend(self, code: int) -> NoReturn:
        """Answer with `code` without trying; after a pretended success octets go nowhere."""
        if code not in (0, Socks4Status.GRANTED):
            await self.refuse(code)
        await self.answer(UNSPECIFIED)
        self._timer.cancel()
        await self.client.ended()
        self.client.close()
        raise OverError("succeeded")

    def _reply(self, code: int, bound: Address) -> bytes:
        if self.faults.bound is not None:
            # A relay's port cannot be guessed by who makes up the address, so port 0 leaves it as it is.
            port = bound.port if self.command == "udp-associate" else 0
            bound = self.faults.bound._replace(port=self.faults.bound.port or port)
        if self.protocol == "socks5":
            return Reply(code, bound).encode()
        if bound.type != 1:
            bound = UNSPECIFIED  # SOCKS4 has room for IPv4 only
        if code < 90:
            code = Socks4Status.REJECTED if code else Socks4Status.GRANTED
        return Socks4Reply(code, bound).encode()

    async def _read(self, decode: Decoder[FrameType]) -> FrameType:
        """The next frame. Raises UndelimitedError where there cannot be one; a wrong version ends the conversation."""
        while True:
            result = decode(self.client.input)
            if isinstance(result, NeedMore):
                await self.client.need(result.octets)
                continue
            if isinstance(result, Mismatch):
                raise UndelimitedError(result.deviation)
            for deviation in result.deviations:
                if deviation.code in ("bad-version", "auth-version"):
                    await self._finish(deviation.message)
            del self.client.input[: result.length]
            return result.frame

    async def _say(self, frame: str, octets: bytes) -> None:
        """Send one frame, with the faults it is to have."""
        faults = self.faults
        if faults == NONE:
            self.client.send(octets)
            return
        if frame in faults.delay:
            await asyncio.sleep(faults.delay[frame])
        if frame in (faults.close, faults.reset):
            await self._leave(frame)
        if frame == faults.silent:
            await self.client.ended()
            self.client.close()
            raise OverError(f"silent instead of {frame}")
        octets = faults.apply(frame, octets)
        if faults.hold and frame != "reply":
            if not self._held:
                self.proxy.loop.call_later(faults.hold, self._release)
            self._held += octets
            return
        octets, self._held = self._held + octets, b""
        if not faults.segment:
            self.client.send(octets)
            return
        for at in range(0, len(octets), faults.segment):
            self.client.send(octets[at : at + faults.segment])
            await asyncio.sleep(SEGMENT_PAUSE)

    def _release(self) -> None:
        held, self._held = self._held, b""
        if held and not self.client.lost:
            self.client.send(held)

    async def _leave(self, state: str) -> NoReturn:
        """Close or reset, as the fault says."""
        if self.faults.reset == state:
            self.client.reset()
            raise OverError(f"reset at {state}")
        await self._finish(f"closed at {state}")

    async def _finish(self, outcome: str) -> NoReturn:
        """Nothing more will be said: close this side, let the client close its own."""
        self._timer.cancel()
        self.outcome = outcome
        self._decided = True
        self._release()
        if self.faults.late_close:
            await asyncio.sleep(self.faults.late_close)
        await self.client.finish(self.settings.linger)
        raise OverError(outcome)


NONE = Faults()
