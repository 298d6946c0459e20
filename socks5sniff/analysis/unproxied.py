"""Every connection and every exchange of datagrams in a capture as one row: who, whither, how much, and its name.

What a batch adds is put into columns by slot; a row is made when a connection is over or its slot is used again. What
another analyser knows of a part of the capture can be taken over (`Part`): the rows are those of one that saw it all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import Datagrams, payload_octets
from socks5sniff.record import Endpoint, Tunnel
from socks5sniff.streams.flows import NO_TIME, UNKNOWN, FlowBatch, FlowTable
from socks5sniff.streams.octets import Octets, Payloads
from socks5sniff.streams.slots import Rows, SlotTable
from socks5sniff.streams.spaces import LINGER

from .analyser import Analyser
from .tunnel import HEAD_LIMIT, identify
from .tunnel.datagrams import DATAGRAM_LIMIT, identify_datagrams
from .tunnel.dns import question
from .udp import Associations

MAX_EXCHANGES = 1 << 16
"""Pairs of endpoints with datagrams; above it the one that was heard of first is taken for ended."""
_DNS_PORTS = (53, 5353)
_WELL_KNOWN = 1024
"""Below it a port is a server's."""


@dataclass(slots=True)
class Exchange:
    """A TCP connection, or all datagrams between two endpoints.

    Attributes:
        client: who opened it, or sent first.
        server_name: from SNI or Host, or what DNS was asked for.
        sent, received: payload octets, TCP's each once.
        packets: of both directions.
        start, end: ns since 1970.
        stream: index of the TCP connection; None for datagrams.
        relayed: it goes through a UDP association.
        heads: first octets, or first datagrams, from and to the client.
        told: it was given before its end.
    """

    client: Endpoint
    destination: Endpoint
    start: int
    end: int
    packets: int = 0
    sent: int = 0
    received: int = 0
    stream: int | None = None
    relayed: bool = False
    server_name: str | None = None
    heads: tuple[list[bytes], list[bytes]] = field(default_factory=lambda: ([], []))
    told: bool = False

    def add(self, later: Exchange) -> None:
        """These datagrams followed."""
        same = later.client == self.client
        self.start, self.end = min(self.start, later.start), max(self.end, later.end)
        self.packets += later.packets
        self.sent += later.sent if same else later.received
        self.received += later.received if same else later.sent
        for head, more in zip(self.heads, later.heads if same else later.heads[::-1], strict=True):
            head += more[: DATAGRAM_LIMIT - len(head)]


class Part(NamedTuple):
    """What `Exchanges` of a part of a capture know.

    Attributes:
        octets: what was said by each flow.
        names: of each flow that is of interest its server name, by slot, as far as there is one.
        heads: first octets of flows that may yet have packets.
        pairs: datagrams by their endpoints, in the order of the first ones; None where there were too many at once.
    """

    octets: Rows
    names: dict[int, str]
    heads: dict[int, tuple[bytes, bytes]]
    pairs: dict[tuple[int, int], Exchange] | None


class _Seen(SlotTable):
    """Columns by slot: what the flow table said last; `used` while a row is due, `told` when it was given early,
    `named` while another analyser's name for it holds."""

    NAMES = ("low", "high", "stream", "first_time", "last_time", "packets", "opener", "first_way")
    COLUMNS: ClassVar = {
        "used": (np.bool_, False), "told": (np.bool_, False), "named": (np.bool_, False),
        **{name: FlowTable.COLUMNS[name] for name in NAMES},
    }  # fmt: skip

    used: NDArray[np.bool_]
    told: NDArray[np.bool_]
    named: NDArray[np.bool_]
    low: NDArray[np.uint64]
    high: NDArray[np.uint64]
    stream: NDArray[np.int64]
    first_time: NDArray[np.int64]
    last_time: NDArray[np.int64]
    packets: NDArray[np.int64]
    opener: NDArray[np.uint8]
    first_way: NDArray[np.uint8]


