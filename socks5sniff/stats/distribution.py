"""Quantiles of times: exact while the values are kept, within a stated error when there were too many to keep."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import ceil, floor, log

ERROR = 0.005
"""Relative error of each value once a distribution is sketched: half a percent."""
_GROWTH = (1 + ERROR) / (1 - ERROR)
_LOG_GROWTH = log(_GROWTH)
_SMALLEST = 1e-9
"""Seconds that count as none; times have whole nanoseconds."""
_LARGEST = 1e10
"""Seconds above which values are not told apart: what a capture's 64 bits of nanoseconds hold."""


class Distribution:
    """Times in seconds, none of them negative.

    A sketch counts values in bins whose limits grow by one percent (as in DDSketch, Masson and others, 2019): 3,200
    bins reach from a nanosecond to a day. Merging adds the counts, so that no order of merging matters.
    """

    __slots__ = ("_bins", "_values", "largest")

    def __init__(self) -> None:
        self._values: array[float] | None = array("d")
        self._bins: Counter[int | None] = Counter()
        self.largest: float | None = None
        """The largest value, exact; None where there is none."""

    def __len__(self) -> int:
        return self._bins.total() if self._values is None else len(self._values)

    @property
    def exact(self) -> bool:
        """Whether all values are kept."""
        return self._values is not None

    def add(self, value: float) -> None:
        if self.largest is None or value > self.largest:
            self.largest = value
        if self._values is None:
            self._bins[_bin(value)] += 1
        else:
            self._values.append(value)

    def sketch(self) -> None:
        """From now on only counts are kept."""
        if self._values is not None:
            self._bins.update(map(_bin, self._values))
            self._values = None

    def merge(self, other: Distribution) -> None:
        """Add the values of another one, which stays as it is. A sketch and an exact one make a sketch."""
        if other.largest is not None and (self.largest is None or other.largest > self.largest):
            self.largest = other.largest
        if other._values is None:
            self.sketch()
            self._bins.update(other._bins)
        elif self._values is None:
            self._bins.update(map(_bin, other._values))
        else:
            self._values.extend(other._values)

    def quantiles(self, fractions: Sequence[float]) -> list[float | None]:
        """The values below which these fractions of all lie, with linear interpolation between neighbours.

        The value at the rank h = (n - 1) * fraction, counted from 0; between two ranks in proportion (Hyndman and Fan's
        type 7). None where there is no value at all.
        """
        count = len(self)
        if not count:
            return [None] * len(fractions)
        ranks = [(count - 1) * fraction for fraction in fractions]
        value = self._by_rank()
        found: list[float | None] = []
        for rank in ranks:
            low, high = value(floor(rank)), value(ceil(rank))
            found.append(low + (high - low) * (rank - floor(rank)))
        return found

    def _by_rank(self) -> Callable[[int], float]:
        """A function from a rank, counted from 0, to the value there."""
        if self._values is not None:
            return sorted(self._values).__getitem__
        bins = sorted(self._bins.items(), key=lambda entry: -(10**9) if entry[0] is None else entry[0])
        totals = list(accumulate(count for _, count in bins))
        return lambda rank: _middle(bins[bisect_right(totals, rank)][0])


def _bin(value: float) -> int | None:
    return ceil(log(min(value, _LARGEST)) / _LOG_GROWTH) if value > _SMALLEST else None


def _middle(index: int | None) -> float:
    """The value that is at most ERROR away from every value of a bin."""
    return 0.0 if index is None else float(2 * _GROWTH**index / (_GROWTH + 1))
