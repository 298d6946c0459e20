"""The access log: one line per conversation."""

from __future__ import annotations

from dataclasses import dataclass
from time import gmtime, strftime

from socks5sniff.codec import escape_text


@dataclass(slots=True)
class LogEntry:
    """What the proxy knows of one conversation, complete when it is over. `str()` of it is the log's line.

    It holds no secrets.
    """

    number: int
    """From 1, in order of arrival."""
    time: float
    """Seconds since 1970 of its start."""
    client: str
    """Address and port."""
    protocol: str = "-"
    """`socks5`, `socks4`, `socks4a`, or `-` where not even that became known."""
    user: str | None = None
    command: str | None = None
    destination: str | None = None
    outcome: str = "closed by the client"
    """The reply's name, or why there was none."""
    sent: int = 0
    """Octets from the client to the destination."""
    received: int = 0
    """Octets from the destination to the client."""
    duration: float = 0.0
    """Seconds."""
    dropped: int = 0
    """Datagrams that were to be relayed and found no room; in the line only where there are any."""

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
                *([f"dropped {self.dropped}"] if self.dropped else []),
            )
        )
