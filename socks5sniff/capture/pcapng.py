"""pcapng files (draft-ietf-opsawg-pcapng): blocks in sections, each section with interfaces of its own."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .batch import INTERFACE_LIMIT, FrameBatch, Interface, Process
from .chain import RECORD_LIMIT, Layout, Memory, chain
from .decode import DamageError, headers, parts
from .pcap import link_type

SECTION = b"\x0a\x0d\x0d\x0a"
"""Type of the block that begins a section, the same in both byte orders."""

PROCESS_LIMIT = 65_536
"""Processes of a section and of one reading; frames of later ones belong to nobody."""

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_PROCESS = 0x8000_0001
"""Apple's process information block; its packet blocks have an option with the block's number in the section."""
_OF_PROCESS, _FLAGS, _NAME = 0x8001, 2, 2
_NAME_LIMIT = 256
_OPTIONS = 16
"""Options of a packet block that are looked at."""
_REACH = 16 << 10
"""Octets that are searched for records at first, behind a section whose byte order was another one's."""
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_SECTION_LEAST = 28
_NANO = 1_000_000_000
_TIME_LIMIT = 1 << 62
"""Times beyond this many nanoseconds (the year 2116) are held there, so that no sum overflows."""


class _Description(NamedTuple):
    """One interface description: index in the shared list, if_tsresol, if_tsoffset in nanoseconds, snapshot length."""

    number: int
    resolution: int
    offset: int
    snaplen: int


class _Scope(NamedTuple):
    """Which descriptions a block may refer to: the section's first row in a table, and how many rows it has so far."""

    interface: int
    interfaces: int
    process: int
    processes: int


