"""Which connections have agreed on a UDP association, told from their dialogues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import Address, AddressType
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.record.form import Form
from socks5sniff.record.text import Text, plain
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
        with self._contained.contained():
            self.associations.open(self.made(decided))

    def made(self, decided: Decided) -> list[Association]:
        """The associations of flows that were looked at, those that are not known yet: they are to be opened."""
        known = self.slots
        fresh = [*self._openings(decided, known)]
        opened: list[Association] = []
        if not fresh:
            return opened
        slots = np.array([slot for slot, _, _ in fresh], np.intp)
        turned = (self._watch.turns(slots) ^ np.array([side for _, side, _ in fresh], np.uint8)).tolist()
        low, high = self._flows.low[slots].tolist(), self._flows.high[slots].tolist()
        open_ = (self._flows.close_time[slots] == NO_TIME).tolist()
        for place, (slot, _, opening) in enumerate(fresh):
            try:
                closed = None if open_[place] else self._endings.ended(slot)
                ends = (high[place], low[place]) if turned[place] else (low[place], high[place])
                self.by_slot[slot] = Association.of(opening, *ends, closed, self._book)
                opened.append(self.by_slot[slot])
            except Exception as error:
                self.faults[slot] = self._contained.note(error, int(self._flows.stream[slot]))
        return opened

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

    def _openings(self, decided: Decided, known: set[int]) -> Iterator[tuple[int, int, Opening]]:
        """By flow, of those that are not `known`: the client's TCP side, and what opens its association."""
        recognised = decided.recognised
        if recognised is not None:
            rows = _associating(recognised, self._forms.forms)
            rows = rows[~np.isin(recognised.slot[rows], [*known])] if known else rows
            for slot, opening in _of_forms(recognised, rows, self._forms.forms):
                yield slot, 0, opening
        for slot, dialogue in decided.dialogues.items():
            side = dialogue.session.client_side
            found = Opening.of(dialogue.session) if dialogue.associates and slot not in known else None
            if side is not None and found is not None:
                yield slot, side, found


def _of_forms(
    found: Recognised, rows: NDArray[np.intp], forms: Sequence[Form]
) -> Iterator[tuple[int, Opening]]:
    """What rows of forms open, by flow."""
    for number in np.unique(found.form[rows]).tolist():
        form, mine = forms[number], rows[found.form[rows] == number]
        asked, replied = next(frame.place for frame in form.frames if frame.type == "request"), form.replied or 0
        declared = _addresses(form.destination, mine, found.destination, found.destination4, found.destination_port)
        bound = _addresses(form.bound, mine, found.bound, found.bound4, found.bound_port)
        columns = (
            found.times[mine, asked], found.times[mine, replied], found.numbers[mine, replied],
            found.numbers[mine, : replied + 1].max(1),
        )  # fmt: skip
        rest = (column.tolist() for column in columns)
        yield from zip(found.slot[mine].tolist(), map(Opening, declared, bound, *rest), strict=True)


def _associating(found: Recognised, forms: Sequence[Form]) -> NDArray[np.intp]:
    """The rows whose form is that of an open association."""
    used = np.unique(found.form)
    open_ = [form for form in used.tolist() if forms[form].associates]
    return np.flatnonzero(np.isin(found.form, open_))


def _addresses(
    kind: str | None, rows: NDArray[np.intp], hosts: Text, numbers: NDArray[np.int64], ports: NDArray[np.int64]
) -> list[Address | None]:
    """The addresses in some rows of columns, of one kind."""
    if kind is None:
        return [None] * len(rows)
    both = zip(rows.tolist(), numbers[rows].tolist(), ports[rows].tolist(), strict=True)
    if kind == "ipv4":
        return [Address(AddressType.IPV4, number.to_bytes(4, "big"), port) for _, number, port in both]
    make = Address.ipv6 if kind == "ipv6" else Address.domain
    return [make(plain(hosts[row]), port) for row, _, port in both]
