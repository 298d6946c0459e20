"""A stretch of a capture, analysed by itself: what one process does.

Nothing is known there of what came before. So flows that lie in the stretch as a whole are analysed here, and of those
that may have begun before or may go on behind it, what another analyser needs to take them over is handed out:
packets of the ones, and what is known of the others.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.analysis.analyser import Analyser
from socks5sniff.analysis.attempts import Attempts
from socks5sniff.analysis.bypass import Sought
from socks5sniff.analysis.datagrams import header_like
from socks5sniff.analysis.faults import Faults
from socks5sniff.analysis.forms import Forms
from socks5sniff.analysis.handshakes import Kept
from socks5sniff.analysis.numbering import Finished
from socks5sniff.analysis.unproxied import Exchange, Exchanges, Part
from socks5sniff.analysis.upstream import SLACK
from socks5sniff.analysis.watch import IGNORED
from socks5sniff.capture.batch import FrameBatch, Interface, Process
from socks5sniff.capture.join import in_one_memory
from socks5sniff.capture.join import rows_of as batch_rows
from socks5sniff.packets.columns import Datagrams, Segments, TcpFlag
from socks5sniff.packets.icmp import Reported
from socks5sniff.packets.marks import Networks
from socks5sniff.packets.reader import UnknownLink
from socks5sniff.packets.rows import Skipped
from socks5sniff.record.batch import Batch
from socks5sniff.record.text import plain
from socks5sniff.streams.flows import NO_TIME, FlowBatch
from socks5sniff.streams.slots import Rows

from .narrow import narrow, narrow_rows, wide, wide_rows
from .packets import datagrams_of, segments_of, thin_segments_of

_DNS = 53


Printer = Callable[[Batch], list[str]]
"""See `Batch.printed`; it can be sent to other processes."""
LONG = ("finish", "write")
"""What is asked of a stretch and takes its time."""
Writer = Callable[[int, Batch, int], tuple[list[str], Batch]]
"""Writes records into files where they are, given a number that no others have; those of files that would have fewer
records than so many are left. Gives the names of the files, which are whole by then and take the place of any that had
them, and what is left. It can be sent to other processes."""


class Settings(NamedTuple):
    """How to analyse."""

    ports: tuple[int, ...] = ()
    show_passwords: bool = False
    udp_frames: bool = False
    printer: Printer | None = None
    """What makes the lines of records, where nobody asks for more."""
    sought: Sought | None = None
    """What is looked for that goes past proxies."""
    writer: Writer | None = None
    """What writes records where they are made."""
    least: int = 0
    """Records that are worth a file of their own."""


class State(NamedTuple):
    """All that is known of some flows; `slots` are their places in the stretch."""

    slots: NDArray[np.intp]
    kept: Kept
    fins: Rows

    def part(self, rows: NDArray[np.intp]) -> State:
        """That of some of the flows."""
        place = np.full(len(self.slots), -1, np.intp)
        place[rows] = np.arange(len(rows))
        octets, watch, marks, heads = self.kept
        heads = heads.take(np.flatnonzero(place[heads.slot] >= 0))
        return State(
            self.slots[rows],
            Kept(
                *(_rows(octets, rows), _rows(watch, rows), _rows(marks, rows)),
                heads._replace(slot=place[heads.slot]),
            ),
            _rows(self.fins, rows),
        )


class Packets(NamedTuple):
    """Segments, and what was left out of them; see `Thinned`."""

    segments: Segments
    whose: NDArray[np.intp]
    first: NDArray[np.int64]


class Outline(NamedTuple):
    """What a stretch holds.

    Attributes:
        frames: how many; earliest, latest: ns, of all of them.
        first: ns, the latest time by the first segment; clock: by the last one.
        interfaces: that `capture` of flows and packets means.
        addresses: IPv6 addresses by their numbers.
        skipped, unknown_links: see `PacketReader`.
        flows: columns of the flow table but for `stream`, in the order of their beginning.
        newest: intp[n], of the flows between the same endpoints the last one, by which these endpoints are called.
        opening: intp[n], the first one of these.
        syn: bool[n], a flow's first packet has SYN; clocks: int64[n], the latest time by then.
        kind: uint8[n], as far as it is known; marks: uint64[2, n], see `Watch`.
        shared: flows with the same endpoints that may still have packets.
        closed: intp[m], flows that have closed, in the order in which they closed.
        associating: endpoints (see `newest`) of flows that open UDP associations.
        open: what is known of flows that have not closed.
        dns: segments from name servers.
        networks, processes: that flows and packets mean by their numbers.
        named: int32[2, n], processes of the flows, see `Provenance`; None where none is named.
        errors: what ICMP says of datagrams.
        past: all connections and datagrams, where it is looked for what goes past proxies.
        fragments: frames of IP packets that are not complete here, None where there are none, and their numbers.
        datagrams: answers of name servers, and those that look like a SOCKS UDP header; of `all_datagrams` in all.
    """

    frames: int
    earliest: int
    latest: int
    first: int
    clock: int
    interfaces: list[Interface]
    addresses: dict[int, bytes]
    skipped: Skipped
    unknown_links: list[UnknownLink]
    flows: Rows
    newest: NDArray[np.intp]
    opening: NDArray[np.intp]
    syn: NDArray[np.bool_]
    clocks: NDArray[np.int64]
    kind: NDArray[np.uint8]
    marks: NDArray[np.uint64]
    shared: list[list[int]]
    closed: NDArray[np.intp]
    associating: NDArray[np.intp]
    open: State
    dns: Segments
    datagrams: Datagrams
    all_datagrams: int
    networks: Networks
    processes: list[Process]
    named: NDArray[np.int32] | None
    errors: list[Reported]
    past: Part | None
    fragments: FrameBatch | None
    fragment_frames: NDArray[np.int64]

    def __reduce__(self) -> tuple[Callable[..., Outline], tuple[Any, ...]]:
        """How it goes to another process."""
        columns = narrow_rows({**self.flows, "clocks": self.clocks})
        newest, opening = narrow(self.newest, np.arange(len(self.newest))), narrow(self.opening, self.newest)
        narrowed = ("flows", "clocks", "newest", "opening")
        rest = {name: getattr(self, name) for name in self._fields if name not in narrowed}
        return _outline, (columns, newest, opening, rest)

    @property
    def openings(self) -> NDArray[np.intp]:
        """The first flow between the same endpoints, of each pair of them, in order."""
        return np.flatnonzero(self.opening == np.arange(len(self.opening)))

    @property
    def last_closing(self) -> int:
        """The latest time by which a flow has closed that may be SOCKS."""
        closed = self.flows["close_clock"][self.kind != IGNORED]
        return int(closed.max(initial=NO_TIME))


def _outline(columns: Any, newest: Any, opening: Any, rest: dict[str, Any]) -> Outline:
    flows = wide_rows(columns)
    newest = wide(newest, np.arange(len(flows["low"])))
    return Outline(clocks=flows.pop("clocks"), flows=flows, newest=newest, opening=wide(opening, newest), **rest)


class Order(NamedTuple):
    """What is to be finished where.

    Attributes:
        frames: number of frames before this stretch.
        streams: int64[n], numbers of its flows.
        elsewhere: intp[k], flows that another analyser follows.
        learned: clients and addresses that they got from DNS.
        since, until: ns, what lies around the stretch; upstream connections that began there are not known here.
    """

    frames: int
    streams: NDArray[np.int64]
    elsewhere: NDArray[np.intp]
    learned: frozenset[tuple[str, str]]
    since: int
    until: int

    def __reduce__(self) -> tuple[Callable[..., Order], tuple[Any, ...]]:
        """How it goes to another process."""
        return _order, (narrow(self.streams, np.arange(len(self.streams))), len(self.streams), *self[2:], self.frames)


def _order(streams: Any, count: int, *rest: Any) -> Order:
    return Order(rest[-1], wide(streams, np.arange(count)), *rest[:-1])


class Inner(NamedTuple):
    """What came of the flows that lie in a stretch as a whole.

    Attributes:
        finished: records; streams: int64[n], of their flows.
        places: of the records that stay with the stretch until `Stretch.write`, see `Numbering`; then there are no
            others.
        related: what is known of flows whose records depend on others, as far as `State` tells.
        requested: names that proxies were asked for, see `Names`.
        attempts: those of these flows.
        faults: errors of this program that were contained in them.
    """

    finished: Finished
    streams: NDArray[np.int64]
    places: NDArray[np.int64]
    related: State
    requested: dict[tuple[str, bytes], int]
    attempts: Attempts
    faults: Faults


class Written(NamedTuple):
    """What became of records that had stayed with a stretch.

    Attributes:
        files: names of those that were written.
        left: records that were not worth one.
        unnumbered: those that have no numbers yet.
    """

    files: list[str]
    left: Batch
    unnumbered: Finished


class Stretch:
    """The analysis of one stretch.

    Attributes:
        memory: what all its frames lie in until `finish`, where they do.
    """

    def __init__(self, settings: Settings, clock: int = NO_TIME, forms: Forms | None = None) -> None:
        """
        Args:
            settings: how to analyse.
            clock: the latest time of all segments before it, as far as it matters.
            forms: what other stretches have taught.
        """
        self._exchanges = None if settings.sought is None else Exchanges(_given, settings.sought)
        self._analyser = Analyser(
            ports=settings.ports,
            show_passwords=settings.show_passwords,
            udp_frames=settings.udp_frames,
            consumers=[self] if self._exchanges is None else [self, self._exchanges],
            forms=forms,
        )
        if self._exchanges is not None:
            self._exchanges.follow(self._analyser)
        self._analyser.connections.flows.clock = clock
        self._analyser.records.upstreams.considered = set()
        self._analyser.reader.keep_lost()
        self._settings = settings
        self._inner: Inner | None = None
        self._stays = Finished.none()
        self.memory: mmap.mmap | None = None
        self._batches: list[FrameBatch] = []
        self._segments: list[Segments] = []
        self._datagrams: list[Datagrams] = []
        self._errors: list[Reported] = []
        self._frames = 0
        self._times: list[tuple[int, int]] = []
        self._first = NO_TIME
        self._newest = np.empty(0, np.intp)
        self._flow_of: list[NDArray[np.intp]] = []
        self._syn: list[NDArray[np.bool_]] = []
        self._clocks: list[NDArray[np.int64]] = []

    def __sizeof__(self) -> int:
        """Octets that would have to go along: whoever divides work asks, and leaves it where it is."""
        octets = sum(len(batch.octets) for batch in self._batches) if self.memory is None else len(self.memory)
        return super().__sizeof__() + octets

    def __getstate__(self) -> dict[str, Any]:
        """How it goes to another process, where work is divided so: its arrays take their octets along."""
        return {**self.__dict__, "memory": None}

    def read(self, batches: Iterable[FrameBatch]) -> None:
        """Take all frames; their memory must stay."""
        analyser = self._analyser
        for batch in batches:
            if not len(batch):
                continue
            batch.first_number = self._frames + 1
            self._frames += len(batch)
            self._batches.append(batch)
            self._times.append((int(batch.time.min()), int(batch.time.max())))
            analyser.records.interfaces = batch.interfaces
            analyser.connections.handshakes.now = max(analyser.connections.handshakes.now, self._times[-1][1])
            segments, datagrams = analyser.reader.read(batch)
            self._errors += analyser.reader.errors
            if len(segments):
                analyser.connections.take(segments)
                segments.clock = analyser.connections.flows.clocks
                if self._first == NO_TIME:
                    self._first = int(segments.clock[0])
                self._segments.append(segments)
            if len(datagrams):
                self._datagrams.append(datagrams)
                if self._exchanges is not None:
                    self._exchanges.datagrams(datagrams)

    # -- as a consumer of the analyser ---------------------------------------------------------------------------

    def segments(self, batch: FlowBatch) -> None:
        """How flows begin."""
        new = np.flatnonzero(batch.new)
        new = new[np.argsort(batch.slots[new])]
        first = batch.starts[new]
        self._syn.append((batch.flags[first] & TcpFlag.SYN) != 0)
        self._clocks.append(self._analyser.connections.flows.clocks[batch.order[first]])
        slot = np.full(len(batch.segments), -1, np.intp)
        slot[batch.order] = np.repeat(batch.slots, batch.counts)
        self._flow_of.append(slot)

    def datagrams(self, datagrams: Datagrams) -> None:
        """None are handed to this analyser."""

    # -- what it holds -------------------------------------------------------------------------------------------

    def outline(self) -> Outline:
        """What there is."""
        analyser = self._analyser
        flows = analyser.connections.flows
        slots = np.arange(flows.used)
        newest = self._newest = flows.find(flows.low[slots], flows.high[slots])
        opening = np.full(len(slots), -1, np.intp)
        opening[newest[::-1]] = slots[::-1]
        opening = opening[newest]
        syn, clocks = _joined(self._syn, np.bool_), _joined(self._clocks, np.int64)
        kind = analyser.connections.watch.kind[slots]
        open_ = slots[(flows.close_clock[slots] == NO_TIME) & (kind != IGNORED)]
        fragments, fragment_frames = self._fragments()
        times = [*zip(*self._times, strict=True)] or [(NO_TIME,), (NO_TIME,)]
        associating = np.unique(newest[self._associating()])
        dns = [((segments.source & np.uint64(0xFFFF)) == _DNS) & (segments.captured > 0) for segments in self._segments]
        return Outline(
            frames=self._frames,
            earliest=min(times[0]),
            latest=max(times[1]),
            first=self._first,
            clock=flows.clock,
            interfaces=list(analyser.records.interfaces),
            addresses=analyser.reader.addresses.known(),
            skipped=analyser.reader.skipped,
            unknown_links=analyser.reader.unknown_links,
            flows={name: column for name, column in flows.rows(slots).items() if name != "stream"},
            newest=newest,
            opening=opening,
            syn=syn,
            clocks=clocks,
            kind=kind,
            marks=analyser.connections.watch.mark[:, slots],
            shared=[list(shared) for shared in flows.shared.values()],
            closed=analyser.connections.endings.noted(),
            associating=associating,
            open=self.state(open_),
            dns=segments_of([(s, np.flatnonzero(rows)) for s, rows in zip(self._segments, dns, strict=True)]),
            datagrams=datagrams_of([(datagrams, _telling(datagrams)) for datagrams in self._datagrams]),
            all_datagrams=sum(map(len, self._datagrams)),
            networks=analyser.reader.marks[0],
            processes=analyser.reader.processes,
            named=analyser.connections.provenance.told(slots),
            errors=self._errors,
            past=None if self._exchanges is None else self._exchanges.part(),
            fragments=fragments,
            fragment_frames=fragment_frames,
        )

    def packets(self, ends: NDArray[np.intp], wants: NDArray[np.uint8]) -> Packets:
        """Segments between some endpoints (see `Outline.newest`), in the order of the capture.

        Args:
            wants: uint8[k], what is wanted of each, see `thinned`.
        """
        chosen, whose = self._chosen(ends)
        wanted = np.zeros(self._analyser.connections.flows.used, np.uint8)
        wanted[ends] = wants
        segments, left = thin_segments_of(chosen, whose, wanted[whose])
        return Packets(segments, left.whose, left.first)

    def every_datagram(self) -> Datagrams:
        """All datagrams."""
        return datagrams_of([(datagrams, np.arange(len(datagrams))) for datagrams in self._datagrams])

    def state(self, slots: NDArray[np.intp]) -> State:
        """What is known of some flows."""
        analyser = self._analyser
        return State(slots, analyser.connections.handshakes.kept(slots), analyser.connections.endings.fins(slots))

    def _chosen(self, ends: NDArray[np.intp]) -> tuple[list[tuple[Segments, NDArray[np.intp]]], NDArray[np.intp]]:
        """The rows of segments between some endpoints, and which ones these are."""
        chosen, whose = [], []
        wanted = np.zeros(self._analyser.connections.flows.used + 1, np.bool_)
        wanted[ends] = True
        for segments, flow in zip(self._segments, self._flow_of, strict=True) if len(ends) else ():
            found = self._newest[flow]
            dropped = np.flatnonzero(flow < 0)
            if len(dropped):
                found[dropped] = self._find(segments, dropped)
            rows = np.flatnonzero(wanted[found])
            chosen.append((segments, rows))
            whose.append(found[rows])
        return chosen, _joined(whose, np.intp)

    def _find(self, segments: Segments, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """The newest flow between the endpoints of some segments."""
        source, destination = segments.source[rows], segments.destination[rows]
        return self._analyser.connections.flows.find(np.minimum(source, destination), np.maximum(source, destination))

    def _fragments(self) -> tuple[FrameBatch | None, NDArray[np.int64]]:
        """Frames of IP packets that are not complete here."""
        numbers = np.array(self._analyser.reader.unfinished(), np.int64)
        chosen = []
        for batch in self._batches if len(numbers) else ():
            rows = numbers[(numbers >= batch.first_number) & (numbers < batch.first_number + len(batch))]
            if len(rows):
                chosen.append(batch_rows(batch, (rows - batch.first_number).astype(np.intp)))
        return (in_one_memory(chosen) if chosen else None), numbers

    def _associating(self) -> list[int]:
        """Flows that open UDP associations."""
        analyser = self._analyser
        decided = analyser.verdicts.look(analyser.connections.handshakes.associating())
        return analyser.agreements.asking(decided)

    # -- records -------------------------------------------------------------------------------------------------

    def finish(self, order: Order) -> Inner:
        """Make the records of flows that have closed and are followed nowhere else."""
        if self._inner is None:
            self._inner = self._finish(order)
            del self._analyser  # from here on it is only held
        return self._inner

    def write(self, order: Order, number: int, ids: NDArray[np.int64]) -> Written:
        """Have the records written that have stayed here.

        Args:
            order: the same as for `finish`; whoever does it again, after another process has died, has no records yet.
            number: see `Writer`.
            ids: int64[n], of each record, 0 where it has none yet.

        Raises:
            OutputError: they cannot be written.
        """
        self.finish(order)
        settings = self._settings
        assert settings.writer is not None, "they have stayed for it"
        stays = self._stays
        known, unknown = np.flatnonzero(ids), np.flatnonzero(ids == 0)
        numbered = stays.take(known)
        numbered.number(0, ids[known].tolist())
        files, left = settings.writer(number, numbered.batch, settings.least)
        return Written(files, left.alone(), alone(stays.take(unknown)))

    def _finish(self, order: Order) -> Inner:
        analyser = self._analyser
        flows, kind = analyser.connections.flows, analyser.connections.watch.kind
        self._batches, self._segments, self._datagrams, self._flow_of = [], [], [], []
        self._exchanges, analyser.connections.consumers = None, []
        self._move(order)
        kind[order.elsewhere] = IGNORED
        slots = np.arange(flows.used)
        slots = slots[(kind[slots] != IGNORED) & (flows.close_clock[slots] != NO_TIME)]
        state = self.state(slots)
        analyser.finish_flows(slots)
        made = analyser.verdicts.numbering.take()
        finished = made[0] if made else Finished.none()
        related = self._related(finished, slots, order)
        mine = np.isin(slots, related)
        kept = np.flatnonzero(~np.isin(_streams(finished), flows.stream[related]))
        streams = _streams(finished)[kept]
        finished, places = alone(printed(finished.take(kept), self._settings.printer)), np.empty(0, np.int64)
        if self._settings.writer is not None and len(kept) >= max(self._settings.least, 1):
            self._stays, finished = finished, Finished.none()
            streams, places = streams[:0], np.array(self._stays.places, np.int64)
        return Inner(
            finished,
            streams,
            places,
            state.part(np.flatnonzero(mine)),
            analyser.records.names.requested(),
            analyser.attempts.detached(),
            analyser.faults,
        )

    def _move(self, order: Order) -> None:
        """Frames and flows have the numbers that they have in the whole capture."""
        analyser = self._analyser
        flows = analyser.connections.flows
        analyser.connections.handshakes.later(order.frames)
        for column in (flows.first_frame, flows.last_frame, flows.close_frame):
            column += order.frames
        flows.stream[: flows.used] = order.streams

    def _related(self, finished: Finished, slots: NDArray[np.intp], order: Order) -> NDArray[np.intp]:
        """Flows whose records another analyser has to make, since they depend on other flows."""
        analyser = self._analyser
        flows = analyser.connections.flows
        found = set(analyser.records.upstreams.considered or ())
        near = (flows.first_time[slots] <= order.since + SLACK) | (flows.last_time[slots] + SLACK >= order.until)
        found.update(slots[near].tolist())
        streams = set(_associations(finished))
        streams.update(_learners(finished, order.learned))
        if streams:
            found.update(slots[np.isin(flows.stream[slots], [*streams])].tolist())
        return np.array(sorted(found & set(slots.tolist())), np.intp)


def alone(finished: Finished) -> Finished:
    """The same records, without columns of others."""
    return finished._replace(batch=finished.batch.alone())


def printed(finished: Finished, printer: Printer | None) -> Finished:
    """The same records as lines, but for those that say of others what ids they have."""
    if printer is None:
        return finished
    batch = finished.batch
    kin = {id(outer) for outer in finished.outer.values()}
    alone = [row for row, each in enumerate(batch.written) if row not in finished.outer and id(each) not in kin]
    texts: list[str | None] = [None] * len(batch)
    for row, text in zip(alone, printer(batch.take(np.array(alone, np.intp))), strict=True):
        texts[row] = text
    left = [each if text is None else None for each, text in zip(batch.written, texts, strict=True)]
    return finished._replace(batch=Batch(batch.id, left, printed=texts))


def _given(row: Exchange) -> None:
    """No rows are made here."""


def _telling(datagrams: Datagrams) -> NDArray[np.intp]:
    """Datagrams that tell something even where no association is known."""
    like = header_like(datagrams, np.arange(len(datagrams)))
    return np.union1d(like, np.flatnonzero((datagrams.source & np.uint64(0xFFFF)) == _DNS)).astype(np.intp)


def _rows(table: Rows, rows: NDArray[np.intp]) -> Rows:
    return {name: column[..., rows] for name, column in table.items()}


def _streams(finished: Finished) -> NDArray[np.int64]:
    batch = finished.batch
    found = np.array([-1 if each is None else each.tcp_stream for each in batch.written], np.int64)
    if batch.columns is not None:
        rows = np.flatnonzero(found < 0)
        found[rows] = batch.columns.tcp_stream[batch.place[rows]]
    return found


def _associations(finished: Finished) -> Iterable[int]:
    """Streams of conversations that ask for UDP ASSOCIATE."""
    batch = finished.batch
    for row, each in enumerate(batch.written):
        if each is not None:
            if each.command == "udp-associate":
                yield each.tcp_stream
            continue
        assert batch.columns is not None, "rows of forms have columns"
        place = int(batch.place[row])
        if batch.columns.forms[batch.columns.form[place]].command == "udp-associate":
            yield int(batch.columns.tcp_stream[place])


def _learners(finished: Finished, learned: Collection[tuple[str, str]]) -> Iterable[int]:
    """Streams of conversations that ask for an address that their client had from DNS, at whatever time."""
    if not learned:
        return
    batch = finished.batch
    for row, each in enumerate(batch.written):
        if each is None:
            assert batch.columns is not None
            place = int(batch.place[row])
            client, host = (plain(getattr(batch.columns, name)[place]) for name in ("client_address", "destination"))
            stream = int(batch.columns.tcp_stream[place])
        elif each.destination is None:
            continue
        else:
            client, host, stream = each.client.address, each.destination.host, each.tcp_stream
        if (client, host) in learned:
            yield stream


def _joined(parts: Sequence[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, kind)
