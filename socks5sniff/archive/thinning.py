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


class _Runs:
    """Packets by connection and direction, those of a run in the order of the capture.

    Attributes:
        order: intp[n], the row at each place.
        starts, counts: intp[g], of the runs.
        whose, way: intp[g], their connections and directions.
    """

    def __init__(self, whose: NDArray[np.intp], way: NDArray[np.bool_]) -> None:
        key = whose * 2 + way
        # Of so few runs a radix sort puts the rows in order, which is much faster.
        self.order = np.argsort(key.astype(np.uint16) if int(key.max()) < 1 << 16 else key, kind="stable")
        ordered = key[self.order]
        self.starts = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), ordered[1:] != ordered[:-1])))
        self.counts = np.diff(np.append(self.starts, len(key)))
        self.whose, self.way = ordered[self.starts] >> 1, ordered[self.starts] & 1
        self._places = np.arange(len(key))

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """A value of each run, at all its places."""
        found: NDArray[Any] = np.repeat(values, self.counts)
        return found

    def greatest(self, column: NDArray[np.int64]) -> NDArray[np.intp]:
        """The last place of each run with its greatest value."""
        there = column == self.spread(np.maximum.reduceat(column, self.starts))
        return self.last(there)

    def last(self, there: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The last place of each run of those that are `there`, any place where none is."""
        found: NDArray[np.intp] = np.maximum.reduceat(np.where(there, self._places, 0), self.starts)
        return found

    def apart(self, numbers: NDArray[np.uint32], places: NDArray[np.intp]) -> NDArray[np.int64]:
        """How far numbers are from that at one place of their run."""
        apart: NDArray[np.int64] = (numbers - self.spread(numbers[places])).view(np.int32).astype(np.int64)
        return apart


def thinned(columns: Mapping[str, NDArray[Any]], whose: NDArray[np.intp], wants: NDArray[np.uint8]) -> Thinned:
    """Leave out what changes nothing but counters.

    Args:
        columns: of `Segments`, in the order of the capture.
        whose: intp[n], the connection of each.
        wants: uint8[n], WHOLE, HEADS or COUNTS: what is wanted of its connection.
    """
    count = len(whose)
    weight = np.ones(count, np.int64)
    if not count or (wants == WHOLE).all():
        return Thinned(np.arange(count), weight, np.zeros(count, np.bool_), whose[:0], np.empty((2, 0), np.int64))
    runs = _Runs(whose, columns["source"] > columns["destination"])
    order, starts = runs.order, runs.starts
    flags, length, time, sequence = (columns[name][order] for name in ("flags", "length", "time", "sequence"))
    length = np.where(flags & TcpFlag.RST, 0, length)  # see `Octets.count`
    wanted = wants[order]
    ahead = runs.apart(sequence, starts)
    acknowledges = (flags & TcpFlag.ACK) != 0
    heard = runs.apart(columns["acknowledgment"][order], runs.last(acknowledges))
    fixed = (wanted == WHOLE) | ((flags & TcpFlag.SYN) != 0) | (np.abs(ahead) >= BAND)
    fixed |= (acknowledges & (np.abs(heard) >= BAND)) | (columns["process"][order] != 0)
    total = np.bincount(whose)
    whole = total <= FEW
    whole[runs.whose[np.logical_or.reduceat(fixed, starts)]] = True
    near = (length > 0) & (ahead < HEAD + SLACK) & (wanted == HEADS)
    keep = runs.spread(whole[runs.whose]) | near
    ends = np.flatnonzero((flags & _ENDS) != 0)
    if len(ends):
        _keep_ends(keep, runs, ends, len(total))
    end = np.where((length > 0) | ((flags & TcpFlag.FIN) != 0), ahead + length, -BAND)
    heard = np.where(acknowledges, heard, -BAND)
    keep[starts] = keep[starts + runs.counts - 1] = True
    for column in (end, heard, time, -time):
        keep[runs.greatest(column)] = True
    kept = np.sort(order[keep])
    first = np.full((2, len(total)), -1, np.int64)
    first[runs.way, runs.whose] = sequence[starts]
    begin = np.full(len(total), count)
    np.minimum.at(begin, runs.whose, order[starts])
    there = np.flatnonzero(total)
    weight[begin[there]] += (total - np.bincount(whose[kept], minlength=len(total)))[there]
    lacking = there[~whole[there]]
    needed = np.zeros(count, np.bool_)
    needed[order[near]] = True
    return Thinned(kept, weight[kept], ~whole[whose[kept]] & ~needed[kept], lacking, first[:, lacking])


def _keep_ends(keep: NDArray[np.bool_], runs: _Runs, ends: NDArray[np.intp], size: int) -> None:
    """From where a connection ends every packet tells something, and so does the last one before, each way."""
    first = np.full(size, len(keep))
    np.minimum.at(first, runs.spread(runs.whose)[ends], runs.order[ends])
    behind = runs.order >= runs.spread(first[runs.whose])
    keep |= behind
    keep[runs.last(~behind)] = True
