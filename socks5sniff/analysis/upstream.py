"""The proxy's other leg: which connection in the capture is the one that a proxy opened for a conversation.

It began between the request and the reply, and one of these shows whose it is:

- It comes from where BND says, which is the wire's address and not one behind address translation.
- It goes where the client asked to go, or to an address that DNS gave the proxy for the name, and comes from the proxy
  or an address that may be the proxy's, too.
- Its first octets are the tunnel's, and it goes to the port that was asked for.

A connection that two conversations may have opened is neither's, unless its first octets tell. Joined on columns: only
pairs that fit are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.addresses import AddressBook
from socks5sniff.record import Conversation
from socks5sniff.streams.flows import NO_TIME, UNKNOWN, FlowTable

from .asked import Asked
from .attempts import outcomes
from .watch import Watch

SLACK = 1_000_000
"""Nanoseconds by which the time stamps of two interfaces may disagree."""
MAX_LEGS = 64
"""Connections to one place that are looked at for a conversation, the last ones."""

_BOUND, _PLACE, _OCTETS = "bound-address", "destination-and-time", "octets"
_ESTABLISHED = 0
_OUTCOMES = ("established", "refused", "unanswered")
_FILTER = 18
"""Bits of a key's hash."""
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MICROSECONDS = 46
"""Bits for the time in a sorting key: two years."""


class _Begun(NamedTuple):
    """Connections that began while requests waited, as columns; `mark` is of the opener's first octets."""

    slot: NDArray[np.intp]
    time: NDArray[np.int64]
    source: NDArray[np.uint64]
    place: NDArray[np.uint64]
    mark: NDArray[np.uint64]


class _Pairs(NamedTuple):
    """Requests and connections that fit them, as columns, in the order in which they were found.

    Attributes:
        row, leg: place of the request, and slot of the connection.
        alike: the first octets are equal.
        established: the connection was.
        time: ns, of its beginning.
    """

    row: NDArray[np.intp]
    leg: NDArray[np.intp]
    alike: NDArray[np.bool_]
    established: NDArray[np.bool_]
    time: NDArray[np.int64]

    def take(self, places: NDArray[np.intp] | NDArray[np.bool_]) -> _Pairs:
        """Some of them."""
        return _Pairs._make(column[places] for column in self)


class Upstream(NamedTuple):
    """The connection that a proxy opened.

    Attributes:
        slot: its flow.
        matched_by: what shows it.
    """

    slot: int
    matched_by: str


class Legs(NamedTuple):
    """What is to be told of connections that proxies opened, as columns.

    Attributes:
        matched_by: what shows each; outcome: index into the words for what became of it.
        source, destination: endpoints.
        handshake: ns from the SYN to its answer, NO_TIME where there was none.
    """

    book: AddressBook
    matched_by: Sequence[str]
    outcome: NDArray[np.int8]
    source: NDArray[np.uint64]
    destination: NDArray[np.uint64]
    handshake: NDArray[np.int64]

    def told(self, row: int) -> tuple[str, str]:
        """How it was found and what became of it."""
        return self.matched_by[row], _OUTCOMES[int(self.outcome[row])]

    def note(self, row: int, record: Conversation) -> None:
        """Put it into the record."""
        matched_by, outcome = self.told(row)
        record.upstream = {
            "source": self._endpoint(int(self.source[row])),
            "destination": self._endpoint(int(self.destination[row])),
            "matched_by": matched_by,
            "outcome": outcome,
        }
        handshake = int(self.handshake[row])
        if handshake != NO_TIME:
            record.timing = record.timing._replace(upstream_handshake=handshake / 1e9)

    def _endpoint(self, end: int) -> dict[str, Any]:
        return {"address": self.book.endpoint_address(end), "port": end & 0xFFFF}


