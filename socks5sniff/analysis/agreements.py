"""Which connections have agreed on a UDP association, told from their dialogues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import Address
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.record.form import Form
from socks5sniff.record.text import plain
from socks5sniff.streams.flows import NO_TIME

from .association import Association, Opening
from .connections import Connections
from .faults import Faults
from .forms import Forms, Recognised
from .handshakes import Decided
from .udp import Associations


class Agreements:
    """The open associations by connection.

    Attributes:
        associations: all of the capture, with their datagrams.
        by_slot: those of flows that are not over.
        faults: what an error of this program has left undone, by flow; see `Faults`.
    """

    def __init__(
        self,
        connections: Connections,
        forms: Forms,
        associations: Associations,
        book: AddressBook,
        faults: Faults,
    ) -> None:
        self.associations = associations
        self.by_slot: dict[int, Association] = {}
        self.faults: dict[int, str] = {}
        self._flows = connections.flows
        self._watch = connections.watch
        self._endings = connections.endings
        self._forms = forms
        self._book = book
        self._contained = faults

    @property
    def slots(self) -> set[int]:
        """The flows."""
        return {*self.by_slot, *self.faults}

    def fault(self, slot: int) -> str | None:
        """What an error of this program has left undone of a flow's association."""
        association = self.by_slot.get(slot)
        return self.faults.get(slot) if association is None else association.fault

    def open(self, decided: Decided) -> None:
        """Open the associations of flows that were looked at, those that are not open yet."""
        known = self.slots
        fresh = [found for found in self._openings(decided) if found[0] not in known]
        fresh.sort(key=lambda found: int(self._flows.stream[found[0]]))
        opened = []
        for slot, side, opening in fresh:
            try:
                self.by_slot[slot] = self._association(slot, side, opening)
                opened.append(self.by_slot[slot])
            except Exception as error:
                self.faults[slot] = self._contained.note(error, int(self._flows.stream[slot]))
        with self._contained.contained():
            self.associations.open(opened)

    def asking(self, decided: Decided) -> list[int]:
        """Those of flows that were looked at that open associations."""
        found = [slot for slot, dialogue in decided.dialogues.items() if dialogue.associates]
        if decided.recognised is not None:
            found += decided.recognised.slot[_associating(decided.recognised, self._forms.forms)].tolist()
        return found

    def close(self, slots: NDArray[np.intp]) -> None:
        """These flows have ended."""
        for slot in self.by_slot.keys() & slots.tolist():
            self.by_slot[slot].closed = self._endings.ended(slot)

    def forget(self, slots: NDArray[np.intp]) -> None:
        """The records of these flows have been made."""
        for slot in self.by_slot.keys() & slots.tolist():
            self.associations.forget(self.by_slot.pop(slot))
        for slot in self.faults.keys() & slots.tolist():
            del self.faults[slot]

    def _openings(self, decided: Decided) -> Iterator[tuple[int, int, Opening]]:
        """By flow: the client's TCP side, and what opens its association."""
        if decided.recognised is not None:
            for slot, opening in _of_forms(decided.recognised, self._forms.forms):
                yield slot, 0, opening
        for slot, dialogue in decided.dialogues.items():
            side = dialogue.session.client_side
            found = Opening.of(dialogue.session) if dialogue.associates else None
            if side is not None and found is not None:
                yield slot, side, found

    def _association(self, slot: int, side: int, opening: Opening) -> Association:
        flows = self._flows
        ends = int(flows.low[slot]), int(flows.high[slot])
        client = side ^ int(self._watch.turns(np.array([slot]))[0])
        closed = None if int(flows.close_time[slot]) == NO_TIME else self._endings.ended(slot)
        return Association.of(opening, ends[client], ends[1 - client], closed, self._book)


def _of_forms(found: Recognised, forms: Sequence[Form]) -> Iterator[tuple[int, Opening]]:
    """What rows of forms open, by flow."""
    for row in _associating(found, forms).tolist():
        form = forms[found.form[row]]
        asked = next(frame.place for frame in form.frames if frame.type == "request")
        replied = form.replied or 0
        yield (
            int(found.slot[row]),
            Opening(
                _address(form.destination, plain(found.destination[row]), int(found.destination_port[row])),
                _address(form.bound, plain(found.bound[row]), int(found.bound_port[row])),
                int(found.times[row, asked]),
                int(found.times[row, replied]),
                int(found.numbers[row, replied]),
                int(found.numbers[row, : replied + 1].max()),
            ),
        )


def _associating(found: Recognised, forms: Sequence[Form]) -> NDArray[np.intp]:
    """The rows whose form is that of an open association."""
    used = np.unique(found.form)
    open_ = [form for form in used.tolist() if forms[form].associates]
    return np.flatnonzero(np.isin(found.form, open_))


def _address(kind: str | None, host: str, port: int) -> Address | None:
    if kind is None:
        return None
    make = {"ipv4": Address.ipv4, "ipv6": Address.ipv6, "domain": Address.domain}[kind]
    return make(host, port)
