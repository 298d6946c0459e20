"""Addresses outside IP headers: of the link layer, in ARP, in what ICMP tells; and frames that nobody reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.batch import FrameBatch
from socks5sniff.errors import Socks5sniffError
from socks5sniff.packets.columns import Datagrams, Segments
from socks5sniff.packets.kinds import Kind
from socks5sniff.packets.layers import Layers
from socks5sniff.packets.rows import U8, U16, gather

from .headers import ICMP, ICMP6, Packets, replace_addresses, write_addresses
from .options import Options
from .replacements import Replacements

_Octets = NDArray[np.uint8]
_Places = NDArray[np.int64]
_Replaced = Callable[[bytes], bytes]

_MACS: dict[int, tuple[int, ...]] = {
    Kind.ETHERNET: (0, 6),
    Kind.DSA: (0, 6),
    Kind.EDSA: (0, 6),
    Kind.FDDI: (1, 7),
    Kind.TOKEN_RING: (2, 8),
    Kind.WLAN: (4, 10, 16),
    Kind.WLAN_SWAPPED: (4, 10, 16),
    Kind.WLAN_PADDED: (4, 10, 16),
    Kind.SLL: (6,),
    Kind.SLL2: (12,),
}
"""Where MAC addresses are in a header."""
_SIZES = {Kind.ETHERNET: 14, Kind.VLAN: 4, Kind.SLL: 16, Kind.SLL2: 20, Kind.WLAN: 24, Kind.FDDI: 13}
_NAMING = {
    Kind.IPOIB: "InfiniBand",
    Kind.FIREWIRE: "FireWire",
    Kind.FIBRE_CHANNEL: "Fibre Channel",
    Kind.PFLOG: "a packet filter's log",
    Kind.NFLOG: "a netfilter log",
    Kind.TEREDO: "Teredo",
    Kind.EXPORTED: "exported PDUs",
}
"""Headers that name addresses in forms which are not rewritten."""
_ARP = (0x0806, 0x8035)
_TELLING = (67, 68, 137, 138, 520, 521, 546, 547, 1900, 1985, 3702)
"""UDP ports of protocols that tell addresses: DHCP, NetBIOS, RIP, SSDP, HSRP, WS-Discovery."""
_NEIGHBOURS = {133: 8, 134: 16, 135: 24, 136: 24, 137: 40}
"""Neighbour discovery (RFC 4861): octets before the options."""
_REDIRECT = 5
_ROUTING = 43
_ROUTES = (7, 68, 131, 137)
"""IPv4's options that name addresses: routes recorded and wanted, and time stamps."""


class UnwritableError(Socks5sniffError):
    """A frame names addresses that cannot be replaced."""


def bodies(
    batch: FrameBatch,
    layers: Layers,
    packets: list[Packets],
    segments: Segments | None,
    datagrams: Datagrams | None,
) -> _Places:
    """By frame, where the octets begin that no header is read in."""
    found: _Places = batch.offset.copy()
    size = len(batch.octets)
    for kind, rows in layers.layers:
        inside = rows.at < size
        at = rows.at[inside] + _SIZES.get(kind, 0)
        np.maximum.at(found, rows.row[inside], np.minimum(at, rows.end[inside]))
    for each in packets:
        inside = (each.at < size) & (not each.quoted)
        np.maximum.at(found, each.row[inside], np.minimum(each.body, each.end)[inside])
    for columns in (segments, datagrams):
        if columns is not None:
            inside = columns.payload < size
            np.maximum.at(found, columns.frame[inside] - batch.first_number, columns.payload[inside])
    return found


