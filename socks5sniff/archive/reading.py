"""Captures read by several workers: names in, the records of one reading out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from socks5sniff.analysis import Attempt
from socks5sniff.analysis.bypass import Bypass, Past
from socks5sniff.analysis.faults import Faults
from socks5sniff.analysis.notes import Notes
from socks5sniff.analysis.places import places
from socks5sniff.capture.merge import Note, Survey, survey, told
from socks5sniff.capture.slices import Decoder, Slice, last_time, slices
from socks5sniff.errors import InputError, Socks5sniffError
from socks5sniff.packets import secret
from socks5sniff.packets.reader import UnknownLink
from socks5sniff.record import Conversation, Endpoint
from socks5sniff.record.batch import Batch
from socks5sniff.streams.flows import NO_TIME
from socks5sniff.streams.spaces import LINGER

from .messages import Inner, Order, Printer, Settings, Writer, Written
from .parts import Keeper, Parts
from .piece import Piece, Result, Task, at_frame
from .sequel import Asks, Coming, Sequel

LEAST, MOST = 8 << 20, 64 << 20
"""Octets of a piece: small enough for every worker to have some, and for their memory."""
FRAMES = 128_000
"""Frames of a piece of a large file: what is known of them takes as much memory as they do, or more."""
WRITTEN = 4 * FRAMES
"""The same where workers write what they find: files with few records are read slowly."""
LOOK = 8
"""So many pieces at most, or two for each worker, are analysed before their turn, to see what packets still come."""
SMALL = 16 << 20
"""Octets of files that are read as one piece; a larger file is one by itself."""
LARGE = 64 << 20
"""Octets of files that cannot be cut, above which they are refused here: a worker holds a piece as a whole."""
WORTH = 5_000
"""Records of a piece, and of a day in it, that are worth a file; fewer are written by the one who joins."""


class Workers(Protocol):
    """Who analyses pieces."""

    def analyse(self, number: int, task: Task) -> Future[Result]:
        """Analyse a piece, under this number."""

    def ask(self, number: int, method: str, *arguments: Any) -> Future[Any]:
        """Call a method of the `Stretch` that has this number."""

    def forget(self, number: int) -> None:
        """The stretch is not needed any more."""

    def close(self) -> None:
        """End them."""


class _End(NamedTuple):
    """Where a piece has ended; see `Result`."""

    part: Slice | None
    rest: int
    decoder: Decoder | None
    fault: Socks5sniffError | None


class _Ready(NamedTuple):
    """A piece that has been analysed."""

    number: int
    piece: Piece
    result: Result

    @property
    def end(self) -> _End:
        """Where it has ended."""
        return _End(self.piece.slice, self.result.rest, self.result.decoder, self.result.fault)


@dataclass(slots=True)
class _Standing:
    """Where a reading stands: with this another one can go on.

    Attributes:
        sequel: the analyser.
        faults: what was wrong with captures.
        conversations: records given.
        before: frames of the last piece's file.
        last: the end of that piece.
        pieces: what is left of its file.
        behind: the captures behind it.
    """

    sequel: Sequel
    notes: Notes = field(default_factory=Notes)
    faults: list[Socks5sniffError] = field(default_factory=list)
    conversations: int = 0
    before: int = 0
    last: _End | None = None
    pieces: list[Piece] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)


def begun(state: object) -> bool:
    """Whether what a keeper has kept is where a reading by several workers stood."""
    return isinstance(state, _Standing)


class UnsuitableError(Exception):
    """These inputs are better read by one process."""


def planned(
    names: Sequence[str], workers: int, frames: int, faults: list[Socks5sniffError], note: Note
) -> list[Piece]:
    """The pieces of captures in their order.

    Args:
        names: see `open_captures`.
        workers: for how many they are.
        frames: that are enough for one, see `slices`.
        faults: what is wrong with some of the captures is added here.
        note: told of those that are empty.

    Raises:
        UnsuitableError: one of them can be read only from its beginning to its end, and is large.
        InputError: none of them can be read.
    """
    found = survey(names, faults, note)
    if any(each.total is None or (not each.plain and each.total > LARGE) for each in found):
        raise UnsuitableError
    total = sum(each.total or 0 for each in found)
    size = min(max(total // (4 * workers), LEAST), MOST)
    pieces: list[Piece] = []
    for group in _groups(found, size):
        whole = [Piece((str(each.name),), (each.place,), each.first, each.total or 0) for each in group]
        if len(group) == 1 and group[0].plain:
            pieces += [whole[0]._replace(slice=part) for part in slices(whole[0].names[0], size, frames)]
        else:
            pieces.append(reduce(Piece.joined, whole))
    _check_order(pieces)
    return pieces


def _check_order(pieces: Sequence[Piece]) -> None:
    """Large files that overlap are merged by one process."""
    latest = NO_TIME
    last = max((place for place, piece in enumerate(pieces) if piece.begins), default=0)
    for piece in pieces[: last + 1]:
        if piece.begins and latest > piece.first:
            raise UnsuitableError
        if piece.partial and piece.slice is not None:
            latest = max(latest, last_time(piece.slice))


def _groups(found: Sequence[Survey], size: int) -> Iterator[list[Survey]]:
    """Small files that follow each other are one piece."""
    group: list[Survey] = []
    size = min(size, SMALL)
    for each in found:
        if group and sum(one.total or 0 for one in group) + (each.total or 0) > size:
            yield group
            group = []
        group.append(each)
    if group:
        yield group


class ArchiveReading(Iterator[Conversation]):
    """Like `analysis.Reading`, by several workers.

    Args:
        names: captures; see `open_captures`.
        workers: who does it; they are closed at the end.
        count: how many they are.
        printer: see `Settings`.
        writer: has the workers write what they find, but for what goes on from one piece to the next, and for few
            records; `batches` gives those only.

    Attributes:
        workers: of a cluster, by a worker's address how many octets it has analysed.

    Raises:
        UnsuitableError: see `planned`.
    """

    def __init__(
        self,
        names: Sequence[str],
        workers: Callable[[], Workers],
        count: int,
        *,
        ports: Collection[int] = (),
        show_passwords: bool = False,
        udp_frames: bool = False,
        bypasses: bool | Past = False,
        each: bool = False,
        printer: Printer | None = None,
        writer: Writer | None = None,
        progress: Callable[[int, int], None] | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        kept: Any = None if keeper is None else keeper.state
        one = isinstance(bypasses, Past)  # see `analysis.read`
        if kept is None and ((each and len(names) > 1) or (not one and len(places(names)) > 1)):
            raise UnsuitableError
        if kept is not None and not begun(kept):
            raise UnsuitableError  # one process has begun
        self.fault: BaseException | None = None
        self.workers: dict[str, int] = {}
        self._past = (bypasses if isinstance(bypasses, Past) else Past()) if bypasses else None
        sought = None if self._past is None else self._past.sought
        settings = Settings(tuple(ports), show_passwords, udp_frames, printer, sought, writer, WORTH)
        self._names = names
        self._keeper = keeper
        self._now = kept or _Standing(Sequel(settings, self._past))
        pieces = _to_read(self._now, names, count, FRAMES if writer is None else WRITTEN)
        self._octets = _Octets(sum(piece.octets for piece in pieces), progress)
        self._flow = _Flow(pieces, workers, 2 * count, settings, self._now.last)
        self._parts = Parts(self._flow.write, self._flow.forget, self._flow.ahead, keeper)
        self._awaited: deque[tuple[_Ready, Order, Future[Inner]]] = deque()
        self._records = (record for batch in self.batches() for record in batch)

    def __iter__(self) -> ArchiveReading:
        return self

    def __next__(self) -> Conversation:
        return next(self._records)

    def batches(self) -> Iterator[Batch]:
        """The records as they are complete, many at once."""
        fault: BaseException | None = None
        now = self._now
        try:
            try:
                yield from self._read()
            except KeyboardInterrupt as interrupt:
                fault = interrupt
            while self._awaited:
                yield from self._settled()
            yield from self._counted(now.sequel.finish())
            yield from self._written(whole=True)
            if self._past is not None:
                self._past.finish()
        finally:
            self._flow.close()
        if fault is None and now.faults:
            fault = now.faults[0]
            fault.args = ("; ".join(str(each) for each in now.faults),)
        self.fault = fault
        if fault is not None:
            raise fault

    def _counted(self, batches: list[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._now.conversations += len(batch)
            if self._past is not None:
                self._past.learn(batch)
            yield batch

    def _read(self) -> Iterator[Batch]:
        flow, now = self._flow, self._now
        while (ready := flow.next(now.sequel)) is not None:
            outline = ready.result.outline
            coming = flow.coming(outline.last_closing)
            now.before = 0 if ready.piece.begins else now.before
            self._note_faults(ready.result)
            now.before += outline.frames
            order = now.sequel.take_stretch(outline, coming, flow.asks(ready))
            self._awaited.append((ready, order, flow.finish(ready, order)))
            while self._awaited and (self._awaited[0][2].done() or len(self._awaited) > flow.ahead):
                yield from self._settled()
            if ready.result.worker:
                self.workers[ready.result.worker] = (
                    self.workers.get(ready.result.worker, 0) + ready.piece.octets
                )
            self._octets.add(ready.piece.octets)
            yield from self._halt()

    def _note_faults(self, result: Result) -> None:
        """What is wrong with a piece's captures."""
        now = self._now
        if result.fault is not None:
            fault = at_frame(result.fault, now.before)
            if result.growing:
                now.notes(told(fault))
            else:
                now.faults.append(fault)
        for note in result.notes:
            now.notes(note)

    def _halt(self) -> Iterator[Batch]:
        """Have the keeper keep what is known, if it wants to."""
        pieces, now = self._flow.left(), self._now
        if self._keeper is None or not pieces:
            return
        clean = pieces[0].begins and not now.faults
        if not self._keeper.wants(clean):
            return
        while self._awaited:
            yield from self._settled()
        yield from self._written(whole=True)
        left = {name for piece in pieces for name in piece.names}
        begun = [] if pieces[0].begins else [*pieces[0].names]
        ended = [name for name in self._names if name not in left]
        behind = [name for name in self._names if name in left and name not in begun]
        rest = [piece for piece in pieces if piece.names[0] in begun]
        state = replace(now, last=self._flow.last, pieces=rest, behind=behind)
        self._keeper.keep(state, ended, begun, clean)

    def _settled(self) -> Iterator[Batch]:
        """The records of the first piece whose own ones are awaited."""
        ready, order, inner = self._awaited.popleft()
        found = inner.result()
        if len(found.places):
            self._parts.add(ready.number, order, found.places.tolist())
        else:
            self._flow.forget(ready.number)
        yield from self._counted(self._now.sequel.take_inner(found))
        yield from self._written()

    def _written(self, whole: bool = False) -> Iterator[Batch]:
        """Those that workers have left of what they have written; see `Parts.written`."""
        for count, left in self._parts.written(self._now.sequel.verdicts.numbering, whole):
            self._now.conversations += count
            yield left

    @property
    def packets(self) -> int:
        return self._now.sequel.packets

    @property
    def conversations(self) -> int:
        return self._now.conversations

    @property
    def faults(self) -> Faults:
        return self._now.sequel.faults

    @property
    def notes(self) -> list[str]:
        return self._now.notes.lines()

    @property
    def bypasses(self) -> list[Bypass]:
        """See `Reading`."""
        return [] if self._past is None else self._past.rows()

    @property
    def evicted(self) -> int:
        return self._now.sequel.bounds.evicted

    @property
    def attempts(self) -> list[Attempt]:
        """See `Reading`."""
        return self._now.sequel.attempts.listed()

    @property
    def attempt_counts(self) -> list[tuple[Endpoint, str, int]]:
        """See `Reading`."""
        return self._now.sequel.attempts.counts()

    @property
    def skipped(self) -> int:
        return self._now.sequel.skipped.total + self._now.sequel.reader.skipped.total

    @property
    def unknown_links(self) -> list[UnknownLink]:
        return self._now.sequel.unknown_links


