"""The client: one object per proxy and set of credentials, one TCP connection per command."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from socks5sniff.client.association import Association
from socks5sniff.client.failures import AuthenticationError, NoMethodError, ProtocolError, RefusedError
from socks5sniff.client.faults import ClientFaults
from socks5sniff.client.security import MAX_ROUNDS, NO_PROTECTION, ContextFactory, Protection, SecurityError
from socks5sniff.client.wire import CHUNK, Encodable, Wire
from socks5sniff.codec import (
    Address,
    AddressType,
    AuthRequest,
    Command,
    Decoded,
    Greeting,
    GssapiMessage,
    GssapiMessageType,
    Method,
    Mismatch,
    NeedMore,
    Octets,
    ProtectionLevel,
    Reply,
    Request,
    Socks4Reply,
    Socks4Request,
    Socks4Status,
    decode_auth_reply,
    decode_gssapi,
    decode_method_selection,
    decode_reply,
    decode_socks4_reply,
    method_name,
)

UNSPECIFIED = Address.ipv4("0.0.0.0", 0)


def decode_any_reply(octets: Octets, start: int = 0) -> Decoded[Reply] | NeedMore | Mismatch:
    """As `decode_reply`, but a failure may have any address type: Tor's refusal of RESOLVE has 0 there."""
    result = decode_reply(octets, start)
    if isinstance(result, Mismatch) and octets[start + 1] != 0:
        return Decoded(Reply(octets[start + 1], UNSPECIFIED), len(octets) - start, (result.deviation,))
    return result


class Tunnel:
    """A relay through the proxy.

    Attributes:
        bound: BND of the reply; for BIND's peer, who connected.
        wire: the TCP connection to the proxy.
    """

    def __init__(self, wire: Wire, bound: Address) -> None:
        self.wire = wire
        self.bound = bound

    async def read(self, limit: int = CHUNK) -> bytes:
        """Up to `limit` octets as soon as there are any; none at the end."""
        return await self.wire.read(limit)

    async def read_exactly(self, count: int) -> bytes:
        """`count` octets. Raises ProtocolError where the tunnel ends before."""
        octets = b""
        while len(octets) < count:
            part = await self.wire.read(count - len(octets))
            if not part:
                raise ProtocolError(f"the tunnel ended after {len(octets)} of {count} octets")
            octets += part
        return octets

    async def read_all(self) -> bytes:
        """Everything up to the end."""
        octets = bytearray()
        while part := await self.wire.read(CHUNK):
            octets += part
        return bytes(octets)

    def write(self, octets: bytes) -> None:
        """Send octets."""
        self.wire.write(octets)

    async def drain(self) -> None:
        """Wait while the proxy does not take what has been written."""
        await self.wire.drain()

    def write_eof(self) -> None:
        """Close this direction; the other stays open."""
        self.wire.write_eof()

    async def close(self) -> None:
        """Close."""
        await self.wire.close()

    async def __aenter__(self) -> Tunnel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Binding:
    """A BIND that waits for its peer. `bound` is where the proxy listens."""

    def __init__(self, client: Client, wire: Wire, bound: Address) -> None:
        self._client = client
        self.wire = wire
        self.bound = bound

    async def accept(self, timeout: float = 60.0) -> Tunnel:
        """The tunnel to the peer, when it has connected. Raises RefusedError, ProtocolError, asyncio.TimeoutError."""
        peer = await asyncio.wait_for(self._client.read_reply(self.wire), timeout)
        return Tunnel(self.wire, peer)

    async def close(self) -> None:
        """Give up."""
        await self.wire.close()


