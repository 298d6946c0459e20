"""Several captures as one, in time order.

Files of a rotating capture follow each other; files of two interfaces overlap and are merged. As with mergecap, each
file keeps its own order, and of the next frames of all files the earliest comes first. That equals sorting all frames
by the latest time so far in their file (their clock), ties in the order of the names. So batches can be merged up to
the earliest of their last clocks, and a file need not be read further than its first frames before its turn.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedInputError, EmptyInputError, InputError, NotACaptureError, Socks5sniffError
from .batch import FrameBatch, Interface, Process
from .decode import BATCH, parts
from .inputs import Candidate
from .join import in_one_memory, rows_of
from .position import Halts, Position
from .reader import REGION, CaptureReader
from .remote import is_url
from .source import STANDARD_INPUT, Input, Source

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

Progress = Callable[[int, int], None]
"""Called with the octets consumed so far, and with all octets there are, 0 where a pipe is among the inputs.
They are counted as stored: compressed, where the file is."""

Note = Callable[[str], None]
"""Called with a line about an input that could not be read to its end, though nothing is wrong with it."""

_PEEK = 1 << 10
"""Octets read to see when a file begins; they are kept, so there may be thousands of them."""

_LEAST_REGION = 16 << 10
"""The least that one of many overlapping files reads at a time."""

_OPEN = 128
"""With more files than this, those whose turn it is not are closed, and opened again where the reading stopped."""

_OPENING = 16
"""URLs that are opened at the same time: each is a matter of two answers of a server that may be far away."""

_DECOMPRESSORS = 8
"""With more files than this, compressed ones are begun anew at their turn: what their decompressor would have to keep
until then can be many megabytes."""

_GATHERED = 4 << 20
"""Octets of small batches that are put together at most."""


def open_captures(
    names: Sequence[Input],
    progress: Progress | None = None,
    note: Note | None = None,
    start: Position | None = None,
    halts: Halts | None = None,
) -> Iterator[FrameBatch]:
    """The frames of one capture in file order, or of several in time order, numbered from 1 over all.

    Args:
        names: paths or URLs of pcap or pcapng files, plain or compressed (gzip, bzip2, xz, zstd, lz4), or binary files
            that are open; `-` is standard input. A `Candidate` that is empty or no capture is left out.
        progress: called after each batch.
        note: called for an input among several that is empty or (a `Candidate`) no capture, and for any that ends
            within a record because it is still being written. Without it all but candidates are errors like others.
        start: of a reading of the same captures, where this one goes on.
        halts: told of places where another one could.

    Returns:
        Batches; the octets of one are valid until the next is asked for.

    Raises:
        InputError: an input cannot be opened or is not a capture, or all are candidates and none is one.
        DamagedInputError: an input is damaged or truncated; its `frame` counts that input's own frames.
        MissingError: an input is compressed or a URL, and the package that it needs is not installed.
            All are raised by the iterator, after all frames of all inputs that can be read.
    """
    if list(names).count(STANDARD_INPUT) > 1:
        raise InputError("-: standard input can be read only once")
    tally = _Tally()
    start = start or Position()
    inputs = [_Input(name, place, len(names), tally, start) for place, name in enumerate(names)]
    faults = [*start.faults]
    if len(inputs) == 1:
        frames = _only(inputs[0], note, halts)
    else:
        frames = _gathered(_merged(inputs, faults, note, start, halts))
    number = start.frames + 1
    try:
        for batch in frames:
            if isinstance(batch, Position):
                assert halts is not None, "somebody has wanted it"
                halts.reached(batch._replace(frames=number - 1))
                continue
            batch.first_number = number
            number += len(batch)
            yield batch
            if progress is not None:
                progress(tally.consumed, 0 if tally.endless else tally.total)
    finally:
        for one in inputs:
            one.close()
    if faults:
        faults[0].args = ("; ".join(str(fault) for fault in faults),)
        raise faults[0]


class _Tally:
    """Octets of all inputs.

    Attributes:
        total: octets of the files that were opened.
        endless: there is a pipe.
    """

    def __init__(self) -> None:
        self.total = 0
        self.endless = False
        self._ended = 0
        self._reading: dict[int, Source] = {}

    @property
    def consumed(self) -> int:
        """Octets read so far, as stored."""
        return self._ended + sum(source.consumed for source in self._reading.values())

    def opened(self, place: int, source: Source, again: bool) -> None:
        """An input is being read."""
        if not again:
            self.total += source.total or 0
            self.endless |= source.total is None
        self._reading[place] = source

    def closed(self, place: int, ended: bool) -> None:
        """It is read no more; `ended`: it was read."""
        source = self._reading.pop(place, None)
        if source is not None and ended:
            self._ended += source.consumed


class _Input:
    """One of the captures, and the batch of it that is being merged.

    Attributes:
        given: as the user gave it.
        place: its place among the names.
        candidate: nobody said that it is a capture.
        left_out: it is none.
        clock: for each frame of the batch, the latest time so far in this capture.
        row: how many frames of the batch are taken.
        taken: how many of the capture.
    """

    def __init__(self, name: Input, place: int, among: int, tally: _Tally, start: Position) -> None:
        self.given = name
        self.place = place
        self.candidate = isinstance(name, Candidate)
        self.left_out = False
        self.clock = np.empty(0, np.int64)
        self.row = 0
        self.taken = start.begun.get(place, 0)
        self._start = start
        self._passing = 0
        self._among = among
        self._tally = tally
        self._source: Source | None = None
        self._opening: Future[Source] | None = None
        self._reader: CaptureReader | None = None
        self._frames: Iterator[FrameBatch] = iter(())
        self._batch: FrameBatch | None = None

    @property
    def next(self) -> tuple[int, int]:
        """Clock and place of its next frame."""
        return int(self.clock[self.row]), self.place

    def all_batches(self) -> Iterator[FrameBatch]:
        """Opens the capture; its frames in file order."""
        left, known = self.taken, self._start
        reader = CaptureReader(self._open(), [*known.interfaces], [*known.processes], REGION)
        for batch in reader.batches():
            passing = min(left, len(batch))
            left -= passing
            if passing < len(batch):
                self.taken += len(batch) - passing
                yield rows_of(batch, slice(passing, None)) if passing else batch

    def peek(self, interfaces: list[Interface], processes: list[Process]) -> bool:
        """Makes the first batch ready; False where there is none."""
        source = self._open()
        anew = source.reopenable and source.compression is not None and self._among > _DECOMPRESSORS
        self._read(source, [] if anew else interfaces, [] if anew else processes)
        if not self.advance():
            return False
        if self.place not in self._start.begun and self.clock[0] <= self._start.clock:
            raise InputError(f"{self.given}: begins before what has been read already: read all of it anew")
        if anew:
            self.close(ended=False)
            self._reader = self._batch = None
            self.clock, self.row = self.clock[self.row : self.row + 1], 0
        return True

    def start(self, interfaces: list[Interface], processes: list[Process], region: int) -> bool:
        """Its turn has come: from now on it reads so much at a time."""
        if self._reader is None:
            self.clock = np.empty(0, np.int64)
            self._read(self._open(again=True), interfaces, processes)
            if not self.advance():
                return False
        assert self._reader is not None
        self._reader.region = region
        return True

    def look_ahead(self, region: int) -> None:
        """Its turn is the next one."""
        if self._reader is not None and self._source is not None:
            self._source.look_ahead(region)

    def _read(self, source: Source, interfaces: list[Interface], processes: list[Process]) -> None:
        self._passing = self.taken
        region = _PEEK if source.reopenable and not self._passing else REGION
        self._reader = CaptureReader(source, interfaces, processes, region)
        self._frames = self._reader.batches()

    def advance(self) -> bool:
        """Makes the next batch ready, when the present one is taken; False at the end."""
        while True:
            self._batch = batch = next(self._frames, None)
            if batch is None:
                self.close()
                return False
            self.clock = np.maximum.accumulate(np.concatenate((self.clock[-1:], batch.time)))[-len(batch) :]
            self.row = min(self._passing, len(batch))
            self._passing -= self.row
            if self.row < len(batch):
                break
        if self._among > _OPEN and self._source is not None:
            self._source.park()
        return True

    def take(self, until: int, inclusive: bool) -> _Take:
        """The frames of the batch whose clock is before `until`, or also those at it."""
        assert self._batch is not None
        begin = self.row
        self.row = int(np.searchsorted(self.clock, until, "right" if inclusive else "left"))
        self.taken += self.row - begin
        rows = slice(begin, self.row)
        return _Take(self.place, self.clock[rows], rows_of(self._batch, rows))

    def survey(self) -> Survey:
        """What its beginning tells."""
        source = self._source
        assert source is not None, "it was opened"
        plain = source.reopenable and source.compression is None and isinstance(self.given, str)
        plain = plain and not is_url(str(self.given))
        return Survey(self.given, self.place, int(self.clock[0]), source.total, plain)

    def growing(self) -> bool:
        """Whether more octets have come since it was opened: somebody is writing it."""
        return self._source is not None and self._source.growing

    def close(self, ended: bool = True) -> None:
        """Closes the capture and forgets its batch."""
        self._tally.closed(self.place, ended)
        if self._source is not None:
            self._source.close()
        self._frames = iter(())
        self._batch = None

    def open_ahead(self, pool: Executor) -> None:
        """Has it opened meanwhile; what goes wrong is told when it is its turn."""
        self._opening = pool.submit(Source, self.given)

    def _open(self, again: bool = False) -> Source:
        self._source = Source(self.given) if self._opening is None else self._opening.result()
        self._opening = None
        self._tally.opened(self.place, self._source, again)
        return self._source


class _Take(NamedTuple):
    """Rows of one capture's batch that are next in the merged order."""

    place: int
    clock: NDArray[np.int64]
    batch: FrameBatch


