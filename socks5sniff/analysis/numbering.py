"""Ids of conversations, in the order of their first packets.

The place of a conversation in that order is an integer; a connection's is that of its first frame, one inside a tunnel
has that of the frame in which it begins. A number is certain once everything that began earlier is known to be SOCKS
or not; finished records wait for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import count
from typing import NamedTuple

from socks5sniff.record import Conversation

_DEPTHS = 4
"""Bits of a place for how deep inside tunnels a conversation is."""


def place_of(frame: int, depth: int = 0) -> int:
    """The place of a conversation whose first frame has this number."""
    return frame << _DEPTHS | depth


class Finished(NamedTuple):
    """A record that is made."""

    place: int
    record: Conversation
    outer: Conversation | None = None
    """That of the conversation whose tunnel carries this one; its place is an earlier one."""


class Numbering:
    """Numbers places of conversations, and holds their finished records until they have a number."""

    def __init__(self) -> None:
        self._places: set[int] = set()
        self._unnumbered: list[int] = []
        self._numbers: dict[int, int] = {}
        self._finished: list[Finished] = []
        self._last = 0

    @property
    def waiting(self) -> bool:
        """Whether a place has no number yet."""
        return bool(self._unnumbered)

    @property
    def held(self) -> int:
        """Finished records that are held back."""
        return len(self._finished)

    @property
    def last_frame(self) -> int:
        """The latest first frame of a finished record."""
        return max((finished.place for finished in self._finished), default=0) >> _DEPTHS

    def add(self, places: Iterable[int]) -> None:
        """There are SOCKS conversations; to say so again changes nothing."""
        new = [place for place in places if place not in self._places]
        self._places.update(new)
        self._unnumbered.extend(new)

    def number(self, place: int) -> int:
        """The number of a place, 0 as long as it has none."""
        return self._numbers.get(place, 0)

    def finish(self, records: Iterable[Finished]) -> None:
        """These records are made."""
        self._finished.extend(records)

    def release(self, floor: int | None) -> list[Conversation]:
        """Number the places below `floor` (all without one), and give out the finished records that have a number."""
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
        for finished in self._finished:
            place, record, outer = finished
            number = self._numbers.pop(place, 0)
            if number:
                self._places.discard(place)
                if record.id != number:
                    record.id = number
                if outer is not None:
                    record.parent = outer.id
                ready.append(record)
            else:
                held.append(finished)
        self._finished = held
        ready.sort(key=_by_id)
        return ready


def _by_id(record: Conversation) -> int:
    return record.id
