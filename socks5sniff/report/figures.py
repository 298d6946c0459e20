"""Counts of conversations, so that a page's figures also cover those that its table does not hold.

The page adds these to what it counts itself. Their size is bounded, whatever the number of conversations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from socks5sniff.record import Conversation

STEPS = ("tcp_handshake", "negotiation", "authentication", "request", "first_byte", "upstream_handshake")
GROWTH = 1.02
"""A class of times is this much longer than the one before: quantiles are right within 1 %."""
NAMES = 100_000
"""Names counted one by one in a group; whatever comes beyond that is counted as others, under the name None."""
_SPANS = 4096
"""Spans of time that are counted apart; where there are more, each becomes twice as long."""
_SECOND = 1_000_000_000


def octets(c: Conversation) -> int:
    """Octets from and to the client; of a conversation inside another's tunnel none, as they count there."""
    if c.parent is not None:
        return 0
    if c.udp is not None:
        return c.udp.bytes_sent + c.udp.bytes_received
    return 0 if c.bytes is None else c.bytes.sent + c.bytes.received


GROUPS: dict[str, Callable[[Conversation], Iterable[str | None]]] = {
    "outcome": lambda c: (c.outcome,),
    "destination": lambda c: (None if c.destination is None else str(c.destination),),
    "client": lambda c: (c.client.address,),
    "user": lambda c: (c.username,),
    "proxy": lambda c: (str(c.proxy),),
    "anomaly": lambda c: {anomaly.code for anomaly in c.anomalies},
}
"""By what conversations are counted: the names that one counts for, None for none."""


class Figures:
    """Counts over conversations, in bounded memory.

    Attributes:
        conversations: how many.
        octets: from and to the clients.
        first, last: start of the earliest and end of the last one, ns since 1970; None when there was none.
        groups: for each of `GROUPS` conversations and octets by name.
    """

    def __init__(self) -> None:
        self.conversations = 0
        self.octets = [0, 0]
        self.first: int | None = None
        self.last: int | None = None
        self.groups: dict[str, dict[str | None, list[int]]] = {group: {} for group in GROUPS}
        self._steps: dict[str, Counter[int]] = {step: Counter() for step in STEPS}
        self._spans: Counter[tuple[int, str]] = Counter()
        self._span = 1

    def take(self, conversations: Sequence[Conversation]) -> None:
        if not conversations:
            return
        self.conversations += len(conversations)
        first = min(c.start_ns for c in conversations)
        last = max(c.end_ns for c in conversations)
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)
        for c in conversations:
            if c.parent is None and (c.udp or c.bytes):
                sent, received = (c.udp.bytes_sent, c.udp.bytes_received) if c.udp else c.bytes or (0, 0)
                self.octets[0] += sent
                self.octets[1] += received
        sizes = [octets(c) for c in conversations]
        for group in GROUPS:
            self._count(group, conversations, sizes)
        for step in STEPS:
            self._steps[step].update(_classes([getattr(c.timing, step, None) for c in conversations]))
        for c in conversations:
            self._spans[c.start_ns // _SECOND // self._span * self._span, c.outcome] += 1
        self._lengthen()

    def _count(self, group: str, conversations: Sequence[Conversation], sizes: Sequence[int]) -> None:
        names, counts = GROUPS[group], self.groups[group]
        for c, size in zip(conversations, sizes, strict=True):
            for name in names(c):
                if name is None:
                    continue
                entry = counts.get(name)
                if entry is None:
                    entry = counts.setdefault(name if len(counts) < NAMES else None, [0, 0])
                entry[0] += 1
                entry[1] += size

    def _lengthen(self) -> None:
        """Make spans longer until they are few enough."""
        while len(self._spans) > _SPANS:
            self._span *= 2
            spans: Counter[tuple[int, str]] = Counter()
            for (begin, outcome), count in self._spans.items():
                spans[begin // self._span * self._span, outcome] += count
            self._spans = spans

    def most(self, group: str, limit: int) -> list[tuple[str | None, int]]:
        """The names that most conversations have, and how many."""
        counts = self.groups[group]
        return [(name, counts[name][0]) for name in sorted(counts, key=lambda name: -counts[name][0])[:limit]]

    def plain(self) -> dict[str, Any]:
        """All of it as plain values: times since 1970 in ms, steps' times in ns."""
        return {
            "conversations": self.conversations,
            "sent": self.octets[0],
            "received": self.octets[1],
            "first": None if self.first is None else self.first / 1e6,
            "last": None if self.last is None else self.last / 1e6,
            "groups": {
                group: [[name, *entry] for name, entry in counts.items()] for group, counts in self.groups.items()
            },
            "steps": {
                step: [[round(GROWTH ** (number + 0.5)), count] for number, count in sorted(classes.items())]
                for step, classes in self._steps.items()
            },
            "spans": [[begin * 1000, outcome, count] for (begin, outcome), count in sorted(self._spans.items())],
        }


def _classes(seconds: Sequence[float | None]) -> list[int]:
    times = np.array(seconds, np.float64)
    times = np.maximum(times[~np.isnan(times)] * 1e9, 1.0)
    classes: list[int] = np.floor(np.log(times) / np.log(GROWTH)).astype(int).tolist()
    return classes
