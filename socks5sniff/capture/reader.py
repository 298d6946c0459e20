"""One capture, from its octets to its batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import DamagedInputError, NotACaptureError
from .batch import FrameBatch, Interface, Process
from .chain import SLACK
from .decode import BATCH, DamageError, Decoder
from .formats import foreign
from .join import joined
from .pcap import PcapDecoder, is_pcap
from .pcapng import SECTION, PcapngDecoder
from .source import Source

REGION = 8 << 20
"""Octets read at a time: about 10,000 full frames. Read into the same memory again and again, so that a capture of
any size takes no more than this (and a mapped file that someone truncates would end the process)."""

_SMALL = BATCH // 4
"""Batches of fewer frames than this are put together with their neighbours."""


class CaptureReader:
    """Reads one capture, region by region.

    Attributes:
        region: octets read at a time; may be changed between batches.
    """

    def __init__(
        self,
        source: Source,
        interfaces: list[Interface],
        processes: list[Process] | None = None,
        region: int = REGION,
    ) -> None:
        """
        Args:
            source: the capture's octets; closed when `batches` ends or is closed.
            interfaces: the list that the batches share; the capture's interfaces are added to it.
            processes: the same for processes; a list of its own where there is none.
            region: octets read at a time.
        """
        self.region = region
        self._source = source
        self._interfaces = interfaces
        self._processes = processes
        self._memory = bytearray(SLACK)
        self._begin = self._end = 0
        self._decoder: Decoder | None = None

    def batches(self) -> Iterator[FrameBatch]:
        """The frames in file order, numbered from 1.

        Raises:
            InputError: it is not a capture.
            DamagedInputError: it is damaged or truncated; all whole frames before the fault have been given.
        """
        passed = 0
        number = 1
        try:
            while True:
                passed += self._make_room()
                got = self._source.readinto(memoryview(self._memory)[self._end : len(self._memory) - SLACK])
                self._end += got
                if self._decoder is None:
                    if got and self._end < 4:
                        continue
                    self._decoder = self._recognised(bytes(self._memory[: self._end]))
                octets = np.frombuffer(self._memory, np.uint8)
                decoded = self._decoder.batches(self._memory, octets, self._begin, self._end)
                for batch in joined(decoded, _SMALL, BATCH):
                    batch.first_number = number
                    number += len(batch)
                    yield batch
                self._begin = self._decoder.rest
                if not got:
                    if self._begin < self._end:
                        needed = self._decoder.needed(self._memory, self._begin, self._end)
                        raise DamageError(cut_short(needed, self._end - self._begin), self._begin)
                    return
        except DamageError as damage:
            position = self._begin if damage.position is None else damage.position
            raise DamagedInputError(self._source.name, passed + position, number, damage.what) from None
        finally:
            self._source.close()

    def _make_room(self) -> int:
        """Moves the unfinished record to the front of a memory with room for it; returns how far."""
        begin, kept = self._begin, self._end - self._begin
        size = self.region
        if self._source.total is not None and self._source.compression is None:
            size = min(size, self._source.total + 1)
        if self._decoder is not None and kept:
            size = max(size, self._decoder.needed(self._memory, begin, self._end))
        size = max(size, kept + 1)
        old = self._memory
        if size > len(old) - SLACK:
            # A new memory, not a longer one: someone may still hold views of the old one.
            self._memory = bytearray(size + SLACK)
        self._memory[:kept] = old[begin : self._end]
        self._begin, self._end = 0, kept
        return begin

    def _recognised(self, head: bytes) -> Decoder:
        source = self._source
        if is_pcap(head):
            return PcapDecoder(source.name, self._interfaces)
        if head.startswith(SECTION):
            return PcapngDecoder(source.name, self._interfaces, self._processes)
        packed = f"{source.compression} of something that " if source.compression else ""
        raise NotACaptureError(f"{source.name}: not a pcap or pcapng capture: {packed}{foreign(head)}")


def cut_short(size: int, have: int) -> str:
    """What is said of a record that is not there as a whole."""
    return f"truncated: the input ends {have:,} octets into a record of {'at least ' * (have < 12)}{size:,}"
