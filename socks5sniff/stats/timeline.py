"""What happened when: conversations, octets and open conversations in equal intervals.

Intervals are a power of two of seconds long and begin at multiples of that since 1970, as long as needed to cover
everything with MAX_INTERVALS of them: so parts that were counted apart fit together.
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import Any

from socks5sniff.record import iso_time

MAX_INTERVALS = 240
_SECOND = 1_000_000_000


class Timeline:
    """Counts by interval.

    Octets of a conversation are spread evenly from its start to its end, as the record does not say when they went.

    Attributes:
        start, end: ns, of the earliest packet and the latest one; None before the first conversation.
    """

    __slots__ = ("_ends", "_moments", "_received", "_sent", "_shift", "_starts", "end", "start")

    def __init__(self) -> None:
        self.start: int | None = None
        self.end: int | None = None
        self._shift = 0
        """An interval is 2 ** shift seconds long."""
        self._starts: Counter[int] = Counter()
        self._ends: Counter[int] = Counter()
        self._sent: Counter[int] = Counter()
        self._received: Counter[int] = Counter()
        self._moments: tuple[array[int], array[int]] | None = (array("q"), array("q"))
        """Every start and every end, as long as there are not too many."""

    def add(self, start: int, end: int, sent: int, received: int) -> None:
        """Count a conversation that lasted from `start` to `end` (ns)."""
        end = max(start, end)
        self._cover(start, end)
        first, last = self._interval(start), self._interval(end)
        self._starts[first] += 1
        self._ends[last] += 1
        if self._moments is not None:
            self._moments[0].append(start)
            self._moments[1].append(end)
        for octets, counts in ((sent, self._sent), (received, self._received)):
            if octets:
                self._spread(octets, counts, start, end, first, last)

    def sketch(self) -> None:
        """From now on open conversations are counted by interval only."""
        self._moments = None

    def merge(self, other: Timeline) -> None:
        if other.start is None or other.end is None:
            return
        self._cover(other.start, other.end)
        down = self._shift - other._shift
        for name in ("_starts", "_ends", "_sent", "_received"):
            counts = getattr(self, name)
            for interval, count in getattr(other, name).items():
                counts[interval >> down] += count
        if self._moments is not None and other._moments is not None:
            for moments, others in zip(self._moments, other._moments, strict=True):
                moments.extend(others)
        else:
            self._moments = None

    def as_list(self) -> list[dict[str, Any]]:
        """Every interval from the first to the last, also those in which nothing began."""
        if self.start is None or self.end is None:
            return []
        width = 1 << self._shift
        first, last = self._interval(self.start), self._interval(self.end)
        opened = self._open(first, last)
        return [
            {
                "start": iso_time(interval * width * _SECOND),
                "seconds": width,
                "conversations": self._starts[interval],
                "open": opened[interval - first],
                "sent": self._sent[interval],
                "received": self._received[interval],
            }
            for interval in range(first, last + 1)
        ]

    def _interval(self, time: int) -> int:
        return (time // _SECOND) >> self._shift

    def _cover(self, start: int, end: int) -> None:
        """Make room for a time."""
        self.start = start if self.start is None else min(start, self.start)
        self.end = end if self.end is None else max(end, self.end)
        before = self._shift
        while self._interval(self.end) - self._interval(self.start) >= MAX_INTERVALS:
            self._shift += 1
        down = self._shift - before
        if down:
            for name in ("_starts", "_ends", "_sent", "_received"):
                joined: Counter[int] = Counter()
                for interval, count in getattr(self, name).items():
                    joined[interval >> down] += count
                setattr(self, name, joined)

    def _spread(self, octets: int, counts: Counter[int], start: int, end: int, first: int, last: int) -> None:
        """Whole octets, each interval's share rounded so that shares of joined intervals are the sum of theirs."""
        if first == last:
            counts[first] += octets
            return
        before = 0
        for interval in range(first, last):
            limit = ((interval + 1) << self._shift) * _SECOND
            until = octets * (limit - start) // (end - start)
            counts[interval] += until - before
            before = until
        counts[last] += octets - before

    def _open(self, first: int, last: int) -> list[int]:
        """The most conversations that were open at once, by interval; an upper bound where moments are not kept."""
        most: Counter[int] = Counter()
        if self._moments is None:
            opened = 0
            for interval in range(first, last + 1):
                most[interval] = opened + self._starts[interval]
                opened = most[interval] - self._ends[interval]
        else:
            self._sweep(most)
            opened = 0
            for interval in range(first, last + 1):
                most[interval] = max(most[interval], opened)
                opened += self._starts[interval] - self._ends[interval]
        return [most[interval] for interval in range(first, last + 1)]

    def _sweep(self, most: Counter[int]) -> None:
        """Walk through all starts and ends in order; one that ends where another starts is open with it."""
        assert self._moments is not None
        starts, ends = (sorted(moments) for moments in self._moments)
        ended = 0
        for opened, start in enumerate(starts, 1):
            while ends[ended] < start:
                ended += 1
            interval = self._interval(start)
            most[interval] = max(most[interval], opened - ended)
