"""Several captures as one, in time order.

Files of a rotating capture follow each other; files of two interfaces overlap and are merged. As with mergecap, each
file keeps its own order, and of the next frames of all files the earliest comes first. That equals sorting all frames
by the latest time so far in their file (their clock), ties in the order of the names. So batches can be merged up to
the earliest of their last clocks, and a file need not be open before its first frame's turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, Socks5sniffError
from .batch import FrameBatch, Interface
from .decode import parts
from .reader import REGION, batches
from .source import STANDARD_INPUT, Input, Source

Progress = Callable[[int, int], None]
"""Called with the octets consumed so far, and with all octets there are, 0 where a pipe is among the inputs.
They are counted as stored: compressed, where the file is."""

_LEAST_REGION = 64 << 10
"""Octets read to see when a file begins, and the least that one of many overlapping files reads at a time."""


def open_captures(names: Sequence[Input], progress: Progress | None = None) -> Iterator[FrameBatch]:
    """The frames of one capture in file order, or of several in time order, numbered from 1 over all.

    Args:
        names: paths of pcap or pcapng files, plain or compressed (gzip, bzip2, xz, zstd, lz4), or binary files that
            are open; `-` is standard input.
        progress: called after each batch.

    Returns:
        Batches; the octets of one are valid until the next is asked for.

    Raises:
        InputError: an input cannot be opened or is not a capture.
        DamagedInputError: an input is damaged or truncated; its `frame` counts that input's own frames.
        MissingError: an input is compressed and the package to decompress it is not installed.
            All are raised by the iterator, after all frames of all inputs that can be read.
    """
    if list(names).count(STANDARD_INPUT) > 1:
        raise InputError("-: standard input can be read only once")
    inputs = [_Input(given, place) for place, given in enumerate(names)]
    faults: list[Socks5sniffError] = []
    frames = inputs[0].batches([], REGION) if len(inputs) == 1 else _merged(inputs, faults)
    number = 1
    try:
        for batch in frames:
            batch.first_number = number
            number += len(batch)
            yield batch
            if progress is not None:
                totals = [one.total for one in inputs if one.total is not None]
                progress(sum(one.consumed for one in inputs), sum(totals) if len(totals) == len(inputs) else 0)
    finally:
        for one in inputs:
            one.close()
    if faults:
        faults[0].args = ("; ".join(str(fault) for fault in faults),)
        raise faults[0]


class _Input:
    """One of the captures, and the batch of it that is being merged.

    Attributes:
        place: its place among the names.
        first: time of its first frame, once peeked at.
        total: octets of the file, None for a pipe and before it is opened.
        clock: for each frame of the batch, the latest time so far in this capture.
        row: how many frames of the batch are taken.
    """

    def __init__(self, given: Input, place: int) -> None:
        self._given = given
        self.place = place
        self.first = 0
        self.total: int | None = None
        self.clock = np.empty(0, np.int64)
        self.row = 0
        self._source: Source | None = None
        self._frames: Iterator[FrameBatch] = iter(())
        self._batch: FrameBatch | None = None

    @property
    def consumed(self) -> int:
        """Octets read so far, as stored."""
        return 0 if self._source is None else self._source.consumed

    def batches(self, interfaces: list[Interface], region: int) -> Iterator[FrameBatch]:
        """Opens the capture; its frames in file order."""
        yield from batches(self._open(), interfaces, region)

    def peek(self, interfaces: list[Interface]) -> bool:
        """Learns the time of the first frame; False where there is none. A file is closed until `start`."""
        source = self._open()
        again = source.reopenable
        self._frames = batches(source, [] if again else interfaces, _LEAST_REGION if again else REGION)
        if not self.advance():
            return False
        self.first = int(self.clock[0])
        if again:
            self.close()
            self.clock = np.empty(0, np.int64)
            self._source = self._batch = None
        return True

    def start(self, interfaces: list[Interface], region: int) -> bool:
        """Makes the first batch ready; False where there is none."""
        if self._batch is None:
            self._frames = self.batches(interfaces, region)
            return self.advance()
        return True

    def advance(self) -> bool:
        """Makes the next batch ready, if the present one is taken; False at the end."""
        if self.row < len(self.clock):
            return True
        self._batch = next(self._frames, None)
        if self._batch is None:
            return False
        self.clock = np.maximum.accumulate(np.concatenate((self.clock[-1:], self._batch.time)))[-len(self._batch) :]
        self.row = 0
        return True

    def take(self, until: int, inclusive: bool) -> FrameBatch | None:
        """The frames of the batch whose clock is before `until`, or also those at it; None where there are none."""
        assert self._batch is not None
        begin = self.row
        self.row = int(np.searchsorted(self.clock, until, "right" if inclusive else "left"))
        return _rows(self._batch, slice(begin, self.row)) if self.row > begin else None

    def close(self) -> None:
        """Closes the capture."""
        if self._source is not None:
            self._source.close()

    def _open(self) -> Source:
        self._source = Source(self._given)
        self.total = self._source.total
        return self._source


def _merged(inputs: list[_Input], faults: list[Socks5sniffError]) -> Iterator[FrameBatch]:
    """The frames of several captures in time order. A fault is noted and ends only its own capture."""
    interfaces: list[Interface] = []

    def able(step: Callable[..., bool], *arguments: object) -> bool:
        try:
            return step(*arguments)
        except Socks5sniffError as fault:
            faults.append(fault)
            return False

    waiting = sorted((one for one in inputs if able(one.peek, interfaces)), key=lambda one: one.first, reverse=True)
    active: list[_Input] = []
    while active or waiting:
        while waiting and all(waiting[-1].first <= one.clock[-1] for one in active):
            one = waiting.pop()
            if able(one.start, interfaces, max(REGION // (len(active) + 1), _LEAST_REGION)):
                active.append(one)
        if not active:
            continue
        # What comes after this batch of this capture is not known yet, so nothing later may leave.
        edge = min(active, key=lambda one: (one.clock[-1], one.place))
        until = int(edge.clock[-1])
        active.sort(key=lambda one: one.place)
        takes = [(one, one.row, one.take(until, one.place <= edge.place)) for one in active]
        yield from _merge([(one.clock[row : one.row], batch) for one, row, batch in takes if batch is not None])
        active = [one for one in active if able(one.advance)]


def _merge(takes: list[tuple[NDArray[np.int64], FrameBatch]]) -> Iterator[FrameBatch]:
    """Several captures' frames in the order of their clocks."""
    if len(takes) == 1:
        yield takes[0][1]
        return
    pieces = []
    size = 0
    for _, batch in takes:
        low = int(batch.offset.min())
        pieces.append(batch.octets[low : int((batch.offset + batch.captured).max())])
        batch.offset = batch.offset + (size - low)
        size += len(pieces[-1])
    octets = np.concatenate(pieces)
    order = np.argsort(np.concatenate([clock for clock, _ in takes]), kind="stable")
    joined = FrameBatch(
        octets=octets,
        offset=np.concatenate([batch.offset for _, batch in takes]),
        captured=np.concatenate([batch.captured for _, batch in takes]),
        length=np.concatenate([batch.length for _, batch in takes]),
        time=np.concatenate([batch.time for _, batch in takes]),
        first_number=1,
        interface=np.concatenate([batch.interface for _, batch in takes]),
        interfaces=takes[0][1].interfaces,
    )
    for rows in parts(order):
        yield _rows(joined, rows)


def _rows(batch: FrameBatch, rows: slice | NDArray[np.intp]) -> FrameBatch:
    """Some rows of a batch."""
    return FrameBatch(
        octets=batch.octets,
        offset=batch.offset[rows],
        captured=batch.captured[rows],
        length=batch.length[rows],
        time=batch.time[rows],
        first_number=batch.first_number,
        interface=batch.interface[rows],
        interfaces=batch.interfaces,
    )
