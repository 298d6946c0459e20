"""Facts of a conversation in the words that several formats share."""

from __future__ import annotations

from socks5sniff.record import Conversation
from socks5sniff.record.form import Form

COLOURS = {
    "succeeded": "\x1b[32m",
    "rejected": "\x1b[33m",
    "incomplete": "\x1b[36m",
    "auth-failed": "\x1b[31m",
    "no-acceptable-method": "\x1b[31m",
    "malformed": "\x1b[35m",
}
"""How a terminal is told to show each outcome."""


def explain(conversation: Conversation | Form) -> str:
    """Why the conversation came out as it did: the proxy's reply in words, or where it ended without one."""
    c = conversation
    if c.outcome == "auth-failed":
        return "authentication failed"
    if c.outcome == "no-acceptable-method":
        return "no acceptable method"
    if c.outcome == "malformed":
        return next((anomaly.message for anomaly in c.anomalies if anomaly.severity == "error"), "malformed")
    if c.outcome == "incomplete":
        return f"ended in {c.phase}" if c.phase else "no handshake"
    return c.reply.name if c.reply else c.outcome


def counted(number: int, noun: str) -> str:
    """`1 octet`, `2,345 octets`."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def result(c: Conversation | Form) -> str:
    """The outcome and, where it says more, the reason: `rejected: connection refused`."""
    if c.outcome in ("succeeded", "auth-failed", "no-acceptable-method"):
        return c.outcome
    words = explain(c)
    return c.outcome if c.outcome == words else f"{c.outcome}: {words}"


def octets(conversation: Conversation) -> tuple[int, int] | None:
    """Octets from and to the client: of the tunnel, or of the DATA of a UDP association's datagrams."""
    if conversation.udp is not None:
        return conversation.udp.bytes_sent, conversation.udp.bytes_received
    return conversation.bytes
