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
from collections.abc import Iterator
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import Decoded, GssapiMessageType, decode_text, decode_udp_header
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import IPV6, Datagrams
from socks5sniff.record import FrameEntry

from .anomalies import anomaly
from .association import MAX_PORTS, MAX_STRANGERS, Association, is_loopback
from .datagrams import Copies, Places, UdpHeaders, UdpRows, header_like, headers_of

MAX_REMEMBERED = 4096
"""Datagrams kept because an association may turn out to be theirs."""
MAX_LOOKED_AT = 64
"""Associations of one client at one relay that are compared, where neither port nor time tell whose a datagram is."""

_ADDRESS = np.uint64(0xFFFF_FFFF_FFFF_0000)
_TOKEN = (1, int(GssapiMessageType.USER_DATA))
"""How a datagram inside a GSSAPI token begins."""
_opened = attrgetter("opened")
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

    def __init__(self, book: AddressBook, keep_frames: bool = False) -> None:
        self._book = book
        self._keep_frames = keep_frames
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
        if not len(datagrams):
            return
        like = header_like(datagrams)
        if self._seeking and len(like):
            self._seek(UdpRows.of(datagrams, like[self._in("seeking", datagrams.source[like] & _ADDRESS)]))
        related = self._related(datagrams.source, datagrams.destination)
        rows = np.flatnonzero(related)
        if len(rows):
            self._deliver(UdpRows.of(datagrams, rows))
        rest = like[~related[like]]
        if not len(rest):
            return
        if self._clients:
            self._find_elsewhere(datagrams, rest[self._in("clients", datagrams.destination[rest])])
        self._remember(UdpRows.of(datagrams, rest[-MAX_REMEMBERED:]))

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
            keys = {"relays": self._by_relay, "clients": self._clients, "seeking": self._seeking}[name]
            column = self._columns[name] = np.sort(np.fromiter(keys, np.uint64, len(keys)))
        if not len(column):
            return np.zeros(len(ends), np.bool_)
        found: NDArray[np.bool_] = column[np.minimum(np.searchsorted(column, ends), len(column) - 1)] == ends
        return found

    def _related(self, source: _Ends, destination: _Ends) -> NDArray[np.bool_]:
        return self._in("relays", destination) | self._in("relays", source)

    def _seek(self, rows: UdpRows) -> None:
        """Find relays that BND does not tell, by what the clients send."""
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
                    break

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
        places = Places(self._book)
        headers = headers_of(rows, places, self._book)
        outward = self._in("relays", rows.destination)
        owners = _Owners(rows.size)
        relay = np.where(outward, rows.destination, rows.source)
        party = np.where(outward, rows.source, rows.destination)
        for pair in _pairs(relay, party, outward):
            self._assign(pair, int(relay[pair[0]]), int(party[pair[0]]), rows, headers, outward, owners)
        for number, association in enumerate(owners.associations):
            mine = np.flatnonzero(owners.number == number)
            _Delivery(association, rows, headers, outward, places, self._book, self._keep_frames).run(mine)

    def _assign(
        self,
        pair: NDArray[np.intp],
        relay: int,
        party: int,
        rows: UdpRows,
        headers: UdpHeaders,
        outward: NDArray[np.bool_],
        owners: _Owners,
    ) -> None:
        """Whose the datagrams between a relay and a party are."""
        sound = pair[outward[pair] & headers.whole[pair] & (headers.reserved[pair] == 0)]
        share = self._shares.get((relay, party & ~0xFFFF))
        if share is None and len(sound):
            share = self._adopt(relay, party, rows, int(sound[0]))
        if share is None:
            return
        port = party & 0xFFFF
        time = rows.time[pair]
        owner = share.owner(port, int(time.min()))
        if owner is not None and owner.lived(int(time.min())) and owner.lived(int(time.max())):
            self._give(owner, pair, sound, share, party, owners)
            return
        for row in pair[np.argsort(time, kind="stable")].tolist():
            owner = share.owner(port, int(rows.time[row]))
            if owner is not None:
                one = np.array([row])
                self._give(owner, one, np.intersect1d(one, sound), share, party, owners)

    def _give(
        self,
        owner: Association,
        rows: NDArray[np.intp],
        sound: NDArray[np.intp],
        share: Share,
        party: int,
        owners: _Owners,
    ) -> None:
        if party in owner.amounts.remotes:
            return  # the leg between proxy and destination, which carries no SOCKS header
        if len(sound):
            share.learn(owner, party & 0xFFFF)
            if self._clients.get(party) is not owner:
                self._clients[party] = owner
                self._columns.pop("clients", None)
        owners.give(rows, owner)

    def _adopt(self, relay: int, party: int, rows: UdpRows, row: int) -> Share | None:
        """A client is known by another address at its relay: of the other IP version, or loopback on its own machine.
        Anybody else disturbs the relay's latest association."""
        time = int(rows.time[row])
        latest = next(reversed(self._by_relay[relay].values()))
        if not latest.may_have(time):
            return None
        local = is_loopback(self._book.endpoint_address(relay)) and is_loopback(self._book.endpoint_address(party))
        if not latest.ports and ((party ^ latest.client) & IPV6 or local):
            latest.hosts.append(party & ~0xFFFF)
            for known in latest.relays:
                self._shares.setdefault((known, party & ~0xFFFF), Share()).add(latest)
            return self._shares[relay, party & ~0xFFFF]
        if party in latest.amounts.remotes or party in latest.strangers or len(latest.strangers) >= MAX_STRANGERS:
            return None
        latest.strangers.add(party)
        sender = self._book.endpoint_address(party)
        message = f"{sender}:{party & 0xFFFF} sends to the relay, which is another client's"
        latest.anomalies.append(anomaly("udp-unassociated", int(rows.frame[row]), message))
        return None

    def _owner(self, relay: int, party: int, time: int) -> Association | None:
        """The association that a datagram between `relay` and `party` belongs to, or disturbs."""
        share = self._shares.get((relay, party & ~0xFFFF))
        if share is not None:
            return share.owner(party & 0xFFFF, time)
        latest = next(reversed(self._by_relay[relay].values()))
        return latest if latest.may_have(time) else None


