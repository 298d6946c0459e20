"""From a client's first octet to its complete request, top to bottom as the specifications have it."""

from __future__ import annotations

from socks5sniff.client.security import MAX_ROUNDS, NO_PROTECTION, ContextFactory, Protection, SecurityError
from socks5sniff.codec import (
    AuthReply,
    GssapiMessage,
    GssapiMessageType,
    Method,
    MethodSelection,
    ProtectionLevel,
    ReplyStatus,
    Request,
    Socks4Request,
    command_name,
    decode_auth_request,
    decode_greeting,
    decode_gssapi,
    decode_request,
    decode_socks4_request,
    decode_text,
)
from socks5sniff.proxy.dialogue import Dialogue, OverError, UndelimitedError
from socks5sniff.proxy.settings import Settings


async def request_of(dialogue: Dialogue, settings: Settings) -> Request | Socks4Request:
    """The client's request, once it may make one. Raises OverError, GoneError, UndelimitedError."""
    if "accept" in (dialogue.faults.close, dialogue.faults.reset):
        await dialogue.leave("accept")
    await dialogue.client.need(1)
    version = dialogue.client.input[0]
    if version == 5:
        request: Request | Socks4Request = await _socks5(dialogue, settings)
    elif version == 4:
        request = await _socks4(dialogue)
    else:
        dialogue.client.close()
        raise OverError(f"not SOCKS: first octet 0x{version:02x}")
    dialogue.entry.command = command_name(request.command)
    dialogue.entry.destination = str(request.destination)
    if version == 4 and (settings.users or settings.security is not None) and dialogue.faults.reply is None:
        await dialogue.refuse(ReplyStatus.NOT_ALLOWED)  # SOCKS4 has no way to authenticate
    return request


async def _socks5(dialogue: Dialogue, settings: Settings) -> Request:
    dialogue.entry.protocol = "socks5"
    greeting = await dialogue.read(decode_greeting)
    method = dialogue.faults.method
    if method is None:
        method = choose(greeting.methods, settings)
    await dialogue.say("method-selection", MethodSelection(method).encode())
    if method == Method.NO_ACCEPTABLE:
        await dialogue.finish("no acceptable method")
    if method == Method.USERNAME_PASSWORD:
        await _authenticate(dialogue, settings)
    elif method == Method.GSSAPI and settings.security is not None:
        await _gssapi(dialogue, settings.security)
    try:
        return await dialogue.read(decode_request)
    except UndelimitedError as error:
        if error.deviation.code != "unknown-address-type":
            raise
        await dialogue.refuse(ReplyStatus.ADDRESS_TYPE_NOT_SUPPORTED)


def choose(offered: bytes, settings: Settings) -> int:
    """The method for a client that offers these: the strongest that this proxy has been set up for."""
    accepted = []
    if settings.security is not None:
        accepted.append(Method.GSSAPI)
    if settings.users:
        accepted.append(Method.USERNAME_PASSWORD)
    for method in accepted or [Method.NO_AUTHENTICATION]:
        if method in offered:
            return method
    return Method.NO_ACCEPTABLE


async def _authenticate(dialogue: Dialogue, settings: Settings) -> None:
    """RFC 1929. A proxy without users that was made to choose this method accepts anyone."""
    request = await dialogue.read(decode_auth_request)
    dialogue.entry.user = decode_text(request.username)
    right = not settings.users or settings.users.get(request.username) == request.password
    status = dialogue.faults.auth_status
    if status is None:
        status = 0 if right else 1
    await dialogue.say("auth-reply", AuthReply(status).encode())
    if status:
        await dialogue.finish("authentication failed")


async def _gssapi(dialogue: Dialogue, security: ContextFactory) -> None:
    """RFC 1961: tokens until the context stands, the protection level, then everything encapsulated.

    At level 0, which curl 7 asks for, nothing is encapsulated.
    """
    try:
        context = security()
        for _ in range(MAX_ROUNDS):
            message = await dialogue.read(decode_gssapi)
            if message.message_type != GssapiMessageType.AUTHENTICATION:
                raise SecurityError("GSSAPI: no authentication message")
            token = context.step(message.token)
            if token is not None or not context.complete:
                await dialogue.say("gssapi", GssapiMessage(GssapiMessageType.AUTHENTICATION, token or b"").encode())
            if context.complete:
                break
        else:
            raise SecurityError("GSSAPI: too many rounds")
        message = await dialogue.read(decode_gssapi)
        if message.message_type != GssapiMessageType.PROTECTION_LEVEL:
            raise SecurityError("GSSAPI: no protection level")
        # NEC's servers and `curl --socks5-gssapi-nec` send the octet as it is.
        bare = len(message.token) == 1
        wanted = message.token if bare else context.unwrap(message.token)
        if len(wanted) != 1 or wanted[0] > ProtectionLevel.SELECTIVE:
            raise SecurityError("GSSAPI: no such protection level")
    except SecurityError as error:
        await dialogue.say("gssapi", GssapiMessage(GssapiMessageType.ABORT).encode())
        await dialogue.finish(str(error))
    level = wanted[0] if wanted[0] != ProtectionLevel.SELECTIVE else ProtectionLevel.CONFIDENTIALITY
    answer = bytes((level,))
    answer = answer if bare else context.wrap(answer, False)
    await dialogue.say("gssapi", GssapiMessage(GssapiMessageType.PROTECTION_LEVEL, answer).encode())
    dialogue.entry.user = context.peer
    if level != NO_PROTECTION:
        _protect(dialogue, Protection(context, level))


def _protect(dialogue: Dialogue, protection: Protection) -> None:
    """From here on everything is encapsulated, also what has come already."""
    client = dialogue.client
    try:
        client.input[:] = protection.open(bytes(client.input))
    except SecurityError as error:
        client.reset()
        raise OverError(str(error)) from error
    client.protection = protection


async def _socks4(dialogue: Dialogue) -> Socks4Request:
    dialogue.entry.protocol = "socks4"
    request = await dialogue.read(decode_socks4_request)
    if request.is_socks4a:
        dialogue.entry.protocol = "socks4a"
    dialogue.entry.user = decode_text(request.user) or None
    return request
