"""The window that is looked at, the first octets of each direction, and what a rule says of it.

A rule gives a `Tunnel`, None (it is something else) or WAIT (octets still to come would tell), and may give one of the
first two only if no further octet could change it. So a finding is the same wherever segments were cut and however the
directions take turns: it is the finding of the whole window.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from socks5sniff.codec import decode_text
from socks5sniff.record import Tunnel

HEAD_LIMIT = 4096
"""Octets of each direction that are looked at: a ClientHello with post-quantum keys is about 1,800 long."""
LINE_LIMIT = 200
"""Octets of a line shown as detail."""


class Wait(Enum):
    WAIT = "more octets would tell"


WAIT = Wait.WAIT
Finding = Tunnel | Wait | None
Answer = bool | Wait


class Head(NamedTuple):
    """The first octets of one direction."""

    octets: bytes
    whole: bool
    """No octet of the window is still to come."""

    def begins(self, *marks: bytes) -> Answer:
        """Whether the direction begins with one of `marks`."""
        octets = self.octets
        if octets.startswith(marks):
            return True
        if not self.whole and any(mark.startswith(octets) for mark in marks):
            return WAIT
        return False

    def has(self, count: int) -> bool:
        """Whether there is nothing to wait for before `count` octets are looked at."""
        return self.whole or len(self.octets) >= count

    def line(self) -> str | Wait:
        """The first line without its end, cut to LINE_LIMIT octets."""
        seen = self.octets[:LINE_LIMIT]
        if b"\n" not in seen and not self.has(LINE_LIMIT):
            return WAIT
        return decode_text(seen.split(b"\n", 1)[0].rstrip(b"\r"))


class Talk(NamedTuple):
    """Both directions, and the destination's port, which decides only between protocols that the octets allow."""

    client: Head
    server: Head
    port: int | None


Rule = Callable[[Talk], Finding]
