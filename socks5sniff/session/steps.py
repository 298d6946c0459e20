"""One step of the machine as a pure function of (state, role, octets), and the memory of it.

Clients and proxies say the same few things over and over: the same greeting, the same choice, often the same reply.
What octets give in a state depends on nothing else, so it is decoded once and remembered; a step holds no value of a
conversation but what the octets themselves say. The memory is bounded: destinations differ, so most requests are
remembered in vain, and when a state's share is full it is emptied rather than kept in order of use, which would cost
more than it saves. Passwords are not remembered: they do not outlive their conversation.
"""

from __future__ import annotations

from typing import Any, Final

from ..codec import Address, AddressType, Decoded, Deviation, Mismatch, NeedMore, Request, decode_socks4_request
from .opening import foreign_name, looks_like_request
from .states import CLIENT, PROXY, REFUSES_UNASKED, STATES, UNADDRESSED, UNASKED, Row, State
from .summary import summarise

REMEMBERED_STEPS = 2048
"""Steps remembered for each state, about 1 kB each; the states in common use are about six."""

REMEMBERED_OCTETS = 320
"""Longer runs are not remembered. All frames but GSSAPI's and a long RFC 1929 request are shorter."""

_NAMED_WITHIN = ("HTTP", "TLS", "SSH")
"""Protocols whose first octets are proof enough that a SOCKS frame was due and something else came."""

SENDERS = ("client", "proxy")

_REQUEST = STATES["request"]
_UNASKED = STATES["unasked"]
_UNCHOSEN = STATES["unchosen"]
_LOGIN = STATES["auth"].rows[CLIENT]


class Step:
    """A frame read in a state. Immutable but for what is found out when first asked for: summary and soundness."""

    __slots__ = ("_summary", "deviations", "fact", "length", "next", "notable", "role", "row", "sound", "type", "value")

    def __init__(self, row: Row, value: Any, length: int, deviations: tuple[Deviation, ...], escaped: bool) -> None:
        self.row: Final = row
        self.role: Final = row.role
        self.value: Final = value
        self.type: Final[str] = value.kind
        self.length: Final = length
        self.deviations: Final = deviations
        self.fact: Final = row.fact
        self.next: Final = STATES[row.branches.get(getattr(value, row.by), row.to) if row.by else row.to]
        # What the session has to look at more closely; the rest of its work is the same for every frame.
        self.notable: Final = (
            escaped
            or deviations != ()
            or not row.fact
            or row.fact in ("auth_request", "selection")
            or self.next.name in ("denied", "associate-answer", "association")
        )
        self.sound: bool | None = None
        """Nothing in it that a SOCKS program would not send; `detection` finds out when it has to."""
        self._summary: str | None = None

    @property
    def summary(self) -> str:
        """One line in English; holds text from the wire as it was decoded, never a password."""
        if self._summary is None:
            self._summary = summarise(self.value)
        return self._summary


class Unreadable:
    """The octets belong to a dialogue that nobody here can read."""


def decode_step(state: State, role: int, octets: bytes) -> Step | NeedMore | Mismatch | Unreadable:
    """The frame at the start of `octets`, sent by `role` in `state`."""
    row = state.rows[role]
    if row is None or _LOGIN is None:
        return Unreadable()
    escaped = False
    if state.escape is not None and role == CLIENT:
        request = looks_like_request(octets)
        if request is None:
            return NeedMore(len(octets) + 1)
        if request:
            row, escaped = state.escape, True
    if octets[0] == 1 and state is _REQUEST and role == CLIENT and octets[1:2] != b"\0":
        row, escaped = UNASKED, True
    elif octets[0] == 1 and state is _UNCHOSEN:
        row = _LOGIN
    elif octets[0] == 5 and state is _UNASKED and role == PROXY:
        row = REFUSES_UNASKED
    if row.decode is None:
        return Unreadable()
    if octets[0] != row.version and (name := foreign_name(octets)) in _NAMED_WITHIN:
        return _wrong_version(row, octets, f" ({name})")
    found = row.decode(octets)
    if type(found) is Decoded:
        return Step(row, found.frame, found.length, found.deviations, escaped)
    if isinstance(found, Mismatch) and octets[0] != row.version:
        return _wrong_version(row, octets, "")
    return found  # type: ignore[return-value]


def unaddressed_step(octets: bytes) -> Step | None:
    """A request whose address type is in no table, up to that; None where octets are not even that.

    What follows is an address whose length nobody knows: how much of it has come is up to the segments.
    """
    if len(octets) < 4 or octets[0] != 5:
        return None
    request = Request(octets[1], Address(octets[3], b"", 0), octets[2])
    return Step(UNADDRESSED, request, 4, (), False)


def unfinished_step(octets: bytes) -> tuple[Step, str] | None:
    """A SOCKS4 request that was answered without its end, and what it lacks; None where octets are no such request."""
    if len(octets) < 8 or octets[:1] != b"\4":
        return None
    lacks = "the NUL at its end"
    found = decode_socks4_request(octets + b"\0")
    if isinstance(found, NeedMore):
        found, lacks = decode_socks4_request(octets + b"\0\0"), "the NUL of its user id and the host name"
    if not isinstance(found, Decoded):
        return None
    row = STATES["request4"].rows[CLIENT]
    assert row is not None, "SOCKS4 begins with a request"
    deviations = tuple(entry for entry in found.deviations if entry.code != "empty-domain")
    if found.frame.destination.type == AddressType.DOMAIN and not found.frame.destination.host:
        lacks = lacks.replace("the NUL at its end", "its host name")
    return Step(row, found.frame, len(octets), deviations, False), lacks


def whole_step(state: State, octets: bytes) -> Step | None:
    """The step of octets that are exactly one frame of the role whose turn it is, remembered; None if they are not."""
    step = decode_step(state, state.turn, octets)
    if not isinstance(step, Step) or step.length != len(octets):
        return None
    if len(octets) <= REMEMBERED_OCTETS and step.fact != "auth_request":
        seen = state.seen
        if len(seen) >= REMEMBERED_STEPS:
            seen.clear()
        seen[octets] = step
    return step


def forget() -> None:
    """Empty the memory. Results never depend on it."""
    for state in STATES.values():
        state.seen.clear()


def _wrong_version(row: Row, octets: bytes, shown: str) -> Mismatch:
    return Mismatch(Deviation("bad-version", f"version {octets[0]} where {row.version} is due{shown}"))
