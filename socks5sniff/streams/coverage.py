"""Which octets of each direction are in the capture: so that a hole is known for one before anybody comes to it.

Almost every direction is one interval, which two columns hold. Where there are holes, or octets still to come, the
intervals are kept as lists until they have become one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .octets import Payloads
from .slots import SlotTable

MOST = 65_536
"""Intervals of a direction; of further ones nothing is known, so that they count as missing."""

_NOTHING = np.iinfo(np.int64).min
_FURTHEST = np.int64(1 << 44)
"""No direction spans so many octets within a batch."""


class _Intervals:
    """Intervals of positions, apart from each other, in their order."""

    __slots__ = ("begins", "ends")

    def __init__(self, begin: int, end: int) -> None:
        self.begins = [begin]
        self.ends = [end]

    def add(self, begin: int, end: int) -> None:
        first = bisect_left(self.ends, begin)
        behind = bisect_right(self.begins, end)
        if first < behind:
            begin, end = min(begin, self.begins[first]), max(end, self.ends[behind - 1])
        elif len(self.begins) >= MOST:
            return
        self.begins[first:behind] = [begin]
        self.ends[first:behind] = [end]


class Coverage(SlotTable):
    """Intervals by direction and slot, in positions as `Octets` counts them.

    `low`, `edge`: where the only interval begins and ends; `edge` is smallest where there is none. `cut`: a segment had
    more octets than were captured.
    """

    PAIRS: ClassVar = {"low": (np.int64, 0), "edge": (np.int64, _NOTHING), "cut": (np.bool_, False)}

    low: NDArray[np.int64]
    edge: NDArray[np.int64]
    cut: NDArray[np.bool_]

    def __init__(self) -> None:
        super().__init__()
        # By slot and direction, where there is more than one interval.
        self._several: dict[int, _Intervals] = {}

    def reset(self, slots: NDArray[np.intp]) -> None:
        """These slots begin anew."""
        super().reset(slots)
        if self._several:
            for slot in slots.tolist():
                self._several.pop(slot * 2, None)
                self._several.pop(slot * 2 + 1, None)

    def add(self, payloads: Payloads) -> None:
        """Take a batch's payload, as far as it was captured."""
        captured = payloads.segments.captured[payloads.row]
        short = np.flatnonzero(captured < payloads.segments.length[payloads.row])
        self.cut[payloads.way[short], payloads.slot[short]] = True
        there = np.flatnonzero(captured > 0)
        if not len(there):
            return
        key = payloads.slot[there] * 2 + payloads.way[there]
        order = there[np.argsort(key, kind="stable")]
        slot, way, begin = payloads.slot[order], payloads.way[order], payloads.offset[order]
        end = begin + captured[order]
        key = slot * 2 + way
        starts = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), key[1:] != key[:-1])))
        slot, way, key = slot[starts], way[starts], key[starts]
        edge = self.edge[way, slot]
        fresh = edge == _NOTHING
        low = np.where(fresh, begin[starts], self.low[way, slot])
        edge = np.where(fresh, begin[starts], edge)
        before, furthest = running_ends(end, starts, edge)
        apart = (begin > before) | (begin < np.repeat(low, np.diff(np.append(starts, len(begin)))))
        odd = np.logical_or.reduceat(apart, starts)
        if self._several:
            odd |= np.isin(key, np.fromiter(self._several, np.int64, len(self._several)))
        plain = ~odd
        self.low[way[plain], slot[plain]] = low[plain]
        self.edge[way[plain], slot[plain]] = furthest[plain]
        bounds = np.append(starts, len(begin)).tolist()
        for run in np.flatnonzero(odd).tolist():
            rows = slice(bounds[run], bounds[run + 1])
            self._add_each(int(slot[run]), int(way[run]), begin[rows].tolist(), end[rows].tolist())

    def _add_each(self, slot: int, way: int, begins: list[int], ends: list[int]) -> None:
        intervals = self._of(slot, way) or _Intervals(begins[0], ends[0])
        for begin, end in zip(begins, ends, strict=True):
            intervals.add(begin, end)
        if len(intervals.begins) > 1:
            self._several[slot * 2 + way] = intervals
        else:
            self._several.pop(slot * 2 + way, None)
        self.low[way, slot], self.edge[way, slot] = intervals.begins[0], intervals.ends[-1]

    def _of(self, slot: int, way: int) -> _Intervals | None:
        low, edge = int(self.low[way, slot]), int(self.edge[way, slot])
        return self._several.get(slot * 2 + way) or (None if edge == _NOTHING else _Intervals(low, edge))

    def missing(self, slot: int, way: int, start: int, end: int) -> list[tuple[int, int]]:
        """Where octets between two positions are missing: each hole's begin and end."""
        intervals = self._of(slot, way)
        if intervals is None:
            return [(start, end)] if start < end else []
        holes = []
        at = start
        first = bisect_right(intervals.ends, start)
        for begin, behind in zip(intervals.begins[first:], intervals.ends[first:], strict=True):
            if at >= end:
                break
            if begin > at:
                holes.append((at, min(begin, end)))
            at = max(at, behind)
        if at < end:
            holes.append((at, end))
        return holes

    def whole(self, slots: NDArray[np.intp], way: NDArray[np.uint8], end: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether nothing of these directions is missing, from the first octet to `end`."""
        found: NDArray[np.bool_] = (self.low[way, slots] <= 0) & (self.edge[way, slots] >= end)
        if self._several:
            found &= ~np.isin(slots * 2 + way, np.fromiter(self._several, np.int64, len(self._several)))
        return found | (end <= 0)


def running_ends(
    end: NDArray[np.int64], starts: NDArray[np.intp], edge: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How far runs of rows have come before each row, and in the end.

    Args:
        end: int64[n], where each row's octets end.
        starts: intp[g], where each run begins.
        edge: int64[g], how far each had come before its first row.

    Returns:
        int64[n] and int64[g].
    """
    counts = np.diff(np.append(starts, len(end)))
    group = np.repeat(np.arange(len(starts)), counts)
    base = np.minimum(np.minimum.reduceat(end, starts), edge)
    # One accumulation does for all runs: each counts from a number that no earlier one reaches.
    lifted = np.clip(end - base[group], 0, _FURTHEST - 1) + group * _FURTHEST
    first = np.clip(edge - base, 0, _FURTHEST - 1) + np.arange(len(starts)) * _FURTHEST
    shifted = np.empty(len(end), np.int64)
    shifted[1:] = lifted[:-1]
    shifted[starts] = first
    before = np.maximum.accumulate(shifted) - group * _FURTHEST + base[group]
    last = starts + counts - 1
    return before, np.maximum(before[last], end[last])
