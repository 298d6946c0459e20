"""What conversations asked proxies to connect to, and when: from rows of forms and from dialogues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import Address, AddressType, Command
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.record.form import Form
from socks5sniff.record.text import Text, plain
from socks5sniff.streams.flows import FlowTable
from socks5sniff.streams.heads import mark

from .dialogue import Dialogue
from .forms import Recognised
from .watch import Watch

_CONNECT, _ASKED, _REPLIED, _PLACE, _BOUND, _GRANTED = range(6)
_KINDS = (None, "ipv4", "ipv6")
_IPV4, _IPV6 = 1, 2


class Asked(NamedTuple):
    """CONNECT requests, as columns.

    Attributes:
        row: whose they are.
        slot: the conversation's flow.
        since, until: ns, of the request, and of the reply or the conversation's end.
        answered: frame of the reply, or the conversation's last.
        client, proxy: endpoints.
        place: the endpoint that was asked for; 0 for a name.
        port: that was asked for.
        bound: the endpoint that BND names; 0 for none.
        granted: a tunnel was opened.
        mark: of the tunnel's first octets from the client (see `HeadRows.marks`); 0 for none.
    """

    row: NDArray[np.intp]
    slot: NDArray[np.intp]
    since: NDArray[np.int64]
    until: NDArray[np.int64]
    answered: NDArray[np.int64]
    client: NDArray[np.uint64]
    proxy: NDArray[np.uint64]
    place: NDArray[np.uint64]
    port: NDArray[np.int64]
    bound: NDArray[np.uint64]
    granted: NDArray[np.bool_]
    mark: NDArray[np.uint64]

    @staticmethod
    def join(parts: Sequence[Asked]) -> Asked:
        """All of several."""
        return Asked._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


def by_forms(
    found: Recognised, forms: Sequence[Form], flows: FlowTable, watch: Watch, book: AddressBook
) -> Asked:
    """The requests of rows of forms; `row` is a row of `found`."""
    used, which = np.unique(found.form, return_inverse=True)
    facts = np.array([_facts(forms[number]) for number in used.tolist()], np.intp)[which]
    row = np.flatnonzero(facts[:, _CONNECT] * (facts[:, _ASKED] >= 0))
    facts, slot = facts[row], found.slot[row]
    clients, proxies = flows.ends(slot, watch.turns(slot))
    replied = facts[:, _REPLIED]
    ports = found.destination_port[row]
    return Asked(
        row=row,
        slot=slot,
        since=found.times[row, facts[:, _ASKED]],
        until=np.where(replied >= 0, found.times[row, replied], flows.last_time[slot]),
        answered=np.where(replied >= 0, found.numbers[row, replied], flows.last_frame[slot]),
        client=clients,
        proxy=proxies,
        place=_ends(facts[:, _PLACE], found.destination4[row], found.destination, ports, row, book),
        port=ports,
        bound=_ends(facts[:, _BOUND], found.bound4[row], found.bound, found.bound_port[row], row, book),
        granted=facts[:, _GRANTED] != 0,
        mark=found.mark[row],
    )


def by_dialogues(
    dialogues: Iterable[tuple[int, Dialogue]], flows: FlowTable, watch: Watch, book: AddressBook
) -> Asked:
    """The requests of dialogues; `row` is the flow."""
    rows = []
    for slot, dialogue in dialogues:
        session, relay = dialogue.session, dialogue.relay
        request, reply, place = session.request, session.reply_frame, session.destination
        if request is None or place is None or session.client_side is None or session.command != Command.CONNECT:
            continue
        ends = int(flows.low[slot]), int(flows.high[slot])
        client = session.client_side ^ int(watch.turns(np.array([slot], np.intp))[0])
        last = int(flows.last_time[slot]), int(flows.last_frame[slot])
        rows.append(
            (
                *(slot, slot, request.time),
                *(last if reply is None else (reply.time, reply.frame)),
                *(ends[client], ends[1 - client]),
                *(_end(place, book), place.port, _end(session.bound, book)),
                relay is not None,
                mark(relay.opening) if relay is not None and relay.opening else 0,
            )
        )
    columns = zip(*rows, strict=True) if rows else [()] * len(Asked._fields)
    return Asked._make(np.array(column, kind) for column, kind in zip(columns, _TYPES, strict=True))


_TYPES = (
    *(np.intp, np.intp, np.int64, np.int64, np.int64),
    *(np.uint64, np.uint64, np.uint64, np.int64, np.uint64, np.bool_, np.uint64),
)
"""Of the columns of `Asked`."""


def _facts(form: Form) -> tuple[int, int, int, int, int, int]:
    asked = next((frame.place for frame in form.frames if frame.type == "request"), -1)
    replied = -1 if form.replied is None else form.replied
    place, bound = (_KINDS.index(kind) if kind in _KINDS else 0 for kind in (form.destination, form.bound))
    return int(form.command == "connect"), asked, replied, place, bound, int(form.relays)


def _ends(
    kind: NDArray[np.intp],
    numbers: NDArray[np.int64],
    hosts: Text,
    ports: NDArray[np.int64],
    row: NDArray[np.intp],
    book: AddressBook,
) -> NDArray[np.uint64]:
    """Endpoints; 0 for names, and where address or port is 0."""
    there = (kind == _IPV4) & (numbers != 0) & (ports != 0)
    found = np.where(there, numbers << 16 | ports, 0).astype(np.uint64)
    for place in np.flatnonzero((kind == _IPV6) & (ports != 0)).tolist():
        found[place] = _end(Address.ipv6(plain(hosts[row[place]]), int(ports[place])), book)
    return found


def _end(address: Address | None, book: AddressBook) -> int:
    if address is None or address.type == AddressType.DOMAIN or not address.port or address.is_unspecified:
        return 0
    return book.make(address.host, address.port)
