"""Memory is bounded: what is given up where a capture has more connections open than are followed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import IPV6
from socks5sniff.streams.flows import NO_TIME
from socks5sniff.streams.spaces import FORGET

from .connections import Connections
from .records import Records
from .udp import Associations
from .verdicts import Verdicts
from .watch import ELSEWHERE, IGNORED, SOCKS, UNDECIDED

MAX_FLOWS = 1 << 18
"""Flows in the table; above it the longest idle ones that are not SOCKS are forgotten, and counted."""
MAX_HEADS = 96 << 20
"""Octets of memory for what flows have said first: of 200,000 usual dialogues at once, the half."""
MAX_ADDRESSES = 1 << 17
"""IPv6 addresses, 300 octets each; above it those without a flow are forgotten, and flows where that is not enough."""

Finish = Callable[[NDArray[np.intp]], None]
"""Makes the records of flows."""


class Bounds:
    """Keeps the tables of flows, of what they said, and of IPv6 addresses bounded.

    Attributes:
        evicted: flows forgotten while they were open, because there were more than MAX_FLOWS.
    """

    def __init__(
        self,
        connections: Connections,
        verdicts: Verdicts,
        records: Records,
        associations: Associations,
        book: AddressBook,
    ) -> None:
        self.evicted = 0
        self._connections = connections
        self._verdicts = verdicts
        self._records = records
        self._associations = associations
        self._book = book
        self._purge_at = MAX_FLOWS // 4
        self._addresses_at = MAX_ADDRESSES

    def make_room(self, finish: Finish) -> None:
        """Give up what is too much; whatever is worth a record gets it through `finish`."""
        flows, book = self._connections.flows, self._book
        if self._connections.handshakes.octets > MAX_HEADS:
            self._relieve(finish)
        if len(flows) >= self._purge_at:
            self._forget_flows(MAX_FLOWS, finish)
            self._purge_at = max(MAX_FLOWS // 4, min(len(flows) * 2, MAX_FLOWS + 1))
        if len(book) >= self._addresses_at:
            self._forget_addresses()
            if len(book) > MAX_ADDRESSES // 2:
                self._forget_flows(len(flows) // 2, finish)
                self._forget_addresses()
            self._addresses_at = max(MAX_ADDRESSES, len(book) * 2)

    def _relieve(self, finish: Finish) -> None:
        """Too much is kept of what flows said first: keep what open tunnels' dialogues say, and end what is idle."""
        handshakes, flows = self._connections.handshakes, self._connections.flows
        self._verdicts.keep(handshakes.settle())
        while handshakes.octets > MAX_HEADS * 3 // 4:
            slots = handshakes.speaking()
            oldest = slots[np.argsort(flows.last_time[slots], kind="stable")[: max(len(slots) // 4, 1)]]
            self.evicted += int((flows.close_time[oldest] == NO_TIME).sum())
            finish(oldest)

    def _forget_flows(self, most: int, finish: Finish) -> None:
        """Closed flows leave after a while, and the longest idle ones where there are more than `most`.

        Those that may be the upstream of a conversation which goes on stay with the others: whether it is told must not
        depend on how full the table is.
        """
        flows, kind = self._connections.flows, self._connections.watch.kind
        live = flows.live()
        idle = kind[live] == IGNORED
        closed = idle & (flows.close_clock[live] != NO_TIME) & (flows.close_clock[live] < flows.clock - FORGET)
        closed[np.isin(live, self._legs(live[closed]))] = False
        gone = live[closed]
        if len(live) - len(gone) > most:
            rest = live[~closed & (kind[live] != SOCKS) & (kind[live] != ELSEWHERE)]
            excess = min(len(rest), len(live) - len(gone) - most * 3 // 4)
            oldest = rest[np.argsort(flows.last_time[rest], kind="stable")[:excess]]
            self.evicted += int((flows.close_time[oldest] == NO_TIME).sum())
            finish(oldest[kind[oldest] == UNDECIDED])
            gone = np.concatenate((gone, oldest))
        kind[gone] = IGNORED
        self._connections.handshakes.forget()
        flows.release(gone)

    def _legs(self, slots: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of these flows that conversations may have opened which are still open."""
        if not len(slots):
            return slots
        begun = self._connections.handshakes.answered(int(self._connections.flows.syn_time[slots].max()))
        return self._records.legs(self._verdicts.look(begun))

    def _forget_addresses(self) -> None:
        """IPv6 addresses that no flow and no association has any more."""
        flows = self._connections.flows
        live = flows.live()
        associated = np.array([*self._associations.endpoints()], np.uint64)
        ends = np.concatenate((flows.low[live], flows.high[live], associated))
        self._book.retain(np.unique(ends[ends >= IPV6] >> np.uint64(16)).tolist())
