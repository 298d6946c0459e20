"""Batches of frames in, conversation records out: the conductor.

    frames ─▶ flows (whose packet) ─▶ octets (how many) ─▶ watch (can it be SOCKS?) ─▶ heads (what was said first)
                                                                                          │ when a flow is over
    records ◀─ numbering (its id) ◀─ names (was it resolved locally?) ◀─ dialogue (what was said) ◀┘

A flow costs columns only. What it said first is kept until it is over, and then decided at once, from the whole
dialogue. So nothing depends on where a batch ends, and the order of packets matters as far as TCP gives it meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.batch import FrameBatch
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import IPV6, Datagrams, Segments
from socks5sniff.packets.icmp import Reported
from socks5sniff.packets.reader import PacketReader
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch
from socks5sniff.session import Verdict
from socks5sniff.streams.consumer import Consumer
from socks5sniff.streams.flows import NO_TIME, FlowTable
from socks5sniff.streams.octets import Octets
from socks5sniff.streams.spaces import FORGET

from .association import Association
from .attempts import Attempts
from .dialogue import Dialogue
from .endings import Endings
from .extents import Extents
from .faults import Faults
from .forms import Forms
from .handshakes import Decided, Handshakes
from .names import Names
from .numbering import Finished, Numbering, place_of
from .provenance import Provenance
from .records import Records
from .udp import Associations
from .watch import ELSEWHERE, IGNORED, SOCKS, UNDECIDED, Watch

MAX_FLOWS = 1 << 18
"""Flows in the table; above it the longest idle ones that are not SOCKS are forgotten, and counted."""
MAX_HEADS = 96 << 20
"""Octets of memory for what flows have said first: of 200,000 usual dialogues at once, the half."""
MAX_ADDRESSES = 1 << 17
"""IPv6 addresses, 300 octets each; above it those without a flow are forgotten, and flows where that is not enough."""
AT_ONCE = 4096
"""Flows that are over are decided together, so many where nobody waits for the records."""
MAX_HELD = 1 << 16
"""Records held back for their ids; above it a flow that said little so far holds none back for longer than patience."""
PROMPT, SLOW = 0, 10_000_000_000
"""Nanoseconds after which a flow that holds back the ids of others is judged: at once where somebody waits, else only
when it is not about to end by itself."""
_NEVER = 1 << 62


class Analyser:
    """Finds the SOCKS conversations of one capture.

    Args:
        ports: ports the user named as proxy ports, besides SOCKS_PORTS.
        show_passwords: put passwords into the records instead of a mask.
        udp_frames: list each UDP datagram of an association among the record's frames.
        patience: nanoseconds of capture time that an undecided connection may hold back the ids of later ones, where
            somebody waits for the records; None where nobody does.
        consumers: told of every batch besides.
        extents: keep where tunnels lie, for a second look.
        faults: takes errors of this program; a new one where there is none.
        last_id: ids go on behind it.
        witness: told of every dialogue besides, once it is over, with its slot; then each is judged by itself.
        forms: what was learned of other captures, with the same `show_passwords`.

    Attributes:
        packets: frames read so far.
        evicted: flows forgotten while they were open, because there were more than MAX_FLOWS.
        attempts: TCP connections to proxies that came to no conversation.
        extents: where the tunnels of finished records lie; None where they are not kept.
        faults: errors of this program that were contained.
    """

    def __init__(
        self,
        *,
        ports: Collection[int] = (),
        show_passwords: bool = False,
        udp_frames: bool = False,
        patience: int | None = None,
        consumers: Sequence[Consumer] = (),
        extents: bool = False,
        faults: Faults | None = None,
        last_id: int = 0,
        witness: Callable[[int, Dialogue], None] | None = None,
        forms: Forms | None = None,
    ) -> None:
        self.packets = 0
        self.evicted = 0
        self.reader = PacketReader()
        self._ports = frozenset(ports)
        self._patience = patience
        self._consumers = consumers
        self._witness = witness
        self.flows = FlowTable()
        self.octets = Octets()
        self.watch = Watch(self.flows, ports)
        book: AddressBook = self.reader.addresses
        self.faults = faults = Faults() if faults is None else faults
        forms = Forms(show_passwords, faults) if forms is None else forms
        forms.faults = faults
        self.handshakes = Handshakes(
            self.flows,
            self.octets,
            self.watch,
            book,
            forms,
            faults,
            each=witness is not None,
        )
        self.attempts = Attempts(self.flows, self.octets, self.watch, book)
        self.endings = Endings(self.flows)
        self.extents = Extents(self.flows, self.octets, self.watch, self.handshakes) if extents else None
        self.associations = Associations(book, faults, udp_frames, extents)
        self.associated: dict[int, Association] = {}
        self.names = Names(book)
        self.numbering = Numbering(last_id)
        self.provenance = Provenance(self.flows, self.reader)
        self.records = Records(
            self.flows, self.octets, self.watch, self.handshakes, book, self.names, self.numbering,
            self.provenance, show_passwords, faults,
        )  # fmt: skip
        self._purge_at = MAX_FLOWS // 4
        self._addresses_at = MAX_ADDRESSES

    # -- one batch -----------------------------------------------------------------------------------------------

    def take(self, batch: FrameBatch) -> list[Batch]:
        """Analyse a batch; return the records that it completed."""
        self.packets += len(batch)
        self.records.interfaces = batch.interfaces
        if not len(batch):
            return []
        self.handshakes.now = max(self.handshakes.now, int(batch.time.max()))
        segments, datagrams = self.reader.read(batch)
        if len(segments):
            self.take_segments(segments)
            with self.faults.contained():
                self.names.learn_from_streams(segments)
        self.take_datagrams(datagrams, self.reader.errors)
        self.finish_due(self.flows.clock)
        self.make_room()
        return self.release_records()

    def take_datagrams(self, datagrams: Datagrams, errors: Sequence[Reported]) -> None:
        """Give datagrams, and what ICMP says of some, to the associations that are open by now, and learn names."""
        self._open_associations()
        self.associations.take(datagrams)
        with self.faults.contained():
            self.associations.note_errors(errors)
        for consumer in self._consumers:
            consumer.datagrams(datagrams)
        with self.faults.contained():
            self.names.learn(datagrams, self.associations.carries)

    def finish(self) -> list[Batch]:
        """The capture has ended: records of all that is still open."""
        self.endings.clear()
        self.finish_flows(np.flatnonzero(self.watch.kind[: self.flows.used] != IGNORED))
        return self.numbering.release(None)

    def tick(self, now: int) -> list[Batch]:
        """No frame was captured before `now` (ns since 1970) that has not been taken: records completed by time."""
        self.handshakes.now = max(self.handshakes.now, now)
        self.finish_due(max(self.flows.clock, now))
        self.make_room()
        return self.release_records()

    def standing(self) -> tuple[list[Batch], list[Conversation]]:
        """What was completed by now, and the records of all open conversations that have an id, as they stand."""
        self.look(self.handshakes.unjudged(_NEVER, self.handshakes.now))
        ended = self.numbering.release(self._floor())
        slots = np.flatnonzero(self.watch.kind[: self.flows.used] == SOCKS)
        slots = slots[np.argsort(self.flows.stream[slots])]
        finished = self.records.make(slots, self.look(slots), self.associated)
        batch = finished.batch
        batch.id = np.array([self.numbering.number(place) for place in finished.places], np.int64)
        return ended, [record for record in batch if record.id]

    def name_of(self, client: str, host: str) -> str | None:
        """The name for which DNS gave a client an address, as far as is remembered."""
        return self.names.name_of(client, host)

    def placing(self, slot: int) -> tuple[int, int, int]:
        """The direction of a flow's side 0, and by side the position (see `Octets`) of a dialogue's first octet."""
        at = np.array([slot], np.intp)
        turn = int(self.watch.turns(at)[0])
        shifts = self.handshakes.shifts(at)[:, 0].tolist()
        return turn, -shifts[turn], -shifts[1 - turn]

    def take_segments(self, segments: Segments) -> None:
        """Follow flows."""
        flows = self.flows
        batch = flows.update(segments)
        self.provenance.note(batch)
        for consumer in self._consumers:
            consumer.segments(batch)
        fresh = batch.slots[batch.new]
        self.handshakes.begin(fresh, flows.capacity)
        self.endings.begin(fresh, flows.capacity)
        if self.extents is not None:
            self.extents.begin(fresh, flows.capacity)
        counted = self.watch.kind[batch.slots] != IGNORED
        if not counted.any():
            return
        payloads = self.octets.count(flows, batch, counted)
        if self.extents is not None:
            self.extents.add(payloads)
        self.handshakes.add(payloads)
        for slot, _ in self.endings.note(batch, self.watch.kind[batch.slots] != IGNORED):
            association = self.associated.get(slot)
            if association is not None:
                association.closed = self.endings.ended(slot)

    # -- what flows turn out to be -------------------------------------------------------------------------------

    def _open_associations(self) -> None:
        """Associations must be known while their datagrams pass."""
        opened = []
        for slot, dialogue in self.look(self.handshakes.associating()).dialogues.items():
            self.handshakes.asked(slot, dialogue.session)
            association = self._associate(slot, dialogue)
            if association is not None:
                opened.append(association)
        with self.faults.contained():
            self.associations.open(opened)

    def look(self, slots: NDArray[np.intp]) -> Decided:
        """What these flows are, as far as they have come; of those that are SOCKS it is remembered."""
        decided = self.handshakes.look(slots)
        self._keep(decided.slots)
        for slot, dialogue in [*decided.dialogues.items()]:
            if not self._decide(slot, dialogue):
                del decided.dialogues[slot]
        return decided

    def _associate(self, slot: int, dialogue: Dialogue) -> Association | None:
        """The association that a dialogue has opened, when it is a new one."""
        session = dialogue.session
        if slot in self.associated or not dialogue.associates or session.client_side is None:
            return None
        flows, side = self.flows, session.client_side
        ends = int(flows.low[slot]), int(flows.high[slot])
        turn = int(self.watch.turns(np.array([slot]))[0])
        closed = None if int(flows.close_time[slot]) == NO_TIME else self.endings.ended(slot)
        try:
            association = Association.of(
                session, ends[side ^ turn], ends[side ^ turn ^ 1], closed, self.reader.addresses
            )
        except Exception as error:
            dialogue.fault = self.faults.note(error, int(flows.stream[slot]))
            return None
        if association is not None:
            self.associated[slot] = association
        return association

    def _decide(self, slot: int, dialogue: Dialogue) -> bool:
        """Keep what a dialogue has turned out to be; True where it is worth a record."""
        kind = self.watch.kind
        verdict = dialogue.verdict
        if kind[slot] == IGNORED or verdict is Verdict.UNDECIDED:
            return False
        if verdict is Verdict.FOREIGN and not self._reportable(slot, dialogue):
            kind[slot] = IGNORED
            return False
        self._keep(np.array([slot], np.intp))
        for depth, nested in enumerate(dialogue.nested(), 1):
            self.numbering.add((place_of(nested.frame, depth),))
        return True

    def _keep(self, slots: NDArray[np.intp]) -> None:
        """These flows are SOCKS."""
        if not len(slots):
            return
        kind = self.watch.kind
        fresh = slots[kind[slots] == UNDECIDED]
        kind[fresh] = SOCKS
        self.numbering.add(map(place_of, self.flows.first_frame[fresh].tolist()))

    def _reportable(self, slot: int, dialogue: Dialogue) -> bool:
        """Another protocol on a proxy port is worth a record: any on a port the user named, a known one elsewhere."""
        foreign = dialogue.session.foreign
        if foreign is None or foreign != "unknown":
            return foreign is not None
        turn = int(self.watch.turns(np.array([slot]))[0])
        responder = int((self.flows.low if turn else self.flows.high)[slot])
        return responder & 0xFFFF in self._ports

    def finish_due(self, now: int) -> None:
        """Make the records of flows that are over by this time."""
        while True:
            slots = self.endings.due(now, AT_ONCE if self._patience is None else None)
            over = self.endings.put_off(slots, [*self.associated], now)
            if not len(slots) and not len(over):
                return
            self.finish_flows(over)

    def finish_flows(self, slots: NDArray[np.intp]) -> None:
        """Decide flows that are over, and make their records, in the order of the flows' beginning."""
        if not len(slots):
            return
        self.watch.kind[slots[self.watch.hopeless(slots) & (self.watch.kind[slots] == UNDECIDED)]] = IGNORED
        slots = slots[self.watch.kind[slots] != IGNORED]
        slots = slots[np.argsort(self.flows.stream[slots])]
        elsewhere = slots[self.watch.kind[slots] == ELSEWHERE]
        slots = slots[self.watch.kind[slots] != ELSEWHERE]
        decided = self.handshakes.decide(slots)
        self._keep(decided.slots)
        with self.faults.contained():
            self.attempts.take(slots)
        opened = []
        said = [*decided.dialogues.items()]
        for slot, dialogue in said:
            if not self._decide(slot, dialogue):
                del decided.dialogues[slot]
                continue
            association = self._associate(slot, dialogue)
            if association is not None:
                opened.append(association)
        with self.faults.contained():
            self.associations.open(opened)
        for slot in self.associated.keys() & slots.tolist():
            self.associated[slot].closed = self.endings.ended(slot)
        if self._witness is not None:
            for slot, dialogue in said:
                self._witness(slot, dialogue)
        with self.faults.contained():
            self.attempts.spoke(decided)
        self._hand_on(self.records.make(slots, decided, self.associated, over=True), elsewhere)
        if self.extents is not None:
            with self.faults.contained():
                self.extents.note(decided, self.associated)
        self.watch.kind[slots] = self.watch.kind[elsewhere] = IGNORED
        for slot in slots.tolist():
            association = self.associated.pop(slot, None)
            if association is not None:
                self.associations.forget(association)

    def _hand_on(self, finished: Finished, elsewhere: NDArray[np.intp]) -> None:
        """Records are made; they wait for their numbers. Those of flows `elsewhere` belong to them."""
        self.numbering.finish(finished)

    def release_records(self, before: int | None = None) -> list[Batch]:
        """The finished records whose number is certain; nothing is known yet of frames from `before` on."""
        numbering = self.numbering
        if not numbering.held or (self._patience is None and numbering.held < AT_ONCE):
            return numbering.release(0)
        unknown = _NEVER if before is None else place_of(before)
        until = self.handshakes.now - (PROMPT if self._patience is not None else SLOW)
        self.look(self.handshakes.unjudged(numbering.last_frame, until))
        return numbering.release(min(self._floor(), unknown))

    def _floor(self) -> int:
        """Place of the oldest flow that may yet turn out to be SOCKS."""
        flows = self.flows
        slots = self.handshakes.holding()
        patience = self._patience
        if patience is None:
            patience = 30_000_000_000
            if self.numbering.held < MAX_HELD:
                return place_of(int(flows.first_frame[slots].min())) if len(slots) else _NEVER
        slots = slots[flows.first_time[slots] > self.handshakes.now - patience]
        return place_of(int(flows.first_frame[slots].min())) if len(slots) else _NEVER

    # -- bounds --------------------------------------------------------------------------------------------------

    def make_room(self) -> None:
        """Keep the tables of flows and of IPv6 addresses bounded."""
        flows, book = self.flows, self.reader.addresses
        if self.handshakes.octets > MAX_HEADS:
            self._relieve()
        if len(flows) >= self._purge_at:
            self._forget_flows(MAX_FLOWS)
            self._purge_at = max(MAX_FLOWS // 4, min(len(flows) * 2, MAX_FLOWS + 1))
        if len(book) >= self._addresses_at:
            self._forget_addresses()
            if len(book) > MAX_ADDRESSES // 2:
                self._forget_flows(len(flows) // 2)
                self._forget_addresses()
            self._addresses_at = max(MAX_ADDRESSES, len(book) * 2)

    def _relieve(self) -> None:
        """Too much is kept of what flows said first: keep what open tunnels' dialogues say, and end what is idle."""
        self._keep(self.handshakes.settle())
        while self.handshakes.octets > MAX_HEADS * 3 // 4:
            slots = self.handshakes.speaking()
            oldest = slots[np.argsort(self.flows.last_time[slots], kind="stable")[: max(len(slots) // 4, 1)]]
            self.evicted += int((self.flows.close_time[oldest] == NO_TIME).sum())
            self.finish_flows(oldest)

    def _forget_flows(self, most: int) -> None:
        """Closed flows leave after a while, and the longest idle ones where there are more than `most`."""
        flows, kind = self.flows, self.watch.kind
        live = flows.live()
        idle = kind[live] == IGNORED
        closed = idle & (flows.close_clock[live] != NO_TIME) & (flows.close_clock[live] < flows.clock - FORGET)
        gone = live[closed]
        if len(live) - len(gone) > most:
            rest = live[~closed & (kind[live] != SOCKS) & (kind[live] != ELSEWHERE)]
            excess = min(len(rest), len(live) - len(gone) - most * 3 // 4)
            oldest = rest[np.argsort(flows.last_time[rest], kind="stable")[:excess]]
            self.evicted += int((flows.close_time[oldest] == NO_TIME).sum())
            self.finish_flows(oldest[kind[oldest] == UNDECIDED])
            gone = np.concatenate((gone, oldest))
        kind[gone] = IGNORED
        flows.release(gone)

    def _forget_addresses(self) -> None:
        """IPv6 addresses that no flow and no association has any more."""
        live = self.flows.live()
        associated = np.array([*self.associations.endpoints()], np.uint64)
        ends = np.concatenate((self.flows.low[live], self.flows.high[live], associated))
        self.reader.addresses.retain(np.unique(ends[ends >= IPV6] >> np.uint64(16)).tolist())
