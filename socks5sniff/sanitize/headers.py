"""Headers of the internet layer in a batch: where addresses are in them, and which octets checksums cover."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.kinds import Kind
from socks5sniff.packets.layers import Layer
from socks5sniff.packets.rows import U8, U16, gather

from .checksums import Changes

Places = NDArray[np.int64]
_Octets = NDArray[np.uint8]

ICMP, TCP, UDP, GRE, AUTHENTICATION, FRAGMENT, ICMP6 = 1, 6, 17, 47, 51, 44, 58
_EXTENSIONS = (0, 43, 60, 135, 139, 140)
_CHAIN = 8
_QUOTING4 = np.array([3, 4, 5, 11, 12])
_QUOTING6 = np.array([1, 2, 3, 4])
_FIELD = {TCP: 16, UDP: 6, ICMP: 2, ICMP6: 2}
_PSEUDO = (TCP, UDP, ICMP6)
"""Protocols whose checksums cover the addresses too (ICMPv6 has one, ICMP has not)."""
_NONE = -1


class Packets(NamedTuple):
    """IP packets that were found together, as columns.

    Attributes:
        version: 4 or 6.
        row: their rows in the batch.
        at: where the IP header is.
        body: where what follows it begins.
        end: where the captured octets end.
        protocol: what follows; -1 where it is a fragment's octets, or cut off.
        quoted: they are in an ICMP message.
    """

    version: int
    row: Places
    at: Places
    body: Places
    end: Places
    protocol: NDArray[np.int64]
    quoted: bool

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Packets:
        """Some of them."""
        row, at, body, end, protocol = (column[chosen] for column in self[1:6])
        return Packets(self.version, row, at, body, end, protocol, self.quoted)

    @property
    def addresses(self) -> tuple[Places, int]:
        """Where the first of the two addresses is, and the size of each."""
        return (self.at + 12, 4) if self.version == 4 else (self.at + 8, 16)


def packets(memory: _Octets, layers: list[Layer]) -> list[Packets]:
    """All IP packets, outer ones before those in them; packets that ICMP quotes come behind the one they are in."""
    found: list[Packets] = []
    for kind, rows in layers:
        if kind in (Kind.IPV4, Kind.IPV6):
            read = _read4 if kind == Kind.IPV4 else _read6
            whole = read(memory, rows.row, rows.at, rows.end, quoted=False)
            found.append(whole)
            quotes = _quotes(memory, whole)
            if len(quotes[0]):
                found.append(read(memory, *quotes, quoted=True))
    return found


def _read4(memory: _Octets, row: Places, at: Places, end: Places, quoted: bool) -> Packets:
    there = at + 20 <= end
    row, at, end = row[there], at[there], end[there]
    first = gather(memory, at, U8).astype(np.int64)
    total = gather(memory, at + 2, U16).astype(np.int64)
    fragment = gather(memory, at + 6, U16).astype(np.int64) & 0x3FFF
    protocol = gather(memory, at + 9, U8).astype(np.int64)
    body = at + np.maximum((first & 15) * 4, 20)
    end = np.where((total > 0) & (at + total >= body), np.minimum(end, at + total), end)
    sound = first >> 4 == 4
    protocol[(fragment != 0) | (body > end)] = _NONE
    return Packets(4, row, at, body, end, protocol, quoted).take(sound)


def _read6(memory: _Octets, row: Places, at: Places, end: Places, quoted: bool) -> Packets:
    there = at + 40 <= end
    row, at, end = row[there], at[there], end[there]
    sound = gather(memory, at, U8) >> 4 == 6
    row, at, end = row[sound], at[sound], end[sound]
    payload = gather(memory, at + 4, U16).astype(np.int64)
    protocol = gather(memory, at + 6, U8).astype(np.int64)
    end = np.where(payload > 0, np.minimum(end, at + 40 + payload), end)
    body = at + 40
    for _ in range(_CHAIN):
        more = np.isin(protocol, (*_EXTENSIONS, FRAGMENT, AUTHENTICATION))
        protocol[more & (body + 8 > end)] = _NONE
        more &= protocol != _NONE
        if not more.any():
            break
        places, kinds = body[more], protocol[more]
        sizes = gather(memory, places + 1, U8).astype(np.int64)
        steps = np.where(kinds == FRAGMENT, 8, np.where(kinds == AUTHENTICATION, sizes * 4 + 8, sizes * 8 + 8))
        pieces = (kinds == FRAGMENT) & (gather(memory, places + 2, U16) & 0xFFF9 != 0)
        following = gather(memory, places, U8).astype(np.int64)
        protocol[more] = np.where(pieces, _NONE, following)
        body[more] = places + steps
    protocol[body > end] = _NONE
    return Packets(6, row, at, body, end, protocol, quoted)


def _quotes(memory: _Octets, packets: Packets) -> tuple[Places, Places, Places]:
    """Row, place and end of the packets that ICMP errors quote."""
    own, types = (ICMP, _QUOTING4) if packets.version == 4 else (ICMP6, _QUOTING6)
    chosen = packets.take((packets.protocol == own) & (packets.body + 8 < packets.end))
    chosen = chosen.take(np.isin(gather(memory, chosen.body, U8), types))
    return chosen.row, chosen.body + 8, chosen.end


def silence_quotes(memory: _Octets, found: list[Packets]) -> None:
    """Overwrite with zeros what ICMP messages quote of the octets that packets carry."""
    for packets in found:
        if not packets.quoted:
            continue
        for body, end, protocol in zip(
            packets.body.tolist(), packets.end.tolist(), packets.protocol.tolist(), strict=True
        ):
            kept = body if protocol == _NONE else body + 8
            if protocol == TCP and body + 13 <= end:
                kept = body + max((int(memory[body + 12]) >> 4) * 4, 20)
            memory[min(kept, end) : end] = 0


def replace_addresses(memory: _Octets, found: list[Packets], replaced: Callable[[bytes], bytes]) -> None:
    """Put others in place of the addresses in IP headers."""
    for packets in found:
        at, size = packets.addresses
        write_addresses(memory, at, size, replaced)
        write_addresses(memory, at + size, size, replaced)


def write_addresses(memory: _Octets, at: Places, size: int, replaced: Callable[[bytes], bytes]) -> None:
    """Put others in place of addresses of one size."""
    if not len(at):
        return
    octets = memory[at[:, None] + np.arange(size)]
    distinct, place = np.unique(octets, axis=0, return_inverse=True)
    new = np.frombuffer(b"".join(replaced(row.tobytes()) for row in distinct), np.uint8).reshape(-1, size)
    memory[at[:, None] + np.arange(size)] = new[place.ravel()]


def adjust(changes: Changes, found: list[Packets]) -> None:
    """Adjust the checksums of packets whose octets were changed, inner ones first."""
    for packets in reversed(found):
        if not len(changes.places):
            return
        _adjust_bodies(changes, packets)
        if packets.version == 4:
            changes.again()
            changes.adjust(packets.at + 10, changes.sums(packets.at, packets.at + 20) + _options(changes, packets))
        changes.again()


def _options(changes: Changes, packets: Packets) -> Places:
    head = np.minimum(packets.at + (gather(changes.new, packets.at, U8).astype(np.int64) & 15) * 4, packets.end)
    return changes.sums(packets.at + 20, np.maximum(head, packets.at + 20))


def _adjust_bodies(changes: Changes, packets: Packets) -> None:
    for protocol, field in _FIELD.items():
        chosen = packets.protocol == protocol
        if (protocol == ICMP and packets.version == 6) or not chosen.any():
            continue
        mine = packets.take(chosen & (packets.body + field + 2 <= packets.end))
        starts, ends = mine.body, mine.end
        if protocol == UDP:
            said = gather(changes.old, mine.body + 4, U16).astype(np.int64)
            ends = np.where(said >= 8, np.minimum(ends, starts + said), ends)
        sums = changes.sums(starts, np.maximum(ends, starts))
        if protocol in _PSEUDO:
            at, size = mine.addresses
            sums = sums + changes.sums(at, at + 2 * size)
        changes.adjust(mine.body + field, sums, optional=protocol == UDP)
    _adjust_gre(changes, packets)


def _adjust_gre(changes: Changes, packets: Packets) -> None:
    """GRE has a checksum where its first bit says so (RFC 2784)."""
    mine = packets.take((packets.protocol == GRE) & (packets.body + 8 <= packets.end))
    mine = mine.take(gather(changes.new, mine.body, U8) & 0x80 != 0)
    if len(mine.at):
        changes.adjust(mine.body + 4, changes.sums(mine.body, mine.end))

