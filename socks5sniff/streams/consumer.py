"""Who else looks at a capture while it is analysed: live's file, follow, extract hang here."""

from __future__ import annotations

from typing import Protocol

from socks5sniff.packets.columns import Datagrams

from .flows import FlowBatch


class Consumer(Protocol):
    """Is handed what the analyser is handed, a batch at a time."""

    def segments(self, batch: FlowBatch, /) -> None:
        """TCP segments, sorted by flow."""

    def datagrams(self, datagrams: Datagrams, /) -> None:
        """UDP datagrams."""
