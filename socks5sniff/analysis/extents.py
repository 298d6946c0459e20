"""Where each conversation's tunnel lies in its TCP connection: what a second look needs to find its octets again.

Kept from when a record is made until somebody asks for it, which whoever wants extents does for each record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import GssapiMessageType
from socks5sniff.session import Session
from socks5sniff.streams.coverage import Coverage
from socks5sniff.streams.flows import FlowTable
from socks5sniff.streams.octets import Octets, Payloads

from .association import Association
from .dialogue import Dialogue
from .forms import Recognised
from .handshakes import Decided, Handshakes
from .relay import Relay
from .udp_in_tcp import kind_of
from .watch import Watch

_DEPTHS = 4
"""Bits of a key for how deep inside tunnels a conversation is."""

Pair = tuple[int, int]
"""A number for the client's octets, and one for those to the client."""
Holes = Sequence[tuple[int, int]]
"""Begin and end of each."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Positions count from the first octet of the connection, each direction by itself.

    Attributes:
        stream, depth: the TCP connection's index, and how many tunnels are around this one, and it.
        first_frame, last_frame: of the connection.
        origin: the sequence number of position 0, -1 where the direction never spoke.
        start, end: where the tunnel's octets begin, and where they are known to end (by segments, FIN or what was
            acknowledged); of a tunnel inside GSSAPI tokens, the tokens. None where there is no tunnel.
        holes: what of it is not in the capture.
        cut: of some segments not all octets were captured.
        skips: for each layer of tokens around it, the octets inside before the tunnel begins (or the next layer).
        framing: whose way of putting datagrams on the stream it is; None where it carries a stream.
        datagrams: int64[n]: of an association, `frame * 2`, one more where the client sent it.
    """

    stream: int
    depth: int
    first_frame: int
    last_frame: int
    origin: Pair
    start: Pair | None = None
    end: Pair = (0, 0)
    holes: tuple[Holes, Holes] = ((), ())
    cut: bool = False
    skips: tuple[Pair, ...] = ()
    framing: str | None = None
    datagrams: NDArray[np.int64] | None = None


class _Facts(NamedTuple):
    """What the tables know of a flow; pairs are by direction."""

    turn: int
    stream: int
    first_frame: int
    last_frame: int
    origin: Pair
    end: Pair
    shift: Pair


