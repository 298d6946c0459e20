"""Writing capture files, times in nanoseconds: pcapng (draft-ietf-opsawg-pcapng), and pcap for who needs that.

Needs no numpy unless batches are written.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .batch import FrameBatch, Interface

SNAPLEN = 262_144
"""Snapshot length of interfaces that name none: libpcap's largest."""

_COMMENT_LIMIT = 65_532
"""Longest option value that fits the 16-bit length with its filling."""

_NAMES_PER_BLOCK = 4096
"""So that no reader finds a block too large, however many names there are."""

_COMMENT, _NAME, _FLAGS, _APPLICATION, _RESOLUTION = 1, 2, 2, 4, 9
_START_TIME, _END_TIME, _RECEIVED, _DROPPED = 2, 3, 4, 5


class Direction(IntEnum):
    """Which way a frame went at its interface."""

    UNKNOWN = 0
    INBOUND = 1
    OUTBOUND = 2


class OutputFile(Protocol):
    """What is used of a binary file."""

    def write(self, octets: bytes | memoryview, /) -> object: ...
    def flush(self) -> object: ...
    def close(self) -> object: ...


class Blocks(NamedTuple):
    """Frames as packet blocks, ready to be written by the writer that made them, or one with the same interfaces."""

    octets: NDArray[np.uint8]
    starts: NDArray[np.int64]
    """Where each block starts."""
    ends: NDArray[np.int64]


