"""Where UDP associations are: by relay, and by the client's addresses there.

Who asks says at which packet it stands (`moment`, a frame number): an association is known from the packet on that
completed its agreement, whichever batch that packet lies in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter

from .association import MAX_PORTS, NEVER, SLACK, Association
from .endings import OUTLIVE

MAX_LOOKED_AT = 64
"""Associations of one client at one relay that are compared, where neither port nor time tell whose a datagram is."""

_opened, _replied, _agreed = attrgetter("opened"), attrgetter("replied"), attrgetter("agreed")


class Share:
    """The associations of one client at one relay.

    Attributes:
        all: in the order in which they were asked for.
    """

    __slots__ = ("_by_port", "_fresh", "all")

    def __init__(self) -> None:
        self.all: list[Association] = []
        self._by_port: dict[int, list[Association]] = {}
        self._fresh: deque[Association] = deque()

    def add(self, association: Association) -> None:
        """One more; they come in the order in which they were agreed on."""
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

    def learn(self, association: Association, port: int, moment: int) -> None:
        """The client has sent a datagram of this association from that port, as is known from then on."""
        if port not in association.ports and len(association.ports) < MAX_PORTS:
            association.ports[port] = moment
            there = self._by_port.setdefault(port, [])
            if association not in there:
                there.append(association)

    def knows(self, moment: int) -> bool:
        """Whether one of them is known by then."""
        return any(association.agreed <= moment for association in self.all[:MAX_LOOKED_AT])

    def has(self, time: int, moment: int) -> bool:
        """Whether a datagram of that time may be one's that is known by then."""
        until = bisect_right(self.all, time + SLACK, key=_opened)
        known = (each for each in self.all[max(until - MAX_LOOKED_AT, 0) : until] if each.agreed <= moment)
        return any(association.may_have(time) for association in known)

    def coming(self, time: int, moment: int) -> int:
        """When (a moment) the next one is agreed on that a datagram of that time may belong to."""
        until = bisect_right(self.all, time + SLACK, key=_opened)
        return _next(self.all[max(until - MAX_LOOKED_AT, 0) : until], time, moment)

    def owner(self, port: int, time: int, moment: int) -> Association | None:
        """Whose a datagram from or to this port is at that time.

        Best is one that lives then, then one that knows the port, then the first that has no port yet, then the latest.
        """
        if len(self.all) == 1:
            only = self.all[0]
            return only if only.agreed <= moment and only.may_have(time) else None
        while self._fresh and not _is_fresh(self._fresh[0]):
            self._fresh.popleft()
        there = (each for each in reversed(self._by_port.get(port, ())) if each.agreed <= moment)
        known = [*islice(there, MAX_LOOKED_AT)]
        for fits, slack in ((Association.lived, 0), (Association.may_have, SLACK)):
            found = [association for association in known if fits(association, time)]
            if found:
                return max(reversed(found), key=_opened)
            fresh = [each for each in islice(self._fresh, MAX_LOOKED_AT) if each.agreed <= moment and _is_fresh(each)]
            first = [association for association in fresh if fits(association, time)]
            if first:
                return min(first, key=_opened)
            until = bisect_right(self.all, time + slack, key=_opened)
            for association in reversed(self.all[max(until - MAX_LOOKED_AT, 0) : until]):
                if association.agreed <= moment and fits(association, time):
                    return association
        return None

    def stays(self, owner: Association, port: int, time: int, moment: int) -> tuple[int, int, int] | None:
        """How long datagrams of a port stay its owner's: their times, from and until, and the moment before which.

        None where whatever else happens may take the next one away.
        """
        if len(self.all) == 1:
            return owner.opened - SLACK, owner.ends + OUTLIVE, NEVER
        there = self._by_port.get(port, ())
        if not owner.lived(time) or owner not in there or len(there) > MAX_LOOKED_AT:
            return None
        begin, until, before = owner.opened, owner.ends, NEVER
        for other in there:
            if other.agreed > moment:
                before = min(before, other.agreed)
            elif other is not owner and other.opened >= owner.opened:
                if other.opened > time:
                    until = min(until, other.opened - 1)
                else:
                    begin = max(begin, other.ends + 1)
        return begin, until, before

    def lasts(self, time: int, moment: int) -> tuple[int, int, int]:
        """See `stays`; of a port that nobody knows, as long as no client shows another one."""
        moments = [NEVER]
        before = NEVER
        for each in self.all:
            moments += (each.opened - SLACK, each.opened, each.ends + 1, each.ends + OUTLIVE + 1)
            if each.agreed > moment:
                before = min(before, each.agreed)
        return time, min(each for each in moments if each > time) - 1, before


