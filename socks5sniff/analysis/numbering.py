"""Ids of conversations, in the order of their connections' first packets.

A number is certain once every connection that began earlier is known to be SOCKS or not; finished records wait for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import count

from socks5sniff.record import Conversation

MAX_HELD = 8192
"""Finished records held back for their number; beyond that, later ones are numbered as if no earlier one could come."""


class Numbering:
    """Numbers streams that are SOCKS, and holds their finished records until they have a number."""

    def __init__(self) -> None:
        self._unnumbered: list[int] = []
        self._numbers: dict[int, int] = {}
        self._finished: list[tuple[int, Conversation]] = []
        self._last = 0

    @property
    def waiting(self) -> bool:
        """Whether a stream has no number yet."""
        return bool(self._unnumbered)

    @property
    def full(self) -> bool:
        """Whether as many records are held back as may be."""
        return len(self._finished) >= MAX_HELD

    def add(self, streams: Iterable[int]) -> None:
        """These streams are SOCKS."""
        self._unnumbered.extend(streams)

    def number(self, stream: int) -> int:
        """The stream's number, 0 as long as it has none."""
        return self._numbers.get(stream, 0)

    def finish(self, records: Iterable[tuple[int, Conversation]]) -> None:
        """These streams' records are made."""
        self._finished.extend(records)

    def release(self, floor: int | None) -> list[Conversation]:
        """Number the streams below `floor` (all without one), and give out the finished records that have a number."""
        if self._unnumbered:
            self._unnumbered.sort()
            certain = len(self._unnumbered) if floor is None else bisect_left(self._unnumbered, floor)
            self._numbers.update(zip(self._unnumbered[:certain], count(self._last + 1), strict=False))
            self._last += certain
            del self._unnumbered[:certain]
        if not self._finished:
            return []
        held = []
        ready = []
        for stream, record in self._finished:
            number = self._numbers.pop(stream, 0)
            if number:
                if record.id != number:
                    record.id = number
                ready.append(record)
            else:
                held.append((stream, record))
        self._finished = held
        ready.sort(key=_by_id)
        return ready


def _by_id(record: Conversation) -> int:
    return record.id