class Exchanges:
    """A consumer of batches that gives rows.

    Args:
        done: is called with each row, when it is complete.
        wants: whether a destination and a client are of interest at all; of others no row is made.

    Attributes:
        octets: what flows have said.
    """

    def __init__(self, done: Callable[[Exchange], None], wants: Callable[[Endpoint, Endpoint], bool]) -> None:
        self._done = done
        self._wants = wants
        self._flows: FlowTable | None = None
        self._book: AddressBook | None = None
        self._associations: Associations | None = None
        self.octets = Octets()
        self._seen = _Seen()
        self._heads: dict[int, tuple[bytearray, bytearray]] = {}
        self._names: dict[int, str] = {}
        self._pairs: OrderedDict[tuple[int, int], Exchange] = OrderedDict()
        self._evicted = 0

    def follow(self, analyser: Analyser) -> None:
        """Whose flows and addresses these are, and who knows whether a datagram is relayed."""
        self._flows, self._book = analyser.connections.flows, analyser.reader.addresses
        self._associations = analyser.agreements.associations

    def segments(self, batch: FlowBatch) -> None:
        """Count a batch's segments."""
        flows, seen = self._flows, self._seen
        assert flows is not None, "follow comes first"
        self._begin(batch.slots[batch.new])
        self._keep_heads(self.octets.count(flows, batch, np.ones(len(batch.slots), np.bool_)))
        seen.used[batch.slots] = True
        seen.named[batch.slots] = False
        self.note(batch.slots)

    def note(self, slots: NDArray[np.intp]) -> None:
        """What the flow table says of these flows has changed."""
        for name in _Seen.NAMES:
            getattr(self._seen, name)[slots] = getattr(self._flows, name)[slots]

    def datagrams(self, datagrams: Datagrams) -> None:
        """Count a batch's datagrams."""
        if len(datagrams):
            assert self._associations is not None, "follow comes first"
            self._count(datagrams, np.arange(len(datagrams)), self._associations.related(datagrams))

    # -- another analyser's ----------------------------------------------------------------------------------------

    def part(self) -> Part:
        """What is known by now, for who takes it over."""
        flows = self._flows
        assert flows is not None, "follow comes first"
        slots = np.arange(flows.used)
        going_on = (flows.close_clock[slots] == NO_TIME) | (flows.close_clock[slots] + LINGER >= flows.clock)
        names = {}
        for slot in slots.tolist():
            way, client, destination = self._ends(slot)
            name = self._name(slot, way, destination.port) if self._wants(destination, client) else None
            if name is not None:
                names[slot] = name
        heads = {slot: (bytes(head[0]), bytes(head[1])) for slot, head in self._heads.items() if going_on[slot]}
        self.octets.grow(flows.capacity)
        return Part(self.octets.rows(slots), names, heads, None if self._evicted else dict(self._pairs))

    def adopt(self, slots: NDArray[np.intp], part: Part) -> None:
        """Take over flows of another analyser; what the flow table says of them is to be noted.

        Args:
            slots: intp[n], of its flows, -1 for those of which nothing is to be taken over.
        """
        rows = np.flatnonzero(slots >= 0)
        mine = slots[rows]
        self._begin(mine)
        self.octets.put(mine, {name: column[..., rows] for name, column in part.octets.items()})
        self._seen.used[mine] = self._seen.named[mine] = True
        self._names.update((int(slots[row]), name) for row, name in part.names.items() if slots[row] >= 0)
        for row, heads in part.heads.items():
            if slots[row] >= 0:
                self._heads[int(slots[row])] = bytearray(heads[0]), bytearray(heads[1])

    def adopt_pairs(self, part: Part) -> bool:
        """Take over another analyser's datagrams, which follow; False, and nothing done, where they are needed each."""
        if part.pairs is None or self._splits(part.pairs):
            return False
        for key, exchange in part.pairs.items():
            found = self._pairs.get(key)
            if found is None:
                self._open(key, exchange)
            else:
                found.add(exchange)
        return True

    # -- rows ------------------------------------------------------------------------------------------------------

    def tell(self, now: int, age: int) -> None:
        """Give the rows of what has ended, or is so old (ns), as they stand at a time (ns); each is given once."""
        flows, seen = self._flows, self._seen
        if flows is None:
            return
        due = np.flatnonzero(seen.used & ~seen.told)
        ended = (flows.close_time[due] != NO_TIME) & (flows.close_time[due] < now - LINGER)
        due = due[ended | (seen.first_time[due] < now - age)]
        self._give(due)
        seen.told[due] = True
        for exchange in self._pairs.values():
            if not exchange.told and exchange.start < now - age:
                self._name_datagrams(exchange)
                exchange.told = True

    def finish(self) -> None:
        """The capture has ended."""
        self._finish(np.flatnonzero(self._seen.used))
        for exchange in self._pairs.values():
            self._name_datagrams(exchange)
        self._pairs.clear()

    # -- datagrams -------------------------------------------------------------------------------------------------

    def _count(self, datagrams: Datagrams, rows: NDArray[np.intp], related: NDArray[np.bool_]) -> None:
        """Count some of a batch's datagrams, in the order of the capture; `related` (bool[n]): a relay's."""
        source, destination = datagrams.source[rows], datagrams.destination[rows]
        low, high = np.minimum(source, destination), np.maximum(source, destination)
        order = np.lexsort((high, low))
        low, high, rows = low[order], high[order], rows[order]
        starts = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), (low[1:] != low[:-1]) | (high[1:] != high[:-1]))))
        ends = np.append(starts[1:], len(order))
        first = np.argsort(order[starts])  # pairs are told apart by when they were heard of
        starts, ends = starts[first], ends[first]
        keys = [*zip(low[starts].tolist(), high[starts].tolist(), strict=True)]
        if len(rows) > 1 and self._splits(dict.fromkeys(keys)):
            rows.sort()
            half = len(rows) // 2
            self._count(datagrams, rows[:half], related)
            self._count(datagrams, rows[half:], related)
            return
        for key, begin, end in zip(keys, starts.tolist(), ends.tolist(), strict=True):
            self._take(datagrams, rows[begin:end], key, related)

    def _splits(self, keys: Collection[tuple[int, int]]) -> bool:
        """Whether, with these, one of them may be taken for ended that still has datagrams among them."""
        excess = sum(key not in self._pairs for key in keys) + len(self._pairs) - MAX_EXCHANGES
        if excess <= 0:
            return False
        return excess > len(self._pairs) or any(key in keys for key in islice(self._pairs, excess))

    def _open(self, key: tuple[int, int], exchange: Exchange) -> None:
        self._pairs[key] = exchange
        if len(self._pairs) > MAX_EXCHANGES:
            self._evicted += 1
            self._name_datagrams(self._pairs.popitem(last=False)[1])

    def _take(
        self, datagrams: Datagrams, rows: NDArray[np.intp], key: tuple[int, int], related: NDArray[np.bool_]
    ) -> None:
        """Datagrams between two endpoints, in the order of the capture."""
        first = int(rows[0])
        source, destination = int(datagrams.source[first]), int(datagrams.destination[first])
        found = self._pairs.get(key)
        times = datagrams.time[rows]
        if found is None:
            answers = source & 0xFFFF < _WELL_KNOWN <= destination & 0xFFFF
            ends = (destination, source) if answers else (source, destination)
            found = Exchange(self._endpoint(ends[0]), self._endpoint(ends[1]), int(times.min()), int(times.max()))
            self._open(key, found)
        from_low = found.client == self._endpoint(key[0])
        sent = datagrams.source[rows] == np.uint64(key[0] if from_low else key[1])
        found.start, found.end = min(found.start, int(times.min())), max(found.end, int(times.max()))
        found.packets += len(rows)
        found.sent += int(datagrams.length[rows][sent].sum())
        found.received += int(datagrams.length[rows][~sent].sum())
        if not found.relayed and related[first]:
            assert self._associations is not None, "it has related them"
            carries = self._associations.carries
            moments = zip(times.tolist(), datagrams.frame[rows].tolist(), strict=True)
            found.relayed = any(carries(source, destination, time, frame) for time, frame in moments)
        for head, mine in zip(found.heads, (sent, ~sent), strict=True):
            for row in rows[mine][: DATAGRAM_LIMIT - len(head)].tolist():
                head.append(payload_octets(datagrams, row, HEAD_LIMIT))

    def _name_datagrams(self, exchange: Exchange) -> None:
        if exchange.told or not self._wants(exchange.destination, exchange.client):
            return
        asked = question(exchange.heads[0][0]) if exchange.heads[0] else None
        if asked is not None and exchange.destination.port in _DNS_PORTS:
            exchange.server_name = asked.name
        else:
            exchange.server_name = _server_name(identify_datagrams(*exchange.heads, True))
        self._done(exchange)

    # -- connections -----------------------------------------------------------------------------------------------

    def _begin(self, slots: NDArray[np.intp]) -> None:
        """These slots are new flows'."""
        assert self._flows is not None, "follow comes first"
        for table in (self.octets, self._seen):
            table.grow(self._flows.capacity)
        self._finish(slots[self._seen.used[slots]])
        self.octets.reset(slots)

    def _keep_heads(self, payloads: Payloads) -> None:
        near = np.flatnonzero((payloads.offset >= 0) & (payloads.offset < HEAD_LIMIT))
        columns = payloads.slot[near], payloads.way[near], payloads.offset[near], payloads.row[near]
        for slot, way, offset, row in zip(*(column.tolist() for column in columns), strict=True):
            heads = self._heads.get(slot)
            if heads is None:
                heads = self._heads[slot] = bytearray(), bytearray()
            if offset == len(heads[way]):
                heads[way].extend(payload_octets(payloads.segments, row, HEAD_LIMIT - offset))

    def _finish(self, slots: NDArray[np.intp]) -> None:
        self._give(slots[~self._seen.told[slots]])
        for slot in slots[self._seen.told[slots]].tolist():
            self._heads.pop(slot, None)
        self._seen.reset(slots)

    def _give(self, slots: NDArray[np.intp]) -> None:
        seen, reach = self._seen, self.octets.reach
        for slot in slots[np.argsort(seen.stream[slots])].tolist():
            way, client, destination = self._ends(slot)
            if self._wants(destination, client):
                self._done(
                    Exchange(
                        client,
                        destination,
                        int(seen.first_time[slot]),
                        int(seen.last_time[slot]),
                        int(seen.packets[slot]),
                        max(int(reach[way, slot]), 0),
                        max(int(reach[1 - way, slot]), 0),
                        int(seen.stream[slot]),
                        server_name=self._name(slot, way, destination.port),
                    )
                )
            self._heads.pop(slot, None)
            self._names.pop(slot, None)

    def _ends(self, slot: int) -> tuple[int, Endpoint, Endpoint]:
        """The client's direction, client and destination."""
        seen = self._seen
        opener = int(seen.opener[slot])
        way = int(seen.first_way[slot]) if opener == UNKNOWN else opener
        ends = int(seen.low[slot]), int(seen.high[slot])
        return way, self._endpoint(ends[way]), self._endpoint(ends[1 - way])

    def _name(self, slot: int, way: int, port: int) -> str | None:
        """The server name that a connection to a port tells."""
        if self._seen.named[slot]:
            return self._names.get(slot)
        heads = self._heads.get(slot, (b"", b""))
        return _server_name(identify(bytes(heads[way]), bytes(heads[1 - way]), port, True))

    def _endpoint(self, end: int) -> Endpoint:
        assert self._book is not None, "follow comes first"
        return Endpoint(self._book.endpoint_address(end), end & 0xFFFF)


def _server_name(found: Tunnel | None) -> str | None:
    return None if found is None else found.server_name
