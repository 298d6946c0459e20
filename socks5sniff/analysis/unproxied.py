"""Every connection and every exchange of datagrams in a capture as one row: who, whither, how much, and its name.

What a batch adds is put into columns by slot; a row is made when a connection is over or its slot is used again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import Datagrams, payload_octets
from socks5sniff.record import Endpoint, Tunnel
from socks5sniff.streams.flows import NO_TIME, UNKNOWN, FlowBatch, FlowTable
from socks5sniff.streams.octets import Octets, Payloads
from socks5sniff.streams.slots import SlotTable
from socks5sniff.streams.spaces import LINGER

from .analyser import Analyser
from .tunnel import HEAD_LIMIT, identify
from .tunnel.datagrams import DATAGRAM_LIMIT, identify_datagrams
from .tunnel.dns import question

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


class _Seen(SlotTable):
    """Columns by slot: what the flow table said last; `used` while a row is due, `told` when it was given early."""

    NAMES = ("low", "high", "stream", "first_time", "last_time", "packets", "opener", "first_way")
    COLUMNS: ClassVar = {
        "used": (np.bool_, False), "told": (np.bool_, False),
        **{name: FlowTable.COLUMNS[name] for name in NAMES},
    }  # fmt: skip

    used: NDArray[np.bool_]
    told: NDArray[np.bool_]
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
    """

    def __init__(self, done: Callable[[Exchange], None], wants: Callable[[Endpoint, Endpoint], bool]) -> None:
        self._done = done
        self._wants = wants
        self._flows: FlowTable | None = None
        self._book: AddressBook | None = None
        self._relayed: Callable[[int, int, int], bool] = lambda *_: False
        self._octets = Octets()
        self._seen = _Seen()
        self._heads: dict[int, tuple[bytearray, bytearray]] = {}
        self._pairs: OrderedDict[tuple[int, int], Exchange] = OrderedDict()

    def follow(self, analyser: Analyser) -> None:
        """Whose flows and addresses these are, and who knows whether a datagram is relayed."""
        self._flows, self._book = analyser.connections.flows, analyser.reader.addresses
        self._relayed = analyser.agreements.associations.carries

    def segments(self, batch: FlowBatch) -> None:
        """Count a batch's segments."""
        flows, seen = self._flows, self._seen
        assert flows is not None, "follow comes first"
        for table in (self._octets, seen):
            table.grow(flows.capacity)
        fresh = batch.slots[batch.new]
        self._finish(fresh[seen.used[fresh]])
        self._octets.reset(fresh)
        self._keep_heads(self._octets.count(flows, batch, np.ones(len(batch.slots), np.bool_)))
        seen.used[batch.slots] = True
        for name in _Seen.NAMES:
            getattr(seen, name)[batch.slots] = getattr(flows, name)[batch.slots]

    def datagrams(self, datagrams: Datagrams) -> None:
        """Count a batch's datagrams."""
        if not len(datagrams):
            return
        source, destination = datagrams.source, datagrams.destination
        low, high = np.minimum(source, destination), np.maximum(source, destination)
        order = np.lexsort((high, low))
        low, high = low[order], high[order]
        starts = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), (low[1:] != low[:-1]) | (high[1:] != high[:-1]))))
        for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
            self._take(datagrams, order[begin:end], (int(low[begin]), int(high[begin])))

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

    def _take(self, datagrams: Datagrams, rows: NDArray[np.intp], key: tuple[int, int]) -> None:
        """Datagrams between two endpoints, in the order of the capture."""
        first = int(rows[0])
        source, destination = int(datagrams.source[first]), int(datagrams.destination[first])
        found = self._pairs.get(key)
        times = datagrams.time[rows]
        if found is None:
            answers = source & 0xFFFF < _WELL_KNOWN <= destination & 0xFFFF
            ends = (destination, source) if answers else (source, destination)
            found = Exchange(self._endpoint(ends[0]), self._endpoint(ends[1]), int(times.min()), int(times.max()))
            self._pairs[key] = found
            if len(self._pairs) > MAX_EXCHANGES:
                self._name_datagrams(self._pairs.popitem(last=False)[1])
        from_low = found.client == self._endpoint(key[0])
        sent = datagrams.source[rows] == np.uint64(key[0] if from_low else key[1])
        found.start, found.end = min(found.start, int(times.min())), max(found.end, int(times.max()))
        found.packets += len(rows)
        found.sent += int(datagrams.length[rows][sent].sum())
        found.received += int(datagrams.length[rows][~sent].sum())
        found.relayed = found.relayed or self._relayed(source, destination, int(times[0]))
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
        seen, reach = self._seen, self._octets.reach
        for slot in slots[np.argsort(seen.stream[slots])].tolist():
            opener = int(seen.opener[slot])
            way = int(seen.first_way[slot]) if opener == UNKNOWN else opener
            ends = int(seen.low[slot]), int(seen.high[slot])
            heads = self._heads.pop(slot, (b"", b""))
            client, destination = self._endpoint(ends[way]), self._endpoint(ends[1 - way])
            if not self._wants(destination, client):
                continue
            found = identify(bytes(heads[way]), bytes(heads[1 - way]), destination.port, True)
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
                    server_name=_server_name(found),
                )
            )

    def _endpoint(self, end: int) -> Endpoint:
        assert self._book is not None, "follow comes first"
        return Endpoint(self._book.endpoint_address(end), end & 0xFFFF)


def _server_name(found: Tunnel | None) -> str | None:
    return None if found is None else found.server_name
