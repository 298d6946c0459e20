r"""`accesslog`: one line for each conversation, as a proxy's own log would have it.

    START CLIENT PROXY USER METHOD COMMAND DESTINATION OUTCOME REPLY SENT RECEIVED SECONDS "WORDS"

Thirteen fields with one space between them. `-` is what was not seen and `""` an empty user name; a space inside a
value is `\x20`, so that `awk '{print $7}'` is always the destination. Only the last field has spaces, in its quotes.
"""

from __future__ import annotations

from socks5sniff.codec.text import escape_text
from socks5sniff.record import Conversation

from .sink import OneByOne, Options, Totals, Writer
from .words import explain, octets


class AccessLogSink(OneByOne):
    """Writes the lines described in this module's docstring."""

    def __init__(self, out: Writer, options: Options) -> None:
        self._out = out
        self._prompt = options.prompt

    def conversation(self, conversation: Conversation) -> None:
        self._out.write(access_line(conversation) + "\n")
        if self._prompt:
            self._out.flush()

    def close(self, totals: Totals) -> None:
        self._out.flush()


def access_line(conversation: Conversation) -> str:
    """The line of one conversation, without the newline."""
    c = conversation
    sent, received = octets(c) or ("-", "-")
    words = escape_text(explain(c)).replace('"', r"\x22")
    return (
        f"{c.start} {c.client} {c.proxy} {_field(c.username)} {c.method or '-'} {c.command or '-'}"
        f" {_field(None if c.destination is None else str(c.destination))} {c.outcome}"
        f' {"-" if c.reply is None else c.reply.code} {sent} {received} {c.duration:.6f} "{words}"'
    )


def _field(text: str | None) -> str:
    if text is None:
        return "-"
    if text == "-":
        return r"\x2d"
    return escape_text(text).replace(" ", r"\x20").replace('"', r"\x22") or '""'