class Upstreams:
    """Finds them in the flow table.

    Attributes:
        considered: flows of conversations that any connection fitted, where somebody asks for them.
    """

    def __init__(self, flows: FlowTable, watch: Watch, book: AddressBook) -> None:
        self._flows = flows
        self._watch = watch
        self._book = book
        self.considered: set[int] | None = None

    def find(self, asked: Asked, resolved: dict[int, list[int]], over: bool) -> dict[int, Upstream]:
        """The connections that were opened for these requests, by place in `asked`.

        Args:
            asked: the requests.
            resolved: by place, the endpoints that DNS gave the proxy for the name.
            over: the conversations are; what is found for them is no other's. Until then more may come of both.
        """
        if not len(asked.slot):
            return {}
        legs = self._begun(int(asked.since.min()) - SLACK, int(asked.until.max()) + SLACK)
        if not len(legs.slot):
            return {}
        found: dict[int, Upstream] = {}
        taken = self._watch.carries.copy()
        waiting = np.ones(len(asked.slot), np.bool_)
        for matched_by, pairs in self._ways(asked, resolved, legs, waiting):
            if self.considered is not None:
                self.considered.update(asked.slot[pairs.row].tolist())
            pairs = pairs.take(~taken[pairs.leg])
            sure = _certain(pairs, asserted=matched_by == _BOUND)
            waiting[sure.row], taken[sure.leg] = False, True
            for row, leg in zip(sure.row.tolist(), sure.leg.tolist(), strict=True):
                found[row] = Upstream(leg, matched_by)
        if over:
            self._watch.carries[[leg for leg, _ in found.values()]] = True
        return found

    def fitting(self, asked: Asked, resolved: dict[int, list[int]]) -> NDArray[np.intp]:
        """Connections, no conversation's yet, that may turn out to be those of these requests; see `find`."""
        if not len(asked.slot):
            return np.empty(0, np.intp)
        legs = self._begun(int(asked.since.min()) - SLACK, int(asked.until.max()) + SLACK)
        if not len(legs.slot):
            return legs.slot
        rows = np.arange(len(asked.slot))
        named, places = _places(asked, rows, resolved)
        ways = (
            _joined(asked, rows, asked.bound, legs, legs.source),
            _joined(asked, named, places, legs, legs.place),
            _joined(asked, rows, asked.mark, legs, legs.mark),
        )
        slots = legs.slot[np.concatenate([leg for _, leg in ways])]
        return np.unique(slots[~self._watch.carries[slots]])

    def legs(self, found: Iterable[Upstream]) -> Legs:
        """What is to be told of connections that were found."""
        flows = self._flows
        slots, matched_by = zip(*found, strict=True)
        slot = np.array(slots, np.intp)
        outcome = outcomes(flows, slot)
        syn, answer = flows.syn_time[slot], flows.syn_ack_time[slot]
        shaken = (outcome == _ESTABLISHED) & (answer != NO_TIME) & (answer >= syn)
        handshake = np.where(shaken, answer - np.where(shaken, syn, 0), NO_TIME)
        return Legs(self._book, matched_by, outcome, *flows.ends(slot, flows.opener[slot]), handshake)

    def _begun(self, since: int, until: int) -> _Begun:
        flows = self._flows
        used = flows.used
        time = flows.syn_time[:used]
        slot = np.flatnonzero((time >= since) & (time <= until))
        slot = slot[(flows.stream[slot] >= 0) & (flows.opener[slot] != UNKNOWN)]
        way = flows.opener[slot]
        return _Begun(slot, time[slot], *flows.ends(slot, way), self._watch.mark[way, slot])

    def _ways(
        self, asked: Asked, resolved: dict[int, list[int]], legs: _Begun, waiting: NDArray[np.bool_]
    ) -> Iterator[tuple[str, _Pairs]]:
        """What shows a connection to be a conversation's, the surest first, and the pairs that it shows.

        Args:
            waiting: bool[n], requests that none was found for by now.
        """
        rows = np.flatnonzero(waiting)
        yield _BOUND, self._pairs(asked, legs, *_joined(asked, rows, asked.bound[rows], legs, legs.source))
        rows = np.flatnonzero(waiting)
        row, leg = _joined(asked, *_places(asked, rows, resolved), legs, legs.place)
        likely = self._likely(asked, row, legs, leg)
        yield _PLACE, self._pairs(asked, legs, row[likely], leg[likely])
        rows = np.flatnonzero(waiting)
        row, leg = _joined(asked, rows, asked.mark[rows], legs, legs.mark)
        fits = (legs.place[leg] & np.uint64(0xFFFF)).astype(np.int64) == asked.port[row]
        fits &= ~_by_client(asked, row, legs, leg)
        yield _OCTETS, self._pairs(asked, legs, row[fits], leg[fits])

    def _likely(
        self, asked: Asked, row: NDArray[np.intp], legs: _Begun, leg: NDArray[np.intp]
    ) -> NDArray[np.bool_]:
        """Whether a connection to the asked address is the proxy's: it comes from the proxy's address, or from another
        one that it may have besides, and what came of it and its first octets go with what came of the request."""
        established = outcomes(self._flows, legs.slot[leg]) == _ESTABLISHED
        mark, own = legs.mark[leg], asked.mark[row]
        fits = (established == asked.granted[row]) & ((mark == own) | (mark == 0) | (own == 0))
        same = legs.source[leg] >> np.uint64(16) == asked.proxy[row] >> np.uint64(16)
        found: NDArray[np.bool_] = same | (fits & ~_by_client(asked, row, legs, leg))
        return found

    def _pairs(self, asked: Asked, legs: _Begun, row: NDArray[np.intp], leg: NDArray[np.intp]) -> _Pairs:
        other = legs.slot[leg] != asked.slot[row]
        row, leg = row[other], leg[other]
        alike = (asked.mark[row] == legs.mark[leg]) & (asked.mark[row] != 0)
        established = outcomes(self._flows, legs.slot[leg]) == _ESTABLISHED
        return _Pairs(row, legs.slot[leg], alike, established, legs.time[leg])


