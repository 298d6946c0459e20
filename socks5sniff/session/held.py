"""Octets of one side that cannot be read yet, with where each came from."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple


class Run(NamedTuple):
    """Contiguous octets of one segment."""

    side: int
    octets: bytes
    frame: int
    time: int


class Held:
    """A bounded buffer. What does not fit is dropped from its end on, and `cut` says so: then nothing follows.

    Attributes:
        octets: the octets held.
        start: the stream offset of the first of them.
        cut: octets after these are not held.
        need: with fewer octets than this, trying to read a frame is in vain.
        lost: stream offset where octets that stand for a gap end; such octets are zeros.
    """

    __slots__ = ("_frames", "_offsets", "_times", "cut", "lost", "need", "octets", "start")

    def __init__(self, start: int) -> None:
        self.octets = bytearray()
        self.start = start
        self.cut = False
        self.need = 1
        self.lost = -1
        self._offsets: list[int] = []
        self._frames: list[int] = []
        self._times: list[int] = []

    def __len__(self) -> int:
        return len(self.octets)

    def add(self, octets: bytes, frame: int, time: int, limit: int) -> None:
        """Octets that follow the held ones; at most `limit` are held in all."""
        if self.cut:
            return
        have = len(self.octets)
        if have + len(octets) > limit:
            octets = octets[: max(limit - have, 0)]
            self.cut = True
        if octets:
            self._offsets.append(self.start + have)
            self._frames.append(frame)
            self._times.append(time)
            self.octets += octets

    def first_segment(self) -> bytes:
        """The held octets of the first segment."""
        end = self._offsets[1] - self.start if len(self._offsets) > 1 else len(self.octets)
        return bytes(self.octets[:end])

    def source(self, index: int) -> tuple[int, int]:
        """Frame number and time of the held octet with this index."""
        run = bisect_right(self._offsets, self.start + index) - 1
        return self._frames[run], self._times[run]

    def completion(self, length: int) -> tuple[int, int]:
        """Frame number and time of the segment that completed the first `length` octets: the latest of theirs."""
        runs = bisect_right(self._offsets, self.start + length - 1)
        return max(zip(self._frames[:runs], self._times[:runs], strict=True))

    def drop(self, length: int) -> None:
        """Forget the first `length` octets."""
        del self.octets[:length]
        self.start += length
        self.need = 1
        runs = bisect_right(self._offsets, self.start) - 1 if self.octets else len(self._offsets)
        if runs > 0:
            del self._offsets[:runs], self._frames[:runs], self._times[:runs]

    def take(self, side: int) -> list[Run]:
        """All held octets by segment, and forget them."""
        ends = [*self._offsets[1:], self.start + len(self.octets)][: len(self._offsets)]
        runs = [
            Run(side, bytes(self.octets[max(begin - self.start, 0) : end - self.start]), frame, time)
            for begin, end, frame, time in zip(self._offsets, ends, self._frames, self._times, strict=True)
        ]
        self.drop(len(self.octets))
        return runs


class Segments:
    """By side, the segments that frames came in, as far as it takes to see several frames in one.

    Attributes:
        last: the segment that the last frame ended in.
        piped: the last segment that was found to hold several. The dialogue inside GSSAPI tokens shares it: a segment
            is found but once to hold several frames, outside or inside.
    """

    __slots__ = ("last", "piped")

    def __init__(self, piped: list[int] | None = None) -> None:
        self.last = [0, 0]
        self.piped = [0, 0] if piped is None else piped

    def several(self, side: int, first: int, last: int) -> bool:
        """A frame came in the segments `first` to `last`: whether `first` is now found to hold more than one."""
        found = self.last[side] == first != self.piped[side]
        if found:
            self.piped[side] = first
        self.last[side] = last
        return found