class _Merge:
    """The captures that are being merged: heaps by their next frame, and by the last one that is known of them."""

    def __init__(self) -> None:
        self._heads: list[tuple[int, int, _Input]] = []
        self._edges: list[tuple[int, int, _Input]] = []

    def __len__(self) -> int:
        return len(self._edges)

    def begun(self) -> dict[int, int]:
        """How many frames of each are taken, by its place."""
        return {place: one.taken for _, place, one in self._edges}

    @property
    def edge(self) -> int:
        """What comes after this clock is not known yet of one capture, so nothing later may leave."""
        return self._edges[0][0]

    def add(self, one: _Input) -> None:
        """A capture whose batch is ready."""
        heapq.heappush(self._heads, (*one.next, one))
        heapq.heappush(self._edges, (int(one.clock[-1]), one.place, one))

    def take(self) -> tuple[list[_Take], _Input]:
        """All that may leave now, and the capture whose batch is all taken with it."""
        until, place, edge = heapq.heappop(self._edges)
        takes = []
        left = []
        while self._heads and self._heads[0][:2] <= (until, place):
            one = heapq.heappop(self._heads)[2]
            takes.append(one.take(until, one.place <= place))
            if one is not edge:
                left.append((*one.next, one))
        for head in left:
            heapq.heappush(self._heads, head)
        return sorted(takes, key=lambda take: take.place), edge


