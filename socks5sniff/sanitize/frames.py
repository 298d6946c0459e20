"""A batch's frames rewritten: everything that is to be overwritten, in place, and the checksums after it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.batch import FrameBatch
from socks5sniff.codec import AddressType, Decoded, decode_gssapi, decode_udp_header, readable_spans
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import Datagrams, Segments, payload_octet
from socks5sniff.packets.kinds import Kind
from socks5sniff.packets.layers import Layers

from . import headers
from .checksums import Changes
from .links import Addresses, bodies
from .messages import PORTS, places
from .options import Options, What
from .positions import Placed
from .quic import sealed
from .replacements import Replacements
from .search import Search
from .survey import Survey

_QUIC, _QUIC_HEADER = 0xC0, 48
_ADDRESS = 0xFFFF_FFFF_FFFF_0000
_PORT = np.uint64(0xFFFF)
_Octets = NDArray[np.uint8]


class Taken(NamedTuple):
    """A batch, and what was read of it.

    Attributes:
        layers: where its headers are.
        placed: its segments by positions in streams.
        segments, datagrams: all of them, None where there are none.
    """

    batch: FrameBatch
    layers: Layers
    placed: Placed
    segments: Segments | None
    datagrams: Datagrams | None

    @property
    def memory(self) -> _Octets:
        """The batch's octets, and the spill behind them."""
        read = self.segments or self.datagrams
        if read is None or not len(read.spill):
            return self.batch.octets
        return np.concatenate((self.batch.octets, read.spill))


class Late:
    """What is to be written into frames of earlier batches: fragments of packets that were put together later."""

    def __init__(self) -> None:
        self._by_frame: dict[int, list[tuple[int, bytes]]] = {}

    def note(self, changes: Changes, taken: Taken) -> None:
        """Changes behind a batch's octets lie in packets that were put together."""
        where = changes.places[changes.places >= len(taken.batch.octets)]
        if not len(where):
            return
        for run in np.split(where, np.flatnonzero(np.diff(where) != 1) + 1):
            for piece in taken.layers.origins(int(run[0]), len(run)):
                octets = changes.new[piece.place : piece.place + piece.length].tobytes()
                self._by_frame.setdefault(piece.frame, []).append((piece.offset, octets))

    def write(self, batch: FrameBatch, memory: _Octets) -> None:
        """Write what is due in a batch's frames."""
        if not self._by_frame:
            return
        for frame in self._by_frame.keys() & set(range(batch.first_number, batch.first_number + len(batch))):
            start = int(batch.offset[frame - batch.first_number])
            for offset, octets in self._by_frame[frame]:
                memory[start + offset : start + offset + len(octets)] = np.frombuffer(octets, np.uint8)


