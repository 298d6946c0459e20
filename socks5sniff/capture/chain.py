"""Where the records of a capture file lie: chains of record headers, walked many at a time.

Each record tells only where the next one starts, which asks for a walk from record to record: 0.2 µs each in plain
Python. So places spread over the region are guessed to be record starts, and all their chains are walked in lock step
with numpy. Guesses may be wrong: payload can hold what looks like a record. Nothing is believed but this: the first
record starts where the region begins, and each next one where the one before says. `_linked` checks exactly that for
every record; where the guesses do not fit, that stretch is walked one by one.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

Memory = bytearray | mmap.mmap
"""What captures are read into."""

RECORD_LIMIT = 16 << 20
"""Largest record that is believed, octets: 64 times libpcap's largest snapshot length of 262,144; Wireshark stops at
the same size for blocks. A larger size is damage. So one record can make us hold no more than this."""

SLACK = 64
"""Octets of memory that must follow a region, so that reading a header at its very end stays inside the memory."""

_ONE_BY_ONE = 64
"""Records walked one by one before the lock step: short regions need no more, and a fault there costs no guesses."""

_STRAGGLERS = 8
"""Lock step ends when so few chains are unfinished: those are walked as quickly one by one."""


_ROUNDS = 8
"""How often the search for a plausible record start goes on where it found an implausible one."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a record header looks like, as far as the chain needs it.

    Attributes:
        order: `<` or `>`, the byte order.
        size_at: where in the record its 32-bit size field is.
        extra: octets of the record that the size field does not count.
        least: smallest size of a record, octets.
        align: records fill up to a multiple of this many octets.
        mark_at: where in the record the octets are that neighbours have in common (see `chain`).
        mark_size: how many they are, 2 or 4.
    """

    order: str
    size_at: int
    extra: int
    least: int
    align: int
    mark_at: int
    mark_size: int

    def sizes(self, memory: Memory, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sizes of the records at `starts`, octets, header and filling included."""
        sizes = _field(memory, self.order + "u4", self.size_at)[starts].astype(np.int64)
        sizes += self.extra + self.align - 1
        if self.align > 1:
            sizes &= -self.align
        return sizes

    def size(self, memory: Memory, start: int) -> int:
        """Size of the record at `start`, octets, header and filling included."""
        field: int = struct.unpack_from(self.order + "I", memory, start + self.size_at)[0]
        return field + self.extra + self.align - 1 & -self.align


