"""Reading capture files: the one call that takes names and gives records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from socks5sniff.capture.inputs import Candidate
from socks5sniff.capture.merge import open_captures
from socks5sniff.capture.position import Halts, Position
from socks5sniff.capture.source import Capture, Input, inputs
from socks5sniff.errors import EmptyInputError, NotACaptureError, ResumeError, Socks5sniffError
from socks5sniff.packets.reader import UnknownLink
from socks5sniff.record import Conversation, Endpoint
from socks5sniff.record.batch import Batch

from .analyser import Analyser
from .attempts import MAX_LISTED, Attempt, added
from .bypass import Bypass, Past
from .extents import Extent
from .faults import Faults
from .notes import Notes
from .places import places

__all__ = ["Reading", "UnknownLink", "read"]

PIPE_PATIENCE = 1_000_000_000
"""Nanoseconds an undecided connection may hold back later ids when results are wanted as they come."""


class Keeper(Protocol):
    """Who keeps how far a reading has come, so that another one can go on from there.

    Attributes:
        state: what the other one has kept; None where this one begins.
    """

    state: Any

    def wants(self, clean: bool) -> bool:
        """Asked at places where it can be kept; `clean` where no capture is read in part."""

    def keep(self, state: Any, ended: Sequence[Input], begun: Sequence[Input], clean: bool) -> None:
        """All records up to here have been given.

        Args:
            state: plain values, to be kept before the reading goes on.
            ended, begun: the captures that are read, as a whole and in part.
            clean: what is wrong with a capture may still be mended.
        """


class Reading(Iterator[Conversation]):
    """The conversations of one or more captures, each as soon as it is complete.

    Captures of one place are one reading; captures that contradict each other are of different places, and are read one
    after the other: ids go on, frames and TCP streams are counted anew.

    Whoever prints many takes `batches` instead of iterating. After either (also when it ended with an error) the
    totals hold:

    Attributes:
        packets: frames read.
        conversations: records given.
        fault: what the reading ended with; it is raised behind the last record.
        evicted: open flows that had to be forgotten because there were too many.
        skipped: frames with TCP or UDP that could not be understood.
        faults: errors of this program that were contained in single connections.
        unknown_links: interfaces none of whose frames could be read, because their link type is not known.
        notes: a line for each input that is empty, no capture (where it was not named itself) or still being written,
            the first ten of them, and one about the others.
        workers: see `archive.reading.ArchiveReading`; here it is this process.
    """

    workers: Mapping[str, int] = {}

    def __init__(
        self,
        names: Sequence[Input],
        *,
        ports: Collection[int] = (),
        show_passwords: bool = False,
        udp_frames: bool = False,
        bypasses: bool | Past = False,
        each: bool = False,
        progress: Callable[[int, int], None] | None = None,
        extents: bool = False,
        keeper: Keeper | None = None,
    ) -> None:
        self.fault: BaseException | None = None
        self._keeper = keeper
        self._progress = progress
        # What looks at captures of several places all at once takes them for one.
        self._grouped = partial(_grouped, names, each, extents or isinstance(bypasses, Past))
        self._make = partial(
            _analyser,
            bypasses,
            ports=ports,
            show_passwords=show_passwords,
            udp_frames=udp_frames,
            patience=PIPE_PATIENCE if "-" in names else None,
            extents=extents,
        )
        kept = None if keeper is None else keeper.state
        if not isinstance(kept, _Standing | None):
            raise ResumeError("several processes have begun it, which cannot go on with the captures as they are now")
        faults = Faults()
        self._now = kept or _Standing(*self._make(faults=faults), faults)
        self._records = self._one_by_one()

    def __iter__(self) -> Reading:
        return self

    def __next__(self) -> Conversation:
        return next(self._records)

    def _one_by_one(self) -> Iterator[Conversation]:
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[Batch]:
        """The records as they are complete, many at once."""
        now = self._now
        before, groups = now.before, now.groups or self._grouped()
        now.groups = groups
        for number in range(before.groups, len(groups)):
            if number > before.groups:
                before.add(now.analyser, now.past)
                now.analyser, now.past = self._make(faults=now.faults, last_id=now.conversations)
                now.position = None
            try:
                yield from self._place(groups[number], self._progress if len(groups) == 1 else self._told)
            except Socks5sniffError as fault:
                nothing = isinstance(fault, (NotACaptureError, EmptyInputError))
                before.left_out += (
                    nothing and len(groups) > 1 and all(isinstance(name, Candidate) for name in groups[number])
                )
                if before.left_out in (0, len(groups)) or not nothing:
                    before.faults.append(fault)
        self.fault = before.faults[0] if before.faults else None
        if before.faults:
            before.faults[0].args = ("; ".join(map(str, before.faults)),)
            raise before.faults[0]

    def _place(self, names: Sequence[Input], progress: Callable[[int, int], None] | None) -> Iterator[Batch]:
        """The records of one place."""
        self.fault = None
        now = self._now
        halts = None if self._keeper is None else Halts(self._keeper.wants, self._keep)
        try:
            for frames in open_captures(names, progress, now.notes, now.position, halts):
                yield from now.counted(now.analyser.take(frames))
        except (Exception, KeyboardInterrupt) as error:
            self.fault = error
        yield from now.counted(now.analyser.finish())
        if now.past is not None:
            now.past.finish()
        if self.fault is not None:
            raise self.fault

    def _keep(self, position: Position) -> None:
        """The keeper wants what is known by now."""
        assert self._keeper is not None
        now = self._now
        before, names = now.before, now.groups[now.before.groups]
        ended = [name for group in now.groups[: before.groups] for name in group]
        ended += [names[place] for place in position.ended]
        begun = [names[place] for place in position.begun]
        state = replace(now, position=position)
        self._keeper.keep(state, ended, begun, not (begun or position.faults or before.faults))

    def _told(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(self._now.before.octets + done, 0)
            self._now.before.reading = done

    @property
    def packets(self) -> int:
        return self._now.before.packets + self._now.analyser.packets

    @property
    def conversations(self) -> int:
        return self._now.conversations

    @property
    def faults(self) -> Faults:
        return self._now.faults

    def extent(self, stream: int, depth: int) -> Extent | None:
        """Where the tunnel of a conversation that has been given lies, once; see `Extents`."""
        extents = self._now.analyser.connections.extents
        return None if extents is None else extents.take(stream, depth)

    @property
    def evicted(self) -> int:
        return self._now.before.evicted + self._now.analyser.bounds.evicted

    @property
    def attempts(self) -> list[Attempt]:
        """TCP connections to proxies that came to no conversation, the first 10,000 of them."""
        return [*self._now.before.attempts, *self._now.analyser.attempts.listed()][:MAX_LISTED]

    @property
    def attempt_counts(self) -> list[tuple[Endpoint, str, int]]:
        """All of them: proxy, outcome, how many; the proxies with most first."""
        before, counts = self._now.before.counts, self._now.analyser.attempts.counts()
        return added(before, counts) if before else counts

    @property
    def bypasses(self) -> list[Bypass]:
        """What clients of the proxies sent past them, where that was asked for."""
        past = self._now.past
        return [*self._now.before.bypasses, *(past.rows() if past is not None else ())]

    @property
    def notes(self) -> list[str]:
        return self._now.notes.lines()

    @property
    def skipped(self) -> int:
        return self._now.before.skipped + self._now.analyser.reader.skipped.total

    @property
    def unknown_links(self) -> list[UnknownLink]:
        return [*self._now.before.links, *self._now.analyser.reader.unknown_links]


def _grouped(names: Sequence[Input], each: bool, one: bool) -> list[list[Input]]:
    """The captures of each place."""
    if each:
        return [[name] for name in names]
    return [list(names)] if one else places(names)


def _analyser(bypasses: bool | Past, **options: Any) -> tuple[Analyser, Past | None]:
    """The analyser of a place, and what looks for what goes past proxies there."""
    if not bypasses:
        return Analyser(**options), None
    past = bypasses if isinstance(bypasses, Past) else Past()
    analyser = Analyser(**options, consumers=[past.exchanges])
    past.follow(analyser)
    return analyser, past


class _Totals:
    """What the places before the present one came to.

    Attributes:
        groups: how many there are.
        left_out: how many of them were no captures.
        faults: what others ended with.
    """

    def __init__(self) -> None:
        self.groups = self.left_out = 0
        self.faults: list[Socks5sniffError] = []
        self.packets = self.evicted = self.skipped = self.octets = self.reading = 0
        self.attempts: list[Attempt] = []
        self.counts: list[tuple[Endpoint, str, int]] = []
        self.links: list[UnknownLink] = []
        self.bypasses: list[Bypass] = []

    def add(self, analyser: Analyser, past: Past | None) -> None:
        """A place is read."""
        self.groups += 1
        self.packets += analyser.packets
        self.evicted += analyser.bounds.evicted
        self.skipped += analyser.reader.skipped.total
        self.octets += self.reading
        self.attempts += analyser.attempts.listed()[: MAX_LISTED - len(self.attempts)]
        self.counts = added(self.counts, analyser.attempts.counts())
        self.links += analyser.reader.unknown_links
        if past is not None:
            self.bypasses += past.rows()


@dataclass(slots=True)
class _Standing:
    """Where a reading stands: with this another one can go on.

    Attributes:
        analyser, past: of the present place.
        faults: see `Reading`.
        before: what the places before it came to.
        conversations: records given.
        groups: the captures of each place, once they are known.
        position: where in its captures the present place was gone on with.
    """

    analyser: Analyser
    past: Past | None
    faults: Faults
    before: _Totals = field(default_factory=_Totals)
    notes: Notes = field(default_factory=Notes)
    conversations: int = 0
    groups: list[list[Input]] = field(default_factory=list)
    position: Position | None = None

    def counted(self, batches: list[Batch]) -> Iterator[Batch]:
        """Records on their way out."""
        for batch in batches:
            self.conversations += len(batch)
            if self.past is not None:
                self.past.learn(batch)
            yield batch


def read(
    names: Capture | Iterable[Capture],
    *,
    ports: Collection[int] = (),
    show_passwords: bool = False,
    udp_frames: bool = False,
    bypasses: bool | Past = False,
    each: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Reading:
    """Read captures and give every SOCKS conversation in them.

    Args:
        names: a capture, or several: path (`-` is standard input), octets, or binary file that is open. pcap and
            pcapng, also compressed.
        ports: proxy ports besides 1080, 9050 and 9150: there a greeting alone counts, and foreign protocols are named.
        show_passwords: give passwords instead of a mask.
        udp_frames: list UDP datagrams of associations among the frames.
        bypasses: look for what clients of proxies send past them, too; a `Past` tells of whom, and has all captures
            read as one.
        each: read every capture by itself; else captures are one, as far as they fit together (see `places`).
        progress: called now and then with (octets read, octets in all or 0 where not known).

    Raises:
        TypeError: what was given is no capture; the message says what is.
        InputError: an input can't be opened or is no capture, or there is nothing in any.
        DamagedInputError: an input is truncated or damaged; all that was decoded before has been given.
    """
    return Reading(
        inputs(names),
        ports=ports,
        show_passwords=show_passwords,
        udp_frames=udp_frames,
        bypasses=bypasses,
        each=each,
        progress=progress,
    )
