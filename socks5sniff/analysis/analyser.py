"""Batches of segments and datagrams in, conversation records out.

Every flow is in one of five kinds, a column of the flow table:

    WATCHED ──first octets could open SOCKS──▶ CANDIDATE ──both sides fit──▶ FOLLOWED ──tunnel named──▶ COUNTED
       │                                           │
       └──────────── they can't ───────────────────┴──────────▶ IGNORED

Only CANDIDATE and FOLLOWED flows have a `Connection` and cost Python time per segment; the others are numbers in
columns, worked on a batch at a time. A flow whose batch holds its whole regular handshake goes straight to COUNTED.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.batch import FrameBatch, Interface
from socks5sniff.codec import MAX_GREETING, Command
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import IPV6, Segments, TcpFlag, payload_octet, payload_octets
from socks5sniff.packets.reader import PacketReader
from socks5sniff.record import Conversation
from socks5sniff.record.regular import FlowFacts, Regular, RegularConversation
from socks5sniff.session import PREAMBLE_LIMIT, Session, Verdict, find_greeting
from socks5sniff.streams.flows import NO_TIME, UNKNOWN, FlowBatch, FlowTable

from .build import build, build_nested, carried
from .connection import Connection
from .names import Names
from .numbering import Finished, Numbering, place_of
from .regular import LONGEST, Openings, find_regular
from .transcripts import LOOPBACK, TRUSTED, Transcripts
from .udp import Association, Associations, relays_of

WATCHED, CANDIDATE, FOLLOWED, COUNTED, IGNORED = range(5)

SOCKS_PORTS = frozenset({1080, 9050, 9150})
"""Ports on which a greeting alone makes a conversation: SOCKS's own and Tor's."""

LINGER = 2_000_000_000
"""Nanoseconds of capture time that a closed connection's last packets are waited for."""
MAX_FLOWS = 1 << 18
"""Flows in the table; above it the longest idle ones that are not SOCKS are forgotten, and counted."""
MAX_CONNECTIONS = 10_000
"""Connections with a `Connection`, 3 kB each; above it the longest idle ones end early, undecided ones first."""
MAX_WAITING = 32 << 20
"""Octets that may wait behind holes in all connections together; above it the holes are given up."""
FEW = 64
"""So few connections cannot hold MAX_WAITING."""
MAX_ADDRESSES = 1 << 17
"""IPv6 addresses, 300 octets each; above it those without a flow are forgotten, and flows where that is not enough."""
FORGET = 60_000_000_000
"""Nanoseconds after which a closed flow leaves the table."""

_AT_ONCE = 1024
"""Connections that end together: each has a session and a record then."""
_TCP = 6
_NEVER = 1 << 62
_CLOSING = TcpFlag.FIN | TcpFlag.RST
_CLOSE = {0: "open", TcpFlag.FIN: "fin", TcpFlag.RST: "reset", _CLOSING: "reset"}
_SIDES = (0, 1, None)


