"""The SOCKS conversation as a table of transitions.

There is one machine for a conversation, not one for each side: every SOCKS dialogue is a strict exchange, so in
each state exactly one role has the turn (in the GSSAPI sub-negotiation either may speak). Three rules:

1. All transitions are rows of `TRANSITIONS`: in this state, a frame of this role is read by this decoder, is called
   this in reports, is remembered as this fact, and leads to that state. Where the next state depends on what the
   frame says, the row names the field and lists its values; `to` is for every other value.
2. The table knows roles (client, proxy), not TCP sides. Who is who is found from the octets, before the table.
3. A state holds nothing of a conversation. It is one immutable object for all of them, so that what the decoding of
   given octets in a given state gives can be remembered (`steps`). Addresses, names and times travel in frames.

Octets of the role that does not have the turn are not an error of the table: they wait until it is their turn. What
their early arrival means (a pipelined request, optimistic data, a proxy that answers before it was asked) is for the
session to say.

SOCKS5   greeting > choice > [auth > auth-answer | gssapi | other-method] > request > answer > tunnel
SOCKS4   request4 > answer4 > tunnel

The answer to a request means something else for each command, hence one answer state a command: after CONNECT a
tunnel opens, BIND has a second answer, UDP ASSOCIATE opens an association, Tor's RESOLVE is done with the answer.
An unknown command that succeeds is taken to open a tunnel, as all known extensions do (UDP in TCP, multiplexing).

After a GSSAPI level negotiation request and reply travel inside the frames of type 03. To this table they are opaque:
it goes through `sealed` (the client's enclosed request) to `enclosed` and stops. Where the frames' tokens can be read,
the session runs the same table from `request` on what is inside, and goes where that leads instead. Where the
negotiation ended with "no protection" (which NEC's servers, curl and Dante allow) the request follows in clear:
`ESCAPES`. What clients send instead of a request that can be read is in rows of its own: `UNASKED`, `UNADDRESSED`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..codec import (
    Command,
    Decoded,
    GssapiMessageType,
    Method,
    Mismatch,
    NeedMore,
    ReplyStatus,
    Socks4Status,
    decode_auth_reply,
    decode_auth_request,
    decode_greeting,
    decode_gssapi,
    decode_method_selection,
    decode_reply,
    decode_request,
    decode_socks4_reply,
    decode_socks4_request,
)

CLIENT = 0
PROXY = 1
EITHER = 2
NOBODY = 4
"""Roles, and who has the turn. `client_side ^ CLIENT` and `client_side ^ PROXY` are the TCP sides of the roles;
with EITHER and NOBODY the result is no side at all, so one comparison tells whether a side has the turn."""

Decoder = Callable[[bytes], "Decoded[Any] | NeedMore | Mismatch"]


class Row(NamedTuple):
    """One transition."""

    state: str
    role: int
    decode: Decoder | None
    """None: nobody can read these frames."""
    to: str
    """The next state, where `branches` does not say otherwise."""
    version: int = 5
    """The first octet of such a frame."""
    fact: str = ""
    """The session's attribute that keeps the frame; empty where there can be many."""
    by: str = ""
    """The frame's field that `branches` is about."""
    branches: Mapping[int, str] = {}
    sized: int = 0
    """With so many octets of the frame its length and its branch are certain; 0 where only the whole frame tells."""


_BY_COMMAND: dict[int, str] = {
    Command.BIND: "bind-answer",
    Command.UDP_ASSOCIATE: "associate-answer",
    Command.RESOLVE: "resolve-answer",
    Command.RESOLVE_PTR: "resolve-answer",
}
_BY_COMMAND4: dict[int, str] = {
    Command.BIND: "bind-answer4",
    Command.RESOLVE: "resolve-answer4",
    Command.RESOLVE_PTR: "resolve-answer4",
}
_BY_METHOD: dict[int, str] = {
    Method.NO_AUTHENTICATION: "request",
    Method.GSSAPI: "gssapi",
    Method.USERNAME_PASSWORD: "auth",
    Method.NO_ACCEPTABLE: "refused",
}
_ABORT = {int(GssapiMessageType.ABORT): "denied"}
_BY_MESSAGE = {int(GssapiMessageType.USER_DATA): "sealed"} | _ABORT
_ENDS = {int(GssapiMessageType.USER_DATA): "enclosed", int(GssapiMessageType.ABORT): "enclosed"}
_OK = ReplyStatus.SUCCEEDED
_OK4 = Socks4Status.GRANTED

