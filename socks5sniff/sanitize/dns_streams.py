"""DNS messages on TCP: each behind its length (RFC 1035 s4.2.2), wherever segments begin and end."""

from __future__ import annotations

from collections.abc import Iterator

from .messages import places
from .options import Options


class Messages:
    """One direction of a connection that carries DNS.

    Args:
        position: of the first message in the stream.
    """

    def __init__(self, position: int) -> None:
        self._position = position
        self._octets = b""
        self._lost = False

    def take(self, position: int, octets: bytes, options: Options) -> Iterator[tuple[int, bytes, int]]:
        """Octets at a position, in order: the places of messages that they complete, with what is there."""
        behind = self._position + len(self._octets)
        if position + len(octets) <= behind or self._lost:
            return
        if position > behind:
            self._lost = True
            return
        whole = self._octets + octets[behind - position :]
        at = 0
        while len(whole) >= at + 2 and len(whole) >= at + 2 + (whole[at] << 8 | whole[at + 1]):
            end = at + 2 + (whole[at] << 8 | whole[at + 1])
            message = whole[at + 2 : end]
            for start, stop, what in places(message, options):
                yield self._position + at + 2 + start, message[start:stop], what
            at = end
        self._position += at
        self._octets = whole[at:]
