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

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import Decoded, decode_udp_header
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import IPV6, Datagrams
from socks5sniff.packets.icmp import Reported

from .anomalies import anomaly
from .association import MAX_PORTS, MAX_STRANGERS, SLACK, Association, Icmp, is_loopback
from .datagrams import Copies, UdpRows, header_like
from .delivery import Delivery
from .endings import OUTLIVE
from .faults import Faults

MAX_REMEMBERED = 4096
"""Datagrams kept because an association may turn out to be theirs."""
MAX_LOOKED_AT = 64
"""Associations of one client at one relay that are compared, where neither port nor time tell whose a datagram is."""

_ADDRESS = np.uint64(0xFFFF_FFFF_FFFF_0000)
_opened, _replied = attrgetter("opened"), attrgetter("replied")
_Ends = NDArray[np.uint64]


class Share:
    """The associations of one client at one relay."""

    __slots__ = ("_by_port", "_fresh", "all")

    def __init__(self) -> None:
        self.all: list[Association] = []
        self._by_port: dict[int, list[Association]] = {}
        self._fresh: deque[Association] = deque()

    def add(self, association: Association) -> None:
        """One more, in the order of opening."""
        self.all.insert(bisect_right(self.all, association.opened, key=_opened), association)
        if association.port:
            self._by_port.setdefault(association.port, []).append(association)
        else:
            self._fresh.append(association)

    def remove(self, association: Association) -> None:
        """Its record has been made."""
        place = bisect_right(self.all, association.opened, key=_opened) - 1
        while self.all[place] is not association:
            place -= 1
        del self.all[place]
        for port in {association.port, *association.ports}:
            there = self._by_port.get(port, [])
            if association in there:
                there.remove(association)
            if not there:
                self._by_port.pop(port, None)

    def learn(self, association: Association, port: int) -> None:
        """The client has sent a datagram of this association from that port."""
        if port not in association.ports and len(association.ports) < MAX_PORTS:
            association.ports.add(port)
            there = self._by_port.setdefault(port, [])
            if association not in there:
                there.append(association)

    def owner(self, port: int, time: int) -> Association | None:
        """Whose a datagram from or to this port is at that time.

        Best is one that lives then, then one that knows the port, then the first that has no port yet, then the latest.
        """
        while self._fresh and (self._fresh[0].ports or self._fresh[0].forgotten):
            self._fresh.popleft()
        known = self._by_port.get(port, ())[-MAX_LOOKED_AT:]
        for fits in (Association.lived, Association.may_have):
            found = [association for association in known if fits(association, time)]
            if found:
                return max(found, key=_opened)
            fresh = (self._fresh[place] for place in range(min(len(self._fresh), MAX_LOOKED_AT)))
            first = [association for association in fresh if not association.ports and fits(association, time)]
            if first:
                return min(first, key=_opened)
            until = bisect_right(self.all, time, key=_opened) if fits is Association.lived else len(self.all)
            for association in reversed(self.all[max(until - MAX_LOOKED_AT, 0) : until]):
                if fits(association, time):
                    return association
        return None


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
        self._opened = 0
        # By relay and client's address, both as endpoints; by relay in the order of opening; by client's address
        # those whose relay is not certain; by client's endpoint the one that it has used.
        self._shares: dict[tuple[int, int], Share] = {}
        self._by_relay: dict[int, dict[int, Association]] = {}
        self._seeking: dict[int, list[Association]] = {}
        self._clients: dict[int, Association] = {}
        # The keys of three of them as sorted columns, made again where they have changed.
        self._columns: dict[str, _Ends] = {}
        self._recent: list[UdpRows] = []

    def open(self, associations: list[Association]) -> None:
        """UDP ASSOCIATEs have succeeded; datagrams that came before them in the file are looked through."""
        if not associations:
            return
        for association in associations:
            self._opened += 1
            association.number = self._opened
            for relay in association.relays:
                self._enlist(association, relay)
            if association.seeks:
                self._seeking.setdefault(association.hosts[0], []).append(association)
                self._columns.pop("seeking", None)
        if self._recent:
            rows = UdpRows.join(self._recent)
            self._recent = []
            self._seek(rows)
            related = self._related(rows.source, rows.destination)
            self._deliver(rows.take(related))
            self._remember(rows.take(~related))

    def endpoints(self) -> Iterator[int]:
        """All endpoints that are still needed."""
        for relay, there in self._by_relay.items():
            yield relay
            for association in there.values():
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
        for relay in association.relays:
            there = self._by_relay[relay]
            del there[association.number]
            if not there:
                del self._by_relay[relay]
                self._columns.pop("relays", None)
            for host in association.hosts:
                share = self._shares[relay, host]
                share.remove(association)
                if not share.all:
                    del self._shares[relay, host]
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
        relays: dict[int, list[int]] = {}
        for relay in self._by_relay:
            relays.setdefault(relay >> 16, []).append(relay)
        for frame, time, error in errors:
            if error.destination in self._by_relay:
                association = self._owner(error.destination, error.source, time)
                place = None
            else:
                association = self._sent_on(relays.get(error.source >> 16, []), error.destination)
                place = error.destination
            if association is not None and association.icmp is None:
                association.icmp = Icmp(error.reason, error.sender, frame, place)

    def _sent_on(self, relays: list[int], destination: int) -> Association | None:
        """Whose datagram it was that the proxy with these relays sent to a destination: the latest's that asked for it.
        """
        found = [
            association
            for relay in relays[:MAX_LOOKED_AT]
            for association in [*self._by_relay[relay].values()][-MAX_LOOKED_AT:]
            if destination in association.amounts.remotes
        ]
        return max(found, key=_opened, default=None)

    def related(self, datagrams: Datagrams) -> NDArray[np.bool_]:
        """Which of a batch's datagrams go to a relay or come from one."""
        return self._related(datagrams.source, datagrams.destination)

    def carries(self, source: int, destination: int, time: int) -> bool:
        """Whether a datagram goes from or to the relay of an association that lives at that time."""
        for relay, party in ((destination, source), (source, destination)):
            if relay in self._by_relay and self._owner(relay, party, time) is not None:
                return True
        return False

    # -- where they are ------------------------------------------------------------------------------------------

    def _enlist(self, association: Association, relay: int) -> None:
        """An association has its relay there."""
        if relay not in association.relays:
            association.relays.append(relay)
        for host in association.hosts:
            self._shares.setdefault((relay, host), Share()).add(association)
        if relay not in self._by_relay:
            self._by_relay[relay] = {}
            self._columns.pop("relays", None)
        self._by_relay[relay][association.number] = association

    def _in(self, name: str, ends: _Ends) -> NDArray[np.bool_]:
        """Which endpoints are among the relays, the clients, or the addresses of clients whose relay is sought."""
        column = self._columns.get(name)
        if column is None:
            tables: dict[str, Iterable[int]] = {
                "relays": self._by_relay,
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

    def _seek(self, rows: UdpRows) -> bool:
        """Find relays that BND does not tell, by what the clients send; True where there is one."""
        adopted = False
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
                    adopted = True
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
            association = self._clients[int(datagrams.destination[row])]
            source, time = int(datagrams.source[row]), int(datagrams.time[row])
            if association.elsewhere is None and association.may_have(time):
                found = decode_udp_header(UdpRows.of(datagrams, np.array([row])).octets(0))
                if isinstance(found, Decoded) and not found.deviations:
                    association.elsewhere = source

    # -- whose they are ------------------------------------------------------------------------------------------

    def _deliver(self, rows: UdpRows) -> None:
        """Count datagrams that come from relays or go to them."""
        rows = rows.take(self._copies.fresh(rows))
        if not rows.size:
            return
        to_relay = self._in("relays", rows.destination)
        delivery = Delivery(rows, to_relay, self._book, self._keep_frames, self._keep_numbers)
        strangers = [pair for pair in delivery.pairs() if not self._assigned(pair, delivery)]
        delivery.run(self._faults)
        # Whom clients have sent to is known now: destinations answer relays, and are no strangers.
        if strangers:
            delivery = Delivery(rows, to_relay, self._book, self._keep_frames, self._keep_numbers)
            for pair in strangers:
                with self._faults.contained():
                    self._adopt(pair, delivery)
            delivery.run(self._faults)

    def _adopt(self, pair: NDArray[np.intp], delivery: Delivery) -> None:
        """Datagrams of a party that no association knows, from the first on by which it shows that it speaks SOCKS."""
        relay, party = int(delivery.relay[pair[0]]), int(delivery.party[pair[0]])
        sound = pair[delivery.sound[pair]]
        for row in sound[self._turns(relay, delivery.rows.time[sound])].tolist():
            if self._knows(relay, party, delivery.rows, row):
                self._assign(pair[pair >= row], delivery)
                return

    def _turns(self, relay: int, time: NDArray[np.int64]) -> NDArray[np.intp]:
        """Those of some times, in their order, from which on another association may be the relay's latest."""
        moments: set[int] = set()
        for each in islice(reversed(self._by_relay[relay].values()), MAX_LOOKED_AT):
            ends = () if each.closed is None else (each.closed + 1, each.closed + OUTLIVE + 1)
            moments.update((each.opened - SLACK, each.opened, each.replied, *ends))
        between = np.searchsorted(np.array(sorted(moments), np.int64), time, side="right")
        return np.sort(np.unique(between, return_index=True)[1])

    def _assigned(self, pair: NDArray[np.intp], delivery: Delivery) -> bool:
        """See `_assign`; an error leaves out this pair alone."""
        try:
            return self._assign(pair, delivery)
        except Exception as error:
            self._faults.note(error)
            return True

    def _assign(self, pair: NDArray[np.intp], delivery: Delivery) -> bool:
        """Whose the datagrams between a relay and a party are; False where nobody knows the party."""
        relay, party = int(delivery.relay[pair[0]]), int(delivery.party[pair[0]])
        rows, sound = delivery.rows, pair[delivery.sound[pair]]
        share = self._shares.get((relay, party & ~0xFFFF))
        if share is None:
            return False
        time = rows.time[pair]
        first, last = int(time.min()), int(time.max())
        owner = share.owner(party & 0xFFFF, first)
        if owner is not None and owner.lived(first) and owner.lived(last):
            self._give(owner, pair, len(sound) > 0, share, delivery)
            return True
        for row in pair[np.argsort(time, kind="stable")].tolist():
            owner = share.owner(party & 0xFFFF, int(rows.time[row]))
            if owner is not None:
                self._give(owner, np.array([row]), bool(delivery.sound[row]), share, delivery)
        return True

    def _give(
        self, owner: Association, rows: NDArray[np.intp], sound: bool, share: Share, delivery: Delivery
    ) -> None:
        """Datagrams of one pair are an association's; with a `sound` one the client shows its port."""
        party = int(delivery.party[rows[0]])
        if party in owner.amounts.remotes:
            return  # the leg between proxy and destination, which carries no SOCKS header
        if sound:
            share.learn(owner, party & 0xFFFF)
            if self._clients.get(party) is not owner:
                self._clients[party] = owner
                self._columns.pop("clients", None)
        delivery.give(rows, owner)

    def _knows(self, relay: int, party: int, rows: UdpRows, row: int) -> bool:
        """Whether a client is known by another address at its relay: of the other IP version, or loopback on its own
        machine. Anybody else disturbs the relay's latest association."""
        latest = self._latest(relay, int(rows.time[row]))
        if latest is None:
            return False
        local = is_loopback(self._book.endpoint_address(relay)) and is_loopback(self._book.endpoint_address(party))
        if not latest.ports and ((party ^ latest.client) & IPV6 or local):
            latest.hosts.append(party & ~0xFFFF)
            for known in latest.relays:
                self._shares.setdefault((known, party & ~0xFFFF), Share()).add(latest)
            return True
        if party in latest.amounts.remotes or party in latest.strangers or len(latest.strangers) >= MAX_STRANGERS:
            return False
        latest.strangers.add(party)
        sender = self._book.endpoint_address(party)
        message = f"{sender}:{party & 0xFFFF} sends to the relay, which is another client's"
        latest.anomalies.append(anomaly("udp-unassociated", int(rows.frame[row]), message))
        return False

    def _owner(self, relay: int, party: int, time: int) -> Association | None:
        """The association that a datagram between `relay` and `party` belongs to, or disturbs."""
        share = self._shares.get((relay, party & ~0xFFFF))
        if share is not None:
            return share.owner(party & 0xFFFF, time)
        return self._latest(relay, time)

    def _latest(self, relay: int, time: int) -> Association | None:
        """The association whose reply came last at a relay, of those that live at that time or else may have lived.

        Before any reply it is the first that comes: of requests that have no reply yet a later batch may tell.
        """
        there = [*islice(reversed(self._by_relay[relay].values()), MAX_LOOKED_AT)]
        replied = [association for association in there if association.replied <= time]
        for fits in (Association.lived, Association.may_have):
            found = [association for association in replied if fits(association, time)]
            if found:
                return max(found, key=_replied)
        first = min((each for each in there if each.replied > time), key=_replied, default=None)
        return first if first is not None and first.may_have(time) else None
