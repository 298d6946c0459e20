"""Who decides what a flow is: the rows it said first, kept until enough is known, and judged together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import PROXY_SIGNATURE, PROXY_WORD
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import IPV6
from socks5sniff.streams.flows import NO_TIME, UNKNOWN, FlowTable
from socks5sniff.streams.heads import HEAD, HeadRows, Heads, Segment
from socks5sniff.streams.octets import UNPLACED, Octets, Payloads
from socks5sniff.streams.slots import Rows, SlotTable

from .dialogue import Dialogue, Flow
from .faults import Faults
from .forms import Forms, Recognised, Situations
from .relay import Setting
from .watch import DATAGRAMS, IGNORED, REQUEST, TOKENS, UNDECIDED, Watch

FEW = 24
"""So few flows are judged faster one by one."""

_ASSOCIATES = re.compile(rb"\x05\x03(?:\x00|[^\x00][\x01\x03\x04])")
"""How a request for UDP ASSOCIATE begins; where RSV is not 0 the address type must be one."""

_NOT_ASKED, _ASKS, _ASKED_OTHERWISE = range(3)


class _Marks(SlotTable):
    """Columns by slot: whether rows have come since the flow was last judged (`unjudged`), since it was last told of
    (`untold`), and since an association was last looked for (`unsought`); whether UDP ASSOCIATE may have been asked for
    (`associates`)."""

    COLUMNS: ClassVar = {
        "unjudged": (np.bool_, False),
        "untold": (np.bool_, False),
        "unsought": (np.bool_, False),
        "associates": (np.uint8, _NOT_ASKED),
    }

    unjudged: NDArray[np.bool_]
    untold: NDArray[np.bool_]
    unsought: NDArray[np.bool_]
    associates: NDArray[np.uint8]


class Decided(NamedTuple):
    """What flows were.

    Attributes:
        recognised: those that have a form.
        dialogues: all others that said anything, by slot.
    """

    recognised: Recognised | None
    dialogues: dict[int, Dialogue]

    @property
    def slots(self) -> NDArray[np.intp]:
        """The flows in `recognised`."""
        return np.empty(0, np.intp) if self.recognised is None else self.recognised.slot


class Kept(NamedTuple):
    """All that is known of some flows that are not decided yet, besides what the flow table knows.

    Attributes:
        octets, watch, marks: rows of those tables.
        heads: with places among the flows in the place of slots.
    """

    octets: Rows
    watch: Rows
    marks: Rows
    heads: HeadRows

    def shifted(self, frames: int) -> Kept:
        """The same, so many frames later."""
        return self._replace(heads=self.heads._replace(frame=self.heads.frame + frames))


class Settled(SlotTable):
    """Open tunnels of which only what their dialogue said is kept. Column by slot: `part`, which of the parts."""

    COLUMNS: ClassVar = {"part": (np.intp, -1)}

    part: NDArray[np.intp]

    def __init__(self) -> None:
        super().__init__()
        self._parts: dict[int, Recognised] = {}
        self._next = 0

    def add(self, found: Recognised) -> None:
        """Keep these."""
        self._parts[self._next] = found
        self.part[found.slot] = self._next
        self._next += 1

    def all(self) -> Recognised | None:
        """They."""
        return Recognised.join([*self._parts.values()]) if self._parts else None

    def take(self, slots: NDArray[np.intp]) -> Recognised | None:
        """Those of these flows, and keep them no longer."""
        mine = slots[self.part[slots] >= 0] if self._parts else slots[:0]
        if not len(mine):
            return None
        taken = []
        for number in np.unique(self.part[mine]).tolist():
            part = self._parts.pop(number)
            chosen = np.isin(part.slot, mine[self.part[mine] == number])
            taken.append(part.take(np.flatnonzero(chosen)))
            if not chosen.all():
                self._parts[number] = part.take(np.flatnonzero(~chosen))
        self.part[mine] = -1
        return Recognised.join(taken)


class Handshakes:
    """The flows that may be SOCKS, and what they have said.

    Attributes:
        forms: what was learned of them.
        settled: open tunnels whose first octets are not kept any more.
        now: the latest time in the capture, ns.
    """

    def __init__(
        self,
        flows: FlowTable,
        octets: Octets,
        watch: Watch,
        book: AddressBook,
        forms: Forms,
        faults: Faults,
        each: bool = False,
    ) -> None:
        """`each`: judge every dialogue by itself, whatever forms there are."""
        self.forms = forms
        self._faults = faults
        self._each_by_itself = each
        self.now = NO_TIME
        self._flows = flows
        self._octets = octets
        self._watch = watch
        self._book = book
        self._heads = Heads()
        self.settled = Settled()
        self._marks = _Marks()

    @property
    def octets(self) -> int:
        """Octets that what is kept takes, in memory."""
        return self._heads.octets

    def begin(self, slots: NDArray[np.intp], capacity: int) -> None:
        """These slots are new flows'."""
        if not len(slots):
            return
        for table in (self._octets, self._watch, self._marks, self.settled):
            table.grow(capacity)
            table.reset(slots)

    def add(self, payloads: Payloads) -> None:
        """Take a batch's payload."""
        rows = self._watch.look(payloads)
        self._heads.add(rows)
        if rows.size:
            marks = self._marks
            marks.unjudged[rows.slot] = marks.untold[rows.slot] = marks.unsought[rows.slot] = True
            self._note_requests(rows)

    def forget(self) -> None:
        """Keep nothing of flows that were ruled out: their slots may be other flows' soon."""
        self._heads.keep(self._watch.kind != IGNORED)

    def kept(self, slots: NDArray[np.intp]) -> Kept:
        """What is known of some flows."""
        octets, watch, marks = (table.rows(slots) for table in (self._octets, self._watch, self._marks))
        return Kept(octets, watch, marks, self._heads.of(slots))

    def adopt(self, slots: NDArray[np.intp], kept: Kept) -> None:
        """Know the same of these flows as another analyser knew of its own."""
        for table, rows in zip((self._octets, self._watch, self._marks), kept, strict=False):
            assert isinstance(rows, dict)
            table.put(slots, rows)
        self._heads.add(kept.heads._replace(slot=slots[kept.heads.slot]))

    def later(self, frames: int) -> None:
        """All that is kept was said so many frames later."""
        self._heads.later(frames)

    def look(self, slots: NDArray[np.intp]) -> Decided:
        """What these flows are, as far as they have come."""
        if not len(slots):
            return Decided(None, {})
        self._marks.unjudged[slots] = False
        return self._judged(self._heads.look(self._chosen(slots)), ended=False)

    def decide(self, slots: NDArray[np.intp]) -> Decided:
        """What these flows were: no more packets of them will come, and nothing of them is kept."""
        decided = self._judged(self._heads.take(self._chosen(slots), self._watch.kind != IGNORED), ended=True)
        earlier = self.settled.take(slots)
        if earlier is not None:
            fresh = decided.recognised
            decided = decided._replace(recognised=Recognised.join([earlier] if fresh is None else [fresh, earlier]))
        return decided

    def settle(self) -> NDArray[np.intp]:
        """Give up keeping what open tunnels have said first, and keep what it says: the least recent half of them.

        Returns the flows that this was done with.
        """
        slots = self._heads.slots()
        slots = slots[self._watch.kind[slots] != IGNORED]
        slots = slots[np.argsort(self._flows.last_time[slots], kind="stable")[: max(len(slots) // 2, FEW)]]
        decided = self._judged(self._heads.look(self._chosen(slots)), ended=False)
        found = decided.recognised
        if found is None:
            return np.empty(0, np.intp)
        found = found.take(np.flatnonzero(found.first_byte != NO_TIME))
        self._heads.take(self._chosen(found.slot), self._watch.kind != IGNORED)
        self._watch.limit[found.slot] = 0
        self.settled.add(found)
        return found.slot

    def _judged(self, rows: HeadRows, ended: bool) -> Decided:
        if not rows.size:
            return Decided(None, {})
        situations, rows = self._situations(rows)
        rest = np.ones(len(situations.slot), np.bool_)
        recognised = None
        if len(rest) >= FEW and not self._each_by_itself:
            try:
                recognised = self.forms.recognise(rows, situations, ended)
                # `situations` is in the order of slots: a recognised flow's place in it is found without a table.
                rest[np.searchsorted(situations.slot, recognised.slot)] = False
            except Exception as error:
                self._faults.note(error)
        return Decided(recognised, dict(self._each(rows, situations, rest, ended)))

    def _chosen(self, slots: NDArray[np.intp]) -> NDArray[np.bool_]:
        chosen = np.zeros(self._flows.capacity, np.bool_)
        chosen[slots] = True
        return chosen

    def _each(
        self, rows: HeadRows, situations: Situations, rest: NDArray[np.bool_], ended: bool
    ) -> Iterator[tuple[int, Dialogue]]:
        """Judge flows one by one."""
        counts = np.diff(np.append(_starts(rows), rows.size))
        segments = rows.take(np.repeat(rest, counts)).segments()
        end = 0
        for place, count in zip(np.flatnonzero(rest).tolist(), counts[rest].tolist(), strict=True):
            begin, end = end, end + count
            yield int(situations.slot[place]), self._dialogue(segments[begin:end], situations, place, ended)

    def _situations(self, rows: HeadRows) -> tuple[Situations, HeadRows]:
        """What else is known of the flows of these rows, and the rows with positions from each side's first octet."""
        flows, octets, watch = self._flows, self._octets, self._watch
        starts = _starts(rows)
        slots = rows.slot[starts]
        group = np.repeat(np.arange(len(slots)), np.diff(np.append(starts, rows.size)))
        turn = watch.turns(slots)
        shifts = self.shifts(slots)
        limit = watch.limit[slots]
        other = rows.way ^ 1
        begins = self.begins(slots)[other, group]
        # An acknowledgment that came before the other side's first octet could not be placed then: its number was kept
        # (as UNPLACED minus it) and is placed now that its beginning is known. The detour over uint32 and int32 makes a
        # difference of sequence numbers that is right across their wrap.
        placed = rows.heard + shifts[other, group]
        numbers = (UNPLACED - rows.heard - begins).astype(np.uint32).view(np.int32).astype(np.int64)
        placed = np.where((rows.heard <= UNPLACED) & (begins >= 0), np.maximum(numbers, 0), placed)
        nothing = (rows.heard == -1) | ((rows.heard <= UNPLACED) & (begins < 0))
        reach = octets.reach[:, slots] + shifts
        heard = octets.heard[:, slots] + shifts
        np.maximum.at(heard, (other[~nothing], group[~nothing]), placed[~nothing])
        # The FIN is acknowledged like an octet.
        ends = np.stack((flows.fin0[slots], flows.fin1[slots])) >= 0
        heard = np.minimum(np.where(ends, np.minimum(heard, reach), heard), limit)
        rows = rows._replace(
            offset=rows.offset + shifts[rows.way, group],
            heard=np.where(nothing, -1, np.minimum(placed, heard[other, group])),
        )
        low, high = flows.low[slots], flows.high[slots]
        turned = turn != 0
        open_ = flows.close_clock[slots] == NO_TIME
        closer = flows.closers(slots)
        return (
            Situations(
                slot=slots,
                turn=turn,
                expected=watch.expects(slots),
                loopback=self._are_loopback(low) & self._are_loopback(high),
                opener_known=flows.opener[slots] != UNKNOWN,
                heard=np.where(turned, heard[::-1], heard),
                closed_by_proxy=(closer != UNKNOWN) & (closer != turn),
                received=np.where(turned, reach[0], reach[1]),
                client=flows.ends(slots, turn)[0],
                waited_until=np.where(open_, max(self.now, 0), flows.last_time[slots]),
            ),
            rows,
        )

    def unjudged(self, frame: int, time: int) -> NDArray[np.intp]:
        """Undecided flows that began before a frame and a time (ns) and have said something since they were judged."""
        used = self._flows.used
        marked = self._marks.unjudged[:used] & (self._watch.kind[:used] == UNDECIDED)
        marked &= self._flows.first_time[:used] <= time
        return np.flatnonzero(marked & (self._flows.first_frame[:used] < frame))

    def answered(self, until: int) -> NDArray[np.intp]:
        """Flows that have begun by a time (ns), of which something is kept, and both sides of which have spoken."""
        slots = self._heads.slots()
        slots = slots[(self._watch.kind[slots] != IGNORED) & (self._flows.first_time[slots] <= until)]
        found: NDArray[np.intp] = slots[self._octets.reach[:, slots].min(0) > 0]
        return found

    def speaking(self) -> NDArray[np.intp]:
        """Flows of which something is kept."""
        return self._heads.slots()

    def untold(self) -> NDArray[np.intp]:
        """Flows that have said something since the last call."""
        used = self._flows.used
        slots = np.flatnonzero(self._marks.untold[:used] & (self._watch.kind[:used] != IGNORED))
        self._marks.untold[slots] = False
        return slots

    def put_off(self, slots: Sequence[int]) -> None:
        """These flows are untold still."""
        self._marks.untold[list(slots)] = True

    def holding(self) -> NDArray[np.intp]:
        """Undecided flows."""
        used = self._flows.used
        return np.flatnonzero((self._watch.kind[:used] == UNDECIDED) & (self._flows.stream[:used] >= 0))

    def associating(self) -> NDArray[np.intp]:
        """Flows that may have agreed on UDP ASSOCIATE since the last call."""
        used = self._flows.used
        slots = np.flatnonzero(self._marks.unsought[:used] & (self._marks.associates[:used] == _ASKS))
        self._marks.unsought[slots] = False
        return slots[self._ask(slots)] if len(slots) else slots

    def _ask(self, slots: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of these flows ask for UDP ASSOCIATE in what has come, unless that is in disorder or inside tokens.

        To find the request in a stream costs a hundredth of judging the dialogue.
        """
        rows = self._heads.look(self._chosen(slots))
        rows = rows.take(np.flatnonzero(self._watch.may_ask(rows.slot, rows.way)))
        rows = rows.take(np.lexsort((rows.way, rows.slot)))
        asks: NDArray[np.bool_] = self._watch.limit == TOKENS
        starts = np.diff(rows.slot * 2 + rows.way, prepend=-1) != 0
        follows = rows.offset == np.roll(rows.offset + rows.length, 1)
        asks[rows.slot[~(starts | follows) | (rows.captured < rows.length)]] = True
        begun = starts & (rows.offset == 0) & (self._flows.opener[rows.slot] != UNKNOWN)
        octets = rows.each(np.arange(rows.size))
        bounds = np.append(np.flatnonzero(starts), rows.size).tolist()
        for begin, end, slot, whole in zip(
            bounds, bounds[1:], rows.slot[starts].tolist(), begun[starts].tolist(), strict=False
        ):
            stream = b"".join(octets[begin:end])
            greeting = 2 + stream[1] if whole and stream[:1] == b"\5" and len(stream) > 1 else 0
            asks[slot] |= _ASSOCIATES.search(stream, greeting) is not None
        found: NDArray[np.bool_] = asks[slots]
        return found

    def asked(self, decided: Decided) -> None:
        """These flows were looked at: no association needs to be sought any more where the request is answered."""
        self._marks.associates[decided.slots] = _ASKED_OTHERWISE
        for slot, dialogue in decided.dialogues.items():
            session = dialogue.session
            if session.command is not None and (session.relay or session.done):
                self._marks.associates[slot] = _ASKED_OTHERWISE

    def _note_requests(self, rows: HeadRows) -> None:
        """Mark flows where UDP ASSOCIATE may be asked for: associations must be known while their datagrams pass."""
        room = self._watch.limit[rows.slot]
        behind = np.where(np.isin(room, (TOKENS, DATAGRAMS)), 0, room - HEAD)  # a PROXY protocol header
        near = np.flatnonzero((rows.offset < REQUEST + behind) & (self._marks.associates[rows.slot] == _NOT_ASKED))
        near = near[self._watch.may_ask(rows.slot[near], rows.way[near])]
        short, length = rows.short[near], rows.length[near]
        begins = (short[:, 0] == 5) & (short[:, 1] == 3) & np.isin(short[:, 3], (1, 3, 4))
        # Where frames do not begin with segments the request may lie anywhere.
        greeting = 2 + short[:, 1].astype(np.int64)
        login = 1 + greeting + short[np.arange(len(near)), np.minimum(greeting, short.shape[1] - 1)]
        ends = np.where(short[:, 0] == 5, greeting, np.where(short[:, 0] == 1, login, 0))
        merged = (length > ends) & (ends > 2)
        merged |= (short[:, 0] == PROXY_WORD[0]) | (short[:, 0] == PROXY_SIGNATURE[0])
        tiny = (length < 10) & (length != ends)
        for place in np.flatnonzero(merged & ~begins & ~tiny).tolist():
            begins[place] = _ASSOCIATES.search(rows.octets(int(near[place]))) is not None
        self._marks.associates[rows.slot[near[begins | tiny]]] = _ASKS

    def _dialogue(
        self, segments: Sequence[Segment], situations: Situations, place: int, ended: bool
    ) -> Dialogue:
        flows, slot, turn = self._flows, int(situations.slot[place]), int(situations.turn[place])
        ends = int(flows.low[slot]), int(flows.high[slot])
        opener, responder = ends[turn], ends[1 - turn]
        setting = Setting(
            bool(situations.expected[place]),
            bool(situations.loopback[place]),
            (self._book.endpoint_address(opener), self._book.endpoint_address(responder)),
            midstream=not situations.opener_known[place],
        )
        heard = int(situations.heard[0, place]), int(situations.heard[1, place])
        dialogue = Dialogue(setting)
        try:
            dialogue.read(segments, Flow(turn, heard, ended, int(flows.last_frame[slot]), int(flows.last_time[slot])))
        except Exception as error:
            dialogue.fault = self._faults.note(error, int(flows.stream[slot]), dialogue.session.password)
        return dialogue

    def shifts(self, slots: NDArray[np.intp]) -> NDArray[np.int64]:
        """int64[2, n]: what to add to positions, since a direction's first octet turned out to be another one."""
        origin = self._octets.origin[:, slots]
        return np.where(origin >= 0, (origin - self.begins(slots)).astype(np.uint32).view(np.int32), 0)

    def begins(self, slots: NDArray[np.intp]) -> NDArray[np.int64]:
        """int64[2, n]: the sequence number of each direction's first octet: in a capture that lacks the SYNs of the
        first one in it; -1 where there was none."""
        flows = self._flows
        base = np.stack((flows.base0[slots], flows.base1[slots]))
        return np.where((base >= 0) & (flows.opener[slots] != UNKNOWN), base, self._octets.origin[:, slots])

    def _are_loopback(self, ends: NDArray[np.uint64]) -> NDArray[np.bool_]:
        loopback: NDArray[np.bool_] = ends >> np.uint64(40) == 127
        for row in np.flatnonzero(ends >= np.uint64(IPV6)).tolist():
            loopback[row] = self._book.packed(int(ends[row])) == bytes(15) + b"\1"
        return loopback


def _starts(rows: HeadRows) -> NDArray[np.intp]:
    """Where each flow's rows begin."""
    return np.flatnonzero(np.concatenate((np.ones(1, np.bool_), rows.slot[1:] != rows.slot[:-1])))