class _Owners:
    """Whose rows are: `number` by row, -1 for nobody's, in the list of `associations`."""

    def __init__(self, size: int) -> None:
        self.number = np.full(size, -1, np.int32)
        self.associations: list[Association] = []
        self._numbers: dict[int, int] = {}

    def give(self, rows: NDArray[np.intp], owner: Association) -> None:
        number = self._numbers.setdefault(id(owner), len(self.associations))
        if number == len(self.associations):
            self.associations.append(owner)
        self.number[rows] = number


def _pairs(relay: _Ends, party: _Ends, outward: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
    """Rows by relay and party: those of a pair in their order, pairs in the order in which the party first sends."""
    order = np.lexsort((party, relay))
    edges = np.flatnonzero((np.diff(relay[order]) != 0) | (np.diff(party[order]) != 0)) + 1
    groups = [order] if not len(edges) else np.split(order, edges)
    starts = [int(np.where(outward[group], group, len(relay) + group).min()) for group in groups]
    for place in np.argsort(starts, kind="stable").tolist():
        yield groups[place]


class _Delivery:
    """Rows of one association on their way into it."""

    def __init__(
        self,
        association: Association,
        rows: UdpRows,
        headers: UdpHeaders,
        outward: NDArray[np.bool_],
        places: Places,
        book: AddressBook,
        keep_frames: bool,
    ) -> None:
        self._association = association
        self._rows = rows
        self._headers = headers
        self._outward = outward
        self._places = places
        self._book = book
        self._keep_frames = keep_frames

    def run(self, mine: NDArray[np.intp]) -> None:
        """Count them, and look at the odd ones."""
        association, rows, headers = self._association, self._rows, self._headers
        if association.enclosed:
            mine = mine[(rows.short[mine, 0] != _TOKEN[0]) | (rows.short[mine, 1] != _TOKEN[1])]
        odd = headers.odd[mine] | self._names_host(mine)
        if association.closed is not None:
            odd = odd | (rows.time[mine] > association.closed)
        for row in mine[odd].tolist():
            self._look(row)
        counted = mine[headers.whole[mine] & ~self._is_no_header(mine)]
        self._count(counted)
        if self._keep_frames:
            for row in counted.tolist():
                self._list(row)

    def _count(self, mine: NDArray[np.intp]) -> None:
        """Add up what went to each destination, and came from it."""
        association, rows, headers = self._association, self._rows, self._headers
        outward, amounts = self._outward[mine], association.amounts
        octets = rows.length[mine] - headers.size[mine]
        amounts.fragments += int((headers.fragment[mine] != 0).sum())
        order = np.lexsort((outward, headers.key[mine]))
        key, way = headers.key[mine][order], outward[order]
        starts = np.flatnonzero(np.concatenate((np.ones(min(len(key), 1), np.bool_), (np.diff(key) != 0) | (way[1:] != way[:-1]))))
        if not len(starts):
            return
        counts = np.diff(np.append(starts, len(key))).tolist()
        sums = np.add.reduceat(octets[order], starts).tolist()
        firsts = np.minimum.reduceat(rows.frame[mine][order], starts).tolist()
        for number, sends, count, total, first in zip(
            key[starts].tolist(), way[starts].tolist(), counts, sums, firsts, strict=True
        ):
            amounts.count(self._place(number), self._places.endpoint(number), sends, count, total, first)
        if outward.any():
            amounts.last = max(amounts.last, int(rows.frame[mine][outward].max()))
        if not outward.all():
            back = mine[~outward]
            for port in np.unique(rows.destination[back] & np.uint64(0xFFFF))[:MAX_PORTS].tolist():
                amounts.answered.add(port)
            named = association.bound.named
            association.bound.served |= named is not None and bool((rows.source[back] == np.uint64(named)).any())

    def _place(self, key: int) -> tuple[str, int]:
        host = self._places.host(key)
        return host if isinstance(host, str) else decode_text(host), key & 0xFFFF

    def _names_host(self, mine: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether the header of an answer names an address of the client."""
        address = self._headers.key[mine] & _ADDRESS
        found = np.zeros(len(mine), np.bool_)
        for host in self._association.hosts:
            found |= address == np.uint64(host)
        return found & ~self._outward[mine] & self._headers.whole[mine]

    def _is_no_header(self, mine: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether what reads as a header is none: with RSV and FRAG both set the octets are rather a program's own."""
        return (self._headers.reserved[mine] != 0) & (self._headers.fragment[mine] != 0)

    def _look(self, row: int) -> None:
        """What is odd about a datagram."""
        association, rows, headers = self._association, self._rows, self._headers
        outward, frame = bool(self._outward[row]), int(rows.frame[row])
        party = int(rows.source[row] if outward else rows.destination[row])
        one = np.array([row])
        if association.closed is not None and rows.time[row] > association.closed:
            late = (int(rows.time[row]) - association.closed) / 1e9
            message = f"a datagram {late:.3f} s after the association's TCP connection had ended"
            association.note("udp-after-close", frame, message)
        if not headers.whole[row] or self._is_no_header(one)[0]:
            self._note_no_header(row, outward, party)
            return
        found = decode_udp_header(rows.octets(row))
        if isinstance(found, Decoded):
            for deviation in found.deviations:
                association.note(deviation.code, frame, deviation.message)
        fragment = int(headers.fragment[row])
        if fragment:
            host, port = self._place(int(headers.key[row]))
            association.note("udp-fragmented", frame, f"datagram {host}:{port} is sent in fragments")
            association.queues[outward].add(fragment, frame, int(rows.time[row]))
        if self._names_host(one)[0]:
            self._note_names_client(row, party)

    def _note_no_header(self, row: int, outward: bool, party: int) -> None:
        association, rows = self._association, self._rows
        frame, length = int(rows.frame[row]), int(rows.length[row])
        cut = rows.captured[row] < length and (self._headers.size[row] or rows.captured[row] < 5)
        known = party & 0xFFFF in association.ports or party & 0xFFFF == association.port != 0
        # On the client's own machine another of its ports may be the destination's.
        if not length or cut or not (known or (outward and not association.ports)):
            return
        octets = rows.octets(row)
        if outward and length > 3 and octets[:2] == b"\0\0" and not self._headers.size[row]:
            association.note("unknown-address-type", frame, f"no address type 0x{octets[3]:02x} is known")
            return
        who = "client" if outward else "relay"
        association.note("udp-no-header", frame, f"{length} octets of the {who} have no SOCKS header")

    def _note_names_client(self, row: int, party: int) -> None:
        association = self._association
        key = int(self._headers.key[row])
        host, port = self._place(key)
        place = association.amounts.places.get((host, port))
        if key == party or not (is_loopback(host) or (place is not None and place.sent)):
            message = f"the header of an answer names the client, {host}:{port}, instead of the remote sender"
            association.note("udp-names-client", int(self._rows.frame[row]), message)

    def _list(self, row: int) -> None:
        rows, headers, outward = self._rows, self._headers, bool(self._outward[row])
        host, port = self._place(int(headers.key[row]))
        fragment = int(headers.fragment[row])
        length = int(rows.length[row])
        self._association.frames.append(
            FrameEntry(
                int(rows.frame[row]),
                int(rows.time[row]),
                "client" if outward else "proxy",
                "udp",
                length,
                f"UDP {'to' if outward else 'from'} {host}:{port}, {length - int(headers.size[row])} octets"
                + (f", fragment {fragment:#04x}" if fragment else ""),
            )
        )
