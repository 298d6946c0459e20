"""One SOCKS conversation, observed: octets in, frames and anomalies out. No sockets, no packets, no clock.

`states` holds the transitions as a table; `opening` finds who opens, and where; `steps` reads one frame in a state and
remembers what octets gave; `detection` weighs whether it is SOCKS; `held` keeps octets that have to wait; `summary`
puts frames in words; `oddities` says what is odd about them; `facts` is what follows from them; `session` is the
observer.
"""

from __future__ import annotations

from .facts import HalfFrame, SessionAnomaly, SessionFrame, Verdict
from .held import Run
from .opening import PREAMBLE_LIMIT, could_begin, could_open, find_greeting
from .session import Session

__all__ = [
    "PREAMBLE_LIMIT",
    "HalfFrame",
    "Run",
    "Session",
    "SessionAnomaly",
    "SessionFrame",
    "Verdict",
    "could_begin",
    "could_open",
    "find_greeting",
]
