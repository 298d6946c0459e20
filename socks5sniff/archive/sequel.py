"""The analyser of a whole capture, most of whose packets it never sees.

It takes one stretch after another, in their order. Of the flows that lie in a stretch as a whole it takes over the row
in the flow table, so that this table is at every seam what one reading's table would be; others make the records (see
`stretch`). Flows that are open at a seam it takes over as they are, and sees all their further packets, as it sees
those of endpoints that it knows, of UDP associations, and whatever other flows' records depend on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.analysis.analyser import Analyser
from socks5sniff.analysis.bypass import Past
from socks5sniff.analysis.numbering import Finished, place_of
from socks5sniff.analysis.watch import ELSEWHERE, IGNORED, SOCKS
from socks5sniff.capture.batch import Interface
from socks5sniff.packets.columns import Datagrams, Segments, TcpFlag
from socks5sniff.packets.icmp import Reported
from socks5sniff.packets.reader import UnknownLink
from socks5sniff.packets.rows import Skipped
from socks5sniff.record.batch import Batch
from socks5sniff.record.batch import joined as joined_batches
from socks5sniff.streams.flows import NO_TIME, FlowBatch
from socks5sniff.streams.heads import HEAD
from socks5sniff.streams.octets import Octets
from socks5sniff.streams.spaces import FORGET, LINGER

from .messages import Inner, Order, Outline, Packets, Settings, State
from .packets import Numbers, datagrams_of, joined, segments_of
from .stretch import printed
from .thinning import BAND, COUNTS, HEADS, SLACK, WHOLE

_NEVER = 1 << 62
_ODD = np.uint64(0x9E3779B97F4A7C15)
_MARKS = TcpFlag.SYN | TcpFlag.FIN | TcpFlag.RST


class Asks(NamedTuple):
    """What can be asked of whoever has analysed a stretch."""

    packets: Callable[[NDArray[np.intp], NDArray[np.uint8]], Packets]
    state: Callable[[NDArray[np.intp]], State]
    every_datagram: Callable[[], Datagrams]


class Coming(NamedTuple):
    """What is known of the stretches behind one.

    Attributes:
        outlines: of the next ones.
        whole: nothing behind them comes in time to be a last packet of what closed in that one.
    """

    outlines: Sequence[Outline]
    whole: bool


class _Seam(NamedTuple):
    """A stretch that was taken, and whose own records are awaited."""

    frames: int
    """Before it."""
    clock: int
    """By its end."""
    slots: NDArray[np.intp]
    """Of its flows, -1 for those whose packets were seen."""


class _Made(NamedTuple):
    """Records that a stretch has made, and that wait until their flows are over here, too.

    Attributes:
        streams: int64[n], of their flows.
        rows: intp[m], which of them wait.
    """

    finished: Finished
    streams: NDArray[np.int64]
    rows: NDArray[np.intp]

    def waiting(self, rows: NDArray[np.intp]) -> _Made:
        """The same, of which these rows are left; the others are let go when they are the most."""
        if 2 * len(rows) >= len(self.streams):
            return self._replace(rows=rows)
        return _Made(self.finished.take(rows), self.streams[rows], np.arange(len(rows)))


class Sequel(Analyser):
    """See this module's docstring."""

    def __init__(self, settings: Settings, past: Past | None = None) -> None:
        """`past`: what looks for what goes past proxies, as the stretches do (see `Settings.sought`)."""
        super().__init__(
            ports=settings.ports,
            show_passwords=settings.show_passwords,
            udp_frames=settings.udp_frames,
            consumers=[] if past is None else [self],
        )
        self._exchanges = None if past is None else past.exchanges
        if past is not None:
            past.follow(self)
        self._printer = settings.printer
        self.skipped = Skipped()
        self.unknown_links: list[UnknownLink] = []
        self.interfaces: list[Interface] = []
        self.records.interfaces = self.interfaces
        self._captures: dict[Interface, int] = {}
        self._noted: set[tuple[str, int]] = set()
        self._seams: deque[_Seam] = deque()
        self._made: list[_Made] = []

    def fits(self, outline: Outline) -> bool:
        """Whether a stretch was analysed with the clock that it begins with."""
        return outline.first == NO_TIME or self.connections.flows.clock <= outline.first

    def take_stretch(self, outline: Outline, coming: Coming, asks: Asks) -> Order:
        """Take the next stretch.

        Args:
            outline: what is in it.
            coming: the stretches behind it.
            asks: whoever has analysed it.
        """
        before, first = self.packets, self.connections.flows.streams
        numbers = self._numbers(outline)
        self.reader.addresses.learn(outline.addresses)
        more, more_datagrams, errors = self._completed(outline, numbers)
        known = np.union1d(self._known(outline), _ends_of(outline, more)).astype(np.intp)
        seen = np.isin(outline.newest, np.concatenate((known, outline.associating)))
        segments, datagrams = self._packets(outline, asks, known, numbers)
        since = self.connections.handshakes.now
        closed = len(self.connections.endings)
        segments = joined((numbers.packets(segments), more))
        datagrams = joined((numbers.packets(datagrams), more_datagrams))
        errors = sorted([*errors, *(error._replace(frame=error.frame + before) for error in outline.errors)])
        if len(more):
            assert segments.clock is not None, "a stretch tells it"
            segments.clock = np.maximum.accumulate(np.maximum(segments.clock, self.connections.flows.clock))
        self.connections.handshakes.now = max(self.connections.handshakes.now, outline.latest)
        if len(segments):
            self.agreements.close(self.connections.take(segments))
        if len(outline.dns):
            self.records.names.learn_from_streams(numbers.packets(outline.dns))
        self.take_datagrams(datagrams, errors)
        self._pass_datagrams(outline, datagrams, more_datagrams, numbers, asks)
        followed = self._followed(outline, seen, coming)
        slots = self._adopt(outline, seen, numbers)
        self._adopt_states(outline, slots, followed, before, asks)
        live = self.connections.flows.live()
        begun = live[self.connections.flows.first_frame[live] > before]
        self.connections.flows.renumber(begun, first)
        if self._exchanges is not None and outline.past is not None:
            self._exchanges.adopt(slots, outline.past)
            self._exchanges.note(begun)
        self.connections.endings.insert(slots[outline.closed[~seen[outline.closed]]], closed)
        self.connections.flows.clock = max(self.connections.flows.clock, outline.clock)
        self.packets += outline.frames
        self._count(outline, before)
        self._seams.append(_Seam(before, self.connections.flows.clock, slots))
        streams = np.where(slots >= 0, self.connections.flows.stream[slots], -1)
        until = min(
            (each.earliest for each in coming.outlines if each.frames),
            default=_NEVER if coming.whole else outline.latest,
        )
        elsewhere = np.flatnonzero(seen | followed)
        return Order(before, streams, elsewhere, self._learned(outline, elsewhere), since, until)

    def _learned(self, outline: Outline, elsewhere: NDArray[np.intp]) -> frozenset[tuple[str, str]]:
        """What those got from DNS whose records the stretch makes."""
        if not len(self.records.names):
            return frozenset()
        mine = outline.kind != IGNORED
        mine[elsewhere] = False
        ends = np.concatenate((outline.flows["low"][mine], outline.flows["high"][mine]))
        hosts = np.unique(ends >> np.uint64(16)) << np.uint64(16)
        return self.records.names.learned(set(map(self.reader.addresses.endpoint_address, hosts.tolist())))

    def take_inner(self, inner: Inner) -> list[Batch]:
        """Take the records of the first stretch whose own ones are awaited; give those that have their numbers."""
        seam = self._seams.popleft()
        self.verdicts.numbering.add(inner.finished.places)
        if len(inner.places):
            self.verdicts.numbering.expect(inner.places.tolist())
        self._made.append(_Made(inner.finished, inner.streams, np.arange(len(inner.streams))))
        self._take_over(seam.slots[inner.related.slots], inner.related)
        self.records.names.note_requests(inner.requested)
        self.attempts.add(inner.attempts)
        self.faults.add(inner.faults, self.connections.flows.stream[seam.slots[inner.related.slots]].tolist())
        self.finish_due(seam.clock)
        self.bounds.make_room(self.finish_flows)
        return self.release_records(self._seams[0].frames + 1 if self._seams else None)

    def _hand_on(self, finished: Finished, elsewhere: NDArray[np.intp]) -> None:
        streams = self.connections.flows.stream[elsewhere]
        parts = [printed(finished, self._printer)]
        left = []
        for made in self._made:
            given = np.isin(made.streams[made.rows], streams)
            parts.append(made.finished.take(made.rows[given]))
            if not given.all():
                left.append(made.waiting(made.rows[~given]))
        self._made = left
        for part in merged(parts):
            self.verdicts.numbering.finish(part)

    # -- what goes past proxies ----------------------------------------------------------------------------------

    def segments(self, batch: FlowBatch) -> None:
        """Packets that are seen here are counted here."""
        assert self._exchanges is not None, "it is a consumer then"
        self._exchanges.segments(batch)

    def datagrams(self, datagrams: Datagrams) -> None:
        """These may not be all; see `_pass_datagrams`."""

    def _pass_datagrams(
        self, outline: Outline, datagrams: Datagrams, more: Datagrams, numbers: Numbers, asks: Asks
    ) -> None:
        """Take over a stretch's datagrams as they were counted there; those that may be relayed are counted here.

        Args:
            datagrams: those that are here, with `more`, which were put together from fragments.
        """
        if self._exchanges is None or outline.past is None:
            return
        relayed = self.agreements.by_slot or len(outline.associating)
        if not relayed and not len(more) and self._exchanges.adopt_pairs(outline.past):
            return
        if len(datagrams) < outline.all_datagrams + len(more):
            datagrams = joined((numbers.packets(asks.every_datagram()), more))
        self._exchanges.datagrams(datagrams)

    # -- packets that were put together from IP fragments on both sides of a seam ---------------------------------

    def _completed(
        self, outline: Outline, numbers: Numbers
    ) -> tuple[Segments, Datagrams, list[Reported]]:
        """The packets that fragments complete which no stretch could put together by itself."""
        batch = outline.fragments
        if batch is None:
            return segments_of([]), datagrams_of([]), []
        batch.interface, batch.interfaces = numbers.captures[batch.interface], self.interfaces
        segments, datagrams = self.reader.read(batch)
        frames = outline.fragment_frames + numbers.frames
        for columns in (segments, datagrams):
            columns.frame = frames[columns.frame - batch.first_number]
        errors = [
            error._replace(frame=int(frames[error.frame - batch.first_number])) for error in self.reader.errors
        ]
        segments.clock = segments.time
        rows, datagram_rows = np.arange(len(segments)), np.arange(len(datagrams))
        return segments_of([(segments, rows)]), datagrams_of([(datagrams, datagram_rows)]), errors

    # -- packets -------------------------------------------------------------------------------------------------

    def _known(self, outline: Outline) -> NDArray[np.intp]:
        """Endpoints (see `Outline.newest`) of which so much is known that their packets must be seen here."""
        flows = self.connections.flows
        opening = outline.openings
        low, high = outline.flows["low"][opening], outline.flows["high"][opening]
        slots = flows.find(low, high)
        closed = flows.close_clock[slots]
        time = outline.clocks[opening]
        over = (closed != NO_TIME) & (time > np.where(closed == NO_TIME, 0, closed) + LINGER)
        over &= outline.syn[opening] | (time > np.where(closed == NO_TIME, 0, closed) + FORGET)
        if flows.shared:
            over &= ~self._are_shared(low, high)
        found: NDArray[np.intp] = outline.newest[opening[(slots >= 0) & ~over]]
        return found

    def _are_shared(self, low: NDArray[np.uint64], high: NDArray[np.uint64]) -> NDArray[np.bool_]:
        shared = self.connections.flows.shared
        pairs = zip(low.tolist(), high.tolist(), strict=True)
        return np.fromiter((pair in shared for pair in pairs), np.bool_, len(low))

    def _packets(
        self, outline: Outline, asks: Asks, known: NDArray[np.intp], numbers: Numbers
    ) -> tuple[Segments, Datagrams]:
        """The packets that must be seen here."""
        wanted = np.union1d(known, outline.associating)
        wants = self._wants(outline, wanted)
        quiet = (wants == COUNTS) & ((outline.flows["flags0"] | outline.flows["flags1"])[wanted] & _MARKS == 0)
        self._count_on(outline, wanted[quiet], numbers)
        wanted, wants = wanted[~quiet], wants[~quiet]
        if len(wanted):
            found = asks.packets(wanted, wants)
            if not self._trusts(outline, found):
                found = asks.packets(wanted, np.full(len(wanted), WHOLE, np.uint8))
            segments = found.segments
        else:
            segments = segments_of([])
        datagrams = outline.datagrams
        if outline.all_datagrams > len(datagrams) and (self.agreements.by_slot or len(outline.associating)):
            datagrams = asks.every_datagram()
        return segments, datagrams

    def _count_on(self, outline: Outline, ends: NDArray[np.intp], numbers: Numbers) -> None:
        """Packets of flows that are ignored, and go on, change the flow table only."""
        if len(ends):
            columns = numbers.flows({name: column[ends] for name, column in outline.flows.items()})
            self.connections.flows.count(self.connections.flows.find(columns["low"], columns["high"]), columns)

    def _wants(self, outline: Outline, ends: NDArray[np.intp]) -> NDArray[np.uint8]:
        """What must be seen of each connection."""
        flows, watch = self.connections.flows, self.connections.watch
        low, high = outline.flows["low"][ends], outline.flows["high"][ends]
        slots = flows.find(low, high)
        one = (slots >= 0) & (flows.close_clock[slots] == NO_TIME) & (outline.opening[ends] == ends)
        if flows.shared:
            one &= ~self._are_shared(low, high)
        heads = np.where(watch.limit[slots] <= HEAD, HEADS, WHOLE)
        ignored = COUNTS if self._exchanges is None else HEADS
        return np.where(one, np.where(watch.kind[slots] == IGNORED, ignored, heads), WHOLE).astype(np.uint8)

    def _trusts(self, outline: Outline, found: Packets) -> bool:
        """Whether nothing was left out of connections that would tell something, given what is known of them."""
        ends, first = found.whose, found.first
        if not len(ends):
            return True
        slots = self.connections.flows.find(outline.flows["low"][ends], outline.flows["high"][ends])
        nothing = (first < 0) | (self.connections.watch.kind[slots] == IGNORED)
        trusted = bool((nothing | _fits(self.connections.octets, slots, first)).all())
        if self._exchanges is not None:
            trusted = trusted and bool(((first < 0) | _fits(self._exchanges.octets, slots, first)).all())
        return trusted

    # -- what is taken over --------------------------------------------------------------------------------------

    def _followed(
        self, outline: Outline, seen: NDArray[np.bool_], coming: Coming
    ) -> NDArray[np.bool_]:
        """bool[n]: flows that are followed here from now on: open ones, and those that get packets behind the seam, or
        may get some where nobody has looked yet."""
        closed = outline.flows["close_clock"]
        followed = (closed == NO_TIME) & (outline.kind != IGNORED)
        late = np.flatnonzero((closed != NO_TIME) & (outline.kind != IGNORED) & ~seen)
        for stretch in coming.outlines:
            if not len(late):
                break
            if stretch.first == NO_TIME:
                continue
            late = late[closed[late] + LINGER >= stretch.first]
            mine = _pairs(outline, late)
            theirs = _pairs(stretch, stretch.openings)
            followed[late[np.isin(mine, theirs)]] = True
        if not coming.whole:
            clock = max(each.clock for each in (outline, *coming.outlines))
            followed[late[closed[late] + LINGER >= clock]] = True
        found: NDArray[np.bool_] = followed & ~seen
        return found

    def _adopt(
        self, outline: Outline, seen: NDArray[np.bool_], numbers: Numbers
    ) -> NDArray[np.intp]:
        """Take over the rows of the flow table; gives the slots, -1 for flows that were seen."""
        rows = np.flatnonzero(~seen)
        columns = numbers.flows({name: column[rows] for name, column in outline.flows.items()})
        place = np.full(len(seen), -1, np.intp)
        place[rows] = np.arange(len(rows))
        shared = [[int(place[slot]) for slot in slots] for slots in outline.shared if not seen[slots[0]]]
        known = self.connections
        mine = known.flows.adopt(columns, shared)
        known.handshakes.begin(mine, known.flows.capacity)
        known.endings.begin(mine, known.flows.capacity)
        known.provenance.adopt(mine, None if outline.named is None else numbers.processes[outline.named[:, rows]])
        known.watch.mark[:, mine] = outline.marks[:, rows]
        known.watch.kind[mine] = np.where(outline.kind[rows] == IGNORED, IGNORED, ELSEWHERE)
        slots = np.full(len(seen), -1, np.intp)
        slots[rows] = mine
        return slots

    def _adopt_states(
        self, outline: Outline, slots: NDArray[np.intp], followed: NDArray[np.bool_], before: int, asks: Asks
    ) -> None:
        """Take over what is known of flows that are followed here."""
        wanted = np.flatnonzero(followed)
        state = outline.open
        if len(np.setdiff1d(wanted, state.slots)):
            state = asks.state(wanted)
        rows = np.flatnonzero(np.isin(state.slots, wanted))
        state = state.part(rows)
        self._take_over(slots[state.slots], state._replace(kept=state.kept.shifted(before)))

    def _take_over(self, slots: NDArray[np.intp], state: State) -> None:
        if len(slots):
            self.connections.handshakes.adopt(slots, state.kept)
            self.connections.endings.adopt(slots, state.fins)
            found = slots[self.connections.watch.kind[slots] == SOCKS]
            self.verdicts.numbering.add(map(place_of, self.connections.flows.first_frame[found].tolist()))

    # -- totals --------------------------------------------------------------------------------------------------

    def _numbers(self, outline: Outline) -> Numbers:
        """What a stretch's numbers are among all."""
        captures = self._captures
        for interface in outline.interfaces:
            if interface not in captures:
                captures[interface] = len(self.interfaces)
                self.interfaces.append(interface)
        networks, processes = self.reader.marks
        return Numbers(
            self.packets,
            np.array([captures[interface] for interface in outline.interfaces], np.uint16),
            networks.learn(outline.networks),
            np.array([processes.number(process) for process in outline.processes], np.int32),
        )

    def _count(self, outline: Outline, before: int) -> None:
        self.skipped.add(outline.skipped)
        for link in outline.unknown_links:
            if (link.capture, link.link_type) not in self._noted:
                self._noted.add((link.capture, link.link_type))
                self.unknown_links.append(link._replace(frame=link.frame + before))


