"""One SOCKS conversation, observed: octets in, frames and anomalies out. No sockets, no packets, no clock.

`states` holds the transitions as a table, `steps` reads one frame in a state and remembers what octets gave,
`detection` says what is evidence of SOCKS, `held` keeps octets that have to wait, `summary` puts frames in words,
`session` is the observer.
"""

from __future__ import annotations

from .detection import could_open, plausible_opening
from .held import Run
from .session import Session, SessionAnomaly, SessionFrame, Verdict

__all__ = ["Run", "Session", "SessionAnomaly", "SessionFrame", "Verdict", "could_open", "plausible_opening"]