def _places(
    asked: Asked, rows: NDArray[np.intp], resolved: dict[int, list[int]]
) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """Where some requests may lead to: their rows again, and the endpoints."""
    chosen = {*rows.tolist()}
    named = [(row, end) for row, ends in resolved.items() if row in chosen for end in ends]
    places = np.concatenate((asked.place[rows], np.array([end for _, end in named], np.uint64)))
    return np.concatenate((rows, np.array([row for row, _ in named], np.intp))), places


def _by_client(asked: Asked, row: NDArray[np.intp], legs: _Begun, leg: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether a connection comes from the client's machine, which is not the proxy's."""
    client, proxy = (column[row] >> np.uint64(16) for column in (asked.client, asked.proxy))
    by_client: NDArray[np.bool_] = (legs.source[leg] >> np.uint64(16) == client) & (client != proxy)
    return by_client


def _certain(pairs: _Pairs, *, asserted: bool) -> _Pairs:
    """Of pairs, one for each request: the connection that carried the tunnel, else the last one.

    Args:
        asserted: a proxy has named the connection: no other request can have opened it.
    """
    if not asserted:
        alone = _claims(pairs.leg, pairs.row) == 1
        alone[pairs.alike] |= _claims(pairs.leg[pairs.alike], pairs.row[pairs.alike]) == 1
        pairs = pairs.take(alone)
    # Of equal ones the first.
    places = -np.arange(len(pairs.row))
    order = np.lexsort((places, pairs.time, pairs.established, pairs.alike, pairs.row))
    row = pairs.row[order]
    return pairs.take(order[np.append(row[1:] != row[:-1], True)[: len(row)]])


def _claims(legs: NDArray[np.intp], rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """intp[n]: of each pair's connection, how many requests it fits."""
    order = np.lexsort((rows, legs))
    leg, row = legs[order], rows[order]
    begins = np.append(True, leg[1:] != leg[:-1])[: len(leg)]
    other = begins | np.append(True, row[1:] != row[:-1])[: len(row)]
    group = np.cumsum(begins) - 1
    claims = np.empty(len(legs), np.intp)
    claims[order] = np.bincount(group, other)[group] if len(group) else 0
    return claims


def _joined(
    asked: Asked, rows: NDArray[np.intp], keys: NDArray[np.uint64], legs: _Begun, leg_keys: NDArray[np.uint64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and legs with equal keys, 0 being none, where the leg began while the request waited."""
    wanted = np.flatnonzero(keys != 0)
    kept = np.zeros(1 << _FILTER, np.bool_)
    kept[_hash(keys[wanted])] = True
    leg = np.flatnonzero(kept[_hash(leg_keys)])
    if not len(leg):
        return leg, leg
    codes, code = np.unique(leg_keys[leg], return_inverse=True)
    at = np.minimum(np.searchsorted(codes, keys[wanted]), len(codes) - 1)
    hit = codes[at] == keys[wanted]
    row, at = rows[wanted[hit]], at[hit]
    base = int(legs.time[leg].min())
    place = (code << _MICROSECONDS) | (legs.time[leg] - base) // 1000
    order = np.argsort(place, kind="stable")
    place, leg = place[order], leg[order]
    limit = (1 << _MICROSECONDS) - 1
    since, until = asked.since[row] - SLACK, asked.until[row] + SLACK
    begin = np.searchsorted(place, (at << _MICROSECONDS) | np.clip((since - base) // 1000, 0, limit))
    end = np.searchsorted(place, (at << _MICROSECONDS) | np.clip((until - base) // 1000, 0, limit), side="right")
    begin = np.maximum(begin, end - MAX_LEGS)
    count = np.maximum(end - begin, 0)
    found = leg[np.repeat(begin - (np.cumsum(count) - count), count) + np.arange(int(count.sum()))]
    which = np.repeat(np.arange(len(row)), count)
    fits = (legs.time[found] >= since[which]) & (legs.time[found] <= until[which])
    return row[which[fits]], found[fits]


def _hash(keys: NDArray[np.uint64]) -> NDArray[np.intp]:
    found: NDArray[np.intp] = ((keys * _MIX) >> np.uint64(64 - _FILTER)).astype(np.intp)
    return found
