"""What a session has seen, and the record's facts as they follow from it."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from ..codec import ADDRESS_TYPES, Address, AddressType, GssapiMessageType
from .steps import SENDERS, Step

_ONCE = frozenset(
    (
        "server-spoke-first",
        "reply-before-request",
        "early-data",
        "data-after-failure",
        "refusal-too-long",
        "gssapi-level-unprotected",
    )
)
"""Faults of a dialogue, not of a frame: every further octet would tell them again."""


class Verdict(Enum):
    """Whether a connection speaks SOCKS."""

    UNDECIDED = "undecided"
    SOCKS = "socks"
    FOREIGN = "foreign"


class SessionFrame(NamedTuple):
    """One SOCKS frame and where it was."""

    step: Step
    """The frame as read; the properties below are taken from it."""
    frame: int
    """Number of the packet that completed it."""
    time: int
    """When it was complete, ns."""
    started: int
    """When its first octet came, ns."""
    offset: int
    """Stream offset of its first octet; of a frame inside GSSAPI tokens, in the stream that they enclose."""
    length: int
    """Its octets."""
    damaged: bool = False
    """Some of its octets are missing, so that only its first fields are known."""

    @property
    def value(self) -> Any:
        """The codec's frame. Of a damaged one, what is missing reads as zeros."""
        return self.step.value

    @property
    def type(self) -> str:
        """`greeting`, `method-selection`, `auth-request`, `auth-reply`, `gssapi`, `request`, `reply`."""
        return self.step.type

    @property
    def sender(self) -> str:
        """`client` or `proxy`."""
        return SENDERS[self.step.role]

    @property
    def summary(self) -> str:
        """One line in English, with text from the wire as decoded (not escaped), never a password."""
        return f"{self.type.capitalize()}: octets are missing" if self.damaged else self.step.summary


class HalfFrame(NamedTuple):
    """What there is of a frame of which nothing more came."""

    sender: str
    """`client` or `proxy`."""
    type: str
    """As of `SessionFrame`."""
    octets: int
    frame: int
    """Number of the packet with the last of them."""
    side: int
    """The TCP side that it comes from."""
    end: int
    """Stream offset behind its last octet."""


class SessionAnomaly(NamedTuple):
    """One thing that was odd."""

    code: str
    """A key of the codec's ANOMALIES."""
    frame: int
    """Number of the packet where it shows."""
    message: str


class Seen:
    """What was seen of a dialogue, in the order in which it was said.

    One for a conversation: the dialogue that GSSAPI tokens enclose adds to the same one, so nothing has to be copied
    from the inside to the outside.

    Attributes:
        frames: all of them.
        named: the frame of each fact of the table of states.
        anomalies: what was odd.
    """

    __slots__ = ("anomalies", "frames", "named")

    def __init__(self) -> None:
        self.frames: list[SessionFrame] = []
        self.named: dict[str, SessionFrame] = {}
        self.anomalies: list[SessionAnomaly] = []

    def note(self, code: str, frame: int, message: str) -> None:
        """Keep an anomaly; a fault of the whole dialogue only once."""
        if code not in _ONCE or all(anomaly.code != code for anomaly in self.anomalies):
            self.anomalies.append(SessionAnomaly(code, frame, message))

    def forget(self) -> None:
        """It is another protocol's: nothing of it counts but the PROXY protocol header, which is real all the same."""
        self.frames.clear()
        self.named.clear()
        self.anomalies[:] = [entry for entry in self.anomalies if entry.code == "proxy-protocol"]