class Client:
    """A SOCKS client.

    Every command raises ClientError (see `failures`), OSError, and asyncio.TimeoutError after `timeout` seconds.

    Args:
        host, port: the proxy's.
        version: `5`, `4` or `4a`.
        username, password: for username/password; with SOCKS4 the user name is the USERID.
        security: makes the initiator's GSSAPI context; then GSSAPI is offered.
        level: the GSSAPI protection level to ask for; 0 for none, which curl and Dante know.
        faults: departures from good manners.
        local: local address and port to come from.
        timeout: seconds for connection and handshake together.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        version: str = "5",
        username: str | bytes | None = None,
        password: str | bytes = b"",
        security: ContextFactory | None = None,
        level: int = ProtectionLevel.CONFIDENTIALITY,
        faults: ClientFaults | None = None,
        local: tuple[str, int] | None = None,
        timeout: float = 30.0,
    ) -> None:
        if version not in ("5", "4", "4a"):
            raise ValueError(f"there is no SOCKS version {version!r}; 5, 4 and 4a are known")
        self._proxy = (host, port)
        self._version = version
        self._username = username.encode() if isinstance(username, str) else username
        self._password = password.encode() if isinstance(password, str) else password
        self._security = security
        self._level = level
        self._faults = faults or ClientFaults()
        self._local = local
        self._timeout = timeout
        self.wire: Wire | None = None
        """The connection of the last command, for a look at what went over it."""

    async def connect(self, host: str | Address, port: int = 0) -> Tunnel:
        """CONNECT."""
        return Tunnel(*await self.request(Command.CONNECT, host, port))

    async def bind(self, host: str | Address = "0.0.0.0", port: int = 0) -> Binding:
        """BIND; `host` is the peer that is expected."""
        return Binding(self, *await self.request(Command.BIND, host, port))

    async def associate(
        self, host: str | Address = "0.0.0.0", port: int = 0, local: tuple[str, int] | None = None
    ) -> Association:
        """UDP ASSOCIATE; `host` and `port` are what DST says, `local` where the datagrams are sent from."""
        wire, bound = await self.request(Command.UDP_ASSOCIATE, host, port)
        association = Association(wire, bound)
        try:
            await association.open(local or (wire.local[0], 0))
        except OSError:
            wire.abort()
            raise
        return association

    async def resolve(self, name: str) -> Address:
        """Tor's RESOLVE: the address of a name."""
        wire, bound = await self.request(Command.RESOLVE, Address.domain(name, 0), 0)
        await wire.close()
        return bound

    async def resolve_ptr(self, address: str) -> Address:
        """Tor's RESOLVE_PTR: the name of an address."""
        wire, bound = await self.request(Command.RESOLVE_PTR, address, 0)
        await wire.close()
        return bound

    async def request(self, command: int, host: str | Address, port: int) -> tuple[Wire, Address]:
        """Any command: the connection as it stands after the first reply, and that reply's BND."""
        destination = host if isinstance(host, Address) else Address.from_text(host, port)
        return await asyncio.wait_for(self._request(command, destination), self._timeout)

    async def _request(self, command: int, destination: Address) -> tuple[Wire, Address]:
        reader, writer = await asyncio.open_connection(*self._proxy, local_addr=self._local)
        wire = self.wire = Wire(reader, writer, self._faults)
        try:
            if self._version == "5":
                await self._socks5(wire, command, destination)
            else:
                wire.put(self._socks4_request(command, destination))
                wire.put_octets(self._faults.optimistic)
                await self._flush(wire, "request")
            bound = await self.read_reply(wire)
        except RefusedError:
            await wire.close()
            raise
        except BaseException:
            wire.abort()
            raise
        return wire, bound

    async def read_reply(self, wire: Wire) -> Address:
        """The next reply's BND. Raises RefusedError."""
        if self._version == "5":
            reply: Reply | Socks4Reply = await wire.frame(decode_any_reply)
            granted = reply.code == 0
        else:
            reply = await wire.frame(decode_socks4_reply)
            granted = reply.code == Socks4Status.GRANTED
        if not granted:
            raise RefusedError(reply.code, reply.bound, self._version != "5")
        return reply.bound

    def _socks4_request(self, command: int, destination: Address) -> Encodable:
        if destination.type == AddressType.IPV6 or (self._version == "4" and destination.type != AddressType.IPV4):
            raise ValueError(f"SOCKS{self._version} cannot name {destination}")
        return Socks4Request(command, destination, self._username or b"")

    async def _socks5(self, wire: Wire, command: int, destination: Address) -> None:
        faults = self._faults
        methods = self._methods() if faults.methods is None else faults.methods
        request = Request(command, destination)
        wire.put(Greeting(methods))
        if faults.pipeline:
            if self._username is not None:
                wire.put(AuthRequest(self._username, self._password))
            wire.put(request)
            wire.put_octets(faults.optimistic)
        await self._flush(wire, "greeting")
        method = (await wire.frame(decode_method_selection)).method
        await self._authenticate(wire, method)
        if not faults.pipeline:
            wire.put(request)
            wire.put_octets(faults.optimistic)
            await self._flush(wire, "request")

    def _methods(self) -> bytes:
        methods = [Method.NO_AUTHENTICATION]
        if self._security is not None:
            methods.append(Method.GSSAPI)
        if self._username is not None:
            methods.append(Method.USERNAME_PASSWORD)
        return bytes(methods)

    async def _authenticate(self, wire: Wire, method: int) -> None:
        if method == Method.NO_ACCEPTABLE:
            await wire.close()
            raise NoMethodError("the proxy accepts none of the methods offered")
        if method == Method.USERNAME_PASSWORD and self._username is not None:
            if not self._faults.pipeline:
                wire.put(AuthRequest(self._username, self._password))
                await self._flush(wire, "auth-request")
            reply = await wire.frame(decode_auth_reply)
            if reply.status != 0:
                await wire.close()
                raise AuthenticationError(f"the proxy refused user name and password (status {reply.status})")
        elif method == Method.GSSAPI and self._security is not None:
            await self._gssapi(wire, self._security)
        elif method != Method.NO_AUTHENTICATION and self._faults.methods is None:
            raise NoMethodError(f"the proxy chose {method_name(method)}, which this client cannot do")

    async def _gssapi(self, wire: Wire, security: ContextFactory) -> None:
        context = security()
        token = context.step(None)
        for _ in range(MAX_ROUNDS):
            if token is not None:
                wire.put(GssapiMessage(GssapiMessageType.AUTHENTICATION, token))
                await wire.flush()
            if context.complete:
                break
            token = context.step(await self._gssapi_token(wire))
        else:
            raise SecurityError("GSSAPI: too many rounds")
        level = bytes((self._level,))
        bare = self._faults.bare_level
        wire.put(GssapiMessage(GssapiMessageType.PROTECTION_LEVEL, level if bare else context.wrap(level, False)))
        await wire.flush()
        answer = await self._gssapi_token(wire)
        chosen = answer if len(answer) == 1 else context.unwrap(answer)
        if len(chosen) != 1:
            raise SecurityError("GSSAPI: no protection level")
        if chosen[0] != NO_PROTECTION:
            wire.protection = Protection(context, chosen[0])
        elif self._level != NO_PROTECTION:
            raise SecurityError("GSSAPI: the proxy wants no protection")

    async def _gssapi_token(self, wire: Wire) -> bytes:
        message = await wire.frame(decode_gssapi)
        if message.message_type == GssapiMessageType.ABORT:
            await wire.close()
            raise AuthenticationError("the proxy refused the security context")
        return message.token

    async def _flush(self, wire: Wire, frame: str) -> None:
        await wire.flush()
        if self._faults.stop_after == frame:
            await self._wait_for_close(wire)

    async def _wait_for_close(self, wire: Wire) -> NoReturn:
        while await wire.read(CHUNK):
            pass
        await wire.close()
        raise ProtocolError("the proxy closed")
