"""From frame batches to TCP segments and UDP datagrams."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..capture.batch import FrameBatch, Interface, Process
from .addresses import AddressBook
from .columns import Datagrams, Segments
from .envelopes import ENVELOPES
from .fragments import FragmentKey, Reassembler
from .headers import HeaderPass, Tables
from .icmp import ICMP, Reported
from .internet import INTERNET
from .kinds import IP_PROTOCOLS, KINDS, LINKS, Kind
from .layers import Layer, Layers, Piece
from .link_names import LINK_NAMES
from .links import LINK_PEELERS
from .marks import FrameMarks, Networks, Processes
from .rows import Rows, Skipped
from .transport import TcpColumns, UdpColumns, merged, read_tcp, read_udp
from .tunnels import TUNNELS
from .udp_tunnels import UDP_TUNNELS
from .wlan import WLAN_PEELERS

_ROUNDS = 4
"""Fragments of fragments: so many layers of them are put together."""
_NOTHING = np.empty(0, np.uint8)
_PEELERS = LINK_PEELERS | WLAN_PEELERS | ENVELOPES | INTERNET | TUNNELS | UDP_TUNNELS | ICMP
_Columns = TypeVar("_Columns", TcpColumns, UdpColumns)


class _Packet(NamedTuple):
    """A packet put together from fragments: octets that lie in no frame as they are."""

    row: int
    octets: bytes
    kind: int
    source: int
    destination: int
    pieces: list[Piece]
    """Places count from the packet's beginning."""


class UnknownLink(NamedTuple):
    """An interface none of whose frames can be read."""

    capture: str
    link_type: int
    frame: int
    """Number of its first frame."""

    @property
    def name(self) -> str:
        """What libpcap's registry calls the link type, empty for one that it does not list."""
        return LINK_NAMES.get(self.link_type, "")


