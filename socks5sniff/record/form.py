"""What many conversations have in common: the dialogue, apart from addresses, names, times and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .conversation import ReplyCode


class Varying(NamedTuple):
    """A place in a summary where each conversation has something of its own."""

    column: str
    """The text column of `Batch` that holds it: `destination`, `bound` or `username`."""
    port: str | None = None
    """The column of the port that follows behind a colon."""


class FormFrame(NamedTuple):
    """One frame of a form."""

    place: int
    """The number of the segment, among those of the dialogue, that completes it."""
    sender: str
    type: str
    length: int | str
    """Octets, or the column that holds them."""
    summary: tuple[str | Varying, ...]


class FormAnomaly(NamedTuple):
    """One anomaly of a form."""

    code: str
    severity: str
    place: int
    message: str


Step = tuple[int, int] | None
"""A timing step: the places of the segments between which it lies."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a dialogue gives for the record; a conversation of this form has the rest in the columns of a `Batch`."""

    protocol: str
    phase: str | None
    outcome: str
    methods: tuple[str, ...] | None
    method: str | None
    username: bool
    """Whether there is one."""
    password: str | None
    """The mask, or None."""
    authenticated: bool | None
    command: str | None
    destination: str | None
    """Its type."""
    reply: ReplyCode | None
    bound: str | None
    """Its type."""
    peer_reply: ReplyCode | None
    peer: str | None
    """Its type."""
    relays: bool
    """A tunnel is open."""
    frames: tuple[FormFrame, ...]
    anomalies: tuple[FormAnomaly, ...]
    negotiation: Step
    authentication: Step
    request: Step
    replied: int | None
    """The place of the reply, from which `first_byte` is counted; None where there was none."""
    upstream: tuple[str, str] | None = None
    """How the proxy's own connection was found and what became of it, where the capture has it."""

    @property
    def associates(self) -> bool:
        """A UDP association is open."""
        return self.command == "udp-associate" and self.outcome == "succeeded"
