"""Captures read by several workers: names in, the records of one reading out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from socks5sniff.analysis import Attempt
from socks5sniff.analysis.bypass import Bypass, Past
from socks5sniff.analysis.faults import Faults
from socks5sniff.analysis.notes import Notes
from socks5sniff.analysis.places import places
from socks5sniff.capture.merge import told
from socks5sniff.errors import InputError, Socks5sniffError
from socks5sniff.packets.reader import UnknownLink
from socks5sniff.record import Conversation, Endpoint
from socks5sniff.record.batch import Batch

from .flow import End, Flow, Ready, Workers
from .messages import Inner, Order, Printer, Settings, Writer
from .parts import Keeper, Parts
from .piece import Piece, Result, at_frame
from .plan import UnsuitableError, planned
from .sequel import Sequel

WORTH = 5_000
"""Records of a piece, and of a day in it, that are worth a file; fewer are written by the one who joins."""


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
    last: End | None = None
    pieces: list[Piece] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)


def begun(state: object) -> bool:
    """Whether what a keeper has kept is where a reading by several workers stood."""
    return isinstance(state, _Standing)


class ArchiveReading(Iterator[Conversation]):
    """Like `analysis.Reading`, by several workers.

    Args:
        names: captures; see `open_captures`.
        workers: who does it; they are closed at the end.
        count: how many they are.
        printer: see `Settings`.
        writer: takes what the workers find where they find it, but for what goes on from one piece to the next; into
            a dataset, also for few records: `batches` gives those only.
        wrote: is told what has come of that.
        keeper: keeps how far a dataset has come.

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
        wrote: Callable[[Sequence[Any]], None] | None = None,
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
        least = 1 if keeper is None else WORTH
        settings = Settings(tuple(ports), show_passwords, udp_frames, printer, sought, writer, least)
        self._names = names
        self._keeper = keeper
        self._now = kept or _Standing(Sequel(settings, self._past))
        pieces = _to_read(self._now, names, count, keeper is not None and writer is not None)
        self._octets = _Octets(sum(piece.octets for piece in pieces), progress)
        self._flow = Flow(pieces, workers, 2 * count, settings, self._now.last)
        wrote = wrote if keeper is None else keeper.wrote
        self._parts = Parts(self._flow.write, self._flow.forget, self._flow.ahead, wrote, keeper)
        self._awaited: deque[tuple[Ready, Order, Future[Inner]]] = deque()
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


def _to_read(now: _Standing, names: Sequence[str], count: int, dataset: bool) -> list[Piece]:
    """What is left to read of these captures where a reading stands, for so many workers; see `planned`."""
    if now.last is None:
        return planned(names, count, dataset, now.faults, now.notes)
    if not now.behind:
        return now.pieces
    pieces = planned(now.behind, count, dataset, now.faults, now.notes)
    early = next((piece for piece in pieces if piece.first < now.sequel.connections.handshakes.now), None)
    if early is not None:
        raise InputError(f"{early.names[0]}: begins before what has been read already: read all of it anew")
    place = [[*names].index(name) for name in now.behind]
    return now.pieces + [piece._replace(places=tuple(place[each] for each in piece.places)) for piece in pieces]
