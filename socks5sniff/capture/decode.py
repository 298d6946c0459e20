"""What the readers of both capture formats have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .batch import FrameBatch
from .chain import Memory

BATCH = 16_384
"""Most frames of a batch: the columns of this many stay in a core's cache."""


class DamageError(Exception):
    """A fault in the input. `position` is where the damaged record starts in memory, None where that is not known."""

    def __init__(self, what: str, position: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.position = position


class Decoder(Protocol):
    """Turns the octets of one capture into batches, region by region.

    Attributes:
        rest: after `batches`, where the first record starts that was not whole yet.
    """

    rest: int

    def batches(self, memory: Memory, octets: NDArray[np.uint8], begin: int, end: int) -> Iterator[FrameBatch]:
        """Frames of all whole records in `memory[begin:end]`, of which `octets` is a view.

        Raises:
            DamageError: after all frames before the damaged record.
        """
        ...

    def needed(self, memory: Memory, begin: int, end: int) -> int:
        """Octets that the unfinished record at `begin` needs in all, as far as its octets up to `end` tell.

        Raises:
            DamageError: that record cannot be.
        """
        ...


def headers(memory: Memory, starts: NDArray[np.int64], size: int, order: str) -> NDArray[np.uint32]:
    """The first `size` octets of the records at `starts` as 32-bit numbers: one row per record."""
    overlapping: NDArray[np.void] = np.ndarray((len(memory) - size + 1,), np.dtype((np.void, size)), memory, 0, (1,))
    return overlapping[starts].view(order + "u4").reshape(-1, size // 4)


def parts(starts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """`starts` in equal parts of at most `BATCH`."""
    count = -(-len(starts) // BATCH)
    return np.array_split(starts, count) if count > 1 else [starts] if count else []
