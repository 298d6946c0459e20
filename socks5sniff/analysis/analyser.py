"""Batches of frames in, conversation records out: the conductor.

    frames ─▶ flows (whose packet) ─▶ octets (how many) ─▶ watch (can it be SOCKS?) ─▶ heads (what was said first)
                                                                                          │ when a flow is over
    records ◀─ numbering (its id) ◀─ names (was it resolved locally?) ◀─ dialogue (what was said) ◀┘

A flow costs columns only. What it said first is kept until it is over, and then decided at once, from the whole
dialogue. So nothing depends on where a batch ends, and the order of packets matters as far as TCP gives it meaning.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.batch import FrameBatch
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import IPV6, Segments
from socks5sniff.packets.reader import PacketReader
from socks5sniff.record import Conversation
from socks5sniff.session import Verdict
from socks5sniff.streams.flows import NO_TIME, FlowTable
from socks5sniff.streams.octets import Octets
from socks5sniff.streams.spaces import FORGET

from .association import Association
from .dialogue import Dialogue
from .endings import Endings
from .handshakes import Handshakes
from .names import Names
from .numbering import Numbering, place_of
from .records import Records
from .udp import Associations
from .watch import IGNORED, SOCKS, UNDECIDED, Watch

MAX_FLOWS = 1 << 18
"""Flows in the table; above it the longest idle ones that are not SOCKS are forgotten, and counted."""
MAX_ADDRESSES = 1 << 17
"""IPv6 addresses, 300 octets each; above it those without a flow are forgotten, and flows where that is not enough."""
AT_ONCE = 1024
"""Flows that are over are decided together, so many where nobody waits for the records."""
MAX_HELD = 1 << 16
"""Records held back for their ids; above it a flow that said little so far holds none back for longer than patience."""
_NEVER = 1 << 62


class Analyser:
    """Finds the SOCKS conversations of one capture.

    Args:
        ports: ports the user named as proxy ports, besides SOCKS_PORTS.
        show_passwords: put passwords into the records instead of a mask.
        udp_frames: list each UDP datagram of an association among the record's frames.
        patience: nanoseconds of capture time that an undecided connection may hold back the ids of later ones, where
            somebody waits for the records; None where nobody does.

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
        patience: int | None = None,
    ) -> None:
        self.packets = 0
        self.evicted = 0
        self.reader = PacketReader()
        self._ports = frozenset(ports)
        self._patience = patience
        self._flows = FlowTable()
        self._octets = Octets()
        self._watch = Watch(self._flows, ports)
        book: AddressBook = self.reader.addresses
        self._handshakes = Handshakes(self._flows, self._octets, self._watch, book)
        self._endings = Endings(self._flows)
        self._associations = Associations(book, udp_frames)
        self._associated: dict[int, Association] = {}
        self._names = Names(book)
        self._numbering = Numbering()
        self._records = Records(
            self._flows, self._octets, self._watch, self._handshakes, book, self._names, self._numbering, show_passwords
        )
        self._now = NO_TIME
        self._purge_at = MAX_FLOWS // 4
        self._addresses_at = MAX_ADDRESSES

    # -- one batch -----------------------------------------------------------------------------------------------

    def take(self, batch: FrameBatch) -> list[Conversation]:
        """Analyse a batch; return the records that it completed."""
        self.packets += len(batch)
        self._records.interfaces = batch.interfaces
        if not len(batch):
            return []
        self._now = max(self._now, int(batch.time.max()))
        segments, datagrams = self.reader.read(batch)
        if len(segments):
            self._take_segments(segments)
            self._names.learn_from_streams(segments)
        self._open_associations()
        self._associations.take(datagrams)
        self._names.learn(datagrams, self._associations.carries)
        due = self._endings.due(self._flows.clock, AT_ONCE if self._patience is None else 1)
        self._finish(self._endings.put_off(due, [*self._associated]))
        self._make_room()
        return self._release()

    def finish(self) -> list[Conversation]:
        """The capture has ended: records of all that is still open."""
        self._endings.clear()
        self._finish(np.flatnonzero(self._watch.kind[: self._flows.used] != IGNORED))
        return self._numbering.release(None)

    def _take_segments(self, segments: Segments) -> None:
        flows = self._flows
        batch = flows.update(segments)
        fresh = batch.slots[batch.new]
        self._handshakes.begin(fresh, flows.capacity)
        self._endings.begin(fresh, flows.capacity)
        counted = self._watch.kind[batch.slots] != IGNORED
        if not counted.any():
            return
        self._handshakes.add(self._octets.count(flows, batch, counted))
        for slot, _ in self._endings.note(batch, self._watch.kind[batch.slots] != IGNORED):
            association = self._associated.get(slot)
            if association is not None:
                association.closed = self._ended(slot)

    # -- what flows turn out to be -------------------------------------------------------------------------------

    def _open_associations(self) -> None:
        """Associations must be known while their datagrams pass."""
        opened = []
        for slot, dialogue in self._handshakes.judge(self._handshakes.associating(), ended=False):
            self._decide(slot, dialogue)
            self._handshakes.asked(slot, dialogue.session)
            association = self._associate(slot, dialogue)
            if association is not None:
                opened.append(association)
        self._associations.open(opened)

    def _associate(self, slot: int, dialogue: Dialogue) -> Association | None:
        """The association that a dialogue has opened, when it is a new one."""
        session = dialogue.session
        if slot in self._associated or not dialogue.associates or session.client_side is None:
            return None
        flows, side = self._flows, session.client_side
        ends = int(flows.low[slot]), int(flows.high[slot])
        turn = int(self._watch.turns(np.array([slot]))[0])
        closed = None if int(flows.close_time[slot]) == NO_TIME else self._ended(slot)
        association = Association.of(session, ends[side ^ turn], ends[side ^ turn ^ 1], closed, self.reader.addresses)
        if association is not None:
            self._associated[slot] = association
        return association

    def _ended(self, slot: int) -> int:
        """When a closed flow had ended, by the clock of whichever side is ahead."""
        return max(int(self._flows.close_time[slot]), int(self._flows.last_time[slot]))

    def _decide(self, slot: int, dialogue: Dialogue) -> bool:
        """Keep what a dialogue has turned out to be; True where it is worth a record."""
        kind = self._watch.kind
        verdict = dialogue.verdict
        if kind[slot] == IGNORED or verdict is Verdict.UNDECIDED:
            return False
        if verdict is Verdict.FOREIGN and not self._reportable(slot, dialogue):
            kind[slot] = IGNORED
            return False
        if kind[slot] == UNDECIDED:
            kind[slot] = SOCKS
            self._numbering.add((place_of(int(self._flows.first_frame[slot])),))
        for depth, nested in enumerate(dialogue.nested(), 1):
            self._numbering.add((place_of(nested.frame, depth),))
        return True

    def _reportable(self, slot: int, dialogue: Dialogue) -> bool:
        """Another protocol on a proxy port is worth a record: any on a port the user named, a known one elsewhere."""
        foreign = dialogue.session.foreign
        if foreign is None or foreign != "unknown":
            return foreign is not None
        turn = int(self._watch.turns(np.array([slot]))[0])
        responder = int((self._flows.low if turn else self._flows.high)[slot])
        return responder & 0xFFFF in self._ports

    def _finish(self, slots: NDArray[np.intp]) -> None:
        """Decide flows that are over, and make their records."""
        if not len(slots):
            return
        done = []
        opened = []
        for slot, dialogue in self._handshakes.judge(slots, ended=True):
            if self._decide(slot, dialogue):
                done.append((slot, dialogue))
                association = self._associate(slot, dialogue)
                if association is not None:
                    opened.append(association)
        self._associations.open(opened)
        if done:
            self._numbering.finish(self._records.make(done, self._associated, self._now))
        self._watch.kind[slots] = IGNORED
        for slot in slots.tolist():
            association = self._associated.pop(slot, None)
            if association is not None:
                self._associations.forget(association)

    def _release(self) -> list[Conversation]:
        """The finished records whose number is certain."""
        numbering = self._numbering
        if not numbering.waiting or (self._patience is None and numbering.held < AT_ONCE):
            return numbering.release(0)
        for slot, dialogue in self._handshakes.judge(self._handshakes.unjudged(numbering.last_frame), ended=False):
            self._decide(slot, dialogue)
        return numbering.release(self._floor())

    def _floor(self) -> int:
        """Place of the oldest flow that may yet turn out to be SOCKS."""
        flows = self._flows
        slots = self._handshakes.holding()
        patience = self._patience
        if patience is None:
            patience = 30_000_000_000
            if self._numbering.held < MAX_HELD:
                return place_of(int(flows.first_frame[slots].min())) if len(slots) else _NEVER
        slots = slots[flows.first_time[slots] > self._now - patience]
        return place_of(int(flows.first_frame[slots].min())) if len(slots) else _NEVER

    # -- bounds --------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Keep the tables of flows and of IPv6 addresses bounded."""
        flows, book = self._flows, self.reader.addresses
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
        flows, kind = self._flows, self._watch.kind
        live = flows.live()
        idle = kind[live] == IGNORED
        closed = idle & (flows.close_clock[live] != NO_TIME) & (flows.close_clock[live] < flows.clock - FORGET)
        gone = live[closed]
        if len(live) - len(gone) > most:
            rest = live[~closed & (kind[live] != SOCKS)]
            excess = min(len(rest), len(live) - len(gone) - most * 3 // 4)
            oldest = rest[np.argsort(flows.last_time[rest], kind="stable")[:excess]]
            self.evicted += int((flows.close_time[oldest] == NO_TIME).sum())
            self._finish(oldest[kind[oldest] == UNDECIDED])
            gone = np.concatenate((gone, oldest))
        kind[gone] = IGNORED
        flows.release(gone)

    def _forget_addresses(self) -> None:
        """IPv6 addresses that no flow and no association has any more."""
        live = self._flows.live()
        associated = np.array([*self._associations.endpoints()], np.uint64)
        ends = np.concatenate((self._flows.low[live], self._flows.high[live], associated))
        self.reader.addresses.retain(np.unique(ends[ends >= IPV6] >> np.uint64(16)).tolist())
