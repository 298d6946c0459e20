r"""`accesslog`: one line for each conversation, as a proxy's own log would have it.

    START CLIENT PROXY USER METHOD COMMAND DESTINATION OUTCOME REPLY SENT RECEIVED SECONDS "WORDS"

Thirteen fields with one space between them. `-` is what was not seen and `""` an empty user name; a space inside a
value is `\x20`, so that `awk '{print $7}'` is always the destination. Only the last field has spaces, in its quotes.
"""

from __future__ import annotations

from socks5sniff.codec.text import escape_text
from socks5sniff.record import Conversation
from socks5sniff.record.form import Form

from .layouts import Field, Lines, Part, Words, asked
from .line_sink import LineSink
from .sink import Options, Writer
from .words import ending_word, explain, explained, octets


class AccessLogSink(LineSink):
    """Writes the lines described in this module's docstring."""

    def __init__(self, out: Writer, options: Options) -> None:
        super().__init__(out, options, Lines(_line, Words("-", ending_word, text=_wire)), access_line)


def access_line(conversation: Conversation) -> str:
    """The line of one conversation, without the newline."""
    c = conversation
    sent, received = octets(c) or ("-", "-")
    return (
        f"{c.start} {c.client} {c.proxy} {_field(c.username)} {c.method or '-'} {c.command or '-'}"
        f" {_field(None if c.destination is None else str(c.destination))} {c.outcome}"
        f" {_code(c)} {sent} {received} {c.duration:.6f} {_words(c)}"
    )


def _line(form: Form) -> list[Part]:
    """The parts of `access_line` for a conversation of this form."""
    ways: tuple[Part, Part] = (Field("integer", "sent"), Field("integer", "received")) if form.relays else ("-", "-")
    destination: list[Part] = ["-"] if form.destination is None else asked(form.destination)
    return [
        Field("time", "start"), "Z ", Field("endpoint", "client_address", "client_port"), " ",
        Field("endpoint", "proxy_address", "proxy_port"), " ", Field("text", "username") if form.username else "-",
        f" {form.method or '-'} {form.command or '-'} ", *destination,
        f" {form.outcome} {_code(form)} ", ways[0], " ", ways[1], " ", Field("rounded", 6),
        ' "', *(part.replace('"', r"\x22") if isinstance(part, str) else part for part in explained(form)), '"',
    ]  # fmt: skip


def _code(said: Conversation | Form) -> str:
    return "-" if said.reply is None else str(said.reply.code)


def _words(said: Conversation) -> str:
    words = escape_text(explain(said)).replace('"', r"\x22")
    return f'"{words}"'


def _wire(way: str | int, text: str) -> str:
    """A whole field, or a host that has its port behind it."""
    return _escaped(text) if way == "host" else _field(text)


def _field(text: str | None) -> str:
    if text is None:
        return "-"
    if text == "-":
        return r"\x2d"
    return _escaped(text) or '""'


def _escaped(text: str) -> str:
    return escape_text(text).replace(" ", r"\x20").replace('"', r"\x22")
