"""Strings looked for in TCP streams, wherever segments begin and end.

The octets of each direction are put in order; the last ones of a batch are kept for the next, so that what is split
over segments is found as well. Every copy of what was found has its position, so one look at the stream is enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .dns_streams import Messages
from .options import Options, What
from .positions import Placed
from .search import Hit, Search

WAITING = 1 << 20
"""Octets of one direction that wait for those before them; with more, the missing ones are taken not to come."""
_MANY = 1 << 18
"""Directions that are followed before those of connections that are over are forgotten."""
LINE = 8192
"""Octets of a line of HTTP that are looked at."""
_CREDENTIALS = re.compile(rb"[ \t]*[A-Za-z0-9_-]+[ \t]+([^\r\n]+)")
_HOST = re.compile(rb"[ \t]*(\[[0-9A-Fa-f:.]+\]|[^\r\n:/]+)")

Found = Callable[[int, int, bytes, int], None]
"""Told of a stream's key, a position, the octets there and what they are."""


class _Direction:
    """One direction.

    Attributes:
        position: of the next octet.
        tail: the octets before it that a string may begin in.
        open: they are a line of HTTP that has not ended.
        islands: octets behind missing ones, with their positions.
    """

    __slots__ = ("islands", "open", "position", "tail", "waiting")

    def __init__(self, position: int) -> None:
        self.position = position
        self.tail = b""
        self.open = False
        self.islands: list[tuple[int, bytes]] = []
        self.waiting = 0

    def take(self, start: int, octets: bytes) -> list[bytes]:
        """The octets that follow with these ones; those that are missing are not waited for too long."""
        if start > self.position:
            self.islands.append((start, octets))
            self.waiting += len(octets)
            if self.waiting <= WAITING:
                return []
            self.tail = b""
            self.position = min(self.islands)[0]
            return self._land()
        ahead = self.position - start
        if ahead >= len(octets):
            return []
        self.position = start + len(octets)
        return [octets[ahead:], *(self._land() if self.islands else [])]

    def _land(self) -> list[bytes]:
        self.islands.sort()
        found = []
        while self.islands and self.islands[0][0] <= self.position:
            start, octets = self.islands.pop(0)
            self.waiting -= len(octets)
            ahead = self.position - start
            if ahead < len(octets):
                found.append(octets[ahead:])
                self.position = start + len(octets)
        return found

    def rest(self) -> list[tuple[int, bytes]]:
        """What waits in vain, in parts."""
        self.islands.sort()
        return self.islands


class _Run(NamedTuple):
    """Octets of one direction in a row, to be searched."""

    key: int
    position: int
    octets: bytes


class Scan:
    """Searches the streams of a capture.

    Args:
        search: what for.
        found: told of each place.
    """

    def __init__(self, search: Search, found: Found, options: Options) -> None:
        self._options = options
        self._messages: dict[int, Messages] = {}
        self._search = search
        self._found = found
        self._directions: dict[int, _Direction] = {}
        self._ended: list[_Run] = []

    def take(self, placed: Placed, memory: NDArray[np.uint8]) -> None:
        """Segments, and the memory that they lie in."""
        fresh: dict[int, tuple[_Direction, list[bytes]]] = {}
        view = memory.data
        columns = zip(
            placed.key.tolist(), placed.start.tolist(), placed.place.tolist(), placed.length.tolist(), strict=True
        )
        for key, start, place, length in columns:
            direction = self._directions.get(key)
            if direction is None:
                direction = self._directions[key] = _Direction(min(start, 0) if start < 1 << 16 else start)
            parts = direction.take(start, bytes(view[place : place + length]))
            if parts:
                if key in self._messages:
                    self._read(key, direction.position, parts)
                fresh.setdefault(key, (direction, []))[1].extend(parts)
        runs = []
        for key, (direction, parts) in fresh.items():
            octets = b"".join((direction.tail, *parts))
            runs.append(_Run(key, direction.position - len(octets), octets))
            direction.tail = octets[-(self._search.longest - 1) :] if self._search.longest > 1 else b""
            direction.open = False
        self._look(runs)

    def _read(self, key: int, end: int, parts: list[bytes]) -> None:
        octets = b"".join(parts)
        for at, there, what in self._messages[key].take(end - len(octets), octets, self._options):
            self._found(key, at, there, what)

    def expect_messages(self, key: int, position: int) -> None:
        """A direction carries DNS from a position on."""
        self._messages.setdefault(key, Messages(position))

    def retain(self, streams: NDArray[np.int64]) -> None:
        """Forget all streams but these, where there are many."""
        if len(self._directions) > _MANY:
            kept = set(streams.tolist())
            gone = [key for key in self._directions if key >> 1 not in kept]
            self._ended += [_Run(key, *island) for key in gone for island in self._directions[key].rest()]
            for key in gone:
                del self._directions[key]

    def finish(self) -> None:
        """Nothing more comes: what waited in vain is searched as it is."""
        runs = self._ended
        for key, direction in self._directions.items():
            runs += [_Run(key, *island) for island in direction.rest()]
            if direction.open:
                runs.append(_Run(key, direction.position - len(direction.tail), direction.tail))
        self._look(runs, final=True)

    def _look(self, runs: list[_Run], final: bool = False) -> None:
        if not runs:
            return
        ends = np.cumsum([len(run.octets) for run in runs])
        hits = self._search.find(np.frombuffer(b"".join(run.octets for run in runs), np.uint8))
        for hit in hits:
            number = int(np.searchsorted(ends, hit.at, "right"))
            run = runs[number]
            begin = hit.at - (int(ends[number]) - len(run.octets))
            if begin + hit.length <= len(run.octets):
                self._tell(run, hit, begin, final)

    def _tell(self, run: _Run, hit: Hit, begin: int, final: bool) -> None:
        octets = run.octets[begin : begin + hit.length]
        if hit.kind not in (What.CREDENTIALS, What.HOST_LINE):
            self._found(run.key, run.position + begin, octets, hit.kind)
            return
        line = run.octets[begin + hit.length : begin + hit.length + LINE]
        value = (_CREDENTIALS if hit.kind == What.CREDENTIALS else _HOST).match(line)
        if len(line) < LINE and b"\n" not in line and not final:
            direction = self._directions[run.key]
            if not direction.open:
                direction.tail, direction.open = run.octets[begin:], True
        elif value is not None:
            at = run.position + begin + hit.length + value.start(1)
            self._found(run.key, at, value[1], What.SECRET if hit.kind == What.CREDENTIALS else What.HOST)
