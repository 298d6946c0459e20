"""`--frames`: one line for each SOCKS frame, in the order of the conversations that hold them.

FRAME is the number that Wireshark gives the packet which completes the SOCKS frame, `#` the conversation's id.
"""

from __future__ import annotations

from socks5sniff.codec.text import escape_text
from socks5sniff.record import Conversation

from .clock import Clock
from .sink import OneByOne, Options, Totals, Writer


class FrameSink(OneByOne):
    """Lines in columns of fixed width; only SUMMARY has spaces in it."""

    def __init__(self, out: Writer, options: Options) -> None:
        self._out = out
        self._prompt = options.prompt
        self._clock = Clock(options.time)
        self._width = 0

    def conversation(self, conversation: Conversation) -> None:
        lines = [self._heading(conversation.start_ns)]
        for entry in conversation.frames:
            time = f"{self._clock.full(entry.time_ns):<{self._width}}"
            words = f"{entry.sender:<6}  {entry.type:<16}  {escape_text(entry.summary)}"
            lines.append(f"{entry.frame:>7}  {time}  {conversation.id:>5}  {words}\n")
        self._out.write("".join(lines))
        if self._prompt:
            self._out.flush()

    def close(self, totals: Totals) -> None:
        self._out.write(self._heading(0))
        self._out.flush()

    def _heading(self, time_ns: int) -> str:
        """The titles before the first conversation, which began at `time_ns`; nothing later."""
        if self._width:
            return ""
        title = f"TIME ({self._clock.label(time_ns, time_ns)})"
        self._width = max(len(self._clock.full(time_ns)), len(title))
        return f"{'FRAME':>7}  {title:<{self._width}}  {'#':>5}  SENDER  {'TYPE':<16}  SUMMARY\n"
