"""One SOCKS conversation, observed: octets in, frames and anomalies out. No sockets, no packets, no clock.

`session` is what all others use, and hands octets to the phases of a conversation: `beginning` finds who opens and
where (by the rules of `opening`), `dialogue` reads frames in their turns, `enclosed` what GSSAPI tokens hold, `ending`
what was left over. They stand on `states`, the transitions as a table; `steps`, which reads one frame in a state and
remembers what octets gave; `evidence`, which weighs whether it is SOCKS by the rules of `detection`; `held` and
`tunnel`, which keep octets that have to wait; `summary` and `oddities`, which say what frames mean and what is odd
about them; `facts`, what follows from them.
"""

from __future__ import annotations

from .facts import HalfFrame, SessionAnomaly, SessionFrame, Verdict
from .held import Run
from .opening import PREAMBLE_LIMIT, SOUND_METHODS, could_begin, could_open, find_greeting
from .session import Session

__all__ = [
    "PREAMBLE_LIMIT",
    "SOUND_METHODS",
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
