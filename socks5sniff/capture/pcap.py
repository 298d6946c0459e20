"""pcap files (draft-ietf-opsawg-pcap): one header, then frames, each behind a short header."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .batch import INTERFACE_LIMIT, FrameBatch, Interface
from .chain import RECORD_LIMIT, Layout, Memory, chain
from .decode import DamageError, headers, parts

HEADER = 24
"""Octets of the file header."""

_MAGICS = {0xA1B2C3D4: (1000, 16), 0xA1B23C4D: (1, 16), 0xA1B2CD34: (1000, 24)}
"""Magic number: nanoseconds in a tick, octets of a record header (the last is Kuznetzov's patched libpcap)."""

_NATIVE = {11: 100, 12: 101, 14: 101}
"""DLT_ values that some programs wrote in place of the LINKTYPE_ value of the same link layer: ATM and raw IP."""


def is_pcap(octets: bytes) -> bool:
    """Whether a file that begins with these octets is a pcap file."""
    return len(octets) >= 4 and (int.from_bytes(octets[:4], "little") in _MAGICS or _big(octets))


def _big(octets: bytes) -> bool:
    return int.from_bytes(octets[:4], "big") in _MAGICS


def link_type(field: int) -> int:
    """LINKTYPE_ value in the header field, whose upper bits tell the frame check sequence's length."""
    value = field & 0xFFFF
    return _NATIVE.get(value, value)


class PcapDecoder:
    """Decodes one pcap file; see `decode.Decoder`.

    Attributes:
        mark: see `chain`.
    """

    def __init__(self, name: str, interfaces: list[Interface]) -> None:
        """
        Args:
            name: the capture's name.
            interfaces: the list that all batches share; the file's interface is added to it.
        """
        self.rest = 0
        self.mark = b""
        self._name = name
        self._interfaces = interfaces
        self._interface = 0
        self._layout: Layout | None = None
        self._tick = 1

    @property
    def layout(self) -> Layout | None:
        """What record headers look like; None before the file's header."""
        return self._layout

    @property
    def described(self) -> int:
        """Nothing behind the file's header tells how to understand frames."""
        return 0

    def go_on(self, interfaces: list[Interface]) -> None:
        """Decode another part of the file, whose batches share a list of interfaces of their own."""
        known, self._interfaces = self._interfaces, interfaces
        interfaces.extend(known)

    def batches(self, memory: Memory, octets: NDArray[np.uint8], begin: int, end: int) -> Iterator[FrameBatch]:
        """See `decode.Decoder`."""
        self.rest = begin
        if self._layout is None:
            if end - begin < HEADER:
                return
            self._layout = self._open(bytes(memory[begin : begin + HEADER]))
            begin += HEADER
        layout = self._layout
        self.mark = bytes(memory[begin + layout.mark_at : begin + layout.mark_at + layout.mark_size])
        starts, self.rest = chain(memory, begin, end, layout, self.mark)
        for part in parts(starts):
            header = headers(memory, part, 16, layout.order)
            captured = header[:, 2].astype(np.int64)
            time = header[:, 0].astype(np.int64)
            time *= 1_000_000_000
            time += header[:, 1].astype(np.int64) * self._tick
            yield FrameBatch(
                octets=octets,
                offset=part + layout.extra,
                captured=captured,
                length=np.maximum(header[:, 3], captured),
                time=time,
                first_number=1,
                interface=np.full(len(part), self._interface, np.uint16),
                interfaces=self._interfaces,
            )

    def needed(self, memory: Memory, begin: int, end: int) -> int:
        """See `decode.Decoder`."""
        if self._layout is None:
            return HEADER
        if end - begin < self._layout.least:
            return self._layout.least
        size = self._layout.size(memory, begin)
        if size > RECORD_LIMIT:
            raise DamageError(f"damaged: a frame that claims {size - self._layout.extra:,} octets", begin)
        return size

    def _open(self, header: bytes) -> Layout:
        big = _big(header)
        order = ">" if big else "<"
        magic, major = struct.unpack_from(order + "IH", header)
        if major != 2:
            raise DamageError(f"pcap of version {major}, which is not known", 0)
        self._tick, size = _MAGICS[magic]
        self._interface = len(self._interfaces)
        if self._interface >= INTERFACE_LIMIT:
            raise DamageError(f"more than {INTERFACE_LIMIT:,} interfaces in one reading", 0)
        self._interfaces.append(Interface(self._name, "", link_type(struct.unpack_from(order + "I", header, 20)[0])))
        # The upper half of the seconds is the same for 18 hours: a mark that payload seldom holds.
        return Layout(order, size_at=8, extra=size, least=size, align=1, mark_at=0 if big else 2, mark_size=2)