class Survey(NamedTuple):
    """A capture, as its beginning shows it.

    Attributes:
        name: as the user gave it.
        place: among the names.
        first: ns, of its first frame.
        total: octets, None where that is not known.
        plain: it is a file that can be read from any place.
    """

    name: Input
    place: int
    first: int
    total: int | None
    plain: bool


def survey(names: Sequence[Input], faults: list[Socks5sniffError], note: Note | None = None) -> list[Survey]:
    """The captures in the order in which they would be read; see `open_captures`. A fault is noted."""
    tally = _Tally()
    found = []
    inputs = [_Input(name, place, len(names), tally, Position()) for place, name in enumerate(names)]
    for one in inputs:
        if _able(one, faults, note, one.peek, [], []):
            found.append(one.survey())
        one.close()
    if not found and not faults and inputs and all(one.left_out for one in inputs):
        raise NotACaptureError(f"none of {len(inputs)} files is a capture; the first is {inputs[0].given}")
    return sorted(found, key=lambda each: each[2:0:-1])


def _able(
    one: _Input, faults: list[Socks5sniffError], note: Note | None, step: Callable[..., bool], *arguments: object
) -> bool:
    """Whether a step of an input has come to something. A fault is noted and ends only its own capture."""
    try:
        return step(*arguments)
    except Socks5sniffError as fault:
        harmless = note is not None and _harmless(fault, one)
        one.left_out = isinstance(fault, EmptyInputError) and (one.candidate or harmless)
        one.left_out |= isinstance(fault, NotACaptureError) and one.candidate
        if not one.left_out and not harmless:
            faults.append(fault)
        elif note is not None:
            note(told(fault))
        one.close()
        return False


