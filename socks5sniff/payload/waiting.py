"""Octets that came before those in front of them, kept until it is their turn."""

from __future__ import annotations

import heapq
import tempfile
from typing import BinaryIO, NamedTuple

from socks5sniff.errors import OutputError

from .chunks import Octets

IN_MEMORY = 64 << 20
"""Octets that wait in memory, of all connections; further ones wait in a temporary file."""


class Late(NamedTuple):
    """Octets that wait; of equal places the one that came first comes first."""

    begin: int
    frame: int
    end: int
    time: int
    octets: bytes | None
    place: int
    """In the temporary file, where `octets` is None."""


class Waiting:
    """What waits, by connection and direction."""

    def __init__(self) -> None:
        self._queues: dict[int, list[Late]] = {}
        self._held = 0
        self._file: BinaryIO | None = None

    def __contains__(self, key: int) -> bool:
        return key in self._queues

    @property
    def keys(self) -> list[int]:
        """Directions in which something waits."""
        return list(self._queues)

    def add(self, key: int, begin: int, octets: Octets, frame: int, time: int) -> None:
        """Octets whose first has the position `begin`."""
        length = len(octets)
        if self._held + length <= IN_MEMORY:
            self._held += length
            late = Late(begin, frame, begin + length, time, bytes(octets), 0)
        else:
            late = Late(begin, frame, begin + length, time, None, self._spill(octets))
        heapq.heappush(self._queues.setdefault(key, []), late)

    def first(self, key: int) -> Late | None:
        """What waits nearest to the front."""
        queue = self._queues.get(key)
        return queue[0] if queue else None

    def pop(self, key: int) -> bytes:
        """The octets of the first, which waits no longer."""
        queue = self._queues[key]
        late = heapq.heappop(queue)
        if not queue:
            del self._queues[key]
        if late.octets is not None:
            self._held -= len(late.octets)
            return late.octets
        assert self._file is not None, "it was written there"
        self._file.seek(late.place)
        return self._file.read(late.end - late.begin)

    def _spill(self, octets: Octets) -> int:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="socks5sniff-")  # noqa: SIM115  # closed when collected
            place = self._file.seek(0, 2)
            self._file.write(octets)
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"{tempfile.gettempdir()}: octets out of order cannot be kept there: {error.strerror}; "
                "set TMPDIR to a folder with more room"
            ) from error
        return place
