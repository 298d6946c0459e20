"""From frame batches to TCP segments and UDP datagrams."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..capture.batch import FrameBatch, Interface
from .addresses import AddressBook
from .columns import Datagrams, Segments
from .dissect import Dissector
from .fragments import FragmentKey, Reassembler
from .headers import Fragments, HeaderPass
from .internet import INTERNET
from .kinds import IP_PROTOCOLS, KINDS, LINK_TYPES, Kind
from .links import LINKS
from .rows import Rows, Skipped
from .transport import TcpColumns, UdpColumns, merged, read_tcp, read_udp
from .tunnels import TUNNELS

_ROUNDS = 4
"""Fragments of fragments: so many layers of them are put together."""
_NOTHING = np.empty(0, np.uint8)
_PEELERS = LINKS | INTERNET | TUNNELS
_Columns = TypeVar("_Columns", TcpColumns, UdpColumns)


class _Packet(NamedTuple):
    """Octets that lie in no frame as they are: a packet put together from fragments, or found by the dissector."""

    row: int
    octets: bytes
    wire: int
    kind: int
    source: int = 0
    destination: int = 0


class UnknownLink(NamedTuple):
    """An interface none of whose frames can be read."""

    capture: str
    link_type: int
    frame: int
    """Number of its first frame."""


class PacketReader:
    """Reads the headers of frames.

    Keeps IP fragments and IPv6 addresses between batches. Bad input is counted, never raised.

    Attributes:
        addresses: the IPv6 addresses behind the endpoints.
        skipped: frames that gave neither a segment nor a datagram.
        unknown_links: interfaces that frames came from whose link type is not known.
    """

    def __init__(self) -> None:
        self.addresses = AddressBook()
        self.skipped = Skipped()
        self.unknown_links: list[UnknownLink] = []
        self._reassembler = Reassembler()
        self._dissector = Dissector()
        self._interfaces: list[Interface] = []
        self._kinds = np.empty(0, np.uint8)

    def read(self, batch: FrameBatch) -> tuple[Segments, Datagrams]:
        """The TCP segments and UDP datagrams of a batch, in file order.

        Of packets in tunnels, the innermost one counts.
        """
        nowhere = np.zeros(len(batch), np.uint64)
        rows = Rows(
            np.arange(len(batch)),
            batch.offset,
            batch.offset + batch.captured,
            batch.offset + batch.length,
            nowhere,
            nowhere,
        )
        found = HeaderPass(batch.octets, self.addresses, self.skipped, _PEELERS)
        kinds = self._link_kinds(batch.interfaces)
        if (kinds == Kind.UNSUPPORTED).any():
            self._note_unknown_links(batch, kinds)
        found.follow(kinds, batch.interface, rows)
        found.run()
        tcp = [read_tcp(batch.octets, merged(found.tcp), self.skipped)]
        udp = [read_udp(batch.octets, merged(found.udp), self.skipped)]
        packets = self._dissect(batch, found.unknown) if found.unknown else []
        memories = [batch.octets]
        base = 0
        for _ in range(_ROUNDS):
            if found.fragments:
                packets += self._put_together(batch, memories[-1], found.fragments)
            if not packets:
                break
            packets.sort(key=lambda packet: packet.row)
            base += len(memories[-1])
            memories.append(np.frombuffer(b"".join(packet.octets for packet in packets), np.uint8))
            found = self._read_packets(memories[-1], packets)
            tcp.append(_moved(read_tcp(memories[-1], merged(found.tcp), self.skipped), base))
            udp.append(_moved(read_udp(memories[-1], merged(found.udp), self.skipped), base))
            packets = []
        else:
            self.skipped.malformed += sum(group.rows.size for group in found.fragments)
        spill = np.concatenate(memories[1:]) if len(memories) > 1 else _NOTHING
        return _segments(batch, spill, _in_order(tcp)), _datagrams(batch, spill, _in_order(udp))

    def _link_kinds(self, interfaces: list[Interface]) -> NDArray[np.uint8]:
        """The kind of header that frames of each interface begin with."""
        if interfaces is not self._interfaces or len(interfaces) != len(self._kinds):
            kinds = [LINK_TYPES.get(interface.link_type, Kind.UNSUPPORTED) for interface in interfaces]
            self._interfaces = interfaces
            self._kinds = np.array(kinds, np.uint8)
        return self._kinds

    def _note_unknown_links(self, batch: FrameBatch, kinds: NDArray[np.uint8]) -> None:
        known = {link[:2] for link in self.unknown_links}
        numbers, rows = np.unique(batch.interface, return_index=True)
        for number, row in sorted(zip(numbers.tolist(), rows.tolist(), strict=True), key=lambda pair: pair[1]):
            capture, _, link_type = batch.interfaces[number]
            if kinds[number] == Kind.UNSUPPORTED and (capture, link_type) not in known:
                known.add((capture, link_type))
                self.unknown_links.append(UnknownLink(capture, link_type, batch.first_number + row))

    def _read_packets(self, memory: NDArray[np.uint8], packets: list[_Packet]) -> HeaderPass:
        """The headers of packets that lie one behind another in the memory."""
        sizes = np.array([len(packet.octets) for packet in packets], np.int64)
        at = np.cumsum(sizes) - sizes
        rows = Rows(
            np.array([packet.row for packet in packets], np.int64),
            at,
            at + sizes,
            at + np.array([packet.wire for packet in packets], np.int64),
            np.array([packet.source for packet in packets], np.uint64),
            np.array([packet.destination for packet in packets], np.uint64),
        )
        found = HeaderPass(memory, self.addresses, self.skipped, _PEELERS)
        found.follow(KINDS, np.array([packet.kind for packet in packets], np.uint8), rows)
        found.run()
        return found

    def _put_together(self, batch: FrameBatch, memory: NDArray[np.uint8], groups: list[Fragments]) -> list[_Packet]:
        """The packets that the fragments of this pass complete."""
        pieces = [
            (row, at, end, wire, source, destination, protocol, identification, start, more)
            for group in groups
            for row, at, end, wire, source, destination, protocol, identification, start, more in zip(
                *(column.tolist() for column in (*group.rows, *group[1:])), strict=True
            )
        ]
        packets: list[_Packet] = []
        addresses = self.addresses
        for row, at, end, wire, source, destination, protocol, identification, start, more in sorted(pieces):
            if end < wire:
                self.skipped.cut += 1
                continue
            key = FragmentKey(
                int(batch.interface[row]),
                addresses.packed(source),
                addresses.packed(destination),
                -1 if source >> 63 else protocol,
                identification,
            )
            whole = self._reassembler.add(
                key, int(batch.time[row]), start * 8, memory[at:end].tobytes(), not more, protocol
            )
            if whole is not None:
                packets.append(
                    _Packet(
                        row,
                        whole.octets,
                        len(whole.octets),
                        int(IP_PROTOCOLS[whole.protocol]),
                        addresses.make(key.source, 0),
                        addresses.make(key.destination, 0),
                    )
                )
        self.skipped.fragments = self._reassembler.dropped
        return packets

    def _dissect(self, batch: FrameBatch, groups: list[Rows]) -> list[_Packet]:
        """The IP packets that scapy finds in frames whose link layer is not read column-wise."""
        frames = [(row, batch.frame(row)) for group in groups for row in group.row.tolist()]
        likely = [(row, frame) for row, frame in frames if self._dissector.may_hold_ip(frame)]
        self.skipped.other += len(frames) - len(likely)
        if not likely:
            return []
        links = [(batch.interfaces[batch.interface[row]].link_type, frame) for row, frame in likely]
        packets: list[_Packet] = []
        for (row, frame), octets in zip(likely, self._dissector.ip_packets(links), strict=True):
            if octets is None:
                self.skipped.unsupported += 1
            else:
                cut = int(batch.length[row]) - len(frame)
                packets.append(_Packet(row, octets, len(octets) + cut, Kind.RAW_IP))
        return packets


def _moved(columns: _Columns, base: int) -> _Columns:
    return columns._replace(payload=columns.payload + base)


def _in_order(parts: list[_Columns]) -> _Columns:
    parts = [part for part in parts if len(part.row)] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    joined = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    order = np.argsort(joined[0], kind="stable")
    return type(parts[0])(*(column[order] for column in joined))


def _segments(batch: FrameBatch, spill: NDArray[np.uint8], tcp: TcpColumns) -> Segments:
    time, capture = _provenance(batch, tcp.row)
    return Segments(
        octets=batch.octets,
        spill=spill,
        frame=tcp.row + batch.first_number,
        time=time,
        capture=capture,
        source=tcp.source,
        destination=tcp.destination,
        sequence=tcp.sequence,
        acknowledgment=tcp.acknowledgment,
        flags=tcp.flags,
        payload=tcp.payload,
        length=tcp.length,
        captured=tcp.captured,
    )


def _datagrams(batch: FrameBatch, spill: NDArray[np.uint8], udp: UdpColumns) -> Datagrams:
    time, capture = _provenance(batch, udp.row)
    return Datagrams(
        octets=batch.octets,
        spill=spill,
        frame=udp.row + batch.first_number,
        time=time,
        capture=capture,
        source=udp.source,
        destination=udp.destination,
        payload=udp.payload,
        length=udp.length,
        captured=udp.captured,
    )


def _provenance(batch: FrameBatch, row: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    """Time and capture of these rows; the batch's own columns where all rows are there."""
    if len(row) == len(batch) and (np.diff(row) == 1).all():
        return batch.time, batch.interface
    return batch.time.take(row), batch.interface.take(row)
