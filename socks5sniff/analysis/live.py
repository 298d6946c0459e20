"""The analyser of a running interface: it also works while the line is idle, and has early news of conversations."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.batch import FrameBatch
from socks5sniff.packets.columns import Datagrams
from socks5sniff.packets.reader import PacketReader
from socks5sniff.record import Conversation, Endpoint
from socks5sniff.record.batch import Batch
from socks5sniff.streams.flows import NO_TIME, FlowBatch
from socks5sniff.streams.slots import SlotTable

from .analyser import Analyser
from .attempts import Attempts
from .bypass import LiveBypasses
from .dialogue import Dialogue
from .faults import Faults
from .handshakes import Decided
from .watch import UNDECIDED

PATIENCE = 1_000_000_000
"""Nanoseconds an undecided connection may hold back later ids, where results are wanted as they come."""

STALLED = 100_000_000
"""Nanoseconds after which an unfinished handshake is told as it stands."""

ASSOCIATED = -2
"""What `LiveAnalyser.streams` gives for datagrams of UDP associations."""

_NOTHING, _FOUND, _DECIDED = range(3)


class Newcomer(NamedTuple):
    """Who was found.

    Attributes:
        socks: SOCKS is spoken, and not something else at a proxy's port.
    """

    client: Endpoint
    proxy: Endpoint
    socks: bool


class _Told(SlotTable):
    """Columns by slot: `reached` (how far the flow was when news of it was given last; each conversation that has its
    outcome counts _DECIDED, they follow one another); `over` (nothing is news of it any more)."""

    COLUMNS: ClassVar = {"reached": (np.uint8, _NOTHING), "over": (np.bool_, False)}

    reached: NDArray[np.uint8]
    over: NDArray[np.bool_]


class _LastBatch:
    """Remembers whose the last packets were."""

    def __init__(self) -> None:
        self.found: FlowBatch | None = None
        self.sent: Datagrams | None = None

    def segments(self, batch: FlowBatch) -> None:
        self.found = batch

    def datagrams(self, datagrams: Datagrams) -> None:
        self.sent = datagrams

    def forget(self) -> None:
        """The next batch begins."""
        self.found = self.sent = None


class LiveAnalyser:
    """See `Analyser`; besides batches it takes the time."""

    def __init__(
        self,
        *,
        ports: Collection[int] = (),
        show_passwords: bool = False,
        udp_frames: bool = False,
        bypasses: LiveBypasses | None = None,
    ) -> None:
        self._last = _LastBatch()
        self._analyser = Analyser(
            ports=ports,
            show_passwords=show_passwords,
            udp_frames=udp_frames,
            patience=PATIENCE,
            consumers=(self._last,) if bypasses is None else (self._last, bypasses.exchanges),
        )
        if bypasses is not None:
            bypasses.follow(self._analyser)
        self._analyser.attempts.keep_latest()
        self._told = _Told()

    @property
    def packets(self) -> int:
        """Frames taken."""
        return self._analyser.packets

    @property
    def evicted(self) -> int:
        """Flows forgotten while they were open."""
        return self._analyser.bounds.evicted

    @property
    def faults(self) -> Faults:
        """Errors of this program that were contained in single connections."""
        return self._analyser.faults

    @property
    def attempts(self) -> Attempts:
        """TCP connections to proxies that came to no conversation; of very many the latest are listed."""
        return self._analyser.attempts

    @property
    def reader(self) -> PacketReader:
        """The packet reader, which counts what it does not understand."""
        return self._analyser.reader

    def take(self, batch: FrameBatch) -> list[Batch]:
        """Analyse a batch; return the records that it completed."""
        self._last.forget()
        ended = self._analyser.take(batch)
        found = self._last.found
        if found is not None:
            self._told.grow(self._analyser.connections.flows.capacity)
            self._told.reset(found.slots[found.new])
        return ended

    def tick(self, now: int) -> list[Batch]:
        """No frame was captured before `now` (ns since 1970) that has not been taken: records completed by time."""
        return self._analyser.tick(now)

    def finish(self) -> list[Batch]:
        """The capture has ended: records of all that is still open."""
        return self._analyser.finish()

    def news(self) -> list[Conversation]:
        """Conversations that were found, or got their outcome, since the last call, as far as they are known.

        Those that were found have the outcome `incomplete` as yet. A conversation whose record has been given is
        not news any more.
        """
        analyser, told = self._analyser, self._told
        slots = analyser.connections.handshakes.untold()
        slots = slots[~told.over[slots]]
        if not len(slots):
            return []
        reached = told.reached.copy()
        decided = analyser.verdicts.look(slots)
        self._note_how_far(decided)
        grown = slots[told.reached[slots] > reached[slots]]
        dialogues = {slot: said for slot, said in decided.dialogues.items() if told.reached[slot] > reached[slot]}
        decided = decided._replace(dialogues=dialogues)
        found: list[Conversation] = []
        stream, depth = -1, 0
        for record in analyser.records.make(grown, decided, analyser.agreements).batch:
            depth = 0 if record.tcp_stream != stream else depth + 1
            stream = record.tcp_stream
            if reached[analyser.connections.flows.slot_of(stream)] < (depth + 1) * _DECIDED:
                found.append(record)
        return found

    @property
    def open(self) -> int:
        """Connections that were found to be SOCKS and have no record yet."""
        return len(self._analyser.standing_slots())

    def newest(self, count: int) -> list[Conversation]:
        """The records of so many of those, the last to be opened first, as they stand now."""
        slots = self._analyser.standing_slots()
        streams = self._analyser.connections.flows.stream[slots]
        found = self._analyser.told(slots[np.argsort(streams)[-count:]]).batch
        return sorted(found, key=lambda record: (-record.tcp_stream, record.first_frame))

    def current(self, streams: Collection[int]) -> list[Conversation]:
        """The records of open conversations on these connections (`tcp_stream`), as they stand now."""
        slots = self._analyser.standing_slots()
        wanted = np.isin(self._analyser.connections.flows.stream[slots], list(streams))
        return [*self._analyser.told(slots[wanted]).batch]


    def interim(self) -> tuple[list[Batch], list[Conversation]]:
        """The records of open conversations as they stand, marked `interim`; before them those completed meanwhile."""
        ended, standing = self._analyser.standing()
        for record in standing:
            record.interim = True
        return ended, standing

    def newcomers(self) -> list[Newcomer]:
        """Conversations that were found since the last call and are still open, without a record.

        `news` tells of these only once they have their outcome; of what it has told this tells no more. Nor does this
        tell of connections that have closed meanwhile: nobody has them open, and looking at each costs what their
        record will cost again.
        """
        analyser, told = self._analyser, self._told
        connections = analyser.connections
        slots = connections.handshakes.untold()
        unknown = (told.reached[slots] == _NOTHING) & (connections.flows.close_clock[slots] == NO_TIME)
        connections.handshakes.put_off(slots[~unknown].tolist())
        decided = analyser.verdicts.look(slots[unknown])
        found = np.concatenate((decided.slots, np.fromiter(decided.dialogues, np.intp, len(decided.dialogues))))
        found = found[np.argsort(connections.flows.stream[found])]
        told.reached[found] = _FOUND
        said = decided.dialogues
        sides = [said[slot].session.client_side or 0 if slot in said else 0 for slot in found.tolist()]
        socks = [slot not in said or said[slot].session.foreign is None for slot in found.tolist()]
        turns = connections.watch.turns(found) ^ np.array(sides, np.uint8)
        clients, proxies = connections.flows.ends(found, turns)
        ends = map(self._endpoint, clients.tolist()), map(self._endpoint, proxies.tolist())
        return [Newcomer(*each) for each in zip(*ends, socks, strict=True)]

    def _endpoint(self, end: int) -> Endpoint:
        return Endpoint(self.reader.addresses.endpoint_address(end), end & 0xFFFF)

    def _note_how_far(self, decided: Decided) -> None:
        """Remember how far flows have come that were looked at."""
        told, over = self._told, self._told.over
        told.reached[decided.slots] = _DECIDED
        if decided.recognised is not None:
            over[decided.slots[decided.recognised.first_byte != NO_TIME]] = True
        pending = []
        for slot, dialogue in decided.dialogues.items():
            now = _reached(dialogue)
            if now == _FOUND and not self._stalled(slot):
                pending.append(slot)  # the proxy's answer is on its way
                continue
            told.reached[slot] = max(int(told.reached[slot]), now)
            over[slot] = now >= _DECIDED and not _goes_on(dialogue)
        self._analyser.connections.handshakes.put_off(pending)

    def _stalled(self, slot: int) -> bool:
        """Whether a flow does not go on."""
        flows, now = self._analyser.connections.flows, self._analyser.connections.handshakes.now
        return bool(flows.last_time[slot] + STALLED < now or flows.close_time[slot] != NO_TIME)

    def streams(self, batch: FrameBatch) -> NDArray[np.int64]:
        """For each frame of the batch taken last: its connection's `tcp_stream`, ASSOCIATED, or -1 for neither."""
        streams = np.full(len(batch), -1, np.int64)
        found, sent = self._last.found, self._last.sent
        if len(batch) and found is not None:
            rows = found.segments.frame[found.order] - batch.first_number
            streams[rows] = np.repeat(self._analyser.connections.flows.stream[found.slots], found.counts)
        if sent is not None and len(sent):
            streams[sent.frame[self._analyser.agreements.associations.related(sent)] - batch.first_number] = ASSOCIATED
        return streams

    def undecided(self) -> set[int]:
        """`tcp_stream` of the connections that may yet turn out to be SOCKS."""
        flows = self._analyser.connections.flows
        used = flows.used
        streams = flows.stream[:used][self._analyser.connections.watch.kind[:used] == UNDECIDED]
        return set(streams[streams >= 0].tolist())


def _reached(dialogue: Dialogue) -> int:
    """How far a dialogue is, _DECIDED for each conversation in it that has its outcome: they follow one another."""
    reached = 0
    if dialogue.fault is not None:
        return _DECIDED
    for session in (dialogue.session, *(nested.session for nested in dialogue.nested())):
        reached += _FOUND if session.outcome(ended=False) is None and session.foreign is None else _DECIDED
    return reached


def _goes_on(dialogue: Dialogue) -> bool:
    """Whether another conversation may come inside."""
    relay = dialogue.relay if dialogue.fault is None else None
    while relay is not None:
        nested = relay.nested
        if nested is None:
            return relay.silent
        if nested.relay is None:
            return not nested.session.done
        relay = nested.relay
    return False
