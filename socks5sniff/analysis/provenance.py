"""Where a connection's packets come from: the network that tells it from another one, and the processes at its ends.

A capture names processes where it was made on a machine that knows them (PKTAP, Apple's process blocks). Then a frame
says which process has sent or received it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.batch import Interface
from socks5sniff.packets.reader import PacketReader
from socks5sniff.streams.flows import FlowBatch, FlowTable
from socks5sniff.streams.slots import SlotTable


class Provenance(SlotTable):
    """By direction and slot: `process`, a number of `PacketReader.processes`, the one that sends; 0 unknown."""

    PAIRS: ClassVar = {"process": (np.int32, 0)}

    process: NDArray[np.int32]

    def __init__(self, flows: FlowTable, reader: PacketReader) -> None:
        super().__init__()
        self._flows = flows
        self._reader = reader
        self._named = False

    def note(self, batch: FlowBatch) -> None:
        """Take a batch's segments."""
        if self._named:
            self.grow(self._flows.capacity)
            self.reset(batch.slots[batch.new])
        column = batch.segments.process
        if column is None:
            return
        if not self._named:
            self._named = True
            self.grow(self._flows.capacity)
        process = column[batch.order]
        at = np.flatnonzero(process)[::-1]  # backwards, so that of several the first is written last and stands
        slot = np.repeat(batch.slots, batch.counts)[at]
        end = batch.direction[at] ^ (process[at] < 0)
        unknown = self.process[end, slot] == 0
        self.process[end[unknown], slot[unknown]] = np.abs(process[at[unknown]])

    def told(self, slots: NDArray[np.intp]) -> NDArray[np.int32] | None:
        """int32[2, n]: `process` of some flows; None where no process is named."""
        return self.process[:, slots] if self._named else None

    def adopt(self, slots: NDArray[np.intp], process: NDArray[np.int32] | None) -> None:
        """Know the same of these flows as another analyser knew of its own."""
        self._named |= process is not None
        if self._named:
            self.grow(self._flows.capacity)
            self.process[:, slots] = 0 if process is None else process

    def known(self, slots: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Of which of these flows there is something to say."""
        found: NDArray[np.bool_] = self._flows.beside[slots]
        if self._named:
            found = found | (self.process[:, slots] != 0).any(0)
        return found

    def process_of(self, slot: int, way: int) -> dict[str, Any] | None:
        """The process that sends a direction."""
        number = int(self.process[way, slot]) if self._named else 0
        return self._reader.processes[number]._asdict() if number else None

    def network_of(self, slot: int, interfaces: list[Interface]) -> str | None:
        """What tells a flow from another one with the same endpoints; None where there is none, or nothing does."""
        flows = self._flows
        if not flows.beside[slot]:
            return None
        numbers = max(int(flows.network0[slot]), 0), max(int(flows.network1[slot]), 0)
        names = [self._reader.networks[number] for number in dict.fromkeys(numbers) if number]
        return " and ".join(names) or interfaces[int(flows.capture[slot])].name or None
