"""One step of the machine as a pure function of (state, role, octets), and the memory of it.

Clients and proxies say the same few things over and over: the same greeting, the same choice, often the same reply.
What octets give in a state depends on nothing else, so it is decoded once and remembered; a step holds no value of a
conversation but what the octets themselves say. The memory is bounded: destinations differ, so most requests are
remembered in vain, and when a state's share is full it is emptied rather than kept in order of use, which would cost
more than it saves.
"""

from __future__ import annotations

from typing import Any, Final

from ..codec import Command, Decoded, Deviation, Mismatch, NeedMore
from .states import CLIENT, STATES, Row, State
from .summary import summarise

REMEMBERED_STEPS = 2048
"""Steps remembered for each state, about 1 kB each; the states in common use are about six."""

REMEMBERED_OCTETS = 320
"""Longer runs are not remembered. All frames but GSSAPI's and a long RFC 1929 request are shorter."""

LOOKS_LIKE_REQUEST = 4
"""Octets needed to tell a SOCKS5 request from the sub-negotiations that may precede it."""

SENDERS = ("client", "proxy")


class Step:
    """A frame read in a state. Immutable but for the summary, which is made when first asked for."""

    __slots__ = ("_summary", "deviations", "fact", "length", "next", "notable", "role", "row", "type", "value")

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
            or row.fact in ("auth_request", "auth_reply", "selection")
            or self.next.name in ("associate-answer", "association")
        )
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
    assert row is not None, "the table is asked only for roles that have the turn"
    escaped = False
    if state.escape is not None and role == CLIENT:
        request = looks_like_request(octets)
        if request is None:
            return NeedMore(LOOKS_LIKE_REQUEST)
        if request:
            row, escaped = state.escape, True
    if row.decode is None:
        return Unreadable()
    found = row.decode(octets)
    if not isinstance(found, Decoded):
        return found
    return Step(row, found.frame, found.length, found.deviations, escaped)


def whole_step(state: State, octets: bytes) -> Step | None:
    """The step of octets that are exactly one frame of the role whose turn it is, remembered; None if they are not."""
    step = decode_step(state, state.turn, octets)
    if not isinstance(step, Step) or step.length != len(octets):
        return None
    if len(octets) <= REMEMBERED_OCTETS:
        seen = state.seen
        if len(seen) >= REMEMBERED_STEPS:
            seen.clear()
        seen[octets] = step
    return step


def forget() -> None:
    """Empty the memory. Results never depend on it."""
    for state in STATES.values():
        state.seen.clear()


def looks_like_request(octets: bytes) -> bool | None:
    """Whether octets start a SOCKS5 request: VER 05, a command of RFC 1928 or Tor, RSV 00, a known ATYP.

    None when there are too few to tell.
    """
    for octet, allowed in zip(octets, _REQUEST_HEAD, strict=False):
        if octet not in allowed:
            return False
    return True if len(octets) >= LOOKS_LIKE_REQUEST else None


_REQUEST_HEAD = ((5,), tuple(Command), (0,), (1, 3, 4))
