"""The access log: one line per conversation."""

from __future__ import annotations

from time import gmtime, strftime
from typing import NamedTuple

from socks5sniff.codec import escape_text


class LogEntry(NamedTuple):
    """What the proxy knows of one conversation when it is over. `str()` of it is the log's line; it has no secrets."""

    number: int
    """From 1, in order of arrival."""
    time: float
    """Seconds since 1970 of its start."""
    client: str
    """Address and port."""
    protocol: str
    """`socks5`, `socks4`, `socks4a`, or `-` where not even that became known."""
    user: str | None
    command: str | None
    destination: str | None
    outcome: str
    """The reply's name, or why there was none."""
    sent: int
    """Octets from the client to the destination."""
    received: int
    """Octets from the destination to the client."""
    duration: float
    """Seconds."""

    def __str__(self) -> str:
        return " ".join(
            (
                strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(self.time)),
                f"#{self.number}",
                self.client,
                self.protocol,
                escape_text(self.user or "-"),
                self.command or "-",
                escape_text(self.destination or "-"),
                f'"{escape_text(self.outcome)}"',
                f"{self.sent}/{self.received}",
                f"{self.duration:.3f}s",
            )
        )