class Facts:
    """What the frames of a dialogue say. Properties are None for what was not seen."""

    __slots__ = ("seen",)

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    @property
    def frames(self) -> list[SessionFrame]:
        """All frames, in the order of the dialogue."""
        return self.seen.frames

    @property
    def anomalies(self) -> list[SessionAnomaly]:
        """What was odd, in the order in which it was found."""
        return self.seen.anomalies

    @property
    def greeting(self) -> SessionFrame | None:
        """SOCKS5's first frame."""
        return self.seen.named.get("greeting")

    @property
    def selection(self) -> SessionFrame | None:
        """The proxy's choice of a method."""
        return self.seen.named.get("selection")

    @property
    def auth_request(self) -> SessionFrame | None:
        """User name and password of RFC 1929."""
        return self.seen.named.get("auth_request")

    @property
    def auth_reply(self) -> SessionFrame | None:
        """The answer to them."""
        return self.seen.named.get("auth_reply")

    @property
    def request(self) -> SessionFrame | None:
        """The request, SOCKS5's or SOCKS4's."""
        return self.seen.named.get("request")

    @property
    def reply_frame(self) -> SessionFrame | None:
        """The first reply."""
        return self.seen.named.get("reply_frame")

    @property
    def peer_reply_frame(self) -> SessionFrame | None:
        """BIND's second reply."""
        return self.seen.named.get("peer_reply_frame")

    @property
    def methods(self) -> bytes | None:
        """Methods offered, in the client's order."""
        entry = self.seen.named.get("greeting")
        return None if entry is None or entry.damaged else entry.value.methods

    @property
    def method(self) -> int | None:
        """The method chosen; FF: none acceptable."""
        entry = self.seen.named.get("selection")
        return None if entry is None else entry.value.method

    @property
    def username(self) -> bytes | None:
        """UNAME of RFC 1929, or SOCKS4's USERID unless it is empty."""
        if self.auth_request is not None:
            return bytes(self.auth_request.value.username)
        if self.request is not None and self.socks4:
            return self.request.value.user or None
        return None

    @property
    def password(self) -> bytes | None:
        """PASSWD of RFC 1929."""
        entry = self.seen.named.get("auth_request")
        return None if entry is None else entry.value.password

    @property
    def authenticated(self) -> bool | None:
        """The sub-negotiation's verdict; None where there was none.

        GSSAPI has no word for it: the proxy's protection level, user data, or a request show success, an abort failure.
        """
        if self.auth_reply is not None:
            return bool(self.auth_reply.value.status == 0)
        messages = [entry for entry in self.frames if entry.type == "gssapi"]
        if not messages:
            return None
        if messages[-1].value.message_type == GssapiMessageType.ABORT:
            return False
        agreed = self.request is not None or any(
            entry.value.message_type == GssapiMessageType.USER_DATA
            or (entry.value.message_type == GssapiMessageType.PROTECTION_LEVEL and entry.sender == "proxy")
            for entry in messages
        )
        return True if agreed else None

    @property
    def authentication_start(self) -> int | None:
        """When the first octet of the sub-negotiation came, ns."""
        return next((entry.started for entry in self.frames if _authenticates(entry)), None)

    @property
    def authentication_end(self) -> int | None:
        """When the last octet of the sub-negotiation came, ns; None while it has no verdict."""
        if self.authenticated is None:
            return None
        return next((entry.time for entry in reversed(self.frames) if _authenticates(entry)), None)

    @property
    def socks4(self) -> bool:
        """The request is SOCKS4's or 4A's: reply codes are 90 to 93."""
        entry = self.seen.named.get("request")
        return entry is not None and entry.step.row.version == 4

    @property
    def socks4a(self) -> bool:
        """The request is SOCKS4A's."""
        return self.socks4 and self.request is not None and self.request.value.destination.type == AddressType.DOMAIN

    @property
    def command(self) -> int | None:
        """CMD, or SOCKS4's CD."""
        entry = self.seen.named.get("request")
        return None if entry is None else entry.value.command

    @property
    def destination(self) -> Address | None:
        """DST.ADDR and DST.PORT."""
        entry = self.seen.named.get("request")
        if entry is None or entry.damaged or entry.value.destination.type not in ADDRESS_TYPES:
            return None
        destination: Address = entry.value.destination
        return destination

    @property
    def reply(self) -> int | None:
        """Code of the first reply."""
        entry = self.seen.named.get("reply_frame")
        return None if entry is None else entry.value.code

    @property
    def bound(self) -> Address | None:
        """BND.ADDR and BND.PORT of the first reply."""
        entry = self.seen.named.get("reply_frame")
        return None if entry is None or entry.damaged else entry.value.bound

    @property
    def peer_reply(self) -> int | None:
        """Code of BIND's second reply."""
        return None if self.peer_reply_frame is None else self.peer_reply_frame.value.code

    @property
    def peer(self) -> Address | None:
        """The address of BIND's second reply: who connected."""
        entry = self.peer_reply_frame
        return None if entry is None or entry.damaged else entry.value.bound


def _authenticates(entry: SessionFrame) -> bool:
    """Whether a frame belongs to a sub-negotiation; GSSAPI's user data come after it."""
    if entry.type == "gssapi":
        return bool(entry.value.message_type != GssapiMessageType.USER_DATA)
    return entry.type in ("auth-request", "auth-reply")
