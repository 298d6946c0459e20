"""One direction of a TCP connection put in order: the octets as the receiver got them, each with its provenance.

The straight path (every segment continues exactly where the last one ended) does not come here. What does: segments
out of order, duplicates, overlaps, loss, segments that the snap length cut. The result is the same octets with the
same provenance that the straight path would give, plus what was odd:

- Positions count octets from the start of the stream and do not wrap; sequence numbers are unwrapped on the way in.
- Of an octet that came twice the first copy wins; a copy that differs is noted (`conflicts`).
- A hole is given up, and handed on as a gap, when waiting for it can't help: the receiver acknowledged what lies
  behind it and a second of capture time has passed, more is waiting than the limits allow, or the stream has ended.
- Between the two directions, acknowledgments tell the order: a segment that acknowledges octets which have not been
  seen was sent after them, so it waits until they come (from another interface, or late) or are given up.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

MAX_WAITING_OCTETS = 1 << 18
"""Octets kept behind a hole: a full receive window as systems set it at first. More can't be on its way."""
MAX_WAITING_PIECES = 512
"""Pieces kept behind a hole, so that one-octet segments don't cost a hundred times their size."""
MAX_REMEMBERED_OCTETS = 1 << 16
"""Delivered octets kept for comparing retransmissions: longer than any handshake."""
PATIENCE = 1_000_000_000
"""Nanoseconds of capture time that an acknowledged hole is waited for (its octets may only be late in the file)."""

_WRAP = 1 << 32
_HALF = 1 << 31
_PLAUSIBLE = 1 << 30
"""Segments further than this from the expected one are strays: no window is larger (RFC 7323 s2.3)."""


class Run(NamedTuple):
    """Contiguous octets of one segment, or a gap where `octets` is None."""

    position: int
    length: int
    octets: bytes | None
    frame: int
    time: int