def _fits(octets: Octets, slots: NDArray[np.intp], first: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool[2, n]: whether the first sequence numbers of a stretch are where flows stand."""
    ahead = (first - octets.edge[:, slots]).astype(np.uint32).view(np.int32).astype(np.int64)
    known: NDArray[np.bool_] = (octets.origin[:, slots] >= 0) & (np.abs(ahead) < BAND)
    known &= octets.reach[:, slots] + ahead >= -SLACK
    return known


def _ends_of(outline: Outline, segments: Segments) -> NDArray[np.intp]:
    """The endpoints (see `Outline.newest`) of some segments, as far as there are other packets between them."""
    if not len(segments):
        return np.empty(0, np.intp)
    low, high = np.minimum(segments.source, segments.destination), np.maximum(segments.source, segments.destination)
    opening = outline.openings
    found: NDArray[np.intp] = outline.newest[opening[np.isin(_pairs(outline, opening), _values(low, high))]]
    return found


def _pairs(outline: Outline, rows: NDArray[np.intp]) -> NDArray[np.uint64]:
    """The endpoints of flows as single values; see `_values`."""
    return _values(outline.flows["low"][rows], outline.flows["high"][rows])


def _values(low: NDArray[np.uint64], high: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Pairs as values that are the same for the same pair; where others share one, a flow more is seen here."""
    values: NDArray[np.uint64] = (low * _ODD) ^ high
    return values


def _whole(parts: Collection[Finished]) -> Finished:
    begins = accumulate((len(part.places) for part in parts), initial=0)
    whole = Finished(
        joined_batches([part.batch for part in parts]),
        [place for part in parts for place in part.places],
        {begin + row: outer for begin, part in zip(begins, parts, strict=False) for row, outer in part.outer.items()},
    )
    return whole.take(np.argsort(np.array(whole.places, np.int64), kind="stable"))


def merged(parts: Collection[Finished]) -> list[Finished]:
    """Records of several origins in the order of their places, in runs of one origin's columns.

    Those of the first origin are written out, so that they fit into any run.
    """
    parts = [part for part in parts if part.places]
    if len(parts) < 2:
        return list(parts)
    if sum(part.batch.columns is not None for part in parts) < 2:
        return [_whole(parts)]
    places = np.concatenate([np.array(part.places, np.int64) for part in parts])
    origin = np.repeat(np.arange(len(parts)), [len(part.places) for part in parts])
    row = np.concatenate([np.arange(len(part.places)) for part in parts])
    order = np.argsort(places, kind="stable")
    places, origin, row = places[order], origin[order], row[order]
    edges = np.flatnonzero(origin[1:] != origin[:-1]) + 1
    return [
        parts[int(origin[begin])].take(row[begin:end])
        for begin, end in zip([0, *edges.tolist()], [*edges.tolist(), len(row)], strict=True)
    ]
