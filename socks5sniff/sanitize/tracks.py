"""A conversation's octets of one side, and where in the TCP stream they are.

The octets of a conversation in a tunnel are a part of the stream; those in GSSAPI tokens are pieces of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from socks5sniff.codec import Decoded, GssapiMessageType, decode_gssapi, readable_spans

_FAR = 1 << 62


class Span(NamedTuple):
    """Octets that follow each other here and in the stream."""

    start: int
    end: int
    place: int
    """Position in the stream."""


class Track:
    """One side.

    Attributes:
        octets: as many as were kept.
    """

    def __init__(self, octets: bytes, spans: Sequence[Span]) -> None:
        self.octets = octets
        self._spans = spans

    @classmethod
    def of(cls, octets: bytes, place: int) -> Track:
        """The octets from a position of the stream on."""
        return cls(octets, (Span(0, _FAR, place),))

    def parts(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Positions in the stream of the octets from `start` to `end`, with those octets."""
        for span in self._spans:
            begin, stop = max(span.start, start), min(span.end, end, len(self.octets))
            if begin < stop:
                yield span.place + begin - span.start, self.octets[begin:stop]

    def place(self, at: int) -> int | None:
        """The position in the stream of what is, or will be, at an offset."""
        for span in self._spans:
            if span.start <= at < span.end:
                return span.place + at - span.start
        return None

    def behind(self, start: int) -> Track:
        """What begins at an offset."""
        spans = [
            Span(max(span.start - start, 0), span.end - start, span.place + max(start - span.start, 0))
            for span in self._spans
            if span.end > start
        ]
        return Track(self.octets[start:], spans)

    def inside(self, start: int) -> Track:
        """What GSSAPI tokens enclose that begin at an offset, up to one that cannot be read."""
        octets, spans = bytearray(), []
        while True:
            found = decode_gssapi(self.octets, start)
            if not isinstance(found, Decoded) or found.frame.message_type != GssapiMessageType.USER_DATA:
                break
            readable = readable_spans(found.frame.token)
            if readable is None:
                break
            for begin, end in readable:
                for place, part in self.parts(start + 4 + begin, start + 4 + end):
                    spans.append(Span(len(octets), len(octets) + len(part), place))
                    octets += part
            start += found.length
        return Track(bytes(octets), spans)
