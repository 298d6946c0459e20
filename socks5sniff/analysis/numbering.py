"""Ids of conversations, in the order of their first packets.

The place of a conversation in that order is an integer; a connection's is that of its first frame, one inside a tunnel
has that of the frame in which it begins. A number is certain once everything that began earlier is known to be SOCKS
or not; finished records wait for it, and come out in the order in which they were finished.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch, written

_DEPTHS = 4
"""Bits of a place for how deep inside tunnels a conversation is."""


def place_of(frame: int, depth: int = 0) -> int:
    """The place of a conversation whose first frame has this number."""
    return frame << _DEPTHS | depth


class Finished(NamedTuple):
    """Records that are made.

    Attributes:
        places: by row.
        outer: by row that has one, the record of the conversation whose tunnel carries it.
    """

    batch: Batch
    places: list[int]
    outer: dict[int, Conversation]

    @staticmethod
    def none() -> Finished:
        """No records."""
        return Finished(written([]), [], {})

    def take(self, rows: NDArray[np.intp]) -> Finished:
        """Some of them."""
        chosen = rows.tolist()
        return Finished(
            self.batch.take(rows),
            [self.places[row] for row in chosen],
            {place: self.outer[row] for place, row in enumerate(chosen) if row in self.outer} if self.outer else {},
        )

    def number(self, begin: int, numbers: list[int]) -> None:
        """The rows from `begin` on have these numbers."""
        self.batch.id[begin : begin + len(numbers)] = numbers
        for row, number in enumerate(numbers, begin):
            conversation = self.batch.written[row]
            if conversation is not None:
                conversation.id = number
                outer = self.outer.get(row)
                if outer is not None:
                    conversation.parent = outer.id


class Numbering:
    """Numbers places of conversations, and holds their finished records until they have a number."""

    def __init__(self, last: int = 0) -> None:
        """Begin behind the number `last`."""
        self._places: set[int] = set()
        self._unnumbered: list[int] = []
        self._numbers: dict[int, int] = {}
        self._finished: deque[Finished] = deque()
        self._elsewhere: list[int] = []
        self._given = 0
        self._last = last
        self.held = 0

    @property
    def last_frame(self) -> int:
        """The latest first frame of a finished record."""
        latest = (max(finished.places, default=0) for finished in self._finished)
        return max(max(latest, default=0), max(self._elsewhere, default=0)) >> _DEPTHS

    def add(self, places: Iterable[int]) -> None:
        """There are SOCKS conversations; to say so again changes nothing."""
        new = [place for place in places if place not in self._places]
        self._places.update(new)
        self._unnumbered.extend(new)

    def withdraw(self, place: int) -> None:
        """There is none, as it turned out; a number that was given already is nobody's."""
        if place in self._places:
            self._places.discard(place)
            if self._numbers.pop(place, None) is None:
                self._unnumbered.remove(place)

    def number(self, place: int) -> int:
        """The number of a place, 0 as long as it has none."""
        return self._numbers.get(place, 0)

    def finish(self, finished: Finished) -> None:
        """These records are made."""
        if finished.places:
            self._finished.append(finished)
            self.held += len(finished.places)

    def take(self) -> list[Finished]:
        """The finished records, without numbers: somebody else numbers them."""
        taken = [*self._finished]
        self._finished.clear()
        self.held = 0
        return taken

    def expect(self, places: list[int]) -> None:
        """Records of these places are made, and held elsewhere until they have their numbers."""
        self.add(places)
        self.held += len(places)
        self._elsewhere.append(max(places))

    def numbered(self, places: list[int]) -> list[int]:
        """The numbers of places that were expected, 0 for those that have none yet; they are expected no more."""
        self.held -= len(places)
        self._elsewhere.remove(max(places))
        numbers = [self._numbers.pop(place, 0) for place in places]
        self._places.difference_update(place for place, number in zip(places, numbers, strict=True) if number)
        return numbers

    def release(self, floor: int | None) -> list[Batch]:
        """Number the places below `floor` (all without one), and give out the finished records that have a number."""
        if self._unnumbered:
            self._unnumbered.sort()
            certain = len(self._unnumbered) if floor is None else bisect_left(self._unnumbered, floor)
            self._numbers.update(zip(self._unnumbered[:certain], count(self._last + 1), strict=False))
            self._last += certain
            del self._unnumbered[:certain]
        ready = []
        while self._finished:
            finished = self._finished[0]
            begin = self._given
            self._give(finished)
            if self._given > begin:
                ready.append(finished.batch.slice(begin, self._given))
            if self._given < len(finished.places):
                break
            self._finished.popleft()
            self._given = 0
        return ready

    def _give(self, finished: Finished) -> None:
        """Number the rows of a batch, as far as they have one."""
        pop, discard, begin = self._numbers.pop, self._places.discard, self._given
        given = []
        for place in finished.places[begin:]:
            number = pop(place, 0)
            if not number:
                break
            discard(place)
            given.append(number)
        self._given = begin + len(given)
        self.held -= len(given)
        finished.number(begin, given)
