"""Many dialogues at once, as columns: their segments in the order in which they were said, and the frames in them.

Row columns have an entry for each segment of all dialogues; dialogue columns one for each dialogue. What is told here
of a dialogue holds for its beginning, as long as nothing is missing, repeated with other octets, overlapping or cut;
`orderly` says how far that is. Positions are those of the direction's octets, `client` and `proxy` are TCP's sides 0
and 1: where the other side is the SOCKS client, this does not apply.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.streams.heads import SHORT, HeadRows

CLIENT_OCTETS = 256
"""Octets of the client within which its frames end in dialogues that are read here."""
PROXY_OCTETS = 64
PLACES = 12
"""Segments up to the end of the handshake in dialogues that are read here."""

_BITS = 20
_MASK = (1 << _BITS) - 1


class Exchanges(NamedTuple):
    """Dialogues as columns.

    Attributes:
        rows: the segments, by dialogue, in the order in which they were said; copies are left out.
        start, counts: intp[n]: where a dialogue's rows begin, and how many they are.
        group: intp[r]: a row's dialogue; place: intp[r]: its number among the dialogue's rows.
        side: uint8[r].
        orderly: bool[r]: this row and all before it in its dialogue continue what was said.
        said: int64[2, n]: octets of each side up to the last orderly row.
        whole: bool[n]: all rows are orderly, and nothing more was acknowledged.
        client: uint8[n, CLIENT_OCTETS], proxy: uint8[n, PROXY_OCTETS]: what was said first, zeros behind.
    """

    rows: HeadRows
    start: NDArray[np.intp]
    counts: NDArray[np.intp]
    group: NDArray[np.intp]
    place: NDArray[np.intp]
    side: NDArray[np.uint8]
    orderly: NDArray[np.bool_]
    said: NDArray[np.int64]
    whole: NDArray[np.bool_]
    client: NDArray[np.uint8]
    proxy: NDArray[np.uint8]

    @property
    def size(self) -> int:
        """Number of dialogues."""
        return len(self.start)


def arrange(rows: HeadRows, turns: NDArray[np.uint8], heard: NDArray[np.int64]) -> Exchanges:
    """The dialogues of some flows.

    Args:
        rows: their segments, by flow, each flow's in the order of the capture, positions from the first octet on.
        turns: uint8[n]: the direction of each flow's side 0.
        heard: int64[2, n]: by side, the furthest octet that was acknowledged, within what is kept.
    """
    fresh = np.concatenate((np.ones(1, np.bool_), rows.slot[1:] != rows.slot[:-1]))
    group = np.cumsum(fresh) - 1
    side = rows.way ^ turns[group]
    # In this order dialogues can have been said (see `dialogue`); what it leaves open the capture's order decides.
    # A segment may begin before the first octet: it must not be taken for one of the dialogue before.
    key = (group << 2 * _BITS) | (np.maximum(rows.offset, 0) + np.clip(rows.heard, 0, _MASK >> 1))
    order = np.argsort(key, kind="stable")
    if (order[1:] < order[:-1]).any():
        rows, side, group = rows.take(order), side[order], group[order]
    repeated = _repeated(rows, side, group)
    if repeated.any():
        kept = np.flatnonzero(~repeated)
        rows, side, group = rows.take(kept), side[kept], group[kept]
    start = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), group[1:] != group[:-1])))
    count = np.diff(np.append(start, rows.size))
    orderly, said = _orderly(rows, side, group, start, count)
    last = start + count - 1
    whole = orderly[last] & (heard <= said).all(0)
    place = np.arange(rows.size) - start[group]
    client = _streams(rows, group, place, orderly & (side == 0), len(start), CLIENT_OCTETS)
    proxy = _streams(rows, group, place, orderly & (side == 1), len(start), PROXY_OCTETS)
    return Exchanges(rows, start, count, group, place, side, orderly, said, whole, client, proxy)


def _repeated(rows: HeadRows, side: NDArray[np.uint8], group: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Copies of the segment before them: the same octets of the same side at the same position."""
    repeated = np.zeros(rows.size, np.bool_)
    same = (group[1:] == group[:-1]) & (side[1:] == side[:-1]) & (rows.offset[1:] == rows.offset[:-1])
    same &= (rows.length[1:] == rows.length[:-1]) & (rows.captured[1:] == rows.captured[:-1])
    at = np.flatnonzero(same) + 1
    if len(at):
        equal = (rows.short[at] == rows.short[at - 1]).all(1)
        for index in np.flatnonzero(equal & (rows.captured[at] > SHORT)).tolist():
            equal[index] = rows.long[at[index]] == rows.long[at[index] - 1]
        repeated[at[equal]] = True
    return repeated


def _orderly(
    rows: HeadRows,
    side: NDArray[np.uint8],
    group: NDArray[np.intp],
    start: NDArray[np.intp],
    count: NDArray[np.intp],
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Up to where nothing is amiss, and how many octets of each side that is."""
    end = rows.offset + rows.length
    base = group << _BITS
    before = []
    for this in (0, 1):
        # The furthest octet of a side before each row: a running maximum that begins anew with each dialogue.
        furthest = np.maximum.accumulate(np.where(side == this, base | np.clip(end, 0, _MASK), base))
        furthest = np.concatenate((np.zeros(1, np.int64), furthest[:-1]))
        before.append(np.where(furthest >> _BITS == group, furthest & _MASK, 0))
    own, other = np.where(side, before[1], before[0]), np.where(side, before[0], before[1])
    fits = (rows.offset == own) & (rows.captured == rows.length) & (rows.heard <= other)
    # Nothing is amiss before the first row that does not fit.
    amiss = np.cumsum(~fits)
    earlier = np.concatenate((np.zeros(1, np.int64), amiss))[start]
    orderly: NDArray[np.bool_] = amiss == earlier[group]
    counted = np.where(orderly, rows.length, 0)
    said = np.stack([np.add.reduceat(np.where(side == this, counted, 0), start) for this in (0, 1)])
    return orderly, said


def _streams(
    rows: HeadRows,
    group: NDArray[np.intp],
    place: NDArray[np.intp],
    mine: NDArray[np.bool_],
    size: int,
    width: int,
) -> NDArray[np.uint8]:
    """What one side said first, uint8[size, width]."""
    room = np.zeros((size, width + SHORT), np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(room.ravel(), SHORT, writeable=True)
    at = np.flatnonzero(mine & (rows.offset < width) & (place < PLACES))
    where = group[at] * (width + SHORT) + rows.offset[at]
    # The zeros behind a short segment must not overwrite the next one: place by place.
    for number in range(PLACES):
        now = np.flatnonzero(place[at] == number)
        windows[where[now]] = rows.short[at[now]]
    return room[:, :width]