class _Octets:
    """How many are done of how many, told to whoever wants to know."""

    def __init__(self, total: int, told: Callable[[int, int], None] | None) -> None:
        self._total = total
        self._told = told
        self._done = 0

    def add(self, octets: int) -> None:
        """So many more are done."""
        self._done += octets
        if self._told is not None:
            self._told(self._done, self._total)


def _to_read(now: _Standing, names: Sequence[str], count: int, frames: int) -> list[Piece]:
    """What is left to read of these captures where a reading stands, for so many workers; see `planned`."""
    if now.last is None:
        return planned(names, count, frames, now.faults, now.notes)
    if not now.behind:
        return now.pieces
    pieces = planned(now.behind, count, frames, now.faults, now.notes)
    early = next((piece for piece in pieces if piece.first < now.sequel.connections.handshakes.now), None)
    if early is not None:
        raise InputError(f"{early.names[0]}: begins before what has been read already: read all of it anew")
    place = [[*names].index(name) for name in now.behind]
    return now.pieces + [piece._replace(places=tuple(place[each] for each in piece.places)) for piece in pieces]


class _Flow:
    """Pieces on their way through the workers.

    Attributes:
        ahead: so many are analysed at once.
        last: where the last one that was taken has ended.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        workers: Callable[[], Workers],
        ahead: int,
        settings: Settings,
        last: _End | None = None,
    ) -> None:
        self.ahead = ahead
        self.last = last
        self._settings = settings
        self._pieces = deque(pieces)
        self._start = workers
        self._workers: Workers | None = None
        self._numbers = 0
        self._taken = 0
        self._analysing: deque[tuple[int, Piece, Future[Result]]] = deque()
        self._ready: deque[_Ready] = deque()

    @property
    def workers(self) -> Workers:
        """They are started when there is something to do."""
        if self._workers is None:
            self._workers = self._start()
        return self._workers

    def next(self, sequel: Sequel) -> _Ready | None:
        """The next piece, analysed so that it can follow what was taken; None at the end."""
        self._fetch(2)  # the next one may have to be merged with the one behind it
        if not self._ready:
            return None
        ready = self._ready.popleft()
        self._taken = 1
        self.last = ready.end
        if not sequel.fits(ready.result.outline):
            ready = self._again(ready.number, ready.piece, sequel.connections.flows.clock)
        return ready

    def coming(self, clock: int) -> Coming:
        """What follows, as far as last packets of what closed before `clock` may be in it, and as there is room."""
        for count in range(1, max(self.ahead, LOOK) + 1):
            self._fetch(count)
            whole = len(self._ready) < count or self._ready[-1].result.outline.first > clock + LINGER
            if whole:
                break
        return Coming([ready.result.outline for ready in self._ready], whole)

    def asks(self, ready: _Ready) -> Asks:
        """What can be asked of who has analysed it."""

        def asked(method: str) -> Callable[..., Any]:
            return lambda *arguments: self.workers.ask(ready.number, method, *arguments).result()

        return Asks(asked("packets"), asked("state"), asked("every_datagram"))

    def finish(self, ready: _Ready, order: Order) -> Future[Inner]:
        """Have its records made: then what it held is free for the next one."""
        finished: Future[Inner] = self.workers.ask(ready.number, "finish", order)
        self._taken = 0
        self._fill(self.ahead)
        return finished

    def write(self, number: int, order: Order, ids: NDArray[np.int64]) -> Future[Written]:
        """Have records written that have stayed there."""
        return self.workers.ask(number, "write", order, number, ids)

    def left(self) -> list[Piece]:
        """What has not been taken."""
        return [ready.piece for ready in self._ready] + [piece for _, piece, _ in self._analysing] + [*self._pieces]

    def forget(self, number: int) -> None:
        """It is over."""
        self.workers.forget(number)

    def close(self) -> None:
        """End the workers."""
        if self._workers is not None:
            self._workers.close()

    def _fetch(self, count: int) -> None:
        """So many pieces are ready, if there are so many."""
        while len(self._ready) < count:
            self._fill(max(self.ahead, count + self._taken))
            if not self._analysing:
                return
            number, piece, future = self._analysing.popleft()
            ready = _Ready(number, piece, future.result())
            if piece.begins and self._ready and _overlap(self._ready[-1], ready):
                self._ready.append(self._merged(self._ready.pop(), ready))
                continue
            following = self._following(self._ready[-1].end if self._ready else self.last, ready)
            if following is not None:
                self._ready.append(following)

    def _fill(self, count: int) -> None:
        """So many pieces are on their way or not finished, if there are so many."""
        while self._pieces and len(self._analysing) + len(self._ready) + self._taken < count:
            self._submit(self._pieces.popleft(), NO_TIME)

    def _merged(self, one: _Ready, other: _Ready) -> _Ready:
        """Files that overlap, as one piece."""
        piece = one.piece.joined(other.piece)
        if one.piece.partial or other.piece.partial or piece.size > 4 * LARGE:
            names = " and ".join((one.piece.names[-1], other.piece.names[0]))
            raise InputError(f"{names} overlap in time more than several processes can merge: use --jobs 1")
        self.forget(one.number)
        return self._again(other.number, piece, NO_TIME)

    def _following(self, before: _End | None, ready: _Ready) -> _Ready | None:
        """A slice that begins where the one before it has ended; None for one that lies behind damage."""
        part = ready.piece.slice
        if before is None or part is None or not part.begin or before.part is None:
            return ready
        if before.fault is not None:
            self.forget(ready.number)
            return None
        known = None if part.decoder is None else part.decoder.described
        if before.rest == part.begin and before.decoder is not None and before.decoder.described == known:
            return ready
        moved = part._replace(begin=before.rest, decoder=before.decoder)
        return self._again(ready.number, ready.piece._replace(slice=moved), NO_TIME)

    def _again(self, number: int, piece: Piece, clock: int) -> _Ready:
        self.workers.forget(number)
        number, piece, future = self._submitted(piece, clock)
        return _Ready(number, piece, future.result())

    def _submit(self, piece: Piece, clock: int) -> None:
        self._analysing.append(self._submitted(piece, clock))

    def _submitted(self, piece: Piece, clock: int) -> tuple[int, Piece, Future[Result]]:
        self._numbers += 1
        task = Task(piece, self._settings, clock, secret.key())
        return self._numbers, piece, self.workers.analyse(self._numbers, task)


def _overlap(one: _Ready, other: _Ready) -> bool:
    """Whether frames of one capture come behind the first one of another."""
    if not one.result.outline.frames:
        return False
    latest, first = one.result.outline.latest, other.piece.first
    return latest > first or (latest == first and max(one.piece.places) > min(other.piece.places))
