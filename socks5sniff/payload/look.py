"""The second look: captures are read again, and what chosen conversations carried is delivered, batch by batch.

Only packets between the endpoints of chosen conversations are looked at. Whose they are is told as in the first look,
by the same flow table; a connection is known again by the number of its first frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.batch import FrameBatch
from socks5sniff.capture.merge import open_captures
from socks5sniff.capture.source import Input
from socks5sniff.errors import DamagedInputError, InputError
from socks5sniff.packets.columns import Segments, TcpFlag
from socks5sniff.packets.reader import PacketReader
from socks5sniff.streams.flows import NO_TIME, FlowTable
from socks5sniff.streams.octets import Octets, Payloads
from socks5sniff.streams.slots import SlotTable
from socks5sniff.streams.spaces import FORGET

from .assembly import Assembly, Memory, Rows
from .chunks import Chunks, Closing, Datagram, Datagrams
from .connections import Connections
from .inputs import rewind
from .relayed import Relayed
from .survey import Tunnel
from .taps import Taps

MAX_ADDRESSES = 1 << 17
"""IPv6 addresses remembered, 300 octets each, besides those of chosen connections."""
_FLOWS = 4096
"""Flows between endpoints of chosen conversations, above which closed ones are forgotten."""


@dataclass(slots=True)
class Delivered:
    """What a batch of frames gave.

    Attributes:
        frames: the batch; None behind the last one, for what only the capture's end tells.
        belonging: bool[len(frames)], frames of the chosen conversations: of their TCP connections, and datagrams of
            their associations.
        chunks, datagrams: what the conversations carried.
        over: places of tunnels of which no chunk comes any more.
        closings: FIN and RST packets of connections with a tunnel, in the capture's order. What a direction still has
            to say may come later.
    """

    frames: FrameBatch | None
    belonging: NDArray[np.bool_]
    chunks: Chunks
    datagrams: Datagrams
    over: list[int]
    closings: Sequence[Closing] = ()


def second_look(
    names: Sequence[Input],
    tunnels: Sequence[Tunnel],
    *,
    whole: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Delivered]:
    """Read the captures of a survey again.

    Args:
        names: the same inputs.
        tunnels: those that are wanted; chunks and datagrams name them by their places here.
        whole: go on to the end of the captures, also when nothing more of the tunnels comes.
        progress: see `read`.

    Raises:
        InputError: an input cannot be opened, or was changed since.
    """
    rewind(names)
    look = _Look(tunnels)
    with suppress(DamagedInputError):  # the survey has met it and told it
        for frames in open_captures(names, progress=progress):
            yield look.take(frames)
            if not whole and frames.first_number + len(frames) > look.last_frame:
                break
    yield look.finish()
    if look.changed:
        raise InputError(f"{', '.join(map(str, names))}: changed while it was read")


class _Chosen(SlotTable):
    """Column by slot: `connection`, which of the chosen ones it is, or -1."""

    COLUMNS: ClassVar = {"connection": (np.intp, -1)}

    connection: NDArray[np.intp]


class _Look:
    """One reading.

    Attributes:
        last_frame: number of the last frame that matters.
        changed: something is missing that was there before.
    """

    def __init__(self, tunnels: Sequence[Tunnel]) -> None:
        self.changed = False
        self._reader = PacketReader()
        self._flows = FlowTable()
        self._octets = Octets()
        self._chosen = _Chosen()
        self._connections = connections = Connections(tunnels, self._reader.addresses)
        self._assembly = Assembly([tunnels[places[0]].extent for places in connections.tunnels])
        self._taps = Taps(tunnels, connections)
        self._relayed = Relayed(tunnels, self._reader.addresses)
        self._closings: list[Closing] = []
        # By slot, the connections that are not over.
        self._open: dict[int, int] = {}
        self.last_frame = max(int(connections.last_frame.max(initial=0)), self._relayed.last_frame)

    def take(self, frames: FrameBatch) -> Delivered:
        """What a batch gives."""
        segments, datagrams = self._reader.read(frames)
        belonging = np.zeros(len(frames), np.bool_)
        mine = self._connections.between(segments.source, segments.destination)
        segments = segments if mine.all() else _taken(segments, np.flatnonzero(mine))
        chunks, found = self._segments(segments, belonging, frames.first_number)
        found += self._relayed.take(datagrams, belonging, frames.first_number)
        if len(self._reader.addresses) > MAX_ADDRESSES:
            # Flows in the table are between endpoints of chosen connections only.
            self._reader.addresses.retain((self._connections.ends >> np.uint64(16)).tolist())
        late, more, over = self._over(frames.first_number + len(frames) - 1)
        closings = sorted(self._closings, key=lambda closing: closing.frame)
        self._closings.clear()
        return Delivered(frames, belonging, _joined([chunks, late]), Datagrams.of(found + more), over, closings)

    def finish(self) -> Delivered:
        """What is left."""
        chunks, datagrams, over = self._over(None)
        return Delivered(None, np.zeros(0, np.bool_), chunks, Datagrams.of(datagrams), over)

    def _segments(
        self, segments: Segments, belonging: NDArray[np.bool_], first_frame: int
    ) -> tuple[Chunks, list[Datagram]]:
        if not len(segments):
            return Chunks.of([]), []
        batch = self._flows.update(segments)
        self._begin(batch.slots[batch.new])
        connection = self._chosen.connection[batch.slots]
        counted = connection >= 0
        if not counted.any():
            return Chunks.of([]), []
        row = batch.order[np.repeat(counted, batch.counts)]
        of = np.repeat(connection[counted], batch.counts[counted])
        within = segments.frame[row] <= self._connections.last_frame[of]
        belonging[segments.frame[row[within]] - first_frame] = True
        ends = within & ((segments.flags[row] & (TcpFlag.FIN | TcpFlag.RST)) != 0)
        if ends.any():
            way = batch.direction[np.repeat(counted, batch.counts)]
            self._close(segments, row[ends], of[ends], way[ends])
        rows = self._rows(self._octets.count(self._flows, batch, counted))
        return self._taps.take(self._assembly.add(rows, Memory(segments)))

    def _close(
        self, segments: Segments, row: NDArray[np.intp], of: NDArray[np.intp], way: NDArray[np.uint8]
    ) -> None:
        """Packets of chosen connections that end them."""
        role = way ^ self._connections.client[of]
        reset = (segments.flags[row] & TcpFlag.RST) != 0
        columns = of, role, segments.frame[row], segments.time[row], reset
        for number, *closing in zip(*(column.tolist() for column in columns), strict=True):
            self._closings += [Closing(place, *closing) for place in self._connections.tunnels[number]]

    def _begin(self, slots: NDArray[np.intp]) -> None:
        """These slots are new flows'."""
        if not len(slots):
            return
        for table in (self._chosen, self._octets):
            table.grow(self._flows.capacity)
            table.reset(slots)
        found = self._connections.known_by(self._flows.first_frame[slots])
        slots, found = slots[found >= 0], found[found >= 0]
        self._chosen.connection[slots] = found
        # Positions count from where the whole capture says that a direction begins.
        origin = self._connections.origin[:, found]
        self._octets.origin[:, slots] = origin
        self._octets.edge[:, slots] = np.maximum(origin, 0)
        self._open.update(zip(slots.tolist(), found.tolist(), strict=True))

    def _rows(self, payloads: Payloads) -> Rows:
        """Those rows of the chosen connections that were captured, in the capture's order."""
        segments = payloads.segments
        connection = self._chosen.connection[payloads.slot]
        wanted = (segments.frame[payloads.row] <= self._connections.last_frame[connection]) & (
            segments.captured[payloads.row] > 0
        )
        payloads, connection = payloads.take(wanted), connection[wanted]
        row = payloads.row
        return Rows(
            connection,
            payloads.way ^ self._connections.client[connection],
            payloads.offset,
            payloads.offset + segments.captured[row],
            segments.payload[row],
            segments.frame[row],
            segments.time[row],
        )

    def _over(self, frame: int | None) -> tuple[Chunks, list[Datagram], list[int]]:
        """Connections whose last frame has passed (all, where `frame` is None): what is left of them."""
        flows, last = self._flows, self._connections.last_frame
        over = [slot for slot, number in self._open.items() if frame is None or last[number] <= frame]
        slots = np.array(over, np.intp)
        numbers = np.array([self._open.pop(slot) for slot in over], np.intp)
        pieces, known = self._assembly.finish(numbers, last[numbers], flows.last_time[slots])
        self.changed |= not known
        chunks, datagrams = self._taps.take(pieces)
        unread, more = self._taps.finish(numbers, last[numbers], flows.last_time[slots])
        self._chosen.connection[slots] = -1
        flows.release(np.union1d(slots, self._closed()))
        places = [place for number in numbers.tolist() for place in self._connections.tunnels[number]]
        return _joined([chunks, unread]), datagrams + more, places

    def _closed(self) -> NDArray[np.intp]:
        """Flows between endpoints of chosen connections that are over for long, where there are many flows."""
        flows = self._flows
        if len(flows) <= _FLOWS:
            return np.empty(0, np.intp)
        live = flows.live()
        closed = live[(flows.close_clock[live] != NO_TIME) & (flows.close_clock[live] < flows.clock - FORGET)]
        idle: NDArray[np.intp] = closed[self._chosen.connection[closed] < 0]
        return idle


def _taken(segments: Segments, rows: NDArray[np.intp]) -> Segments:
    """Some of a batch's segments."""
    columns = {
        field.name: getattr(segments, field.name)[rows]
        for field in fields(segments)
        if field.name not in ("octets", "spill") and getattr(segments, field.name) is not None
    }
    return replace(segments, **columns)


def _joined(parts: list[Chunks]) -> Chunks:
    """Chunks one behind another."""
    parts = [part for part in parts if len(part)]
    if len(parts) < 2:
        return parts[0] if parts else Chunks.of([])
    return Chunks(
        np.concatenate([part.tunnel for part in parts]),
        np.concatenate([part.direction for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.length for part in parts]),
        [octets for part in parts for octets in part.octets],
        np.concatenate([part.frame for part in parts]),
        np.concatenate([part.time for part in parts]),
    )
