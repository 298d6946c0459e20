"""A stretch of a capture, analysed by itself: what one process does.

Nothing is known there of what came before. So flows that lie in the stretch as a whole are analysed here, and of those
that may have begun before or may go on behind it, what another analyser needs to take them over is handed out:
packets of the ones, and what is known of the others.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socks5sniff.analysis.analyser import Analyser
from socks5sniff.analysis.forms import Forms
from socks5sniff.analysis.numbering import Finished
from socks5sniff.analysis.unproxied import Exchange, Exchanges
from socks5sniff.analysis.upstream import SLACK
from socks5sniff.analysis.watch import IGNORED
from socks5sniff.capture.batch import FrameBatch
from socks5sniff.packets.columns import Datagrams
from socks5sniff.packets.icmp import Reported
from socks5sniff.record.batch import Batch
from socks5sniff.record.text import plain
from socks5sniff.streams.flows import NO_TIME

from .messages import Inner, Order, Outline, Packets, Printer, Settings, State, Written
from .packets import thin_segments_of
from .seen import Seen

LONG = ("finish", "write")
"""What is asked of a stretch and takes its time."""


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
        self.memory: mmap.mmap | None = None
        self._settings = settings
        self._analyser = analyser = Analyser(
            ports=settings.ports,
            show_passwords=settings.show_passwords,
            udp_frames=settings.udp_frames,
            forms=forms,
        )
        analyser.connections.flows.clock = clock
        analyser.records.upstreams.considered = set()
        analyser.reader.keep_lost()
        self._seen = Seen(analyser.connections.flows)
        self._errors: list[Reported] = []
        self._exchanges = None if settings.sought is None else Exchanges(_given, settings.sought)
        if self._exchanges is not None:
            self._exchanges.follow(analyser)
        analyser.connections.consumers = [self._seen, *([] if self._exchanges is None else [self._exchanges])]
        self._newest = np.empty(0, np.intp)
        self._inner: Inner | None = None
        self._stays = Finished.none()

    def __sizeof__(self) -> int:
        """Octets that would have to go along: whoever divides work asks, and leaves it where it is."""
        if self.memory is not None:
            return super().__sizeof__() + len(self.memory)
        return super().__sizeof__() + (self._seen.octets() if self._inner is None else 0)

    def __getstate__(self) -> dict[str, Any]:
        """How it goes to another process, where work is divided so: its arrays take their octets along."""
        return {**self.__dict__, "memory": None}

    def read(self, batches: Iterable[FrameBatch]) -> None:
        """Take all frames; their memory must stay."""
        analyser = self._analyser
        handshakes = analyser.connections.handshakes
        for batch in batches:
            if not len(batch):
                continue
            handshakes.now = max(handshakes.now, self._seen.begin(batch))
            analyser.records.interfaces = batch.interfaces
            segments, datagrams = analyser.reader.read(batch)
            self._errors += analyser.reader.errors
            if len(segments):
                analyser.connections.take(segments)
            self._seen.take(segments, datagrams)
            if self._exchanges is not None and len(datagrams):
                self._exchanges.datagrams(datagrams)

    # -- what it holds -------------------------------------------------------------------------------------------

    def outline(self) -> Outline:
        """What there is."""
        analyser, seen = self._analyser, self._seen
        flows = analyser.connections.flows
        slots = np.arange(flows.used)
        newest = self._newest = flows.find(flows.low[slots], flows.high[slots])
        opening = np.full(len(slots), -1, np.intp)
        opening[newest[::-1]] = slots[::-1]
        kind = analyser.connections.watch.kind[slots]
        open_ = slots[(flows.close_clock[slots] == NO_TIME) & (kind != IGNORED)]
        earliest, latest = seen.times
        fragments = np.array(analyser.reader.unfinished(), np.int64)
        return Outline(
            frames=seen.frames,
            earliest=earliest,
            latest=latest,
            first=seen.first,
            clock=flows.clock,
            interfaces=list(analyser.records.interfaces),
            addresses=analyser.reader.addresses.known(),
            skipped=analyser.reader.skipped,
            unknown_links=analyser.reader.unknown_links,
            flows={name: column for name, column in flows.rows(slots).items() if name != "stream"},
            newest=newest,
            opening=opening[newest],
            syn=seen.syn,
            clocks=seen.clocks,
            kind=kind,
            marks=analyser.connections.watch.mark[:, slots],
            shared=[list(shared) for shared in flows.shared.values()],
            closed=analyser.connections.endings.noted(),
            associating=np.unique(newest[self._associating()]),
            open=self.state(open_),
            dns=seen.dns(),
            datagrams=seen.telling_datagrams(),
            all_datagrams=seen.all_datagrams,
            networks=analyser.reader.marks[0],
            processes=analyser.reader.processes,
            named=analyser.connections.provenance.told(slots),
            errors=self._errors,
            past=None if self._exchanges is None else self._exchanges.part(),
            fragments=seen.frames_of(fragments),
            fragment_frames=fragments,
        )

    def packets(self, ends: NDArray[np.intp], wants: NDArray[np.uint8]) -> Packets:
        """Segments between some endpoints (see `Outline.newest`), in the order of the capture.

        Args:
            wants: uint8[k], what is wanted of each, see `thinned`.
        """
        chosen, whose = self._seen.between(ends, self._newest)
        wanted = np.zeros(len(self._newest), np.uint8)
        wanted[ends] = wants
        segments, left = thin_segments_of(chosen, whose, wanted[whose])
        return Packets(segments, left.whose, left.first)

    def every_datagram(self) -> Datagrams:
        """All datagrams."""
        return self._seen.every_datagram()

    def state(self, slots: NDArray[np.intp]) -> State:
        """What is known of some flows."""
        analyser = self._analyser
        return State(slots, analyser.connections.handshakes.kept(slots), analyser.connections.endings.fins(slots))

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
            del self._analyser, self._seen  # from here on it is only held
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
        results, left = settings.writer(number, numbered.batch, settings.least)
        return Written(results, left.alone(), alone(stays.take(unknown)))

    def _finish(self, order: Order) -> Inner:
        analyser = self._analyser
        flows, kind = analyser.connections.flows, analyser.connections.watch.kind
        self._seen.forget()
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