def _merged(
    inputs: list[_Input],
    faults: list[Socks5sniffError],
    note: Note | None,
    start: Position,
    halts: Halts | None,
) -> Iterator[FrameBatch | Position]:
    """The frames of several captures in time order. A fault is noted and ends only its own capture."""
    interfaces, processes = [*start.interfaces], [*start.processes]
    ended = [*start.ended]

    def able(one: _Input, step: Callable[..., bool], *arguments: object) -> bool:
        if _able(one, faults, note, step, *arguments):
            return True
        ended.append(one.place)
        return False

    left = [one for one in inputs if one.place not in start.ended]
    with _opening(left):
        waiting = [one for one in left if able(one, one.peek, interfaces, processes)]
    if not waiting and not faults and inputs and all(one.left_out for one in inputs):
        raise NotACaptureError(f"none of {len(inputs)} files is a capture; the first is {inputs[0].given}")
    waiting.sort(key=lambda one: one.next[0], reverse=True)
    active = _Merge()
    while active or waiting:
        while waiting and (not active or waiting[-1].next[0] <= active.edge):
            one = waiting.pop()
            region = max(REGION // (len(active) + 1), _LEAST_REGION)
            if able(one, one.start, interfaces, processes, region):
                active.add(one)
            if waiting:
                waiting[-1].look_ahead(region)
        if not active:
            continue
        clock = active.edge
        takes, edge = active.take()
        yield from _merge(takes)
        if able(edge, edge.advance):
            active.add(edge)
        if halts is not None and (active or waiting) and halts.wanted(not active and not faults):
            begun = {one.place: one.taken for one in waiting if one.place in start.begun} | active.begun()
            seen = tuple(interfaces), tuple(processes), tuple(faults)
            yield Position(0, clock, tuple(ended), begun, *seen)


@contextmanager
def _opening(inputs: list[_Input]) -> Iterator[None]:
    """While this lasts, URLs are opened in the background, some at a time."""
    far = [one for one in inputs if isinstance(one.given, str) and is_url(one.given)]
    if len(far) < 2:
        yield
        return
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(_OPENING, "opening")
    try:
        for one in far:
            one.open_ahead(pool)
        yield
    finally:
        pool.shutdown(cancel_futures=True)


def _only(one: _Input, note: Note | None, halts: Halts | None) -> Iterator[FrameBatch | Position]:
    """The frames of one capture, which may be written still."""
    try:
        for batch in one.all_batches():
            yield batch
            if halts is not None and halts.wanted(False):
                seen = tuple(batch.interfaces), tuple(batch.processes)
                yield Position(begun={one.place: one.taken}, interfaces=seen[0], processes=seen[1])
    except DamagedInputError as fault:
        if note is None or not _harmless(fault, one):
            raise
        note(told(fault))


def told(fault: Socks5sniffError) -> str:
    """What is said of something harmless."""
    if isinstance(fault, DamagedInputError):
        return f"{fault.name}: somebody is writing it; read to byte offset {fault.offset}, before frame {fault.frame}"
    return str(fault)


def _harmless(fault: Socks5sniffError, one: _Input) -> bool:
    """Whether the input is only empty, or not written to its end yet."""
    if isinstance(fault, DamagedInputError):
        return fault.truncated and one.growing()
    return isinstance(fault, EmptyInputError)  # which some programs make before there is anything to write


def _merge(takes: list[_Take]) -> Iterator[FrameBatch]:
    """Several captures' frames in the order of their clocks."""
    if len(takes) == 1:
        yield takes[0].batch
        return
    whole = in_one_memory([take.batch for take in takes])
    order = np.argsort(np.concatenate([take.clock for take in takes]), kind="stable")
    for rows in parts(order):
        yield rows_of(whole, rows)


def _gathered(batches: Iterator[FrameBatch | Position]) -> Iterator[FrameBatch | Position]:
    """Small batches of many small captures put together, but none across a position."""
    waiting: list[FrameBatch] = []
    frames = octets = 0
    for batch in batches:
        if isinstance(batch, Position):
            if waiting:
                yield in_one_memory(waiting)
                waiting, frames, octets = [], 0, 0
            yield batch
            continue
        size = int(batch.captured.sum())
        if waiting and (frames + len(batch) > BATCH or octets + size > _GATHERED):
            yield in_one_memory(waiting)
            waiting, frames, octets = [], 0, 0
        if size > _GATHERED // 16 or len(batch) > BATCH // 16:
            if waiting:
                yield in_one_memory(waiting)
                waiting, frames, octets = [], 0, 0
            yield batch
            continue
        waiting.append(kept(batch))
        frames += len(batch)
        octets += size
    if waiting:
        yield in_one_memory(waiting)


def kept(batch: FrameBatch) -> FrameBatch:
    """A batch whose octets stay when the next one is asked for."""
    low = int(batch.offset.min())
    batch.octets = batch.octets[low : int((batch.offset + batch.captured).max())].copy()
    batch.offset = batch.offset - low
    return batch
