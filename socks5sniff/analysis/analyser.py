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
from socks5sniff.packets.columns import Datagrams
from socks5sniff.packets.icmp import Reported
from socks5sniff.packets.reader import PacketReader
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch
from socks5sniff.streams.consumer import Consumer

from .agreements import Agreements
from .association import Association
from .attempts import Attempts
from .bounds import Bounds
from .connections import Connections
from .dialogue import Dialogue
from .faults import Faults
from .forms import Forms
from .numbering import Finished, place_of
from .records import Records
from .udp import Associations
from .verdicts import Verdicts
from .watch import ELSEWHERE, IGNORED, SOCKS, UNDECIDED

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
        reader: from frames to headers.
        faults: errors of this program that were contained.
        connections: what is known of each flow.
        verdicts: which of them are conversations.
        agreements: which of these have agreed on a UDP association.
        attempts: TCP connections to proxies that came to no conversation.
        records: made of all this.
        bounds: what was given up.
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
        self.reader = PacketReader()
        self.faults = faults = Faults() if faults is None else faults
        self._patience = patience
        self._witness = witness
        book, each = self.reader.addresses, witness is not None
        forms = Forms(show_passwords, faults) if forms is None else forms
        forms.faults = faults
        self.connections = Connections(self.reader, ports, forms, faults, consumers, each=each, extents=extents)
        self.verdicts = Verdicts(self.connections, ports, last_id)
        self.agreements = Agreements(
            self.connections, forms, Associations(book, faults, udp_frames, extents), book, faults
        )
        self.attempts = Attempts(self.connections, book)
        self.records = Records(self.connections, self.verdicts.numbering, book, show_passwords, faults)
        self.bounds = Bounds(self.connections, self.verdicts, self.records, self.agreements.associations, book)

    # -- one batch -----------------------------------------------------------------------------------------------

    def take(self, batch: FrameBatch) -> list[Batch]:
        """Analyse a batch; return the records that it completed."""
        self.packets += len(batch)
        self.records.interfaces = batch.interfaces
        if not len(batch):
            return []
        handshakes = self.connections.handshakes
        handshakes.now = max(handshakes.now, int(batch.time.max()))
        segments, datagrams = self.reader.read(batch)
        if len(segments):
            self.agreements.close(self.connections.take(segments))
            with self.faults.contained():
                self.records.names.learn_from_streams(segments)
        self.take_datagrams(datagrams, self.reader.errors)
        self.finish_due(self.connections.flows.clock)
        self.bounds.make_room(self.finish_flows)
        return self.release_records()

    def take_datagrams(self, datagrams: Datagrams, errors: Sequence[Reported]) -> None:
        """Give datagrams, and what ICMP says of some, to the associations that are open by now, and learn names."""
        associations = self.agreements.associations
        associations.take(datagrams, self._agreed_on())
        with self.faults.contained():
            associations.note_errors(errors)
        for consumer in self.connections.consumers:
            consumer.datagrams(datagrams)
        with self.faults.contained():
            self.records.names.learn(datagrams, associations.carries)

    def finish(self) -> list[Batch]:
        """The capture has ended: records of all that is still open."""
        self.connections.endings.clear()
        self.finish_flows(np.flatnonzero(self.connections.watch.kind[: self.connections.flows.used] != IGNORED))
        return self.verdicts.numbering.release(None)

    def tick(self, now: int) -> list[Batch]:
        """No frame was captured before `now` (ns since 1970) that has not been taken: records completed by time."""
        handshakes = self.connections.handshakes
        handshakes.now = max(handshakes.now, now)
        self.finish_due(max(self.connections.flows.clock, now))
        self.bounds.make_room(self.finish_flows)
        return self.release_records()

    def standing(self) -> tuple[list[Batch], list[Conversation]]:
        """What was completed by now, and the records of all open conversations that have an id, as they stand."""
        flows, handshakes, numbering = self.connections.flows, self.connections.handshakes, self.verdicts.numbering
        self.verdicts.look(handshakes.unjudged(_NEVER, handshakes.now))
        ended = numbering.release(self._floor())
        slots = self.standing_slots()
        finished = self.told(slots[np.argsort(flows.stream[slots])])
        batch = finished.batch
        batch.id = np.array([numbering.number(place) for place in finished.places], np.int64)
        return ended, [record for record in batch if record.id]

    def standing_slots(self) -> NDArray[np.intp]:
        """Flows that were found to be SOCKS and have no record yet."""
        return np.flatnonzero(self.connections.watch.kind[: self.connections.flows.used] == SOCKS)

    def told(self, slots: NDArray[np.intp]) -> Finished:
        """The records of these flows as they stand."""
        return self.records.make(slots, self.verdicts.look(slots), self.agreements)

    # -- what flows turn out to be -------------------------------------------------------------------------------

    def _agreed_on(self) -> list[Association]:
        """Associations must be known while their datagrams pass."""
        handshakes = self.connections.handshakes
        decided = self.verdicts.look(handshakes.associating())
        handshakes.asked(decided)
        return self.agreements.made(decided)

    def finish_due(self, now: int) -> None:
        """Make the records of flows that are over by this time."""
        endings = self.connections.endings
        while (due := endings.due(now, AT_ONCE if self._patience is None else None)) is not None:
            slots, until = due
            over = endings.put_off(slots, [*self.agreements.by_slot], until)
            if not len(slots) and not len(over):
                return
            self.finish_flows(over)

    def finish_flows(self, slots: NDArray[np.intp]) -> None:
        """Decide flows that are over, and make their records, in the order of the flows' beginning."""
        if not len(slots):
            return
        watch, extents = self.connections.watch, self.connections.extents
        watch.kind[slots[watch.hopeless(slots) & (watch.kind[slots] == UNDECIDED)]] = IGNORED
        slots = slots[watch.kind[slots] != IGNORED]
        slots = slots[np.argsort(self.connections.flows.stream[slots])]
        elsewhere, slots = slots[watch.kind[slots] == ELSEWHERE], slots[watch.kind[slots] != ELSEWHERE]
        decided = self.connections.handshakes.decide(slots)
        with self.faults.contained():
            self.attempts.take(slots)
        said = [*decided.dialogues.items()]
        self.verdicts.settle(decided)
        self.agreements.open(decided)
        self.agreements.close(slots)
        if self._witness is not None:
            for slot, dialogue in said:
                self._witness(slot, dialogue)
        with self.faults.contained():
            self.attempts.spoke(decided)
        self._hand_on(self.records.make(slots, decided, self.agreements, over=True), elsewhere)
        if extents is not None:
            with self.faults.contained():
                extents.note(decided, self.agreements.by_slot)
        watch.kind[slots] = watch.kind[elsewhere] = IGNORED
        self.agreements.forget(slots)

    def _hand_on(self, finished: Finished, elsewhere: NDArray[np.intp]) -> None:
        """Records are made; they wait for their numbers. Those of flows `elsewhere` belong to them."""
        self.verdicts.numbering.finish(finished)

    # -- which numbers are certain -------------------------------------------------------------------------------

    def release_records(self, before: int | None = None) -> list[Batch]:
        """The finished records whose number is certain; nothing is known yet of frames from `before` on."""
        numbering, handshakes = self.verdicts.numbering, self.connections.handshakes
        if not numbering.held or (self._patience is None and numbering.held < AT_ONCE):
            return numbering.release(0)
        unknown = _NEVER if before is None else place_of(before)
        until = handshakes.now - (PROMPT if self._patience is not None else SLOW)
        self.verdicts.look(handshakes.unjudged(numbering.last_frame, until))
        return numbering.release(min(self._floor(), unknown))

    def _floor(self) -> int:
        """Place of the oldest flow that may yet turn out to be SOCKS."""
        flows, handshakes = self.connections.flows, self.connections.handshakes
        slots = handshakes.holding()
        patience = self._patience
        if patience is None:
            patience = 30_000_000_000
            if self.verdicts.numbering.held < MAX_HELD:
                return place_of(int(flows.first_frame[slots].min())) if len(slots) else _NEVER
        slots = slots[flows.first_time[slots] > handshakes.now - patience]
        return place_of(int(flows.first_frame[slots].min())) if len(slots) else _NEVER