TRANSITIONS = (
    # state, role, decoder, next state, VER, fact, field that decides, its values, octets that tell the length
    Row("greeting", CLIENT, decode_greeting, "choice", 5, "greeting", sized=2),
    Row("choice", PROXY, decode_method_selection, "other-method", 5, "selection", "method", _BY_METHOD),
    Row("auth", CLIENT, decode_auth_request, "auth-answer", 1, "auth_request"),
    Row("auth-answer", PROXY, decode_auth_reply, "denied", 1, "auth_reply", "status", {0: "request"}),
    Row("gssapi", CLIENT, decode_gssapi, "gssapi", 1, "", "message_type", _BY_MESSAGE, 4),
    Row("gssapi", PROXY, decode_gssapi, "gssapi", 1, "", "message_type", _ABORT, 4),
    Row("sealed", CLIENT, decode_gssapi, "sealed", 1, sized=4),
    Row("sealed", PROXY, decode_gssapi, "sealed", 1, "", "message_type", _ENDS, 4),
    Row("other-method", CLIENT, None, "other-method"),
    Row("other-method", PROXY, None, "other-method"),
    Row("request", CLIENT, decode_request, "connect-answer", 5, "request", "command", _BY_COMMAND, 5),
    Row("connect-answer", PROXY, decode_reply, "rejected", 5, "reply_frame", "code", {_OK: "tunnel"}, 5),
    Row("bind-answer", PROXY, decode_reply, "rejected", 5, "reply_frame", "code", {_OK: "bind-peer"}, 5),
    Row("bind-peer", PROXY, decode_reply, "rejected", 5, "peer_reply_frame", "code", {_OK: "tunnel"}, 5),
    Row("associate-answer", PROXY, decode_reply, "rejected", 5, "reply_frame", "code", {_OK: "association"}, 5),
    Row("resolve-answer", PROXY, decode_reply, "rejected", 5, "reply_frame", "code", {_OK: "resolved"}, 5),
    Row("unasked", PROXY, decode_auth_reply, "denied", 1, "auth_reply", "status", {0: "request"}),
    Row("unchosen", CLIENT, decode_request, "connect-answer", 5, "request", "command", _BY_COMMAND, 5),
    Row("unrequested", PROXY, decode_reply, "rejected", 5, "reply_frame", "code", {_OK: "granted"}, 5),
    Row("unaddressed", PROXY, decode_reply, "rejected", 5, "reply_frame", "code", {_OK: "lost"}, 5),
    Row("request4", CLIENT, decode_socks4_request, "connect-answer4", 4, "request", "command", _BY_COMMAND4),
    Row("connect-answer4", PROXY, decode_socks4_reply, "rejected", 0, "reply_frame", "code", {_OK4: "tunnel"}),
    Row("bind-answer4", PROXY, decode_socks4_reply, "rejected", 0, "reply_frame", "code", {_OK4: "bind-peer4"}),
    Row("bind-peer4", PROXY, decode_socks4_reply, "rejected", 0, "peer_reply_frame", "code", {_OK4: "tunnel"}),
    Row("resolve-answer4", PROXY, decode_socks4_reply, "rejected", 0, "reply_frame", "code", {_OK4: "resolved"}),
)

UNASKED = Row("request", CLIENT, decode_auth_request, "unasked", 1, "auth_request")
"""User name and password although another method was chosen: the proxy answers them, or the request behind them."""

