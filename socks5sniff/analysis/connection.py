"""One TCP connection that may be a SOCKS conversation, from its first payload to where only counting is left.

Most connections take the straight path: every segment continues where the last one of its direction ended. The first
segment that doesn't moves the connection to `TwoWayOrder`, which gives the same octets with the same provenance.

As long as a handshake is regular its segments are only kept; when it is complete and its shape is known, no session
is ever made. At the first irregularity a session is made and fed all that was kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from socks5sniff.codec import Command
from socks5sniff.record import Tunnel
from socks5sniff.record.regular import Regular
from socks5sniff.session import Session, Verdict
from socks5sniff.streams.reassembly import Run, StreamOrder, TwoWayOrder

from .relay import Nested, Relay, open_relay
from .transcripts import Segment, Transcripts, expected_length
from .udp import Association

SEEN_OCTETS = 1 << 18
"""Octets of a connection up to which its segments are kept, should they be sent again with other octets."""
_WRAP = 1 << 32
_HALF = 1 << 31


class Connection:
    """Follows one connection's dialogue and watches the tunnel's first octets.

    Directions are the flow table's (0 from the lower endpoint), sides are TCP's (0 opened the connection):
    `side = direction ^ turn`.

    Attributes:
        slot, stream: the flow's place in the table, and its number.
        seen: the segments so far, as long as they may matter (regular handshake, retransmissions).
        session: the observer; None while the handshake is regular.
        regular: what is known of a regular handshake, None otherwise.
        relaying: a tunnel or an association is open.
        settled: no octet needs to be looked at any more; only amounts are counted from there.
        relay: the open tunnel, None before and where datagrams are relayed.
        order: the reassembler, or None on the straight path.
        spoken: bit per direction that had sent a few octets of its own before this object was made.
        closed: per direction, the sequence number behind its FIN; -1 while none was seen.
        judged: it has been found worth a record.
        named: the user named the port as a proxy port.
        context: see `Transcripts.find`.
    """

    __slots__ = (
        "_expecting",
        "_make_session",
        "_transcripts",
        "association",
        "closed",
        "context",
        "expected",
        "judged",
        "named",
        "order",
        "position",
        "regular",
        "relay",
        "relaying",
        "seen",
        "session",
        "settled",
        "slot",
        "spoken",
        "stream",
        "turn",
    )

    def __init__(
        self,
        slot: int,
        stream: int,
        turn: int,
        transcripts: Transcripts,
        context: int,
        make_session: Callable[[bool], Session],
    ) -> None:
        self.slot = slot
        self.stream = stream
        self.turn = turn
        self._transcripts = transcripts
        self.context = context
        self._make_session = make_session
        self._expecting = -1
        self.seen: list[Segment] = []
        self.session: Session | None = None
        self.regular: Regular | None = None
        self.relaying = False
        self.settled = False
        self.relay: Relay | None = None
        self.order: TwoWayOrder | None = None
        self.expected = [-1, -1]
        self.position = [0, 0]
        self.association: Association | None = None
        self.spoken = 0
        self.named = False
        self.judged = False
        self.closed = [-1, -1]

    @property
    def verdict(self) -> Verdict:
        """Whether this is SOCKS."""
        if self.session is not None:
            return self.session.verdict
        return Verdict.UNDECIDED if self.regular is None else Verdict.SOCKS

    @property
    def client_side(self) -> int | None:
        """The side that is the SOCKS client."""
        if self.session is not None:
            return self.session.client_side
        return None if self.regular is None else self.regular.shape.client_side

    def segment(
        self,
        direction: int,
        sequence: int,
        acknowledgment: int | None,
        octets: bytes,
        length: int,
        frame: int,
        time: int,
    ) -> None:
        """Take one segment; see `TwoWayOrder.push` for the arguments."""
        if self.order is None:
            if not self._acknowledges_unseen(direction, acknowledgment):
                if sequence == self.expected[direction] and len(octets) == length:
                    self.expected[direction] = (sequence + length) % _WRAP
                    self.position[direction] += length
                    if length:
                        self._octets(direction ^ self.turn, octets, frame, time)
                    return
                if not length:
                    return
            self._reorder()
        assert self.order is not None
        self._runs(self.order.push(direction, sequence, acknowledgment, octets, length, frame, time))

    def fin(self, direction: int, sequence: int) -> None:
        """A FIN was seen, to which `sequence` belongs."""
        self.closed[direction] = (sequence + 1) % _WRAP

    def look(self) -> None:
        """Judge the handshake by what has come of it, instead of waiting whether it turns out to be regular."""
        if self.session is None and self.regular is None:
            self._after_feed(self._session())

    def finish(self) -> None:
        """No more packets will come."""
        if self.order is not None and not self.settled:
            self._runs(self.order.finish())
        if self.regular is None:
            self._session().finish()
        if self.relay is not None:
            self.relay.close()

    @property
    def waiting(self) -> int:
        """Octets that wait behind holes."""
        return 0 if self.order is None else self.order.waiting

    def give_up_holes(self) -> None:
        """Wait no longer: what is missing becomes gaps."""
        assert self.order is not None
        runs = self.order.finish()
        if not self.settled:
            self._runs(runs)

    @property
    def tunnel(self) -> Tunnel | None:
        """What the tunnel carries, None as long as it is not known."""
        return None if self.relay is None else self.relay.tunnel

    @property
    def first_byte(self) -> int | None:
        """When the first octet from the destination came (ns), None before."""
        return None if self.relay is None else self.relay.first_byte

    @property
    def nested(self) -> Nested | None:
        """The conversation in the tunnel, where there is one, or may be."""
        return None if self.relay is None else self.relay.nested

    @property
    def awaits_first_byte(self) -> bool:
        """A tunnel is open whose destination has not spoken."""
        return self.relay is not None and self.relay.first_byte is None

    def edge(self, direction: int) -> tuple[int, int]:
        """The sequence number that comes next in a direction, and its position in the stream."""
        if self.order is None:
            return self.expected[direction], self.position[direction]
        return self.order.edge(direction)

    @property
    def conflicts(self) -> list[int]:
        """Frame numbers of retransmissions that differ from the first copy."""
        return [] if self.order is None else self.order.conflicts

    def _session(self) -> Session:
        """The session, made and fed what was kept when there was none."""
        if self.session is None:
            self.session = self._make_session(False)
            for side, octets, frame, time in self.seen:
                self.session.feed(side, octets, frame, time)
        return self.session

    def _acknowledges_unseen(self, direction: int, acknowledgment: int | None) -> bool:
        """Whether octets of the other direction are acknowledged that have not come by."""
        expected = self.expected[1 - direction]
        if acknowledgment is None or expected < 0 or acknowledgment == expected:
            return False
        unseen = (acknowledgment - expected) % _WRAP
        return unseen < _HALF and not (unseen == 1 and acknowledgment == self.closed[1 - direction])

    def _reorder(self) -> None:
        orders = []
        for direction, side in ((0, self.turn), (1, 1 - self.turn)):
            head = b"" if self.relay is None else self.relay.head(side)
            # `seen` can hold the tunnel's first octets too; the position tells where the two end.
            past = b"".join([*(segment[1] for segment in self.seen if segment[0] == side), head])
            position = self.position[direction]
            past = past[:position] if len(past) >= position else b""
            orders.append(StreamOrder(self.expected[direction], position, past))
        self.order = TwoWayOrder(*orders)
        self.order.closed = self.closed

    def _runs(self, runs: list[tuple[int, Run]]) -> None:
        for direction, run in runs:
            side = direction ^ self.turn
            if run.octets is not None:
                self._octets(side, run.octets, run.frame, run.time)
            elif self.relay is not None:
                self.relay.gap(side, run.length, run.frame, run.time)
                self.settled = self.relay.settled
            elif not self.relaying:
                session = self._session()
                session.gap(side, run.length, run.frame, run.time)
                self._after_feed(session)

    def _octets(self, side: int, octets: bytes, frame: int, time: int) -> None:
        if self.relay is not None:
            self.relay.feed(side, octets, frame, time)
            self.settled = self.relay.settled
            return
        session = self.session
        if session is None:
            seen = self.seen
            seen.append((side, octets, frame, time))
            if len(seen) <= 2:
                self._expecting = expected_length(seen)
            if self._expecting < 0 or len(seen) < self._expecting:
                return
            self._handshake_complete()
            return
        if self.order is None and sum(self.position) <= SEEN_OCTETS:
            self.seen.append((side, octets, frame, time))
        session.feed(side, octets, frame, time)
        self._after_feed(session)

    def _handshake_complete(self) -> None:
        """A regular handshake is complete, or the kept segments turn out to be none."""
        found = self._transcripts.find(self.seen, self.context) if self._expecting else None
        if isinstance(found, Regular):
            self.regular = found
            self.relaying = True
            self.relay = Relay(0, found.destination.port, partial(self._make_session, True))
            return
        session = self._session()
        if found is not None:
            self._transcripts.learn(found, self.seen, session)
        self._after_feed(session)

    def _after_feed(self, session: Session) -> None:
        if session.relay:
            if session.command == Command.UDP_ASSOCIATE:
                self.relaying = self.settled = True
                return
            self.relaying = True
            self.relay = open_relay(session, partial(self._make_session, True))
            self.settled = self.relay.settled
        elif session.done or session.verdict is Verdict.FOREIGN:
            self.settled = True