def chain(memory: Memory, begin: int, end: int, layout: Layout, mark: bytes) -> tuple[NDArray[np.int64], int]:
    """Starts of the records that lie wholly in `memory[begin:end]`, in order.

    Args:
        memory: must be at least `SLACK` octets longer than `end`.
        begin: where a record starts.
        end: end of the octets that are there.
        layout: the record header.
        mark: octets that most records have at `layout.mark_at`, to guess record starts by.

    Returns:
        The starts, and where the first record starts that does not lie wholly in the region or whose size cannot be.
    """
    starts, rest = _walk(memory, begin, end, layout, set(), _ONE_BY_ONE)
    head = np.array(starts, np.int64)
    if len(starts) < _ONE_BY_ONE or rest == end:
        return head, rest
    mean = (rest - begin) // len(starts)
    # One chain costs about half as much as one step of all chains, so the sum of both is least near this number.
    seeds = _seeds(memory, rest, end, layout, mark, isqrt(2 * (end - rest) // mean) + 1)
    guessed = _lock_step(memory, end, layout, seeds)
    found, rest = _linked(memory, rest, end, layout, guessed, seeds)
    return np.concatenate((head, *found)), rest


def _walk(
    memory: Memory, start: int, end: int, layout: Layout, known: set[int], limit: int
) -> tuple[list[int], int]:
    """Record by record from `start` to a record in `known`, to one that is not whole, or to `limit` records."""
    starts: list[int] = []
    unpack = struct.Struct(layout.order + "I").unpack_from
    size_at, least, align = layout.size_at, layout.least, layout.align
    extra = layout.extra + align - 1
    while start + least <= end and len(starts) < limit and start not in known:
        size = unpack(memory, start + size_at)[0] + extra & -align
        if not least <= size <= RECORD_LIMIT or start + size > end:
            break
        starts.append(start)
        start += size
    return starts, start


def _lock_step(memory: Memory, end: int, layout: Layout, seeds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Record starts in order as the chains from `seeds` tell, each up to the next seed; right wherever its seed is."""
    targets = np.append(seeds[1:], end)
    sizes = _field(memory, layout.order + "u4", layout.size_at)
    position = seeds
    path = []
    for step in range(int((targets - seeds).max()) // layout.least + 1):
        path.append(position)
        if step % 8 == 7 and np.count_nonzero(position < targets) <= _STRAGGLERS:
            break
        position = position + sizes[position]
        position += layout.extra
        np.minimum(position, end, out=position)
    paths = np.concatenate(path).reshape(len(path), len(seeds))
    starts: NDArray[np.int64] = paths.T[(paths < targets).T]
    return starts


def _seeds(memory: Memory, begin: int, end: int, layout: Layout, mark: bytes, count: int) -> NDArray[np.int64]:
    """`begin` and up to `count` places after it that look like record starts, increasing.

    A place looks like one if the mark is there and again where the record that starts there would end.
    """
    edges = np.linspace(begin + layout.mark_at + 1, end, count + 1).astype(np.int64)
    low, high = edges[:-1], edges[1:]
    marks = _field(memory, f"u{layout.mark_size}", layout.mark_at)
    value = np.frombuffer(mark, marks.dtype)[0]
    sizes = _field(memory, layout.order + "u4", layout.size_at)
    good = [np.array([begin], np.int64)]
    find = memory.find
    for _ in range(_ROUNDS):
        places = np.array([find(mark, a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)], np.int64)
        found = np.flatnonzero(places >= 0)
        low, high, places = low[found], high[found], places[found] - layout.mark_at
        ends = places + sizes[places] + layout.extra
        inside = (ends >= places + layout.least) & (ends + layout.least <= end)
        fits = inside & (marks[np.where(inside, ends, begin)] == value)
        good.append(places[fits])
        low, high = places[~fits] + layout.mark_at + 1, high[~fits]
        if not len(low):
            break
    return np.sort(np.concatenate(good))


def _linked(
    memory: Memory, begin: int, end: int, layout: Layout, guessed: NDArray[np.int64], seeds: NDArray[np.int64]
) -> tuple[list[NDArray[np.int64]], int]:
    """The true record starts from `begin` on: stretches of `guessed` that are linked, else walked one by one."""
    sizes = layout.sizes(memory, guessed)
    following = guessed + sizes
    whole = (sizes >= layout.least) & (sizes <= RECORD_LIMIT) & (following <= end)
    linked = whole[:-1] & (following[:-1] == guessed[1:])
    breaks = np.append(np.flatnonzero(~linked), len(guessed) - 1)
    known = set(seeds[seeds < end].tolist())
    found = []
    start = begin
    while True:
        row = int(np.searchsorted(guessed, start))
        if row < len(guessed) and guessed[row] == start:
            last = int(breaks[np.searchsorted(breaks, row)])
            if not whole[last]:
                found.append(guessed[row:last])
                return found, int(guessed[last])
            found.append(guessed[row : last + 1])
            start = int(following[last])
        starts, start = _walk(memory, start, end, layout, known, len(memory))
        found.append(np.array(starts, np.int64))
        if start not in known:
            return found, start


def _field(memory: Memory, kind: str, at: int) -> NDArray[np.unsignedinteger]:
    """The field `kind` of a record at any start: item s of the array is the field of the record that starts at s."""
    field: NDArray[np.unsignedinteger] = np.ndarray((len(memory) - SLACK + 1,), np.dtype(kind), memory, at, (1,))
    return field
