"""Counts by name, and destinations, in bounded memory: what is seen most stays, the rest is counted together."""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from typing import Any, NamedTuple

MAX_NAMES = 100_000
"""Different names that are counted each by itself: above it, a name never seen before counts as OTHERS."""
OTHERS = "(others)"
MAX_DESTINATIONS = 100_000
"""Destinations remembered; at twice as many, those with the fewest conversations and octets are dropped."""


class Names:
    """How often each name was seen."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        counts = self._counts
        counts[name if name in counts or len(counts) < MAX_NAMES else OTHERS] += count

    def merge(self, other: Names) -> None:
        for name, count in other._counts.items():
            self.add(name, count)

    def as_dict(self) -> dict[str, int]:
        """Counts by name, the largest first, equal ones by name."""
        return dict(sorted(self._counts.items(), key=lambda entry: (-entry[1], entry[0])))


class Destination(NamedTuple):
    """A place that conversations asked for."""

    host: str
    port: int
    conversations: int
    sent: int
    """Octets from the clients."""
    received: int

    @property
    def octets(self) -> int:
        return self.sent + self.received


class Destinations:
    """What went to each host and port.

    Attributes:
        left_out: conversations to destinations that were dropped.
    """

    __slots__ = ("_found", "left_out")

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], list[int]] = {}
        self.left_out = 0

    def add(self, host: str, port: int, conversations: int, sent: int, received: int) -> None:
        entry = self._found.setdefault((host, port), [0, 0, 0])
        entry[0] += conversations
        entry[1] += sent
        entry[2] += received
        if len(self._found) >= 2 * MAX_DESTINATIONS:
            self._drop()

    def merge(self, other: Destinations) -> None:
        self.left_out += other.left_out
        for (host, port), entry in other._found.items():
            self.add(host, port, *entry)

    def top(self, count: int) -> list[dict[str, Any]]:
        """The first `count` by conversations and the first `count` by octets, together, most conversations first."""
        return [found._asdict() for found in sorted(self._best(count), key=_by_conversations)]

    def _best(self, count: int) -> set[Destination]:
        every = [Destination(host, port, *entry) for (host, port), entry in self._found.items()]
        by_octets = sorted(every, key=lambda found: (-found.octets, -found.conversations, found.host, found.port))
        return {*sorted(every, key=_by_conversations)[:count], *by_octets[:count]}

    def _drop(self) -> None:
        best = {(found.host, found.port) for found in self._best(MAX_DESTINATIONS // 2)}
        dropped = self._found.keys() - best
        self.left_out += sum(map(itemgetter(0), (self._found.pop(key) for key in dropped)))


def _by_conversations(found: Destination) -> tuple[int, int, str, int]:
    return -found.conversations, -found.octets, found.host, found.port