class Relays:
    """All associations that are open, or of which something may yet come.

    Attributes:
        at: by relay, in the order in which they were agreed on.
    """

    def __init__(self) -> None:
        self.at: dict[int, list[Association]] = {}
        self._shares: dict[tuple[int, int], Share] = {}
        # Those of each address, as endpoints with port 0, in the order in which they came.
        self._by_address: dict[int, dict[int, None]] = {}

    def of_address(self, endpoint: int) -> list[int]:
        """The first relays of an endpoint's address."""
        return [*islice(self._by_address.get(endpoint & ~0xFFFF, ()), MAX_LOOKED_AT)]

    def share(self, relay: int, party: int) -> Share | None:
        """The associations of a party's address."""
        return self._shares.get((relay, party & ~0xFFFF))

    def add(self, association: Association, relay: int) -> bool:
        """An association has its relay there; True where it is the first one."""
        for host in association.hosts:
            self._shares.setdefault((relay, host), Share()).add(association)
        there = self.at.setdefault(relay, [])
        there.insert(bisect_right(there, association.agreed, key=_agreed), association)
        self._by_address.setdefault(relay & ~0xFFFF, {})[relay] = None
        return len(there) == 1

    def adopt(self, association: Association, host: int) -> None:
        """Its client is known by another address too."""
        association.hosts.append(host)
        for relay in association.relays:
            self._shares.setdefault((relay, host), Share()).add(association)

    def remove(self, association: Association) -> bool:
        """Its record has been made; True where it was a relay's last one."""
        last = False
        for relay in association.relays:
            there = self.at[relay]
            place = bisect_right(there, association.agreed, key=_agreed) - 1
            while there[place] is not association:
                place -= 1
            del there[place]
            if not there:
                del self.at[relay], self._by_address[relay & ~0xFFFF][relay]
                if not self._by_address[relay & ~0xFFFF]:
                    del self._by_address[relay & ~0xFFFF]
                last = True
            for host in association.hosts:
                share = self._shares[relay, host]
                share.remove(association)
                if not share.all:
                    del self._shares[relay, host]
        return last

    def owner(self, relay: int, party: int, time: int, moment: int) -> Association | None:
        """The association that a datagram between `relay` and `party` belongs to, or disturbs."""
        share = self.share(relay, party)
        if share is not None and share.knows(moment):
            return share.owner(party & 0xFFFF, time, moment)
        return self.latest(relay, time, moment)

    def known(self, relay: int, moment: int) -> Iterator[Association]:
        """The latest of those that are known by then, the last one first."""
        there = self.at.get(relay, [])
        until = bisect_right(there, moment, key=_agreed)
        return reversed(there[max(until - MAX_LOOKED_AT, 0) : until])

    def coming(self, relay: int, time: int, moment: int) -> int:
        """See `Share.coming`; of all associations at the relay."""
        there = self.at.get(relay, [])
        begin = bisect_right(there, moment, key=_agreed)
        return _next(there[begin : begin + MAX_LOOKED_AT], time, moment)

    def latest(self, relay: int, time: int, moment: int) -> Association | None:
        """The association whose reply came last at a relay, of those that live at that time or else may have lived.

        Before any reply it is the first that comes.
        """
        there = [*self.known(relay, moment)]
        replied = [association for association in there if association.replied <= time]
        for fits in (Association.lived, Association.may_have):
            found = [association for association in replied if fits(association, time)]
            if found:
                return max(found, key=_replied)
        first = min((each for each in there if each.replied > time), key=_replied, default=None)
        return first if first is not None and first.may_have(time) else None


def _is_fresh(association: Association) -> bool:
    return not association.ports and not association.forgotten


def _next(associations: list[Association], time: int, moment: int) -> int:
    return min((each.agreed for each in associations if each.agreed > moment and each.may_have(time)), default=NEVER)
