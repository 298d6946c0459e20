"""One English line for each frame. Names from the wire are put in as decoded; sinks escape them. Passwords never."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..codec import (
    ADDRESS_TYPES,
    Address,
    AuthReply,
    AuthRequest,
    Command,
    Greeting,
    GssapiMessage,
    MethodSelection,
    Reply,
    Request,
    Socks4Reply,
    Socks4Request,
    command_name,
    decode_text,
    gssapi_message_name,
    method_name,
    reply_name,
    socks4_reply_name,
)

_COMMAND_WORDS: dict[int, str] = {Command.UDP_ASSOCIATE: "UDP ASSOCIATE", Command.RESOLVE_PTR: "RESOLVE_PTR"}


def summarise(frame: Any) -> str:
    """The line for a frame of the codec: `Request: CONNECT example.com:443`."""
    return _SUMMARIES[type(frame)](frame)


def _greeting(frame: Greeting) -> str:
    return "Greeting: " + (", ".join(method_name(method) for method in frame.methods) or "no methods")


def _selection(frame: MethodSelection) -> str:
    return f"Method selection: {method_name(frame.method)}"


def _auth_request(frame: AuthRequest) -> str:
    return f"Username/password: {decode_text(frame.username)}"


def _auth_reply(frame: AuthReply) -> str:
    return "Authentication succeeded" if frame.status == 0 else f"Authentication failed (status 0x{frame.status:02x})"


def _gssapi(frame: GssapiMessage) -> str:
    return f"GSSAPI: {gssapi_message_name(frame.message_type)}, {len(frame.token)} octets"


def _request(frame: Request) -> str:
    if frame.destination.type not in ADDRESS_TYPES:
        return f"Request: {_command(frame.command)}, address type 0x{frame.destination.type:02x}"
    return f"Request: {_command(frame.command)} {_target(frame.command, frame.destination)}"


def _reply(frame: Reply) -> str:
    return f"Reply: {reply_name(frame.code)}, bound {frame.bound}"


def _socks4_request(frame: Socks4Request) -> str:
    user = f", user {decode_text(frame.user)}" if frame.user else ""
    return f"Request: {_command(frame.command)} {_target(frame.command, frame.destination)}{user}"


def _socks4_reply(frame: Socks4Reply) -> str:
    return f"Reply: {socks4_reply_name(frame.code)}, bound {frame.bound}"


def _command(command: int) -> str:
    return _COMMAND_WORDS.get(command) or command_name(command).upper().replace("UNKNOWN-0X", "command 0x")


def _target(command: int, destination: Address) -> str:
    """Resolving needs no port, so none is shown for it unless it was sent."""
    if command in (Command.RESOLVE, Command.RESOLVE_PTR) and not destination.port:
        return destination.text
    return str(destination)


_SUMMARIES: dict[type, Callable[[Any], str]] = {
    Greeting: _greeting,
    MethodSelection: _selection,
    AuthRequest: _auth_request,
    AuthReply: _auth_reply,
    GssapiMessage: _gssapi,
    Request: _request,
    Reply: _reply,
    Socks4Request: _socks4_request,
    Socks4Reply: _socks4_reply,
}
