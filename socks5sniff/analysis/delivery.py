"""Datagrams on their way into the associations they belong to: counted by destination, the odd ones looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import ADDRESS_TYPES, Decoded, GssapiMessageType, decode_text, decode_udp_header
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.record import FrameEntry

from .association import MAX_LOOKED, MAX_PORTS, NEVER, Association, Place, Queue, is_loopback
from .datagrams import Copies, Places, UdpRows, headers_of
from .faults import Faults

_ADDRESS = np.uint64(0xFFFF_FFFF_FFFF_0000)
_TOKEN = (1, int(GssapiMessageType.USER_DATA))
"""How a datagram inside a GSSAPI token begins."""


class Delivery:
    """Rows between relays and parties, until each is its association's.

    Attributes:
        rows, headers: what there is, and how it reads.
        outward: bool[n], whether the party sends to the relay.
        relay, party: uint64[n], endpoints.
        sound: bool[n], a party shows by it that it speaks SOCKS.
        like: bool[n], it begins like a header.
        none: bool[n], it has no header, or what cannot be one.
    """

    def __init__(
        self, rows: UdpRows, outward: NDArray[np.bool_], book: AddressBook, keep_frames: bool, keep_numbers: bool
    ) -> None:
        self._places = Places(book)
        self._keep_frames = keep_frames
        self._keep_numbers = keep_numbers
        self._owner = np.full(rows.size, -1, np.int64)
        self._owners: list[Association] = []
        self._numbers: dict[int, int] = {}
        self.rows = rows
        self.headers = headers_of(rows, self._places, book)
        self.outward = outward
        self.relay = np.where(outward, rows.destination, rows.source)
        self.party = np.where(outward, rows.source, rows.destination)
        self.like = (self.headers.size > 0) & (self.headers.reserved == 0)
        self.sound = outward & self.headers.whole & self.like
        self.none = ~self.headers.whole | ((self.headers.reserved != 0) & (self.headers.fragment != 0))

    def names(self, owner: Association, party: int, row: int) -> bool:
        """Whether datagrams that are an association's, and come before this row, name a party as where they go."""
        number = self._numbers.get(id(owner), -2)
        named = (self._owner == number) & (self.headers.key == party) & ~self.none & self.outward
        return bool((named & (self.rows.frame < self.rows.frame[row])).any())

    def give(self, rows: NDArray[np.intp], owner: Association) -> None:
        """These rows, of one pair, are an association's."""
        number = self._numbers.setdefault(id(owner), len(self._owners))
        if number == len(self._owners):
            self._owners.append(owner)
        self._owner[rows] = number

    def without_owner(self, parts: Sequence[NDArray[np.intp]]) -> NDArray[np.intp]:
        """Those of some rows that are no association's, in their order."""
        rows = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.intp)
        return rows[self._owner[rows] < 0]

    def run(self, copies: Copies, faults: Faults) -> None:
        """Count all, each once, and look at the odd ones."""
        try:
            self._run(copies, faults)
        except Exception as error:
            told = faults.note(error)
            for association in self._owners:
                association.fault = association.fault or told

    def _run(self, copies: Copies, faults: Faults) -> None:
        rows, headers, owner = self.rows, self.headers, self._owner
        mine = np.flatnonzero(owner >= 0)
        self._note_answers(mine[~self.outward[mine] & headers.whole[mine]])
        mine = mine[copies.fresh(rows.take(mine))]
        enclosed = np.array([each.enclosed for each in self._owners], np.bool_)[owner[mine]]
        mine = mine[~enclosed | (rows.short[mine, 0] != _TOKEN[0]) | (rows.short[mine, 1] != _TOKEN[1])]
        if not len(mine):
            return
        named = ~self.outward & headers.whole & (headers.key & _ADDRESS == self.party & _ADDRESS)
        odd = mine[headers.odd[mine] | named[mine]]
        self._note_latest(mine)
        counted = mine[~self.none[mine]]
        self._count(counted)
        for row, number, is_none, names in zip(
            odd.tolist(), owner[odd].tolist(), self.none[odd].tolist(), named[odd].tolist(), strict=True
        ):
            try:
                self._look(row, self._owners[number], is_none, names)
            except Exception as error:
                self._owners[number].fault = faults.note(error)
        if self._keep_frames:
            for row in counted.tolist():
                self._owners[owner[row]].frames.append(self._entry(row))
        if self._keep_numbers:
            numbers = rows.frame[counted] * 2 + self.outward[counted]
            for number in np.unique(owner[counted]).tolist():
                self._owners[number].numbers.append(numbers[owner[counted] == number])

    def _note_answers(self, answers: NDArray[np.intp]) -> None:
        """To which ports answers went, and whether they came from where BND says."""
        answers = answers[np.lexsort((self.party[answers], self.relay[answers], self._owner[answers]))]
        columns = self._owner[answers], self.relay[answers], self.party[answers]
        differ = np.ones(len(answers), np.bool_)
        if len(answers):
            differ[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
        for number, relay, party in zip(*(column[differ].tolist() for column in columns), strict=True):
            owner = self._owners[number]
            if len(owner.amounts.answered) < MAX_PORTS:
                owner.amounts.answered.add(party & 0xFFFF)
            owner.bound.served |= relay == owner.bound.named

    def _note_latest(self, mine: NDArray[np.intp]) -> None:
        order = mine[np.lexsort((self.rows.frame[mine], self.rows.time[mine], self._owner[mine]))]
        last = order[np.append(np.diff(self._owner[order]) != 0, True)]
        for number, time, frame in zip(
            self._owner[last].tolist(), self.rows.time[last].tolist(), self.rows.frame[last].tolist(), strict=True
        ):
            amounts = self._owners[number].amounts
            amounts.latest = max(amounts.latest, (time, frame))

    def _count(self, mine: NDArray[np.intp]) -> None:
        """Add up what went to each destination, and came from it, for each association."""
        if not len(mine):
            return
        headers, keys = self.headers, self.headers.key[mine]
        order = np.lexsort((self.outward[mine], keys, self._owner[mine]))
        mine, key = mine[order], keys[order]
        way, owner = self.outward[mine], self._owner[mine]
        edges = (key[1:] != key[:-1]) | (way[1:] != way[:-1]) | (owner[1:] != owner[:-1])
        starts = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), edges)))
        columns = (
            owner[starts], key[starts], way[starts], np.diff(np.append(starts, len(key))),
            np.add.reduceat(self.rows.length[mine] - headers.size[mine], starts),
            np.add.reduceat((headers.fragment[mine] != 0).astype(np.int64), starts),
            np.minimum.reduceat(self.rows.frame[mine], starts),
            np.maximum.reduceat(self.rows.frame[mine], starts),
        )  # fmt: skip
        places = []
        for number, place, outward, count, octets, fragments, first, last in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            amounts, endpoint = self._owners[number].amounts, self._places.endpoint(place)
            places.append((outward, amounts.count(self._place(place), endpoint, outward, count, octets, first)))
            amounts.fragments += fragments
            if outward:
                amounts.last = max(amounts.last, last)
        self._look_inside(mine, starts, places)

    def _look_inside(
        self, mine: NDArray[np.intp], starts: NDArray[np.intp], places: list[tuple[bool, Place | None]]
    ) -> None:
        """Look at the first datagrams to each destination, and then at those from it.

        Args:
            mine: rows by owner, destination and way; starts: where each of these begins; places: what each way goes to
                or comes from.
        """
        bounds = [*starts.tolist(), len(mine)]
        for wanted in (True, False):
            for begin, end, (outward, place) in zip(bounds, bounds[1:], places, strict=False):
                if outward is not wanted or place is None or not place.wants(outward):
                    continue
                for row in mine[begin : min(end, begin + MAX_LOOKED)].tolist():
                    if place.wants(outward) and not self.headers.fragment[row]:
                        place.look(self.rows.octets(row)[int(self.headers.size[row]) :], outward)

    def _place(self, key: int) -> tuple[str, int]:
        host = self._places.host(key)
        return host if isinstance(host, str) else decode_text(host), key & 0xFFFF

    def _look(self, row: int, association: Association, is_none: bool, names: bool) -> None:
        """What is odd about a datagram."""
        headers, frame, time = self.headers, int(self.rows.frame[row]), int(self.rows.time[row])
        if is_none:
            self._note_no_header(row, association)
            return
        found = decode_udp_header(self.rows.octets(row))
        if isinstance(found, Decoded):
            for deviation in found.deviations:
                association.note(deviation.code, frame, deviation.message)
        fragment = int(headers.fragment[row])
        if fragment:
            host, port = self._place(int(headers.key[row]))
            association.note("udp-fragmented", frame, f"datagram {host}:{port} is sent in fragments")
            association.queues.setdefault(bool(self.outward[row]), Queue()).add(fragment, frame, time)
        if names:
            self._note_names_client(row, association)

    def _note_no_header(self, row: int, association: Association) -> None:
        rows, outward = self.rows, bool(self.outward[row])
        frame, length, port = int(rows.frame[row]), int(rows.length[row]), int(self.party[row]) & 0xFFFF
        octets = rows.octets(row)
        reserved = len(octets) > 3 and octets[:2] == b"\0\0"
        known_type = reserved and octets[3] in ADDRESS_TYPES
        cut = rows.captured[row] < length and (self.headers.size[row] or known_type or len(octets) < 5)
        known = association.ports.get(port, NEVER) <= frame or port == association.port != 0
        # On the client's own machine another of its ports may be the destination's.
        if not length or cut or not (known or (outward and not association.had_sent(frame))):
            return
        if outward and reserved and not known_type:
            association.note("unknown-address-type", frame, f"no address type 0x{octets[3]:02x} is known")
            return
        if not outward:
            association.amounts.answered.add(port)
        who = "client" if outward else "relay"
        association.note("udp-no-header", frame, f"{length} octets of the {who} have no SOCKS header")

    def _note_names_client(self, row: int, association: Association) -> None:
        key = int(self.headers.key[row])
        host, port = self._place(key)
        if key == int(self.party[row]) or not (is_loopback(host) or self._sent_before(row, association)):
            message = f"the header of an answer names the client, {host}:{port}, instead of the remote sender"
            association.note("udp-names-client", int(self.rows.frame[row]), message)

    def _sent_before(self, row: int, association: Association) -> bool:
        """Whether the client had sent to where a datagram says that it comes from."""
        place = association.amounts.places.get(self._place(int(self.headers.key[row])))
        if place is None or not place.sent:
            return False
        same = (self._owner == self._owner[row]) & (self.headers.key == self.headers.key[row]) & self.outward
        return place.sent > int(np.count_nonzero(same[row:]))

    def _entry(self, row: int) -> FrameEntry:
        rows, headers, outward = self.rows, self.headers, bool(self.outward[row])
        host, port = self._place(int(headers.key[row]))
        fragment, length = int(headers.fragment[row]), int(rows.length[row])
        return FrameEntry(
            int(rows.frame[row]),
            int(rows.time[row]),
            "client" if outward else "proxy",
            "udp",
            length,
            f"UDP {'to' if outward else 'from'} {host}:{port}, {length - int(headers.size[row])} octets"
            + (f", fragment {fragment:#04x}" if fragment else ""),
        )
