"""`json`: one array, written as it grows. `jsonl`: one object a line."""

from __future__ import annotations

from socks5sniff.record import Conversation

from .record_line import record_line
from .sink import Options, Totals, Writer


class JsonLinesSink:
    """One JSON object a line; each line is flushed when someone waits for it."""

    def __init__(self, out: Writer, options: Options) -> None:
        self._out = out
        self._prompt = options.prompt

    def conversation(self, conversation: Conversation) -> None:
        self._out.write(record_line(conversation) + "\n")
        if self._prompt:
            self._out.flush()

    def close(self, totals: Totals) -> None:
        self._out.flush()


class JsonSink:
    """One JSON array with an element a line, so that it can be both parsed whole and followed while it grows."""

    def __init__(self, out: Writer, options: Options) -> None:
        self._out = out
        self._prompt = options.prompt
        self._before = "[\n"

    def conversation(self, conversation: Conversation) -> None:
        self._out.write(self._before + record_line(conversation))
        self._before = ",\n"
        if self._prompt:
            self._out.flush()

    def close(self, totals: Totals) -> None:
        self._out.write("[]\n" if self._before == "[\n" else "\n]\n")
        self._out.flush()