REFUSES_UNASKED = Row("unasked", PROXY, decode_reply, "rejected", 5, "reply_frame", "code", {_OK: "lost"}, 5)
"""A proxy that took them for a request, as it must, and says so."""

UNADDRESSED = Row("request", CLIENT, None, "unaddressed", 5, "request")
"""A request whose address type nobody knows: it ends where its segments end, and the proxy may say what it thinks."""

ESCAPES = {"gssapi": "request", "other-method": "request", "auth": "request"}
"""States in which the client may leave the sub-negotiation with a request in clear: after GSSAPI without protection
and after a method whose dialogue nobody here can read, legitimately; instead of user name and password, wrongly."""

LOST = {"choice": "unchosen", "auth": "auth-answer", "auth-answer": "request", "request": "unrequested"}
"""Where it goes on when the frame that is due in a state is missing from the capture: with what the other side says.
Without the choice of a method the client's next frame tells whether a user name and password were asked for."""

PHASES = {
    "opening": "greeting", "greeting": "greeting", "choice": "greeting", "refused": "greeting",
    "auth": "authentication", "auth-answer": "authentication", "gssapi": "authentication",
    "other-method": "authentication", "denied": "authentication", "unasked": "authentication",
    "sealed": "request", "enclosed": "request", "request": "request", "request4": "request",
    "connect-answer": "request", "bind-answer": "request", "bind-peer": "request", "associate-answer": "request",
    "resolve-answer": "request", "connect-answer4": "request", "bind-answer4": "request", "bind-peer4": "request",
    "resolve-answer4": "request", "resolved": "request", "rejected": "request",
    "unaddressed": "request", "lost": "request", "unrequested": "request", "granted": "request",
    "unchosen": "greeting",
    "tunnel": "relay", "association": "relay",
    "stopped": "", "foreign": "",
}  # fmt: skip
"""The phase of a record for each state. `stopped` keeps the phase of the state in which it stopped; `lost` is what a
success leads to that answers something nobody could read, `granted` one that answers what the capture lacks."""

OUTCOMES = {
    "tunnel": "succeeded", "association": "succeeded", "resolved": "succeeded", "rejected": "rejected",
    "denied": "auth-failed", "refused": "no-acceptable-method", "enclosed": "incomplete", "stopped": "incomplete",
    "foreign": "incomplete", "lost": "incomplete", "granted": "succeeded",
}  # fmt: skip
"""States without a way on, and what reaching them means for the record."""


class State:
    """One state; there is one object for each name."""

    __slots__ = ("awaits_reply", "escape", "final", "name", "outcome", "phase", "rows", "seen", "turn")

    def __init__(self, name: str) -> None:
        rows = {row.role: row for row in TRANSITIONS if row.state == name}
        self.name = name
        self.phase = PHASES[name]
        self.outcome = OUTCOMES.get(name)
        self.final = self.outcome is not None
        self.rows: tuple[Row | None, Row | None] = (rows.get(CLIENT), rows.get(PROXY))
        self.turn = EITHER if len(rows) == 2 else next(iter(rows), NOBODY)
        self.escape: Row | None = None
        self.awaits_reply = any(row.fact in ("reply_frame", "peer_reply_frame") for row in rows.values())
        """Whether the next frame is the answer to a request: client octets that come now are optimistic data."""
        self.seen: dict[bytes, Any] = {}
        """What octets have given in this state; owned by `steps`."""

    def __repr__(self) -> str:
        return f"<State {self.name}>"

    def __reduce__(self) -> tuple[Callable[[str], State], tuple[str]]:
        # States are compared by identity, and a copy would carry the memory of all conversations with it.
        return _named, (self.name,)


def _named(name: str) -> State:
    return STATES[name]


STATES = {name: State(name) for name in PHASES}
for _name, _target in ESCAPES.items():
    STATES[_name].escape = STATES[_target].rows[CLIENT]
