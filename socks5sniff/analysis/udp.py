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

MAX_TURNS = 256
"""Associations of a batch that are opened one after another at most, while relays are sought; see `_turns`."""
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
        # By client's address those whose relay is not certain; by client's endpoint those that it has used, each with
        # the number of the packet from which on that is known.
        self._seeking: dict[int, list[Association]] = {}
        self._clients: dict[int, dict[Association, int]] = {}
        # The keys of three of them as sorted columns, made again where they have changed.
        self._columns: dict[str, _Ends] = {}
        self._recent: list[UdpRows] = []

    def open(self, associations: Sequence[Association]) -> None:
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
            rows = self._remembered()
            self._recent = []
            fresh = {*map(id, associations)}
            for row, association in self._sought(rows):
                if id(association) in fresh:
                    self._adopt(association, int(rows.destination[row]))
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
                there = self._clients.get(host | port, {})
                if there.pop(association, None) is not None and not there:
                    del self._clients[host | port]
                    self._columns.pop("clients", None)

    def take(self, datagrams: Datagrams, fresh: Sequence[Association] = ()) -> None:
        """Hand a batch's datagrams to the associations they belong to.

        Args:
            fresh: those that the batch's packets have agreed on.
        """
        for opened, rows in self._turns(datagrams, fresh):
            with self._faults.contained():
                self.open(opened)
            if len(rows):
                with self._faults.contained():
                    self._take(datagrams, rows)

    def _turns(
        self, datagrams: Datagrams, fresh: Sequence[Association]
    ) -> Iterator[tuple[Sequence[Association], NDArray[np.intp]]]:
        """What to open, and the rows to take then, in this order.

        Whose a datagram is takes into account when an association is known. Where a relay is (see `_sought`) does not:
        as long as one is sought, it and others of its client's, proxy's or relay's address are opened only where the
        packets lie that completed their agreement. Each such turn costs as much as a batch: where nothing that comes
        before touches these addresses there is none, and of a flood MAX_TURNS.
        """
        rows = np.arange(len(datagrams))
        known = (each for there in self._seeking.values() for each in there)
        near = {address for each in (*known, *(each for each in fresh if each.seeks)) for address in _addresses(each)}
        if not near:
            yield fresh, rows
            return
        late: list[tuple[int, Association]] = []
        ends = np.stack((datagrams.source, datagrams.destination)) >> np.uint64(16)
        for association in sorted(fresh, key=_agreed):
            addresses = _addresses(association)
            place = int(np.searchsorted(datagrams.frame, association.agreed))
            if not near.isdisjoint(addresses) and np.isin(ends[:, :place], np.array([*addresses], np.uint64)).any():
                late.append((place, association))
        del late[MAX_TURNS:]
        waiting = {id(association) for _, association in late}
        places = [*(place for place, _ in late), len(rows)]
        yield [each for each in fresh if id(each) not in waiting], rows[: places[0]]
        for (begin, association), end in zip(late, places[1:], strict=True):
            yield (association,), rows[begin:end]

    def _take(self, datagrams: Datagrams, rows: NDArray[np.intp]) -> None:
        if self._seeking:
            mine = header_like(datagrams, rows[self._in("seeking", datagrams.source[rows] & _ADDRESS)])
            sent = UdpRows.of(datagrams, mine)
            for row, association in self._sought(sent):
                place = int(np.searchsorted(rows, mine[row]))
                self._pass_on(datagrams, rows[:place])
                self._adopt(association, int(sent.destination[row]))
                rows = rows[place:]
        self._pass_on(datagrams, rows)

    def _pass_on(self, datagrams: Datagrams, rows: NDArray[np.intp]) -> None:
        """Deliver what goes to relays or comes from them, and remember what may turn out to do so."""
        if not len(rows):
            return
        related = self._related(datagrams.source[rows], datagrams.destination[rows])
        nobodys = self._deliver(UdpRows.of(datagrams, rows[related]))
        like = header_like(datagrams, rows[~related])
        if self._clients:
            mine = like[self._in("clients", datagrams.destination[like])]
            rest = UdpRows.join([nobodys, UdpRows.of(datagrams, mine)])
            self._find_elsewhere(rest.take(np.argsort(rest.frame, kind="stable")))
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

    def _sought(self, rows: UdpRows) -> Iterator[tuple[int, Association]]:
        """Relays that BND does not tell are found by what the clients send: rows that go to one, and whose it is.

        What is another association's of the client by then shows nothing.
        """
        if not self._seeking:
            return
        for row in np.flatnonzero(self._in("seeking", rows.source & _ADDRESS)).tolist():
            host, relay, time = int(rows.source[row] & _ADDRESS), int(rows.destination[row]), int(rows.time[row])
            for association in self._seeking.get(host, ())[:MAX_LOOKED_AT]:
                if association.may_be_at(relay) and association.may_have(time):
                    if not self._is_owned(rows, row) and isinstance(decode_udp_header(rows.octets(row)), Decoded):
                        yield row, association
                    break

    def _is_owned(self, rows: UdpRows, row: int) -> bool:
        """Whether what a client sends goes to another relay of its own."""
        share = self._relays.share(int(rows.destination[row]), int(rows.source[row]))
        return share is not None and share.has(int(rows.time[row]), int(rows.frame[row]))

    def _adopt(self, association: Association, relay: int) -> None:
        """An association's relay was found."""
        if relay not in association.relays:
            self._enlist(association, relay)
        self._stop_seeking(association)

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
            self._recent = [self._remembered()]

    def _remembered(self) -> UdpRows:
        """They, in the capture's order."""
        rows = UdpRows.join(self._recent)
        return rows.take(np.argsort(rows.frame, kind="stable")[-MAX_REMEMBERED:])

    def _find_elsewhere(self, rows: UdpRows) -> None:
        """Datagrams to a client's port, with a header, that are no association's: answers from elsewhere than its
        relay. Of those that the client has used the port for the latest is meant."""
        for row in np.flatnonzero(self._in("clients", rows.destination)).tolist():
            party, frame, time = int(rows.destination[row]), int(rows.frame[row]), int(rows.time[row])
            there = self._clients[party].items()
            known = [each for each, shown in there if shown < frame and each.may_have(time)]
            association = max(known, key=_opened, default=None)
            if association is not None and association.elsewhere is None:
                found = decode_udp_header(rows.octets(row))
                if isinstance(found, Decoded) and not found.deviations:
                    association.elsewhere = int(rows.source[row])

    # -- whose they are ------------------------------------------------------------------------------------------

    def _deliver(self, rows: UdpRows, since: int = 0) -> UdpRows:
        """Count datagrams that come from relays or go to them; up to a packet they were nobody's.

        Gives those that were nobody's when they came, and may have been somebody's.
        """
        if not rows.size:
            return rows
        if (np.diff(rows.frame) < 0).any():
            rows = rows.take(np.argsort(rows.frame, kind="stable"))
        to_relay = self._in("relays", rows.destination)
        delivery = Delivery(rows, to_relay, self._book, self._keep_frames, self._keep_numbers)
        assignment = Assignment(delivery, self._relays, self._book, self._faults, since)
        nobodys = assignment.run()
        for (party, owner), moment in assignment.learned.items():
            if party not in self._clients:
                self._columns.pop("clients", None)
            self._clients.setdefault(party, {}).setdefault(owner, moment)
        delivery.run(self._copies, self._faults)
        self._remember(rows.take(nobodys))
        return rows.take(np.union1d(nobodys, np.array(assignment.early, np.intp)))


def _addresses(association: Association) -> set[int]:
    """Of its client, its proxy and its relays."""
    ends = (*association.hosts, association.proxy, *association.relays)
    return {end >> 16 for end in ends}


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
