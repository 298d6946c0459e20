"""Checksums that stay as right or as wrong as they were, by what was changed (RFC 1624).

A checksum is adjusted by the difference between the old octets and the new ones that it covers, so nothing else has to
be known: neither the octets that the capture cut off, nor those of the other fragments, nor whether it was right at
all. One that a network card was to fill in stays as far from the right one as it was.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]


class Changes:
    """The octets in which two memories of one size differ.

    Args:
        old, new: before and after; `new` may change while this is in use, which `again` takes note of.
    """

    def __init__(self, old: NDArray[np.uint8], new: NDArray[np.uint8]) -> None:
        self.old = old
        self.new = new
        self.again()

    def again(self) -> None:
        """Look once more."""
        self.places: Places = np.flatnonzero(self.old != self.new)
        amounts = self.new[self.places].astype(np.int64) - self.old[self.places]
        odd = self.places & 1 == 1
        # Sums over the changed octets before each: those at even places, and those at odd ones.
        self._even = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.where(odd, 0, amounts))))
        self._odd = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.where(odd, amounts, 0))))

    def sums(self, starts: Places, ends: Places) -> Places:
        """By how much the sums of 16-bit words from each start to its end have changed."""
        first, last = np.searchsorted(self.places, starts), np.searchsorted(self.places, ends)
        even, odd = self._even[last] - self._even[first], self._odd[last] - self._odd[first]
        sums: Places = np.where(starts & 1 == 1, odd * 256 + even, even * 256 + odd)
        return sums

    def adjust(self, fields: Places, changes: Places, *, optional: bool = False) -> None:
        """Adjust checksums at these places by these changes of what they cover.

        Args:
            fields: places of the checksums; both octets lie in the memory.
            changes: of sums of words, without the checksum itself.
            optional: a checksum of 0 says that there is none, and one that comes to 0 is written as FFFF (UDP).
        """
        said = self.new[fields].astype(np.int64) << 8 | self.new[fields + 1]
        chosen = np.flatnonzero((changes % 0xFFFF != 0) & ~((said == 0) & optional))
        fields, said, changes = fields[chosen], said[chosen], changes[chosen]
        # In one's complement a sum is its remainder by FFFF: HC' = ~(~HC + m' - m).
        found = 0xFFFF - (0xFFFF - said + changes) % 0xFFFF
        found = np.where(found == 0xFFFF, 0xFFFF if optional else 0, found)
        self.new[fields] = found >> 8
        self.new[fields + 1] = found & 0xFF
