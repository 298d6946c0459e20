"""Where headers lie, for who rewrites frames: kept by a `PacketReader` that is asked to.

Places count through the batch's octets and the spill behind them, as `Segments.payload` does. A packet that was put
together lies in no frame as it is; `Piece` says which frames its octets came from.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from .rows import Rows


class Layer(NamedTuple):
    """Headers of one kind that were read together."""

    kind: int
    """The `Kind`."""
    rows: Rows
    """`at` is where the header starts."""


class Piece(NamedTuple):
    """Octets of a packet put together, and the frame that they came in."""

    place: int
    length: int
    frame: int
    """Number of the frame."""
    offset: int
    """Where in the frame's octets."""


class Layers:
    """The headers of one batch.

    Attributes:
        layers: in the order in which they were read: of a frame, outer headers come before inner ones.
        pieces: of the packets put together, by place.
        starts: where those packets begin.
    """

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.starts: set[int] = set()
        self.pieces: list[Piece] = []
        self._places: list[int] = []

    def clear(self) -> None:
        """A new batch."""
        self.layers = []
        self.starts = set()
        self.pieces = []
        self._places = []

    def add(self, piece: Piece) -> None:
        """One more piece; they need not come in order."""
        at = bisect_right(self._places, piece.place)
        self._places.insert(at, piece.place)
        self.pieces.insert(at, piece)

    def origins(self, place: int, length: int) -> Iterator[Piece]:
        """The pieces that octets at a place of the spill came from, cut to them."""
        for piece in self.pieces[max(bisect_right(self._places, place) - 1, 0) :]:
            begin, end = max(piece.place, place), min(piece.place + piece.length, place + length)
            if piece.place >= place + length:
                return
            if begin < end:
                yield Piece(begin, end - begin, piece.frame, piece.offset + begin - piece.place)
