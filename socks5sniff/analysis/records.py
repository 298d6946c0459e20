"""Records out of what dialogues said and what the flow table counted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.batch import Interface
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import TcpFlag
from socks5sniff.streams.flows import NO_TIME, UNKNOWN, FlowTable
from socks5sniff.streams.octets import Octets

from .association import Association
from .build import FlowFacts, build, build_nested, carried
from .dialogue import Dialogue
from .handshakes import Handshakes
from .names import Names
from .numbering import Finished, Numbering, place_of
from .watch import Watch

_TCP = 6
_CLOSING = TcpFlag.FIN | TcpFlag.RST
_CLOSE = {0: "open", TcpFlag.FIN: "fin", TcpFlag.RST: "reset", _CLOSING: "reset"}
_SIDES = (0, 1, None)


class Records:
    """Makes records.

    Attributes:
        interfaces: where frames come from, as the batches say.
    """

    def __init__(
        self,
        flows: FlowTable,
        octets: Octets,
        watch: Watch,
        handshakes: Handshakes,
        book: AddressBook,
        names: Names,
        numbering: Numbering,
        show_passwords: bool,
    ) -> None:
        self.interfaces: list[Interface] = []
        self._flows = flows
        self._octets = octets
        self._watch = watch
        self._handshakes = handshakes
        self._book = book
        self._names = names
        self._numbering = numbering
        self._show_passwords = show_passwords

    def make(
        self, dialogues: list[tuple[int, Dialogue]], associations: dict[int, Association], now: int
    ) -> Iterator[Finished]:
        """The records of flows (slot and dialogue) as they stand, with those of conversations in their tunnels."""
        number, show = self._numbering.number, self._show_passwords
        slots = np.array([slot for slot, _ in dialogues], np.intp)
        found = [*zip(dialogues, self._facts(slots), strict=True)]
        for (_, dialogue), facts in found:
            session = dialogue.session
            if session.request is not None:
                proxy = facts.opener if session.client_side == 1 else facts.responder
                self._names.request(proxy, session.destination, session.request.frame)
        for (slot, dialogue), facts in found:
            place = place_of(facts.first_frame)
            record = build(
                dialogue, associations.get(slot), facts, self._book, number=number(place), show_passwords=show, now=now
            )
            self._names.judge(record, dialogue.session.request)
            yield Finished(place, record)
            conversations = dialogue.nested()
            if conversations:
                for depth, (nested, passed) in enumerate(
                    zip(conversations, carried(dialogue, facts), strict=True), 1
                ):
                    place, outer = place_of(nested.frame, depth), record
                    record = build_nested(
                        nested, passed, facts, number=number(place), parent=outer.id, show_passwords=show
                    )
                    self._names.judge(record, nested.session.request)
                    yield Finished(place, record, outer)

    def _facts(self, slots: NDArray[np.intp]) -> Iterator[FlowFacts]:
        flows, octets, book = self._flows, self._octets, self._book
        names = [interface.capture for interface in self.interfaces]
        turn = self._watch.turns(slots)
        turned = turn != 0
        low, high = flows.low[slots], flows.high[slots]
        shifts = np.array([[self._handshakes.shift(slot, way) for slot in slots.tolist()] for way in (0, 1)], np.int64)
        passed = np.maximum(octets.reach[:, slots] + shifts.reshape(2, len(slots)), 0)
        openers, responders = np.where(turned, high, low), np.where(turned, low, high)
        closer = self._closers(slots)
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
            [None if NO_TIME in (syn, answer) or answer < syn else (answer - syn) / 1e9 for syn, answer in handshakes],
            map(_CLOSE.__getitem__, flags.tolist()),
            map(_SIDES.__getitem__, closer.tolist()),
            map(book.community_id, first, second, repeat(_TCP)),
            np.where(turned, passed[1], passed[0]).tolist(),
            np.where(turned, passed[0], passed[1]).tolist(),
            [None] * len(slots),
            strict=False,
        )
        return map(FlowFacts._make, rows)

    def _closers(self, slots: NDArray[np.intp]) -> NDArray[np.uint8]:
        """The direction that closed first: a FIN that acknowledges the other one is the later one."""
        flows = self._flows
        fin0, fin1 = flows.fin0[slots], flows.fin1[slots]
        both = (fin0 >= 0) & (fin1 >= 0)
        later0 = both & ((flows.fin_heard0[slots] - fin1).astype(np.uint32).view(np.int32) >= 0)
        later1 = both & ((flows.fin_heard1[slots] - fin0).astype(np.uint32).view(np.int32) >= 0)
        closer: NDArray[np.uint8] = flows.closer[slots]
        return np.where(later1 & ~later0, 0, np.where(later0 & ~later1, 1, closer)).astype(np.uint8)