class Extents:
    """The extents of records that are made and were not asked for yet."""

    def __init__(self, flows: FlowTable, octets: Octets, watch: Watch, handshakes: Handshakes) -> None:
        self._flows = flows
        self._octets = octets
        self._watch = watch
        self._handshakes = handshakes
        self._coverage = Coverage()
        self._found: dict[int, Extent] = {}

    def begin(self, slots: NDArray[np.intp], capacity: int) -> None:
        """These slots are new flows'."""
        if len(slots):
            self._coverage.grow(capacity)
            self._coverage.reset(slots)

    def add(self, payloads: Payloads) -> None:
        """Take a batch's payload."""
        self._coverage.add(payloads)

    def take(self, stream: int, depth: int) -> Extent | None:
        """That of a conversation, which is not kept any longer."""
        return self._found.pop(stream << _DEPTHS | depth, None)

    def note(self, decided: Decided, associations: dict[int, Association]) -> None:
        """These flows are over, and their records are made."""
        if decided.recognised is not None and decided.recognised.size:
            self._keep(self._of_forms(decided.recognised))
            self._keep(self._of_associations(decided.slots, associations))
        slots = np.fromiter(decided.dialogues, np.intp, len(decided.dialogues))
        if not len(slots):
            return
        flows, turns = self._flows, self._watch.turns(slots)
        columns = (turns, flows.stream[slots], flows.first_frame[slots], flows.last_frame[slots])
        facts = (
            _Facts(*row) for row in zip(*(column.tolist() for column in columns), *self._bounds(slots), strict=True)
        )
        for (slot, dialogue), fact in zip(decided.dialogues.items(), facts, strict=True):
            self._keep(self._of_dialogue(slot, dialogue, fact, associations.get(slot)))

    def _keep(self, extents: Iterable[Extent]) -> None:
        for extent in extents:
            self._found[extent.stream << _DEPTHS | extent.depth] = extent

    def _of_forms(self, found: Recognised) -> Iterable[Extent]:
        forms = self._handshakes.forms.forms
        relays = np.array([form.relays for form in forms], np.bool_)[found.form]
        slots, starts = found.slot[relays], np.stack((found.tunnel_at, found.reply_end))[:, relays]
        client = self._watch.turns(slots)
        ways = np.stack((client, client ^ 1))
        origins, ends, shifts = (np.array(column, np.int64).reshape(-1, 2).T for column in self._bounds(slots))
        places = np.arange(len(slots))
        origin, end = origins[ways, places], np.maximum(ends[ways, places], starts)
        whole = [self._coverage.whole(slots, way, to - shifts[way, places]) for way, to in zip(ways, end, strict=True)]
        holes: dict[int, tuple[Holes, Holes]] = {
            place: self._holes(
                int(slots[place]),
                int(client[place]),
                starts[:, place].tolist(),
                end[:, place].tolist(),
                shifts[:, place].tolist(),
            )
            for place in np.flatnonzero(~(whole[0] & whole[1])).tolist()
        }
        flows = self._flows
        numbers = flows.stream[slots], flows.first_frame[slots], flows.last_frame[slots]
        pairs = (zip(*column.tolist(), strict=True) for column in (origin, starts, end))
        cut: list[bool] = np.logical_or(*self._coverage.cut[:, slots]).tolist()
        rows = zip(*(column.tolist() for column in numbers), *pairs, cut, strict=True)
        for place, (stream, first, last, zero, start, behind, short) in enumerate(rows):
            yield Extent(stream, 1, first, last, zero, start, behind, holes.get(place, ((), ())), short)

    def _of_associations(
        self, slots: NDArray[np.intp], associations: dict[int, Association]
    ) -> Iterable[Extent]:
        """Those of flows that have a form and carry no octets, but datagrams beside them."""
        slots = slots[np.isin(slots, [*associations])]
        flows, clients, origins = self._flows, self._watch.turns(slots).tolist(), self._bounds(slots)[0]
        numbers = (column[slots].tolist() for column in (flows.stream, flows.first_frame, flows.last_frame))
        for slot, client, origin, stream, first, last in zip(slots.tolist(), clients, origins, *numbers, strict=True):
            placed = origin[client], origin[1 - client]
            yield Extent(stream, 1, first, last, placed, datagrams=associations[slot].numbered())

    def _of_dialogue(
        self, slot: int, dialogue: Dialogue, facts: _Facts, association: Association | None
    ) -> Iterable[Extent]:
        session = dialogue.session
        client = facts.turn ^ (session.client_side or 0)
        end = facts.end[client], facts.end[1 - client]
        origin = facts.origin[client], facts.origin[1 - client]
        outermost = Extent(facts.stream, 1, facts.first_frame, facts.last_frame, origin)
        layers: list[tuple[Session, Relay | None]] = [(session, dialogue.relay)]
        layers += [(nested.session, nested.relay) for nested in dialogue.nested()]
        start: Pair = 0, 0
        skips: tuple[Pair, ...] = ()
        for depth, (inner, relay) in enumerate(layers, 1):
            if relay is None:
                numbers = None if association is None or depth > 1 else association.numbered()
                yield replace(outermost, depth=depth, datagrams=numbers)
                return
            start, skips = _inwards(inner, start, skips)
            holes = self._holes(slot, client, start, end, facts.shift)
            framing = None if inner.enclosed else kind_of(inner)
            behind = max(end[0], start[0]), max(end[1], start[1])
            yield replace(
                outermost,
                depth=depth,
                start=start,
                end=behind,
                holes=holes,
                cut=bool(self._coverage.cut[:, slot].any()),
                skips=skips,
                framing=framing,
            )

    def _bounds(self, slots: NDArray[np.intp]) -> tuple[list[Pair], list[Pair], list[Pair]]:
        """By slot and direction: the sequence number of position 0, where it ends, and what to add to positions."""
        flows, octets = self._flows, self._octets
        shifts = self._handshakes.shifts(slots)
        begins = self._handshakes.begins(slots)
        reach, heard = octets.reach[:, slots], octets.heard[:, slots]
        # A FIN is acknowledged like an octet; where it was seen the end is known without that.
        ended = np.stack((flows.fin0[slots], flows.fin1[slots])) >= 0
        end = np.where(ended, reach, np.maximum(reach, heard)) + shifts
        return begins.T.tolist(), end.T.tolist(), shifts.T.tolist()

    def _holes(self, slot: int, client: int, start: Pair, end: Pair, shift: Pair) -> tuple[Holes, Holes]:
        """`start` and `end` by role, `shift` by direction."""
        found = []
        for role, way in enumerate((client, 1 - client)):
            missing = self._coverage.missing(slot, way, start[role] - shift[way], end[role] - shift[way])
            found.append([(begin + shift[way], behind + shift[way]) for begin, behind in missing])
        return found[0], found[1]


def _inwards(session: Session, start: Pair, skips: tuple[Pair, ...]) -> tuple[Pair, tuple[Pair, ...]]:
    """Where a session's tunnel begins, given where the session's own octets do."""

    def further(more: Pair) -> tuple[Pair, tuple[Pair, ...]]:
        if not skips:
            return _sum(start, more), skips
        return start, (*skips[:-1], _sum(skips[-1], more))

    if not session.enclosed:
        side = session.client_side or 0
        starts = session.tunnel_start
        return further((starts[side] or 0, starts[1 - side] or 0))
    tokens = [
        next(frame.offset for frame in session.frames if frame.sender == sender and _is_data(frame.value))
        for sender in ("client", "proxy")
    ]
    request, answer = session.request, session.peer_reply_frame or session.reply_frame
    assert request is not None, "a relay is open"
    assert answer is not None, "a relay is open"
    start, skips = further((tokens[0], tokens[1]))
    return start, (*skips, (request.offset + request.length, answer.offset + answer.length))


def _is_data(frame: object) -> bool:
    return getattr(frame, "message_type", None) == GssapiMessageType.USER_DATA


def _sum(one: Pair, other: Pair) -> Pair:
    return one[0] + other[0], one[1] + other[1]
