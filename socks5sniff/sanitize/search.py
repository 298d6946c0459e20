"""Many octet strings looked for at once, whatever the case of their letters.

A string of seven octets or more covers four octets that begin at a multiple of four, wherever it lies. So of every
fourth place four octets are looked up in a table, column-wise; only where the table says that they may be a string's
are octets compared. Shorter strings are looked for one by one where they are few, and else at every place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAST = 4
"""Octets of the shortest string that is looked for: shorter ones are everywhere by chance."""
_VARIETY, _LONG = 3, 7
"""Different octets that a string must have to be looked for, unless it is long: runs of one octet are filling."""
_WORD = 4
_FEW = 16
"""Short strings that are looked for one by one."""
_BITS = 16
_FACTOR = np.uint32(0x9E3779B1)


class Hit(NamedTuple):
    """A string that was found."""

    at: int
    length: int
    kind: int


class Search:
    """Strings to look for.

    Attributes:
        longest: octets of the longest one; 0 where there are none.
    """

    def __init__(self, strings: Iterable[tuple[bytes, int]]) -> None:
        """
        Args:
            strings: each with its kind; of equal ones the first counts. Those that `worth` says are not are left out.
        """
        self._kinds: dict[bytes, int] = {}
        # By their first four octets, the lengths of strings, the longest first; by four octets, where in strings.
        self._lengths: dict[bytes, list[int]] = {}
        self._steps: dict[bytes, set[int]] = {}
        self._table = np.zeros(1 << _BITS, np.bool_)
        for octets, kind in strings:
            if worth(octets):
                self._kinds.setdefault(octets.lower(), kind)
        for octets in self._kinds:
            self._lengths.setdefault(octets[:LEAST], []).append(len(octets))
            for step in range(_WORD) if len(octets) >= _LONG else ():
                self._steps.setdefault(octets[step : step + _WORD], set()).add(step)
        for lengths in self._lengths.values():
            lengths.sort(reverse=True)
        self._short = [octets for octets in self._kinds if len(octets) < _LONG]
        self.longest = max(map(len, self._kinds), default=0)
        if self._steps:
            self._table[_hashes(np.frombuffer(b"".join(self._steps), "<u4"))] = True
        self._heads = np.zeros(1 << _BITS, np.bool_)
        if self._short:
            self._heads[_hashes(np.frombuffer(b"".join(octets[:_WORD] for octets in self._short), "<u4"))] = True

    def __len__(self) -> int:
        """Number of strings."""
        return len(self._kinds)

    def find(self, memory: NDArray[np.uint8]) -> list[Hit]:
        """Where strings are, by place; of those that begin at one place the longest, and none that overlap."""
        if not self._kinds or len(memory) < LEAST:
            return []
        lower = memory.tobytes().lower()
        found: list[Hit] = []
        end = 0
        for at in self._places(lower):
            for length in self._lengths.get(lower[at : at + LEAST], ()) if at >= end else ():
                kind = self._kinds.get(lower[at : at + length])
                if kind is not None and at + length <= len(lower):
                    found.append(Hit(at, length, kind))
                    end = at + length
                    break
        return found

    def _places(self, lower: bytes) -> list[int]:
        """Where strings may begin, in order."""
        places: set[int] = set()
        words = np.frombuffer(lower, "<u4", len(lower) // _WORD)
        for place in (np.flatnonzero(self._table[_hashes(words)]) * _WORD).tolist() if self._steps else ():
            places.update(place - step for step in self._steps.get(lower[place : place + _WORD], ()) if step <= place)
        if len(self._short) > _FEW:
            every: NDArray[np.uint32] = np.ndarray((len(lower) - _WORD + 1,), "<u4", lower, strides=(1,))
            places.update(np.flatnonzero(self._heads[_hashes(every)]).tolist())
            return sorted(places)
        for octets in self._short:
            at = lower.find(octets)
            while at >= 0:
                places.add(at)
                at = lower.find(octets, at + 1)
        return sorted(places)


def worth(octets: bytes) -> bool:
    """Whether a string is long and distinct enough that its octets elsewhere are no accident."""
    return len(octets) >= LEAST and (len(set(octets)) >= _VARIETY or (len(set(octets)) > 1 and len(octets) >= _LONG))


def _hashes(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    hashes: NDArray[np.uint32] = (words * _FACTOR) >> np.uint32(32 - _BITS)
    return hashes
