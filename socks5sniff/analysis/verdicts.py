"""What connections turn out to be, and which conversations there are therefore to number."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from socks5sniff.session import Verdict

from .connections import Connections
from .dialogue import Dialogue
from .handshakes import Decided
from .numbering import Numbering, place_of
from .watch import IGNORED, SOCKS, UNDECIDED


class Verdicts:
    """Remembers of each flow what it is, as soon as that is certain.

    Attributes:
        numbering: of the conversations.
    """

    def __init__(self, connections: Connections, ports: Collection[int], last_id: int) -> None:
        """`ports` are those that the user named; ids go on behind `last_id`."""
        self.numbering = Numbering(last_id)
        self._connections = connections
        self._ports = frozenset(ports)

    def look(self, slots: NDArray[np.intp]) -> Decided:
        """What these flows are, as far as they have come, without those that are worth no record."""
        decided = self._connections.handshakes.look(slots)
        self.settle(decided)
        return decided

    def settle(self, decided: Decided) -> None:
        """Remember what flows are, and leave out the dialogues that are worth no record."""
        self.keep(decided.slots)
        for slot, dialogue in [*decided.dialogues.items()]:
            if not self._settle(slot, dialogue):
                del decided.dialogues[slot]

    def keep(self, slots: NDArray[np.intp]) -> None:
        """These flows are SOCKS."""
        if not len(slots):
            return
        kind = self._connections.watch.kind
        fresh = slots[kind[slots] == UNDECIDED]
        kind[fresh] = SOCKS
        self.numbering.add(map(place_of, self._connections.flows.first_frame[fresh].tolist()))

    def _settle(self, slot: int, dialogue: Dialogue) -> bool:
        """Keep what a dialogue has turned out to be; True where it is worth a record."""
        kind = self._connections.watch.kind
        verdict = dialogue.verdict
        if kind[slot] == IGNORED:
            return False
        foreign = verdict is Verdict.FOREIGN and not self._reportable(slot, dialogue)
        if foreign or verdict is Verdict.UNDECIDED:
            if kind[slot] == SOCKS:  # and then a packet came that belongs before the others
                self.numbering.withdraw(place_of(int(self._connections.flows.first_frame[slot])))
            kind[slot] = IGNORED if foreign else UNDECIDED
            return False
        self.keep(np.array([slot], np.intp))
        for depth, nested in enumerate(dialogue.nested(), 1):
            self.numbering.add((place_of(nested.frame, depth),))
        return True

    def _reportable(self, slot: int, dialogue: Dialogue) -> bool:
        """Another protocol on a proxy port is worth a record: any on a port the user named, a known one elsewhere."""
        foreign = dialogue.session.foreign
        if foreign is None or foreign != "unknown":
            return foreign is not None
        flows = self._connections.flows
        turn = int(self._connections.watch.turns(np.array([slot]))[0])
        responder = int((flows.low if turn else flows.high)[slot])
        return responder & 0xFFFF in self._ports
