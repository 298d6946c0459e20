"""The analyser of a running interface: it also works while the line is idle, and has early news of conversations."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.batch import FrameBatch
from socks5sniff.packets.columns import Datagrams, Segments
from socks5sniff.record import Conversation, Endpoint
from socks5sniff.session import Verdict
from socks5sniff.streams.flows import FlowBatch, FlowTable

from .analyser import CANDIDATE, Analyser
from .connection import Connection
from .udp import Associations

PATIENCE = 1_000_000_000
"""Nanoseconds an undecided connection may hold back later ids, where results are wanted as they come."""

STALLED = 100_000_000
"""Nanoseconds after which an unfinished handshake is judged by what there is of it."""

ASSOCIATED = -2
"""What `LiveAnalyser.streams` gives for datagrams of UDP associations."""

_FOUND, _DECIDED = 1, 2


class LiveAnalyser(Analyser):
    """See `Analyser`; besides batches it takes the time."""

    def __init__(self, *, ports: Collection[int] = (), show_passwords: bool = False, udp_frames: bool = False) -> None:
        super().__init__(ports=ports, show_passwords=show_passwords, udp_frames=udp_frames, patience=PATIENCE)
        self._told: dict[int, int] = {}
        self._told_regular = np.full(0, -1, np.int64)  # for each slot, the stream that was told
        self._flows: _Flows = _Flows()
        self._associations: _Associations = _Associations(self._book, udp_frames)

    def take(self, batch: FrameBatch) -> list[Conversation]:
        self._flows.last = (None, None)
        self._associations.last = None
        return super().take(batch)

    def tick(self, now: int) -> list[Conversation]:
        """No frame was captured before `now` (ns since 1970) that has not been taken: records completed by time."""
        self._now = max(self._now, now)
        self._finish_closed()
        self._make_room()
        return self._release_records()

    def news(self) -> list[Conversation]:
        """Conversations that were found, or got their outcome, since the last call, as far as they are known.

        Those that were found have the outcome `incomplete` as yet. A conversation whose record has been given is
        not news any more.
        """
        fresh = dict(self._fresh())
        if not fresh:
            return []
        records: list[Conversation] = []
        told = iter(fresh.values())
        before = depth = 0
        for _, record, outer in self._records([*fresh]):
            before, depth = (next(told), 0) if outer is None else (before, depth + 1)
            if before < (depth + 1) * _DECIDED:
                records.append(record)
        return records

    def current(self, streams: Collection[int]) -> list[Conversation]:
        """The records of open conversations on these connections (`tcp_stream`), as they stand now."""
        flows = self._flows
        slots = np.flatnonzero(np.isin(flows.stream[: flows.used], list(streams))).tolist()
        found = [
            slot
            for slot in slots
            if slot in self._regular
            or ((connection := self._connections.get(slot)) is not None and connection.verdict is not Verdict.UNDECIDED)
        ]
        return [record for _, record, _ in self._records(found)]

    def newcomers(self) -> list[tuple[Endpoint, Endpoint]]:
        """Client and proxy of conversations that were found since the last call and are still open.

        This and `news` tell each conversation once, whichever is asked first; it costs a fraction of `news`.
        """
        flows, book = self._flows, self._book
        found = []
        for slot, before in self._fresh():
            if not before and not flows.closing[slot]:
                connection = self._connections.get(slot)
                side = 0 if connection is None else connection.client_side or 0
                ends = int(flows.low[slot]), int(flows.high[slot])
                client = side ^ int(flows.turn[slot])
                first, second = (Endpoint(book.endpoint_address(end), book.port(end)) for end in ends)
                found.append((second, first) if client else (first, second))
        return found

    def _look(self) -> None:
        """Judge handshakes that do not go on: without them there would be no news until they end."""
        closing, before = self._flows.closing, self._now - STALLED
        stalled = [
            connection
            for connection in self._connections.values()
            if connection.session is None
            and len(connection.seen) > 1
            and (connection.seen[-1][3] < before or closing[connection.slot])
        ]
        for connection in stalled:
            connection.look()
        settled = [connection for connection in stalled if self._judge(connection)]
        if settled:
            self._count(settled)

    def _fresh(self) -> list[tuple[int, int]]:
        """Flows that got further since the last call, and how far they were before; see `_reached`."""
        self._look()
        told = self._told
        fresh = []
        for connection in self._connections.values():
            state = told.get(connection.stream, 0)
            if state < _DECIDED or connection.nested is not None:
                reached = _reached(connection)
                if reached > state:
                    told[connection.stream] = reached
                    fresh.append((connection.slot, state))
        fresh += [(slot, 0) for slot, stream in self._new_regular() if told.get(stream, 0) < _DECIDED]
        if len(told) > 2 * len(self._connections) + 1024:
            alive = {connection.stream for connection in self._connections.values()}
            self._told = {stream: state for stream, state in told.items() if stream in alive}
        return fresh

    def _new_regular(self) -> Iterable[tuple[int, int]]:
        """Slot and stream of the regular conversations since the last call."""
        streams, told = self._flows.stream, self._told_regular
        if len(told) < len(streams):
            self._told_regular = told = np.pad(told, (0, len(streams) - len(told)), constant_values=-1)
        slots = np.array([*self._regular], np.intp)
        slots = slots[told[slots] != streams[slots]]
        told[slots] = streams[slots]
        return zip(slots.tolist(), streams[slots].tolist(), strict=True)

    def streams(self, batch: FrameBatch) -> NDArray[np.int64]:
        """For each frame of the batch taken last: its connection's `tcp_stream`, ASSOCIATED, or -1 for neither."""
        streams = np.full(len(batch), -1, np.int64)
        segments, found = self._flows.last
        if len(batch) and segments is not None and found is not None:
            rows = segments.frame[found.order] - batch.first_number
            streams[rows] = np.repeat(self._flows.stream[found.slots], found.counts)
        datagrams = self._associations.last
        if datagrams is not None and len(datagrams):
            streams[datagrams.frame[self._associations.related(datagrams)] - batch.first_number] = ASSOCIATED
        return streams

    def undecided(self) -> set[int]:
        """`tcp_stream` of the connections that may yet turn out to be SOCKS."""
        flows = self._flows
        used = flows.used
        streams = flows.stream[:used][flows.kind[:used] <= CANDIDATE]
        return set(streams[streams >= 0].tolist())


class _Flows(FlowTable):
    """Remembers which rows of the last segments are whose."""

    last: tuple[Segments | None, FlowBatch | None] = (None, None)

    def update(self, segments: Segments) -> FlowBatch:
        found = super().update(segments)
        self.last = (segments, found)
        return found


class _Associations(Associations):
    """Remembers the last datagrams."""

    last: Datagrams | None = None

    def take(self, datagrams: Datagrams) -> None:
        super().take(datagrams)
        self.last = datagrams

    def related(self, datagrams: Datagrams) -> NDArray[np.bool_]:
        """Which of them go to a relay of an open association, or come from it."""
        return np.isin(datagrams.destination, self._relays) | np.isin(datagrams.source, self._relays)


def _reached(connection: Connection) -> int:
    """How far a connection is, _DECIDED for each conversation in it that has its outcome: they follow one another."""
    verdict = connection.verdict
    if verdict is Verdict.UNDECIDED:
        return 0
    session = connection.session
    reached = _DECIDED
    if verdict is Verdict.SOCKS and session is not None and session.outcome(ended=False) is None:
        reached = _FOUND
    if connection.relay is not None:
        for nested in connection.relay.conversations():
            reached += _FOUND if nested.session.outcome(ended=False) is None else _DECIDED
    return reached
