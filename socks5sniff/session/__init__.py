"""One SOCKS conversation, observed: octets in, frames and anomalies out. No sockets, no packets, no clock."""

from __future__ import annotations

from .session import Session

__all__ = ["Session"]
