"""Facts of a conversation in the words that several formats share."""

from __future__ import annotations

from socks5sniff.codec.text import escape_text
from socks5sniff.record import Conversation
from socks5sniff.record.form import Form

from .layouts import Field, Part

COLOURS = {
    "succeeded": "\x1b[32m",
    "rejected": "\x1b[33m",
    "incomplete": "\x1b[36m",
    "auth-failed": "\x1b[31m",
    "no-acceptable-method": "\x1b[31m",
    "malformed": "\x1b[35m",
}
"""How a terminal is told to show each outcome."""
_CLEAR = ("succeeded", "auth-failed", "no-acceptable-method")
"""Outcomes that say all."""


_ENDINGS = {"fin": "closed", "reset": "reset", "open": "still open", "client": " by client", "proxy": " by proxy"}
"""In words how a connection ended, and who ended it."""


def explain(conversation: Conversation) -> str:
    """Why the conversation came out as it did: the proxy's reply in words, or who ended it without one, and when."""
    c = conversation
    if c.outcome == "incomplete" and c.phase:
        return f"{ending_word(c.close)}{ending_word(c.closed_by)} {_when(c)}"
    return _said(c)


def explained(form: Form) -> list[Part]:
    """The same of conversations of a form; its words are those of `ending_word`."""
    if form.outcome == "incomplete" and form.phase:
        return [Field("word", "close"), Field("word", "closed_by"), f" in {form.phase}"]
    return [escape_text(_said(form))]


def ending_word(how: str | None) -> str:
    """A value of `close` or `closed_by` in words."""
    return "" if how is None else _ENDINGS[how]


def _when(c: Conversation) -> str:
    """In which step an incomplete conversation ended."""
    for anomaly in c.anomalies:
        # "the proxy closed after 4 octets of its reply"
        _, of, frame = anomaly.message.partition(" of ")
        if anomaly.code == "half-frame" and of:
            return f"after half of {frame}"
    return f"in {c.phase}"


def _said(c: Conversation | Form) -> str:
    if c.outcome == "auth-failed":
        return "authentication failed"
    if c.outcome == "no-acceptable-method":
        return "no acceptable method"
    if c.outcome == "malformed":
        return next((anomaly.message for anomaly in c.anomalies if anomaly.severity == "error"), "malformed")
    if c.outcome == "incomplete":
        return "no handshake"
    return c.reply.name if c.reply else c.outcome


def counted(number: int, noun: str) -> str:
    """`1 octet`, `2,345 octets`."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def result(c: Conversation) -> str:
    """The outcome and, where it says more, the reason: `rejected: connection refused`."""
    if c.outcome in _CLEAR:
        return c.outcome
    words = explain(c)
    return c.outcome if c.outcome == words else f"{c.outcome}: {words}"


def results(form: Form) -> list[Part]:
    """The same of conversations of a form."""
    words = [""] if form.outcome in _CLEAR else explained(form)
    return [form.outcome] if words in ([""], [form.outcome]) else [f"{form.outcome}: ", *words]


def octets(conversation: Conversation) -> tuple[int, int] | None:
    """Octets from and to the client: of the tunnel, or of the DATA of a UDP association's datagrams."""
    if conversation.udp is not None:
        return conversation.udp.bytes_sent, conversation.udp.bytes_received
    return conversation.bytes