class PcapngDecoder:
    """Decodes one pcapng file; see `decode.Decoder`."""

    def __init__(self, name: str, interfaces: list[Interface], processes: list[Process] | None = None) -> None:
        """
        Args:
            name: the capture's name.
            interfaces: the list that all batches share; the file's interfaces are added to it.
            processes: the same for processes; a list of its own where there is none.
        """
        self.rest = 0
        self._name = name
        self._interfaces = interfaces
        self._layout: Layout | None = None
        self._slots = _Rows(4)
        self._described = 0
        self._known: dict[tuple[int, Interface], int] = {}
        self._processes = _Processes([] if processes is None else processes)

    @property
    def layout(self) -> Layout | None:
        """What block headers look like; None before the first section."""
        return self._layout

    @property
    def mark(self) -> bytes:
        """See `chain`."""
        return _PACKET.to_bytes(4, "big" if self._layout is not None and self._layout.order == ">" else "little")

    @property
    def described(self) -> int:
        """Grows with each block that later frames need to be understood."""
        return self._described

    def go_on(self, interfaces: list[Interface]) -> None:
        """Decode another part of the file, whose batches share a list of interfaces of their own."""
        known, self._interfaces = self._interfaces, interfaces
        interfaces.extend(known)

    def batches(self, memory: Memory, octets: NDArray[np.uint8], begin: int, end: int) -> Iterator[FrameBatch]:
        """See `decode.Decoder`."""
        self.rest = begin
        reach = end - begin
        while True:
            if memory[begin : begin + 4] == SECTION and end - begin >= _SECTION_LEAST:
                self._layout = _section_layout(memory, begin)
            if self._layout is None:
                return
            layout = self._layout
            stop = min(begin + reach, end)
            starts, self.rest = chain(memory, begin, stop, layout, self.mark)
            yield from self._frames(memory, octets, starts, layout)
            begin = self.rest
            another = memory[begin : begin + 4] == SECTION and end - begin >= _SECTION_LEAST
            if another and _section_layout(memory, begin) != layout:
                reach = _REACH  # byte orders may change again soon, and a search to the end each time would be long
            elif stop < end:
                reach *= 2
            else:
                return

    def needed(self, memory: Memory, begin: int, end: int) -> int:
        """See `decode.Decoder`."""
        have = end - begin
        section = have >= 4 and memory[begin : begin + 4] == SECTION
        if have < (_SECTION_LEAST if section else 12):
            return _SECTION_LEAST if section else 12
        layout = _section_layout(memory, begin) if section else self._layout
        if layout is None:
            raise DamageError("damaged: it does not begin with a section", begin)
        size = layout.size(memory, begin)
        if size > RECORD_LIMIT or size < (_SECTION_LEAST if section else 12):
            raise DamageError(f"damaged: a block that claims {size:,} octets", begin)
        return size

    def _frames(
        self, memory: Memory, octets: NDArray[np.uint8], starts: NDArray[np.int64], layout: Layout
    ) -> Iterator[FrameBatch]:
        """Batches of the packet blocks among the blocks at `starts`."""
        kinds = headers(memory, starts, 4, layout.order)[:, 0]
        described = np.flatnonzero((kinds == _INTERFACE) | (kinds == _SECTION) | (kinds == _PROCESS))
        self._described += len(described)
        slots, processes, fault = self._slots, self._processes, None
        slots.forget()
        processes.blocks.forget()
        changes = [0]
        scopes = [_Scope(0, len(slots), 0, len(processes.blocks))]
        for row in described.tolist():
            start = int(starts[row])
            try:
                if kinds[row] == _INTERFACE:
                    slots.append(self._describe(memory, start, layout, len(slots) - slots.base))
                elif kinds[row] == _PROCESS:
                    processes.add(_process(memory, start, layout))
                elif _section_layout(memory, start) == layout:
                    slots.begin()
                    processes.blocks.begin()
                else:
                    starts, self.rest = starts[:row], start
                    break
            except DamageError as damage:
                starts, fault = starts[:row], damage
                break
            changes.append(row)
            blocks = processes.blocks
            scopes.append(_Scope(slots.base, len(slots) - slots.base, blocks.base, len(blocks) - blocks.base))
        scope = np.array(scopes, np.int64)
        if len(scopes) > 1:
            scope = np.repeat(scope, np.diff([*changes, len(starts)]), axis=0)
        else:
            scope = np.broadcast_to(scope, (len(starts), 4))
        row = 0
        for part in parts(starts):
            yield from self._batch(memory, octets, part, layout, scope[row : row + len(part)], slots.table())
            row += len(part)
        if fault is not None:
            raise fault

    def _batch(
        self,
        memory: Memory,
        octets: NDArray[np.uint8],
        starts: NDArray[np.int64],
        layout: Layout,
        scope: NDArray[np.int64],
        table: NDArray[np.int64],
    ) -> Iterator[FrameBatch]:
        """One batch of the packet blocks at `starts`.

        Args:
            scope: the columns of `_Scope` for each block.
            table: the columns of `_Description`.
        """
        header = headers(memory, starts, 28, layout.order)
        kinds = header[:, 0]
        sizes = (header[:, 1].astype(np.int64) + 3) & -4
        trailers = headers(memory, starts + sizes - 4, 4, layout.order)[:, 0]
        bad = trailers != header[:, 1]
        simple = kinds == _SIMPLE_PACKET
        old = kinds == _OLD_PACKET
        packets = (kinds == _PACKET) | simple | old

        interface = header[:, 2].astype(np.int64)
        if old.any():
            interface[old] = interface[old] >> 16 if layout.order == ">" else interface[old] & 0xFFFF
        interface[simple] = 0
        unknown = packets & (interface >= scope[:, 1])
        slot = np.where(packets & ~unknown, scope[:, 0] + interface, 0)
        ticks = header[:, 3].astype(np.uint64) << np.uint64(32) | header[:, 4]
        captured = header[:, 5].astype(np.int64)
        length = header[:, 6].astype(np.int64)
        offset = starts + 28
        if simple.any():
            ticks[simple] = 0
            length[simple] = header[simple, 2]
            snaplen = table[slot[simple], 3]
            captured[simple] = np.minimum(length[simple], np.where(snaplen > 0, snaplen, RECORD_LIMIT))
            captured[simple] = np.minimum(captured[simple], sizes[simple] - 16)
            offset[simple] -= 16
        overlong = packets & (offset + captured > starts + sizes - 4)

        bad |= unknown | overlong
        stop = int(bad.argmax()) if bad.any() else len(starts)
        rows = np.flatnonzero(packets[:stop])
        if len(rows):
            chosen = slice(None) if len(rows) == len(starts) else rows
            slot = slot[chosen]
            time = _nanoseconds(ticks[chosen], table[slot, 1])
            time += table[slot, 2]
            time[simple[chosen]] = 0
            yield FrameBatch(
                octets=octets,
                offset=offset[chosen],
                captured=captured[chosen],
                length=np.maximum(length[chosen], captured[chosen]),
                time=time,
                first_number=1,
                interface=table[slot, 0].astype(np.uint16),
                interfaces=self._interfaces,
                process=self._process_column(memory, starts[:stop][chosen], layout, scope[:stop][chosen]),
                processes=self._processes.known,
            )
        if stop < len(starts):
            what = "a block whose two lengths differ"
            if unknown[stop]:
                what = f"a frame of interface {interface[stop]}, of which there is no description"
            elif overlong[stop]:
                what = f"a frame of {captured[stop]:,} octets in a block of {sizes[stop]:,}"
            raise DamageError(f"damaged: {what}", int(starts[stop]))

    def _process_column(
        self, memory: Memory, starts: NDArray[np.int64], layout: Layout, scope: NDArray[np.int64]
    ) -> NDArray[np.int32] | None:
        """`FrameBatch.process` of the packet blocks at `starts`."""
        if not scope[-1, 3]:
            return None
        header = headers(memory, starts, 28, layout.order)
        captured = header[:, 5].astype(np.int64)
        stop = starts + (header[:, 1].astype(np.int64) + 3 & -4) - 4
        at = np.where(header[:, 0] == _PACKET, starts + 28 + (captured + 3 & -4), stop)
        index = np.full(len(starts), -1, np.int64)
        inbound = np.zeros(len(starts), np.bool_)
        for _ in range(_OPTIONS):
            rows = np.flatnonzero(at + 8 <= stop)
            if not len(rows):
                break
            words = headers(memory, at[rows], 8, layout.order).astype(np.int64)
            code, length = words[:, 0] & 0xFFFF, words[:, 0] >> 16
            if layout.order == ">":
                code, length = length, code
            of_process, flags = (code == _OF_PROCESS) & (length == 4), (code == _FLAGS) & (length == 4)
            index[rows[of_process]] = words[of_process, 1]
            inbound[rows[flags]] = words[flags, 1] & 3 == 1
            at[rows] = np.where(code == 0, stop[rows], at[rows] + 4 + (length + 3 & -4))
        there = (index >= 0) & (index < scope[:, 3])
        numbers = self._processes.blocks.table()[np.where(there, scope[:, 2] + index, 0), 0] * there
        numbers[inbound] *= -1
        column: NDArray[np.int32] = numbers.astype(np.int32)
        return column

    def _describe(self, memory: Memory, start: int, layout: Layout, place: int) -> _Description:
        """The interface that the description block at `start` describes, number `place` of its section."""
        size = layout.size(memory, start)
        if size < 20:
            raise DamageError(f"damaged: an interface description of {size} octets", start)
        link, snaplen = struct.unpack_from(layout.order + "H2xI", memory, start + 8)
        name, resolution, offset = "", 6, 0
        for code, value in _options(memory, start + 16, start + size - 4, layout):
            if code == 2:
                name = value.decode("utf-8", "replace")
            elif code == 9 and len(value) == 1:
                resolution = value[0]
            elif code == 14 and len(value) == 8:
                offset = struct.unpack(layout.order + "q", value)[0]
        interface = Interface(self._name, name, link_type(link))
        # Sections that describe the same interfaces again (captures joined with cat) share their entries.
        index = self._known.setdefault((place, interface), len(self._interfaces))
        if index >= INTERFACE_LIMIT or place >= INTERFACE_LIMIT:
            raise DamageError(f"more than {INTERFACE_LIMIT:,} interfaces", start)
        if index == len(self._interfaces):
            self._interfaces.append(interface)
        offset = max(-_TIME_LIMIT, min(offset * _NANO, _TIME_LIMIT))
        return _Description(index, resolution, offset, snaplen)


