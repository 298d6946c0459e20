"""`--frames`: one line for each SOCKS frame, in the order of the conversations that hold them.

FRAME is the number that Wireshark gives the packet which completes the SOCKS frame, `#` the conversation's id.
"""

from __future__ import annotations

from socks5sniff.codec.text import escape_text
from socks5sniff.record import Conversation, iso_time

from .sink import Options, Rows, Totals, Writer

_HEADER = f"{'FRAME':>8}  {'TIME':<30}  {'#':>6}  SENDER  {'TYPE':<16}  SUMMARY\n"


class FrameSink(Rows):
    """Lines in columns of fixed width; only SUMMARY has spaces in it."""

    def __init__(self, out: Writer, options: Options) -> None:
        self._out = out
        self._prompt = options.prompt
        self._header = _HEADER

    def conversation(self, conversation: Conversation) -> None:
        lines = [self._header]
        self._header = ""
        lines += [
            f"{entry.frame:>8}  {iso_time(entry.time_ns)}  {conversation.id:>6}  {entry.sender:<6}  {entry.type:<16}"
            f"  {escape_text(entry.summary)}\n"
            for entry in conversation.frames
        ]
        self._out.write("".join(lines))
        if self._prompt:
            self._out.flush()

    def close(self, totals: Totals) -> None:
        self._out.write(self._header)
        self._out.flush()