class Addresses:
    """Puts others in place of all addresses outside what TCP and UDP carry.

    Attributes:
        silenced: frames whose octets were overwritten with zeros, because nobody reads them here.
    """

    def __init__(self, options: Options, replaced: Replacements) -> None:
        self.silenced = 0
        self._all = options.addresses
        self._replaced = replaced

    def write(
        self,
        new: _Octets,
        old: _Octets,
        batch: FrameBatch,
        layers: Layers,
        packets: list[Packets],
        bodies: _Places,
        datagrams: Datagrams | None,
    ) -> None:
        """Rewrite a batch's memory `new`, whose octets were `old`."""
        ip = self._replaced.ip
        replace_addresses(new, packets, ip)
        read = np.zeros(len(batch), np.bool_)
        for kind, rows in layers.layers:
            if kind == Kind.OTHER:
                self._arp(new, old, rows.row, rows.at, rows.end, read)
            elif kind in (Kind.TCP, Kind.DATAGRAM):
                read[rows.row] = True
            elif self._all and kind in _NAMING and rows.size:
                raise UnwritableError(
                    f"frame {batch.first_number + int(rows.row[0])}: the headers of {_NAMING[kind]} name addresses "
                    "that cannot be replaced: leave out --addresses, or such frames"
                )
            elif self._all:
                _macs(new, old, kind, rows.at, rows.end, self._replaced.mac)
        for each in packets:
            if self._all:
                _forget_routes(new, old, each)
                _refuse_routes(old, batch, each)
            read[each.row[np.isin(each.protocol, (ICMP, ICMP6, -1))]] = True
            self._control(new, old, each)
        if self._all:
            if datagrams is not None:
                _silence_telling(new, datagrams)
            self._silence(new, batch, bodies, read)

    def _arp(
        self, new: _Octets, old: _Octets, row: _Places, at: _Places, end: _Places, read: NDArray[np.bool_]
    ) -> None:
        """ARP and RARP for IPv4 over what has MAC addresses."""
        there = (at >= 20) & (at + 28 <= end)
        row, at = row[there], at[there]
        named = np.isin(gather(old, at - 2, U16), _ARP) | np.isin(gather(old, at - 20, U16), _ARP)
        usual = (gather(old, at + 2, U16) == 0x0800) & (gather(old, at + 4, U16) == 0x0604)
        row, at = row[named & usual], at[named & usual]
        read[row] = True
        for offset in (14, 24):
            write_addresses(new, at + offset, 4, self._replaced.ip)
        for offset in (8, 18):
            write_addresses(new, at + offset, 6, self._replaced.mac)

    def _control(self, new: _Octets, old: _Octets, packets: Packets) -> None:
        """Addresses in ICMP's own fields."""
        ip, mac = self._replaced.ip, self._replaced.mac
        if packets.version == 4:
            redirects = packets.take((packets.protocol == ICMP) & (packets.body + 8 <= packets.end))
            redirects = redirects.take(gather(old, redirects.body, U8) == _REDIRECT)
            write_addresses(new, redirects.body + 4, 4, ip)
            return
        control = packets.take((packets.protocol == ICMP6) & (packets.body + 8 <= packets.end))
        for body, end in zip(control.body.tolist(), control.end.tolist(), strict=True):
            for at, size in _told(old[body:end].tobytes()):
                octets = old[body + at : body + at + size].tobytes()
                put = mac(octets) if size == 6 else ip(octets)
                new[body + at : body + at + size] = np.frombuffer(put, np.uint8)

    def _silence(self, new: _Octets, batch: FrameBatch, bodies: _Places, read: NDArray[np.bool_]) -> None:
        """Zeros in place of what nobody reads: it may name anybody."""
        ends = batch.offset + batch.captured
        rows = np.flatnonzero(~read & (bodies < ends))
        for start, end in zip(bodies[rows].tolist(), ends[rows].tolist(), strict=True):
            new[start:end] = 0
        self.silenced += len(rows)


def _forget_routes(new: _Octets, old: _Octets, packets: Packets) -> None:
    """Zeros in place of the routes in IPv4's options (RFC 791 s3.1)."""
    if packets.version != 4:
        return
    longer = packets.take(gather(old, packets.at, U8) & 15 > 5)
    for at, end in zip((longer.at + 20).tolist(), np.minimum(longer.body, longer.end).tolist(), strict=True):
        while at + 2 < end and old[at]:
            size = 1 if old[at] == 1 else max(int(old[at + 1]), 2)
            if old[at] in _ROUTES:
                new[at + 3 : min(at + size, end)] = 0
            at += size


def _refuse_routes(old: _Octets, batch: FrameBatch, packets: Packets) -> None:
    if packets.version != 6:
        return
    for row in packets.row[gather(old, packets.at + 6, U8) == _ROUTING][:1].tolist():
        raise UnwritableError(
            f"frame {batch.first_number + row}: a routing header names addresses that cannot be replaced: leave out "
            "--addresses, or such frames"
        )


def _macs(new: _Octets, old: _Octets, kind: int, at: _Places, end: _Places, mac: _Replaced) -> None:
    if kind in (Kind.SLL, Kind.SLL2) and len(at):
        sizes = gather(old, at + 4, U16) if kind == Kind.SLL else gather(old, at + 11, U8)
        at, end = at[sizes == 6], end[sizes == 6]
    for offset in _MACS.get(kind, ()):
        write_addresses(new, at[at + offset + 6 <= end] + offset, 6, mac)


def _silence_telling(new: _Octets, datagrams: Datagrams) -> None:
    ports = np.stack((datagrams.source, datagrams.destination)) & np.uint64(0xFFFF)
    for row in np.flatnonzero(np.isin(ports, _TELLING).any(0)).tolist():
        place = int(datagrams.payload[row])
        new[place : place + int(datagrams.captured[row])] = 0


def _told(octets: bytes) -> Iterator[tuple[int, int]]:
    """Where addresses are in an ICMPv6 message, and their sizes: 16, or 6 of a MAC address."""
    kind = octets[0]
    if kind in (130, 131, 132) and len(octets) >= 24:
        yield 8, 16
    if kind == 143:
        at = 8
        while at + 20 <= len(octets):
            sources = octets[at + 2] << 8 | octets[at + 3]
            for number in range(1 + sources):
                if at + 4 + 16 * (number + 1) <= len(octets):
                    yield at + 4 + 16 * number, 16
            at += 20 + 16 * sources + 4 * octets[at + 1]
        return
    if kind not in _NEIGHBOURS:
        return
    behind = _NEIGHBOURS[kind]
    for at in range(8, behind if kind >= 135 else 8, 16):
        if at + 16 <= len(octets):
            yield at, 16
    yield from _options(octets, behind)


def _options(octets: bytes, at: int) -> Iterator[tuple[int, int]]:
    while at + 8 <= len(octets) and octets[at + 1]:
        kind, end = octets[at], at + 8 * octets[at + 1]
        if kind in (1, 2):
            yield at + 2, 6
        elif kind == 3 and at + 32 <= len(octets):
            yield at + 16, 16
        elif kind == 25:
            for place in range(at + 8, min(end, len(octets)) - 15, 16):
                yield place, 16
        at = end
