"""Many octet strings looked for at once, whatever the case of their letters.

Four octets at each place are looked up in a table first, column-wise; only where the table says that a string may
begin are octets compared.
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
_BITS = 16
_FACTOR = np.uint32(0x9E3779B1)
_LOWER = np.arange(256, dtype=np.uint8)
_LOWER[0x41:0x5B] += 0x20


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
        self._table = np.zeros(1 << _BITS, np.bool_)
        self._lengths: dict[bytes, list[int]] = {}
        for octets, kind in strings:
            if worth(octets):
                self._kinds.setdefault(octets.lower(), kind)
        for octets in self._kinds:
            lengths = self._lengths.setdefault(octets[:LEAST], [])
            if len(octets) not in lengths:
                lengths.append(len(octets))
        for lengths in self._lengths.values():
            lengths.sort(reverse=True)
        self.longest = max(map(len, self._kinds), default=0)
        if self._lengths:
            self._table[_hashes(np.frombuffer(b"".join(self._lengths), "<u4"))] = True

    def __len__(self) -> int:
        """Number of strings."""
        return len(self._kinds)

    def find(self, memory: NDArray[np.uint8]) -> list[Hit]:
        """Where strings are, by place; of those that begin at one place the longest, and none that overlap."""
        if not self._kinds or len(memory) < LEAST:
            return []
        lower = _LOWER.take(memory)
        words: NDArray[np.uint32] = np.ndarray((len(lower) - LEAST + 1,), "<u4", lower, strides=(1,))
        places = np.flatnonzero(self._table.take(_hashes(words)))
        found: list[Hit] = []
        view, end = lower.data, 0
        for at in places.tolist():
            if at < end:
                continue
            for length in self._lengths.get(bytes(view[at : at + LEAST]), ()):
                kind = self._kinds.get(bytes(view[at : at + length]))
                if kind is not None and at + length <= len(lower):
                    found.append(Hit(at, length, kind))
                    end = at + length
                    break
        return found


def worth(octets: bytes) -> bool:
    """Whether a string is long and distinct enough that its octets elsewhere are no accident."""
    return len(octets) >= LEAST and (len(set(octets)) >= _VARIETY or (len(set(octets)) > 1 and len(octets) >= _LONG))


def _hashes(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    hashes: NDArray[np.uint32] = (words * _FACTOR) >> np.uint32(32 - _BITS)
    return hashes
