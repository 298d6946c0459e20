"""Datagrams between clients and relays as columns: their headers, and which of them are copies of another.

A SOCKS UDP header is `RSV(2) FRAG ATYP DST.ADDR DST.PORT` (RFC 1928 s7). Where datagrams go or come from is one number
each, as endpoints are; a name's is its place in a list that lives as long as the rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import domain_deviations
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import IPV6, Datagrams, payload_octet, payload_octets
from socks5sniff.streams.heads import SHORT, windows

from .tunnel.quic import READABLE

MAX_HEADER = 262
"""RSV, FRAG, ATYP, a 255-octet name with its length, and the port."""
MAX_INITIAL = 2048
"""Octets of a datagram with a QUIC client's first packet: it has to fit through any path (RFC 9000 s14.1)."""
COPY = 100_000
"""Nanoseconds within which the same datagram is a copy (bridge, veth, VLANs): not every sender numbers its packets, and
what a program says again comes later."""
MAX_COPIES = 65_536
"""Datagrams remembered because a copy of them may follow."""

_NAMED = 1 << 62
_TELLING = 12
"""Octets that tell: the header of a DNS message."""
_PRIMES = tuple(np.uint64(prime) for prime in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))


class UdpRows(NamedTuple):
    """Datagrams, a row each.

    Attributes:
        frame, time, source, destination, length, ident: see `Datagrams`.
        captured: octets that are there.
        short: uint8[n, SHORT], the first octets, zeros behind them.
        long: object[n], the first 2 * MAX_HEADER octets where the header and what tells DNS and QUIC behind it, or a
            DNS query, is longer than `short`, and MAX_INITIAL more where QUIC's first packet may be; else None.
    """

    frame: NDArray[np.int64]
    time: NDArray[np.int64]
    source: NDArray[np.uint64]
    destination: NDArray[np.uint64]
    length: NDArray[np.int64]
    captured: NDArray[np.int64]
    ident: NDArray[np.int32]
    short: NDArray[np.uint8]
    long: NDArray[np.object_]

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.frame)

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> UdpRows:
        """Some of the rows."""
        return UdpRows._make(column[chosen] for column in self)

    def octets(self, row: int) -> bytes:
        """The first octets of a row, as far as a header can reach."""
        whole = self.long[row]
        if whole is not None:
            return bytes(whole)
        return self.short[row, : min(int(self.captured[row]), SHORT)].tobytes()

    @staticmethod
    def of(datagrams: Datagrams, rows: NDArray[np.intp]) -> UdpRows:
        """Copy rows out of a batch."""
        start, captured = datagrams.payload[rows], datagrams.captured[rows]
        short = windows(datagrams, start, captured)
        long: NDArray[np.object_] = np.full(len(rows), None, np.object_)
        behind = _Behind(short)
        initial = behind.begins_quic() | behind.far
        beyond = (captured > SHORT) & (behind.asks() | initial)
        for row in np.flatnonzero(beyond).tolist():
            limit = 2 * MAX_HEADER + MAX_INITIAL * int(initial[row])
            long[row] = payload_octets(datagrams, int(rows[row]), limit)
        return UdpRows(
            datagrams.frame[rows],
            datagrams.time[rows],
            datagrams.source[rows],
            datagrams.destination[rows],
            datagrams.length[rows],
            captured,
            datagrams.ident[rows],
            short,
            long,
        )

    @staticmethod
    def join(parts: list[UdpRows]) -> UdpRows:
        """Rows of several parts, in the order of the parts."""
        return parts[0] if len(parts) == 1 else UdpRows._make(map(np.concatenate, zip(*parts, strict=True)))


class _Behind:
    """The first octets behind the header of each datagram: what they look like may need more than `short`.

    Attributes:
        far: bool[n], not all that tells is in `short`: it is behind a long name.
    """

    def __init__(self, short: NDArray[np.uint8]) -> None:
        self._short = short
        self._rows = np.arange(len(short))
        size = np.select([short[:, 3] == 1, short[:, 3] == 4], [10, 22], 7 + short[:, 4].astype(np.int64))
        self.far: NDArray[np.bool_] = (short[:, 3] == 3) & (size > SHORT - _TELLING)
        self._at = np.minimum(size, SHORT - _TELLING)

    def asks(self) -> NDArray[np.bool_]:
        """Which look like a DNS query."""
        found: NDArray[np.bool_] = (self._octet(2) & 0xF8) == 0
        for place, wanted in enumerate((0, 1, 0, 0, 0, 0), 4):
            found &= self._octet(place) == wanted
        return found

    def begins_quic(self) -> NDArray[np.bool_]:
        """Which look like an Initial packet of QUIC: a long header of a version that can be read."""
        found: NDArray[np.bool_] = (self._octet(0) & 0xC0) == 0xC0
        if found.any():
            version = np.zeros(len(self._rows), np.int64)
            for place in range(1, 5):
                version = version << 8 | self._octet(place)
            found &= np.isin(version, READABLE)
        return found

    def _octet(self, place: int) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self._short[self._rows, self._at + place]
        return found


