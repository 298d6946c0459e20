"""`html`: one page with everything in it, written when the input has ended."""

from __future__ import annotations

from typing import Any

from socks5sniff import __version__
from socks5sniff.record import Conversation
from socks5sniff.report import Report

from .sink import OneByOne, Options, Totals, Writer

SHOWN = 1000
"""Attempts, and connections past the proxies, that a page lists; it says how many there are."""


class HtmlSink(OneByOne):
    """Keeps conversations as columns until the end."""

    def __init__(self, out: Writer, options: Options) -> None:
        self._out = out
        self._options = options
        self._report = Report(options.max_rows)

    def conversation(self, conversation: Conversation) -> None:
        self._report.add(conversation)

    def close(self, totals: Totals) -> None:
        about: dict[str, Any] = {
            "inputs": self._options.inputs,
            "command": self._options.command,
            "ports": self._options.ports,
            "packets": totals.packets,
            "skipped": totals.skipped,
            "found": totals.conversations,
            "evicted": totals.evicted,
            "fault": totals.fault,
            "notes": totals.notes,
            "version": __version__,
        }
        for name, rows in (("attempts", totals.tried), ("bypasses", totals.past)):
            about[name] = [row.as_dict() for row in rows[:SHOWN]]
            about[f"all {name}"] = len(rows)
        for piece in self._report.write(about):
            self._out.write(piece)
        self._out.flush()
