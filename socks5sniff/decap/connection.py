"""One tunnel on its way into a plain TCP connection: what the second look delivers of it, packet by packet."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from socks5sniff.payload import DESTINATION, UNKNOWN_LENGTH, Chunk, Tunnel
from socks5sniff.record import Conversation

from .headers import Packet, Route
from .plain_tcp import Moment, PlainTcp


class Connection:
    """A tunnel as a TCP connection.

    Attributes:
        begins: when the proxy's reply opened the tunnel, None where the capture lacks the reply.
        has_gaps: octets are missing.
        unread: it lies inside GSSAPI tokens, and cannot be read, or not to its end.
    """

    def __init__(self, tunnel: Tunnel, route: Route) -> None:
        record = tunnel.conversation
        # BIND is there for a peer that connects to the client.
        self._plain = PlainTcp(route, record.id, opener=DESTINATION if record.command == "bind" else 0)
        self._comment = f"SOCKS conversation {record.id} through {record.proxy}"
        self._missing = tunnel.missing
        self._end = tunnel.end
        self._position = [0, 0]
        self._ahead = [0, 0]
        self._endings: list[tuple[int, Moment, bool]] = []
        self.begins = opening(record)
        self.has_gaps = any(self._missing)
        self.unread = False

    def open(self, at: Moment) -> Iterator[Packet]:
        """It begins at this time at the latest."""
        if not self._plain.opened:
            yield from self._plain.open(at if self.begins is None else min(at, self.begins), self._comment)

    def take(self, chunk: Chunk, cut: int) -> Iterator[Packet]:
        """The next octets of a direction, or a gap in them.

        Args:
            chunk: what comes next.
            cut: octets of its frame that the capture cut off.
        """
        at, direction = Moment(chunk.frame, chunk.time), chunk.direction
        if not self._plain.opened:
            yield from self.open(at)
        self.unread |= chunk.length == UNKNOWN_LENGTH
        if chunk.octets is None:
            self._plain.skip(direction, max(chunk.length, 0) - self._ahead[direction])
            self._ahead[direction] = 0
        else:
            self._ahead[direction] = min(cut, self._missing_at(direction, chunk.offset + chunk.length))
            yield from self._plain.send(direction, at, chunk.octets, chunk.length + self._ahead[direction])
        self._position[direction] += max(chunk.length, 0)
        if self._endings:
            yield from self._finish()

    def close(self, direction: int, at: Moment, reset: bool) -> Iterator[Packet]:
        """A direction has ended; what came before may still be on its way."""
        yield from self.open(at)
        self._endings.append((direction, at, reset))
        yield from self._finish()

    def _finish(self) -> Iterator[Packet]:
        """The FIN or RST of a direction whose octets have all been sent."""
        while self._endings:
            direction, at, reset = self._endings[0]
            if self._position[direction] < self._end[direction]:
                return
            del self._endings[0]
            yield from (self._plain.reset if reset else self._plain.end)(direction, at)

    def _missing_at(self, direction: int, offset: int) -> int:
        """How many octets are missing from there on."""
        missing = self._missing[direction]
        place = bisect_left(missing, (offset, 0))
        return missing[place][1] if place < len(missing) and missing[place][0] == offset else 0


def opening(record: Conversation) -> Moment | None:
    """When the reply came that opened the tunnel: BIND's second one."""
    replies = [Moment(entry.frame, entry.time_ns) for entry in record.frames if entry.type == "reply"]
    return replies[-1] if replies else None
