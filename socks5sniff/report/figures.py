"""Counts of conversations that the page's table does not hold, so that its figures still cover all.

The page adds these to what it counts itself. Their size is bounded, whatever the number of conversations.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from socks5sniff.record import Conversation

STEPS = ("tcp_handshake", "negotiation", "authentication", "request", "first_byte")
GROWTH = 1.02
"""A time step's class is this much longer than the one before: quantiles are right within 1 %."""
_NAMES = 100_000
"""Names counted one by one in a list; whatever comes beyond that is counted as others, under the name null."""
_SPANS = 4096
"""Spans of time that are counted apart; where there are more, each becomes twice as long."""


def octets(c: Conversation) -> tuple[int, int]:
    """Octets from and to the client; of a conversation inside another's tunnel none, as they count there."""
    if c.parent is not None:
        return 0, 0
    if c.udp is not None:
        return c.udp.bytes_sent, c.udp.bytes_received
    return (0, 0) if c.bytes is None else (c.bytes.sent, c.bytes.received)


def _destination(c: Conversation) -> str | None:
    return None if c.destination is None else str(c.destination)


GROUPS: dict[str, Callable[[Conversation], list[str | None]]] = {
    "outcome": lambda c: [c.outcome],
    "destination": lambda c: [_destination(c)],
    "client": lambda c: [c.client.address],
    "user": lambda c: [c.username],
    "proxy": lambda c: [str(c.proxy)],
    "anomaly": lambda c: [*dict.fromkeys(anomaly.code for anomaly in c.anomalies)],
}
"""By what conversations are counted: the names that one counts for."""


class Figures:
    """Counts over conversations, in bounded memory."""

    def __init__(self) -> None:
        self.conversations = 0
        self.sent = self.received = 0
        self.first: int | None = None
        self.last: int | None = None
        self._groups: dict[str, dict[str | None, list[int]]] = {group: {} for group in GROUPS}
        self._steps: dict[str, Counter[int]] = {step: Counter() for step in STEPS}
        self._spans: Counter[tuple[int, str]] = Counter()
        self._span = 1

    def add(self, c: Conversation) -> None:
        sent, received = octets(c)
        self.conversations += 1
        self.sent += sent
        self.received += received
        self.first = c.start_ns if self.first is None else min(self.first, c.start_ns)
        self.last = c.end_ns if self.last is None else max(self.last, c.end_ns)
        for group, names in GROUPS.items():
            counts = self._groups[group]
            for name in names(c):
                if name is not None:
                    entry = counts.setdefault(name if name in counts or len(counts) < _NAMES else None, [0, 0])
                    entry[0] += 1
                    entry[1] += sent + received
        for step, classes in self._steps.items():
            seconds = getattr(c.timing, step)
            if seconds is not None:
                classes[_class(seconds)] += 1
        self._count_span(c.start_ns // 1_000_000_000, c.outcome)

    def _count_span(self, second: int, outcome: str) -> None:
        self._spans[second // self._span * self._span, outcome] += 1
        while len(self._spans) > _SPANS:
            self._span *= 2
            spans: Counter[tuple[int, str]] = Counter()
            for (begin, name), count in self._spans.items():
                spans[begin // self._span * self._span, name] += count
            self._spans = spans

    def names(self, group: str) -> dict[str | None, int]:
        """Conversations by name, most first."""
        counts = self._groups[group]
        return {name: counts[name][0] for name in sorted(counts, key=lambda name: -counts[name][0])}

    def plain(self) -> dict[str, Any]:
        """All of it as plain values; times of steps are the middles of their classes, in nanoseconds."""
        return {
            "conversations": self.conversations,
            "sent": self.sent,
            "received": self.received,
            "first": self.first and self.first / 1e6,
            "last": self.last and self.last / 1e6,
            "groups": {
                group: [[name, *entry] for name, entry in counts.items()] for group, counts in self._groups.items()
            },
            "steps": {
                step: [[round(GROWTH ** (number + 0.5)), count] for number, count in sorted(classes.items())]
                for step, classes in self._steps.items()
            },
            "spans": [[begin * 1000, outcome, count] for (begin, outcome), count in sorted(self._spans.items())],
        }


def _class(seconds: float) -> int:
    return math.floor(math.log(max(seconds * 1e9, 1.0), GROWTH))