class StreamOrder:
    """Order the segments of one direction.

    Args:
        sequence: sequence number of the octet expected next.
        position: its position in the stream.
        delivered: the octets just before it, already handed on by the straight path, for comparing retransmissions.
    """

    __slots__ = ("_history", "_hole_time", "_waiting", "_waiting_octets", "conflicts", "position", "sequence")

    def __init__(self, sequence: int, position: int = 0, delivered: bytes = b"") -> None:
        self.sequence = sequence
        self.position = position
        self.conflicts: list[int] = []
        self._history = bytearray(delivered[-MAX_REMEMBERED_OCTETS:])
        self._waiting: list[Run] = []
        self._waiting_octets = 0
        self._hole_time = 0

    @property
    def waiting(self) -> int:
        """Octets behind holes."""
        return self._waiting_octets

    @property
    def edge(self) -> int:
        """The position behind the last octet seen, waiting ones included."""
        return self._waiting[-1].position + self._waiting[-1].length if self._waiting else self.position

    def push(self, sequence: int, octets: bytes, length: int, frame: int, time: int) -> list[Run]:
        """Take one segment; return what has become ready.

        Args:
            sequence: of the segment's first octet.
            octets: the captured payload, possibly shorter than `length`.
            length: payload octets on the wire, at least 1.
            frame, time: the segment's provenance (frame number, ns).
        """
        distance = (sequence - self.sequence) % _WRAP
        if distance >= _HALF:
            distance -= _WRAP
        if not -_PLAUSIBLE < distance < _PLAUSIBLE or (length == 1 and distance == -1):
            return []  # a stray, or a keep-alive probe, whose octet means nothing (RFC 9293 s3.8.4)
        if not distance and not self._waiting and len(octets) == length:
            return [self._deliver(Run(self.position, length, octets, frame, time))]
        start = self.position + distance
        if start < self.position:
            self._compare_delivered(start, octets, frame)
            skip = self.position - start
            if skip >= length:
                return []
            start, octets, length = self.position, octets[skip:], length - skip
        self._insert(Run(start, len(octets), octets, frame, time))
        if len(octets) < length:
            # The snap length cut this segment: nobody can ever fill the rest, unless another copy was cut less.
            self._insert(Run(start + len(octets), length - len(octets), None, frame, time))
        ready = self._pull()
        while self._waiting and (self._waiting_octets > MAX_WAITING_OCTETS or len(self._waiting) > MAX_WAITING_PIECES):
            ready += self._give_up_hole()
        return ready

    def ahead(self, sequence: int) -> int:
        """How far `sequence` is ahead of the octet expected next; 0 when it is not, or implausibly far."""
        distance = (sequence - self.sequence) % _WRAP
        return distance if distance < _PLAUSIBLE else 0

    def skip(self, octets: int, frame: int, time: int) -> list[Run]:
        """The receiver has so many more octets, and nobody will show them to us: what is missing becomes gaps."""
        end = self.position + octets
        ready: list[Run] = []
        while self.position < end:
            if self._waiting and self._waiting[0].position <= end:
                ready += self._give_up_hole()
            else:
                ready.append(self._deliver(Run(self.position, end - self.position, None, frame, time)))
                ready += self._pull()
        return ready

    def overdue(self, time: int) -> bool:
        """A hole has been waited for longer than PATIENCE."""
        return bool(self._waiting) and time - self._hole_time >= PATIENCE

    def finish(self) -> list[Run]:
        """The stream has ended: everything that still waits, holes as gaps."""
        ready: list[Run] = []
        while self._waiting:
            ready += self._give_up_hole()
        return ready

    def _deliver(self, run: Run) -> Run:
        self.position = run.position + run.length
        self.sequence = (self.sequence + run.length) % _WRAP
        if run.octets is None:
            self._history.clear()
        elif len(self._history) < MAX_REMEMBERED_OCTETS:
            self._history += run.octets
        else:
            self._history = self._history[len(run.octets) :] + run.octets
        return run

    def _pull(self) -> list[Run]:
        count = 0
        ready = []
        for run in self._waiting:
            if run.position != self.position:
                break
            ready.append(self._deliver(run))
            self._waiting_octets -= run.length
            count += 1
        del self._waiting[:count]
        if self._waiting and count:
            self._hole_time = self._waiting[0].time
        return ready

    def _give_up_hole(self) -> list[Run]:
        behind = self._waiting[0]
        gap = Run(self.position, behind.position - self.position, None, behind.frame, behind.time)
        return [self._deliver(gap), *self._pull()]

    def _compare_delivered(self, start: int, octets: bytes, frame: int) -> None:
        offset = start - (self.position - len(self._history))
        if offset < 0:
            octets, offset = octets[-offset:], 0
        if octets and self._history[offset : offset + len(octets)] != octets[: len(self._history) - offset]:
            self.conflicts.append(frame)

    def _insert(self, run: Run) -> None:
        """Put a run among the waiting ones; where they overlap, the octets that came first stay."""
        waiting = self._waiting
        if not waiting:
            self._hole_time = run.time
        start, end = run.position, run.position + run.length
        at = max(bisect_right(waiting, start, key=_position) - 1, 0)
        differs = False
        pieces: list[Run] = []
        replaced: list[Run] = []
        while start < end and at < len(waiting) and waiting[at].position < end:
            other = waiting[at]
            other_end = other.position + other.length
            if other_end <= start:
                at += 1
                continue
            if start < other.position:
                pieces.append(_cut(run, start, other.position))
            low, high = max(start, other.position), min(end, other_end)
            if other.octets is None and run.octets is not None:
                replaced.append(other)
                pieces.extend(
                    _cut(part, first, last)
                    for part, first, last in ((other, other.position, low), (run, low, high), (other, high, other_end))
                    if first < last
                )
            elif other.octets is not None and run.octets is not None:
                differs |= _octets(run, low, high) != _octets(other, low, high)
            start = high
            at += 1
        if start < end:
            pieces.append(_cut(run, start, end))
        if differs:
            self.conflicts.append(run.frame)
        if replaced:
            self._waiting = waiting = [other for other in waiting if other not in replaced]
            self._waiting_octets -= sum(other.length for other in replaced)
        for piece in pieces:
            waiting.insert(bisect_right(waiting, piece.position, key=_position), piece)
            self._waiting_octets += piece.length


class _Held(NamedTuple):
    """A segment that acknowledges octets not seen yet."""

    direction: int
    sequence: int
    acknowledgment: int
    octets: bytes
    length: int
    frame: int
    time: int