class PacketReader:
    """Reads the headers of frames.

    Keeps IP fragments and IPv6 addresses between batches. Bad input is counted, never raised.

    Attributes:
        addresses: the IPv6 addresses behind the endpoints.
        skipped: frames that gave neither a segment nor a datagram.
        errors: what ICMP says of datagrams in the batch that was read last.
        marks: the networks and processes that columns number.
        unknown_links: interfaces that frames came from whose link type is not known.
        layers: where the headers of the last batch are, for who wants them kept; None for nobody.
    """

    def __init__(self) -> None:
        self.addresses = AddressBook()
        self.skipped = Skipped()
        self.unknown_links: list[UnknownLink] = []
        self.errors: list[Reported] = []
        self.layers: Layers | None = None
        self.marks = Networks(), Processes()
        self._tables = Tables(self.addresses, *self.marks)
        self._reassembler = Reassembler()
        self._fragments: list[list[Piece]] = []
        self._links = _LinkTypes()
        self._noted: set[tuple[str, int]] = set()

    def keep_lost(self) -> None:
        """Remember the frames of IP packets that are not completed."""
        self._reassembler.lost = []

    def unfinished(self) -> list[int]:
        """Numbers of the frames of IP packets that were not completed; they are not counted as skipped any more."""
        frames, others = self._reassembler.unfinished()
        self.skipped.fragments = others
        return frames

    @property
    def networks(self) -> list[str]:
        """Names of the networks that the column `network` numbers: `vlan 10`, `vni 5001`; the first is none, ""."""
        return self._tables.networks.names

    @property
    def processes(self) -> list[Process]:
        """The processes that the column `process` numbers; the first is none."""
        return self._tables.processes.known

    @property
    def not_understood(self) -> dict[str, int]:
        """Frames that could have held TCP or UDP, by what is in the way (`EtherType 0x8926`), most frequent first."""
        return self.skipped.not_understood

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
        marks = self._marks(batch)
        if self.layers is not None:
            self.layers.clear()
        found = self._pass(batch.octets, marks, 0)
        types = self._links.of(batch.interfaces)
        if self._links.unsupported:
            self._note_unknown_links(batch, types)
        found.follow(LINKS, types.take(batch.interface) if len(types) > 1 else np.broadcast_to(types, len(batch)), rows)
        found.run()
        self.errors = [
            Reported(batch.first_number + error.row, int(batch.time[error.row]), error) for error in found.errors
        ]
        tcp = [read_tcp(batch.octets, merged(found.tcp), self.skipped)]
        udp = [read_udp(batch.octets, merged(found.udp), self.skipped)]
        memories = [batch.octets]
        base = 0
        for _ in range(_ROUNDS):
            packets = self._put_together(batch, memories[-1], base, found) if found.fragments else []
            if not packets:
                break
            packets.sort(key=lambda packet: packet.row)
            base += len(memories[-1])
            memories.append(np.frombuffer(b"".join(packet.octets for packet in packets), np.uint8))
            found = self._read_packets(memories[-1], base, marks, packets)
            tcp.append(_moved(read_tcp(memories[-1], merged(found.tcp), self.skipped), base))
            udp.append(_moved(read_udp(memories[-1], merged(found.udp), self.skipped), base))
        else:
            self.skipped.malformed += sum(group.rows.size for group in found.fragments)
        spill = np.concatenate(memories[1:]) if len(memories) > 1 else _NOTHING
        return _segments(batch, marks, spill, _in_order(tcp)), _datagrams(batch, marks, spill, _in_order(udp))

    def _pass(self, memory: NDArray[np.uint8], marks: FrameMarks, base: int) -> HeaderPass:
        layers = self.layers
        if layers is None:
            return HeaderPass(memory, self._tables, self.skipped, marks, _PEELERS)

        def trace(kind: int, rows: Rows) -> None:
            there = rows._replace(at=rows.at + base, end=rows.end + base, wire=rows.wire + base)
            layers.layers.append(Layer(kind, there))

        return HeaderPass(memory, self._tables, self.skipped, marks, _PEELERS, trace)

    def _marks(self, batch: FrameBatch) -> FrameMarks:
        """The marks of a batch, with the processes that the capture file itself names."""
        marks = FrameMarks(len(batch))
        if batch.process is not None and batch.process.any():
            number = self._tables.processes.number
            numbers = np.array([number(process) for process in batch.processes], np.int32)
            marks.process = numbers.take(np.abs(batch.process)) * np.sign(batch.process)
        return marks

    def _note_unknown_links(self, batch: FrameBatch, types: NDArray[np.uint16]) -> None:
        unread = LINKS.kinds.take(types.take(batch.interface)) == Kind.UNSUPPORTED
        numbers, rows = np.unique(batch.interface[unread], return_index=True)
        rows = np.flatnonzero(unread)[rows]
        for number, row in sorted(zip(numbers.tolist(), rows.tolist(), strict=True), key=lambda pair: pair[1]):
            capture, _, link_type = batch.interfaces[number]
            if (capture, link_type) not in self._noted:
                self._noted.add((capture, link_type))
                self.unknown_links.append(UnknownLink(capture, link_type, batch.first_number + row))

    def _read_packets(
        self, memory: NDArray[np.uint8], base: int, marks: FrameMarks, packets: list[_Packet]
    ) -> HeaderPass:
        """The headers of packets that lie one behind another in the memory."""
        sizes = np.array([len(packet.octets) for packet in packets], np.int64)
        at = np.cumsum(sizes) - sizes
        rows = Rows(
            np.array([packet.row for packet in packets], np.int64),
            at,
            at + sizes,
            at + sizes,
            np.array([packet.source for packet in packets], np.uint64),
            np.array([packet.destination for packet in packets], np.uint64),
        )
        if self.layers is not None:
            for packet, place in zip(packets, at.tolist(), strict=True):
                self.layers.starts.add(base + place)
                for piece in packet.pieces:
                    self.layers.add(piece._replace(place=base + place + piece.place))
        found = self._pass(memory, marks, base)
        found.follow(KINDS, np.array([packet.kind for packet in packets], np.uint8), rows)
        found.run()
        return found

    def _put_together(
        self, batch: FrameBatch, memory: NDArray[np.uint8], base: int, found: HeaderPass
    ) -> list[_Packet]:
        """The packets that the fragments of this pass complete."""
        networks = found.marks.network
        pieces = [
            (row, at, end, wire, source, destination, protocol, identification, start, more)
            for group in found.fragments
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
                batch.interfaces[int(batch.interface[row])].name,
                0 if networks is None else int(networks[row]),
                addresses.packed(source),
                addresses.packed(destination),
                -1 if source >> 63 else protocol,
                identification,
            )
            whole = self._reassembler.add(
                key,
                int(batch.time[row]),
                start * 8,
                memory[at:end].tobytes(),
                not more,
                protocol,
                None if self.layers is None else self._fragment(batch, row, base + at, end - at),
                batch.first_number + row,
            )
            if whole is not None:
                packets.append(
                    _Packet(
                        row,
                        whole.octets,
                        int(IP_PROTOCOLS.kinds[whole.protocol]),
                        addresses.make(key.source, 0),
                        addresses.make(key.destination, 0),
                        [piece for part in whole.parts for piece in self._pieces(*part)],
                    )
                )
        self.skipped.fragments = self._reassembler.dropped
        return packets

    def _fragment(self, batch: FrameBatch, row: int, place: int, length: int) -> int:
        """A number for a fragment, by which its frame is found again."""
        assert self.layers is not None
        if place < len(batch.octets):
            origins = [Piece(0, length, batch.first_number + row, place - int(batch.offset[row]))]
        else:
            origins = [piece._replace(place=piece.place - place) for piece in self.layers.origins(place, length)]
        self._fragments.append(origins)
        return len(self._fragments) - 1

    def _pieces(self, start: int, length: int, number: int) -> list[Piece]:
        """Where a fragment's octets are, from the beginning of its packet."""
        return [piece._replace(place=start + piece.place) for piece in self._fragments[number]]


