"""Conversations with a regular handshake: what all of one shape have in common, and what is each one's own.

Most conversations of a proxy are alike but for addresses, names, times and numbers. Such a one is kept as a `Shape`,
which is shared, and a few values. It turns into a plain `Conversation` as soon as somebody looks at its frames; a sink
that knows shapes can print it as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .conversation import AnomalyEntry, Conversation, Endpoint, FrameEntry, ReplyCode, Target, Timing, Traffic, Tunnel


@dataclass(slots=True, eq=False)
class Shape:
    """What a dialogue gives for the record, apart from addresses, times and frame numbers."""

    protocol: str | None
    client_side: int | None
    phase: str | None
    outcome: str
    methods: list[str] | None
    method: str | None
    username: str | None
    password: str | None
    authenticated: bool | None
    command: str | None
    reply: ReplyCode | None
    frames: tuple[tuple[str, str, str], ...] = ()
    """Of a regular handshake: sender, type and summary of each frame, without the address or user name at its end."""
    anomalies: tuple[tuple[str, str, int, str], ...] = ()
    """Of a regular handshake: code, severity, place of the frame among the frames, message; in the frames' order."""


@dataclass(slots=True)
class Regular:
    """One regular handshake and the tunnel behind it.

    Its frames are greeting and selection, perhaps one round of user name and password, CONNECT request and success
    reply, each one segment of the connection: the client's have even places, the proxy's odd ones. The client opened
    the connection.
    """

    shape: Shape
    destination: Target
    bound: Target
    username: str | None
    password: str | None
    """As the record shows it."""
    frames: list[int]
    """Frame numbers."""
    times: list[int]
    lengths: list[int]
    tunnel: Tunnel | None = None

    @property
    def asked(self) -> int:
        """The request's frame number."""
        return self.frames[-2]

    @property
    def ends(self) -> tuple[str, ...]:
        """What follows the shape's words in each frame's summary."""
        login = () if self.username is None else (self.username, "")
        return ("", "", *login, str(self.destination), str(self.bound))


class FlowFacts(NamedTuple):
    """What the flow table knows of one connection; sides are TCP's, 0 opened it."""

    stream: int
    capture: str
    start: int
    end: int
    first_frame: int
    last_frame: int
    packets: int
    opener: str
    opener_port: int
    responder: str
    responder_port: int
    opener_known: bool
    tcp_handshake: float | None
    close: str
    closer: int | None
    """Side of the first FIN or RST."""
    community_id: str
    passed0: int
    """Octets of side 0, from the start of its stream."""
    passed1: int
    first_byte: int | None
    """ns, when the destination's first octet came."""


_FACTS: dict[str, Callable[[Regular, FlowFacts], Any]] = {
    "parent": lambda regular, flow: None,
    "capture": lambda regular, flow: flow.capture,
    "protocol": lambda regular, flow: regular.shape.protocol,
    "client": lambda regular, flow: Endpoint(flow.opener, flow.opener_port),
    "proxy": lambda regular, flow: Endpoint(flow.responder, flow.responder_port),
    "reversed": lambda regular, flow: False,
    "start_ns": lambda regular, flow: flow.start,
    "end_ns": lambda regular, flow: flow.end,
    "phase": lambda regular, flow: regular.shape.phase,
    "outcome": lambda regular, flow: regular.shape.outcome,
    "methods": lambda regular, flow: regular.shape.methods,
    "method": lambda regular, flow: regular.shape.method,
    "username": lambda regular, flow: regular.username,
    "password": lambda regular, flow: regular.password,
    "authenticated": lambda regular, flow: regular.shape.authenticated,
    "command": lambda regular, flow: regular.shape.command,
    "destination": lambda regular, flow: regular.destination,
    "reply": lambda regular, flow: regular.shape.reply,
    "bound": lambda regular, flow: regular.bound,
    "peer_reply": lambda regular, flow: None,
    "peer": lambda regular, flow: None,
    "tunnel": lambda regular, flow: regular.tunnel,
    "bytes": lambda regular, flow: Traffic(
        max(flow.passed0 - sum(regular.lengths[0::2]), 0), max(flow.passed1 - sum(regular.lengths[1::2]), 0)
    ),
    "udp": lambda regular, flow: None,
    "timing": lambda regular, flow: _timing(regular.times, flow),
    "close": lambda regular, flow: flow.close,
    "closed_by": lambda regular, flow: None if flow.closer is None else "proxy" if flow.closer else "client",
    "packets": lambda regular, flow: flow.packets,
    "tcp_stream": lambda regular, flow: flow.stream,
    "community_id": lambda regular, flow: flow.community_id,
    "name_resolution": lambda regular, flow: "remote" if regular.destination.type == "domain" else "address",
    "first_frame": lambda regular, flow: flow.first_frame,
    "last_frame": lambda regular, flow: flow.last_frame,
}
"""What can be told of a conversation without writing it out, in the order of its fields."""


class RegularConversation(Conversation):
    """A conversation that is not written out yet; its class is `Conversation` from when it is.

    To ask for one of its values does not write it out; to ask for its frames or anomalies does, and to change it.
    """

    __slots__ = ()

    def __init__(self, number: int, regular: Regular, flow: FlowFacts) -> None:
        put = object.__setattr__
        put(self, "id", number)
        put(self, "_source", (regular, flow))
        put(self, "process", None)

    @property
    def source(self) -> tuple[Regular, FlowFacts]:
        """What it will be written out from."""
        found: tuple[Regular, FlowFacts] = self._source
        return found

    def __getattr__(self, name: str) -> Any:
        if name in _FACTS:
            return _FACTS[name](*self._source)
        if name not in Conversation.__slots__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._write_out()
        return getattr(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("id", "_source", "process"):
            self._write_out()
        object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        self._write_out()
        return self == other

    def __reduce_ex__(self, protocol: Any) -> Any:
        self._write_out()
        return self.__reduce_ex__(protocol)

    def _write_out(self) -> None:
        regular, flow = self.source
        object.__setattr__(self, "__class__", Conversation)
        shape, numbers = regular.shape, regular.frames
        frames = [
            FrameEntry(frame, time, sender, kind, length, words + end)
            for frame, time, (sender, kind, words), length, end in zip(
                numbers, regular.times, shape.frames, regular.lengths, regular.ends, strict=True
            )
        ]
        anomalies = [
            AnomalyEntry(code, severity, numbers[place], message) for code, severity, place, message in shape.anomalies
        ]
        facts = [fact(regular, flow) for fact in _FACTS.values()]
        values: list[Any] = [self.id, *facts, frames, anomalies, None, self.process]
        Conversation.__init__(self, *values)


def _timing(times: list[int], flow: FlowFacts) -> Timing:
    return Timing(
        flow.tcp_handshake,
        (times[1] - times[0]) / 1e9,
        (times[3] - times[2]) / 1e9 if len(times) == 6 else None,
        (times[-1] - times[-2]) / 1e9,
        None if flow.first_byte is None else (flow.first_byte - times[-1]) / 1e9,
    )
