"""Who decides what a flow is: the rows it said first, kept until enough is known, and judged together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import PROXY_SIGNATURE, PROXY_WORD
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import IPV6
from socks5sniff.session import Session
from socks5sniff.streams.flows import UNKNOWN, FlowTable
from socks5sniff.streams.heads import HEAD, HeadRows, Heads
from socks5sniff.streams.octets import Octets, Payloads
from socks5sniff.streams.slots import SlotTable

from .dialogue import Dialogue, Flow
from .relay import Setting
from .watch import DATAGRAMS, IGNORED, REQUEST, TOKENS, UNDECIDED, Watch

_NOT_ASKED, _ASKS, _ASKED_OTHERWISE = range(3)


class _Marks(SlotTable):
    """Columns by slot: `fresh` (rows have come since the flow was last judged); `associates` (whether UDP ASSOCIATE
    may have been asked for)."""

    COLUMNS = {"fresh": (np.bool_, False), "associates": (np.uint8, _NOT_ASKED)}

    fresh: NDArray[np.bool_]
    associates: NDArray[np.uint8]


class Handshakes:
    """The flows that may be SOCKS, and what they have said."""

    def __init__(self, flows: FlowTable, octets: Octets, watch: Watch, book: AddressBook) -> None:
        self._flows = flows
        self._octets = octets
        self._watch = watch
        self._book = book
        self._heads = Heads()
        self._marks = _Marks()

    def __len__(self) -> int:
        """Rows kept."""
        return len(self._heads)

    def begin(self, slots: NDArray[np.intp], capacity: int) -> None:
        """These slots are new flows'."""
        for table in (self._octets, self._watch, self._marks):
            table.grow(capacity)
            table.reset(slots)

    def add(self, payloads: Payloads) -> None:
        """Take a batch's payload."""
        rows = self._watch.look(payloads)
        self._heads.add(rows)
        if rows.size:
            self._marks.fresh[rows.slot] = True
            self._note_requests(rows)

    def judge(self, slots: NDArray[np.intp], ended: bool) -> Iterator[tuple[int, Dialogue]]:
        """What these flows are.

        Args:
            ended: no more packets of them will come; their rows are kept no longer.
        """
        chosen = np.zeros(self._flows.capacity, np.bool_)
        chosen[slots] = True
        rows = self._heads.take(chosen, self._watch.kind != IGNORED) if ended else self._heads.look(chosen)
        self._marks.fresh[slots] = False
        if not rows.size:
            return
        starts = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), rows.slot[1:] != rows.slot[:-1])))
        bounds = np.append(starts, rows.size).tolist()
        for begin, end in zip(bounds, bounds[1:]):  # noqa: B905 - the second is one shorter
            slot = int(rows.slot[begin])
            yield slot, self._dialogue(slot, rows.take(np.arange(begin, end)), ended)

    def unjudged(self, before: int) -> NDArray[np.intp]:
        """Undecided flows that began before a frame and have said something since they were judged."""
        used = self._flows.used
        marked = self._marks.fresh[:used] & (self._watch.kind[:used] == UNDECIDED)
        return np.flatnonzero(marked & (self._flows.first_frame[:used] < before))

    def holding(self) -> NDArray[np.intp]:
        """Undecided flows."""
        used = self._flows.used
        return np.flatnonzero((self._watch.kind[:used] == UNDECIDED) & (self._flows.stream[:used] >= 0))

    def associating(self) -> NDArray[np.intp]:
        """Flows that may have agreed on UDP ASSOCIATE since they were judged."""
        used = self._flows.used
        return np.flatnonzero(self._marks.fresh[:used] & (self._marks.associates[:used] == _ASKS))

    def asked(self, slot: int, session: Session) -> None:
        """A session knows the request: whether to look for an association."""
        if session.command is not None and (session.relay or session.done):
            self._marks.associates[slot] = _ASKED_OTHERWISE

    def _note_requests(self, rows: HeadRows) -> None:
        """Mark flows where UDP ASSOCIATE may be asked for: associations must be known while their datagrams pass."""
        room = self._watch.limit[rows.slot]
        behind = np.where(np.isin(room, (TOKENS, DATAGRAMS)), 0, room - HEAD)  # a PROXY protocol header
        near = np.flatnonzero((rows.offset < REQUEST + behind) & (self._marks.associates[rows.slot] == _NOT_ASKED))
        short, length = rows.short[near], rows.length[near]
        begins = (short[:, 0] == 5) & (short[:, 1] == 3) & (short[:, 2] == 0) & np.isin(short[:, 3], (1, 3, 4))
        # Where frames do not begin with segments the request may lie anywhere.
        greeting = (short[:, 0] == 5) & (length > 2 + short[:, 1].astype(np.int64))
        name = 2 + short[:, 1].astype(np.int64)
        login = 1 + name + short[np.arange(len(near)), np.minimum(name, short.shape[1] - 1)]
        merged = (greeting & (short[:, 1] > 0)) | ((short[:, 0] == 1) & (length > login))
        merged |= (short[:, 0] == PROXY_WORD[0]) | (short[:, 0] == PROXY_SIGNATURE[0])
        tiny = (length < 10) & ~((short[:, 0] == 5) & (length == 2 + short[:, 1].astype(np.int64)))
        for place in np.flatnonzero(merged & ~begins & ~tiny).tolist():
            begins[place] = b"\5\3\0" in rows.octets(int(near[place]))
        self._marks.associates[rows.slot[near[begins | tiny]]] = _ASKS

    def _dialogue(self, slot: int, rows: HeadRows, ended: bool) -> Dialogue:
        flows = self._flows
        turn = int(self._watch.turns(np.array([slot]))[0])
        ends = int(flows.low[slot]), int(flows.high[slot])
        opener, responder = ends[turn], ends[1 - turn]
        known = int(flows.opener[slot]) != UNKNOWN
        setting = Setting(
            bool(self._watch.expects(np.array([slot]))[0]),
            self._is_loopback(opener) and self._is_loopback(responder),
            (self._book.endpoint_address(opener), self._book.endpoint_address(responder)),
            midstream=not known,
        )
        shifts = [self.shift(slot, way) for way in (0, 1)]
        offsets = rows.offset + np.where(rows.way, shifts[1], shifts[0])
        heard = np.where(rows.heard < 0, -1, np.maximum(rows.heard + np.where(rows.way, shifts[0], shifts[1]), 0))
        limit = int(self._watch.limit[slot])
        heard_of = [min(self._heard(slot, way) + shifts[way], limit) for way in (turn, 1 - turn)]
        flow = Flow(turn, (heard_of[0], heard_of[1]), ended, int(flows.last_frame[slot]), int(flows.last_time[slot]))
        return Dialogue(rows._replace(offset=offsets, heard=heard), flow, setting)

    def shift(self, slot: int, way: int) -> int:
        """What to add to positions, since the first octet turned out to be another than the first one seen."""
        origin = int(self._octets.origin[way, slot])
        base = int((self._flows.base1 if way else self._flows.base0)[slot])
        if origin < 0 or base < 0 or int(self._flows.opener[slot]) == UNKNOWN:
            return 0
        return (origin - base + (1 << 31)) % (1 << 32) - (1 << 31)

    def _heard(self, slot: int, way: int) -> int:
        """The furthest octet of a direction that was acknowledged; the FIN is acknowledged like one."""
        heard, reach = int(self._octets.heard[way, slot]), int(self._octets.reach[way, slot])
        fin = int((self._flows.fin1 if way else self._flows.fin0)[slot])
        return min(heard, reach) if fin >= 0 else heard

    def _is_loopback(self, endpoint: int) -> bool:
        if endpoint & IPV6:
            return self._book.packed(endpoint) == bytes(15) + b"\1"
        return endpoint >> 40 == 127
