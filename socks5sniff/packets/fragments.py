"""IP fragments put together (RFC 791 s3.2, RFC 8200 s4.5), with the hole list of RFC 815."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple

LARGEST = 65535
"""Octets an IP packet's payload can have at most."""
_HOLES = 512
_PARTS = 8192
"""Fragments of a packet that are remembered by number: with copies, all that it can have."""


class FragmentKey(NamedTuple):
    """What the fragments of one packet have in common."""

    interface: str
    """Its name: files that follow each other have the same."""
    network: int
    source: bytes
    destination: bytes
    protocol: int
    """IPv4's protocol number; -1 for IPv6, where the identification alone tells packets apart."""
    identification: int


class Whole(NamedTuple):
    """The payload of a packet put together."""

    protocol: int
    """IP protocol number of the octets, as the first fragment says."""
    octets: bytes
    parts: list[tuple[int, int, int]]
    """Of each fragment that its caller numbered: where it starts, its length, and the number."""


@dataclass(slots=True)
class _Partial:
    time: int
    octets: bytearray = field(default_factory=bytearray)
    holes: list[tuple[int, int]] = field(default_factory=lambda: [(0, LARGEST)])
    total: int | None = None
    protocol: int = -1
    fragments: int = 0
    parts: list[tuple[int, int, int]] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)

    def add(self, start: int, octets: bytes, last: bool) -> bool:
        """Fill holes (the first copy of an octet wins). False for a fragment that contradicts the earlier ones."""
        end = start + len(octets)
        if len(self.holes) > _HOLES:
            return False
        if last:
            if len(self.octets) > end or (self.total is not None and self.total != end):
                return False
            self.total = end
        elif end > (LARGEST if self.total is None else self.total):
            return False
        if end > len(self.octets):
            self.octets.extend(bytes(end - len(self.octets)))
        self._fill(start, end, octets)
        return True

    def _fill(self, start: int, end: int, octets: bytes) -> None:
        """Only the holes that the fragment meets are touched: there can be hundreds of others."""
        holes = self.holes
        if self.total is not None:
            while holes and holes[-1][0] >= self.total:
                holes.pop()
            if holes and holes[-1][1] > self.total:
                holes[-1] = holes[-1][0], self.total
        begin = bisect_left(holes, start, key=_high)
        if begin < len(holes) and holes[begin][1] == start:
            begin += 1
        behind = begin
        left: list[tuple[int, int]] = []
        while behind < len(holes) and holes[behind][0] < end:
            low, high = holes[behind]
            first, stop = max(low, start), min(high, end)
            self.octets[first:stop] = octets[first - start : stop - start]
            left += [(low, first)] * (low < first) + [(stop, high)] * (stop < high)
            behind += 1
        holes[begin:behind] = left


def _high(hole: tuple[int, int]) -> int:
    return hole[1]


class Reassembler:
    """Puts IP packets together from fragments that come in any order.

    Bounds: `packets` unfinished packets, `octets` octets in them, `seconds` of capture time since a packet's first
    fragment; the oldest packets leave first.

    Attributes:
        dropped: fragments that contradicted others or left with an unfinished packet.
        lost: frames of packets that left unfinished; None where nobody asks for them.
    """

    def __init__(self, packets: int = 1024, octets: int = 16 << 20, seconds: int = 30) -> None:
        self.dropped = 0
        self.lost: list[int] | None = None
        self._packets = packets
        self._octets = octets
        self._lifetime = seconds * 1_000_000_000
        self._partial: dict[FragmentKey, _Partial] = {}
        self._held = 0

    def __len__(self) -> int:
        """Number of unfinished packets."""
        return len(self._partial)

    def add(
        self,
        key: FragmentKey,
        time: int,
        start: int,
        octets: bytes,
        last: bool,
        protocol: int,
        number: int | None = None,
        frame: int = 0,
    ) -> Whole | None:
        """One fragment; the whole packet's payload when this was the last one missing.

        Args:
            time: ns since 1970.
            start: where in the packet's payload the fragment's octets lie.
            last: no more fragments follow this one.
            protocol: IP protocol number of the payload; believed of the fragment with `start` 0.
            number: by which the caller knows the fragment, to be told of it with the whole packet.
            frame: its number.
        """
        self._expire(time)
        partial = self._partial.get(key)
        if partial is None:
            partial = self._partial[key] = _Partial(time)
        partial.frames.append(frame)
        before = len(partial.octets)
        if octets and start + len(octets) <= LARGEST and partial.add(start, octets, last):
            partial.fragments += 1
            if number is not None and len(partial.parts) < _PARTS:
                partial.parts.append((start, len(octets), number))
            if start == 0 and partial.protocol < 0:
                partial.protocol = protocol
        else:
            self.dropped += 1
        self._held += len(partial.octets) - before
        if not partial.holes:
            self._remove(key)
            return Whole(partial.protocol, bytes(partial.octets), partial.parts)
        while self._held > self._octets or len(self._partial) > self._packets:
            self._drop(next(iter(self._partial)))
        return None

    def unfinished(self) -> tuple[list[int], int]:
        """The frames of all packets that were not completed, in order, and how many others were dropped."""
        lost = self.lost or []
        left = [frame for partial in self._partial.values() for frame in partial.frames]
        refused = len(left) - sum(partial.fragments for partial in self._partial.values())
        return sorted(lost + left), self.dropped - len(lost) - refused

    def _expire(self, time: int) -> None:
        while self._partial:
            key = next(iter(self._partial))
            if time - self._partial[key].time <= self._lifetime:
                return
            self._drop(key)

    def _remove(self, key: FragmentKey) -> _Partial:
        partial = self._partial.pop(key)
        self._held -= len(partial.octets)
        return partial

    def _drop(self, key: FragmentKey) -> None:
        gone = self._remove(key)
        self.dropped += gone.fragments
        if self.lost is not None:
            self.lost += gone.frames
