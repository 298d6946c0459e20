"""Frames that are held back for a moment before they are written.

That a conversation is SOCKS, and what comes of it, is known a few packets after its first one, which is to carry the
comment; and with a selection, whether a frame is wanted at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..capture.writer import Blocks

HOLD = 500_000_000
"""Nanoseconds that frames are held back."""
HOLD_OCTETS = 64 << 20
"""Octets held back at most; then the oldest are written sooner."""


@dataclass(slots=True)
class Held:
    """A batch that waits to be written.

    Attributes:
        blocks: its frames.
        first_number: of its first frame.
        taken: when, nanoseconds since 1970.
        streams: the stream that each frame belongs to, None to keep all.
        comments: what gives the comment, by the row of its frame.
    """

    blocks: Blocks
    first_number: int
    taken: int
    streams: NDArray[np.int64] | None
    comments: dict[int, Callable[[], str]] = field(default_factory=dict)


class Holding:
    """A queue of batches."""

    def __init__(self) -> None:
        self._held: deque[Held] = deque()
        self._octets = 0

    def add(self, held: Held) -> None:
        self._held.append(held)
        self._octets += len(held.blocks.octets)

    def comment(self, frame: int, text: Callable[[], str]) -> None:
        """Comment the frame of that number, if it is still here; a later comment replaces an earlier one."""
        for held in reversed(self._held):
            row = frame - held.first_number
            if row >= 0:
                if row < len(held.blocks.starts):
                    held.comments[row] = text
                return

    def due(self, now: int, everything: bool) -> Iterator[Held]:
        """Those that have been held back long enough, or all; they are out of here then."""
        while self._held:
            held = self._held[0]
            if not everything and held.taken > now - HOLD and self._octets <= HOLD_OCTETS:
                return
            self._held.popleft()
            self._octets -= len(held.blocks.octets)
            yield held

    def clear(self) -> int:
        """Throw all away; how many frames that are."""
        count = sum(len(held.blocks.starts) for held in self._held)
        self._held.clear()
        self._octets = 0
        return count