class Analyser:
    """Finds the SOCKS conversations of one capture.

    Args:
        ports: ports the user named as proxy ports, besides SOCKS_PORTS.
        show_passwords: put passwords into the records instead of a mask.
        udp_frames: list each UDP datagram of an association among the record's frames.
        patience: nanoseconds of capture time that an undecided connection may hold back the ids of later ones.

    Attributes:
        packets: frames read so far.
        evicted: flows forgotten while they were open, because there were more than MAX_FLOWS.
    """

    def __init__(
        self,
        *,
        ports: Collection[int] = (),
        show_passwords: bool = False,
        udp_frames: bool = False,
        patience: int = 30_000_000_000,
    ) -> None:
        self.packets = 0
        self.evicted = 0
        self.reader = PacketReader()
        self._book: AddressBook = self.reader.addresses
        self._flows = FlowTable()
        self._ports = frozenset(ports)
        self._trusted = np.zeros(1 << 16, np.bool_)
        self._trusted[[port for port in SOCKS_PORTS | self._ports if 0 <= port <= 0xFFFF]] = True
        self._show_passwords = show_passwords
        self._patience = patience
        self._connections: dict[int, Connection] = {}
        # Of flows that are COUNTED, what was found: those in the one have nothing to add, the others may.
        self._regular: dict[int, Regular] = {}
        self._transcripts = Transcripts(show_passwords)
        self._associations = Associations(self._book, udp_frames)
        self._opened: list[Association] = []
        self._names = Names(self._book)
        # Closed flows: when, slot, stream.
        self._closing: deque[tuple[int, int, int]] = deque()
        self._numbering = Numbering()
        # Slots of connections that may have a conversation inside their tunnel.
        self._carriers: set[int] = set()
        self._now = NO_TIME
        self._purge_at = MAX_FLOWS // 4
        self._addresses_at = MAX_ADDRESSES
        self._interfaces: list[Interface] = []

    # -- one batch -----------------------------------------------------------------------------------------------

    def take(self, batch: FrameBatch) -> list[Conversation]:
        """Analyse a batch; return the records that it completed."""
        self.packets += len(batch)
        self._interfaces = batch.interfaces
        if not len(batch):
            return []
        self._now = max(self._now, int(batch.time.max()))
        segments, datagrams = self.reader.read(batch)
        replaced = self._take_segments(segments) if len(segments) else []
        self._open_associations()
        self._associations.take(datagrams)
        self._names.learn(datagrams, self._associations.carries)
        self._finish_replaced(replaced)
        self._finish_closed()
        self._limit_connections()
        self._make_room()
        return self._release_records()

    def finish(self) -> list[Conversation]:
        """The capture has ended: records of all that is still open."""
        self._closing.clear()
        slots = np.array([*self._connections, *self._regular], np.intp)
        slots = slots[np.argsort(self._flows.stream[slots])]
        for part in range(0, len(slots), _AT_ONCE):
            self._finish(slots[part : part + _AT_ONCE].tolist())
        return self._release_records(everything=True)

    def _take_segments(self, segments: Segments) -> list[int]:
        """Returns the slots of connections whose endpoints have been taken over by newer ones."""
        flows = self._flows
        batch = flows.update(segments)
        kinds = flows.kind[batch.slots]
        if (kinds == IGNORED).all():
            return batch.replaced
        length = segments.length[batch.order]
        group = np.repeat(np.arange(len(batch.starts)), batch.counts)
        payload = length > 0
        # Flows that were only counted before this batch are counted from their first row in it.
        since = batch.starts.copy()
        watched = kinds == WATCHED
        if watched.any():
            self._take_regular(batch, watched, payload, since)
            self._watch(batch, watched, payload)
            kinds = flows.kind[batch.slots]
        followed = (kinds == CANDIDATE) | (kinds == FOLLOWED)
        if followed.any():
            self._follow(batch, group, followed, payload, since)
            kinds = flows.kind[batch.slots]
        counted = kinds == COUNTED
        if counted.any():
            flows.count_octets(batch, counted, since)
            if flows.awaited[batch.slots].any():
                self._find_first_bytes(batch, group, since, payload)
        self._note_closed(batch, kinds)
        return batch.replaced

    def _take_regular(
        self, batch: FlowBatch, watched: NDArray[np.bool_], payload: NDArray[np.bool_], since: NDArray[np.intp]
    ) -> None:
        """Of flows that begin in this batch, take those with a regular handshake out of `watched`, to be counted."""
        flows, segments = self._flows, batch.segments
        at = np.flatnonzero(payload)
        groups = np.flatnonzero(watched & batch.new & (batch.counts > 4) & (flows.opener[batch.slots] != UNKNOWN))
        first = np.searchsorted(at, batch.starts[groups])
        counts = np.searchsorted(at, batch.starts[groups] + batch.counts[groups]) - first
        enough = np.flatnonzero(counts > 4)
        could = enough[payload_octet(segments, batch.order[at[first[enough]]], 0) == 5]
        if not len(could):
            return
        groups, first, counts = groups[could], first[could], counts[could]
        slots = batch.slots[groups]
        turn = flows.opener[slots]
        places = at[np.minimum(first[:, None] + np.arange(LONGEST), len(at) - 1)]
        rows = batch.order[places]
        flags = segments.flags[rows]
        base0, base1 = flows.base0[slots].astype(np.uint32), flows.base1[slots].astype(np.uint32)
        openings = Openings(
            octets=segments.octets,
            segments=counts,
            side=batch.direction[places] ^ turn[:, None],
            sequence=segments.sequence[rows] + ((flags & TcpFlag.SYN) != 0),
            acknowledgment=np.where(flags & TcpFlag.ACK, segments.acknowledgment[rows].astype(np.int64), -1),
            length=segments.length[rows],
            start=segments.payload[rows],
            captured=segments.captured[rows],
            frame=segments.frame[rows],
            time=segments.time[rows],
            bases=(np.where(turn, base1, base0), np.where(turn, base0, base1)),
            context=self._trusts(slots) * TRUSTED + self._are_loopback(slots) * LOOPBACK,
        )
        found = find_regular(openings, self._transcripts)
        if not found:
            return
        row = np.array([row for row, _ in found], np.intp)
        steps = np.array([len(regular.frames) for _, regular in found], np.intp)
        slots, turn = slots[row], turn[row]
        self._regular.update(zip(slots.tolist(), (regular for _, regular in found), strict=True))
        self._numbering.add(map(place_of, flows.first_frame[slots].tolist()))
        ends = openings.sequence + openings.length.astype(np.uint32)
        client, proxy = ends[row, steps], ends[row, steps - 1]
        reached0, reached1 = np.where(turn, proxy, client), np.where(turn, client, proxy)
        flows.edge0[slots], flows.passed0[slots] = reached0, reached0 - base0[row]
        flows.edge1[slots], flows.passed1[slots] = reached1, reached1 - base1[row]
        flows.kind[slots] = COUNTED
        flows.turn[slots] = turn
        flows.awaited[slots] = 2 - turn  # the proxy's direction, plus one
        since[groups[row]] = places[row, steps] + 1
        watched[groups[row]] = False

    def _watch(self, batch: FlowBatch, watched: NDArray[np.bool_], payload: NDArray[np.bool_]) -> None:
        """Decide on flows none of whose octets could open SOCKS so far."""
        flows, segments = self._flows, batch.segments
        none = len(batch.order)
        positions = np.arange(none)
        spoken = flows.spoke[batch.slots]
        for way, bases in ((0, flows.base0), (1, flows.base1)):
            mine = payload & (batch.direction == way)
            first = np.minimum.reduceat(np.where(mine, positions, none), batch.starts)
            groups = np.flatnonzero(watched & (first < none))
            if not len(groups):
                continue
            slots = batch.slots[groups]
            at = first[groups]
            rows = batch.order[at]
            syn = (segments.flags[rows] & TcpFlag.SYN) != 0
            offset = (segments.sequence[rows] + syn - bases[slots].astype(np.uint32)).view(np.int32)
            could = _could_open(segments, rows)
            # A direction's first segment may come late: what precedes it is still unknown.
            could |= (offset > 0) & (flows.spoke[slots] & (1 << way) == 0)
            trusted = self._trusts(slots)
            could |= trusted
            could |= self._greets_late(segments, rows, ~could & (flows.opener[slots] == 1 - way))
            out = ~could & (offset.astype(np.int64) + segments.length[rows] > PREAMBLE_LIMIT)
            # What the other direction could open is for its session to judge.
            out &= flows.kind[slots] == WATCHED
            flows.kind[slots[out]] = IGNORED
            watched[groups[out]] = False
            flows.spoke[slots[~could]] |= 1 << way
            groups, slots, trusted = groups[could], slots[could], trusted[could]
            first_ways = batch.direction[batch.starts[groups]]
            for slot, first_way, proxy_port, before in zip(
                slots.tolist(), first_ways.tolist(), trusted.tolist(), spoken[groups].tolist(), strict=True
            ):
                if slot not in self._connections:
                    self._connect(slot, first_way, proxy_port).spoken = before

    @staticmethod
    def _greets_late(segments: Segments, rows: NDArray[np.intp], asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the `asked` first segments of a responder hold a greeting behind a few octets of its own."""
        greets = np.zeros(len(rows), np.bool_)
        for place in np.flatnonzero(asked & (segments.length[rows] <= PREAMBLE_LIMIT + MAX_GREETING)).tolist():
            greets[place] = find_greeting(payload_octets(segments, int(rows[place]))) is not None
        return greets

    def _trusts(self, slots: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether the responder's port (either port where the opener is not known) is a SOCKS port."""
        flows = self._flows
        low = self._trusted[flows.low[slots].astype(np.uint16)]
        high = self._trusted[flows.high[slots].astype(np.uint16)]
        opener = flows.opener[slots]
        trusted: NDArray[np.bool_] = np.where(opener == 0, high, np.where(opener == 1, low, low | high))
        return trusted

    def _connect(self, slot: int, first_way: int, trusted: bool) -> Connection:
        """Make a flow a candidate. `first_way`: direction of the flow's first packet in the batch."""
        flows = self._flows
        turn = int(flows.opener[slot])
        if turn == UNKNOWN:
            # Without a SYN the side whose packet came first is taken for the opener.
            turn = 0 if flows.base1[slot] < 0 else 1 if flows.base0[slot] < 0 else first_way
        flows.turn[slot] = turn
        ends = (int(flows.low[slot]), int(flows.high[slot]))
        opener, responder = ends[turn], ends[1 - turn]
        loopback = self._is_loopback(opener) and self._is_loopback(responder)

        def make_session(nested: bool) -> Session:
            return Session(
                trusted and not nested,
                loopback,
                lambda side: self._book.endpoint_address(responder if side else opener),
                midstream=not nested and int(flows.opener[slot]) == UNKNOWN,
            )

        context = trusted * TRUSTED + loopback * LOOPBACK
        connection = Connection(slot, int(flows.stream[slot]), turn, self._transcripts, context, make_session)
        connection.named = (responder & 0xFFFF) in self._ports
        self._connections[slot] = connection
        flows.kind[slot] = CANDIDATE
        return connection

    def _is_loopback(self, endpoint: int) -> bool:
        if endpoint & IPV6:
            return self._book.packed(endpoint) == bytes(15) + b"\1"
        return endpoint >> 40 == 127

    def _are_loopback(self, slots: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether both ends of each flow are loopback addresses."""
        both = np.ones(len(slots), np.bool_)
        for ends in (self._flows.low[slots], self._flows.high[slots]):
            loopback = ends >> np.uint64(40) == 127
            for row in np.flatnonzero(ends >= IPV6).tolist():
                loopback[row] = self._is_loopback(int(ends[row]))
            both &= loopback
        return both

    def _follow(
        self,
        batch: FlowBatch,
        group: NDArray[np.intp],
        followed: NDArray[np.bool_],
        payload: NDArray[np.bool_],
        since: NDArray[np.intp],
    ) -> None:
        """Hand the payload of candidate and followed flows to their connections, one segment after the other."""
        flows, segments = self._flows, batch.segments
        groups = np.flatnonzero(followed)
        at = np.flatnonzero(followed[group] & (payload | (batch.flags & TcpFlag.FIN != 0)))
        rows = batch.order[at]
        ends = batch.starts + batch.counts
        low = np.searchsorted(at, batch.starts[groups])
        high = np.searchsorted(at, ends[groups])
        way = batch.direction[at]
        flags = batch.flags[at]
        sequence = segments.sequence[rows] + ((flags & TcpFlag.SYN) != 0)
        acknowledgment = np.where(flags & TcpFlag.ACK, segments.acknowledgment[rows].astype(np.int64), -1)
        length = segments.length[rows]
        start = segments.payload[rows]
        stop = start + segments.captured[rows]
        frame = segments.frame[rows]
        time = segments.time[rows]
        ways = way.tolist()
        sequences = sequence.tolist()
        acknowledgments = acknowledgment.tolist()
        fins = (flags & TcpFlag.FIN).tolist()
        lengths = length.tolist()
        starts = start.tolist()
        stops = stop.tolist()
        frames = frame.tolist()
        times = time.tolist()
        memory = segments.octets.data
        size = len(memory)
        settled = []
        for g, slot, begin, end, base0, base1 in zip(
            groups.tolist(),
            batch.slots[groups].tolist(),
            low.tolist(),
            high.tolist(),
            flows.base0[batch.slots[groups]].tolist(),
            flows.base1[batch.slots[groups]].tolist(),
            strict=True,
        ):
            connection = self._connections[slot]
            expected = connection.expected
            if expected[0] < 0:
                expected[0] = base0 if not connection.spoken & 1 else _first_of(0, ways, sequences, begin, end)
            if expected[1] < 0:
                expected[1] = base1 if not connection.spoken & 2 else _first_of(1, ways, sequences, begin, end)
            resume = int(batch.starts[g])
            if connection.order is None:
                for i in range(begin, end):
                    if starts[i] < size:
                        octets = bytes(memory[starts[i] : stops[i]])
                    else:
                        octets = payload_octets(segments, int(rows[i]))
                    acknowledged = acknowledgments[i] if acknowledgments[i] >= 0 else None
                    connection.segment(ways[i], sequences[i], acknowledged, octets, lengths[i], frames[i], times[i])
                    if fins[i]:
                        connection.fin(ways[i], sequences[i] + lengths[i])
                    if connection.settled or connection.order is not None:
                        resume = int(at[i]) + 1
                        break
            if connection.order is not None and not connection.settled:
                resume = self._follow_slowly(batch, connection, resume, int(ends[g]))
            if self._judge(connection):
                settled.append(connection)
                since[g] = resume
        if settled:
            self._count(settled)

    def _follow_slowly(self, batch: FlowBatch, connection: Connection, position: int, end: int) -> int:
        """The same for a connection that needs reordering: its acknowledgments count too. Returns where it stopped."""
        segments = batch.segments
        for at in range(position, end):
            row = int(batch.order[at])
            way = int(batch.direction[at])
            flags = int(segments.flags[row])
            sequence = (int(segments.sequence[row]) + (flags & TcpFlag.SYN != 0)) & 0xFFFFFFFF
            connection.segment(
                way,
                sequence,
                int(segments.acknowledgment[row]) if flags & TcpFlag.ACK else None,
                payload_octets(segments, row),
                int(segments.length[row]),
                int(segments.frame[row]),
                int(segments.time[row]),
            )
            if flags & TcpFlag.FIN:
                connection.fin(way, sequence + int(segments.length[row]))
            if connection.settled:
                return at + 1
        return end

    def _judge(self, connection: Connection) -> bool:
        """Act on what a connection has turned out to be; True when from now on only amounts matter."""
        flows = self._flows
        slot = connection.slot
        session = connection.session
        verdict = connection.verdict
        if verdict is Verdict.UNDECIDED:
            return False
        if verdict is Verdict.FOREIGN and not (session is not None and self._reportable(connection, session)):
            flows.kind[slot] = IGNORED
            del self._connections[slot]
            return False
        if not connection.judged:
            connection.judged = True
            flows.kind[slot] = FOLLOWED
            self._numbering.add((place_of(int(flows.first_frame[slot])),))
        if connection.nested is not None:
            self._judge_nested(connection)
        if session is not None and connection.relaying and session.command == Command.UDP_ASSOCIATE:
            self._associate(connection, session)
        return connection.settled or verdict is Verdict.FOREIGN

    def _judge_nested(self, connection: Connection) -> None:
        assert connection.relay is not None
        self._carriers.add(connection.slot)
        for depth, nested in enumerate(connection.relay.conversations(), 1):
            if not nested.judged:
                nested.judged = True
                self._numbering.add((place_of(nested.frame, depth),))

    def _reportable(self, connection: Connection, session: Session) -> bool:
        """Another protocol on a proxy port is worth a record: any on a port the user named, a known one elsewhere."""
        return session.foreign is not None and (session.foreign != "unknown" or connection.named)

    def _count(self, connections: list[Connection]) -> None:
        """From here on only the connections' amounts matter; of regular ones nothing else is kept."""
        flows = self._flows
        slots = np.array([connection.slot for connection in connections], np.intp)
        flows.kind[slots] = COUNTED
        for way, edges, passed in ((0, flows.edge0, flows.passed0), (1, flows.edge1, flows.passed1)):
            marks = np.array([connection.edge(way) for connection in connections], np.int64)
            edges[slots] = marks[:, 0] & 0xFFFFFFFF
            passed[slots] = marks[:, 1]
        flows.awaited[slots] = [
            1 + ((connection.client_side == 0) ^ connection.turn) if connection.awaits_first_byte else 0
            for connection in connections
        ]
        flows.first_byte[slots] = [
            NO_TIME if connection.first_byte is None else connection.first_byte for connection in connections
        ]
        for connection, opener in zip(connections, flows.opener[slots].tolist(), strict=True):
            regular = connection.regular
            if regular is not None and connection.order is None and connection.nested is None and opener != UNKNOWN:
                regular.tunnel = connection.tunnel
                self._regular[connection.slot] = regular
                del self._connections[connection.slot]

    def _find_first_bytes(
        self, batch: FlowBatch, group: NDArray[np.intp], since: NDArray[np.intp], payload: NDArray[np.bool_]
    ) -> None:
        """Tunnels whose destination had not spoken yet: the time of its first octet."""
        flows = self._flows
        awaited = flows.awaited[batch.slots]
        at = np.flatnonzero(payload & (awaited[group] == batch.direction + 1))
        at = at[at >= since[group[at]]]
        groups, first = np.unique(group[at], return_index=True)
        slots = batch.slots[groups]
        flows.awaited[slots] = 0
        flows.first_byte[slots] = batch.segments.time[batch.order[at[first]]]

    def _associate(self, connection: Connection, session: Session) -> None:
        if connection.association is not None:
            return
        request, bound = session.request, session.bound
        assert request is not None
        assert bound is not None
        assert session.client_side is not None
        flows = self._flows
        ends = (int(flows.low[connection.slot]), int(flows.high[connection.slot]))
        client = ends[session.client_side ^ connection.turn]
        proxy = ends[session.client_side ^ connection.turn ^ 1]
        declared = session.destination
        own = declared is not None and (declared.is_unspecified or declared.host == self._book.packed(client))
        connection.association = Association(
            relays=relays_of(bound, proxy, self._book),
            client=client & ~0xFFFF,
            port=declared.port if own and declared is not None else 0,
            opened=request.time,
            enclosed=session.enclosed,
        )
        self._opened.append(connection.association)

    def _open_associations(self) -> None:
        """Let the associations that were found have the datagrams that came before them, and those that will come."""
        self._associations.open(self._opened)
        self._opened.clear()

    # -- the end of connections ------------------------------------------------------------------------------------

    def _note_closed(self, batch: FlowBatch, kinds: NDArray[np.uint8]) -> None:
        flows = self._flows
        closed = np.flatnonzero(flows.close_time[batch.slots] != NO_TIME)
        if not len(closed):
            return
        kind = kinds[closed]
        unasked = batch.slots[closed[kind == WATCHED]]
        flows.kind[unasked] = IGNORED
        known = batch.slots[closed[(kind != WATCHED) & (kind != IGNORED)]]
        known = known[~flows.closing[known]]
        flows.closing[known] = True
        # Runs lie in the order of a hash; what follows from them must not.
        known = known[np.lexsort((flows.stream[known], flows.close_time[known]))]
        slots, times = known.tolist(), flows.close_time[known].tolist()
        self._closing.extend(zip(times, slots, flows.stream[known].tolist(), strict=True))
        for slot, time in zip(slots, times, strict=True):
            connection = self._connections.get(slot)
            if connection is not None and connection.association is not None:
                connection.association.closed = time

    def _finish_replaced(self, replaced: list[int]) -> None:
        for slot in replaced:
            if self._flows.kind[slot] == WATCHED:
                self._flows.kind[slot] = IGNORED
        self._finish(replaced)

    def _finish_closed(self) -> None:
        closing = self._closing
        due = []
        while closing and closing[0][0] + LINGER <= self._now:
            due.append(closing.popleft()[1:])
        if due:
            slots, streams = np.array(due, np.intp).T
            self._finish(slots[self._flows.stream[slots] == streams].tolist())

    def _finish(self, slots: list[int]) -> None:
        """Make the records of those flows that are SOCKS; they have ended (or the capture has)."""
        flows = self._flows
        connections, regular = self._connections, self._regular
        uncounted = []
        for slot in slots:
            connection = connections.get(slot)
            if connection is not None:
                settled = connection.settled
                connection.finish()
                if not settled:
                    self._judge(connection)
                    if slot in connections:  # it is SOCKS
                        uncounted.append(connection)
        if uncounted:
            self._count(uncounted)
        self._open_associations()
        kept = [slot for slot in slots if slot in regular or (slot in connections and connections[slot].judged)]
        if kept:
            self._numbering.finish(self._records(kept))
            flows.kind[kept] = IGNORED
            flows.awaited[kept] = 0
        for slot in slots:
            regular.pop(slot, None)
            connection = connections.pop(slot, None)
            if connection is not None:
                flows.kind[slot] = IGNORED
                flows.awaited[slot] = 0
                if connection.association is not None:
                    self._associations.forget(connection.association)

    def _records(self, slots: list[int]) -> Iterator[Finished]:
        """Records of SOCKS flows as they stand now, with those of conversations in their tunnels."""
        regular, connections, number = self._regular, self._connections, self._numbering.number
        judge = self._names.judge
        for slot, facts in zip(slots, self._facts(np.array(slots, np.intp)), strict=True):
            place = place_of(facts.first_frame)
            record: Conversation
            if slot in regular:
                record = RegularConversation(number(place), regular[slot], facts)
                judge(record, regular[slot].asked)
                yield Finished(place, record)
                continue
            connection, show = connections[slot], self._show_passwords
            record = build(connection, facts, number=number(place), show_passwords=show, now=self._now)
            judge(record, _asked(connection.session) if connection.regular is None else connection.regular.asked)
            yield Finished(place, record)
            if connection.relay is not None and connection.nested is not None:
                conversations = zip(connection.relay.conversations(), carried(connection, facts), strict=True)
                for depth, (nested, passed) in enumerate(conversations, 1):
                    place, outer = place_of(nested.frame, depth), record
                    record = build_nested(
                        nested, passed, facts, number=number(place), parent=outer.id, show_passwords=show
                    )
                    judge(record, _asked(nested.session))
                    yield Finished(place, record, outer)

    def _facts(self, slots: NDArray[np.intp]) -> Iterator[FlowFacts]:
        flows = self._flows
        book = self._book
        names = [interface.capture for interface in self._interfaces]
        turn = flows.turn[slots]
        turned = turn != 0
        low, high = flows.low[slots], flows.high[slots]
        passed0, passed1 = flows.passed0[slots], flows.passed1[slots]
        openers, responders = np.where(turned, high, low), np.where(turned, low, high)
        closer = flows.closer[slots]
        closer[closer != UNKNOWN] ^= turn[closer != UNKNOWN]
        flags = (flows.flags0[slots] | flows.flags1[slots]) & _CLOSING
        handshakes = zip(flows.syn_time[slots].tolist(), flows.syn_ack_time[slots].tolist(), strict=True)
        first, second = openers.tolist(), responders.tolist()
        rows = zip(
            flows.stream[slots].tolist(),
            [names[interface] for interface in flows.capture[slots].tolist()],
            flows.first_time[slots].tolist(),
            flows.last_time[slots].tolist(),
            flows.first_frame[slots].tolist(),
            flows.last_frame[slots].tolist(),
            flows.packets[slots].tolist(),
            map(book.endpoint_address, first),
            (openers & np.uint64(0xFFFF)).tolist(),
            map(book.endpoint_address, second),
            (responders & np.uint64(0xFFFF)).tolist(),
            (flows.opener[slots] != UNKNOWN).tolist(),
            [None if syn == NO_TIME or answer == NO_TIME else (answer - syn) / 1e9 for syn, answer in handshakes],
            map(_CLOSE.__getitem__, flags.tolist()),
            map(_SIDES.__getitem__, closer.tolist()),
            map(book.community_id, first, second, repeat(_TCP)),
            np.where(turned, passed1, passed0).tolist(),
            np.where(turned, passed0, passed1).tolist(),
            [None if time == NO_TIME else time for time in flows.first_byte[slots].tolist()],
            strict=False,
        )
        return map(FlowFacts._make, rows)

    def _release_records(self, everything: bool = False) -> list[Conversation]:
        """The finished records whose number is certain; all of them with `everything`."""
        numbering = self._numbering
        certain = everything or not numbering.waiting or numbering.full
        return numbering.release(None if certain else self._undecided_since())

    def _undecided_since(self) -> int:
        """Place of the oldest connection, or inside of a tunnel, that may yet turn out to be SOCKS."""
        flows = self._flows
        used = flows.used
        undecided = (flows.kind[:used] <= CANDIDATE) & (flows.first_time[:used] > self._now - self._patience)
        frames = flows.first_frame[:used][undecided]
        places = [place_of(int(frames.min()))] if len(frames) else []
        self._carriers.intersection_update(self._connections)
        for slot in self._carriers:
            relay = self._connections[slot].relay
            nested = None if relay is None else relay.undecided()
            if nested is not None and nested.time > self._now - self._patience:
                places.append(place_of(nested.frame))
        return min(places, default=_NEVER)

    def _limit_connections(self) -> None:
        """Keep what connections cost bounded, whoever opens how many."""
        connections, flows = self._connections, self._flows
        if len(connections) <= FEW:
            return
        if len(connections) > MAX_CONNECTIONS:
            slots = np.array([*connections], np.intp)
            judged = np.array([connection.judged for connection in connections.values()])
            slots = slots[np.lexsort((flows.last_time[slots], judged))][: len(slots) - MAX_CONNECTIONS * 3 // 4]
            for part in range(0, len(slots), _AT_ONCE):
                self._finish(slots[part : part + _AT_ONCE].tolist())
            still_open = slots[flows.close_time[slots] == NO_TIME]
            self.evicted += len(still_open)
            flows.close_time[still_open] = self._now  # so that they are not counted again when they leave the table
        waiting = [connection for connection in connections.values() if connection.waiting]
        if sum(connection.waiting for connection in waiting) > MAX_WAITING:
            followed = [connection for connection in waiting if not connection.settled]
            for connection in waiting:
                connection.give_up_holes()
            settled = [connection for connection in followed if self._judge(connection)]
            if settled:
                self._count(settled)

    def _make_room(self) -> None:
        """Keep the tables of flows and of IPv6 addresses bounded."""
        flows, book = self._flows, self._book
        if len(flows) >= self._purge_at:
            self._forget_flows(MAX_FLOWS)
            self._purge_at = max(MAX_FLOWS // 4, min(len(flows) * 2, MAX_FLOWS + 1))
        if len(book) >= self._addresses_at:
            self._forget_addresses()
            if len(book) > MAX_ADDRESSES // 2:
                self._forget_flows(len(flows) // 2)
                self._forget_addresses()
            self._addresses_at = max(MAX_ADDRESSES, len(book) * 2)

    def _forget_flows(self, most: int) -> None:
        """Closed flows leave after a while, and the longest idle ones where there are more than `most`."""
        flows = self._flows
        live = flows.live()
        idle = flows.kind[live] == IGNORED
        closed = idle & (flows.close_time[live] != NO_TIME) & (flows.last_time[live] < self._now - FORGET)
        gone = live[closed]
        if len(live) - len(gone) > most:
            rest = live[~closed & (idle | (flows.kind[live] == WATCHED))]
            excess = min(len(rest), len(live) - len(gone) - most * 3 // 4)
            oldest = rest[np.argsort(flows.last_time[rest], kind="stable")[:excess]]
            self.evicted += int((flows.close_time[oldest] == NO_TIME).sum())
            gone = np.concatenate((gone, oldest))
        flows.kind[gone] = IGNORED
        flows.release(gone)

    def _forget_addresses(self) -> None:
        """IPv6 addresses that no flow and no association has any more."""
        live = self._flows.live()
        associated = np.array([*self._associations.endpoints()], np.uint64)
        ends = np.concatenate((self._flows.low[live], self._flows.high[live], associated))
        self._book.retain(np.unique(ends[ends >= IPV6] >> np.uint64(16)).tolist())


def _asked(session: Session | None) -> int | None:
    """The frame number of its request."""
    request = None if session is None else session.request
    return None if request is None else request.frame


def _could_open(segments: Segments, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether a direction's first octets can open SOCKS: VER 5, or SOCKS4 with a known command; cut ones can."""
    first = payload_octet(segments, rows, 0)
    second = payload_octet(segments, rows, 1)
    command = (second == 1) | (second == 2) | (second == 0xF0) | (second == -1)
    could: NDArray[np.bool_] = (first == 5) | (first == -1) | ((first == 4) & command)
    return could


def _first_of(way: int, ways: list[int], sequences: list[int], begin: int, end: int) -> int:
    """Sequence number of a direction's first segment in a run, -1 where it has none."""
    for i in range(begin, end):
        if ways[i] == way:
            return sequences[i]
    return -1
