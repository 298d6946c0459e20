"""Where in TCP streams octets are to be overwritten, and by what.

A place in a stream is a position in one direction of a connection, as `streams.octets` counts them: every copy of an
octet has the same position, whatever segment it came in. So whoever knows a range of positions reaches all copies.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_REACH = 1 << 40
"""Positions are below this; streams are numbered above."""


class Ranges:
    """Ranges of positions, each with the octets that are there and what they are.

    Before `close` ranges are added; after it they are looked up.
    """

    def __init__(self) -> None:
        self._keys = array("q")
        self._starts = array("q")
        self._places = array("q")
        self._lengths = array("q")
        self._kinds = array("b")
        self._octets = bytearray()
        self._directions = np.empty(0, np.int64)
        self._begin = np.empty(0, np.int64)
        self._order = np.empty(0, np.intp)
        self._longest = 0

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, stream: int, way: int, start: int, octets: bytes, kind: int) -> None:
        """These octets are at this position of a direction; what lies before its first octet is left out."""
        if start < 0:
            octets, start = octets[-start:], 0
        if not octets:
            return
        self._keys.append(stream << 1 | way)
        self._starts.append(start)
        self._places.append(len(self._octets))
        self._lengths.append(len(octets))
        self._kinds.append(kind)
        self._octets += octets

    def close(self, replacement: Callable[[bytes, int], bytes]) -> None:
        """All are known: replace their octets, given those and their kind, by as many others."""
        octets = bytes(self._octets)
        for place, length, kind in zip(self._places, self._lengths, self._kinds, strict=True):
            self._octets[place : place + length] = replacement(octets[place : place + length], kind)
        keys = np.frombuffer(self._keys, np.int64) if self._keys else np.empty(0, np.int64)
        self._directions, dense = np.unique(keys, return_inverse=True)
        starts = np.frombuffer(self._starts, np.int64) if self._starts else np.empty(0, np.int64)
        composite = dense.ravel().astype(np.int64) * _REACH + np.minimum(starts, _REACH - 1)
        # Stable, so that of ranges that overlap the later ones are written later.
        self._order = np.argsort(composite, kind="stable")
        self._begin = composite[self._order]
        self._longest = max(self._lengths, default=0)

    def overlapping(
        self, keys: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> list[tuple[int, int, bytes]]:
        """What to write into segments.

        Args:
            keys: of each segment, the stream's number times two plus the direction.
            starts, lengths: the positions of its octets.

        Returns:
            Rows, where in their octets to write, and what.
        """
        if not len(self._directions) or not len(keys):
            return []
        at = np.minimum(np.searchsorted(self._directions, keys), len(self._directions) - 1)
        known = np.flatnonzero((self._directions[at] == keys) & (starts + lengths > 0))
        first = at[known] * _REACH + starts[known]
        low = np.searchsorted(self._begin, np.maximum(first - self._longest + 1, at[known] * _REACH))
        high = np.searchsorted(self._begin, first + lengths[known])
        found: list[tuple[int, int, bytes]] = []
        for place in np.flatnonzero(high > low).tolist():
            row = int(known[place])
            found += self._cut(row, int(starts[row]), int(lengths[row]), int(low[place]), int(high[place]))
        return found

    def _cut(self, row: int, start: int, length: int, low: int, high: int) -> list[tuple[int, int, bytes]]:
        found = []
        for number in sorted(self._order[low:high].tolist()):
            ahead = self._starts[number] - start
            begin, end = max(ahead, 0), min(ahead + self._lengths[number], length)
            if begin < end:
                place = self._places[number] - ahead
                found.append((row, begin, bytes(self._octets[place + begin : place + end])))
        return found