class Frames:
    """Rewrites batches.

    Args:
        options: what is to be overwritten.
        survey: what was found.
        search: strings to be overwritten wherever they are.
        replaced: what stands for octets.
        book: the addresses behind endpoints.
        late: what is to be written into frames before their packets are whole.

    Attributes:
        addresses: what was done with addresses outside TCP's and UDP's octets.
    """

    def __init__(
        self,
        options: Options,
        survey: Survey,
        search: Search,
        replaced: Replacements,
        book: AddressBook,
        late: Late,
    ) -> None:
        self.addresses = Addresses(options, replaced)
        self._options = options
        self._survey = survey
        self._search = search
        self._replaced = replaced
        self._book = book
        self._late = late
        self._relays = np.array(sorted(survey.relays), np.uint64)
        self._remotes = np.array(sorted(survey.remotes), np.uint64)
        self._proxies = np.unique(self._relays & np.uint64(_ADDRESS))
        self._tunnels = np.array(sorted(survey.tunnels), np.int64)
        self._tunnel_starts = np.array([survey.tunnels[key] for key in self._tunnels.tolist()], np.int64)

    def rewrite(self, taken: Taken) -> tuple[FrameBatch, Changes]:
        """The batch with its octets overwritten, and what changed in its memory and the spill behind it."""
        batch, old = taken.batch, taken.memory
        new = old.copy()
        cuts = batch.captured.copy()
        self._late.write(batch, new)
        placed = taken.placed
        for ranges in (self._survey.copies, self._survey.ranges):
            for row, at, octets in ranges.overlapping(placed.key, placed.start, placed.length):
                place = int(placed.place[row]) + at
                new[place : place + len(octets)] = np.frombuffer(octets, np.uint8)
        packets = headers.packets(old, taken.layers.layers)
        headers.silence_quotes(new, packets)
        self._blank_tunnels(new, taken, cuts)
        self._write_datagrams(new, old, taken, cuts)
        behind = bodies(batch, taken.layers, packets, taken.segments, taken.datagrams)
        if self._options.hides_addresses:
            self.addresses.write(new, old, batch, taken.layers, packets, behind, taken.datagrams)
        self._write_found(new, batch, behind)
        changes = Changes(old, new)
        if len(changes.places):
            headers.adjust(changes, packets)
            self._adjust_assembled(changes, taken.layers)
            changes.again()
        return replace(batch, octets=new[: len(batch.octets)], captured=cuts), changes

    # -- what tunnels and associations carry ---------------------------------------------------------------------

    def _blank_tunnels(self, new: _Octets, taken: Taken, cuts: NDArray[np.int64]) -> None:
        keys, placed = self._tunnels, taken.placed
        if self._options.payload is None or not len(keys) or taken.segments is None or not len(placed.key):
            return
        at = np.minimum(np.searchsorted(keys, placed.key), len(keys) - 1)
        ahead = np.maximum(self._tunnel_starts[at] - placed.start, 0)
        rows = np.flatnonzero((keys[at] == placed.key) & (ahead < placed.length))
        starts, lengths = placed.place[rows] + ahead[rows], placed.length[rows] - ahead[rows]
        self._blank(new, taken, taken.segments.frame[placed.row[rows]], starts, lengths, cuts)

    def _blank(
        self,
        new: _Octets,
        taken: Taken,
        frames: NDArray[np.int64],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        cuts: NDArray[np.int64],
    ) -> None:
        """Zeros in place of octets; where tunnels are cut, the frame ends where they begin."""
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            new[start : start + length] = 0
        if self._options.payload == "cut":
            batch = taken.batch
            inside = starts < len(batch.octets)
            rows = (frames - batch.first_number)[inside]
            np.minimum.at(cuts, rows, starts[inside] - batch.offset[rows])

    def _write_datagrams(self, new: _Octets, old: _Octets, taken: Taken, cuts: NDArray[np.int64]) -> None:
        datagrams = taken.datagrams
        if datagrams is None:
            return
        relayed = self._relayed(datagrams)
        self._blank_passed_on(new, taken, datagrams, relayed, cuts)
        for row in np.flatnonzero(relayed).tolist():
            self._relay(new, old, taken, datagrams, row, cuts)
        if not self._options.hides_addresses:
            return
        ports = np.stack((datagrams.source & _PORT, datagrams.destination & _PORT))
        for row in np.flatnonzero(np.isin(ports, PORTS).any(0) & ~relayed).tolist():
            place, length = int(datagrams.payload[row]), int(datagrams.captured[row])
            octets = old[place : place + length].tobytes()
            for start, end, what in places(octets, self._options):
                self._put(new, np.arange(place + start, place + end), octets[start:end], what)
        for row in np.flatnonzero(payload_octet(datagrams, np.arange(len(datagrams)), 0) >= _QUIC).tolist():
            place, length = int(datagrams.payload[row]), int(datagrams.captured[row])
            begin = sealed(old[place : place + min(length, _QUIC_HEADER)].tobytes())
            if begin is not None and self._options.destinations:
                new[place + begin : place + length] = 0

    def _blank_passed_on(
        self,
        new: _Octets,
        taken: Taken,
        datagrams: Datagrams,
        relayed: NDArray[np.bool_],
        cuts: NDArray[np.int64],
    ) -> None:
        """Blank what relays pass on to destinations, and get from them."""
        if self._options.payload is None or not len(self._remotes):
            return
        ends = np.stack((datagrams.source, datagrams.destination))
        remote, proxy = np.isin(ends, self._remotes), np.isin(ends & np.uint64(_ADDRESS), self._proxies)
        rows = np.flatnonzero((remote & proxy[::-1]).any(0) & ~relayed)
        self._blank(new, taken, datagrams.frame[rows], datagrams.payload[rows], datagrams.captured[rows], cuts)

    def _relayed(self, datagrams: Datagrams) -> NDArray[np.bool_]:
        """Which datagrams go between a client and its relay."""
        found = np.zeros(len(datagrams), np.bool_)
        if not len(self._relays):
            return found
        survey = self._survey
        near = np.isin(datagrams.destination, self._relays) | np.isin(datagrams.source, self._relays)
        for row in np.flatnonzero(near).tolist():
            ends = int(datagrams.source[row]), int(datagrams.destination[row])
            for relay, party in (ends[::-1], ends):
                hosts = survey.relays.get(relay)
                found[row] |= hosts is not None and (party & _ADDRESS in hosts or party not in survey.remotes)
        return found

    def _relay(
        self, new: _Octets, old: _Octets, taken: Taken, datagrams: Datagrams, row: int, cuts: NDArray[np.int64]
    ) -> None:
        """A datagram with a SOCKS header, in clear or in a readable token."""
        place, length = int(datagrams.payload[row]), int(datagrams.captured[row])
        where = _inside(old[place : place + length].tobytes()) + place
        plain = old[where].tobytes()
        found = decode_udp_header(plain)
        if not isinstance(found, Decoded):
            return
        address, size = found.frame.destination, found.length
        if self._options.hides_addresses:
            at = where[size - 2 - len(address.host) : size - 2]
            self._put(new, at, address.host, What.HOST if address.type == AddressType.DOMAIN else What.ADDRESS)
            if address.port in PORTS and not found.frame.fragment:
                for start, end, what in places(plain[size:], self._options):
                    self._put(new, where[size + start : size + end], plain[size + start : size + end], what)
        begin = sealed(plain[size : size + _QUIC_HEADER]) if self._options.destinations else None
        if begin is not None:
            new[where[size + begin :]] = 0
        if self._options.payload is not None and size < len(plain):
            new[where[size:]] = 0
            self._blank(new, taken, datagrams.frame[row : row + 1], where[size : size + 1], np.zeros(1, np.int64), cuts)

    def _put(self, new: _Octets, where: NDArray[np.int64], octets: bytes, what: int) -> None:
        if octets and (what != What.HOST or self._options.destinations):
            new[where] = np.frombuffer(self._replaced(octets, what), np.uint8)

    # -- wherever it is ------------------------------------------------------------------------------------------

    def _write_found(self, new: _Octets, batch: FrameBatch, behind: NDArray[np.int64]) -> None:
        """Overwrite what is looked for, wherever it is behind the headers."""
        size = len(batch.octets)
        for at, length, kind in self._search.find(new):
            if kind in (What.CREDENTIALS, What.HOST_LINE):
                continue
            if at < size:
                row = int(np.searchsorted(batch.offset, at, "right")) - 1
                if row < 0 or at < behind[row] or at + length > int(batch.offset[row] + batch.captured[row]):
                    continue
            octets = self._replaced(new[at : at + length].tobytes(), kind)
            new[at : at + length] = np.frombuffer(octets, np.uint8)

    def _adjust_assembled(self, changes: Changes, layers: Layers) -> None:
        """Adjust the checksums of packets that were put together."""
        for kind, rows in layers.layers if layers.starts else ():
            if kind not in (Kind.TCP, Kind.UDP):
                continue
            field = 16 if kind == Kind.TCP else 6
            mine = rows.take(np.flatnonzero(np.isin(rows.at, [*layers.starts]) & (rows.at + field + 2 <= rows.end)))
            if mine.size:
                changes.again()
                sums = changes.sums(mine.at, mine.end) + self._moved(mine.source) + self._moved(mine.destination)
                changes.adjust(mine.at + field, sums, optional=kind == Kind.UDP)

    def _moved(self, endpoints: NDArray[np.uint64]) -> NDArray[np.int64]:
        """By how much the sum of addresses changes where these stand in a pseudo-header."""
        packed = map(self._book.packed, endpoints.tolist())
        return np.array([_sum(self._replaced.ip(address)) - _sum(address) for address in packed], np.int64)


def _inside(octets: bytes) -> NDArray[np.int64]:
    """Where in a datagram what it says is: everywhere, or inside a readable token."""
    token = decode_gssapi(octets) if octets[:2] == b"\1\3" else None
    spans = readable_spans(token.frame.token) if isinstance(token, Decoded) else None
    if spans is None:
        return np.arange(len(octets))
    return np.concatenate([np.arange(4 + begin, 4 + end) for begin, end in spans])


def _sum(octets: bytes) -> int:
    return sum(octets[::2]) * 256 + sum(octets[1::2])