class _Rows:
    """Rows of numbers, of which those of earlier sections can be forgotten.

    Attributes:
        base: the first row of the present section.
    """

    def __init__(self, width: int) -> None:
        self.base = 0
        self._rows = np.zeros((16, width), np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, row: tuple[int, ...]) -> None:
        """One more row of the present section."""
        if self._count == len(self._rows):
            self._rows = np.concatenate((self._rows, np.zeros_like(self._rows)))
        self._rows[self._count] = row
        self._count += 1

    def begin(self) -> None:
        """A new section."""
        self.base = self._count

    def forget(self) -> None:
        """Leaves only the present section's rows."""
        if self.base:
            self._rows = np.concatenate((self._rows[self.base :], self._rows[: self.base]))
            self._count -= self.base
            self.base = 0

    def table(self) -> NDArray[np.int64]:
        """All rows; at least one, of zeros where none was appended."""
        return self._rows[: max(self._count, 1)]


class _Processes:
    """The processes that a capture names.

    Attributes:
        known: all of them; the first is none.
        blocks: for each process block, the number of its process.
    """

    def __init__(self, known: list[Process]) -> None:
        self.known = known
        self.blocks = _Rows(1)
        if not known:
            known.append(Process(0, ""))
        self._numbers: dict[Process, int] = {}

    def add(self, process: Process) -> None:
        """One more process block."""
        if len(self.blocks) - self.blocks.base >= PROCESS_LIMIT:
            return
        number = self._numbers.get(process, 0)
        if not number and len(self.known) < PROCESS_LIMIT:
            number = self._numbers[process] = len(self.known)
            self.known.append(process)
        self.blocks.append((number,))


