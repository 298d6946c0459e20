"""Whose each datagram is: decided in the order of the capture, for as many at once as are decided alike.

What one datagram shows (the client's port, another address of it, a destination) counts from that packet on, and no
sooner. Whoever reads the same packets in other batches decides the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import IPV6

from .association import MAX_STRANGERS, NEVER, SLACK, Association, is_loopback
from .delivery import Delivery
from .endings import OUTLIVE
from .faults import Faults
from .relays import Relays, Share

_HOST = ~0xFFFF
_MANY, _MOST = 8, 512
"""With fewer rows, or more associations, it is not worth while to find out how long nothing changes."""
_Rows = NDArray[np.intp]


class Pair:
    """Rows between a relay and a party, in their order.

    Attributes:
        rows: of the delivery.
        at: how many of them are decided.
        relay, party: endpoints.
        earliest, latest: their times (ns) lie between these.
    """

    __slots__ = ("at", "earliest", "latest", "party", "relay", "rows")

    def __init__(self, relay: int, party: int, rows: _Rows, earliest: int = -NEVER, latest: int = NEVER) -> None:
        self.relay = relay
        self.party = party
        self.rows = rows
        self.at = 0
        self.earliest = earliest
        self.latest = latest


class Strangers(Pair):
    """Rows between a relay and all ports of an address (`party`) that no association there knows.

    Attributes:
        looks: how far down `rows` those lie that are still to be looked at, the next one last.
    """

    __slots__ = ("looks",)

    def __init__(self, relay: int, party: int, rows: _Rows, looks: list[int]) -> None:
        super().__init__(relay, party, rows)
        self.looks = looks


class Assignment:
    """Gives the rows of a delivery to the associations whose they are.

    Attributes:
        learned: endpoints from which clients have sent, with their associations: each with the number of the packet
            from which on that is known.
        early: rows that came before an association was known whose they may be.
    """

    def __init__(
        self, delivery: Delivery, relays: Relays, book: AddressBook, faults: Faults, since: int = 0
    ) -> None:
        """`since`: the packet from which on the rows may be somebody's; before they were nobody's."""
        self.learned: dict[tuple[int, Association], int] = {}
        self.early: list[int] = []
        self._delivery = delivery
        self._relays = relays
        self._book = book
        self._faults = faults
        self._moments = np.maximum(delivery.rows.frame, since)
        self._queue: list[tuple[int, int, int]] = []
        self._pairs: list[Pair] = []
        self._strangers: dict[tuple[int, int], Strangers] = {}
        self._nobodys: list[_Rows] = []
        self._sound: dict[int, NDArray[np.int64]] = {}
        # Parties that some of these datagrams name as where they go.
        self._named = {*np.intersect1d(delivery.party, delivery.headers.key[delivery.outward]).tolist()}

    def run(self) -> _Rows:
        """Decide all of them; the rows that are nobody's yet, in their order."""
        self._pairs += self._grouped()
        queue, moments = self._queue, self._moments
        starts = np.array([pair.rows[0] for pair in self._pairs], np.intp)
        queue += zip(moments[starts].tolist(), starts.tolist(), range(len(starts)), strict=True)
        heapify(queue)
        while queue:
            moment, _, number = heappop(queue)
            pair = self._pairs[number]
            if pair.at >= len(pair.rows):
                continue
            try:
                self._decide(pair, moment)
            except Exception as error:
                self._faults.note(error)  # leaves out this pair alone
                continue
            if pair.at < len(pair.rows):
                row = int(pair.rows[pair.at])
                heappush(queue, (int(moments[row]), row, number))
        return self._delivery.without_owner(self._nobodys)

    def _grouped(self) -> Iterator[Pair]:
        delivery, strangers = self._delivery, dict[tuple[int, int], list[_Rows]]()
        order = np.lexsort((delivery.party, delivery.relay))
        relay, party = delivery.relay[order], delivery.party[order]
        edges = (relay[1:] != relay[:-1]) | (party[1:] != party[:-1])
        starts = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), edges)))
        bounds = np.append(starts, len(order)).tolist()
        time = delivery.rows.time[order]
        columns = relay[starts], party[starts], np.minimum.reduceat(time, starts), np.maximum.reduceat(time, starts)
        for place, (at, by, *times) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            rows = order[bounds[place] : bounds[place + 1]]
            if self._relays.share(at, by) is None:
                strangers.setdefault((at, by & _HOST), []).append(rows)
            else:
                yield Pair(at, by, rows, *times)
        for (at, host), parts in strangers.items():
            rows = np.sort(np.concatenate(parts))
            self._strangers[at, host] = Strangers(at, host, rows, self._looks(at, rows))
        yield from self._strangers.values()

    # -- parties that associations know --------------------------------------------------------------------------

    def _decide(self, pair: Pair, moment: int) -> None:
        """Decide the next of these rows, and those behind it for which the same holds."""
        if isinstance(pair, Strangers):
            self._pass_by(pair, moment)
            return
        row = int(pair.rows[pair.at])
        share = self._relays.share(pair.relay, pair.party)
        if share is None or not share.knows(moment):
            if not self._meet(pair.relay, pair.party, row, moment):
                self._leave(pair, moment)
                return
            share = self._relays.share(pair.relay, pair.party)
        assert share is not None, "an association has adopted it"
        owner = share.owner(pair.party & 0xFFFF, int(self._delivery.rows.time[row]), moment)
        if owner is None:
            self._leave(pair, moment)
            return
        alike = self._alike(pair, share, owner, moment)
        pair.at += len(alike)
        if not self._is_destination(owner, pair.party, row):
            self._learn(share, owner, pair.party, alike, moment)
            self._delivery.give(alike, owner)
            if self._delivery.rows.frame[row] < owner.agreed:
                self._are_no_strangers(pair, alike, moment)

    def _alike(self, pair: Pair, share: Share, owner: Association, moment: int) -> _Rows:
        """The next rows that are the same owner's, whatever other datagrams show."""
        rows = pair.rows[pair.at :]
        if len(rows) == 1 or pair.party in self._named:
            return rows[:1]
        self._learn(share, owner, pair.party, rows[:1], moment)
        time = int(self._delivery.rows.time[rows[0]])
        stays = share.stays(owner, pair.party & 0xFFFF, time, moment)
        if stays is None:
            shown = self._next_sound(pair.party, moment)
            if len(share.all) > _MOST or int(np.searchsorted(self._moments[rows], shown)) < _MANY:
                return rows[:1]
            begin, until, before = share.lasts(time, moment)
            before = min(before, shown)
        else:
            begin, until, before = stays
        if begin <= pair.earliest and pair.latest <= until and before == NEVER:
            return rows
        times = self._delivery.rows.time[rows]
        fits = (times >= begin) & (times <= until) & (self._moments[rows] < before)
        return rows if fits.all() else rows[: max(int(fits.argmin()), 1)]

    def _next_sound(self, party: int, moment: int) -> int:
        """The first packet from then on by which a party's address may show another port."""
        host = party & _HOST
        sound = self._sound.get(host)
        if sound is None:
            delivery = self._delivery
            sound = np.sort(self._moments[delivery.sound & (delivery.party & np.uint64(_HOST & (1 << 64) - 1) == host)])
            self._sound[host] = sound
        place = int(np.searchsorted(sound, moment, side="right"))
        return int(sound[place]) if place < len(sound) else NEVER

    def _learn(self, share: Share, owner: Association, party: int, rows: _Rows, moment: int) -> None:
        """The client shows its port with the first sound one of these rows."""
        if (party, owner) in self.learned:
            return
        sound = rows[self._delivery.sound[rows]]
        if len(sound) and party not in owner.amounts.remotes:
            shown = max(int(self._moments[sound[0]]), moment)
            share.learn(owner, party & 0xFFFF, shown)
            self.learned[party, owner] = shown

    def _is_destination(self, owner: Association, party: int, row: int) -> bool:
        """Whether the client has sent there: the leg between proxy and destination carries no SOCKS header."""
        if party in owner.amounts.remotes:
            return True
        return party in self._named and self._delivery.names(owner, party, row)

    def _are_no_strangers(self, pair: Pair, rows: _Rows, moment: int) -> None:
        """Datagrams that had come before their association was known disturb no other."""
        frames = {*self._delivery.rows.frame[rows].tolist()}
        for association in self._relays.known(pair.relay, moment):
            if association.strangers.get(pair.party) in frames:
                del association.strangers[pair.party]

    def _leave(self, pair: Pair, moment: int) -> None:
        """The next row is nobody's yet; once another association is known it may be."""
        row = int(pair.rows[pair.at])
        pair.at += 1
        time = int(self._delivery.rows.time[row])
        share = self._relays.share(pair.relay, pair.party)
        if not self._delivery.like[row]:
            return
        coming = NEVER if share is None else share.coming(time, moment)
        if not any(self._relays.known(pair.relay, moment)):
            coming = min(coming, self._relays.coming(pair.relay, time, moment))
        if coming == NEVER:
            self._nobodys.append(np.array([row], np.intp))
        else:
            self.early.append(row)
            heappush(self._queue, (coming, row, len(self._pairs)))
            self._pairs.append(Pair(pair.relay, pair.party, np.array([row], np.intp)))

    # -- parties that none knows ---------------------------------------------------------------------------------

    def _pass_by(self, pair: Strangers, moment: int) -> None:
        """Look at the next row of strangers that is to be looked at."""
        rows, delivery, looks = pair.rows, self._delivery, pair.looks
        if looks and looks[-1] == pair.at:
            row = int(rows[looks.pop()])
            if self._meet(pair.relay, int(delivery.party[row]), row, moment):
                return
        end = looks[-1] if looks else len(rows)
        passed, pair.at = rows[pair.at : end], end
        first = min((association.agreed for association in self._relays.at[pair.relay][:1]), default=NEVER)
        early = self._moments[passed] < first
        for row in passed[early].tolist():
            self._leave(Pair(pair.relay, int(delivery.party[row]), np.array([row], np.intp)), moment)
        self._nobodys.append(passed[~early & delivery.like[passed]])

    def _adopt(self, association: Association, host: int, row: int, moment: int) -> None:
        """A client is known by another address too: from this row on, at that moment, they are looked at by port."""
        self._relays.adopt(association, host)
        delivery = self._delivery
        for relay in association.relays:
            pair = self._strangers.pop((relay, host), None)
            if pair is None:
                continue
            moments = self._moments[pair.rows]
            rows = pair.rows[(moments > moment) | ((moments == moment) & (pair.rows >= row))]
            pair.at = len(pair.rows)
            for party in np.unique(delivery.party[rows]).tolist():
                own = rows[delivery.party[rows] == party]
                first = int(own[0])
                heappush(self._queue, (int(self._moments[first]), first, len(self._pairs)))
                self._pairs.append(Pair(relay, party, own))

    def _meet(self, relay: int, party: int, row: int, moment: int) -> bool:
        """Whether a client is known by another address at its relay: of the other IP version, or loopback on its own
        machine. Anybody else disturbs the relay's latest association."""
        if not self._delivery.sound[row]:
            return False
        latest = self._relays.latest(relay, int(self._delivery.rows.time[row]), moment)
        if latest is None:
            return False
        local = is_loopback(self._book.endpoint_address(relay)) and is_loopback(self._book.endpoint_address(party))
        if not latest.had_sent(moment) and ((party ^ latest.client) & IPV6 or local):
            self._adopt(latest, party & _HOST, row, moment)
            return True
        known = party in latest.strangers or len(latest.strangers) >= MAX_STRANGERS
        if not known and not self._is_destination(latest, party, row):
            latest.strangers[party] = int(self._delivery.rows.frame[row])
        return False

    def _looks(self, relay: int, rows: _Rows) -> list[int]:
        """Places of the rows by which a party shows that it speaks SOCKS: of each the first, and the first from which
        on another association may be the relay's latest."""
        sound = np.flatnonzero(self._delivery.sound[rows])
        if len(sound) < 2:
            return [*sound.tolist()]
        times, agreed = set[int](), set[int]()
        for each in self._relays.known(relay, NEVER):
            times.update((each.opened - SLACK, each.opened, each.replied, each.ends + 1, each.ends + OUTLIVE + 1))
            agreed.add(each.agreed)
        columns = self._delivery.rows
        turns = np.searchsorted(np.array(sorted(times), np.int64), columns.time[rows[sound]], side="right")
        turns = turns << 32 | np.searchsorted(np.array(sorted(agreed), np.int64), columns.frame[rows[sound]])
        both = np.stack((self._delivery.party[rows[sound]], turns.astype(np.uint64)))
        found: list[int] = np.sort(sound[np.unique(both, axis=1, return_index=True)[1]])[::-1].tolist()
        return found
