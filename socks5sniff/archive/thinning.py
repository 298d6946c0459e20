"""Which packets of a long connection matter to whoever counts them.

Of a connection that was there before a stretch, and of which neither the handshake nor the end lies in it, most packets
change nothing but counters: how many they are, how far the octets reach, when the last one came. Those that set a mark
are kept, and the number of the others is added to one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.columns import TcpFlag
from socks5sniff.streams.heads import HEAD

SLACK = 1024
"""Octets before the first one here with which a direction may yet begin: keep-alives and what was sent again."""
BAND = 1 << 28
"""Sequence numbers of a connection that are further apart are not all its own; nothing is left out there."""
WHOLE, HEADS, COUNTS = range(3)
"""What is wanted of a connection: everything, what it says first and counters, or counters."""
FEW = 16
"""Packets of a connection of which none is left out."""
_ENDS = TcpFlag.FIN | TcpFlag.RST


class Thinned(NamedTuple):
    """What is left of some packets.

    Attributes:
        rows: intp[m], the packets that are kept.
        weight: int64[m], how many each stands for.
        bare: bool[m], its octets are not needed.
        whose: intp[t], connections of which something may have been left out.
        first: int64[2, t], by direction (from the smaller endpoint, from the other) the sequence number that they have
            here first, -1 for none.
    """

    rows: NDArray[np.intp]
    weight: NDArray[np.int64]
    bare: NDArray[np.bool_]
    whose: NDArray[np.intp]
    first: NDArray[np.int64]


class _Groups:
    """Rows by group, in their order."""

    def __init__(self, group: NDArray[np.intp]) -> None:
        self.group = group
        # Of so few groups a radix sort puts the rows in order, which is much faster.
        small = len(group) and int(group.max()) < 1 << 16
        self.order = np.argsort(group.astype(np.uint16) if small else group, kind="stable")
        ordered = group[self.order]
        self.starts = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), ordered[1:] != ordered[:-1])))
        self.ends = np.append(self.starts[1:], len(group)) - 1
        self.names = ordered[self.starts]

    def first(self) -> NDArray[np.intp]:
        """The first row of each."""
        found: NDArray[np.intp] = self.order[self.starts]
        return found

    def last(self) -> NDArray[np.intp]:
        """The last row of each."""
        found: NDArray[np.intp] = self.order[self.ends]
        return found

    def greatest(self, column: NDArray[np.int64]) -> NDArray[np.intp]:
        """The last row of each with the greatest value."""
        ordered = column[self.order]
        there = ordered == np.repeat(np.maximum.reduceat(ordered, self.starts), self.ends + 1 - self.starts)
        places = np.where(there, np.arange(len(ordered)), 0)
        found: NDArray[np.intp] = self.order[np.maximum.reduceat(places, self.starts)]
        return found

    def spread(self, values: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """A value of each group, for all its rows."""
        found = np.empty(len(self.group), values.dtype)
        found[self.order] = np.repeat(values, self.ends + 1 - self.starts)
        return found


def thinned(
    columns: Mapping[str, NDArray[Any]],
    whose: NDArray[np.intp],
    wants: NDArray[np.uint8],
    weight: NDArray[np.int64] | None = None,
) -> Thinned:
    """Leave out what changes nothing but counters.

    Args:
        columns: of `Segments`, in the order of the capture.
        whose: intp[n], the connection of each.
        wants: uint8[n], WHOLE, HEADS or COUNTS: what is wanted of its connection.
        weight: int64[n], how many packets each stands for already; None for one each.
    """
    count = len(whose)
    weight = np.ones(count, np.int64) if weight is None else weight.copy()
    if not count or (wants == WHOLE).all():
        return Thinned(np.arange(count), weight, np.zeros(count, np.bool_), whose[:0], np.empty((2, 0), np.int64))
    flags, length, time = columns["flags"], columns["length"], columns["time"]
    ways = _Groups(whose * 2 + (columns["source"] > columns["destination"]))
    flows = _Groups(whose)
    ahead = _apart(columns["sequence"], ways, ways.first())
    acknowledges = (flags & TcpFlag.ACK) != 0
    heard = _apart(columns["acknowledgment"], ways, ways.greatest(acknowledges.astype(np.int64)))
    fixed = (wants == WHOLE) | ((flags & TcpFlag.SYN) != 0) | (np.abs(ahead) >= BAND)
    fixed |= acknowledges & (np.abs(heard) >= BAND)
    fixed |= columns["process"] != 0
    whole = np.bincount(whose, weights=weight) <= FEW
    whole[whose[fixed]] = True
    near = (length > 0) & (ahead < HEAD + SLACK) & (wants == HEADS)
    keep = whole[whose] | near
    _keep_ends(keep, whose, ways, np.flatnonzero((flags & _ENDS) != 0))
    end = np.where((length > 0) | ((flags & TcpFlag.FIN) != 0), ahead + length, -BAND)
    heard = np.where(acknowledges, heard, -BAND)
    for rows in (ways.first(), ways.last(), ways.greatest(end), ways.greatest(heard)):
        keep[rows] = True
    for rows in (flows.last(), flows.greatest(time), flows.greatest(-time)):
        keep[rows] = True
    rows = np.flatnonzero(keep)
    left = np.bincount(whose[~keep], weights=weight[~keep], minlength=len(whole)).astype(np.int64)
    weight[flows.first()] += left[flows.names]
    first = np.full((2, len(whole)), -1, np.int64)
    first[ways.names & 1, ways.names >> 1] = columns["sequence"][ways.first()]
    lacking = flows.names[~whole[flows.names]]
    bare = ~whole[whose[rows]] & ~near[rows]
    return Thinned(rows, weight[rows], bare, lacking, first[:, lacking])


def _keep_ends(keep: NDArray[np.bool_], whose: NDArray[np.intp], ways: _Groups, ends: NDArray[np.intp]) -> None:
    """From where a connection ends every packet tells something, and so does the last one before, each way."""
    if not len(ends):
        return
    count = len(whose)
    first = np.full(int(whose.max()) + 1, count)
    np.minimum.at(first, whose[ends], ends)
    behind = np.arange(count) >= first[whose]
    keep |= behind
    before = ways.greatest(np.where(behind, -1, np.arange(count)))
    keep[before] = True


def _apart(numbers: NDArray[np.uint32], ways: _Groups, rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """How far numbers are from that of one row of their group."""
    from_ = ways.spread(numbers[rows])
    return (numbers - from_).view(np.int32).astype(np.int64)