class TwoWayOrder:
    """Both directions of a connection, in an order in which they can have been said.

    Attributes:
        streams: the two directions.
        closed: per direction, the sequence number behind its FIN, which is acknowledged like an octet; -1 for none.
    """

    __slots__ = ("_held", "_held_octets", "closed", "streams")

    def __init__(self, first: StreamOrder, second: StreamOrder) -> None:
        self.streams = (first, second)
        self.closed = [-1, -1]
        self._held: list[_Held] = []
        self._held_octets = 0

    def push(
        self,
        direction: int,
        sequence: int,
        acknowledgment: int | None,
        octets: bytes,
        length: int,
        frame: int,
        time: int,
    ) -> list[tuple[int, Run]]:
        """Take one segment; return what has become ready in both directions, in order.

        Args:
            acknowledgment: None where the segment has no ACK.
            octets, length, frame, time: see `StreamOrder.push`; `length` may be 0.
        """
        ready: list[tuple[int, Run]] = []
        if acknowledgment is not None:
            unseen = self._unseen(direction, acknowledgment)
            if self.streams[1 - direction].overdue(time) and self.streams[1 - direction].ahead(acknowledgment):
                ready += self._give_up(direction, acknowledgment, frame, time)
            elif unseen:
                if length:
                    self._held.append(_Held(direction, sequence, acknowledgment, octets, length, frame, time))
                    self._held_octets += len(octets)
                return ready + self._settle(time)
        if length:
            ready += ((direction, run) for run in self.streams[direction].push(sequence, octets, length, frame, time))
        return ready + self._settle(time)

    def finish(self) -> list[tuple[int, Run]]:
        """The connection has ended: everything that still waits."""
        ready: list[tuple[int, Run]] = []
        while self._held:
            ready += self._release_first()
        for direction in (0, 1):
            ready += ((direction, run) for run in self.streams[direction].finish())
        return ready

    @property
    def waiting(self) -> int:
        """Octets that wait, in both directions."""
        return self.streams[0].waiting + self.streams[1].waiting + self._held_octets

    def edge(self, direction: int) -> tuple[int, int]:
        """Sequence number and position behind the last octet seen in a direction, waiting ones included."""
        stream = self.streams[direction]
        position = stream.edge
        for held in self._held:
            if held.direction == direction:
                position = max(position, stream.position + stream.ahead((held.sequence + held.length) % _WRAP))
        return (stream.sequence + position - stream.position) % _WRAP, position

    @property
    def conflicts(self) -> list[int]:
        """Frame numbers of retransmissions that differ from the first copy."""
        return sorted(self.streams[0].conflicts + self.streams[1].conflicts)

    def _unseen(self, direction: int, acknowledgment: int) -> int:
        """Octets of the other direction that a segment acknowledges and nobody has seen."""
        ahead = self.streams[1 - direction].ahead(acknowledgment)
        return ahead - 1 if ahead and acknowledgment == self.closed[1 - direction] else ahead

    def _settle(self, time: int) -> list[tuple[int, Run]]:
        """Hand on held segments whose time has come, or has run out."""
        ready: list[tuple[int, Run]] = []
        while self._held:
            now = [held for held in self._held if not self._unseen(held.direction, held.acknowledgment)]
            if now:
                self._held.remove(now[0])
                ready += self._hand_on(now[0])
            elif (
                time - self._held[0].time >= PATIENCE
                or self._held_octets > MAX_WAITING_OCTETS
                or len(self._held) > MAX_WAITING_PIECES
            ):
                ready += self._release_first()
            else:
                break
        return ready

    def _release_first(self) -> list[tuple[int, Run]]:
        held = self._held.pop(0)
        return self._give_up(held.direction, held.acknowledgment, held.frame, held.time) + self._hand_on(held)

    def _give_up(self, direction: int, acknowledgment: int, frame: int, time: int) -> list[tuple[int, Run]]:
        """What `direction` acknowledges will not be seen any more."""
        other = 1 - direction
        return [(other, run) for run in self.streams[other].skip(self._unseen(direction, acknowledgment), frame, time)]

    def _hand_on(self, held: _Held) -> list[tuple[int, Run]]:
        self._held_octets -= len(held.octets)
        runs = self.streams[held.direction].push(held.sequence, held.octets, held.length, held.frame, held.time)
        return [(held.direction, run) for run in runs]


def _position(run: Run) -> int:
    return run.position


def _octets(run: Run, start: int, end: int) -> bytes:
    assert run.octets is not None
    return run.octets[start - run.position : end - run.position]


def _cut(run: Run, start: int, end: int) -> Run:
    octets = None if run.octets is None else _octets(run, start, end)
    return Run(start, end - start, octets, run.frame, run.time)
