"""TCP connections as columns: what each one's segments add to what is known of it, and what it says first."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.columns import Segments
from socks5sniff.packets.reader import PacketReader
from socks5sniff.streams.consumer import Consumer
from socks5sniff.streams.flows import FlowTable
from socks5sniff.streams.octets import Octets

from .endings import Endings
from .extents import Extents
from .faults import Faults
from .forms import Forms
from .handshakes import Handshakes
from .provenance import Provenance
from .watch import IGNORED, Watch


class Connections:
    """All that is kept by flow; each column belongs to one of these.

    Attributes:
        flows: whose packet is it, and when did it begin and end.
        octets: how many octets were said.
        watch: may it be SOCKS.
        handshakes: what was said first.
        endings: which flows are over.
        provenance: where the packets come from.
        extents: where tunnels lie, for a second look; None where that is not wanted.
        consumers: told of every batch besides.
    """

    def __init__(
        self,
        reader: PacketReader,
        ports: Collection[int],
        forms: Forms,
        faults: Faults,
        consumers: Sequence[Consumer],
        *,
        each: bool,
        extents: bool,
    ) -> None:
        self.flows = FlowTable()
        self.octets = Octets()
        self.watch = Watch(self.flows, ports)
        self.handshakes = Handshakes(self.flows, self.octets, self.watch, reader.addresses, forms, faults, each)
        self.endings = Endings(self.flows)
        self.provenance = Provenance(self.flows, reader)
        self.extents = Extents(self.flows, self.octets, self.watch, self.handshakes) if extents else None
        self.consumers = consumers

    def take(self, segments: Segments) -> NDArray[np.intp]:
        """Take a batch's segments; gives those flows that they have ended and that are not ignored.

        The endings of those that are ignored are noted, too: when each was ruled out depends on where batches end.
        """
        flows, watch = self.flows, self.watch
        batch = flows.update(segments)
        self.provenance.note(batch)
        for consumer in self.consumers:
            consumer.segments(batch)
        fresh = batch.slots[batch.new]
        self.handshakes.begin(fresh, flows.capacity)
        self.endings.begin(fresh, flows.capacity)
        if self.extents is not None:
            self.extents.begin(fresh, flows.capacity)
        counted = watch.kind[batch.slots] != IGNORED
        if counted.any():
            payloads = self.octets.count(flows, batch, counted)
            if self.extents is not None:
                self.extents.add(payloads)
            self.handshakes.add(payloads)
        ended = self.endings.note(batch)
        mine: NDArray[np.intp] = ended[watch.kind[ended] != IGNORED]
        return mine

    def placing(self, slot: int) -> tuple[int, int, int]:
        """The direction of a flow's side 0, and by side the position (see `Octets`) of a dialogue's first octet."""
        at = np.array([slot], np.intp)
        turn = int(self.watch.turns(at)[0])
        shifts = self.handshakes.shifts(at)[:, 0].tolist()
        return turn, -shifts[turn], -shifts[1 - turn]