class PcapngWriter:
    """Writes one section of a pcapng file: interfaces, frames, statistics.

    Not for use by several threads at once. As a context manager it closes the file.
    """

    def __init__(self, file: OutputFile, application: str = "socks5sniff") -> None:
        """Writes the section header.

        Args:
            file: a binary file open for writing; buffered, unless each frame shall be written at once.
            application: what the file says it was written by.

        Raises:
            OutputError: as from all methods, the file cannot be written.
        """
        self._file = file
        self._interfaces = 0
        self._from_batch: dict[int, int] = {}
        options = _option(_APPLICATION, application.encode()) + _END
        self._block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options)

    def add_interface(self, name: str, link_type: int, snaplen: int = SNAPLEN) -> int:
        """Describes an interface; returns its number, from 0, for `write`.

        Args:
            name: empty for none.
            link_type: LINKTYPE_ value.
            snaplen: octets at which frames were cut, 0 for no limit.
        """
        options = _option(_NAME, name.encode("utf-8", "replace")) if name else b""
        options += _option(_RESOLUTION, b"\x09") + _END
        self._block(1, struct.pack("<HHI", link_type, 0, snaplen) + options)
        self._interfaces += 1
        return self._interfaces - 1

    def add_interfaces(self, interfaces: Sequence[Interface], snaplen: int = SNAPLEN) -> None:
        """Describes the interfaces of the batches to come, before anything else; they keep their numbers."""
        for index, interface in enumerate(interfaces):
            self._from_batch[index] = self.add_interface(interface.name, interface.link_type, snaplen)

    def write(
        self,
        octets: bytes | memoryview,
        time: int,
        interface: int = 0,
        length: int | None = None,
        comment: str = "",
        direction: Direction = Direction.UNKNOWN,
    ) -> None:
        """Writes one frame.

        Args:
            octets: the frame, from its link-layer header on.
            time: nanoseconds since 1970.
            interface: its interface's number.
            length: octets on the wire, where more than were captured.
            comment: shown by Wireshark with the frame.
            direction: which way it went.
        """
        if not 0 <= interface < self._interfaces:
            raise ValueError(f"interface {interface} has not been added")
        captured = len(octets)
        options = b""
        if comment:
            options += _comment(comment)
        if direction:
            options += _option(_FLAGS, struct.pack("<I", direction))
        if options:
            options += _END
        header = struct.pack(
            "<IIIII", interface, time >> 32, time & 0xFFFFFFFF, captured, captured if length is None else length
        )
        self._block(6, b"".join((header, octets, bytes(-captured & 3), options)))

    def write_batch(self, batch: FrameBatch) -> None:
        """Writes a batch's frames, and describes its interfaces where they are new.

        All batches given to one writer must share one list of interfaces.
        """
        if len(batch):
            self.write_blocks(self.blocks(batch))

    def blocks(self, batch: FrameBatch) -> Blocks:
        """A batch's frames as they will stand in the file; describes its interfaces where they are new."""
        import numpy as np

        for index in np.unique(batch.interface).tolist():
            if index not in self._from_batch:
                described = batch.interfaces[index]
                self._from_batch[index] = self.add_interface(described.name, described.link_type)
        number = np.zeros(max(self._from_batch, default=0) + 1, np.uint32)
        number[list(self._from_batch)] = list(self._from_batch.values())
        sizes = (batch.captured + 3 & -4) + 32
        ends = np.cumsum(sizes)
        out = np.empty(int(sizes.sum()), np.uint8)
        words = out.view("<u4")
        start = (ends - sizes) // 4
        words[ends // 4 - 2] = 0  # the filling, where the octets leave room for it
        columns: tuple[NDArray[np.integer] | int, ...] = (
            6,
            sizes,
            number[batch.interface],
            batch.time >> 32,
            batch.time & 0xFFFFFFFF,
            batch.captured,
            batch.length,
        )
        for place, column in enumerate(columns):
            words[start + place] = column
        words[ends // 4 - 1] = sizes
        target, source = memoryview(out.data), memoryview(batch.octets.data)
        places = zip((start * 4 + 28).tolist(), batch.offset.tolist(), batch.captured.tolist(), strict=True)
        for to, at, count in places:
            target[to : to + count] = source[at : at + count]
        return Blocks(out, start * 4, ends)

    def write_blocks(
        self, blocks: Blocks, comments: Mapping[int, str] | None = None, kept: NDArray[np.bool_] | None = None
    ) -> None:
        """Writes the frames of a batch, or some of them.

        Args:
            blocks: what `blocks` made of the batch.
            comments: comments by the row of their frame.
            kept: which rows to write; None for all.
        """
        import numpy as np

        octets, starts, ends = blocks
        if kept is None:
            edges = [0, len(starts)]
        else:
            edges = np.flatnonzero(np.diff(np.concatenate(([False], kept, [False])))).tolist()
        commented = sorted(comments or ())
        view = memoryview(octets.data)
        pieces: list[bytes | memoryview] = []
        for first, stop in zip(edges[::2], edges[1::2], strict=True):
            at = int(starts[first]) if first < stop else 0
            for row in commented[bisect_left(commented, first) : bisect_left(commented, stop)]:
                assert comments is not None
                pieces.append(view[at : int(starts[row])])
                at = int(ends[row])
                pieces.append(_with_comment(bytes(view[int(starts[row]) : at]), comments[row]))
            if first < stop:
                pieces.append(view[at : int(ends[stop - 1])])
        self._put(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def statistics(self, interface: int, time: int, received: int, dropped: int, since: int | None = None) -> None:
        """Writes an interface's counts, usually at the end.

        Args:
            interface: its number.
            time: when they were read, nanoseconds since 1970.
            received: frames that arrived at the interface.
            dropped: frames that were lost between the interface and this file.
            since: when the capture began, nanoseconds since 1970.
        """
        options = b"" if since is None else _option(_START_TIME, _halves(since))
        options += _option(_END_TIME, _halves(time))
        options += _option(_RECEIVED, struct.pack("<Q", received)) + _option(_DROPPED, struct.pack("<Q", dropped))
        self._block(5, struct.pack("<I", interface) + _halves(time) + options + _END)

    def names(self, names: Mapping[bytes, str]) -> None:
        """Writes names of addresses, for the frames behind them.

        Args:
            names: by address, of 4 or 16 octets. A NUL would end a name and is left out.
        """
        records: list[bytes] = []
        for address, name in names.items():
            value = address + name.encode("utf-8", "replace").replace(b"\0", b"") + b"\0"
            head = struct.pack("<HH", 1 if len(address) == 4 else 2, len(value))
            records.append(head + value + bytes(-len(value) & 3))
        for first in range(0, len(records), _NAMES_PER_BLOCK):
            self._block(4, b"".join(records[first : first + _NAMES_PER_BLOCK]) + _END)

    def flush(self) -> None:
        """Hands all that was written on to the operating system."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Closes the file."""
        try:
            self._file.close()
        except OSError as error:
            raise self._failure(error) from error

    def __enter__(self) -> PcapngWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _block(self, kind: int, body: bytes) -> None:
        size = struct.pack("<I", len(body) + 12)
        self._put(b"".join((struct.pack("<I", kind), size, body, size)))

    def _put(self, octets: bytes | memoryview) -> None:
        try:
            self._file.write(octets)
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(f"{getattr(self._file, 'name', 'output')}: cannot be written: {error.strerror}")


class PcapWriter(PcapngWriter):
    """Writes a pcap file: one kind of frames, no comments, no statistics (draft-ietf-opsawg-pcap)."""

    def __init__(self, file: OutputFile) -> None:
        self._file = file
        self._link_type: int | None = None

    def add_interfaces(self, interfaces: Sequence[Interface], snaplen: int = SNAPLEN) -> None:
        """Writes the file's header.

        Raises:
            OutputError: the interfaces have different link types.
        """
        link_types = {interface.link_type for interface in interfaces}
        if len(link_types) != 1:
            raise OutputError("a pcap file holds frames of one link type; write pcapng, or capture on one interface")
        self._put(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snaplen, *link_types))

    def blocks(self, batch: FrameBatch) -> Blocks:
        import numpy as np

        sizes = batch.captured + 16
        ends = np.cumsum(sizes)
        seconds, rest = np.divmod(batch.time, 1_000_000_000)
        columns = np.stack((seconds, rest, batch.captured, batch.length), axis=1).astype("<u4")
        out = np.empty(int(sizes.sum()), np.uint8)
        headers, target, source = memoryview(columns.tobytes()), memoryview(out.data), memoryview(batch.octets.data)
        places = zip((ends - sizes).tolist(), batch.offset.tolist(), batch.captured.tolist(), strict=True)
        for row, (to, at, count) in enumerate(places):
            target[to : to + 16] = headers[row * 16 : row * 16 + 16]
            target[to + 16 : to + 16 + count] = source[at : at + count]
        return Blocks(out, ends - sizes, ends)

    def write_blocks(
        self, blocks: Blocks, comments: Mapping[int, str] | None = None, kept: NDArray[np.bool_] | None = None
    ) -> None:
        super().write_blocks(blocks, None, kept)

    def statistics(self, interface: int, time: int, received: int, dropped: int, since: int | None = None) -> None:
        """There is no place for them."""


_END = struct.pack("<HH", 0, 0)


def _option(code: int, value: bytes) -> bytes:
    value = value[:_COMMENT_LIMIT]
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) & 3)


def _with_comment(block: bytes, text: str) -> bytes:
    """A packet block without options, with a comment."""
    options = _comment(text) + _END
    size = struct.pack("<I", len(block) + len(options))
    return b"".join((block[:4], size, block[8:-4], options, size))


def _comment(text: str) -> bytes:
    return _option(_COMMENT, text.encode("utf-8", "replace"))


def _halves(time: int) -> bytes:
    """A time as pcapng has it: its upper half first, whatever the byte order."""
    return struct.pack("<II", time >> 32, time & 0xFFFFFFFF)