def _process(memory: Memory, start: int, layout: Layout) -> Process:
    """The process that the block at `start` describes."""
    size = layout.size(memory, start)
    pid = struct.unpack_from(layout.order + "i", memory, start + 8)[0] if size >= 16 else 0
    name = b""
    for code, value in _options(memory, start + 12, start + size - 4, layout):
        if code == _NAME:
            name = value[:_NAME_LIMIT].partition(b"\0")[0]
    return Process(max(pid, 0), name.decode("utf-8", "replace"))


def _options(memory: Memory, at: int, stop: int, layout: Layout) -> Iterator[tuple[int, bytes]]:
    """Code and value of a block's options."""
    unpack = struct.Struct(layout.order + "HH").unpack_from
    while at + 4 <= stop:
        code, length = unpack(memory, at)
        if code == 0 or at + 4 + length > stop:
            return
        yield code, bytes(memory[at + 4 : at + 4 + length])
        at += 4 + (length + 3 & -4)


def _section_layout(memory: Memory, start: int) -> Layout:
    """How blocks look in the section whose header block is at `start`."""
    magic = bytes(memory[start + 8 : start + 12])
    if magic == _BYTE_ORDER_MAGIC.to_bytes(4, "little"):
        order = "<"
    elif magic == _BYTE_ORDER_MAGIC.to_bytes(4, "big"):
        order = ">"
    else:
        raise DamageError("damaged: a section header without its byte-order magic", start)
    major = struct.unpack_from(order + "H", memory, start + 12)[0]
    if major != 1:
        raise DamageError(f"pcapng of version {major}, which is not known", start)
    return Layout(order, size_at=4, extra=0, least=12, align=4, mark_at=0, mark_size=4)


def _nanoseconds(ticks: NDArray[np.uint64], resolutions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ticks as nanoseconds. The resolution (if_tsresol) is a negative power of 10, or of 2 where the top bit is set."""
    if (resolutions == resolutions[0]).all():
        return _scaled(ticks, int(resolutions[0]))
    time = np.empty(len(ticks), np.int64)
    for resolution in np.unique(resolutions).tolist():
        rows = resolutions == resolution
        time[rows] = _scaled(ticks[rows], resolution)
    return time


def _scaled(ticks: NDArray[np.uint64], resolution: int) -> NDArray[np.int64]:
    exponent = resolution & 0x7F
    time: NDArray[np.uint64]
    if resolution & 0x80:
        # 34 binary places times 10^9 fill 64 bits; what is finer than that (0.06 ns) is dropped.
        ticks = ticks >> np.uint64(min(max(exponent - 34, 0), 63))
        exponent = min(exponent, 34)
        seconds = np.minimum(ticks >> np.uint64(exponent), np.uint64(_TIME_LIMIT // _NANO))
        fraction = ticks & np.uint64((1 << exponent) - 1)
        time = seconds * np.uint64(_NANO) + (fraction * np.uint64(_NANO) >> np.uint64(exponent))
    elif exponent <= 9:
        factor = 10 ** (9 - exponent)
        time = np.minimum(ticks, np.uint64(_TIME_LIMIT // factor)) * np.uint64(factor)
    else:
        time = np.minimum(ticks // np.uint64(10 ** min(exponent - 9, 19)), np.uint64(_TIME_LIMIT))
    return time.astype(np.int64)