class UdpHeaders(NamedTuple):
    """The headers of rows.

    Attributes:
        whole: bool[n], there is a header, in full.
        reserved, fragment, size: RSV, FRAG, octets of the header (0 where the address type is in no table).
        key: uint64[n], where the datagram goes or comes from; see `Places`.
        odd: bool[n], something about the header deserves a closer look.
    """

    whole: NDArray[np.bool_]
    reserved: NDArray[np.int64]
    fragment: NDArray[np.uint8]
    size: NDArray[np.int64]
    key: NDArray[np.uint64]
    odd: NDArray[np.bool_]


class Places:
    """What the keys of headers mean."""

    def __init__(self, book: AddressBook) -> None:
        self._book = book
        self._names: list[bytes] = []
        self._numbers: dict[bytes, int] = {}

    def name(self, name: bytes, port: int) -> int:
        """The key of a name and a port."""
        number = self._numbers.setdefault(name, len(self._names))
        if number == len(self._names):
            self._names.append(name)
        return _NAMED | number << 16 | port

    def endpoint(self, key: int) -> int | None:
        """The endpoint that a key names, None for a name."""
        return None if key & _NAMED and not key & IPV6 else key

    def host(self, key: int) -> bytes | str:
        """A name's octets, or an address in text."""
        return self._names[(key ^ _NAMED) >> 16] if self.endpoint(key) is None else self._book.endpoint_address(key)


def headers_of(rows: UdpRows, places: Places, book: AddressBook) -> UdpHeaders:
    """Read the headers of rows, as far as there are any."""
    short = rows.short
    kind = short[:, 3]
    size = np.select([kind == 1, kind == 4, kind == 3], [10, 22, 7 + short[:, 4].astype(np.int64)], 0)
    whole = (size > 0) & (rows.captured >= size)
    reserved = short[:, 0].astype(np.int64) << 8 | short[:, 1]
    key = np.zeros(rows.size, np.uint64)
    odd = ~whole | (reserved != 0) | (short[:, 2] != 0)
    four = np.flatnonzero(whole & (kind == 1))
    for at in range(4, 10):
        key[four] = key[four] << np.uint64(8) | short[four, at]
    six = np.flatnonzero(whole & (kind == 4))
    if len(six):
        halves = np.ascontiguousarray(short[six, 4:20]).view(np.uint64).reshape(len(six), 2)
        key[six] = book.intern(halves[:, 0], halves[:, 1]) | short[six, 20].astype(np.uint64) << 8 | short[six, 21]
    names: dict[bytes, bool] = {}
    for row in np.flatnonzero(whole & (kind == 3)).tolist():
        octets = rows.octets(row)[5 : int(size[row])]
        name = octets[:-2]
        if name not in names:
            names[name] = bool(domain_deviations(name))
        odd[row] |= names[name]
        key[row] = places.name(name, int.from_bytes(octets[-2:], "big"))
    return UdpHeaders(whole, reserved, short[:, 2], size, key, odd)


def header_like(datagrams: Datagrams, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Those of these rows that can begin with a SOCKS UDP header: RSV 0000 and a known ATYP."""
    for position, wanted in ((0, (0,)), (1, (0,)), (3, (1, 3, 4))):
        rows = rows[np.isin(payload_octet(datagrams, rows, position), wanted)]
    return rows


class Copies:
    """Which datagrams are the same as another: equal identification, payload and direction, within a short time.

    The payload's beginning and its length stand for all of it. IPv6 numbers no packets, so there nothing is a copy.
    """

    def __init__(self) -> None:
        self._keys = np.empty(0, np.uint64)
        self._times = np.empty(0, np.int64)

    def fresh(self, rows: UdpRows) -> NDArray[np.bool_]:
        """Whether each row is the first of its kind."""
        key = (rows.ident.astype(np.uint64) ^ rows.source) * _PRIMES[2]
        for word in np.ascontiguousarray(rows.short).view(np.uint64).reshape(rows.size, SHORT // 8).T:
            key = (key ^ word) * _PRIMES[1]
        key = (key ^ rows.destination) * _PRIMES[0] ^ rows.length.astype(np.uint64)
        numbered = np.flatnonzero(rows.ident >= 0)
        keys = np.concatenate((self._keys, key[numbered]))
        times = np.concatenate((self._times, rows.time[numbered]))
        order = np.argsort(keys, kind="stable")
        again = (keys[order][1:] == keys[order][:-1]) & (np.abs(np.diff(times[order])) <= COPY)
        copies = np.zeros(len(keys), np.bool_)
        copies[order[1:][again]] = True
        fresh = np.ones(rows.size, np.bool_)
        fresh[numbered] = ~copies[len(self._keys) :]
        recent = times > times.max(initial=0) - COPY
        self._keys, self._times = keys[recent][-MAX_COPIES:], times[recent][-MAX_COPIES:]
        return fresh
