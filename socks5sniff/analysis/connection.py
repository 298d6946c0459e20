"""One TCP connection that may be a SOCKS conversation, from its first payload to where only counting is left.

Most connections take the straight path: every segment continues where the last one of its direction ended, and its
octets go to the session as they are. The first segment that doesn't moves the connection to `StreamOrder`, one per
direction, which gives the same octets with the same provenance.
"""

from __future__ import annotations

from socks5sniff.codec import Command
from socks5sniff.record import Tunnel
from socks5sniff.session import Session, Verdict
from socks5sniff.streams.reassembly import Run, StreamOrder

from .tunnel import HEAD_LIMIT, identify
from .udp import Association

_WRAP = 1 << 32


class Connection:
    """Feeds one session and watches the tunnel's first octets.

    Directions are the flow table's (0 from the lower endpoint), sides are TCP's (0 opened the connection):
    `side = direction ^ turn`.

    Attributes:
        slot, stream: the flow's place in the table, and its number.
        settled: True when no octet needs to be looked at any more; only amounts are counted from there.
        first_byte: ns, when the first octet from the destination came, None before.
        tunnel: what the tunnel carries, None as long as it is not known.
        order: the two reassemblers, or None on the straight path.
        spoken: bit per direction that had sent a few octets of its own before this object was made.
        closing: both sides have closed; the last packets are waited for.
        conversation_id: the record's id, 0 as long as it has none.
    """

    __slots__ = (
        "_past",
        "association",
        "client_head",
        "closing",
        "conversation_id",
        "expected",
        "first_byte",
        "order",
        "position",
        "relaying",
        "server_head",
        "session",
        "settled",
        "slot",
        "spoken",
        "stream",
        "tunnel",
        "turn",
    )

    def __init__(self, slot: int, stream: int, turn: int, session: Session) -> None:
        self.slot = slot
        self.stream = stream
        self.turn = turn
        self.session = session
        self.settled = False
        self.relaying = False
        self.first_byte: int | None = None
        self.tunnel: Tunnel | None = None
        self.order: tuple[StreamOrder, StreamOrder] | None = None
        self.expected = [-1, -1]
        self.position = [0, 0]
        self.association: Association | None = None
        self.conversation_id = 0
        self.spoken = 0
        self.closing = False
        self.client_head = b""
        self.server_head = b""
        self._past: tuple[list[bytes], list[bytes]] = ([], [])

    def segment(self, direction: int, sequence: int, octets: bytes, length: int, frame: int, time: int) -> None:
        """Take one segment with payload; see `StreamOrder.push` for the arguments."""
        if self.order is None:
            if sequence == self.expected[direction] and len(octets) == length:
                self.expected[direction] = (sequence + length) % _WRAP
                self.position[direction] += length
                self._past[direction].append(octets)
                self._octets(direction ^ self.turn, octets, frame, time)
                return
            self._reorder()
        assert self.order is not None
        self._runs(direction, self.order[direction].push(sequence, octets, length, frame, time))

    def acknowledgment(self, direction: int, sequence: int, time: int) -> None:
        """A packet in `direction` acknowledges the other direction's octets before `sequence`."""
        if self.order is not None:
            self._runs(direction ^ 1, self.order[direction ^ 1].acknowledge(sequence, time))

    def finish(self) -> None:
        """No more packets will come."""
        if self.order is not None and not self.settled:
            for direction in (0, 1):
                self._runs(direction, self.order[direction].finish())
        if self.relaying and self.tunnel is None:
            self._identify(complete=True)

    def edge(self, direction: int) -> tuple[int, int]:
        """The sequence number that comes next in a direction, and its position in the stream."""
        if self.order is None:
            return self.expected[direction], self.position[direction]
        order = self.order[direction]
        return (order.sequence + order.edge - order.position) % _WRAP, order.edge

    @property
    def conflicts(self) -> list[int]:
        """Frame numbers of retransmissions that differ from the first copy."""
        return [] if self.order is None else sorted(self.order[0].conflicts + self.order[1].conflicts)

    def _reorder(self) -> None:
        self.order = (
            StreamOrder(self.expected[0], self.position[0], b"".join(self._past[0])),
            StreamOrder(self.expected[1], self.position[1], b"".join(self._past[1])),
        )
        self._past = ([], [])

    def _runs(self, direction: int, runs: list[Run]) -> None:
        side = direction ^ self.turn
        for run in runs:
            if run.octets is not None:
                self._octets(side, run.octets, run.frame, run.time)
            elif not self.relaying:
                self.session.gap(side, run.length, run.frame, run.time)
                self._after_feed()

    def _octets(self, side: int, octets: bytes, frame: int, time: int) -> None:
        if self.relaying:
            self._tunnel_octets(side, octets, time)
            return
        self.session.feed(side, octets, frame, time)
        self._after_feed()

    def _after_feed(self) -> None:
        session = self.session
        if session.relay:
            self.relaying = True
            if session.command == Command.UDP_ASSOCIATE:
                self.settled = True
                return
            for side, octets, _, time in session.take_tunnel():
                self._tunnel_octets(side, octets, time)
        elif session.done or session.verdict is Verdict.FOREIGN:
            self.settled = True

    def _tunnel_octets(self, side: int, octets: bytes, time: int) -> None:
        if side == self.session.client_side:
            if len(self.client_head) < HEAD_LIMIT:
                self.client_head = (self.client_head + octets)[:HEAD_LIMIT]
        else:
            if self.first_byte is None:
                self.first_byte = time
            if len(self.server_head) < HEAD_LIMIT:
                self.server_head = (self.server_head + octets)[:HEAD_LIMIT]
        if self.tunnel is None:
            full = len(self.client_head) >= HEAD_LIMIT or len(self.server_head) >= HEAD_LIMIT
            self._identify(full)
        # Where the destination's first octet is still to come, the analyser looks for it in the columns.
        self.settled = self.tunnel is not None

    def _identify(self, complete: bool) -> None:
        destination = self.session.destination
        port = None if destination is None else destination.port
        self.tunnel = identify(self.client_head, self.server_head, port, complete)
        if self.tunnel is not None:
            self.client_head = self.server_head = b""