class _LinkTypes:
    """The link types of a growing list of interfaces, as a column.

    Attributes:
        unsupported: one of them cannot be read.
    """

    def __init__(self) -> None:
        self.unsupported = False
        self._interfaces: list[Interface] = []
        self._types = np.empty(0, np.uint16)
        self._count = 0

    def of(self, interfaces: list[Interface]) -> NDArray[np.uint16]:
        """The link type of each interface; what is known of the list already is not looked at again."""
        if interfaces is not self._interfaces:
            self._interfaces, self._count, self.unsupported = interfaces, 0, False
        if len(interfaces) > self._count:
            if len(interfaces) > len(self._types):
                self._types = np.concatenate((self._types[: self._count], np.zeros(2 * len(interfaces), np.uint16)))
            new = [min(interface.link_type, 0xFFFF) for interface in interfaces[self._count :]]
            self._types[self._count : len(interfaces)] = new
            self.unsupported |= bool((LINKS.kinds.take(new) == Kind.UNSUPPORTED).any())
            self._count = len(interfaces)
        return self._types[: self._count]


def _moved(columns: _Columns, base: int) -> _Columns:
    return columns._replace(payload=columns.payload + base)


def _in_order(parts: list[_Columns]) -> _Columns:
    parts = [part for part in parts if len(part.row)] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    joined = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    order = np.argsort(joined[0], kind="stable")
    return type(parts[0])(*(column[order] for column in joined))


def _segments(batch: FrameBatch, marks: FrameMarks, spill: NDArray[np.uint8], tcp: TcpColumns) -> Segments:
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
        network=np.zeros(len(tcp.row), np.int32) if marks.network is None else marks.network.take(tcp.row),
        process=None if marks.process is None else marks.process.take(tcp.row),
    )


def _datagrams(batch: FrameBatch, marks: FrameMarks, spill: NDArray[np.uint8], udp: UdpColumns) -> Datagrams:
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
        network=np.zeros(len(udp.row), np.int32) if marks.network is None else marks.network.take(udp.row),
        ident=np.full(len(udp.row), -1, np.int32) if marks.ident is None else marks.ident.take(udp.row),
        process=None if marks.process is None else marks.process.take(udp.row),
    )


def _provenance(batch: FrameBatch, row: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    """Time and capture of these rows; the batch's own columns where all rows are there."""
    if len(row) == len(batch) and (np.diff(row) == 1).all():
        return batch.time, batch.interface
    return batch.time.take(row), batch.interface.take(row)
