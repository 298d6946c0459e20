"""UDP associations (RFC 1928 s7): which datagrams belong to which conversation, and what is in them.

An association is known by the address and port where its relay listens (BND; an unspecified address is the proxy's).
What the client's address sends there, from any port, is `sent`; what comes from there to the client is `received`.
Proxies may serve all their associations on one port; then the client's address and port tell whose a datagram is.
Datagrams are judged by their time stamps, not by their place in the file, and those that look like a SOCKS UDP header
are kept for a while, so that a datagram which lies before the reply in the file is still found.

All is done in columns: whose a datagram is, for each pair of endpoints at once; what went where, for each destination
at once. Only what is odd about a datagram is looked at by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import Decoded, decode_udp_header
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import Datagrams
from socks5sniff.packets.icmp import Reported

from .assignment import Assignment
from .association import Association, Icmp
from .datagrams import Copies, UdpRows, header_like
from .delivery import Delivery
from .faults import Faults
from .relays import MAX_LOOKED_AT, Relays

MAX_REMEMBERED = 4096
"""Datagrams kept because an association may turn out to be theirs."""

_ADDRESS = np.uint64(0xFFFF_FFFF_FFFF_0000)
_opened, _agreed = attrgetter("opened"), attrgetter("agreed")
_Ends = NDArray[np.uint64]


class Associations:
    """All UDP associations of a capture, and the datagrams that may be theirs."""

    def __init__(
        self, book: AddressBook, faults: Faults, keep_frames: bool = False, keep_numbers: bool = False
    ) -> None:
        self._faults = faults
        self._book = book
        self._keep_frames = keep_frames
        self._keep_numbers = keep_numbers
        self._copies = Copies()
        self._relays = Relays()
        # By client's address those whose relay is not certain; by client's endpoint the one that it has used.
        self._seeking: dict[int, list[Association]] = {}
        self._clients: dict[int, Association] = {}
        # The keys of three of them as sorted columns, made again where they have changed.
        self._columns: dict[str, _Ends] = {}
        self._recent: list[UdpRows] = []

    def open(self, associations: list[Association]) -> None:
        """UDP ASSOCIATEs have succeeded; datagrams that came before them in the file are looked through."""
        if not associations:
            return
        known = self._relays.at.keys() & {relay for each in associations for relay in each.relays}
        for association in sorted(associations, key=_agreed):
            for relay in association.relays:
                self._enlist(association, relay)
            if association.seeks:
                self._seeking.setdefault(association.hosts[0], []).append(association)
                self._columns.pop("seeking", None)
        if self._recent:
            rows = UdpRows.join(self._recent)
            self._recent = []
            self._seek(rows)
            concerned = _concerned(rows, associations, known)
            self._remember(rows.take(~concerned))
            self._deliver(rows.take(concerned), min(association.agreed for association in associations))

    def endpoints(self) -> Iterator[int]:
        """All endpoints that are still needed."""
        for relay, there in self._relays.at.items():
            yield relay
            for association in there:
                yield from association.endpoints()
        for seeking in self._seeking.values():
            for association in seeking:
                yield from association.endpoints()
        for rows in self._recent:
            yield from rows.source.tolist()
            yield from rows.destination.tolist()

    def forget(self, association: Association) -> None:
        """The conversation's record has been made."""
        association.forgotten = True
        if self._relays.remove(association):
            self._columns.pop("relays", None)
        self._stop_seeking(association)
        for host in association.hosts:
            for port in association.ports:
                if self._clients.get(host | port) is association:
                    del self._clients[host | port]
                    self._columns.pop("clients", None)

    def take(self, datagrams: Datagrams) -> None:
        """Hand a batch's datagrams to the associations they belong to."""
        if len(datagrams):
            with self._faults.contained():
                self._take(datagrams)

    def _take(self, datagrams: Datagrams) -> None:
        related = self._related(datagrams.source, datagrams.destination)
        like = header_like(datagrams, np.flatnonzero(~related))
        if self._seeking and len(like):
            found = self._seek(UdpRows.of(datagrams, like[self._in("seeking", datagrams.source[like] & _ADDRESS)]))
            if found:
                related = self._related(datagrams.source, datagrams.destination)
                for relay, frame in found.items():
                    there = (datagrams.source == relay) | (datagrams.destination == relay)
                    related &= ~there | (datagrams.frame >= frame)
                like = like[~related[like]]
        rows = np.flatnonzero(related)
        if len(rows):
            self._deliver(UdpRows.of(datagrams, rows))
        if not len(like):
            return
        if self._clients:
            self._find_elsewhere(datagrams, like[self._in("clients", datagrams.destination[like])])
        self._remember(UdpRows.of(datagrams, like[-MAX_REMEMBERED:]))

    def note_errors(self, errors: Sequence[Reported]) -> None:
        """Take what ICMP says of datagrams: those of clients, and those that proxies sent on."""
        for frame, time, error in errors:
            if error.destination in self._relays.at:
                association = self._relays.owner(error.destination, error.source, time, frame)
                place = None
            else:
                association = self._sent_on(error.source, error.destination, frame)
                place = error.destination
            if association is not None and association.icmp is None:
                association.icmp = Icmp(error.reason, error.sender, frame, place)

    def _sent_on(self, proxy: int, destination: int, frame: int) -> Association | None:
        """Whose datagram it was that a proxy sent to a destination before that frame: the latest's that asked for it.
        """
        found = [
            association
            for relay in self._relays.of_address(proxy)
            for association in self._relays.known(relay, frame)
            if association.amounts.remotes.get(destination, frame) < frame
        ]
        return max(found, key=_opened, default=None)

    def related(self, datagrams: Datagrams) -> NDArray[np.bool_]:
        """Which of a batch's datagrams go to a relay or come from one."""
        return self._related(datagrams.source, datagrams.destination)

    def carries(self, source: int, destination: int, time: int, frame: int) -> bool:
        """Whether a datagram goes from or to the relay of an association that lives at that time, and is known."""
        for relay, party in ((destination, source), (source, destination)):
            if relay in self._relays.at and self._relays.owner(relay, party, time, frame) is not None:
                return True
        return False

    # -- where they are ------------------------------------------------------------------------------------------

    def _enlist(self, association: Association, relay: int) -> None:
        """An association has its relay there."""
        if relay not in association.relays:
            association.relays.append(relay)
        if self._relays.add(association, relay):
            self._columns.pop("relays", None)

    def _in(self, name: str, ends: _Ends) -> NDArray[np.bool_]:
        """Which endpoints are among the relays, the clients, or the addresses of clients whose relay is sought."""
        column = self._columns.get(name)
        if column is None:
            tables: dict[str, Iterable[int]] = {
                "relays": self._relays.at,
                "clients": self._clients,
                "seeking": self._seeking,
            }
            keys = [*tables[name]]
            column = self._columns[name] = np.sort(np.fromiter(keys, np.uint64, len(keys)))
        if not len(column):
            return np.zeros(len(ends), np.bool_)
        found: NDArray[np.bool_] = column[np.minimum(np.searchsorted(column, ends), len(column) - 1)] == ends
        return found

    def _related(self, source: _Ends, destination: _Ends) -> NDArray[np.bool_]:
        return self._in("relays", destination) | self._in("relays", source)

    def _seek(self, rows: UdpRows) -> dict[int, int]:
        """Find relays that BND does not tell, by what the clients send: those, each with the number of the packet."""
        adopted: dict[int, int] = {}
        rows = rows.take(self._in("seeking", rows.source & _ADDRESS)) if self._seeking else rows.take(np.arange(0))
        for row in range(rows.size):
            host, relay, time = int(rows.source[row] & _ADDRESS), int(rows.destination[row]), int(rows.time[row])
            for association in self._seeking.get(host, ())[:MAX_LOOKED_AT]:
                wanted = 0 if association.bound.address is None else association.bound.address.port
                there = relay & 0xFFFF == wanted if wanted else relay >> 16 == association.proxy >> 16
                if there and association.may_have(time) and isinstance(decode_udp_header(rows.octets(row)), Decoded):
                    if relay not in association.relays:
                        self._enlist(association, relay)
                    self._stop_seeking(association)
                    adopted.setdefault(relay, int(rows.frame[row]))
                    break
        return adopted

    def _stop_seeking(self, association: Association) -> None:
        there = self._seeking.get(association.hosts[0])
        if there is not None and association in there:
            there.remove(association)
            if not there:
                del self._seeking[association.hosts[0]]
                self._columns.pop("seeking", None)

    def _remember(self, rows: UdpRows) -> None:
        """Keep the latest datagrams that may turn out to be an association's."""
        if not rows.size:
            return
        self._recent.append(rows)
        if sum(part.size for part in self._recent) > 2 * MAX_REMEMBERED:
            whole = UdpRows.join(self._recent)
            self._recent = [whole.take(np.arange(whole.size - MAX_REMEMBERED, whole.size))]

    def _find_elsewhere(self, datagrams: Datagrams, rows: NDArray[np.intp]) -> None:
        """Datagrams to a client's port, with a header, that come from somewhere else than its relay."""
        for row in rows[:MAX_REMEMBERED].tolist():
            party, frame = int(datagrams.destination[row]), int(datagrams.frame[row])
            association = self._clients[party]
            if association.ports.get(party & 0xFFFF, frame) >= frame:
                continue
            source, time = int(datagrams.source[row]), int(datagrams.time[row])
            if association.elsewhere is None and association.may_have(time):
                found = decode_udp_header(UdpRows.of(datagrams, np.array([row])).octets(0))
                if isinstance(found, Decoded) and not found.deviations:
                    association.elsewhere = source

    # -- whose they are ------------------------------------------------------------------------------------------

    def _deliver(self, rows: UdpRows, since: int = 0) -> None:
        """Count datagrams that come from relays or go to them; up to a packet they were nobody's."""
        if not rows.size:
            return
        if (np.diff(rows.frame) < 0).any():
            rows = rows.take(np.argsort(rows.frame, kind="stable"))
        to_relay = self._in("relays", rows.destination)
        delivery = Delivery(rows, to_relay, self._book, self._keep_frames, self._keep_numbers)
        assignment = Assignment(delivery, self._relays, self._book, self._faults, since)
        nobodys = assignment.run()
        if any(self._clients.get(party) is not owner for party, owner in assignment.learned.items()):
            self._clients.update(assignment.learned)
            self._columns.pop("clients", None)
        delivery.run(self._copies, self._faults)
        self._remember(rows.take(nobodys))


def _concerned(rows: UdpRows, fresh: Sequence[Association], known: Collection[int]) -> NDArray[np.bool_]:
    """Rows that may be those of fresh associations, or disturb them at relays that were not `known` before."""
    relays = np.array([*{relay for each in fresh for relay in each.relays}], np.uint64)
    found: NDArray[np.bool_] = np.isin(rows.source, relays) | np.isin(rows.destination, relays)
    there = np.flatnonzero(found)
    if len(there):
        ends = np.stack((rows.source[there], rows.destination[there]))
        others = np.array([*known], np.uint64)
        hosts = np.array([*{host for each in fresh for host in each.hosts}], np.uint64)
        found[there] = np.isin(ends & _ADDRESS, hosts).any(0) | ~np.isin(ends, others).any(0)
    return found
